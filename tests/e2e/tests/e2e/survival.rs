//! What a cluster keeps when its server dies or rests.

use crate::has;
use e2e_tests::{Cluster, tool};
use serde_json::Value;
use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Writes asked for; the server dies after a third of them.
const WRITES: usize = 100;
const ENOUGH: usize = 30;
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PATIENCE: Duration = Duration::from_secs(60);

fn many() -> String {
    let one = |number| {
        format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: crash-{number}}}\n")
    };
    (0..WRITES).map(one).collect()
}

/// What identifies the running containers: a restart would change it.
fn containers(cluster: &Cluster) -> String {
    let path = "jsonpath={range .items[*]}{.metadata.name}{.status.containerStatuses[0].containerID}{.status.containerStatuses[0].restartCount}{\"\\n\"}{end}";
    cluster
        .kubectl(&["get", "pods", "-l", "app=web", "-o", path])
        .ok()
}

pub fn kill_in_the_middle_of_writes(cluster: &mut Cluster) {
    let before = containers(cluster);
    assert!(
        !before.trim().is_empty(),
        "the deployment of earlier cases runs"
    );
    let started_at = cluster.k(&format!("get --raw {CONFIG_MAPS}?limit=1")).ok();
    let (input, said) = (
        cluster.folder().join("many.yaml"),
        cluster.folder().join("said"),
    );
    fs::write(&input, many()).unwrap();
    let mut command = Command::new(tool("kubectl"));
    command
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args(["create", "-f"])
        .arg(&input);
    let mut writer = command
        .stdout(fs::File::create(&said).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = || fs::read_to_string(&said).unwrap_or_default();
    let start = Instant::now();
    while lines().lines().count() < ENOUGH && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
    cluster.kill();
    writer.wait().unwrap();
    let acknowledged = lines();
    let count = acknowledged.lines().count();
    println!("  killed after {count} acknowledged writes");
    assert!(
        (ENOUGH..WRITES).contains(&count),
        "the kill came too late or never: {count}"
    );
    cluster.launch();
    let stored = cluster.k("get cm -o name").ok();
    for line in acknowledged.lines() {
        let name = line.split_whitespace().next().unwrap();
        assert!(
            stored.lines().any(|one| one == name),
            "{name} was acknowledged and is lost"
        );
    }
    watch_resumes(cluster, &started_at, &acknowledged);
    if !cluster.simulated() {
        assert_eq!(
            containers(cluster),
            before,
            "containers keep running while the server is away"
        );
        has(
            &cluster.k("exec deploy/web -- redis-cli ping").ok(),
            &["PONG"],
        );
    }
    // Controllers go on where they were.
    cluster.k("scale deploy/web --replicas=2").ok();
    cluster
        .k("wait deploy/web --for=jsonpath={.status.readyReplicas}=2 --timeout=60s")
        .ok();
    let leftovers = cluster.k("get cm -o name").ok();
    let names: Vec<_> = leftovers
        .lines()
        .filter(|name| name.contains("/crash-"))
        .collect();
    cluster
        .kubectl(&[&["delete"], names.as_slice()].concat())
        .ok();
}

/// A watch from before the kill shows every acknowledged write once.
fn watch_resumes(cluster: &Cluster, started_at: &str, acknowledged: &str) {
    let list: Value = serde_json::from_str(started_at).unwrap();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion={version}&timeoutSeconds=2");
    let events = cluster.k(&format!("get --raw {path}")).ok();
    let seen: Vec<String> = events
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["type"] == "ADDED")
        .map(|event| {
            event["object"]["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    for line in acknowledged.lines() {
        let name = line
            .split_whitespace()
            .next()
            .unwrap()
            .trim_start_matches("configmap/");
        let times = seen.iter().filter(|one| *one == name).count();
        assert_eq!(times, 1, "{name} must be seen once by a watch that resumes");
    }
}

pub fn down_and_up_again(cluster: &mut Cluster) {
    cluster
        .k("create configmap keepsake --from-literal=a=1")
        .ok();
    let name = cluster.name().to_owned();
    cluster.xebec(&["down", "--name", &name]).ok();
    cluster.gone();
    cluster.k("get cm keepsake --request-timeout=5s").refused();
    cluster.launch();
    assert_eq!(cluster.json("cm keepsake")["data"]["a"], "1");
    cluster.k("rollout status deploy/web --timeout=60s").ok();
}
