//! Empties namespaces that are being deleted, pods first, then lets them go.
//!
//! Knows no kind's contents: whatever the view holds in the namespace is deleted.
//! Upstream counterpart: `pkg/controller/namespace`.

use crate::{
    common::{ACTIONS_PER_PLAN, Condition, delete, set_condition, target, write_status},
    names::{NAMESPACES, PODS},
};
use env::Time;
use machinery::{Object, SmolStr, Value};
use reconcile::{Action, Change, Controller, Plan, Target, View, Watch, itself};
use std::{collections::BTreeMap, sync::Arc};

const FINALIZER: &str = "kubernetes";

/// The namespace life-cycle controller.
pub struct Namespace;

impl Controller for Namespace {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: NAMESPACES,
                wakes: itself,
            },
            Watch {
                resource: "*",
                wakes: wake_terminating,
            },
        ]
    }

    fn reconcile(&self, view: &View, key: &Target, now: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(namespace) = view.get(NAMESPACES, "", &key.name) else {
            return plan;
        };
        let held = namespace
            .at("spec.finalizers")
            .items()
            .any(|one| one.str() == FINALIZER);
        if !namespace.is_deleting() || !held {
            return plan;
        }
        let content = content(view, &key.name);
        if content.is_empty() {
            plan.push(finalize(namespace));
            return plan;
        }
        let deletions = deletions(&content);
        if deletions.is_empty() {
            plan.actions.extend(report(namespace, &content, now));
        } else if deletions.len() == ACTIONS_PER_PLAN {
            plan.look_again(now);
        }
        plan.actions.extend(deletions);
        plan
    }
}

fn wake_terminating(view: &View, change: &Change, wake: &mut Vec<Target>) {
    let name = &change.key.namespace;
    if !name.is_empty()
        && view
            .get(NAMESPACES, "", name)
            .is_some_and(|n| n.is_deleting())
    {
        wake.push(Target::new(NAMESPACES, "", name));
    }
}

type Content<'a> = Vec<(&'a SmolStr, &'a Arc<Object>)>;

fn content<'a>(view: &'a View, namespace: &str) -> Content<'a> {
    let tables = &view.snapshot().tables;
    tables
        .keys()
        .flat_map(|resource| {
            let objects = view.list(resource, Some(namespace));
            objects.map(move |object| (resource, object))
        })
        .collect()
}

/// Pods go before everything else, so that what they rely on outlives them.
fn deletions(content: &Content<'_>) -> Vec<Action> {
    let pods_left = content.iter().any(|(resource, _)| *resource == PODS);
    content
        .iter()
        .filter(|(resource, object)| !object.is_deleting() && (!pods_left || *resource == PODS))
        .take(ACTIONS_PER_PLAN)
        .map(|(resource, object)| delete(resource, object))
        .collect()
}

fn finalize(namespace: &Object) -> Action {
    let mut object = namespace.to_value();
    let left: Vec<Value> = namespace
        .at("spec.finalizers")
        .items()
        .filter(|one| one.str() != FINALIZER)
        .map(|one| one.to_value())
        .collect();
    object.set_at(&["spec", "finalizers"], left);
    Action::Update {
        target: target(NAMESPACES, namespace),
        subresource: "finalize",
        object,
    }
}

/// Conditions that always hold here: nothing is discovered over a network.
const SETTLED: [(&str, &str, &str); 3] = [
    (
        "NamespaceDeletionDiscoveryFailure",
        "ResourcesDiscovered",
        "All resources successfully discovered",
    ),
    (
        "NamespaceDeletionGroupVersionParsingFailure",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
];

fn report(namespace: &Arc<Object>, content: &Content<'_>, now: Time) -> Option<Action> {
    let mut resources: BTreeMap<String, usize> = BTreeMap::new();
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for (resource, object) in content {
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        *resources.entry(format!("{plural}.{group}")).or_default() += 1;
        for finalizer in object.finalizers() {
            *finalizers.entry(finalizer).or_default() += 1;
        }
    }
    let remaining = format!(
        "Some resources are remaining: {}",
        counted(resources.iter(), |name, count| format!(
            "{name} has {count} resource instances"
        ))
    );
    let held = counted(finalizers.iter(), |name, count| {
        format!("{name} in {count} resource instances")
    });
    let held_text = format!("Some content in the namespace has finalizers remaining: {held}");
    let finalizing = if held.is_empty() {
        (
            "False",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        )
    } else {
        ("True", "SomeFinalizersRemain", held_text.as_str())
    };
    let mut status = namespace.at("status").to_value();
    let mut set = |kind, (status_text, reason, message)| {
        set_condition(
            &mut status,
            Condition {
                kind,
                status: status_text,
                reason,
                message,
            },
            now,
        );
    };
    for (kind, reason, message) in SETTLED {
        set(kind, ("False", reason, message));
    }
    set(
        "NamespaceContentRemaining",
        ("True", "SomeResourcesRemain", remaining.as_str()),
    );
    set("NamespaceFinalizersRemaining", finalizing);
    write_status(NAMESPACES, namespace, status)
}

/// Names with counts, as a list in words.
fn counted<K: std::fmt::Display>(
    counts: impl Iterator<Item = (K, impl std::borrow::Borrow<usize>)>,
    show: impl Fn(&K, usize) -> String,
) -> String {
    let parts: Vec<_> = counts
        .map(|(name, count)| show(&name, *count.borrow()))
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    fn terminating() -> Value {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "uid": "ns", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Terminating"}})
    }

    fn object(kind: &str, deleting: bool) -> Value {
        let mut value = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x", "namespace": "n", "uid": kind}});
        if deleting {
            value.set_at(&["metadata", "deletionTimestamp"], "2026-01-01T00:00:00Z");
        }
        value
    }

    fn plan(content: Vec<(&'static str, Value)>) -> Plan {
        let view = View::of(
            [(NAMESPACES, terminating())].into_iter().chain(content),
            &[],
        );
        Namespace.reconcile(&view, &Target::new(NAMESPACES, "", "n"), Time(0))
    }

    #[test]
    fn pods_go_first_and_the_finalizer_last() {
        let both = plan(vec![
            ("pods", object("Pod", false)),
            ("configmaps", object("ConfigMap", false)),
        ]);
        assert_eq!(both.actions.len(), 1);
        assert!(
            matches!(&both.actions[0], Action::Delete { target, .. } if target.resource == "pods")
        );
        let waiting = plan(vec![
            ("pods", object("Pod", true)),
            ("configmaps", object("ConfigMap", false)),
        ]);
        let Action::Update { object, .. } = &waiting.actions[0] else {
            panic!()
        };
        assert_eq!(
            object["status"]["conditions"][3]["message"].str(),
            "Some resources are remaining: configmaps. has 1 resource instances, pods. has 1 resource instances"
        );
        let done = plan(vec![]);
        assert!(
            matches!(&done.actions[0], Action::Update { subresource: "finalize", object, .. } if object["spec"]["finalizers"].items().is_empty())
        );
    }
}
