//! Validation of where a pod may run: selectors, affinity, tolerations, spreading.
//!
//! Upstream counterparts: `validateAffinity`, `ValidateTolerations`,
//! `validateTopologySpreadConstraints`.

use crate::check::{Errors, Place, at, label_selector as selector, labels, one_of_if_set, syntax};
use machinery::{FieldError, Value, dns1123_label, dns1123_subdomain, qualified_name};

pub(super) fn validate(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    labels(errors, at!("{path}.nodeSelector"), &spec["nodeSelector"]);
    tolerations(
        errors,
        at!("{path}.tolerations"),
        spec["tolerations"].items(),
    );
    spreading(errors, at!("{path}.topologySpreadConstraints"), spec);
    let path = at!("{path}.affinity");
    node_affinity(
        errors,
        at!("{path}.nodeAffinity"),
        &spec["affinity"]["nodeAffinity"],
    );
    for kind in ["podAffinity", "podAntiAffinity"] {
        pod_affinity(errors, at!("{path}.{kind}"), &spec["affinity"][kind]);
    }
}

/// Tolerations, of pods and of runtime classes.
pub(crate) fn tolerations(errors: &mut Errors, path: Place<'_>, tolerations: &[Value]) {
    for (at, one) in tolerations.iter().enumerate() {
        let path = at!("{path}[{at}]");
        let (key, operator) = (one["key"].str(), one["operator"].str());
        if !key.is_empty() {
            syntax(errors, at!("{path}.key"), key, qualified_name);
        }
        if key.is_empty() && operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(at!("{path}.operator"), operator, why));
        }
        if !one["tolerationSeconds"].is_null() && one["effect"].str() != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(
                at!("{path}.effect"),
                one["effect"].str(),
                why,
            ));
        }
        toleration_value(errors, path, one);
        let effects = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
        one_of_if_set(errors, at!("{path}.effect"), &one["effect"], effects);
    }
}

fn toleration_value(errors: &mut Errors, path: Place<'_>, one: &Value) {
    let (value, field) = (one["value"].str(), at!("{path}.operator"));
    match one["operator"].str() {
        "" | "Equal" => {
            let complaints = machinery::label_value(value);
            if !complaints.is_empty() {
                errors.push(FieldError::invalid(field, value, complaints.join(";")));
            }
        }
        "Exists" if !value.is_empty() => {
            let why = "value must be empty when `operator` is 'Exists'";
            errors.push(FieldError::invalid(field, value, why));
        }
        "Exists" => {}
        other => {
            // Comparing numbers is known and not switched on.
            let known = ["Equal", "Exists", "Lt", "Gt"];
            let count = if matches!(other, "Lt" | "Gt") { 4 } else { 2 };
            errors.push(FieldError::not_supported(field, other, &known[..count]));
        }
    }
}

fn spreading(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    let all = spec["topologySpreadConstraints"].items();
    let identity = |one: &'_ Value| {
        let [key, action] = ["topologyKey", "whenUnsatisfiable"].map(|field| one[field].str());
        format!("{{{key}, {action}}}")
    };
    for (at, one) in all.iter().enumerate() {
        let path = at!("{path}[{at}]");
        positive(
            errors,
            at!("{path}.maxSkew"),
            one["maxSkew"].as_i64().unwrap_or(0),
        );
        if one["topologyKey"].str().is_empty() {
            let field = at!("{path}.topologyKey");
            errors.push(FieldError::required(field, "can not be empty"));
        }
        let (action, field) = (
            one["whenUnsatisfiable"].str(),
            at!("{path}.whenUnsatisfiable"),
        );
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        if !actions.contains(&action) {
            errors.push(FieldError::not_supported(field, action, &actions));
        }
        let own = identity(one);
        if all[at + 1..].iter().any(|other| identity(other) == own) {
            let field = at!("{path}.{{topologyKey, whenUnsatisfiable}}");
            errors.push(FieldError::duplicate(field, own));
        }
        if let Some(count) = one["minDomains"].as_i64() {
            let field = at!("{path}.minDomains");
            positive(errors, field, count);
            if action != "DoNotSchedule" {
                let why = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                );
                errors.push(FieldError::invalid(field, count, why));
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let (value, known) = (&one[policy], &["Honor", "Ignore"]);
            if !value.is_null() && !known.contains(&value.str()) {
                let field = at!("{path}.{policy}");
                errors.push(FieldError::not_supported(field, value, known));
            }
        }
        label_keys(errors, path, one);
        let field = at!("{path}.labelSelector");
        selector(errors, field, &one["labelSelector"]);
    }
}

fn positive(errors: &mut Errors, path: Place<'_>, number: i64) {
    if number <= 0 {
        errors.push(FieldError::invalid(
            path,
            number,
            "must be greater than zero",
        ));
    }
}

/// Keys whose values are those of the pod that comes.
fn label_keys(errors: &mut Errors, path: Place<'_>, term: &Value) {
    let chosen = &term["labelSelector"];
    for list in ["matchLabelKeys", "mismatchLabelKeys"] {
        let (keys, path) = (term[list].items(), at!("{path}.{list}"));
        if !keys.is_empty() && chosen.is_null() {
            let why = "must not be specified when labelSelector is not set";
            errors.push(FieldError::forbidden(path, why));
            continue;
        }
        for (at, key) in keys.iter().enumerate() {
            syntax(errors, at!("{path}[{at}]"), key.str(), qualified_name);
        }
    }
    let keys = term["matchLabelKeys"].items();
    let mut chosen_keys: Vec<&str> = chosen["matchLabels"]
        .entries()
        .map(|(key, _)| key.as_str())
        .collect();
    for one in chosen["matchExpressions"].items() {
        let key = one["key"].str();
        if let Some(at) = keys.iter().rposition(|own| own.str() == key)
            && chosen_keys.contains(&key)
        {
            let why = "exists in both matchLabelKeys and labelSelector";
            errors.push(FieldError::invalid(at!("{path}[{at}]"), key, why));
        }
        chosen_keys.push(key);
    }
    for (at, key) in keys.iter().enumerate() {
        if term["mismatchLabelKeys"].items().contains(key) {
            let field = at!("{path}.matchLabelKeys[{at}]");
            let why = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.push(FieldError::invalid(field, key, why));
        }
    }
}

fn weight(errors: &mut Errors, path: Place<'_>, term: &Value) {
    let weight = term["weight"].as_i64().unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(
            at!("{path}.weight"),
            weight,
            "must be in the range 1-100",
        ));
    }
}

fn node_affinity(errors: &mut Errors, path: Place<'_>, affinity: &Value) {
    let required = &affinity["requiredDuringSchedulingIgnoredDuringExecution"];
    if !required.is_null() {
        let path = at!("{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
        let terms = required["nodeSelectorTerms"].items();
        if terms.is_empty() {
            errors.push(FieldError::required(
                path,
                "must have at least one node selector term",
            ));
        }
        for (at, term) in terms.iter().enumerate() {
            node_term(errors, at!("{path}[{at}]"), term);
        }
    }
    let preferred = affinity["preferredDuringSchedulingIgnoredDuringExecution"].items();
    for (at, term) in preferred.iter().enumerate() {
        let path = at!("{path}.preferredDuringSchedulingIgnoredDuringExecution[{at}]");
        weight(errors, path, term);
        node_term(errors, at!("{path}.preference"), &term["preference"]);
    }
}

/// A node selector term (also a volume's).
pub(crate) fn node_term(errors: &mut Errors, path: Place<'_>, term: &Value) {
    for (at, one) in term["matchExpressions"].items().iter().enumerate() {
        node_expression(errors, at!("{path}.matchExpressions[{at}]"), one);
    }
    for (at, one) in term["matchFields"].items().iter().enumerate() {
        node_field(errors, at!("{path}.matchFields[{at}]"), one);
    }
}

fn node_expression(errors: &mut Errors, path: Place<'_>, one: &Value) {
    let (values, field) = (one["values"].items(), at!("{path}.values"));
    match one["operator"].str() {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(field, why));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(field, why));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(field, why));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => {
            let field = at!("{path}.operator");
            errors.push(FieldError::invalid(
                field,
                other,
                "not a valid selector operator",
            ));
        }
    }
    syntax(errors, at!("{path}.key"), one["key"].str(), qualified_name);
}

/// The only field that can be chosen by is the node's name.
fn node_field(errors: &mut Errors, path: Place<'_>, one: &Value) {
    let values = one["values"].items();
    match one["operator"].str() {
        "In" | "NotIn" if values.len() == 1 => {}
        "In" | "NotIn" => {
            let why =
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(FieldError::required(at!("{path}.values"), why));
        }
        other => {
            let field = at!("{path}.operator");
            errors.push(FieldError::invalid(
                field,
                other,
                "not a valid selector operator",
            ));
        }
    }
    if one["key"].str() != "metadata.name" {
        let field = at!("{path}.key");
        let why = "not a valid field selector key";
        return errors.push(FieldError::invalid(field, one["key"].str(), why));
    }
    for (at, value) in values.iter().enumerate() {
        syntax(
            errors,
            at!("{path}.values[{at}]"),
            value.str(),
            dns1123_subdomain,
        );
    }
}

fn pod_affinity(errors: &mut Errors, path: Place<'_>, affinity: &Value) {
    let required = affinity["requiredDuringSchedulingIgnoredDuringExecution"].items();
    for (at, term) in required.iter().enumerate() {
        let path = at!("{path}.requiredDuringSchedulingIgnoredDuringExecution[{at}]");
        pod_term(errors, path, term);
    }
    let preferred = affinity["preferredDuringSchedulingIgnoredDuringExecution"].items();
    for (at, term) in preferred.iter().enumerate() {
        let path = at!("{path}.preferredDuringSchedulingIgnoredDuringExecution[{at}]");
        weight(errors, path, term);
        pod_term(
            errors,
            at!("{path}.podAffinityTerm"),
            &term["podAffinityTerm"],
        );
    }
}

fn pod_term(errors: &mut Errors, path: Place<'_>, term: &Value) {
    selector(errors, at!("{path}.labelSelector"), &term["labelSelector"]);
    selector(
        errors,
        at!("{path}.namespaceSelector"),
        &term["namespaceSelector"],
    );
    for name in term["namespaces"].items() {
        syntax(errors, at!("{path}.namespace"), name.str(), dns1123_label);
    }
    label_keys(errors, path, term);
    let (key, field) = (term["topologyKey"].str(), at!("{path}.topologyKey"));
    if key.is_empty() {
        errors.push(FieldError::required(field, "can not be empty"));
    }
    syntax(errors, field, key, qualified_name);
}
