//! One cluster: the binary's process, its state in a folder of its own, its kubeconfig.
//!
//! Kills only the process it started, by its id, and deletes the cluster when dropped. Upstream
//! counterpart: `cluster/` scripts, kind.

use crate::{Output, binary, run, tool};
use serde_json::Value;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long a cluster may take from its start until it says it is ready.
const READY: Duration = Duration::from_secs(90);
/// How long a single client command may take; waits of their own are shorter.
const COMMAND: Duration = Duration::from_secs(150);
/// Between two looks at a state that is awaited.
const POLL: Duration = Duration::from_millis(200);

/// Clusters this process has started, so that names differ.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// A running cluster.
pub struct Cluster {
    name: String,
    folder: PathBuf,
    nodes: usize,
    port: u16,
    simulated: bool,
    server: Option<Child>,
}

/// True when this process may run real containers: it is root, and nothing asks for simulation
/// (`XEBEC_E2E=simulated`).
pub fn containers_possible() -> bool {
    let asked = env::var("XEBEC_E2E").is_ok_and(|value| value == "simulated");
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    root && !asked
}

impl Cluster {
    /// Starts a cluster and waits until it says it is ready.
    pub fn start(simulated: bool, nodes: usize) -> Self {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e-{}-{number}", std::process::id());
        let folder = env::temp_dir().join(&name);
        fs::create_dir_all(&folder).expect("a folder for the cluster's state");
        let mut cluster = Self {
            name,
            folder,
            nodes,
            port: 0,
            simulated,
            server: None,
        };
        cluster.launch();
        cluster
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A folder for files of the tests, removed with the cluster.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// True when its containers are simulated.
    pub fn simulated(&self) -> bool {
        self.simulated
    }

    /// Where the kubeconfig is.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.out")
    }

    fn base(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("XEBEC_HOME", self.folder.join("home"))
            .env("HOME", &self.folder);
        command
            .env("KUBECONFIG", self.kubeconfig())
            .current_dir(&self.folder);
        command
    }

    /// Starts the server's process, again on the port it had before, so that clients find it.
    pub fn launch(&mut self) {
        assert!(self.server.is_none(), "the server runs already");
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("a log file");
        let mut command = self.base(&binary());
        command.args([
            "up",
            "--name",
            &self.name,
            "--nodes",
            &self.nodes.to_string(),
        ]);
        command
            .args(["--port", &self.port.to_string()])
            .arg("--kubeconfig")
            .arg(self.kubeconfig());
        if self.simulated {
            command.arg("--simulated");
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        self.server = Some(command.spawn().expect("the binary starts"));
        self.await_ready();
    }

    fn await_ready(&mut self) {
        let start = Instant::now();
        loop {
            let ended = self
                .server
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            assert!(
                ended.is_none(),
                "the server ended with {ended:?}:\n{}",
                self.server_output()
            );
            let status = self.status();
            if status["ready"] == true {
                self.note_port(&status);
                return;
            }
            assert!(
                start.elapsed() < READY,
                "not ready: {status}\n{}",
                self.server_output()
            );
            thread::sleep(POLL);
        }
    }

    fn note_port(&mut self, status: &Value) {
        let server = status["server"].as_str().unwrap_or_default();
        let port = server
            .trim_end_matches('/')
            .rsplit(':')
            .next()
            .and_then(|text| text.parse().ok());
        self.port = port.unwrap_or_else(|| panic!("status gives no server with a port: {status}"));
    }

    /// What the server has said so far.
    pub fn server_output(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// `xebec status -o json`; null while there is none.
    pub fn status(&self) -> Value {
        let said = self.xebec(&["status", "--name", &self.name, "-o", "json"]);
        serde_json::from_str(&said.stdout).unwrap_or(Value::Null)
    }

    /// Runs the binary itself.
    pub fn xebec(&self, words: &[&str]) -> Output {
        run(self.base(&binary()).args(words), "", COMMAND).expect("the binary runs")
    }

    /// Runs kubectl.
    pub fn kubectl(&self, words: &[&str]) -> Output {
        self.kubectl_in(words, "")
    }

    /// Runs kubectl with something to read.
    pub fn kubectl_in(&self, words: &[&str], input: &str) -> Output {
        run(self.base(&tool("kubectl")).args(words), input, COMMAND).expect("kubectl runs")
    }

    /// Runs kubectl on the words of one line.
    pub fn k(&self, line: &str) -> Output {
        self.kubectl(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs helm on the words of one line.
    pub fn helm(&self, line: &str) -> Output {
        let words = line.split_whitespace();
        run(self.base(&tool("helm")).args(words), "", COMMAND).expect("helm runs")
    }

    /// Applies manifests; panics when refused.
    #[track_caller]
    pub fn apply(&self, manifests: &str) -> String {
        self.kubectl_in(&["apply", "-f", "-"], manifests).ok()
    }

    /// An object as JSON: `get` with these words.
    #[track_caller]
    pub fn json(&self, words: &str) -> Value {
        let text = self.k(&format!("get {words} -o json")).ok();
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    /// Looks until `wanted` holds; panics with `what` after the time.
    #[track_caller]
    pub fn until(&self, what: &str, time: Duration, mut wanted: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !wanted(self) {
            assert!(
                start.elapsed() < time,
                "after {time:?} still not: {what}\n{}",
                self.server_output()
            );
            thread::sleep(POLL);
        }
    }

    /// kill -9 of the server.
    pub fn kill(&mut self) {
        let mut child = self.server.take().expect("the server runs");
        child.kill().expect("the server can be killed");
        child.wait().expect("a killed process ends");
    }

    /// `xebec delete`, with all that it says.
    pub fn delete(&mut self) -> Output {
        let said = self.xebec(&["delete", "--name", &self.name]);
        self.reap();
        said
    }

    /// Notes that the server was asked to end and has done so.
    pub fn gone(&mut self) {
        self.reap();
    }

    /// Takes the server's exit, by force if it stays.
    fn reap(&mut self) {
        let Some(mut child) = self.server.take() else {
            return;
        };
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            thread::sleep(POLL);
        }
        // Already gone is as good.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.folder.join("home").exists() {
            self.delete();
        }
        self.reap();
        // A leftover folder in the temporary directory harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
