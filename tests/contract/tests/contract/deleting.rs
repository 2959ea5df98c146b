//! What is in a namespace goes with it.

use contract_tests::Api;
use e2e_tests::Cluster;
use serde_json::{Value, json};
use std::{
    thread,
    time::{Duration, Instant},
};

/// Pods in the namespace.
const CROWD: usize = 1_000;
const NAMESPACES: &str = "/api/v1/namespaces";
const JSON: &str = "application/json";
/// What has not happened after this long never will: far more than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A pod that nobody schedules.
fn pod(at: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p{at}")},
        "spec": {"schedulerName": "none", "containers": [{"name": "c", "image": "c:1"}]}})
}

pub fn a_namespace_of_a_thousand_pods_goes(cluster: &mut Cluster) {
    let api = Api::of(cluster);
    let crowd = format!("{NAMESPACES}/crowd");
    let named = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "crowd"}});
    api.create(NAMESPACES, &named).ok();
    until("the account pods run as is there", || {
        api.get(&format!("{crowd}/serviceaccounts/default")).code == 200
    });
    let pods = format!("{crowd}/pods");
    let mut wire = api.keep().expect("a connection");
    for at in 0..CROWD {
        let body = pod(at).to_string();
        let (code, _) = wire
            .call("POST", &pods, JSON, body.as_bytes())
            .expect("an answer");
        assert_eq!(code, 201);
    }
    let version = api.get(&pods).ok()["metadata"]["resourceVersion"].clone();
    let version = version.as_str().expect("a revision");
    let mut watch = api.watch(&format!("{pods}?watch=1&resourceVersion={version}"));
    let going = api.delete(&crowd).ok();
    assert_eq!(going["status"]["phase"], "Terminating");
    until("the namespace goes", || api.get(&crowd).code == 404);
    let gone = watch.by_ref().take_while(|event| event["type"] != "ADDED");
    let gone = gone.filter(|event| event["type"] == "DELETED").take(CROWD);
    assert_eq!(gone.count(), CROWD, "whoever watches sees each of them go");
    assert_eq!(api.get(&pods).ok()["items"], json!([]));
}
