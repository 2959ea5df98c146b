//! One running node agent and the ways into its pods.
//!
//! Upstream counterpart: `Kubelet` and its streaming server.

use crate::{ApiClient, KubeletConfig, agent::Agent, context::Context};
use env::{
    ByteStream, ContainerStatus, ContainerUsage, Containers, LogOptions, LogReader, RuntimeError,
    RuntimeResult, Session, StreamOptions, World,
};
use futures::channel::mpsc::{UnboundedSender, unbounded};
use std::sync::Arc;

/// A running node agent; dropping the last handle or [`Kubelet::stop`] ends it.
pub struct Kubelet {
    config: Arc<KubeletConfig>,
    containers: Arc<dyn Containers>,
    stop: UnboundedSender<()>,
}

impl Kubelet {
    /// Starts the agent: registers the node, then keeps its lease, status and pods.
    pub fn start(
        world: World,
        config: KubeletConfig,
        api: Arc<dyn ApiClient>,
        containers: Arc<dyn Containers>,
    ) -> Arc<Self> {
        let (stop, stopped) = unbounded();
        let config = Arc::new(config);
        let context = Context {
            world: world.clone(),
            config: config.clone(),
            api,
            containers: containers.clone(),
            tokens: Arc::default(),
        };
        world.spawn("kubelet", Agent::new(context).run(stopped));
        Arc::new(Self {
            config,
            containers,
            stop,
        })
    }

    /// Ends the agent's activities; its containers keep running.
    pub fn stop(&self) {
        // An agent that has ended already is as stopped as can be.
        let _ = self.stop.unbounded_send(());
    }

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
        let seen = self.containers.observe().await?;
        let sandboxes = seen.sandboxes.iter();
        let ours = sandboxes.filter(|one| one.pod_namespace == namespace && one.pod_name == pod);
        let ids: Vec<&str> = ours.map(|sandbox| sandbox.id.as_str()).collect();
        let containers = seen.containers.iter();
        let mut instances: Vec<&ContainerStatus> = containers
            .filter(|one| one.name == container && ids.contains(&one.sandbox_id.as_str()))
            .collect();
        instances.sort_by_key(|instance| instance.attempt);
        match instances.iter().rev().nth(usize::from(previous)) {
            Some(instance) => Ok(instance.id.clone()),
            None if previous => Err(RuntimeError::new(
                "NotFound",
                format!("previous terminated container {container:?} in pod {pod:?} not found"),
            )),
            None => Err(RuntimeError::new(
                "NotFound",
                format!("container {container} in pod {pod} is not available"),
            )),
        }
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
        let seen = self.containers.observe().await?;
        let sandbox = seen
            .sandboxes
            .iter()
            .find(|one| one.ready && one.pod_namespace == namespace && one.pod_name == pod);
        match sandbox {
            Some(sandbox) => self.containers.connect(&sandbox.id, port).await,
            None => Err(RuntimeError::new(
                "NotFound",
                format!("pod {pod} has no running sandbox"),
            )),
        }
    }

    /// Resource use of all running containers, with the pod and container each belongs to.
    pub async fn summary(&self) -> RuntimeResult<Vec<(ContainerStatus, ContainerUsage)>> {
        let (usage, seen) = (
            self.containers.usage().await?,
            self.containers.observe().await?,
        );
        let named = usage.into_iter().filter_map(|usage| {
            let container = seen.containers.iter().find(|one| one.id == usage.id)?;
            Some((container.clone(), usage))
        });
        Ok(named.collect())
    }

    /// Resource use of all running containers.
    pub async fn usage(&self) -> RuntimeResult<Vec<ContainerUsage>> {
        self.containers.usage().await
    }
}
