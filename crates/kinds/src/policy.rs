//! Policies and access: autoscaling, disruption budgets, RBAC, ingress, network policy, priority.
//!
//! Upstream counterparts: `pkg/apis/{autoscaling,policy,rbac,networking,scheduling}/validation`.

use crate::{
    Part, Strategy,
    check::{
        self, Errors, count_or_percent, is_cidr, label_selector, one_of, port_or_name, present,
    },
    convert,
    print::{age, created, joined, name, number, or_none, scalar, selector},
};
use machinery::{FieldError, Object, Ref, Value, path_segment};

pub(crate) const PARTS: &[Part] = &[
    Part {
        strategy: Strategy {
            has_status: true,
            validate: autoscaler,
            ..Strategy::PLAIN
        },
        heads: &[
            "Name",
            "Reference",
            "Targets",
            "MinPods",
            "MaxPods:integer",
            "Replicas:integer",
            "Age",
        ],
        row: Some(autoscaler_row),
        convert: Some(convert::autoscaler),
        ..Part::plain(crate::HORIZONTAL_POD_AUTOSCALERS)
    },
    Part {
        strategy: Strategy {
            validate: budget,
            ..Strategy::MANAGED
        },
        heads: &[
            "Name",
            "Min Available",
            "Max Unavailable",
            "Allowed Disruptions:integer",
            "Age",
        ],
        row: Some(|o, now| {
            let or_na = |path: &str| match scalar(o.at(path)) {
                text if text.is_empty() => Value::from("N/A"),
                text => text.into(),
            };
            let allowed = number(o, "status.disruptionsAllowed");
            vec![
                name(o),
                or_na("spec.minAvailable"),
                or_na("spec.maxUnavailable"),
                allowed,
                age(o, now),
            ]
        }),
        ..Part::plain(crate::POD_DISRUPTION_BUDGETS)
    },
    Part {
        strategy: RBAC_ROLE,
        heads: CREATED,
        row: Some(created_row),
        ..Part::plain(crate::ROLES)
    },
    Part {
        strategy: Strategy {
            validate: cluster_role,
            ..RBAC_ROLE
        },
        heads: CREATED,
        row: Some(created_row),
        ..Part::plain(crate::CLUSTER_ROLES)
    },
    Part {
        strategy: RBAC_BINDING,
        heads: BINDING,
        row: Some(binding_row),
        ..Part::plain(crate::ROLE_BINDINGS)
    },
    Part {
        strategy: RBAC_BINDING,
        heads: BINDING,
        row: Some(binding_row),
        ..Part::plain(crate::CLUSTER_ROLE_BINDINGS)
    },
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
    Part {
        strategy: Strategy {
            has_generation: true,
            validate: priority,
            validate_update: priority_update,
            ..Strategy::PLAIN
        },
        heads: &[
            "Name",
            "Value:integer",
            "Global-Default:boolean",
            "Age",
            "PreemptionPolicy",
        ],
        row: Some(|o, now| {
            let default = o.at("globalDefault").is_true();
            vec![
                name(o),
                number(o, "value"),
                default.into(),
                age(o, now),
                o.at("preemptionPolicy").str().into(),
            ]
        }),
        ..Part::plain(crate::PRIORITY_CLASSES)
    },
];

const CREATED: &[&str] = &["Name", "Created At:date"];
const BINDING: &[&str] = &[
    "Name",
    "Role",
    "Age",
    "+Users",
    "+Groups",
    "+ServiceAccounts",
];

const RBAC_ROLE: Strategy = Strategy {
    name_check: path_segment,
    allow_create_on_update: true,
    validate: |o| {
        let mut errors = Errors::new();
        rules(&mut errors, o, true);
        errors
    },
    ..Strategy::PLAIN
};

const RBAC_BINDING: Strategy = Strategy {
    name_check: path_segment,
    allow_create_on_update: true,
    validate: binding,
    validate_update: |new, old| {
        let mut errors = Errors::new();
        if new["roleRef"] != old["roleRef"] {
            errors.push(FieldError::invalid(
                "roleRef",
                &new["roleRef"],
                "cannot change roleRef",
            ));
        }
        errors
    },
    ..Strategy::PLAIN
};

fn created_row(o: &Object, _: u64) -> Vec<Value> {
    vec![name(o), created(o)]
}

fn cluster_role(o: &Value) -> Errors {
    let mut errors = Errors::new();
    rules(&mut errors, o, false);
    let selectors = o.at(&["aggregationRule", "clusterRoleSelectors"]);
    if !o["aggregationRule"].is_null() && selectors.items().is_empty() {
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(FieldError::required(
            "aggregationRule.clusterRoleSelectors",
            why,
        ));
    }
    errors
}

fn rules(errors: &mut Errors, o: &Value, namespaced: bool) {
    for (at, rule) in o["rules"].items().iter().enumerate() {
        let path = format!("rules[{at}]");
        let empty = |field: &str| rule[field].items().is_empty();
        if empty("verbs") {
            errors.push(FieldError::required(
                format!("{path}.verbs"),
                "verbs must contain at least one value",
            ));
        }
        if !empty("nonResourceURLs") {
            let field = format!("{path}.nonResourceURLs");
            if namespaced {
                let why = "namespaced rules cannot apply to non-resource URLs";
                errors.push(FieldError::invalid(
                    field.clone(),
                    &rule["nonResourceURLs"],
                    why,
                ));
            }
            if !empty("apiGroups") || !empty("resources") || !empty("resourceNames") {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(FieldError::invalid(field, &rule["nonResourceURLs"], why));
            }
            continue;
        }
        if empty("apiGroups") {
            let why = "resource rules must supply at least one api group";
            errors.push(FieldError::required(format!("{path}.apiGroups"), why));
        }
        if empty("resources") {
            let why = "resource rules must supply at least one resource";
            errors.push(FieldError::required(format!("{path}.resources"), why));
        }
    }
}

fn binding(o: &Value) -> Errors {
    let mut errors = Errors::new();
    let (role, cluster) = (&o["roleRef"], o["kind"].str() == "ClusterRoleBinding");
    let kinds: &[&str] = if cluster {
        &["ClusterRole"]
    } else {
        &["ClusterRole", "Role"]
    };
    if role["apiGroup"].str() != "rbac.authorization.k8s.io" {
        let supported = &["rbac.authorization.k8s.io"];
        errors.push(FieldError::not_supported(
            "roleRef.apiGroup",
            &role["apiGroup"],
            supported,
        ));
    }
    if !kinds.contains(&role["kind"].str()) {
        errors.push(FieldError::not_supported(
            "roleRef.kind",
            role["kind"].str(),
            kinds,
        ));
    }
    check::named(
        &mut errors,
        "roleRef.name",
        role["name"].str(),
        path_segment,
    );
    for (at, subject) in o["subjects"].items().iter().enumerate() {
        let path = format!("subjects[{at}]");
        present(&mut errors, &format!("{path}.name"), &subject["name"]);
        match subject["kind"].str() {
            "ServiceAccount" => {
                present(
                    &mut errors,
                    &format!("{path}.namespace"),
                    &subject["namespace"],
                );
            }
            "User" | "Group" => {}
            kind => {
                let known = &["ServiceAccount", "User", "Group"];
                errors.push(FieldError::not_supported(
                    format!("{path}.kind"),
                    kind,
                    known,
                ));
            }
        }
    }
    errors
}

fn binding_row(o: &Object, now: u64) -> Vec<Value> {
    let of_kind = |kind: &'static str| {
        o.at("subjects")
            .items()
            .filter(move |one| one.get("kind").str() == kind)
    };
    let names = |kind| {
        of_kind(kind)
            .map(|one| one.get("name").str().to_owned())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let accounts = of_kind("ServiceAccount");
    let accounts: Vec<_> = accounts
        .map(|one| format!("{}/{}", one.get("namespace").str(), one.get("name").str()))
        .collect();
    let role = format!(
        "{}/{}",
        o.at("roleRef.kind").str(),
        o.at("roleRef.name").str()
    );
    vec![
        name(o),
        role.into(),
        age(o, now),
        names("User").into(),
        names("Group").into(),
        accounts.join(", ").into(),
    ]
}

fn autoscaler(o: &Value) -> Errors {
    let mut errors = Errors::new();
    let spec = &o["spec"];
    let least = spec["minReplicas"].as_i64().unwrap_or(1);
    let most = spec["maxReplicas"].as_i64().unwrap_or(0);
    if least < 1 {
        let why = "must be greater than or equal to 1";
        errors.push(FieldError::invalid("spec.minReplicas", least, why));
    }
    if most < 1 {
        errors.push(FieldError::invalid(
            "spec.maxReplicas",
            most,
            "must be greater than 0",
        ));
    }
    if most < least {
        let why = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid("spec.maxReplicas", most, why));
    }
    check::named(
        &mut errors,
        "spec.scaleTargetRef.kind",
        spec.at(&["scaleTargetRef", "kind"]).str(),
        path_segment,
    );
    check::named(
        &mut errors,
        "spec.scaleTargetRef.name",
        spec.at(&["scaleTargetRef", "name"]).str(),
        path_segment,
    );
    for (at, metric) in spec["metrics"].items().iter().enumerate() {
        let path = format!("spec.metrics[{at}]");
        let kinds = &[
            "ContainerResource",
            "External",
            "Object",
            "Pods",
            "Resource",
        ];
        one_of(&mut errors, &format!("{path}.type"), &metric["type"], kinds);
        let field = match metric["type"].str() {
            "ContainerResource" => "containerResource",
            "External" => "external",
            "Object" => "object",
            "Pods" => "pods",
            "Resource" => "resource",
            _ => continue,
        };
        if metric[field].is_null() {
            let why = "must populate information for the given metric source";
            errors.push(FieldError::required(format!("{path}.{field}"), why));
        } else if check::is_empty(&metric[field]["target"]) {
            let why = "must specify either a target raw value or a target utilization";
            errors.push(FieldError::required(format!("{path}.{field}.target"), why));
        }
    }
    errors
}

fn autoscaler_row(o: &Object, now: u64) -> Vec<Value> {
    let target = o.at("spec.scaleTargetRef");
    let reference = format!("{}/{}", target.get("kind").str(), target.get("name").str());
    let least = o
        .at("spec.minReplicas")
        .as_i64()
        .map_or("<unset>".into(), |least| least.to_string());
    let current: Vec<_> = o.at("status.currentMetrics").items().collect();
    let metrics = o.at("spec.metrics").items().enumerate();
    let texts: Vec<_> = metrics
        .map(|(at, metric)| metric_text(metric, current.get(at).copied()))
        .collect();
    let shown = match texts.len() {
        0 => crate::print::NONE.to_owned(),
        1 | 2 => texts.join(", "),
        more => format!("{} + {} more...", texts[..2].join(", "), more - 2),
    };
    vec![
        name(o),
        reference.into(),
        shown.into(),
        least.into(),
        number(o, "spec.maxReplicas"),
        number(o, "status.currentReplicas"),
        age(o, now),
    ]
}

fn metric_text(metric: Ref<'_>, seen: Option<Ref<'_>>) -> String {
    let field = match metric.get("type").str() {
        "Resource" => "resource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".into(),
    };
    let target = metric.get(field).get("target");
    let current = seen.unwrap_or_default().get(field).get("current");
    let label = match field {
        "resource" => format!("{}: ", metric.at("resource.name").str()),
        _ => String::new(),
    };
    let known = |text: String| {
        if text.is_empty() {
            "<unknown>".to_owned()
        } else {
            text
        }
    };
    if let Some(wanted) = target.get("averageUtilization").as_i64() {
        let found = current
            .get("averageUtilization")
            .as_i64()
            .map(|found| format!("{found}%"));
        return format!("{label}{}/{wanted}%", known(found.unwrap_or_default()));
    }
    let (key, suffix) = match target.get("averageValue").is_null() {
        true => ("value", ""),
        false if matches!(field, "object" | "external") => ("averageValue", " (avg)"),
        false => ("averageValue", ""),
    };
    format!(
        "{label}{}/{}{suffix}",
        known(scalar(current.get(key))),
        scalar(target.get(key))
    )
}

fn budget(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        let why = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid("spec", spec, why));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        count_or_percent(&mut errors, &format!("spec.{field}"), &spec[field]);
    }
    label_selector(&mut errors, "spec.selector", &spec["selector"]);
    let policies = &["AlwaysAllow", "IfHealthyBudget"];
    check::one_of_if_set(
        &mut errors,
        "spec.unhealthyPodEvictionPolicy",
        &spec["unhealthyPodEvictionPolicy"],
        policies,
    );
    errors
}

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

/// The highest priority that is not the system's.
const PRIORITY_MAX: i64 = 1_000_000_000;

fn priority(o: &Value) -> Errors {
    let mut errors = Errors::new();
    let (value, system) = (
        o["value"].as_i64().unwrap_or(0),
        o.name().starts_with("system-"),
    );
    if system && !matches!(o.name(), "system-node-critical" | "system-cluster-critical") {
        let why = "priority class names with 'system-' prefix are reserved for system use only";
        errors.push(FieldError::forbidden("metadata.name", why));
    }
    if !system && value > PRIORITY_MAX {
        let why = format!("maximum allowed value of a user defined priority is {PRIORITY_MAX}");
        errors.push(FieldError::forbidden("value", why));
    }
    check::one_of_if_set(
        &mut errors,
        "preemptionPolicy",
        &o["preemptionPolicy"],
        &["Never", "PreemptLowerPriority"],
    );
    errors
}

fn priority_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    if new["value"].as_i64().unwrap_or(0) != old["value"].as_i64().unwrap_or(0) {
        errors.push(FieldError::forbidden(
            "value",
            "may not be changed in an update.",
        ));
    }
    check::immutable(
        &mut errors,
        "preemptionPolicy",
        &new["preemptionPolicy"],
        &old["preemptionPolicy"],
    );
    errors
}
