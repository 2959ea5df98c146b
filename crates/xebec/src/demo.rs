//! `xebec demo`: a cluster, the example application on it, a look at it, and nothing left behind.

use crate::{
    applied::apply,
    cli::DemoArgs,
    cluster::{Cluster, Start, ground, interrupted, runtime},
    cluster_file::ClusterPlan,
    home::Home,
    nodes,
};
use machinery::Object;
use node_linux::{PodNetwork, net};
use registry::{Door, Key};
use std::{
    error::Error,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const NAMESPACE: &str = "production-agents";
/// The application must be Ready within this time.
const READY_MAX: Duration = Duration::from_secs(120);
/// A call to the agent may take this long.
const CALL_MAX: Duration = Duration::from_secs(5);

/// The example's files in the order of its guide.
const FILES: [(&str, &str); 12] = [
    (
        "servicemonitor-crd.yaml",
        include_str!("../../../examples/production-agents/servicemonitor-crd.yaml"),
    ),
    (
        "namespace.yaml",
        include_str!("../../../examples/production-agents/namespace.yaml"),
    ),
    (
        "configmap.yaml",
        include_str!("../../../examples/production-agents/configmap.yaml"),
    ),
    (
        "secret.yaml",
        include_str!("../../../examples/production-agents/secret.yaml"),
    ),
    (
        "rbac.yaml",
        include_str!("../../../examples/production-agents/rbac.yaml"),
    ),
    (
        "pvc.yaml",
        include_str!("../../../examples/production-agents/pvc.yaml"),
    ),
    (
        "redis-statefulset.yaml",
        include_str!("../../../examples/production-agents/redis-statefulset.yaml"),
    ),
    (
        "service.yaml",
        include_str!("../../../examples/production-agents/service.yaml"),
    ),
    (
        "deployment.yaml",
        include_str!("../../../examples/production-agents/deployment.yaml"),
    ),
    (
        "hpa.yaml",
        include_str!("../../../examples/production-agents/hpa.yaml"),
    ),
    (
        "networkpolicy.yaml",
        include_str!("../../../examples/production-agents/networkpolicy.yaml"),
    ),
    (
        "servicemonitor.yaml",
        include_str!("../../../examples/production-agents/servicemonitor.yaml"),
    ),
];

/// Runs the demo; its exit code.
pub fn run(arguments: &DemoArgs) -> Result<i32> {
    let since = Instant::now();
    let home = Home::of(&format!("demo-{}", std::process::id()))?;
    let start = Start {
        plan: ClusterPlan::plain(arguments.nodes.max(1)),
        simulated: arguments.simulated,
        port: 0,
        kubeconfig: home.root().join("kubeconfig"),
        home: home.clone(),
    };
    let ground = ground(&start)?;
    let outcome = runtime()?.block_on(async {
        let world = real_env::real_world(tokio::runtime::Handle::current());
        let cluster = Cluster::start(start, ground, &world, since).await?;
        let shown = tokio::select! {
            shown = show(&cluster, since) => shown,
            _ = interrupted(&cluster) => Err("interrupted".into()),
        };
        if shown.is_ok() && arguments.keep {
            println!(
                "\nThe cluster stays until you interrupt it (Ctrl-C): export KUBECONFIG={}",
                cluster.kubeconfig.display()
            );
            interrupted(&cluster).await?;
        }
        cluster.stop().await?;
        shown
    });
    nodes::remove_leftovers(&home)?;
    if home.root().exists() {
        fs::remove_dir_all(home.root())?;
    }
    outcome.map(|()| 0)
}

async fn show(cluster: &Cluster, since: Instant) -> Result<()> {
    println!(
        "API server ready in {:.0?}, {} node(s) Ready in {:.0?}",
        cluster.api_ready,
        cluster.nodes.len(),
        cluster.nodes_ready
    );
    let door = &cluster.server.platform.door;
    let applied_at = Instant::now();
    for (file, text) in FILES {
        for object in codec::yaml_documents(text.as_bytes())? {
            let name = format!("{} {}", object["kind"].str(), object.name());
            apply(door, object, NAMESPACE)
                .await
                .map_err(|why| format!("{file}: {name}: {why}"))?;
        }
    }
    println!(
        "Applied {} files of examples/production-agents in {:.0?}",
        FILES.len(),
        applied_at.elapsed()
    );
    println!(
        "The image {} stands in for the guide's agent and for Redis",
        nodes::DEMO_IMAGE
    );
    let ready = wait_ready(door).await;
    print_pods(door);
    ready?;
    println!(
        "Everything that can be Ready is, {:.0?} after it was applied",
        applied_at.elapsed()
    );
    print_services(door);
    match cluster.networks.first() {
        Some(network) => call_agent(door, network)?,
        None => println!("Containers are simulated: there is nothing to call"),
    }
    println!(
        "\nFrom command to working application: {:.2?}",
        since.elapsed()
    );
    Ok(())
}

/// The first workload that is not Ready yet, in words.
fn waiting(door: &Door) -> Option<String> {
    let snapshot = door.snapshot();
    let lacks = |resource: &'static str, name: &str, field: &str| {
        let found = snapshot.get(resource, &Key::new(NAMESPACE, name));
        let (wanted, ready) = found.map_or((1, 0), |object| {
            (object.at("spec.replicas").i64(), object.at(field).i64())
        });
        (ready < wanted).then(|| format!("{name}: {ready} of {wanted} ready"))
    };
    lacks("statefulsets.apps", "redis", "status.readyReplicas").or_else(|| {
        lacks(
            "deployments.apps",
            "agent-deployment",
            "status.availableReplicas",
        )
    })
}

async fn wait_ready(door: &Door) -> Result<()> {
    let mut subscription = door.subscribe(door.snapshot().revision)?;
    let deadline = Instant::now() + READY_MAX;
    while let Some(lacking) = waiting(door) {
        let left = deadline.saturating_duration_since(Instant::now());
        if tokio::time::timeout(left, subscription.next())
            .await
            .is_err()
        {
            return Err(format!("not Ready after {READY_MAX:?}: {lacking}").into());
        }
    }
    Ok(())
}

fn print_pods(door: &Door) {
    println!(
        "\n{:<40} {:<7} {:<10} {:<16} NODE",
        "POD", "READY", "STATUS", "IP"
    );
    for pod in door.snapshot().list("pods", Some(NAMESPACE)) {
        let statuses: Vec<_> = pod.at("status.containerStatuses").items().collect();
        let ready = statuses
            .iter()
            .filter(|one| one.get("ready").is_true())
            .count();
        let phase = waiting_reason(pod).unwrap_or(pod.at("status.phase").str());
        println!(
            "{:<40} {:<7} {phase:<10} {:<16} {}",
            pod.name(),
            format!("{ready}/{}", statuses.len()),
            pod.at("status.podIP").str(),
            pod.at("spec.nodeName").str()
        );
    }
}

fn waiting_reason(pod: &Object) -> Option<&str> {
    pod.at("status.containerStatuses")
        .items()
        .find_map(|one| one.at("state.waiting.reason").as_str())
}

fn print_services(door: &Door) {
    let snapshot = door.snapshot();
    println!("\n{:<20} {:<16} ENDPOINTS", "SERVICE", "CLUSTER-IP");
    for service in snapshot.list("services", Some(NAMESPACE)) {
        let slices = snapshot
            .list("endpointslices.discovery.k8s.io", Some(NAMESPACE))
            .filter(|slice| slice.label("kubernetes.io/service-name") == Some(service.name()));
        let endpoints: Vec<String> = slices.flat_map(|slice| endpoints(slice)).collect();
        println!(
            "{:<20} {:<16} {}",
            service.name(),
            service.at("spec.clusterIP").str(),
            endpoints.join(", ")
        );
    }
}

fn endpoints(slice: &Object) -> Vec<String> {
    let port = slice
        .at("ports")
        .items()
        .next()
        .map_or(0, |port| port.get("port").i64());
    let addresses = slice
        .at("endpoints")
        .items()
        .filter_map(|one| one.get("addresses").items().next());
    addresses
        .map(|address| format!("{}:{port}", address.str()))
        .collect()
}

/// Calls the agent through its Service from the node's network; the agent calls its Redis.
fn call_agent(door: &Door, network: &net::NodeNetwork) -> Result<()> {
    let service = door
        .snapshot()
        .get("services", &Key::new(NAMESPACE, "agent-service"))
        .cloned()
        .ok_or("there is no agent-service")?;
    let address: Ipv4Addr = service.at("spec.clusterIP").str().parse()?;
    println!();
    for path in ["/health", "/agent?task=hello", "/agent?task=hello"] {
        let since = Instant::now();
        let (code, body) = get(network, SocketAddr::new(address.into(), 8000), path)?;
        println!(
            "GET http://agent-service:8000{path} -> {code} in {:.1?}: {}",
            since.elapsed(),
            body.trim_end()
        );
        if code != 200 {
            return Err(format!("the agent answered {code}").into());
        }
    }
    Ok(())
}

fn get(network: &net::NodeNetwork, address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = net::connect_tcp_in(network.node_netns(), address, CALL_MAX)?;
    stream.set_read_timeout(Some(CALL_MAX))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: agent-service\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    let code = head
        .split_whitespace()
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or("no status line")?;
    Ok((code, body.to_owned()))
}
