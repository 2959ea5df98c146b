//! The older form of the same facts: one Endpoints object per Service.
//!
//! Upstream counterpart: `pkg/controller/endpoint`.

use crate::{
    common::delete,
    names::{ENDPOINTS, PODS, SERVICES},
    pods,
    services::{
        HEADLESS, address, backends, bring_about, families, hostname, is_headless, pod_reference,
        ports, service_selector, wake_by_pod,
    },
};
use env::Time;
use machinery::{Object, Value, json};
use reconcile::{Change, Controller, Plan, Target, View, Watch, itself};
use std::sync::Arc;

const MANAGER_LABEL: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
/// Addresses in one object; upstream truncates there too.
const CAPACITY: usize = 1000;

/// The controller of Endpoints.
pub struct Endpoints;

impl Controller for Endpoints {
    fn name(&self) -> &'static str {
        "endpoint-controller"
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
                resource: ENDPOINTS,
                wakes: wake_service,
            },
        ]
    }

    fn reconcile(&self, view: &View, key: &Target, _: Time) -> Plan {
        let mut plan = Plan::nothing();
        let present = view.get(ENDPOINTS, &key.namespace, &key.name);
        let Some(service) = view.get(SERVICES, &key.namespace, &key.name) else {
            let ours = present.filter(|e| e.label(MANAGER_LABEL) == Some(MANAGER));
            plan.actions.extend(ours.map(|e| delete(ENDPOINTS, e)));
            return plan;
        };
        let Some(selector) = service_selector(service).filter(|_| !service.is_deleting()) else {
            return plan;
        };
        let subsets = subsets(service, &backends(view, service, &selector));
        let wanted = endpoints(service, subsets);
        let fields: &[&[&str]] = &[&["subsets"], &["metadata", "labels"]];
        plan.actions
            .extend(bring_about(ENDPOINTS, present, wanted, fields));
        plan
    }
}

fn wake_service(_: &View, change: &Change, wake: &mut Vec<Target>) {
    wake.push(Target::new(
        SERVICES,
        &change.key.namespace,
        &change.key.name,
    ));
}

fn subsets(service: &Object, pods: &[&Arc<Object>]) -> Vec<Value> {
    let family = families(service)[0];
    let always = service.at("spec.publishNotReadyAddresses").is_true();
    let mut subsets: Vec<Value> = Vec::new();
    let standing = pods.iter().filter(|pod| always || !pod.is_deleting());
    for pod in standing.take(CAPACITY) {
        let Some(ip) = address(pod, family) else {
            continue;
        };
        let ports = Value::Array(ports(service, pod, true));
        let at = subsets.iter().position(|subset| subset["ports"] == ports);
        let at = at.unwrap_or_else(|| {
            subsets.push(json!({"ports": ports}));
            subsets.len() - 1
        });
        let list = if always || pods::is_ready(pod) {
            "addresses"
        } else {
            "notReadyAddresses"
        };
        let addresses = subsets[at]
            .make_object()
            .entry_or(list, || Value::Array(Vec::new()));
        if let Some(addresses) = addresses.as_array_mut() {
            addresses.push(endpoint(service, pod, ip));
        }
    }
    subsets
}

fn endpoint(service: &Object, pod: &Object, ip: &str) -> Value {
    let mut address = json!({"ip": ip, "targetRef": pod_reference(pod)});
    if let Some(node) = pod.at("spec.nodeName").as_str() {
        address["nodeName"] = node.into();
    }
    if let Some(name) = hostname(pod, service) {
        address["hostname"] = name.into();
    }
    address
}

fn endpoints(service: &Object, subsets: Vec<Value>) -> Value {
    let mut labels = service.metadata().get("labels").to_value();
    labels[MANAGER_LABEL] = MANAGER.into();
    if is_headless(service) {
        labels[HEADLESS] = "".into();
    }
    let mut made = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": service.name(), "namespace": service.namespace(), "labels": labels},
    });
    if !subsets.is_empty() {
        made["subsets"] = subsets.into();
    }
    made
}
