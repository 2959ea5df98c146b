//! The fields of Service and EndpointSlice that make names.
//!
//! Plain serde structs over the Kubernetes JSON form; unknown fields are ignored.
//! Upstream counterpart: CoreDNS' `plugin/kubernetes/object`.

use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// Label of an EndpointSlice that names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

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
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpecView {
    /// `ExternalName` or another type.
    #[serde(rename = "type")]
    #[serde(deserialize_with = "or_default")]
    pub kind: String,
    /// Cluster address; `None` as text for headless.
    #[serde(rename = "clusterIP")]
    #[serde(deserialize_with = "or_default")]
    pub cluster_ip: String,
    /// All cluster addresses.
    #[serde(rename = "clusterIPs")]
    #[serde(deserialize_with = "or_default")]
    pub cluster_ips: Vec<String>,
    /// Target of an `ExternalName` Service.
    #[serde(deserialize_with = "or_default")]
    pub external_name: String,
    /// Ports.
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<PortView>,
}

/// `ports[]` of a Service or EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PortView {
    /// Name.
    pub name: Option<String>,
    /// `TCP` (also if absent), `UDP`, `SCTP`.
    pub protocol: Option<String>,
    /// Number.
    pub port: Option<u16>,
}

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EndpointSliceView {
    /// Identity; the Service is named by a label.
    #[serde(deserialize_with = "or_default")]
    pub metadata: MetaView,
    /// Endpoints.
    pub endpoints: Option<Vec<EndpointView>>,
    /// Ports of every endpoint.
    pub ports: Option<Vec<PortView>>,
}

/// `endpoints[]` of an EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EndpointView {
    /// Addresses.
    #[serde(deserialize_with = "or_default")]
    pub addresses: Vec<String>,
    /// State.
    #[serde(deserialize_with = "or_default")]
    pub conditions: ConditionsView,
    /// Name below the Service.
    pub hostname: Option<String>,
}

/// `endpoints[].conditions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConditionsView {
    /// Has a name; absent means yes.
    pub ready: Option<bool>,
}

/// Reads `null` as absent, as Kubernetes does.
fn or_default<'a, D: Deserializer<'a>, T: Default + Deserialize<'a>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
