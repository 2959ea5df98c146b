//! The seam between the container runtime and the pod network of one node.
//!
//! Must not know how addresses are assigned or packets filtered. Upstream counterpart: CNI.

use env::{HostPort, RuntimeResult};
use std::{net::IpAddr, path::Path};

/// Gives pods their interfaces and addresses. Calls block and come from blocking threads.
pub trait PodNetwork: Send + Sync {
    /// Connects the network namespace at `netns_path` and returns its addresses; idempotent
    /// per pod UID: a second call returns the addresses of the first. `ports` of the node lead
    /// into the pod from then on.
    fn attach(
        &self,
        pod_uid: &str,
        netns_path: &Path,
        ports: &[HostPort],
    ) -> RuntimeResult<Vec<IpAddr>>;
    /// Releases what [`attach`](Self::attach) made; does nothing for an unknown pod.
    fn detach(&self, pod_uid: &str);
    /// The node's own network namespace: host-network pods run in it, probes leave from it.
    fn node_netns(&self) -> &Path;
}
