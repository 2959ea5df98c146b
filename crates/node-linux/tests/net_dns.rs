//! Pods ask the cluster's DNS at its Service address and reach the API server at its own.

mod net_support;

use dns::{ServiceView, SharedZone, Zone};
use env::{KernelNet, ServiceTable};
use futures::executor::block_on;
use net_support::{Lab, PATIENCE, ask, privileged, udp_client};
use node_linux::{
    PodNetwork,
    net::{
        API_SERVER_ADDRESS, API_SERVER_PORT, DNS_ADDRESS, DNS_PORT, api_server_entries,
        bind_udp_in, connect_tcp_in, dns_service_entries, listen_tcp_in,
    },
};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{Arc, RwLock},
};

const DNS_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 10);
const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 1);
const CART: [u8; 4] = [10, 100, 0, 7];

fn zone() -> SharedZone {
    let mut service = ServiceView::default();
    service.metadata.namespace = "shop".into();
    service.metadata.name = "cart".into();
    service.spec.cluster_ip = Ipv4Addr::from(CART).to_string();
    let mut zone = Zone::new("cluster.local");
    zone.set_service(service);
    Arc::new(RwLock::new(zone))
}

/// A question for the IPv4 address of a name.
fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// Response code and, if there is an answer, the last four bytes: its address.
fn outcome(response: &[u8]) -> (u8, Option<[u8; 4]>) {
    assert_eq!(response[..2], [0xab, 0xcd]);
    let address = response.last_chunk::<4>().copied();
    (response[3] & 15, address.filter(|_| response[7] == 1))
}

/// Runs a node's DNS server on a thread until the test ends.
fn serve(lab: &Lab, node: usize, zone: SharedZone) {
    let netns = lab.nodes[node].node_netns();
    let address = SocketAddrV4::new(DNS_ADDRESS, DNS_PORT).into();
    let udp = bind_udp_in(netns, address).expect("bind");
    let tcp = listen_tcp_in(netns, address).expect("listen");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime
            .expect("runtime")
            .block_on(dns::serve(zone, udp, tcp))
    });
}

#[test]
fn pods_and_nodes_resolve_names_at_the_service_address() {
    if !privileged() {
        return;
    }
    let (lab, zone) = (Lab::new(), zone());
    for node in 0..2 {
        serve(&lab, node, zone.clone());
        let table = dns_service_entries(DNS_SERVICE);
        block_on(lab.nodes[node].replace_services(&table)).expect("rules");
    }
    let (a, b) = (lab.pod(0, "a"), lab.pod(1, "b"));
    for netns in [&a.netns, &b.netns, lab.nodes[0].node_netns()] {
        let socket = udp_client(netns);
        let over_udp = |name| {
            socket
                .send_to(&question(name), (DNS_SERVICE, 53))
                .expect("send");
            let mut buffer = [0; 512];
            let (length, from) = socket.recv_from(&mut buffer).expect("answer");
            assert_eq!(from, SocketAddr::from((DNS_SERVICE, 53)));
            outcome(&buffer[..length])
        };
        assert_eq!(over_udp("cart.shop.svc.cluster.local"), (0, Some(CART)));
        assert_eq!(over_udp("none.shop.svc.cluster.local"), (3, None));
        assert_eq!(over_udp("example.com"), (5, None));
        let target = SocketAddr::from((DNS_SERVICE, 53));
        let mut stream = connect_tcp_in(netns, target, PATIENCE).expect("connect");
        let question = question("cart.shop.svc.cluster.local");
        for _ in 0..2 {
            let length = (question.len() as u16).to_be_bytes();
            stream
                .write_all(&[&length[..], &question].concat())
                .expect("send");
            let mut length = [0; 2];
            stream.read_exact(&mut length).expect("length");
            let mut response = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut response).expect("response");
            assert_eq!(outcome(&response), (0, Some(CART)));
        }
    }
}

#[test]
fn pods_reach_the_api_server_at_its_service_address() {
    if !privileged() {
        return;
    }
    let lab = Lab::new();
    let pod = lab.pod(1, "a");
    let table: ServiceTable = api_server_entries(API_SERVICE);
    block_on(lab.nodes[1].replace_services(&table)).expect("rules");
    let address = SocketAddrV4::new(API_SERVER_ADDRESS, API_SERVER_PORT);
    net_support::serve_tcp_at(lab.nodes[1].node_netns(), address, "api");
    assert_eq!(
        ask(&pod.netns, API_SERVICE, 443),
        Ok(format!("api {}", pod.address))
    );
    let from_node = ask(lab.nodes[1].node_netns(), API_SERVICE, 443);
    assert!(from_node.is_ok_and(|answer| answer.starts_with("api ")));
}
