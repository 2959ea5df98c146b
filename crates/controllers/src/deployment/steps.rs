//! The next step of a rollout: rolling, recreating, scaling in proportion, cleaning up.
//!
//! Upstream counterpart: `rolling.go`, `recreate.go` and `sync.go` of the deployment controller.

use super::sets::{Rollout, available, desired, most, revision, size, total};
use crate::{
    common::{created, delete},
    names::REPLICA_SETS,
};
use machinery::Object;
use reconcile::View;
use std::sync::Arc;

/// Revisions kept when `revisionHistoryLimit` is absent.
const HISTORY_LIMIT: i64 = 10;

/// One step of RollingUpdate.
pub fn rolling(view: &View, rollout: &mut Rollout<'_>) {
    if rollout.settle_revisions(true) {
        if rollout.new.is_none() {
            rollout.create_new(view);
        }
        return;
    }
    let Some(new) = rollout.new else { return };
    let wanted = size(rollout.deployment);
    let present = size(new);
    let target = if present > wanted {
        wanted
    } else {
        rollout.new_size(present)
    };
    if present != wanted && rollout.scale(new, target) {
        return;
    }
    shrink_old(rollout, new);
}

fn shrink_old(rollout: &mut Rollout<'_>, new: &Object) {
    let old = rollout.active_old();
    if old.is_empty() {
        return;
    }
    let wanted = size(rollout.deployment);
    let minimum = wanted - rollout.leeway().1;
    let missing_in_new = size(new) - available(new);
    let spare = total(&rollout.all()) - minimum - missing_in_new;
    if spare <= 0 {
        return;
    }
    // Unavailable pods of old sets serve nobody: they go first, and do not count.
    let mut sizes: Vec<i64> = old.iter().map(|set| size(set)).collect();
    let mut unhealthy = spare;
    for (set, left) in old.iter().zip(&mut sizes) {
        let gone = unhealthy.min(*left - available(set)).max(0);
        *left -= gone;
        unhealthy -= gone;
    }
    let serving: i64 = rollout.all().iter().map(|set| available(set)).sum();
    let mut healthy = serving - minimum;
    for left in &mut sizes {
        let gone = healthy.min(*left).max(0);
        *left -= gone;
        healthy -= gone;
    }
    for (set, to) in old.into_iter().zip(sizes) {
        if to != size(set) {
            rollout.scale(set, to);
        }
    }
}

/// One step of Recreate; `running` says whether pods of old sets are still there.
pub fn recreate(view: &View, rollout: &mut Rollout<'_>, running: bool) {
    if rollout.new.is_some() && rollout.settle_revisions(false) {
        return;
    }
    let old = rollout.active_old();
    for set in &old {
        rollout.scale(set, 0);
    }
    if !old.is_empty() || running {
        return;
    }
    match rollout.new {
        None => rollout.create_new(view),
        Some(new) => {
            rollout.scale(new, size(rollout.deployment));
        }
    }
}

/// Spreads a new size over the sets in proportion, without rolling anything.
pub fn scale(rollout: &mut Rollout<'_>) {
    let wanted = size(rollout.deployment);
    if let Some(only) = active_or_latest(rollout) {
        rollout.scale(only, wanted);
        return;
    }
    if let Some(new) = rollout.new
        && size(new) == wanted
        && desired(new) == Some(wanted)
        && available(new) == wanted
    {
        for set in rollout.active_old() {
            rollout.scale(set, 0);
        }
        return;
    }
    if rollout.deployment.at("spec.strategy.type").str() != "Recreate" {
        proportionally(rollout, wanted);
    }
}

/// The set to scale if at most one wants pods.
fn active_or_latest<'a>(rollout: &Rollout<'a>) -> Option<&'a Arc<Object>> {
    let active: Vec<_> = rollout
        .all()
        .into_iter()
        .filter(|set| size(set) > 0)
        .collect();
    match active.as_slice() {
        [] => rollout.new.or_else(|| rollout.old.last().copied()),
        [only] => Some(only),
        _ => None,
    }
}

fn proportionally(rollout: &mut Rollout<'_>, wanted: i64) {
    let mut sets: Vec<_> = rollout
        .all()
        .into_iter()
        .filter(|set| size(set) > 0)
        .collect();
    let (surge, _) = rollout.leeway();
    let allowed = if wanted > 0 { wanted + surge } else { 0 };
    let to_add = allowed - total(&sets);
    sets.sort_by(|a, b| {
        let age = created(a).cmp(&created(b));
        size(b)
            .cmp(&size(a))
            .then(if to_add > 0 { age.reverse() } else { age })
            .then(a.name().cmp(b.name()))
    });
    let mut added = 0;
    let mut sizes: Vec<i64> = Vec::new();
    for set in &sets {
        let share = proportion(set, rollout.deployment, wanted + surge, to_add - added);
        sizes.push(size(set) + share);
        added += share;
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    for (set, to) in sets.into_iter().zip(sizes) {
        rollout.scale(set, to);
    }
}

/// A set's share of the pods to add (or, below zero, to remove); never more than are left.
fn proportion(set: &Object, deployment: &Object, now_most: i64, left: i64) -> i64 {
    if left == 0 {
        return 0;
    }
    let fraction = if size(deployment) == 0 {
        -size(set)
    } else {
        let before = most(set).unwrap_or_else(|| deployment.at("status.replicas").i64());
        if before <= 0 {
            return 0;
        }
        let scaled = (size(set) * now_most) as f64 / before as f64;
        scaled.round() as i64 - size(set)
    };
    if left > 0 {
        fraction.min(left)
    } else {
        fraction.max(left)
    }
}

/// Deletes the oldest empty sets beyond the history limit.
pub fn clean_up(rollout: &mut Rollout<'_>) {
    let limit = rollout
        .deployment
        .at("spec.revisionHistoryLimit")
        .as_i64()
        .unwrap_or(HISTORY_LIMIT);
    let mut empty: Vec<_> = rollout
        .old
        .iter()
        .copied()
        .filter(|set| !set.is_deleting())
        .collect();
    let excess = empty.len() as i64 - limit;
    if excess <= 0 {
        return;
    }
    empty.sort_by_key(|set| revision(set));
    for set in empty.into_iter().take(excess as usize) {
        let settled = set.generation() <= set.at("status.observedGeneration").i64();
        if size(set) == 0 && set.at("status.replicas").i64() == 0 && settled {
            rollout.actions.push(delete(REPLICA_SETS, set));
        }
    }
}
