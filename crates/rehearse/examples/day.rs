//! Measures simulation speed: a day of a cluster, its real kubelets and its real door.
//!
//! `cargo run --release -p rehearse --example day -- [nodes] [hours]`

use mimalloc::MiMalloc;
use rehearse::{Cluster, ClusterPlan, NodePlan, Observer};
use std::{env, time::Duration, time::Instant};

/// As the binary.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() {
    let mut arguments = env::args().skip(1);
    let mut number = |usual: u64| {
        arguments
            .next()
            .map_or(usual, |text| text.parse().expect("a number"))
    };
    let (nodes, hours) = (number(100), number(24));
    let began = Instant::now();
    let mut cluster = Cluster::start(ClusterPlan::default()).expect("the platform starts");
    let observer = Observer::start(&cluster);
    for node in 1..=nodes {
        let plan = NodePlan::new(&format!("node-{node}"));
        cluster
            .add_node(plan)
            .expect("nodes have names of their own");
    }
    cluster.run_for(Duration::from_secs(3600 * hours));
    let took = began.elapsed().as_secs_f64();
    let (changes, hash) = observer.hash();
    println!(
        "{nodes} nodes, {hours} h: {took:.2} s, {:.0} simulated hours/s",
        hours as f64 / took
    );
    println!(
        "{changes} changes, {:.2} us each, hash {hash}",
        took * 1e6 / changes as f64
    );
}
