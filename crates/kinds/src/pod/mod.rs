//! Pods: what is particular about writing them.
//!
//! Upstream counterparts: `pkg/registry/core/pod/strategy.go`, `pkg/apis/core/v1/helper/qos`.

mod containers;
mod env;
mod mounts;
mod print;
mod probes;
pub(crate) mod resize;
mod resources;
mod scheduling;
mod security;
mod spec;
mod update;
mod volumes;

pub(crate) use mounts::no_backsteps;
pub(crate) use resources::{is_quota, resource_name, value as resource_value};
pub(crate) use scheduling::{node_term, tolerations};
pub(crate) use spec::template;
pub(crate) use volumes::{driver_name, plain as volume_source};

use crate::{Part, Strategy, check};
use machinery::{FieldError, Quantity, Value};
use std::collections::BTreeMap;

pub(crate) const PART: Part = Part {
    strategy: Strategy {
        has_status: true,
        generation: crate::Generation::Desired,
        validate_create,
        warnings: crate::warnings::pod,
        is_checked: true,
        prepare_create: |pod| {
            let class = qos_class(pod);
            pod["status"] = machinery::json!({"phase": "Pending", "qosClass": class});
        },
        validate: |pod| {
            let mut errors = check::Errors::new();
            spec::pod(&mut errors, pod);
            errors
        },
        validate_update: update::validate,
        prepare_status_update: |new, old| {
            let class = old.at(&["status", "qosClass"]).clone();
            if !class.is_null() {
                new.set_at(&["status", "qosClass"], class);
            }
        },
        shows_deleted: true,
        default_deletion_grace: deletion_grace,
        ..Strategy::PLAIN
    },
    heads: print::HEADS,
    row: Some(print::row),
    selectable: &[
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ],
    ..Part::plain(crate::PODS)
};

/// What a new pod must not have yet.
fn validate_create(pod: &Value) -> check::Errors {
    let (mut errors, spec) = (check::Errors::new(), &pod["spec"]);
    if !spec["ephemeralContainers"].items().is_empty() {
        let why = "cannot be set on create";
        errors.push(FieldError::forbidden("spec.ephemeralContainers", why));
    }
    if !spec["nodeName"].str().is_empty() && !spec["schedulingGates"].items().is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden("spec.nodeName", why));
    }
    errors
}

/// A pod that no node runs, or that has ended, needs no grace.
fn deletion_grace(pod: &Value) -> Option<i64> {
    let ended = matches!(pod.at(&["status", "phase"]).str(), "Succeeded" | "Failed");
    if ended || pod.at(&["spec", "nodeName"]).str().is_empty() {
        return None;
    }
    let own = pod.at(&["spec", "terminationGracePeriodSeconds"]).as_i64();
    Some(own.unwrap_or(0))
}

/// `Guaranteed`, `Burstable` or `BestEffort`, from cpu and memory of all containers (or of the
/// pod, where that says so).
pub fn qos_class(pod: &Value) -> &'static str {
    let spec = &pod["spec"];
    let whole = &spec["resources"];
    if !check::is_empty(&whole["requests"]) || !check::is_empty(&whole["limits"]) {
        return class_of(std::iter::once(whole));
    }
    let containers = spec["containers"]
        .items()
        .iter()
        .chain(spec["initContainers"].items());
    class_of(containers.map(|container| &container["resources"]))
}

fn class_of<'a>(all: impl Iterator<Item = &'a Value>) -> &'static str {
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    let mut guaranteed = true;
    for resources in all {
        add(&mut requests, &resources["requests"]);
        let limited = add(&mut limits, &resources["limits"]);
        guaranteed &= limited == 2;
    }
    match () {
        () if requests.is_empty() && limits.is_empty() => "BestEffort",
        () if guaranteed && requests == limits => "Guaranteed",
        () => "Burstable",
    }
}

/// Adds cpu and memory of a resource list to sums and returns how many of them it sets.
fn add(sums: &mut BTreeMap<&str, Quantity>, list: &Value) -> usize {
    let mut found = 0;
    for name in ["cpu", "memory"] {
        let amount = check::text_of(&list[name])
            .parse::<Quantity>()
            .unwrap_or_default();
        if !amount.is_zero() {
            *sums.entry(name).or_default() += amount;
            found += 1;
        }
    }
    found
}
