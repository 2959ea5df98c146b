//! Mirrors Endpoints that people wrote themselves into slices, where consumers look.
//!
//! A Service with a selector has slices of its own; of others, the Endpoints of the same name
//! speak. Upstream counterpart: `pkg/controller/endpointslicemirroring`.

use crate::{
    common::{create, delete},
    names::{ENDPOINT_SLICES, ENDPOINTS, SERVICES},
    ownership::{owner_reference, push, states},
    services::bring_about,
};
use env::Time;
use machinery::{Object, Ref, Value, json};
use reconcile::{Change, Controller, Plan, Target, View, Watch, itself};
use std::{net::IpAddr, sync::Arc};

const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const MANAGER_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP_LABEL: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Endpoints with it are a lock, not addresses.
const LEADER_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that speak of the Endpoints alone.
const OWN_ANNOTATIONS: [&str; 2] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "endpoints.kubernetes.io/last-change-trigger-time",
];
/// Addresses of one subset that are mirrored (`--mirroring-max-endpoints-per-subset`).
const PER_SUBSET: usize = 1000;

/// The controller of mirrored EndpointSlices.
pub struct EndpointSliceMirroring;

impl Controller for EndpointSliceMirroring {
    fn name(&self) -> &'static str {
        "endpointslicemirroring-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: ENDPOINTS,
                wakes: itself,
            },
            Watch {
                resource: SERVICES,
                wakes: |_, change, wake| {
                    for service in states(change) {
                        let name = service.name();
                        push(wake, Target::new(ENDPOINTS, service.namespace(), name));
                    }
                },
            },
            Watch {
                resource: ENDPOINT_SLICES,
                wakes: wake_by_slice,
            },
        ]
    }

    fn reconcile(&self, view: &View, key: &Target, _: Time) -> Plan {
        let mut plan = Plan::nothing();
        let present = slices(view, key);
        let wanted = match view.get(ENDPOINTS, &key.namespace, &key.name) {
            Some(endpoints) if is_mirrored(view, endpoints) => mirror(endpoints),
            _ => Vec::new(),
        };
        publish(wanted, present, &mut plan);
        plan
    }
}

fn wake_by_slice(_: &View, change: &Change, wake: &mut Vec<Target>) {
    for slice in states(change).filter(|slice| slice.label(MANAGER_LABEL) == Some(MANAGER)) {
        if let Some(service) = slice.label(SERVICE_LABEL) {
            push(wake, Target::new(ENDPOINTS, slice.namespace(), service));
        }
    }
}

fn slices<'a>(view: &'a View, key: &Target) -> Vec<&'a Arc<Object>> {
    let ours = |slice: &&Arc<Object>| {
        slice.label(SERVICE_LABEL) == Some(&key.name)
            && slice.label(MANAGER_LABEL) == Some(MANAGER)
            && !slice.is_deleting()
    };
    let all = view.list(ENDPOINT_SLICES, Some(&key.namespace));
    all.filter(ours).collect()
}

fn is_mirrored(view: &View, endpoints: &Object) -> bool {
    let service = view.get(SERVICES, endpoints.namespace(), endpoints.name());
    let unselected = service.is_some_and(|service| service.at("spec.selector").is_null());
    unselected
        && !endpoints.is_deleting()
        && endpoints.label(SKIP_LABEL) != Some("true")
        && endpoints.annotation(LEADER_ANNOTATION).is_none()
}

/// One slice for each subset and family of addresses; subsets of equal ports share one.
fn mirror(endpoints: &Object) -> Vec<Value> {
    let mut slices: Vec<Value> = Vec::new();
    for subset in endpoints.at("subsets").items() {
        let ports: Vec<Value> = subset.get("ports").items().map(port).collect();
        let lists = [("addresses", true), ("notReadyAddresses", false)];
        let addresses = lists.into_iter().flat_map(|(list, ready)| {
            let addresses = subset.get(list).items();
            addresses.map(move |address| (address, ready))
        });
        for (address, ready) in addresses.take(PER_SUBSET) {
            let Ok(ip) = address.get("ip").str().parse::<IpAddr>() else {
                continue;
            };
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let same = |slice: &Value| {
                slice["addressType"].str() == family && slice["ports"].items() == ports
            };
            let at = slices.iter().position(same).unwrap_or_else(|| {
                slices.push(slice(endpoints, family, &ports));
                slices.len() - 1
            });
            let mut list = slices[at]["endpoints"].items().to_vec();
            list.push(endpoint(address, ready));
            slices[at]["endpoints"] = list.into();
        }
    }
    slices
}

fn port(port: Ref<'_>) -> Value {
    let mut port = port.to_value();
    if port["name"].is_null() {
        port["name"] = "".into();
    }
    if port["protocol"].is_null() {
        port["protocol"] = "TCP".into();
    }
    port
}

fn endpoint(address: Ref<'_>, ready: bool) -> Value {
    let mut endpoint =
        json!({"addresses": [address.get("ip").str()], "conditions": {"ready": ready}});
    for field in ["hostname", "nodeName", "targetRef"] {
        if !address.get(field).is_null() {
            endpoint[field] = address.get(field).to_value();
        }
    }
    endpoint
}

fn slice(endpoints: &Object, family: &str, ports: &[Value]) -> Value {
    let mut labels = endpoints.metadata().get("labels").to_value();
    labels[SERVICE_LABEL] = endpoints.name().into();
    labels[MANAGER_LABEL] = MANAGER.into();
    let mut annotations = endpoints.metadata().get("annotations").to_value();
    for own in OWN_ANNOTATIONS {
        annotations.make_object().remove(own);
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "generateName": format!("{}-", endpoints.name()), "namespace": endpoints.namespace(),
            "labels": labels, "annotations": annotations,
            "ownerReferences": [owner_reference(endpoints)],
        },
        "addressType": family, "ports": ports.to_vec(), "endpoints": [],
    })
}

/// A slice is rewritten by the wanted one with its ports, or else by any of its family.
fn publish(wanted: Vec<Value>, mut present: Vec<&Arc<Object>>, plan: &mut Plan) {
    for slice in wanted {
        let fits = |one: &&Arc<Object>| one.at("addressType").str() == slice["addressType"].str();
        let equal = |one: &&Arc<Object>| fits(one) && one.at("ports").to_value() == slice["ports"];
        let at = present.iter().position(equal);
        let Some(at) = at.or_else(|| present.iter().position(fits)) else {
            plan.push(create(ENDPOINT_SLICES, slice, false));
            continue;
        };
        let fields: &[&[&str]] = &[&["endpoints"], &["ports"], &["metadata", "labels"]];
        let known = present.swap_remove(at);
        plan.actions
            .extend(bring_about(ENDPOINT_SLICES, Some(known), slice, fields));
    }
    for slice in present {
        plan.push(delete(ENDPOINT_SLICES, slice));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reconcile::Action;

    fn service(selector: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "e", "namespace": "n", "uid": "s"},
            "spec": {"selector": selector, "ports": [{"port": 80}]}})
    }

    fn endpoints(ips: &[&str]) -> Value {
        let addresses: Vec<Value> = ips.iter().map(|ip| json!({"ip": *ip})).collect();
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "e", "namespace": "n", "uid": "e"},
            "subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]})
    }

    fn run(world: Vec<(&'static str, Value)>) -> Vec<Action> {
        let key = Target::new(ENDPOINTS, "n", "e");
        let view = View::of(world, &[]);
        EndpointSliceMirroring
            .reconcile(&view, &key, Time(0))
            .actions
    }

    fn made(actions: &[Action]) -> Vec<&Value> {
        let object = |action| match action {
            &Action::Create { ref object, .. } | &Action::Update { ref object, .. } => Some(object),
            _ => None,
        };
        actions.iter().filter_map(object).collect()
    }

    #[test]
    fn addresses_are_mirrored_by_family_updated_and_taken_away() {
        let free = (SERVICES, service(Value::Null));
        let actions = run(vec![
            free.clone(),
            (ENDPOINTS, endpoints(&["10.0.0.1", "fd00::1"])),
        ]);
        let kinds: Vec<_> = made(&actions)
            .iter()
            .map(|one| one["addressType"].str())
            .collect();
        assert_eq!(kinds, ["IPv4", "IPv6"]);
        let mut slice = made(&actions)[0].clone();
        slice.metadata_mut().insert("name", "e-1");
        slice.metadata_mut().insert("uid", "1");
        let slice = (ENDPOINT_SLICES, slice);
        let same = vec![
            free.clone(),
            (ENDPOINTS, endpoints(&["10.0.0.1"])),
            slice.clone(),
        ];
        assert!(run(same).is_empty());
        let moved = vec![
            free.clone(),
            (ENDPOINTS, endpoints(&["10.0.0.2"])),
            slice.clone(),
        ];
        let moved = run(moved);
        assert_eq!(
            made(&moved)[0]["endpoints"][0]["addresses"][0].str(),
            "10.0.0.2"
        );
        assert_eq!(made(&moved)[0].name(), "e-1");
        let gone = run(vec![free, slice]);
        assert!(matches!(&gone[..], [Action::Delete { .. }]), "{gone:?}");
    }

    #[test]
    fn only_what_people_wrote_is_mirrored() {
        let selecting = service(json!({"app": "x"}));
        assert!(
            run(vec![
                (SERVICES, selecting),
                (ENDPOINTS, endpoints(&["10.0.0.1"]))
            ])
            .is_empty()
        );
        assert!(run(vec![(ENDPOINTS, endpoints(&["10.0.0.1"]))]).is_empty());
        let mut skipped = endpoints(&["10.0.0.1"]);
        skipped.set_at(&["metadata", "labels", SKIP_LABEL], "true");
        assert!(run(vec![(SERVICES, service(Value::Null)), (ENDPOINTS, skipped)]).is_empty());
    }
}
