//! The chain behind a real door over a simulated store: what clients see, and that numbers
//! are given out once however requests interleave.

use admission::{AdmissionConfig, bootstrap};
use auth::{TokenKey, User};
use env::Time;
use machinery::{Object, Status, Value, json};
use registry::{Call, Door, DoorConfig, Options, Verb};
use sim_env::{DiskImage, DiskSpeed, Sim, SimDisk};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use store::{Store, StoreOptions};

const SPEED: DiskSpeed = DiskSpeed {
    latency: Duration::from_micros(20),
    sync_latency: Duration::from_micros(100),
};

struct Cluster {
    sim: Sim,
    door: Door,
    user: Arc<User>,
}

impl Cluster {
    /// A cluster with its bootstrap objects and the default service account.
    fn start(services: &str) -> Self {
        let sim = Sim::new(7, Time::from_unix_seconds(1_800_000_000));
        let disk = SimDisk::new(sim.fork("disk"), SPEED, DiskImage::default());
        let store = sim
            .block_on(Store::open(&sim.world(), disk, StoreOptions::default()))
            .unwrap();
        let services = services.parse().unwrap();
        let config = AdmissionConfig {
            services,
            ..AdmissionConfig::default()
        };
        let door = Door::new(DoorConfig {
            world: sim.world(),
            store,
            catalogue: kinds::Catalogue::builtin(),
            admission: admission::chain(config),
            webhooks: None,
            tokens: Arc::new(TokenKey::generate(
                &*sim.world().entropy,
                "https://kubernetes.default.svc",
            )),
        });
        let cluster = Self {
            sim,
            door,
            user: Arc::new(User::component("test")),
        };
        for (storage, object) in bootstrap::objects(&bootstrap::Config {
            services,
            api_server: "10.0.0.1:6443".parse().unwrap(),
            client_ca: "PEM".into(),
            front_proxy_ca: String::new(),
        }) {
            let name = object.name().to_owned();
            cluster
                .create(storage, object)
                .unwrap_or_else(|status| panic!("{storage} {name}: {status}"));
        }
        cluster.make("serviceaccounts", json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}}));
        cluster
    }

    fn call(&self, verb: Verb, storage: &str, object: Value) -> Call {
        let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
        let name = if verb == Verb::Create {
            String::new()
        } else {
            name
        };
        self.door
            .component_call(&self.user, verb, storage, &namespace, &name)
            .unwrap()
            .with_object(object)
    }

    fn run(&self, call: Call) -> Result<Arc<Object>, Status> {
        self.sim
            .block_on(self.door.call(call))
            .map(|reply| reply.object().unwrap().clone())
    }

    fn create(&self, storage: &str, object: Value) -> Result<Arc<Object>, Status> {
        self.run(self.call(Verb::Create, storage, object))
    }

    fn make(&self, storage: &str, object: Value) -> Arc<Object> {
        self.create(storage, object).unwrap()
    }

    fn refused(&self, storage: &str, object: Value) -> String {
        self.create(storage, object)
            .map(|made| made.to_value())
            .unwrap_err()
            .message()
            .to_owned()
    }

    fn delete(&self, storage: &str, namespace: &str, name: &str) -> Result<(), Status> {
        let call = self
            .door
            .component_call(&self.user, Verb::Delete, storage, namespace, name)
            .unwrap();
        self.sim.block_on(self.door.call(call)).map(drop)
    }
}

fn service(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    if spec["ports"].is_null() {
        spec["ports"] = json!([{"port": 80}]);
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn pod(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    if spec["containers"].is_null() {
        spec["containers"] = json!([{"name": "c", "image": "i"}]);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

#[test]
fn services_get_addresses_and_ports_and_give_them_back() {
    let cluster = Cluster::start("10.100.0.0/16");
    let plain = cluster.make(
        "services",
        service("plain", json!({"selector": {"a": "b"}})),
    );
    let address = plain.at("spec.clusterIP").str().to_owned();
    assert!(address.starts_with("10.100."), "{address}");
    assert_eq!(plain.at("spec.ipFamilyPolicy").str(), "SingleStack");
    for (spec, wanted) in [
        (json!({"clusterIP": &address}), "already allocated"),
        (
            json!({"clusterIP": "10.100.0.10"}),
            "failed to allocate IP 10.100.0.10: provided IP is already allocated",
        ),
        (
            json!({"clusterIP": "10.99.0.1"}),
            "the provided IP (10.99.0.1) is not in the valid range. The range of valid IPs is 10.100.0.0/16",
        ),
        (
            json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}),
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
    ] {
        let message = cluster.refused("services", service("other", spec));
        assert!(message.contains(wanted), "{message}");
    }
    let node = cluster.make(
        "services",
        service(
            "node",
            json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}),
        ),
    );
    let message = cluster.refused(
        "services",
        service(
            "node2",
            json!({"type": "NodePort", "ports": [{"port": 81, "nodePort": 30080}]}),
        ),
    );
    assert_eq!(
        message,
        "Service \"node2\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"
    );
    let mut to_plain = node.to_value();
    to_plain.set_at(&["spec", "type"], "ClusterIP");
    let changed = cluster
        .run(cluster.call(Verb::Update, "services", to_plain))
        .unwrap();
    assert!(changed.to_value()["spec"]["ports"][0]["nodePort"].is_null());
    assert_eq!(
        changed.at("spec.clusterIP").str(),
        node.at("spec.clusterIP").str()
    );
    cluster.make(
        "services",
        service(
            "node3",
            json!({"type": "NodePort", "ports": [{"port": 81, "nodePort": 30080}]}),
        ),
    );
    cluster.delete("services", "default", "plain").unwrap();
    cluster.make("services", service("again", json!({"clusterIP": &address})));
}

#[test]
fn refused_and_dry_writes_reserve_nothing() {
    let cluster = Cluster::start("10.100.0.0/16");
    let wanted = json!({"clusterIP": "10.100.0.77"});
    let mut dry = cluster.call(Verb::Create, "services", service("dry", wanted.clone()));
    dry.options = Options {
        dry_run: true,
        ..Options::default()
    };
    cluster.run(dry).unwrap();
    let both = json!({"type": "NodePort", "clusterIP": "10.100.0.77", "ports": [{"port": 80, "nodePort": 1}]});
    cluster.refused("services", service("wrong", both));
    cluster.make("services", service("real", wanted));
}

#[test]
fn concurrent_services_never_share() {
    let cluster = Cluster::start("10.100.0.0/26");
    let make = |at: usize| {
        cluster.door.call(cluster.call(
            Verb::Create,
            "services",
            service(&format!("s{at}"), json!({"type": "NodePort"})),
        ))
    };
    let made = cluster
        .sim
        .block_on(futures::future::join_all((0..70).map(make)));
    let (good, bad): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    let objects: Vec<_> = good
        .into_iter()
        .map(|reply| reply.unwrap().object().unwrap().clone())
        .collect();
    let addresses: BTreeSet<_> = objects
        .iter()
        .map(|one| one.at("spec.clusterIP").str())
        .collect();
    let ports: BTreeSet<_> = objects
        .iter()
        .map(|one| one.to_value()["spec"]["ports"][0]["nodePort"].as_i64())
        .collect();
    // 62 usable addresses, two of them taken by the cluster's own services.
    assert_eq!((objects.len(), addresses.len(), ports.len()), (60, 60, 60));
    for refused in bad {
        let message = refused.err().unwrap().message().to_owned();
        assert_eq!(
            message,
            "Internal error occurred: failed to allocate a serviceIP: range is full"
        );
    }
    let named = json!({"type": "ExternalName", "externalName": "x.y", "ports": [{"port": 1}]});
    let named = cluster.make("services", service("free", named));
    assert!(
        named.at("spec.clusterIP").is_null(),
        "names without addresses take none"
    );
}

#[test]
fn of_two_that_ask_for_one_number_one_gets_it() {
    let cluster = Cluster::start("10.100.0.0/16");
    let spec = json!({"type": "NodePort", "clusterIP": "10.100.0.99", "ports": [{"port": 80, "nodePort": 30099}]});
    let make = |at: usize| {
        cluster.door.call(cluster.call(
            Verb::Create,
            "services",
            service(&format!("s{at}"), spec.clone()),
        ))
    };
    let made = cluster
        .sim
        .block_on(futures::future::join_all((0..4).map(make)));
    assert_eq!(made.iter().filter(|one| one.is_ok()).count(), 1);
}

#[test]
fn quota_holds_under_concurrency_and_frees_on_deletion() {
    let cluster = Cluster::start("10.100.0.0/16");
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": {"configmaps": "3", "requests.cpu": "1"}}});
    cluster.make("resourcequotas", quota);
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}});
    let make = |at: usize| {
        cluster
            .door
            .call(cluster.call(Verb::Create, "configmaps", map(&format!("m{at}"))))
    };
    let made = cluster
        .sim
        .block_on(futures::future::join_all((0..10).map(make)));
    assert_eq!(made.iter().filter(|one| one.is_ok()).count(), 3);
    let message = made
        .into_iter()
        .find_map(Result::err)
        .unwrap()
        .message()
        .to_owned();
    assert!(message.contains("is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=3, limited: configmaps=3"), "{message}");
    cluster.delete("configmaps", "default", "m0").unwrap();
    cluster.make("configmaps", map("next"));
    cluster.delete("configmaps", "default", "next").unwrap();
    cluster.make("configmaps", map("after"));
    let cpu = |cpu: &str| json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]});
    cluster.make("pods", pod("half", cpu("600m")));
    assert_eq!(
        cluster.refused("pods", pod("more", cpu("600m"))),
        "pods \"more\" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1"
    );
    assert_eq!(
        cluster.refused("pods", pod("silent", json!({}))),
        "pods \"silent\" is forbidden: failed quota: q: must specify requests.cpu for: c"
    );
}

#[test]
fn quota_follows_what_ends_and_what_it_says() {
    let cluster = Cluster::start("10.100.0.0/16");
    let quota = |cpu: &str| json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": {"requests.cpu": cpu}}});
    let asking = |name: &str| {
        let resources = json!({"requests": {"cpu": "600m"}});
        pod(
            name,
            json!({"containers": [{"name": "c", "image": "i", "resources": resources}]}),
        )
    };
    cluster.make("pods", asking("before"));
    cluster.make("resourcequotas", quota("1"));
    assert!(
        cluster
            .refused("pods", asking("a"))
            .contains("used: requests.cpu=600m")
    );
    let ended = |name: &str| {
        let mut object = asking(name);
        object["status"] = json!({"phase": "Succeeded"});
        let call = cluster.call(Verb::Update, "pods", object).on("status");
        cluster.run(call).unwrap();
    };
    ended("before");
    cluster.make("pods", asking("a"));
    assert!(
        cluster
            .refused("pods", asking("b"))
            .contains("used: requests.cpu=600m")
    );
    let raised = cluster.call(Verb::Update, "resourcequotas", quota("1200m"));
    cluster.run(raised).unwrap();
    cluster.make("pods", asking("b"));
    assert!(
        cluster
            .refused("pods", asking("c"))
            .contains("used: requests.cpu=1200m")
    );
    for name in ["before", "b"] {
        cluster.delete("pods", "default", name).unwrap();
    }
    cluster.make("pods", asking("c"));
    assert!(
        cluster
            .refused("pods", asking("d"))
            .contains("used: requests.cpu=1200m")
    );
}

#[test]
fn pods_are_completed() {
    let cluster = Cluster::start("10.100.0.0/16");
    let made = cluster
        .make(
            "pods",
            pod("p", json!({"priorityClassName": "system-node-critical"})),
        )
        .to_value();
    let spec = &made["spec"];
    assert_eq!(spec["serviceAccountName"].str(), "default");
    assert_eq!(spec["priority"].as_i64(), Some(2_000_001_000));
    assert_eq!(spec["tolerations"].items().len(), 2);
    let volume = spec["volumes"][0]["name"].str();
    assert!(
        volume.starts_with("kube-api-access-") && volume.len() == "kube-api-access-".len() + 5,
        "{volume}"
    );
    assert_eq!(
        spec["containers"][0]["volumeMounts"][0]["name"].str(),
        volume
    );
    assert_eq!(
        cluster.refused("pods", pod("x", json!({"serviceAccountName": "none"}))),
        "pods \"x\" is forbidden: error looking up service account default/none: serviceaccount \"none\" not found"
    );
    let status = cluster.delete("namespaces", "", "kube-system").unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            403,
            "namespaces \"kube-system\" is forbidden: this namespace may not be deleted"
        )
    );
}

#[test]
fn namespaces_choose_how_secure_pods_are() {
    let cluster = Cluster::start("10.100.0.0/16");
    let labels = json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"});
    cluster.make("namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "safe", "labels": labels}}));
    cluster.make("serviceaccounts", json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "safe"}}));
    let mut host = pod("host", json!({"hostNetwork": true}));
    host.metadata_mut().insert("namespace", "safe");
    assert_eq!(
        cluster.refused("pods", host),
        "pods \"host\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"
    );
    let mut usual = pod("usual", json!({}));
    usual.metadata_mut().insert("namespace", "safe");
    let reply = cluster
        .sim
        .block_on(cluster.door.call(cluster.call(Verb::Create, "pods", usual)))
        .unwrap();
    assert!(
        reply.warnings[0].starts_with(
            "would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false"
        ),
        "{:?}",
        reply.warnings
    );
}

#[test]
fn claims_get_a_class_and_protection() {
    let cluster = Cluster::start("10.100.0.0/16");
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let made = cluster.make("persistentvolumeclaims", claim);
    assert_eq!(made.at("spec.storageClassName").str(), "gp3");
    assert_eq!(
        made.finalizers().collect::<Vec<_>>(),
        ["kubernetes.io/pvc-protection"]
    );
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"a": "b"}})
}

#[test]
fn that_a_name_is_taken_is_said_last() {
    let cluster = Cluster::start("10.100.0.0/16");
    let held = {
        let mut held = map("held");
        held.set_at(&["metadata", "finalizers"], json!(["example.com/hold"]));
        held
    };
    cluster.make("configmaps", map("a"));
    cluster.make("configmaps", held.clone());
    cluster.delete("configmaps", "default", "held").unwrap();
    let mut bad = map("a");
    bad.set_at(&["metadata", "labels"], json!({"a b": "c"}));
    for (object, wanted) in [
        (bad, "ConfigMap \"a\" is invalid: metadata.labels: "),
        (map("a"), "configmaps \"a\" already exists"),
        (
            held,
            "object is being deleted: configmaps \"held\" already exists",
        ),
    ] {
        let message = cluster.refused("configmaps", object);
        assert!(message.starts_with(wanted), "{message}");
    }
    let mut dry = cluster.call(Verb::Create, "configmaps", map("a"));
    dry.options.dry_run = true;
    assert!(cluster.run(dry).unwrap_err().is_already_exists());
    let mut dry = cluster.call(Verb::Create, "configmaps", map("fresh"));
    dry.options.dry_run = true;
    let shown = cluster.run(dry).unwrap().to_value();
    assert!(shown["metadata"]["resourceVersion"].is_null(), "{shown:?}");
}

#[test]
fn what_the_server_owns_is_not_moved() {
    let cluster = Cluster::start("10.100.0.0/16");
    let made = cluster.make("configmaps", map("a"));
    let change = |verb, field: &str, to: Value| {
        let mut object = made.to_value();
        object.set_at(&["metadata", field], to);
        let mut call = cluster.call(verb, "configmaps", object.clone());
        if verb == Verb::Patch {
            call = call.with_patch(registry::PatchKind::Merge, object);
        }
        cluster.run(call).map(|object| object.to_value())
    };
    for (verb, field, to, code, wanted) in [
        (
            Verb::Update,
            "uid",
            json!("x"),
            409,
            "StorageError: invalid object, Code: 4, Key: /configmaps/default/a",
        ),
        (
            Verb::Patch,
            "uid",
            json!("x"),
            422,
            "metadata.uid: Invalid value: \"x\": field is immutable",
        ),
        (
            Verb::Update,
            "deletionTimestamp",
            json!("2020-01-01T00:00:00Z"),
            422,
            "metadata.deletionTimestamp: Invalid value: \"2020-01-01T00:00:00Z\": field is immutable",
        ),
        (
            Verb::Update,
            "resourceVersion",
            json!("x"),
            500,
            "strconv.ParseUint: parsing \"x\": invalid syntax",
        ),
    ] {
        let status = change(verb, field, to).unwrap_err();
        assert_eq!(status.code(), code, "{field} {}", status.message());
        assert!(status.message().contains(wanted), "{}", status.message());
    }
    change(Verb::Update, "creationTimestamp", Value::Null).unwrap();
}

#[test]
fn quota_counts_what_nobody_refuses() {
    let cluster = Cluster::start("10.100.0.0/16");
    cluster.make("resourcequotas", json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": {"count/secrets": "1", "services.nodeports": "0"}}}));
    let both = json!({"type": "NodePort", "clusterIP": "10.100.0.10"});
    let message = cluster.refused("services", service("both", both));
    assert!(message.contains("already allocated"), "{message}");
}

#[test]
fn deletions_know_their_options() {
    let cluster = Cluster::start("10.100.0.0/16");
    let made = cluster.make("configmaps", map("a"));
    let delete = |options: Value| {
        let call = cluster.call(Verb::Delete, "configmaps", made.to_value());
        let call = call.with_object(options);
        cluster.sim.block_on(cluster.door.call(call)).map(drop)
    };
    for (options, code, wanted) in [
        (
            json!({"dryRun": ["x"]}),
            422,
            "DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"x\"]: supported values: \"All\"",
        ),
        (
            json!({"apiVersion": "v1", "kind": "Status"}),
            400,
            "converting (v1.Status) to (v1.DeleteOptions): unknown conversion",
        ),
        (
            json!({"apiVersion": "v1", "kind": "Pod"}),
            400,
            "converting (v1.Pod) to (v1.DeleteOptions): unknown conversion",
        ),
        (
            json!({"preconditions": {"resourceVersion": "1"}}),
            409,
            "Operation cannot be fulfilled on ConfigMap \"a\": the ResourceVersion in the precondition (1)",
        ),
        (
            json!({"preconditions": {"resourceVersion": "x"}}),
            409,
            "Operation cannot be fulfilled on ConfigMap \"a\": the ResourceVersion in the precondition (x)",
        ),
        (
            json!({"orphanDependents": true, "propagationPolicy": "Orphan"}),
            422,
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set",
        ),
        (
            json!({"gracePeriodSeconds": "1"}),
            400,
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        ),
    ] {
        let status = delete(options).unwrap_err();
        assert_eq!(status.code(), code);
        assert!(status.message().starts_with(wanted), "{}", status.message());
    }
    delete(json!({"apiVersion": "v1", "kind": "DeleteOptions"})).unwrap();
}

#[test]
fn bodies_of_subresources_are_checked_strictly() {
    let cluster = Cluster::start("10.100.0.0/16");
    let strict = |call: Call| {
        let mut call = call;
        call.options.field_validation = registry::FieldValidation::Strict;
        let outcome = cluster.sim.block_on(cluster.door.call(call));
        outcome.map(drop).unwrap_err().message().to_owned()
    };
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    cluster.make("deployments.apps", deployment.clone());
    let on = |verb, subresource| {
        let call = cluster.call(verb, "deployments.apps", deployment.clone());
        call.on(subresource)
    };
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 2, "x": 1}});
    assert_eq!(
        strict(on(Verb::Update, "scale").with_object(scale.clone())),
        "Scale in version \"v1\" cannot be handled as a Scale: strict decoding error: unknown field \"spec.x\""
    );
    let patched = strict(on(Verb::Patch, "scale").with_patch(registry::PatchKind::Merge, scale));
    assert!(
        patched.ends_with("strict decoding error: unknown field \"spec.x\""),
        "{patched}"
    );
    let status = on(Verb::Patch, "status").with_patch(
        registry::PatchKind::Merge,
        json!({"metadata": {"labels": {"s": "t"}, "annotations": {"s": "t"}}}),
    );
    let written = cluster.run(status).unwrap().to_value();
    assert!(written["metadata"]["labels"].is_null());
    assert_eq!(written.at(&["metadata", "annotations", "s"]).str(), "t");
}

#[test]
fn definitions_start_with_what_they_store_and_need_a_version_to_change() {
    let cluster = Cluster::start("10.100.0.0/16");
    let made = cluster.make("customresourcedefinitions.apiextensions.k8s.io", json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "foos.a.io"},
        "spec": {"group": "a.io", "names": {"plural": "foos", "kind": "Foo"}, "scope": "Cluster",
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}}));
    assert_eq!(
        made.at("status").to_value(),
        json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": ["v1"]})
    );
    let mut blind = made.to_value();
    blind.metadata_mut().remove("resourceVersion");
    let call = cluster.call(
        Verb::Update,
        "customresourcedefinitions.apiextensions.k8s.io",
        blind,
    );
    assert_eq!(
        cluster.run(call).unwrap_err().message(),
        "customresourcedefinitions.apiextensions.k8s.io \"foos.a.io\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );
}

#[test]
fn metadata_is_an_object_and_cluster_scoped_objects_have_no_namespace() {
    let cluster = Cluster::start("10.100.0.0/16");
    let mut odd = map("a");
    odd["metadata"] = json!([]);
    let mut call = cluster.call(Verb::Create, "configmaps", map("a"));
    call = call.with_object(odd);
    assert_eq!(
        cluster.run(call).unwrap_err().message(),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal array into Go struct field ConfigMap.metadata of type v1.ObjectMeta"
    );
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r", "namespace": "default"}});
    let call = cluster
        .door
        .component_call(
            &cluster.user,
            Verb::Create,
            "clusterroles.rbac.authorization.k8s.io",
            "",
            "",
        )
        .unwrap()
        .with_object(role);
    assert_eq!(cluster.run(call).unwrap().namespace(), "");
}

#[test]
fn names_that_make_bad_host_names_are_warned_of() {
    let cluster = Cluster::start("10.100.0.0/16");
    let call = cluster.call(Verb::Create, "pods", pod("a.b", json!({})));
    let reply = cluster.sim.block_on(cluster.door.call(call)).unwrap();
    assert_eq!(
        reply.warnings,
        [
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"
        ]
    );
}

#[test]
fn a_limit_range_may_go_unnamed() {
    let cluster = Cluster::start("10.100.0.0/16");
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"namespace": "default"}, "spec": {"limits": []}});
    let made = cluster.make("limitranges", range);
    assert_eq!(made.name(), made.uid());
}

#[test]
fn a_volume_tells_since_when_it_is_what_it_is() {
    let cluster = Cluster::start("10.96.0.0/16");
    let now = || machinery::format_time(cluster.sim.world().now().0);
    let mut volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/v"}}});
    let since = |made: &Object| made.at("status.lastPhaseTransitionTime").str().to_owned();
    let born = now();
    assert_eq!(
        since(&cluster.make("persistentvolumes", volume.clone())),
        born
    );
    let own = "2020-01-01T00:00:00Z";
    for (phase, said, wanted) in [
        ("Pending", None, born.as_str()),
        ("Available", None, "now"),
        ("Bound", Some(own), own),
        ("Bound", Some(own), own),
        ("Released", Some(own), "now"),
    ] {
        cluster.sim.run_for(Duration::from_secs(10));
        let stored = cluster.door.snapshot();
        let stored = stored
            .get("persistentvolumes", &registry::Key::new("", "v"))
            .unwrap();
        let time = said.map_or_else(|| since(stored), str::to_owned);
        volume["status"] = json!({"phase": phase, "lastPhaseTransitionTime": time});
        let call = cluster.call(Verb::Update, "persistentvolumes", volume.clone());
        let made = cluster.run(call.on("status")).unwrap();
        let wanted = if wanted == "now" {
            now()
        } else {
            wanted.to_owned()
        };
        assert_eq!(since(&made), wanted, "{phase}");
    }
}
