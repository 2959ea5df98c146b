//! What every world must do, as checks that panic: run by the tests of each implementation.
//!
//! Times are kept short because one of the worlds is real.

use crate::{Disk, Time, World};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const SHORT: Duration = Duration::from_millis(20);

/// Sleeping ends at or after its deadline, time never runs backwards, past deadlines are over.
pub async fn clock(world: &World) {
    let start = world.now();
    assert!(
        start > Time::from_unix_seconds(1_000_000_000),
        "clocks tell the time of day"
    );
    world.sleep(SHORT).await;
    let end = world.now();
    assert!(
        end >= start + SHORT,
        "woke {:?} too early",
        (start + SHORT).since(end)
    );
    world.clock.sleep_until(start).await;
    world.clock.sleep_until(Time(0)).await;
    let mut last = world.now();
    for _ in 0..1000 {
        let now = world.now();
        assert!(now >= last, "time ran backwards");
        last = now;
    }
}

/// Timers fire in the order of their deadlines, whatever the order they were set in.
pub async fn timers_in_order(world: &World) {
    let start = world.now();
    let order = Arc::new(AtomicU64::new(0));
    for step in [3u32, 1, 2] {
        let (world, order) = (world.clone(), order.clone());
        world.clone().spawn("contract timer", async move {
            world.clock.sleep_until(start + SHORT * step).await;
            let mut digits = order.load(Ordering::SeqCst);
            digits = digits * 10 + u64::from(step);
            order.store(digits, Ordering::SeqCst);
        });
    }
    world.clock.sleep_until(start + SHORT * 5).await;
    assert_eq!(order.load(Ordering::SeqCst), 123);
}

/// Random bits differ from draw to draw, and names and UUIDs have their forms.
pub async fn entropy(world: &World) {
    let draws: std::collections::BTreeSet<u64> =
        (0..1000).map(|_| world.entropy.next_u64()).collect();
    assert_eq!(draws.len(), 1000);
    let ones: u32 = draws.iter().map(|draw| draw.count_ones()).sum();
    assert!(
        (31_000..33_000).contains(&ones),
        "{ones} of 64,000 bits are set"
    );
    let uuid = world.uuid();
    assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"), "{uuid}");
    assert_eq!(world.name_suffix(5).len(), 5);
}

/// Spawned tasks run without being waited for, and may spawn more.
pub async fn tasks(world: &World) {
    let count = Arc::new(AtomicU64::new(0));
    for _ in 0..10 {
        let (world, count) = (world.clone(), count.clone());
        world.clone().spawn("contract outer", async move {
            let inner = count.clone();
            world.spawn("contract inner", async move {
                inner.fetch_add(1, Ordering::SeqCst);
            });
            count.fetch_add(100, Ordering::SeqCst);
        });
    }
    let deadline = world.now() + Duration::from_secs(5);
    while count.load(Ordering::SeqCst) < 1010 && world.now() < deadline {
        world.sleep(SHORT).await;
    }
    assert_eq!(count.load(Ordering::SeqCst), 1010);
}

/// Files are prepared with zeroes, written in place, replaced whole, listed in order, removed.
pub async fn disk(disk: &dyn Disk) {
    assert_eq!(disk.list().await.unwrap(), Vec::<String>::new());
    let missing = disk.read("nothing").await.unwrap_err();
    assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
    disk.prepare("log-b", 0, 8192).await.unwrap();
    assert_eq!(disk.read("log-b").await.unwrap(), vec![0; 8192]);
    disk.write("log-b", 4000, vec![7; 200], false)
        .await
        .unwrap();
    disk.write("log-b", 4200, vec![8; 100], true).await.unwrap();
    disk.write("log-b", 0, Vec::new(), true).await.unwrap();
    let content = disk.read("log-b").await.unwrap();
    assert_eq!(
        (content.len(), content[3999], content[4000], content[4299]),
        (8192, 0, 7, 8)
    );
    disk.write("log-b", 8190, vec![9; 4], true).await.unwrap();
    assert_eq!(disk.read("log-b").await.unwrap().len(), 8194);
    disk.prepare("log-b", 4100, 5000).await.unwrap();
    let content = disk.read("log-b").await.unwrap();
    assert_eq!((content.len(), content[4099], content[4100]), (5000, 7, 0));
    disk.prepare("log-b", 5000, 6000).await.unwrap();
    assert_eq!(disk.read("log-b").await.unwrap()[4099], 7);
    replace_and_remove(disk).await;
}

async fn replace_and_remove(disk: &dyn Disk) {
    disk.replace("a", b"first".to_vec()).await.unwrap();
    disk.replace("a", b"2nd".to_vec()).await.unwrap();
    assert_eq!(disk.read("a").await.unwrap(), b"2nd");
    assert_eq!(disk.list().await.unwrap(), ["a", "log-b"]);
    disk.remove("log-b").await.unwrap();
    disk.remove("log-b").await.unwrap();
    assert_eq!(disk.list().await.unwrap(), ["a"]);
    disk.prepare("log-b", 0, 10).await.unwrap();
    assert_eq!(
        disk.read("log-b").await.unwrap(),
        [0; 10],
        "nothing of the removed file is left"
    );
    disk.remove("a").await.unwrap();
    disk.remove("log-b").await.unwrap();
}
