//! The containers of one simulated node: state machines that move when looked at.
//!
//! No task and no thread stays per container; an end that lies ahead is an entry in a
//! schedule, and only the next one has a timer. Knows nothing of Kubernetes beyond the seam.
//! Upstream counterpart: KWOK, the CRI's fake runtime.

mod node;
mod streams;

use crate::{Profile, Profiles};
use env::*;
use node::{Container, Life, Node, Sandbox, digest, missing, reason, unreachable};
use std::{
    future::poll_fn,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, Weak},
    task::Poll,
    time::Duration,
};
use streams::{Answer, Log};

/// Time a sandbox takes to start.
const SANDBOX_START: crate::Span = crate::Span::millis(80, 250);

/// Lines of a log, whether more may come, and the node's version they are of.
type LogState = (Vec<(Time, String)>, bool, u64);

/// The container runtime of a simulated node.
pub struct SimContainers {
    world: World,
    profiles: Arc<Profiles>,
    state: Mutex<Node>,
    /// Itself, for readers that outlive the call they came from.
    own: Weak<Self>,
}

impl SimContainers {
    /// A node's runtime. `world` gives time and the node's own chance; pods get addresses
    /// from the 1,022 that follow `network` (a /22).
    pub fn new(world: World, profiles: Arc<Profiles>, network: Ipv4Addr) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            world,
            profiles,
            state: Mutex::new(Node::new(network)),
            own: own.clone(),
        })
    }

    /// Cuts the node's power: everything on it ends, and every call fails until it is back.
    pub fn power_off(&self) {
        let now = self.world.now();
        self.lock().power_off(now);
    }

    /// Gives the node its power back; what ran before has ended.
    pub fn power_on(&self) {
        self.lock().power_on();
    }

    /// Whether the node has power.
    pub fn is_on(&self) -> bool {
        self.lock().powered
    }

    /// How many containers run.
    pub fn running(&self) -> usize {
        let mut node = self.lock();
        node.pass(self.world.now());
        let running = |one: &&Container| matches!(one.life, Life::Running);
        node.containers.values().filter(running).count()
    }

    fn lock(&self) -> MutexGuard<'_, Node> {
        self.state.lock().expect("simulated nodes are sound")
    }

    /// The node as of now, if it answers.
    fn node(&self) -> RuntimeResult<MutexGuard<'_, Node>> {
        let mut node = self.lock();
        node.answers()?;
        node.pass(self.world.now());
        Ok(node)
    }

    /// Lets time pass on a node that must keep its power meanwhile.
    async fn work(&self, duration: Duration) -> RuntimeResult<()> {
        let boot = self.node()?.boot;
        self.world.sleep(duration).await;
        if self.node()?.boot != boot {
            return Err(unreachable());
        }
        Ok(())
    }

    fn pick(&self, span: crate::Span) -> Duration {
        span.pick(self.world.entropy.next_u64())
    }

    fn id(&self) -> String {
        let words = (0..4).map(|_| format!("{:016x}", self.world.entropy.next_u64()));
        words.collect()
    }

    /// Completes when the node's version is no longer `seen`, or something scheduled is due.
    pub(crate) async fn changed_since(&self, seen: u64) {
        let mut timer: Option<(Time, BoxFuture<'static, ()>)> = None;
        poll_fn(|context| {
            let mut node = self.lock();
            node.pass(self.world.now());
            if node.version != seen {
                return Poll::Ready(());
            }
            node.wake_later(context.waker());
            let due = node.schedule.first().map(|(time, _)| *time);
            drop(node);
            if timer.as_ref().map(|(time, _)| *time) != due {
                timer = due.map(|time| (time, self.world.clock.sleep_until(time)));
            }
            // An end of the timer is a reason to look again, which is the caller's to do.
            match &mut timer {
                Some((_, sleep)) => sleep.as_mut().poll(context),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// What is left of a running container's log, and whether more may come.
    pub(crate) fn log_lines(&self, id: &str) -> RuntimeResult<LogState> {
        let node = self.node()?;
        let container = node.container(id)?;
        let running = matches!(container.life, Life::Running);
        Ok((container.log(), running, node.version))
    }

    fn info(&self, reference: &str) -> ImageInfo {
        ImageInfo {
            id: format!("sha256:{}", digest(reference)),
            tags: vec![reference.to_owned()],
            digests: Vec::new(),
            size: self.profiles.of_image(reference).memory,
            user: String::new(),
        }
    }

    fn plan_end(&self, node: &mut Node, id: &str, profile: &Profile, now: Time) {
        if let Some(exit) = profile.exit {
            let code = if exit.oom { 137 } else { exit.code };
            let reason = reason(code, exit.oom);
            node.end_at(id, now + self.pick(exit.after), (code, reason));
        }
    }

    /// The containers a probe of a port reaches.
    fn check_port(&self, host: IpAddr, port: u16) -> Result<(), String> {
        let node = self.node().map_err(|why| why.message)?;
        let refused = || format!("dial tcp {host}:{port}: connect: connection refused");
        let sandboxes = node.sandboxes.values().filter(|sandbox| {
            sandbox.status.ready
                && (sandbox.status.ips.contains(&host) || sandbox.status.ips.is_empty())
        });
        let now = self.world.now();
        let mut reached = sandboxes
            .flat_map(|sandbox| node.of_sandbox(&sandbox.status.id))
            .filter(|container| container.listens(port));
        let answers = reached.any(|container| container.answers(now));
        if answers { Ok(()) } else { Err(refused()) }
    }

    fn check_container(&self, id: &str) -> Result<(), String> {
        let node = self.node().map_err(|why| why.message)?;
        let container = node.container(id).map_err(|why| why.message)?;
        let answers = container.answers(self.world.now());
        answers
            .then_some(())
            .ok_or_else(|| "the container does not serve yet".into())
    }

    /// Runs a command: its answer is the profile's.
    fn answer(&self, id: &str, command: &[String]) -> RuntimeResult<ExecOutput> {
        let node = self.node()?;
        let container = node.container(id)?;
        if container.life != Life::Running {
            let why = format!("container {id} is not running");
            return Err(RuntimeError::new("ContainerNotRunning", why));
        }
        let line = command.join(" ");
        let known = container.profile.exec.iter();
        let answer = known.clone().find(|known| line.starts_with(&known.command));
        Ok(
            answer.map_or_else(ExecOutput::default, |answer| ExecOutput {
                exit_code: answer.code,
                stdout: answer.stdout.clone().into_bytes(),
                stderr: Vec::new(),
            }),
        )
    }
}

impl Containers for SimContainers {
    fn version(&self) -> (String, String) {
        ("simulated".into(), env!("CARGO_PKG_VERSION").into())
    }

    fn images(&self) -> BoxFuture<'_, RuntimeResult<Vec<ImageInfo>>> {
        Box::pin(async {
            let images: Vec<String> = self.node()?.images.iter().cloned().collect();
            Ok(images.iter().map(|image| self.info(image)).collect())
        })
    }

    fn image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, RuntimeResult<Option<ImageInfo>>> {
        Box::pin(async move {
            let profile = self.profiles.of_image(reference);
            let mut node = self.node()?;
            let known = node.images.contains(reference);
            if !known && (profile.missing || profile.pull.is_some()) {
                return Ok(None);
            }
            node.images.insert(reference.to_owned());
            Ok(Some(self.info(reference)))
        })
    }

    fn pull<'a>(
        &'a self,
        reference: &'a str,
        _auth: &'a [RegistryAuth],
    ) -> BoxFuture<'a, RuntimeResult<ImageInfo>> {
        Box::pin(async move {
            let profile = self.profiles.of_image(reference);
            self.work(self.pick(profile.pull.unwrap_or_default()))
                .await?;
            if profile.missing {
                let why = format!("failed to resolve reference {reference:?}: not found");
                return Err(RuntimeError::new("ErrImagePull", why));
            }
            self.node()?.images.insert(reference.to_owned());
            Ok(self.info(reference))
        })
    }

    fn remove_image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move {
            self.node()?.images.remove(reference);
            Ok(())
        })
    }

    fn run_sandbox<'a>(
        &'a self,
        config: &'a SandboxConfig,
    ) -> BoxFuture<'a, RuntimeResult<SandboxStatus>> {
        Box::pin(async move {
            let same = |one: &&Sandbox| {
                one.status.pod_uid == config.uid && one.status.attempt == config.attempt
            };
            if let Some(known) = self.node()?.sandboxes.values().find(same) {
                return Ok(known.status.clone());
            }
            self.work(self.pick(SANDBOX_START)).await?;
            let mut node = self.node()?;
            let ips = if config.host_network {
                Vec::new()
            } else {
                vec![node.address()?]
            };
            let status = SandboxStatus {
                id: self.id(),
                pod_uid: config.uid.clone(),
                pod_namespace: config.namespace.clone(),
                pod_name: config.name.clone(),
                attempt: config.attempt,
                ready: true,
                ips,
                created_at: self.world.now(),
                limits: config.limits.clone(),
            };
            node.add_sandbox(status.clone());
            Ok(status)
        })
    }

    fn stop_sandbox<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move {
            self.node()?.stop_sandbox(id, self.world.now());
            Ok(())
        })
    }

    fn remove_sandbox<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move {
            let mut node = self.node()?;
            node.stop_sandbox(id, self.world.now());
            node.remove_sandbox(id);
            Ok(())
        })
    }

    fn create<'a>(
        &'a self,
        sandbox: &'a str,
        config: &'a ContainerConfig,
    ) -> BoxFuture<'a, RuntimeResult<String>> {
        Box::pin(async move {
            let mut node = self.node()?;
            let same = |one: &&Container| {
                one.status.name == config.name && one.status.attempt == config.attempt
            };
            if let Some(known) = node.of_sandbox(sandbox).find(same) {
                return Ok(known.status.id.clone());
            }
            let owner = node
                .sandboxes
                .get(sandbox)
                .filter(|owner| owner.status.ready);
            let owner = owner.ok_or_else(|| missing("sandbox", sandbox))?;
            let pod = format!("{}/{}", owner.status.pod_namespace, owner.status.pod_name);
            let status = ContainerStatus {
                id: self.id(),
                sandbox_id: sandbox.to_owned(),
                pod_uid: owner.status.pod_uid.clone(),
                name: config.name.clone(),
                attempt: config.attempt,
                image: config.image.clone(),
                image_id: self.info(&config.image).id,
                limits: config.limits.clone(),
                state: ContainerState::Created,
            };
            let profile = self.profiles.of(&config.image, &config.name, &pod);
            Ok(node.add_container(status, profile))
        })
    }

    fn start<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move {
            let profile = self.node()?.container(id)?.profile.clone();
            self.work(self.pick(profile.start)).await?;
            let now = self.world.now();
            let ready = now + self.pick(profile.ready_after);
            let fails = profile.fails_after.map(|span| now + self.pick(span));
            let mut node = self.node()?;
            node.start(id, now, (ready, fails))?;
            self.plan_end(&mut node, id, &profile, now);
            Ok(())
        })
    }

    fn stop<'a>(&'a self, id: &'a str, grace: Duration) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move {
            let now = self.world.now();
            let end = {
                let mut node = self.node()?;
                let Some(container) = node.containers.get(id) else {
                    return Ok(());
                };
                let own = container.profile.stop.map(|span| self.pick(span));
                let obeys = own.filter(|own| *own < grace || (own.is_zero() && grace.is_zero()));
                let code = obeys.map_or(137, |_| container.profile.stop_code);
                let end = now + obeys.unwrap_or(grace);
                let reason = reason(code, false);
                if container.life != Life::Running {
                    return Ok(());
                }
                node.end_at(id, end, (code, reason));
                end
            };
            self.world.clock.sleep_until(end).await;
            self.node().map(drop)
        })
    }

    fn update<'a>(
        &'a self,
        id: &'a str,
        limits: &'a CgroupLimits,
    ) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move { self.node()?.update(id, limits) })
    }

    fn update_sandbox<'a>(
        &'a self,
        id: &'a str,
        limits: &'a CgroupLimits,
    ) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move { self.node()?.update_sandbox(id, limits) })
    }

    fn remove<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move {
            let mut node = self.node()?;
            if node
                .containers
                .get(id)
                .is_some_and(|one| matches!(one.life, Life::Running))
            {
                let why = format!("container {id} is running");
                return Err(RuntimeError::new("ContainerRunning", why));
            }
            node.remove_container(id);
            Ok(())
        })
    }

    fn observe(&self) -> BoxFuture<'_, RuntimeResult<NodeContainers>> {
        Box::pin(async {
            let mut node = self.node()?;
            node.told = node.version;
            Ok(node.picture(self.world.now()))
        })
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let seen = self.lock().told;
            self.changed_since(seen).await;
            let mut node = self.lock();
            node.told = node.version;
        })
    }

    fn usage(&self) -> BoxFuture<'_, RuntimeResult<Vec<ContainerUsage>>> {
        Box::pin(async {
            let now = self.world.now();
            let node = self.node()?;
            let running = node
                .containers
                .values()
                .filter(|one| matches!(one.life, Life::Running));
            Ok(running.map(|one| one.usage(now)).collect())
        })
    }

    fn prepare_volume<'a>(
        &'a self,
        pod_uid: &'a str,
        name: &'a str,
        source: &'a VolumeSource,
        _group: Option<i64>,
    ) -> BoxFuture<'a, RuntimeResult<String>> {
        Box::pin(async move {
            self.node().map(drop)?;
            Ok(match source {
                VolumeSource::Directory { path } | VolumeSource::HostPath { path, .. } => {
                    path.clone()
                }
                _ => format!("/simulated/pods/{pod_uid}/volumes/{name}"),
            })
        })
    }

    fn release_volumes<'a>(&'a self, _pod_uid: &'a str) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async { self.node().map(drop) })
    }

    fn probe<'a>(
        &'a self,
        probe: &'a Probe,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            match probe {
                Probe::Http { host, port, .. }
                | Probe::Tcp { host, port }
                | Probe::Grpc { host, port, .. } => self.check_port(*host, *port),
                Probe::Exec {
                    container_id,
                    command,
                } => {
                    let ran = self.exec_sync(container_id, command, timeout).await;
                    match ran.map_err(|why| why.message)?.exit_code {
                        0 => self.check_container(container_id),
                        code => Err(format!("command {command:?} exited with code {code}")),
                    }
                }
            }
        })
    }

    fn exec_sync<'a>(
        &'a self,
        id: &'a str,
        command: &'a [String],
        _timeout: Duration,
    ) -> BoxFuture<'a, RuntimeResult<ExecOutput>> {
        Box::pin(async move { self.answer(id, command) })
    }

    fn exec<'a>(
        &'a self,
        id: &'a str,
        command: &'a [String],
        _options: StreamOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn Session>>> {
        Box::pin(async move {
            let output = self.answer(id, command)?;
            Ok(Arc::new(Answer::new(output)) as Arc<dyn Session>)
        })
    }

    fn attach<'a>(
        &'a self,
        _id: &'a str,
        _options: StreamOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn Session>>> {
        let why = "a simulated container has no streams to attach to";
        Box::pin(async move { Err(RuntimeError::new("NotSupported", why)) })
    }

    fn connect<'a>(
        &'a self,
        _sandbox: &'a str,
        port: u16,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn ByteStream>>> {
        let why = format!("port {port}: a simulated container has no network");
        Box::pin(async move { Err(RuntimeError::new("NotSupported", why)) })
    }

    fn logs<'a>(
        &'a self,
        id: &'a str,
        options: &'a LogOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn LogReader>>> {
        Box::pin(async move {
            let lines = self.log_lines(id)?.0.len();
            let log = Log::new(self.own.clone(), id, options, lines);
            Ok(Arc::new(log) as Arc<dyn LogReader>)
        })
    }
}
