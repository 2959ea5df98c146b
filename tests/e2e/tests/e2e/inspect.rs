//! What a client asks first: versions, resources, documentation, identity.

use crate::has;
use e2e_tests::Cluster;
use serde_json::Value;

pub fn versions_and_nodes(cluster: &mut Cluster) {
    let text = cluster.k("version -o json").ok();
    let version: Value = serde_json::from_str(&text).unwrap();
    let server = &version["serverVersion"];
    assert_eq!(
        (&server["major"], &server["minor"]),
        (&"1".into(), &"36".into()),
        "{server}"
    );
    has(
        &cluster.k("get nodes -o wide").ok(),
        &["STATUS", "INTERNAL-IP", "Ready", "v1.36"],
    );
    has(
        &cluster.k("get namespaces").ok(),
        &["default", "kube-system", "kube-public", "kube-node-lease"],
    );
    has(&cluster.k("get services").ok(), &["kubernetes", "443/TCP"]);
    has(
        &cluster.k("cluster-info").ok(),
        &["control plane", "https://"],
    );
    let status = cluster.status();
    assert!(status["pid"].is_i64() && status["nodes"] == 1, "{status}");
}

pub fn resources_and_explain(cluster: &mut Cluster) {
    let resources = cluster.k("api-resources").ok();
    has(
        &resources,
        &[
            "deployments",
            "deploy",
            "apps/v1",
            "networkpolicies",
            "netpol",
            "poddisruptionbudgets",
        ],
    );
    has(
        &resources,
        &[
            "horizontalpodautoscalers",
            "customresourcedefinitions",
            "storageclasses",
            "leases",
        ],
    );
    has(
        &cluster.k("api-versions").ok(),
        &["apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1", "v1"],
    );
    let explained = cluster
        .k("explain deployment.spec.strategy --recursive")
        .ok();
    has(
        &explained,
        &[
            "GROUP:",
            "apps",
            "FIELD: strategy",
            "rollingUpdate",
            "maxSurge",
        ],
    );
    // Words of the field's own description: they come from the types' documentation.
    has(
        &cluster.k("explain pod.spec.restartPolicy").ok(),
        &["Restart policy", "<string>"],
    );
    has(
        &cluster.k("explain pod.spec.nonsense").refused(),
        &["nonsense", "does not exist"],
    );
}

pub fn whoami_and_permissions(cluster: &mut Cluster) {
    has(
        &cluster.k("auth whoami").ok(),
        &["Username", "system:authenticated"],
    );
    assert_eq!(cluster.k("auth can-i delete pods").ok().trim(), "yes");
    let asked = "auth can-i list secrets --as system:serviceaccount:default:default";
    assert_eq!(cluster.k(asked).stdout.trim(), "no");
    has(
        &cluster.k("get secrets --as nobody").refused(),
        &[
            "Forbidden",
            "User \"nobody\" cannot list resource \"secrets\"",
        ],
    );
    cluster
        .k("create role reader --verb=get,list --resource=secrets")
        .ok();
    cluster
        .k("create rolebinding reader --role=reader --user=nobody")
        .ok();
    cluster.k("get secrets --as nobody").ok();
    cluster.k("delete role/reader rolebinding/reader").ok();
    let token = cluster.k("create token default").ok();
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
}
