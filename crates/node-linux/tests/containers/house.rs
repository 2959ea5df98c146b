//! One supervisor, one node, one image, for a test case; checks that nothing stays behind.

use env::*;
use node_linux::{
    BinaryImage, ImageStore, LinuxContainers, PodNetwork, RunConfig, RuntimeConfig,
    SupervisorClient, spawn_supervisor,
};
use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub const IMAGE: &str = "xebec/test:latest";

struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Time {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        Time(since.as_micros() as u64)
    }

    fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(deadline.since(self.now())))
    }
}

struct Counter(AtomicU64);

impl Entropy for Counter {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

struct TokioTasks;

impl Tasks for TokioTasks {
    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) {
        tokio::spawn(future);
    }
}

/// Pods get no interface but their loopback; the "node" is a pod's namespace or the host's.
pub struct Loopback(PathBuf);

impl PodNetwork for Loopback {
    fn attach(&self, _: &str, _: &Path, _: &[HostPort]) -> RuntimeResult<Vec<IpAddr>> {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }

    fn detach(&self, _pod_uid: &str) {}

    fn node_netns(&self) -> &Path {
        &self.0
    }
}

pub struct House {
    pub state: PathBuf,
    pub cgroup: String,
    pub client: SupervisorClient,
    pub runtime: tokio::runtime::Runtime,
    pub containers: LinuxContainers,
}

fn image_directory() -> PathBuf {
    std::env::temp_dir().join(format!("xebec-test-images-{}", std::process::id()))
}

/// Building the image takes longer than a test case; all cases share it by links.
fn share_images(state: &Path) {
    let shared = image_directory();
    if !shared.join("images").exists() {
        let store = ImageStore::open(&shared).expect("a store");
        let me = std::env::current_exe().expect("own path");
        let image = BinaryImage {
            reference: IMAGE,
            name: "app",
            applets: &["sh"],
            config: RunConfig {
                entrypoint: vec!["app".into(), "applet".into()],
                env: vec!["FROM_IMAGE=yes".into()],
                ..RunConfig::default()
            },
        };
        store.import_binary(&me, &image).expect("an image");
    }
    fs::create_dir_all(state).expect("a directory");
    std::os::unix::fs::symlink(shared.join("images"), state.join("images")).expect("a link");
}

/// Ends what failed cases left, and removes what all shared.
pub fn tidy_up() {
    let suffix = format!("-{}", std::process::id());
    for entry in fs::read_dir(std::env::temp_dir())
        .expect("readable")
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("xebec-test-") && name.ends_with(&suffix) {
            // A supervisor that is gone already cannot shut down; then its records are enough.
            let _ = SupervisorClient::new(entry.path().join("socket")).shutdown();
            let _ = node_linux::cleanup(&entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl House {
    pub fn new(name: &str) -> Self {
        let unique = format!("{name}-{}", std::process::id());
        let state = std::env::temp_dir().join(format!("xebec-test-{unique}"));
        share_images(&state);
        Self::open(
            state,
            format!("xebec-test-{unique}"),
            PathBuf::from("/proc/self/ns/net"),
        )
    }

    pub fn open(state: PathBuf, cgroup: String, node_netns: PathBuf) -> Self {
        Self::on_node(state, cgroup, "node-1", Arc::new(Loopback(node_netns)))
    }

    /// The runtime of another node on the same supervisor.
    pub fn neighbour(&self, node: &str, network: Arc<dyn PodNetwork>) -> Self {
        Self::on_node(self.state.clone(), self.cgroup.clone(), node, network)
    }

    fn on_node(state: PathBuf, cgroup: String, node: &str, network: Arc<dyn PodNetwork>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let me = std::env::current_exe().expect("own path");
        let command = [me.to_str().expect("text"), "node-supervisor"];
        let client = spawn_supervisor(&command, &state.join("socket"), &state).expect("running");
        let world = World {
            clock: Arc::new(RealClock),
            entropy: Arc::new(Counter(AtomicU64::new(1))),
            tasks: Arc::new(TokioTasks),
        };
        let config = RuntimeConfig {
            node: node.into(),
            state: state.clone(),
            cgroup: cgroup.clone(),
        };
        let guard = runtime.enter();
        let containers = LinuxContainers::new(world, config, client.clone(), network);
        drop(guard);
        Self {
            state,
            cgroup,
            client,
            runtime,
            containers: containers.expect("a runtime"),
        }
    }

    pub fn block<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn sandbox(&self, uid: &str) -> SandboxStatus {
        self.sandbox_with(SandboxConfig {
            uid: uid.into(),
            ..SandboxConfig::default()
        })
    }

    pub fn sandbox_with(&self, mut config: SandboxConfig) -> SandboxStatus {
        config.namespace = "default".into();
        config.name = format!("pod-{}", config.uid);
        config.hostname = config.name.clone();
        config.resolv_conf = "nameserver 10.0.0.10\n".into();
        self.block(self.containers.run_sandbox(&config))
            .expect("a sandbox")
    }

    /// Creates and starts a container that runs an applet.
    pub fn start(&self, sandbox: &str, config: ContainerConfig) -> String {
        let id = self
            .block(self.containers.create(sandbox, &config))
            .expect("created");
        self.block(self.containers.start(&id)).expect("started");
        id
    }

    pub fn status(&self, id: &str) -> ContainerStatus {
        let all = self.block(self.containers.observe()).expect("observed");
        all.containers
            .into_iter()
            .find(|found| found.id == id)
            .expect("on record")
    }

    /// Waits for the end: exit code, reason, message.
    pub fn wait(&self, id: &str) -> (i32, &'static str, String) {
        const LIMIT: Duration = Duration::from_secs(20);
        let start = std::time::Instant::now();
        while start.elapsed() < LIMIT {
            let state = self.status(id).state;
            if let ContainerState::Exited {
                exit_code,
                reason,
                message,
                ..
            } = state
            {
                return (exit_code, reason, message);
            }
            let changed = self.containers.changed();
            let _ = self.block(async { tokio::time::timeout(LIMIT, changed).await });
        }
        panic!("the container does not end");
    }

    pub fn log(&self, id: &str) -> String {
        self.log_with(id, LogOptions::default())
    }

    pub fn log_with(&self, id: &str, options: LogOptions) -> String {
        self.block(async {
            let reader = self.containers.logs(id, &options).await.expect("a log");
            let mut text = Vec::new();
            while let Some(more) = reader.read().await.expect("readable") {
                text.extend(more);
            }
            String::from_utf8(text).expect("text")
        })
    }

    /// Waits until the log contains a text.
    pub fn await_log(&self, id: &str, text: &str) {
        for _ in 0..1000 {
            if self.log(id).contains(text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{text:?} never appears in the log: {:?}", self.log(id));
    }

    pub fn supervisor_pid(&self) -> i32 {
        let socket = self.state.join("socket");
        let wanted = socket.to_str().expect("text");
        let processes = fs::read_dir("/proc").expect("proc").flatten();
        let is_it = |entry: &fs::DirEntry| {
            let line = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            line.contains("node-supervisor") && line.contains(wanted)
        };
        let entry = processes.into_iter().find(is_it).expect("a supervisor");
        entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            .expect("a pid")
    }

    /// Shuts down and checks that nothing is left.
    pub fn close(self) {
        self.client.shutdown().expect("shut down");
        self.check_clean();
    }

    pub fn check_clean(self) {
        drop(self.containers);
        drop(self.runtime);
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let state = self.state.to_str().expect("text");
        let left: Vec<_> = mounts.lines().filter(|line| line.contains(state)).collect();
        assert!(left.is_empty(), "mounts left: {left:?}");
        let groups = cgroups_named(&self.cgroup);
        assert!(groups.is_empty(), "control groups left: {groups:?}");
        for name in ["sandboxes", "containers", "logs", "pods", "trash"] {
            assert!(!self.state.join(name).exists(), "{name} left");
        }
        fs::remove_dir_all(&self.state).expect("removed");
    }
}

pub fn cgroups_named(name: &str) -> Vec<PathBuf> {
    let roots = fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten();
    let roots = roots
        .map(|entry| entry.path())
        .chain([PathBuf::from("/sys/fs/cgroup")]);
    roots
        .map(|root| root.join(name))
        .filter(|path| path.exists())
        .collect()
}

/// A container that runs an applet with arguments.
pub fn applet(name: &str, arguments: &[&str]) -> ContainerConfig {
    ContainerConfig {
        name: name.into(),
        image: IMAGE.into(),
        args: arguments.iter().map(|word| word.to_string()).collect(),
        security: Security {
            allow_privilege_escalation: true,
            ..Security::default()
        },
        ..ContainerConfig::default()
    }
}

pub fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| word.to_string()).collect()
}

pub fn files(list: &[(&str, &str)]) -> VolumeSource {
    let entry = |(name, text): &(&str, &str)| (name.to_string(), (text.as_bytes().to_vec(), 0o644));
    let files: BTreeMap<_, _> = list.iter().map(entry).collect();
    VolumeSource::Files { files }
}
