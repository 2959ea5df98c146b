//! Measures the store on a real disk; run with `--release -- --ignored --nocapture`.

use machinery::json;
use real_env::{RealDisk, real_world};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};
use store::{Expected, Key, Operation, Store, StoreOptions, Write};
use tokio::runtime::Handle;

const OBJECTS: u64 = 100_000;
const RESTART_SECONDS: f64 = 1.0;

async fn open(directory: &Path) -> Arc<Store> {
    let disk = RealDisk::open(directory).unwrap();
    Store::open(
        &real_world(Handle::current()),
        disk,
        StoreOptions::default(),
    )
    .await
    .unwrap()
}

fn create(writer: u64, number: u64) -> Operation {
    let name = format!("web-{writer}-{number}");
    let value = json!({"metadata": {"name": name.as_str()}, "data": "x".repeat(1700)});
    let key = Key::new("team", &name);
    Operation::new("pods", key, Expected::Absent, Write::put(&value))
}

async fn fill(store: &Arc<Store>, writers: u64, objects: u64, label: u64) {
    let start = Instant::now();
    let writer = |writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 0..objects / writers {
                store
                    .commit(create(label * 1000 + writer, number))
                    .await
                    .unwrap();
            }
        })
    };
    futures::future::join_all((0..writers).map(writer)).await;
    let rate = objects as f64 / start.elapsed().as_secs_f64();
    println!("{writers} writers: {rate:.0} durable creates/s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn creates_and_restart() {
    let name = format!("speed-{}", std::process::id());
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let start = Instant::now();
    let store = open(&directory).await;
    println!("first open: {:?}", start.elapsed());
    fill(&store, 1, 10_000, 1).await;
    fill(&store, 16, 30_000, 2).await;
    fill(&store, 64, OBJECTS - 40_000, 3).await;
    store.close().await;
    drop(store);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let start = Instant::now();
    let store = open(&directory).await;
    let elapsed = start.elapsed();
    let count = store.snapshot().list("pods", None).count();
    println!("restart with {count} objects: {elapsed:?}");
    std::fs::remove_dir_all(directory).unwrap();
    assert!(elapsed.as_secs_f64() < RESTART_SECONDS, "{elapsed:?}");
}
