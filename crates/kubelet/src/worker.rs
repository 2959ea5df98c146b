//! Everything one kubelet knows about one pod, and the one place that decides about it.
//!
//! [`Worker::plan`] is a pure function of spec, observation and time; the agent carries out
//! its steps and reports them back. Upstream counterpart: `pod_workers.go` and
//! `kuberuntime_manager.go`'s `computePodActions`.

use crate::{
    probes::ProbeState,
    resize::{self, Resizing, Update},
    spec::{ContainerSpec, PodSpec, ProbeKind, Role},
};
use env::{CgroupLimits, ContainerState, ContainerStatus, SandboxStatus, Time};
use machinery::{Object, SmolStr, Value};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// First delay of a crash loop or of failing pulls.
const BACKOFF: Duration = Duration::from_secs(10);
/// Longest such delay.
const BACKOFF_LIMIT: Duration = Duration::from_secs(300);
/// A container that makes way for another image is told of after this time, if the new one does
/// not run by then. Upstream looks at what runs this often.
const REPLACED_UNSEEN: Duration = Duration::from_secs(1);
/// After this long without trouble the delay starts anew.
const BACKOFF_RESET: Duration = Duration::from_secs(600);
/// Delay after a container could not be made for a reason of configuration.
const CONFIG_RETRY: Duration = Duration::from_secs(5);
/// Containers get at least this long to end, however short the grace has become.
const SHORTEST_GRACE: i64 = 2;

/// A delay that doubles, as client-go's `flowcontrol.Backoff`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    delay: Duration,
    updated: Time,
}

impl Backoff {
    /// Until when to wait after an event at `since`.
    pub fn until(&self, since: Time) -> Time {
        since + self.delay
    }

    /// The present delay.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Another try is made.
    pub fn next(&mut self, now: Time) {
        let reset = now.since(self.updated) > BACKOFF_RESET;
        self.delay = if self.delay.is_zero() || reset {
            BACKOFF
        } else {
            (self.delay * 2).min(BACKOFF_LIMIT)
        };
        self.updated = now;
    }
}

/// Why a container could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// `ErrImagePull`, `CreateContainerConfigError`, ...
    pub reason: SmolStr,
    /// Sentence.
    pub message: String,
    /// The image of a failed pull, which backs off on its own.
    pub image: Option<SmolStr>,
}

/// What the worker remembers of a container beyond what the runtime shows.
#[derive(Clone, Debug, Default)]
pub struct Tracked {
    /// A step about it is under way.
    pub busy: bool,
    /// Why it waits, for the status.
    pub waiting: Option<(SmolStr, String)>,
    crash: Backoff,
    pull: Backoff,
    /// The image that could not be pulled.
    unpulled: SmolStr,
    retry_at: Option<Time>,
    /// Runtime id the probes and flags below belong to.
    pub id: String,
    pub probes: Vec<ProbeState>,
    pub started: bool,
    pub ready: bool,
    /// Must be stopped: (event message, grace override).
    pub kill: Option<(String, Option<i64>)>,
    /// Starts again however it ends, and at once: it was stopped to be given other resources.
    pub anew: bool,
    /// Until when that it makes way for another image is not told: its successor is nearly there.
    pub unseen_until: Option<Time>,
    /// Resources it was started with, or changed to since; null if unknown.
    pub resources: Value,
}

impl Tracked {
    /// While a failed pull waits for its next try, that is what the container waits for.
    fn say_back_off(&mut self) {
        let failed = self
            .waiting
            .as_ref()
            .is_some_and(|(reason, _)| reason == "ErrImagePull");
        if failed {
            let message = format!("Back-off pulling image \"{}\"", self.unpulled);
            self.waiting = Some(("ImagePullBackOff".into(), message));
        }
    }

    /// Shows the crash loop; whether that is news.
    fn wait_for_crash(&mut self, name: &str, pod: &str) -> bool {
        let delay = self.crash.delay().as_secs();
        let text = match (delay / 60, delay % 60) {
            (0, seconds) => format!("{seconds}s"),
            (minutes, seconds) => format!("{minutes}m{seconds}s"),
        };
        let message = format!("back-off {text} restarting failed container={name} pod={pod}");
        let waiting = Some((SmolStr::new_static("CrashLoopBackOff"), message));
        let news = self.waiting != waiting;
        self.waiting = waiting;
        news
    }
}

/// What the runtime shows of a pod.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The newest sandbox.
    pub sandbox: Option<SandboxStatus>,
    /// All sandboxes' ids.
    pub sandboxes: Vec<String>,
    /// Containers by name, oldest attempt first.
    pub containers: BTreeMap<SmolStr, Vec<ContainerStatus>>,
    /// How many finished steps of this kubelet the observation includes.
    pub includes: u64,
}

impl Observed {
    /// The newest instance of a container.
    pub fn last(&self, name: &str) -> Option<&ContainerStatus> {
        self.containers.get(name)?.last()
    }

    /// The instance before the newest.
    pub fn previous(&self, name: &str) -> Option<&ContainerStatus> {
        self.containers.get(name)?.iter().rev().nth(1)
    }

    /// All running containers.
    pub fn running(&self) -> impl Iterator<Item = &ContainerStatus> {
        let all = self.containers.values().flatten();
        all.filter(|one| matches!(one.state, ContainerState::Running { .. }))
    }
}

/// Where a pod is in its life on this node.
#[derive(Clone, Debug, PartialEq)]
pub enum Life {
    /// Its containers should run.
    Alive,
    /// Its containers are being stopped.
    Ending,
    /// No container runs any more; what it held is being released.
    Ended,
    /// Nothing is left on the node.
    Released,
}

/// Something to carry out for a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make volumes available, then run a sandbox.
    Setup { attempt: u32 },
    /// Fetch the image, create and start a container.
    Start { name: SmolStr, attempt: u32 },
    /// Stop one container, with its preStop hook.
    Kill {
        name: SmolStr,
        id: String,
        message: String,
        grace: i64,
    },
    /// Stop all containers, main ones first.
    KillPod { grace: i64, hooks: bool },
    /// Change limits: first to whatever is larger, then the containers', then to the new ones.
    Resize {
        /// Id and limits in force.
        sandbox: (String, CgroupLimits),
        whole: CgroupLimits,
        updates: Vec<Update>,
    },
    /// Record an event about the pod.
    Say {
        warning: bool,
        reason: &'static str,
        message: String,
    },
    /// Forget an old instance of a container.
    Remove { id: String },
    /// Stop sandboxes and release volumes.
    Release,
    /// Remove the object: everything is over.
    Delete,
    /// Say that a container waits in a crash loop.
    BackOff { name: SmolStr },
}

/// What setting a pod up has made.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    /// Paths of volumes by name.
    pub volumes: BTreeMap<String, String>,
    /// Sandbox.
    pub sandbox: String,
    /// Addresses of the pod.
    pub ips: Vec<std::net::IpAddr>,
}

/// One pod.
pub struct Worker {
    /// The pod with its resources as this node has set them aside.
    pub pod: Arc<Object>,
    /// The pod as its object is.
    pub wanted: Arc<Object>,
    pub resizing: Resizing,
    pub spec: Arc<PodSpec>,
    pub life: Life,
    pub observed: Observed,
    pub tracked: BTreeMap<SmolStr, Tracked>,
    pub ready: Option<Arc<Ready>>,
    pub setup_busy: bool,
    setup_failures: u32,
    setup_retry: Option<Time>,
    /// Finished steps of the kubelet when the last one of this pod finished.
    acted: u64,
    /// Shortest grace the pod has been killed with, and how many such steps are under way.
    killing: Option<i64>,
    kills: u32,
    /// Spreads the probes of pods that started together.
    pub probe_jitter: Duration,
    /// The pod was over before this agent began: its status is not touched any more.
    pub settled: bool,
    pub releasing: bool,
    pub deleting: bool,
    /// The object is gone from the API.
    pub gone: bool,
    /// Why the pod failed as a whole: (reason, message).
    pub failed: Option<(SmolStr, String)>,
    pub started_at: Time,
    /// Status as last written, and whether a write is under way.
    pub written: Option<Value>,
    pub writing: bool,
    /// No status is written before this: the last write failed.
    pub write_from: Time,
    pub initialized: bool,
}

impl Worker {
    /// A pod newly seen at `now`.
    pub fn new(pod: Arc<Object>, now: Time) -> Self {
        let started = machinery::parse_time(pod.at("status.startTime").str());
        let allocated = match started {
            Some(_) => resize::recovered(&pod),
            None => resize::asked(&pod),
        };
        let wanted = pod;
        let pod = resize::as_allocated(&wanted, &allocated);
        let resizing = Resizing::of(allocated);
        let spec = Arc::new(PodSpec::read(&pod));
        Self {
            wanted,
            resizing,
            spec,
            life: Life::Alive,
            observed: Observed::default(),
            tracked: BTreeMap::new(),
            ready: None,
            setup_busy: false,
            setup_failures: 0,
            setup_retry: None,
            acted: 0,
            killing: None,
            kills: 0,
            probe_jitter: Duration::ZERO,
            settled: false,
            releasing: false,
            deleting: false,
            gone: false,
            failed: None,
            started_at: started.map_or(now, Time),
            written: None,
            writing: false,
            write_from: Time::default(),
            initialized: false,
            pod,
        }
    }

    /// Takes in a new form of the pod.
    pub fn update(&mut self, pod: Arc<Object>) {
        let deletion = |pod: &Object| {
            let meta = pod.metadata();
            (
                pod.is_deleting(),
                meta.get("deletionGracePeriodSeconds").i64(),
            )
        };
        let wanted = pod;
        let pod = resize::as_allocated(&wanted, &self.resizing.allocated);
        let same = self.pod.at("spec") == pod.at("spec") && deletion(&self.pod) == deletion(&pod);
        if !same {
            let spec = Arc::new(PodSpec::read(&pod));
            self.forget_failures(&spec);
            self.spec = spec;
        }
        (self.pod, self.wanted) = (pod, wanted);
        if !self.wants_resize() {
            self.resizing.pending = None;
        }
        if !self.writing && self.overwritten() {
            self.written = None;
        }
    }

    /// What another image has failed at says nothing of the one a container is to run now.
    fn forget_failures(&mut self, spec: &PodSpec) {
        for container in &spec.containers {
            let before = self.container(&container.name);
            if before.is_some_and(|before| before.image != container.image) {
                let tracked = self.tracked(&container.name);
                tracked.retry_at = None;
                (tracked.crash, tracked.pull) = Default::default();
            }
        }
    }

    /// Whether someone else has changed what this kubelet says of the pod.
    fn overwritten(&self) -> bool {
        let Some(written) = &self.written else {
            return false;
        };
        let ready = |status: &str, kind: &str| kind == "Ready" && status != "True";
        let present = self.pod.at("status");
        let shown = present.get("conditions").items();
        let shown = shown.map(|one| ready(one.get("status").str(), one.get("type").str()));
        let ours = written["conditions"].items().iter();
        let ours = ours.map(|one| ready(one["status"].str(), one["type"].str()));
        present.get("phase").str() != written["phase"].str()
            || shown.into_iter().any(|unready| unready) != ours.into_iter().any(|unready| unready)
    }

    /// Stopping the whole pod ended (its containers are looked at again).
    pub fn kill_ended(&mut self) {
        self.kills -= 1;
    }

    /// A container's memory.
    pub fn tracked(&mut self, name: &str) -> &mut Tracked {
        if !self.tracked.contains_key(name) {
            self.tracked.insert(name.into(), Tracked::default());
        }
        self.tracked.get_mut(name).expect("just inserted")
    }

    /// A container by name.
    pub fn container(&self, name: &str) -> Option<&ContainerSpec> {
        self.spec
            .containers
            .iter()
            .find(|container| container.name == name)
    }

    /// A step of this pod ended as the kubelet's step number `step`.
    pub fn acted(&mut self, step: u64) {
        self.acted = self.acted.max(step);
    }

    /// Setup ended.
    pub fn set_up(&mut self, result: Option<Ready>, now: Time) {
        self.setup_busy = false;
        match result {
            Some(ready) => {
                (self.ready, self.setup_failures, self.setup_retry) =
                    (Some(Arc::new(ready)), 0, None)
            }
            None => {
                self.setup_failures += 1;
                let (first, limit) = (Duration::from_millis(500), Duration::from_secs(122));
                self.setup_retry =
                    Some(now + reconcile::backoff(self.setup_failures, first, limit));
            }
        }
    }

    /// A start ended.
    pub fn start_ended(&mut self, name: &str, result: Result<(), StartError>, now: Time) {
        let tracked = self.tracked(name);
        tracked.busy = false;
        match result {
            Ok(()) => (tracked.waiting, tracked.retry_at) = (None, None),
            Err(error) => {
                if let Some(image) = error.image {
                    tracked.unpulled = image;
                    tracked.pull.next(now);
                    tracked.retry_at = Some(tracked.pull.until(now));
                } else {
                    tracked.retry_at = Some(now + CONFIG_RETRY);
                }
                tracked.waiting = Some((error.reason, error.message));
            }
        }
    }

    /// Whether the runtime's picture includes all this pod's finished steps.
    fn fresh(&self) -> bool {
        self.observed.includes >= self.acted
    }

    /// Until when nothing is told of the pod, because a container is being replaced. One whose
    /// successor has trouble is told of.
    pub fn silent_until(&self) -> Option<Time> {
        let replaced = |tracked: &&Tracked| tracked.anew && tracked.waiting.is_none();
        let replaced = self.tracked.values().filter(replaced);
        let until = replaced.filter_map(|tracked| tracked.unseen_until).max();
        until.filter(|_| self.life == Life::Alive)
    }

    /// Whether any step is under way.
    fn busy(&self) -> bool {
        let starting = self.tracked.values().any(|tracked| tracked.busy);
        self.setup_busy || self.resizing.busy || starting
    }

    /// Decides what to do now; `again` is lowered to when to decide again at the latest.
    pub fn plan(&mut self, now: Time, again: &mut Time) -> Vec<Step> {
        // What is shown and what is known of it go together, even where nothing is decided yet.
        self.follow_instances();
        if !self.fresh() {
            return Vec::new();
        }
        let over = self.spec.deletion.is_some() || self.gone || self.failed.is_some();
        if self.life == Life::Alive && (over || self.expired(now, again)) {
            self.life = Life::Ending;
        }
        match self.life {
            Life::Alive => self.plan_alive(now, again),
            Life::Ending => self.plan_ending(),
            Life::Ended => self.plan_ended(),
            Life::Released => self.plan_released(),
        }
    }

    fn expired(&mut self, now: Time, again: &mut Time) -> bool {
        let Some(deadline) = self.spec.deadline.map(|limit| self.started_at + limit) else {
            return false;
        };
        if deadline > now {
            *again = deadline.min(*again);
            return false;
        }
        let message = "Pod was active on the node longer than the specified deadline";
        self.failed = Some(("DeadlineExceeded".into(), message.into()));
        true
    }

    /// Resets flags and probes of containers whose instance changed.
    fn follow_instances(&mut self) {
        let jitter = self.probe_jitter;
        for container in &self.spec.clone().containers {
            let last = self.observed.last(&container.name);
            let running = last.and_then(|last| match last.state {
                ContainerState::Running { started_at } => Some((last.id.clone(), started_at)),
                _ => None,
            });
            let tracked = self.tracked(&container.name);
            match running {
                Some((id, started)) if tracked.id != id => {
                    tracked.id = id;
                    (tracked.kill, tracked.anew, tracked.unseen_until) = (None, false, None);
                    let has = |kind| container.probes.iter().any(|probe| probe.kind == kind);
                    tracked.started = !has(ProbeKind::Startup);
                    tracked.ready = tracked.started && !has(ProbeKind::Readiness);
                    let probes = container.probes.iter();
                    tracked.probes = probes
                        .map(|probe| ProbeState::new(probe, started, jitter))
                        .collect();
                }
                Some(_) => {}
                None => {
                    (tracked.id, tracked.kill) = (String::new(), None);
                    (tracked.started, tracked.ready) = (false, false);
                    tracked.probes.clear();
                }
            }
        }
    }

    fn plan_alive(&mut self, now: Time, again: &mut Time) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.finished() {
            self.life = Life::Ending;
            return self.plan_ending();
        }
        self.plan_resize(now, again, &mut steps);
        self.replace_changed(now);
        self.plan_kills(&mut steps);
        self.plan_removals(&mut steps);
        let lost = |ready: &Arc<Ready>| {
            let sandbox = self.observed.sandbox.as_ref();
            sandbox.is_none_or(|sandbox| sandbox.id == ready.sandbox && !sandbox.ready)
        };
        if self.ready.as_ref().is_some_and(lost) {
            self.ready = None;
        }
        if self.ready.is_none() {
            let retry = self.setup_retry.filter(|at| *at > now);
            if let Some(at) = retry {
                *again = at.min(*again);
            } else if !self.setup_busy {
                self.setup_busy = true;
                let known = self.observed.sandbox.as_ref();
                let attempt = known.map_or(0, |known| known.attempt + u32::from(!known.ready));
                steps.push(Step::Setup { attempt });
            }
            return steps;
        }
        self.plan_starts(now, again, &mut steps);
        steps
    }

    /// The newest instance of a container in the present sandbox.
    pub(crate) fn here(&self, name: &str) -> Option<&ContainerStatus> {
        let sandbox = &self.ready.as_ref()?.sandbox;
        self.observed
            .last(name)
            .filter(|last| last.sandbox_id == *sandbox)
    }

    /// Whether a main container was started in this sandbox: then initialization is over.
    fn main_begun(&self) -> bool {
        self.spec
            .of(&[Role::Main])
            .any(|container| self.here(&container.name).is_some())
    }

    fn plan_starts(&mut self, now: Time, again: &mut Time, steps: &mut Vec<Step>) {
        let spec = self.spec.clone();
        let begun = self.main_begun();
        for container in spec.of(&[Role::Ephemeral]) {
            self.plan_start(container, (now, again), steps);
        }
        for container in spec.of(&[Role::Init, Role::Sidecar]) {
            let passed = match container.role {
                Role::Init => {
                    let last = self.here(&container.name).map(|last| &last.state);
                    begun || matches!(last, Some(ContainerState::Exited { exit_code: 0, .. }))
                }
                _ => {
                    self.plan_start(container, (now, again), steps);
                    begun || self.tracked(&container.name).started
                }
            };
            if !passed {
                if container.role == Role::Init {
                    self.plan_start(container, (now, again), steps);
                }
                return;
            }
        }
        self.initialized = true;
        for container in spec.of(&[Role::Main]) {
            self.plan_start(container, (now, again), steps);
        }
    }

    fn exit_code(&self, name: &str) -> Option<i32> {
        match self.observed.last(name)?.state {
            ContainerState::Exited { exit_code, .. } => Some(exit_code),
            _ => None,
        }
    }

    fn plan_start(
        &mut self,
        container: &ContainerSpec,
        (now, again): (Time, &mut Time),
        steps: &mut Vec<Step>,
    ) {
        let name = &container.name;
        let sandbox = self
            .ready
            .as_ref()
            .map(|ready| ready.sandbox.clone())
            .unwrap_or_default();
        let last = self.observed.last(name).cloned();
        let full_name = crate::context::Context::full_name(&self.pod);
        let resources = resize::effective(&self.pod, container.raw(&self.pod));
        let tracked = self.tracked(name);
        if tracked.busy {
            return;
        }
        if let Some(at) = tracked.retry_at.filter(|at| *at > now) {
            *again = at.min(*again);
            tracked.say_back_off();
            return;
        }
        let Some(last) = last else {
            (tracked.busy, tracked.resources) = (true, resources);
            steps.push(Step::Start {
                name: name.clone(),
                attempt: 0,
            });
            return;
        };
        if let ContainerState::Exited {
            exit_code,
            finished_at,
            ..
        } = last.state
        {
            // A new sandbox is initialized anew.
            let anew = last.sandbox_id != sandbox && container.role == Role::Init;
            let anew = anew || tracked.anew;
            if !container.restarts_after(exit_code) && !anew {
                return;
            }
            let until = tracked.crash.until(finished_at);
            if until > now && !tracked.anew {
                *again = until.min(*again);
                if tracked.wait_for_crash(name, &full_name) {
                    steps.push(Step::BackOff { name: name.clone() });
                }
                return;
            }
            if !tracked.anew {
                tracked.crash.next(now);
            }
        }
        if matches!(last.state, ContainerState::Running { .. }) {
            return;
        }
        // One that was made but never started has failed to: the next attempt is a new one.
        let attempt = last.attempt + 1;
        (tracked.busy, tracked.resources) = (true, resources);
        steps.push(Step::Start {
            name: name.clone(),
            attempt,
        });
    }

    /// Containers that run another image than the pod's spec says by now make way for new ones,
    /// whatever the pod's restart policy.
    fn replace_changed(&mut self, now: Time) {
        let spec = self.spec.clone();
        for container in spec.of(&[Role::Sidecar, Role::Main]) {
            let name = &container.name;
            let changed = self.here(name).is_some_and(|last| {
                matches!(last.state, ContainerState::Running { .. })
                    && last.image != container.image.as_str()
            });
            let tracked = self.tracked(name);
            if !changed || tracked.busy || tracked.id.is_empty() {
                continue;
            }
            let message = match container.role {
                Role::Sidecar => format!("Init container {name} definition changed"),
                _ => format!("Container {name} definition changed, will be restarted"),
            };
            (tracked.kill, tracked.anew) = (Some((message, None)), true);
            tracked.unseen_until = Some(now + REPLACED_UNSEEN);
        }
    }

    fn plan_kills(&mut self, steps: &mut Vec<Step>) {
        let grace = self.spec.grace;
        for (name, tracked) in &mut self.tracked {
            if tracked.busy || tracked.id.is_empty() {
                continue;
            }
            if let Some((message, own)) = tracked.kill.take() {
                tracked.busy = true;
                let (name, id) = (name.clone(), tracked.id.clone());
                steps.push(Step::Kill {
                    name,
                    id,
                    message,
                    grace: own.unwrap_or(grace),
                });
            }
        }
    }

    /// All but the two newest instances of a container are forgotten.
    fn plan_removals(&mut self, steps: &mut Vec<Step>) {
        for instances in self.observed.containers.values() {
            let old = instances.len().saturating_sub(2);
            for instance in &instances[..old] {
                if !matches!(instance.state, ContainerState::Running { .. }) {
                    steps.push(Step::Remove {
                        id: instance.id.clone(),
                    });
                }
            }
        }
    }

    /// Whether all main containers have ended for good (or initialization has failed).
    fn finished(&self) -> bool {
        let over = |container: &ContainerSpec| {
            self.exit_code(&container.name)
                .is_some_and(|code| !container.restarts_after(code))
                && !resize::starts_anew(self, container)
        };
        let init_failed = |container: &ContainerSpec| {
            over(container) && self.exit_code(&container.name) != Some(0)
        };
        let main = || self.spec.of(&[Role::Main]);
        main().all(over) && main().next().is_some()
            || !main().any(|one| self.observed.last(&one.name).is_some())
                && self.spec.of(&[Role::Init]).any(init_failed)
    }

    fn grace(&self) -> i64 {
        let asked = self.spec.deletion.map(|(_, grace)| grace);
        let forced = self.gone.then_some(asked.unwrap_or(self.spec.grace));
        forced.or(asked).unwrap_or(self.spec.grace).max(1)
    }

    fn plan_ending(&mut self) -> Vec<Step> {
        let grace = self.grace();
        let running = self.observed.running().next().is_some();
        let shorter = self.killing.is_none_or(|under_way| grace < under_way);
        if running && (self.kills == 0 || shorter) {
            let hooks = self.killing.is_none();
            self.killing = Some(grace);
            self.kills += 1;
            return vec![Step::KillPod { grace, hooks }];
        }
        if running || self.kills > 0 || self.busy() {
            return Vec::new();
        }
        self.life = Life::Ended;
        self.plan_ended()
    }

    fn plan_ended(&mut self) -> Vec<Step> {
        if std::mem::replace(&mut self.releasing, true) {
            return Vec::new();
        }
        vec![Step::Release]
    }

    fn plan_released(&mut self) -> Vec<Step> {
        let waits = self.gone || self.deleting || self.writing || !self.last_word();
        if self.spec.deletion.is_none() || waits {
            return Vec::new();
        }
        self.deleting = true;
        vec![Step::Delete]
    }

    /// Whether watchers have been told how the pod ended: its object must not go before.
    fn last_word(&self) -> bool {
        let told = self.written.as_ref();
        told.is_some_and(|status| ["Succeeded", "Failed"].contains(&status["phase"].str()))
    }

    /// Whether nothing of the pod is left anywhere.
    pub fn forgettable(&self) -> bool {
        self.gone && self.life == Life::Released && !self.writing && !self.busy()
    }

    /// Probes that are due; lowers `again` to the next one.
    pub fn due_probes(&mut self, now: Time, again: &mut Time) -> Vec<(SmolStr, ProbeKind)> {
        let mut due = Vec::new();
        // An adopted pod is probed once its volumes and sandbox are known again.
        if self.life != Life::Alive || self.ready.is_none() {
            return due;
        }
        for (name, tracked) in &mut self.tracked {
            let started = tracked.started;
            for probe in &mut tracked.probes {
                if !started && probe.spec.kind != ProbeKind::Startup {
                    continue;
                }
                match probe.next {
                    Some(at) if at <= now => {
                        probe.next = None;
                        due.push((name.clone(), probe.spec.kind));
                    }
                    Some(at) => *again = at.min(*again),
                    None => {}
                }
            }
        }
        due
    }

    /// Takes in a probe's result for the instance `id`.
    pub fn probed(&mut self, name: &str, (id, kind): (&str, ProbeKind), success: bool, now: Time) {
        use crate::probes::Verdict;
        let tracked = self.tracked(name);
        if tracked.id != id {
            return;
        }
        let Some(probe) = tracked
            .probes
            .iter_mut()
            .find(|probe| probe.spec.kind == kind)
        else {
            return;
        };
        let (verdict, grace) = (probe.result(success, now), probe.spec.grace);
        match (kind, verdict) {
            (_, Verdict::Same) => {}
            (ProbeKind::Startup, Verdict::Passed) => {
                tracked.started = true;
                tracked.ready = !tracked
                    .probes
                    .iter()
                    .any(|one| one.spec.kind == ProbeKind::Readiness);
            }
            (ProbeKind::Readiness, verdict) => tracked.ready = verdict == Verdict::Passed,
            (_, Verdict::Failed) => {
                let word = kind.word().to_lowercase();
                let message = format!("Container {name} failed {word} probe, will be restarted");
                tracked.kill = Some((message, grace));
            }
            (ProbeKind::Liveness, Verdict::Passed) => {}
        }
    }
}

/// The grace left after `passed`, never less than the shortest.
pub fn remaining(grace: i64, passed: Duration) -> Duration {
    let left = grace - passed.as_secs() as i64;
    Duration::from_secs(left.max(SHORTEST_GRACE.min(grace.max(0))) as u64)
}
