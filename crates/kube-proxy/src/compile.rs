//! Frontends of Services with the endpoints behind them.
//!
//! Upstream counterpart: `syncProxyRules` of the nftables proxier, without the rules.

use crate::{
    endpoints::{self, Candidate},
    view::*,
};
use env::{Backend, Frontend, Protocol, ServiceChange, ServiceEntry, ServiceTable};
use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

/// Kubernetes' default for `sessionAffinityConfig.clientIP.timeoutSeconds`: three hours.
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;

/// The whole service table of a node. Where two Services claim one address and port, the first
/// by namespace and name has it.
pub fn compile(
    services: &[ServiceView],
    slices: &[EndpointSliceView],
    node: &NodeView,
) -> ServiceTable {
    let mut by_service: BTreeMap<(&str, &str), Vec<&EndpointSliceView>> = BTreeMap::new();
    for slice in slices {
        if let Some(name) = slice.metadata.labels.get(SERVICE_NAME_LABEL) {
            let key = (slice.metadata.namespace.as_str(), name.as_str());
            by_service.entry(key).or_default().push(slice);
        }
    }
    let mut ordered: Vec<_> = services.iter().map(|s| (key(s), s)).collect();
    ordered.sort_by_key(|(key, _)| *key);
    let mut table = ServiceTable::new();
    for (key, service) in ordered {
        let slices = by_service.get(&key).map(Vec::as_slice).unwrap_or_default();
        for (frontend, entry) in compile_service(service, slices, node) {
            table.entry(frontend).or_insert(entry);
        }
    }
    table
}

fn key(service: &ServiceView) -> (&str, &str) {
    (&service.metadata.namespace, &service.metadata.name)
}

/// The entries of one Service, given its own slices; none for headless and ExternalName Services.
pub fn compile_service(
    service: &ServiceView,
    slices: &[&EndpointSliceView],
    node: &NodeView,
) -> ServiceTable {
    let mut table = ServiceTable::new();
    if is_skipped(service) {
        return table;
    }
    for port in &service.spec.ports {
        let Some(protocol) = protocol(&port.protocol) else {
            continue;
        };
        let routes = Routes::of(service, &endpoints::candidates(port, slices), node);
        let mut add = |address, port, entry: &ServiceEntry| {
            table.insert(
                Frontend {
                    address,
                    protocol,
                    port,
                },
                entry.clone(),
            );
        };
        for address in external_addresses(service) {
            add(Some(address), port.port, &routes.external);
        }
        for address in cluster_addresses(service) {
            add(Some(address), port.port, &routes.internal);
        }
        if port.node_port != 0 {
            add(None, port.node_port, &routes.external);
        }
    }
    table
}

fn is_skipped(service: &ServiceView) -> bool {
    let labels = &service.metadata.labels;
    service.spec.kind == "ExternalName"
        || service.spec.cluster_ip.is_empty()
        || service.spec.cluster_ip == "None"
        || labels.contains_key(OTHER_PROXY_LABEL)
        || labels.contains_key(HEADLESS_LABEL)
}

/// Where connections of one port go, by where they enter.
struct Routes {
    internal: ServiceEntry,
    external: ServiceEntry,
}

impl Routes {
    fn of(service: &ServiceView, all: &[Candidate], node: &NodeView) -> Self {
        let spec = &service.spec;
        let policy = |policy: &str| -> Vec<Backend> {
            if policy == "Local" {
                endpoints::local(all, node)
            } else {
                endpoints::cluster_wide(all, node)
            }
        };
        let affinity = affinity(spec);
        let internal = ServiceEntry {
            backends: policy(&spec.internal_traffic_policy),
            affinity,
            masquerade: false,
        };
        // With `Local` the endpoint is on this node, so its answer comes back here by itself.
        let external = ServiceEntry {
            backends: policy(&spec.external_traffic_policy),
            affinity,
            masquerade: spec.external_traffic_policy != "Local",
        };
        Self { internal, external }
    }
}

fn affinity(spec: &ServiceSpecView) -> Option<Duration> {
    let config = spec.session_affinity_config.as_ref();
    let timeout = config.and_then(|c| c.client_ip.as_ref()?.timeout_seconds);
    let seconds = timeout.unwrap_or(DEFAULT_AFFINITY_SECONDS);
    (spec.session_affinity == "ClientIP").then(|| Duration::from_secs(seconds.into()))
}

/// IPv4 cluster addresses; others are for a proxy of that family.
fn cluster_addresses(service: &ServiceView) -> Vec<Ipv4Addr> {
    let spec = &service.spec;
    if spec.cluster_ips.is_empty() {
        parsed([&spec.cluster_ip])
    } else {
        parsed(&spec.cluster_ips)
    }
}

fn external_addresses(service: &ServiceView) -> Vec<Ipv4Addr> {
    let ingress = service.status.load_balancer.ingress.iter();
    let direct = ingress.filter(|i| i.ip_mode != "Proxy").map(|i| &i.ip);
    parsed(service.spec.external_ips.iter().chain(direct))
}

fn parsed<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<Ipv4Addr> {
    texts.into_iter().filter_map(|t| t.parse().ok()).collect()
}

fn protocol(name: &str) -> Option<Protocol> {
    match name {
        "" | "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// What leads from one table to another; empty if they are equal.
pub fn diff(old: &ServiceTable, new: &ServiceTable) -> ServiceChange {
    let changed = new.iter().filter(|(f, entry)| old.get(f) != Some(entry));
    ServiceChange {
        set: changed.map(|(f, entry)| (*f, entry.clone())).collect(),
        remove: old
            .keys()
            .filter(|f| !new.contains_key(f))
            .copied()
            .collect(),
    }
}
