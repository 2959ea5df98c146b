//! The server under measurement: its process, its clients, its cost.
//!
//! Knows `/proc` and connections, not what is sent over them.

use contract_tests::{Api, Connection};
use e2e_tests::Cluster;
use std::{
    fs,
    time::{Duration, Instant},
};

/// Content type of plain bodies.
pub const JSON: &str = "application/json";

/// A cluster of one simulated node and a namespace, deleted when dropped.
pub struct Subject {
    /// The cluster.
    pub cluster: Cluster,
    /// A client.
    pub api: Api,
    pid: i64,
}

/// What something took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// CPU of the server, milliseconds.
    pub cpu: f64,
    /// Time, milliseconds.
    pub wall: f64,
}

impl Subject {
    /// Starts one.
    pub fn start() -> Self {
        let cluster = Cluster::start(true, 1);
        let api = Api::of(&cluster);
        let pid = pid(&cluster);
        let subject = Self { cluster, api, pid };
        let namespace = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"bench"}}"#;
        let mut wire = subject.wire();
        call(&mut wire, "POST", "/api/v1/namespaces", JSON, namespace);
        await_account(&mut wire);
        subject
    }

    /// The same cluster after kill -9 and a new start.
    pub fn restart(&mut self) {
        self.cluster.kill();
        self.cluster.launch();
        self.pid = pid(&self.cluster);
    }

    /// A connection that is kept.
    pub fn wire(&self) -> Connection {
        self.api.keep().expect("a connection")
    }

    /// CPU the server has taken, milliseconds: what the scheduler counted of each of its threads,
    /// not the clock ticks of `/proc/PID/stat`, which miss what is shorter than a tick.
    pub fn cpu_ms(&self) -> f64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).expect("the server lives");
        let taken = |thread: fs::DirEntry| {
            // A thread that has ended meanwhile has done next to nothing.
            let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let nanoseconds = text.split(' ').next().unwrap_or_default();
            nanoseconds.parse::<f64>().unwrap_or(0.0)
        };
        threads.flatten().map(taken).sum::<f64>() / 1e6
    }

    /// Resident memory, MiB.
    pub fn memory_mib(&self) -> f64 {
        let text =
            fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("the server lives");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap_or("0").trim().trim_end_matches("kB").trim();
        kib.parse::<f64>().unwrap_or(0.0) / 1024.0
    }

    /// What `work` takes.
    pub fn cost(&self, work: impl FnOnce()) -> Cost {
        let (cpu, since) = (self.cpu_ms(), Instant::now());
        work();
        Cost {
            cpu: self.cpu_ms() - cpu,
            wall: since.elapsed().as_secs_f64() * 1e3,
        }
    }

    /// What one of `count` requests on one connection takes.
    pub fn each(&self, count: usize, mut request: impl FnMut(&mut Connection, usize)) -> Cost {
        let mut wire = self.wire();
        let all = self.cost(|| (0..count).for_each(|at| request(&mut wire, at)));
        all.over(count)
    }

    /// What one of `count` requests takes when several clients share them.
    pub fn shared(
        &self,
        clients: usize,
        count: usize,
        request: impl Fn(&mut Connection, usize) + Sync,
    ) -> Cost {
        let wires: Vec<_> = (0..clients).map(|_| self.wire()).collect();
        let all = self.cost(|| {
            std::thread::scope(|scope| {
                for (client, mut wire) in wires.into_iter().enumerate() {
                    let request = &request;
                    scope.spawn(move || {
                        (client..count)
                            .step_by(clients)
                            .for_each(|at| request(&mut wire, at));
                    });
                }
            });
        });
        all.over(count)
    }
}

impl Cost {
    fn over(self, count: usize) -> Self {
        Self {
            cpu: self.cpu / count as f64,
            wall: self.wall / count as f64,
        }
    }
}

fn pid(cluster: &Cluster) -> i64 {
    let status = cluster.status();
    status["pid"].as_i64().expect("status names the process")
}

/// Pods need the account that a controller makes in each new namespace.
fn await_account(wire: &mut Connection) {
    const TRIES: usize = 500;
    let path = "/api/v1/namespaces/bench/serviceaccounts/default";
    for _ in 0..TRIES {
        let answer = wire.call("GET", path, JSON, b"");
        if answer.is_ok_and(|(code, _)| code == 200) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the namespace has no account");
}

/// Sends a request that must succeed; the size of the answer.
pub fn call(wire: &mut Connection, method: &str, path: &str, form: &str, body: &str) -> usize {
    let answer = wire.call(method, path, form, body.as_bytes());
    let (code, size) = answer.expect("an answer");
    assert!((200..300).contains(&code), "{method} {path}: {code}");
    size
}
