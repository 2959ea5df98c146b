//! What the `resize` subresource takes of a pod, and what it must leave alone.
//!
//! Upstream counterparts: `dropNonResizeUpdates`, `ValidatePodResize`.

use super::qos_class;
use crate::check::Errors;
use machinery::{FieldError, Value};

const LISTS: [&str; 2] = ["containers", "initContainers"];
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Takes over what a resize may change. Containers that are not those of the pod come along
/// whole: validation says what is wrong with them.
pub(crate) fn prepare(new: &mut Value, given: &Value) {
    let count = |pod: &Value, list: &str| pod["spec"][list].items().len();
    if LISTS
        .iter()
        .any(|list| count(new, list) != count(given, list))
    {
        new["spec"] = given["spec"].clone();
        return;
    }
    put(&mut new["spec"], &given["spec"], "resources");
    for list in LISTS {
        let wanted = &given["spec"][list];
        let named = |pod: &Value| -> Vec<Value> {
            let names = pod["spec"][list].items().iter();
            names.map(|one| one["name"].clone()).collect()
        };
        if named(new) != named(given) {
            new["spec"][list] = wanted.clone();
            continue;
        }
        let containers = new.at_mut(&["spec", list]).and_then(Value::as_array_mut);
        let pairs = containers.into_iter().flatten().zip(wanted.items());
        for (container, wanted) in pairs {
            put(container, wanted, "resources");
            put(container, wanted, "resizePolicy");
        }
    }
}

fn put(into: &mut Value, from: &Value, field: &str) {
    match from.get(field) {
        Some(value) => into[field] = value.clone(),
        None => drop(into.remove_at(&[field])),
    }
}

/// What is wrong with a resize, the pod's body apart.
pub(crate) fn validate(new: &Value, old: &Value) -> Errors {
    if !old.at(&["metadata", "annotations", MIRROR]).is_null() {
        return vec![FieldError::forbidden("", "static pods cannot be resized")];
    }
    if old.at(&["spec", "os", "name"]).str() == "windows" {
        return vec![FieldError::forbidden("", "windows pods cannot be resized")];
    }
    let mut errors = Errors::new();
    let class = match old.at(&["status", "qosClass"]).str() {
        "" => qos_class(old),
        class => class,
    };
    if class != qos_class(new) {
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid("spec", class, why));
    }
    if !is_supported(old) {
        let why = "Pod running on node without support for resize";
        errors.push(FieldError::forbidden("spec", why));
    }
    let (new, old) = (&new["spec"], &old["spec"]);
    whole(&mut errors, &new["resources"], &old["resources"]);
    let order = order(new, old);
    if !order.is_empty() {
        errors.extend(order);
        return errors;
    }
    for list in ["initContainers", "containers"] {
        let pairs = new[list].items().iter().zip(old[list].items());
        for (at, (new, old)) in pairs.enumerate() {
            one(&mut errors, &format!("spec.{list}[{at}]"), (new, old));
        }
    }
    errors
}

/// A node that says what running containers have is one that can change it.
fn is_supported(pod: &Value) -> bool {
    let statuses = pod.at(&["status", "containerStatuses"]).items();
    let running = statuses
        .iter()
        .find(|one| !one["state"]["running"].is_null());
    running.is_none_or(|one| !one["resources"].is_null())
}

/// The pod's own resources.
fn whole(errors: &mut Errors, new: &Value, old: &Value) {
    const FIELD: &str = "spec.resources";
    if !old.is_null() && new.is_null() {
        let why = "pod-level resources cannot be removed";
        return errors.push(FieldError::forbidden(FIELD, why));
    }
    for list in ["requests", "limits"] {
        if removed(&new[list], &old[list]) {
            let why = format!("pod-level resource {list} cannot be removed");
            errors.push(FieldError::forbidden(format!("{FIELD}.{list}"), why));
        }
    }
    if others(new) != others(old) {
        let why = "only cpu and memory resources are mutable at pod-level";
        errors.push(FieldError::forbidden("spec", why));
    }
}

/// Containers stay the ones they are.
fn order(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    for list in LISTS {
        let (new, old) = (new[list].items(), old[list].items());
        let field = format!("spec.{list}");
        if new.len() != old.len() {
            let why = format!("{list} may not be added or removed on resize");
            errors.push(FieldError::forbidden(field, why));
            continue;
        }
        for (at, (new, old)) in new.iter().zip(old).enumerate() {
            if new["name"] != old["name"] {
                let why = format!("{list} may not be renamed or reordered on resize");
                errors.push(FieldError::forbidden(format!("{field}[{at}].name"), why));
            }
        }
    }
    errors
}

fn one(errors: &mut Errors, path: &str, (new, old): (&Value, &Value)) {
    for list in ["requests", "limits"] {
        if removed(&new["resources"][list], &old["resources"][list]) {
            let why = format!("resource {list} cannot be removed");
            errors.push(FieldError::forbidden(
                format!("{path}.resources.{list}"),
                why,
            ));
        }
    }
    let policy = new["resizePolicy"] != old["resizePolicy"];
    if policy || others(&new["resources"]) != others(&old["resources"]) {
        let (field, why) = match path.starts_with("spec.init") {
            true => (
                path,
                "only cpu and memory resources for init or sidecar containers are mutable",
            ),
            false => ("spec", "only cpu and memory resources are mutable"),
        };
        errors.push(FieldError::forbidden(field, why));
    }
}

/// Whether something that had an amount has none now.
fn removed(new: &Value, old: &Value) -> bool {
    old.entries().any(|(name, _)| new.get(name).is_none())
}

/// The resources that a resize does not change, and claims.
fn others(resources: &Value) -> Vec<(String, Value)> {
    let mut kept = Vec::new();
    for list in ["requests", "limits"] {
        let amounts = resources[list].entries();
        let amounts = amounts.filter(|(name, _)| !["cpu", "memory"].contains(&name.as_str()));
        kept.extend(amounts.map(|(name, amount)| (format!("{list}.{name}"), amount.clone())));
    }
    let claims = &resources["claims"];
    kept.extend((!claims.is_null()).then(|| ("claims".into(), claims.clone())));
    kept.sort_by(|one, other| one.0.cmp(&other.0));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    fn pod(resources: Value) -> Value {
        json!({"metadata": {}, "spec": {"containers": [{"name": "a", "image": "i", "resources": resources}]}})
    }

    #[test]
    fn only_cpu_and_memory_move() {
        let old = pod(json!({"requests": {"cpu": "1", "memory": "1Gi", "x.io/y": "1"}}));
        let table = [
            (
                json!({"requests": {"cpu": "2", "memory": "2Gi", "x.io/y": "1"}}),
                "",
            ),
            (
                json!({"requests": {"cpu": "2", "x.io/y": "1"}}),
                "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
            ),
            (
                json!({"requests": {"cpu": "1", "memory": "1Gi", "x.io/y": "2"}}),
                "spec: Forbidden: only cpu and memory resources are mutable",
            ),
            (
                json!({"requests": {"cpu": "1", "memory": "1Gi", "x.io/y": "1"}, "limits": {"cpu": "1", "memory": "1Gi"}}),
                "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing",
            ),
        ];
        for (resources, says) in table {
            let (given, mut new) = (pod(resources), old.clone());
            prepare(&mut new, &given);
            let said: Vec<String> = validate(&new, &old)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(said.join("; "), says);
        }
    }

    #[test]
    fn containers_stay_the_ones_they_are() {
        let old = pod(json!({}));
        let mut given = old.clone();
        let set = |given: &mut Value, field: &str, text: &str| {
            let containers = given.at_mut(&["spec", "containers"]);
            let containers = containers.and_then(Value::as_array_mut).expect("a list");
            containers[0][field] = text.into();
        };
        set(&mut given, "image", "other");
        let mut new = old.clone();
        prepare(&mut new, &given);
        assert_eq!(new, old, "what is no resize is left out");
        set(&mut given, "name", "b");
        prepare(&mut new, &given);
        assert_eq!(
            validate(&new, &old)[0].to_string(),
            "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"
        );
    }
}
