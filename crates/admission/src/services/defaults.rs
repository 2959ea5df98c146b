//! What a service keeps from before, what it loses with a change of type, and its IP families.
//!
//! Upstream counterparts: `patchAllocatedValues`, `dropTypeDependentFields` and
//! `normalizeClusterIPs` in `pkg/registry/core/service`, `initIPFamilyFields` in its allocator.

use super::wanted::{needs_address, needs_health_port, needs_ports};
use machinery::{FieldError, Value};

/// Carries allocated values over from `old` and drops those the new type does not have.
pub(super) fn carry_over(new: &mut Value, old: Option<&Value>) {
    if let Some(old) = old {
        drop_dependent(new, old);
        match_lists(new, old);
        keep_allocated(new, old);
    }
    let single = new["spec"]["clusterIP"].clone();
    if !single.str().is_empty() && new["spec"]["clusterIPs"].items().is_empty() {
        new.set_at(&["spec", "clusterIPs"], vec![single]);
    }
}

fn keep_allocated(new: &mut Value, old: &Value) {
    if needs_address(new) && needs_address(old) {
        for field in ["clusterIP", "clusterIPs"] {
            let given = &new["spec"][field];
            if given.str().is_empty() && given.items().is_empty() && !old["spec"][field].is_null() {
                new.set_at(&["spec", field], &old["spec"][field]);
            }
        }
    }
    if needs_ports(new) && needs_ports(old) {
        keep_ports(new, old);
    }
    let port = &old["spec"]["healthCheckNodePort"];
    if needs_health_port(new)
        && needs_health_port(old)
        && is_zero(&new["spec"]["healthCheckNodePort"])
        && !is_zero(port)
    {
        new.set_at(&["spec", "healthCheckNodePort"], port);
    }
}

fn is_zero(value: &Value) -> bool {
    value.as_i64().unwrap_or(0) == 0
}

/// Ports of the same protocol and number keep their node port, unless another port took it.
fn keep_ports(new: &mut Value, old: &Value) {
    let protocol = |port: &Value| port["protocol"].as_str().unwrap_or("TCP").to_owned();
    let used: Vec<(String, i64)> = new["spec"]["ports"]
        .items()
        .iter()
        .filter_map(|port| {
            Some((
                protocol(port),
                port["nodePort"].as_i64().filter(|number| *number != 0)?,
            ))
        })
        .collect();
    let ports = new.at_mut(&["spec", "ports"]).and_then(Value::as_array_mut);
    for port in ports
        .into_iter()
        .flatten()
        .filter(|port| is_zero(&port["nodePort"]))
    {
        let same =
            |before: &&Value| before["port"] == port["port"] && protocol(before) == protocol(port);
        let before = old["spec"]["ports"].items().iter().find(same);
        let number = before
            .and_then(|before| before["nodePort"].as_i64())
            .filter(|number| *number != 0);
        if let Some(number) = number.filter(|number| !used.contains(&(protocol(port), *number))) {
            port.make_object().insert("nodePort", number);
        }
    }
}

/// A client that changes one of `clusterIP` and `clusterIPs` means both.
fn match_lists(new: &mut Value, old: &Value) {
    let (single, list) = (&new["spec"]["clusterIP"], &new["spec"]["clusterIPs"]);
    let (old_single, old_list) = (&old["spec"]["clusterIP"], &old["spec"]["clusterIPs"]);
    if single == old_single || list != old_list {
        return;
    }
    match single.str() {
        "" => drop(new.remove_at(&["spec", "clusterIPs"])),
        text => {
            let text = text.to_owned();
            new.set_at(&["spec", "clusterIPs"], vec![text]);
        }
    }
}

/// What belongs to a type goes with the type, unless the client changed it in the same write.
fn drop_dependent(new: &mut Value, old: &Value) {
    let spec = |value: &Value, field: &str| value["spec"][field].clone();
    let same = |new: &Value, field: &str| spec(new, field) == spec(old, field);
    let drop_all = |new: &mut Value, fields: &[&str]| {
        for field in fields {
            if same(new, field) {
                new.remove_at(&["spec", field]);
            }
        }
    };
    if needs_address(old) && !needs_address(new) {
        drop_all(
            new,
            &[
                "clusterIP",
                "clusterIPs",
                "ipFamilies",
                "ipFamilyPolicy",
                "internalTrafficPolicy",
            ],
        );
    }
    if needs_ports(old) && !needs_ports(new) && same_ports(new, old) {
        let ports = new.at_mut(&["spec", "ports"]).and_then(Value::as_array_mut);
        ports
            .into_iter()
            .flatten()
            .for_each(|port| drop(port.make_object().remove("nodePort")));
    }
    if needs_health_port(old) && !needs_health_port(new) {
        drop_all(new, &["healthCheckNodePort"]);
    }
    let balanced = |value: &Value| value["spec"]["type"].str() == "LoadBalancer";
    if balanced(old) && !balanced(new) {
        drop_all(new, &["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    let external =
        |value: &Value| matches!(value["spec"]["type"].str(), "LoadBalancer" | "NodePort");
    if external(old) && !external(new) {
        drop_all(new, &["externalTrafficPolicy"]);
    }
}

fn same_ports(new: &Value, old: &Value) -> bool {
    let numbers = |value: &Value| -> Vec<i64> {
        value["spec"]["ports"]
            .items()
            .iter()
            .map(|port| port["nodePort"].as_i64().unwrap_or(0))
            .collect()
    };
    let (new, old) = (numbers(new), numbers(old));
    new.len() != old.len() || new.iter().zip(&old).all(|(new, old)| new == old)
}

/// Fills in IP families of a cluster that has IPv4 services only.
pub(super) fn families(service: &mut Value, old: Option<&Value>) -> Result<(), FieldError> {
    if !needs_address(service) {
        return Ok(());
    }
    let before = old.filter(|old| needs_address(old)).map(|old| &old["spec"]);
    for field in ["ipFamilies", "ipFamilyPolicy"] {
        let kept = before
            .map(|before| before[field].clone())
            .unwrap_or_default();
        if service["spec"][field].is_null() && !kept.is_null() {
            service.set_at(&["spec", field], kept);
        }
    }
    let spec = &service["spec"];
    let free = spec["clusterIP"].str() == "None" && spec["selector"].entries().next().is_none();
    if free {
        headless(service)
    } else {
        single(service)
    }
}

/// Without addresses and selector the families are the endpoints' owner's business.
fn headless(service: &mut Value) -> Result<(), FieldError> {
    let spec = service.object_at(&["spec"]);
    let policy = spec
        .entry_or("ipFamilyPolicy", || "RequireDualStack".into())
        .str()
        .to_owned();
    let families = spec.entry_or("ipFamilies", || Value::Array(vec!["IPv4".into()]));
    let list = families
        .as_array_mut()
        .filter(|list| policy != "SingleStack" && list.len() == 1);
    if let Some(list) = list {
        let other = if list[0].str() == "IPv4" {
            "IPv6"
        } else {
            "IPv4"
        };
        list.push(other.into());
    }
    Ok(())
}

fn single(service: &mut Value) -> Result<(), FieldError> {
    let spec = service.object_at(&["spec"]);
    let policy = spec.entry_or("ipFamilyPolicy", || "SingleStack".into());
    if policy.str() == "RequireDualStack" {
        let policy = policy.clone();
        return Err(FieldError::invalid(
            "spec.ipFamilyPolicy",
            policy,
            "this cluster is not configured for dual-stack services",
        ));
    }
    let families = spec.entry_or("ipFamilies", || Value::Array(vec!["IPv4".into()]));
    match families
        .items()
        .iter()
        .position(|family| family.str() == "IPv6")
    {
        Some(at) => Err(FieldError::invalid(
            format!("spec.ipFamilies[{at}]"),
            "IPv6",
            "not configured on this cluster",
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn updates_keep_what_was_given_and_drop_what_the_type_lacks() {
        let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.100.0.9", "clusterIPs": ["10.100.0.9"],
            "externalTrafficPolicy": "Cluster", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}]}});
        for (new, address, port) in [
            (
                json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}),
                json!("10.100.0.9"),
                json!(30001),
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 81, "protocol": "TCP"}]}),
                json!("10.100.0.9"),
                Value::Null,
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30002}]}),
                json!("10.100.0.9"),
                json!(30002),
            ),
            (
                json!({"type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}]}),
                json!("10.100.0.9"),
                Value::Null,
            ),
            (
                json!({"type": "ExternalName", "externalName": "x", "clusterIP": "10.100.0.9", "clusterIPs": ["10.100.0.9"]}),
                Value::Null,
                Value::Null,
            ),
        ] {
            let mut new = json!({"spec": new});
            carry_over(&mut new, Some(&old));
            assert_eq!(new["spec"]["clusterIP"], address);
            assert_eq!(new["spec"]["ports"][0]["nodePort"], port);
        }
    }

    #[test]
    fn one_family() {
        for (spec, wanted) in [
            (
                json!({"type": "ClusterIP"}),
                Ok(("SingleStack", json!(["IPv4"]))),
            ),
            (
                json!({"type": "ClusterIP", "ipFamilyPolicy": "PreferDualStack"}),
                Ok(("PreferDualStack", json!(["IPv4"]))),
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "None", "selector": {"a": "b"}}),
                Ok(("SingleStack", json!(["IPv4"]))),
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "None"}),
                Ok(("RequireDualStack", json!(["IPv4", "IPv6"]))),
            ),
            (json!({"type": "ExternalName"}), Ok(("", Value::Null))),
            (
                json!({"type": "ClusterIP", "ipFamilyPolicy": "RequireDualStack"}),
                Err("spec.ipFamilyPolicy"),
            ),
            (
                json!({"type": "ClusterIP", "ipFamilies": ["IPv6"]}),
                Err("spec.ipFamilies[0]"),
            ),
        ] {
            let mut service = json!({"spec": spec});
            let found = families(&mut service, None);
            let spec = &service["spec"];
            let found = found
                .as_ref()
                .map(|()| (spec["ipFamilyPolicy"].str(), spec["ipFamilies"].clone()));
            assert_eq!(found.map_err(|error| error.field.as_str()), wanted);
        }
    }
}
