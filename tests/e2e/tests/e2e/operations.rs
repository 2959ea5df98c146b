//! What people who run a cluster do: certificates, rights, watching, emptying nodes.
//!
//! Upstream counterpart: `test/cmd/{certificate,rbac,node-management,events}.sh`.

use crate::has;
use e2e_tests::{Cluster, tool};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// A request of `ann` in the group `devs`, signed by a key nobody kept.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIWE1IOENBUUF3SFRFTk1Bc0dBMVVFQ2d3RVpHVjJjekVNTUFvR0ExVUVBd3dEWVc1dU1Ga3dFd1lIS29aSQp6ajBDQVFZSUtvWkl6ajBEQVFjRFFnQUVjeHZNNWZickZ6dFFyWVVBM2ZjcWxVWm1JN0I2dmNVWFpjMnc2VlVpCmNQYmxlbjZjcjVIUTVPRjk5QytXak9xVHp5amZQTGVWM0thRXJIM3FjbzFmK0tBQU1Bb0dDQ3FHU000OUJBTUMKQTBnQU1FVUNJQk91bDd2VkpkOEFuUXF0S0pqVGJIUUE0SUQzL25Od3ZYSW5XVWZnZWhHa0FpRUFzS3ZWTHdyUwoxU215NHVNRS84aWVHMU0vTHNhRUYySXJMUWxtS2cxc0FMVT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";

fn request(name: &str) -> String {
    format!(
        "
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {{name: {name}}}
spec:
  request: {REQUEST}
  signerName: kubernetes.io/kube-apiserver-client
  expirationSeconds: 3600
  usages: [client auth]
"
    )
}

pub fn certificates(cluster: &mut Cluster) {
    cluster.apply(&(request("ann") + "---" + &request("bob")));
    has(
        &cluster.k("get csr").ok(),
        &["SIGNERNAME", "ann", "kube-apiserver-client", "Pending"],
    );
    has(&cluster.k("certificate deny bob").ok(), &["denied"]);
    has(&cluster.k("get csr bob").ok(), &["Denied"]);
    has(&cluster.k("certificate approve ann").ok(), &["approved"]);
    cluster
        .k("wait csr/ann --for=condition=Approved --timeout=30s")
        .ok();
    cluster.until("the certificate is there", PATIENCE, |cluster| {
        cluster.json("csr ann")["status"]["certificate"].is_string()
    });
    has(&cluster.k("get csr ann").ok(), &["Approved,Issued"]);
    assert!(cluster.json("csr bob")["status"]["certificate"].is_null());
    // What was decided stays decided.
    has(
        &cluster.k("certificate approve bob").refused(),
        &["bob", "Denied"],
    );
    cluster.k("delete csr ann bob").ok();
}

pub fn rights_are_reconciled(cluster: &mut Cluster) {
    let role = |verbs: &str| {
        format!(
            "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: reconciled, namespace: default}}
rules:
- {{apiGroups: [''], resources: [pods], verbs: [{verbs}]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: reconciled, namespace: default}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: reconciled}}
subjects:
- {{apiGroup: rbac.authorization.k8s.io, kind: User, name: eve}}
"
        )
    };
    let reconcile = |cluster: &Cluster, verbs: &str, more: &[&str]| {
        let words = [&["auth", "reconcile", "-f", "-"], more].concat();
        has(
            &cluster.kubectl_in(&words, &role(verbs)).ok(),
            &["role", "reconciled"],
        );
    };
    let may = |cluster: &Cluster, verb: &str| {
        let said = cluster.k(&format!("auth can-i {verb} pods --as eve"));
        said.stdout.trim().to_owned()
    };
    reconcile(cluster, "get", &[]);
    assert_eq!(
        (&*may(cluster, "get"), &*may(cluster, "list")),
        ("yes", "no")
    );
    // What is there already stays unless it is asked to go.
    reconcile(cluster, "list", &[]);
    assert_eq!(
        (&*may(cluster, "get"), &*may(cluster, "list")),
        ("yes", "yes")
    );
    reconcile(cluster, "list", &["--remove-extra-permissions"]);
    assert_eq!(
        (&*may(cluster, "get"), &*may(cluster, "list")),
        ("no", "yes")
    );
    has(
        &cluster
            .k("auth whoami --as eve --as-group devs -o jsonpath={.status.userInfo}")
            .ok(),
        &["eve", "devs"],
    );
    has(
        &cluster.k("auth can-i --list --as eve").ok(),
        &["pods", "[list]", "selfsubjectaccessreviews"],
    );
    cluster
        .k("delete role/reconciled rolebinding/reconciled")
        .ok();
}

pub fn watching(cluster: &mut Cluster) {
    cluster.k("create configmap watched").ok();
    let mut watch = Command::new(tool("kubectl"))
        .args(["get", "cm", "watched", "--watch", "--output-watch-events"])
        .args(["-o", "jsonpath={.type} {.object.data.a}{'\\n'}"])
        .env("KUBECONFIG", cluster.kubeconfig())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap().trim().to_owned();
    assert_eq!(next(), "ADDED");
    let patch = ["patch", "cm", "watched", "-p", r#"{"data":{"a":"b"}}"#];
    cluster.kubectl(&patch).ok();
    assert_eq!(next(), "MODIFIED b");
    cluster.k("delete cm watched").ok();
    assert_eq!(next(), "DELETED b");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

/// One pod that must stay up, by its budget.
const GUARDED: &str = "
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: guarded}
spec: {minAvailable: 1, selector: {matchLabels: {app: guarded}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: guarded}
spec:
  selector: {matchLabels: {app: guarded}}
  template:
    metadata: {labels: {app: guarded}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: c, image: xebec/demo, imagePullPolicy: Never, command: [redis-server]}
";

pub fn a_node_is_emptied(cluster: &mut Cluster) {
    cluster.apply(GUARDED);
    cluster
        .k("wait deploy/guarded --for=condition=Available --timeout=60s")
        .ok();
    let node = cluster
        .k("get nodes -o jsonpath={.items[0].metadata.name}")
        .ok();
    let pod = cluster
        .k("get pods -l app=guarded -o jsonpath={.items[0].metadata.name}")
        .ok();
    let drain = format!("drain {node} --pod-selector=app=guarded --timeout");
    cluster.until("the budget knows its pod", PATIENCE, |cluster| {
        cluster.json("pdb guarded")["status"]["currentHealthy"] == 1
    });
    has(
        &cluster.k(&format!("{drain}=3s")).refused(),
        &["would violate the pod's disruption budget"],
    );
    cluster.k("delete pdb guarded").ok();
    has(
        &cluster.k(&format!("{drain}=60s")).ok(),
        &["evicted", "drained"],
    );
    has(
        &cluster.k(&format!("get pod {pod}")).refused(),
        &["NotFound"],
    );
    has(&cluster.k("get nodes").ok(), &["Ready,SchedulingDisabled"]);
    cluster.until("its successor waits for a node", PATIENCE, |cluster| {
        let events = cluster.k("events --types=Warning").ok();
        events.contains("FailedScheduling") && events.contains("unschedulable")
    });
    has(
        &cluster.k(&format!("uncordon {node}")).ok(),
        &["uncordoned"],
    );
    cluster
        .k("wait deploy/guarded --for=condition=Available --timeout=60s")
        .ok();
    has(
        &cluster.k("events --for deploy/guarded").ok(),
        &["ScalingReplicaSet", "Scaled up"],
    );
    cluster.k("delete deploy guarded --wait").ok();
    cluster
        .k("wait pods -l app=guarded --for=delete --timeout=60s")
        .ok();
}
