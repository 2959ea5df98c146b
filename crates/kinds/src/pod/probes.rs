//! Validation of probes and of what happens at a container's start and end.
//!
//! Upstream counterpart: `validateProbe`, `validateLifecycle`, `validateHandler`.

use super::spec::Pod;
use crate::check::{self, Errors, Place, at, none_negative, port_or_name, syntax};
use machinery::{FieldError, Value};

const NUMBERS: [&str; 5] = [
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
];

/// Checks a container's probes and life cycle.
pub(super) fn validate(errors: &mut Errors, path: Place<'_>, container: &Value, pod: &Pod<'_>) {
    let life = &container["lifecycle"];
    for event in ["postStart", "preStop"] {
        if !life[event].is_null() {
            handler(errors, at!("{path}.lifecycle.{event}"), &life[event], pod);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if !container[name].is_null() {
            probe(errors, at!("{path}.{name}"), &container[name], (name, pod));
        }
    }
}

fn probe(errors: &mut Errors, path: Place<'_>, probe: &Value, (name, pod): (&str, &Pod<'_>)) {
    handler(errors, path, probe, pod);
    none_negative(errors, path, probe, &NUMBERS);
    let (grace, field) = (
        &probe["terminationGracePeriodSeconds"],
        at!("{path}.terminationGracePeriodSeconds"),
    );
    if grace.as_i64().is_some_and(|seconds| seconds <= 0) {
        errors.push(FieldError::invalid(field, grace, "must be greater than 0"));
    }
    if name == "readinessProbe" {
        if !grace.is_null() {
            let why = "must not be set for readinessProbes";
            errors.push(FieldError::invalid(field, grace, why));
        }
    } else if probe["successThreshold"].as_i64() != Some(1) {
        let field = at!("{path}.successThreshold");
        let value = probe["successThreshold"].as_i64().unwrap_or(0);
        errors.push(FieldError::invalid(field, value, "must be 1"));
    }
}

/// An action: exactly one.
fn handler(errors: &mut Errors, path: Place<'_>, handler: &Value, pod: &Pod<'_>) {
    let mut found = 0;
    for action in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        if handler[action].is_null() {
            continue;
        }
        let path = at!("{path}.{action}");
        found += 1;
        if found > 1 {
            let why = "may not specify more than 1 handler type";
            errors.push(FieldError::forbidden(path, why));
            continue;
        }
        one_action(errors, path, (action, &handler[action]), pod);
    }
    if found == 0 {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
}

fn one_action(
    errors: &mut Errors,
    path: Place<'_>,
    (action, value): (&str, &Value),
    pod: &Pod<'_>,
) {
    match action {
        "exec" if value["command"].items().is_empty() => {
            errors.push(FieldError::required(at!("{path}.command"), ""));
        }
        "httpGet" => http(errors, path, value),
        "tcpSocket" => port_or_name(errors, at!("{path}.port"), &value["port"]),
        "grpc" => {
            let number = value["port"].as_i64().unwrap_or(0);
            check::port(errors, at!("{path}.port"), number);
        }
        "sleep" => {
            let seconds = value["seconds"].as_i64().unwrap_or(0);
            let grace = pod.spec["terminationGracePeriodSeconds"].as_i64();
            if let Some(grace) = grace.filter(|grace| !(0..=*grace).contains(&seconds)) {
                let why = format!(
                    "must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                );
                errors.push(FieldError::invalid(path, seconds, why));
            }
        }
        _ => {}
    }
}

fn http(errors: &mut Errors, path: Place<'_>, value: &Value) {
    check::present(errors, at!("{path}.path"), &value["path"]);
    port_or_name(errors, at!("{path}.port"), &value["port"]);
    let known = ["HTTP", "HTTPS"];
    if !known.contains(&value["scheme"].str()) {
        let field = at!("{path}.scheme");
        errors.push(FieldError::not_supported(field, &value["scheme"], &known));
    }
    for header in value["httpHeaders"].items() {
        let field = at!("{path}.httpHeaders");
        syntax(errors, field, header["name"].str(), header_name);
    }
}

fn header_name(name: &str) -> Vec<String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !name.is_empty() && name.bytes().all(good) {
        return Vec::new();
    }
    vec!["a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')".into()]
}
