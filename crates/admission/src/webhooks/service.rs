//! From a service's port to a ready pod behind it, or to the host that an external name leads to.
//!
//! Upstream counterparts: `apiserver/pkg/util/proxy` (`ResolveEndpoint`, and `ResolveCluster` for
//! external names: there a port needs no entry in the service).

use env::{CalloutTo, PodPort};
use machinery::{Object, Ref, SmolStr};
use registry::{Door, Key, Snapshot};

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServicePort {
    pub namespace: SmolStr,
    pub name: SmolStr,
    pub port: u16,
}

/// A ready pod behind the service's port; which one is left to chance, so that calls spread. An
/// external name is asked at the port that the configuration names.
///
/// # Errors
/// Upstream's sentence about what is missing.
pub(super) fn resolve(
    state: &Snapshot,
    to: &ServicePort,
    door: &Door,
) -> Result<CalloutTo, String> {
    if let Some(host) = external(state, to) {
        return Ok(CalloutTo::Host(host, to.port));
    }
    let mut found = backends(state, to)?;
    let chance = door.world().entropy.next_u64() % found.len() as u64;
    Ok(CalloutTo::Pod(found.swap_remove(chance as usize)))
}

/// The name outside that a service stands for.
fn external(state: &Snapshot, to: &ServicePort) -> Option<String> {
    let service = state.get(kinds::SERVICES, &Key::new(&to.namespace, &to.name))?;
    let leads_out = service.at("spec.type").str() == "ExternalName";
    leads_out.then(|| service.at("spec.externalName").str().to_owned())
}

fn backends(state: &Snapshot, to: &ServicePort) -> Result<Vec<PodPort>, String> {
    let name = to.name.as_str();
    let service = state
        .get(kinds::SERVICES, &Key::new(&to.namespace, name))
        .ok_or_else(|| format!("service {name:?} not found"))?;
    let port = service
        .at("spec.ports")
        .items()
        .find(|one| one.get("port").as_i64() == Some(i64::from(to.port)))
        .ok_or_else(|| format!("no service port {} found for service {name:?}", to.port))?;
    let port = port.get("name").str();
    let found: Vec<PodPort> = state
        .list(kinds::ENDPOINT_SLICES, Some(&to.namespace))
        .filter(|slice| slice.label(SERVICE_NAME) == Some(name))
        .flat_map(|slice| ready(slice, port))
        .collect();
    match found.is_empty() {
        true => Err(format!("no endpoints available for service {name:?}")),
        false => Ok(found),
    }
}

fn ready(slice: &Object, port: &str) -> Vec<PodPort> {
    let number = slice
        .at("ports")
        .items()
        .find(|one| one.get("name").str() == port)
        .and_then(|one| u16::try_from(one.get("port").as_i64()?).ok());
    let Some(port) = number else {
        return Vec::new();
    };
    let usable = |one: &Ref<'_>| {
        one.get("conditions").get("ready").as_bool() != Some(false)
            && one.get("targetRef").get("kind").str() == "Pod"
    };
    let place = |one: Ref<'_>| PodPort {
        node: one.get("nodeName").str().to_owned(),
        namespace: slice.namespace().to_owned(),
        pod: one.get("targetRef").get("name").str().to_owned(),
        address: one
            .get("addresses")
            .items()
            .next()
            .map_or_else(String::new, |address| address.str().to_owned()),
        port,
    };
    slice
        .at("endpoints")
        .items()
        .filter(usable)
        .map(place)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::state;
    use machinery::{Value, json};

    fn cluster(ready: bool) -> Snapshot {
        let service: Value = json!({
            "metadata": {"name": "s", "namespace": "a"},
            "spec": {"ports": [{"name": "web", "port": 443}, {"name": "other", "port": 9}]},
        });
        let endpoint = json!({
            "addresses": ["10.0.0.1"], "conditions": {"ready": ready}, "nodeName": "n",
            "targetRef": {"kind": "Pod", "name": "p", "namespace": "a"},
        });
        let slice = json!({
            "metadata": {"name": "s-1", "namespace": "a", "labels": {(SERVICE_NAME): "s"}},
            "endpoints": [endpoint], "ports": [{"name": "web", "port": 8443}],
        });
        state(&[(kinds::SERVICES, service), (kinds::ENDPOINT_SLICES, slice)])
    }

    #[test]
    fn external_names_lead_out() {
        let spec = json!({"type": "ExternalName", "externalName": "hooks.example.com"});
        let named = json!({"metadata": {"name": "e", "namespace": "a"}, "spec": spec});
        let plain = json!({"metadata": {"name": "s", "namespace": "a"}, "spec": {}});
        let cluster = state(&[(kinds::SERVICES, named), (kinds::SERVICES, plain)]);
        for (name, wanted) in [("e", Some("hooks.example.com")), ("s", None), ("t", None)] {
            let to = ServicePort {
                namespace: "a".into(),
                name: name.into(),
                port: 8443,
            };
            assert_eq!(external(&cluster, &to).as_deref(), wanted, "{name}");
        }
    }

    #[test]
    fn services_lead_to_ready_pods() {
        let ask = |name: &str, port, ready| {
            let to = ServicePort {
                namespace: "a".into(),
                name: name.into(),
                port,
            };
            backends(&cluster(ready), &to)
                .map(|found| format!("{}/{}:{}", found[0].node, found[0].pod, found[0].port))
        };
        assert_eq!(ask("s", 443, true).unwrap(), "n/p:8443");
        for (name, port, ready, why) in [
            ("s", 443, false, "no endpoints available for service \"s\""),
            ("s", 9, true, "no endpoints available for service \"s\""),
            ("s", 80, true, "no service port 80 found for service \"s\""),
            ("t", 443, true, "service \"t\" not found"),
        ] {
            assert_eq!(ask(name, port, ready).unwrap_err(), why);
        }
    }
}
