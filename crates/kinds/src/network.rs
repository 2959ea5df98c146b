//! Ingress, ingress classes and network policies.
//!
//! Upstream counterpart: `pkg/apis/networking/validation`.

use crate::{
    Part, Strategy,
    check::{self, Errors, is_cidr, label_selector, one_of, port_or_name},
    print::{age, joined, name, or_none, selector},
};
use machinery::{FieldError, Object, Value};

pub(crate) const PARTS: &[Part] = &[
    Part {
        strategy: Strategy {
            validate: ingress,
            ..Strategy::MANAGED
        },
        heads: &["Name", "Class", "Hosts", "Address", "Ports", "Age"],
        row: Some(ingress_row),
        ..Part::plain(crate::INGRESSES)
    },
    Part {
        strategy: Strategy {
            has_generation: true,
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
            has_generation: true,
            validate: network_policy,
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
            spec,
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    if !spec["defaultBackend"].is_null() {
        backend(&mut errors, "spec.defaultBackend", &spec["defaultBackend"]);
    }
    for (at, rule) in spec["rules"].items().iter().enumerate() {
        let path = format!("spec.rules[{at}]");
        host(&mut errors, &format!("{path}.host"), rule["host"].str());
        if rule["http"].is_null() {
            continue;
        }
        let paths = rule.at(&["http", "paths"]).items();
        if paths.is_empty() {
            errors.push(FieldError::required(format!("{path}.http.paths"), ""));
        }
        for (at, one) in paths.iter().enumerate() {
            ingress_path(&mut errors, &format!("{path}.http.paths[{at}]"), one);
        }
    }
    errors
}

fn host(errors: &mut Errors, path: &str, host: &str) {
    let plain = host.strip_prefix("*.").unwrap_or(host);
    if host.parse::<std::net::IpAddr>().is_ok() {
        errors.push(FieldError::invalid(
            path,
            host,
            "must be a DNS name, not an IP address",
        ));
    } else if !host.is_empty() {
        check::syntax(errors, path, plain, machinery::dns1123_subdomain);
    }
}

fn ingress_path(errors: &mut Errors, path: &str, one: &Value) {
    let (field, kind) = (format!("{path}.path"), one["pathType"].str());
    match kind {
        "" => errors.push(FieldError::required(
            format!("{path}.pathType"),
            "pathType must be specified",
        )),
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
                    errors.push(FieldError::invalid(field.clone(), one["path"].str(), why));
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
                format!("{path}.pathType"),
                kind,
                known,
            ));
        }
    }
    backend(errors, &format!("{path}.backend"), &one["backend"]);
}

fn backend(errors: &mut Errors, path: &str, backend: &Value) {
    let service = &backend["service"];
    match (service.is_null(), backend["resource"].is_null()) {
        (false, false) => {
            let why = "cannot set both resource and service backends";
            errors.push(FieldError::invalid(path, "", why));
        }
        (true, true) => errors.push(FieldError::required(
            path,
            "resource or service backend is required",
        )),
        (true, false) => {}
        (false, true) => {
            let (field, port) = (format!("{path}.service"), &service["port"]);
            check::named(
                errors,
                &format!("{field}.name"),
                service["name"].str(),
                machinery::dns1035_label,
            );
            let (named, number) = (port["name"].str(), port["number"].as_i64().unwrap_or(0));
            match (named.is_empty(), number) {
                (true, 0) => {
                    errors.push(FieldError::required(
                        field,
                        "port name or number is required",
                    ));
                }
                (false, 0) => check::syntax(
                    errors,
                    &format!("{field}.port.name"),
                    named,
                    machinery::port_name,
                ),
                (true, _) => check::port(errors, &format!("{field}.port.number"), number),
                (false, _) => {
                    errors.push(FieldError::invalid(
                        field,
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
    label_selector(&mut errors, "spec.podSelector", &spec["podSelector"]);
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for (at, rule) in spec[rules].items().iter().enumerate() {
            let path = format!("spec.{rules}[{at}]");
            for (at, port) in rule["ports"].items().iter().enumerate() {
                policy_port(&mut errors, &format!("{path}.ports[{at}]"), port);
            }
            for (at, peer) in rule[peers].items().iter().enumerate() {
                policy_peer(&mut errors, &format!("{path}.{peers}[{at}]"), peer);
            }
        }
    }
    for (at, kind) in spec["policyTypes"].items().iter().enumerate() {
        one_of(
            &mut errors,
            &format!("spec.policyTypes[{at}]"),
            kind,
            &["Egress", "Ingress"],
        );
    }
    errors
}

fn policy_port(errors: &mut Errors, path: &str, port: &Value) {
    check::one_of_if_set(
        errors,
        &format!("{path}.protocol"),
        &port["protocol"],
        &["SCTP", "TCP", "UDP"],
    );
    if !port["port"].is_null() {
        port_or_name(errors, &format!("{path}.port"), &port["port"]);
    }
    if let Some(end) = port["endPort"].as_i64() {
        let field = format!("{path}.endPort");
        match port["port"].as_i64() {
            Some(start) if end < start => {
                errors.push(FieldError::invalid(
                    field,
                    end,
                    "must be greater than or equal to `port`",
                ));
            }
            Some(_) => {}
            None if port["port"].is_null() => {
                errors.push(FieldError::required(
                    field,
                    "endPort may not be specified when `port` is not specified",
                ));
            }
            None => {
                let why = "endPort may not be specified when `port` is non-numeric";
                errors.push(FieldError::required(field, why));
            }
        }
    }
}

fn policy_peer(errors: &mut Errors, path: &str, peer: &Value) {
    let selectors = ["podSelector", "namespaceSelector"];
    for field in selectors {
        label_selector(errors, &format!("{path}.{field}"), &peer[field]);
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
    let why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    if !is_cidr(block["cidr"].str()) {
        errors.push(FieldError::invalid(
            format!("{path}.ipBlock.cidr"),
            block["cidr"].str(),
            why,
        ));
    }
    for (at, except) in block["except"].items().iter().enumerate() {
        if !is_cidr(except.str()) {
            errors.push(FieldError::invalid(
                format!("{path}.ipBlock.except[{at}]"),
                except,
                why,
            ));
        }
    }
}
