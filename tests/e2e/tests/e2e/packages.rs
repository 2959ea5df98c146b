//! A chart, by the real helm.

use crate::has;
use e2e_tests::{Cluster, root};

pub fn install_upgrade_rollback(cluster: &mut Cluster) {
    let chart = root().join("tests/charts/hello");
    let chart = chart.display();
    let dry = cluster.helm(&format!("install hello {chart} --dry-run=server"));
    has(&dry.ok(), &["pending-install", "kind: Deployment"]);
    assert_eq!(cluster.helm("list -q").ok(), "");
    has(
        &cluster
            .helm(&format!("install hello {chart} --wait --timeout 90s"))
            .ok(),
        &["STATUS: deployed"],
    );
    has(&cluster.helm("list").ok(), &["hello", "deployed"]);
    let first = cluster.helm("get manifest hello").ok();
    if !cluster.simulated() {
        has(
            &cluster.helm("test hello --timeout 90s").ok(),
            &["Phase:", "Succeeded"],
        );
    }
    cluster
        .helm(&format!(
            "upgrade hello {chart} --set replicas=3,greeting=again --wait --timeout 90s"
        ))
        .ok();
    assert_ne!(cluster.helm("get manifest hello").ok(), first);
    let ready = "get deploy -l app.kubernetes.io/instance=hello -o jsonpath={.items[0].status.readyReplicas}";
    assert_eq!(cluster.k(ready).ok(), "3");
    has(
        &cluster.helm("get values hello").ok(),
        &["replicas: 3", "greeting: again"],
    );
    cluster.helm("rollback hello 1 --wait --timeout 90s").ok();
    has(
        &cluster.helm("history hello").ok(),
        &["superseded", "Rollback to 1"],
    );
    assert_eq!(cluster.helm("get manifest hello").ok(), first);
    has(
        &cluster.helm("uninstall hello --wait").ok(),
        &["uninstalled"],
    );
    let left = cluster
        .k("get deploy,svc,cm -l app.kubernetes.io/instance=hello -o name")
        .ok();
    assert_eq!(left, "");
}
