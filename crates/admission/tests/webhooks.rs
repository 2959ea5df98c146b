//! Webhooks behind a real door over a simulated store, in virtual time: what programs outside are
//! shown, what becomes of their answers, and what clients are told when there are none.

use admission::{AdmissionConfig, webhooks::Webhooks};
use auth::{TokenKey, User};
use base64::{Engine, engine::general_purpose::STANDARD};
use env::{CalloutRequest, CalloutTo, Time};
use machinery::{Object, SmolStr, Status, Value, json};
use registry::{
    Answer, Call, CallEnd, DeleteOptions, Door, DoorConfig, EventType, PatchKind, Reply, Step,
    Verb, Waited, WatchEvent,
};
use sim_env::{DiskImage, DiskSpeed, Scripted, Sim, SimCallout, SimDisk};
use std::{sync::Arc, time::Duration};
use store::{Store, StoreOptions};

const MUTATING: &str = kinds::MUTATING_WEBHOOK_CONFIGURATIONS;
const VALIDATING: &str = kinds::VALIDATING_WEBHOOK_CONFIGURATIONS;
const MAPS: &str = "configmaps";
const SECOND: Duration = Duration::from_secs(1);

struct Cluster {
    sim: Sim,
    door: Door,
    user: Arc<User>,
    outside: Arc<SimCallout>,
}

impl Cluster {
    fn start() -> Self {
        let sim = Sim::new(7, Time::from_unix_seconds(1_800_000_000));
        let disk = SimDisk::new(sim.fork("disk"), DiskSpeed::default(), DiskImage::default());
        let store = sim
            .block_on(Store::open(&sim.world(), disk, StoreOptions::default()))
            .unwrap();
        let outside = SimCallout::new(sim.fork("outside"));
        let door = Door::new(DoorConfig {
            world: sim.world(),
            store,
            catalogue: kinds::Catalogue::builtin(),
            admission: admission::chain(AdmissionConfig::default()),
            webhooks: Some(Arc::new(Webhooks::new(outside.clone(), None))),
            tokens: Arc::new(TokenKey::generate(
                &*sim.world().entropy,
                "https://kubernetes.default.svc",
            )),
        });
        let cluster = Self {
            sim,
            door,
            user: Arc::new(User::component("alice")),
            outside,
        };
        for name in ["default", "other"] {
            let labels = json!({"team": name});
            cluster.make("namespaces", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}));
        }
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}});
        cluster.make("serviceaccounts", account);
        cluster
    }

    fn call(&self, verb: Verb, storage: &str, object: Value) -> Call {
        let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
        let name = if verb == Verb::Create { "" } else { &name };
        self.door
            .component_call(&self.user, verb, storage, &namespace, name)
            .unwrap()
            .with_object(object)
    }

    fn reply(&self, call: Call) -> Result<Reply, Status> {
        self.sim.block_on(self.door.call(call))
    }

    fn run(&self, call: Call) -> Result<Arc<Object>, Status> {
        self.reply(call)
            .map(|reply| reply.object().expect("an object is answered").clone())
    }

    fn make(&self, storage: &str, object: Value) -> Arc<Object> {
        self.run(self.call(Verb::Create, storage, object)).unwrap()
    }

    fn refused(&self, storage: &str, object: Value) -> Status {
        let call = self.call(Verb::Create, storage, object);
        self.run(call).map(|made| made.to_value()).unwrap_err()
    }

    /// One webhook as a configuration, answered by a script that is given the request.
    fn hook(
        &self,
        storage: &str,
        name: &str,
        change: Value,
        script: impl Fn(&Value) -> Scripted + Send + Sync + 'static,
    ) {
        let url = format!("https://{name}.test/check");
        let mut hook = json!({
            "name": format!("{name}.hooks.test"), "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "clientConfig": {"url": &url},
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        });
        for (field, value) in change.entries() {
            hook[field.as_str()] = value.clone();
        }
        let kind = match storage {
            MUTATING => "MutatingWebhookConfiguration",
            _ => "ValidatingWebhookConfiguration",
        };
        self.make(storage, json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": [hook]}));
        self.outside
            .serve(&url, move |request| script(&request_of(request)));
    }

    /// The requests that programs outside have seen.
    fn seen(&self) -> Vec<Value> {
        self.outside.take_asked().iter().map(request_of).collect()
    }
}

fn request_of(request: &CalloutRequest) -> Value {
    let review: Value = serde_json::from_slice(&request.body).unwrap();
    review["request"].clone()
}

fn answer(request: &Value, mut response: Value) -> Scripted {
    response["uid"] = request["uid"].clone();
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    Scripted::body(serde_json::to_vec(&review).unwrap())
}

fn allow(request: &Value) -> Scripted {
    answer(request, json!({"allowed": true}))
}

fn patch(request: &Value, operations: Value) -> Scripted {
    let patch = STANDARD.encode(serde_json::to_vec(&operations).unwrap());
    answer(
        request,
        json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}),
    )
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"k": "v"}})
}

#[test]
fn a_write_is_shown_whole_and_patched() {
    let cluster = Cluster::start();
    cluster.hook(MUTATING, "adds", json!({}), |request| {
        patch(
            request,
            json!([{"op": "add", "path": "/data/seen", "value": "yes"}]),
        )
    });
    let mut call = cluster.call(Verb::Create, MAPS, map("a"));
    call.options.field_manager = "me".into();
    let made = cluster.run(call).unwrap();
    assert_eq!(made.at("data.seen").str(), "yes");
    assert!(!made.uid().is_empty());
    let seen = cluster.outside.take_asked();
    let [asked] = &seen[..] else {
        panic!("one call, not {}", seen.len())
    };
    assert_eq!(asked.url, "https://adds.test/check?timeout=10s");
    assert_eq!(asked.server_name, "adds.test");
    let request = request_of(asked);
    let kind = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    assert_eq!(request["kind"], kind);
    assert_eq!(request["requestKind"], kind);
    let resource = json!({"group": "", "version": "v1", "resource": "configmaps"});
    assert_eq!(request["resource"], resource);
    assert_eq!(request["operation"].str(), "CREATE");
    assert_eq!(
        (request["name"].str(), request["namespace"].str()),
        ("a", "default")
    );
    assert_eq!(request["userInfo"]["username"].str(), "alice");
    assert_eq!(request["dryRun"].as_bool(), Some(false));
    assert_eq!(request["oldObject"], Value::Null);
    let options =
        json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"});
    assert_eq!(request["options"], options);
    assert!(
        request["object"]["metadata"]["uid"].is_null(),
        "given later"
    );
}

#[test]
fn names_that_are_made_up_are_not_shown() {
    let cluster = Cluster::start();
    cluster.hook(VALIDATING, "looks", json!({}), allow);
    let made = cluster.make(MAPS, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-", "namespace": "default"}}));
    assert!(made.name().starts_with("x-"));
    let seen = cluster.seen();
    assert!(seen[0]["name"].is_null() && seen[0]["object"]["metadata"]["name"].is_null());
}

#[test]
fn refusals_say_who_and_why() {
    let cluster = Cluster::start();
    let denied = json!({"allowed": false, "status": {"message": "not here", "code": 403, "reason": "Forbidden"}});
    cluster.hook(VALIDATING, "denies", json!({}), move |request| {
        answer(request, denied.clone())
    });
    let status = cluster.refused(MAPS, map("a"));
    assert_eq!(
        status.message(),
        "admission webhook \"denies.hooks.test\" denied the request: not here"
    );
    assert_eq!(status.code(), 403);
    let bare = Cluster::start();
    bare.hook(MUTATING, "denies", json!({}), |request| {
        answer(request, json!({"allowed": false}))
    });
    let status = bare.refused(MAPS, map("a"));
    assert_eq!(
        status.message(),
        "admission webhook \"denies.hooks.test\" denied the request without explanation"
    );
    assert_eq!(status.code(), 400);
}

#[test]
fn failures_refuse_or_are_ignored() {
    let failing = |policy: &str, script: fn(&Value) -> Scripted| {
        let cluster = Cluster::start();
        let change = json!({"failurePolicy": policy, "timeoutSeconds": 2});
        cluster.hook(VALIDATING, "fails", change, script);
        let call = cluster.call(Verb::Create, MAPS, map("a"));
        let before = cluster.sim.now();
        let outcome = cluster.run(call).map(|made| made.to_value());
        (outcome, cluster.sim.now().0 - before.0)
    };
    let prefix = "Internal error occurred: failed calling webhook \"fails.hooks.test\": ";
    let slow: fn(&Value) -> Scripted = |request| allow(request).after(SECOND * 60);
    for (script, wanted) in [
        (
            slow,
            "failed to call webhook: Post \"https://fails.test/check?timeout=2s\": context deadline exceeded",
        ),
        (
            |_| Scripted::failure("dial tcp 1.2.3.4:443: connect: connection refused"),
            "failed to call webhook: Post \"https://fails.test/check?timeout=2s\": dial tcp 1.2.3.4:443: connect: connection refused",
        ),
        (
            |_| Scripted::status(500, "oops"),
            "failed to call webhook: an error on the server (\"oops\") has prevented the request from succeeding",
        ),
        (
            |_| Scripted::body("{}"),
            "received invalid webhook response: webhook response was absent",
        ),
    ] {
        let (outcome, _) = failing("Fail", script);
        assert_eq!(outcome.unwrap_err().message(), format!("{prefix}{wanted}"));
        assert!(failing("Ignore", script).0.is_ok());
    }
    let (_, waited) = failing("Fail", slow);
    assert!(waited >= 2_000_000_000 / nanos_per_unit(), "{waited}");
}

/// Units of [`Time`] in a nanosecond count.
fn nanos_per_unit() -> u64 {
    let second = Time::from_unix_seconds(1).0;
    1_000_000_000 / second
}

#[test]
fn services_are_found_or_named_missing() {
    let cluster = Cluster::start();
    let client = json!({"service": {"namespace": "default", "name": "hook", "path": "/x"}});
    cluster.hook(VALIDATING, "asks", json!({"clientConfig": client}), allow);
    let prefix = "Internal error occurred: failed calling webhook \"asks.hooks.test\": failed to call webhook: Post \"https://hook.default.svc:443/x?timeout=10s\": ";
    let status = cluster.refused(MAPS, map("a"));
    assert_eq!(
        status.message(),
        format!("{prefix}service \"hook\" not found")
    );
    cluster.make("services", json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook", "namespace": "default"}, "spec": {"ports": [{"port": 443, "targetPort": 8443}]}}));
    let status = cluster.refused(MAPS, map("a"));
    assert_eq!(
        status.message(),
        format!("{prefix}no endpoints available for service \"hook\"")
    );
    cluster.make("endpointslices.discovery.k8s.io", json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "hook-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "hook"}},
        "endpoints": [{"addresses": ["10.0.0.9"], "nodeName": "n", "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "namespace": "default", "name": "hook-0"}}],
        "ports": [{"name": "", "port": 8443, "protocol": "TCP"}],
    }));
    cluster.outside.take_asked();
    cluster
        .outside
        .serve("https://hook.default.svc:443/x", |request| {
            allow(&request_of(request))
        });
    cluster.make(MAPS, map("a"));
    let asked = cluster.outside.take_asked();
    let CalloutTo::Pod(pod) = &asked[0].to else {
        panic!("{:?}", asked[0].to);
    };
    assert_eq!(
        (pod.pod.as_str(), pod.port, asked[0].server_name.as_str()),
        ("hook-0", 8443, "hook.default.svc")
    );
}

#[test]
fn external_names_are_asked_where_they_lead() {
    let cluster = Cluster::start();
    let client =
        json!({"service": {"namespace": "default", "name": "out", "path": "/x", "port": 8443}});
    cluster.hook(VALIDATING, "asks", json!({"clientConfig": client}), allow);
    cluster.make("services", json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "out", "namespace": "default"},
        "spec": {"type": "ExternalName", "externalName": "hooks.example.com"}}));
    cluster
        .outside
        .serve("https://out.default.svc:8443/x", |request| {
            allow(&request_of(request))
        });
    cluster.make(MAPS, map("a"));
    let asked = cluster.outside.take_asked();
    let to = CalloutTo::Host("hooks.example.com".into(), 8443);
    assert_eq!(
        (&asked[0].to, &asked[0].server_name[..]),
        (&to, "out.default.svc")
    );
}

#[test]
fn selectors_and_rules_choose() {
    let cluster = Cluster::start();
    cluster.hook(
        VALIDATING,
        "team",
        json!({"namespaceSelector": {"matchLabels": {"team": "other"}}}),
        allow,
    );
    cluster.hook(
        VALIDATING,
        "object",
        json!({"objectSelector": {"matchLabels": {"watched": "yes"}}}),
        allow,
    );
    let rules = json!([{"operations": ["DELETE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "scope": "Namespaced"}]);
    cluster.hook(VALIDATING, "deletes", json!({"rules": rules}), allow);
    let asked = || -> Vec<String> {
        let asked = cluster.outside.take_asked();
        asked.iter().map(|one| one.server_name.clone()).collect()
    };
    cluster.make(MAPS, map("a"));
    assert_eq!(asked(), [""; 0]);
    let mut other = map("a");
    other.metadata_mut().insert("namespace", "other");
    cluster.make(MAPS, other);
    assert_eq!(asked(), ["team.test"]);
    let mut labelled = map("a");
    labelled.set_at(&["metadata", "labels", "watched"], "yes");
    cluster
        .run(cluster.call(Verb::Update, MAPS, labelled))
        .unwrap();
    assert_eq!(asked(), ["object.test"]);
    // The label is gone from the new object, but the old one has it.
    cluster
        .run(cluster.call(Verb::Update, MAPS, map("a")))
        .unwrap();
    assert_eq!(asked(), ["object.test"]);
    let mut call = cluster.call(Verb::Delete, MAPS, map("a"));
    call.body = Default::default();
    cluster.reply(call).unwrap();
    assert_eq!(asked(), ["deletes.test"]);
}

#[test]
fn deletions_show_what_goes_and_its_options() {
    let cluster = Cluster::start();
    cluster.hook(MUTATING, "first", json!({}), allow);
    cluster.hook(VALIDATING, "second", json!({}), allow);
    cluster.make(MAPS, map("a"));
    cluster.make(MAPS, map("b"));
    cluster.seen();
    let mut call = cluster.call(Verb::Delete, MAPS, map("a"));
    call.body = Default::default();
    call.options.delete = DeleteOptions {
        grace_seconds: Some(3),
        ..Default::default()
    };
    cluster.reply(call).unwrap();
    let seen = cluster.seen();
    assert_eq!(seen.len(), 2);
    for request in &seen {
        assert_eq!(request["operation"].str(), "DELETE");
        assert_eq!(request["object"], Value::Null);
        assert_eq!(request["oldObject"].name(), "a");
        assert_eq!(request["options"]["kind"].str(), "DeleteOptions");
        assert_eq!(request["options"]["gracePeriodSeconds"].as_i64(), Some(3));
    }
    cluster.make(MAPS, map("a"));
    cluster.seen();
    let all =
        cluster
            .door
            .component_call(&cluster.user, Verb::DeleteCollection, MAPS, "default", "");
    cluster.reply(all.unwrap()).unwrap();
    let names: Vec<_> = cluster
        .seen()
        .iter()
        .map(|one| one["oldObject"].name().to_owned())
        .collect();
    assert_eq!(names, ["a", "a", "b", "b"]);
}

#[test]
fn dry_runs_ask_only_those_without_side_effects() {
    let cluster = Cluster::start();
    cluster.hook(
        VALIDATING,
        "none",
        json!({"sideEffects": "NoneOnDryRun"}),
        allow,
    );
    let mut call = cluster.call(Verb::Create, MAPS, map("a"));
    call.options.dry_run = true;
    cluster.run(call).unwrap();
    let seen = cluster.seen();
    assert_eq!(seen[0]["dryRun"].as_bool(), Some(true));
    assert_eq!(seen[0]["options"]["dryRun"], json!(["All"]));
}

#[test]
fn those_who_care_are_asked_again_after_a_change() {
    let cluster = Cluster::start();
    let add = |key: &'static str| {
        move |request: &Value| {
            let path = format!("/data/{key}");
            patch(request, json!([{"op": "add", "path": path, "value": "x"}]))
        }
    };
    cluster.hook(
        MUTATING,
        "a-again",
        json!({"reinvocationPolicy": "IfNeeded"}),
        add("a"),
    );
    cluster.hook(MUTATING, "b-once", json!({}), add("b"));
    cluster.hook(
        MUTATING,
        "c-last",
        json!({"reinvocationPolicy": "IfNeeded"}),
        add("c"),
    );
    let made = cluster.make(MAPS, map("m"));
    assert_eq!(
        made.at("data").to_value(),
        json!({"a": "x", "b": "x", "c": "x", "k": "v"})
    );
    let asked: Vec<_> = cluster
        .outside
        .take_asked()
        .into_iter()
        .map(|one| one.server_name)
        .collect();
    // Nothing has changed since the last one's own change, so it is not asked again.
    assert_eq!(
        asked,
        ["a-again.test", "b-once.test", "c-last.test", "a-again.test"]
    );
}

#[test]
fn patched_objects_are_checked_like_any_other() {
    let patched = |operations: Value| {
        let cluster = Cluster::start();
        cluster.hook(MUTATING, "spoils", json!({}), move |request| {
            patch(request, operations.clone())
        });
        let call = cluster.call(Verb::Create, MAPS, map("a"));
        cluster.run(call).map(|made| made.to_value())
    };
    let wrong =
        patched(json!([{"op": "replace", "path": "/data", "value": {"k": 1}}])).unwrap_err();
    assert_eq!(wrong.code(), 500, "{wrong}");
    let wrong = patched(json!([{"op": "add", "path": "/data/bad key", "value": "x"}])).unwrap_err();
    assert_eq!(wrong.code(), 422, "{wrong}");
    let wrong = patched(json!([{"op": "remove", "path": "/data/none"}])).unwrap_err();
    assert_eq!(wrong.code(), 500, "{wrong}");
    let made = patched(json!([{"op": "add", "path": "/unknown", "value": 1}])).unwrap();
    assert!(made["unknown"].is_null(), "unknown fields are dropped");
    let made = patched(
        json!([{"op": "replace", "path": "/metadata/uid", "value": "mine"}, {"op": "add", "path": "/metadata/uid", "value": "mine"}]),
    );
    assert!(made.is_err() || made.unwrap().uid() != "mine");
}

#[test]
fn validating_webhooks_run_side_by_side() {
    let cluster = Cluster::start();
    let slowly = |request: &Value| allow(request).after(SECOND * 5);
    cluster.hook(VALIDATING, "a", json!({}), slowly);
    cluster.hook(VALIDATING, "b", json!({}), slowly);
    let before = cluster.sim.now();
    cluster.make(MAPS, map("x"));
    let waited = cluster.sim.now().0 - before.0;
    let five = (Time::default() + SECOND * 5).0;
    assert!((five..five * 3 / 2).contains(&waited), "{waited}");
}

#[test]
fn calls_and_waiting_are_counted() {
    let cluster = Cluster::start();
    let slowly = |request: &Value| allow(request).after(SECOND * 5);
    for name in ["a", "b"] {
        cluster.hook(VALIDATING, name, json!({}), slowly);
    }
    cluster.hook(MUTATING, "m", json!({}), |request| {
        allow(request).after(SECOND)
    });
    let ignored = json!({"failurePolicy": "Ignore"});
    cluster.hook(VALIDATING, "fails", ignored, |_| {
        Scripted::status(500, "oops")
    });
    let mut call = cluster.call(Verb::Create, MAPS, map("x"));
    call.options.waited = Waited::kept();
    let waited = call.options.waited.clone();
    cluster.run(call).unwrap();
    // The slowest of those asked at once, after the one before them.
    assert!((6_000_000..6_500_000).contains(&waited.micros()));
    cluster.hook(VALIDATING, "denies", json!({}), |request| {
        answer(request, json!({"allowed": false, "status": {"code": 403}}))
    });
    cluster.refused(MAPS, map("y"));
    let shown = cluster.door.measures().calls(|calls| {
        let shown = calls.iter().map(|(call, series)| {
            let count = series.durations.count();
            (
                call.name.to_string(),
                call.rejected,
                count,
                series.ends.clone(),
            )
        });
        shown.collect::<Vec<_>>()
    });
    let wanted = [
        ("m.hooks.test", false, 2, CallEnd::Passed),
        ("a.hooks.test", false, 2, CallEnd::Passed),
        ("b.hooks.test", false, 2, CallEnd::Passed),
        ("denies.hooks.test", true, 1, CallEnd::Refused(403)),
        ("fails.hooks.test", false, 2, CallEnd::Failed(500)),
    ];
    let mut wanted = wanted.map(|(name, rejected, count, end)| {
        (name.to_owned(), rejected, count, [(end, count)].into())
    });
    wanted.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(shown, wanted);
    let refused = |(operation, step, rejected, found): (_, Step, bool, &registry::Histogram<6>)| {
        (rejected, step) == (true, Step::Validate)
            && operation == registry::Operation::Create
            && found.count() == 1
    };
    assert!(cluster.door.measures().steps().any(refused));
}

#[test]
fn configurations_of_admission_are_shown_to_nobody() {
    let cluster = Cluster::start();
    let rules = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]);
    cluster.hook(VALIDATING, "all", json!({"rules": rules}), |request| {
        answer(request, json!({"allowed": false}))
    });
    cluster.hook(VALIDATING, "more", json!({}), allow);
    assert_eq!(cluster.seen().len(), 0);
    let mut call = cluster.call(
        Verb::Delete,
        VALIDATING,
        json!({"metadata": {"name": "all"}}),
    );
    call.body = Default::default();
    cluster.reply(call).unwrap();
    assert_eq!(cluster.seen().len(), 0);
}

#[test]
fn warnings_reach_the_client() {
    let cluster = Cluster::start();
    cluster.hook(VALIDATING, "warns", json!({}), |request| {
        answer(
            request,
            json!({"allowed": true, "warnings": ["mind the gap"]}),
        )
    });
    let reply = cluster
        .reply(cluster.call(Verb::Create, MAPS, map("a")))
        .unwrap();
    assert!(
        reply.warnings.contains(&"mind the gap".to_owned()),
        "{:?}",
        reply.warnings
    );
}

#[test]
fn conditions_fail_by_policy_until_they_can_be_evaluated() {
    let conditions = json!([{"name": "c", "expression": "true"}]);
    let run = |policy: &str| {
        let cluster = Cluster::start();
        let change = json!({"matchConditions": conditions.clone(), "failurePolicy": policy});
        cluster.hook(VALIDATING, "cel", change, allow);
        let call = cluster.call(Verb::Create, MAPS, map("a"));
        cluster.run(call).map(|made| made.to_value())
    };
    assert!(run("Ignore").is_ok());
    let status = run("Fail").unwrap_err();
    assert_eq!(status.code(), 403);
}

fn deployment() -> Value {
    let pod = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "default"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": pod},
    })
}

#[test]
fn scales_are_shown_as_scales() {
    let cluster = Cluster::start();
    cluster.make("deployments.apps", deployment());
    let rules = json!([{"operations": ["UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["*/scale"]}]);
    cluster.hook(MUTATING, "doubles", json!({"rules": rules}), |request| {
        patch(
            request,
            json!([{"op": "replace", "path": "/spec/replicas", "value": 6}]),
        )
    });
    let call = cluster
        .call(Verb::Patch, "deployments.apps", deployment())
        .on("scale");
    let call = call.with_patch(PatchKind::Merge, json!({"spec": {"replicas": 3}}));
    let reply = cluster.reply(call).unwrap();
    let Answer::Value(scale) = reply.answer else {
        panic!("a scale is answered")
    };
    assert_eq!(scale["spec"]["replicas"].as_i64(), Some(6));
    let seen = cluster.seen();
    assert_eq!(
        seen[0]["kind"],
        json!({"group": "autoscaling", "version": "v1", "kind": "Scale"})
    );
    assert_eq!(seen[0]["subResource"].str(), "scale");
    assert_eq!(seen[0]["object"]["spec"]["replicas"].as_i64(), Some(3));
    assert_eq!(seen[0]["oldObject"]["spec"]["replicas"].as_i64(), Some(1));
}

#[test]
fn actions_and_connections_are_admitted() {
    let cluster = Cluster::start();
    cluster.make("pods", json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}));
    let rules = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["pods/*", "serviceaccounts/*"]}, {"operations": ["*"], "apiGroups": ["authorization.k8s.io"], "apiVersions": ["*"], "resources": ["*"]}]);
    cluster.hook(VALIDATING, "sees", json!({"rules": rules}), allow);
    let pod = json!({"metadata": {"name": "p", "namespace": "default"}});
    let post = |body: Value, subresource: &str, storage: &str, name: &str| {
        let call =
            cluster
                .door
                .component_call(&cluster.user, Verb::Create, storage, "default", name);
        cluster
            .reply(call.unwrap().on(subresource).with_object(body))
            .unwrap();
        let seen = cluster.seen();
        let request = seen.first().expect("a webhook is asked");
        assert_eq!(seen.len(), 1, "{subresource}");
        (
            request["operation"].str().to_owned(),
            request["kind"]["kind"].str().to_owned(),
            request["subResource"].str().to_owned(),
        )
    };
    let wanted = |kind: &str, subresource: &str| {
        ("CREATE".to_owned(), kind.to_owned(), subresource.to_owned())
    };
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    assert_eq!(
        post(binding, "binding", "pods", "p"),
        wanted("Binding", "binding")
    );
    let token = json!({"spec": {"audiences": ["x"]}});
    assert_eq!(
        post(token, "token", "serviceaccounts", "default"),
        wanted("TokenRequest", "token")
    );
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": "default"}});
    assert_eq!(
        post(eviction, "eviction", "pods", "p"),
        wanted("Eviction", "eviction")
    );
    let connect = cluster.call(Verb::Connect, "pods", pod).on("exec");
    let connect = connect
        .with_object(json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh"]}));
    cluster
        .sim
        .block_on(cluster.door.admit_connection(&connect))
        .unwrap();
    let seen = cluster.seen();
    assert_eq!(seen[0]["operation"].str(), "CONNECT");
    assert_eq!(seen[0]["kind"]["kind"].str(), "PodExecOptions");
    assert_eq!(seen[0]["options"], Value::Null);
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let resource = machinery::GroupVersionResource::new(
        "authorization.k8s.io",
        "v1",
        "selfsubjectaccessreviews",
    );
    let call = Call::new(cluster.user.clone(), Verb::Create, resource, "", "").with_object(review);
    cluster.reply(call).unwrap();
    assert_eq!(
        cluster.seen()[0]["kind"]["kind"].str(),
        "SelfSubjectAccessReview"
    );
}

#[test]
fn rules_of_another_version_see_that_version() {
    let cluster = Cluster::start();
    let rule = |policy: &str| json!({"matchPolicy": policy, "rules": [{"operations": ["CREATE"], "apiGroups": ["autoscaling"], "apiVersions": ["v1"], "resources": ["horizontalpodautoscalers"]}]});
    cluster.hook(MUTATING, "exact", rule("Exact"), allow);
    cluster.hook(MUTATING, "like", rule("Equivalent"), |request| {
        patch(
            request,
            json!([{"op": "replace", "path": "/spec/maxReplicas", "value": 7}]),
        )
    });
    let scaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h", "namespace": "default"},
        "spec": {"maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]},
    });
    let made = cluster.make("horizontalpodautoscalers.autoscaling", scaler);
    assert_eq!(made.at("spec.maxReplicas").as_i64(), Some(7));
    assert_eq!(made.at("apiVersion").str(), "autoscaling/v2");
    assert_eq!(made.at("spec.metrics").items().count(), 1);
    let seen = cluster.seen();
    assert_eq!(seen.len(), 1, "the exact rule does not match");
    assert_eq!(seen[0]["kind"]["version"].str(), "v1");
    assert_eq!(seen[0]["requestKind"]["version"].str(), "v2");
    assert_eq!(seen[0]["object"]["apiVersion"].str(), "autoscaling/v1");
    assert_eq!(
        seen[0]["object"]["spec"]["targetCPUUtilizationPercentage"].as_i64(),
        Some(50)
    );
}

const CONVERTER: &str = "https://convert.test/convert";

/// Custom `things` in `v1` (stored) and `v2`, converted by a program outside.
fn things(cluster: &Cluster) {
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {"host": {"type": "string"}, "hosts": {"type": "array", "items": {"type": "string"}}}}}}});
    let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": schema.clone()});
    let webhook = json!({"clientConfig": {"url": CONVERTER}, "conversionReviewVersions": ["v1"]});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.test"},
        "spec": {
            "group": "example.test", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing", "singular": "thing", "listKind": "ThingList"},
            "versions": [version("v1", true), version("v2", false)],
            "conversion": {"strategy": "Webhook", "webhook": webhook},
        },
    });
    let made = cluster.make("customresourcedefinitions.apiextensions.k8s.io", definition);
    let kinds = kinds::kinds_of_crd(made.root()).unwrap();
    let catalogue = cluster.door.catalogue().with_custom(kinds);
    cluster.door.set_catalogue(catalogue);
    cluster.outside.serve(CONVERTER, |request| {
        let request = request_of(request);
        let to = request["desiredAPIVersion"].str();
        let converted: Vec<Value> = request["objects"]
            .items()
            .iter()
            .map(|one| converted(one, to))
            .collect();
        conversion(
            &request,
            json!({"result": {"status": "Success"}, "convertedObjects": converted}),
        )
    });
}

fn conversion(request: &Value, mut response: Value) -> Scripted {
    response["uid"] = request["uid"].clone();
    let review = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response});
    Scripted::body(serde_json::to_vec(&review).unwrap())
}

/// `spec.host` of v1 is `spec.hosts` of v2.
fn converted(object: &Value, to: &str) -> Value {
    let mut made = object.clone();
    made["apiVersion"] = to.into();
    if to.ends_with("/v2") {
        let host = made.remove_at(&["spec", "host"]).unwrap_or_default();
        made.set_at(&["spec", "hosts"], vec![host]);
    } else {
        let hosts = made.remove_at(&["spec", "hosts"]).unwrap_or_default();
        made.set_at(&["spec", "host"], hosts[0].clone());
    }
    made
}

fn thing(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("example.test/{version}"), "kind": "Thing", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

impl Cluster {
    fn on_things(&self, verb: Verb, version: &str, name: &str) -> Call {
        let resource = machinery::GroupVersionResource::new("example.test", version, "things");
        Call::new(self.user.clone(), verb, resource, "default", name)
    }

    fn hosts(&self, version: &str) -> Result<Vec<Value>, Status> {
        let reply = self.reply(self.on_things(Verb::List, version, ""))?;
        let Answer::List(list) = reply.answer else {
            panic!("a list is answered")
        };
        Ok(list
            .items
            .iter()
            .map(|one| one.at("spec").to_value())
            .collect())
    }
}

#[test]
fn custom_kinds_are_converted_outside() {
    let cluster = Cluster::start();
    things(&cluster);
    let create = cluster.on_things(Verb::Create, "v2", "").with_object(thing(
        "v2",
        "a",
        json!({"hosts": ["x"]}),
    ));
    let made = cluster.run(create).unwrap();
    assert_eq!(
        made.at("spec").to_value(),
        json!({"hosts": ["x"]}),
        "answered as asked"
    );
    let key = registry::Key::new("default", "a");
    let stored = cluster
        .door
        .snapshot()
        .get("things.example.test", &key)
        .cloned()
        .unwrap();
    assert_eq!(stored.at("apiVersion").str(), "example.test/v1");
    assert_eq!(stored.at("spec").to_value(), json!({"host": "x"}));
    let create = cluster.on_things(Verb::Create, "v1", "").with_object(thing(
        "v1",
        "b",
        json!({"host": "y"}),
    ));
    cluster.outside.take_asked();
    cluster.run(create).unwrap();
    assert_eq!(
        cluster.outside.take_asked().len(),
        0,
        "the stored version needs nobody"
    );
    assert_eq!(
        cluster.hosts("v2").unwrap(),
        [json!({"hosts": ["x"]}), json!({"hosts": ["y"]})]
    );
    let asked = cluster.outside.take_asked();
    assert_eq!(asked.len(), 1, "a list is converted at once");
    assert_eq!(asked[0].url, format!("{CONVERTER}?timeout=30s"));
    let patch = cluster
        .on_things(Verb::Patch, "v2", "a")
        .with_patch(PatchKind::Merge, json!({"spec": {"hosts": ["z"]}}));
    cluster.run(patch).unwrap();
    let got = cluster
        .run(cluster.on_things(Verb::Get, "v1", "a"))
        .unwrap();
    assert_eq!(got.at("spec.host").str(), "z");
}

#[test]
fn conversions_that_fail_say_so() {
    let cluster = Cluster::start();
    things(&cluster);
    let create = cluster.on_things(Verb::Create, "v1", "").with_object(thing(
        "v1",
        "a",
        json!({"host": "x"}),
    ));
    cluster.run(create).unwrap();
    let failing = |script: fn(&Value) -> Scripted| {
        cluster
            .outside
            .serve(CONVERTER, move |request| script(&request_of(request)));
        let get = cluster
            .run(cluster.on_things(Verb::Get, "v2", "a"))
            .map(|made| made.to_value());
        (get.unwrap_err(), cluster.hosts("v2").unwrap_err())
    };
    let (get, list) = failing(|_| Scripted::failure("EOF"));
    assert_eq!(
        get.message(),
        format!(
            "conversion webhook for example.test/v1, Kind=Thing failed: Post \"{CONVERTER}?timeout=30s\": EOF"
        )
    );
    assert_eq!(
        list.message(),
        format!(
            "conversion webhook for example.test/v2, Kind=ThingList failed: Post \"{CONVERTER}?timeout=30s\": EOF"
        )
    );
    assert_eq!(get.code(), 500);
    let (get, _) = failing(|request| {
        conversion(
            request,
            json!({"result": {"status": "Failure", "message": "no way"}}),
        )
    });
    assert_eq!(
        get.message(),
        "conversion webhook for example.test/v1, Kind=Thing failed: no way"
    );
    let (get, _) = failing(|request| {
        conversion(
            request,
            json!({"result": {"status": "Success"}, "convertedObjects": []}),
        )
    });
    assert_eq!(
        get.message(),
        "conversion webhook for example.test/v1, Kind=Thing returned 0 objects, expected 1"
    );
    let (get, _) = failing(|request| {
        let mut other = converted(&request["objects"][0], "example.test/v2");
        other.metadata_mut().insert("name", "other");
        conversion(
            request,
            json!({"result": {"status": "Success"}, "convertedObjects": [other]}),
        )
    });
    assert_eq!(
        get.message(),
        "conversion webhook for example.test/v1, Kind=Thing returned invalid object: must have the same name: a != other"
    );
}

#[test]
fn watches_convert_in_order_and_end_where_they_cannot() {
    let cluster = Cluster::start();
    things(&cluster);
    let create = |name: &str| {
        let create = cluster.on_things(Verb::Create, "v1", "").with_object(thing(
            "v1",
            name,
            json!({"host": name}),
        ));
        cluster.run(create).unwrap();
    };
    create("a");
    let reply = cluster
        .reply(cluster.on_things(Verb::Watch, "v2", ""))
        .unwrap();
    let Answer::Watch(mut stream) = reply.answer else {
        panic!("a stream is answered")
    };
    create("b");
    create("c");
    for name in ["a", "b", "c"] {
        let event = cluster.sim.block_on(stream.next());
        let Some(WatchEvent::Object(EventType::Added, object)) = event else {
            panic!("{event:?}")
        };
        assert_eq!(
            object.at("spec.hosts").to_value(),
            json!([SmolStr::new(name)])
        );
    }
    cluster
        .outside
        .serve(CONVERTER, |_| Scripted::failure("EOF"));
    create("d");
    let event = cluster.sim.block_on(stream.next());
    let Some(WatchEvent::Error(status)) = event else {
        panic!("{event:?}")
    };
    assert!(
        status
            .message()
            .starts_with("conversion webhook for example.test/v1, Kind=Thing failed"),
        "{status}"
    );
    assert!(cluster.sim.block_on(stream.next()).is_none());
}
