//! What may change in a pod that exists. Upstream counterpart: `ValidatePodUpdate`.

use crate::check::{Errors, at};
use machinery::{FieldError, Value};
use std::ops::ControlFlow;

const FROZEN: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn validate(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let (new, old) = (&new["spec"], &old["spec"]);
    for (list, what) in [
        ("containers", "containers"),
        ("initContainers", "containers"),
    ] {
        if new[list].items().len() != old[list].items().len() {
            let why = format!("pod updates may not add or remove {what}");
            errors.push(FieldError::forbidden(at!("spec.{list}"), why));
            return errors;
        }
    }
    if deadline(&mut errors, new, old).is_break() {
        return errors;
    }
    tolerations(&mut errors, new, old);
    gates(&mut errors, new, old);
    if new == old {
        return errors;
    }
    let mut thawed = thawed(new, old);
    if !old["schedulingGates"].items().is_empty() {
        narrowed(&mut errors, &mut thawed, old);
    }
    if thawed != *old {
        let text = crate::diff::unified(old, &thawed, "core.v1.PodSpec", None);
        let why = format!("{FROZEN}\n{text}");
        errors.push(FieldError::forbidden("spec", why));
    }
    errors
}

fn deadline(errors: &mut Errors, new: &Value, old: &Value) -> ControlFlow<()> {
    const FIELD: &str = "spec.activeDeadlineSeconds";
    let (new, old) = (
        new["activeDeadlineSeconds"].as_i64(),
        old["activeDeadlineSeconds"].as_i64(),
    );
    match (new, old) {
        (Some(new), Some(old)) if new > old => {
            let why = "must be less than or equal to previous value";
            errors.push(FieldError::invalid(FIELD, new, why));
            return ControlFlow::Break(());
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(FIELD, Value::Null, why));
        }
        _ => {}
    }
    ControlFlow::Continue(())
}

/// Tolerations may be added, and how long one holds may change.
fn tolerations(errors: &mut Errors, new: &Value, old: &Value) {
    let bare = |toleration: &Value| {
        let mut bare = toleration.clone();
        bare.make_object().remove("tolerationSeconds");
        bare
    };
    let kept: Vec<_> = new["tolerations"].items().iter().map(bare).collect();
    let mut before = old["tolerations"].items().iter();
    if before.any(|one| !kept.contains(&bare(one))) {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden("spec.tolerations", why));
    }
}

fn gates(errors: &mut Errors, new: &Value, old: &Value) {
    let known = old["schedulingGates"].items();
    for (at, gate) in new["schedulingGates"].items().iter().enumerate() {
        if !known.contains(gate) {
            let name = gate["name"].str();
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            let field = at!("spec.schedulingGates[{at}].name");
            errors.push(FieldError::forbidden(field, why));
        }
    }
}

/// `spec` with what may change taken from `old`.
fn thawed(spec: &Value, old: &Value) -> Value {
    let mut thawed = spec.clone();
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        crate::keep(&mut thawed, old, field);
    }
    let grace = |spec: &Value| spec["terminationGracePeriodSeconds"].as_i64();
    if grace(old).is_some_and(|seconds| seconds < 0) && grace(spec) == Some(1) {
        crate::keep(&mut thawed, old, "terminationGracePeriodSeconds");
    }
    for list in ["containers", "initContainers"] {
        let containers = thawed.get_mut(list).and_then(Value::as_array_mut);
        let before = old[list].items();
        for (container, before) in containers.into_iter().flatten().zip(before) {
            container["image"] = before["image"].clone();
        }
    }
    thawed
}

/// A pod that is held at a gate may still be narrowed to fewer nodes.
fn narrowed(errors: &mut Errors, thawed: &mut Value, old: &Value) {
    let (chosen, before) = (&thawed["nodeSelector"], &old["nodeSelector"]);
    if before
        .entries()
        .any(|(key, value)| chosen.get(key) != Some(value))
    {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid("spec.nodeSelector", chosen, why));
    }
    crate::keep(thawed, old, "nodeSelector");
    let (new_affinity, old_affinity) = (
        thawed.at(&["affinity", "nodeAffinity"]).clone(),
        old.at(&["affinity", "nodeAffinity"]),
    );
    node_terms(errors, &new_affinity, old_affinity);
    match old_affinity {
        Value::Null => drop(thawed.remove_at(&["affinity", "nodeAffinity"])),
        known => thawed.set_at(&["affinity", "nodeAffinity"], known),
    }
    if old["affinity"].is_null() && thawed["affinity"].entries().next().is_none() {
        thawed.make_object().remove("affinity");
    }
}

fn node_terms(errors: &mut Errors, new: &Value, old: &Value) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let path = at!("spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms");
    let terms = |affinity: &Value| affinity.at(&[REQUIRED, "nodeSelectorTerms"]).clone();
    let (new, old) = (terms(new), terms(old));
    let (after, before) = (new.items(), old.items());
    if before.is_empty() {
        return;
    }
    if after.len() != before.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return errors.push(FieldError::invalid(path, new, why));
    }
    for (at, (after, before)) in after.iter().zip(before).enumerate() {
        let lists = ["matchExpressions", "matchFields"];
        let grown = lists
            .iter()
            .all(|list| after[*list].items().starts_with(before[*list].items()));
        let was_empty = lists.iter().all(|list| before[*list].items().is_empty());
        let is_empty = lists.iter().all(|list| after[*list].items().is_empty());
        if !grown || was_empty && !is_empty {
            let why = "only additions are allowed (no mutations or deletions)";
            errors.push(FieldError::invalid(at!("{path}[{at}]"), after, why));
        }
    }
}
