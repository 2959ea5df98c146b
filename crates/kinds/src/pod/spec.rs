//! Validation of a pod's specification as a whole. Upstream counterpart: `ValidatePodSpec`.

use super::{containers, scheduling, volumes};
use crate::check::{
    Errors, ip, label_selector, labels, named, one_of, port_or_name, syntax, unique,
};
use machinery::{FieldError, Value, dns1123_label, dns1123_subdomain};

/// Name servers, search domains: limits of the resolver.
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;

/// A check of a text's syntax.
type Syntax = fn(&str) -> Vec<String>;

/// Checks a pod template: labels, annotations and specification.
pub(crate) fn template(errors: &mut Errors, path: &str, template: &Value) {
    labels(
        errors,
        &format!("{path}.metadata.labels"),
        template.at(&["metadata", "labels"]),
    );
    validate_spec(errors, &format!("{path}.spec"), &template["spec"]);
    if !template
        .at(&["spec", "ephemeralContainers"])
        .items()
        .is_empty()
    {
        let why = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(
            format!("{path}.spec.ephemeralContainers"),
            why,
        ));
    }
}

/// Checks a pod's specification.
pub(crate) fn validate_spec(errors: &mut Errors, path: &str, spec: &Value) {
    let volumes = volumes::validate(errors, &format!("{path}.volumes"), spec);
    containers::validate(errors, path, spec, &volumes);
    one_of(
        errors,
        &format!("{path}.restartPolicy"),
        &spec["restartPolicy"],
        &["Always", "OnFailure", "Never"],
    );
    dns(errors, path, spec);
    security(errors, path, spec);
    scheduling::validate(errors, path, spec);
    names(errors, path, spec);
    durations(errors, path, spec);
    for (at, alias) in spec["hostAliases"].items().iter().enumerate() {
        let path = format!("{path}.hostAliases[{at}]");
        ip(errors, &format!("{path}.ip"), alias["ip"].str());
        for (at, name) in alias["hostnames"].items().iter().enumerate() {
            syntax(
                errors,
                &format!("{path}.hostnames[{at}]"),
                name.str(),
                dns1123_subdomain,
            );
        }
    }
}

fn names(errors: &mut Errors, path: &str, spec: &Value) {
    let optional: [(&str, Syntax); 6] = [
        ("serviceAccountName", dns1123_subdomain),
        ("nodeName", dns1123_subdomain),
        ("priorityClassName", dns1123_subdomain),
        ("runtimeClassName", dns1123_subdomain),
        ("hostname", dns1123_label),
        ("subdomain", dns1123_label),
    ];
    for (field, check) in optional {
        if !spec[field].str().is_empty() {
            syntax(errors, &format!("{path}.{field}"), spec[field].str(), check);
        }
    }
    let gates = spec["schedulingGates"].items();
    for (at, gate) in gates.iter().enumerate() {
        let path = format!("{path}.schedulingGates[{at}]");
        syntax(errors, &path, gate["name"].str(), machinery::qualified_name);
    }
    unique(errors, gates.iter().map(|gate| gate["name"].str()), |at| {
        format!("{path}.schedulingGates[{at}]")
    });
    for (at, gate) in spec["readinessGates"].items().iter().enumerate() {
        let path = format!("{path}.readinessGates[{at}].conditionType");
        syntax(
            errors,
            &path,
            gate["conditionType"].str(),
            machinery::qualified_name,
        );
    }
}

fn durations(errors: &mut Errors, path: &str, spec: &Value) {
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64()
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let why = "must be between 1 and 2147483647, inclusive";
        errors.push(FieldError::invalid(
            format!("{path}.activeDeadlineSeconds"),
            seconds,
            why,
        ));
    }
    crate::check::none_negative(errors, path, spec, &["terminationGracePeriodSeconds"]);
    if spec.at(&["os", "name"]).is_null() && !spec["os"].is_null() {
        errors.push(FieldError::required(format!("{path}.os.name"), ""));
    }
}

fn dns(errors: &mut Errors, path: &str, spec: &Value) {
    one_of(
        errors,
        &format!("{path}.dnsPolicy"),
        &spec["dnsPolicy"],
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    let (config, path) = (&spec["dnsConfig"], format!("{path}.dnsConfig"));
    let servers = config["nameservers"].items();
    if spec["dnsPolicy"].str() == "None" && servers.is_empty() {
        let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        let field = if config.is_null() {
            path.clone()
        } else {
            format!("{path}.nameservers")
        };
        errors.push(FieldError::required(field, why));
    }
    if servers.len() > NAMESERVERS_MAX {
        let why = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.push(FieldError::invalid(
            format!("{path}.nameservers"),
            &config["nameservers"],
            why,
        ));
    }
    for (at, server) in servers.iter().enumerate() {
        ip(errors, &format!("{path}.nameservers[{at}]"), server.str());
    }
    let searches = config["searches"].items();
    if searches.len() > SEARCHES_MAX {
        let why = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.push(FieldError::invalid(
            format!("{path}.searches"),
            &config["searches"],
            why,
        ));
    }
    for (at, option) in config["options"].items().iter().enumerate() {
        if option["name"].str().is_empty() {
            errors.push(FieldError::required(
                format!("{path}.options[{at}]"),
                "must not be empty",
            ));
        }
    }
}

fn security(errors: &mut Errors, path: &str, spec: &Value) {
    let (context, path) = (&spec["securityContext"], format!("{path}.securityContext"));
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        user_id(errors, &format!("{path}.{field}"), &context[field]);
    }
    for (at, group) in context["supplementalGroups"].items().iter().enumerate() {
        user_id(errors, &format!("{path}.supplementalGroups[{at}]"), group);
    }
    if spec["shareProcessNamespace"].as_bool() == Some(true)
        && spec["hostPID"].as_bool() == Some(true)
    {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(
            format!("{path}.shareProcessNamespace"),
            true,
            why,
        ));
    }
    let policies = &["OnRootMismatch", "Always"];
    crate::check::one_of_if_set(
        errors,
        &format!("{path}.fsGroupChangePolicy"),
        &context["fsGroupChangePolicy"],
        policies,
    );
    containers::seccomp(
        errors,
        &format!("{path}.seccompProfile"),
        &context["seccompProfile"],
    );
    let sysctls = context["sysctls"].items();
    for (at, sysctl) in sysctls.iter().enumerate() {
        named(
            errors,
            &format!("{path}.sysctls[{at}].name"),
            sysctl["name"].str(),
            |_| Vec::new(),
        );
    }
    unique(errors, sysctls.iter().map(|one| one["name"].str()), |at| {
        format!("{path}.sysctls[{at}].name")
    });
}

/// A user or group number.
pub(super) fn user_id(errors: &mut Errors, path: &str, value: &Value) {
    if let Some(id) = value.as_i64()
        && !(0..=i64::from(i32::MAX)).contains(&id)
    {
        errors.push(FieldError::invalid(
            path,
            id,
            "must be between 0 and 2147483647, inclusive",
        ));
    }
}

/// An action of a probe or of the life cycle: exactly one.
pub(super) fn handler(errors: &mut Errors, path: &str, handler: &Value) {
    let mut found = 0;
    for action in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        if handler[action].is_null() {
            continue;
        }
        let path = format!("{path}.{action}");
        found += 1;
        if found > 1 {
            errors.push(FieldError::forbidden(
                path,
                "may not specify more than 1 handler type",
            ));
            continue;
        }
        one_action(errors, &path, action, &handler[action]);
    }
    if found == 0 {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
}

fn one_action(errors: &mut Errors, path: &str, action: &str, value: &Value) {
    match action {
        "exec" if value["command"].items().is_empty() => {
            errors.push(FieldError::required(format!("{path}.command"), ""));
        }
        "httpGet" => {
            crate::check::present(errors, &format!("{path}.path"), &value["path"]);
            port_or_name(errors, &format!("{path}.port"), &value["port"]);
            one_of(
                errors,
                &format!("{path}.scheme"),
                &value["scheme"],
                &["HTTP", "HTTPS"],
            );
        }
        "tcpSocket" => port_or_name(errors, &format!("{path}.port"), &value["port"]),
        "grpc" => crate::check::port(
            errors,
            &format!("{path}.port"),
            value["port"].as_i64().unwrap_or(0),
        ),
        _ => {}
    }
}

/// Selector check shared with scheduling.
pub(super) fn selector(errors: &mut Errors, path: &str, selector: &Value) {
    label_selector(errors, path, selector);
}
