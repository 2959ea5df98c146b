use machinery::json;
use rehearse::*;
use std::time::Duration;

#[test]
fn smoke() {
    let mut cluster = Cluster::start(ClusterPlan { seed: 1, ..ClusterPlan::default() }).unwrap();
    for n in 1..=3 { cluster.add_node(NodePlan::new(&format!("node-{n}"))).unwrap(); }
    cluster.run_for(Duration::from_secs(5));
    for node in cluster.snapshot().list("nodes", None) { println!("{}", codec::encode_yaml(&node.to_value())); }
    cluster.apply(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
      "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
      "spec": {"containers": [{"name": "c", "image": "web:1", "readinessProbe": {"tcpSocket": {"port": 80}}}]}}}})).unwrap();
    cluster.run_for(Duration::from_secs(30));
    for d in cluster.snapshot().list("deployments.apps", None) { println!("{}", codec::encode_yaml(&d.to_value())); }
    for pod in cluster.snapshot().list("pods", None) { println!("{} {} {} {}", pod.name(), pod.at("spec.nodeName").str(), pod.at("status.phase").str(), codec::encode_yaml(&pod.at("status").to_value())); }
    for e in cluster.snapshot().list("events", None) { println!("{} {} {}", e.at("involvedObject.name").str(), e.at("reason").str(), e.at("message").str()); }
}
