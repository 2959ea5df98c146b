//! Keeps the wanted number of equal pods, for ReplicaSets and ReplicationControllers alike.
//!
//! Upstream counterpart: `pkg/controller/replicaset`, `pkg/controller/replication`.

use crate::{
    common::{
        ACTIONS_PER_PLAN, Condition, create, delete, event, remove_condition, set_condition,
        set_count, warning, write_status,
    },
    names::{NAMESPACES, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS},
    ownership::{
        Claimed, claim, claim_indexes, is_controlled_by, selector, wake_controller, wake_selecting,
    },
    pods,
};
use env::Time;
use machinery::{LabelSelector, Object, Status, Value};
use reconcile::{Action, BY_OWNER, Change, Controller, Index, Plan, Target, View, Watch, itself};
use std::sync::Arc;

/// The controller of ReplicaSets.
pub struct ReplicaSet;
/// The controller of ReplicationControllers.
pub struct ReplicationController;

impl Controller for ReplicaSet {
    fn name(&self) -> &'static str {
        "replicaset-controller"
    }
    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: REPLICA_SETS,
                wakes: itself,
            },
            Watch {
                resource: PODS,
                wakes: wake_sets,
            },
        ]
    }
    fn indexes(&self) -> Vec<Index> {
        claim_indexes()
    }
    fn reconcile(&self, view: &View, key: &Target, now: Time) -> Plan {
        sync(view, key, now)
    }
    fn failed(&self, view: &View, key: &Target, failure: (&Action, &Status), now: Time) -> Plan {
        report_failure(view, key, failure, now)
    }
}

impl Controller for ReplicationController {
    fn name(&self) -> &'static str {
        "replication-controller"
    }
    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: REPLICATION_CONTROLLERS,
                wakes: itself,
            },
            Watch {
                resource: PODS,
                wakes: wake_replication_controllers,
            },
        ]
    }
    fn indexes(&self) -> Vec<Index> {
        claim_indexes()
    }
    fn reconcile(&self, view: &View, key: &Target, now: Time) -> Plan {
        sync(view, key, now)
    }
    fn failed(&self, view: &View, key: &Target, failure: (&Action, &Status), now: Time) -> Plan {
        report_failure(view, key, failure, now)
    }
}

fn wake_sets(view: &View, change: &Change, wake: &mut Vec<Target>) {
    wake_controller(change, "ReplicaSet", REPLICA_SETS, wake);
    wake_selecting(view, change, REPLICA_SETS, wake);
}

fn wake_replication_controllers(view: &View, change: &Change, wake: &mut Vec<Target>) {
    wake_controller(
        change,
        "ReplicationController",
        REPLICATION_CONTROLLERS,
        wake,
    );
    wake_selecting(view, change, REPLICATION_CONTROLLERS, wake);
}

fn sync(view: &View, key: &Target, now: Time) -> Plan {
    let mut plan = Plan::nothing();
    let Some(set) = view.get(&key.resource, &key.namespace, &key.name) else {
        return plan;
    };
    let selector = pod_selector(set);
    let mut pods = claim(view, Claimed(PODS, "Pod"), set, &selector, &mut plan);
    let terminating = pods
        .iter()
        .filter(|pod| pod.is_deleting() && !pods::is_finished(pod))
        .count();
    pods.retain(|pod| pods::is_active(pod));
    let wanted = set.at("spec.replicas").as_i64().unwrap_or(1).max(0) as usize;
    let status = status(set, &pods, terminating, wanted, now, &mut plan);
    plan.actions
        .extend(write_status(&key.resource, set, status));
    if set.is_deleting() {
        return plan;
    }
    if pods.len() < wanted {
        grow(view, set, wanted - pods.len(), &mut plan);
    } else if pods.len() > wanted {
        let excess = pods.len() - wanted;
        shrink(view, set, pods, excess, now, &mut plan);
    }
    plan
}

fn pod_selector(set: &Object) -> LabelSelector {
    let explicit = selector(set);
    if set.at("spec.selector").is_null() {
        return LabelSelector::from_map(set.at("spec.template.metadata.labels"));
    }
    explicit
}

fn grow(view: &View, set: &Object, missing: usize, plan: &mut Plan) {
    let terminating = view
        .get(NAMESPACES, "", set.namespace())
        .is_some_and(|namespace| namespace.is_deleting());
    if terminating {
        return;
    }
    let prefix = format!("{}-", set.name());
    for turn in 0..missing.min(ACTIONS_PER_PLAN / 2) {
        let mut pod = pods::from_template(set, set.at("spec.template"));
        let name = pods::generated_name(view, set, &prefix, turn);
        pod.metadata_mut().insert("generateName", prefix.as_str());
        pod.metadata_mut().insert("name", name.as_str());
        plan.push(create(PODS, pod, false));
        plan.push(event(
            set,
            "SuccessfulCreate",
            format!("Created pod: {name}"),
        ));
    }
}

fn shrink(
    view: &View,
    set: &Arc<Object>,
    mut pods: Vec<&Arc<Object>>,
    excess: usize,
    now: Time,
    plan: &mut Plan,
) {
    let related = related(view, set);
    pods::sort_for_deletion(&mut pods, &related, now);
    for pod in pods.into_iter().take(excess.min(ACTIONS_PER_PLAN / 2)) {
        plan.push(delete(PODS, pod));
        let text = format!("Deleted pod: {}", pod.name());
        plan.push(event(set, "SuccessfulDelete", text));
    }
}

/// Active pods of all sets with the same controller: where they crowd, pods go first.
fn related<'a>(view: &'a View, set: &'a Arc<Object>) -> Vec<&'a Arc<Object>> {
    let resource = if set.at("kind").str() == "ReplicaSet" {
        REPLICA_SETS
    } else {
        REPLICATION_CONTROLLERS
    };
    let siblings: Vec<&Arc<Object>> = match set.controller() {
        Some(owner) => view.owned(resource, owner.uid()).collect(),
        None => vec![set],
    };
    siblings
        .into_iter()
        .flat_map(|sibling| {
            view.indexed(&BY_OWNER, sibling.uid())
                .filter(move |(_, pod)| is_controlled_by(pod, sibling) && pods::is_active(pod))
                .map(|(_, pod)| pod)
        })
        .collect()
}

fn status(
    set: &Object,
    pods: &[&Arc<Object>],
    terminating: usize,
    wanted: usize,
    now: Time,
    plan: &mut Plan,
) -> Value {
    let min_ready = set.at("spec.minReadySeconds").i64();
    let labels = LabelSelector::from_map(set.at("spec.template.metadata.labels"));
    let mut available = 0;
    for from in pods
        .iter()
        .filter_map(|pod| pods::available_from(pod, min_ready))
    {
        if from <= now {
            available += 1;
        } else {
            plan.look_again(from);
        }
    }
    let ready = pods.iter().filter(|pod| pods::is_ready(pod)).count();
    let labeled = pods.iter().filter(|pod| labels.matches_object(pod)).count();
    let mut status = set.at("status").to_value();
    status["replicas"] = pods.len().into();
    set_count(&mut status, "fullyLabeledReplicas", labeled as i64);
    set_count(&mut status, "readyReplicas", ready as i64);
    set_count(&mut status, "availableReplicas", available);
    set_count(&mut status, "observedGeneration", set.generation());
    if set.at("kind").str() == "ReplicaSet" {
        status["terminatingReplicas"] = terminating.into();
    }
    if pods.len() == wanted {
        remove_condition(&mut status, "ReplicaFailure");
    }
    status
}

fn report_failure(view: &View, key: &Target, failure: (&Action, &Status), now: Time) -> Plan {
    let mut plan = Plan::nothing();
    let (action, error) = failure;
    let Some(set) = view.get(&key.resource, &key.namespace, &key.name) else {
        return plan;
    };
    let (reason, verb) = match action {
        Action::Create { .. } => ("FailedCreate", "creating"),
        Action::Delete { .. } => ("FailedDelete", "deleting"),
        _ => return plan,
    };
    plan.push(warning(set, reason, format!("Error {verb}: {error}")));
    let mut status = set.at("status").to_value();
    let message = error.to_string();
    let condition = Condition {
        kind: "ReplicaFailure",
        status: "True",
        reason,
        message: &message,
    };
    set_condition(&mut status, condition, now);
    plan.actions
        .extend(write_status(&key.resource, set, status));
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    fn set(replicas: i64) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web", "namespace": "n", "uid": "rs", "generation": 1},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    }

    fn pod(name: &str, owned: bool, ready: bool, node: &str) -> Value {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "web"}},
            "spec": {"nodeName": node}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        if owned {
            pod.metadata_mut().insert("ownerReferences", vec![json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": true})]);
        }
        pod
    }

    fn run(objects: Vec<(&'static str, Value)>) -> Vec<Action> {
        let view = View::of(objects, &claim_indexes());
        ReplicaSet
            .reconcile(
                &view,
                &Target::new(REPLICA_SETS, "n", "web"),
                Time::from_unix_seconds(1_800_000_000),
            )
            .actions
    }

    #[test]
    fn creates_what_is_missing_with_distinct_names() {
        let actions = run(vec![(REPLICA_SETS, set(3))]);
        let names: std::collections::BTreeSet<_> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Create { object, .. } => Some(object.name().to_owned()),
                _ => None,
            })
            .collect();
        assert_eq!(names.len(), 3);
        let Action::Update { object, .. } = &actions[0] else {
            panic!()
        };
        assert_eq!(
            object["status"],
            json!({"replicas": 0, "observedGeneration": 1, "terminatingReplicas": 0})
        );
    }

    #[test]
    fn adopts_orphans_and_deletes_the_least_useful() {
        let actions = run(vec![
            (REPLICA_SETS, set(1)),
            (PODS, pod("good", true, true, "a")),
            (PODS, pod("unready", true, false, "a")),
            (PODS, pod("stray", false, true, "a")),
        ]);
        assert!(matches!(&actions[0], Action::Patch { target, .. } if target.name == "stray"));
        let deleted: Vec<_> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Delete { target, .. } => Some(target.name.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(deleted.len(), 2);
        assert_eq!(deleted[0], "unready");
    }

    #[test]
    fn nothing_to_do_is_nothing_done() {
        let mut settled = set(1);
        settled["status"] = json!({"replicas": 1, "readyReplicas": 1, "availableReplicas": 1, "fullyLabeledReplicas": 1, "observedGeneration": 1, "terminatingReplicas": 0});
        assert!(
            run(vec![
                (REPLICA_SETS, settled),
                (PODS, pod("good", true, true, "a"))
            ])
            .is_empty()
        );
    }
}
