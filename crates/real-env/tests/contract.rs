//! The real world keeps the contract of every world.

use env::contract;
use real_env::{RealDisk, real_world};
use std::{io, path::PathBuf};

/// A directory below the test's own scratch place, empty.
fn scratch(name: &str) -> PathBuf {
    let path =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    // It may not exist, which is just as good.
    let _ = std::fs::remove_dir_all(&path);
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn world() {
    let world = real_world(tokio::runtime::Handle::current());
    contract::clock(&world).await;
    contract::timers_in_order(&world).await;
    contract::entropy(&world).await;
    contract::tasks(&world).await;
}

#[tokio::test]
async fn disk() {
    let path = scratch("disk");
    contract::disk(&*RealDisk::open(&path).unwrap()).await;
    std::fs::remove_dir_all(path).unwrap();
}

#[tokio::test]
async fn a_directory_has_one_owner() {
    let path = scratch("lock");
    let first = RealDisk::open(&path).unwrap();
    let error = RealDisk::open(&path).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    assert!(
        error.to_string().contains("is in use by another process"),
        "{error}"
    );
    drop(first);
    let patience = (0..200).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        RealDisk::open(&path).ok()
    });
    assert!(patience.is_some(), "the lock goes with its owner");
    std::fs::remove_dir_all(path).unwrap();
}
