//! What exists on a simulated node, and how it changes as time passes.
//!
//! Synchronous: the seam's waiting is done one file up. Upstream counterpart: the CRI's fake runtime.

use crate::Profile;
use env::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    task::Waker,
};

/// Pod addresses of a node: a /22 less its first and last.
const ADDRESSES: u32 = 1022;
/// Exit code of what a power cut ended, as containerd reports tasks it has lost.
const LOST: i32 = 255;

/// The failure of every call to a node without power.
pub(super) fn unreachable() -> RuntimeError {
    RuntimeError::new("NodeUnreachable", "the node has no power")
}

/// The failure of a call about something that is not there.
pub(super) fn missing(what: &str, id: &str) -> RuntimeError {
    RuntimeError::new("NotFound", format!("{what} {id} not found"))
}

/// The word for an exit.
pub(super) fn reason(code: i32, oom: bool) -> &'static str {
    match (code, oom) {
        (_, true) => "OOMKilled",
        (0, _) => "Completed",
        _ => "Error",
    }
}

/// A memory limit does not become lower than what is in use.
fn fits(before: &CgroupLimits, after: &CgroupLimits, used: u64) -> RuntimeResult<()> {
    match after.memory {
        Some(limit) if before.memory.is_none_or(|before| limit < before) && used >= limit => {
            let why =
                format!("attempting to set memory limit ({limit}) below current usage ({used})");
            Err(RuntimeError::new("ResizeError", why))
        }
        _ => Ok(()),
    }
}

/// 64 hexadecimal digits that follow from a text.
pub(super) fn digest(text: &str) -> String {
    let words = (0..4).map(|part| {
        let chance = crate::SimEntropy::labelled(part, text);
        format!("{:016x}", Entropy::next_u64(&chance))
    });
    words.collect()
}

/// Where a container's process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Created,
    Running,
    Ended,
}

pub(super) struct Container {
    pub status: ContainerStatus,
    pub profile: Profile,
    pub life: Life,
    started: Time,
    ready: Time,
    fails: Option<Time>,
    /// Its end, once it is certain: (time, exit code, reason).
    end: Option<(Time, (i32, &'static str))>,
}

impl Container {
    /// Whether it would answer a probe.
    pub fn answers(&self, now: Time) -> bool {
        let failing = self.fails.is_some_and(|fails| now >= fails);
        self.life == Life::Running && now >= self.ready && !failing
    }

    pub fn listens(&self, port: u16) -> bool {
        self.profile.ports.is_empty() || self.profile.ports.contains(&port)
    }

    pub fn usage(&self, now: Time) -> ContainerUsage {
        let micros = now.since(self.started).as_micros() as u64;
        ContainerUsage {
            id: self.status.id.clone(),
            cpu_nanos: micros * self.profile.cpu_milli,
            memory_working_set: self.profile.memory,
        }
    }

    pub fn log(&self) -> Vec<(Time, String)> {
        if self.life == Life::Created {
            return Vec::new();
        }
        let first = format!("{} of {} started", self.status.name, self.status.image);
        let mut lines = vec![(self.started, first)];
        let own = self.profile.log.iter().cloned();
        lines.extend(own.map(|line| (self.started, line)));
        if let ContainerState::Exited {
            finished_at,
            exit_code,
            ..
        } = &self.status.state
        {
            lines.push((*finished_at, format!("exit {exit_code}")));
        }
        lines
    }

    fn finish(&mut self, at: Time, (exit_code, reason): (i32, &'static str)) {
        self.life = Life::Ended;
        self.status.state = ContainerState::Exited {
            started_at: self.started.min(at),
            finished_at: at,
            exit_code,
            reason,
            message: String::new(),
        };
    }
}

pub(super) struct Sandbox {
    pub status: SandboxStatus,
    /// Ids of its containers.
    containers: BTreeSet<String>,
}

/// One node.
pub(super) struct Node {
    pub powered: bool,
    /// How often the power came back.
    pub boot: u32,
    pub images: BTreeSet<String>,
    pub sandboxes: BTreeMap<String, Sandbox>,
    pub containers: BTreeMap<String, Container>,
    /// Containers whose end is certain, by time.
    pub schedule: BTreeSet<(Time, String)>,
    /// Counts changes.
    pub version: u64,
    /// The version last observed or announced: who was told once looks again by itself.
    pub told: u64,
    wakers: Vec<Waker>,
    network: Ipv4Addr,
    next_address: u32,
    addresses: BTreeSet<Ipv4Addr>,
}

impl Node {
    pub fn new(network: Ipv4Addr) -> Self {
        Self {
            powered: true,
            boot: 0,
            images: BTreeSet::new(),
            sandboxes: BTreeMap::new(),
            containers: BTreeMap::new(),
            schedule: BTreeSet::new(),
            version: 0,
            told: 0,
            wakers: Vec::new(),
            network,
            next_address: 0,
            addresses: BTreeSet::new(),
        }
    }

    pub fn answers(&self) -> RuntimeResult<()> {
        self.powered.then_some(()).ok_or_else(unreachable)
    }

    /// Wakes someone at the next change; asking again changes nothing.
    pub fn wake_later(&mut self, waker: &Waker) {
        if !self.wakers.iter().any(|known| known.will_wake(waker)) {
            self.wakers.push(waker.clone());
        }
    }

    fn touch(&mut self) {
        self.version += 1;
        self.wakers.drain(..).for_each(Waker::wake);
    }

    /// Brings about what was scheduled up to `now`.
    pub fn pass(&mut self, now: Time) {
        while self.schedule.first().is_some_and(|(time, _)| *time <= now) {
            let (time, id) = self.schedule.pop_first().expect("the first was just seen");
            let container = self
                .containers
                .get_mut(&id)
                .expect("the schedule follows containers");
            let (_, how) = container.end.expect("what is scheduled has an end");
            container.finish(time, how);
            self.touch();
        }
    }

    /// Lets a running container end at `time`, unless it ends earlier anyway.
    pub fn end_at(&mut self, id: &str, time: Time, how: (i32, &'static str)) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        match container.end {
            Some((earlier, _)) if earlier <= time => return,
            Some((later, _)) => drop(self.schedule.remove(&(later, id.to_owned()))),
            None => {}
        }
        container.end = Some((time, how));
        self.schedule.insert((time, id.to_owned()));
        // Whoever sleeps until the next entry may have to wake earlier now.
        self.wakers.drain(..).for_each(Waker::wake);
    }

    pub fn start(
        &mut self,
        id: &str,
        now: Time,
        (ready, fails): (Time, Option<Time>),
    ) -> RuntimeResult<()> {
        let container = self
            .containers
            .get_mut(id)
            .ok_or_else(|| missing("container", id))?;
        if container.life != Life::Created {
            let why = format!("container {id} was started before");
            return Err(RuntimeError::new("StartError", why));
        }
        container.life = Life::Running;
        container.status.state = ContainerState::Running { started_at: now };
        (container.started, container.ready, container.fails) = (now, ready, fails);
        self.touch();
        Ok(())
    }

    /// Changes a running container's limits, unless its memory would not fit any more.
    pub fn update(&mut self, id: &str, limits: &CgroupLimits) -> RuntimeResult<()> {
        let container = self
            .containers
            .get_mut(id)
            .ok_or_else(|| missing("container", id))?;
        if container.life != Life::Running {
            let why = format!("container {id} is not running");
            return Err(RuntimeError::new("ContainerNotRunning", why));
        }
        fits(&container.status.limits, limits, container.profile.memory)?;
        container.status.limits = limits.clone();
        self.touch();
        Ok(())
    }

    /// Changes a sandbox's limits, unless the memory of its containers would not fit any more.
    pub fn update_sandbox(&mut self, id: &str, limits: &CgroupLimits) -> RuntimeResult<()> {
        let running = |one: &&Container| one.life == Life::Running;
        let used = self.of_sandbox(id).filter(running);
        let used = used.map(|one| one.profile.memory).sum();
        let sandbox = self
            .sandboxes
            .get_mut(id)
            .ok_or_else(|| missing("sandbox", id))?;
        fits(&sandbox.status.limits, limits, used)?;
        sandbox.status.limits = limits.clone();
        self.touch();
        Ok(())
    }

    /// An address no sandbox holds; addresses freed come back as late as possible.
    pub fn address(&mut self) -> RuntimeResult<IpAddr> {
        for _ in 0..ADDRESSES {
            let address = Ipv4Addr::from(u32::from(self.network) + 1 + self.next_address);
            self.next_address = (self.next_address + 1) % ADDRESSES;
            if self.addresses.insert(address) {
                return Ok(address.into());
            }
        }
        let why = "the node has no pod address left";
        Err(RuntimeError::new("FailedCreatePodSandBox", why))
    }

    pub fn add_sandbox(&mut self, status: SandboxStatus) {
        let containers = BTreeSet::new();
        let id = status.id.clone();
        self.sandboxes.insert(id, Sandbox { status, containers });
        self.touch();
    }

    pub fn stop_sandbox(&mut self, id: &str, now: Time) {
        let Some(sandbox) = self
            .sandboxes
            .get_mut(id)
            .filter(|sandbox| sandbox.status.ready)
        else {
            return;
        };
        sandbox.status.ready = false;
        let freed = std::mem::take(&mut sandbox.status.ips);
        self.free(&freed);
        let ids: Vec<String> = self
            .of_sandbox(id)
            .map(|one| one.status.id.clone())
            .collect();
        for id in ids {
            self.finish(&id, now, (137, "Error"));
        }
        self.touch();
    }

    fn free(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            if let IpAddr::V4(address) = address {
                self.addresses.remove(address);
            }
        }
    }

    fn finish(&mut self, id: &str, now: Time, how: (i32, &'static str)) {
        let container = self
            .containers
            .get_mut(id)
            .expect("the caller has just seen it");
        if let Some((planned, _)) = container.end.take() {
            self.schedule.remove(&(planned, id.to_owned()));
        }
        if container.life == Life::Running {
            container.finish(now, how);
        }
    }

    pub fn remove_sandbox(&mut self, id: &str) {
        let ids: Vec<String> = self
            .of_sandbox(id)
            .map(|one| one.status.id.clone())
            .collect();
        ids.iter().for_each(|id| self.remove_container(id));
        if self.sandboxes.remove(id).is_some() {
            self.touch();
        }
    }

    pub fn add_container(&mut self, status: ContainerStatus, profile: Profile) -> String {
        let id = status.id.clone();
        let container = Container {
            status,
            profile,
            life: Life::Created,
            started: Time::default(),
            ready: Time::default(),
            fails: None,
            end: None,
        };
        if let Some(sandbox) = self.sandboxes.get_mut(&container.status.sandbox_id) {
            sandbox.containers.insert(id.clone());
        }
        self.containers.insert(id.clone(), container);
        self.touch();
        id
    }

    pub fn remove_container(&mut self, id: &str) {
        if let Some(gone) = self.containers.remove(id) {
            if let Some(sandbox) = self.sandboxes.get_mut(&gone.status.sandbox_id) {
                sandbox.containers.remove(id);
            }
            if let Some((planned, _)) = gone.end {
                self.schedule.remove(&(planned, id.to_owned()));
            }
            self.touch();
        }
    }

    pub fn container(&self, id: &str) -> RuntimeResult<&Container> {
        self.containers
            .get(id)
            .ok_or_else(|| missing("container", id))
    }

    pub fn of_sandbox(&self, id: &str) -> impl Iterator<Item = &Container> {
        let ids = self
            .sandboxes
            .get(id)
            .into_iter()
            .flat_map(|sandbox| &sandbox.containers);
        ids.map(|id| &self.containers[id])
    }

    pub fn picture(&self, now: Time) -> NodeContainers {
        NodeContainers {
            observed_at: now,
            sandboxes: self
                .sandboxes
                .values()
                .map(|one| one.status.clone())
                .collect(),
            containers: self
                .containers
                .values()
                .map(|one| one.status.clone())
                .collect(),
        }
    }

    pub fn power_off(&mut self, now: Time) {
        self.pass(now);
        self.powered = false;
        let ids: Vec<String> = self.containers.keys().cloned().collect();
        ids.iter()
            .for_each(|id| self.finish(id, now, (LOST, "Unknown")));
        for sandbox in self.sandboxes.values_mut() {
            sandbox.status.ready = false;
            sandbox.status.ips.clear();
        }
        self.addresses.clear();
        self.touch();
    }

    pub fn power_on(&mut self) {
        if !self.powered {
            (self.powered, self.boot) = (true, self.boot + 1);
            self.touch();
        }
    }
}
