//! Objects that nothing acts on: every way of writing and deleting them.

use crate::has;
use e2e_tests::Cluster;
use serde_json::json;

const SETTINGS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: a}}
data: {one: '1', two: '2'}
";

pub fn client_side_apply(cluster: &mut Cluster) {
    has(&cluster.apply(SETTINGS), &["configmap/settings created"]);
    has(&cluster.apply(SETTINGS), &["configmap/settings unchanged"]);
    let changed = SETTINGS.replace("two: '2'", "three: '3'");
    let diff = cluster.kubectl_in(&["diff", "-f", "-"], &changed);
    assert_eq!(diff.code, Some(1), "{diff:?}");
    has(&diff.stdout, &["-  two: \"2\"", "+  three: \"3\""]);
    has(&cluster.apply(&changed), &["configmap/settings configured"]);
    // What apply no longer names is gone.
    assert_eq!(
        cluster.json("cm settings")["data"],
        json!({"one": "1", "three": "3"})
    );
    cluster.k("delete cm settings").ok();
}

pub fn server_side_apply(cluster: &mut Cluster) {
    let words = ["apply", "--server-side", "-f", "-"];
    has(
        &cluster.kubectl_in(&words, SETTINGS).ok(),
        &["configmap/settings serverside-applied"],
    );
    let other = SETTINGS.replace("one: '1', two: '2'", "one: 'x'");
    let second = [
        "apply",
        "--server-side",
        "--field-manager=second",
        "-f",
        "-",
    ];
    has(
        &cluster.kubectl_in(&second, &other).refused(),
        &["conflict with \"kubectl\"", ".data.one"],
    );
    let forced = [
        "apply",
        "--server-side",
        "--field-manager=second",
        "--force-conflicts",
        "-f",
        "-",
    ];
    cluster.kubectl_in(&forced, &other).ok();
    // The second manager took one field; the first keeps its other.
    assert_eq!(
        cluster.json("cm settings")["data"],
        json!({"one": "x", "two": "2"})
    );
    let fields =
        cluster.json("cm settings --show-managed-fields")["metadata"]["managedFields"].clone();
    let managers: Vec<_> = fields
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["manager"].as_str().unwrap())
        .collect();
    assert!(
        managers.contains(&"kubectl") && managers.contains(&"second"),
        "{managers:?}"
    );
    cluster.k("delete cm settings").ok();
}

pub fn commands_that_change(cluster: &mut Cluster) {
    cluster.k("create configmap made --from-literal=a=b").ok();
    cluster
        .k("create secret generic hidden --from-literal=password=s3cret")
        .ok();
    assert_eq!(
        cluster.json("secret hidden")["data"]["password"],
        "czNjcmV0"
    );
    cluster.k("label cm made tier=front").ok();
    cluster.k("annotate cm made note=x").ok();
    has(
        &cluster.k("get cm -l tier=front -o name").ok(),
        &["configmap/made"],
    );
    assert_eq!(cluster.k("get cm -l tier=back -o name").ok(), "");
    assert_eq!(
        cluster
            .k("get cm --field-selector metadata.name=made -o name")
            .ok()
            .trim(),
        "configmap/made"
    );
    for (kind, patch) in [
        ("merge", r#"{"data":{"b":"merge"}}"#),
        ("strategic", r#"{"data":{"c":"strategic"}}"#),
        ("json", r#"[{"op":"add","path":"/data/d","value":"json"}]"#),
    ] {
        cluster
            .kubectl(&["patch", "cm", "made", "--type", kind, "-p", patch])
            .ok();
    }
    let want = json!({"a": "b", "b": "merge", "c": "strategic", "d": "json"});
    assert_eq!(cluster.json("cm made")["data"], want);
    let mut object = cluster.json("cm made");
    object["data"] = json!({"only": "this"});
    cluster
        .kubectl_in(&["replace", "-f", "-"], &object.to_string())
        .ok();
    assert_eq!(cluster.json("cm made")["data"], json!({"only": "this"}));
    has(
        &cluster.k("get cm made -o yaml").ok(),
        &["kind: ConfigMap", "only: this"],
    );
    has(
        &cluster.k("describe cm made").ok(),
        &["Name:", "made", "only"],
    );
    let dry = cluster
        .k("create configmap dry --dry-run=server -o name")
        .ok();
    assert_eq!(dry.trim(), "configmap/dry");
    has(
        &cluster.k("get cm dry").refused(),
        &["NotFound", "configmaps \"dry\" not found"],
    );
    cluster.k("delete cm/made secret/hidden").ok();
}

pub fn deletion_and_wait(cluster: &mut Cluster) {
    cluster.k("create namespace going").ok();
    cluster.k("create configmap inside -n going").ok();
    cluster
        .k("delete namespace going --wait=true --timeout=60s")
        .ok();
    has(&cluster.k("get namespace going").refused(), &["NotFound"]);
    has(
        &cluster.k("get cm inside -n going").refused(),
        &["NotFound"],
    );
    let held = "
apiVersion: v1
kind: ConfigMap
metadata: {name: held, finalizers: [example.com/hold]}
";
    cluster.apply(held);
    cluster.k("delete cm held --wait=false").ok();
    assert!(cluster.json("cm held")["metadata"]["deletionTimestamp"].is_string());
    cluster
        .kubectl(&[
            "patch",
            "cm",
            "held",
            "--type=merge",
            "-p",
            r#"{"metadata":{"finalizers":null}}"#,
        ])
        .ok();
    cluster.k("wait --for=delete cm/held --timeout=30s").ok();
}
