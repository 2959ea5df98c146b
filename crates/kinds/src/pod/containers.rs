//! Validation of containers: names, images, ports, policies, and what each kind of container may
//! not have.
//!
//! Upstream counterpart: `validateContainers`, `validateInitContainers`,
//! `validateEphemeralContainers`.

use super::{env, mounts, probes, resources, security, spec::Pod};
use crate::check::{Errors, Place, at, named, one_of, port, syntax};
use machinery::{FieldError, Value, dns1123_label, port_name};
use std::collections::BTreeSet;

/// Rules that a container's restart policy may have, exit codes that a rule may name.
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

/// Fields an ephemeral container cannot have.
const NOT_EPHEMERAL: [&str; 8] = [
    "ports",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resources",
    "resizePolicy",
    "restartPolicy",
];

/// Checks all containers of a pod.
pub(super) fn validate(errors: &mut Errors, path: Place<'_>, pod: &Pod<'_>) {
    let mut names = BTreeSet::new();
    let regular = pod.spec["containers"].items();
    if regular.is_empty() {
        errors.push(FieldError::required(at!("{path}.containers"), ""));
    }
    for (at, one) in regular.iter().enumerate() {
        let path = at!("{path}.containers[{at}]");
        common(errors, path, one, pod);
        unique_name(errors, path, one, &mut names);
        probes::validate(errors, path, one, pod);
        restart_policy(errors, path, one);
    }
    host_ports(errors, at!("{path}.containers"), regular);
    for (at, one) in pod.spec["initContainers"].items().iter().enumerate() {
        let path = at!("{path}.initContainers[{at}]");
        common(errors, path, one, pod);
        restart_policy(errors, path, one);
        unique_name(errors, path, one, &mut names);
        init_only(errors, path, one, pod);
        host_ports(errors, path, std::slice::from_ref(one));
    }
    let targets = names.clone();
    for (at, one) in pod.spec["ephemeralContainers"].items().iter().enumerate() {
        let path = at!("{path}.ephemeralContainers[{at}]");
        common(errors, path, one, pod);
        unique_name(errors, path, one, &mut names);
        ephemeral_only(errors, path, one, &targets);
    }
}

fn unique_name<'a>(
    errors: &mut Errors,
    path: Place<'_>,
    container: &'a Value,
    names: &mut BTreeSet<&'a str>,
) {
    let name = container["name"].str();
    if !name.is_empty() && !names.insert(name) {
        errors.push(FieldError::duplicate(at!("{path}.name"), name));
    }
}

fn init_only(errors: &mut Errors, path: Place<'_>, container: &Value, pod: &Pod<'_>) {
    if container["restartPolicy"].str() == "Always" {
        return probes::validate(errors, path, container, pod);
    }
    let forbidden = [
        "lifecycle",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
    ];
    for field in forbidden {
        if !container[field].is_null() {
            let why = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(at!("{path}.{field}"), why));
        }
    }
    for (at, policy) in container["resizePolicy"].items().iter().enumerate() {
        if policy["restartPolicy"].str() == "RestartContainer" {
            let field = at!("{path}.resizePolicy[{at}].restartPolicy");
            let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
            errors.push(FieldError::invalid(field, "RestartContainer", why));
        }
    }
}

fn ephemeral_only(errors: &mut Errors, path: Place<'_>, one: &Value, targets: &BTreeSet<&str>) {
    const WHY: &str = "cannot be set for an Ephemeral Container";
    let target = one["targetContainerName"].str();
    if !target.is_empty() && !targets.contains(target) {
        errors.push(FieldError::not_found(
            at!("{path}.targetContainerName"),
            target,
        ));
    }
    for field in NOT_EPHEMERAL {
        if !crate::check::is_empty(&one[field]) {
            errors.push(FieldError::forbidden(at!("{path}.{field}"), WHY));
        }
    }
    for (at, mount) in one["volumeMounts"].items().iter().enumerate() {
        for field in ["subPath", "subPathExpr"] {
            if !mount[field].str().is_empty() {
                let field = at!("{path}.volumeMounts[{at}].{field}");
                errors.push(FieldError::forbidden(field, WHY));
            }
        }
    }
}

/// What holds for every container.
fn common(errors: &mut Errors, path: Place<'_>, one: &Value, pod: &Pod<'_>) {
    named(errors, at!("{path}.name"), one["name"].str(), dns1123_label);
    image(errors, at!("{path}.image"), one["image"].str(), pod);
    one_of(
        errors,
        at!("{path}.terminationMessagePolicy"),
        &one["terminationMessagePolicy"],
        &["File", "FallbackToLogsOnError"],
    );
    ports(errors, at!("{path}.ports"), one["ports"].items());
    env::validate(errors, path, one);
    mounts::validate(errors, path, one, pod);
    one_of(
        errors,
        at!("{path}.imagePullPolicy"),
        &one["imagePullPolicy"],
        &["Always", "IfNotPresent", "Never"],
    );
    resources::of_container(errors, at!("{path}.resources"), &one["resources"], pod);
    resize_policy(errors, at!("{path}.resizePolicy"), one, pod);
    security::of_container(
        errors,
        at!("{path}.securityContext"),
        &one["securityContext"],
        pod,
    );
}

/// An image must be named, and a pod's (not a template's) not be padded.
fn image(errors: &mut Errors, path: Place<'_>, image: &str, pod: &Pod<'_>) {
    if image.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if image.trim() != image && !pod.is_template {
        let why = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(path, image, why));
    }
}

fn ports(errors: &mut Errors, path: Place<'_>, ports: &[Value]) {
    let mut names = BTreeSet::new();
    for (at, one) in ports.iter().enumerate() {
        let path = at!("{path}[{at}]");
        let name = one["name"].str();
        if !name.is_empty() {
            let before = errors.len();
            syntax(errors, at!("{path}.name"), name, port_name);
            if errors.len() == before && !names.insert(name) {
                errors.push(FieldError::duplicate(at!("{path}.name"), name));
            }
        }
        match one["containerPort"].as_i64().unwrap_or(0) {
            0 => errors.push(FieldError::required(at!("{path}.containerPort"), "")),
            number => port(errors, at!("{path}.containerPort"), number),
        }
        if let Some(number) = one["hostPort"].as_i64().filter(|number| *number != 0) {
            port(errors, at!("{path}.hostPort"), number);
        }
        one_of(
            errors,
            at!("{path}.protocol"),
            &one["protocol"],
            &["SCTP", "TCP", "UDP"],
        );
    }
}

/// A host port can be taken once per address and protocol.
fn host_ports(errors: &mut Errors, path: Place<'_>, containers: &[Value]) {
    let mut taken = BTreeSet::new();
    for (at, container) in containers.iter().enumerate() {
        for (port_at, port) in container["ports"].items().iter().enumerate() {
            let Some(number) = port["hostPort"].as_i64().filter(|number| *number != 0) else {
                continue;
            };
            let key = (port["protocol"].str(), port["hostIP"].str(), number);
            if !taken.insert(key) {
                let text = format!("{}/{}/{number}", key.0, key.1);
                let field = at!("{path}[{at}].ports[{port_at}].hostPort");
                errors.push(FieldError::duplicate(field, text));
            }
        }
    }
}

/// On the host's network a container's port is the host's. A template need not say so: its pods
/// are given the port.
pub(super) fn host_network(errors: &mut Errors, path: Place<'_>, pod: &Pod<'_>) {
    let spec = pod.spec;
    if spec["hostNetwork"].as_bool() != Some(true) {
        return;
    }
    for list in ["containers", "initContainers"] {
        for (at, container) in spec[list].items().iter().enumerate() {
            for (port_at, port) in container["ports"].items().iter().enumerate() {
                let number = port["hostPort"].as_i64().unwrap_or(0);
                let is_later = pod.is_template && number == 0;
                if !is_later && number != port["containerPort"].as_i64().unwrap_or(0) {
                    let field = at!("{path}.{list}[{at}].ports[{port_at}].hostPort");
                    let why = "must match `containerPort` when `hostNetwork` is true";
                    errors.push(FieldError::invalid(field, number, why));
                }
            }
        }
    }
}

fn resize_policy(errors: &mut Errors, path: Place<'_>, container: &Value, pod: &Pod<'_>) {
    let mut seen = BTreeSet::new();
    for (at, policy) in container["resizePolicy"].items().iter().enumerate() {
        let (resource, action) = (policy["resourceName"].str(), policy["restartPolicy"].str());
        if !seen.insert(resource) {
            errors.push(FieldError::duplicate(at!("{path}[{at}]"), resource));
        }
        one_of(errors, path, &policy["resourceName"], &["cpu", "memory"]);
        one_of(
            errors,
            path,
            &policy["restartPolicy"],
            &["NotRequired", "RestartContainer"],
        );
        if pod.spec["restartPolicy"].str() == "Never" && action != "NotRequired" {
            let why = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(path, action, why));
        }
    }
}

fn restart_policy(errors: &mut Errors, path: Place<'_>, container: &Value) {
    let (policy, rules) = (
        &container["restartPolicy"],
        container["restartPolicyRules"].items(),
    );
    let field = at!("{path}.restartPolicy");
    if !policy.is_null() {
        let known = ["Always", "Never", "OnFailure"];
        if !known.contains(&policy.str()) {
            errors.push(FieldError::not_supported(field, policy, &known));
        }
    } else if !rules.is_empty() {
        let why = "must specify restartPolicy when restart rules are used";
        errors.push(FieldError::required(field, why));
    }
    let path = at!("{path}.restartPolicyRules");
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(path, rules.len(), RULES_MAX));
    }
    for (at, rule) in rules.iter().enumerate() {
        restart_rule(errors, at!("{path}[{at}]"), rule);
    }
}

fn restart_rule(errors: &mut Errors, path: Place<'_>, rule: &Value) {
    let actions = ["Restart", "RestartAllContainers"];
    if !actions.contains(&rule["action"].str()) {
        let field = at!("{path}.action");
        errors.push(FieldError::not_supported(field, &rule["action"], &actions));
    }
    let (codes, path) = (&rule["exitCodes"], at!("{path}.exitCodes"));
    if codes.is_null() {
        return errors.push(FieldError::required(path, "must be specified"));
    }
    let operators = ["In", "NotIn"];
    if !operators.contains(&codes["operator"].str()) {
        let field = at!("{path}.operator");
        errors.push(FieldError::not_supported(
            field,
            &codes["operator"],
            &operators,
        ));
    }
    let count = codes["values"].items().len();
    if count > EXIT_CODES_MAX {
        errors.push(FieldError::too_many(
            at!("{path}.values"),
            count,
            EXIT_CODES_MAX,
        ));
    }
}
