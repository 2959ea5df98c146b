//! What is kept on disk about a VPC, so that a restarted agent finds it again.
//!
//! Must not know netlink. Upstream counterpart: the checkpoint file of `ipamd`.

use super::{
    addresses::Ipv4Net,
    netns::{context, is_pinned, remove_netns},
};
use env::{Backend, Frontend, HostPort, Protocol, ServiceEntry, ServiceTable};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Error},
    net::{IpAddr, Ipv4Addr},
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

/// An attached pod: its address, and the node's ports that lead to it.
pub(super) struct PodRecord {
    pub(super) address: Ipv4Addr,
    pub(super) ports: ServiceTable,
}

impl PodRecord {
    /// As it is written: the address, then a line a port.
    pub(super) fn text(&self) -> String {
        let mut text = self.address.to_string();
        for (frontend, entry) in &self.ports {
            let address = frontend.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
            let (protocol, port) = (frontend.protocol as u8, frontend.port);
            for backend in &entry.backends {
                let line = format!("\n{protocol} {address} {port} {}", backend.port);
                text.push_str(&line);
            }
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let address = lines.next()?.parse().ok()?;
        let read = |line: &str| {
            let mut words = line.split(' ');
            let number: u8 = words.next()?.parse().ok()?;
            let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
            let bound: Ipv4Addr = words.next()?.parse().ok()?;
            let port = HostPort {
                address: Some(bound.into()).filter(|_| !bound.is_unspecified()),
                protocol: *protocols.iter().find(|one| **one as u8 == number)?,
                port: words.next()?.parse().ok()?,
                container_port: words.next()?.parse().ok()?,
            };
            host_port(&port, address)
        };
        let ports = lines.map(read).collect::<Option<ServiceTable>>()?;
        Some(Self { address, ports })
    }
}

/// The entry of one port of the node, unless it is bound to an address of another family.
pub(super) fn host_port(port: &HostPort, pod: Ipv4Addr) -> Option<(Frontend, ServiceEntry)> {
    let address = match port.address {
        Some(IpAddr::V4(address)) => Some(address),
        Some(IpAddr::V6(_)) => return None,
        None => None,
    };
    let frontend = Frontend {
        address,
        protocol: port.protocol,
        port: port.port,
    };
    let backend = Backend {
        address: pod,
        port: port.container_port,
    };
    let entry = ServiceEntry {
        backends: vec![backend],
        affinity: None,
        // A pod cannot answer to the node's loopback.
        masquerade: address.is_some_and(|address| address.is_loopback()),
    };
    Some((frontend, entry))
}

/// The entries of all ports that lead to a pod; what is bound to all addresses is on the
/// loopback, too.
pub(super) fn host_ports(ports: &[HostPort], pod: Ipv4Addr) -> ServiceTable {
    let own = ports.iter().filter(|port| port.address.is_none());
    let loopback = own.map(|port| HostPort {
        address: Some(Ipv4Addr::LOCALHOST.into()),
        ..port.clone()
    });
    let all: Vec<HostPort> = loopback.chain(ports.iter().cloned()).collect();
    all.iter().filter_map(|port| host_port(port, pod)).collect()
}

pub(super) fn read_pods(directory: &Path) -> io::Result<BTreeMap<String, PodRecord>> {
    let mut pods = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(|e| context(e, "read", directory))? {
        let entry = entry?;
        let uid = entry.file_name().to_string_lossy().into_owned();
        let unfinished = entry.path().extension().is_some_and(|e| e == "new");
        // A record cut short by a crash belongs to a pod that never started.
        match PodRecord::parse(&fs::read_to_string(entry.path())?) {
            Some(record) if !unfinished => drop(pods.insert(uid, record)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_read_as_it_was_written() {
        let address = Ipv4Addr::new(10, 0, 1, 9);
        let port = |address: Option<&str>, protocol, port| HostPort {
            address: address.map(|text| text.parse().expect("an address")),
            protocol,
            port,
            container_port: 80,
        };
        let ports = [
            port(None, Protocol::Tcp, 8080),
            port(Some("10.0.1.1"), Protocol::Udp, 8080),
            port(Some("::1"), Protocol::Tcp, 9090),
        ];
        let record = PodRecord {
            address,
            ports: host_ports(&ports, address),
        };
        assert_eq!(record.ports.len(), 3, "all addresses, the loopback, one");
        let read = PodRecord::parse(&record.text()).expect("whole");
        assert_eq!((read.address, &read.ports), (address, &record.ports));
        assert!(PodRecord::parse("10.0.1").is_none());
        assert!(PodRecord::parse("10.0.1.9\n0 10.0").is_none());
    }
}
