//! Validation of containers: names, ports, environment, mounts, probes, resources.
//!
//! Upstream counterpart: `validateContainers` and what it calls.

use super::spec::{handler, user_id};
use crate::check::{
    Errors, config_key, none_negative, one_of, one_of_if_set, port, present, quantity, syntax,
    text_of,
};
use machinery::{FieldError, Quantity, Value, dns1123_label, port_name, qualified_name};
use std::collections::BTreeSet;

/// Checks all containers of a pod.
pub(super) fn validate(errors: &mut Errors, path: &str, spec: &Value, volumes: &BTreeSet<&str>) {
    if spec["containers"].items().is_empty() {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
    }
    let mut names = BTreeSet::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (at, container) in spec[list].items().iter().enumerate() {
            let path = format!("{path}.{list}[{at}]");
            one(errors, &path, container, volumes);
            let name = container["name"].str();
            if !name.is_empty() && !names.insert(name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
            if list == "initContainers" {
                init_only(errors, &path, container);
            }
        }
    }
    host_ports(errors, path, spec);
}

fn init_only(errors: &mut Errors, path: &str, container: &Value) {
    if container["restartPolicy"].str() == "Always" {
        return;
    }
    for field in [
        "lifecycle",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
    ] {
        if !container[field].is_null() {
            let why = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(format!("{path}.{field}"), why));
        }
    }
}

fn one(errors: &mut Errors, path: &str, container: &Value, volumes: &BTreeSet<&str>) {
    crate::check::named(
        errors,
        &format!("{path}.name"),
        container["name"].str(),
        dns1123_label,
    );
    let image = container["image"].str();
    present(errors, &format!("{path}.image"), &container["image"]);
    if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(format!("{path}.image"), image, why));
    }
    one_of(
        errors,
        &format!("{path}.imagePullPolicy"),
        &container["imagePullPolicy"],
        &["Always", "IfNotPresent", "Never"],
    );
    one_of(
        errors,
        &format!("{path}.terminationMessagePolicy"),
        &container["terminationMessagePolicy"],
        &["FallbackToLogsOnError", "File"],
    );
    ports(errors, &format!("{path}.ports"), container["ports"].items());
    environment(errors, path, container);
    mounts(errors, path, container, volumes);
    probes(errors, path, container);
    resources(
        errors,
        &format!("{path}.resources"),
        &container["resources"],
    );
    security(
        errors,
        &format!("{path}.securityContext"),
        &container["securityContext"],
    );
}

fn ports(errors: &mut Errors, path: &str, ports: &[Value]) {
    let mut names = BTreeSet::new();
    for (at, one) in ports.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let name = one["name"].str();
        if !name.is_empty() {
            syntax(errors, &format!("{path}.name"), name, port_name);
            if !names.insert(name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
        }
        match one["containerPort"].as_i64().unwrap_or(0) {
            0 => errors.push(FieldError::required(format!("{path}.containerPort"), "")),
            number => port(errors, &format!("{path}.containerPort"), number),
        }
        if let Some(number) = one["hostPort"].as_i64().filter(|number| *number != 0) {
            port(errors, &format!("{path}.hostPort"), number);
        }
        one_of(
            errors,
            &format!("{path}.protocol"),
            &one["protocol"],
            &["TCP", "UDP", "SCTP"],
        );
    }
}

/// A host port can be taken once per address and protocol, and must be the container's own
/// where the pod shares the host's network.
fn host_ports(errors: &mut Errors, path: &str, spec: &Value) {
    let mut taken = BTreeSet::new();
    for (at, container) in spec["containers"].items().iter().enumerate() {
        for (port_at, port) in container["ports"].items().iter().enumerate() {
            let Some(number) = port["hostPort"].as_i64().filter(|number| *number != 0) else {
                continue;
            };
            let path = format!("{path}.containers[{at}].ports[{port_at}]");
            let key = (port["protocol"].str(), port["hostIP"].str(), number);
            if !taken.insert(key) {
                let text = format!("{}/{}/{number}", key.0, key.1);
                errors.push(FieldError::duplicate(format!("{path}.hostPort"), text));
            }
            let shared = spec["hostNetwork"].as_bool() == Some(true);
            if shared && port["containerPort"].as_i64() != Some(number) {
                let why = "must match `hostPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(
                    format!("{path}.containerPort"),
                    &port["containerPort"],
                    why,
                ));
            }
        }
    }
}

fn environment(errors: &mut Errors, path: &str, container: &Value) {
    for (at, variable) in container["env"].items().iter().enumerate() {
        let path = format!("{path}.env[{at}]");
        crate::check::named(
            errors,
            &format!("{path}.name"),
            variable["name"].str(),
            variable_name,
        );
        let source = &variable["valueFrom"];
        if !source.is_null() {
            value_source(
                errors,
                &format!("{path}.valueFrom"),
                source,
                !variable["value"].str().is_empty(),
            );
        }
    }
    for (at, source) in container["envFrom"].items().iter().enumerate() {
        let path = format!("{path}.envFrom[{at}]");
        let given: Vec<_> = ["configMapRef", "secretRef"]
            .into_iter()
            .filter(|key| !source[*key].is_null())
            .collect();
        match given[..] {
            [] => {
                let why = "must specify one of: `configMapRef` or `secretRef`";
                errors.push(FieldError::invalid(path, "", why));
            }
            [one] => present(errors, &format!("{path}.{one}.name"), &source[one]["name"]),
            _ => errors.push(FieldError::invalid(
                path,
                "",
                "may not have more than one field specified at a time",
            )),
        }
    }
}

fn variable_name(name: &str) -> Vec<String> {
    let printable = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    if name.bytes().all(printable) {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".into()]
}

const POD_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

fn value_source(errors: &mut Errors, path: &str, source: &Value, has_value: bool) {
    const SOURCES: [&str; 5] = [
        "fieldRef",
        "resourceFieldRef",
        "configMapKeyRef",
        "secretKeyRef",
        "fileKeyRef",
    ];
    let given: Vec<_> = SOURCES
        .into_iter()
        .filter(|key| !source[*key].is_null())
        .collect();
    if given.is_empty() {
        let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.push(FieldError::invalid(path, "", why));
    } else if has_value {
        errors.push(FieldError::invalid(
            path,
            "",
            "may not be specified when `value` is not empty",
        ));
    } else if given.len() > 1 {
        errors.push(FieldError::invalid(
            path,
            "",
            "may not have more than one field specified at a time",
        ));
    }
    let reference = &source["fieldRef"];
    if !reference.is_null() {
        field_path(
            errors,
            &format!("{path}.fieldRef.fieldPath"),
            reference["fieldPath"].str(),
        );
    }
    for key in ["configMapKeyRef", "secretKeyRef"] {
        if source[key].is_null() {
            continue;
        }
        let path = format!("{path}.{key}");
        present(errors, &format!("{path}.name"), &source[key]["name"]);
        crate::check::named(
            errors,
            &format!("{path}.key"),
            source[key]["key"].str(),
            config_key,
        );
    }
}

fn field_path(errors: &mut Errors, path: &str, text: &str) {
    let subscript = |map: &str| {
        text.strip_prefix(map)
            .is_some_and(|rest| rest.starts_with("['") && rest.ends_with("']"))
    };
    if text.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !subscript("metadata.labels")
        && !subscript("metadata.annotations")
        && !POD_FIELDS.contains(&text)
    {
        let mut known = POD_FIELDS.to_vec();
        known.sort_unstable();
        errors.push(FieldError::not_supported(path, text, &known));
    }
}

fn mounts(errors: &mut Errors, path: &str, container: &Value, volumes: &BTreeSet<&str>) {
    let mounts = container["volumeMounts"].items();
    for (at, mount) in mounts.iter().enumerate() {
        let path = format!("{path}.volumeMounts[{at}]");
        let name = mount["name"].str();
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !volumes.contains(name) {
            errors.push(FieldError::not_found(format!("{path}.name"), name));
        }
        present(errors, &format!("{path}.mountPath"), &mount["mountPath"]);
        for field in ["subPath", "subPathExpr"] {
            relative(errors, &format!("{path}.{field}"), mount[field].str());
        }
    }
    let mut seen = BTreeSet::new();
    for (at, mount) in mounts.iter().enumerate() {
        let target = mount["mountPath"].str();
        if !target.is_empty() && !seen.insert(target) {
            let path = format!("{path}.volumeMounts[{at}].mountPath");
            errors.push(FieldError::invalid(path, target, "must be unique"));
        }
    }
    for (at, device) in container["volumeDevices"].items().iter().enumerate() {
        let path = format!("{path}.volumeDevices[{at}]");
        if !volumes.contains(device["name"].str()) {
            errors.push(FieldError::not_found(
                format!("{path}.name"),
                device["name"].str(),
            ));
        }
        present(errors, &format!("{path}.devicePath"), &device["devicePath"]);
    }
}

/// A path that must not leave where it starts.
pub(super) fn relative(errors: &mut Errors, path: &str, text: &str) {
    if text.starts_with('/') {
        errors.push(FieldError::invalid(path, text, "must be a relative path"));
    }
    if text.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, text, "must not contain '..'"));
    }
}

fn probes(errors: &mut Errors, path: &str, container: &Value) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let (probe, path) = (&container[name], format!("{path}.{name}"));
        if probe.is_null() {
            continue;
        }
        handler(errors, &path, probe);
        let numbers = [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ];
        none_negative(errors, &path, probe, &numbers);
        if name != "readinessProbe" && probe["successThreshold"].as_i64().is_some_and(|n| n != 1) {
            let field = format!("{path}.successThreshold");
            errors.push(FieldError::invalid(
                field,
                &probe["successThreshold"],
                "must be 1",
            ));
        }
    }
    for event in ["postStart", "preStop"] {
        let action = container.at(&["lifecycle", event]);
        if !action.is_null() {
            handler(errors, &format!("{path}.lifecycle.{event}"), action);
        }
    }
}

/// Requests and limits of a container or pod.
pub(super) fn resources(errors: &mut Errors, path: &str, resources: &Value) {
    resource_list(errors, &format!("{path}.limits"), &resources["limits"]);
    let limits = &resources["limits"];
    for (name, request) in resources["requests"].entries() {
        let path = format!("{path}.requests");
        resource_name(errors, &path, name);
        let amount = quantity(errors, &format!("{path}[{name}]"), request);
        let limit = text_of(&limits[name.as_str()]).parse::<Quantity>().ok();
        if let (Some(amount), Some(limit)) = (amount, limit)
            && amount > limit
        {
            let why = format!(
                "must be less than or equal to {name} limit of {}",
                text_of(&limits[name.as_str()])
            );
            errors.push(FieldError::invalid(path, text_of(request), why));
        }
    }
}

/// Names and amounts of a resource list.
pub(crate) fn resource_list(errors: &mut Errors, path: &str, list: &Value) {
    for (name, amount) in list.entries() {
        resource_name(errors, path, name);
        quantity(errors, &format!("{path}[{name}]"), amount);
    }
}

fn resource_name(errors: &mut Errors, path: &str, name: &str) {
    let field = format!("{path}[{name}]");
    syntax(errors, &field, name, qualified_name);
    let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage" | "storage")
        || name.starts_with("hugepages-");
    if !name.contains('/') && !standard {
        errors.push(FieldError::invalid(
            field,
            name,
            "must be a standard resource for containers",
        ));
    }
}

fn security(errors: &mut Errors, path: &str, context: &Value) {
    for field in ["runAsUser", "runAsGroup"] {
        user_id(errors, &format!("{path}.{field}"), &context[field]);
    }
    seccomp(
        errors,
        &format!("{path}.seccompProfile"),
        &context["seccompProfile"],
    );
    one_of_if_set(
        errors,
        &format!("{path}.procMount"),
        &context["procMount"],
        &["Default", "Unmasked"],
    );
    if context["allowPrivilegeEscalation"].as_bool() == Some(false) {
        if context["privileged"].as_bool() == Some(true) {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(FieldError::invalid(path, context, why));
        }
        let added = context.at(&["capabilities", "add"]).items();
        if added
            .iter()
            .any(|one| matches!(one.str(), "SYS_ADMIN" | "CAP_SYS_ADMIN"))
        {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(FieldError::invalid(path, context, why));
        }
    }
}

/// A seccomp profile.
pub(super) fn seccomp(errors: &mut Errors, path: &str, profile: &Value) {
    if profile.is_null() {
        return;
    }
    one_of(
        errors,
        &format!("{path}.type"),
        &profile["type"],
        &["Localhost", "RuntimeDefault", "Unconfined"],
    );
    let local = &profile["localhostProfile"];
    match (profile["type"].str() == "Localhost", local.is_null()) {
        (true, true) => errors.push(FieldError::required(
            format!("{path}.localhostProfile"),
            "must be set when seccomp type is Localhost",
        )),
        (true, false) => relative(errors, &format!("{path}.localhostProfile"), local.str()),
        (false, false) => errors.push(FieldError::invalid(
            format!("{path}.localhostProfile"),
            local,
            "can only be set when seccomp type is Localhost",
        )),
        (false, true) => {}
    }
}
