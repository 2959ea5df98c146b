//! Measures what one request costs behind the wire: the door, the store and every controller
//! that reacts, on a simulated disk.
//!
//! `cargo run --release -p rehearse --example requests -- [count] [only this request]`

use machinery::{Value, json};
use mimalloc::MiMalloc;
use registry::{Call, PatchKind, Verb};
use rehearse::{Cluster, ClusterPlan, NodePlan};
use std::{env, fs, time::Duration};

/// As the binary.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const PODS: &str = "pods";
const DEPLOYMENTS: &str = "deployments.apps";
const LEASES: &str = "leases.coordination.k8s.io";

fn pod(at: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p{at}"), "labels": {"app": "web", "n": at.to_string()}},
        "spec": {"schedulerName": "none", "containers": [{"name": "c", "image": "nginx:1", "env": [{"name": "A", "value": "b"}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}, "ports": [{"containerPort": 80}],
            "readinessProbe": {"httpGet": {"path": "/", "port": 80}}}]}})
}

fn deployment(image: usize) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 0, "paused": true, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": format!("nginx:{image}"), "ports": [{"containerPort": 80}]}]}}}})
}

fn time(at: usize) -> String {
    let (hours, minutes, seconds) = (at / 3600 % 24, at / 60 % 60, at % 60);
    format!("2026-01-01T{hours:02}:{minutes:02}:{seconds:02}.000000Z")
}

fn ready(at: usize) -> Value {
    json!({"status": {"phase": "Running", "message": at.to_string()}})
}

/// Nanoseconds of processor time of this thread, the only one: other programs do not count.
fn cpu() -> u64 {
    let times = fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux");
    let first = times.split(' ').next().expect("three numbers");
    first.parse().expect("a number")
}

struct Bench {
    cluster: Cluster,
    count: usize,
    only: Option<String>,
}

impl Bench {
    fn request(&self, verb: Verb, resource: &str, name: &str) -> Call {
        let request = self.cluster.request(verb, resource, ("default", name));
        request.expect("a served resource")
    }

    fn patch(&self, resource: &str, name: &str, kind: PatchKind, patch: Value) -> Call {
        let mut call = self
            .request(Verb::Patch, resource, name)
            .with_patch(kind, patch);
        call.options.force = kind == PatchKind::Apply;
        call
    }

    fn measure(&self, what: &str, call: impl Fn(&Self, usize) -> Call) {
        if self.only.as_ref().is_some_and(|only| only != what) {
            return;
        }
        let since = cpu();
        for at in 0..self.count {
            self.cluster.call(call(self, at)).expect("an answer");
        }
        self.cluster.run_for(Duration::from_secs(1));
        let each = (cpu() - since) as f64 / 1e3 / self.count as f64;
        println!("{what}: {each:.1} us");
    }
}

fn main() {
    let mut arguments = env::args().skip(1);
    let count = arguments
        .next()
        .map_or(2000, |text| text.parse().expect("a number"));
    let mut cluster = Cluster::start(ClusterPlan::default()).expect("the platform starts");
    let added = cluster.add_node(NodePlan::new("node"));
    added.expect("its name is its own");
    cluster.run_for(Duration::from_secs(20));
    let bench = Bench {
        cluster,
        count,
        only: arguments.next(),
    };
    let first = |bench: &Bench, resource: &str, object: Value| {
        let call = bench
            .request(Verb::Create, resource, "")
            .with_object(object);
        bench.cluster.call(call).expect("is new");
    };
    first(&bench, PODS, pod(count));
    first(
        &bench,
        LEASES,
        json!({"metadata": {"name": "n"}, "spec": {"holderIdentity": "n", "renewTime": time(count)}}),
    );
    first(&bench, DEPLOYMENTS, deployment(0));
    bench.measure("create", |bench, at| {
        bench.request(Verb::Create, PODS, "").with_object(pod(at))
    });
    let name = format!("p{count}");
    bench.measure("get", |bench, _| bench.request(Verb::Get, PODS, &name));
    bench.measure("status", |bench, at| {
        bench
            .patch(PODS, &name, PatchKind::Strategic, ready(at))
            .on("status")
    });
    bench.measure("renew", |bench, at| {
        let lease = bench.cluster.get(LEASES, "default", "n");
        let mut lease = lease.expect("it was created").shown();
        lease.set_at(&["spec", "renewTime"], time(at));
        bench.request(Verb::Update, LEASES, "n").with_object(lease)
    });
    bench.measure("merge", |bench, at| {
        let patch = json!({"spec": {"holderIdentity": "n", "renewTime": time(at)}});
        bench.patch(LEASES, "n", PatchKind::Merge, patch)
    });
    bench.measure("apply", |bench, at| {
        bench.patch(DEPLOYMENTS, "d", PatchKind::Apply, deployment(at))
    });
    bench.measure("apply unchanged", |bench, _| {
        bench.patch(DEPLOYMENTS, "d", PatchKind::Apply, deployment(count - 1))
    });
}
