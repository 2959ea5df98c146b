//! The container runtime of one node: `env::Containers` over supervisor, image store and pod
//! network. Keeps nothing that a restart of the agent could lose.
//!
//! Must not know Kubernetes kinds. Upstream counterpart: containerd's CRI plugin.

mod logs;
mod netns;
mod pods;
mod probe;
mod resolve;
mod streams;

use crate::{
    cgroup::{self, Cgroups},
    client::SupervisorClient,
    images::{self, ImageStore},
    layout::Layout,
    pod_network::PodNetwork,
    spec::{ContainerSummary, Phase, Request, Response, SandboxRecord},
    volumes, wire,
};
use env::{
    BoxFuture, ByteStream, CgroupLimits, ContainerConfig, ContainerState, ContainerStatus,
    ContainerUsage, Containers, ExecOutput, ImageInfo, LogOptions, LogReader, NodeContainers,
    Probe, RegistryAuth, RuntimeError, RuntimeResult, SandboxConfig, SandboxStatus, Session,
    StreamOptions, Time, VolumeSource, World,
};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, net::UnixStream, sync::watch};

/// Pause before the connection to a lost supervisor is tried again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// How one node's runtime is set up.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Name of the node; several nodes may share a supervisor and a state directory.
    pub node: String,
    /// State directory of the supervisor.
    pub state: PathBuf,
    /// Cgroup below which pods get theirs, relative to the hierarchies' roots
    /// (`xebec/CLUSTER`); should be this cluster's alone.
    pub cgroup: String,
}

/// The container runtime of one node.
pub struct LinuxContainers {
    shared: Arc<Shared>,
    changes: watch::Receiver<u64>,
    seen: AtomicU64,
}

/// What blocking work needs.
struct Shared {
    world: World,
    config: RuntimeConfig,
    layout: Layout,
    client: SupervisorClient,
    network: Arc<dyn PodNetwork>,
    images: ImageStore,
    cgroups: Box<dyn Cgroups>,
}

fn io_error(reason: &'static str) -> impl Fn(std::io::Error) -> RuntimeError {
    move |error| RuntimeError::new(reason, error.to_string())
}

/// Runs blocking work on a thread for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> RuntimeResult<T> + Send + 'static,
) -> RuntimeResult<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(RuntimeError::new("RuntimeError", error.to_string())))
}

impl LinuxContainers {
    /// The runtime of a node, over a running supervisor (see
    /// [`spawn_supervisor`](crate::spawn_supervisor)).
    pub fn new(
        world: World,
        config: RuntimeConfig,
        client: SupervisorClient,
        network: Arc<dyn PodNetwork>,
    ) -> RuntimeResult<Self> {
        let layout = Layout::new(config.state.clone());
        let images = ImageStore::open(config.state.clone()).map_err(io_error("RuntimeError"))?;
        let cgroups = cgroup::detect().map_err(io_error("RuntimeError"))?;
        let (sender, changes) = watch::channel(0);
        let socket = client.socket().to_owned();
        world.spawn(
            "container-changes",
            follow_changes(world.clone(), socket, sender),
        );
        let shared = Shared {
            world,
            config,
            layout,
            client,
            network,
            images,
            cgroups,
        };
        Ok(Self {
            shared: Arc::new(shared),
            changes,
            seen: AtomicU64::new(0),
        })
    }

    /// The image store of this node.
    pub fn image_store(&self) -> &ImageStore {
        &self.shared.images
    }

    async fn with_shared<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> RuntimeResult<T> + Send + 'static,
    ) -> RuntimeResult<T> {
        let shared = self.shared.clone();
        blocking(move || work(&shared)).await
    }

    /// Waits until a container has ended; false if `limit` passes before.
    async fn wait_ended(&self, id: &str, limit: Option<Duration>) -> RuntimeResult<bool> {
        /// Changes wake the wait; this covers a lost connection.
        const RECHECK: Duration = Duration::from_secs(1);
        let world = &self.shared.world;
        let deadline = limit.map(|limit| world.now() + limit);
        let mut changes = self.changes.clone();
        loop {
            changes.borrow_and_update();
            if !self.is_running(id).await? {
                return Ok(true);
            }
            let now = world.now();
            let left = deadline.map_or(RECHECK, |deadline| deadline.since(now).min(RECHECK));
            if left.is_zero() {
                return Ok(false);
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = world.sleep(left) => {}
            }
        }
    }

    async fn is_running(&self, id: &str) -> RuntimeResult<bool> {
        let request = Request::Inspect { id: id.to_owned() };
        let inspected = self
            .with_shared(move |shared| shared.client.container(&request))
            .await;
        match inspected {
            Ok(record) => Ok(matches!(record.phase, Phase::Running { .. })),
            Err(error) if error.reason == "NotFound" => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn kill(&self, id: &str) -> RuntimeResult<()> {
        let request = Request::Kill { id: id.to_owned() };
        self.with_shared(move |shared| shared.client.call(&request))
            .await?;
        self.wait_ended(id, None).await.map(drop)
    }
}

/// Turns the supervisor's announcements into a counter.
async fn follow_changes(world: World, socket: PathBuf, sender: watch::Sender<u64>) {
    const BUFFER: usize = 4096;
    while !sender.is_closed() {
        if let Ok(mut stream) = UnixStream::connect(&socket).await {
            let request = serde_json::to_vec(&Request::Subscribe).expect("plain data");
            let frame = wire::frame(wire::Kind::Message, &request);
            let mut buffer = [0; BUFFER];
            let mut alive = stream.write_all(&frame).await.is_ok();
            while alive && !sender.is_closed() {
                alive = tokio::select! {
                    count = stream.read(&mut buffer) => count.is_ok_and(|count| count > 0),
                    () = sender.closed() => false,
                };
                sender.send_modify(|count| *count += 1);
            }
        }
        world.sleep(RECONNECT_PAUSE).await;
    }
}

impl Shared {
    fn list(&self) -> RuntimeResult<(Vec<SandboxRecord>, Vec<ContainerSummary>)> {
        match self.client.call(&Request::List {
            node: self.config.node.clone(),
        })? {
            Response::List {
                sandboxes,
                containers,
            } => Ok((sandboxes, containers)),
            other => Err(RuntimeError::new(
                "RuntimeError",
                format!("unexpected {other:?}"),
            )),
        }
    }

    fn usage(&self) -> RuntimeResult<Vec<ContainerUsage>> {
        let (_, containers) = self.list()?;
        let running = |found: &ContainerSummary| matches!(found.phase, Phase::Running { .. });
        let measure = |found: ContainerSummary| {
            let usage = self.cgroups.usage(&found.cgroup);
            ContainerUsage {
                id: found.id,
                cpu_nanos: usage.cpu_nanos,
                memory_working_set: usage.working_set,
            }
        };
        Ok(containers
            .into_iter()
            .filter(running)
            .map(measure)
            .collect())
    }
}

fn sandbox_status(record: SandboxRecord) -> SandboxStatus {
    SandboxStatus {
        limits: (&record.spec.limits).into(),
        id: record.spec.id,
        pod_uid: record.spec.uid,
        pod_namespace: record.spec.namespace,
        pod_name: record.spec.name,
        attempt: record.spec.attempt,
        ready: record.ready,
        ips: record.ips,
        created_at: Time(record.spec.created_at),
    }
}

fn container_status(summary: ContainerSummary) -> ContainerStatus {
    ContainerStatus {
        limits: (&summary.limits).into(),
        id: summary.id,
        sandbox_id: summary.sandbox,
        pod_uid: summary.pod_uid,
        name: summary.name,
        attempt: summary.attempt,
        image: summary.image,
        image_id: summary.image_id,
        state: container_state(summary.phase),
    }
}

fn container_state(phase: Phase) -> ContainerState {
    const REASONS: [&str; 4] = ["Completed", "OOMKilled", "StartError", "ContainerCannotRun"];
    match phase {
        Phase::Created => ContainerState::Created,
        Phase::Running { started_at, .. } => ContainerState::Running {
            started_at: Time(started_at),
        },
        Phase::Exited(exit) => ContainerState::Exited {
            started_at: Time(exit.started_at),
            finished_at: Time(exit.finished_at),
            exit_code: exit.code,
            reason: REASONS
                .into_iter()
                .find(|known| *known == exit.reason)
                .unwrap_or("Error"),
            message: exit.message,
        },
    }
}

impl Containers for LinuxContainers {
    fn version(&self) -> (String, String) {
        ("xebec".into(), env!("CARGO_PKG_VERSION").into())
    }

    fn images(&self) -> BoxFuture<'_, RuntimeResult<Vec<ImageInfo>>> {
        Box::pin(self.with_shared(|shared| {
            let images = shared
                .images
                .list()
                .map_err(io_error("ImageInspectError"))?;
            Ok(images.iter().map(images::Image::info).collect())
        }))
    }

    fn image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, RuntimeResult<Option<ImageInfo>>> {
        let reference = reference.to_owned();
        Box::pin(self.with_shared(move |shared| {
            let found = shared
                .images
                .find(&reference)
                .map_err(io_error("ImageInspectError"))?;
            Ok(found.map(|image| image.info()))
        }))
    }

    fn pull<'a>(
        &'a self,
        reference: &'a str,
        auth: &'a [RegistryAuth],
    ) -> BoxFuture<'a, RuntimeResult<ImageInfo>> {
        Box::pin(async move {
            images::pull(&self.shared.images, reference, auth)
                .await
                .map(|image| image.info())
        })
    }

    fn remove_image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        let reference = reference.to_owned();
        Box::pin(self.with_shared(move |shared| {
            let (_, containers) = shared.list()?;
            let mut used =
                volumes::images_in_use(&shared.layout).map_err(io_error("ImageRemoveError"))?;
            used.extend(containers.into_iter().map(|found| found.image_id));
            shared
                .images
                .remove(&reference, &used)
                .map_err(io_error("ImageRemoveError"))
        }))
    }

    fn run_sandbox<'a>(
        &'a self,
        config: &'a SandboxConfig,
    ) -> BoxFuture<'a, RuntimeResult<SandboxStatus>> {
        let config = config.clone();
        Box::pin(self.with_shared(move |shared| shared.run_sandbox(&config).map(sandbox_status)))
    }

    fn stop_sandbox<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move {
            let (_, containers) = self.with_shared(Shared::list).await?;
            for container in containers.iter().filter(|found| found.sandbox == id) {
                if let Phase::Running { .. } = container.phase {
                    self.kill(&container.id).await?;
                }
            }
            let id = id.to_owned();
            self.with_shared(move |shared| shared.stop_sandbox(&id))
                .await
        })
    }

    fn remove_sandbox<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move {
            self.stop_sandbox(id).await?;
            let id = id.to_owned();
            self.with_shared(move |shared| shared.remove_sandbox(&id))
                .await
        })
    }

    fn create<'a>(
        &'a self,
        sandbox: &'a str,
        config: &'a ContainerConfig,
    ) -> BoxFuture<'a, RuntimeResult<String>> {
        let (sandbox, config) = (sandbox.to_owned(), config.clone());
        Box::pin(self.with_shared(move |shared| shared.create(&sandbox, &config)))
    }

    fn start<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        let request = Request::Start { id: id.to_owned() };
        Box::pin(self.with_shared(move |shared| shared.client.call(&request).map(drop)))
    }

    fn stop<'a>(&'a self, id: &'a str, grace: Duration) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move {
            let request = Request::Signal {
                id: id.to_owned(),
                signal: 0,
            };
            let asked = self
                .with_shared(move |shared| shared.client.call(&request))
                .await;
            match asked {
                Err(error) if error.reason == "NotFound" => return Ok(()),
                asked => drop(asked?),
            }
            if self.wait_ended(id, Some(grace)).await? {
                Ok(())
            } else {
                self.kill(id).await
            }
        })
    }

    fn update<'a>(
        &'a self,
        id: &'a str,
        limits: &'a CgroupLimits,
    ) -> BoxFuture<'a, RuntimeResult<()>> {
        let (id, limits) = (id.to_owned(), limits.into());
        let request = Request::Update { id, limits };
        Box::pin(self.with_shared(move |shared| shared.client.call(&request).map(drop)))
    }

    fn update_sandbox<'a>(
        &'a self,
        id: &'a str,
        limits: &'a CgroupLimits,
    ) -> BoxFuture<'a, RuntimeResult<()>> {
        let (id, limits) = (id.to_owned(), limits.into());
        let request = Request::UpdateSandbox { id, limits };
        Box::pin(self.with_shared(move |shared| shared.client.call(&request).map(drop)))
    }

    fn remove<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        let request = Request::Remove { id: id.to_owned() };
        Box::pin(self.with_shared(move |shared| {
            shared.client.call(&request)?;
            shared.empty_trash()
        }))
    }

    fn observe(&self) -> BoxFuture<'_, RuntimeResult<NodeContainers>> {
        Box::pin(async move {
            let observed_at = self.shared.world.now();
            self.seen.store(*self.changes.borrow(), Ordering::Release);
            let (sandboxes, containers) = self.with_shared(Shared::list).await?;
            Ok(NodeContainers {
                observed_at,
                sandboxes: sandboxes.into_iter().map(sandbox_status).collect(),
                containers: containers.into_iter().map(container_status).collect(),
            })
        })
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        let seen = self.seen.load(Ordering::Acquire);
        let mut changes = self.changes.clone();
        Box::pin(async move {
            // The sender lives as long as this runtime.
            let _ = changes.wait_for(|count| *count != seen).await;
        })
    }

    fn usage(&self) -> BoxFuture<'_, RuntimeResult<Vec<ContainerUsage>>> {
        Box::pin(self.with_shared(Shared::usage))
    }

    fn prepare_volume<'a>(
        &'a self,
        pod_uid: &'a str,
        name: &'a str,
        source: &'a VolumeSource,
        group: Option<i64>,
    ) -> BoxFuture<'a, RuntimeResult<String>> {
        let (pod, name, source) = (pod_uid.to_owned(), name.to_owned(), source.clone());
        Box::pin(self.with_shared(move |shared| {
            let (images, layout) = (&shared.images, &shared.layout);
            volumes::prepare(images, layout, (&pod, &name), (&source, group))
        }))
    }

    fn release_volumes<'a>(&'a self, pod_uid: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        let pod = pod_uid.to_owned();
        Box::pin(self.with_shared(move |shared| {
            volumes::release(&shared.layout, &pod).map_err(io_error("FailedUnmount"))
        }))
    }

    fn probe<'a>(
        &'a self,
        probe: &'a Probe,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            match probe {
                Probe::Exec {
                    container_id,
                    command,
                } => {
                    let output = self.exec_sync(container_id, command, timeout).await;
                    probe::judge_command(output)
                }
                network => probe::run(self.shared.network.node_netns(), network, timeout).await,
            }
        })
    }

    fn exec_sync<'a>(
        &'a self,
        id: &'a str,
        command: &'a [String],
        timeout: Duration,
    ) -> BoxFuture<'a, RuntimeResult<ExecOutput>> {
        Box::pin(streams::exec_sync(&self.shared, id, command, timeout))
    }

    fn exec<'a>(
        &'a self,
        id: &'a str,
        command: &'a [String],
        options: StreamOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn Session>>> {
        Box::pin(streams::exec(&self.shared, id, command, options))
    }

    fn attach<'a>(
        &'a self,
        id: &'a str,
        options: StreamOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn Session>>> {
        Box::pin(streams::attach(&self.shared, id, options))
    }

    fn connect<'a>(
        &'a self,
        sandbox: &'a str,
        port: u16,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn ByteStream>>> {
        Box::pin(streams::connect(&self.shared, sandbox, port))
    }

    fn logs<'a>(
        &'a self,
        id: &'a str,
        options: &'a LogOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn LogReader>>> {
        Box::pin(logs::open(&self.shared, id, options))
    }
}
