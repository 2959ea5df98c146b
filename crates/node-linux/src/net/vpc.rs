//! A cluster's VPC: one router namespace, one namespace per node, pods routed by /32.
//!
//! Nothing here has a route out: packets for unknown addresses end at the router. Everything is
//! recorded below one state directory, so that a restarted agent finds its network again. Must
//! not know Kubernetes objects. Upstream counterpart: Amazon VPC and its CNI plugin.

use super::{
    addresses::{AddressPlan, Ipv4Net, PodAddresses},
    links::{LOOPBACK, LinkBatch, Links, Mac, Route, SCOPE_GLOBAL, SCOPE_HOST, VethEnd},
    netns::{self, context, create_netns_with, is_pinned, remove_netns, run_in_netns},
    services::Services,
};
use crate::PodNetwork;
use env::{
    Backend, BoxFuture, Frontend, KernelNet, Protocol, RuntimeError, RuntimeResult, ServiceChange,
    ServiceEntry, ServiceTable,
};
use futures::channel::oneshot;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Error},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

/// Node-local address the API server listens on in every node's namespace.
pub const API_SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 1);
/// Port of [`API_SERVER_ADDRESS`].
pub const API_SERVER_PORT: u16 = 6443;
/// Node-local address the DNS server listens on in every node's namespace.
pub const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 10);
/// Port of [`DNS_ADDRESS`].
pub const DNS_PORT: u16 = 53;

/// Next hop of every pod and node; answered by a permanent neighbour entry, owned by no interface.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// Hardware address behind [`GATEWAY`] on every link.
const GATEWAY_MAC: Mac = [0xee; 6];
/// Interface number of a node's ENI inside the node.
const ENI: u32 = 100;
/// Interface number of `eth0` inside a pod; above anything a kernel makes on its own.
const POD_LINK: u32 = 1000;
/// First interface number of a node's pod links and of the router's node links.
const FIRST_PEER_LINK: u32 = 1000;

const CONFIG_FILE: &str = "vpc.json";
const ROUTER: &str = "router";
const NODES: &str = "nodes";
const NETNS: &str = "netns";
const NODE_FILE: &str = "node.json";
const PODS: &str = "pods";

/// The shape of a VPC.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VpcConfig {
    /// Range of node and pod addresses.
    pub cidr: Ipv4Net,
    /// Range of Service addresses: unserved ones are rejected.
    pub service_cidr: Ipv4Net,
    /// Zones, each with a subnet; their number is fixed for the life of the VPC.
    pub zones: Vec<String>,
}

impl Default for VpcConfig {
    /// `10.0.0.0/16` with three zones and EKS' default Service range.
    fn default() -> Self {
        let net = |a, b| Ipv4Net::new(Ipv4Addr::new(a, b, 0, 0), 16).unwrap_or(Ipv4Net::ALL);
        Self {
            cidr: net(10, 0),
            service_cidr: net(10, 100),
            zones: ["a", "b", "c"].map(|z| format!("local-1{z}")).into(),
        }
    }
}

/// What is recorded about a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct NodeRecord {
    name: String,
    zone: usize,
    slot: usize,
    address: Ipv4Addr,
    pods: Ipv4Net,
}

impl NodeRecord {
    /// The router's interface number for this node: unique since zone and slot are.
    fn router_link(&self, zones: usize) -> u32 {
        FIRST_PEER_LINK + (self.slot * zones + self.zone) as u32
    }
}

/// A cluster's network. Dropping it leaves the network running; see [`Vpc::cleanup`].
pub struct Vpc {
    directory: PathBuf,
    config: VpcConfig,
    plan: AddressPlan,
    state: Mutex<VpcState>,
}

struct VpcState {
    router: Links,
    nodes: BTreeMap<String, NodeNetwork>,
}

impl Vpc {
    /// Makes a VPC recorded below `state_dir`, which is created and must not hold one yet.
    pub fn create(state_dir: &Path, config: VpcConfig) -> io::Result<Self> {
        let plan = AddressPlan::new(config.cidr, config.zones.len()).map_err(Error::other)?;
        if state_dir.join(CONFIG_FILE).exists() {
            let message = format!("{} already holds a VPC", state_dir.display());
            return Err(Error::new(io::ErrorKind::AlreadyExists, message));
        }
        fs::create_dir_all(state_dir.join(NODES)).map_err(|e| context(e, "create", state_dir))?;
        write_json(&state_dir.join(CONFIG_FILE), &config)?;
        let router = create_netns_with(&state_dir.join(ROUTER), || open_router(plan.router()))?;
        Ok(Self::with(state_dir, config, plan, router))
    }

    /// Finds the VPC recorded below `state_dir` with all its nodes and pods, after the agent restarted.
    pub fn reopen(state_dir: &Path) -> io::Result<Self> {
        let config: VpcConfig = read_json(&state_dir.join(CONFIG_FILE))?;
        let plan = AddressPlan::new(config.cidr, config.zones.len()).map_err(Error::other)?;
        let router = state_dir.join(ROUTER);
        require_pinned(&router)?;
        let vpc = Self::with(state_dir, config, plan, run_in_netns(&router, Links::open)?);
        for entry in fs::read_dir(state_dir.join(NODES))? {
            vpc.reopen_node(&entry?.path())?;
        }
        Ok(vpc)
    }

    fn with(directory: &Path, config: VpcConfig, plan: AddressPlan, router: Links) -> Self {
        let nodes = BTreeMap::new();
        Self {
            directory: directory.into(),
            config,
            plan,
            state: Mutex::new(VpcState { router, nodes }),
        }
    }

    fn reopen_node(&self, directory: &Path) -> io::Result<()> {
        let record: NodeRecord = match read_json(&directory.join(NODE_FILE)) {
            Ok(record) => record,
            // The agent ended while it made or removed this node; nothing runs there.
            Err(_) => return remove_node_files(directory),
        };
        let netns = directory.join(NETNS);
        require_pinned(&netns)?;
        let open = || {
            Ok((
                Links::open()?,
                Services::open(service_net(&self.config, &record))?,
            ))
        };
        let (links, services) = run_in_netns(&netns, open)?;
        let node = NodeNetwork::with(directory, record, links, services)?;
        self.lock().nodes.insert(node.name().into(), node);
        Ok(())
    }

    /// Unpins and removes everything recorded below `state_dir`, including the directory; an absent one is success.
    pub fn cleanup(state_dir: &Path) -> io::Result<()> {
        if !state_dir.exists() {
            return Ok(());
        }
        if let Ok(nodes) = fs::read_dir(state_dir.join(NODES)) {
            for node in nodes {
                remove_node_files(&node?.path())?;
            }
        }
        remove_netns(&state_dir.join(ROUTER))?;
        fs::remove_dir_all(state_dir).map_err(|e| context(e, "remove", state_dir))
    }

    /// The VPC's shape.
    pub fn config(&self) -> &VpcConfig {
        &self.config
    }

    /// The subnet of a zone.
    pub fn subnet(&self, zone: &str) -> Option<Ipv4Net> {
        self.plan.subnet(self.zone(zone).ok()?)
    }

    /// The node called `name`, if it exists.
    pub fn node(&self, name: &str) -> Option<NodeNetwork> {
        self.lock().nodes.get(name).cloned()
    }

    /// Connects a new node in `zone`, or returns the existing one of that name.
    pub fn add_node(&self, name: &str, zone: &str) -> io::Result<NodeNetwork> {
        let mut state = self.lock();
        if let Some(node) = state.nodes.get(name) {
            return Ok(node.clone());
        }
        let record = self.place(&state, name, self.zone(zone)?)?;
        let directory = self.node_directory(name)?;
        fs::create_dir_all(directory.join(PODS))?;
        let made = self.connect(&mut state.router, &directory, record);
        let node = made.or_else(|e| remove_node_files(&directory).and(Err(e)))?;
        state.nodes.insert(name.into(), node.clone());
        Ok(node)
    }

    /// Disconnects a node and unpins its namespace; does nothing for an unknown one.
    pub fn remove_node(&self, name: &str) -> io::Result<()> {
        let Some(node) = self.lock().nodes.remove(name) else {
            return Ok(());
        };
        self.lock()
            .router
            .delete(&router_link_name(&node.inner.record))?;
        remove_node_files(&node.inner.directory)
    }

    fn zone(&self, zone: &str) -> io::Result<usize> {
        let found = self.config.zones.iter().position(|z| z == zone);
        found.ok_or_else(|| Error::other(format!("the VPC has no zone {zone:?}")))
    }

    /// Node names become directory names; Kubernetes' own rule (DNS subdomain) keeps them harmless.
    fn node_directory(&self, name: &str) -> io::Result<PathBuf> {
        safe_name(name)?;
        Ok(self.directory.join(NODES).join(name))
    }

    /// Gives a new node the lowest free slot of its zone.
    fn place(&self, state: &VpcState, name: &str, zone: usize) -> io::Result<NodeRecord> {
        let records = || state.nodes.values().map(|n| &n.inner.record);
        let taken = |slot| records().any(|r| (r.zone, r.slot) == (zone, slot));
        let slot = (0..).find(|slot| !taken(*slot)).unwrap_or(0);
        let full = || Error::other("no addresses left for another node in its zone");
        let (address, pods) = self.plan.node(zone, slot).ok_or_else(full)?;
        let name = name.into();
        Ok(NodeRecord {
            name,
            zone,
            slot,
            address,
            pods,
        })
    }

    fn connect(
        &self,
        router: &mut Links,
        directory: &Path,
        record: NodeRecord,
    ) -> io::Result<NodeNetwork> {
        let netns = directory.join(NETNS);
        let net = service_net(&self.config, &record);
        let (mut links, services) = create_netns_with(&netns, || {
            let links =
                open_forwarding(&[(API_SERVER_ADDRESS, SCOPE_HOST), (DNS_ADDRESS, SCOPE_HOST)])?;
            Ok((links, Services::open(net)?))
        })?;
        let index = record.router_link(self.config.zones.len());
        router.delete(&router_link_name(&record))?;
        router.apply(router_side(&record, index, &File::open(&netns)?))?;
        links.apply(node_side(&record))?;
        write_json(&directory.join(NODE_FILE), &record)?;
        NodeNetwork::with(directory, record, links, services)
    }

    fn lock(&self) -> MutexGuard<'_, VpcState> {
        // A poisoned lock means a panic between two kernel calls; the records are still whole.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The entries that lead a cluster DNS Service address to the node's own DNS server.
pub fn dns_service_entries(service: Ipv4Addr) -> ServiceTable {
    let server = Backend {
        address: DNS_ADDRESS,
        port: DNS_PORT,
    };
    let over = |protocol| node_local_entry(service, protocol, DNS_PORT, server);
    [over(Protocol::Udp), over(Protocol::Tcp)].into()
}

/// The entry that leads the `kubernetes` Service address to the API server's listener in the node.
pub fn api_server_entries(service: Ipv4Addr) -> ServiceTable {
    let server = Backend {
        address: API_SERVER_ADDRESS,
        port: API_SERVER_PORT,
    };
    [node_local_entry(service, Protocol::Tcp, 443, server)].into()
}

fn node_local_entry(
    service: Ipv4Addr,
    protocol: Protocol,
    port: u16,
    server: Backend,
) -> (Frontend, ServiceEntry) {
    let frontend = Frontend {
        address: Some(service),
        protocol,
        port,
    };
    (
        frontend,
        ServiceEntry {
            backends: vec![server],
            ..ServiceEntry::default()
        },
    )
}

/// One node's network: attaches pods and holds service rules. Clones share the node.
#[derive(Clone)]
pub struct NodeNetwork {
    inner: Arc<Node>,
}

struct Node {
    directory: PathBuf,
    netns: PathBuf,
    record: NodeRecord,
    pods: Mutex<Pods>,
    services: Mutex<Services>,
}

struct Pods {
    links: Links,
    addresses: PodAddresses,
    attached: BTreeMap<String, Ipv4Addr>,
}

impl NodeNetwork {
    fn with(
        directory: &Path,
        record: NodeRecord,
        links: Links,
        services: Services,
    ) -> io::Result<Self> {
        let attached = read_pods(&directory.join(PODS))?;
        let used: Vec<_> = attached.values().copied().collect();
        let addresses = PodAddresses::new(record.pods, &used);
        let node = Node {
            directory: directory.into(),
            netns: directory.join(NETNS),
            record,
            pods: Mutex::new(Pods {
                links,
                addresses,
                attached,
            }),
            services: Mutex::new(services),
        };
        Ok(Self {
            inner: Arc::new(node),
        })
    }

    /// Name of the node.
    pub fn name(&self) -> &str {
        &self.inner.record.name
    }

    /// Address of the node within the VPC.
    pub fn address(&self) -> Ipv4Addr {
        self.inner.record.address
    }

    /// Range its pods get addresses from.
    pub fn pod_range(&self) -> Ipv4Net {
        self.inner.record.pods
    }

    fn attach_pod(&self, uid: &str, netns: &Path) -> io::Result<Ipv4Addr> {
        let mut pods = self.pods();
        if let Some(address) = pods.attached.get(uid) {
            return Ok(*address);
        }
        safe_name(uid)?;
        let full = || Error::other(format!("no free pod address in {}", self.pod_range()));
        let address = pods.addresses.take().ok_or_else(full)?;
        let made = self.connect_pod(&mut pods.links, uid, address, netns);
        if let Err(e) = made {
            pods.addresses.give(address);
            return Err(e);
        }
        pods.attached.insert(uid.into(), address);
        Ok(address)
    }

    fn connect_pod(
        &self,
        links: &mut Links,
        uid: &str,
        address: Ipv4Addr,
        netns: &Path,
    ) -> io::Result<()> {
        let record = self.inner.directory.join(PODS).join(uid);
        fs::write(&record, address.to_string()).map_err(|e| context(e, "write", &record))?;
        let file = File::open(netns).map_err(|e| context(e, "open", netns))?;
        let connected = links
            .apply(pod_link(address, &file))
            .and_then(|()| run_in_netns(netns, || pod_side(address)))
            .and_then(|()| links.apply(pod_route(address)));
        connected.or_else(|e| {
            links.delete(&pod_link_name(address))?;
            fs::remove_file(&record)?;
            Err(e)
        })
    }

    fn detach_pod(&self, uid: &str) -> io::Result<()> {
        let mut pods = self.pods();
        let Some(address) = pods.attached.get(uid).copied() else {
            return Ok(());
        };
        pods.links.delete(&pod_link_name(address))?;
        fs::remove_file(self.inner.directory.join(PODS).join(uid))?;
        pods.attached.remove(uid);
        pods.addresses.give(address);
        Ok(())
    }

    fn pods(&self) -> MutexGuard<'_, Pods> {
        // A poisoned lock means a panic between two kernel calls; the records are still whole.
        self.inner.pods.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn change<T>(&self, work: impl FnOnce(&mut Services) -> io::Result<T>) -> RuntimeResult<T> {
        // A poisoned lock is harmless: the next change finds its state unknown and reloads all.
        let mut services = self
            .inner
            .services
            .lock()
            .unwrap_or_else(|e| e.into_inner());
        work(&mut services).map_err(|e| {
            RuntimeError::new("ServiceRulesFailed", format!("node {}: {e}", self.name()))
        })
    }
}

impl PodNetwork for NodeNetwork {
    fn attach(&self, pod_uid: &str, netns_path: &Path) -> RuntimeResult<Vec<IpAddr>> {
        let address = self
            .attach_pod(pod_uid, netns_path)
            .map_err(|e| RuntimeError::new("CreatePodSandboxError", format!("pod network: {e}")))?;
        Ok(vec![address.into()])
    }

    fn detach(&self, pod_uid: &str) {
        if let Err(e) = self.detach_pod(pod_uid) {
            // The address stays taken, so nothing else breaks; the seam has nobody to tell.
            eprintln!(
                "node {}: release of pod {pod_uid}'s network: {e}",
                self.name()
            );
        }
    }

    fn node_netns(&self) -> &Path {
        &self.inner.netns
    }
}

impl KernelNet for NodeNetwork {
    fn node_address(&self) -> IpAddr {
        self.address().into()
    }

    fn replace_services<'a>(&'a self, table: &'a ServiceTable) -> BoxFuture<'a, RuntimeResult<()>> {
        // A full load takes up to some hundred milliseconds: not on the caller's thread.
        Box::pin(async move {
            let (node, table) = (self.clone(), table.clone());
            let (done, result) = oneshot::channel();
            std::thread::spawn(move || done.send(node.change(|s| s.replace(table))));
            let gone = || RuntimeError::new("ServiceRulesFailed", "the loading thread panicked");
            result.await.unwrap_or_else(|_| Err(gone()))
        })
    }

    fn change_services<'a>(
        &'a self,
        change: &'a ServiceChange,
    ) -> BoxFuture<'a, RuntimeResult<()>> {
        // Some microseconds of kernel work: cheaper in place than handed over.
        Box::pin(async move { self.change(|s| s.change(change)) })
    }
}

fn service_net(config: &VpcConfig, record: &NodeRecord) -> super::services::ServiceNet {
    super::services::ServiceNet {
        node: record.address,
        pods: record.pods,
        services: config.service_cidr,
    }
}

/// Sets up the calling thread's new namespace as a router and opens its socket.
fn open_forwarding(addresses: &[(Ipv4Addr, u8)]) -> io::Result<Links> {
    netns::set_sysctl("net/ipv4/ip_forward", "1")?;
    let mut links = Links::open()?;
    let mut batch = LinkBatch::default();
    batch.up(LOOPBACK);
    for (address, scope) in addresses {
        batch.address(LOOPBACK, *address, *scope);
    }
    links.apply(batch)?;
    Ok(links)
}

fn open_router(address: Ipv4Addr) -> io::Result<Links> {
    open_forwarding(&[(address, SCOPE_GLOBAL)])
}

/// The router's end of a node's ENI, with the routes to the node and its pods.
fn router_side(record: &NodeRecord, index: u32, node: &File) -> LinkBatch {
    let name = router_link_name(record);
    let near = VethEnd {
        name: &name,
        index,
        mac: GATEWAY_MAC,
    };
    let far = VethEnd {
        name: "eth0",
        index: ENI,
        mac: mac(record.address),
    };
    let to_node = Route::direct(Ipv4Net::host(record.address), index);
    let gateway = Some(record.address);
    let to_pods = Route {
        to: record.pods,
        index,
        gateway,
        source: None,
    };
    let mut batch = LinkBatch::default();
    batch
        .veth(&near, &far, node)
        .neighbour(index, record.address, mac(record.address))
        .route(&to_node)
        .route(&to_pods);
    batch
}

/// The node's end of its ENI: its address and the way to the router. Unused pod addresses end
/// here, they would circle between node and router otherwise.
fn node_side(record: &NodeRecord) -> LinkBatch {
    let mut batch = default_way(ENI, record.address);
    batch.unreachable(record.pods);
    batch
}

fn default_way(index: u32, address: Ipv4Addr) -> LinkBatch {
    let gateway = Some(GATEWAY);
    let default = Route {
        to: Ipv4Net::ALL,
        index,
        gateway,
        source: Some(address),
    };
    let mut batch = LinkBatch::default();
    batch
        .up(index)
        .address(index, address, SCOPE_GLOBAL)
        .neighbour(index, GATEWAY, GATEWAY_MAC)
        .route(&default);
    batch
}

/// The veth pair of a pod.
fn pod_link(address: Ipv4Addr, pod: &File) -> LinkBatch {
    let name = pod_link_name(address);
    let near = VethEnd {
        name: &name,
        index: pod_link_index(address),
        mac: GATEWAY_MAC,
    };
    let far = VethEnd {
        name: "eth0",
        index: POD_LINK,
        mac: mac(address),
    };
    let mut batch = LinkBatch::default();
    batch.veth(&near, &far, pod);
    batch
}

/// Runs inside the pod's namespace: loopback, address, way out, low ports for every user (as containerd sets).
fn pod_side(address: Ipv4Addr) -> io::Result<()> {
    netns::set_sysctl("net/ipv4/ip_unprivileged_port_start", "0")?;
    let mut links = Links::open()?;
    links.loopback_up()?;
    links.apply(default_way(POD_LINK, address))
}

/// The node's way to a pod.
fn pod_route(address: Ipv4Addr) -> LinkBatch {
    let index = pod_link_index(address);
    let mut batch = LinkBatch::default();
    batch
        .neighbour(index, address, mac(address))
        .route(&Route::direct(Ipv4Net::host(address), index));
    batch
}

fn pod_link_name(address: Ipv4Addr) -> String {
    format!("pod{:08x}", u32::from(address))
}

/// Unique on the node: a pod range has 256 addresses.
fn pod_link_index(address: Ipv4Addr) -> u32 {
    FIRST_PEER_LINK + u32::from(address.octets()[3])
}

fn router_link_name(record: &NodeRecord) -> String {
    format!("eni{:08x}", u32::from(record.address))
}

/// A locally administered hardware address derived from the address.
fn mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x02, 0, a, b, c, d]
}

/// Names that become file names must not leave their directory.
fn safe_name(name: &str) -> io::Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if name.is_empty() || name.starts_with('.') || name.len() > 253 || !name.chars().all(fine) {
        return Err(Error::other(format!("{name:?} cannot name a node or pod")));
    }
    Ok(())
}

fn read_pods(directory: &Path) -> io::Result<BTreeMap<String, Ipv4Addr>> {
    let mut pods = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(|e| context(e, "read", directory))? {
        let entry = entry?;
        let uid = entry.file_name().to_string_lossy().into_owned();
        // A record cut short by a crash belongs to a pod that never started.
        match fs::read_to_string(entry.path())?.parse() {
            Ok(address) => drop(pods.insert(uid, address)),
            Err(_) => fs::remove_file(entry.path())?,
        }
    }
    Ok(pods)
}

fn remove_node_files(directory: &Path) -> io::Result<()> {
    remove_netns(&directory.join(NETNS))?;
    match fs::remove_dir_all(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|e| context(e, "remove", directory)),
    }
}

fn require_pinned(netns: &Path) -> io::Result<()> {
    if is_pinned(netns) {
        return Ok(());
    }
    let message =
        "its network namespace is gone (the machine restarted); clean up and create it again";
    Err(Error::new(
        io::ErrorKind::NotFound,
        format!("{}: {message}", netns.display()),
    ))
}

fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(value)?).map_err(|e| context(e, "write", &new))?;
    fs::rename(&new, path)
}

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> io::Result<T> {
    let bytes = fs::read(path).map_err(|e| context(e, "read", path))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::other(format!("{}: {e}", path.display())))
}
