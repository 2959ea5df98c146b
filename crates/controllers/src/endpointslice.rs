//! Publishes the pods behind each Service in slices of at most a hundred.
//!
//! Upstream counterpart: `pkg/controller/endpointslice` and `k8s.io/endpointslice`.

use crate::{
    common::{create, delete},
    names::{ENDPOINT_SLICES, PODS, SERVICES},
    ownership::{owner_reference, push, states},
    pods,
    services::{
        HEADLESS, address, backends, bring_about, families, hostname, is_headless, pod_reference,
        ports, service_selector, wake_by_pod, zone,
    },
};
use env::Time;
use machinery::{Object, Value, json};
use reconcile::{Change, Controller, Plan, Target, View, Watch, itself};
use std::sync::Arc;

const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const MANAGER_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Endpoints in one slice: bounds what one changed pod makes every node read.
const PER_SLICE: usize = 100;

/// The controller of EndpointSlices.
pub struct EndpointSlice;

impl Controller for EndpointSlice {
    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: SERVICES,
                wakes: itself,
            },
            Watch {
                resource: PODS,
                wakes: wake_by_pod,
            },
            Watch {
                resource: ENDPOINT_SLICES,
                wakes: wake_by_slice,
            },
        ]
    }

    fn reconcile(&self, view: &View, key: &Target, _: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(service) = view.get(SERVICES, &key.namespace, &key.name) else {
            return plan;
        };
        let Some(selector) = service_selector(service).filter(|_| !service.is_deleting()) else {
            return plan;
        };
        let pods = backends(view, service, &selector);
        let slices = slices_of(view, service);
        let known = families(service);
        for slice in &slices {
            if !known.contains(&slice.at("addressType").str()) {
                plan.push(delete(ENDPOINT_SLICES, slice));
            }
        }
        for family in known {
            let groups = groups(view, service, &pods, family);
            let slices = slices
                .iter()
                .copied()
                .filter(|slice| slice.at("addressType").str() == family);
            publish(service, family, groups, slices.collect(), &mut plan);
        }
        plan
    }
}

fn wake_by_slice(_: &View, change: &Change, wake: &mut Vec<Target>) {
    for slice in states(change).filter(|slice| slice.label(MANAGER_LABEL) == Some(MANAGER)) {
        if let Some(service) = slice.label(SERVICE_LABEL) {
            push(wake, Target::new(SERVICES, slice.namespace(), service));
        }
    }
}

fn slices_of<'a>(view: &'a View, service: &Object) -> Vec<&'a Arc<Object>> {
    view.list(ENDPOINT_SLICES, Some(service.namespace()))
        .filter(|slice| {
            slice.label(SERVICE_LABEL) == Some(service.name())
                && slice.label(MANAGER_LABEL) == Some(MANAGER)
                && !slice.is_deleting()
        })
        .collect()
}

/// Endpoints with equal ports.
struct Group {
    ports: Vec<Value>,
    endpoints: Vec<Value>,
}

fn groups(view: &View, service: &Object, pods: &[&Arc<Object>], family: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for pod in pods {
        let Some(ip) = address(pod, family) else {
            continue;
        };
        let (ports, endpoint) = (ports(service, pod, true), endpoint(view, service, pod, ip));
        match groups.iter_mut().find(|group| group.ports == ports) {
            Some(group) => group.endpoints.push(endpoint),
            None => groups.push(Group {
                ports,
                endpoints: vec![endpoint],
            }),
        }
    }
    if groups.is_empty() {
        // An empty slice tells consumers that the Service has been seen.
        groups.push(Group {
            ports: Vec::new(),
            endpoints: Vec::new(),
        });
    }
    groups
}

fn endpoint(view: &View, service: &Object, pod: &Object, ip: &str) -> Value {
    let always = service.at("spec.publishNotReadyAddresses").is_true();
    let serving = always || pods::is_ready(pod);
    let mut endpoint = json!({
        "addresses": [ip], "targetRef": pod_reference(pod),
        "conditions": {
            "ready": always || (serving && !pod.is_deleting()),
            "serving": serving, "terminating": pod.is_deleting(),
        },
    });
    let extra = [
        ("nodeName", pod.at("spec.nodeName").as_str()),
        ("zone", zone(view, pod)),
        ("hostname", hostname(pod, service)),
    ];
    for (field, value) in extra {
        if let Some(value) = value {
            endpoint[field] = value.into();
        }
    }
    endpoint
}

fn publish(
    service: &Object,
    family: &str,
    groups: Vec<Group>,
    slices: Vec<&Arc<Object>>,
    plan: &mut Plan,
) {
    let mut used: Vec<&str> = Vec::new();
    for group in groups {
        let shape = Value::Array(group.ports.clone());
        let present: Vec<_> = slices
            .iter()
            .copied()
            .filter(|slice| sorted(&slice.at("ports").to_value()) == sorted(&shape))
            .collect();
        let contents = distribute(group.endpoints, &present);
        for (at, endpoints) in contents.into_iter().enumerate() {
            let wanted = slice(service, family, &group.ports, endpoints);
            let existing = present.get(at);
            if existing.is_some() && wanted["endpoints"].items().is_empty() && at > 0 {
                continue;
            }
            if let Some(existing) = existing {
                used.push(existing.name());
            }
            let fields: &[&[&str]] = &[&["endpoints"], &["metadata", "labels"]];
            match existing {
                None => plan.push(create(ENDPOINT_SLICES, wanted, false)),
                Some(_) => plan.actions.extend(bring_about(
                    ENDPOINT_SLICES,
                    existing.copied(),
                    wanted,
                    fields,
                )),
            }
        }
    }
    for slice in slices.iter().filter(|slice| !used.contains(&slice.name())) {
        plan.push(delete(ENDPOINT_SLICES, slice));
    }
}

/// Ports in one order; an absent list is an empty one.
fn sorted(ports: &Value) -> Vec<Value> {
    let mut ports = ports.items().to_vec();
    for port in &mut ports {
        if port["name"].is_null() {
            port["name"] = "".into();
        }
    }
    ports.sort_by(|a, b| {
        (a["name"].str(), a["port"].as_i64()).cmp(&(b["name"].str(), b["port"].as_i64()))
    });
    ports
}

/// Endpoints stay in the slice they are in; new ones fill free places, then new slices.
fn distribute(mut wanted: Vec<Value>, slices: &[&Arc<Object>]) -> Vec<Vec<Value>> {
    let mut contents: Vec<Vec<Value>> = Vec::new();
    for slice in slices {
        let mut kept = Vec::new();
        for old in slice.at("endpoints").items() {
            let uid = old.at("targetRef.uid").str();
            let found = wanted
                .iter()
                .position(|new| new["targetRef"]["uid"].str() == uid);
            if let Some(at) = found {
                kept.push(wanted.remove(at));
            }
        }
        contents.push(kept);
    }
    for content in &mut contents {
        let free = PER_SLICE.saturating_sub(content.len()).min(wanted.len());
        content.extend(wanted.drain(..free));
    }
    while !wanted.is_empty() {
        let take = PER_SLICE.min(wanted.len());
        contents.push(wanted.drain(..take).collect());
    }
    if contents.is_empty() {
        contents.push(Vec::new());
    }
    contents
}

fn slice(service: &Object, family: &str, ports: &[Value], endpoints: Vec<Value>) -> Value {
    let mut labels = service.metadata().get("labels").to_value();
    labels[SERVICE_LABEL] = service.name().into();
    labels[MANAGER_LABEL] = MANAGER.into();
    if is_headless(service) {
        labels[HEADLESS] = "".into();
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "generateName": format!("{}-", service.name()), "namespace": service.namespace(),
            "labels": labels, "ownerReferences": [owner_reference(service)],
        },
        "addressType": family, "ports": ports.to_vec(), "endpoints": endpoints,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use reconcile::Action;

    fn service() -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "n", "uid": "s"},
            "spec": {"clusterIP": "10.0.0.1", "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}]}})
    }

    fn pod(at: usize, ready: bool) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p{at:03}"), "namespace": "n", "uid": format!("u{at}"), "labels": {"app": "web"}},
            "spec": {"nodeName": "a", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIP": format!("10.1.0.{at}"), "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}})
    }

    fn run(objects: Vec<(&'static str, Value)>) -> Vec<Value> {
        let plan = EndpointSlice.reconcile(
            &View::of(objects, &[]),
            &Target::new(SERVICES, "n", "web"),
            Time(0),
        );
        plan.actions
            .into_iter()
            .map(|action| match action {
                Action::Create { object, .. } | Action::Update { object, .. } => object,
                other => json!(format!("{other:?}")),
            })
            .collect()
    }

    #[test]
    fn named_ports_resolve_and_slices_hold_a_hundred() {
        let mut world = vec![(SERVICES, service())];
        world.extend((1..=120).map(|at| (PODS, pod(at, at != 1))));
        let made = run(world);
        let sizes: Vec<_> = made.iter().map(|s| s["endpoints"].items().len()).collect();
        assert_eq!(sizes, [100, 20]);
        assert_eq!(made[0]["ports"][0]["port"].as_i64(), Some(8080));
        assert_eq!(
            made[0]["endpoints"][0]["conditions"],
            json!({"ready": false, "serving": false, "terminating": false})
        );
    }

    #[test]
    fn a_settled_slice_is_left_alone_and_an_empty_one_kept() {
        let mut made = run(vec![(SERVICES, service()), (PODS, pod(1, true))]);
        let mut slice = made.remove(0);
        slice.metadata_mut().insert("name", "web-x");
        slice.metadata_mut().insert("uid", "x");
        assert!(
            run(vec![
                (SERVICES, service()),
                (PODS, pod(1, true)),
                (ENDPOINT_SLICES, slice.clone())
            ])
            .is_empty()
        );
        let replaced = run(vec![(SERVICES, service()), (ENDPOINT_SLICES, slice)]);
        assert!(
            replaced[0]["endpoints"].items().is_empty() && replaced[0]["ports"].items().is_empty()
        );
        assert_eq!(
            replaced.len(),
            2,
            "the empty one replaces the other: {replaced:?}"
        );
    }
}
