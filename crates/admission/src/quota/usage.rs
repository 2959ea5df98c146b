//! What one object uses, under the names that quotas limit.
//!
//! Pure; the quota controller counts with it too. Upstream counterpart: `pkg/quota/v1/evaluator/core`.

use crate::{
    common::quantity,
    pod_resources::{Amounts, amounts, of_pod},
};
use kinds::{PERSISTENT_VOLUME_CLAIMS, PODS, SERVICES};
use machinery::{Format, Object, Quantity, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Core resources that may also be counted by their plain name.
const PLAIN: [&str; 8] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "serviceaccounts",
];
/// Requests that may be named without `requests.`.
const SHORT: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// What a quota on it makes containers specify.
const DEMANDED: [&str; 6] = [
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
];

/// What an object stored as `storage` uses.
pub fn of(storage: &str, object: &Value) -> BTreeMap<String, Quantity> {
    let mut used = match storage {
        PODS => pod(object),
        SERVICES => service(object),
        PERSISTENT_VOLUME_CLAIMS => claim(object),
        _ => Amounts::new(),
    };
    if storage != PODS || is_running(object) {
        count(&mut used, storage, 1);
    }
    used.insert(format!("count/{storage}"), ONE);
    if !PLAIN.contains(&storage) {
        used.remove(storage);
    }
    used
}

/// Whether two states of an object surely use the same.
pub(super) fn is_alike(old: &Object, new: &Object) -> bool {
    let alike = |path: &str| old.at(path) == new.at(path);
    alike("spec") && alike("status.phase")
}

const ONE: Quantity = Quantity::from_units(1, Format::DecimalSi);

fn count(used: &mut Amounts, name: &str, number: i64) {
    used.insert(name.into(), Quantity::from_units(number, Format::DecimalSi));
}

fn is_running(pod: &Value) -> bool {
    !matches!(pod["status"]["phase"].str(), "Succeeded" | "Failed")
}

fn pod(pod: &Value) -> Amounts {
    if is_running(pod) {
        of_resources(of_pod(pod, "requests"), of_pod(pod, "limits"))
    } else {
        Amounts::new()
    }
}

fn of_resources(requests: Amounts, limits: Amounts) -> Amounts {
    let mut used = Amounts::new();
    for (name, amount) in requests {
        if SHORT.contains(&name.as_str()) || name.starts_with("hugepages-") {
            used.insert(name.clone(), amount);
        }
        used.insert(format!("requests.{name}"), amount);
    }
    used.extend(
        limits
            .into_iter()
            .map(|(name, amount)| (format!("limits.{name}"), amount)),
    );
    used
}

fn service(service: &Value) -> Amounts {
    let spec = &service["spec"];
    let ports = spec["ports"].items().len();
    let balanced = spec["type"].str() == "LoadBalancer";
    let node_ports = match spec["type"].str() {
        "NodePort" => ports,
        "LoadBalancer" if spec["allocateLoadBalancerNodePorts"].as_bool() != Some(false) => ports,
        "LoadBalancer" => spec["ports"]
            .items()
            .iter()
            .filter(|port| !port["nodePort"].is_null())
            .count(),
        _ => 0,
    };
    let mut used = Amounts::new();
    count(&mut used, "services.nodeports", node_ports as i64);
    count(&mut used, "services.loadbalancers", i64::from(balanced));
    used
}

fn claim(claim: &Value) -> Amounts {
    let spec = &claim["spec"];
    let mut used = Amounts::new();
    let class = spec["storageClassName"].str();
    let of_class = |what: &str| format!("{class}.storageclass.storage.k8s.io/{what}");
    if let Some(size) = quantity(&spec["resources"]["requests"]["storage"]) {
        used.insert("requests.storage".into(), size);
        if !class.is_empty() {
            used.insert(of_class("requests.storage"), size);
        }
    }
    if !class.is_empty() {
        used.insert(of_class("persistentvolumeclaims"), ONE);
    }
    used
}

/// `requests.cpu for: a,b` for everything that `limited` demands and containers leave out.
pub(super) fn unspecified<'a>(
    pod: &Value,
    limited: impl Iterator<Item = &'a String>,
) -> Vec<String> {
    let limited: BTreeSet<&String> = limited
        .filter(|name| DEMANDED.contains(&name.as_str()))
        .collect();
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let whole = of_resources(
        amounts(&pod["spec"]["resources"]["requests"]),
        amounts(&pod["spec"]["resources"]["limits"]),
    );
    for container in ["containers", "initContainers"]
        .iter()
        .flat_map(|list| pod["spec"][*list].items())
    {
        let resources = &container["resources"];
        let own = of_resources(
            amounts(&resources["requests"]),
            amounts(&resources["limits"]),
        );
        for name in &limited {
            if !own.contains_key(*name) && !whole.contains_key(*name) {
                missing
                    .entry(name.as_str())
                    .or_default()
                    .insert(container["name"].str());
            }
        }
    }
    let line = |(name, containers): (&str, BTreeSet<&str>)| {
        format!(
            "{name} for: {}",
            containers.into_iter().collect::<Vec<_>>().join(",")
        )
    };
    missing.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn usage_by_kind() {
        let shown = |storage: &str, object: Value| -> String {
            let parts: Vec<_> = of(storage, &object)
                .into_iter()
                .map(|(name, amount)| format!("{name}={amount}"))
                .collect();
            parts.join(" ")
        };
        for (storage, object, wanted) in [
            ("configmaps", json!({}), "configmaps=1 count/configmaps=1"),
            ("deployments.apps", json!({}), "count/deployments.apps=1"),
            (
                PODS,
                json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}}]}}),
                "count/pods=1 cpu=1 limits.cpu=2 pods=1 requests.cpu=1",
            ),
            (
                PODS,
                json!({"status": {"phase": "Succeeded"}, "spec": {"containers": [{"resources": {"requests": {"cpu": "1"}}}]}}),
                "count/pods=1",
            ),
            (
                SERVICES,
                json!({"spec": {"type": "LoadBalancer", "ports": [{}, {}]}}),
                "count/services=1 services=1 services.loadbalancers=1 services.nodeports=2",
            ),
            (
                PERSISTENT_VOLUME_CLAIMS,
                json!({"spec": {"storageClassName": "gp3", "resources": {"requests": {"storage": "1Gi"}}}}),
                "count/persistentvolumeclaims=1 gp3.storageclass.storage.k8s.io/persistentvolumeclaims=1 gp3.storageclass.storage.k8s.io/requests.storage=1Gi persistentvolumeclaims=1 requests.storage=1Gi",
            ),
        ] {
            assert_eq!(shown(storage, object), wanted);
        }
    }

    #[test]
    fn limited_resources_must_be_said() {
        let limited = [
            "limits.cpu".to_owned(),
            "pods".to_owned(),
            "requests.cpu".to_owned(),
        ];
        let pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "resources": {"requests": {"cpu": "1"}}}]}});
        assert_eq!(
            unspecified(&pod, limited.iter()),
            ["limits.cpu for: a,b", "requests.cpu for: a"]
        );
    }
}
