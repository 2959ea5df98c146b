//! Commands that are a whole story by themselves: the demo, a rehearsal, a cluster without rights,
//! a damaged log.

use crate::{has, needs_containers};
use e2e_tests::{Cluster, binary, root};
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

/// A user without any rights.
const NOBODY: &str = "65534";

pub fn demo(cluster: &mut Cluster) {
    if needs_containers(cluster) {
        return;
    }
    let said = cluster.xebec(&["demo"]).ok();
    has(
        &said,
        &[
            "Everything that can be Ready is",
            "stands in for",
            "GET http://agent-service:8000/health -> 200",
            "\"counter\":2",
            "From command to working application",
        ],
    );
    let home = cluster.folder().join("home");
    let left: Vec<_> = fs::read_dir(home)
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("demo-"))
        .collect();
    assert!(left.is_empty(), "the demo left {left:?}");
}

pub fn example_by_kubectl(cluster: &mut Cluster) {
    let folder = root().join("examples/production-agents");
    let folder = folder.to_str().unwrap();
    let definition = format!("{folder}/servicemonitor-crd.yaml");
    cluster.kubectl(&["apply", "-f", &definition]).ok();
    // A kind just defined is in no document kubectl has read: it asks for OpenAPI v2 as well.
    cluster.kubectl(&["apply", "-k", folder]).ok();
    let again = cluster.kubectl(&["apply", "-k", folder]).ok();
    has(
        &again,
        &[
            "servicemonitor.monitoring.coreos.com/agent-metrics unchanged",
            "service/agent-service unchanged",
        ],
    );
    cluster
        .k("rollout status deploy/agent-deployment -n production-agents --timeout=90s")
        .ok();
    cluster
        .k("get hpa,netpol,servicemonitor -n production-agents")
        .ok();
    cluster.k("delete ns production-agents --timeout=60s").ok();
    cluster
        .kubectl(&["delete", "-f", &definition, "--timeout=60s"])
        .ok();
}

pub fn rehearsal_of_the_same_manifests(cluster: &mut Cluster) {
    let file = root().join("examples/production-agents/node-loss.yaml");
    let file = file.to_str().unwrap();
    let hash = |seed: &[&str]| {
        let said = cluster.xebec(&[&["rehearse", file], seed].concat()).ok();
        has(&said, &["lost its power", "11 of 11 expectations held"]);
        said.rsplit("hash ").next().unwrap().trim().to_owned()
    };
    let first = hash(&[]);
    assert_eq!(
        (hash(&[]), hash(&[])),
        (first.clone(), first.clone()),
        "one seed, one story"
    );
    assert_ne!(
        hash(&["--seed", "4711"]),
        first,
        "another seed, another story"
    );
}

pub fn without_rights(cluster: &mut Cluster) {
    if needs_containers(cluster) {
        return;
    }
    // The binary may lie where nobody else can read it.
    let copy = PathBuf::from(cluster.folder()).join("xebec");
    fs::copy(binary(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(cluster.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let said = Command::new("setpriv")
        .args([
            "--reuid",
            NOBODY,
            "--regid",
            NOBODY,
            "--clear-groups",
            "--inh-caps=-all",
        ])
        .arg(&copy)
        .args(["up", "--name", "poor"])
        .env("XEBEC_HOME", cluster.folder().join("nobody"))
        .output()
        .unwrap();
    assert!(!said.status.success());
    let text = String::from_utf8_lossy(&said.stderr);
    has(&text, &["need root", "--simulated"]);
    assert_eq!(text.trim().lines().count(), 1, "one line says it: {text}");
}

pub fn damaged_log(cluster: &mut Cluster) {
    let words = |extra: &[&'static str]| [&["--name", "damaged"], extra].concat();
    let kubeconfig = cluster.folder().join("damaged-kubeconfig");
    let start = [
        "up",
        "--detach",
        "--simulated",
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
    ];
    cluster.xebec(&[&start[..], &words(&[])].concat()).ok();
    cluster.xebec(&[&["down"], &words(&[])[..]].concat()).ok();
    let store = cluster.folder().join("home/damaged/store");
    let log = fs::read_dir(&store)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && path.metadata().unwrap().len() > 4096)
        .max_by_key(|path| path.metadata().unwrap().len())
        .expect("the store has a log");
    let mut bytes = fs::read(&log).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end / 2] ^= 0xff;
    fs::write(&log, &bytes).unwrap();
    let said = cluster.xebec(&[&start[..], &words(&[])].concat()).refused();
    let name = log.file_name().unwrap().to_str().unwrap();
    has(&said, &[name, "is damaged at byte"]);
    bytes[end / 2] ^= 0xff;
    // A torn last record is no corruption: it was never acknowledged.
    bytes[end - 3] ^= 0xff;
    fs::write(&log, &bytes).unwrap();
    cluster.xebec(&[&start[..], &words(&[])].concat()).ok();
    cluster.xebec(&[&["delete"], &words(&[])[..]].concat()).ok();
}
