//! Removes pods nobody else will: of nodes that are gone, unscheduled ones being deleted, and
//! the oldest ended ones beyond a threshold.
//!
//! Upstream counterpart: `pkg/controller/podgc`.

use crate::{
    common::{Condition, condition, created, delete, set_condition, target, time, write_status},
    names::{NODES, PODS},
    node_lifecycle::PODS_BY_NODE,
    pods,
};
use env::Time;
use machinery::Object;
use reconcile::{
    Action, Change, Controller, Index, Plan, Preconditions, Propagation, Target, View, Watch,
};
use std::{sync::Arc, time::Duration};

/// Ended pods kept in the cluster.
const TERMINATED_THRESHOLD: usize = 12_500;
/// A pod this young may be bound to a node whose registration is still under way.
const QUARANTINE: Duration = Duration::from_secs(40);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// The garbage collector of pods.
pub struct PodGc;

impl Controller for PodGc {
    fn name(&self) -> &'static str {
        "pod-garbage-collector"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: PODS,
                wakes: wake_pod,
            },
            Watch {
                resource: NODES,
                wakes: wake_bound,
            },
        ]
    }

    fn indexes(&self) -> Vec<Index> {
        vec![PODS_BY_NODE]
    }

    fn reconcile(&self, view: &View, key: &Target, now: Time) -> Plan {
        let mut plan = Plan::nothing();
        if key.name.is_empty() {
            trim(view, &mut plan);
            return plan;
        }
        let Some(pod) = view.get(PODS, &key.namespace, &key.name) else {
            return plan;
        };
        let node = pod.at("spec.nodeName").str();
        if node.is_empty() {
            if pod.is_deleting() {
                remove(pod, None, now, &mut plan);
            }
            return plan;
        }
        match view.get(NODES, "", node) {
            None => {
                let young = settled(pod) + QUARANTINE;
                if young > now {
                    plan.look_again(young);
                } else {
                    remove(pod, Some("PodGC: node no longer exists"), now, &mut plan);
                }
            }
            Some(node) if pod.is_deleting() && is_out_of_service(node) => {
                let why = "PodGC: node is out of service";
                remove(pod, Some(why), now, &mut plan);
            }
            Some(_) => {}
        }
        plan
    }
}

fn wake_pod(view: &View, change: &Change, wake: &mut Vec<Target>) {
    reconcile::itself(view, change, wake);
    let ended =
        |state: &Option<Arc<Object>>| state.as_ref().is_some_and(|pod| pods::is_finished(pod));
    if ended(&change.new) && !ended(&change.old) {
        wake.push(Target::new(PODS, "", ""));
    }
}

fn wake_bound(view: &View, change: &Change, wake: &mut Vec<Target>) {
    let troubled = change
        .new
        .as_ref()
        .is_none_or(|node| is_out_of_service(node));
    if troubled {
        let pods = view.indexed(&PODS_BY_NODE, &change.key.name);
        wake.extend(pods.map(|(resource, pod)| target(resource, pod)));
    }
}

fn is_out_of_service(node: &Object) -> bool {
    let not_ready = condition(node, "Ready").get("status").str() != "True";
    not_ready
        && node
            .at("spec.taints")
            .items()
            .any(|taint| taint.get("key").str() == OUT_OF_SERVICE)
}

/// When the pod was bound, or made.
fn settled(pod: &Object) -> Time {
    time(condition(pod, "PodScheduled").get("lastTransitionTime"))
        .unwrap_or_default()
        .max(created(pod))
}

fn remove(pod: &Arc<Object>, why: Option<&str>, now: Time, plan: &mut Plan) {
    if !pods::is_finished(pod) {
        let mut status = pod.at("status").to_value();
        status["phase"] = "Failed".into();
        if let Some(message) = why {
            let condition = Condition {
                kind: "DisruptionTarget",
                status: "True",
                reason: "DeletionByPodGC",
                message,
            };
            set_condition(&mut status, condition, now);
        }
        plan.actions.extend(write_status(PODS, pod, status));
    }
    plan.push(Action::Delete {
        target: target(PODS, pod),
        when: Preconditions::uid(pod.uid()),
        grace_seconds: Some(0),
        propagation: Propagation::Background,
    });
}

fn trim(view: &View, plan: &mut Plan) {
    let mut ended: Vec<_> = view
        .list(PODS, None)
        .filter(|pod| pods::is_finished(pod) && !pod.is_deleting())
        .collect();
    if ended.len() <= TERMINATED_THRESHOLD {
        return;
    }
    let excess = ended.len() - TERMINATED_THRESHOLD;
    ended.sort_by_key(|pod| created(pod));
    plan.actions
        .extend(ended.into_iter().take(excess).map(|pod| delete(PODS, pod)));
}
