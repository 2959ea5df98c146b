//! Prints pods per second for the cases upstream's scheduler_perf measures.
//!
//! `cargo run --release -p scheduler --example throughput`

use env::Time;
use machinery::{Object, Value, json};
use reconcile::{Action, Brain, Change, Key, View};
use scheduler::Scheduler;
use std::{sync::Arc, time::Instant};

struct Bench {
    view: View,
    scheduler: Scheduler,
    revision: u64,
}

impl Bench {
    fn new(nodes: usize) -> Self {
        let view = View::new(reconcile::Snapshot::default(), &[]);
        let mut bench = Self {
            view,
            scheduler: Scheduler::default(),
            revision: 0,
        };
        for number in 0..nodes {
            let name = format!("node-{number:05}");
            bench.set(
                "nodes",
                json!({
                    "metadata": {"name": &name, "uid": &name, "labels": {
                        "kubernetes.io/hostname": &name,
                        "topology.kubernetes.io/zone": format!("zone-{}", number % 3)}},
                    "status": {"allocatable": {"cpu": "16", "memory": "64Gi", "pods": "110"}},
                }),
            );
        }
        bench
    }

    fn set(&mut self, resource: &'static str, value: Value) {
        self.revision += 1;
        let key = Key::new(value.namespace(), value.name());
        let old = self.view.snapshot().get(resource, &key).cloned();
        let new = Some(Arc::new(Object::new(&value, self.revision)));
        let change = Change {
            revision: self.revision,
            resource: resource.into(),
            key,
            old,
            new,
        };
        self.view.advance(&change);
        self.scheduler.observe(&self.view, &change);
    }

    fn run(&mut self, what: &str, pods: usize, spec: &Value) {
        for number in 0..pods {
            let name = format!("{what}-{number:06}").replace(' ', "-");
            self.set(
                "pods",
                json!({
                    "metadata": {"name": &name, "namespace": "bench", "uid": &name,
                        "labels": {"app": what, "pod-template-hash": "1"}},
                    "spec": spec,
                }),
            );
        }
        let (started, mut bound, mut deciding) = (Instant::now(), 0, 0.0);
        while bound < pods {
            let round = Instant::now();
            let decision = self
                .scheduler
                .decide(&self.view, Time::from_unix_seconds(1_700_000_000));
            deciding += round.elapsed().as_secs_f64();
            assert!(!decision.work.is_empty(), "{what}: stuck at {bound}");
            for work in decision.work {
                bound += self.bind(&work.actions[0]);
                self.scheduler
                    .finished(work.id, Ok(self.revision), Time::default());
            }
        }
        let rate = pods as f64 / started.elapsed().as_secs_f64();
        println!(
            "{what:28} {pods:6} pods  {rate:9.0} pods/s  ({:.0} deciding only)",
            pods as f64 / deciding
        );
    }

    fn bind(&mut self, action: &Action) -> usize {
        let Action::Create { target, object, .. } = action else {
            return 0;
        };
        let mut pod = self
            .view
            .get("pods", "bench", &target.name)
            .expect("known")
            .root()
            .to_value();
        pod.set_at(&["spec", "nodeName"], object["target"]["name"].str());
        self.set("pods", pod);
        1
    }
}

fn main() {
    let plain = json!({"containers": [{"name": "c", "image": "pause",
        "resources": {"requests": {"cpu": "100m", "memory": "100Mi"}}}]});
    Bench::new(100).run("100 nodes", 3000, &plain);
    Bench::new(5000).run("5000 nodes", 20_000, &plain);
    for (what, field, kind, key) in [
        (
            "anti-affinity host",
            "affinity",
            "podAntiAffinity",
            "kubernetes.io/hostname",
        ),
        (
            "affinity zone",
            "affinity",
            "podAffinity",
            "topology.kubernetes.io/zone",
        ),
    ] {
        let mut spec = plain.clone();
        spec[field][kind] = json!({"requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": what}}, "topologyKey": key}]});
        Bench::new(5000).run(what, 4000, &spec);
    }
    for (what, when) in [
        ("spread hard", "DoNotSchedule"),
        ("spread soft", "ScheduleAnyway"),
    ] {
        let mut spec = plain.clone();
        let constraint = |key: &str| {
            json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when,
            "labelSelector": {"matchLabels": {"app": what}}})
        };
        spec["topologySpreadConstraints"] = json!([
            constraint("topology.kubernetes.io/zone"),
            constraint("kubernetes.io/hostname")
        ]);
        Bench::new(5000).run(what, 5000, &spec);
    }
}
