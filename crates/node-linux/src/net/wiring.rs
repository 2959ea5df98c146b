//! How links, addresses and routes of routers, nodes and pods are laid.
//!
//! Must not know when. Upstream counterpart: the driver of the Amazon VPC CNI plugin.

use super::{
    addresses::Ipv4Net,
    links::{LOOPBACK, LinkBatch, Links, Mac, Route, SCOPE_GLOBAL, VethEnd},
    netns,
    records::NodeRecord,
};
use std::{fs::File, io, net::Ipv4Addr};

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

/// Sets up the calling thread's new namespace as a router and opens its socket.
pub(super) fn open_forwarding(addresses: &[(Ipv4Addr, u8)]) -> io::Result<Links> {
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

pub(super) fn open_router(address: Ipv4Addr) -> io::Result<Links> {
    open_forwarding(&[(address, SCOPE_GLOBAL)])
}

/// The router's end of a node's ENI, with the routes to the node and its pods.
pub(super) fn router_side(record: &NodeRecord, index: u32, node: &File) -> LinkBatch {
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
pub(super) fn node_side(record: &NodeRecord) -> LinkBatch {
    let mut batch = default_way(ENI, record.address);
    batch.unreachable(record.pods);
    batch
}

pub(super) fn default_way(index: u32, address: Ipv4Addr) -> LinkBatch {
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
pub(super) fn pod_link(address: Ipv4Addr, pod: &File) -> LinkBatch {
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

/// Runs inside the pod's namespace: loopback, address, way out; low ports and ping for every
/// user, as containerd sets.
pub(super) fn pod_side(address: Ipv4Addr) -> io::Result<()> {
    netns::set_sysctl("net/ipv4/ip_unprivileged_port_start", "0")?;
    netns::set_sysctl("net/ipv4/ping_group_range", "0 2147483647")?;
    let mut links = Links::open()?;
    links.loopback_up()?;
    links.apply(default_way(POD_LINK, address))
}

/// The node's way to a pod.
pub(super) fn pod_route(address: Ipv4Addr) -> LinkBatch {
    let index = pod_link_index(address);
    let mut batch = LinkBatch::default();
    batch
        .neighbour(index, address, mac(address))
        .route(&Route::direct(Ipv4Net::host(address), index));
    batch
}

pub(super) fn pod_link_name(address: Ipv4Addr) -> String {
    format!("pod{:08x}", u32::from(address))
}

/// Unique on the node: a pod range has 256 addresses.
pub(super) fn pod_link_index(address: Ipv4Addr) -> u32 {
    FIRST_PEER_LINK + u32::from(address.octets()[3])
}

/// The router's interface number for a node: unique since zone and slot are.
pub(super) fn router_link_index(record: &NodeRecord, zones: usize) -> u32 {
    FIRST_PEER_LINK + (record.slot * zones + record.zone) as u32
}

pub(super) fn router_link_name(record: &NodeRecord) -> String {
    format!("eni{:08x}", u32::from(record.address))
}

/// A locally administered hardware address derived from the address.
pub(super) fn mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x02, 0, a, b, c, d]
}
