//! What a cluster leaves in its user's files and on the machine.

use crate::has;
use e2e_tests::Cluster;
use std::{fs, path::Path};

pub fn kubeconfig_is_merged(cluster: &mut Cluster) {
    let path = cluster.folder().join("merged");
    let foreign = "\
apiVersion: v1
kind: Config
current-context: mine
clusters: [{name: mine, cluster: {server: https://192.0.2.1}}]
contexts: [{name: mine, context: {cluster: mine, user: mine}}]
users: [{name: mine, user: {token: t}}]
preferences: {}
";
    fs::write(&path, foreign).unwrap();
    let file = path.to_str().unwrap();
    cluster
        .xebec(&[
            "up",
            "--simulated",
            "--detach",
            "--name",
            "merge",
            "--kubeconfig",
            file,
        ])
        .ok();
    let contexts = cluster
        .kubectl(&["--kubeconfig", file, "config", "get-contexts", "-o", "name"])
        .ok();
    let status = cluster.xebec(&["status", "--name", "merge"]);
    cluster.xebec(&["delete", "--name", "merge"]).ok();
    assert_eq!(status.code, Some(0), "{status:?}");
    has(&contexts, &["mine", "merge"]);
    let after = cluster
        .kubectl(&["--kubeconfig", file, "config", "view", "--raw"])
        .ok();
    has(&after, &["https://192.0.2.1", "token: t", "name: mine"]);
    assert!(
        !after.contains("merge"),
        "the context goes with the cluster:\n{after}"
    );
}

/// Lines of a kernel file that name the cluster or its folder.
fn lines_naming(path: &str, cluster: &Cluster) -> Vec<String> {
    let folder = cluster.folder().display().to_string();
    let text = fs::read_to_string(path).unwrap_or_default();
    let named = |line: &&str| line.contains(&folder) || line.contains(cluster.name());
    text.lines().filter(named).map(str::to_owned).collect()
}

/// Control groups of the cluster, in every hierarchy.
fn groups(folder: &Path, name: &str, depth: u32, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        if entry.file_name().to_string_lossy().contains(name) {
            found.push(entry.path().display().to_string());
        } else if depth > 0 {
            groups(&entry.path(), name, depth - 1, found);
        }
    }
}

/// Processes whose command line, program or root lies in the cluster's folder.
fn processes(cluster: &Cluster) -> Vec<String> {
    let folder = cluster.folder().display().to_string();
    let mut found = Vec::new();
    let own = std::process::id().to_string();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if pid == own || !pid.starts_with(|digit: char| digit.is_ascii_digit()) {
            continue;
        }
        let line = fs::read_to_string(entry.path().join("cmdline"))
            .unwrap_or_default()
            .replace('\0', " ");
        let link = |name: &str| {
            fs::read_link(entry.path().join(name))
                .unwrap_or_default()
                .display()
                .to_string()
        };
        let all = [line.clone(), link("root"), link("cwd")].join(" ");
        if all.contains(&folder) || all.contains(cluster.name()) {
            found.push(format!("{pid}: {line}"));
        }
    }
    found
}

pub fn delete_leaves_nothing(cluster: &mut Cluster) {
    // The case before killed and restarted the server: this is also the delete after a crash.
    cluster.kill();
    cluster.launch();
    cluster.delete().ok();
    assert_eq!(
        lines_naming("/proc/self/mountinfo", cluster),
        Vec::<String>::new(),
        "mounts"
    );
    let mut found = Vec::new();
    groups(Path::new("/sys/fs/cgroup"), cluster.name(), 5, &mut found);
    assert_eq!(found, Vec::<String>::new(), "control groups");
    assert_eq!(processes(cluster), Vec::<String>::new(), "processes");
    let pinned = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let pinned: Vec<_> = pinned
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(
        !pinned.iter().any(|name| name.contains(cluster.name())),
        "namespaces: {pinned:?}"
    );
    assert!(
        !cluster.folder().join("home").join(cluster.name()).exists(),
        "the cluster's state is gone"
    );
    let config = fs::read_to_string(cluster.kubeconfig()).unwrap_or_default();
    assert!(
        !config.contains(cluster.name()),
        "the context is gone:\n{config}"
    );
    cluster
        .xebec(&["status", "--name", cluster.name()])
        .refused();
}
