//! Pods reach each other over the VPC, agents restart without losing it, nothing is left behind.

mod net_support;

use net_support::{Lab, ask, privileged};
use node_linux::{
    PodNetwork,
    net::{API_SERVER_ADDRESS, DNS_ADDRESS, Vpc, VpcConfig, run_in_netns},
};
use std::{io::ErrorKind, net::Ipv4Addr, time::Instant};

#[test]
fn pods_reach_each_other_with_their_own_address() {
    if !privileged() {
        return;
    }
    let lab = Lab::new();
    let (a, b, c) = (lab.pod(0, "a"), lab.pod(0, "b"), lab.pod(1, "c"));
    b.serve_tcp(80, "b");
    c.serve_tcp(80, "c");
    assert_eq!(ask(&a.netns, b.address, 80), Ok(format!("b {}", a.address)));
    assert_eq!(ask(&a.netns, c.address, 80), Ok(format!("c {}", a.address)));
    assert_eq!(ask(&c.netns, b.address, 80), Ok(format!("b {}", c.address)));
    let node = lab.nodes[1].address();
    let from_node = ask(lab.nodes[1].node_netns(), b.address, 80);
    assert_eq!(from_node, Ok(format!("b {node}")));
}

#[test]
fn nodes_and_pods_have_addresses_of_their_subnet() {
    if !privileged() {
        return;
    }
    let lab = Lab::new();
    for (node, zone) in lab.nodes.iter().zip(["local-1a", "local-1b"]) {
        let subnet = lab.vpc.subnet(zone).expect("known zone");
        assert!(subnet.contains(node.address()));
        assert!(subnet.contains(node.pod_range().address()));
    }
    let pod = lab.pod(0, "a");
    assert!(lab.nodes[0].pod_range().contains(pod.address));
    let again = lab.nodes[0]
        .attach("a", &pod.netns, &[])
        .expect("idempotent");
    assert_eq!(again, [std::net::IpAddr::from(pod.address)]);
    lab.nodes[0].detach("a");
    lab.nodes[0].detach("never-attached");
    assert_ne!(
        lab.pod(0, "b").address,
        pod.address,
        "an address rests before reuse"
    );
    assert!(lab.nodes[0].attach("../x", &pod.netns, &[]).is_err());
}

#[test]
fn there_is_no_way_out() {
    if !privileged() {
        return;
    }
    let lab = Lab::new();
    let pod = lab.pod(0, "a");
    let unused = lab.nodes[0].pod_range().nth(200).expect("in range");
    for target in [
        Ipv4Addr::new(192, 0, 2, 1),
        Ipv4Addr::new(10, 0, 250, 1),
        unused,
    ] {
        let error = ask(&pod.netns, target, 80).expect_err("unreachable");
        let quick = matches!(
            error,
            ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable
        );
        assert!(quick, "{target}: {error:?}");
    }
}

#[test]
fn node_local_addresses_serve_the_node_and_its_pods() {
    if !privileged() {
        return;
    }
    let lab = Lab::new();
    let pod = lab.pod(0, "a");
    for address in [API_SERVER_ADDRESS, DNS_ADDRESS] {
        let at = std::net::SocketAddrV4::new(address, 6443);
        net_support::serve_tcp_at(lab.nodes[0].node_netns(), at, "local");
        assert_eq!(
            ask(&pod.netns, address, 6443),
            Ok(format!("local {}", pod.address))
        );
    }
}

#[test]
fn a_restarted_agent_finds_its_network() {
    if !privileged() {
        return;
    }
    let lab = Lab::new();
    let (a, c) = (lab.pod(0, "a"), lab.pod(1, "c"));
    c.serve_tcp(80, "c");
    let again = Vpc::reopen(&lab.directory.join("vpc")).expect("reopen");
    assert_eq!(ask(&a.netns, c.address, 80), Ok(format!("c {}", a.address)));
    let node = again.node("one").expect("kept");
    let kept = node.attach("a", &a.netns, &[]).expect("kept");
    assert_eq!(kept, [std::net::IpAddr::from(a.address)]);
    let netns = lab.directory.join("pod-new");
    node_linux::net::create_netns(&netns).expect("namespace");
    let new = node.attach("new", &netns, &[]).expect("new pod");
    assert_ne!(new, kept);
    assert!(ask(&netns, c.address, 80).is_ok());
}

#[test]
fn removal_leaves_nothing_behind() {
    if !privileged() {
        return;
    }
    let links_before = interfaces();
    let directory;
    {
        let lab = Lab::new();
        directory = lab.directory.clone();
        let pod = lab.pod(0, "a");
        let router = directory.join("vpc/router");
        assert_eq!(
            run_in_netns(&router, || Ok(interfaces().len())).expect("count"),
            3 + builtin()
        );
        lab.vpc.remove_node("two").expect("remove");
        lab.vpc.remove_node("two").expect("idempotent");
        assert!(lab.vpc.node("two").is_none());
        assert_eq!(
            run_in_netns(&router, || Ok(interfaces().len())).expect("count"),
            2 + builtin()
        );
        lab.nodes[0].detach("a");
        let in_pod = run_in_netns(&pod.netns, || Ok(interfaces())).expect("list");
        assert!(!in_pod.contains(&"eth0".to_owned()));
    }
    assert!(!directory.exists());
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    assert!(!mounts.contains(&directory.display().to_string()));
    assert_eq!(
        interfaces(),
        links_before,
        "the machine's own namespace is untouched"
    );
}

/// Names of the interfaces of the calling thread's namespace.
fn interfaces() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").expect("readable");
    let name = |line: &str| line.split_once(':').map(|(n, _)| n.trim().to_owned());
    table.lines().filter_map(name).collect()
}

/// Interfaces besides loopback that the kernel makes in every namespace.
fn builtin() -> usize {
    let fresh = std::env::temp_dir().join(format!("xebec-fresh-{}", std::process::id()));
    node_linux::net::create_netns(&fresh).expect("namespace");
    let count = run_in_netns(&fresh, || Ok(interfaces().len())).expect("count");
    node_linux::net::remove_netns(&fresh).expect("remove");
    count - 1
}

/// Prints how long pod networks and nodes take. Run with `--ignored --nocapture`.
#[test]
#[ignore = "prints timings"]
fn timings() {
    if !privileged() {
        return;
    }
    let lab = Lab::new();
    let mut times: Vec<_> = (0..200)
        .map(|n| {
            let start = Instant::now();
            lab.pod(n % 2, &format!("p{n}"));
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("pod network: p50 {:?}, p90 {:?}", times[100], times[180]);
    let directory = lab.directory.join("timing");
    let start = Instant::now();
    let vpc = Vpc::create(&directory, VpcConfig::default()).expect("VPC");
    for name in ["x", "y", "z"] {
        vpc.add_node(name, "local-1c").expect("node");
    }
    println!("VPC with 3 nodes: {:?}", start.elapsed());
    Vpc::cleanup(&directory).expect("cleanup");
}
