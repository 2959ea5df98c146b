//! What the platform refuses, and in which words.

use crate::has;
use e2e_tests::Cluster;
use serde_json::json;

pub fn bodies(cluster: &mut Cluster) {
    let raw = |body: &str| {
        let words = [
            "create",
            "--raw",
            "/api/v1/namespaces/default/configmaps",
            "-f",
            "-",
        ];
        cluster.kubectl_in(&words, body).refused()
    };
    has(&raw("{"), &["BadRequest"]);
    has(&raw("[]"), &["BadRequest"]);
    has(
        &raw(r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":1}}"#),
        &["BadRequest"],
    );
    has(
        &raw(r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}"#),
        &["BadRequest"],
    );
    let unknown = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndatum: {}\n";
    has(
        &cluster
            .kubectl_in(&["create", "-f", "-"], unknown)
            .refused(),
        &["unknown field \"datum\""],
    );
    let ignored = ["create", "--validate=ignore", "--dry-run=server", "-f", "-"];
    cluster.kubectl_in(&ignored, unknown).ok();
    let tabs = "apiVersion: v1\n\tkind: ConfigMap\n";
    cluster.kubectl_in(&["create", "-f", "-"], tabs).refused();
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n";
    has(
        &cluster.kubectl_in(&["create", "-f", "-"], pod).refused(),
        &["is invalid", "spec.containers: Required value"],
    );
}

pub fn names_and_places(cluster: &mut Cluster) {
    has(
        &cluster.k("create configmap Not_A_Name").refused(),
        &["Invalid", "metadata.name", "RFC 1123"],
    );
    has(
        &cluster.k("create configmap a -n nowhere").refused(),
        &["namespaces \"nowhere\" not found"],
    );
    has(
        &cluster.k("get cm absent").refused(),
        &["configmaps \"absent\" not found"],
    );
    has(
        &cluster.k("get spaceships").refused(),
        &["the server doesn't have a resource type \"spaceships\""],
    );
    has(
        &cluster.k("get --raw /api/v1/nothing").refused(),
        &["NotFound"],
    );
    cluster.k("create configmap twice").ok();
    has(
        &cluster.k("create configmap twice").refused(),
        &["configmaps \"twice\" already exists"],
    );
    cluster.k("delete cm twice").ok();
    has(
        &cluster.k("delete namespace default").refused(),
        &["Forbidden"],
    );
    let selector = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: split}
spec:
  selector: {matchLabels: {app: a}}
  template: {metadata: {labels: {app: b}}, spec: {containers: [{name: c, image: i}]}}
";
    has(
        &cluster
            .kubectl_in(&["create", "-f", "-"], selector)
            .refused(),
        &["`selector` does not match template `labels`"],
    );
}

pub fn stale_versions(cluster: &mut Cluster) {
    cluster.k("create configmap stale --from-literal=a=1").ok();
    let mut old = cluster.json("cm stale");
    cluster.k("label cm stale changed=yes").ok();
    old["data"] = json!({"a": "2"});
    let said = cluster
        .kubectl_in(&["replace", "-f", "-"], &old.to_string())
        .refused();
    has(&said, &["Conflict", "the object has been modified"]);
    let watch = "get --raw /api/v1/configmaps?watch=1&resourceVersion=999999999&timeoutSeconds=1";
    has(&cluster.k(watch).refused(), &["Too large resource version"]);
    cluster.k("delete cm stale").ok();
}

pub fn command_line(cluster: &mut Cluster) {
    let port = cluster.status()["server"]
        .as_str()
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap()
        .trim_end_matches('/')
        .to_owned();
    let other = cluster.folder().join("other-kubeconfig");
    let words = [
        "up",
        "--simulated",
        "--name",
        "second",
        "--port",
        &port,
        "--kubeconfig",
        other.to_str().unwrap(),
    ];
    has(&cluster.xebec(&words).refused(), &[&port]);
    has(
        &cluster
            .xebec(&["up", "--simulated", "--name", "Not_A_Name"])
            .refused(),
        &["Not_A_Name"],
    );
    cluster.xebec(&["up", "--no-such-flag"]).refused();
    cluster.xebec(&["rehearse", "absent.yaml"]).refused();
    cluster
        .xebec(&["image", "load", "--name", cluster.name(), "absent.tar"])
        .refused();
    has(
        &cluster
            .xebec(&["up", "--simulated", "--name", cluster.name()])
            .refused(),
        &[cluster.name()],
    );
    // Nothing of the refused clusters stays in the way.
    cluster.xebec(&["delete", "--name", "second"]);
    assert_eq!(cluster.status()["ready"], true);
}
