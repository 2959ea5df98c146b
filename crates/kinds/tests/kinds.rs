//! What each kind promises: catalogue, defaults, refusals, tables, definitions.

use kinds::{Catalogue, Kind, kinds_of_crd};
use machinery::{GroupVersionKind, Object, Value, flat, json};
use std::sync::Arc;

fn kind(api_version: &str, kind: &str) -> Arc<Kind> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let name = GroupVersionKind::new(group, version, kind);
    Catalogue::builtin()
        .kind(&name)
        .unwrap_or_else(|| panic!("no {name}"))
        .clone()
}

fn of(object: &Value) -> Arc<Kind> {
    kind(object["apiVersion"].str(), object["kind"].str())
}

fn named(api_version: &str, kind: &str, body: Value) -> Value {
    let mut object = body;
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    let metadata = object.metadata_mut();
    metadata.insert("name", "a");
    object
}

/// The object as it is stored after a create, and everything wrong with it.
fn created(mut object: Value) -> (Value, Vec<String>) {
    let kind = of(&object);
    if kind.namespaced {
        object.metadata_mut().insert("namespace", "default");
    }
    kind.apply_defaults(&mut object);
    kind.prepare_create(&mut object);
    let errors = kind
        .validate(&object)
        .iter()
        .map(ToString::to_string)
        .collect();
    (object, errors)
}

fn container() -> Value {
    json!({"name": "c", "image": "nginx", "ports": [{"containerPort": 80_i64}]})
}

fn pod(spec: Value) -> Value {
    named("v1", "Pod", json!({"spec": spec}))
}

fn deployment() -> Value {
    let template =
        json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container()]}});
    let spec = json!({"selector": {"matchLabels": {"app": "x"}}, "template": template});
    named("apps/v1", "Deployment", json!({"spec": spec}))
}

fn container_stored() -> Value {
    json!({
        "name": "c", "image": "nginx", "imagePullPolicy": "Always", "resources": {},
        "ports": [{"containerPort": 80_i64, "protocol": "TCP"}],
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    })
}

#[test]
fn serves_what_upstream_serves_by_default() {
    let catalogue = Catalogue::builtin();
    assert_eq!(catalogue.iter().count(), 68);
    assert_eq!(catalogue.groups()[0].name, "");
    let autoscaling = catalogue.group("autoscaling").unwrap();
    assert_eq!(autoscaling.versions, ["v2", "v1"]);
    for name in [
        kinds::PODS,
        kinds::DEPLOYMENTS,
        kinds::HORIZONTAL_POD_AUTOSCALERS,
        kinds::EVENTS,
    ] {
        assert_eq!(catalogue.by_storage(name).unwrap().storage, name);
    }
    let events = [("", "v1"), ("events.k8s.io", "v1")];
    for (group, version) in events {
        let kind = catalogue.resource(group, version, "events").unwrap();
        assert_eq!(
            (kind.storage.as_str(), kind.storage_version.as_str()),
            ("events", "v1")
        );
        assert!(!kind.durable && kind.ttl.is_some());
    }
    let deployments = catalogue.resource("apps", "v1", "deployments").unwrap();
    assert_eq!(deployments.scale().unwrap().spec, "spec.replicas");
    assert_eq!(
        deployments.verbs.iter().collect::<Vec<_>>().join(","),
        "create,delete,deletecollection,get,list,patch,update,watch"
    );
    let reviews = catalogue
        .resource("authorization.k8s.io", "v1", "subjectaccessreviews")
        .unwrap();
    assert!(!reviews.stored && reviews.verbs.contains("create") && !reviews.verbs.contains("get"));
}

#[test]
fn a_pod_is_stored_with_its_defaults() {
    let (stored, errors) = created(pod(json!({"containers": [container()]})));
    assert_eq!(errors, [""; 0]);
    assert_eq!(
        stored["spec"],
        json!({
            "containers": [container_stored()], "dnsPolicy": "ClusterFirst", "enableServiceLinks": true,
            "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {},
            "terminationGracePeriodSeconds": 30_i64,
        })
    );
    assert_eq!(
        stored["status"],
        json!({"phase": "Pending", "qosClass": "BestEffort"})
    );
    assert_eq!(stored.at(&["metadata", "generation"]).as_i64(), Some(1));
}

#[test]
fn a_deployment_is_stored_with_its_defaults() {
    let (stored, errors) = created(deployment());
    assert_eq!(errors, [""; 0]);
    let spec = &stored["spec"];
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
    );
    assert_eq!(
        spec.at(&["template", "spec"]),
        &json!({
            "containers": [container_stored()], "dnsPolicy": "ClusterFirst", "restartPolicy": "Always",
            "schedulerName": "default-scheduler", "securityContext": {}, "terminationGracePeriodSeconds": 30_i64,
        })
    );
    for (field, value) in [
        ("replicas", 1),
        ("revisionHistoryLimit", 10),
        ("progressDeadlineSeconds", 600),
    ] {
        assert_eq!(spec[field].as_i64(), Some(value), "{field}");
    }
}

#[test]
fn a_service_is_stored_with_its_defaults() {
    let spec = json!({"selector": {"app": "x"}, "ports": [{"port": 80_i64}]});
    let (stored, errors) = created(named("v1", "Service", json!({"spec": spec})));
    assert_eq!(errors, [""; 0]);
    assert_eq!(
        stored["spec"],
        json!({
            "internalTrafficPolicy": "Cluster", "ports": [{"port": 80_i64, "protocol": "TCP", "targetPort": 80_i64}],
            "selector": {"app": "x"}, "sessionAffinity": "None", "type": "ClusterIP",
        })
    );
}

#[test]
fn jobs_find_their_pods_by_uid() {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [container()]}});
    let mut job = named("batch/v1", "Job", json!({"spec": {"template": template}}));
    job.metadata_mut().insert("uid", "u-1");
    let (stored, errors) = created(job);
    assert_eq!(errors, [""; 0]);
    let spec = &stored["spec"];
    assert_eq!(
        spec["selector"],
        json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}})
    );
    assert_eq!(
        spec.at(&["template", "metadata", "labels", "job-name"])
            .str(),
        "a"
    );
    assert_eq!(
        (spec["completions"].as_i64(), spec["backoffLimit"].as_i64()),
        (Some(1), Some(6))
    );
}

#[test]
fn quality_of_service_follows_resources() {
    let with = |resources: Value| {
        let mut one = container();
        one["resources"] = resources;
        created(pod(json!({"containers": [one]})))
            .0
            .at(&["status", "qosClass"])
            .str()
            .to_owned()
    };
    let full = json!({"cpu": "1", "memory": "1Gi"});
    assert_eq!(with(json!({"limits": &full})), "Guaranteed");
    assert_eq!(
        with(json!({"limits": &full, "requests": {"cpu": "500m"}})),
        "Burstable"
    );
    assert_eq!(with(json!({"requests": {"cpu": "1"}})), "Burstable");
    assert_eq!(with(json!({})), "BestEffort");
}

fn changed(mut object: Value, path: &[&str], value: impl Into<Value>) -> Value {
    object.set_at(path, value);
    object
}

fn with_container(change: impl Fn(&mut Value)) -> Value {
    let mut one = container();
    change(&mut one);
    pod(json!({"containers": [one]}))
}

#[test]
fn refuses_in_upstreams_words() {
    let cases: Vec<(Value, &str)> = vec![
        (
            pod(json!({"containers": []})),
            "spec.containers: Required value",
        ),
        (
            with_container(|c| c["name"] = "Bad".into()),
            "spec.containers[0].name: Invalid value: \"Bad\": a lowercase RFC 1123 label must consist of",
        ),
        (
            with_container(|c| c["image"] = "".into()),
            "spec.containers[0].image: Required value",
        ),
        (
            with_container(|c| c["ports"] = json!([{"containerPort": 70000_i64}])),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            with_container(|c| {
                c["resources"] = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})
            }),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            with_container(|c| c["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}])),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            with_container(|c| c["livenessProbe"] = json!({})),
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            pod(json!({"containers": [container()], "restartPolicy": "Sometimes"})),
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ),
        (
            changed(
                deployment(),
                &["spec", "selector", "matchLabels", "app"],
                "y",
            ),
            "spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`",
        ),
        (
            changed(
                deployment(),
                &["spec", "template", "spec", "restartPolicy"],
                "Never",
            ),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        (
            changed(deployment(), &["spec", "replicas"], -1_i64),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            named("v1", "Service", json!({"spec": {}})),
            "spec.ports: Required value",
        ),
        (
            named("v1", "ConfigMap", json!({"data": {"a b": "x"}})),
            "data[a b]: Invalid value: \"a b\": a valid config key",
        ),
        (
            named(
                "v1",
                "Secret",
                json!({"type": "kubernetes.io/tls", "data": {}}),
            ),
            "data[tls.crt]: Required value",
        ),
        (
            named("v1", "PersistentVolumeClaim", json!({"spec": {}})),
            "spec.accessModes: Required value: at least 1 access mode is required",
        ),
        (
            named(
                "rbac.authorization.k8s.io/v1",
                "Role",
                json!({"rules": [{"apiGroups": [""], "resources": ["pods"]}]}),
            ),
            "rules[0].verbs: Required value: verbs must contain at least one value",
        ),
        (
            named(
                "batch/v1",
                "CronJob",
                json!({"spec": {"schedule": "* * *", "jobTemplate": {}}}),
            ),
            "spec.schedule: Invalid value: \"* * *\": expected exactly 5 fields",
        ),
        (
            changed(
                pod(json!({"containers": [container()]})),
                &["metadata", "labels"],
                json!({"a": "b c"}),
            ),
            "metadata.labels: Invalid value: \"b c\": a valid label must be",
        ),
        (
            named(
                "storage.k8s.io/v1",
                "VolumeAttachment",
                json!({"spec": {"source": {}, "nodeName": "n"}}),
            ),
            "spec.attacher: Required value",
        ),
    ];
    for (object, wanted) in cases {
        let (_, errors) = created(object);
        assert!(
            errors.iter().any(|error| error.starts_with(wanted)),
            "wanted {wanted}, got {errors:#?}"
        );
    }
}

#[test]
fn refuses_changes_of_what_is_fixed() {
    let (pod_stored, _) = created(pod(json!({"containers": [container()]})));
    let (stored, _) = created(deployment());
    let renamed = |image: &str, name: &str| {
        let mut new = pod_stored.clone();
        let list = new
            .at_mut(&["spec", "containers"])
            .and_then(Value::as_array_mut)
            .unwrap();
        list[0]["image"] = image.into();
        list[0]["name"] = name.into();
        new
    };
    let told = |new: &Value, old: &Value| -> Vec<String> {
        of(new)
            .validate_update(new, old)
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(told(&renamed("nginx:2", "c"), &pod_stored), [""; 0]);
    assert!(told(&renamed("nginx", "d"), &pod_stored)[0].starts_with(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
    ));
    let mut other = changed(
        stored.clone(),
        &["spec", "selector", "matchLabels", "app"],
        "y",
    );
    other.set_at(&["spec", "template", "metadata", "labels", "app"], "y");
    assert!(told(&other, &stored)[0].ends_with("field is immutable"));
}

#[test]
fn status_and_spec_are_written_apart() {
    let (stored, _) = created(deployment());
    let kind = of(&stored);
    let mut both = changed(stored.clone(), &["spec", "replicas"], 3_i64);
    both.set_at(&["status", "replicas"], 3_i64);
    let mut update = both.clone();
    kind.prepare_update(&mut update, &stored);
    assert_eq!(
        (
            update["spec"]["replicas"].as_i64(),
            update["status"]["replicas"].as_i64()
        ),
        (Some(3), None)
    );
    assert_eq!(update.at(&["metadata", "generation"]).as_i64(), Some(2));
    let mut status = both;
    kind.prepare_status_update(&mut status, &stored);
    assert_eq!(
        (
            status["spec"]["replicas"].as_i64(),
            status["status"]["replicas"].as_i64()
        ),
        (Some(1), Some(3))
    );
    assert_eq!(status.at(&["metadata", "generation"]).as_i64(), Some(1));
}

const NOW: u64 = 1_767_323_045_000_000;

fn row(object: &Value) -> Vec<String> {
    let kind = of(object);
    let cells = kind.columns.row(&Object::new(object, 1), NOW);
    assert_eq!(cells.len(), kind.columns.definitions.len());
    cells
        .iter()
        .map(|cell| {
            cell.as_i64()
                .map_or(cell.str().to_owned(), |n| n.to_string())
        })
        .collect()
}

#[test]
fn tables_read_like_upstreams() {
    let (mut stored, _) = created(pod(json!({"containers": [container()]})));
    stored.set_at(&["metadata", "creationTimestamp"], "2026-01-02T03:02:05Z");
    assert_eq!(row(&stored)[..5], ["a", "0/1", "Pending", "0", "2m"]);
    let state = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let last = json!({"terminated": {"exitCode": 1_i64, "finishedAt": "2026-01-02T03:03:35Z"}});
    let status = json!({"name": "c", "restartCount": 4_i64, "state": state, "lastState": last});
    stored.set_at(&["status", "containerStatuses"], vec![status]);
    assert_eq!(
        row(&stored)[1..4],
        ["0/1", "CrashLoopBackOff", "4 (30s ago)"]
    );
    stored.set_at(&["metadata", "deletionTimestamp"], "2026-01-02T03:04:05Z");
    assert_eq!(row(&stored)[2], "Terminating");
    let (stored, _) = created(deployment());
    assert_eq!(
        row(&stored),
        ["a", "0/1", "0", "0", "<unknown>", "c", "nginx", "app=x"]
    );
    let said = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "type": "Normal", "reason": "r", "note": "n", "reportingController": "a/b", "reportingInstance": "i",
        "regarding": {"kind": "Pod", "name": "p"}, "eventTime": "2026-01-02T03:02:05Z"});
    let told = [
        "2m", "Normal", "r", "pod/p", "", "a/b, i", "n", "2m", "1", "e",
    ];
    assert_eq!(row(&said), told);
}

#[test]
fn every_kind_makes_a_row_of_its_width() {
    for kind in Catalogue::builtin().iter().filter(|kind| kind.stored) {
        let object = named(&kind.api_version(), &kind.gvk.kind, Value::object());
        assert_eq!(
            kind.columns.row(&Object::new(&object, 1), NOW).len(),
            kind.columns.definitions.len(),
            "{kind:?}"
        );
    }
}

#[test]
fn autoscalers_and_events_convert_both_ways() {
    let spec = json!({"maxReplicas": 3_i64, "targetCPUUtilizationPercentage": 50_i64});
    let given = named(
        "autoscaling/v1",
        "HorizontalPodAutoscaler",
        json!({"spec": spec}),
    );
    let mut scaler = given.clone();
    of(&given).convert(&mut scaler, "autoscaling/v2");
    let metric = &scaler["spec"]["metrics"][0];
    assert_eq!(
        metric
            .at(&["resource", "target", "averageUtilization"])
            .as_i64(),
        Some(50)
    );
    of(&given).convert(&mut scaler, "autoscaling/v1");
    assert_eq!(scaler, given);
    let given = named(
        "events.k8s.io/v1",
        "Event",
        json!({"note": "n", "regarding": {"name": "p"}, "reportingController": "c"}),
    );
    let mut event = given.clone();
    of(&given).convert(&mut event, "v1");
    assert_eq!(
        (event["message"].str(), event["reportingComponent"].str()),
        ("n", "c")
    );
    of(&given).convert(&mut event, "events.k8s.io/v1");
    assert_eq!(event, given);
}

fn definition() -> Value {
    let properties = json!({"spec": {"type": "object", "properties": {"size": {"type": "integer", "default": 3_i64}}}, "status": {"type": "object", "properties": {"phase": {"type": "string"}}}});
    let column = json!({"name": "Size", "type": "integer", "jsonPath": ".spec.size"});
    let version = json!({
        "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
        "additionalPrinterColumns": [column],
    });
    let spec = json!({"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"}, "versions": [version]});
    let mut crd = named(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        json!({"spec": spec}),
    );
    crd.set_at(&["metadata", "name"], "widgets.example.com");
    crd
}

#[test]
fn a_definition_remembers_the_versions_it_stored() {
    let (old, _) = created(definition());
    let mut moved = old.clone();
    let mut next = moved.at(&["spec", "versions"]).items()[0].clone();
    next["name"] = "v2".into();
    let mut first = next.clone();
    (first["name"], first["storage"]) = ("v1".into(), false.into());
    moved.set_at(&["spec", "versions"], vec![first, next]);
    // Status is nothing a change of the definition writes.
    moved["status"] = json!({"storedVersions": ["v9"]});
    of(&moved).prepare_update(&mut moved, &old);
    assert_eq!(moved["status"]["storedVersions"], json!(["v1", "v2"]));
    let again = moved.clone();
    of(&again).prepare_update(&mut moved, &again);
    assert_eq!(moved["status"]["storedVersions"], json!(["v1", "v2"]));
}

#[test]
fn a_definition_makes_a_kind() {
    let (crd, errors) = created(definition());
    assert_eq!(errors, [""; 0]);
    assert_eq!(crd["spec"]["names"]["listKind"].str(), "WidgetList");
    let bytes = flat::encode(&crd);
    let made = kinds_of_crd(machinery::Ref::new(&bytes)).unwrap();
    let catalogue = Catalogue::builtin().with_custom(made);
    let widget = catalogue.by_storage("widgets.example.com").unwrap();
    assert_eq!(widget.scale().unwrap().spec, "spec.size");
    let mut object = named(
        "example.com/v1",
        "Widget",
        json!({"spec": {}, "status": {"phase": "x"}}),
    );
    widget.apply_defaults(&mut object);
    widget.prepare_create(&mut object);
    assert_eq!(
        (object["spec"]["size"].as_i64(), object["status"].is_null()),
        (Some(3), true)
    );
    let cells = widget.columns.row(&Object::new(&object, 1), NOW);
    assert_eq!(cells, [Value::from("a"), Value::Int(3)]);
    assert_eq!(catalogue.with_custom(Vec::new()).iter().count(), 68);
}

#[test]
fn replicas_show_and_change_as_scale() {
    let (mut stored, _) = created(deployment());
    let kind = of(&stored);
    let mut scale = kind.to_scale(&stored).unwrap();
    assert_eq!(scale["spec"], json!({"replicas": 1_i64}));
    assert_eq!(
        scale["status"],
        json!({"replicas": 0_i64, "selector": "app=x"})
    );
    scale.set_at(&["spec", "replicas"], 5_i64);
    assert!(kind.set_scale(&mut stored, &scale));
    assert_eq!(stored["spec"]["replicas"].as_i64(), Some(5));
}

#[test]
fn a_part_is_all_that_its_subresource_writes() {
    let (stored, _) = created(pod(json!({"containers": [container()]})));
    let mut new = changed(stored.clone(), &["spec", "nodeName"], "n");
    new.set_at(&["spec", "ephemeralContainers"], vec![container()]);
    of(&stored).prepare_part_update("ephemeralcontainers", &mut new, &stored);
    assert!(new["spec"]["nodeName"].is_null());
    assert_eq!(new["spec"]["ephemeralContainers"].items().len(), 1);
}

#[test]
fn a_node_registers_with_its_status_but_updates_without() {
    let (stored, _) = created(named(
        "v1",
        "Node",
        json!({"status": {"capacity": {"cpu": "2"}}}),
    ));
    assert_eq!(stored.at(&["status", "allocatable", "cpu"]).str(), "2");
    let mut new = changed(stored.clone(), &["status", "capacity", "cpu"], "4");
    of(&stored).prepare_update(&mut new, &stored);
    assert_eq!(new["status"], stored["status"]);
}

#[test]
fn bodies_of_subresources_have_types_and_defaults() {
    for (kind, sub) in [
        ("ServiceAccount", "token"),
        ("Pod", "eviction"),
        ("Pod", "binding"),
    ] {
        let kind = self::kind("v1", kind);
        let body = kinds::body_type(&kind.subresource(sub).unwrap().gvk);
        assert!(body.is_some(), "{sub}");
    }
    let gvk = GroupVersionKind::new("authentication.k8s.io", "v1", "TokenRequest");
    let mut request = json!({"spec": {"audiences": ["a"]}});
    kinds::apply_builtin(&mut request, &kinds::body_type(&gvk).unwrap());
    assert_eq!(request["spec"]["expirationSeconds"].as_i64(), Some(3600));
}

#[test]
fn reviews_need_no_name_and_new_events_name_what_they_regard() {
    let spec = json!({"resourceAttributes": {"verb": "get"}});
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec});
    assert_eq!(created(review).1, [""; 0]);
    for (version, field) in [("v1", "involvedObject"), ("events.k8s.io/v1", "regarding")] {
        let about = json!({"kind": "Pod", "name": "p", "namespace": "default"});
        let said = json!({"eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal",
            "reason": "r", "action": "a", "reportingController": "a/b", "reportingInstance": "i"});
        let said = if version == "v1" {
            Value::object()
        } else {
            said
        };
        let event = changed(named(version, "Event", said), &[field], about);
        assert_eq!(created(event.clone()).1, [""; 0], "{version}");
        if version != "v1" {
            continue;
        }
        let stray = changed(event, &[field, "namespace"], "other");
        assert!(
            created(stray)
                .1
                .iter()
                .any(|one| one.starts_with("involvedObject.namespace: Invalid value"))
        );
    }
}

#[test]
fn custom_objects_are_checked_against_their_schema() {
    let (crd, _) = created(definition());
    let bytes = flat::encode(&crd);
    let widget = &kinds_of_crd(machinery::Ref::new(&bytes)).unwrap()[0];
    let mut object = named("example.com/v1", "Widget", json!({"spec": {"size": "big"}}));
    object.metadata_mut().insert("namespace", "default");
    let errors = widget.validate(&object);
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].field, "spec.size");
}

#[test]
fn selectors_see_what_is_absent_as_upstream_does() {
    for (object, selector, wanted) in [
        (
            named("v1", "Node", json!({"spec": {}})),
            "spec.unschedulable=false",
            true,
        ),
        (
            named("v1", "Node", json!({"spec": {"unschedulable": true}})),
            "spec.unschedulable=false",
            false,
        ),
        (
            pod(json!({"nodeName": "n"})),
            "spec.nodeName=n,metadata.name=a",
            true,
        ),
        (pod(json!({})), "spec.nodeName!=", false),
        (
            named("v1", "Event", json!({"source": {"component": "k"}})),
            "source=k",
            true,
        ),
        (
            named("batch/v1", "Job", json!({"status": {"succeeded": 1_i64}})),
            "status.successful=1",
            true,
        ),
    ] {
        let parsed = machinery::FieldSelector::parse(selector).unwrap();
        let found = of(&object).matches_fields(&parsed, Object::new(&object, 1).root());
        assert_eq!(found, wanted, "{selector}");
    }
}

#[test]
fn a_wrong_definition_is_refused() {
    let twice = {
        let mut crd = definition();
        let version = crd["spec"]["versions"][0].clone();
        crd["spec"]["versions"] =
            Value::Array(vec![version.clone(), changed(version, &["name"], "v2")]);
        crd
    };
    for (crd, wanted) in [
        (
            changed(definition(), &["metadata", "name"], "other"),
            "metadata.name: Invalid value: \"other\": must be spec.names.plural+\".\"+spec.group",
        ),
        (
            changed(definition(), &["spec", "scope"], "World"),
            "spec.scope: Unsupported value: \"World\"",
        ),
        (twice, "spec.versions: Invalid value"),
    ] {
        let (_, errors) = created(crd);
        assert!(
            errors.iter().any(|error| error.starts_with(wanted)),
            "wanted {wanted}, got {errors:#?}"
        );
    }
}

/// The definition with rules at its `spec`.
fn ruled(rules: Value) -> Value {
    let mut crd = definition();
    let mut version = crd["spec"]["versions"][0].clone();
    let at = [
        "schema",
        "openAPIV3Schema",
        "properties",
        "spec",
        "x-kubernetes-validations",
    ];
    version.set_at(&at, rules);
    crd["spec"]["versions"] = Value::Array(vec![version]);
    crd
}

#[test]
fn rules_of_a_definition_are_compiled_and_followed() {
    let rules = json!([
        {"rule": "self.size < 10", "message": "too big"},
        {"rule": "self.size >= oldSelf.size", "messageExpression": "'smaller than ' + 'before'"}
    ]);
    let (crd, errors) = created(ruled(rules));
    assert_eq!(errors, [""; 0]);
    let bytes = flat::encode(&crd);
    let widget = &kinds_of_crd(machinery::Ref::new(&bytes)).unwrap()[0];
    let sized = |size: Value| {
        let mut object = named("example.com/v1", "Widget", json!({"spec": {"size": size}}));
        object.metadata_mut().insert("namespace", "default");
        object
    };
    let texts = |errors: Vec<machinery::FieldError>| -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    };
    assert_eq!(texts(widget.validate(&sized(Value::Int(9)))), [""; 0]);
    assert_eq!(
        texts(widget.validate(&sized(Value::Int(12)))),
        ["spec: Invalid value: too big"]
    );
    let (new, old) = (sized(Value::Int(3)), sized(Value::Int(5)));
    let errors = texts(widget.validate_update(&new, &old));
    assert!(
        errors.contains(&"spec: Invalid value: smaller than before".to_owned()),
        "{errors:?}"
    );
    let (mut new, old) = (sized(Value::Int(12)), sized(Value::Int(12)));
    new.set_at(&["metadata", "labels"], json!({"a": "b"}));
    let mut warnings = Vec::new();
    assert_eq!(
        texts(widget.weigh_update(&new, &old, &mut warnings)),
        [""; 0]
    );
    assert_eq!(warnings, ["spec: Invalid value: too big"]);
    let errors = texts(widget.validate(&sized("big".into())));
    assert!(
        errors.iter().any(|error| error
            .starts_with("<nil>: Invalid value: null: some validation rules were not checked")),
        "{errors:?}"
    );
    let (_, errors) = created(ruled(json!([{"rule": "self.weight > 1"}])));
    let wanted = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value";
    assert!(
        errors
            .iter()
            .any(|error| error.starts_with(wanted) && error.contains("undefined field 'weight'")),
        "{errors:#?}"
    );
}

#[test]
fn defaults_follow_the_rules_beside_them() {
    let mut crd = ruled(json!([{"rule": "self.size < 10", "message": "too big"}]));
    let mut version = crd["spec"]["versions"][0].clone();
    let at = ["schema", "openAPIV3Schema", "properties", "spec", "default"];
    for (size, wanted) in [
        (9_i64, vec![]),
        (
            12,
            vec![
                "spec.validation.openAPIV3Schema.properties[spec].default: Invalid value: too big"
                    .to_owned(),
            ],
        ),
    ] {
        version.set_at(&at, json!({"size": size}));
        crd["spec"]["versions"] = Value::Array(vec![version.clone()]);
        assert_eq!(created(crd.clone()).1, wanted);
    }
}

#[test]
fn what_a_definition_states_for_status_stays_and_a_clients_does_not() {
    let mut crd = ruled(json!([]));
    let mut version = crd["spec"]["versions"][0].clone();
    version["subresources"] = json!({"status": {}});
    let status = json!({"type": "object", "properties": {"phase": {"type": "string"}}, "default": {"phase": "new"}});
    let at = ["schema", "openAPIV3Schema", "properties", "status"];
    version.set_at(&at, status);
    crd["spec"]["versions"] = Value::Array(vec![version]);
    let (crd, errors) = created(crd);
    assert_eq!(errors, [""; 0]);
    let bytes = flat::encode(&crd);
    let widget = &kinds_of_crd(machinery::Ref::new(&bytes)).unwrap()[0];
    for given in [json!({}), json!({"status": {"phase": "mine"}})] {
        let mut object = named("example.com/v1", "Widget", given);
        widget.apply_defaults(&mut object);
        widget.prepare_create(&mut object);
        assert_eq!(object["status"], json!({"phase": "new"}));
    }
}
