//! Services as clients see them: spread, hairpin, node ports, refusal, affinity, UDP.

mod net_support;

use env::{Backend, HostPort, KernelNet, Protocol, ServiceChange, ServiceEntry, ServiceTable};
use futures::executor::block_on;
use net_support::{Lab, Pod, ask, ask_udp, frontend, privileged, table, udp_client};
use node_linux::PodNetwork;
use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 100, 7, 7);

fn replace(lab: &Lab, table: &ServiceTable) {
    for node in &lab.nodes {
        block_on(node.replace_services(table)).expect("replace");
    }
}

fn change(lab: &Lab, set: ServiceTable) {
    let change = ServiceChange {
        set,
        remove: Vec::new(),
    };
    for node in &lab.nodes {
        block_on(node.change_services(&change)).expect("change");
    }
}

/// Three serving pods, two on the first node.
fn servers(lab: &Lab) -> [Pod; 3] {
    let pods = [lab.pod(0, "s0"), lab.pod(0, "s1"), lab.pod(1, "s2")];
    for (pod, name) in pods.iter().zip(["s0", "s1", "s2"]) {
        pod.serve_tcp(8080, name);
        pod.serve_udp(8080, name);
    }
    pods
}

/// How often each server answers.
fn spread(
    from: &std::path::Path,
    address: Ipv4Addr,
    port: u16,
    asks: usize,
) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..asks {
        let answer = ask(from, address, port).expect("answer");
        let name = answer.split(' ').next().unwrap_or_default().to_owned();
        *counts.entry(name).or_default() += 1;
    }
    counts
}

#[test]
fn cluster_address_spreads_over_endpoints_and_keeps_the_source() {
    if !privileged() {
        return;
    }
    let lab = Lab::new();
    let (pods, client) = (servers(&lab), lab.pod(0, "client"));
    let backends = pods.iter().map(|p| p.backend(8080)).collect();
    replace(
        &lab,
        &table(frontend(Some(VIP), Protocol::Tcp, 80), backends),
    );
    let counts = spread(&client.netns, VIP, 80, 90);
    assert_eq!(counts.len(), 3, "{counts:?}");
    assert!(counts.values().all(|c| (10..=55).contains(c)), "{counts:?}");
    let answer = ask(&client.netns, VIP, 80).expect("answer");
    assert!(answer.ends_with(&client.address.to_string()), "{answer}");
    let node = lab.nodes[1].node_netns();
    assert_eq!(spread(node, VIP, 80, 60).len(), 3, "from the node itself");
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    if !privileged() {
        return;
    }
    let lab = Lab::new();
    let pods = servers(&lab);
    let service = frontend(Some(VIP), Protocol::Tcp, 80);
    replace(&lab, &table(service, vec![pods[0].backend(8080)]));
    let answer = ask(&pods[0].netns, VIP, 80);
    assert_eq!(answer, Ok(format!("s0 {}", lab.nodes[0].address())));
    let other = ask(&pods[1].netns, VIP, 80);
    assert_eq!(other, Ok(format!("s0 {}", pods[1].address)));
}

#[test]
fn node_ports_lead_to_every_endpoint() {
    if !privileged() {
        return;
    }
    let lab = Lab::new();
    let (pods, client) = (servers(&lab), lab.pod(1, "client"));
    let backends = pods.iter().map(|p| p.backend(8080)).collect();
    replace(&lab, &table(frontend(None, Protocol::Tcp, 30080), backends));
    let node = lab.nodes[0].address();
    let counts = spread(&client.netns, node, 30080, 60);
    assert_eq!(counts.len(), 3, "{counts:?}");
    let answer = ask(&client.netns, node, 30080).expect("answer");
    assert!(
        answer.ends_with(&format!(" {node}")),
        "masqueraded: {answer}"
    );
    let own = spread(lab.nodes[0].node_netns(), node, 30080, 30);
    assert_eq!(own.len(), 3, "from the node itself: {own:?}");
}

#[test]
fn host_ports_lead_into_their_pod_while_it_lives() {
    if !privileged() {
        return;
    }
    let lab = Lab::new();
    let (node, from) = (lab.nodes[0].address(), lab.nodes[0].node_netns());
    let bound = |address: Option<Ipv4Addr>, protocol, port| HostPort {
        address: address.map(Into::into),
        protocol,
        port,
        container_port: 8080,
    };
    let local = bound(Some(Ipv4Addr::LOCALHOST), Protocol::Tcp, 5000);
    let tcp = bound(Some(node), Protocol::Tcp, 5000);
    let udp = bound(Some(node), Protocol::Udp, 5000);
    let any = bound(None, Protocol::Tcp, 6000);
    replace(&lab, &ServiceTable::new());
    let pods = [("h1", local), ("h2", tcp), ("h3", udp), ("h4", any)];
    for (name, port) in pods {
        let pod = lab.pod_at(0, name, &[port]);
        pod.serve_tcp(8080, name);
        pod.serve_udp(8080, name);
    }
    let said = |name: &str, source: Ipv4Addr| Ok(format!("{name} {source}"));
    assert_eq!(ask(from, Ipv4Addr::LOCALHOST, 5000), said("h1", node));
    assert_eq!(ask(from, node, 5000), said("h2", node));
    assert_eq!(ask(from, Ipv4Addr::LOCALHOST, 6000), said("h4", node));
    let client = lab.pod(1, "client");
    assert_eq!(ask(&client.netns, node, 5000), said("h2", client.address));
    assert_eq!(ask(&client.netns, node, 6000), said("h4", client.address));
    let answer = ask_udp(&udp_client(from), node, 5000).expect("answer");
    assert_eq!(answer, format!("h3 {node}"));
    // What Services say of the same port waits until the pod is gone.
    let service = frontend(None, Protocol::Tcp, 6000);
    let server = lab.pod(1, "server");
    server.serve_tcp(8080, "server");
    change(&lab, table(service, vec![server.backend(8080)]));
    assert_eq!(ask(&client.netns, node, 6000), said("h4", client.address));
    for name in ["h1", "h2", "h4"] {
        lab.nodes[0].detach(name);
    }
    let refused = Err(ErrorKind::ConnectionRefused);
    assert_eq!(ask(from, Ipv4Addr::LOCALHOST, 5000), refused);
    assert_eq!(ask(&client.netns, node, 5000), refused);
    assert!(ask(&client.netns, node, 6000).is_ok_and(|text| text.starts_with("server")));
}

#[test]
fn nobody_serving_is_refused_at_once() {
    if !privileged() {
        return;
    }
    let lab = Lab::new();
    let (pods, client) = (servers(&lab), lab.pod(0, "client"));
    let external = Ipv4Addr::new(198, 51, 100, 9);
    let mut wanted = table(frontend(Some(VIP), Protocol::Tcp, 80), Vec::new());
    wanted.extend(table(
        frontend(Some(external), Protocol::Tcp, 80),
        Vec::new(),
    ));
    replace(&lab, &wanted);
    let start = Instant::now();
    let unknown = Ipv4Addr::new(10, 100, 99, 99);
    for (address, port) in [(VIP, 80), (VIP, 81), (unknown, 80), (external, 80)] {
        let refused = Err(ErrorKind::ConnectionRefused);
        assert_eq!(
            ask(&client.netns, address, port),
            refused,
            "{address}:{port}"
        );
        let from_node = ask(lab.nodes[0].node_netns(), address, port);
        assert_eq!(from_node, refused, "node to {address}:{port}");
    }
    // One that waits for a SYN sent again takes a second.
    assert!(start.elapsed() < Duration::from_secs(8));
    let service = frontend(Some(VIP), Protocol::Tcp, 80);
    change(&lab, table(service, vec![pods[2].backend(8080)]));
    assert!(ask(&client.netns, VIP, 80).is_ok());
    let remove = ServiceChange {
        set: ServiceTable::new(),
        remove: vec![service],
    };
    block_on(lab.nodes[0].change_services(&remove)).expect("remove");
    assert_eq!(
        ask(&client.netns, VIP, 80),
        Err(ErrorKind::ConnectionRefused)
    );
}

#[test]
fn client_affinity_holds_through_changes() {
    if !privileged() {
        return;
    }
    let lab = Lab::new();
    let (pods, client) = (servers(&lab), lab.pod(0, "client"));
    replace(&lab, &sticky(&pods, 10_800));
    let first = spread(&client.netns, VIP, 80, 20);
    assert_eq!(first.len(), 1, "{first:?}");
    let (name, _) = first.into_iter().next().expect("one");
    let chosen = pods.iter().find(|pod| {
        let backend = vec![pod.backend(8080)];
        let plain = frontend(Some(VIP), Protocol::Tcp, 81);
        change(&lab, table(plain, backend));
        spread(&client.netns, VIP, 81, 1).contains_key(&name)
    });
    let chosen = chosen.expect("one of them answered").clone();
    let others = pods.iter().filter(|pod| pod.address != chosen.address);
    let others: Vec<Pod> = others.cloned().collect();
    let stays = |why: &str| {
        let seen = spread(&client.netns, VIP, 80, 20);
        let seen: Vec<String> = seen.into_keys().collect();
        assert_eq!(seen, std::slice::from_ref(&name), "{why}");
    };
    change(&lab, sticky(&[chosen.clone(), others[0].clone()], 10_800));
    stays("another endpoint's end moves nobody");
    change(&lab, sticky(&pods, 10_800));
    stays("another endpoint moves nobody");
    change(&lab, sticky(&pods, 60));
    stays("another length of time moves nobody");
    replace(&lab, &sticky(&pods, 10_800));
    stays("rules that are written anew move nobody");
    change(&lab, sticky(&others, 10_800));
    let seen = spread(&client.netns, VIP, 80, 20);
    assert_eq!(seen.len(), 1, "one of those that are left: {seen:?}");
    assert!(!seen.contains_key(&name), "{seen:?}");
}

/// A service that remembers its clients for so many seconds.
fn sticky(pods: &[Pod], seconds: u64) -> ServiceTable {
    let backends = pods.iter().map(|p| p.backend(8080)).collect();
    let mut table = table(frontend(Some(VIP), Protocol::Tcp, 80), backends);
    for entry in table.values_mut() {
        entry.affinity = Some(Duration::from_secs(seconds));
    }
    table
}

#[test]
fn a_client_is_let_go_in_time() {
    if !privileged() {
        return;
    }
    let lab = Lab::new();
    let (pods, client) = (servers(&lab), lab.pod(0, "client"));
    replace(&lab, &sticky(&pods, 1));
    let pause = |millis| std::thread::sleep(Duration::from_millis(millis));
    let ask = || spread(&client.netns, VIP, 80, 1);
    let first = ask();
    for _ in 0..4 {
        pause(500);
        assert_eq!(ask(), first, "each connection begins the time anew");
    }
    // Two of three choices are another endpoint; all of sixteen the same is one in 43 million.
    let let_go = (0..16).any(|_| {
        pause(1_300);
        ask() != first
    });
    assert!(let_go, "{first:?}");
}

#[test]
fn udp_clients_leave_removed_endpoints() {
    if !privileged() {
        return;
    }
    let lab = Lab::new();
    let (pods, client) = (servers(&lab), lab.pod(0, "client"));
    let service = frontend(Some(VIP), Protocol::Udp, 53);
    replace(&lab, &table(service, vec![pods[0].backend(8080)]));
    let socket = udp_client(&client.netns);
    let answer = |s: &std::net::UdpSocket| ask_udp(s, VIP, 53).expect("answer");
    assert_eq!(answer(&socket), format!("s0 {}", client.address));
    change(&lab, table(service, vec![pods[2].backend(8080)]));
    assert_eq!(
        answer(&socket),
        format!("s2 {}", client.address),
        "same socket, new endpoint"
    );
}

#[test]
fn rules_survive_an_agent_and_are_replaced_whole() {
    if !privileged() {
        return;
    }
    let lab = Lab::new();
    let (pods, client) = (servers(&lab), lab.pod(0, "client"));
    replace(
        &lab,
        &table(
            frontend(Some(VIP), Protocol::Tcp, 80),
            vec![pods[1].backend(8080)],
        ),
    );
    let again = node_linux::net::Vpc::reopen(&lab.directory.join("vpc")).expect("reopen");
    assert!(
        ask(&client.netns, VIP, 80).is_ok(),
        "before the new agent has said anything"
    );
    let other = frontend(Some(VIP), Protocol::Tcp, 81);
    let node = again.node("one").expect("kept");
    let wanted = table(other, vec![pods[1].backend(8080)]);
    block_on(node.replace_services(&wanted)).expect("replace");
    assert_eq!(
        ask(&client.netns, VIP, 80),
        Err(ErrorKind::ConnectionRefused)
    );
    assert!(ask(&client.netns, VIP, 81).is_ok());
}

/// Prints how long large tables take. Run with `--ignored --nocapture`.
#[test]
#[ignore = "prints timings"]
fn timings() {
    if !privileged() {
        return;
    }
    let lab = Lab::new();
    let address = |base: u32, n: u32| Ipv4Addr::from(base + n);
    let entry = |n: u32, count: u32| ServiceEntry {
        backends: (0..count)
            .map(|e| Backend {
                address: address(0x0a00_0000, n * 16 + e),
                port: 80,
            })
            .collect(),
        ..ServiceEntry::default()
    };
    let service = |n| frontend(Some(address(0x0a64_0000, n)), Protocol::Tcp, 80);
    let wanted: ServiceTable = (0..5000).map(|n| (service(n), entry(n, 10))).collect();
    let node = &lab.nodes[0];
    let start = Instant::now();
    block_on(node.replace_services(&wanted)).expect("load");
    println!("5,000 services x 10 endpoints: {:?}", start.elapsed());
    assert_kernel_holds(node.node_netns(), 5000 * 10);
    let mut times: Vec<_> = (0..500)
        .map(|n| {
            let set = [(service(n), entry(n, 9 + n % 3))].into();
            let start = Instant::now();
            let change = ServiceChange {
                set,
                remove: Vec::new(),
            };
            block_on(node.change_services(&change)).expect("change");
            start.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "one change: p50 {:?}, p90 {:?}, max {:?}",
        times[250], times[450], times[499]
    );
    // Of 500 services, a third lost an endpoint, a third kept ten, a third gained one.
    assert_kernel_holds(node.node_netns(), 5000 * 10 - 167 + 166);
    let start = Instant::now();
    block_on(node.replace_services(&ServiceTable::new())).expect("empty");
    println!("empty table: {:?}", start.elapsed());
}

/// Compares the number of slots with what the `nft` program lists, if it is installed.
fn assert_kernel_holds(netns: &std::path::Path, slots: usize) {
    let list = || {
        let arguments = ["list", "map", "ip", "services", "slots"];
        std::process::Command::new("nft").args(arguments).output()
    };
    let Ok(output) = node_linux::net::run_in_netns(netns, list) else {
        println!("not compared: no nft program");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        text.matches(" : 10.0.").count() + text.matches(" : 10.1.").count(),
        slots
    );
}
