//! The cases: what a container can rely on, and what it leaves behind.

use crate::house::{House, applet, cgroups_named, files, words};
use crate::{archives, resize};
use env::*;
use node_linux::net::{Vpc, VpcConfig};
use std::{fs, sync::Arc, time::Duration};

/// A named case.
pub type Case = (&'static str, fn());

/// All cases.
pub const ALL: &[Case] = &[
    ("exit_codes_and_logs", exit_codes_and_logs),
    ("environment_and_identity", environment_and_identity),
    ("volumes", volumes),
    ("root_file_system", root_file_system),
    ("start_errors", start_errors),
    ("security", security),
    ("system_call_filter", system_call_filter),
    ("memory_limit", memory_limit),
    ("stop_with_grace", stop_with_grace),
    ("many_at_once", many_at_once),
    ("commands", commands),
    ("sessions", sessions),
    ("attach_to_input", attach_to_input),
    ("shared_process_namespace", shared_process_namespace),
    ("host_namespaces", host_namespaces),
    ("probes_and_connections", probes_and_connections),
    ("pods_on_a_vpc", pods_on_a_vpc),
    ("agent_restart", agent_restart),
    ("supervisor_crash", supervisor_crash),
    ("cleanup_after_crash", cleanup_after_crash),
    ("image_store", image_store),
    ("docker_archive", archives::docker_archive),
    ("oci_layout", archives::oci_layout),
    ("registry", archives::registry),
    ("limits_in_place", resize::limits_in_place),
    ("image_volume", resize::image_volume),
];

fn exit_codes_and_logs() {
    let house = House::new("exit");
    let pod = house.sandbox("u1");
    assert!(pod.ready);
    let good = house.start(&pod.id, applet("good", &["both"]));
    assert_eq!(house.wait(&good), (0, "Completed", String::new()));
    let log = house.log(&good);
    assert!(
        log.contains("to stdout\n") && log.contains("to stderr\n"),
        "{log:?}"
    );
    let bad = house.start(&pod.id, applet("bad", &["exit", "7"]));
    assert_eq!(house.wait(&bad), (7, "Error", String::new()));
    let message = house.start(
        &pod.id,
        applet("last", &["write", "/dev/termination-log", "bye"]),
    );
    assert_eq!(house.wait(&message).2, "bye");
    let ticks = house.start(&pod.id, applet("ticks", &["ticks"]));
    house.await_log(&ticks, "tick 3");
    let tail = LogOptions {
        tail_lines: Some(1),
        ..LogOptions::default()
    };
    assert_eq!(house.log_with(&ticks, tail).lines().count(), 1);
    let follow = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    house.block(async {
        let reader = house.containers.logs(&ticks, &follow).await.expect("a log");
        let mut text = String::new();
        while !text.contains("tick 20") {
            let more = reader
                .read()
                .await
                .expect("readable")
                .expect("still running");
            text.push_str(&String::from_utf8(more).expect("text"));
        }
        house
            .containers
            .stop(&ticks, Duration::ZERO)
            .await
            .expect("stopped");
        while reader.read().await.expect("readable").is_some() {}
    });
    assert_eq!(house.wait(&ticks).0, 137);
    house
        .block(house.containers.remove_sandbox(&pod.id))
        .expect("removed");
    let left = house.block(house.containers.observe()).expect("observed");
    assert!(left.sandboxes.is_empty() && left.containers.is_empty());
    assert!(
        fs::read_dir(house.state.join("logs"))
            .expect("logs")
            .next()
            .is_none()
    );
    assert!(
        fs::read_dir(house.state.join("trash"))
            .expect("trash")
            .next()
            .is_none()
    );
    house.close();
}

fn environment_and_identity() {
    let house = House::new("env");
    let pod = house.sandbox("u1");
    let mut config = applet("env", &["env"]);
    config.env = vec![("A".into(), "1".into()), ("A".into(), "2".into())];
    let id = house.start(&pod.id, config);
    house.wait(&id);
    let log = house.log(&id);
    for line in [
        "A=2",
        "FROM_IMAGE=yes",
        "HOSTNAME=pod-u1",
        "HOME=/root",
        "PATH=/usr/local/sbin",
    ] {
        assert!(log.contains(line), "{line} in {log:?}");
    }
    let mut config = applet("user", &["cat", "/proc/self/status"]);
    config.security.run_as_user = Some(1000);
    config.security.run_as_group = Some(3000);
    config.security.supplemental_groups = vec![2000];
    config.security.allow_privilege_escalation = false;
    config.security.seccomp = Seccomp::RuntimeDefault;
    let id = house.start(&pod.id, config);
    assert_eq!(house.wait(&id).0, 0, "{}", house.log(&id));
    let log = house.log(&id);
    for line in [
        "Uid:\t1000\t1000",
        "Gid:\t3000\t3000",
        "Groups:\t2000 3000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "CapEff:\t0000000000000000",
        "CapBnd:\t00000000a80425fb",
    ] {
        assert!(log.contains(line), "{line} in {log:?}");
    }
    house.close();
}

fn mount(host: &str, target: &str, sub: &str, read_only: bool) -> Mount {
    Mount {
        container_path: target.into(),
        host_path: host.into(),
        sub_path: sub.into(),
        read_only,
    }
}

/// Runs an applet with changes to its container: exit code and log.
fn run_with(
    house: &House,
    pod: &str,
    (name, words): (&str, &[&str]),
    edit: impl FnOnce(&mut ContainerConfig),
) -> (i32, String) {
    let mut config = applet(name, words);
    edit(&mut config);
    let id = house.start(pod, config);
    let code = house.wait(&id).0;
    (code, house.log(&id))
}

fn volumes() {
    let house = House::new("volumes");
    let pod = house.sandbox("u1");
    let volume = |name: &str, source: VolumeSource, group| {
        let prepared = house.containers.prepare_volume("u1", name, &source, group);
        house.block(prepared).expect("prepared")
    };
    let scratch = |memory, size_limit| VolumeSource::EmptyDir { memory, size_limit };
    let config = volume(
        "config",
        files(&[("key", "value"), ("dir/deep", "below")]),
        None,
    );
    let memory = volume("memory", scratch(true, Some(1 << 20)), Some(2000));
    let disk = volume("disk", scratch(false, None), None);
    let run = |name: &str, words: &[&str]| {
        run_with(&house, &pod.id, (name, words), |container| {
            container.mounts = vec![
                mount(&config, "/config", "", true),
                mount(&memory, "/memory", "", false),
                mount(&disk, "/disk/sub", "made/for/you", false),
                mount(&config, "/one/file", "key", true),
            ];
            container.security.run_as_user = Some(1000);
            container.security.supplemental_groups = vec![2000];
        })
    };
    let cases: [(&str, &[&str], i32, &str); 5] = [
        ("a", &["cat", "/config/dir/deep"], 0, "below"),
        ("b", &["cat", "/one/file"], 0, "value"),
        (
            "c",
            &["write", "/config/key", "x"],
            1,
            "Read-only file system (os error 30)\n",
        ),
        ("d", &["write", "/disk/sub/file", "x"], 0, "written\n"),
        ("e", &["write", "/memory/file", "x"], 0, "written\n"),
    ];
    for (name, words, code, log) in cases {
        assert_eq!(run(name, words), (code, log.to_owned()), "{words:?}");
    }
    let written = fs::read_to_string(format!("{disk}/made/for/you/file"));
    assert_eq!(written.expect("there"), "x");
    std::os::unix::fs::symlink("/etc", format!("{disk}/out")).expect("a link");
    let mut escape = applet("escape", &["env"]);
    escape.mounts = vec![mount(&disk, "/x", "out/passwd", false)];
    let id = house
        .block(house.containers.create(&pod.id, &escape))
        .expect("created");
    assert!(
        house.block(house.containers.start(&id)).is_err(),
        "a subPath left its volume"
    );
    house
        .block(house.containers.remove_sandbox(&pod.id))
        .expect("removed");
    house
        .block(house.containers.release_volumes("u1"))
        .expect("released");
    assert!(!house.state.join("pods/u1").exists());
    house.close();
}

fn root_file_system() {
    let house = House::new("root");
    let pod = house.sandbox("u1");
    let run = |name: &str, words: &[&str], edit: fn(&mut ContainerConfig)| {
        run_with(&house, &pod.id, (name, words), edit)
    };
    let plain: fn(&mut ContainerConfig) = |_| ();
    let read_only: fn(&mut ContainerConfig) = |config| config.security.read_only_root = true;
    let (code, log) = run("a", &["write", "/tmp/file", "x"], read_only);
    assert!(
        code == 1 && log.contains("Read-only file system"),
        "{log:?}"
    );
    assert_eq!(run("b", &["write", "/dev/shm/file", "x"], read_only).0, 0);
    assert_eq!(
        run("c", &["cat", "/dev/shm/file"], plain),
        (0, "x".into()),
        "pods share it"
    );
    let as_user: fn(&mut ContainerConfig) = |config| config.security.run_as_user = Some(1000);
    assert_eq!(run("d", &["write", "/etc/file", "x"], as_user).0, 1);
    let (_, hosts) = run("e", &["cat", "/etc/hosts"], plain);
    assert!(hosts.contains("127.0.0.1\tpod-u1"), "{hosts:?}");
    assert_eq!(
        run("f", &["cat", "/etc/resolv.conf"], plain).1,
        "nameserver 10.0.0.10\n"
    );
    assert_eq!(run("g", &["cat", "/etc/hostname"], plain).1, "pod-u1\n");
    let work: fn(&mut ContainerConfig) = |config| config.working_dir = "/new/place".into();
    assert_eq!(run("h", &["write", "here", "x"], work).0, 0);
    let message: fn(&mut ContainerConfig) = |config| {
        config.mounts = vec![mount("", "/var/log/last", "", false)];
        config.security.run_as_user = Some(1000);
    };
    let mut config = applet("i", &["write", "/var/log/last", "words"]);
    message(&mut config);
    let id = house.start(&pod.id, config);
    assert_eq!(house.wait(&id).2, "words");
    house.close();
}

fn start_errors() {
    let house = House::new("errors");
    let pod = house.sandbox("u1");
    let cases = [
        (
            "a",
            "nope",
            "exec: \"nope\": executable file not found in $PATH",
        ),
        (
            "b",
            "/no/such",
            "exec: \"/no/such\": stat /no/such: no such file or directory",
        ),
        (
            "c",
            "/etc/passwd",
            "exec: \"/etc/passwd\": permission denied",
        ),
        ("d", "/etc", "exec: \"/etc\": is a directory"),
    ];
    for (name, program, expected) in cases {
        let config = ContainerConfig {
            command: words(&[program]),
            ..applet(name, &[])
        };
        let id = house
            .block(house.containers.create(&pod.id, &config))
            .expect("created");
        let error = house
            .block(house.containers.start(&id))
            .expect_err("cannot start");
        assert_eq!(
            (error.reason, error.message.as_str()),
            ("RunContainerError", expected)
        );
        assert_eq!(house.wait(&id), (128, "StartError", expected.to_owned()));
    }
    let mut config = applet("root", &["env"]);
    config.security.run_as_non_root = true;
    let error = house
        .block(house.containers.create(&pod.id, &config))
        .expect_err("refused");
    assert_eq!(error.reason, "CreateContainerConfigError");
    let config = ContainerConfig {
        image: "no/such:1".into(),
        ..applet("absent", &[])
    };
    let error = house
        .block(house.containers.create(&pod.id, &config))
        .expect_err("refused");
    assert!(error.message.contains("not present"));
    house.close();
}

fn security() {
    let house = House::new("security");
    let pod = house.sandbox("u1");
    let run = |name: &str, words: &[&str], edit: fn(&mut Security)| {
        let mut config = applet(name, words);
        edit(&mut config.security);
        let id = house.start(&pod.id, config);
        (house.wait(&id).0, house.log(&id))
    };
    let plain: fn(&mut Security) = |_| ();
    let (code, log) = run("device", &["open-device"], plain);
    assert_eq!(
        (code, log.as_str()),
        (0, "mknod 0, open PermissionDenied\n")
    );
    assert_ne!(
        run(
            "sysctl",
            &["write", "/proc/sys/kernel/domainname", "x"],
            plain
        )
        .0,
        0
    );
    assert_eq!(
        run("masked", &["cat", "/proc/keys"], plain),
        (0, String::new())
    );
    let caps = |name: &str, edit| {
        let (_, log) = run(name, &["cat", "/proc/self/status"], edit);
        log.lines()
            .find_map(|line| line.strip_prefix("CapEff:\t").map(str::to_owned))
            .expect("caps")
    };
    assert_eq!(caps("caps", plain), "00000000a80425fb");
    assert_eq!(
        caps("none", |security| security.capabilities_drop =
            words(&["ALL"])),
        "0000000000000000"
    );
    let added = caps("added", |security| {
        security.capabilities_drop = words(&["ALL"]);
        security.capabilities_add = words(&["NET_ADMIN"]);
    });
    assert_eq!(added, "0000000000001000");
    let (_, log) = run("init", &["cat", "/proc/1/cmdline"], plain);
    assert!(
        log.contains("app"),
        "the container is its own first process: {log:?}"
    );
    assert_eq!(
        run("privileged", &["open-device"], |security| security
            .privileged =
            true)
        .0,
        1
    );
    house.close();
}

fn system_call_filter() {
    let house = House::new("seccomp");
    let pod = house.sandbox("u1");
    let run = |name: &str, words: &[&str], seccomp, escalation| {
        run_with(&house, &pod.id, (name, words), |config| {
            config.security.seccomp = seccomp;
            config.security.allow_privilege_escalation = escalation;
        })
    };
    let filter = Seccomp::RuntimeDefault;
    assert_eq!(
        run("a", &["threads"], filter, true),
        (0, "from a thread\n".into())
    );
    assert_eq!(
        run("b", &["threads"], filter, false),
        (0, "from a thread\n".into())
    );
    let refused = (0, "-1 Operation not permitted (os error 1)\n".to_owned());
    assert_eq!(run("c", &["unshare"], filter, true), refused);
    assert_ne!(run("d", &["unshare"], Seccomp::Unconfined, true), refused);
    house.close();
}

fn memory_limit() {
    let house = House::new("memory");
    let pod = house.sandbox("u1");
    let mut config = applet("eat", &["eat"]);
    config.limits.memory = Some(32 << 20);
    let id = house.start(&pod.id, config);
    let (code, reason, _) = house.wait(&id);
    assert_eq!((code, reason), (137, "OOMKilled"));
    let mut config = applet("idle", &["sleep"]);
    config.limits = CgroupLimits {
        memory: Some(64 << 20),
        cpu_milli: Some(500),
        cpu_request_milli: 100,
        pids: Some(20),
    };
    let id = house.start(&pod.id, config);
    let usage = house.block(house.containers.usage()).expect("usage");
    let own = usage
        .iter()
        .find(|usage| usage.id == id)
        .expect("the running one");
    assert!(
        own.memory_working_set > 0 && own.memory_working_set < 64 << 20,
        "{own:?}"
    );
    house.close();
}

fn stop_with_grace() {
    let house = House::new("stop");
    let pod = house.sandbox("u1");
    let handles = house.start(&pod.id, applet("term", &["term"]));
    house.await_log(&handles, "ready");
    house
        .block(house.containers.stop(&handles, Duration::from_secs(10)))
        .expect("stopped");
    assert_eq!(house.wait(&handles).0, 42);
    let ignores = house.start(&pod.id, applet("fork", &["fork"]));
    house.await_log(&ignores, "forked");
    let start = std::time::Instant::now();
    house
        .block(house.containers.stop(&ignores, Duration::from_millis(300)))
        .expect("stopped");
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!(house.wait(&ignores).0, 137);
    house
        .block(house.containers.stop(&ignores, Duration::ZERO))
        .expect("idempotent");
    house
        .block(house.containers.stop("unknown", Duration::ZERO))
        .expect("idempotent");
    house.close();
}

/// Waits until the control groups below `name` hold this many processes.
fn await_processes(name: &str, count: usize) {
    fn processes(directory: &std::path::Path) -> usize {
        let own = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.path().is_dir());
        own.lines().count() + below.map(|entry| processes(&entry.path())).sum::<usize>()
    }
    let root = cgroups_named(name).pop().expect("a control group");
    for _ in 0..500 {
        if processes(&root) == count {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} processes instead of {count}", processes(&root));
}

fn many_at_once() {
    const PODS: usize = 8;
    const EACH: usize = 5;
    let house = House::new("many");
    let life = async |pod: usize| {
        let config = SandboxConfig {
            uid: format!("u{pod}"),
            name: format!("p{pod}"),
            hostname: "h".into(),
            ..SandboxConfig::default()
        };
        let pod = house
            .containers
            .run_sandbox(&config)
            .await
            .expect("a sandbox")
            .id;
        for number in 0..EACH {
            let config = applet(&format!("c{number}"), &["exit", &number.to_string()]);
            let id = house
                .containers
                .create(&pod, &config)
                .await
                .expect("created");
            house.containers.start(&id).await.expect("started");
        }
        pod
    };
    let pods: Vec<String> =
        house.block(async { futures::future::join_all((0..PODS).map(life)).await });
    let all = house
        .block(house.containers.observe())
        .expect("observed")
        .containers;
    assert_eq!(all.len(), PODS * EACH);
    for container in all {
        let expected: i32 = container
            .name
            .trim_start_matches('c')
            .parse()
            .expect("a number");
        assert_eq!(house.wait(&container.id).0, expected);
    }
    house.block(async {
        let remove = |pod: &'_ String| {
            let pod = pod.clone();
            let containers = &house.containers;
            async move { containers.remove_sandbox(&pod).await }
        };
        let removed = futures::future::join_all(pods.iter().map(remove)).await;
        assert!(removed.iter().all(Result::is_ok), "{removed:?}");
    });
    assert!(
        cgroups_named(&house.cgroup).is_empty(),
        "the last pod takes its parents along"
    );
    house.close();
}

/// Everything a session says until its end.
async fn drain(session: &dyn Session) -> (String, String, i32) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match session.read().await {
            Output::Stdout(bytes) => out.extend(bytes),
            Output::Stderr(bytes) => err.extend(bytes),
            Output::Exit(code) => {
                let text = |bytes| String::from_utf8(bytes).expect("text");
                return (text(out), text(err), code);
            }
            Output::Failed(text) => panic!("{text}"),
        }
    }
}

fn commands() {
    let house = House::new("exec");
    let pod = house.sandbox("u1");
    let mut config = applet("main", &["sleep"]);
    config.env = vec![("KEY".into(), "kept".into())];
    config.security.run_as_user = Some(1000);
    let id = house.start(&pod.id, config);
    let exec = |list: &[&str], timeout| {
        let command = words(list);
        house.block(async { house.containers.exec_sync(&id, &command, timeout).await })
    };
    let second = Duration::from_secs(5);
    let output = exec(&["app", "applet", "both"], second).expect("run");
    assert_eq!(
        (output.exit_code, output.stdout),
        (0, b"to stdout\n".to_vec())
    );
    assert_eq!(output.stderr, b"to stderr\n");
    assert_eq!(
        exec(&["app", "applet", "exit", "9"], second)
            .expect("run")
            .exit_code,
        9
    );
    let environment = exec(&["app", "applet", "env"], second).expect("run").stdout;
    assert!(String::from_utf8_lossy(&environment).contains("KEY=kept"));
    let status = exec(&["app", "applet", "cat", "/proc/self/status"], second)
        .expect("run")
        .stdout;
    assert!(String::from_utf8_lossy(&status).contains("Uid:\t1000"));
    let error = exec(&["nope"], second).expect_err("no program");
    assert_eq!(
        error.message,
        "exec: \"nope\": executable file not found in $PATH"
    );
    let late = exec(&["app", "applet", "sleep"], Duration::from_millis(200)).expect_err("late");
    assert_eq!(late.reason, "DeadlineExceeded");
    await_processes(&house.cgroup, 1);
    house.close();
}

fn sessions() {
    let house = House::new("session");
    let pod = house.sandbox("u1");
    let id = house.start(&pod.id, applet("main", &["sleep"]));
    house.block(async {
        let options = StreamOptions {
            stdin: true,
            stdout: true,
            stderr: true,
            tty: false,
        };
        let session = house
            .containers
            .exec(&id, &words(&["app", "applet", "echo"]), options)
            .await;
        let session = session.expect("a session");
        session.write(b"one\ntwo\n").await.expect("written");
        session.write(b"").await.expect("closed");
        let expected = ("got one\ngot two\n".to_owned(), String::new(), 0);
        assert_eq!(drain(session.as_ref()).await, expected);
        let options = StreamOptions {
            tty: true,
            ..options
        };
        let session = house
            .containers
            .exec(&id, &words(&["app", "applet", "echo"]), options)
            .await;
        let session = session.expect("a session");
        session.resize(TerminalSize {
            width: 100,
            height: 30,
        });
        session.write(b"typed\n\x04").await.expect("written");
        let (out, _, code) = drain(session.as_ref()).await;
        assert!(
            out.contains("typed\r\n") && out.contains("got typed\r\n"),
            "{out:?}"
        );
        assert_eq!(code, 0);
    });
    house.close();
}

fn attach_to_input() {
    let house = House::new("attach");
    let pod = house.sandbox("u1");
    let mut config = applet("plain", &["echo"]);
    (config.stdin, config.stdin_once) = (true, true);
    let id = house.start(&pod.id, config);
    let options = StreamOptions {
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    };
    house.block(async {
        let session = house
            .containers
            .attach(&id, options)
            .await
            .expect("a session");
        session.write(b"hello\n").await.expect("written");
        session.write(b"").await.expect("closed");
        assert_eq!(
            drain(session.as_ref()).await,
            ("got hello\n".into(), String::new(), 0)
        );
    });
    let mut config = applet("tty", &["echo"]);
    (config.stdin, config.tty) = (true, true);
    let id = house.start(&pod.id, config);
    house.block(async {
        let options = StreamOptions {
            tty: true,
            ..options
        };
        let session = house
            .containers
            .attach(&id, options)
            .await
            .expect("a session");
        session.resize(TerminalSize {
            width: 80,
            height: 24,
        });
        session.write(b"hello\n\x04").await.expect("written");
        assert!(drain(session.as_ref()).await.0.contains("got hello\r\n"));
    });
    assert!(house.log(&id).contains("got hello"));
    house.close();
}

fn shared_process_namespace() {
    let house = House::new("pids");
    let config = SandboxConfig {
        uid: "u1".into(),
        share_process_namespace: true,
        sysctls: [("net.ipv4.ip_unprivileged_port_start".into(), "7".into())].into(),
        ..SandboxConfig::default()
    };
    let pod = house.sandbox_with(config);
    let first = house.start(&pod.id, applet("first", &["sleep"]));
    let second = applet("second", &["cat", "/proc/2/cmdline"]);
    let second = house.start(&pod.id, second);
    assert_eq!(house.wait(&second).0, 0);
    assert!(
        house.log(&second).contains("sleep"),
        "{:?}",
        house.log(&second)
    );
    let low = house.sandbox("u2");
    let mut config = applet("low", &["serve", "80"]);
    config.security.run_as_user = Some(1000);
    let low = house.start(&low.id, config);
    house.await_log(&low, "serving");
    let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let third = house.start(&pod.id, applet("third", &["cat", path]));
    house.wait(&third);
    assert_eq!(house.log(&third), "7\n");
    house
        .block(house.containers.stop(&first, Duration::ZERO))
        .expect("stopped");
    assert_eq!(
        house.wait(&first).0,
        143,
        "not a first process, so SIGTERM ends it"
    );
    house.close();
}

fn host_namespaces() {
    let house = House::new("host");
    let config = SandboxConfig {
        uid: "u1".into(),
        host_network: true,
        host_pid: true,
        host_ipc: true,
        ..SandboxConfig::default()
    };
    let pod = house.sandbox_with(config);
    assert!(pod.ready && pod.ips.is_empty());
    let id = house.start(&pod.id, applet("host", &["sleep"]));
    let link = |name: &str| {
        let command = words(&["app", "applet", "link", &format!("/proc/self/ns/{name}")]);
        let exec = house
            .containers
            .exec_sync(&id, &command, Duration::from_secs(5));
        String::from_utf8(house.block(exec).expect("run").stdout).expect("text")
    };
    for name in ["net", "pid", "ipc"] {
        let own = fs::read_link(format!("/proc/self/ns/{name}")).expect("a link");
        assert_eq!(link(name).trim_end(), own.to_str().expect("text"));
    }
    let own = fs::read_link("/proc/self/ns/uts").expect("a link");
    assert_ne!(link("uts").trim_end(), own.to_str().expect("text"));
    house.close();
}

fn probes_and_connections() {
    let house = House::new("probes");
    let pod = house.sandbox("u1");
    let id = house.start(&pod.id, applet("serve", &["serve", "8080"]));
    house.await_log(&id, "serving");
    let (state, cgroup) = (house.state.clone(), house.cgroup.clone());
    // A second agent whose "node" lives where the pod does, so that probes reach it.
    let netns = state.join("sandboxes").join(&pod.id).join("net");
    let inside = House::open(state, cgroup, netns);
    let host = std::net::IpAddr::from([127, 0, 0, 1]);
    let http = |port, path: &str| Probe::Http {
        host,
        port,
        path: path.into(),
        https: false,
        headers: Vec::new(),
    };
    let check = |probe: Probe| {
        inside.block(async {
            inside
                .containers
                .probe(&probe, Duration::from_secs(2))
                .await
        })
    };
    assert_eq!(check(http(8080, "/good")), Ok(()));
    assert_eq!(
        check(http(8080, "/bad")),
        Err("HTTP probe failed with statuscode: 503".into())
    );
    let refused = check(http(1, "/")).expect_err("nobody listens");
    assert!(
        refused.ends_with("dial tcp 127.0.0.1:1: connect: connection refused"),
        "{refused}"
    );
    assert_eq!(check(Probe::Tcp { host, port: 8080 }), Ok(()));
    let exec = |code: &str| Probe::Exec {
        container_id: id.clone(),
        command: words(&["app", "applet", "exit", code]),
    };
    assert_eq!(check(exec("0")), Ok(()));
    assert_eq!(
        check(exec("3")),
        Err("command terminated with exit code 3".into())
    );
    house.block(async {
        let stream = house
            .containers
            .connect(&pod.id, 8080)
            .await
            .expect("connected");
        stream
            .write(b"GET /good HTTP/1.0\r\n\r\n")
            .await
            .expect("sent");
        // A connection is bytes, not messages: one read may bring any part of the answer.
        let mut answer = Vec::new();
        loop {
            let more = stream.read().await.expect("received");
            if more.is_empty() {
                break;
            }
            answer.extend_from_slice(&more);
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
        assert!(answer.ends_with("\r\n\r\nhi"), "{answer:?}");
        assert!(house.containers.connect(&pod.id, 9).await.is_err());
    });
    drop(inside);
    house.close();
}

fn pods_on_a_vpc() {
    let house = House::new("vpc");
    let directory = std::env::temp_dir().join(format!("xebec-vpc-{}", std::process::id()));
    let vpc = Vpc::create(&directory, VpcConfig::default()).expect("a VPC");
    let node = |name: &str, zone: &str| {
        house.neighbour(name, Arc::new(vpc.add_node(name, zone).expect("a node")))
    };
    let (one, two) = (node("one", "local-1a"), node("two", "local-1b"));
    let (server, client) = (one.sandbox("u1"), two.sandbox("u2"));
    let host = server.ips[0];
    let serve = one.start(&server.id, applet("serve", &["serve", "80"]));
    one.await_log(&serve, "serving");
    let address = format!("{host}:80");
    let ask = two.start(&client.id, applet("ask", &["ask", &address]));
    assert_eq!(two.wait(&ask).0, 0, "{}", two.log(&ask));
    assert_eq!(two.log(&ask), "HTTP/1.1 200 OK\n");
    let (_, hosts) = run_with(&two, &client.id, ("hosts", &["cat", "/etc/hosts"]), |_| ());
    assert!(
        hosts.contains(&format!("{}\tpod-u2", client.ips[0])),
        "{hosts:?}"
    );
    let path = "/good".into();
    let probe = Probe::Http {
        host,
        port: 80,
        path,
        https: false,
        headers: Vec::new(),
    };
    let probed = one.containers.probe(&probe, Duration::from_secs(2));
    assert_eq!(one.block(probed), Ok(()), "from the pod's own node");
    let seen = two.block(two.containers.observe()).expect("observed");
    assert!(
        seen.containers
            .iter()
            .all(|container| container.pod_uid == "u2"),
        "nodes are apart"
    );
    one.block(one.containers.remove_sandbox(&server.id))
        .expect("removed");
    two.block(two.containers.remove_sandbox(&client.id))
        .expect("removed");
    drop((one, two));
    house.close();
    Vpc::cleanup(&directory).expect("cleaned");
    let _ = fs::remove_dir_all(directory);
}

fn agent_restart() {
    let house = House::new("restart");
    let pod = house.sandbox("u1");
    let id = house.start(&pod.id, applet("ticks", &["ticks"]));
    house.await_log(&id, "tick 2");
    let before = house.status(&id);
    let House {
        state,
        cgroup,
        runtime,
        containers,
        ..
    } = house;
    drop(containers);
    drop(runtime);
    let house = House::open(state, cgroup, "/proc/self/ns/net".into());
    assert_eq!(house.status(&id), before);
    house.await_log(&id, "tick 30");
    let again = house.block(
        house
            .containers
            .create(&pod.id, &applet("ticks", &["ticks"])),
    );
    assert_eq!(again.as_deref(), Ok(id.as_str()));
    house
        .block(house.containers.stop(&id, Duration::ZERO))
        .expect("stopped");
    assert_eq!(house.wait(&id).0, 137);
    house.close();
}

fn kill_supervisor(house: &House) {
    let pid = house.supervisor_pid();
    // SAFETY: integers; the process is ours.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    while house.client.is_alive() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn supervisor_crash() {
    let house = House::new("crash");
    let pod = house.sandbox("u1");
    let id = house.start(&pod.id, applet("fork", &["fork"]));
    house.await_log(&id, "forked");
    kill_supervisor(&house);
    // The next request brings it back, and what it lost is known to have ended.
    assert_eq!(house.wait(&id).0, 137);
    let next = ContainerConfig {
        attempt: 1,
        ..applet("fork", &["print", "again"])
    };
    let next = house.start(&pod.id, next);
    assert_eq!(house.wait(&next).0, 0);
    house.close();
}

fn cleanup_after_crash() {
    let house = House::new("cleanup");
    let pod = house.sandbox("u1");
    let memory = VolumeSource::EmptyDir {
        memory: true,
        size_limit: None,
    };
    let volume = house
        .containers
        .prepare_volume("u1", "memory", &memory, None);
    house.block(volume).expect("prepared");
    let id = house.start(&pod.id, applet("fork", &["fork"]));
    house.await_log(&id, "forked");
    assert!(!cgroups_named(&house.cgroup).is_empty());
    assert!(
        node_linux::cleanup(&house.state).is_err(),
        "a supervisor runs"
    );
    kill_supervisor(&house);
    node_linux::cleanup(&house.state).expect("cleaned");
    house.check_clean();
}

fn image_store() {
    let house = House::new("store");
    let images = house.block(house.containers.images()).expect("images");
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].tags, ["docker.io/xebec/test:latest"]);
    let find = |name: &str| {
        house
            .block(house.containers.image(name))
            .expect("looked up")
    };
    let by_id = find(&images[0].id).expect("by id");
    assert_eq!(by_id, images[0]);
    assert_eq!(find(&images[0].digests[0]), Some(by_id.clone()));
    assert_eq!(find("xebec/test:other"), None);
    let pulled = house.block(house.containers.pull("127.0.0.1:1/none:1", &[]));
    let error = pulled.expect_err("no registry there");
    assert_eq!(error.reason, "ErrImagePull");
    assert!(
        error.message.starts_with("failed to pull and unpack image"),
        "{}",
        error.message
    );
    let pulled = house.block(house.containers.pull("Bad Name", &[]));
    assert_eq!(pulled.expect_err("no name").reason, "InvalidImageName");
    house.close();
}
