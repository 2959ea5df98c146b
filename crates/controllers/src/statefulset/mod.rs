//! Keeps numbered pods with an identity and storage of their own.
//!
//! Upstream counterpart: `pkg/controller/statefulset`.

mod identity;
mod status;

#[cfg(test)]
mod tests;

use crate::{
    common::{create, delete, event, patch, warning, write_status},
    history::{HASH_LABEL, History, history, trim},
    names::{NAMESPACES, PODS, PVCS, STATEFUL_SETS},
    ownership::{Claimed, claim, claim_indexes, selector, wake_controller, wake_selecting},
    pods,
};
use env::Time;
use identity::{claims, ordinal, pod_for};
use machinery::{Object, Value, json};
use reconcile::{Change, Controller, Index, Plan, Target, View, Watch, itself};
use std::{collections::BTreeMap, sync::Arc};

/// The controller of StatefulSets.
pub struct StatefulSet;

impl Controller for StatefulSet {
    fn name(&self) -> &'static str {
        "statefulset-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: STATEFUL_SETS,
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
        let mut plan = Plan::nothing();
        let Some(set) = view.get(STATEFUL_SETS, &key.namespace, &key.name) else {
            return plan;
        };
        let mine = claim(view, Claimed(PODS, "Pod"), set, &selector(set), &mut plan);
        let pods: BTreeMap<i64, &Arc<Object>> = mine
            .into_iter()
            .filter_map(|pod| Some((ordinal(set, pod)?, pod)))
            .collect();
        let history = history(view, set, &mut plan);
        let status = status::of(set, &pods, &history, now, &mut plan);
        let current = status["currentRevision"].str().to_owned();
        let current_replicas = number(&status, "currentReplicas");
        plan.actions
            .extend(write_status(STATEFUL_SETS, set, status));
        let namespace = view.get(NAMESPACES, "", set.namespace());
        if set.is_deleting() || namespace.is_some_and(|namespace| namespace.is_deleting()) {
            return plan;
        }
        let mut live: Vec<&str> = pods
            .values()
            .filter_map(|pod| pod.label(HASH_LABEL))
            .collect();
        live.push(&current);
        trim(set, &history, &live, &mut plan);
        let work = Work {
            view,
            set,
            pods: &pods,
            history: &history,
            current: &current,
            current_replicas,
            now,
        };
        work.step(&mut plan);
        plan
    }
}

fn wake_sets(view: &View, change: &Change, wake: &mut Vec<Target>) {
    wake_controller(change, "StatefulSet", STATEFUL_SETS, wake);
    wake_selecting(view, change, STATEFUL_SETS, wake);
}

/// First ordinal and number of replicas.
fn range(set: &Object) -> (i64, i64) {
    let replicas = set.at("spec.replicas").as_i64().unwrap_or(1);
    (set.at("spec.ordinals.start").i64(), replicas)
}

fn is_healthy(pod: &Object) -> bool {
    pods::phase(pod) == "Running" && pods::is_ready(pod) && !pod.is_deleting()
}

/// One look at a set.
struct Work<'a> {
    view: &'a View,
    set: &'a Arc<Object>,
    pods: &'a BTreeMap<i64, &'a Arc<Object>>,
    history: &'a History<'a>,
    current: &'a str,
    current_replicas: i64,
    now: Time,
}

impl Work<'_> {
    fn is_ordered(&self) -> bool {
        self.set.at("spec.podManagementPolicy").str() != "Parallel"
    }

    fn is_available(&self, pod: &Object) -> bool {
        pods::available_from(pod, self.set.at("spec.minReadySeconds").i64())
            .is_some_and(|from| from <= self.now)
    }

    /// Whether an ordinal still belongs to the revision before the rollout.
    fn keeps_current(&self, ordinal: i64) -> bool {
        if self.set.at("spec.updateStrategy.type").str() == "OnDelete" {
            return false;
        }
        let start = range(self.set).0;
        match self
            .set
            .at("spec.updateStrategy.rollingUpdate.partition")
            .as_i64()
        {
            Some(partition) if partition > 0 => ordinal < start + partition,
            _ => ordinal < start + self.current_replicas,
        }
    }

    fn step(&self, plan: &mut Plan) {
        let (start, replicas) = range(self.set);
        for ordinal in start..start + replicas {
            if !self.keep(ordinal, plan) {
                return;
            }
        }
        let excess = self
            .pods
            .iter()
            .rev()
            .filter(|(ordinal, _)| **ordinal < start || **ordinal >= start + replicas);
        for (ordinal, pod) in excess {
            if !self.condemn(*ordinal, pod, plan) {
                return;
            }
        }
        if self.set.at("spec.updateStrategy.type").str() != "OnDelete" {
            self.roll(plan);
        }
    }

    /// Sees to one wanted replica; false if the next one has to wait.
    fn keep(&self, ordinal: i64, plan: &mut Plan) -> bool {
        let proceed = !self.is_ordered();
        let Some(pod) = self.pods.get(&ordinal) else {
            self.make(ordinal, plan);
            return proceed;
        };
        if pods::is_finished(pod) {
            if !pod.is_deleting() {
                let text = format!(
                    "StatefulSet {}/{} is recreating failed Pod {}",
                    self.set.namespace(),
                    self.set.name(),
                    pod.name()
                );
                plan.push(warning(self.set, "RecreatingFailedPod", text));
                plan.push(delete(PODS, pod));
            }
            return proceed;
        }
        if pod.is_deleting() {
            return proceed;
        }
        self.keep_claims(ordinal, pod.name(), plan);
        proceed || (is_healthy(pod) && self.is_available(pod))
    }

    fn make(&self, ordinal: i64, plan: &mut Plan) {
        let revision = if self.keeps_current(ordinal) {
            self.current
        } else {
            &self.history.name
        };
        let old = self
            .history
            .known
            .iter()
            .find(|one| one.name() == revision && revision != self.history.name);
        let template = match old {
            Some(old) => old.at("data.spec.template"),
            None => self.set.at("spec.template"),
        };
        let name = format!("{}-{ordinal}", self.set.name());
        if let Some(foreign) = self.view.get(PODS, self.set.namespace(), &name) {
            let text = format!("pod {} is in the way and not ours", foreign.name());
            plan.failed = Some(text);
            return;
        }
        self.keep_claims(ordinal, &name, plan);
        let revision = old.map_or(self.history.name.as_str(), |old| old.name());
        plan.push(create(
            PODS,
            pod_for(self.set, template, ordinal, revision),
            false,
        ));
        let text = format!(
            "create Pod {name} in StatefulSet {} successful",
            self.set.name()
        );
        plan.push(event(self.set, "SuccessfulCreate", text));
    }

    fn keep_claims(&self, ordinal: i64, pod: &str, plan: &mut Plan) {
        let owned = self.retention("whenDeleted") == "Delete";
        for claim in claims(self.set, ordinal, owned) {
            let name = claim.name().to_owned();
            let Some(known) = self.view.get(PVCS, self.set.namespace(), &name) else {
                plan.push(create(PVCS, claim, true));
                let text = format!(
                    "create Claim {name} Pod {pod} in StatefulSet {} success",
                    self.set.name()
                );
                plan.push(event(self.set, "SuccessfulCreate", text));
                continue;
            };
            let ours = known
                .owner_references()
                .any(|one| one.uid() == self.set.uid());
            let scaled_away = known.owner_references().any(|one| one.kind() == "Pod");
            if ours != owned || scaled_away {
                let owners = identity::claim_owners(self.set, known, owned);
                plan.push(patch(
                    PVCS,
                    known,
                    json!({"metadata": {"ownerReferences": owners}}),
                ));
            }
        }
    }

    fn retention(&self, field: &str) -> &str {
        let policy = self.set.at("spec.persistentVolumeClaimRetentionPolicy");
        policy.get(field).as_str().unwrap_or("Retain")
    }

    /// Takes down a pod that is not wanted; false if the next one has to wait.
    fn condemn(&self, ordinal: i64, pod: &Object, plan: &mut Plan) -> bool {
        let proceed = !self.is_ordered();
        if pod.is_deleting() {
            return proceed;
        }
        let sick = !(pods::phase(pod) == "Running" && pods::is_ready(pod));
        if self.is_ordered() && sick && self.first_unhealthy() != Some(ordinal) {
            return false;
        }
        if self.retention("whenScaled") == "Delete" {
            self.doom_claims(ordinal, pod, plan);
        }
        self.remove(pod, plan);
        proceed
    }

    /// The first replica that is not healthy: a wanted one, or else one too many.
    fn first_unhealthy(&self) -> Option<i64> {
        let (start, replicas) = range(self.set);
        let wanted = |ordinal: &i64| (start..start + replicas).contains(ordinal);
        let sick = self.pods.iter().filter(|(_, pod)| !is_healthy(pod));
        sick.map(|(ordinal, _)| *ordinal)
            .min_by_key(|ordinal| (!wanted(ordinal), *ordinal))
    }

    /// Claims of a pod scaled away go when the pod does.
    fn doom_claims(&self, ordinal: i64, pod: &Object, plan: &mut Plan) {
        for claim in claims(self.set, ordinal, false) {
            let Some(known) = self.view.get(PVCS, self.set.namespace(), claim.name()) else {
                continue;
            };
            let owner =
                json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name(), "uid": pod.uid()});
            plan.push(patch(
                PVCS,
                known,
                json!({"metadata": {"ownerReferences": [owner]}}),
            ));
        }
    }

    fn remove(&self, pod: &Object, plan: &mut Plan) {
        plan.push(delete(PODS, pod));
        let text = format!(
            "delete Pod {} in StatefulSet {} successful",
            pod.name(),
            self.set.name()
        );
        plan.push(event(self.set, "SuccessfulDelete", text));
    }

    /// Replaces one pod of another revision, from the last down to the partition, while all
    /// above it are healthy.
    fn roll(&self, plan: &mut Plan) {
        let (start, replicas) = range(self.set);
        let partition = self
            .set
            .at("spec.updateStrategy.rollingUpdate.partition")
            .i64();
        for ordinal in (start + partition..start + replicas).rev() {
            let Some(pod) = self.pods.get(&ordinal) else {
                return;
            };
            let updated = pod.label(HASH_LABEL) == Some(self.history.name.as_str());
            if !updated && !pod.is_deleting() {
                return self.remove(pod, plan);
            }
            if !is_healthy(pod) || !self.is_available(pod) {
                return;
            }
        }
    }
}

/// A status count.
fn number(status: &Value, key: &str) -> i64 {
    status[key].as_i64().unwrap_or_default()
}
