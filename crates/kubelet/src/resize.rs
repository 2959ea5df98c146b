//! Resizing in place: what a pod is allocated, what it asks for, and what must change where.
//!
//! Pure; must not know other pods or the runtime. Upstream counterpart: `pkg/kubelet/allocation`
//! and `computePodResizeAction`.

use crate::{
    limits::{container_limits, pod_limits},
    spec::{ContainerSpec, Role},
    worker::{Step, Tracked, Worker},
};
use env::{CgroupLimits, ContainerState, Time};
use machinery::{Object, Quantity, Ref, SmolStr, Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Delay before a resize that failed is tried again, upstream's back-off of a pod's sync.
const RETRY: Duration = Duration::from_secs(10);
/// Up to this many thousandths of a CPU the kernel's number says nothing: it is its least.
const CPU_REQUEST_MIN: u64 = 2;
/// Lists of containers whose resources can change, as events order them.
const LISTS: [&str; 2] = ["initContainers", "containers"];
/// Resources that can change.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// `resources` by container; the pod's own has no name.
pub type Allocation = BTreeMap<SmolStr, Value>;

/// A resize that was asked for and not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// `Deferred` or `Infeasible`.
    pub reason: &'static str,
    pub message: String,
    /// Generation of the pod that asks for it.
    pub generation: i64,
    pub since: Time,
}

/// A resize that was granted and is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InProgress {
    /// Generation of the pod it was granted to.
    pub generation: i64,
    /// Why it did not succeed so far; empty if nothing went wrong.
    pub error: String,
}

/// What a worker knows of its pod's resources.
#[derive(Clone, Debug, Default)]
pub struct Resizing {
    /// What the node has set aside.
    pub allocated: Allocation,
    pub pending: Option<Pending>,
    pub in_progress: Option<InProgress>,
    /// A step is under way.
    pub busy: bool,
    retry_at: Option<Time>,
}

impl Resizing {
    /// Nothing under way.
    pub fn of(allocated: Allocation) -> Self {
        Self {
            allocated,
            ..Self::default()
        }
    }
}

/// What a pod's spec asks for.
pub fn asked(pod: &Object) -> Allocation {
    let spec = pod.at("spec");
    let own = (SmolStr::default(), spec.get("resources").to_value());
    let containers = LISTS.iter().flat_map(|list| spec.get(list).items());
    let of = |one: Ref<'_>| {
        (
            SmolStr::new(one.get("name").str()),
            one.get("resources").to_value(),
        )
    };
    std::iter::once(own).chain(containers.map(of)).collect()
}

/// What a pod that this node runs already was allocated, as its status tells.
pub fn recovered(pod: &Object) -> Allocation {
    let mut allocation = asked(pod);
    let status = pod.at("status");
    let lists = ["initContainerStatuses", "containerStatuses"];
    for one in lists.iter().flat_map(|list| status.get(list).items()) {
        let (shown, requests) = (one.get("resources"), one.get("allocatedResources"));
        let known = allocation.get_mut(one.get("name").str());
        if let (Some(known), false) = (known, shown.is_null()) {
            let mut resources = shown.to_value();
            if !requests.is_null() {
                resources["requests"] = requests.to_value();
            }
            // Claims are no part of the status and never change.
            if !known["claims"].is_null() {
                resources["claims"] = known["claims"].clone();
            }
            *known = resources;
        }
    }
    allocation
}

/// The pod with its resources as allocated: the same one where that is what it asks for.
pub fn as_allocated(pod: &Arc<Object>, allocated: &Allocation) -> Arc<Object> {
    let differs = |name: &str, own: Ref<'_>| {
        let known = allocated.get(name);
        known
            .filter(|known| !same(&own.to_value(), known))
            .is_some()
    };
    let spec = pod.at("spec");
    let containers = || LISTS.iter().flat_map(|list| spec.get(list).items());
    let changed = containers().any(|one| differs(one.get("name").str(), one.get("resources")))
        || differs("", spec.get("resources"));
    if !changed {
        return pod.clone();
    }
    let mut value = pod.to_value();
    // The revision stands beside an object, not in it.
    value.remove_at(&["metadata", "resourceVersion"]);
    let put = |into: &mut Value, resources: Option<&Value>| match resources {
        Some(Value::Null) => drop(into.remove_at(&["resources"])),
        Some(resources) => into["resources"] = resources.clone(),
        None => {}
    };
    put(&mut value["spec"], allocated.get(""));
    for list in LISTS {
        let containers = value.at_mut(&["spec", list]).and_then(Value::as_array_mut);
        for one in containers.into_iter().flatten() {
            let known = allocated.get(one["name"].str());
            put(one, known);
        }
    }
    Arc::new(Object::new(&value, pod.revision()))
}

fn quantity(value: &Value) -> Quantity {
    match value.as_i64() {
        Some(units) => Quantity::from_units(units, machinery::Format::DecimalSi),
        None => value.str().parse().unwrap_or(Quantity::ZERO),
    }
}

fn same_list(one: &Value, other: &Value) -> bool {
    let within = |one: &Value, other: &Value| {
        let mut entries = one.entries();
        entries.all(|(name, amount)| {
            other
                .get(name)
                .is_some_and(|known| quantity(known) == quantity(amount))
        })
    };
    within(one, other) && within(other, one)
}

/// Whether two `ResourceRequirements` ask for the same.
pub fn same(one: &Value, other: &Value) -> bool {
    ["requests", "limits"]
        .iter()
        .all(|list| same_list(&one[*list], &other[*list]))
}

/// Whether a change of these resources restarts the container, as its `resizePolicy` says.
fn restarts(raw: Ref<'_>, from: &Value, to: &Value) -> bool {
    let differs = |name: &str| {
        ["requests", "limits"]
            .iter()
            .any(|list| quantity(&from[*list][name]) != quantity(&to[*list][name]))
    };
    raw.get("resizePolicy").items().any(|policy| {
        policy.get("restartPolicy").str() == "RestartContainer"
            && differs(policy.get("resourceName").str())
    })
}

/// The larger of each limit; none is the largest.
pub fn larger(one: &CgroupLimits, other: &CgroupLimits) -> CgroupLimits {
    let limit = |one: Option<u64>, other: Option<u64>| Some(one?.max(other?));
    CgroupLimits {
        memory: limit(one.memory, other.memory),
        cpu_milli: limit(one.cpu_milli, other.cpu_milli),
        cpu_request_milli: one.cpu_request_milli.max(other.cpu_request_milli),
        pids: limit(one.pids, other.pids),
    }
}

/// Whether the limits a resize can change are the same.
fn equal(one: &CgroupLimits, other: &CgroupLimits) -> bool {
    let key = |limits: &CgroupLimits| (limits.memory, limits.cpu_milli, limits.cpu_request_milli);
    key(one) == key(other)
}

/// What an event about a resize says.
pub fn summary(what: &str, pod: &Object, generation: i64, error: &str) -> String {
    let mut text = json!({});
    for list in LISTS {
        let shown: Vec<Value> = pod
            .at("spec")
            .get(list)
            .items()
            .map(|one| {
                let resources = one.get("resources");
                let resources = match resources.is_null() {
                    true => Value::object(),
                    false => resources.to_value(),
                };
                json!({"name": one.get("name").str(), "resources": resources})
            })
            .collect();
        if !shown.is_empty() {
            text[list] = shown.into();
        }
    }
    text["generation"] = generation.into();
    if !error.is_empty() {
        text["error"] = error.into();
    }
    let text = serde_json::to_string(&text).unwrap_or_default();
    format!("Pod resize {what}: {text}")
}

/// A container whose cgroup must change: name, runtime id, new limits.
pub type Update = (SmolStr, String, CgroupLimits);

impl Worker {
    /// Whether the pod asks for other resources than it was allocated.
    pub fn wants_resize(&self) -> bool {
        !Arc::ptr_eq(&self.pod, &self.wanted)
    }

    /// Grants what the pod asks for; returns the event's text.
    pub fn grant(&mut self) -> String {
        let generation = self.wanted.generation();
        self.resizing.allocated = asked(&self.wanted);
        self.pod = self.wanted.clone();
        self.resizing.pending = None;
        self.resizing.retry_at = None;
        self.resizing.in_progress = Some(InProgress {
            generation,
            error: String::new(),
        });
        summary("started", &self.pod, generation, "")
    }

    /// Notes why a resize has to wait; the event's text where that is news.
    pub fn put_off(&mut self, reason: &'static str, message: String, now: Time) -> Option<String> {
        let generation = self.wanted.generation();
        let known = self.resizing.pending.take();
        let since = known.as_ref().map_or(now, |known| known.since);
        let news =
            known.is_none_or(|known| (known.reason, known.generation) != (reason, generation));
        let text = summary(reason, &self.wanted, generation, &message);
        self.resizing.pending = Some(Pending {
            reason,
            message,
            generation,
            since,
        });
        news.then_some(text)
    }

    /// Containers whose limits must change in place, and those that must restart for it.
    fn changes(&mut self) -> (Vec<Update>, Vec<SmolStr>) {
        let (spec, pod) = (self.spec.clone(), self.pod.clone());
        let (mut updates, mut restarting) = (Vec::new(), Vec::new());
        for container in spec.of(&[Role::Init, Role::Sidecar, Role::Main]) {
            let Some(last) = self.here(&container.name).cloned() else {
                continue;
            };
            if !matches!(last.state, ContainerState::Running { .. }) {
                continue;
            }
            let raw = container.raw(&pod);
            let wanted = container_limits(&pod, raw);
            let resources = effective(&pod, raw);
            let tracked = self.tracked(&container.name);
            if tracked.resources.is_null() && equal(&wanted, &last.limits) {
                tracked.resources = resources.clone();
            }
            if equal(&wanted, &last.limits) && same(&tracked.resources, &resources) {
                continue;
            }
            if !tracked.resources.is_null() && restarts(raw, &tracked.resources, &resources) {
                restarting.push(container.name.clone());
            } else {
                updates.push((container.name.clone(), last.id, wanted));
            }
        }
        (updates, restarting)
    }

    /// Changes limits where they are not what was allocated. Restarts come when the pod as a
    /// whole has room for what they bring.
    pub(crate) fn plan_resize(&mut self, now: Time, again: &mut Time, steps: &mut Vec<Step>) {
        let Some(sandbox) = self.observed.sandbox.clone().filter(|one| one.ready) else {
            return;
        };
        if self.resizing.busy || self.tracked.values().any(|tracked| tracked.busy) {
            return;
        }
        if let Some(at) = self.resizing.retry_at.filter(|at| *at > now) {
            *again = at.min(*again);
            return;
        }
        let (updates, restarting) = self.changes();
        let mut whole = pod_limits(&self.pod);
        if !restarting.is_empty() {
            whole = larger(&whole, &sandbox.limits);
        }
        if updates.is_empty() && equal(&whole, &sandbox.limits) {
            return match restarting.is_empty() {
                true => self.resize_done(steps),
                false => self.restart_for(&restarting),
            };
        }
        let generation = self.pod.generation();
        self.resizing.in_progress.get_or_insert(InProgress {
            generation,
            error: String::new(),
        });
        self.resizing.busy = true;
        steps.push(Step::Resize {
            sandbox: (sandbox.id, sandbox.limits),
            whole,
            updates,
        });
    }

    fn restart_for(&mut self, names: &[SmolStr]) {
        for name in names {
            let tracked = self.tracked(name);
            tracked.kill = Some((format!("Container {name} resize requires restart"), None));
            tracked.anew = true;
        }
    }

    fn resize_done(&mut self, steps: &mut Vec<Step>) {
        if let Some(done) = self.resizing.in_progress.take() {
            let message = summary("completed", &self.pod, done.generation, "");
            steps.push(Step::Say {
                warning: false,
                reason: "ResizeCompleted",
                message,
            });
        }
    }

    /// A resize step ended; the event's text where it failed in a new way.
    pub fn resized(
        &mut self,
        names: &[SmolStr],
        result: Result<(), String>,
        now: Time,
    ) -> Option<String> {
        self.resizing.busy = false;
        let Err(error) = result else {
            let pod = self.pod.clone();
            for name in names {
                let container = self.container(name).cloned();
                let resources = container.map(|one| effective(&pod, one.raw(&pod)));
                self.tracked(name).resources = resources.unwrap_or_default();
            }
            return None;
        };
        self.resizing.retry_at = Some(now + RETRY);
        let generation = self.pod.generation();
        let known = self.resizing.in_progress.take();
        let generation = known.as_ref().map_or(generation, |known| known.generation);
        let news = known.is_none_or(|known| known.error != error);
        let text = summary("error", &self.pod, generation, &error);
        self.resizing.in_progress = Some(InProgress { generation, error });
        news.then_some(text)
    }
}

/// Resources of a container, with the limits of its pod where it has none.
pub fn effective(pod: &Object, raw: Ref<'_>) -> Value {
    let mut resources = known(&raw.get("resources").to_value());
    for (name, limit) in pod.at("spec.resources.limits").entries() {
        if RESIZABLE.contains(&name) && resources["limits"][name].is_null() {
            resources.set_at(&["limits", name], limit.to_value());
        }
    }
    resources
}

/// Resources that are known, even if they are none.
pub fn known(resources: &Value) -> Value {
    match resources {
        Value::Null => Value::object(),
        some => some.clone(),
    }
}

/// `resources` of a running container: as allocated, with what the kernel holds where that
/// differs, and the memory request it was last started or changed with.
pub fn shown(
    raw: Ref<'_>,
    (held, wanted): (&CgroupLimits, &CgroupLimits),
    tracked: Option<&Tracked>,
) -> Value {
    let mut resources = known(&raw.get("resources").to_value());
    let milli = |amount: u64| Quantity::from_milli(amount as i64).to_string();
    let mut put = |list: &str, name: &str, amount: Option<String>| {
        if let (Some(list), Some(amount)) = (resources.get_mut(list), amount) {
            list[name] = amount.into();
        }
    };
    if held.cpu_milli != wanted.cpu_milli {
        put("limits", "cpu", held.cpu_milli.map(milli));
    }
    if held.memory != wanted.memory {
        put("limits", "memory", held.memory.map(bytes));
    }
    if held.cpu_request_milli != wanted.cpu_request_milli {
        put("requests", "cpu", Some(milli(held.cpu_request_milli)));
    }
    let before = tracked.map(|tracked| &tracked.resources["requests"]["memory"]);
    let before = before.and_then(Value::as_str).map(str::to_owned);
    put("requests", "memory", before);
    resources
}

/// `resources` of a running pod: what it says of itself, with what the kernel holds, and what is
/// asked of memory, which no kernel keeps.
pub fn shown_whole(spec: Ref<'_>, held: &CgroupLimits, memory: Option<&Quantity>) -> Value {
    let mut resources = known(&spec.get("resources").to_value());
    let milli = |amount: u64| Quantity::from_milli(amount as i64).to_string();
    let mut put = |list: &str, name: &str, amount: Option<String>| {
        if let Some(amount) = amount {
            resources.set_at(&[list, name], amount);
        }
    };
    let request = held.cpu_request_milli;
    put(
        "requests",
        "cpu",
        (request > CPU_REQUEST_MIN).then(|| milli(request)),
    );
    put("requests", "memory", memory.map(Quantity::to_string));
    put("limits", "cpu", held.cpu_milli.map(milli));
    put("limits", "memory", held.memory.map(bytes));
    resources
}

fn bytes(amount: u64) -> String {
    Quantity::from_units(amount as i64, machinery::Format::BinarySi).to_string()
}

/// Which of two pending resizes is looked at first, as upstream's `sortPendingResizes`.
pub fn precedence(worker: &Worker) -> impl Ord + use<> {
    let (before, after) = (
        crate::admission::requests(&worker.pod),
        crate::admission::requests(&worker.wanted),
    );
    let grows = RESIZABLE
        .iter()
        .any(|name| after.get(*name).copied() > before.get(*name).copied());
    let guaranteed = crate::status::qos_class(worker.wanted.at("spec")) == "Guaranteed";
    let since = worker
        .resizing
        .pending
        .as_ref()
        .map(|pending| pending.since);
    (
        grows,
        -worker.wanted.at("spec.priority").i64(),
        !guaranteed,
        since.unwrap_or(Time(u64::MAX)),
    )
}

/// Whether a container that ended must start again because its resize asked for it.
pub fn starts_anew(worker: &Worker, container: &ContainerSpec) -> bool {
    let tracked = worker.tracked.get(&container.name);
    tracked.is_some_and(|tracked| tracked.anew)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(cpu: &str) -> Arc<Object> {
        let value = json!({"metadata": {"name": "p", "generation": 2}, "spec": {"containers": [
            {"name": "c", "resources": {"requests": {"cpu": cpu}}, "resizePolicy": [
                {"resourceName": "memory", "restartPolicy": "RestartContainer"}]}]}});
        Arc::new(Object::new(&value, 1))
    }

    #[test]
    fn an_allocation_stands_for_what_is_asked() {
        let (before, after) = (pod("1"), pod("1500m"));
        let allocated = asked(&before);
        assert!(Arc::ptr_eq(&as_allocated(&before, &allocated), &before));
        let equivalent = pod("1000m");
        assert!(Arc::ptr_eq(
            &as_allocated(&equivalent, &allocated),
            &equivalent
        ));
        let held = as_allocated(&after, &allocated);
        assert_eq!(
            held.at("spec.containers")
                .items()
                .next()
                .unwrap()
                .at("resources.requests.cpu")
                .str(),
            "1"
        );
    }

    #[test]
    fn policies_restart_for_their_resource_only() {
        let pod = pod("1");
        let raw = pod.at("spec.containers").items().next().unwrap();
        let cpu = json!({"requests": {"cpu": "2"}});
        let memory = json!({"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}});
        let before = raw.get("resources").to_value();
        assert!(!restarts(raw, &before, &cpu));
        assert!(restarts(raw, &before, &memory));
    }

    #[test]
    fn none_is_the_largest_limit() {
        let limits = |memory, cpu_request_milli| CgroupLimits {
            memory,
            cpu_request_milli,
            ..CgroupLimits::default()
        };
        let both = larger(&limits(Some(1), 5), &limits(Some(2), 3));
        assert_eq!(both, limits(Some(2), 5));
        assert_eq!(larger(&limits(None, 0), &limits(Some(2), 0)).memory, None);
    }

    #[test]
    fn what_differs_is_shown_as_it_is() {
        let raw = json!({"resources": {"requests": {"cpu": "2m"}, "limits": {"cpu": "10m", "memory": "35Mi"}}});
        let bytes = machinery::flat::encode(&raw);
        let raw = Ref::new(&bytes);
        let held = crate::limits::limits(raw.get("resources"));
        let same = shown(raw, (&held, &held), None);
        assert_eq!(same, raw.get("resources").to_value());
        let other = CgroupLimits {
            memory: Some(40 << 20),
            cpu_milli: Some(20),
            ..held.clone()
        };
        let said = shown(raw, (&other, &held), None);
        assert_eq!(
            (
                said["limits"]["memory"].str(),
                said["limits"]["cpu"].str(),
                said["requests"]["cpu"].str()
            ),
            ("40Mi", "20m", "2m")
        );
    }
}
