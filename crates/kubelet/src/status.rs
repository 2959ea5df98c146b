//! The status of a pod as the API shows it, computed from what its worker knows.
//!
//! Pure; one function makes all of it, so there is one writer. Upstream counterpart:
//! `kubelet_pods.go` and `status/generate.go`.

use crate::{
    limits::{container_limits, pod_limits},
    resize,
    spec::{ContainerSpec, Restart, Role},
    worker::{Life, Worker},
};
use env::{ContainerState, ContainerStatus, Time};
use machinery::{Map, Object, Quantity, Ref, SmolStr, Value, format_time, json};
use std::{collections::BTreeMap, net::IpAddr};

/// Conditions the kubelet owns, in upstream's order.
const OWNED: [&str; 7] = [
    "PodResizePending",
    "PodResizeInProgress",
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

/// The pod's status; `hosts` are the node's addresses.
pub fn pod_status(worker: &Worker, hosts: &[IpAddr], now: Time) -> Value {
    let pod = &worker.pod;
    let phase = match pod.at("status.phase").str() {
        // Once over, for ever.
        "Succeeded" => "Succeeded",
        "Failed" => "Failed",
        _ => phase(worker),
    };
    let mut status = Map::new();
    status.insert("phase", phase);
    status.insert("observedGeneration", pod.generation());
    status.insert("startTime", format_time(worker.started_at.0));
    status.insert("qosClass", qos_class(pod.at("spec")));
    if let Some((reason, message)) = &worker.failed {
        status.insert("reason", reason);
        status.insert("message", message);
    }
    addresses(worker, hosts, &mut status);
    for (field, roles) in [
        ("initContainerStatuses", &[Role::Init, Role::Sidecar][..]),
        ("containerStatuses", &[Role::Main]),
        ("ephemeralContainerStatuses", &[Role::Ephemeral]),
    ] {
        let statuses: Vec<Value> = worker
            .spec
            .of(roles)
            .map(|container| container_status(worker, container))
            .collect();
        if !statuses.is_empty() {
            status.insert(field, statuses);
        }
    }
    status.insert("conditions", conditions(worker, phase, now));
    whole(worker, phase, &mut status);
    Value::Object(status)
}

/// Resources of the pod as a whole: allocated, and in force. While it runs, that is what it says
/// of itself with what the kernel holds; else what its containers come to.
fn whole(worker: &Worker, phase: &str, status: &mut Map) {
    let listed = |amounts: &BTreeMap<SmolStr, Quantity>| -> Map {
        let entries = amounts.iter();
        entries
            .map(|(name, amount)| (name.as_str(), amount.to_string()))
            .collect()
    };
    let requests = crate::admission::requests(&worker.pod);
    let mut resources = match phase {
        "Running" => {
            let wanted = pod_limits(&worker.pod);
            let held = worker.observed.sandbox.as_ref();
            let held = held.map_or(&wanted, |sandbox| &sandbox.limits);
            let asked = requests.get("memory");
            resize::shown_whole(worker.pod.at("spec"), held, asked)
        }
        _ => json!({
            "requests": listed(&requests),
            "limits": listed(&crate::admission::limits(&worker.pod)),
        }),
    };
    for list in ["requests", "limits"] {
        if resources[list].entries().next().is_none() {
            resources.remove_at(&[list]);
        }
    }
    if !requests.is_empty() {
        status.insert("allocatedResources", listed(&requests));
    }
    status.insert("resources", resources);
}

fn addresses(worker: &Worker, hosts: &[IpAddr], status: &mut Map) {
    let list = |addresses: &[IpAddr]| -> Vec<Value> {
        addresses
            .iter()
            .map(|address| json!({"ip": address.to_string()}))
            .collect()
    };
    if let Some(host) = hosts.first() {
        status.insert("hostIP", host.to_string());
        status.insert("hostIPs", list(hosts));
    }
    let sandbox = worker.observed.sandbox.as_ref();
    let own = match &worker.ready {
        Some(ready) => ready.ips.clone(),
        None => sandbox
            .map(|sandbox| sandbox.ips.clone())
            .unwrap_or_default(),
    };
    let known = worker.ready.is_some() || sandbox.is_some();
    let shown = if worker.spec.host_network && known {
        hosts
    } else {
        &own[..]
    };
    if let Some(first) = shown.first() {
        status.insert("podIP", first.to_string());
        status.insert("podIPs", list(shown));
    }
}

fn sorted_resources(list: Ref<'_>) -> Vec<(&str, Quantity)> {
    let mut found = Vec::new();
    for (name, amount) in list
        .entries()
        .filter(|(name, _)| ["cpu", "memory"].contains(name))
    {
        let amount = match amount.as_i64() {
            Some(units) => Quantity::from_units(units, machinery::Format::DecimalSi),
            None => amount.str().parse().unwrap_or(Quantity::ZERO),
        };
        if !amount.is_zero() {
            found.push((name, amount));
        }
    }
    found
}

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(spec: Ref<'_>) -> &'static str {
    let (mut any, mut guaranteed) = (false, true);
    let pod_level = spec.get("resources");
    let all: Vec<Ref<'_>> = if pod_level.is_null() {
        let containers = spec
            .get("initContainers")
            .items()
            .chain(spec.get("containers").items());
        containers
            .map(|container| container.get("resources"))
            .collect()
    } else {
        vec![pod_level]
    };
    for resources in all {
        let requests = sorted_resources(resources.get("requests"));
        let limits = sorted_resources(resources.get("limits"));
        any |= !requests.is_empty() || !limits.is_empty();
        guaranteed &= limits.len() == 2 && (requests.is_empty() || requests == limits);
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn terminated(status: &ContainerStatus) -> Option<Value> {
    let ContainerState::Exited {
        started_at,
        finished_at,
        exit_code,
        reason,
        message,
    } = &status.state
    else {
        return None;
    };
    let mut state = json!({
        "exitCode": *exit_code, "reason": *reason,
        "startedAt": format_time(started_at.0), "finishedAt": format_time(finished_at.0),
        "containerID": format!("xebec://{}", status.id),
    });
    if !message.is_empty() {
        state["message"] = message.into();
    }
    Some(json!({"terminated": state}))
}

/// Whether init containers before it have done their part.
fn default_waiting(worker: &Worker, container: &ContainerSpec) -> &'static str {
    let has_init = worker
        .spec
        .of(&[Role::Init, Role::Sidecar])
        .next()
        .is_some();
    let waits = container.role != Role::Ephemeral && has_init && !worker.initialized;
    if waits {
        "PodInitializing"
    } else {
        "ContainerCreating"
    }
}

fn waiting(worker: &Worker, container: &ContainerSpec) -> Value {
    let tracked = worker.tracked.get(&container.name);
    match tracked.and_then(|tracked| tracked.waiting.as_ref()) {
        Some((reason, message)) => json!({"waiting": {"reason": reason, "message": message}}),
        None => json!({"waiting": {"reason": default_waiting(worker, container)}}),
    }
}

/// State and last state of a container.
fn states(worker: &Worker, container: &ContainerSpec) -> (Value, Value) {
    let name = &container.name;
    let last_ended = || worker.observed.previous(name).and_then(terminated);
    let Some(last) = worker.observed.last(name) else {
        return (waiting(worker, container), Value::object());
    };
    match &last.state {
        ContainerState::Running { started_at } => {
            let state = json!({"running": {"startedAt": format_time(started_at.0)}});
            (state, last_ended().unwrap_or(Value::object()))
        }
        ContainerState::Created => (
            waiting(worker, container),
            last_ended().unwrap_or(Value::object()),
        ),
        ContainerState::Exited { exit_code, .. } => {
            let tracked = worker.tracked.get(name);
            let waits = tracked.is_some_and(|tracked| tracked.waiting.is_some());
            let ended = terminated(last).unwrap_or_default();
            if worker.life == Life::Alive && waits && container.restarts_after(*exit_code) {
                return (waiting(worker, container), ended);
            }
            (ended, last_ended().unwrap_or(Value::object()))
        }
    }
}

fn container_status(worker: &Worker, container: &ContainerSpec) -> Value {
    let raw = container.raw(&worker.pod);
    let (state, last_state) = states(worker, container);
    let last = worker.observed.last(&container.name);
    let tracked = worker.tracked.get(&container.name);
    let running = !state["running"].is_null();
    let completed = state["terminated"]["reason"].str() == "Completed";
    let ready = match container.role {
        Role::Init => completed,
        Role::Ephemeral => false,
        _ => running && tracked.is_some_and(|tracked| tracked.ready),
    };
    let started = running && tracked.is_some_and(|tracked| tracked.started);
    let mut status = json!({
        "name": &container.name, "image": &container.image, "imageID": "", "ready": ready,
        "started": started, "restartCount": last.map_or(0, |last| last.attempt),
        "state": state, "lastState": last_state,
    });
    if let Some(last) = last {
        status["image"] = last.image.as_str().into();
        status["imageID"] = last.image_id.as_str().into();
        status["containerID"] = format!("xebec://{}", last.id).into();
    }
    if let Some(last) = last {
        let wanted = container_limits(&worker.pod, raw);
        status["resources"] = match running {
            true => resize::shown(raw, (&last.limits, &wanted), tracked),
            false => resize::known(&raw.get("resources").to_value()),
        };
        let requests = raw.at("resources.requests");
        if !requests.is_null() {
            status["allocatedResources"] = requests.to_value();
        }
    }
    let mounts: Vec<Value> = raw.get("volumeMounts").items().map(mount_status).collect();
    if !mounts.is_empty() {
        status["volumeMounts"] = mounts.into();
    }
    status
}

fn mount_status(mount: Ref<'_>) -> Value {
    let mut status =
        json!({"name": mount.get("name").str(), "mountPath": mount.get("mountPath").str()});
    if mount.get("readOnly").is_true() {
        status["readOnly"] = true.into();
        status["recursiveReadOnly"] = mount
            .get("recursiveReadOnly")
            .as_str()
            .unwrap_or("Disabled")
            .into();
    }
    status
}

/// How many containers are in which state.
#[derive(Default)]
struct Tally {
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
}

/// The pod's phase, as upstream's `getPhase`.
pub fn phase(worker: &Worker) -> &'static str {
    if worker.failed.is_some() && worker.life != Life::Alive {
        return "Failed";
    }
    let ended = |name: &SmolStr| match &worker.observed.last(name)?.state {
        ContainerState::Exited { exit_code, .. } => Some(*exit_code),
        _ => None,
    };
    let main_seen = worker
        .spec
        .of(&[Role::Main])
        .any(|one| worker.observed.last(&one.name).is_some());
    for container in worker.spec.of(&[Role::Init]).filter(|_| !main_seen) {
        match ended(&container.name) {
            Some(0) => {}
            Some(code) if !container.restarts_after(code) => return "Failed",
            _ if matches!(worker.life, Life::Ended | Life::Released) => return "Failed",
            _ => return "Pending",
        }
    }
    let mut tally = Tally::default();
    for container in worker.spec.of(&[Role::Main]) {
        match worker
            .observed
            .last(&container.name)
            .map(|last| &last.state)
        {
            Some(ContainerState::Running { .. }) => tally.running += 1,
            Some(ContainerState::Exited { exit_code, .. }) => {
                tally.stopped += 1;
                tally.succeeded += usize::from(*exit_code == 0);
            }
            Some(ContainerState::Created)
                if worker.observed.previous(&container.name).is_some() =>
            {
                tally.stopped += 1;
            }
            _ => tally.waiting += 1,
        }
    }
    let over = matches!(worker.life, Life::Ended | Life::Released);
    match tally {
        _ if over && tally.waiting > 0 => "Failed",
        Tally { waiting: 1.., .. } => "Pending",
        Tally { running: 1.., .. } => "Running",
        _ if over || worker.spec.restart != Restart::Always => ended_phase(worker, &tally),
        _ => "Running",
    }
}

fn ended_phase(worker: &Worker, tally: &Tally) -> &'static str {
    let restarts = |container: &ContainerSpec| match worker.observed.last(&container.name) {
        Some(ContainerStatus {
            state: ContainerState::Exited { exit_code, .. },
            ..
        }) => container.restarts_after(*exit_code) || resize::starts_anew(worker, container),
        _ => true,
    };
    let over = matches!(worker.life, Life::Ended | Life::Released);
    if !over && worker.spec.of(&[Role::Main]).any(restarts) {
        return "Running";
    }
    if tally.stopped == tally.succeeded {
        "Succeeded"
    } else {
        "Failed"
    }
}

/// One condition before its times are known.
struct Condition {
    kind: &'static str,
    status: bool,
    reason: &'static str,
    message: String,
}

fn condition(kind: &'static str, status: bool) -> Condition {
    Condition {
        kind,
        status,
        reason: "",
        message: String::new(),
    }
}

fn refused(kind: &'static str, reason: &'static str, message: String) -> Condition {
    Condition {
        kind,
        status: false,
        reason,
        message,
    }
}

fn unready(worker: &Worker, roles: &[Role], ready: impl Fn(&ContainerSpec) -> bool) -> Vec<String> {
    worker
        .spec
        .of(roles)
        .filter(|one| !ready(one))
        .map(|one| one.name.to_string())
        .collect()
}

fn containers_ready(worker: &Worker, phase: &str) -> Condition {
    const KIND: &str = "ContainersReady";
    match phase {
        "Succeeded" => return refused(KIND, "PodCompleted", String::new()),
        "Failed" => return refused(KIND, "PodFailed", String::new()),
        _ => {}
    }
    let ready = |one: &ContainerSpec| {
        let tracked = worker.tracked.get(&one.name);
        tracked.is_some_and(|tracked| tracked.ready && !tracked.id.is_empty())
    };
    match unready(worker, &[Role::Sidecar, Role::Main], ready).as_slice() {
        [] => condition(KIND, true),
        names => refused(
            KIND,
            "ContainersNotReady",
            format!("containers with unready status: [{}]", names.join(" ")),
        ),
    }
}

fn pod_ready(worker: &Worker, containers: &Condition) -> Condition {
    if !containers.status {
        return refused("Ready", containers.reason, containers.message.clone());
    }
    let conditions = worker.pod.at("status.conditions");
    let mut complaints = Vec::new();
    for gate in &worker.spec.readiness_gates {
        let found = conditions.items().find(|one| one.get("type").str() == gate);
        match found.map(|one| one.get("status").str()) {
            Some("True") => {}
            Some(status) => complaints.push(format!(
                "the status of pod readiness gate {gate:?} is not \"True\", but {status}"
            )),
            None => complaints.push(format!(
                "corresponding condition of pod readiness gate {gate:?} does not exist."
            )),
        }
    }
    if complaints.is_empty() {
        return condition("Ready", true);
    }
    refused("Ready", "ReadinessGatesNotReady", complaints.join(", "))
}

fn initialized(worker: &Worker, phase: &str) -> Condition {
    const KIND: &str = "Initialized";
    if phase == "Succeeded" {
        return Condition {
            reason: "PodCompleted",
            ..condition(KIND, true)
        };
    }
    let begun = worker
        .spec
        .of(&[Role::Main])
        .any(|one| worker.observed.last(&one.name).is_some());
    let done = |one: &ContainerSpec| {
        let last = worker.observed.last(&one.name).map(|last| &last.state);
        match one.role {
            Role::Init => matches!(last, Some(ContainerState::Exited { exit_code: 0, .. })),
            _ => worker
                .tracked
                .get(&one.name)
                .is_some_and(|tracked| tracked.started),
        }
    };
    if begun || worker.initialized {
        return condition(KIND, true);
    }
    match unready(worker, &[Role::Init, Role::Sidecar], done).as_slice() {
        [] => condition(KIND, true),
        names => refused(
            KIND,
            "ContainersNotInitialized",
            format!("containers with incomplete status: [{}]", names.join(" ")),
        ),
    }
}

/// The kubelet's conditions and, behind them, everyone else's.
fn conditions(worker: &Worker, phase: &str, now: Time) -> Vec<Value> {
    let containers = containers_ready(worker, phase);
    let sandbox = worker.ready.is_some()
        && !matches!(worker.life, Life::Ended | Life::Released)
        && worker
            .observed
            .sandbox
            .as_ref()
            .is_none_or(|sandbox| sandbox.ready);
    let own = [
        condition("PodReadyToStartContainers", sandbox),
        initialized(worker, phase),
        pod_ready(worker, &containers),
        containers,
        condition("PodScheduled", true),
    ];
    let present = worker.pod.at("status.conditions");
    let written = worker
        .written
        .as_ref()
        .map(|written| written["conditions"].items());
    let shown: Vec<Value> = own
        .iter()
        .map(|one| {
            let known = match written {
                Some(written) => written
                    .iter()
                    .find(|known| known["type"].str() == one.kind)
                    .cloned(),
                None => present
                    .items()
                    .find(|known| known.get("type").str() == one.kind)
                    .map(Ref::to_value),
            };
            show_condition(one, known, worker.pod.generation(), now)
        })
        .collect();
    let resizes = resize_conditions(worker).into_iter();
    let resizes = resizes.map(|(one, generation)| {
        let known = match written {
            Some(written) => written.iter().find(|known| known["type"].str() == one.kind),
            None => None,
        };
        show_condition(&one, known.cloned(), generation, now)
    });
    resizes.chain(shown).chain(foreign(present)).collect()
}

/// Those of a pod's conditions that others set.
fn foreign(conditions: Ref<'_>) -> impl Iterator<Item = Value> {
    let all = conditions.items();
    all.filter(|one| !OWNED.contains(&one.get("type").str()))
        .map(Ref::to_value)
}

/// What to write of `status`: with the conditions that others have set on `pod` by now, and without
/// amounts that hold no more.
pub fn with_conditions_of(status: &Value, pod: &Object) -> Value {
    let mut status = status.clone();
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.retain(|one| OWNED.contains(&one["type"].str()));
        conditions.extend(foreign(pod.at("status.conditions")));
    }
    for field in ["resources", "allocatedResources"] {
        let known = pod.at("status").get(field);
        if known.is_null() || status[field].is_null() {
            continue;
        }
        drop_missing(&mut status[field], known);
    }
    status
}

/// Says that what is known and not told any more is gone: maps are merged when written.
fn drop_missing(told: &mut Value, known: Ref<'_>) {
    for (name, below) in known.entries() {
        match told.get_mut(name) {
            Some(told) if told.as_object().is_some() => drop_missing(told, below),
            Some(_) => {}
            None => told[name] = Value::Null,
        }
    }
}

/// Conditions that are there only while they are true, and the generations they speak of.
fn resize_conditions(worker: &Worker) -> Vec<(Condition, i64)> {
    let pending = worker.resizing.pending.as_ref().map(|pending| {
        let one = Condition {
            reason: pending.reason,
            message: pending.message.clone(),
            ..condition("PodResizePending", true)
        };
        (one, pending.generation)
    });
    let in_progress = worker.resizing.in_progress.as_ref().map(|resize| {
        let one = Condition {
            reason: if resize.error.is_empty() { "" } else { "Error" },
            message: resize.error.clone(),
            ..condition("PodResizeInProgress", true)
        };
        (one, resize.generation)
    });
    pending.into_iter().chain(in_progress).collect()
}

fn show_condition(one: &Condition, known: Option<Value>, generation: i64, now: Time) -> Value {
    let text = if one.status { "True" } else { "False" };
    let since = known.filter(|known| known["status"].str() == text);
    let since = since.map(|known| known["lastTransitionTime"].clone());
    let mut shown = json!({
        "type": one.kind, "status": text, "lastProbeTime": null, "observedGeneration": generation,
        "lastTransitionTime": since.unwrap_or_else(|| format_time(now.0).into()),
    });
    if !one.reason.is_empty() {
        shown["reason"] = one.reason.into();
    }
    if !one.message.is_empty() {
        shown["message"] = one.message.as_str().into();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::flat;

    #[test]
    fn qos() {
        let full = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1Gi"}});
        for (containers, wanted) in [
            (json!([{}]), "BestEffort"),
            (json!([{"resources": full.clone()}]), "Guaranteed"),
            (json!([{"resources": full.clone()}, {}]), "Burstable"),
            (
                json!([{"resources": {"requests": {"cpu": "1"}}}]),
                "Burstable",
            ),
            (
                json!([{"resources": {"limits": {"cpu": "1", "memory": "1"}}}]),
                "Guaranteed",
            ),
        ] {
            let bytes = flat::encode(&json!({"containers": containers}));
            assert_eq!(qos_class(Ref::new(&bytes)), wanted);
        }
    }
}
