//! Rolls a Deployment's template out over ReplicaSets.
//!
//! Sees ReplicaSets (and, for Recreate, their pods); never creates a pod itself.
//! Upstream counterpart: `pkg/controller/deployment`.

mod progress;
mod sets;
mod steps;

#[cfg(test)]
mod tests;

use crate::{
    common::{Condition, set_condition, target, warning},
    names::{DEPLOYMENTS, PODS, REPLICA_SETS},
    ownership::{Claimed, claim, claim_indexes, selector, states, wake_controller, wake_selecting},
    pods,
};
use env::Time;
use machinery::{Object, Value};
use reconcile::{Action, Change, Controller, Index, Plan, Target, View, Watch, itself};
use sets::{Rollout, revision};
use std::sync::Arc;

/// Annotation with the revision number of a Deployment and of each of its ReplicaSets.
const REVISION: &str = "deployment.kubernetes.io/revision";
const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";

/// The controller of Deployments.
pub struct Deployment;

impl Controller for Deployment {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: DEPLOYMENTS,
                wakes: itself,
            },
            Watch {
                resource: REPLICA_SETS,
                wakes: wake_sets,
            },
            Watch {
                resource: PODS,
                wakes: wake_pods,
            },
        ]
    }

    fn indexes(&self) -> Vec<Index> {
        claim_indexes()
    }

    fn reconcile(&self, view: &View, key: &Target, now: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(deployment) = view.get(DEPLOYMENTS, &key.namespace, &key.name) else {
            return plan;
        };
        let selector = selector(deployment);
        if selector.is_everything() {
            let text = "This deployment is selecting all pods. A non-empty selector is required.";
            plan.push(warning(deployment, "SelectingAll", text));
            return plan;
        }
        let what = Claimed(REPLICA_SETS, "ReplicaSet");
        let sets = claim(view, what, deployment, &selector, &mut plan);
        let mut rollout = Rollout::new(deployment, sets, now);
        if !deployment.is_deleting() {
            decide(view, &mut rollout);
        }
        plan.actions.append(&mut rollout.actions);
        finish(&mut rollout, &mut plan);
        plan
    }
}

fn decide(view: &View, rollout: &mut Rollout<'_>) {
    note_pause(rollout);
    let paused = rollout.deployment.at("spec.paused").is_true();
    if paused || rollout.is_scaling() {
        rollout.settle_revisions(false);
        steps::scale(rollout);
        if paused {
            steps::clean_up(rollout);
        }
        return;
    }
    if rollout
        .deployment
        .at("spec.strategy.type")
        .as_str()
        .unwrap_or("RollingUpdate")
        == "Recreate"
    {
        let running = rollout.old.iter().any(|set| has_running_pods(view, set));
        steps::recreate(view, rollout, running);
    } else {
        steps::rolling(view, rollout);
    }
    if progress::is_complete(rollout.deployment, &rollout.status) {
        steps::clean_up(rollout);
    }
}

fn has_running_pods(view: &View, set: &Object) -> bool {
    view.owned(PODS, set.uid())
        .any(|pod| !pods::is_finished(pod))
}

/// Remembers in the Progressing condition that the clock stands still while paused.
fn note_pause(rollout: &mut Rollout<'_>) {
    let deployment = rollout.deployment;
    if !progress::has_deadline(deployment) {
        return;
    }
    let reason = progress::find(&rollout.status, "Progressing")["reason"]
        .str()
        .to_owned();
    if reason == TIMED_OUT {
        return;
    }
    let paused = deployment.at("spec.paused").is_true();
    let (reason, message) = match (paused, reason == PAUSED) {
        (true, false) => (PAUSED, "Deployment is paused"),
        (false, true) => (RESUMED, "Deployment is resumed"),
        _ => return,
    };
    let condition = Condition {
        kind: "Progressing",
        status: "Unknown",
        reason,
        message,
    };
    progress::set(&mut rollout.status, condition, rollout.now);
}

/// Writes what the rollout came to: revision annotation and status.
fn finish(rollout: &mut Rollout<'_>, plan: &mut Plan) {
    let deployment = rollout.deployment;
    let again = progress::conclude(rollout);
    if let Some(time) = again {
        plan.look_again(time);
    }
    let counted = deployment.at("status").to_value() != rollout.status;
    let revision = rollout.revision.as_deref().filter(|revision| {
        !deployment.is_deleting() && deployment.annotation(REVISION) != Some(revision)
    });
    if !counted && revision.is_none() {
        return;
    }
    let mut changed = deployment.shown();
    if counted {
        changed["status"] = rollout.status.clone();
    }
    // Beside the status, as upstream does: an annotation written with the spec would count as a
    // new generation.
    if let Some(revision) = revision {
        changed.set_at(&["metadata", "annotations", REVISION], revision);
    }
    plan.push(Action::Update {
        target: target(DEPLOYMENTS, deployment),
        subresource: "status",
        object: changed,
    });
}

fn wake_sets(view: &View, change: &Change, wake: &mut Vec<Target>) {
    wake_controller(change, "Deployment", DEPLOYMENTS, wake);
    wake_selecting(view, change, DEPLOYMENTS, wake);
}

/// Only Recreate looks at pods: at their end.
fn wake_pods(view: &View, change: &Change, wake: &mut Vec<Target>) {
    let ended = change.new.as_ref().is_none_or(|pod| pods::is_finished(pod));
    if !ended {
        return;
    }
    for pod in states(change) {
        let owner = pod
            .controller()
            .filter(|owner| owner.kind() == "ReplicaSet")
            .and_then(|owner| view.get(REPLICA_SETS, pod.namespace(), owner.name()));
        if let Some(deployment) = owner.and_then(|set| set.controller()) {
            wake.push(Target::new(DEPLOYMENTS, pod.namespace(), deployment.name()));
        }
    }
}

/// Newest first among equals is never needed: sets are told apart by creation, then name.
fn by_creation(sets: &mut [&Arc<Object>]) {
    sets.sort_by_key(|set| (crate::common::created(set), set.name().to_owned()));
}

/// Sets a condition of the plain kind.
fn plain(status: &mut Value, kind: &str, state: &str, words: (&str, &str), now: Time) {
    let condition = Condition {
        kind,
        status: state,
        reason: words.0,
        message: words.1,
    };
    set_condition(status, condition, now);
}

/// The highest revision among sets.
fn highest(sets: &[&Arc<Object>]) -> i64 {
    sets.iter()
        .map(|set| revision(set))
        .max()
        .unwrap_or_default()
}
