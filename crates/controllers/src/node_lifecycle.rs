//! Declares nodes unreachable when they fall silent, and taints them for what ails them.
//!
//! Silence is measured from the node's Lease and last heartbeat, so a restart of the control
//! plane forgets nothing. Upstream counterpart: `pkg/controller/nodelifecycle`.

use crate::{
    common::{
        Condition, condition, created, event, patch, set_condition, text, time, write_status,
    },
    names::{LEASES, NODES, PODS},
};
use env::Time;
use machinery::{Object, Ref, Value, json};
use reconcile::{Action, Controller, Index, Plan, Target, View, Watch, itself};
use std::{sync::Arc, time::Duration};

/// Silence after which a node is no longer believed.
const GRACE: Duration = Duration::from_secs(50);
/// The same for a node that never spoke.
const STARTUP_GRACE: Duration = Duration::from_secs(60);
const LEASE_NAMESPACE: &str = "kube-node-lease";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that mean trouble when true, and their taints.
const TROUBLES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    (
        "NetworkUnavailable",
        "node.kubernetes.io/network-unavailable",
    ),
];

/// Index over pods by the node they are bound to.
pub const PODS_BY_NODE: Index = Index {
    name: "pods-by-node",
    resource: PODS,
    values: |pod, values| values.extend(pod.at("spec.nodeName").as_str().map(Into::into)),
};

/// The node life-cycle controller.
pub struct NodeLifecycle;

impl Controller for NodeLifecycle {
    fn name(&self) -> &'static str {
        "node-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: NODES,
                wakes: itself,
            },
            Watch {
                resource: LEASES,
                // A renewal is found when the node's time is up; only one given up is waited for.
                wakes: |view, change, wake| {
                    let renews = change.old.is_some() && change.new.is_some();
                    let node = view.get(NODES, "", &change.key.name);
                    let given_up = node.is_none_or(|node| {
                        condition(node, "Ready").get("status").str() == "Unknown"
                    });
                    if change.key.namespace == LEASE_NAMESPACE && (given_up || !renews) {
                        wake.push(Target::new(NODES, "", &change.key.name));
                    }
                },
            },
        ]
    }

    fn indexes(&self) -> Vec<Index> {
        vec![PODS_BY_NODE]
    }

    fn reconcile(&self, view: &View, key: &Target, now: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(node) = view.get(NODES, "", &key.name) else {
            return plan;
        };
        let deadline = deadline(view, node);
        let silent = now > deadline;
        if silent && let Some(action) = declare_unknown(node, now) {
            plan.push(action);
            if condition(node, "Ready").get("status").str() == "True" {
                let text = format!("Node {} status is now: NodeNotReady", node.name());
                plan.push(event(node, "NodeNotReady", text));
            }
            return plan;
        }
        if !silent {
            plan.look_again(deadline + Duration::from_millis(1));
        }
        plan.actions.extend(taint(node, now));
        if silent {
            plan.actions.extend(doubt_pods(view, node, now));
        }
        plan
    }
}

/// Until when the node's last sign of life is good.
fn deadline(view: &View, node: &Object) -> Time {
    let renewed = view
        .get(LEASES, LEASE_NAMESPACE, node.name())
        .and_then(|lease| time(lease.at("spec.renewTime")));
    let heartbeat = time(condition(node, "Ready").get("lastHeartbeatTime"));
    match renewed.max(heartbeat) {
        Some(spoke) => spoke + GRACE,
        None => created(node) + STARTUP_GRACE,
    }
}

fn declare_unknown(node: &Arc<Object>, now: Time) -> Option<Action> {
    let mut status = node.at("status").to_value();
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        let known = condition(node, kind);
        if known.get("status").str() == "Unknown" {
            continue;
        }
        let (reason, message) = if known.is_null() {
            (
                "NodeStatusNeverUpdated",
                "Kubelet never posted node status.",
            )
        } else {
            ("NodeStatusUnknown", "Kubelet stopped posting node status.")
        };
        let new = Condition {
            kind,
            status: "Unknown",
            reason,
            message,
        };
        set_condition(&mut status, new, now);
    }
    write_status(NODES, node, status)
}

fn taint(node: &Object, now: Time) -> Option<Action> {
    let ready = condition(node, "Ready").get("status").str();
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    let readiness = match ready {
        "True" => None,
        "False" => Some(NOT_READY),
        "" => None,
        _ => Some(UNREACHABLE),
    };
    if let Some(key) = readiness {
        wanted.extend([(key, "NoSchedule"), (key, "NoExecute")]);
    }
    for (kind, key) in TROUBLES {
        if crate::common::is_true(node, kind) {
            wanted.push((key, "NoSchedule"));
        }
    }
    if node.at("spec.unschedulable").is_true() {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    // A node that never reported keeps the taint it was registered with.
    let is_managed = |key: &str| {
        (!ready.is_empty() && [NOT_READY, UNREACHABLE].contains(&key))
            || key == UNSCHEDULABLE
            || TROUBLES.iter().any(|(_, known)| *known == key)
    };
    let old: Vec<Ref<'_>> = node.at("spec.taints").items().collect();
    let is = |taint: &Ref<'_>, (key, effect): (&str, &str)| {
        taint.get("key").str() == key && taint.get("effect").str() == effect
    };
    let stays = |taint: &Ref<'_>| {
        !is_managed(taint.get("key").str()) || wanted.iter().any(|one| is(taint, *one))
    };
    let mut taints: Vec<Value> = old
        .iter()
        .filter(|taint| stays(taint))
        .map(|taint| taint.to_value())
        .collect();
    let missing: Vec<_> = wanted
        .iter()
        .filter(|one| !old.iter().any(|taint| is(taint, **one)))
        .collect();
    if missing.is_empty() && taints.len() == old.len() {
        return None;
    }
    for (key, effect) in missing {
        taints.push(json!({"key": *key, "effect": *effect, "timeAdded": text(now)}));
    }
    Some(patch(NODES, node, json!({"spec": {"taints": taints}})))
}

/// Pods nobody can vouch for stop receiving traffic.
fn doubt_pods(view: &View, node: &Object, now: Time) -> Vec<Action> {
    view.indexed(&PODS_BY_NODE, node.name())
        .filter(|(_, pod)| crate::pods::is_ready(pod))
        .filter_map(|(_, pod)| {
            let mut status = pod.at("status").to_value();
            let known = condition(pod, "Ready");
            let new = Condition {
                kind: "Ready",
                status: "False",
                reason: known.get("reason").str(),
                message: known.get("message").str(),
            };
            set_condition(&mut status, new, now);
            write_status(PODS, pod, status)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ready: &str, beat: u64) -> Value {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "uid": "a"}, "spec": {},
            "status": {"conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": machinery::format_time(beat * 1_000_000)}]}})
    }

    fn run(objects: Vec<(&'static str, Value)>, seconds: u64) -> Plan {
        let view = View::of(objects, &[PODS_BY_NODE]);
        NodeLifecycle.reconcile(
            &view,
            &Target::new(NODES, "", "a"),
            Time::from_unix_seconds(seconds),
        )
    }

    #[test]
    fn silence_makes_a_node_unknown_and_then_tainted() {
        let calm = run(vec![(NODES, node("True", 100))], 120);
        assert!(calm.actions.is_empty());
        assert_eq!(calm.again_at.map(Time::unix_seconds), Some(150));
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a", "namespace": LEASE_NAMESPACE, "uid": "l"}, "spec": {"renewTime": "1970-01-01T00:03:00.000000Z"}});
        assert!(
            run(vec![(NODES, node("True", 100)), (LEASES, lease)], 200)
                .actions
                .is_empty()
        );
        let lost = run(vec![(NODES, node("True", 100))], 151);
        assert!(matches!(
            &lost.actions[0],
            Action::Update {
                subresource: "status",
                ..
            }
        ));
        let tainted = run(vec![(NODES, node("Unknown", 100))], 152);
        assert!(
            matches!(&tainted.actions[0], Action::Update { .. }),
            "the other conditions become unknown first"
        );
    }

    #[test]
    fn taints_follow_readiness_and_others_stay() {
        let mut value = node("False", 100);
        value.set_at(&["spec", "taints"], json!([{"key": "mine", "effect": "NoSchedule"}, {"key": UNREACHABLE, "effect": "NoSchedule"}]));
        let plan = run(vec![(NODES, value)], 110);
        let Action::Patch { patch, .. } = &plan.actions[0] else {
            panic!()
        };
        let keys: Vec<_> = patch["spec"]["taints"]
            .items()
            .iter()
            .map(|t| (t["key"].str(), t["effect"].str()))
            .collect();
        assert_eq!(
            keys,
            [
                ("mine", "NoSchedule"),
                (NOT_READY, "NoSchedule"),
                (NOT_READY, "NoExecute")
            ]
        );
    }
}
