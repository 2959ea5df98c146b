//! Node-local services: addresses every node has for the API server and DNS, and the way there.
//!
//! Must not know who listens. Upstream counterpart: NodeLocal DNSCache and the `kubernetes` Service.

use env::{Backend, Frontend, Protocol, ServiceEntry, ServiceTable};
use std::net::Ipv4Addr;

/// Node-local address the API server listens on in every node's namespace.
pub const API_SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 1);
/// Port of [`API_SERVER_ADDRESS`].
pub const API_SERVER_PORT: u16 = 6443;
/// Node-local address the DNS server listens on in every node's namespace.
pub const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 10);
/// Port of [`DNS_ADDRESS`].
pub const DNS_PORT: u16 = 53;

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
