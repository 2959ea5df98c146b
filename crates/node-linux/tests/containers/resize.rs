//! Limits that change while a container runs, and images as volumes.

use crate::house::{House, IMAGE, applet};
use env::*;
use std::{path::Path, time::Duration};

fn limits(memory: Option<u64>, cpu_milli: Option<u64>, cpu_request_milli: u64) -> CgroupLimits {
    CgroupLimits {
        memory: memory.map(|mebibytes| mebibytes << 20),
        cpu_milli,
        cpu_request_milli,
        pids: None,
    }
}

/// What a container reads in its own cgroup, version 1 or 2: memory limit and CPU shares or
/// weight.
fn seen(house: &House, id: &str) -> (String, String) {
    let version_2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let files = match version_2 {
        true => ["memory.max", "cpu.weight"],
        false => ["memory/memory.limit_in_bytes", "cpu/cpu.shares"],
    };
    let read = |file: &str| {
        let command = ["app", "applet", "cat", &format!("/sys/fs/cgroup/{file}")];
        let command: Vec<String> = command.iter().map(|word| word.to_string()).collect();
        let ran = house
            .containers
            .exec_sync(id, &command, Duration::from_secs(10));
        let output = house.block(ran).expect("ran");
        assert_eq!(output.exit_code, 0, "{command:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    (read(files[0]), read(files[1]))
}

pub fn limits_in_place() {
    let house = House::new("resize");
    let before = limits(Some(64), Some(100), 50);
    let pod = house.sandbox_with(SandboxConfig {
        uid: "u1".into(),
        limits: before.clone(),
        ..SandboxConfig::default()
    });
    assert_eq!(pod.limits, before);
    let mut config = applet("one", &["sleep"]);
    config.limits = before.clone();
    let id = house.start(&pod.id, config);
    assert_eq!(house.status(&id).limits, before);
    assert_eq!(seen(&house, &id).0, (64u64 << 20).to_string());

    let change = |wanted: &CgroupLimits| house.block(house.containers.update(&id, wanted));
    let change_pod =
        |wanted: &CgroupLimits| house.block(house.containers.update_sandbox(&pod.id, wanted));
    let after = limits(Some(96), Some(300), 200);
    change_pod(&after).expect("room");
    change(&after).expect("changed");
    assert_eq!(house.status(&id).limits, after);
    let (memory, share) = seen(&house, &id);
    assert_eq!(memory, (96u64 << 20).to_string());
    assert!(["204", "8"].contains(&share.as_str()), "{share}");
    let less = limits(Some(32), Some(50), 2);
    change(&less).expect("changed");
    change_pod(&less).expect("less room");
    assert_eq!(house.status(&id).limits, less);

    let refused = change(&limits(Some(0), None, 0)).expect_err("more is in use");
    assert_eq!(refused.reason, "ResizeError");
    assert!(refused.message.contains("below current usage"), "{refused}");
    assert_eq!(house.status(&id).limits, less, "nothing changed");
    let none = limits(None, None, 0);
    change_pod(&none).expect("lifted");
    change(&none).expect("lifted");
    assert_ne!(seen(&house, &id).0, (32u64 << 20).to_string());
    house
        .block(house.containers.stop(&id, Duration::ZERO))
        .expect("stopped");
    assert_eq!(
        change(&less).expect_err("ended").reason,
        "ContainerNotRunning"
    );
    house.close();
}

pub fn image_volume() {
    let house = House::new("image-volume");
    let pod = house.sandbox("u1");
    let source = VolumeSource::Image {
        reference: IMAGE.into(),
    };
    let prepare = || {
        house.block(
            house
                .containers
                .prepare_volume("u1", "files", &source, None),
        )
    };
    let path = prepare().expect("mounted");
    assert_eq!(prepare(), Ok(path.clone()), "idempotent");
    let run = |name: &str, words: &[&str], sub_path: &str| {
        let mut config = applet(name, words);
        config.mounts = vec![Mount {
            container_path: "/image".into(),
            host_path: path.clone(),
            sub_path: sub_path.into(),
            read_only: true,
        }];
        let id = house.start(&pod.id, config);
        (house.wait(&id).0, house.log(&id))
    };
    assert_eq!(run("a", &["exists", "/image/bin/app"], "").0, 0);
    let (code, log) = run("b", &["write", "/image/new", "x"], "");
    assert!(code != 0 && log.contains("Read-only file system"), "{log}");
    assert_eq!(run("c", &["exists", "/image/app"], "bin").0, 0);
    let missing = VolumeSource::Image {
        reference: "no/such:1".into(),
    };
    let refused = house.block(
        house
            .containers
            .prepare_volume("u1", "none", &missing, None),
    );
    assert!(
        refused
            .expect_err("absent")
            .message
            .contains("is not present")
    );
    house
        .block(house.containers.stop_sandbox(&pod.id))
        .expect("stopped");
    house
        .block(house.containers.release_volumes("u1"))
        .expect("released");
    assert!(!Path::new(&path).exists());
    house.close();
}
