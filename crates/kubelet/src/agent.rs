//! The loop of one kubelet: a single task that owns all its pods, waits for anything to
//! happen, lets each pod's worker decide, and carries the steps out concurrently.
//!
//! Nothing here decides about containers, and nothing outside touches a worker. Upstream
//! counterpart: `syncLoop`.

use crate::{
    api::{PodChange, PodWatch},
    container::{self, PodContext},
    context::Context,
    node, resize,
    spec::ProbeKind,
    status::pod_status,
    steps::{self, pod_context},
    volumes,
    worker::{Life, Observed, Ready, StartError, Step, Worker},
};
use env::{BoxFuture, NodeContainers, RuntimeResult, Time};
use futures::{
    FutureExt, StreamExt, channel::mpsc::UnboundedReceiver, future::Fuse, select_biased,
    stream::FuturesUnordered,
};
use machinery::{Object, SmolStr, Status, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Delay before something that failed against the API is tried again.
pub(crate) const API_RETRY: Duration = Duration::from_secs(1);
/// Delay before the runtime is asked again after it failed.
pub(crate) const RUNTIME_RETRY: Duration = Duration::from_secs(1);
/// Probes of pods that start together are spread over this.
const PROBE_JITTER: Duration = Duration::from_millis(20);
/// How often resizes that have to wait are looked at anyway.
const RESIZE_RETRY: Duration = Duration::from_secs(180);
/// Time far away: nothing to wait for.
const NEVER: Time = Time(u64::MAX);
/// Results taken in before workers decide, so that a burst is one round.
const BURST: usize = 256;

pub(crate) type Uid = SmolStr;

/// What an activity reports.
pub(crate) enum Done {
    Registered(Result<(), Status>),
    /// The lease as it is now, if that is known.
    Lease(Option<Arc<Object>>),
    Reported,
    Watching(Result<Arc<dyn PodWatch>, Status>),
    Changes(Option<Vec<PodChange>>),
    RuntimeChanged,
    Observed(u64, RuntimeResult<NodeContainers>),
    SetUp(Uid, Result<Ready, String>),
    Started(Uid, SmolStr, Result<(), StartError>),
    Killed(Uid, Option<SmolStr>),
    Resized(Uid, Vec<SmolStr>, Result<(), String>),
    Released(Uid, bool),
    Deleted(Uid, Result<Value, Status>),
    Probed(Uid, SmolStr, (String, ProbeKind), Result<(), String>),
    Written(Uid, Value, Result<Value, Status>),
    Refreshed,
    Cleared(Uid),
    Nothing,
}

impl Done {
    /// Whether the runtime's picture is another one now.
    fn touches_runtime(&self) -> bool {
        matches!(
            self,
            Self::SetUp(..)
                | Self::Started(..)
                | Self::Killed(..)
                | Self::Resized(..)
                | Self::Released(..)
        )
    }
}

pub(crate) type Activity = BoxFuture<'static, Done>;

/// The loop's state.
pub struct Agent {
    context: Context,
    workers: BTreeMap<Uid, Worker>,
    /// Pods whose remains are being removed.
    orphans: BTreeSet<Uid>,
    activities: FuturesUnordered<Activity>,
    synced: bool,
    /// UIDs present in the watch being synced.
    syncing: BTreeSet<Uid>,
    watch: Option<Arc<dyn PodWatch>>,
    /// Finished steps, and whether the runtime must be asked.
    steps: u64,
    observing: bool,
    /// Whether the runtime's next change is waited for.
    listening: bool,
    stale: bool,
    observed_once: bool,
    dirty: BTreeSet<Uid>,
    /// When each worker wants to decide again.
    timers: BTreeSet<(Time, Uid)>,
    due: BTreeMap<Uid, Time>,
    lease: Option<Arc<Object>>,
    lease_at: Time,
    report_at: Time,
    refresh_at: Time,
    observe_at: Time,
    /// Whether resizes may be granted that could not be before, and when to look anyway.
    reallocate: bool,
    resize_at: Time,
}

impl Agent {
    /// An agent that has not begun.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            workers: BTreeMap::new(),
            orphans: BTreeSet::new(),
            activities: FuturesUnordered::new(),
            synced: false,
            syncing: BTreeSet::new(),
            watch: None,
            steps: 0,
            observing: false,
            listening: false,
            stale: true,
            observed_once: false,
            dirty: BTreeSet::new(),
            timers: BTreeSet::new(),
            due: BTreeMap::new(),
            lease: None,
            lease_at: NEVER,
            report_at: NEVER,
            refresh_at: NEVER,
            observe_at: NEVER,
            reallocate: false,
            resize_at: NEVER,
        }
    }

    /// Runs until `stop` ends.
    pub async fn run(mut self, mut stop: UnboundedReceiver<()>) {
        self.register(Duration::ZERO);
        self.round();
        loop {
            let clock = self.context.world.clock.clone();
            let mut timer: Fuse<BoxFuture<'static, ()>> =
                clock.sleep_until(self.next_time()).fuse();
            select_biased! {
                _ = stop.next() => return,
                done = self.activities.select_next_some() => self.take_in(done),
                () = timer => {}
            }
            for _ in 0..BURST {
                match self.activities.next().now_or_never() {
                    Some(Some(done)) => self.take_in(done),
                    _ => break,
                }
            }
            self.round();
        }
    }

    fn next_time(&self) -> Time {
        let worker = self.timers.first().map_or(NEVER, |(at, _)| *at);
        [
            worker,
            self.lease_at,
            self.report_at,
            self.refresh_at,
            self.observe_at,
            self.resize_at,
        ]
        .into_iter()
        .min()
        .unwrap_or(NEVER)
    }

    fn spawn(&mut self, activity: impl Future<Output = Done> + Send + 'static) {
        self.activities.push(Box::pin(activity));
    }

    fn register(&mut self, after: Duration) {
        let context = self.context.clone();
        self.spawn(async move {
            if !after.is_zero() {
                context.world.sleep(after).await;
            }
            Done::Registered(node::register(&context).await)
        });
    }

    fn await_runtime(&mut self) {
        let containers = self.context.containers.clone();
        self.spawn(async move {
            containers.changed().await;
            Done::RuntimeChanged
        });
    }

    fn open_watch(&mut self, after: Duration) {
        let context = self.context.clone();
        self.spawn(async move {
            if !after.is_zero() {
                context.world.sleep(after).await;
            }
            Done::Watching(context.api.watch_pods(&context.config.node_name).await)
        });
    }

    fn await_changes(&mut self) {
        if let Some(watch) = self.watch.clone() {
            self.spawn(async move { Done::Changes(watch.next().await) });
        }
    }

    fn now(&self) -> Time {
        self.context.world.now()
    }

    fn take_in(&mut self, done: Done) {
        let now = self.now();
        match done {
            Done::Registered(Ok(())) => {
                (self.lease_at, self.refresh_at) = (now, now + self.context.config.refresh_period);
                self.report_at = now + self.context.config.status_period;
                self.open_watch(Duration::ZERO);
            }
            Done::Registered(Err(_)) => self.register(API_RETRY),
            Done::Lease(lease) => {
                (self.lease, self.lease_at) = (lease, now + self.context.config.lease_period);
            }
            Done::Reported => self.report_at = now + self.context.config.status_period,
            Done::Refreshed => self.refresh_at = now + self.context.config.refresh_period,
            Done::Watching(Ok(watch)) => {
                self.watch = Some(watch);
                self.syncing.clear();
                self.await_changes();
            }
            Done::Watching(Err(_)) => self.open_watch(API_RETRY),
            Done::Changes(Some(changes)) => {
                changes
                    .into_iter()
                    .for_each(|change| self.pod_changed(change, now));
                self.await_changes();
            }
            Done::Changes(None) => {
                self.watch = None;
                self.open_watch(API_RETRY);
            }
            Done::RuntimeChanged => (self.stale, self.listening) = (true, false),
            Done::Observed(includes, result) => self.observed(includes, result, now),
            Done::Cleared(uid) => drop(self.orphans.remove(&uid)),
            Done::Nothing => {}
            about_a_pod => self.step_ended(about_a_pod, now),
        }
    }

    /// A step of a pod ended: the runtime must be looked at again before its worker decides.
    fn step_ended(&mut self, done: Done, now: Time) {
        let uid = match &done {
            Done::SetUp(uid, _)
            | Done::Started(uid, ..)
            | Done::Killed(uid, _)
            | Done::Resized(uid, ..)
            | Done::Released(uid, _)
            | Done::Deleted(uid, _)
            | Done::Probed(uid, ..)
            | Done::Written(uid, ..) => uid.clone(),
            _ => return,
        };
        let touches_runtime = done.touches_runtime();
        if touches_runtime {
            self.steps += 1;
            self.stale = true;
        }
        self.dirty.insert(uid.clone());
        let (steps, context) = (self.steps, self.context.clone());
        let Some(worker) = self.workers.get_mut(&uid) else {
            return;
        };
        if touches_runtime {
            worker.acted(steps);
        }
        match done {
            Done::SetUp(_, Ok(ready)) => worker.set_up(Some(ready), now),
            Done::SetUp(_, Err(message)) => {
                worker.set_up(None, now);
                let (pod, context) = (worker.pod.clone(), context);
                self.spawn(async move {
                    let what = message
                        .split_once(": ")
                        .filter(|(reason, _)| !reason.contains(' '));
                    let (reason, text) = what.unwrap_or(("FailedMount", &message));
                    context
                        .event(&pod, "", true, (reason, text.to_owned()))
                        .await;
                    Done::Nothing
                });
            }
            Done::Started(_, name, result) => worker.start_ended(&name, result, now),
            Done::Resized(_, names, result) => {
                let news = worker.resized(&names, result, now);
                self.reallocate = true;
                self.tell(&uid, "ResizeError", true, news);
            }
            Done::Killed(_, Some(name)) => worker.tracked(&name).busy = false,
            // Containers that still run are killed again.
            Done::Killed(_, None) => worker.kill_ended(),
            Done::Released(_, true) => worker.life = Life::Released,
            Done::Released(_, false) => worker.releasing = false,
            Done::Deleted(_, Err(status)) if !status.is_not_found() && !status.is_conflict() => {
                worker.deleting = false;
            }
            Done::Probed(_, name, key, result) => self.probed(&uid, &name, (key, result), now),
            Done::Written(_, status, Ok(_)) => {
                (worker.writing, worker.written) = (false, Some(status));
            }
            Done::Written(_, _, Err(_)) => {
                // Whatever else happens to the pod, a refused write is not repeated at once: one
                // that is refused without waiting would spin.
                (worker.writing, worker.write_from) = (false, now + API_RETRY);
                self.wake(&uid, now + API_RETRY);
            }
            _ => {}
        }
    }

    /// Records an event about a pod, if there is anything to say.
    fn tell(&mut self, uid: &str, reason: &'static str, warning: bool, text: Option<String>) {
        let (Some(worker), Some(text)) = (self.workers.get(uid), text) else {
            return;
        };
        let (context, pod) = (self.context.clone(), worker.wanted.clone());
        self.spawn(async move {
            context.event(&pod, "", warning, (reason, text)).await;
            Done::Nothing
        });
    }

    /// Grants the resizes that the node has room for, in their order of precedence.
    fn allocate(&mut self, now: Time) {
        let mut waiting: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.life == Life::Alive && worker.failed.is_none())
            .filter(|(_, worker)| worker.wants_resize() && worker.spec.deletion.is_none())
            .map(|(uid, worker)| (resize::precedence(worker), uid.clone()))
            .collect();
        waiting.sort();
        self.resize_at = match waiting.is_empty() {
            true => NEVER,
            false => now + RESIZE_RETRY,
        };
        for (_, uid) in waiting {
            self.dirty.insert(uid.clone());
            let others = self.workers.iter().filter(|(other, _)| **other != uid);
            let others =
                others.filter(|(_, other)| matches!(other.life, Life::Alive | Life::Ending));
            let others = others.map(|(_, other)| other.pod.as_ref());
            let Some(pod) = self.workers.get(&uid).map(|worker| worker.wanted.clone()) else {
                continue;
            };
            let admitted = crate::admission::admit_resize(&pod, others, &self.context.config);
            let Some(worker) = self.workers.get_mut(&uid) else {
                continue;
            };
            match admitted {
                Ok(()) => {
                    let text = worker.grant();
                    self.tell(&uid, "ResizeStarted", false, Some(text));
                }
                Err((reason, message)) => {
                    let text = worker.put_off(reason, message, now);
                    let event = match reason {
                        "Infeasible" => "ResizeInfeasible",
                        _ => "ResizeDeferred",
                    };
                    self.tell(&uid, event, true, text);
                }
            }
        }
    }

    fn probed(
        &mut self,
        uid: &str,
        name: &str,
        ((id, kind), result): ((String, ProbeKind), Result<(), String>),
        now: Time,
    ) {
        let Some(worker) = self.workers.get_mut(uid) else {
            return;
        };
        worker.probed(name, (&id, kind), result.is_ok(), now);
        let Err(output) = result else { return };
        let Some(field) = worker
            .container(name)
            .map(|container| container.field_path())
        else {
            return;
        };
        let (context, pod) = (self.context.clone(), worker.pod.clone());
        let text = format!("{} probe failed: {output}", kind.word());
        self.spawn(async move {
            context.event(&pod, &field, true, ("Unhealthy", text)).await;
            Done::Nothing
        });
    }

    fn pod_changed(&mut self, change: PodChange, now: Time) {
        self.reallocate = true;
        match change {
            PodChange::Is(pod) => {
                let uid = Uid::new(pod.uid());
                self.syncing.insert(uid.clone());
                self.dirty.insert(uid.clone());
                match self.workers.get_mut(&uid) {
                    Some(worker) => worker.update(pod),
                    None => self.add_pod(uid, pod, now),
                }
            }
            PodChange::Gone(pod) => self.pod_gone(pod.uid()),
            PodChange::Synced => {
                self.synced = true;
                let lost = |uid: &&Uid| !self.syncing.contains(*uid);
                let lost: Vec<Uid> = self.workers.keys().filter(lost).cloned().collect();
                lost.iter().for_each(|uid| self.pod_gone(uid));
                self.stale = true;
            }
        }
    }

    fn pod_gone(&mut self, uid: &str) {
        if let Some(worker) = self.workers.get_mut(uid) {
            worker.gone = true;
            self.dirty.insert(uid.into());
        }
    }

    fn add_pod(&mut self, uid: Uid, pod: Arc<Object>, now: Time) {
        let mut worker = Worker::new(pod, now);
        worker.probe_jitter =
            PROBE_JITTER * (self.context.world.entropy.next_u64() % 100) as u32 / 100;
        let phase = worker.pod.at("status.phase").str();
        if ["Succeeded", "Failed"].contains(&phase) {
            // Over before this agent began; only what is left on the node remains to be done.
            worker.written = Some(worker.pod.at("status").to_value());
            (worker.life, worker.settled) = (Life::Ended, true);
        } else if worker.pod.at("status.startTime").is_null() && !worker.pod.is_deleting() {
            let active = self
                .workers
                .values()
                .filter(|other| other.life == Life::Alive);
            let others = active.map(|other| other.pod.as_ref());
            worker.failed =
                crate::admission::admit(&worker.pod, others, &self.context.config).err();
        }
        if let Some((reason, message)) = worker.failed.clone() {
            let (context, pod) = (self.context.clone(), worker.pod.clone());
            self.spawn(async move {
                context.event(&pod, "", true, (&reason, message)).await;
                Done::Nothing
            });
        }
        self.workers.insert(uid, worker);
        self.stale = true;
    }

    fn observed(&mut self, includes: u64, result: RuntimeResult<NodeContainers>, now: Time) {
        self.observing = false;
        if !std::mem::replace(&mut self.listening, true) {
            self.await_runtime();
        }
        let Ok(seen) = result else {
            self.observe_at = now + RUNTIME_RETRY;
            return;
        };
        self.observed_once = true;
        let mut by_pod: BTreeMap<Uid, Observed> = BTreeMap::new();
        for sandbox in seen.sandboxes {
            let pod = by_pod.entry(sandbox.pod_uid.as_str().into()).or_default();
            pod.sandboxes.push(sandbox.id.clone());
            if pod
                .sandbox
                .as_ref()
                .is_none_or(|known| known.attempt <= sandbox.attempt)
            {
                pod.sandbox = Some(sandbox);
            }
        }
        for container in seen.containers {
            let pod = by_pod.entry(container.pod_uid.as_str().into()).or_default();
            pod.containers
                .entry(container.name.as_str().into())
                .or_default()
                .push(container);
        }
        for pod in by_pod.values_mut() {
            for instances in pod.containers.values_mut() {
                instances.sort_by_key(|instance| instance.attempt);
            }
        }
        for (uid, worker) in &mut self.workers {
            let mut now_seen = by_pod.remove(uid).unwrap_or_default();
            now_seen.includes = includes;
            let same = worker.observed.sandbox == now_seen.sandbox
                && worker.observed.containers == now_seen.containers;
            if !same || worker.observed.includes < includes {
                self.dirty.insert(uid.clone());
            }
            worker.observed = now_seen;
        }
        if self.synced {
            by_pod
                .into_iter()
                .for_each(|(uid, left)| self.clear_orphan(uid, left));
        }
    }

    /// Something runs for a pod that no longer exists.
    fn clear_orphan(&mut self, uid: Uid, left: Observed) {
        if !self.orphans.insert(uid.clone()) {
            return;
        }
        let containers = self.context.containers.clone();
        self.spawn(async move {
            for id in &left.sandboxes {
                // What cannot be removed now is found again by a later agent.
                let _ = containers.stop_sandbox(id).await;
                let _ = containers.remove_sandbox(id).await;
            }
            let _ = containers.release_volumes(&uid).await;
            Done::Cleared(uid)
        });
    }

    fn wake(&mut self, uid: &Uid, at: Time) {
        if let Some(known) = self.due.get(uid).copied() {
            if known <= at {
                return;
            }
            self.timers.remove(&(known, uid.clone()));
        }
        self.due.insert(uid.clone(), at);
        self.timers.insert((at, uid.clone()));
    }

    /// Everything that is due: heartbeats, an observation, and the workers' decisions.
    fn round(&mut self) {
        let now = self.now();
        self.heartbeats(now);
        while let Some((at, uid)) = self.timers.first().cloned().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, uid.clone()));
            self.due.remove(&uid);
            self.dirty.insert(uid);
        }
        if self.observe_at <= now {
            (self.observe_at, self.stale) = (NEVER, true);
        }
        if self.stale && !self.observing {
            (self.stale, self.observing) = (false, true);
            let (containers, includes) = (self.context.containers.clone(), self.steps);
            self.spawn(async move { Done::Observed(includes, containers.observe().await) });
        }
        if !self.observed_once || !self.synced {
            return;
        }
        if std::mem::take(&mut self.reallocate) || self.resize_at <= now {
            self.allocate(now);
        }
        for uid in std::mem::take(&mut self.dirty) {
            self.decide(&uid, now);
        }
    }

    fn heartbeats(&mut self, now: Time) {
        if self.lease_at <= now {
            self.lease_at = NEVER;
            let (context, known) = (self.context.clone(), self.lease.take());
            self.spawn(async move {
                // A failed renewal is followed by the next one, which reads the lease first.
                let lease = node::renew_lease(&context, known).await.unwrap_or_default();
                if node::is_doubted(&context).await {
                    let _ = node::report(&context).await;
                }
                Done::Lease(lease)
            });
        }
        if self.report_at <= now {
            self.report_at = NEVER;
            let context = self.context.clone();
            self.spawn(async move {
                if node::report(&context)
                    .await
                    .is_err_and(|status| status.is_not_found())
                {
                    // Someone deleted the Node: it comes back as upstream's does.
                    let _ = node::register(&context).await;
                }
                Done::Reported
            });
        }
        if self.refresh_at <= now {
            self.refresh_at = NEVER;
            self.refresh();
        }
    }

    /// Brings mounted configuration and tokens of all pods up to date.
    fn refresh(&mut self) {
        let pods: Vec<PodContext> = self
            .workers
            .values()
            .filter_map(|worker| {
                let alive = worker.life == Life::Alive && !worker.setup_busy;
                let changes = worker
                    .pod
                    .at("spec.volumes")
                    .items()
                    .any(volumes::refreshes);
                (alive && changes).then(|| pod_context(&self.context, worker))?
            })
            .collect();
        self.spawn(async move {
            for pod in pods {
                for volume in pod
                    .pod
                    .at("spec.volumes")
                    .items()
                    .filter(|one| volumes::refreshes(*one))
                {
                    // A source that vanished leaves the old content in place, as upstream.
                    let _ = volumes::prepare(&pod.context, &pod.downward(), volume).await;
                }
            }
            Done::Refreshed
        });
    }

    fn decide(&mut self, uid: &Uid, now: Time) {
        let Some(worker) = self.workers.get_mut(uid) else {
            return;
        };
        let mut again = NEVER;
        let uses = |worker: &Worker| matches!(worker.life, Life::Alive | Life::Ending);
        let used = uses(worker);
        let steps = worker.plan(now, &mut again);
        // What it leaves may be what another pod waits for.
        self.reallocate |= used && !uses(worker);
        let probes = worker.due_probes(now, &mut again);
        for step in steps {
            self.carry_out(uid, step);
        }
        for (name, kind) in probes {
            self.probe(uid, name, kind);
        }
        self.write_status(uid, now);
        if again < NEVER {
            self.wake(uid, again);
        }
        if self.workers.get(uid).is_some_and(Worker::forgettable) {
            self.forget(uid);
        }
    }

    fn forget(&mut self, uid: &Uid) {
        let Some(worker) = self.workers.remove(uid) else {
            return;
        };
        let sandboxes = worker.observed.sandboxes;
        let (containers, tokens, uid) = (
            self.context.containers.clone(),
            self.context.tokens.clone(),
            uid.clone(),
        );
        self.orphans.insert(uid.clone());
        self.spawn(async move {
            for id in &sandboxes {
                // What cannot be removed now is found again by a later agent.
                let _ = containers.remove_sandbox(id).await;
            }
            tokens
                .lock()
                .expect("no holder panics")
                .retain(|(pod, _), _| *pod != uid);
            Done::Cleared(uid)
        });
    }

    fn carry_out(&mut self, uid: &Uid, step: Step) {
        let Some(worker) = self.workers.get(uid) else {
            return;
        };
        self.activities
            .extend(steps::activity(&self.context, worker, step));
    }

    fn probe(&mut self, uid: &Uid, name: SmolStr, kind: ProbeKind) {
        let Some(worker) = self.workers.get(uid) else {
            return;
        };
        let Some(pod) = pod_context(&self.context, worker) else {
            return;
        };
        let Some(container) = worker.container(&name).cloned() else {
            return;
        };
        let Some(tracked) = worker.tracked.get(&name) else {
            return;
        };
        let (uid, id) = (uid.clone(), tracked.id.clone());
        let timeout = container
            .probes
            .iter()
            .find(|probe| probe.kind == kind)
            .map(|probe| probe.timeout);
        let timeout = timeout.unwrap_or(Duration::from_secs(1));
        self.spawn(async move {
            let result = container::probe(&pod, &container, (kind.field(), &id), timeout).await;
            Done::Probed(uid, name, (id, kind), result)
        });
    }

    /// Writes the pod's status if it differs from what was written last; one write at a time.
    fn write_status(&mut self, uid: &Uid, now: Time) {
        let Some(worker) = self.workers.get_mut(uid) else {
            return;
        };
        let over = worker.gone || worker.deleting || worker.settled;
        if over
            || worker.writing
            || now < worker.write_from
            || worker.written.is_some()
                && worker.life == Life::Released
                && worker.spec.deletion.is_none()
        {
            return;
        }
        if let Some(until) = worker.silent_until().filter(|until| *until > now) {
            return self.wake(uid, until);
        }
        let status = pod_status(worker, &self.context.config.internal_ips, now);
        if worker.written.as_ref() == Some(&status) {
            return;
        }
        worker.writing = true;
        let (context, pod, uid) = (self.context.clone(), worker.pod.clone(), uid.clone());
        self.spawn(async move {
            let result = steps::write_status(&context, &pod, &status).await;
            Done::Written(uid, status, result)
        });
    }
}
