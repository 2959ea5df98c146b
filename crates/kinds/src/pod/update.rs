//! What may change in a pod that exists. Upstream counterpart: `ValidatePodUpdate`.

use crate::check::Errors;
use machinery::{FieldError, Value};

const FROZEN: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn validate(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let (new, old) = (&new["spec"], &old["spec"]);
    counts(&mut errors, new, old);
    if !errors.is_empty() {
        return errors;
    }
    deadline(&mut errors, new, old);
    tolerations(&mut errors, new, old);
    let gates = || new["schedulingGates"].items().iter();
    if let Some(added) = gates().find(|gate| !old["schedulingGates"].items().contains(gate)) {
        let why = format!(
            "only deletion is allowed, but found new scheduling gate '{}'",
            added["name"].str()
        );
        errors.push(FieldError::forbidden("spec.schedulingGates", why));
    }
    if thawed(new, old) != thawed(old, old) {
        errors.push(FieldError::forbidden("spec", FROZEN));
    }
    errors
}

fn counts(errors: &mut Errors, new: &Value, old: &Value) {
    for (list, what) in [
        ("containers", "containers"),
        ("initContainers", "init containers"),
    ] {
        if new[list].items().len() != old[list].items().len() {
            let why = format!("pod updates may not add or remove {what}");
            errors.push(FieldError::forbidden(format!("spec.{list}"), why));
        }
    }
}

fn deadline(errors: &mut Errors, new: &Value, old: &Value) {
    const FIELD: &str = "spec.activeDeadlineSeconds";
    let (new, old) = (
        new["activeDeadlineSeconds"].as_i64(),
        old["activeDeadlineSeconds"].as_i64(),
    );
    match (new, old) {
        (Some(new), Some(old)) if new > old => {
            let why = format!("must be less than or equal to previous value ({old})");
            errors.push(FieldError::invalid(FIELD, new, why));
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(FIELD, Value::Null, why));
        }
        _ => {}
    }
}

/// Tolerations may be added, and how long one holds may change.
fn tolerations(errors: &mut Errors, new: &Value, old: &Value) {
    let bare = |toleration: &Value| {
        let mut bare = toleration.clone();
        bare.make_object().remove("tolerationSeconds");
        bare
    };
    let kept: Vec<_> = new["tolerations"].items().iter().map(bare).collect();
    if old["tolerations"]
        .items()
        .iter()
        .any(|one| !kept.contains(&bare(one)))
    {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden("spec.tolerations", why));
    }
}

/// `spec` with what may change taken from `old`.
fn thawed(spec: &Value, old: &Value) -> Value {
    let mut thawed = spec.clone();
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        thawed.make_object().remove(field);
    }
    // A pod that is held at a gate may still be narrowed to fewer nodes.
    if !old["schedulingGates"].items().is_empty() {
        thawed.make_object().remove("nodeSelector");
        thawed.remove_at(&["affinity", "nodeAffinity"]);
        if thawed["affinity"]
            .as_object()
            .is_none_or(|map| map.is_empty())
        {
            thawed.make_object().remove("affinity");
        }
    }
    let negative = old["terminationGracePeriodSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds < 0);
    if negative && spec["terminationGracePeriodSeconds"].as_i64() == Some(1) {
        thawed["terminationGracePeriodSeconds"] = old["terminationGracePeriodSeconds"].clone();
    }
    for list in ["containers", "initContainers"] {
        if let Some(containers) = thawed.get_mut(list).and_then(Value::as_array_mut) {
            for container in containers {
                container.make_object().remove("image");
            }
        }
    }
    thawed
}
