//! The cluster's network on one machine: a VPC of network namespaces and the service rules in them.
//!
//! Must not know any Kubernetes kind, and never creates or sends anything in the machine's own
//! network namespace. Upstream counterpart: the Amazon VPC CNI plugin and kube-proxy's nftables mode.

mod addresses;
mod links;
mod local;
mod netlink;
mod netns;
mod node;
mod records;
mod services;
mod vpc;
mod wiring;

pub use addresses::Ipv4Net;
pub use local::{
    API_SERVER_ADDRESS, API_SERVER_PORT, DNS_ADDRESS, DNS_PORT, api_server_entries,
    dns_service_entries,
};
pub use netns::{
    bind_udp_in, connect_tcp_in, create_netns, listen_tcp_in, remove_netns, run_in_netns,
};
pub use node::NodeNetwork;
pub use records::VpcConfig;
pub use vpc::Vpc;
