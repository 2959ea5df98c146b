//! What the server costs: start, memory, CPU per request, beside nothing but itself.
//!
//! Runs the binary beside it (`cargo run --release -p benches` after `cargo build --release -p
//! xebec`, or `$XEBEC_BIN`) with simulated containers
//! and prints a table. CPU is the server process's own, user and system, from `/proc`; wall
//! times are of one client on one kept connection. Absolute numbers are the machine's; compare
//! rows of one run. Container start beside crun: `cargo run --release -p node-linux --example
//! start_latency`; scheduling: `cargo run --release -p scheduler --example throughput`.

use contract_tests::{Api, Connection};
use e2e_tests::Cluster;
use std::{fs, time::Instant};

/// Pods created and listed.
const PODS: usize = 5_000;
/// Requests of the other kinds.
const REQUESTS: usize = 2_000;
/// Lists taken.
const LISTS: usize = 20;
const JSON: &str = "application/json";
const APPLY: &str = "application/apply-patch+yaml";
const PODS_PATH: &str = "/api/v1/namespaces/bench/pods";
/// `/proc/PID/stat` counts in hundredths of a second on Linux.
const TICK_MS: f64 = 10.0;

/// The server under measurement.
struct Server {
    pid: i64,
    wire: Connection,
}

impl Server {
    fn cpu_ms(&self) -> f64 {
        let text =
            fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("the server lives");
        let fields: Vec<&str> = text
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks: f64 = fields[11..13]
            .iter()
            .map(|field| field.parse::<f64>().unwrap_or(0.0))
            .sum();
        ticks * TICK_MS
    }

    fn memory_mib(&self) -> f64 {
        let text =
            fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("the server lives");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap_or("0");
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<f64>()
            .unwrap_or(0.0)
            / 1024.0
    }

    fn call(&mut self, method: &str, path: &str, form: &str, body: &str) {
        let (code, _) = self
            .wire
            .call(method, path, form, body.as_bytes())
            .expect("an answer");
        assert!((200..300).contains(&code), "{method} {path}: {code}");
    }

    /// Prints CPU and wall time of one of `count` requests.
    fn measure(&mut self, what: &str, count: usize, mut request: impl FnMut(&mut Self, usize)) {
        let (cpu, since) = (self.cpu_ms(), Instant::now());
        (0..count).for_each(|at| request(self, at));
        let wall = since.elapsed().as_secs_f64() * 1e3;
        let each = |total: f64| total / count as f64;
        println!(
            "| {what} | {:.3} | {:.3} |",
            each(self.cpu_ms() - cpu),
            each(wall)
        );
    }
}

fn pod(at: usize) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p{at}","labels":{{"app":"web","n":"{at}"}}}},"spec":{{"schedulerName":"none","containers":[{{"name":"c","image":"nginx:1","env":[{{"name":"A","value":"b"}}],"resources":{{"requests":{{"cpu":"100m","memory":"64Mi"}}}},"ports":[{{"containerPort":80}}],"readinessProbe":{{"httpGet":{{"path":"/","port":80}}}}}}]}}}}"#
    )
}

fn deployment(at: usize) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"d"}},"spec":{{"replicas":0,"paused":true,"selector":{{"matchLabels":{{"a":"b"}}}},"template":{{"metadata":{{"labels":{{"a":"b"}}}},"spec":{{"containers":[{{"name":"c","image":"nginx:{at}","ports":[{{"containerPort":80}}]}}]}}}}}}}}"#
    )
}

fn main() {
    let size = fs::metadata(e2e_tests::binary())
        .expect("the binary is built")
        .len();
    println!("binary: {:.1} MB", size as f64 / 1e6);
    let since = Instant::now();
    let mut cluster = Cluster::start(true, 1);
    println!(
        "cluster of one simulated node ready for its user after {:.0?}",
        since.elapsed()
    );
    println!("{}", cluster.server_output().trim_end());
    let wire = Api::of(&cluster).keep().expect("a connection");
    let pid = cluster.status()["pid"]
        .as_i64()
        .expect("status names the process");
    let mut server = Server { pid, wire };
    println!(
        "\nresident memory at rest: {:.1} MiB\n",
        server.memory_mib()
    );
    server.call(
        "POST",
        "/api/v1/namespaces",
        JSON,
        r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"bench"}}"#,
    );
    std::thread::sleep(std::time::Duration::from_secs(1));
    println!("| request | CPU ms | wall ms |\n|---|---|---|");
    server.measure("create a pod", PODS, |server, at| {
        server.call("POST", PODS_PATH, JSON, &pod(at));
    });
    server.measure("get a pod", REQUESTS, |server, at| {
        server.call("GET", &format!("{PODS_PATH}/p{at}"), JSON, "");
    });
    server.measure("list 5,000 pods", LISTS, |server, _| {
        server.call("GET", PODS_PATH, JSON, "");
    });
    let path = "/apis/apps/v1/namespaces/bench/deployments/d?fieldManager=bench&force=true";
    server.measure("apply a changed deployment", REQUESTS, |server, at| {
        server.call("PATCH", path, APPLY, &deployment(at));
    });
    let last = deployment(REQUESTS - 1);
    server.measure("apply an unchanged deployment", REQUESTS, |server, _| {
        server.call("PATCH", path, APPLY, &last);
    });
    println!(
        "\nresident memory with {PODS} pods: {:.1} MiB",
        server.memory_mib()
    );
    cluster.delete();
}
