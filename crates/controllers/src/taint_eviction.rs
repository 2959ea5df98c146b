//! Evicts pods that do not tolerate a `NoExecute` taint of their node, or no longer.
//!
//! Upstream counterpart: `pkg/controller/tainteviction`.

use crate::{
    common::{Condition, delete, event, set_condition, time, write_status},
    names::{NODES, PODS},
    node_lifecycle::PODS_BY_NODE,
    pods,
};
use env::Time;
use machinery::{Object, Ref};
use reconcile::{Change, Controller, Index, Plan, Target, View, Watch, itself};
use std::{sync::Arc, time::Duration};

/// The eviction of pods by taints.
pub struct TaintEviction;

impl Controller for TaintEviction {
    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: PODS,
                wakes: itself,
            },
            Watch {
                resource: NODES,
                wakes: wake_pods,
            },
        ]
    }

    fn indexes(&self) -> Vec<Index> {
        vec![PODS_BY_NODE]
    }

    fn reconcile(&self, view: &View, key: &Target, now: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(pod) = view.get(PODS, &key.namespace, &key.name) else {
            return plan;
        };
        let Some(node) = view.get(NODES, "", pod.at("spec.nodeName").str()) else {
            return plan;
        };
        if pod.is_deleting() || pods::is_finished(pod) {
            return plan;
        }
        match leaves_at(node, pod, now) {
            Some(time) if time <= now => evict(pod, now, &mut plan),
            Some(time) => plan.look_again(time),
            None => {}
        }
        plan
    }
}

fn wake_pods(view: &View, change: &Change, wake: &mut Vec<Target>) {
    let taints = |state: &Option<Arc<Object>>| {
        state
            .as_ref()
            .map(|node| node.at("spec.taints").to_value())
            .unwrap_or_default()
    };
    if taints(&change.old) == taints(&change.new) {
        return;
    }
    let pods = view.indexed(&PODS_BY_NODE, &change.key.name);
    wake.extend(pods.map(|(resource, pod)| crate::common::target(resource, pod)));
}

/// When the first of the node's taints drives the pod out.
fn leaves_at(node: &Object, pod: &Object, now: Time) -> Option<Time> {
    node.at("spec.taints")
        .items()
        .filter(|taint| taint.get("effect").str() == "NoExecute")
        .filter_map(|taint| {
            let since = time(taint.get("timeAdded")).unwrap_or(now);
            let mut patience: Option<i64> = None;
            for toleration in pod.at("spec.tolerations").items() {
                if !tolerates(toleration, taint) {
                    continue;
                }
                let seconds = toleration
                    .get("tolerationSeconds")
                    .as_i64()
                    .unwrap_or(i64::MAX);
                patience = Some(patience.map_or(seconds, |least| least.min(seconds)));
            }
            match patience {
                None => Some(now),
                Some(i64::MAX) => None,
                Some(seconds) => Some(since + Duration::from_secs(seconds.max(0) as u64)),
            }
        })
        .min()
}

/// Whether a toleration covers a taint.
pub fn tolerates(toleration: Ref<'_>, taint: Ref<'_>) -> bool {
    let effect = toleration.get("effect").str();
    if !effect.is_empty() && effect != taint.get("effect").str() {
        return false;
    }
    let key = toleration.get("key").str();
    if !key.is_empty() && key != taint.get("key").str() {
        return false;
    }
    match toleration.get("operator").str() {
        "Exists" => true,
        "" | "Equal" => toleration.get("value").str() == taint.get("value").str(),
        _ => false,
    }
}

fn evict(pod: &Arc<Object>, now: Time, plan: &mut Plan) {
    let mut status = pod.at("status").to_value();
    let condition = Condition {
        kind: "DisruptionTarget",
        status: "True",
        reason: "DeletionByTaintManager",
        message: "Taint manager: deleting due to NoExecute taint",
    };
    set_condition(&mut status, condition, now);
    let text = format!(
        "Marking for deletion Pod {}/{}",
        pod.namespace(),
        pod.name()
    );
    plan.push(event(pod, "TaintManagerEviction", text));
    plan.actions.extend(write_status(PODS, pod, status));
    plan.push(delete(PODS, pod));
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::{Value, json};

    fn run(tolerations: Value, seconds: u64) -> Plan {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "uid": "a"},
            "spec": {"taints": [{"key": "k", "effect": "NoExecute", "timeAdded": "1970-01-01T00:01:40Z"}]}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": "p"},
            "spec": {"nodeName": "a", "tolerations": tolerations}});
        let view = View::of([(NODES, node), (PODS, pod)], &[PODS_BY_NODE]);
        TaintEviction.reconcile(
            &view,
            &Target::new(PODS, "n", "p"),
            Time::from_unix_seconds(seconds),
        )
    }

    #[test]
    fn patience_is_counted_from_the_taint() {
        assert_eq!(run(json!([]), 100).actions.len(), 3);
        let limited = json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 300}]);
        let waiting = run(limited.clone(), 200);
        assert!(waiting.actions.is_empty());
        assert_eq!(waiting.again_at.map(Time::unix_seconds), Some(400));
        assert_eq!(run(limited, 400).actions.len(), 3);
        let forever = run(json!([{"operator": "Exists"}]), 9_000);
        assert!(forever.actions.is_empty() && forever.again_at.is_none());
    }
}
