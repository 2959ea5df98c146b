//! What the store's tests share: a simulated world with a disk, and short ways to write.
#![allow(dead_code, reason = "each test file uses its own part")]

use env::Time;
use machinery::{Value, json};
use sim_env::{DiskImage, DiskSpeed, Sim, SimDisk};
use std::{sync::Arc, time::Duration};
use store::{Expected, Key, OpenError, Operation, Store, StoreOptions, Write};

pub const SPEED: DiskSpeed = DiskSpeed {
    latency: Duration::from_micros(20),
    sync_latency: Duration::from_micros(100),
};

/// Small files, so that tests cross segment and checkpoint boundaries.
pub fn small() -> StoreOptions {
    StoreOptions {
        segment_bytes: 32 << 10,
        checkpoint_bytes: 48 << 10,
        ..StoreOptions::default()
    }
}

/// One life of a process: a world, a disk and a store.
pub struct Life {
    pub sim: Sim,
    pub disk: Arc<SimDisk>,
    pub store: Arc<Store>,
}

impl Life {
    pub fn start(seed: u64, image: DiskImage) -> Self {
        Self::try_start(seed, image, small()).unwrap()
    }

    pub fn try_start(
        seed: u64,
        image: DiskImage,
        options: StoreOptions,
    ) -> Result<Self, OpenError> {
        Self::at(Time::from_unix_seconds(1_800_000_000), seed, image, options)
    }

    pub fn at(
        time: Time,
        seed: u64,
        image: DiskImage,
        options: StoreOptions,
    ) -> Result<Self, OpenError> {
        let sim = Sim::new(seed, time);
        let disk = SimDisk::new(sim.fork("disk"), SPEED, image);
        let store = sim.block_on(Store::open(&sim.world(), disk.clone(), options))?;
        Ok(Self { sim, disk, store })
    }

    /// Closes in order and returns what is on the disk.
    pub fn end(self) -> DiskImage {
        self.sim.block_on(self.store.close());
        self.disk.crash()
    }
}

pub fn value(name: &str, number: u64) -> Value {
    json!({"metadata": {"name": name}, "spec": {"number": number as i64, "fill": "x".repeat((number % 700) as usize)}})
}

pub fn key(name: &str) -> Key {
    Key::new("ns", name)
}

pub fn put(name: &str, number: u64, expected: Expected) -> Operation {
    Operation::new(
        "things",
        key(name),
        expected,
        Write::put(&value(name, number)),
    )
}

pub fn delete(name: &str, expected: Expected) -> Operation {
    Operation::new("things", key(name), expected, Write::Delete)
}

/// The number an object carries in a snapshot.
pub fn number(snapshot: &store::Snapshot, name: &str) -> Option<u64> {
    snapshot
        .get("things", &key(name))
        .map(|object| object.at("spec.number").i64() as u64)
}
