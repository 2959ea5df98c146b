//! A kind that a user adds keeps the same promises as a built-in one.

use crate::{place, version};
use contract_tests::Api;
use e2e_tests::Cluster;
use serde_json::{Value, json};
use std::{thread, time::Duration, time::Instant};

/// Where definitions are.
pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// A kind that is not served, or still served, after this long never will be otherwise: far more
/// than it takes, for the machine may have much else to do.
const PATIENCE: Duration = Duration::from_secs(20);

fn definition(group: &str) -> Value {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1},
            "color": {"type": "string", "default": "red"},
            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "weight": {"type": "integer"}}}},
        }},
        "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
    }});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("boxes.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "boxes", "kind": "Box"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}}]}})
}

/// A kind of its own for a case: its API and the path of its objects.
fn kind(cluster: &mut Cluster, name: &str) -> (Api, String, String) {
    let (api, _) = place(cluster, name);
    let group = format!("{name}.example.com");
    api.create(DEFINITIONS, &definition(&group)).ok();
    let path = format!("/apis/{group}/v1/namespaces/{name}/boxes");
    await_served(&api, &path);
    (api, path, group)
}

/// Waits until a new kind is served.
pub fn await_served(api: &Api, path: &str) {
    let start = Instant::now();
    while api.get(path).code != 200 {
        assert!(start.elapsed() < PATIENCE, "{path} is not served");
        thread::sleep(Duration::from_millis(20));
    }
}

fn make(group: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": format!("{group}/v1"), "kind": "Box", "metadata": {"name": name}, "spec": spec})
}

pub fn values_are_defaulted_pruned_and_refused(cluster: &mut Cluster) {
    let (api, path, group) = kind(cluster, "custom-values");
    let made = api
        .create(&path, &make(&group, "a", &json!({"size": 1, "odd": 2})))
        .ok();
    assert_eq!(made["spec"], json!({"size": 1, "color": "red"}));
    let status = api
        .create(&path, &make(&group, "b", &json!({"size": "1"})))
        .refused(422, "Invalid");
    let cause = &status["details"]["causes"][0];
    assert_eq!(cause["reason"], "FieldValueTypeInvalid", "{status}");
    assert_eq!(cause["field"], "spec.size");
    let strict = format!("{path}?fieldValidation=Strict");
    api.create(&strict, &make(&group, "b", &json!({"size": 1, "odd": 2})))
        .refused(400, "BadRequest");
    let document = api.get(&format!("/openapi/v3/apis/{group}/v1")).ok();
    assert!(
        document["components"]["schemas"]
            .as_object()
            .unwrap()
            .keys()
            .any(|name| name.ends_with(".v1.Box"))
    );
    api.delete(&format!("{DEFINITIONS}/boxes.{group}")).ok();
}

pub fn appliers_own_items_and_nothing_is_written_twice(cluster: &mut Cluster) {
    let (api, path, group) = kind(cluster, "custom-apply");
    let object = format!("{path}/one");
    let part = |name: &str| json!({"size": 1, "parts": [{"name": name, "weight": 1}]});
    api.apply(&object, "first", &make(&group, "one", &part("a")))
        .ok();
    let both = api
        .apply(&object, "second", &make(&group, "one", &part("b")))
        .ok();
    assert_eq!(both["spec"]["parts"].as_array().unwrap().len(), 2);
    let again = api
        .apply(&object, "second", &make(&group, "one", &part("b")))
        .ok();
    assert_eq!(version(&both), version(&again));
    api.apply(&object, "second", &make(&group, "one", &json!({"size": 2})))
        .refused(409, "Conflict");
    // Status is written at its own place only.
    let patched = api.merge(&object, &json!({"status": {"phase": "x"}})).ok();
    assert_eq!(patched["status"], Value::Null);
    let patched = api
        .merge(
            &format!("{object}/status"),
            &json!({"status": {"phase": "x"}, "spec": {"size": 9}}),
        )
        .ok();
    assert_eq!(
        (&patched["status"]["phase"], &patched["spec"]["size"]),
        (&json!("x"), &json!(1))
    );
    api.delete(&format!("{DEFINITIONS}/boxes.{group}")).ok();
}

pub fn a_watch_sees_each_write_and_the_end(cluster: &mut Cluster) {
    let (api, path, group) = kind(cluster, "custom-watch");
    let from = api.get(&path).ok()["metadata"]["resourceVersion"].clone();
    let mut watch = api.watch(&format!(
        "{path}?watch=true&resourceVersion={}",
        from.as_str().unwrap()
    ));
    let object = format!("{path}/one");
    api.create(&path, &make(&group, "one", &json!({"size": 1})))
        .ok();
    api.merge(&object, &json!({"spec": {"size": 2}})).ok();
    // The instances go with the definition.
    api.delete(&format!("{DEFINITIONS}/boxes.{group}")).ok();
    let events = watch.until(|event| event["type"] == "DELETED");
    let types: Vec<_> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["ADDED", "MODIFIED", "DELETED"], "{events:?}");
    let start = Instant::now();
    while api.get(&path).code != 404 {
        assert!(start.elapsed() < PATIENCE, "{path} is still served");
        thread::sleep(Duration::from_millis(50));
    }
}
