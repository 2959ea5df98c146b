//! Defaults of core kinds other than pods. Upstream counterpart: `pkg/apis/core/v1/defaults.go`.

use super::{Rows, fill, member, set, text};
use machinery::{Map, Value, json};

/// Three hours: how long a client sticks to an endpoint.
const AFFINITY_SECONDS: i64 = 10_800;

pub(super) const ROWS: Rows = &[
    ("core.v1.ReplicationController", replication_controller),
    ("core.v1.ReplicationControllerSpec", |spec| {
        set(spec, "replicas", 1_i64)
    }),
    ("core.v1.ServiceSpec", service_spec),
    ("core.v1.ServicePort", service_port),
    ("core.v1.EndpointPort", |port| fill(port, "protocol", "TCP")),
    ("core.v1.Secret", |secret| fill(secret, "type", "Opaque")),
    ("core.v1.PersistentVolume", |volume| {
        fill(member(volume, "status"), "phase", "Pending")
    }),
    ("core.v1.PersistentVolumeSpec", |spec| {
        fill(spec, "persistentVolumeReclaimPolicy", "Retain");
        set(spec, "volumeMode", "Filesystem");
    }),
    ("core.v1.PersistentVolumeClaim", |claim| {
        fill(member(claim, "status"), "phase", "Pending")
    }),
    ("core.v1.PersistentVolumeClaimSpec", |spec| {
        set(spec, "volumeMode", "Filesystem")
    }),
    ("core.v1.Namespace", namespace),
    ("core.v1.Node", node),
    ("core.v1.LimitRangeItem", limit_range_item),
    ("authentication.v1.TokenRequestSpec", |spec| {
        set(spec, "expirationSeconds", 3_600_i64)
    }),
];

/// Labels and selector of a replication controller are those of its template unless said.
fn replication_controller(controller: &mut Map) {
    let labels = controller
        .get("spec")
        .map(|spec| spec.at(&["template", "metadata", "labels"]));
    let Some(labels) = labels.filter(|labels| !labels.is_null()).cloned() else {
        return;
    };
    if controller
        .get("spec")
        .is_some_and(|spec| spec["selector"].is_null())
    {
        member(controller, "spec").insert("selector", labels.clone());
    }
    set(member(controller, "metadata"), "labels", labels);
}

fn service_spec(spec: &mut Map) {
    fill(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let client = member(member(spec, "sessionAffinityConfig"), "clientIP");
            set(client, "timeoutSeconds", AFFINITY_SECONDS);
        }
        _ => {}
    }
    fill(spec, "type", "ClusterIP");
    let kind = text(spec, "type").to_owned();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        || kind == "ClusterIP" && has_external_ips(spec)
    {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
}

fn has_external_ips(spec: &Map) -> bool {
    spec.get("externalIPs")
        .is_some_and(|ips| !ips.items().is_empty())
}

fn service_port(port: &mut Map) {
    fill(port, "protocol", "TCP");
    let number = port.get("port").cloned().unwrap_or_default();
    fill(port, "targetPort", number);
}

/// Every namespace carries its own name as a label, so that selectors can name it.
fn namespace(namespace: &mut Map) {
    let metadata = member(namespace, "metadata");
    let name = text(metadata, "name").to_owned();
    if !name.is_empty() {
        member(metadata, "labels").insert("kubernetes.io/metadata.name", name);
    }
    fill(member(namespace, "status"), "phase", "Active");
}

/// All of a node is allocatable unless said.
fn node(node: &mut Map) {
    let Some(status) = node.get_mut("status") else {
        return;
    };
    if status["allocatable"].is_null() && !status["capacity"].is_null() {
        status["allocatable"] = status["capacity"].clone();
    }
}

fn limit_range_item(item: &mut Map) {
    if text(item, "type") != "Container" {
        return;
    }
    for (to, from) in [
        ("default", "max"),
        ("defaultRequest", "default"),
        ("defaultRequest", "min"),
    ] {
        let source = item.get(from).cloned().unwrap_or_else(|| json!({}));
        for (name, amount) in source.entries() {
            member(item, to).entry_or(name, || Value::from(amount));
        }
    }
}
