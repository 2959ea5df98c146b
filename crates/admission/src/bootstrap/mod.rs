//! What a cluster contains before anyone has created anything, as data.
//!
//! The platform creates these through the door at each start and leaves those that exist.
//! Knows no store. Upstream counterparts: `pkg/controlplane/controller/{systemnamespaces,
//! kubernetesservice,clusterauthenticationtrust}`, the poststart hooks of RBAC and scheduling,
//! and what EKS installs beside them.

mod flow;
mod roles;

use crate::{ServiceRange, priority};
use kinds::{
    CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, CONFIG_MAPS, ENDPOINT_SLICES, ENDPOINTS, FLOW_SCHEMAS,
    NAMESPACES, PRIORITY_CLASSES, PRIORITY_LEVEL_CONFIGURATIONS, ROLE_BINDINGS, ROLES,
    SERVICE_CIDRS, SERVICES, STORAGE_CLASSES,
};
use machinery::{Value, json};
use std::net::SocketAddrV4;

/// Offsets of the two well-known services in the service range.
const API_SERVER_OFFSET: u32 = 1;
/// Of the cluster's DNS service.
pub const DNS_OFFSET: u32 = 10;
/// Provisioner of directory volumes.
const PROVISIONER: &str = "xebec.io/directory";
/// Where extension API servers find whom to trust.
const TRUST: &str = "extension-apiserver-authentication";

/// What the objects depend on.
#[derive(Clone, Debug)]
pub struct Config {
    /// Range of service addresses.
    pub services: ServiceRange,
    /// Where pods reach the API server behind `default/kubernetes`.
    pub api_server: SocketAddrV4,
    /// PEM of the authority that signs client certificates.
    pub client_ca: String,
    /// PEM of the authority that signs front proxies' certificates; empty for none.
    pub front_proxy_ca: String,
}

/// All objects, each with its storage resource, in an order that creates what others need first.
pub fn objects(config: &Config) -> Vec<(&'static str, Value)> {
    let mut all: Vec<(&'static str, Value)> = namespaces().map(|made| (NAMESPACES, made)).into();
    let (roles, bindings) = roles::read();
    all.extend(
        roles
            .into_iter()
            .chain(bindings)
            .map(|made| (place(&made), made)),
    );
    all.push((CONFIG_MAPS, trust(config)));
    all.extend(priority_classes().map(|class| (PRIORITY_CLASSES, class)));
    all.extend(
        flow::levels()
            .into_iter()
            .map(|level| (PRIORITY_LEVEL_CONFIGURATIONS, level)),
    );
    all.extend(
        flow::schemas()
            .into_iter()
            .map(|schema| (FLOW_SCHEMAS, schema)),
    );
    all.extend(storage_classes().map(|class| (STORAGE_CLASSES, class)));
    all.push((SERVICE_CIDRS, service_cidr(config)));
    all.extend(api_service(config));
    all.push((SERVICES, dns_service(config)));
    all
}

fn namespaces() -> [Value; 4] {
    ["default", "kube-system", "kube-public", "kube-node-lease"]
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
}

fn priority_classes() -> [Value; 2] {
    let uses = [
        "Used for system critical pods that must not be moved from their current node.",
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ];
    let class = |at: usize| {
        let (name, value) = priority::SYSTEM[at];
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": uses[at], "preemptionPolicy": "PreemptLowerPriority"
        })
    };
    [class(0), class(1)]
}

fn storage_classes() -> [Value; 2] {
    let class = |name: &str, default: &str| {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": default}},
            "provisioner": PROVISIONER, "parameters": {"type": name},
            "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer"
        })
    };
    [class("gp3", "true"), class("gp2", "false")]
}

fn service_cidr(config: &Config) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": [config.services.to_string()]}
    })
}

/// The service `kubernetes` and its one endpoint, which no controller looks after.
fn api_service(config: &Config) -> [(&'static str, Value); 3] {
    let (host, port) = (config.api_server.ip().to_string(), config.api_server.port());
    let address = config.services.at(API_SERVER_OFFSET).to_string();
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP", "clusterIP": &address, "clusterIPs": [&address], "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]
        }
    });
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": &host}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [&host], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}]
    });
    [
        (SERVICES, service),
        (ENDPOINTS, endpoints),
        (ENDPOINT_SLICES, slice),
    ]
}

/// The service that pods ask for names. Nodes answer it themselves, so it selects no pods.
fn dns_service(config: &Config) -> Value {
    let address = config.services.at(DNS_OFFSET).to_string();
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kube-dns", "namespace": "kube-system",
            "labels": {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": &address, "clusterIPs": [&address],
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53}
            ]
        }
    })
}

/// The authorities that extension API servers trust.
fn trust(config: &Config) -> Value {
    let mut data = json!({"client-ca-file": &config.client_ca});
    if !config.front_proxy_ca.is_empty() {
        for (key, text) in [
            ("requestheader-allowed-names", "[\"front-proxy-client\"]"),
            (
                "requestheader-client-ca-file",
                config.front_proxy_ca.as_str(),
            ),
            (
                "requestheader-extra-headers-prefix",
                "[\"X-Remote-Extra-\"]",
            ),
            ("requestheader-group-headers", "[\"X-Remote-Group\"]"),
            ("requestheader-uid-headers", "[\"X-Remote-Uid\"]"),
            ("requestheader-username-headers", "[\"X-Remote-User\"]"),
        ] {
            data[key] = text.into();
        }
    }
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": TRUST, "namespace": "kube-system"}, "data": data
    })
}

/// The storage resource of a role or binding.
fn place(made: &Value) -> &'static str {
    match made["kind"].str() {
        "ClusterRole" => CLUSTER_ROLES,
        "Role" => ROLES,
        "ClusterRoleBinding" => CLUSTER_ROLE_BINDINGS,
        _ => ROLE_BINDINGS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn roles_that_are_bound_exist_and_rules_are_complete() {
        let (roles, bindings) = roles::read();
        let names: BTreeSet<(&str, &str)> = roles
            .iter()
            .map(|role| (role.namespace(), role.name()))
            .collect();
        assert_eq!(names.len(), roles.len(), "no role twice");
        for binding in &bindings {
            let bound = (binding.namespace(), binding["roleRef"]["name"].str());
            assert!(names.contains(&bound), "{}", binding.name());
        }
        for role in &roles {
            let aggregated = !role["aggregationRule"].is_null();
            assert_eq!(
                role["rules"].items().is_empty(),
                aggregated,
                "{}",
                role.name()
            );
            for rule in role["rules"].items() {
                let about = rule["resources"].items().len() + rule["nonResourceURLs"].items().len();
                assert!(
                    about > 0 && !rule["verbs"].items().is_empty(),
                    "{}",
                    role.name()
                );
            }
        }
        let edit = roles.iter().find(|role| role.name() == "edit").unwrap();
        assert_eq!(
            edit.at(&[
                "metadata",
                "labels",
                "rbac.authorization.k8s.io/aggregate-to-admin"
            ])
            .str(),
            "true"
        );
    }
}
