//! Services and their endpoints: validation and tables.
//!
//! Upstream counterparts: `ValidateService`, `pkg/apis/discovery/validation`, `printService`.

use crate::{
    Part, Strategy,
    check::{self, Errors, Place, at, is_empty, named, one_of, port, port_or_name, syntax},
    print::{NONE, age, joined, labels, name},
};
use machinery::{FieldError, Object, Ref, Value, dns1123_label, dns1123_subdomain};
use std::collections::BTreeSet;

pub(crate) const PARTS: &[Part] = &[
    Part {
        strategy: Strategy {
            name_check: dns1123_label,
            has_status: true,
            shows_deleted: true,
            prepare_create: |o| o["status"] = machinery::json!({"loadBalancer": {}}),
            validate: service,
            validate_update: service_update,
            ..Strategy::PLAIN
        },
        heads: &[
            "Name",
            "Type",
            "Cluster-IP",
            "External-IP",
            "Port(s)",
            "Age",
            "+Selector",
        ],
        row: Some(service_row),
        selectable: &["spec.clusterIP", "spec.type"],
        ..Part::plain(crate::SERVICES)
    },
    Part {
        strategy: Strategy {
            is_checked: true,
            validate: endpoints,
            ..Strategy::PLAIN
        },
        heads: &["Name", "Endpoints", "Age"],
        row: Some(|o, now| vec![name(o), endpoints_text(o).into(), age(o, now)]),
        ..Part::plain(crate::ENDPOINTS)
    },
    Part {
        strategy: Strategy {
            generation: crate::Generation::Desired,
            prepare_create: |o| {
                // The old field can only be kept, not given.
                let endpoints = o.get_mut("endpoints").and_then(Value::as_array_mut);
                for endpoint in endpoints.into_iter().flatten() {
                    endpoint.make_object().remove("deprecatedTopology");
                }
            },
            validate: slice,
            validate_update: slice_update,
            ..Strategy::PLAIN
        },
        heads: &["Name", "AddressType", "Ports", "Endpoints", "Age"],
        row: Some(|o, now| {
            let ports = o.at("ports").items().map(|port| port.get("port"));
            let ports = ports.map(|port| {
                if port.is_null() {
                    "*".into()
                } else {
                    port.i64().to_string()
                }
            });
            let addresses = o
                .at("endpoints")
                .items()
                .flat_map(|one| one.get("addresses").items());
            let (ports, addresses) = (
                shortened(ports.collect()),
                shortened(addresses.map(|a| a.str().into()).collect()),
            );
            vec![
                name(o),
                o.at("addressType").str().into(),
                unset(ports),
                unset(addresses),
                age(o, now),
            ]
        }),
        ..Part::plain(crate::ENDPOINT_SLICES)
    },
];

fn unset(text: String) -> Value {
    if text.is_empty() {
        "<unset>".into()
    } else {
        text.into()
    }
}

/// The first three of a list.
fn shortened(texts: Vec<String>) -> String {
    let shown = texts[..texts.len().min(3)].join(",");
    match texts.len().checked_sub(3) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} + {more} more..."),
    }
}

fn endpoints_text(o: &Object) -> String {
    let mut all = Vec::new();
    for subset in o.at("subsets").items() {
        let ports: Vec<_> = subset
            .get("ports")
            .items()
            .map(|port| port.get("port").i64())
            .collect();
        for address in subset
            .get("addresses")
            .items()
            .map(|one| one.get("ip").str())
        {
            if ports.is_empty() {
                all.push(address.to_owned());
            }
            let host = if address.contains(':') {
                format!("[{address}]")
            } else {
                address.to_owned()
            };
            all.extend(ports.iter().map(|port| format!("{host}:{port}")));
        }
    }
    if all.is_empty() {
        NONE.into()
    } else {
        shortened(all)
    }
}

fn service(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    let (kind, headless) = (spec["type"].str(), spec["clusterIP"].str() == "None");
    if spec["ports"].items().is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    of_type(&mut errors, spec, kind, headless);
    ports(&mut errors, spec["ports"].items(), kind);
    for (key, value) in spec["selector"].entries() {
        syntax(
            &mut errors,
            at!("spec.selector"),
            key,
            machinery::qualified_name,
        );
        syntax(
            &mut errors,
            at!("spec.selector"),
            value.str(),
            machinery::label_value,
        );
    }
    one_of(
        &mut errors,
        at!("spec.sessionAffinity"),
        &spec["sessionAffinity"],
        &["ClientIP", "None"],
    );
    let timeout = spec.at(&["sessionAffinityConfig", "clientIP", "timeoutSeconds"]);
    if timeout
        .as_i64()
        .is_some_and(|seconds| !(1..=86_400).contains(&seconds))
    {
        let why = "must be greater than 0 and less than 86400";
        errors.push(FieldError::invalid(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            timeout,
            why,
        ));
    }
    one_of(
        &mut errors,
        at!("spec.type"),
        &spec["type"],
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    );
    addresses(&mut errors, spec);
    errors
}

fn of_type(errors: &mut Errors, spec: &Value, kind: &str, headless: bool) {
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.push(FieldError::invalid("spec.clusterIPs[0]", "None", why));
        }
        "ExternalName" => {
            if !is_empty(&spec["clusterIP"]) {
                errors.push(FieldError::forbidden(
                    "spec.clusterIPs",
                    "may not be set for ExternalName services",
                ));
            }
            named(
                errors,
                at!("spec.externalName"),
                spec["externalName"].str().trim_end_matches('.'),
                dns1123_subdomain,
            );
        }
        _ => {}
    }
    for field in ["internalTrafficPolicy", "externalTrafficPolicy"] {
        let path = at!("spec.{field}");
        check::one_of_if_set(errors, path, &spec[field], &["Cluster", "Local"]);
    }
    if !is_empty(&spec["externalTrafficPolicy"])
        && kind == "ClusterIP"
        && is_empty(&spec["externalIPs"])
    {
        let why = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(
            "spec.externalTrafficPolicy",
            &spec["externalTrafficPolicy"],
            why,
        ));
    }
    if !spec["allocateLoadBalancerNodePorts"].is_null() && kind != "LoadBalancer" {
        let why = "may only be used when `type` is 'LoadBalancer'";
        errors.push(FieldError::forbidden(
            "spec.allocateLoadBalancerNodePorts",
            why,
        ));
    }
}

fn ports(errors: &mut Errors, ports: &[Value], kind: &str) {
    let (mut names, mut pairs, mut nodes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (at, one) in ports.iter().enumerate() {
        let path = at!("spec.ports[{at}]");
        let (name, protocol) = (one["name"].str(), one["protocol"].str());
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(at!("{path}.name"), ""));
        } else if !name.is_empty() {
            syntax(errors, at!("{path}.name"), name, dns1123_label);
            if !names.insert(name) {
                errors.push(FieldError::duplicate(at!("{path}.name"), name));
            }
        }
        port(
            errors,
            at!("{path}.port"),
            one["port"].as_i64().unwrap_or(0),
        );
        one_of(
            errors,
            at!("{path}.protocol"),
            &one["protocol"],
            &["SCTP", "TCP", "UDP"],
        );
        port_or_name(errors, at!("{path}.targetPort"), &one["targetPort"]);
        if let Some(application) = one["appProtocol"].as_str() {
            let field = at!("{path}.appProtocol");
            syntax(errors, field, application, machinery::qualified_name);
        }
        let node_port = one["nodePort"].as_i64().unwrap_or(0);
        if kind == "ClusterIP" && node_port != 0 {
            let why = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(at!("{path}.nodePort"), why));
        }
        if node_port != 0 && !nodes.insert((protocol, node_port)) {
            let why = "provided port is already allocated";
            errors.push(FieldError::invalid(at!("{path}.nodePort"), node_port, why));
        }
        if !pairs.insert((protocol, one["port"].as_i64())) {
            let shown = machinery::json!({"port": &one["port"], "protocol": protocol});
            errors.push(FieldError::duplicate(path, shown));
        }
    }
}

fn addresses(errors: &mut Errors, spec: &Value) {
    for (at, address) in spec["externalIPs"].items().iter().enumerate() {
        let path = at!("spec.externalIPs[{at}]");
        check::ip(errors, path, address.str());
        check::special_address(errors, path, address.str());
    }
    for (at, address) in spec["clusterIPs"].items().iter().enumerate() {
        if address.str() != "None" {
            check::ip(errors, at!("spec.clusterIPs[{at}]"), address.str());
        }
    }
    balanced(errors, spec);
    families(errors, spec);
}

fn balanced(errors: &mut Errors, spec: &Value) {
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    // Upstream spells this path with a capital.
    const RANGES: &str = "spec.LoadBalancerSourceRanges";
    let balanced = spec["type"].str() == "LoadBalancer";
    let (ranges, class) = (
        spec["loadBalancerSourceRanges"].items(),
        &spec["loadBalancerClass"],
    );
    if !balanced && !ranges.is_empty() {
        errors.push(FieldError::forbidden(RANGES, ONLY));
    }
    for (at, range) in ranges.iter().enumerate().filter(|_| balanced) {
        check::block(errors, at!("{RANGES}[{at}]"), range.str().trim());
    }
    if !class.is_null() {
        match balanced {
            true => syntax(
                errors,
                at!("spec.loadBalancerClass"),
                class.str(),
                machinery::qualified_name,
            ),
            false => errors.push(FieldError::forbidden("spec.loadBalancerClass", ONLY)),
        }
    }
    let probe = spec["healthCheckNodePort"].as_i64().unwrap_or(0);
    if probe != 0 && !(balanced && spec["externalTrafficPolicy"].str() == "Local") {
        let why =
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(FieldError::invalid("spec.healthCheckNodePort", probe, why));
    }
}

fn families(errors: &mut Errors, spec: &Value) {
    let mut seen = BTreeSet::new();
    for (at, family) in spec["ipFamilies"].items().iter().enumerate() {
        let (path, family) = (at!("spec.ipFamilies[{at}]"), family.str());
        if !matches!(family, "IPv4" | "IPv6") {
            errors.push(FieldError::not_supported(path, family, &["IPv4", "IPv6"]));
        }
        if !seen.insert(family) {
            errors.push(FieldError::duplicate(path, family));
        }
    }
    let policies = &["PreferDualStack", "RequireDualStack", "SingleStack"];
    let policy = &spec["ipFamilyPolicy"];
    check::one_of_if_set(errors, at!("spec.ipFamilyPolicy"), policy, policies);
    let ways = &["PreferClose", "PreferSameZone", "PreferSameNode"];
    let way = &spec["trafficDistribution"];
    check::one_of_if_set(errors, at!("spec.trafficDistribution"), way, ways);
    let (first, all) = (spec["clusterIP"].str(), &spec["clusterIPs"]);
    if all.items().first().is_some_and(|one| one.str() != first) {
        let why = "first value must match `clusterIP`";
        errors.push(FieldError::invalid("spec.clusterIPs", all, why));
    } else if all.items().is_empty() && !matches!(first, "" | "None") {
        check::ip(errors, at!("spec.clusterIPs[0]"), first);
    }
}

fn service_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let (new, old) = (&new["spec"], &old["spec"]);
    let needs = |spec: &Value| spec["type"].str() != "ExternalName";
    let (address, before) = (&new["clusterIP"], &old["clusterIP"]);
    if needs(new) && needs(old) && !is_empty(before) && address != before {
        if is_empty(address) {
            errors.push(FieldError::invalid(
                "spec.clusterIPs[0]",
                &new["clusterIPs"],
                "primary clusterIP can not be unset",
            ));
        } else {
            let why = "may not change once set";
            errors.push(FieldError::invalid(
                "spec.clusterIPs[0]",
                &new["clusterIPs"],
                why,
            ));
        }
    }
    if new["type"] == old["type"] && !is_empty(&old["loadBalancerClass"]) {
        let field = "spec.loadBalancerClass";
        if new["loadBalancerClass"] != old["loadBalancerClass"] {
            errors.push(FieldError::invalid(
                field,
                &new["loadBalancerClass"],
                "may not change once set",
            ));
        }
    }
    errors
}

fn slice(o: &Value) -> Errors {
    let mut errors = Errors::new();
    one_of(
        &mut errors,
        at!("addressType"),
        &o["addressType"],
        &["FQDN", "IPv4", "IPv6"],
    );
    let endpoints = o["endpoints"].items();
    if endpoints.len() > 1_000 {
        errors.push(FieldError::too_many("endpoints", endpoints.len(), 1_000));
    }
    for (at, endpoint) in endpoints.iter().enumerate() {
        let path = at!("endpoints[{at}].addresses");
        if endpoint["addresses"].items().is_empty() {
            errors.push(FieldError::required(
                path,
                "must contain at least 1 address",
            ));
        }
        for (at, address) in endpoint["addresses"].items().iter().enumerate() {
            slice_address(&mut errors, path, at, address.str(), o["addressType"].str());
        }
        for (field, check) in [
            ("nodeName", dns1123_subdomain as fn(&str) -> Vec<String>),
            ("hostname", dns1123_label),
        ] {
            if let Some(text) = endpoint[field].as_str() {
                syntax(&mut errors, at!("endpoints[{at}].{field}"), text, check);
            }
        }
    }
    let mut names = BTreeSet::new();
    for (at, port) in o["ports"].items().iter().enumerate() {
        if !port["name"].str().is_empty() {
            let field = at!("ports[{at}].name");
            syntax(&mut errors, field, port["name"].str(), dns1123_label);
        }
        if let Some(protocol) = port["appProtocol"].as_str() {
            let field = at!("ports[{at}].appProtocol");
            syntax(&mut errors, field, protocol, machinery::qualified_name);
        }
        if !names.insert(port["name"].str()) {
            errors.push(FieldError::duplicate(
                at!("ports[{at}].name"),
                port["name"].str(),
            ));
        }
        one_of(
            &mut errors,
            at!("ports[{at}].protocol"),
            &port["protocol"],
            &["SCTP", "TCP", "UDP"],
        );
    }
    errors
}

/// An address of the slice's type that something can be behind.
fn slice_address(errors: &mut Errors, path: Place<'_>, at: usize, text: &str, kind: &str) {
    let field = at!("{path}[{at}]");
    if kind == "FQDN" {
        return syntax(errors, field, text, dns1123_subdomain);
    }
    let before = errors.len();
    check::ip(errors, field, text);
    if errors.len() > before {
        return;
    }
    let is_v6 = text.contains(':');
    let why = match kind {
        "IPv4" if is_v6 => Some("must be an IPv4 address"),
        "IPv6" if !is_v6 => Some("must be an IPv6 address"),
        _ => None,
    };
    errors.extend(why.map(|why| FieldError::invalid(path, text, why)));
    check::special_address(errors, field, text);
}

fn slice_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    check::immutable(
        &mut errors,
        at!("addressType"),
        &new["addressType"],
        &old["addressType"],
    );
    errors
}

fn service_row(o: &Object, now: u64) -> Vec<Value> {
    let spec = o.at("spec");
    let kind = spec.get("type").str();
    let cluster = spec.get("clusterIP").str();
    let cluster = match (kind, cluster) {
        ("ExternalName", "") | (_, "") => NONE,
        (_, address) => address,
    };
    let ports: Vec<_> = spec.get("ports").items().map(port_text).collect();
    let ports = if ports.is_empty() {
        NONE.into()
    } else {
        ports.join(",")
    };
    vec![
        name(o),
        kind.into(),
        cluster.into(),
        external(o, kind).into(),
        ports.into(),
        age(o, now),
        labels(spec.get("selector")),
    ]
}

fn port_text(port: Ref<'_>) -> String {
    let (number, node, protocol) = (
        port.get("port").i64(),
        port.get("nodePort").i64(),
        port.get("protocol").str(),
    );
    if node == 0 {
        format!("{number}/{protocol}")
    } else {
        format!("{number}:{node}/{protocol}")
    }
}

fn external(o: &Object, kind: &str) -> String {
    let extra = joined(o.at("spec.externalIPs").items().map(|ip| ip.str()));
    match kind {
        "LoadBalancer" => {
            let found =
                o.at("status.loadBalancer.ingress")
                    .items()
                    .map(|one| match one.get("ip").str() {
                        "" => one.get("hostname").str(),
                        ip => ip,
                    });
            let found = joined(found);
            match (found.is_empty(), extra.is_empty()) {
                (true, true) => "<pending>".into(),
                (true, false) => extra,
                (false, true) => found,
                (false, false) => format!("{found},{extra}"),
            }
        }
        "ExternalName" => o.at("spec.externalName").str().to_owned(),
        _ if extra.is_empty() => NONE.into(),
        _ => extra,
    }
}

fn endpoints(o: &Value) -> Errors {
    let mut errors = Errors::new();
    for (at, subset) in o["subsets"].items().iter().enumerate() {
        let path = at!("subsets[{at}]");
        let lists = ["addresses", "notReadyAddresses"];
        if lists.iter().all(|list| subset[*list].items().is_empty()) {
            let why = "must specify `addresses` or `notReadyAddresses`";
            errors.push(FieldError::required(path, why));
        }
        for list in lists {
            for (at, one) in subset[list].items().iter().enumerate() {
                endpoint_address(&mut errors, at!("{path}.{list}[{at}]"), one);
            }
        }
        let ports = subset["ports"].items();
        for (at, one) in ports.iter().enumerate() {
            endpoint_port(&mut errors, at!("{path}.ports[{at}]"), one, ports.len() > 1);
        }
    }
    errors
}

fn endpoint_address(errors: &mut Errors, path: Place<'_>, one: &Value) {
    let (address, field) = (one["ip"].str(), at!("{path}.ip"));
    check::ip(errors, field, address);
    if address.parse::<std::net::IpAddr>().is_err() {
        errors.push(FieldError::invalid(
            field,
            address,
            "must be a valid IP address",
        ));
    }
    check::special_address(errors, field, address);
    if !one["hostname"].str().is_empty() {
        syntax(
            errors,
            at!("{path}.hostname"),
            one["hostname"].str(),
            dns1123_label,
        );
    }
    if let Some(node) = one["nodeName"].as_str() {
        syntax(errors, at!("{path}.nodeName"), node, dns1123_subdomain);
    }
}

fn endpoint_port(errors: &mut Errors, path: Place<'_>, one: &Value, named: bool) {
    let (name, field) = (one["name"].str(), at!("{path}.name"));
    if !name.is_empty() {
        syntax(errors, field, name, dns1123_label);
    } else if named {
        errors.push(FieldError::required(field, ""));
    }
    port(
        errors,
        at!("{path}.port"),
        one["port"].as_i64().unwrap_or(0),
    );
    let known = &["SCTP", "TCP", "UDP"];
    one_of(errors, at!("{path}.protocol"), &one["protocol"], known);
    if let Some(application) = one["appProtocol"].as_str() {
        let field = at!("{path}.appProtocol");
        syntax(errors, field, application, machinery::qualified_name);
    }
}
