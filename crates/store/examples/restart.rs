//! Measures how long a store with many objects takes to open, from its log and from a checkpoint.
//!
//! `cargo run --release -p store --example restart -- [objects]`

use env::Time;
use futures::future::join_all;
use machinery::{Value, json};
use sim_env::{DiskImage, DiskSpeed, Sim, SimDisk};
use std::{sync::Arc, time::Instant};
use store::{Expected, Key, Operation, Store, StoreOptions, Write};

/// Commits under way at once while the store is filled.
const AT_ONCE: usize = 256;

/// About what a small pod holds.
fn object(at: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p{at}"), "namespace": "default", "uid": format!("{at:036}")},
        "spec": {"containers": [{"name": "c", "image": "nginx:1", "resources": {"requests": {"cpu": "100m"}}}]},
        "status": {"message": "x".repeat(800)}})
}

fn open(image: DiskImage, options: &StoreOptions) -> (Sim, Arc<Store>) {
    let sim = Sim::new(1, Time::from_unix_seconds(1_800_000_000));
    let disk = SimDisk::new(sim.fork("disk"), DiskSpeed::default(), image);
    let since = Instant::now();
    let store = sim.block_on(Store::open(&sim.world(), disk, options.clone()));
    let store = store.expect("it was closed in order");
    let objects = store.snapshot().list("pods", None).count();
    println!("opened with {objects} objects in {:.0?}", since.elapsed());
    (sim, store)
}

fn filled(objects: usize, options: &StoreOptions) -> DiskImage {
    let sim = Sim::new(1, Time::from_unix_seconds(1_800_000_000));
    let disk = SimDisk::new(sim.fork("disk"), DiskSpeed::default(), DiskImage::default());
    let opened = sim.block_on(Store::open(&sim.world(), disk.clone(), options.clone()));
    let store = opened.expect("a new store opens");
    for first in (0..objects).step_by(AT_ONCE) {
        let create = |at: usize| {
            let key = Key::new("default", &format!("p{at}"));
            let write = Write::put(&object(at));
            store.commit(Operation::new("pods", key, Expected::Absent, write))
        };
        let group = (first..objects.min(first + AT_ONCE)).map(create);
        for done in sim.block_on(join_all(group)) {
            done.expect("the disk is fine");
        }
    }
    sim.block_on(store.close());
    disk.image()
}

fn main() {
    let objects = std::env::args()
        .nth(1)
        .map_or(100_000, |text| text.parse().expect("a number"));
    for (from, checkpoint_bytes) in [("its log", u64::MAX), ("checkpoints", 16 << 20)] {
        let options = StoreOptions {
            checkpoint_bytes,
            ..StoreOptions::default()
        };
        println!("from {from}:");
        let (sim, store) = open(filled(objects, &options), &options);
        sim.block_on(store.close());
    }
}
