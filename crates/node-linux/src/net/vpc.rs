//! A cluster's VPC: one router namespace, one namespace per node, pods routed by /32.
//!
//! Nothing here has a route out: packets for unknown addresses end at the router. Everything is
//! recorded below one state directory, so that a restarted agent finds its network again. Must
//! not know Kubernetes objects. Upstream counterpart: Amazon VPC.

use super::{
    addresses::{AddressPlan, Ipv4Net},
    links::{Links, SCOPE_HOST},
    local::{API_SERVER_ADDRESS, DNS_ADDRESS},
    netns::{context, create_netns_with, remove_netns, run_in_netns, set_sysctl},
    node::NodeNetwork,
    records::*,
    services::{ServiceNet, Services},
    wiring::{
        node_side, open_forwarding, open_router, router_link_index, router_link_name, router_side,
    },
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Error},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

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
            route_loopback()?;
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
            route_loopback()?;
            let links =
                open_forwarding(&[(API_SERVER_ADDRESS, SCOPE_HOST), (DNS_ADDRESS, SCOPE_HOST)])?;
            Ok((links, Services::open(net)?))
        })?;
        let index = router_link_index(&record, self.config.zones.len());
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

/// Host ports on the loopback lead to pods, which are on other links. What comes to the loopback
/// from there is stopped by the service rules.
fn route_loopback() -> io::Result<()> {
    set_sysctl("net/ipv4/conf/all/route_localnet", "1")
}

fn service_net(config: &VpcConfig, record: &NodeRecord) -> ServiceNet {
    ServiceNet {
        node: record.address,
        pods: record.pods,
        services: config.service_cidr,
    }
}
