//! Simulated nodes: containers live by their profiles, power cuts and domains end things at once.

use env::*;
use sim_env::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);

fn sim() -> Sim {
    Sim::new(7, Time::from_unix_seconds(1_800_000_000))
}

fn profiles() -> Arc<Profiles> {
    let exact = |seconds: u64| Span::millis(seconds * 1000, seconds * 1000);
    let rule = |name: &str, profile| Rule {
        image: String::new(),
        name: name.into(),
        pod: String::new(),
        profile,
    };
    let exit = |code, oom| Profile {
        start: exact(1),
        exit: Some(Exit {
            after: exact(5),
            code,
            oom,
        }),
        ..Profile::default()
    };
    let server = Profile {
        start: exact(1),
        ready_after: exact(3),
        fails_after: Some(exact(10)),
        stop: Some(exact(2)),
        ports: vec![80],
        cpu_milli: 500,
        exec: vec![ExecAnswer {
            command: "redis-cli ping".into(),
            stdout: "PONG\n".into(),
            code: 0,
        }],
        ..Profile::default()
    };
    let stubborn = Profile {
        stop: None,
        ..server.clone()
    };
    Arc::new(Profiles {
        rules: vec![
            rule("task", exit(3, false)),
            rule("hungry", exit(0, true)),
            rule("server", server),
            rule("stubborn", stubborn),
        ],
    })
}

fn node(sim: &Sim) -> Arc<SimContainers> {
    SimContainers::new(sim.fork("node"), profiles(), [10, 128, 0, 0].into())
}

/// A pod of one running container; the ids of sandbox and container.
async fn run(node: &SimContainers, name: &str) -> (SandboxStatus, String) {
    let config = SandboxConfig {
        uid: name.into(),
        name: name.into(),
        ..SandboxConfig::default()
    };
    let sandbox = node.run_sandbox(&config).await.unwrap();
    let config = ContainerConfig {
        name: name.into(),
        image: "image".into(),
        ..ContainerConfig::default()
    };
    let id = node.create(&sandbox.id, &config).await.unwrap();
    node.start(&id).await.unwrap();
    (sandbox, id)
}

async fn exit_of(node: &SimContainers, id: &str) -> Option<(i32, &'static str)> {
    let seen = node.observe().await.unwrap();
    let one = seen
        .containers
        .into_iter()
        .find(|one| one.id == id)
        .unwrap();
    match one.state {
        ContainerState::Exited {
            exit_code, reason, ..
        } => Some((exit_code, reason)),
        _ => None,
    }
}

#[test]
fn ends_come_when_they_are_due_and_wake_the_observer() {
    let sim = sim();
    let node = node(&sim);
    sim.block_on(async {
        for (name, wanted) in [("task", (3, "Error")), ("hungry", (137, "OOMKilled"))] {
            let (_, id) = run(&node, name).await;
            let started = sim.now();
            assert_eq!(exit_of(&node, &id).await, None);
            node.changed().await;
            assert_eq!(sim.now(), started + SECOND * 5);
            assert_eq!(exit_of(&node, &id).await, Some(wanted));
        }
    });
}

#[test]
fn stopping_takes_its_time_or_the_whole_grace() {
    let sim = sim();
    let node = node(&sim);
    sim.block_on(async {
        for (name, grace, took, wanted) in [
            ("server", 30, 2, (0, "Completed")),
            ("server", 1, 1, (137, "Error")),
            ("stubborn", 30, 30, (137, "Error")),
        ] {
            let (sandbox, id) = run(&node, name).await;
            let asked = sim.now();
            node.stop(&id, SECOND * grace).await.unwrap();
            assert_eq!(sim.now(), asked + SECOND * took, "{name} {grace}");
            assert_eq!(exit_of(&node, &id).await, Some(wanted));
            node.remove_sandbox(&sandbox.id).await.unwrap();
        }
    });
}

#[test]
fn probes_follow_the_profile() {
    let sim = sim();
    let node = node(&sim);
    sim.block_on(async {
        let (sandbox, id) = run(&node, "server").await;
        let started = sim.now();
        let tcp = |port| Probe::Tcp {
            host: sandbox.ips[0],
            port,
        };
        let ping = Probe::Exec {
            container_id: id.clone(),
            command: vec!["redis-cli".into(), "ping".into()],
        };
        for (second, wanted) in [(0, false), (2, false), (3, true), (9, true), (10, false)] {
            let at = started + SECOND * second;
            sim.world().clock.sleep_until(at).await;
            for probe in [&tcp(80), &ping] {
                assert_eq!(node.probe(probe, SECOND).await.is_ok(), wanted, "{second}");
            }
            assert!(node.probe(&tcp(81), SECOND).await.is_err());
        }
        let usage = node.usage().await.unwrap();
        assert_eq!(usage[0].cpu_nanos, 10 * 1_000_000_000 / 2);
    });
}

#[test]
fn logs_and_commands() {
    let sim = sim();
    let node = node(&sim);
    sim.block_on(async {
        let (_, id) = run(&node, "server").await;
        let command = ["redis-cli".to_owned(), "ping".to_owned()];
        let output = node.exec_sync(&id, &command, SECOND).await.unwrap();
        assert_eq!(output.stdout, b"PONG\n");
        let options = LogOptions {
            follow: true,
            ..LogOptions::default()
        };
        let log = node.logs(&id, &options).await.unwrap();
        let first = log.read().await.unwrap().unwrap();
        assert_eq!(
            String::from_utf8(first).unwrap(),
            "server of image started\n"
        );
        let stopper = node.clone();
        sim.world().spawn("stop", async move {
            stopper.stop(&id, SECOND * 30).await.unwrap();
        });
        assert_eq!(log.read().await.unwrap().unwrap(), b"exit 0\n");
        assert_eq!(log.read().await.unwrap(), None);
    });
}

#[test]
fn a_power_cut_ends_everything() {
    let sim = sim();
    let node = node(&sim);
    sim.block_on(async {
        let (first, id) = run(&node, "server").await;
        let (second, _) = run(&node, "task").await;
        assert_ne!(first.ips, second.ips);
        node.power_off();
        assert_eq!(node.observe().await.unwrap_err().reason, "NodeUnreachable");
        sim.world().sleep(SECOND * 60).await;
        node.power_on();
        let seen = node.observe().await.unwrap();
        assert!(
            seen.sandboxes
                .iter()
                .all(|one| !one.ready && one.ips.is_empty())
        );
        assert_eq!(exit_of(&node, &id).await, Some((255, "Unknown")));
    });
}

#[test]
fn ten_thousand_containers_cost_no_task() {
    let sim = sim();
    let node = node(&sim);
    sim.block_on(async {
        for pod in 0..100 {
            let config = SandboxConfig {
                uid: pod.to_string(),
                ..SandboxConfig::default()
            };
            let sandbox = node.run_sandbox(&config).await.unwrap();
            let orders = (0..100).map(|container| {
                let (node, id) = (node.clone(), sandbox.id.clone());
                async move {
                    let config = ContainerConfig {
                        name: format!("task{container}"),
                        ..ContainerConfig::default()
                    };
                    let id = node.create(&id, &config).await.unwrap();
                    node.start(&id).await.unwrap();
                }
            });
            futures::future::join_all(orders).await;
        }
    });
    assert_eq!((node.running(), sim.live_tasks()), (10_000, 0));
}

fn ticking(domain: &Domain) -> Arc<AtomicU64> {
    let ticks = Arc::new(AtomicU64::new(0));
    let (counted, world) = (ticks.clone(), domain.world());
    domain.world().spawn("ticks", async move {
        loop {
            world.sleep(SECOND).await;
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    ticks
}

#[test]
fn a_dead_domain_stays_dead_and_leaves_the_others_alone() {
    let sim = sim();
    let (one, other) = (sim.domain("one"), sim.domain("other"));
    let (ones, others) = (ticking(&one), ticking(&other));
    sim.run_for(SECOND * 3);
    one.kill();
    let late = ticking(&one);
    sim.run_for(SECOND * 3);
    let counts = [&ones, &others, &late].map(|ticks| ticks.load(Ordering::Relaxed));
    assert_eq!((counts, sim.live_tasks()), ([3, 6, 0], 1));
}

#[test]
fn a_frozen_domain_goes_on_when_it_thaws() {
    let sim = sim();
    let domain = sim.domain("one");
    let ticks = ticking(&domain);
    sim.run_for(SECOND * 3);
    domain.freeze();
    sim.run_for(SECOND * 10);
    assert_eq!(ticks.load(Ordering::Relaxed), 3);
    domain.thaw();
    sim.run_for(SECOND * 2);
    assert_eq!(
        ticks.load(Ordering::Relaxed),
        6,
        "the missed wake-up comes at once"
    );
}
