//! The fields of Service and EndpointSlice that decide where packets go.
//!
//! Plain serde structs over the Kubernetes JSON form; unknown fields are ignored.
//! Upstream counterpart: `k8s.io/api/core/v1` and `discovery/v1`.

use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// Label of an EndpointSlice that names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Label of a Service that another proxy implements.
pub const OTHER_PROXY_LABEL: &str = "service.kubernetes.io/service-proxy-name";
/// Label of a Service or slice to be treated as headless.
pub const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// The node a table is made for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// Node name, as in `endpoints[].nodeName`.
    pub name: String,
    /// Zone (`topology.kubernetes.io/zone`), empty if unknown.
    pub zone: String,
}

/// Identity and labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MetaView {
    /// Namespace.
    #[serde(deserialize_with = "or_default")]
    pub namespace: String,
    /// Name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServiceView {
    /// Identity.
    #[serde(deserialize_with = "or_default")]
    pub metadata: MetaView,
    /// Wanted.
    #[serde(deserialize_with = "or_default")]
    pub spec: ServiceSpecView,
    /// Observed.
    #[serde(deserialize_with = "or_default")]
    pub status: ServiceStatusView,
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpecView {
    /// `ClusterIP`, `NodePort`, `LoadBalancer`, `ExternalName`.
    #[serde(rename = "type")]
    #[serde(deserialize_with = "or_default")]
    pub kind: String,
    /// First cluster address; `None` as text for headless.
    #[serde(rename = "clusterIP")]
    #[serde(deserialize_with = "or_default")]
    pub cluster_ip: String,
    /// All cluster addresses.
    #[serde(rename = "clusterIPs")]
    #[serde(deserialize_with = "or_default")]
    pub cluster_ips: Vec<String>,
    /// Addresses routed to nodes by the administrator.
    #[serde(rename = "externalIPs")]
    #[serde(deserialize_with = "or_default")]
    pub external_ips: Vec<String>,
    /// Ports.
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<ServicePortView>,
    /// `None` or `ClientIP`.
    #[serde(deserialize_with = "or_default")]
    pub session_affinity: String,
    /// Affinity timeout.
    pub session_affinity_config: Option<AffinityConfigView>,
    /// `Cluster` or `Local`.
    #[serde(deserialize_with = "or_default")]
    pub internal_traffic_policy: String,
    /// `Cluster` or `Local`.
    #[serde(deserialize_with = "or_default")]
    pub external_traffic_policy: String,
}

/// `spec.ports[]` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicePortView {
    /// Name, empty if the only port.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// `TCP`, `UDP`, `SCTP`.
    #[serde(deserialize_with = "or_default")]
    pub protocol: String,
    /// Port of the cluster, external and load balancer addresses.
    #[serde(deserialize_with = "or_default")]
    pub port: u16,
    /// Port on every node, 0 if none.
    #[serde(deserialize_with = "or_default")]
    pub node_port: u16,
}

/// `spec.sessionAffinityConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AffinityConfigView {
    /// For `ClientIP`.
    #[serde(rename = "clientIP")]
    pub client_ip: Option<ClientIpView>,
}

/// `spec.sessionAffinityConfig.clientIP`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientIpView {
    /// Seconds a client stays with an endpoint.
    pub timeout_seconds: Option<u32>,
}

/// `status` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatusView {
    /// Load balancer.
    #[serde(deserialize_with = "or_default")]
    pub load_balancer: LoadBalancerView,
}

/// `status.loadBalancer` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LoadBalancerView {
    /// Points of entry.
    #[serde(deserialize_with = "or_default")]
    pub ingress: Vec<IngressView>,
}

/// `status.loadBalancer.ingress[]` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressView {
    /// Address.
    #[serde(deserialize_with = "or_default")]
    pub ip: String,
    /// `VIP` (default) or `Proxy`.
    #[serde(deserialize_with = "or_default")]
    pub ip_mode: String,
}

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSliceView {
    /// Identity; the Service is named by a label.
    #[serde(deserialize_with = "or_default")]
    pub metadata: MetaView,
    /// `IPv4`, `IPv6`, `FQDN`.
    #[serde(deserialize_with = "or_default")]
    pub address_type: String,
    /// Endpoints.
    pub endpoints: Option<Vec<EndpointView>>,
    /// Ports of every endpoint.
    pub ports: Option<Vec<EndpointPortView>>,
}

/// `endpoints[]` of an EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointView {
    /// Addresses; only the first is used, as upstream does.
    #[serde(deserialize_with = "or_default")]
    pub addresses: Vec<String>,
    /// State.
    #[serde(deserialize_with = "or_default")]
    pub conditions: ConditionsView,
    /// Node it runs on.
    pub node_name: Option<String>,
    /// Who should use it.
    pub hints: Option<HintsView>,
}

/// `endpoints[].conditions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConditionsView {
    /// Takes new connections; absent means yes.
    pub ready: Option<bool>,
    /// Would be ready if it were not terminating; absent means `ready`.
    pub serving: Option<bool>,
    /// Is terminating; absent means no.
    pub terminating: Option<bool>,
}

/// `endpoints[].hints`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HintsView {
    /// Zones that should use the endpoint.
    #[serde(deserialize_with = "or_default")]
    pub for_zones: Vec<HintView>,
    /// Nodes that should use the endpoint.
    #[serde(deserialize_with = "or_default")]
    pub for_nodes: Vec<HintView>,
}

/// A zone or node in a hint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HintView {
    /// Its name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
}

/// `ports[]` of an EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EndpointPortView {
    /// Name of the Service port it answers.
    pub name: Option<String>,
    /// Protocol; absent means TCP.
    pub protocol: Option<String>,
    /// Port; absent means all ports, which a proxy cannot serve.
    pub port: Option<u16>,
}

/// Reads `null` as absent, as Kubernetes does.
fn or_default<'a, D: Deserializer<'a>, T: Default + Deserialize<'a>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
