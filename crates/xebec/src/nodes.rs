//! Starts the nodes of a cluster: real ones over Linux, simulated ones over nothing.

use crate::{cluster_file::NodePlan, home::Home, machine, streams::Kubelets};
use apiserver::ApiServer;
use env::World;
use kubelet::KubeletConfig;
use node_linux::{
    BinaryImage, ImageStore, LinuxContainers, PodNetwork, RunConfig, RuntimeConfig,
    SupervisorClient,
    net::{self, NodeNetwork, Vpc, VpcConfig},
};
use platform::{NodeHands, Platform};
use sim_env::SimContainers;
use std::{
    error::Error,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

/// Address of the API server's Service.
pub const KUBERNETES_VIP: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 1);
/// Address of the name server's Service.
pub const DNS_VIP: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 10);
/// Domain of the cluster's names.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// Name of the image every cluster has.
pub const DEMO_IMAGE: &str = "xebec/demo:latest";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The machine's side of a cluster with real containers.
pub struct Ground {
    vpc: Vpc,
    supervisor: SupervisorClient,
}

impl Ground {
    /// Starts (or finds) the supervisor and the network. Call before any thread exists.
    pub fn prepare(home: &Home) -> Result<Self> {
        machine::rights()?;
        fs::create_dir_all(home.root())?;
        let own = std::env::current_exe()?;
        let own = own
            .to_str()
            .ok_or("the path of this program is not UTF-8")?;
        let supervisor =
            node_linux::spawn_supervisor(&[own, "node-supervisor"], &home.socket(), &home.node())?;
        let vpc = match Vpc::reopen(&home.vpc()) {
            Ok(vpc) => vpc,
            // Nothing usable is left (a fresh cluster, or the machine was restarted).
            Err(_) => {
                Vpc::cleanup(&home.vpc())?;
                Vpc::create(&home.vpc(), VpcConfig::default())?
            }
        };
        import_demo_image(home)?;
        Ok(Self { vpc, supervisor })
    }

    /// Adds a node to the cluster.
    pub async fn start(
        &mut self,
        plan: &NodePlan,
        region: &str,
        place: &Place<'_>,
    ) -> Result<NodeNetwork> {
        let network = self.vpc.add_node(&plan.name, &plan.zone)?;
        let runtime = RuntimeConfig {
            node: plan.name.clone(),
            state: place.home.node(),
            cgroup: place.home.cgroup(),
        };
        let containers = LinuxContainers::new(
            place.world.clone(),
            runtime,
            self.supervisor.clone(),
            Arc::new(network.clone()),
        )?;
        let mut fixed = net::dns_service_entries(DNS_VIP);
        fixed.extend(net::api_server_entries(KUBERNETES_VIP));
        let hands = NodeHands {
            containers: Arc::new(containers),
            net: Some(Arc::new(network.clone())),
            fixed_services: fixed,
        };
        let config = config(plan, region, network.address().into());
        name_server(place.platform, &network)?;
        inner_listener(place.server, &network)?;
        place
            .kubelets
            .add(place.platform.start_node(config, hands).await?);
        Ok(network)
    }

    /// Kills all containers and removes all that was made on the machine.
    pub fn remove(self, home: &Home) -> Result<()> {
        self.supervisor.shutdown()?;
        drop(self.vpc);
        Vpc::cleanup(&home.vpc())?;
        Ok(())
    }
}

/// Removes what a cluster whose server died has left on the machine.
pub fn remove_leftovers(home: &Home) -> Result<()> {
    let supervisor = SupervisorClient::new(home.socket());
    if supervisor.is_alive() {
        supervisor.shutdown()?;
    }
    node_linux::cleanup(&home.node())?;
    Vpc::cleanup(&home.vpc())?;
    Ok(())
}

/// What a node is started in.
pub struct Place<'a> {
    /// The cluster's directory.
    pub home: &'a Home,
    /// The world.
    pub world: &'a World,
    /// The control plane.
    pub platform: &'a Platform,
    /// The API server.
    pub server: &'a ApiServer,
    /// Where its agent is found.
    pub kubelets: &'a Kubelets,
}

/// What a kubelet is told.
pub fn config(plan: &NodePlan, region: &str, address: IpAddr) -> KubeletConfig {
    let mut labels: std::collections::BTreeMap<String, String> =
        plan.labels.iter().cloned().collect();
    if !plan.group.is_empty() {
        labels.insert("eks.amazonaws.com/nodegroup".into(), plan.group.clone());
        labels.insert("alpha.eksctl.io/nodegroup-name".into(), plan.group.clone());
    }
    KubeletConfig {
        node_name: plan.name.clone(),
        hostname: plan.name.clone(),
        internal_ips: vec![address],
        instance_type: plan.instance_type.clone(),
        region: region.into(),
        zone: plan.zone.clone(),
        labels,
        capacity: machine::capacity(),
        architecture: if cfg!(target_arch = "aarch64") {
            "arm64".into()
        } else {
            "amd64".into()
        },
        node_info: machine::info(),
        cluster_dns: vec![DNS_VIP.into()],
        cluster_domain: CLUSTER_DOMAIN.into(),
        ..KubeletConfig::default()
    }
}

fn name_server(platform: &Platform, network: &NodeNetwork) -> Result<()> {
    let address = SocketAddr::new(net::DNS_ADDRESS.into(), net::DNS_PORT);
    let udp = net::bind_udp_in(network.node_netns(), address)?;
    let tcp = net::listen_tcp_in(network.node_netns(), address)?;
    let zone = platform.services.zone();
    tokio::spawn(async move {
        if let Err(why) = dns::serve(zone, udp, tcp).await {
            eprintln!("xebec: the name server ended: {why}");
        }
    });
    Ok(())
}

/// Pods reach the API server inside their node.
fn inner_listener(server: &ApiServer, network: &NodeNetwork) -> Result<()> {
    let address = SocketAddr::new(net::API_SERVER_ADDRESS.into(), net::API_SERVER_PORT);
    let listener = net::listen_tcp_in(network.node_netns(), address)?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let server = server.clone();
    tokio::spawn(async move { server.serve(listener).await });
    Ok(())
}

/// Makes the demo image of this very binary, unless the one there was made of it.
fn import_demo_image(home: &Home) -> Result<()> {
    let own = std::env::current_exe()?;
    let facts = fs::metadata(&own)?;
    let mark = format!("{} {:?}", facts.len(), facts.modified()?);
    let marker = home.node().join("demo-image");
    let images = ImageStore::open(home.node())?;
    if images.find(DEMO_IMAGE)?.is_some()
        && fs::read_to_string(&marker).is_ok_and(|text| text == mark)
    {
        return Ok(());
    }
    images.import_binary(Path::new("/proc/self/exe"), &demo_image())?;
    fs::write(marker, mark)?;
    Ok(())
}

fn demo_image() -> BinaryImage<'static> {
    BinaryImage {
        reference: DEMO_IMAGE,
        name: "xebec",
        applets: demo_app::APPLETS,
        config: RunConfig {
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
            cmd: vec!["agent".into()],
            ..RunConfig::default()
        },
    }
}

/// What a simulated node offers: a middling instance.
const SIMULATED_CAPACITY: [(&str, &str); 4] = [
    ("cpu", "8"),
    ("memory", "32Gi"),
    ("pods", "110"),
    ("ephemeral-storage", "100Gi"),
];
/// Simulated nodes have these addresses, their pods the ranges of 1,022 that begin here.
const SIMULATED_NODES: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 16);
const SIMULATED_PODS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 0);
const PODS_PER_RANGE: u32 = 1024;

/// Adds the simulated node at `position` of the cluster.
pub async fn start_simulated(
    plan: &NodePlan,
    position: usize,
    region: &str,
    place: &Place<'_>,
) -> Result<()> {
    let position = u32::try_from(position)?;
    let offset = |base: Ipv4Addr, by: u32| Ipv4Addr::from_bits(base.to_bits() + by);
    let pods = offset(SIMULATED_PODS, position * PODS_PER_RANGE);
    let containers = SimContainers::new(place.world.clone(), Arc::default(), pods);
    let mut config = config(plan, region, offset(SIMULATED_NODES, position).into());
    config.capacity = SIMULATED_CAPACITY
        .map(|(name, amount)| (name.to_owned(), amount.to_owned()))
        .into();
    let hands = NodeHands {
        containers,
        net: None,
        fixed_services: Default::default(),
    };
    place
        .kubelets
        .add(place.platform.start_node(config, hands).await?);
    Ok(())
}
