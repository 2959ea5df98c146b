//! Validation of where a pod may run: selectors, affinity, tolerations, spreading.
//!
//! Upstream counterparts: `validateAffinity`, `ValidateTolerations`,
//! `validateTopologySpreadConstraints`.

use super::spec::selector;
use crate::check::{Errors, labels, one_of, present, syntax};
use machinery::{FieldError, Value, qualified_name};

pub(super) fn validate(errors: &mut Errors, path: &str, spec: &Value) {
    labels(
        errors,
        &format!("{path}.nodeSelector"),
        &spec["nodeSelector"],
    );
    tolerations(
        errors,
        &format!("{path}.tolerations"),
        spec["tolerations"].items(),
    );
    spreading(errors, &format!("{path}.topologySpreadConstraints"), spec);
    let path = format!("{path}.affinity");
    node_affinity(
        errors,
        &format!("{path}.nodeAffinity"),
        &spec["affinity"]["nodeAffinity"],
    );
    for kind in ["podAffinity", "podAntiAffinity"] {
        pod_affinity(errors, &format!("{path}.{kind}"), &spec["affinity"][kind]);
    }
}

fn tolerations(errors: &mut Errors, path: &str, tolerations: &[Value]) {
    for (at, one) in tolerations.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let (key, operator) = (one["key"].str(), one["operator"].str());
        if !key.is_empty() {
            syntax(errors, &format!("{path}.key"), key, qualified_name);
        }
        if key.is_empty() && operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(
                format!("{path}.operator"),
                operator,
                why,
            ));
        }
        if !one["tolerationSeconds"].is_null() && one["effect"].str() != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(
                format!("{path}.effect"),
                one["effect"].str(),
                why,
            ));
        }
        match operator {
            "" | "Equal" => {
                syntax(
                    errors,
                    &format!("{path}.operator"),
                    one["value"].str(),
                    machinery::label_value,
                );
            }
            "Exists" if !one["value"].str().is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(
                    format!("{path}.operator"),
                    one["value"].str(),
                    why,
                ));
            }
            "Exists" => {}
            _ => one_of(
                errors,
                &format!("{path}.operator"),
                &one["operator"],
                &["Equal", "Exists"],
            ),
        }
        let effects = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
        crate::check::one_of_if_set(errors, &format!("{path}.effect"), &one["effect"], effects);
    }
}

fn spreading(errors: &mut Errors, path: &str, spec: &Value) {
    let mut seen = std::collections::BTreeSet::new();
    for (at, one) in spec["topologySpreadConstraints"].items().iter().enumerate() {
        let path = format!("{path}[{at}]");
        if one["maxSkew"].as_i64().unwrap_or(0) <= 0 {
            errors.push(FieldError::invalid(
                format!("{path}.maxSkew"),
                &one["maxSkew"],
                "must be greater than zero",
            ));
        }
        let (key, action) = (one["topologyKey"].str(), one["whenUnsatisfiable"].str());
        if key.is_empty() {
            errors.push(FieldError::required(
                format!("{path}.topologyKey"),
                "can not be empty",
            ));
        } else {
            syntax(errors, &format!("{path}.topologyKey"), key, qualified_name);
        }
        one_of(
            errors,
            &format!("{path}.whenUnsatisfiable"),
            &one["whenUnsatisfiable"],
            &["DoNotSchedule", "ScheduleAnyway"],
        );
        if !seen.insert((key, action)) {
            let field = format!("{path}.{{topologyKey, whenUnsatisfiable}}");
            errors.push(FieldError::duplicate(field, format!("{{{key}, {action}}}")));
        }
        if one["minDomains"].as_i64().is_some_and(|count| count <= 0) {
            let field = format!("{path}.minDomains");
            errors.push(FieldError::invalid(
                field,
                &one["minDomains"],
                "must be greater than zero",
            ));
        }
        selector(
            errors,
            &format!("{path}.labelSelector"),
            &one["labelSelector"],
        );
    }
}

fn weight(errors: &mut Errors, path: &str, term: &Value) {
    let weight = term["weight"].as_i64().unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(
            format!("{path}.weight"),
            weight,
            "must be in the range 1-100",
        ));
    }
}

fn node_affinity(errors: &mut Errors, path: &str, affinity: &Value) {
    let required = &affinity["requiredDuringSchedulingIgnoredDuringExecution"];
    if !required.is_null() {
        let path =
            format!("{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
        let terms = required["nodeSelectorTerms"].items();
        if terms.is_empty() {
            errors.push(FieldError::required(
                path.clone(),
                "must have at least one node selector term",
            ));
        }
        for (at, term) in terms.iter().enumerate() {
            node_term(errors, &format!("{path}[{at}]"), term);
        }
    }
    let preferred = affinity["preferredDuringSchedulingIgnoredDuringExecution"].items();
    for (at, term) in preferred.iter().enumerate() {
        let path = format!("{path}.preferredDuringSchedulingIgnoredDuringExecution[{at}]");
        weight(errors, &path, term);
        node_term(errors, &format!("{path}.preference"), &term["preference"]);
    }
}

/// A node selector term (also a volume's).
pub(crate) fn node_term(errors: &mut Errors, path: &str, term: &Value) {
    for list in ["matchExpressions", "matchFields"] {
        for (at, one) in term[list].items().iter().enumerate() {
            let path = format!("{path}.{list}[{at}]");
            let count = one["values"].items().len();
            match one["operator"].str() {
                "In" | "NotIn" if count == 0 => errors.push(FieldError::required(
                    format!("{path}.values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                )),
                "Exists" | "DoesNotExist" if count > 0 => errors.push(FieldError::forbidden(
                    format!("{path}.values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                )),
                "Gt" | "Lt" if count != 1 => errors.push(FieldError::required(
                    format!("{path}.values"),
                    "must be specified single value when `operator` is 'Lt' or 'Gt'",
                )),
                "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
                _ => errors.push(FieldError::invalid(
                    format!("{path}.operator"),
                    &one["operator"],
                    "not a valid selector operator",
                )),
            }
            syntax(
                errors,
                &format!("{path}.key"),
                one["key"].str(),
                qualified_name,
            );
        }
    }
}

fn pod_affinity(errors: &mut Errors, path: &str, affinity: &Value) {
    let required = affinity["requiredDuringSchedulingIgnoredDuringExecution"].items();
    for (at, term) in required.iter().enumerate() {
        let path = format!("{path}.requiredDuringSchedulingIgnoredDuringExecution[{at}]");
        pod_term(errors, &path, term);
    }
    let preferred = affinity["preferredDuringSchedulingIgnoredDuringExecution"].items();
    for (at, term) in preferred.iter().enumerate() {
        let path = format!("{path}.preferredDuringSchedulingIgnoredDuringExecution[{at}]");
        weight(errors, &path, term);
        pod_term(
            errors,
            &format!("{path}.podAffinityTerm"),
            &term["podAffinityTerm"],
        );
    }
}

fn pod_term(errors: &mut Errors, path: &str, term: &Value) {
    selector(
        errors,
        &format!("{path}.labelSelector"),
        &term["labelSelector"],
    );
    selector(
        errors,
        &format!("{path}.namespaceSelector"),
        &term["namespaceSelector"],
    );
    let field = format!("{path}.topologyKey");
    if term["topologyKey"].str().is_empty() {
        errors.push(FieldError::required(field, "can not be empty"));
    } else {
        present(errors, &field, &term["topologyKey"]);
        syntax(errors, &field, term["topologyKey"].str(), qualified_name);
    }
}
