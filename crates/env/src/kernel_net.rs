//! Kernel networking of one node as `kube-proxy` sees it: a set of service entries to hold true.
//!
//! Upstream counterpart: kube-proxy's `Provider` (nftables mode).

use crate::{BoxFuture, RuntimeResult};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

/// Transport protocol of a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Address and port a client uses to reach a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// Virtual address; `None` for a node port (any address of the node).
    pub address: Option<Ipv4Addr>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
}

/// One endpoint behind a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// Pod or host address.
    pub address: Ipv4Addr,
    /// Port.
    pub port: u16,
}

/// What a frontend leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Endpoints, sorted; none means connections are rejected.
    pub backends: Vec<Backend>,
    /// Keep a client on one backend for this long (`sessionAffinity: ClientIP`).
    pub affinity: Option<Duration>,
    /// Source address must be rewritten to the node's (node ports with cluster-wide policy).
    pub masquerade: bool,
}

/// The complete wanted state of a node's services.
pub type ServiceTable = BTreeMap<Frontend, ServiceEntry>;

/// A change to a node's service table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceChange {
    /// Entries to add or replace.
    pub set: ServiceTable,
    /// Entries to remove.
    pub remove: Vec<Frontend>,
}

/// Kernel networking of one node.
pub trait KernelNet: Send + Sync {
    /// Address of the node within the cluster's network.
    fn node_address(&self) -> IpAddr;
    /// Replaces all service rules of the node by `table`, in one transaction.
    fn replace_services<'a>(&'a self, table: &'a ServiceTable) -> BoxFuture<'a, RuntimeResult<()>>;
    /// Applies a change atomically.
    fn change_services<'a>(&'a self, change: &'a ServiceChange)
    -> BoxFuture<'a, RuntimeResult<()>>;
}
