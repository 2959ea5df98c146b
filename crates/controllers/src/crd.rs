//! Accepts names of custom resource definitions, establishes them, and empties them before they go.
//!
//! Upstream counterpart: `apiextensions-apiserver/pkg/controller/{status,establish,finalizer}`.

use crate::{
    common::{
        ACTIONS_PER_PLAN, Condition, delete, has_finalizer, remove_finalizer, set_condition,
        write_status,
    },
    names::CRDS,
};
use env::Time;
use machinery::{Object, Value, format_smolstr};
use reconcile::{Change, Controller, Plan, Target, View, Watch};
use std::sync::Arc;

/// Holds a definition that is going; the API puts it there when the definition is deleted.
const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
const NAME_FIELDS: [(&str, &str); 4] = [
    ("plural", "PluralConflict"),
    ("singular", "SingularConflict"),
    ("kind", "KindConflict"),
    ("listKind", "ListKindConflict"),
];

/// The controller of custom resource definitions.
pub struct CustomResourceDefinition;

impl Controller for CustomResourceDefinition {
    fn name(&self) -> &'static str {
        "customresourcedefinition-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: CRDS,
                wakes: wake_group,
            },
            Watch {
                resource: "*",
                wakes: wake_definition,
            },
        ]
    }

    fn reconcile(&self, view: &View, key: &Target, now: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(crd) = view.get(CRDS, "", &key.name) else {
            return plan;
        };
        if crd.is_deleting() {
            if has_finalizer(crd, FINALIZER) {
                empty(view, crd, now, &mut plan);
            }
            return plan;
        }
        plan.actions
            .extend(write_status(CRDS, crd, accepted(view, crd, now)));
        plan
    }
}

fn wake_group(view: &View, change: &Change, wake: &mut Vec<Target>) {
    reconcile::itself(view, change, wake);
    if change.new.is_some() {
        return;
    }
    // Names that were in use may be free now.
    for crd in view.list(CRDS, None) {
        wake.push(Target::new(CRDS, "", crd.name()));
    }
}

/// The last instance of a definition that is going must wake it.
fn wake_definition(view: &View, change: &Change, wake: &mut Vec<Target>) {
    let going = |crd: &&Arc<Object>| crd.is_deleting();
    if change.new.is_none()
        && view
            .get(CRDS, "", &change.resource)
            .as_ref()
            .is_some_and(going)
    {
        wake.push(Target::new(CRDS, "", &change.resource));
    }
}

fn empty(view: &View, crd: &Arc<Object>, now: Time, plan: &mut Plan) {
    let resource = format_smolstr!(
        "{}.{}",
        crd.at("spec.names.plural").str(),
        crd.at("spec.group").str()
    );
    let instances: Vec<_> = view.list(&resource, None).collect();
    if instances.is_empty() {
        plan.push(remove_finalizer(CRDS, crd, FINALIZER));
        return;
    }
    let mut status = crd.at("status").to_value();
    let condition = Condition {
        kind: "Terminating",
        status: "True",
        reason: "InstanceDeletionInProgress",
        message: "CustomResource deletion is in progress",
    };
    set_condition(&mut status, condition, now);
    plan.actions.extend(write_status(CRDS, crd, status));
    let left: Vec<_> = instances.iter().filter(|one| !one.is_deleting()).collect();
    if left.len() > ACTIONS_PER_PLAN {
        plan.look_again(now);
    }
    let doomed = left.into_iter().take(ACTIONS_PER_PLAN);
    plan.actions
        .extend(doomed.map(|one| delete(&resource, one)));
}

fn accepted(view: &View, crd: &Object, now: Time) -> Value {
    let mut status = crd.at("status").to_value();
    let conflict = conflict(view, crd);
    let names = match &conflict {
        Some((reason, message)) => ("False", *reason, message.as_str()),
        None => ("True", "NoConflicts", "no conflicts found"),
    };
    let was = crate::common::is_true(crd, "Established");
    let established = match (&conflict, was) {
        (Some(_), false) => ("False", "NotAccepted", "not all names are accepted"),
        _ => (
            "True",
            "InitialNamesAccepted",
            "the initial names have been accepted",
        ),
    };
    for (kind, (state, reason, message)) in [("NamesAccepted", names), ("Established", established)]
    {
        let condition = Condition {
            kind,
            status: state,
            reason,
            message,
        };
        set_condition(&mut status, condition, now);
    }
    if conflict.is_none() {
        status["acceptedNames"] = crd.at("spec.names").to_value();
    }
    note_stored(crd, &mut status);
    status
}

fn note_stored(crd: &Object, status: &mut Value) {
    let stored = crd
        .at("spec.versions")
        .items()
        .find(|version| version.get("storage").is_true())
        .map(|version| version.get("name").str());
    let mut known = status["storedVersions"].items().to_vec();
    if let Some(stored) = stored
        && known.iter().all(|one| one.str() != stored)
    {
        known.push(stored.into());
    }
    status["storedVersions"] = Value::Array(known);
}

/// The first name that another definition of the group already holds.
fn conflict(view: &View, crd: &Object) -> Option<(&'static str, String)> {
    let group = crd.at("spec.group").str();
    let taken = |field: &str, name: &str| {
        view.list(CRDS, None)
            .filter(|other| other.uid() != crd.uid() && other.at("spec.group").str() == group)
            .any(|other| {
                let names = other.at("status.acceptedNames");
                match field {
                    "plural" | "singular" | "shortNames" => {
                        [names.get("plural").str(), names.get("singular").str()].contains(&name)
                            || names.get("shortNames").items().any(|n| n.str() == name)
                    }
                    _ => [names.get("kind").str(), names.get("listKind").str()].contains(&name),
                }
            })
    };
    let names = crd.at("spec.names");
    for (field, reason) in NAME_FIELDS {
        let name = names.get(field).str();
        if !name.is_empty() && taken(field, name) {
            return Some((reason, format!("{name:?} is already in use")));
        }
    }
    let short = names
        .get("shortNames")
        .items()
        .map(|name| name.str())
        .find(|name| taken("shortNames", name))?;
    Some(("ShortNamesConflict", format!("{short:?} is already in use")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;
    use reconcile::Action;

    fn crd(plural: &str, kind: &str, extra: Value) -> (&'static str, Value) {
        let mut made = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.x.io"), "uid": plural, "finalizers": [FINALIZER]},
            "spec": {"group": "x.io", "names": {"plural": plural, "singular": plural, "kind": kind, "listKind": format!("{kind}List")}, "versions": [{"name": "v1", "storage": true}]}});
        for (key, value) in extra.entries() {
            made.metadata_mut().insert(key.clone(), value.clone());
        }
        (CRDS, made)
    }

    #[test]
    fn names_are_accepted_unless_taken() {
        let key = |name| Target::new(CRDS, "", name);
        let view = View::of([crd("as", "A", json!({}))], &[]);
        let plan = CustomResourceDefinition.reconcile(&view, &key("as.x.io"), Time(0));
        let Action::Update { object, .. } = &plan.actions[0] else {
            panic!()
        };
        assert_eq!(object["status"]["storedVersions"], json!(["v1"]));
        let mut first = crd("as", "A", json!({}));
        first.1["status"] = object["status"].clone();
        let view = View::of([first, crd("bs", "A", json!({}))], &[]);
        assert!(
            CustomResourceDefinition
                .reconcile(&view, &key("as.x.io"), Time(9))
                .actions
                .is_empty()
        );
        let plan = CustomResourceDefinition.reconcile(&view, &key("bs.x.io"), Time(0));
        let Action::Update { object, .. } = &plan.actions[0] else {
            panic!()
        };
        assert_eq!(
            object["status"]["conditions"][0]["reason"].str(),
            "KindConflict"
        );
        assert_eq!(object["status"]["conditions"][1]["status"].str(), "False");
    }

    #[test]
    fn instances_go_before_the_definition() {
        let going = crd(
            "as",
            "A",
            json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}),
        );
        let instance = json!({"apiVersion": "x.io/v1", "kind": "A", "metadata": {"name": "i", "namespace": "n", "uid": "i"}});
        let key = Target::new(CRDS, "", "as.x.io");
        let view = View::of([going.clone(), ("as.x.io", instance)], &[]);
        let plan = CustomResourceDefinition.reconcile(&view, &key, Time(0));
        assert!(matches!(&plan.actions[1], Action::Delete { target, .. } if target.name == "i"));
        let view = View::of([going], &[]);
        let plan = CustomResourceDefinition.reconcile(&view, &key, Time(0));
        assert!(
            matches!(&plan.actions[0], Action::Patch { patch, .. } if patch["metadata"]["finalizers"].items().is_empty())
        );
    }
}
