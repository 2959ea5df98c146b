//! Carries out requests.

use super::{
    Garbage, Sandbox, Source, Supervisor, containers::Container, launch::Started, namespaces,
    records,
};
use crate::{
    cgroup,
    child::Streams,
    spec::{
        ContainerRecord, ContainerSpec, ContainerSummary, ExecSpec, Limits, Phase, Request,
        Response, SandboxRecord, SandboxSpec,
    },
    sys,
};
use std::{
    fs, io,
    net::IpAddr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::Path,
};

/// Cgroup of a pause process below its pod's.
const PAUSE_CGROUP: &str = "pause";
/// What every hosts file starts with (`kubelet` writes the same).
const HOSTS: &str = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n\
                     ::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
                     fe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";

/// The hosts file of a sandbox without addresses: the machine's own where it shares its network.
fn hosts(spec: &SandboxSpec) -> String {
    if spec.shared_network.is_none() {
        return HOSTS.to_owned();
    }
    // A machine without the file has no names to share.
    let own = fs::read_to_string("/etc/hosts").unwrap_or_default();
    format!("# Kubernetes-managed hosts file (host network).\n{own}")
}

/// A refusal: Kubernetes reason and sentence.
struct Refusal(&'static str, String);

type Outcome = Result<Response, Refusal>;

fn refuse(reason: &'static str) -> impl Fn(io::Error) -> Refusal {
    move |error| Refusal(reason, error.to_string())
}

fn no_container(id: &str) -> Refusal {
    Refusal("NotFound", format!("container {id:?} does not exist"))
}

fn no_sandbox(id: &str) -> Refusal {
    Refusal("NotFound", format!("sandbox {id:?} does not exist"))
}

impl Supervisor {
    pub(super) fn request(&mut self, token: u64, payload: &[u8], fds: Vec<OwnedFd>) {
        let mut replies = Vec::new();
        let outcome = match serde_json::from_slice(payload) {
            Ok(request) => self.carry_out(token, request, fds, &mut replies),
            Err(error) => Err(Refusal("InvalidRequest", error.to_string())),
        };
        let response = outcome.unwrap_or_else(|Refusal(reason, message)| Response::Failed {
            reason: reason.into(),
            message,
        });
        self.respond(token, &response, replies);
    }

    fn carry_out(
        &mut self,
        token: u64,
        request: Request,
        fds: Vec<OwnedFd>,
        replies: &mut Vec<OwnedFd>,
    ) -> Outcome {
        match request {
            Request::Ping => Ok(Response::Done),
            Request::CreateSandbox(spec) => self.create_sandbox(*spec),
            Request::SetAddresses { id, ips } => self.set_addresses(&id, ips),
            Request::StopSandbox { id } => self.stop_sandbox(&id),
            Request::RemoveSandbox { id } => self.remove_sandbox(&id),
            Request::Create(spec) => self.create(*spec),
            Request::Start { id } => self.start(&id),
            Request::Signal { id, signal } => self.signal(&id, signal),
            Request::Kill { id } => self.kill(&id),
            Request::Update { id, limits } => self.update(&id, &limits),
            Request::UpdateSandbox { id, limits } => self.update_sandbox(&id, &limits),
            Request::Remove { id } => self.remove(&id),
            Request::Inspect { id } => self.inspect(&id),
            Request::List { node } => Ok(self.list(&node)),
            Request::Exec(spec) => self.exec(token, &spec, fds, replies),
            Request::Attach { id, stdin } => self.attach(token, &id, stdin, replies),
            Request::Subscribe => self.subscribe(token),
            Request::Shutdown => {
                self.stopping = true;
                Ok(Response::Done)
            }
        }
    }

    fn subscribe(&mut self, token: u64) -> Outcome {
        if let Some(client) = self.clients.get_mut(&token) {
            client.subscribed = true;
        }
        Ok(Response::Done)
    }

    fn create_sandbox(&mut self, spec: SandboxSpec) -> Outcome {
        if let Some(known) = self.sandboxes.get(&spec.id) {
            return Ok(Response::Sandbox(Box::new(known.record.clone())));
        }
        let made = self.make_sandbox(&spec);
        if made.is_err() {
            let directory = self.launcher.layout.sandbox(&spec.id);
            namespaces::release(&directory);
            self.garbage.push(Garbage::Pod(spec.cgroup.clone()));
            // A leftover is found again when the supervisor starts.
            let _ = fs::remove_dir_all(directory);
        }
        let sandbox = made.map_err(refuse("CreatePodSandboxError"))?;
        let record = sandbox.record.clone();
        self.sandboxes.insert(spec.id, sandbox);
        self.announce();
        Ok(Response::Sandbox(Box::new(record)))
    }

    fn make_sandbox(&mut self, spec: &SandboxSpec) -> io::Result<Sandbox> {
        let directory = self.launcher.layout.sandbox(&spec.id);
        let record = SandboxRecord {
            spec: spec.clone(),
            ready: true,
            ips: Vec::new(),
        };
        records::save_sandbox(&self.launcher.layout, &record)?;
        let same =
            |garbage: &Garbage| matches!(garbage, Garbage::Pod(path) if *path == spec.cgroup);
        self.garbage.retain(|garbage| !same(garbage));
        self.launcher.cgroups.create(&spec.cgroup, &spec.limits)?;
        fs::write(directory.join("hostname"), format!("{}\n", spec.hostname))?;
        fs::write(directory.join("resolv.conf"), &spec.resolv_conf)?;
        fs::write(directory.join("hosts"), hosts(spec))?;
        let pause = namespaces::create(spec, &directory)?;
        if let Some(pause) = &pause {
            let cgroup = format!("{}/{PAUSE_CGROUP}", spec.cgroup);
            self.launcher.cgroups.create(&cgroup, &Default::default())?;
            self.launcher.cgroups.enter(&cgroup, pause.pid)?;
        }
        Ok(Sandbox { record, pause })
    }

    fn set_addresses(&mut self, id: &str, ips: Vec<IpAddr>) -> Outcome {
        let sandbox = self.sandboxes.get_mut(id).ok_or_else(|| no_sandbox(id))?;
        let mut text = hosts(&sandbox.record.spec);
        if sandbox.record.spec.shared_network.is_none() {
            let hostname = &sandbox.record.spec.hostname;
            text.extend(ips.iter().map(|ip| format!("{ip}\t{hostname}\n")));
        }
        sandbox.record.ips = ips;
        let record = sandbox.record.clone();
        fs::write(self.launcher.layout.sandbox(id).join("hosts"), text)
            .and_then(|()| records::save_sandbox(&self.launcher.layout, &record))
            .map_err(refuse("CreatePodSandboxError"))?;
        self.announce();
        Ok(Response::Sandbox(Box::new(record)))
    }

    fn stop_sandbox(&mut self, id: &str) -> Outcome {
        let in_sandbox = |container: &&Container| container.record.spec.sandbox == id;
        if self
            .containers
            .values()
            .filter(in_sandbox)
            .any(|found| found.process.is_some())
        {
            let text = format!("sandbox {id:?} still has running containers");
            return Err(Refusal("KillPodSandboxError", text));
        }
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return Ok(Response::Done);
        };
        if let Some(pause) = sandbox.pause.take() {
            // It may have been killed already.
            let _ = sys::signal_process(pause.pidfd.as_fd(), libc::SIGKILL);
            namespaces::wait_end(&pause.pidfd);
        }
        namespaces::release(&self.launcher.layout.sandbox(id));
        if sandbox.record.ready {
            sandbox.record.ready = false;
            let record = sandbox.record.clone();
            let cgroup = record.spec.cgroup.clone();
            let shared = |other: &Sandbox| other.record.ready && other.record.spec.cgroup == cgroup;
            // The pod's next sandbox may use the group already.
            if !self.sandboxes.values().any(shared) {
                self.garbage.push(Garbage::Pod(cgroup));
            }
            records::save_sandbox(&self.launcher.layout, &record)
                .map_err(refuse("KillPodSandboxError"))?;
            self.announce();
        }
        Ok(Response::Done)
    }

    fn remove_sandbox(&mut self, id: &str) -> Outcome {
        self.stop_sandbox(id)?;
        let of_sandbox = |container: &&Container| container.record.spec.sandbox == id;
        let containers: Vec<String> = self
            .containers
            .values()
            .filter(of_sandbox)
            .map(|container| container.record.spec.id.clone())
            .collect();
        for container in containers {
            self.remove(&container)?;
        }
        if self.sandboxes.remove(id).is_some() {
            self.discard(&self.launcher.layout.sandbox(id));
            self.announce();
        }
        Ok(Response::Done)
    }

    /// Moves a directory out of the way; the agent deletes it when it has time.
    fn discard(&mut self, directory: &Path) {
        let trash = self.launcher.layout.trash();
        let name = format!("{}-{}", super::now(), self.next_token);
        self.next_token += 1;
        let moved =
            fs::create_dir_all(&trash).and_then(|()| fs::rename(directory, trash.join(name)));
        if let Err(error) = moved {
            eprintln!("discarding {}: {error}", directory.display());
        }
    }

    fn create(&mut self, spec: ContainerSpec) -> Outcome {
        if let Some(known) = self.containers.get(&spec.id) {
            return Ok(Response::Container(Box::new(known.record.clone())));
        }
        let sandbox = self
            .sandboxes
            .get(&spec.sandbox)
            .ok_or_else(|| no_sandbox(&spec.sandbox))?;
        if !sandbox.record.ready {
            let text = format!("sandbox {:?} is not ready", spec.sandbox);
            return Err(Refusal("CreateContainerError", text));
        }
        let record = ContainerRecord {
            spec,
            phase: Phase::Created,
        };
        let saved = records::save_container(&self.launcher.layout, &record)
            .and_then(|()| make_termination_log(&record.spec.termination_log));
        saved.map_err(refuse("CreateContainerError"))?;
        let response = Response::Container(Box::new(record.clone()));
        self.containers
            .insert(record.spec.id.clone(), Container::new(record));
        self.announce();
        Ok(response)
    }

    fn find(&mut self, id: &str) -> Result<&mut Container, Refusal> {
        self.containers.get_mut(id).ok_or_else(|| no_container(id))
    }

    fn start(&mut self, id: &str) -> Outcome {
        match self.find(id)?.record.phase {
            Phase::Created => {}
            Phase::Running { .. } => return Ok(Response::Done),
            Phase::Exited(_) => {
                let text = format!("container {id:?} has already ended");
                return Err(Refusal("RunContainerError", text));
            }
        }
        self.start_container(id)
            .map_err(refuse("RunContainerError"))?;
        Ok(Response::Done)
    }

    fn signal(&mut self, id: &str, signal: i32) -> Outcome {
        let container = self.find(id)?;
        let signal = if signal == 0 {
            container.record.spec.stop_signal
        } else {
            signal
        };
        if let Some((_, pidfd)) = &container.process {
            sys::signal_process(pidfd.as_fd(), signal).map_err(refuse("KillContainerError"))?;
        }
        Ok(Response::Done)
    }

    fn kill(&mut self, id: &str) -> Outcome {
        let container = self.find(id)?;
        let Some((_, pidfd)) = &container.process else {
            return Ok(Response::Done);
        };
        sys::signal_process(pidfd.as_fd(), libc::SIGKILL).map_err(refuse("KillContainerError"))?;
        let cgroup = container.record.spec.cgroup.clone();
        self.launcher.cgroups.kill(&cgroup);
        Ok(Response::Done)
    }

    /// Nothing is recorded of an update that failed half-way: its repetition starts from there.
    fn update(&mut self, id: &str, limits: &Limits) -> Outcome {
        let container = self.find(id)?;
        if container.process.is_none() {
            let text = format!("container {id:?} is not running");
            return Err(Refusal("ContainerNotRunning", text));
        }
        let cgroup = container.record.spec.cgroup.clone();
        let held = cgroup::change(self.launcher.cgroups.as_ref(), &cgroup, limits);
        let held = held.map_err(refuse("ResizeError"))?;
        let container = self.find(id)?;
        container.record.spec.limits = held;
        let record = container.record.clone();
        records::save_container(&self.launcher.layout, &record).map_err(refuse("ResizeError"))?;
        self.announce();
        Ok(Response::Done)
    }

    fn update_sandbox(&mut self, id: &str, limits: &Limits) -> Outcome {
        let sandbox = self.sandboxes.get_mut(id).ok_or_else(|| no_sandbox(id))?;
        let cgroup = &sandbox.record.spec.cgroup;
        let held = cgroup::change(self.launcher.cgroups.as_ref(), cgroup, limits);
        sandbox.record.spec.limits = held.map_err(refuse("ResizeError"))?;
        records::save_sandbox(&self.launcher.layout, &sandbox.record)
            .map_err(refuse("ResizeError"))?;
        self.announce();
        Ok(Response::Done)
    }

    fn remove(&mut self, id: &str) -> Outcome {
        let Some(container) = self.containers.get(id) else {
            return Ok(Response::Done);
        };
        if container.process.is_some() {
            let text = format!("container {id:?} is running");
            return Err(Refusal("RemoveContainerError", text));
        }
        self.containers.remove(id);
        self.discard(&self.launcher.layout.container(id));
        self.announce();
        Ok(Response::Done)
    }

    fn inspect(&mut self, id: &str) -> Outcome {
        self.find(id)
            .map(|container| Response::Container(Box::new(container.record.clone())))
    }

    fn list(&self, node: &str) -> Response {
        let sandboxes = self.sandboxes.values().map(|sandbox| &sandbox.record);
        let containers = self.containers.values().map(|container| &container.record);
        Response::List {
            sandboxes: sandboxes
                .filter(|record| record.spec.node == node)
                .cloned()
                .collect(),
            containers: containers
                .filter(|record| record.spec.node == node)
                .map(summary)
                .collect(),
        }
    }

    fn exec(
        &mut self,
        token: u64,
        exec: &ExecSpec,
        fds: Vec<OwnedFd>,
        replies: &mut Vec<OwnedFd>,
    ) -> Outcome {
        let invalid = |text: &str| Refusal("InvalidRequest", text.to_owned());
        if exec.arguments.is_empty() {
            return Err(invalid("a command is required"));
        }
        let streams = if exec.tty {
            Streams::Terminal
        } else {
            let three = <[OwnedFd; 3]>::try_from(fds);
            Streams::Plain(three.map_err(|_| invalid("exec needs three descriptors"))?)
        };
        let id = &exec.container;
        let container = self.containers.get(id).ok_or_else(|| no_container(id))?;
        let Some((pid, pidfd)) = &container.process else {
            let text = format!("container {id:?} is not running");
            return Err(Refusal("ContainerNotRunning", text));
        };
        let mut spec = container.record.spec.clone();
        let named = spec
            .environment
            .iter()
            .any(|entry| entry.starts_with("TERM="));
        if exec.tty && !named {
            spec.environment.push("TERM=xterm".into());
        }
        let started = self
            .launcher
            .command(&spec, (*pid, pidfd), &exec.arguments, streams)
            .map_err(refuse("ExecError"))?;
        self.adopt_command(token, exec, started, replies)
            .map_err(refuse("ExecError"))?;
        Ok(Response::Done)
    }

    fn adopt_command(
        &mut self,
        token: u64,
        exec: &ExecSpec,
        started: Started,
        replies: &mut Vec<OwnedFd>,
    ) -> io::Result<()> {
        let own = started.pidfd.try_clone()?;
        let end = self.watch(started.pidfd.as_fd(), Source::CommandEnded(token))?;
        self.commands.insert(end, started.pidfd);
        replies.extend(started.console);
        if let Some(client) = self.clients.get_mut(&token) {
            client.command = Some((own, exec.kill_on_close));
        }
        Ok(())
    }

    fn attach(&mut self, token: u64, id: &str, stdin: bool, replies: &mut Vec<OwnedFd>) -> Outcome {
        let container = self.find(id)?;
        if container.process.is_none() {
            let text = format!("container {id:?} is not running");
            return Err(Refusal("ContainerNotRunning", text));
        }
        let input = container.console.as_ref().or(container.stdin.as_ref());
        if let (true, Some(input)) = (stdin, input) {
            replies.push(input.try_clone().map_err(refuse("AttachError"))?);
            if container.record.spec.stdin_once {
                container.stdin = None;
            }
        }
        container.attached.push(token);
        Ok(Response::Done)
    }
}

/// Any user of the container may leave a last word.
fn make_termination_log(path: &Path) -> io::Result<()> {
    const MODE: u32 = 0o666;
    fs::write(path, "")?;
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))
}

fn summary(record: &ContainerRecord) -> ContainerSummary {
    let spec = &record.spec;
    ContainerSummary {
        id: spec.id.clone(),
        sandbox: spec.sandbox.clone(),
        pod_uid: spec.pod_uid.clone(),
        name: spec.name.clone(),
        attempt: spec.attempt,
        image: spec.image.clone(),
        image_id: spec.image_id.clone(),
        cgroup: spec.cgroup.clone(),
        limits: spec.limits.clone(),
        phase: record.phase.clone(),
    }
}
