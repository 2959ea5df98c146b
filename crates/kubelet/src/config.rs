//! What a node is told about itself.
//!
//! Plain values; upstream counterpart: `KubeletConfiguration` and the kubelet's flags.

use machinery::Value;
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// The version the node reports.
pub const KUBELET_VERSION: &str = "v1.36.0";

/// Everything a kubelet must be told; the rest it learns from the API or its runtime.
#[derive(Clone, Debug)]
pub struct KubeletConfig {
    /// Name of the Node object.
    pub node_name: String,
    /// Host name label and address; usually the node name.
    pub hostname: String,
    /// Addresses; the first IPv4 one is `hostIP` of the pods.
    pub internal_ips: Vec<IpAddr>,
    /// Further addresses: (type such as `ExternalIP` or `InternalDNS`, address).
    pub extra_addresses: Vec<(String, String)>,
    /// `spec.providerID`, e.g. `aws:///eu-west-1a/i-0123`; may be empty.
    pub provider_id: String,
    /// `node.kubernetes.io/instance-type`; may be empty.
    pub instance_type: String,
    /// `topology.kubernetes.io/region`; may be empty.
    pub region: String,
    /// `topology.kubernetes.io/zone`; may be empty.
    pub zone: String,
    /// Further labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// `spec.taints` at registration, as `core/v1` Taints.
    pub taints: Vec<Value>,
    /// Capacity by resource name, as quantities (`cpu`, `memory`, `pods`, `ephemeral-storage`, ...).
    pub capacity: BTreeMap<String, String>,
    /// What is kept back from `allocatable`, as quantities.
    pub reserved: BTreeMap<String, String>,
    /// `kubernetes.io/arch` (`amd64`, `arm64`).
    pub architecture: String,
    /// `nodeInfo`: kernelVersion, osImage, machineID, systemUUID, bootID.
    pub node_info: BTreeMap<String, String>,
    /// DNS servers for pods with `ClusterFirst`.
    pub cluster_dns: Vec<IpAddr>,
    /// Cluster domain.
    pub cluster_domain: String,
    /// The node's own resolv.conf, for `Default` and host-network pods.
    pub node_resolv_conf: String,
    /// How often the lease is renewed.
    pub lease_period: Duration,
    /// `leaseDurationSeconds`.
    pub lease_duration: Duration,
    /// How often the node status is reported when nothing changes.
    pub status_period: Duration,
    /// How often mounted configuration and tokens are looked at again.
    pub refresh_period: Duration,
    /// Credentials for registries: (prefix of the image name, user, password).
    pub registry_auth: Vec<(String, String, String)>,
    /// Most pods a node accepts when `capacity` has no `pods`.
    pub max_pods: u32,
}

impl Default for KubeletConfig {
    fn default() -> Self {
        Self {
            node_name: String::new(),
            hostname: String::new(),
            internal_ips: Vec::new(),
            extra_addresses: Vec::new(),
            provider_id: String::new(),
            instance_type: String::new(),
            region: String::new(),
            zone: String::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            taints: Vec::new(),
            capacity: BTreeMap::new(),
            reserved: BTreeMap::new(),
            architecture: "amd64".into(),
            node_info: BTreeMap::new(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".into(),
            node_resolv_conf: String::new(),
            lease_period: Duration::from_secs(10),
            lease_duration: Duration::from_secs(40),
            status_period: Duration::from_secs(300),
            refresh_period: Duration::from_secs(30),
            registry_auth: Vec::new(),
            max_pods: 110,
        }
    }
}
