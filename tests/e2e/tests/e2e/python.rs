//! The official client for Python, by a program of its own.
//!
//! Upstream counterpart: `kubernetes/e2e_test` of the client.

use e2e_tests::{Cluster, root, run, tool};
use std::{process::Command, time::Duration};

/// What all of it may take; its parts wait less.
const PATIENCE: Duration = Duration::from_secs(140);

pub fn client(cluster: &mut Cluster) {
    let script = root().join("tests/e2e/tests/e2e/client.py");
    let containers = if cluster.simulated() {
        "simulated"
    } else {
        "real"
    };
    let mut python = Command::new("python3");
    python
        .arg("-B")
        .arg(script)
        .arg(containers)
        .env("PYTHONPATH", tool("python"))
        .env("KUBECONFIG", cluster.kubeconfig());
    let said = run(&mut python, "", PATIENCE)
        .expect("Python is there")
        .ok();
    said.lines().for_each(|line| println!("  {line}"));
}
