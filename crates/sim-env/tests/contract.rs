//! The simulated world keeps the contract of every world, and its own promises.

use env::{Disk, Time, World, contract};
use sim_env::{DiskImage, DiskSpeed, Sim, SimDisk};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

fn sim(seed: u64) -> Sim {
    Sim::new(seed, Time::from_unix_seconds(1_800_000_000))
}

#[test]
fn world() {
    let sim = sim(1);
    let world = sim.world();
    sim.block_on(async {
        contract::clock(&world).await;
        contract::timers_in_order(&world).await;
        contract::entropy(&world).await;
        contract::tasks(&world).await;
    });
    assert_eq!(sim.live_tasks(), 0);
}

#[test]
fn disk() {
    let sim = sim(2);
    let speed = DiskSpeed {
        latency: Duration::from_micros(10),
        sync_latency: Duration::from_micros(100),
    };
    let disk = SimDisk::new(sim.world(), speed, DiskImage::default());
    sim.block_on(contract::disk(&*disk));
    assert!(sim.now() > Time::from_unix_seconds(1_800_000_000));
}

async fn heartbeat(world: World, beats: Arc<AtomicU64>) {
    loop {
        world.sleep(Duration::from_secs(10)).await;
        beats.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_day_of_a_hundred_nodes_passes_quickly() {
    let sim = sim(3);
    let beats = Arc::new(AtomicU64::new(0));
    for _ in 0..100 {
        sim.world()
            .spawn("heartbeat", heartbeat(sim.world(), beats.clone()));
    }
    sim.run_for(Duration::from_secs(24 * 3600));
    assert_eq!(beats.load(Ordering::Relaxed), 864_000);
}

fn noisy_run(seed: u64) -> u64 {
    let sim = Arc::new(sim(seed));
    for number in 0..10u8 {
        // Weak: a task that owned its own executor would never be dropped.
        let (world, sim) = (sim.world(), Arc::downgrade(&sim));
        sim.upgrade().unwrap().world().spawn("noise", async move {
            for _ in 0..100 {
                world
                    .sleep(Duration::from_millis(world.entropy.next_u64() % 1000))
                    .await;
                sim.upgrade().unwrap().note(&[number]);
            }
        });
    }
    sim.run_for(Duration::from_secs(200));
    sim.hash()
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    assert_eq!(noisy_run(7), noisy_run(7));
    assert_ne!(noisy_run(7), noisy_run(8));
}

#[test]
fn forked_streams_do_not_shift_the_main_one() {
    let (plain, forked) = (sim(5), sim(5));
    let draw = |world: World| world.entropy.next_u64();
    let (a, b) = (draw(forked.fork("a")), draw(forked.fork("b")));
    assert_ne!(a, b);
    assert_eq!(draw(sim(5).fork("a")), a);
    assert_eq!(draw(plain.world()), draw(forked.world()));
}

#[test]
#[should_panic(expected = "task went wrong")]
fn a_panic_of_a_task_reaches_the_test() {
    let sim = sim(1);
    sim.world()
        .spawn("bad", async { panic!("task went wrong") });
    sim.run_for(Duration::from_secs(1));
}

#[test]
#[should_panic(expected = "nothing is left that could happen")]
fn a_deadlock_is_told() {
    sim(1).block_on(std::future::pending::<()>());
}

#[test]
#[should_panic(expected = "livelock: 1000 polls")]
fn a_livelock_is_told() {
    let mut sim = sim(1);
    sim.limit_polls(1000);
    sim.block_on(std::future::poll_fn(|context| {
        context.waker().wake_by_ref();
        std::task::Poll::<()>::Pending
    }));
}

#[test]
fn a_dropped_simulation_drops_its_tasks() {
    let held = Arc::new(());
    let sim = sim(1);
    let (copy, world) = (held.clone(), sim.world());
    sim.world().spawn("sleeper", async move {
        world.sleep(Duration::from_secs(1)).await;
        drop(copy);
    });
    sim.run_for(Duration::from_millis(1));
    drop(sim);
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn wakes_from_other_threads_arrive() {
    let sim = sim(1);
    let (sender, receiver) = futures::channel::oneshot::channel();
    let world = sim.world();
    let task = async move {
        let thread = std::thread::spawn(move || sender.send(5));
        while !thread.is_finished() {
            world.sleep(Duration::from_millis(1)).await;
        }
        receiver.await.unwrap()
    };
    assert_eq!(sim.block_on(task), 5);
}

#[test]
fn a_crash_loses_only_what_was_not_synced() {
    let (mut kept, mut lost, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let sim = sim(seed);
        let disk = SimDisk::new(sim.world(), DiskSpeed::default(), DiskImage::default());
        sim.block_on(async {
            disk.prepare("f", 0, 8192).await.unwrap();
            disk.write("f", 0, vec![1; 2000], true).await.unwrap();
            disk.write("f", 2000, vec![2; 3000], false).await.unwrap();
        });
        let content = disk.crash().files.remove("f").unwrap();
        assert_eq!(content[..2000], [1; 2000]);
        match content[2000..5000]
            .iter()
            .filter(|byte| **byte == 2)
            .count()
        {
            0 => lost += 1,
            3000 => kept += 1,
            _ => torn += 1,
        }
    }
    assert!(
        kept > 10 && lost > 10 && torn > 10,
        "{kept} kept, {lost} lost, {torn} torn"
    );
}
