//! A running cluster in this process: up, ready, drained.

use crate::{
    certificates::Keeper,
    cli::UpArgs,
    cluster_file::ClusterPlan,
    home::Home,
    kubeconfig,
    nodes::{Ground, Place},
    server::Server,
};
use env::World;
use node_linux::net::NodeNetwork;
use std::{
    collections::BTreeMap,
    error::Error,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Nodes must be Ready within this time.
const READY_MAX: Duration = Duration::from_secs(60);
/// Name of a cluster that is given none.
const DEFAULT_NAME: &str = "xebec";

/// A cluster's parts.
pub struct Cluster {
    /// Its directory.
    pub home: Home,
    /// The control plane, listening.
    pub server: Server,
    /// Networks of its real nodes.
    pub networks: Vec<NodeNetwork>,
    /// Node names.
    pub nodes: Vec<String>,
    /// The machine's side, `None` for a simulated one.
    ground: Option<Ground>,
    /// Kubeconfig with its context.
    pub kubeconfig: PathBuf,
    /// From start to the API answering.
    pub api_ready: Duration,
    /// From start to all nodes Ready.
    pub nodes_ready: Duration,
}

/// What a cluster is started with.
pub struct Start {
    /// Its directory.
    pub home: Home,
    /// Its shape.
    pub plan: ClusterPlan,
    /// Whether containers are simulated.
    pub simulated: bool,
    /// Port of the API server.
    pub port: u16,
    /// Kubeconfig to merge into.
    pub kubeconfig: PathBuf,
}

impl Start {
    /// From the command line.
    pub fn of(arguments: &UpArgs) -> Result<Self> {
        let plan = match &arguments.file {
            Some(file) => ClusterPlan::read(file, arguments.nodes)?,
            None => ClusterPlan::plain(arguments.nodes.unwrap_or(1)),
        };
        let name = arguments
            .name
            .clone()
            .or(plan.name.clone())
            .unwrap_or_else(|| DEFAULT_NAME.into());
        Ok(Self {
            home: Home::of(&name)?,
            plan,
            simulated: arguments.simulated,
            port: arguments.port,
            kubeconfig: kubeconfig::path(arguments.kubeconfig.as_deref()),
        })
    }

    /// What the command line said, or meant where it said nothing.
    pub fn flags(&self) -> BTreeMap<String, String> {
        let flags = [
            ("kubeconfig", self.kubeconfig.display().to_string()),
            ("name", self.home.name().to_owned()),
            ("nodes", self.plan.nodes.len().to_string()),
            ("port", self.port.to_string()),
            ("simulated", self.simulated.to_string()),
        ];
        flags.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Refuses to start a cluster twice.
    pub fn check_free(&self) -> Result<()> {
        match self.home.running() {
            Some(pid) => Err(format!(
                "cluster {} runs already (process {pid}): xebec down --name {0}",
                self.home.name()
            )
            .into()),
            None => Ok(()),
        }
    }
}

/// The runtime of this process. The machine's side must be prepared before: it forks.
pub fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}

/// Prepares the machine's side of a cluster with real containers.
pub fn ground(start: &Start) -> Result<Option<Ground>> {
    if start.simulated {
        Ok(None)
    } else {
        Ground::prepare(&start.home).map(Some)
    }
}

impl Cluster {
    /// Brings everything up and waits until all nodes are Ready.
    pub async fn start(
        start: Start,
        mut ground: Option<Ground>,
        world: &World,
        since: Instant,
    ) -> Result<Self> {
        let server = Server::start(&start, world).await?;
        start.home.remember_port(&server.url)?;
        let api_ready = since.elapsed();
        let mut networks = Vec::new();
        for (position, plan) in start.plan.nodes.iter().enumerate() {
            let place = Place {
                home: &start.home,
                world,
                platform: &server.platform,
                server: &server.api,
                kubelets: &server.kubelets,
            };
            match &mut ground {
                Some(ground) => {
                    networks.push(ground.start(plan, &start.plan.region, &place).await?)
                }
                None => {
                    crate::nodes::start_simulated(plan, position, &start.plan.region, &place)
                        .await?
                }
            }
        }
        let nodes: Vec<String> = start
            .plan
            .nodes
            .iter()
            .map(|node| node.name.clone())
            .collect();
        kubeconfig::merge(&start.kubeconfig, &start.home, &server.url, &server.pki)?;
        let record = Home::record_of(&server.url, nodes.len(), start.simulated, &start.kubeconfig);
        start.home.write_record(&record)?;
        tokio::spawn(Keeper::new(&server, &start.home, &start.kubeconfig).keep(world.clone()));
        wait_ready(&server, &nodes).await?;
        Ok(Self {
            home: start.home,
            server,
            networks,
            nodes,
            ground,
            kubeconfig: start.kubeconfig,
            api_ready,
            nodes_ready: since.elapsed(),
        })
    }

    /// Ends everything: agents, containers, network, store. The state stays on disk.
    pub async fn stop(self) -> Result<()> {
        self.server.kubelets.stop();
        let home = self.home.clone();
        let ground = self.ground;
        let networks = self.networks;
        let removed = tokio::task::spawn_blocking(move || {
            drop(networks);
            ground.map_or(Ok(()), |ground| {
                ground.remove(&home).map_err(|why| why.to_string())
            })
        });
        let removed = removed.await?;
        self.server.platform.store.close().await;
        self.home.remove_record();
        Ok(removed?)
    }
}

/// Waits until every node says that it is Ready.
async fn wait_ready(server: &Server, nodes: &[String]) -> Result<()> {
    let door = &server.platform.door;
    let deadline = Instant::now() + READY_MAX;
    let mut subscription = door.subscribe_to(kinds::NODES, door.snapshot().revision)?;
    loop {
        let snapshot = door.snapshot();
        let waiting: Vec<&str> = nodes
            .iter()
            .filter(|name| {
                let node = snapshot.get(kinds::NODES, &registry::Key::new("", name));
                !node.is_some_and(|node| {
                    node.at("status.conditions").items().any(|one| {
                        one.get("type").str() == "Ready" && one.get("status").str() == "True"
                    })
                })
            })
            .map(String::as_str)
            .collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if tokio::time::timeout(left, subscription.next())
            .await
            .is_err()
        {
            return Err(format!("not Ready after {READY_MAX:?}: {}", waiting.join(", ")).into());
        }
    }
}

/// Completes at SIGINT or SIGTERM, or with the reason why the store stopped.
pub async fn interrupted(cluster: &Cluster) -> Result<Option<String>> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let stopped = cluster.server.platform.store.stopped();
    Ok(tokio::select! {
        biased;
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        why = stopped => Some(why.to_string()),
    })
}

/// `xebec up` in the foreground.
pub fn up(arguments: &UpArgs) -> Result<i32> {
    let since = Instant::now();
    let start = Start::of(arguments)?;
    start.check_free()?;
    let ground = ground(&start)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let world = real_env::real_world(tokio::runtime::Handle::current());
        let home = start.home.clone();
        let cluster = match Cluster::start(start, ground, &world, since).await {
            Ok(cluster) => cluster,
            Err(why) => {
                // The supervisor and the network of a start that failed must not stay.
                let _ = crate::nodes::remove_leftovers(&home);
                return Err(why);
            }
        };
        println!(
            "Cluster {} is ready: {} ({} node{})",
            cluster.home.name(),
            cluster.server.url,
            cluster.nodes.len(),
            if cluster.nodes.len() == 1 { "" } else { "s" }
        );
        println!(
            "API in {} ms, nodes in {} ms. Context xebec-{} is in {}",
            cluster.api_ready.as_millis(),
            cluster.nodes_ready.as_millis(),
            cluster.home.name(),
            cluster.kubeconfig.display()
        );
        let failed = interrupted(&cluster).await?;
        if let Some(why) = &failed {
            eprintln!("xebec: the store has stopped: {why}");
        }
        cluster.stop().await?;
        Ok(i32::from(failed.is_some()))
    })
}
