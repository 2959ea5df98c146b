//! A Deployment's status: counts, availability, and whether it gets on.
//!
//! Upstream counterpart: `progress.go` of the deployment controller.

use super::{
    TIMED_OUT, plain,
    sets::{Rollout, available, leeway, size, total},
};
use crate::common::{Condition, condition, conditions_mut, remove_condition, set_count, text};
use env::Time;
use machinery::{Object, Value, json, parse_time};
use std::time::Duration;

const DONE: &str = "NewReplicaSetAvailable";
/// `progressDeadlineSeconds` that means no deadline.
const NO_DEADLINE: i64 = i32::MAX as i64;

/// Whether progress is watched.
pub fn has_deadline(deployment: &Object) -> bool {
    deployment
        .at("spec.progressDeadlineSeconds")
        .as_i64()
        .is_some_and(|seconds| seconds != NO_DEADLINE)
}

/// A condition in a status tree.
pub fn find<'a>(status: &'a Value, kind: &str) -> &'a Value {
    static NONE: Value = Value::Null;
    status["conditions"]
        .items()
        .iter()
        .find(|one| one["type"].str() == kind)
        .unwrap_or(&NONE)
}

/// Sets a condition anew, with its time of update; unchanged status and reason change nothing.
pub fn set(status: &mut Value, new: Condition<'_>, now: Time) {
    let known = find(status, new.kind);
    if known["status"].str() == new.status && known["reason"].str() == new.reason {
        return;
    }
    replace(status, new, now);
}

fn replace(status: &mut Value, new: Condition<'_>, now: Time) {
    let known = find(status, new.kind).clone();
    let since = if known["status"].str() == new.status {
        known["lastTransitionTime"].clone()
    } else {
        text(now).into()
    };
    let list = conditions_mut(status);
    list.retain(|one| one["type"].str() != new.kind);
    list.push(json!({
        "type": new.kind, "status": new.status, "reason": new.reason, "message": new.message,
        "lastUpdateTime": text(now), "lastTransitionTime": since,
    }));
}

/// The counts of a status, from the sets' statuses; conditions are kept.
pub fn counts(rollout: &Rollout<'_>) -> Value {
    let deployment = rollout.deployment;
    let all = rollout.all();
    let sum = |field: &str| -> i64 { all.iter().map(|set| set.at(field).i64()).sum() };
    let serving: i64 = all.iter().map(|set| available(set)).sum();
    let updated = rollout.new.map_or(0, |set| set.at("status.replicas").i64());
    let mut status = deployment.at("status").to_value();
    status.make_object();
    for (key, count) in [
        ("observedGeneration", deployment.generation()),
        ("replicas", sum("status.replicas")),
        ("updatedReplicas", updated),
        ("readyReplicas", sum("status.readyReplicas")),
        ("availableReplicas", serving),
        ("unavailableReplicas", (total(&all) - serving).max(0)),
    ] {
        set_count(&mut status, key, count);
    }
    status["terminatingReplicas"] = sum("status.terminatingReplicas").into();
    status
}

fn count(status: &Value, key: &str) -> i64 {
    status[key].as_i64().unwrap_or_default()
}

/// Whether every wanted pod is of the new template and available, and no other is left.
pub fn is_complete(deployment: &Object, status: &Value) -> bool {
    let wanted = size(deployment);
    ["replicas", "updatedReplicas", "availableReplicas"]
        .iter()
        .all(|key| count(status, key) == wanted)
}

/// Draws the conditions; tells when the deadline has to be looked at again.
pub fn conclude(rollout: &mut Rollout<'_>) -> Option<Time> {
    availability(rollout);
    if rollout.deployment.is_deleting() {
        return None;
    }
    let again = progress(rollout);
    failure(rollout);
    again
}

fn availability(rollout: &mut Rollout<'_>) {
    let deployment = rollout.deployment;
    let minimum = size(deployment) - leeway(deployment).1;
    let serving = count(&rollout.status, "availableReplicas");
    let (state, reason, message) = if serving >= minimum {
        (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
    } else {
        (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    };
    let condition = Condition {
        kind: "Available",
        status: state,
        reason,
        message,
    };
    set(&mut rollout.status, condition, rollout.now);
}

fn progress(rollout: &mut Rollout<'_>) -> Option<Time> {
    let deployment = rollout.deployment;
    if !has_deadline(deployment) {
        remove_condition(&mut rollout.status, "Progressing");
        return None;
    }
    let paused = deployment.at("spec.paused").is_true();
    let known = find(&rollout.status, "Progressing")["reason"].str();
    let settled = count(&rollout.status, "replicas") == count(&rollout.status, "updatedReplicas");
    if paused || rollout.is_scaling() || (known == DONE && settled) {
        return None;
    }
    let subject = match rollout.new {
        Some(set) => format!("ReplicaSet {:?}", set.name()),
        None => format!("Deployment {:?}", deployment.name()),
    };
    let said = |state, reason, words: &str| (state, reason, format!("{subject} {words}"));
    let (state, reason, message) = if is_complete(deployment, &rollout.status) {
        said("True", DONE, "has successfully progressed.")
    } else if gets_on(deployment, &rollout.status) {
        said("True", "ReplicaSetUpdated", "is progressing.")
    } else if deadline(rollout).is_some_and(|deadline| rollout.now > deadline) {
        said("False", TIMED_OUT, "has timed out progressing.")
    } else {
        return deadline(rollout).map(|time| time + Duration::from_secs(1));
    };
    let new = Condition {
        kind: "Progressing",
        status: state,
        reason,
        message: &message,
    };
    if reason == "ReplicaSetUpdated" {
        replace(&mut rollout.status, new, rollout.now);
    } else {
        set(&mut rollout.status, new, rollout.now);
    }
    deadline(rollout).map(|time| time + Duration::from_secs(1))
}

fn gets_on(deployment: &Object, new: &Value) -> bool {
    let old = deployment.at("status").to_value();
    let outdated = |status: &Value| count(status, "replicas") - count(status, "updatedReplicas");
    let more = |key| count(new, key) > count(&old, key);
    more("updatedReplicas")
        || outdated(new) < outdated(&old)
        || more("readyReplicas")
        || more("availableReplicas")
}

/// When progress times out, while it is awaited.
fn deadline(rollout: &Rollout<'_>) -> Option<Time> {
    let known = find(&rollout.status, "Progressing");
    if matches!(known["reason"].str(), DONE | TIMED_OUT) {
        return None;
    }
    let since = parse_time(known["lastUpdateTime"].str()).map(Time)?;
    let seconds = rollout
        .deployment
        .at("spec.progressDeadlineSeconds")
        .i64()
        .max(0);
    Some(since + Duration::from_secs(seconds as u64))
}

/// Passes on what keeps a set from creating pods.
fn failure(rollout: &mut Rollout<'_>) {
    let failing = rollout
        .new
        .into_iter()
        .chain(rollout.old.iter().copied())
        .map(|set| condition(set, "ReplicaFailure"))
        .find(|found| !found.is_null());
    match failing {
        None => remove_condition(&mut rollout.status, "ReplicaFailure"),
        Some(found) => {
            let (state, now) = (found.get("status").str(), rollout.now);
            let words = (found.get("reason").str(), found.get("message").str());
            plain(&mut rollout.status, "ReplicaFailure", state, words, now);
        }
    }
}
