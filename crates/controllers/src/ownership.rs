//! Who belongs to whom: owner references, adoption and release, and waking owners.
//!
//! Upstream counterpart: `pkg/controller/controller_ref_manager.go`.

use crate::common::{has_finalizer, patch};
use machinery::{LabelSelector, Object, SmolStr, Value, format_smolstr, json};
use reconcile::{BY_OWNER, Change, Index, Plan, Target, View};
use std::sync::Arc;

/// Kinds that controllers adopt.
const ADOPTABLE: [&str; 3] = ["Pod", "ReplicaSet", "ControllerRevision"];

/// Index over adoptable objects that have no controller, by `Kind/namespace`.
pub const ORPHANS: Index = Index {
    name: "orphans",
    resource: "*",
    values: |object, values| {
        let kind = object.at("kind").str();
        if ADOPTABLE.contains(&kind) && object.controller().is_none() {
            values.push(format_smolstr!("{kind}/{}", object.namespace()));
        }
    },
};

/// Index over all objects by UID.
pub const BY_UID: Index = Index {
    name: "uid",
    resource: "*",
    values: |object, values| {
        if !object.uid().is_empty() {
            values.push(object.uid().into());
        }
    },
};

/// The reference that makes `owner` the controller of another object.
pub fn owner_reference(owner: &Object) -> Value {
    json!({
        "apiVersion": owner.at("apiVersion").str(), "kind": owner.at("kind").str(),
        "name": owner.name(), "uid": owner.uid(), "controller": true, "blockOwnerDeletion": true,
    })
}

/// Whether `owner` is the controller of `object`.
pub fn is_controlled_by(object: &Object, owner: &Object) -> bool {
    object
        .controller()
        .is_some_and(|reference| reference.uid() == owner.uid())
}

/// A kind that is claimed: its resource and kind.
pub struct Claimed(pub &'static str, pub &'static str);

/// The objects that belong to `owner`: owned ones that still match, and matching orphans, which
/// the plan adopts; the plan also releases those that match no longer. Needs [`BY_OWNER`], [`ORPHANS`].
pub fn claim<'a>(
    view: &'a View,
    what: Claimed,
    owner: &Object,
    selector: &LabelSelector,
    plan: &mut Plan,
) -> Vec<&'a Arc<Object>> {
    claim_held(view, what, (owner, ""), selector, plan)
}

/// The same for an owner that holds what it owns with a finalizer.
pub fn claim_held<'a>(
    view: &'a View,
    what: Claimed,
    (owner, hold): (&Object, &str),
    selector: &LabelSelector,
    plan: &mut Plan,
) -> Vec<&'a Arc<Object>> {
    let Claimed(resource, kind) = what;
    let mut mine = Vec::new();
    for object in view.owned(resource, owner.uid()) {
        if !is_controlled_by(object, owner) || object.namespace() != owner.namespace() {
            continue;
        }
        if selector.matches_object(object) {
            mine.push(object);
        } else if !object.is_deleting() && !owner.is_deleting() {
            plan.push(release((resource, hold), object, owner));
        }
    }
    if owner.is_deleting() {
        return mine;
    }
    let place: SmolStr = format_smolstr!("{kind}/{}", owner.namespace());
    for (_, object) in view.indexed(&ORPHANS, &place) {
        if !object.is_deleting() && selector.matches_object(object) {
            plan.push(adopt((resource, hold), object, owner));
            mine.push(object);
        }
    }
    mine
}

fn adopt((resource, hold): (&str, &str), object: &Object, owner: &Object) -> reconcile::Action {
    let mut owners = others(object, owner);
    owners.push(owner_reference(owner));
    let mut metadata = json!({"ownerReferences": owners});
    if !hold.is_empty() && !has_finalizer(object, hold) {
        let mut finalizers: Vec<Value> = object.finalizers().map(Value::from).collect();
        finalizers.push(hold.into());
        metadata["finalizers"] = finalizers.into();
    }
    patch(resource, object, json!({"metadata": metadata}))
}

fn others(object: &Object, owner: &Object) -> Vec<Value> {
    object
        .owner_references()
        .filter(|one| one.uid() != owner.uid())
        .map(|one| one.0.to_value())
        .collect()
}

/// Takes `owner` off an object's owner references, and what it holds the object with.
pub fn release(
    (resource, hold): (&str, &str),
    object: &Object,
    owner: &Object,
) -> reconcile::Action {
    let mut metadata = json!({"ownerReferences": others(object, owner)});
    if !hold.is_empty() && has_finalizer(object, hold) {
        let left = object.finalizers().filter(|one| *one != hold);
        metadata["finalizers"] = left.map(Value::from).collect::<Vec<_>>().into();
    }
    patch(resource, object, json!({"metadata": metadata}))
}

/// Both states of a change that exist.
pub fn states(change: &Change) -> impl Iterator<Item = &Arc<Object>> {
    change.old.iter().chain(&change.new)
}

/// Wakes the controllers (of a kind, kept in `resource`) of the changed object, before and after.
pub fn wake_controller(change: &Change, kind: &str, resource: &str, wake: &mut Vec<Target>) {
    for object in states(change) {
        if let Some(owner) = object.controller().filter(|owner| owner.kind() == kind) {
            push(
                wake,
                Target::new(resource, object.namespace(), owner.name()),
            );
        }
    }
}

/// Wakes those of `resource` in the changed object's namespace whose selector an orphan matches.
pub fn wake_selecting(view: &View, change: &Change, resource: &str, wake: &mut Vec<Target>) {
    let Some(object) = &change.new else { return };
    if object.controller().is_some() || object.is_deleting() {
        return;
    }
    for candidate in view.list(resource, Some(object.namespace())) {
        if selector(candidate).matches_object(object) {
            push(
                wake,
                Target::new(resource, candidate.namespace(), candidate.name()),
            );
        }
    }
}

/// Adds a key unless it is the last one already.
pub fn push(wake: &mut Vec<Target>, key: Target) {
    if !wake.contains(&key) {
        wake.push(key);
    }
}

/// `spec.selector` of a workload: a label selector, or the plain map of a ReplicationController.
pub fn selector(object: &Object) -> LabelSelector {
    let selector = object.at("spec.selector");
    if object.at("kind").str() == "ReplicationController" {
        return if selector.entries().next().is_none() {
            LabelSelector::nothing()
        } else {
            LabelSelector::from_map(selector)
        };
    }
    LabelSelector::from_ref(selector)
}

/// The indexes claiming needs.
pub fn claim_indexes() -> Vec<Index> {
    vec![BY_OWNER, ORPHANS]
}
