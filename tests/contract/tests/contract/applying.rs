//! Server-side apply: every manager owns what it applied, and only that.

use crate::{map, place, version};
use e2e_tests::Cluster;
use serde_json::{Value, json};
use std::thread;

pub fn disjoint_appliers_never_conflict(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "apply-disjoint");
    let object = format!("{path}/shared");
    thread::scope(|scope| {
        for manager in 0..8 {
            let (api, object) = (api.clone(), object.clone());
            scope.spawn(move || {
                for turn in 0..10 {
                    let own = json!({format!("key-{manager}"): turn.to_string()});
                    api.apply(&object, &format!("manager-{manager}"), &map("shared", &own))
                        .ok();
                }
            });
        }
    });
    let stored = api.get(&object).ok();
    let data = stored["data"].as_object().unwrap();
    assert_eq!(data.len(), 8);
    assert!(data.values().all(|value| value == "9"), "{data:?}");
    assert_eq!(
        stored["metadata"]["managedFields"]
            .as_array()
            .unwrap()
            .len(),
        8
    );
}

pub fn fields_no_longer_applied_go(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "apply-gone");
    let object = format!("{path}/one");
    api.apply(&object, "first", &map("one", &json!({"a": "1", "b": "1"})))
        .ok();
    api.apply(&object, "second", &map("one", &json!({"b": "1"})))
        .ok();
    let stored = api
        .apply(&object, "first", &map("one", &json!({"c": "1"})))
        .ok();
    // `a` was only the first's; `b` is still the second's.
    assert_eq!(stored["data"], json!({"b": "1", "c": "1"}));
}

fn managers(object: &Value) -> Vec<(String, String)> {
    let entry = |one: &Value| {
        (
            one["manager"].as_str().unwrap().to_owned(),
            one["operation"].as_str().unwrap().to_owned(),
        )
    };
    object["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(entry)
        .collect()
}

pub fn owners_are_told_apart(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "apply-owners");
    let object = format!("{path}/one");
    api.json(
        "POST",
        &format!("{path}?fieldManager=maker"),
        "application/json",
        &map("one", &json!({"a": "1"})),
    )
    .ok();
    let status = api
        .apply(&object, "applier", &map("one", &json!({"a": "2"})))
        .refused(409, "Conflict");
    let cause = &status["details"]["causes"][0];
    assert_eq!(
        (&cause["reason"], &cause["field"]),
        (&"FieldManagerConflict".into(), &".data.a".into()),
        "{status}"
    );
    let forced = format!("{object}?fieldManager=applier&force=true");
    let stored = api
        .json(
            "PATCH",
            &forced,
            "application/apply-patch+yaml",
            &map("one", &json!({"a": "2"})),
        )
        .ok();
    assert_eq!(stored["data"]["a"], "2");
    assert!(
        managers(&stored).contains(&("applier".into(), "Apply".into())),
        "{:?}",
        managers(&stored)
    );
    api.json(
        "PATCH",
        &object,
        "application/apply-patch+yaml",
        &map("one", &json!({})),
    )
    .refused(422, "Invalid");
    let mut managed = map("one", &json!({}));
    managed["metadata"]["managedFields"] = stored["metadata"]["managedFields"].clone();
    api.apply(&object, "applier", &managed)
        .refused(400, "BadRequest");
}

pub fn ports_are_told_apart_by_protocol(cluster: &mut Cluster) {
    let (api, _) = place(cluster, "apply-ports");
    let object = "/api/v1/namespaces/apply-ports/services/dns";
    let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dns"}, "spec": {"ports": ports, "selector": {"a": "b"}}});
    let udp = json!({"name": "udp", "port": 53, "protocol": "UDP"});
    // The protocol is a key of the list and has a default.
    let tcp = json!({"name": "tcp", "port": 53});
    let first = api.apply(object, "first", &service(json!([udp, tcp]))).ok();
    assert_eq!(first["spec"]["ports"].as_array().unwrap().len(), 2);
    let again = api.apply(object, "first", &service(json!([udp, tcp]))).ok();
    assert_eq!(version(&first), version(&again));
    let less = api.apply(object, "first", &service(json!([tcp]))).ok();
    let ports = less["spec"]["ports"].as_array().unwrap();
    assert_eq!(
        (ports.len(), &ports[0]["protocol"]),
        (1, &"TCP".into()),
        "{ports:?}"
    );
}

pub fn what_the_server_adds_is_nobodys(cluster: &mut Cluster) {
    let (api, _) = place(cluster, "added");
    let services = "/api/v1/namespaces/added/services";
    let asked = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    let made = api.create(services, &asked).ok();
    assert!(made["spec"]["clusterIP"].is_string());
    let owned = &made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"];
    assert!(owned["f:ports"].is_object(), "{owned}");
    assert!(owned["f:clusterIP"].is_null(), "{owned}");
    // Sent back without what the server added, the object is as it was: nothing is written.
    let again = api.update(&format!("{services}/s"), &asked).ok();
    assert_eq!(version(&again), version(&made));
}
