//! The scheduler as a brain: takes in the log, decides for a batch of pods, hears of outcomes.
//!
//! Upstream counterpart: `scheduler.go` and `eventhandlers.go`.

use crate::{
    cache::Cache,
    cycle::{self, Failure},
    framework::{Cycle, Events, Permit, Plugin, default_plugins},
    plugins,
    pod::{PodInfo, Spread, spread},
    preemption::{Candidate, Search},
    queue::{Queue, Queued},
    resources::is_resizing,
};
use env::Time;
use machinery::{LabelSelector, Object, SmolStr, Status, Value, format_time, json};
use reconcile::{Action, Brain, Change, Decision, Preconditions, Propagation, Target, View, Work};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Most pods decided at once, so that bindings start while others still wait.
const BATCH: usize = 512;
/// How long a pod may wait for its claims before it gives up its node.
const BIND_TIMEOUT: Duration = Duration::from_secs(600);
/// More added pods than this between decisions wake everyone who waits for pods.
const REMEMBERED_PODS: usize = 64;

const PODS: &str = "pods";
const STORAGE: [&str; 3] = [
    "persistentvolumeclaims",
    "persistentvolumes",
    "storageclasses.storage.k8s.io",
];
const WORKLOADS: [(&str, &str); 3] = [
    ("ReplicaSet", "replicasets.apps"),
    ("StatefulSet", "statefulsets.apps"),
    ("ReplicationController", "replicationcontrollers"),
];
/// The system's soft spreading: (topology key, maximal skew).
const DEFAULT_SPREAD: [(&str, i64); 2] = [
    ("kubernetes.io/hostname", 3),
    ("topology.kubernetes.io/zone", 5),
];

/// What a unit of work was for.
#[derive(Clone, Debug)]
enum Purpose {
    /// Binding, or preparing to: the pod's UID.
    Bind(SmolStr),
}

/// A pod that holds a node while its claims are bound.
#[derive(Clone, Debug)]
struct Held {
    node: SmolStr,
    until: Time,
}

/// What has happened since the last decision.
#[derive(Clone, Debug, Default)]
struct News {
    events: Events,
    touched: BTreeSet<usize>,
    added: Vec<Arc<PodInfo>>,
}

/// The scheduler.
pub struct Scheduler {
    pub(crate) name: SmolStr,
    pub(crate) plugins: Arc<[Box<dyn Plugin>]>,
    pub(crate) cache: Cache,
    queue: Queue,
    start: cycle::Start,
    last_id: u64,
    work: BTreeMap<u64, Purpose>,
    held: BTreeMap<SmolStr, Held>,
    news: News,
    services: BTreeMap<SmolStr, BTreeMap<SmolStr, LabelSelector>>,
    now: Time,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::new("default-scheduler")
    }
}

impl Scheduler {
    /// A scheduler for the pods whose `schedulerName` is `name`, with the default profile.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            plugins: default_plugins(),
            cache: Cache::default(),
            queue: Queue::default(),
            start: 0,
            last_id: 0,
            work: BTreeMap::new(),
            held: BTreeMap::new(),
            news: News::default(),
            services: BTreeMap::new(),
            now: Time::default(),
        }
    }

    /// Numbers of pending pods: active, backing off, unschedulable, gated.
    pub fn pending(&self) -> [usize; 4] {
        self.queue.lengths()
    }

    fn observe_pod(&mut self, change: &Change) {
        let (old, new) = (change.old.as_deref(), change.new.as_deref());
        if let Some(old) = old.filter(|old| new.is_none_or(|new| new.uid() != old.uid())) {
            self.forget(old.uid());
        }
        let Some(new) = new else { return };
        let ended = ["Succeeded", "Failed"].contains(&new.at("status.phase").str());
        let node = new.at("spec.nodeName").str();
        if ended || node.is_empty() && new.is_deleting() {
            self.forget(new.uid());
        } else if !node.is_empty() {
            self.observe_assigned(new, old, node);
        } else if new
            .at("spec.schedulerName")
            .as_str()
            .unwrap_or("default-scheduler")
            == self.name
        {
            self.observe_pending(new, old);
        }
    }

    fn forget(&mut self, uid: &str) {
        if let Some(pod) = self.queue.remove(uid) {
            self.cache.nominate(&pod, None);
        }
        self.held.remove(uid);
        if let Some(slot) = self.cache.remove(uid) {
            self.news.touched.insert(slot);
            self.news.events = self.news.events.or(Events::POD_REMOVED);
        }
    }

    fn observe_assigned(&mut self, new: &Object, old: Option<&Object>, node: &str) {
        let known = self
            .cache
            .placed(new.uid())
            .map(|slot| self.cache.nodes[slot].name == node);
        let resizing = |pod: &Object| is_resizing(pod.at("spec"), pod.at("status"));
        let same = |old: &Object| same_demands(old, new) && !resizing(old) && !resizing(new);
        if known == Some(true) && old.is_some_and(same) {
            self.settle(new.uid());
            return;
        }
        let pod = Arc::new(PodInfo::read(new));
        self.cache.place(pod.clone(), node);
        self.settle(new.uid());
        if self.queue.has_unschedulable() && self.news.added.len() <= REMEMBERED_PODS {
            self.news.added.push(pod);
        }
        self.news.touched.extend(self.cache.placed(new.uid()));
        self.news.events = self.news.events.or(Events::POD_ADDED);
    }

    /// The pod has its node for good.
    fn settle(&mut self, uid: &str) {
        if let Some(pod) = self.queue.remove(uid) {
            self.cache.nominate(&pod, None);
            if self.queue.has_unschedulable() && self.news.added.len() <= REMEMBERED_PODS {
                self.news.added.push(pod);
            }
            self.news.events = self.news.events.or(Events::POD_ADDED);
        }
        self.held.remove(uid);
    }

    fn observe_pending(&mut self, new: &Object, old: Option<&Object>) {
        let same = old.is_some_and(|old| old.uid() == new.uid() && same_demands(old, new));
        let known = self.queue.get(new.uid());
        let nominated = new.at("status.nominatedNodeName").str();
        if same && known.is_some_and(|known| known.pod.nominated == nominated) {
            return;
        }
        let (known, pod) = (known.is_some(), Arc::new(PodInfo::read(new)));
        if self.cache.placed(&pod.uid).is_none() {
            self.cache.nominate(&pod, self.cache.slot(nominated));
        }
        if same && known {
            return self.queue.replace(pod);
        }
        let gated = self
            .plugins
            .iter()
            .any(|plugin| plugin.pre_enqueue(&pod).is_some());
        self.queue.set(pod, gated, self.now);
    }

    fn observe_node(&mut self, change: &Change) {
        let Some(new) = &change.new else {
            self.cache.remove_node(&change.key.name);
            return;
        };
        self.news.touched.insert(self.cache.set_node(new));
        let Some(old) = &change.old else {
            self.news.events = self.news.events.or(Events::NODE_ADDED);
            return;
        };
        for (path, event) in [
            ("status.allocatable", Events::NODE_RESOURCES),
            ("metadata.labels", Events::NODE_LABELS),
            ("spec", Events::NODE_TAINTS),
        ] {
            if old.at(path) != new.at(path) {
                self.news.events = self.news.events.or(event);
            }
        }
    }

    fn observe_service(&mut self, change: &Change) {
        let namespace = self
            .services
            .entry(change.key.namespace.clone())
            .or_default();
        let selector = change
            .new
            .as_ref()
            .map(|service| service.at("spec.selector"));
        match selector.filter(|selector| !selector.is_null()) {
            Some(selector) => {
                namespace.insert(change.key.name.clone(), LabelSelector::from_map(selector))
            }
            None => namespace.remove(&change.key.name),
        };
    }

    fn wake(&mut self, now: Time) {
        let news = std::mem::take(&mut self.news);
        if news.events == Events::NONE {
            return;
        }
        let cache = &self.cache;
        let helps = |queued: &Queued| helps(cache, &news, queued);
        self.queue.wake(news.events, now, helps);
    }

    pub(crate) fn default_spread(&self, view: &View, pod: &PodInfo) -> Vec<Spread> {
        if !pod.spread.is_empty() {
            return Vec::new();
        }
        let mut selector = LabelSelector::everything();
        let label = |key: &str| crate::matching::label(&pod.labels, key);
        let services = self
            .services
            .get(&pod.namespace)
            .into_iter()
            .flat_map(BTreeMap::values);
        for service in services.filter(|service| service.matches(label)) {
            selector
                .requirements
                .extend(service.requirements.iter().cloned());
        }
        let owner = pod.owner.as_ref().and_then(|(kind, name, uid)| {
            let (_, resource) = WORKLOADS.iter().find(|(known, _)| known == kind)?;
            view.get(resource, &pod.namespace, name)
                .filter(|owner| owner.uid() == uid)
        });
        if let Some(owner) = owner {
            let wanted = owner.at("spec.selector");
            let plain =
                wanted.get("matchLabels").is_null() && wanted.get("matchExpressions").is_null();
            let own = if plain {
                LabelSelector::from_map(wanted)
            } else {
                LabelSelector::from_ref(wanted)
            };
            selector.requirements.extend(own.requirements);
        }
        if selector.requirements.is_empty() {
            return Vec::new();
        }
        let made = DEFAULT_SPREAD.iter().map(|(key, max_skew)| Spread {
            max_skew: *max_skew,
            ..spread(&pod.namespace, selector.clone(), key)
        });
        made.collect()
    }

    fn next_work(&mut self, purpose: Option<Purpose>, actions: Vec<Action>) -> Work {
        self.last_id += 1;
        if let Some(purpose) = purpose {
            self.work.insert(self.last_id, purpose);
        }
        Work {
            id: self.last_id,
            actions,
        }
    }

    fn attempt(&mut self, view: &View, pod: &Arc<PodInfo>, now: Time) -> Vec<Work> {
        let default_spread = self.default_spread(view, pod);
        self.cache.prepare(pod, &default_spread);
        let plugins = self.plugins.clone();
        let cycle = Cycle {
            cache: &self.cache,
            view,
            pod,
            default_spread: &default_spread,
        };
        match cycle::find(&plugins, &cycle, &mut self.start) {
            Ok(slot) => self.reserve(view, pod, slot, now),
            Err(failure) => {
                let search = Search {
                    plugins: &plugins,
                    view,
                    pod,
                    default_spread: &default_spread,
                };
                let preempted = (failure.nodes > 0).then(|| search.run(&mut self.cache, &failure));
                self.give_up(view, pod, (failure, preempted), now)
            }
        }
    }

    /// Assumes the pod on its node, then binds now or once its claims are ready.
    fn reserve(&mut self, view: &View, pod: &Arc<PodInfo>, slot: usize, now: Time) -> Vec<Work> {
        let node = self.cache.nodes[slot].name.clone();
        self.cache.place(pod.clone(), &node);
        match self.before_bind(view, pod, &node) {
            None => vec![self.bind(view, pod, &node)],
            Some(actions) => {
                self.held.insert(
                    pod.uid.clone(),
                    Held {
                        node,
                        until: now + BIND_TIMEOUT,
                    },
                );
                vec![self.next_work(Some(Purpose::Bind(pod.uid.clone())), actions)]
            }
        }
    }

    /// What stands between the pod and its binding.
    fn before_bind(&self, view: &View, pod: &PodInfo, node: &str) -> Option<Vec<Action>> {
        let node = &self.cache.nodes[self.cache.slot(node)?];
        let cycle = Cycle {
            cache: &self.cache,
            view,
            pod,
            default_spread: &[],
        };
        let waits = |plugin: &dyn Plugin| plugin.permit(&cycle, node) == Permit::Wait;
        let mut held = None;
        for plugin in self.plugins.iter() {
            let actions = plugin.pre_bind(&cycle, node);
            if actions.is_some() || waits(plugin.as_ref()) {
                held.get_or_insert_with(Vec::new)
                    .extend(actions.unwrap_or_default());
            }
        }
        held
    }

    fn bind(&mut self, view: &View, pod: &PodInfo, node: &str) -> Work {
        let mut actions = vec![Action::Create {
            target: Target::new(PODS, &pod.namespace, &pod.name),
            subresource: "binding",
            object: json!({
                "apiVersion": "v1", "kind": "Binding",
                "metadata": {"name": &pod.name, "namespace": &pod.namespace, "uid": &pod.uid},
                "target": {"apiVersion": "v1", "kind": "Node", "name": node},
            }),
            existing_is_fine: false,
        }];
        let message = format!(
            "Successfully assigned {}/{} to {node}",
            pod.namespace, pod.name
        );
        actions.extend(event(view, pod, false, ("Scheduled", message)));
        self.next_work(Some(Purpose::Bind(pod.uid.clone())), actions)
    }

    fn give_up(
        &mut self,
        view: &View,
        pod: &Arc<PodInfo>,
        (failure, preempted): (Failure, Option<Result<Candidate, String>>),
        now: Time,
    ) -> Vec<Work> {
        let mut message = failure.message();
        let (mut actions, mut nominated) = (Vec::new(), None);
        match preempted {
            Some(Ok(candidate)) => {
                nominated = Some(self.cache.nodes[candidate.slot].name.clone());
                self.cache.nominate(pod, Some(candidate.slot));
                let node = nominated.as_deref().unwrap_or_default();
                for victim in &candidate.victims {
                    actions.extend(evict(view, pod, victim, (node, &self.name), now));
                }
            }
            Some(Err(why)) => message = format!("{message} {why}"),
            None => {}
        }
        let (wanted, resources_only) = wanted(&self.plugins, &failure);
        self.queue.failed(&pod.uid, wanted, resources_only, now);
        let mut report = Vec::new();
        report.extend(condition(view, pod, (&message, nominated.as_deref()), now));
        report.extend(event(view, pod, true, ("FailedScheduling", message)));
        report.extend(actions);
        vec![self.next_work(None, report)]
    }

    /// Pods whose claims are bound by now, and those that have waited too long.
    fn held_pods(&mut self, view: &View, now: Time) -> Vec<Work> {
        let mut work = Vec::new();
        for (uid, held) in self.held.clone() {
            let Some(pod) = self.cache.pod(&uid).cloned() else {
                self.held.remove(&uid);
                continue;
            };
            if self.before_bind(view, &pod, &held.node).is_none() {
                self.held.remove(&uid);
                work.push(self.bind(view, &pod, &held.node));
            } else if held.until <= now {
                self.release(&uid, now);
            }
        }
        work
    }

    /// The pod gives up the node it was assumed on.
    fn release(&mut self, uid: &str, now: Time) {
        self.held.remove(uid);
        if let Some(slot) = self.cache.remove(uid) {
            self.news.touched.insert(slot);
            self.news.events = self.news.events.or(Events::POD_REMOVED);
        }
        self.queue.retry(uid, now);
    }
}

impl Brain for Scheduler {
    fn name(&self) -> &'static str {
        "kube-scheduler"
    }

    fn resources(&self) -> Vec<SmolStr> {
        let own = [
            PODS,
            "nodes",
            "namespaces",
            "services",
            "poddisruptionbudgets.policy",
        ];
        let workloads = WORKLOADS.iter().map(|(_, resource)| *resource);
        own.into_iter()
            .chain(STORAGE)
            .chain(workloads)
            .map(SmolStr::new_static)
            .collect()
    }

    fn observe(&mut self, _: &View, change: &Change) {
        match change.resource.as_str() {
            PODS => self.observe_pod(change),
            "nodes" => self.observe_node(change),
            "namespaces" => self
                .cache
                .set_namespace(&change.key.name, change.new.as_deref()),
            "services" => self.observe_service(change),
            resource if STORAGE.contains(&resource) => {
                self.news.events = self.news.events.or(Events::STORAGE);
            }
            _ => {}
        }
    }

    fn decide(&mut self, view: &View, now: Time) -> Decision {
        self.now = now;
        self.wake(now);
        self.queue.flush(now);
        let mut decision = Decision {
            work: self.held_pods(view, now),
            again_at: None,
        };
        for _ in 0..BATCH {
            let Some(pod) = self.queue.pop(now) else {
                break;
            };
            decision.work.extend(self.attempt(view, &pod, now));
        }
        let due = self
            .queue
            .due()
            .into_iter()
            .chain(self.held.values().map(|held| held.until));
        decision.again_at = if self.queue.has_active() {
            Some(now)
        } else {
            due.min()
        };
        decision
    }

    fn finished(&mut self, id: u64, result: Result<u64, Status>, now: Time) {
        self.now = now;
        let Some(Purpose::Bind(uid)) = self.work.remove(&id) else {
            return;
        };
        // A pod that was observed on its node meanwhile is no longer ours to release.
        if result.is_err() && self.queue.get(&uid).is_some() {
            self.release(&uid, now);
        }
    }
}

/// Whether nothing that matters to scheduling differs.
fn same_demands(old: &Object, new: &Object) -> bool {
    let same_spec = old.at("spec") == new.at("spec") || {
        let without = |object: &Object| {
            let mut spec = object.at("spec").to_value();
            spec.remove_at(&["nodeName"]);
            spec
        };
        without(old) == without(new)
    };
    old.is_deleting() == new.is_deleting()
        && old.metadata().get("labels") == new.metadata().get("labels")
        && same_spec
}

/// Whether the news may let an unschedulable pod in: the queueing hints.
fn helps(cache: &Cache, news: &News, queued: &Queued) -> bool {
    let pod = &queued.pod;
    if queued.resources_only {
        let room = |slot: &usize| plugins::fit(pod, &cache.nodes[*slot]).is_ok();
        return news.touched.iter().any(room);
    }
    let only_added = news.events == Events::POD_ADDED && news.added.len() <= REMEMBERED_PODS;
    if !only_added {
        return true;
    }
    let spread = pod.spread.iter().map(|one| &one.term);
    let mut terms = pod.counted_terms().chain(spread);
    terms.any(|term| {
        news.added
            .iter()
            .any(|added| term.matcher.matches(added, &cache.namespaces))
    })
}

/// What may help a pod after a failure, and whether it only lacks resources.
fn wanted(plugins: &[Box<dyn Plugin>], failure: &Failure) -> (Events, bool) {
    let rejections = failure.rejections.iter().map(|(_, rejection)| rejection);
    let names: BTreeSet<_> = rejections
        .chain(&failure.outright)
        .map(|rejection| rejection.plugin)
        .collect();
    let of = |name: &&str| {
        let plugin = plugins.iter().find(|plugin| plugin.name() == *name);
        plugin.map_or(Events::ALL, |plugin| plugin.events())
    };
    let events = names.iter().map(of).fold(Events::NODE_ADDED, Events::or);
    (
        events,
        names.len() == 1 && names.contains("NodeResourcesFit"),
    )
}

fn event(
    view: &View,
    pod: &PodInfo,
    warning: bool,
    (reason, message): (&str, String),
) -> Option<Action> {
    let object = view.get(PODS, &pod.namespace, &pod.name)?;
    Some(Action::Event(reconcile::Event {
        about: reconcile::reference(object),
        warning,
        reason: reason.into(),
        message,
    }))
}

/// The conditions of a pod with one set; `None` if it is there already in all but time.
fn with_condition(object: &Object, mut condition: Value, now: Time) -> Option<Value> {
    let mut conditions = match object.at("status.conditions").to_value() {
        Value::Array(conditions) => conditions,
        _ => Vec::new(),
    };
    let kind = condition["type"].clone();
    let at = conditions.iter().position(|known| known["type"] == kind);
    let known = at.map(|at| conditions[at].clone()).unwrap_or_default();
    if ["status", "reason", "message"]
        .iter()
        .all(|field| known[*field] == condition[*field])
    {
        return None;
    }
    let moved = known["status"] != condition["status"];
    condition["lastTransitionTime"] = if moved {
        format_time(now.0).into()
    } else {
        known["lastTransitionTime"].clone()
    };
    condition["lastProbeTime"] = Value::Null;
    match at {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    Some(Value::Array(conditions))
}

/// Says in the pod's status why it is not scheduled.
fn condition(
    view: &View,
    pod: &PodInfo,
    (message, nominated): (&str, Option<&str>),
    now: Time,
) -> Option<Action> {
    let object = view.get(PODS, &pod.namespace, &pod.name)?;
    let condition = json!({
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": message, "observedGeneration": pod.generation,
    });
    let mut status = Value::object();
    if let Some(conditions) = with_condition(object, condition, now) {
        status["conditions"] = conditions;
    }
    if let Some(node) = nominated.filter(|node| pod.nominated != *node) {
        status["nominatedNodeName"] = node.into();
    }
    let patch = json!({"status": status});
    status_patch(pod, patch)
}

fn status_patch(pod: &PodInfo, patch: Value) -> Option<Action> {
    patch["status"]
        .as_object()
        .filter(|status| !status.is_empty())?;
    Some(Action::Patch {
        target: Target::new(PODS, &pod.namespace, &pod.name),
        subresource: "status",
        patch,
        when: Preconditions::uid(&pod.uid),
    })
}

/// Makes a victim leave, saying why.
fn evict(
    view: &View,
    pod: &PodInfo,
    victim: &PodInfo,
    (node, scheduler): (&str, &str),
    now: Time,
) -> Vec<Action> {
    let mut actions = Vec::new();
    if victim.terminating {
        return actions;
    }
    let message = format!("{scheduler}: preempting to accommodate a higher priority pod");
    let condition = json!({
        "type": "DisruptionTarget", "status": "True",
        "reason": "PreemptionByScheduler", "message": message,
    });
    let object = view.get(PODS, &victim.namespace, &victim.name);
    if let Some(conditions) = object.and_then(|object| with_condition(object, condition, now)) {
        actions.extend(status_patch(
            victim,
            json!({"status": {"conditions": conditions}}),
        ));
    }
    actions.push(Action::Delete {
        target: Target::new(PODS, &victim.namespace, &victim.name),
        when: Preconditions::uid(&victim.uid),
        grace_seconds: None,
        propagation: Propagation::Default,
    });
    let message = format!("Preempted by pod {} on node {node}", pod.uid);
    actions.extend(event(view, victim, false, ("Preempted", message)));
    actions
}
