//! One node's network: pods are attached here, and service rules held true.
//!
//! Must not know the other nodes. Upstream counterpart: the Amazon VPC CNI plugin on one node.

use super::{
    addresses::{Ipv4Net, PodAddresses},
    links::Links,
    netns::{context, run_in_netns},
    records::{NETNS, NodeRecord, PODS, PodRecord, host_ports, read_pods, safe_name, write_text},
    services::Services,
    wiring::{pod_link, pod_link_name, pod_route, pod_side},
};
use crate::PodNetwork;
use env::{
    BoxFuture, HostPort, KernelNet, RuntimeError, RuntimeResult, ServiceChange, ServiceTable,
};
use futures::channel::oneshot;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Error},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

/// One node's network: attaches pods and holds service rules. Clones share the node.
#[derive(Clone)]
pub struct NodeNetwork {
    pub(super) inner: Arc<Node>,
}

pub(super) struct Node {
    pub(super) directory: PathBuf,
    netns: PathBuf,
    pub(super) record: NodeRecord,
    pods: Mutex<Pods>,
    services: Mutex<Services>,
}

struct Pods {
    links: Links,
    addresses: PodAddresses,
    attached: BTreeMap<String, PodRecord>,
}

impl NodeNetwork {
    pub(super) fn with(
        directory: &Path,
        record: NodeRecord,
        links: Links,
        mut services: Services,
    ) -> io::Result<Self> {
        let attached = read_pods(&directory.join(PODS))?;
        let used: Vec<_> = attached.values().map(|record| record.address).collect();
        let ports = attached.values().flat_map(|record| record.ports.clone());
        services.know_host_ports(ports.collect());
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

    fn attach_pod(&self, uid: &str, netns: &Path, ports: &[HostPort]) -> io::Result<Ipv4Addr> {
        let mut pods = self.pods();
        if let Some(record) = pods.attached.get(uid) {
            return Ok(record.address);
        }
        safe_name(uid)?;
        let full = || Error::other(format!("no free pod address in {}", self.pod_range()));
        let address = pods.addresses.take().ok_or_else(full)?;
        let record = PodRecord {
            address,
            ports: host_ports(ports, address),
        };
        let made = self.connect_pod(&mut pods.links, uid, &record, netns);
        if let Err(e) = made {
            pods.addresses.give(address);
            return Err(e);
        }
        pods.attached.insert(uid.into(), record);
        Ok(address)
    }

    fn connect_pod(
        &self,
        links: &mut Links,
        uid: &str,
        pod: &PodRecord,
        netns: &Path,
    ) -> io::Result<()> {
        let (record, address) = (self.inner.directory.join(PODS).join(uid), pod.address);
        let file = File::open(netns).map_err(|e| context(e, "open", netns))?;
        // Left behind only if the agent ended between the link and its record.
        links.delete(&pod_link_name(address))?;
        let connected = links
            .apply(pod_link(address, &file))
            .and_then(|()| run_in_netns(netns, || pod_side(address)))
            .and_then(|()| links.apply(pod_route(address)))
            .and_then(|()| self.change(|services| services.open_host_ports(&pod.ports)))
            .and_then(|()| write_text(&record, &pod.text()));
        connected.or_else(|e| {
            // The first error says what went wrong; ports that lead nowhere are refused.
            let _ = self.change(|services| services.close_host_ports(&pod.ports));
            links.delete(&pod_link_name(address)).and(Err(e))
        })
    }

    fn detach_pod(&self, uid: &str) -> io::Result<()> {
        let mut pods = self.pods();
        let Some(record) = pods.attached.get(uid) else {
            return Ok(());
        };
        let address = record.address;
        self.change(|services| services.close_host_ports(&record.ports))?;
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

    fn change<T>(&self, work: impl FnOnce(&mut Services) -> io::Result<T>) -> io::Result<T> {
        // A poisoned lock is harmless: the next change finds its state unknown and reloads all.
        let mut services = self
            .inner
            .services
            .lock()
            .unwrap_or_else(|e| e.into_inner());
        work(&mut services)
    }

    fn serve<T>(&self, work: impl FnOnce(&mut Services) -> io::Result<T>) -> RuntimeResult<T> {
        self.change(work).map_err(|e| {
            RuntimeError::new("ServiceRulesFailed", format!("node {}: {e}", self.name()))
        })
    }
}

impl PodNetwork for NodeNetwork {
    fn attach(
        &self,
        pod_uid: &str,
        netns_path: &Path,
        ports: &[HostPort],
    ) -> RuntimeResult<Vec<IpAddr>> {
        let address = self
            .attach_pod(pod_uid, netns_path, ports)
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
            std::thread::spawn(move || done.send(node.serve(|s| s.replace(table))));
            let gone = || RuntimeError::new("ServiceRulesFailed", "the loading thread panicked");
            result.await.unwrap_or_else(|_| Err(gone()))
        })
    }

    fn change_services<'a>(
        &'a self,
        change: &'a ServiceChange,
    ) -> BoxFuture<'a, RuntimeResult<()>> {
        // Some microseconds of kernel work: cheaper in place than handed over.
        Box::pin(async move { self.serve(|s| s.change(change)) })
    }
}
