//! What controllers know about pods: activity, readiness, availability, making one from a
//! template, and whom to delete first.
//!
//! Upstream counterpart: `pkg/controller/controller_utils.go` and `pkg/api/v1/pod`.

use crate::{
    common::{condition, created, time},
    hash,
    names::PODS,
    ownership::owner_reference,
};
use env::Time;
use machinery::{Object, Ref, Value, json};
use reconcile::View;
use std::{cmp::Ordering, collections::BTreeMap, sync::Arc, time::Duration};

/// Names tried before giving up on a free one.
const NAME_ATTEMPTS: usize = 16;
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// `status.phase`.
pub fn phase(pod: &Object) -> &str {
    pod.at("status.phase").str()
}

/// Whether it has ended.
pub fn is_finished(pod: &Object) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether it counts: neither ended nor being deleted.
pub fn is_active(pod: &Object) -> bool {
    !is_finished(pod) && !pod.is_deleting()
}

/// Whether its `Ready` condition is true.
pub fn is_ready(pod: &Object) -> bool {
    crate::common::is_true(pod, "Ready")
}

/// The time since which it counts as available after `min_ready` seconds; `None` if not ready.
pub fn available_from(pod: &Object, min_ready: i64) -> Option<Time> {
    if !is_ready(pod) {
        return None;
    }
    if min_ready <= 0 {
        return Some(Time(0));
    }
    let since = time(condition(pod, "Ready").get("lastTransitionTime"))?;
    Some(since + Duration::from_secs(min_ready as u64))
}

/// A free pod name `<prefix><suffix>`; the turn keeps the names of one plan apart.
pub fn generated_name(view: &View, owner: &Object, prefix: &str, turn: usize) -> String {
    (0..NAME_ATTEMPTS)
        .map(|attempt| {
            let turn = turn + attempt * 1_000_000;
            format!(
                "{prefix}{}",
                hash::suffix(owner.uid(), view.revision(), turn)
            )
        })
        .find(|name| view.get(PODS, owner.namespace(), name).is_none())
        .unwrap_or_else(|| prefix.to_owned())
}

/// A pod from a template, controlled by `owner`. Its name is for the caller to set.
pub fn from_template(owner: &Object, template: Ref<'_>) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": owner.namespace(), "ownerReferences": [owner_reference(owner)]},
        "spec": template.get("spec").to_value(),
    });
    for field in ["labels", "annotations", "finalizers"] {
        let value = template.get("metadata").get(field);
        if !value.is_null() {
            pod.metadata_mut().insert(field, value.to_value());
        }
    }
    pod
}

/// Orders pods so that those to be deleted first come first. `related` are the active pods whose
/// nodes count as crowded.
pub fn sort_for_deletion(pods: &mut [&Arc<Object>], related: &[&Arc<Object>], now: Time) {
    let mut crowd: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in related {
        *crowd.entry(pod.at("spec.nodeName").str()).or_default() += 1;
    }
    let rank = |pod: &Object| {
        crowd
            .get(pod.at("spec.nodeName").str())
            .copied()
            .unwrap_or_default()
    };
    pods.sort_by(|a, b| {
        assigned(a)
            .cmp(&assigned(b))
            .then(phase_rank(a).cmp(&phase_rank(b)))
            .then(is_ready(a).cmp(&is_ready(b)))
            .then(deletion_cost(a).cmp(&deletion_cost(b)))
            .then(rank(b).cmp(&rank(a)))
            .then_with(|| by_age(a, b, now))
            .then_with(|| a.name().cmp(b.name()))
    });
}

fn by_age(a: &Object, b: &Object, now: Time) -> Ordering {
    let ready_since =
        |pod: &Object| time(condition(pod, "Ready").get("lastTransitionTime")).unwrap_or_default();
    let bucket = |since: Time| now.since(since).as_secs().checked_ilog2();
    let ready = if is_ready(a) && is_ready(b) {
        bucket(ready_since(a)).cmp(&bucket(ready_since(b)))
    } else {
        Ordering::Equal
    };
    ready
        .then(restarts(b).cmp(&restarts(a)))
        .then(bucket(created(a)).cmp(&bucket(created(b))))
        .then(a.uid().cmp(b.uid()))
}

fn assigned(pod: &Object) -> bool {
    !pod.at("spec.nodeName").str().is_empty()
}

fn phase_rank(pod: &Object) -> u8 {
    match phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    }
}

fn deletion_cost(pod: &Object) -> i64 {
    pod.annotation(DELETION_COST)
        .and_then(|text| text.parse::<i32>().ok())
        .unwrap_or_default()
        .into()
}

fn restarts(pod: &Object) -> i64 {
    pod.at("status.containerStatuses")
        .items()
        .map(|one| one.get("restartCount").i64())
        .max()
        .unwrap_or_default()
}
