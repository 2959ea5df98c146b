//! The garbage collector: dependents follow their owners, in the order deletion asked for.
//!
//! The view is complete, so an owner whose UID is not in it is gone; there are no virtual
//! owners to verify. Upstream counterpart: `pkg/controller/garbagecollector`.

use crate::{
    common::{has_finalizer, patch, remove_finalizer, target, warning},
    names::CRDS,
    ownership::{BY_UID, states},
};
use env::Time;
use machinery::{Object, OwnerReference, SmolStr, Value, json};
use reconcile::{
    Action, BY_OWNER, Change, Controller, Index, Plan, Preconditions, Propagation, Target, View,
    Watch,
};
use std::sync::Arc;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// Built-in kinds without namespace that may own others. A cluster-scoped dependent must not be
/// deleted because its owner, of a namespaced kind, is not found at cluster scope.
const CLUSTER_KINDS: [&str; 20] = [
    "APIService",
    "CSIDriver",
    "CSINode",
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "DeviceClass",
    "FlowSchema",
    "IngressClass",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "RuntimeClass",
    "StorageClass",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
];

/// The garbage collector.
pub struct GarbageCollector;

impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        "generic-garbage-collector"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch {
            resource: "*",
            wakes: wake,
        }]
    }

    fn indexes(&self) -> Vec<Index> {
        vec![BY_OWNER, BY_UID]
    }

    fn reconcile(&self, view: &View, key: &Target, _: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(object) = view.get(&key.resource, &key.namespace, &key.name) else {
            return plan;
        };
        if object.is_deleting() {
            if has_finalizer(object, ORPHAN) {
                orphan(view, key, object, &mut plan);
            } else if has_finalizer(object, FOREGROUND) && !is_blocked(view, object) {
                plan.push(remove_finalizer(&key.resource, object, FOREGROUND));
            }
            if !has_finalizer(object, FOREGROUND) {
                return plan;
            }
        }
        follow_owners(view, key, object, &mut plan);
        plan
    }
}

/// Whether an object that was there before is no nearer to going and has the owners it had.
fn owns_alike(change: &Change) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else {
        return false;
    };
    let owners_of = [old, new].map(|object| object.metadata().get("ownerReferences"));
    let going = old.is_deleting() || new.is_deleting();
    !going && old.uid() == new.uid() && owners_of[0] == owners_of[1]
}

fn wake(view: &View, change: &Change, wake: &mut Vec<Target>) {
    if owns_alike(change) {
        return;
    }
    if let Some(new) = &change.new
        && (new.is_deleting() || new.owner_references().next().is_some())
    {
        wake.push(target(&change.resource, new));
    }
    let Some(object) = states(change).last() else {
        return;
    };
    if change.new.is_none() || object.is_deleting() {
        let dependents = view.indexed(&BY_OWNER, object.uid());
        wake.extend(dependents.map(|(resource, dependent)| target(resource, dependent)));
    }
    for owner in states(change).flat_map(|state| state.owner_references()) {
        let owners = view.indexed(&BY_UID, owner.uid());
        let waiting = owners.filter(|(_, owner)| owner.is_deleting());
        wake.extend(waiting.map(|(resource, owner)| target(resource, owner)));
    }
}

fn waits_for_dependents(object: &Object) -> bool {
    object.is_deleting() && has_finalizer(object, FOREGROUND)
}

fn is_blocked(view: &View, object: &Object) -> bool {
    view.indexed(&BY_OWNER, object.uid()).any(|(_, dependent)| {
        in_reach(dependent, object)
            && dependent
                .owner_references()
                .any(|owner| owner.uid() == object.uid() && owner.blocks_deletion())
    })
}

/// A namespaced owner owns only within its namespace.
fn in_reach(dependent: &Object, owner: &Object) -> bool {
    owner.namespace().is_empty() || owner.namespace() == dependent.namespace()
}

fn orphan(view: &View, key: &Target, object: &Object, plan: &mut Plan) {
    for (resource, dependent) in view.indexed(&BY_OWNER, object.uid()) {
        plan.push(keep_owners(resource, dependent, |owner| {
            owner.uid() != object.uid()
        }));
    }
    plan.push(remove_finalizer(&key.resource, object, ORPHAN));
}

fn keep_owners(
    resource: &SmolStr,
    object: &Object,
    keep: impl Fn(&OwnerReference<'_>) -> bool,
) -> Action {
    let left: Vec<Value> = object
        .owner_references()
        .filter(keep)
        .map(|owner| owner.0.to_value())
        .collect();
    patch(
        resource,
        object,
        json!({"metadata": {"ownerReferences": left}}),
    )
}

/// What an owner reference points at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Solid,
    Waiting,
    Gone,
    /// It can never be resolved, so it proves nothing.
    Unknown,
}

fn follow_owners(view: &View, key: &Target, object: &Arc<Object>, plan: &mut Plan) {
    let owners: Vec<_> = object
        .owner_references()
        .map(|reference| (reference.uid(), resolve(view, object, &reference)))
        .collect();
    let any = |state| owners.iter().any(|(_, found)| *found == state);
    if owners.is_empty() {
        return;
    }
    if let Some(bad) = object
        .owner_references()
        .find(|one| names_other_namespace(view, object, one))
    {
        let text = format!(
            "ownerRef [{}/{}, namespace: {}, name: {}, uid: {}] does not exist in namespace {:?}",
            bad.api_version(),
            bad.kind(),
            object.namespace(),
            bad.name(),
            bad.uid(),
            object.namespace()
        );
        plan.push(warning(object, "OwnerRefInvalidNamespace", text));
    }
    if any(Owner::Solid) || any(Owner::Unknown) {
        if any(Owner::Gone) || any(Owner::Waiting) {
            let keep = |reference: &OwnerReference<'_>| {
                owners.iter().any(|(uid, state)| {
                    *uid == reference.uid() && matches!(state, Owner::Solid | Owner::Unknown)
                })
            };
            plan.push(keep_owners(&key.resource, object, keep));
        }
        return;
    }
    if any(Owner::Waiting) {
        return follow_waiting(view, key, object, plan);
    }
    if object.is_deleting() {
        return;
    }
    let propagation = if has_finalizer(object, ORPHAN) {
        Propagation::Orphan
    } else if has_finalizer(object, FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    plan.push(remove(&key.resource, object, propagation));
}

/// An owner is deleted in the foreground: this object goes too, its own dependents first.
fn follow_waiting(view: &View, key: &Target, object: &Object, plan: &mut Plan) {
    let mut dependents = view.indexed(&BY_OWNER, object.uid()).peekable();
    if dependents.peek().is_none() {
        if !object.is_deleting() {
            plan.push(remove(&key.resource, object, Propagation::Background));
        }
        return;
    }
    let blocks = object
        .owner_references()
        .any(|owner| owner.blocks_deletion());
    if blocks && dependents.any(|(_, dependent)| waits_for_dependents(dependent)) {
        plan.push(unblock(&key.resource, object));
    }
    if !object.is_deleting() {
        let mut removal = remove(&key.resource, object, Propagation::Foreground);
        // The object may just have been patched by this very plan.
        if let Action::Delete { when, .. } = &mut removal {
            when.revision = None;
        }
        plan.push(removal);
    }
}

/// Breaks a cycle: this object's owners no longer wait for it.
fn unblock(resource: &str, object: &Object) -> Action {
    let owners: Vec<Value> = object
        .owner_references()
        .map(|owner| {
            let mut owner = owner.0.to_value();
            owner["blockOwnerDeletion"] = false.into();
            owner
        })
        .collect();
    patch(
        resource,
        object,
        json!({"metadata": {"ownerReferences": owners}}),
    )
}

fn remove(resource: &str, object: &Object, propagation: Propagation) -> Action {
    Action::Delete {
        target: target(resource, object),
        when: Preconditions::exactly(object),
        grace_seconds: None,
        propagation,
    }
}

fn names_other_namespace(view: &View, object: &Object, reference: &OwnerReference<'_>) -> bool {
    view.indexed(&BY_UID, reference.uid())
        .any(|(_, owner)| !in_reach(object, owner))
}

fn resolve(view: &View, object: &Object, reference: &OwnerReference<'_>) -> Owner {
    let found = view.indexed(&BY_UID, reference.uid()).next();
    match found {
        Some((_, owner)) if in_reach(object, owner) && waits_for_dependents(owner) => {
            Owner::Waiting
        }
        Some((_, owner)) if in_reach(object, owner) => Owner::Solid,
        Some(_) if object.namespace().is_empty() => Owner::Unknown,
        Some(_) => Owner::Gone,
        None if is_resolvable(view, object, reference) => Owner::Gone,
        None => Owner::Unknown,
    }
}

/// Whether the kind of an absent owner is served in the scope it is looked for in.
fn is_resolvable(view: &View, object: &Object, reference: &OwnerReference<'_>) -> bool {
    let group = reference
        .api_version()
        .split_once('/')
        .map_or("", |(group, _)| group);
    let custom = group.contains('.') && !group.ends_with(".k8s.io");
    if custom || is_custom(view, group, reference.kind()).is_some() {
        let scope = is_custom(view, group, reference.kind());
        return match scope {
            Some("Cluster") => true,
            Some(_) => !object.namespace().is_empty(),
            None => false,
        };
    }
    !object.namespace().is_empty() || CLUSTER_KINDS.contains(&reference.kind())
}

fn is_custom<'a>(view: &'a View, group: &str, kind: &str) -> Option<&'a str> {
    view.list(CRDS, None)
        .find(|crd| crd.at("spec.group").str() == group && crd.at("spec.names.kind").str() == kind)
        .map(|crd| crd.at("spec.scope").str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, owners: &[&str], extra: Value) -> (&'static str, Value) {
        let owners: Vec<Value> = owners
            .iter()
            .map(|uid| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": *uid, "uid": *uid, "blockOwnerDeletion": true}))
            .collect();
        let mut made = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n", "uid": name, "ownerReferences": owners}});
        for (key, value) in extra.entries() {
            made.metadata_mut().insert(key.clone(), value.clone());
        }
        ("configmaps", made)
    }

    fn plan(objects: Vec<(&'static str, Value)>, name: &str) -> Vec<Action> {
        let view = View::of(objects, &[BY_OWNER, BY_UID]);
        GarbageCollector
            .reconcile(&view, &Target::new("configmaps", "n", name), Time(0))
            .actions
    }

    fn deleting(finalizer: &str) -> Value {
        json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [finalizer]})
    }

    #[test]
    fn dependents_of_absent_owners_go() {
        assert!(matches!(
            plan(vec![object("a", &["gone"], json!({}))], "a")[0],
            Action::Delete {
                propagation: Propagation::Background,
                ..
            }
        ));
        assert!(
            plan(
                vec![object("o", &[], json!({})), object("a", &["o"], json!({}))],
                "a"
            )
            .is_empty()
        );
        let half = plan(
            vec![
                object("o", &[], json!({})),
                object("a", &["o", "gone"], json!({})),
            ],
            "a",
        );
        let Action::Patch { patch, .. } = &half[0] else {
            panic!("{half:?}")
        };
        assert_eq!(patch["metadata"]["ownerReferences"].items().len(), 1);
    }

    #[test]
    fn foreground_waits_for_blocking_dependents() {
        let world = vec![
            object("o", &[], deleting(FOREGROUND)),
            object("a", &["o"], json!({})),
        ];
        assert!(plan(world.clone(), "o").is_empty());
        assert!(matches!(plan(world, "a")[0], Action::Delete { .. }));
        let alone = plan(vec![object("o", &[], deleting(FOREGROUND))], "o");
        assert!(
            matches!(&alone[0], Action::Patch { patch, .. } if patch["metadata"]["finalizers"].items().is_empty())
        );
    }

    #[test]
    fn orphans_lose_their_owner_before_it_goes() {
        let actions = plan(
            vec![
                object("o", &[], deleting(ORPHAN)),
                object("a", &["o"], json!({})),
            ],
            "o",
        );
        assert!(matches!(&actions[0], Action::Patch { target, .. } if target.name == "a"));
        assert!(matches!(&actions[1], Action::Patch { target, .. } if target.name == "o"));
    }

    #[test]
    fn a_foreground_cycle_is_broken() {
        let world = vec![
            object("a", &["b"], deleting(FOREGROUND)),
            object("b", &["a"], json!({})),
        ];
        let actions = plan(world, "b");
        assert!(
            matches!(&actions[0], Action::Patch { patch, .. } if patch["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] == Value::Bool(false))
        );
        assert!(matches!(
            actions[1],
            Action::Delete {
                propagation: Propagation::Foreground,
                ..
            }
        ));
    }
}
