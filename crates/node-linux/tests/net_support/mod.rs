//! A VPC for a test, with plain namespaces as pods, removed again at the end.
//!
//! Must not know the containers part of the crate.

#![allow(dead_code)]

use env::{Backend, Frontend, HostPort, Protocol, ServiceEntry, ServiceTable};
use node_linux::{
    PodNetwork,
    net::{
        NodeNetwork, Vpc, VpcConfig, connect_tcp_in, create_netns, listen_tcp_in, remove_netns,
        run_in_netns,
    },
};
use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// How long a connection inside one machine may take before it counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the test can run here; prints the reason if not.
pub fn privileged() -> bool {
    // The namespaces need CAP_SYS_ADMIN, which in practice is root.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let root = status.lines().any(|l| l.starts_with("Uid:\t0\t"));
    if !root {
        println!("skipped: network namespaces need root");
    }
    root
}

/// A VPC with two nodes in two zones.
pub struct Lab {
    pub directory: PathBuf,
    pub vpc: Vpc,
    pub nodes: [NodeNetwork; 2],
}

impl Lab {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("xebec-net-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let vpc = Vpc::create(&directory.join("vpc"), VpcConfig::default()).expect("VPC");
        let node = |name, zone| vpc.add_node(name, zone).expect("node");
        let nodes = [node("one", "local-1a"), node("two", "local-1b")];
        Self {
            directory,
            vpc,
            nodes,
        }
    }

    /// Makes a pod namespace and attaches it to a node.
    pub fn pod(&self, node: usize, uid: &str) -> Pod {
        self.pod_at(node, uid, &[])
    }

    /// A pod that ports of its node lead to.
    pub fn pod_at(&self, node: usize, uid: &str, ports: &[HostPort]) -> Pod {
        let netns = self.directory.join(format!("pod-{uid}"));
        create_netns(&netns).expect("pod namespace");
        let addresses = self.nodes[node].attach(uid, &netns, ports).expect("attach");
        let IpAddr::V4(address) = addresses[0] else {
            panic!("not IPv4")
        };
        Pod { netns, address }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_name().to_string_lossy().starts_with("pod-") {
                remove_netns(&entry.path()).expect("unpin pod");
            }
        }
        Vpc::cleanup(&self.directory.join("vpc")).expect("cleanup");
        std::fs::remove_dir_all(&self.directory).expect("directory");
    }
}

/// A namespace that plays a pod.
#[derive(Clone)]
pub struct Pod {
    pub netns: PathBuf,
    pub address: Ipv4Addr,
}

impl Pod {
    /// Answers every TCP connection to `port` with "name source-address" until the test process ends.
    pub fn serve_tcp(&self, port: u16, name: &'static str) {
        serve_tcp_at(&self.netns, SocketAddrV4::new(self.address, port), name);
    }

    /// Answers every UDP datagram to `port` with "name source-address".
    pub fn serve_udp(&self, port: u16, name: &'static str) {
        let address = SocketAddrV4::new(self.address, port);
        let socket = run_in_netns(&self.netns, || UdpSocket::bind(address)).expect("bind");
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(format!("{name} {}", peer.ip()).as_bytes(), peer);
            }
        });
    }

    pub fn backend(&self, port: u16) -> Backend {
        Backend {
            address: self.address,
            port,
        }
    }
}

pub fn serve_tcp_at(netns: &Path, address: SocketAddrV4, name: &'static str) {
    let listener = listen_tcp_in(netns, address.into()).expect("listen");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let peer = stream
                .peer_addr()
                .map(|p| p.ip().to_string())
                .unwrap_or_default();
            let _ = stream.write_all(format!("{name} {peer}").as_bytes());
        }
    });
}

/// Connects from a namespace and returns what the server says, or the error's kind.
pub fn ask(netns: &Path, address: Ipv4Addr, port: u16) -> Result<String, std::io::ErrorKind> {
    let target = SocketAddr::from((address, port));
    let mut stream = connect_tcp_in(netns, target, PATIENCE).map_err(|e| e.kind())?;
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|e| e.kind())?;
    Ok(text)
}

/// A UDP socket inside a namespace, with a read timeout.
pub fn udp_client(netns: &Path) -> UdpSocket {
    let socket = run_in_netns(netns, || UdpSocket::bind("0.0.0.0:0")).expect("bind");
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .expect("timeout");
    socket
}

/// Sends a datagram and returns the answer.
pub fn ask_udp(socket: &UdpSocket, address: Ipv4Addr, port: u16) -> std::io::Result<String> {
    socket.send_to(b"?", (address, port))?;
    let mut buffer = [0; 512];
    let (length, _) = socket.recv_from(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

pub fn frontend(address: Option<Ipv4Addr>, protocol: Protocol, port: u16) -> Frontend {
    Frontend {
        address,
        protocol,
        port,
    }
}

/// A table with one TCP frontend.
pub fn table(frontend: Frontend, backends: Vec<Backend>) -> ServiceTable {
    let mut backends = backends;
    backends.sort();
    let masquerade = frontend.address.is_none();
    [(
        frontend,
        ServiceEntry {
            backends,
            affinity: None,
            masquerade,
        },
    )]
    .into()
}
