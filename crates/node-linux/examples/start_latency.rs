//! Compares a whole container life (create, start, run, wait, remove) in this runtime with crun,
//! interleaved in one loop. Needs root. crun refuses to run beside a version 2 tree that has
//! controllers; hide that tree from both:
//!
//! `unshare -m sh -c 'umount /sys/fs/cgroup/unified; exec start_latency 50'`

use env::*;
use node_linux::{
    BinaryImage, ImageStore, LinuxContainers, PodNetwork, RunConfig, RuntimeConfig,
    spawn_supervisor,
};
use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Rounds without an argument.
const ROUNDS: usize = 30;

struct Now;

impl Clock for Now {
    fn now(&self) -> Time {
        Time(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_micros() as u64,
        )
    }

    fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(deadline.since(self.now())))
    }
}

impl Entropy for Now {
    fn next_u64(&self) -> u64 {
        self.now().0
    }
}

impl Tasks for Now {
    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) {
        tokio::spawn(future);
    }
}

impl PodNetwork for Now {
    fn attach(&self, _: &str, _: &Path, _: &[HostPort]) -> RuntimeResult<Vec<IpAddr>> {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }

    fn detach(&self, _pod_uid: &str) {}

    fn node_netns(&self) -> &Path {
        Path::new("/proc/self/ns/net")
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("node-supervisor") => std::process::exit(node_linux::supervisor_main(&arguments[2..])),
        Some("hello") => println!("x"),
        rounds => {
            let rounds = rounds.and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
            compare(rounds);
        }
    }
}

fn compare(rounds: usize) {
    let state = std::env::temp_dir().join(format!("xebec-latency-{}", std::process::id()));
    let store = ImageStore::open(&state).expect("a store");
    let me = std::env::current_exe().expect("own path");
    let config = RunConfig {
        entrypoint: vec!["app".into(), "hello".into()],
        ..RunConfig::default()
    };
    let image = BinaryImage {
        reference: "latency",
        name: "app",
        applets: &[],
        config,
    };
    let image = store.import_binary(&me, &image).expect("an image");
    let bundle = make_bundle(&state, &image.layers[0]);
    let command = [me.to_str().expect("text"), "node-supervisor"];
    let client = spawn_supervisor(&command, &state.join("socket"), &state).expect("running");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (mut own, mut other) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        let env = Arc::new(Now);
        let world = World {
            clock: env.clone(),
            entropy: env.clone(),
            tasks: env.clone(),
        };
        let config = RuntimeConfig {
            node: "n".into(),
            state: state.clone(),
            cgroup: format!("xebec-latency-{}", std::process::id()),
        };
        let containers = LinuxContainers::new(world, config, client.clone(), env).expect("ready");
        let pod = SandboxConfig {
            uid: "u".into(),
            ..SandboxConfig::default()
        };
        let pod = containers.run_sandbox(&pod).await.expect("a sandbox").id;
        for round in 0..rounds {
            own.push(live(&containers, &pod, round as u32).await);
            other.push(live_in_crun(&bundle, round));
        }
    });
    client.shutdown().expect("shut down");
    fs::remove_dir_all(&state).expect("removed");
    report("this runtime", own);
    report("crun", other.into_iter().flatten().collect());
}

async fn live(containers: &LinuxContainers, pod: &str, attempt: u32) -> Duration {
    let config = ContainerConfig {
        name: "c".into(),
        attempt,
        image: "latency".into(),
        ..ContainerConfig::default()
    };
    let start = Instant::now();
    let id = containers.create(pod, &config).await.expect("created");
    containers.start(&id).await.expect("started");
    loop {
        let seen = containers.observe().await.expect("observed");
        let ended = |found: &ContainerStatus| matches!(found.state, ContainerState::Exited { .. });
        if seen
            .containers
            .iter()
            .any(|found| found.id == id && ended(found))
        {
            break;
        }
        containers.changed().await;
    }
    containers.remove(&id).await.expect("removed");
    start.elapsed()
}

fn make_bundle(state: &Path, layer: &str) -> PathBuf {
    let bundle = state.join("bundle");
    fs::create_dir_all(&bundle).expect("created");
    // Without crun there is nothing to compare with; `live_in_crun` says so.
    let _ = Command::new("crun")
        .arg("spec")
        .current_dir(&bundle)
        .status();
    let path = bundle.join("config.json");
    if let Ok(bytes) = fs::read(&path) {
        let mut spec: serde_json::Value = serde_json::from_slice(&bytes).expect("a bundle");
        spec["root"]["path"] = state.join("images/layers").join(layer).to_str().into();
        spec["process"]["args"] = serde_json::json!(["/bin/app", "hello"]);
        spec["process"]["terminal"] = false.into();
        fs::write(path, serde_json::to_vec(&spec).expect("plain data")).expect("written");
    }
    bundle
}

fn live_in_crun(bundle: &Path, round: usize) -> Option<Duration> {
    let start = Instant::now();
    let name = format!("xebec-latency-{round}");
    let output = Command::new("crun")
        .args(["run", "--bundle"])
        .arg(bundle)
        .arg(name)
        .output();
    match output {
        Ok(output) if output.status.success() => Some(start.elapsed()),
        Ok(output) => {
            eprintln!("crun: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            eprintln!("crun: {error}");
            None
        }
    }
}

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    if let (Some(median), Some(late)) =
        (times.get(times.len() / 2), times.get(times.len() * 9 / 10))
    {
        println!(
            "{name}: median {median:?}, 90 % below {late:?}, {} rounds",
            times.len()
        );
    }
}
