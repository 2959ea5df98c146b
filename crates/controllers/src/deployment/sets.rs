//! The ReplicaSets of a Deployment: which is new, which are old, their revisions and sizes.
//!
//! Upstream counterpart: `pkg/controller/deployment/util`.

use super::{REVISION, by_creation, highest, progress};
use crate::{
    common::{Condition, create, event, int_or_percent, patch},
    hash,
    names::REPLICA_SETS,
    ownership::owner_reference,
};
use env::Time;
use machinery::{Object, Value, json};
use reconcile::{Action, View};
use std::sync::Arc;

const HASH_LABEL: &str = "pod-template-hash";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations that belong to the Deployment alone.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// A Deployment at work: what it is, and what has been decided so far.
pub struct Rollout<'a> {
    pub deployment: &'a Arc<Object>,
    /// The set with the present template.
    pub new: Option<&'a Arc<Object>>,
    /// All others, oldest first.
    pub old: Vec<&'a Arc<Object>>,
    pub now: Time,
    /// The status to be written.
    pub status: Value,
    /// The revision the Deployment should carry.
    pub revision: Option<String>,
    pub actions: Vec<Action>,
}

/// `spec.replicas`.
pub fn size(object: &Object) -> i64 {
    object.at("spec.replicas").as_i64().unwrap_or(1)
}

/// `status.availableReplicas`.
pub fn available(set: &Object) -> i64 {
    set.at("status.availableReplicas").i64()
}

/// The revision annotation, zero if none.
pub fn revision(set: &Object) -> i64 {
    number(set, REVISION).unwrap_or_default()
}

/// The Deployment's size when the set was last scaled.
pub fn desired(set: &Object) -> Option<i64> {
    number(set, DESIRED)
}

/// The Deployment's size plus surge when the set was last scaled.
pub fn most(set: &Object) -> Option<i64> {
    number(set, MAX)
}

fn number(set: &Object, annotation: &str) -> Option<i64> {
    set.annotation(annotation)?.parse().ok()
}

/// The pods of `sets` as their specs want them.
pub fn total(sets: &[&Arc<Object>]) -> i64 {
    sets.iter().map(|set| size(set)).sum()
}

fn same_template(set: &Object, deployment: &Object) -> bool {
    let mut template = set.at("spec.template").to_value();
    template.remove_at(&["metadata", "labels", HASH_LABEL]);
    let mut wanted = deployment.at("spec.template").to_value();
    wanted.remove_at(&["metadata", "labels", HASH_LABEL]);
    for one in [&mut template, &mut wanted] {
        // A set's template names no time of creation; the door may write it as null.
        one.remove_at(&["metadata", "creationTimestamp"]);
    }
    template == wanted
}

impl<'a> Rollout<'a> {
    pub fn new(deployment: &'a Arc<Object>, mut sets: Vec<&'a Arc<Object>>, now: Time) -> Self {
        by_creation(&mut sets);
        let at = sets.iter().position(|set| same_template(set, deployment));
        let new = at.map(|at| sets.remove(at));
        let mut rollout = Self {
            deployment,
            new,
            old: sets,
            now,
            status: Value::Null,
            revision: None,
            actions: Vec::new(),
        };
        rollout.status = progress::counts(&rollout);
        rollout
    }

    /// All sets.
    pub fn all(&self) -> Vec<&'a Arc<Object>> {
        self.old.iter().copied().chain(self.new).collect()
    }

    /// Old sets that want pods.
    pub fn active_old(&self) -> Vec<&'a Arc<Object>> {
        self.old
            .iter()
            .copied()
            .filter(|set| size(set) > 0)
            .collect()
    }

    /// How many pods there may be beyond the wanted ones, and how many may be missing.
    pub fn leeway(&self) -> (i64, i64) {
        leeway(self.deployment)
    }

    /// Whether the Deployment's size changed since its sets were scaled.
    pub fn is_scaling(&self) -> bool {
        let wanted = size(self.deployment);
        self.all()
            .iter()
            .filter(|set| size(set) > 0)
            .any(|set| desired(set).is_some_and(|known| known != wanted))
    }

    /// Brings the new set's revision and annotations up to date; makes the set if `may_create`.
    /// Returns whether something had to be done first.
    pub fn settle_revisions(&mut self, may_create: bool) -> bool {
        let next = (highest(&self.old) + 1).to_string();
        let Some(set) = self.new else {
            return may_create;
        };
        let mut annotations = self.copied_annotations(set);
        if revision(set) < next.parse().unwrap_or_default() {
            let mut history = set.annotation(HISTORY).unwrap_or_default().to_owned();
            if let Some(old) = set.annotation(REVISION) {
                if !history.is_empty() {
                    history.push(',');
                }
                history.push_str(old);
                annotations.push((HISTORY.into(), history.into()));
            }
            annotations.push((REVISION.into(), next.as_str().into()));
            self.revision = Some(next);
        } else {
            self.revision = set.annotation(REVISION).map(Into::into);
        }
        self.note_found(set);
        let min_ready = self.deployment.at("spec.minReadySeconds").i64();
        if annotations.is_empty() && set.at("spec.minReadySeconds").i64() == min_ready {
            return false;
        }
        let annotations = Value::Object(annotations.into_iter().collect());
        let change = json!({"metadata": {"annotations": annotations}, "spec": {"minReadySeconds": min_ready}});
        self.actions.push(patch(REPLICA_SETS, set, change));
        true
    }

    fn copied_annotations(&self, set: &Object) -> Vec<(String, Value)> {
        self.deployment
            .metadata()
            .get("annotations")
            .entries()
            .filter(|(key, value)| {
                !NOT_COPIED.contains(key) && set.annotation(key) != value.as_str()
            })
            .map(|(key, value)| (key.to_owned(), value.to_value()))
            .collect()
    }

    fn note_found(&mut self, set: &Object) {
        let known = progress::find(&self.status, "Progressing");
        if known.is_null() && progress::has_deadline(self.deployment) {
            let message = format!("Found new replica set {:?}", set.name());
            let condition = Condition {
                kind: "Progressing",
                status: "True",
                reason: "FoundNewReplicaSet",
                message: &message,
            };
            progress::set(&mut self.status, condition, self.now);
        }
    }

    /// Creates the new set at its first size; a name taken by another template counts a collision.
    pub fn create_new(&mut self, view: &View) {
        let deployment = self.deployment;
        let mut template = deployment.at("spec.template").to_value();
        template.remove_at(&["metadata", "labels", HASH_LABEL]);
        let salt = deployment.at("status.collisionCount").as_i64();
        let hash = hash::of_tree(&template, salt);
        let name = format!("{}-{hash}", deployment.name());
        if view
            .get(REPLICA_SETS, deployment.namespace(), &name)
            .is_some()
        {
            self.status["collisionCount"] = (salt.unwrap_or_default() + 1).into();
            return;
        }
        template.set_at(&["metadata", "labels", HASH_LABEL], hash.as_str());
        let replicas = self.new_size(0);
        let next = (highest(&self.old) + 1).to_string();
        let set = self.fresh_set(&name, &hash, template, (replicas, &next));
        self.actions.push(create(REPLICA_SETS, set, false));
        if replicas > 0 {
            let text = format!("Scaled up replica set {name} from 0 to {replicas}");
            self.actions
                .push(event(deployment, "ScalingReplicaSet", text));
        }
        if progress::has_deadline(deployment) {
            let message = format!("Created new replica set {name:?}");
            let condition = Condition {
                kind: "Progressing",
                status: "True",
                reason: "NewReplicaSetCreated",
                message: &message,
            };
            progress::set(&mut self.status, condition, self.now);
        }
        self.revision = Some(next);
    }

    fn fresh_set(
        &self,
        name: &str,
        hash: &str,
        template: Value,
        (replicas, revision): (i64, &str),
    ) -> Value {
        let deployment = self.deployment;
        let mut selector = deployment.at("spec.selector").to_value();
        selector.set_at(&["matchLabels", HASH_LABEL], hash);
        let mut set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": name, "namespace": deployment.namespace(),
                "labels": template.at(&["metadata", "labels"]),
                "ownerReferences": [owner_reference(deployment)],
            },
            "spec": {"replicas": replicas, "selector": selector, "template": template},
        });
        let min_ready = deployment.at("spec.minReadySeconds").i64();
        if min_ready > 0 {
            set.set_at(&["spec", "minReadySeconds"], min_ready);
        }
        let annotations = set.object_at(&["metadata", "annotations"]);
        for (key, value) in deployment.metadata().get("annotations").entries() {
            if !NOT_COPIED.contains(&key) {
                annotations.insert(key, value.to_value());
            }
        }
        annotations.insert(REVISION, revision);
        for (key, count) in self.marks() {
            annotations.insert(key, count);
        }
        set
    }

    fn marks(&self) -> [(&'static str, String); 2] {
        let wanted = size(self.deployment);
        let (surge, _) = self.leeway();
        [
            (DESIRED, wanted.to_string()),
            (MAX, (wanted + surge).to_string()),
        ]
    }

    /// The size the new set may have now, having `present`.
    pub fn new_size(&self, present: i64) -> i64 {
        let wanted = size(self.deployment);
        let strategy = self.deployment.at("spec.strategy.type").str();
        if strategy == "Recreate" {
            return wanted;
        }
        let (surge, _) = self.leeway();
        let room = wanted + surge - total(&self.all());
        if room <= 0 {
            return present;
        }
        present + room.min(wanted - present)
    }

    /// Scales a set, unless it has that size and the right marks already. Returns whether it acted.
    pub fn scale(&mut self, set: &Object, to: i64) -> bool {
        let from = size(set);
        let marks = self.marks();
        let stale = marks
            .iter()
            .any(|(key, value)| set.annotation(key) != Some(value));
        if from == to && !stale {
            return false;
        }
        let annotations: Value = Value::Object(marks.into_iter().collect());
        let change = json!({"metadata": {"annotations": annotations}, "spec": {"replicas": to}});
        self.actions.push(patch(REPLICA_SETS, set, change));
        if from != to {
            let direction = if to > from { "up" } else { "down" };
            let words = format!(
                "Scaled {direction} replica set {} from {from} to {to}",
                set.name()
            );
            self.actions
                .push(event(self.deployment, "ScalingReplicaSet", words));
        }
        from != to
    }
}

/// Surge and missing pods allowed; both zero would never move, so then one may be missing.
pub fn leeway(deployment: &Object) -> (i64, i64) {
    let wanted = size(deployment);
    if deployment.at("spec.strategy.type").str() == "Recreate" {
        return (0, 0);
    }
    let rolling = deployment.at("spec.strategy.rollingUpdate");
    let field = |name, up| {
        let value = rolling.get(name);
        let share = (wanted * 25).div_euclid(100) + i64::from(up && (wanted * 25) % 100 != 0);
        if value.is_null() {
            share
        } else {
            int_or_percent(value, wanted, up).unwrap_or(share)
        }
    };
    let (surge, missing) = (field("maxSurge", true), field("maxUnavailable", false));
    let missing = if surge == 0 && missing == 0 {
        1
    } else {
        missing
    };
    (surge, missing.min(wanted))
}
