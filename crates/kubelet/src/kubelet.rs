//! One running node agent and the ways into its pods.
//!
//! Upstream counterpart: `Kubelet` and its streaming server.

use crate::{ApiClient, KubeletConfig};
use env::{
    ByteStream, ContainerUsage, Containers, LogOptions, LogReader, RuntimeError, RuntimeResult,
    Session, StreamOptions, World,
};
use std::sync::Arc;

/// A running node agent; dropping it does not stop it, [`Kubelet::stop`] does.
pub struct Kubelet {
    config: KubeletConfig,
    containers: Arc<dyn Containers>,
}

impl Kubelet {
    /// Starts the agent: registers the node, then keeps its lease, status and pods.
    pub fn start(
        world: World,
        config: KubeletConfig,
        api: Arc<dyn ApiClient>,
        containers: Arc<dyn Containers>,
    ) -> Arc<Self> {
        drop((world, api));
        Arc::new(Self { config, containers })
    }

    /// Ends the agent's activities; its containers keep running.
    pub fn stop(&self) {}

    /// Name of its node.
    pub fn node_name(&self) -> &str {
        &self.config.node_name
    }

    /// Runtime id of a container (init, sidecar and ephemeral ones too). `previous` asks for
    /// the instance before the present one. The error is a sentence for the client.
    pub async fn container_id(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
    ) -> RuntimeResult<String> {
        let _ = (namespace, pod, previous);
        Err(RuntimeError::new(
            "NotFound",
            format!("container {container} not found"),
        ))
    }

    /// Runs a command in a container with streams.
    pub async fn exec(
        &self,
        (namespace, pod, container): (&str, &str, &str),
        command: &[String],
        options: StreamOptions,
    ) -> RuntimeResult<Arc<dyn Session>> {
        let id = self.container_id(namespace, pod, container, false).await?;
        self.containers.exec(&id, command, options).await
    }

    /// Joins the streams of a running container.
    pub async fn attach(
        &self,
        (namespace, pod, container): (&str, &str, &str),
        options: StreamOptions,
    ) -> RuntimeResult<Arc<dyn Session>> {
        let id = self.container_id(namespace, pod, container, false).await?;
        self.containers.attach(&id, options).await
    }

    /// Reads a container's log.
    pub async fn logs(
        &self,
        (namespace, pod, container): (&str, &str, &str),
        previous: bool,
        options: &LogOptions,
    ) -> RuntimeResult<Arc<dyn LogReader>> {
        let id = self
            .container_id(namespace, pod, container, previous)
            .await?;
        self.containers.logs(&id, options).await
    }

    /// Connects to a TCP port of a pod.
    pub async fn port_forward(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
    ) -> RuntimeResult<Arc<dyn ByteStream>> {
        let _ = (namespace, port);
        Err(RuntimeError::new(
            "NotFound",
            format!("pod {pod} has no running sandbox"),
        ))
    }

    /// Resource use of all running containers.
    pub async fn usage(&self) -> RuntimeResult<Vec<ContainerUsage>> {
        self.containers.usage().await
    }
}
