//! Tells how many pods of a PodDisruptionBudget may be evicted now.
//!
//! Upstream counterpart: `pkg/controller/disruption`.

use crate::{
    common::{Condition, int_or_percent, set_condition, write_status},
    names::{DEPLOYMENTS, PDBS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS},
    ownership::{push, selector, states},
    pods,
};
use env::Time;
use machinery::{Map, Object, parse_time};
use reconcile::{Change, Controller, Plan, Target, View, Watch, itself};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long an eviction is believed to be under way.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(120);

/// The disruption controller.
pub struct Disruption;

impl Controller for Disruption {
    fn name(&self) -> &'static str {
        "disruption-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        let mut all = vec![
            Watch {
                resource: PDBS,
                wakes: itself,
            },
            Watch {
                resource: PODS,
                wakes: wake_by_pod,
            },
        ];
        all.extend(
            [
                DEPLOYMENTS,
                REPLICA_SETS,
                REPLICATION_CONTROLLERS,
                STATEFUL_SETS,
            ]
            .map(|resource| Watch {
                resource,
                wakes: wake_namespace,
            }),
        );
        all
    }

    fn reconcile(&self, view: &View, key: &Target, now: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(budget) = view.get(PDBS, &key.namespace, &key.name) else {
            return plan;
        };
        let selector = selector(budget);
        let pods: Vec<_> = view
            .list(PODS, Some(&key.namespace))
            .filter(|pod| selector.matches_object(pod) && !pods::is_finished(pod))
            .collect();
        let disrupted = disrupted(budget, &pods, now, &mut plan);
        let healthy = pods
            .iter()
            .filter(|pod| {
                pods::is_ready(pod) && !pod.is_deleting() && !disrupted.contains_key(pod.name())
            })
            .count() as i64;
        let (expected, desired) = wanted(view, budget, &pods);
        let allowed = if expected > 0 {
            (healthy - desired).max(0)
        } else {
            0
        };
        let mut status = budget.at("status").to_value();
        for (key, count) in [
            ("currentHealthy", healthy),
            ("desiredHealthy", desired),
            ("expectedPods", expected),
            ("disruptionsAllowed", allowed),
            ("observedGeneration", budget.generation()),
        ] {
            status[key] = count.into();
        }
        if disrupted.is_empty() {
            status.make_object().remove("disruptedPods");
        } else {
            status["disruptedPods"] = disrupted.into();
        }
        let (state, reason) = if allowed > 0 {
            ("True", "SufficientPods")
        } else {
            ("False", "InsufficientPods")
        };
        let condition = Condition {
            kind: "DisruptionAllowed",
            status: state,
            reason,
            message: "",
        };
        set_condition(&mut status, condition, now);
        for one in crate::common::conditions_mut(&mut status) {
            // This list is of metav1.Condition, whose message is required.
            if one["message"].is_null() {
                one["message"] = "".into();
            }
            one["observedGeneration"] = budget.generation().into();
        }
        plan.actions.extend(write_status(PDBS, budget, status));
        plan
    }
}

fn wake_by_pod(view: &View, change: &Change, wake: &mut Vec<Target>) {
    for budget in view.list(PDBS, Some(&change.key.namespace)) {
        let selector = selector(budget);
        if states(change).any(|pod| selector.matches_object(pod)) {
            push(wake, crate::common::target(PDBS, budget));
        }
    }
}

/// A workload's size counts only when it changes.
fn wake_namespace(view: &View, change: &Change, wake: &mut Vec<Target>) {
    let size = |state: &Option<Arc<Object>>| {
        state
            .as_ref()
            .map(|object| object.at("spec.replicas").as_i64())
    };
    if size(&change.old) != size(&change.new) {
        let budgets = view.list(PDBS, Some(&change.key.namespace));
        wake.extend(budgets.map(|budget| crate::common::target(PDBS, budget)));
    }
}

/// Evictions granted but not seen yet.
fn disrupted(budget: &Object, pods: &[&Arc<Object>], now: Time, plan: &mut Plan) -> Map {
    let mut kept = Map::new();
    for (name, since) in budget.at("status.disruptedPods").entries() {
        let standing = pods
            .iter()
            .any(|pod| pod.name() == name && !pod.is_deleting());
        let Some(since_time) = parse_time(since.str()).filter(|_| standing) else {
            continue;
        };
        let due = Time(since_time) + EVICTION_TIMEOUT;
        if due > now {
            kept.insert(name, since.to_value());
            plan.look_again(due);
        }
    }
    kept
}

/// How many pods there should be, and how many of them healthy.
fn wanted(view: &View, budget: &Object, pods: &[&Arc<Object>]) -> (i64, i64) {
    let most = budget.at("spec.maxUnavailable");
    if !most.is_null() {
        let expected = scale(view, pods);
        let missing = int_or_percent(most, expected, true).unwrap_or_default();
        return (expected, (expected - missing).max(0));
    }
    let least = budget.at("spec.minAvailable");
    if let Some(number) = least.as_i64() {
        return (pods.len() as i64, number);
    }
    let expected = scale(view, pods);
    let share = int_or_percent(least, expected, true).unwrap_or(i64::from(least.is_null()));
    (expected, share)
}

/// The sizes of all workloads the pods belong to.
fn scale(view: &View, pods: &[&Arc<Object>]) -> i64 {
    let mut sizes: BTreeMap<String, i64> = BTreeMap::new();
    for pod in pods {
        if let Some(workload) = workload(view, pod) {
            let size = workload.at("spec.replicas").as_i64().unwrap_or(1);
            sizes.insert(workload.uid().to_owned(), size);
        }
    }
    sizes.values().sum()
}

fn workload<'a>(view: &'a View, pod: &Object) -> Option<&'a Arc<Object>> {
    let owner = pod.controller()?;
    let namespace = pod.namespace();
    match owner.kind() {
        "ReplicaSet" => {
            let set = view.get(REPLICA_SETS, namespace, owner.name())?;
            let above = set
                .controller()
                .filter(|owner| owner.kind() == "Deployment")
                .and_then(|owner| view.get(DEPLOYMENTS, namespace, owner.name()));
            Some(above.unwrap_or(set))
        }
        "StatefulSet" => view.get(STATEFUL_SETS, namespace, owner.name()),
        "ReplicationController" => view.get(REPLICATION_CONTROLLERS, namespace, owner.name()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;
    use reconcile::Action;

    #[test]
    fn allows_what_exceeds_the_minimum() {
        let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b", "namespace": "n", "uid": "b"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}});
        let pod = |name: &str, ready: &str| {
            (
                PODS,
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "x"}},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}}),
            )
        };
        let world = [
            (PDBS, budget),
            pod("a", "True"),
            pod("b", "True"),
            pod("c", "False"),
        ];
        let plan =
            Disruption.reconcile(&View::of(world, &[]), &Target::new(PDBS, "n", "b"), Time(0));
        let Action::Update { object, .. } = &plan.actions[0] else {
            panic!()
        };
        assert_eq!(object["status"]["disruptionsAllowed"].as_i64(), Some(1));
        assert_eq!(object["status"]["expectedPods"].as_i64(), Some(3));
        assert_eq!(
            object["status"]["conditions"][0]["reason"].str(),
            "SufficientPods"
        );
    }
}
