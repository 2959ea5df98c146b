//! A StatefulSet's status.
//!
//! Upstream counterpart: `updateStatus` and `completeRollingUpdate` in `stateful_set_control.go`.

use super::number;
use crate::{
    common::set_count,
    history::{HASH_LABEL, History},
    pods,
};
use env::Time;
use machinery::{Object, Value};
use reconcile::Plan;
use std::{collections::BTreeMap, sync::Arc};

/// The status the pods amount to; the plan looks again when one becomes available by waiting.
pub fn of(
    set: &Object,
    pods: &BTreeMap<i64, &Arc<Object>>,
    history: &History<'_>,
    now: Time,
    plan: &mut Plan,
) -> Value {
    let known = set.at("status.currentRevision").str();
    let current = if history.known.iter().any(|one| one.name() == known) {
        known
    } else {
        &history.name
    };
    let running = |pod: &Object| pods::phase(pod) == "Running" && pods::is_ready(pod);
    let min_ready = set.at("spec.minReadySeconds").i64();
    let mut available = 0;
    for pod in pods.values().filter(|pod| running(pod)) {
        match pods::available_from(pod, min_ready) {
            Some(from) if from <= now => available += 1,
            Some(from) => plan.look_again(from),
            None => {}
        }
    }
    let of_revision = |name: &str| {
        let counted = pods
            .values()
            .filter(|pod| !pod.is_deleting() && pod.label(HASH_LABEL) == Some(name));
        counted.count() as i64
    };
    let ready = pods.values().filter(|pod| running(pod)).count() as i64;
    let mut status = set.at("status").to_value();
    status["replicas"] = pods.len().into();
    status["availableReplicas"] = available.into();
    if status["collisionCount"].is_null() {
        status["collisionCount"] = 0.into();
    }
    set_count(&mut status, "observedGeneration", set.generation());
    set_count(&mut status, "readyReplicas", ready);
    set_count(&mut status, "currentReplicas", of_revision(current));
    set_count(&mut status, "updatedReplicas", of_revision(&history.name));
    status["currentRevision"] = current.into();
    status["updateRevision"] = history.name.as_str().into();
    complete(set, &mut status);
    status
}

/// Once every pod is of the update revision and ready, that one is current.
fn complete(set: &Object, status: &mut Value) {
    let all = number(status, "replicas");
    let rolling = set.at("spec.updateStrategy.type").str() != "OnDelete";
    let updated = number(status, "updatedReplicas");
    if rolling && updated == all && number(status, "readyReplicas") == all {
        set_count(status, "currentReplicas", updated);
        status["currentRevision"] = status["updateRevision"].clone();
    }
}
