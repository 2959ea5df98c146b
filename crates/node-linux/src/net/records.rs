//! What is kept on disk about a VPC, so that a restarted agent finds it again.
//!
//! Must not know netlink. Upstream counterpart: the checkpoint file of `ipamd`.

use super::{
    addresses::Ipv4Net,
    netns::{context, is_pinned, remove_netns},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Error},
    net::Ipv4Addr,
    path::Path,
};

pub(super) const CONFIG_FILE: &str = "vpc.json";
pub(super) const ROUTER: &str = "router";
pub(super) const NODES: &str = "nodes";
pub(super) const NETNS: &str = "netns";
pub(super) const NODE_FILE: &str = "node.json";
pub(super) const PODS: &str = "pods";

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
pub(super) struct NodeRecord {
    pub(super) name: String,
    pub(super) zone: usize,
    pub(super) slot: usize,
    pub(super) address: Ipv4Addr,
    pub(super) pods: Ipv4Net,
}

/// Names that become file names must not leave their directory.
pub(super) fn safe_name(name: &str) -> io::Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if name.is_empty() || name.starts_with('.') || name.len() > 253 || !name.chars().all(fine) {
        return Err(Error::other(format!("{name:?} cannot name a node or pod")));
    }
    Ok(())
}

pub(super) fn read_pods(directory: &Path) -> io::Result<BTreeMap<String, Ipv4Addr>> {
    let mut pods = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(|e| context(e, "read", directory))? {
        let entry = entry?;
        let uid = entry.file_name().to_string_lossy().into_owned();
        let unfinished = entry.path().extension().is_some_and(|e| e == "new");
        // A record cut short by a crash belongs to a pod that never started.
        match fs::read_to_string(entry.path())?.parse() {
            Ok(address) if !unfinished => drop(pods.insert(uid, address)),
            _ => fs::remove_file(entry.path())?,
        }
    }
    Ok(pods)
}

pub(super) fn remove_node_files(directory: &Path) -> io::Result<()> {
    remove_netns(&directory.join(NETNS))?;
    match fs::remove_dir_all(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|e| context(e, "remove", directory)),
    }
}

pub(super) fn require_pinned(netns: &Path) -> io::Result<()> {
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

/// Writes a whole file or none, under the name it will keep only at the end.
pub(super) fn write_text(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text).map_err(|e| context(e, "write", &new))?;
    fs::rename(&new, path).map_err(|e| context(e, "rename to", path))
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    write_text(path, &serde_json::to_string(value)?)
}

pub(super) fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> io::Result<T> {
    let bytes = fs::read(path).map_err(|e| context(e, "read", path))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::other(format!("{}: {e}", path.display())))
}
