//! Ingress, ingress classes and network policies.
//!
//! Upstream counterpart: `pkg/apis/networking/validation`.

use crate::{
    Part, Strategy,
    check::{self, Errors, Place, at, is_cidr, label_selector, port_or_name},
    print::{age, joined, name, or_none, selector},
};
use machinery::{FieldError, Object, Value};

pub(crate) const PARTS: &[Part] = &[
    Part {
        strategy: Strategy {
            validate: ingress,
            validate_create: ingress_create,
            is_checked: true,
            ..Strategy::MANAGED
        },
        heads: &["Name", "Class", "Hosts", "Address", "Ports", "Age"],
        row: Some(ingress_row),
        ..Part::plain(crate::INGRESSES)
    },
    Part {
        strategy: Strategy {
            generation: crate::Generation::Desired,
            validate: class,
            validate_update: |new, old| {
                let (new, old) = (&new["spec"]["controller"], &old["spec"]["controller"]);
                let mut errors = Errors::new();
                check::immutable(&mut errors, at!("spec.controller"), new, old);
                errors
            },
            is_checked: true,
            ..Strategy::PLAIN
        },
        heads: &["Name", "Controller", "Parameters", "Age"],
        row: Some(|o, now| {
            let parameters = o.at("spec.parameters");
            let (group, kind, named) = (
                parameters.get("apiGroup").str(),
                parameters.get("kind").str(),
                parameters.get("name").str(),
            );
            let dot = if group.is_empty() { "" } else { "." };
            let shown = if parameters.is_null() {
                String::new()
            } else {
                format!("{kind}{dot}{group}/{named}")
            };
            vec![
                name(o),
                o.at("spec.controller").str().into(),
                or_none(shown),
                age(o, now),
            ]
        }),
        ..Part::plain(crate::INGRESS_CLASSES)
    },
    Part {
        strategy: Strategy {
            generation: crate::Generation::Desired,
            validate: network_policy,
            is_checked: true,
            ..Strategy::PLAIN
        },
        heads: &["Name", "Pod-Selector", "Age"],
        row: Some(|o, now| vec![name(o), selector(o.at("spec.podSelector")), age(o, now)]),
        ..Part::plain(crate::NETWORK_POLICIES)
    },
];

fn ingress(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    if spec["rules"].items().is_empty() && spec["defaultBackend"].is_null() {
        errors.push(FieldError::invalid(
            "spec",
            &spec["rules"],
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    if !spec["defaultBackend"].is_null() {
        backend(
            &mut errors,
            at!("spec.defaultBackend"),
            &spec["defaultBackend"],
        );
    }
    certificates(&mut errors, spec);
    if let Some(class) = spec["ingressClassName"].as_str() {
        let field = "spec.ingressClassName";
        check::syntax(
            &mut errors,
            at!("{field}"),
            class,
            machinery::dns1123_subdomain,
        );
    }
    for (at, rule) in spec["rules"].items().iter().enumerate() {
        let path = at!("spec.rules[{at}]");
        host(&mut errors, at!("{path}.host"), rule["host"].str());
        if rule["http"].is_null() {
            continue;
        }
        let paths = rule.at(&["http", "paths"]).items();
        if paths.is_empty() {
            errors.push(FieldError::required(at!("{path}.http.paths"), ""));
        }
        for (at, one) in paths.iter().enumerate() {
            ingress_path(&mut errors, at!("{path}.http.paths[{at}]"), one);
        }
    }
    errors
}

fn host(errors: &mut Errors, path: Place<'_>, host: &str) {
    if host.parse::<std::net::IpAddr>().is_ok() {
        let why = "must be a DNS name, not an IP address";
        return errors.push(FieldError::invalid(path, host, why));
    }
    domain(errors, path, host);
}

fn domain(errors: &mut Errors, path: Place<'_>, host: &str) {
    let plain = host.strip_prefix("*.").unwrap_or(host);
    let complaints = machinery::dns1123_subdomain(plain);
    if host.contains('*') && !complaints.is_empty() {
        let why = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
        errors.push(FieldError::invalid(path, host, why));
    } else if !host.is_empty() {
        check::syntax(errors, path, plain, machinery::dns1123_subdomain);
    }
}

fn certificates(errors: &mut Errors, spec: &Value) {
    for (at, one) in spec["tls"].items().iter().enumerate() {
        let path = at!("spec.tls[{at}]");
        for (at, name) in one["hosts"].items().iter().enumerate() {
            let field = at!("{path}.hosts[{at}]");
            match name.str() {
                "" => check::syntax(errors, field, "", machinery::dns1123_subdomain),
                name => domain(errors, field, name),
            }
        }
        let secret = one["secretName"].str();
        if !secret.is_empty() {
            let field = at!("{path}.secretName");
            check::syntax(errors, field, secret, machinery::dns1123_subdomain);
        }
    }
}

/// The class is named once: by the field or, as of old, by the annotation.
fn ingress_create(o: &Value) -> Errors {
    const ANNOTATION: &str = "kubernetes.io/ingress.class";
    let mut errors = Errors::new();
    let old = o.at(&["metadata", "annotations", ANNOTATION]);
    let class = &o["spec"]["ingressClassName"];
    if !old.is_null() && !class.is_null() && old != class {
        let why = "must match `ingressClassName` when both are specified";
        let field = at!("annotations.{ANNOTATION}");
        errors.push(FieldError::invalid(field, old, why));
    }
    errors
}

fn ingress_path(errors: &mut Errors, path: Place<'_>, one: &Value) {
    let (field, kind) = (at!("{path}.path"), one["pathType"].str());
    match kind {
        "" => {
            let why = "pathType must be specified";
            return errors.push(FieldError::required(at!("{path}.pathType"), why));
        }
        "Exact" | "Prefix" if !one["path"].str().starts_with('/') => {
            errors.push(FieldError::invalid(
                field,
                one["path"].str(),
                "must be an absolute path",
            ));
        }
        "Exact" | "Prefix" => {
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if one["path"].str().contains(part) {
                    let why = format!("must not contain '{part}'");
                    errors.push(FieldError::invalid(field, one["path"].str(), why));
                }
            }
        }
        "ImplementationSpecific" => {
            if !one["path"].str().is_empty() && !one["path"].str().starts_with('/') {
                errors.push(FieldError::invalid(
                    field,
                    one["path"].str(),
                    "must be an absolute path",
                ));
            }
        }
        _ => {
            let known = &["Exact", "ImplementationSpecific", "Prefix"];
            errors.push(FieldError::not_supported(
                at!("{path}.pathType"),
                kind,
                known,
            ));
        }
    }
    backend(errors, at!("{path}.backend"), &one["backend"]);
}

fn backend(errors: &mut Errors, path: Place<'_>, backend: &Value) {
    let service = &backend["service"];
    match (service.is_null(), backend["resource"].is_null()) {
        (false, false) => {
            let why = "cannot set both resource and service backends";
            errors.push(FieldError::invalid(path, "", why));
        }
        (true, true) => errors.push(FieldError::invalid(
            path,
            "",
            "resource or service backend is required",
        )),
        (true, false) => {
            let group = backend.at(&["resource", "apiGroup"]).str();
            if !group.is_empty() {
                let field = at!("{path}.resource.apiGroup");
                check::syntax(errors, field, group, machinery::dns1123_subdomain);
            }
        }
        (false, true) => {
            let (field, port) = (at!("{path}.service"), &service["port"]);
            check::named(
                errors,
                at!("{field}.name"),
                service["name"].str(),
                machinery::dns1123_label,
            );
            let (named, number) = (port["name"].str(), port["number"].as_i64().unwrap_or(0));
            match (named.is_empty(), number) {
                (true, 0) => {
                    errors.push(FieldError::required(
                        path,
                        "port name or number is required",
                    ));
                }
                (false, 0) => check::syntax(
                    errors,
                    at!("{field}.port.name"),
                    named,
                    machinery::port_name,
                ),
                (true, _) => check::port(errors, at!("{field}.port.number"), number),
                (false, _) => {
                    errors.push(FieldError::invalid(
                        path,
                        "",
                        "cannot set both port name & port number",
                    ));
                }
            }
        }
    }
}

fn ingress_row(o: &Object, now: u64) -> Vec<Value> {
    let mut class = o.at("spec.ingressClassName").str();
    if class.is_empty() {
        class = o
            .annotation("kubernetes.io/ingress.class")
            .unwrap_or_default();
    }
    let hosts: Vec<_> = o
        .at("spec.rules")
        .items()
        .map(|rule| rule.get("host").str())
        .filter(|host| !host.is_empty())
        .collect();
    let hosts = match hosts.len() {
        0 => "*".to_owned(),
        1..=3 => hosts.join(","),
        more => format!("{} + {} more...", hosts[..3].join(","), more - 3),
    };
    let addresses =
        o.at("status.loadBalancer.ingress")
            .items()
            .map(|one| match one.get("ip").str() {
                "" => one.get("hostname").str(),
                ip => ip,
            });
    let ports = if o.at("spec.tls").items().next().is_some() {
        "80, 443"
    } else {
        "80"
    };
    vec![
        name(o),
        or_none(class),
        hosts.into(),
        joined(addresses).into(),
        ports.into(),
        age(o, now),
    ]
}

fn network_policy(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    label_selector(&mut errors, at!("spec.podSelector"), &spec["podSelector"]);
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for (at, rule) in spec[rules].items().iter().enumerate() {
            let path = at!("spec.{rules}[{at}]");
            for (at, port) in rule["ports"].items().iter().enumerate() {
                policy_port(&mut errors, at!("{path}.ports[{at}]"), port);
            }
            for (at, peer) in rule[peers].items().iter().enumerate() {
                policy_peer(&mut errors, at!("{path}.{peers}[{at}]"), peer);
            }
        }
    }
    let (kinds, known) = (&spec["policyTypes"], ["Ingress", "Egress"]);
    if kinds.items().len() > known.len() {
        let why = "may not specify more than two policyTypes";
        errors.push(FieldError::invalid("spec.policyTypes", kinds, why));
        return errors;
    }
    for (at, kind) in kinds.items().iter().enumerate() {
        if !known.contains(&kind.str()) {
            let field = at!("spec.policyTypes[{at}]");
            errors.push(FieldError::not_supported(field, kind, &known));
        }
    }
    errors
}

fn policy_port(errors: &mut Errors, path: Place<'_>, port: &Value) {
    check::one_of_if_set(
        errors,
        at!("{path}.protocol"),
        &port["protocol"],
        &["TCP", "UDP", "SCTP"],
    );
    if !port["port"].is_null() {
        port_or_name(errors, at!("{path}.port"), &port["port"]);
    }
    if let Some(end) = port["endPort"].as_i64() {
        let field = at!("{path}.endPort");
        let why = match port["port"].as_i64() {
            Some(start) if end < start => {
                let why = "must be greater than or equal to `port`";
                errors.push(FieldError::invalid(field, start, why));
                ""
            }
            Some(_) => "",
            None if port["port"].is_null() => "may not be specified when `port` is not specified",
            None => "may not be specified when `port` is non-numeric",
        };
        if !why.is_empty() {
            errors.push(FieldError::invalid(field, end, why));
        }
        check::port(errors, field, end);
    }
}

fn policy_peer(errors: &mut Errors, path: Place<'_>, peer: &Value) {
    let selectors = ["podSelector", "namespaceSelector"];
    for field in selectors {
        label_selector(errors, at!("{path}.{field}"), &peer[field]);
    }
    let selects = selectors.iter().any(|field| !peer[*field].is_null());
    let block = &peer["ipBlock"];
    if block.is_null() {
        if !selects {
            errors.push(FieldError::required(path, "must specify a peer"));
        }
        return;
    }
    if selects {
        errors.push(FieldError::forbidden(
            path,
            "may not specify both ipBlock and another peer",
        ));
    }
    let (whole, path) = (block["cidr"].str(), at!("{path}.ipBlock"));
    let place = at!("{path}.cidr");
    if whole.is_empty() {
        return errors.push(FieldError::required(place, ""));
    }
    check::block(errors, place, whole);
    if !is_cidr(whole) {
        return;
    }
    for (at, except) in block["except"].items().iter().enumerate() {
        let field = at!("{path}.except[{at}]");
        check::block(errors, field, except.str());
        if is_cidr(except.str()) && !check::is_within(except.str(), whole) {
            let why = "must be a strict subset of `cidr`";
            errors.push(FieldError::invalid(field, except, why));
        }
    }
}

fn class(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    let (controller, parameters) = (spec["controller"].str(), &spec["parameters"]);
    if controller.is_empty() {
        errors.push(FieldError::required("spec.controller", ""));
    } else {
        check::domain_path(&mut errors, at!("spec.controller"), controller);
    }
    if parameters.is_null() {
        return errors;
    }
    const PATH: &str = "spec.parameters";
    let group = parameters["apiGroup"].str();
    if !group.is_empty() {
        let field = at!("{PATH}.apiGroup");
        check::syntax(&mut errors, field, group, machinery::dns1123_subdomain);
    }
    for key in ["kind", "name"] {
        let field = at!("{PATH}.{key}");
        let check = machinery::path_segment;
        check::named(&mut errors, field, parameters[key].str(), check);
    }
    let (scope, namespace) = (parameters["scope"].str(), &parameters["namespace"]);
    let field = at!("{PATH}.namespace");
    match scope {
        "Namespace" if namespace.is_null() => {
            let why = "`parameters.scope` is set to 'Namespace'";
            errors.push(FieldError::required(field, why));
        }
        "Namespace" => {
            check::syntax(
                &mut errors,
                field,
                namespace.str(),
                machinery::dns1123_label,
            );
        }
        "Cluster" if !namespace.is_null() => {
            let why = "`parameters.scope` is set to 'Cluster'";
            errors.push(FieldError::forbidden(field, why));
        }
        "Cluster" => {}
        other => {
            let known = &["Cluster", "Namespace"];
            errors.push(FieldError::not_supported(at!("{PATH}.scope"), other, known));
        }
    }
    errors
}
