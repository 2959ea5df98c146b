//! One kubelet with a scripted API server and runtime, in virtual time.

use super::{Api, Runtime, State};
use env::Time;
use kubelet::{Kubelet, KubeletConfig};
use machinery::{Value, json};
use sim_env::Sim;
use std::{sync::Arc, time::Duration};

pub struct Node {
    pub sim: Sim,
    pub api: Arc<Api>,
    pub runtime: Arc<Runtime>,
    config: KubeletConfig,
    pub kubelet: Arc<Kubelet>,
}

/// A node named `n` with room for ten pods.
pub fn config(cpu: &str, memory: &str) -> KubeletConfig {
    KubeletConfig {
        node_name: "n".into(),
        hostname: "n".into(),
        internal_ips: vec!["10.0.0.1".parse().unwrap()],
        capacity: [("cpu", cpu), ("memory", memory), ("pods", "10")]
            .map(|(name, amount)| (name.to_owned(), amount.to_owned()))
            .into(),
        ..KubeletConfig::default()
    }
}

impl Node {
    pub fn start(config: KubeletConfig) -> Self {
        let sim = Sim::new(7, Time::from_unix_seconds(1_700_000_000));
        let api = Arc::new(Api::default());
        let runtime = Arc::new(Runtime {
            world: sim.world(),
            state: State::default().into(),
        });
        let kubelet = Kubelet::start(sim.world(), config.clone(), api.clone(), runtime.clone());
        let node = Self {
            sim,
            api,
            runtime,
            config,
            kubelet,
        };
        node.pass(100);
        node
    }

    /// The agent ends; what it ran goes on.
    pub fn stop(&self) {
        self.kubelet.stop();
        self.pass(50);
    }

    /// Another agent takes the place of the one that ended.
    pub fn start_again(&mut self) {
        let (api, runtime) = (self.api.clone(), self.runtime.clone());
        self.kubelet = Kubelet::start(self.sim.world(), self.config.clone(), api, runtime);
        self.pass(500);
    }

    pub fn pass(&self, millis: u64) {
        let world = self.sim.world();
        self.sim
            .block_on(async move { world.sleep(Duration::from_millis(millis)).await });
    }

    /// A pending pod.
    pub fn put(&self, name: &str, spec: Value) {
        self.api.put("pods", json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "d", "uid": name, "generation": 1, "labels": {"app": name}},
            "spec": spec, "status": {"phase": "Pending"},
        }));
    }

    pub fn pod(&self, name: &str) -> Value {
        self.api.read("pods", "d", name).expect("the pod exists")
    }

    /// A condition of a pod's, whole.
    pub fn condition(&self, name: &str, kind: &str) -> Value {
        let pod = self.pod(name);
        let mut all = pod["status"]["conditions"].items().iter();
        let found = all.find(|one| one["type"].str() == kind);
        found.cloned().unwrap_or_default()
    }

    pub fn saw(&self, event: &str) -> bool {
        let events = self.api.events.lock().unwrap();
        events.iter().any(|seen| seen.starts_with(event))
    }
}
