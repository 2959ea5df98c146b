//! The API server's way into pods: the kubelets of this process.

use apiserver::{ContainerRef, Nodes};
use env::{
    BoxFuture, ByteStream, LogOptions, LogReader, PodDialer, PodPort, RuntimeError, RuntimeResult,
    Session, StreamOptions,
};
use kubelet::Kubelet;
use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
};

/// Kubelets by node name.
#[derive(Default)]
pub struct Kubelets(RwLock<BTreeMap<String, Arc<Kubelet>>>);

impl Kubelets {
    /// Adds a node's agent.
    pub fn add(&self, kubelet: Arc<Kubelet>) {
        let mut all = self.0.write().expect("no holder panics");
        all.insert(kubelet.node_name().to_owned(), kubelet);
    }

    /// Ends all agents.
    pub fn stop(&self) {
        self.0
            .read()
            .expect("no holder panics")
            .values()
            .for_each(|kubelet| kubelet.stop());
    }

    fn of(&self, node: &str) -> RuntimeResult<Arc<Kubelet>> {
        let all = self.0.read().expect("no holder panics");
        all.get(node)
            .cloned()
            .ok_or_else(|| RuntimeError::new("NotFound", format!("node {node} has no agent here")))
    }
}

impl Nodes for Kubelets {
    fn exec<'a>(
        &'a self,
        at: ContainerRef<'a>,
        command: &'a [String],
        options: StreamOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn Session>>> {
        Box::pin(async move {
            self.of(at.node)?
                .exec((at.namespace, at.pod, at.container), command, options)
                .await
        })
    }
    fn attach<'a>(
        &'a self,
        at: ContainerRef<'a>,
        options: StreamOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn Session>>> {
        Box::pin(async move {
            self.of(at.node)?
                .attach((at.namespace, at.pod, at.container), options)
                .await
        })
    }
    fn logs<'a>(
        &'a self,
        at: ContainerRef<'a>,
        previous: bool,
        options: &'a LogOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn LogReader>>> {
        Box::pin(async move {
            self.of(at.node)?
                .logs((at.namespace, at.pod, at.container), previous, options)
                .await
        })
    }
    fn connect<'a>(
        &'a self,
        at: ContainerRef<'a>,
        port: u16,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn ByteStream>>> {
        Box::pin(async move {
            self.of(at.node)?
                .port_forward(at.namespace, at.pod, port)
                .await
        })
    }
}

impl PodDialer for Kubelets {
    fn dial<'a>(&'a self, to: &'a PodPort) -> BoxFuture<'a, RuntimeResult<Arc<dyn ByteStream>>> {
        Box::pin(async move {
            self.of(&to.node)?
                .port_forward(&to.namespace, &to.pod, to.port)
                .await
        })
    }
}
