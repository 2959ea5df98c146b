//! What a Service sends traffic to: its pods, their addresses and its ports on them.
//!
//! Shared by the two controllers that publish it. Upstream counterpart:
//! `k8s.io/endpointslice/utils`.

use crate::{
    common::create,
    names::{NODES, PODS, SERVICES},
    ownership::{push, states},
    pods,
};
use machinery::{LabelSelector, Object, Ref, Value, json};
use reconcile::{Action, Change, Target, View};
use std::sync::Arc;

/// Label on endpoints of headless Services.
pub const HEADLESS: &str = "service.kubernetes.io/headless";

/// The selector of a Service that has endpoints of its own.
pub fn service_selector(service: &Object) -> Option<LabelSelector> {
    let selector = service.at("spec.selector");
    let published =
        selector.entries().next().is_some() && service.at("spec.type").str() != "ExternalName";
    published.then(|| LabelSelector::from_map(selector))
}

/// Whether a Service has no address of its own.
pub fn is_headless(service: &Object) -> bool {
    service.at("spec.clusterIP").str() == "None"
}

/// Pods behind a Service that have an address, in name order.
pub fn backends<'a>(
    view: &'a View,
    service: &Object,
    selector: &LabelSelector,
) -> Vec<&'a Arc<Object>> {
    view.list(PODS, Some(service.namespace()))
        .filter(|pod| selector.matches_object(pod) && !pods::is_finished(pod))
        .filter(|pod| !pod.at("status.podIP").str().is_empty())
        .collect()
}

/// A pod's first address of a family.
pub fn address<'a>(pod: &'a Object, family: &str) -> Option<&'a str> {
    let of_family = |ip: &&str| !ip.is_empty() && ip.contains(':') == (family == "IPv6");
    pod.at("status.podIPs")
        .items()
        .map(|one| one.get("ip").str())
        .chain([pod.at("status.podIP").str()])
        .find(of_family)
}

/// The families a Service is published in, the first one primary.
pub fn families(service: &Object) -> Vec<&str> {
    let named: Vec<&str> = service
        .at("spec.ipFamilies")
        .items()
        .map(|one| one.str())
        .collect();
    if named.is_empty() {
        vec!["IPv4"]
    } else {
        named
    }
}

/// The Service's ports as numbers on this pod; a named port the pod lacks is left out.
pub fn ports(service: &Object, pod: &Object, with_app: bool) -> Vec<Value> {
    service
        .at("spec.ports")
        .items()
        .filter_map(|port| {
            let number = port_number(port, pod)?;
            let mut made = json!({
                "name": port.get("name").str(), "port": number,
                "protocol": port.get("protocol").as_str().unwrap_or("TCP"),
            });
            let app = port.get("appProtocol");
            if with_app && !app.is_null() {
                made["appProtocol"] = app.to_value();
            }
            Some(made)
        })
        .collect()
}

fn port_number(port: Ref<'_>, pod: &Object) -> Option<i64> {
    let wanted = port.get("targetPort");
    let Some(name) = wanted.as_str() else {
        let number = wanted.i64();
        return Some(if number == 0 {
            port.get("port").i64()
        } else {
            number
        });
    };
    let protocol = port.get("protocol").as_str().unwrap_or("TCP");
    ["spec.containers", "spec.initContainers"]
        .iter()
        .flat_map(|list| pod.at(list).items())
        .filter(|c| c.get("restartPolicy").is_null() || c.get("restartPolicy").str() == "Always")
        .flat_map(|container| container.get("ports").items())
        .find(|one| {
            one.get("name").str() == name
                && one.get("protocol").as_str().unwrap_or("TCP") == protocol
        })
        .map(|one| one.get("containerPort").i64())
}

/// A reference to the pod.
pub fn pod_reference(pod: &Object) -> Value {
    json!({"kind": "Pod", "namespace": pod.namespace(), "name": pod.name(), "uid": pod.uid()})
}

/// The zone of the pod's node.
pub fn zone<'a>(view: &'a View, pod: &Object) -> Option<&'a str> {
    view.get(NODES, "", pod.at("spec.nodeName").str())?
        .label("topology.kubernetes.io/zone")
}

/// The host name a headless Service publishes for the pod.
pub fn hostname<'a>(pod: &'a Object, service: &Object) -> Option<&'a str> {
    let here = pod.at("spec.subdomain").str() == service.name();
    pod.at("spec.hostname")
        .as_str()
        .filter(|name| here && !name.is_empty())
}

/// Wakes the Services whose selector a changed pod matches or matched.
pub fn wake_by_pod(view: &View, change: &Change, wake: &mut Vec<Target>) {
    for service in view.list(SERVICES, Some(&change.key.namespace)) {
        let Some(selector) = service_selector(service) else {
            continue;
        };
        if states(change).any(|pod| selector.matches_object(pod)) {
            push(
                wake,
                Target::new(SERVICES, service.namespace(), service.name()),
            );
        }
    }
}

/// Creates `wanted` where nothing is, or replaces what differs in the named fields.
pub fn bring_about(
    resource: &str,
    present: Option<&Arc<Object>>,
    wanted: Value,
    fields: &[&[&str]],
) -> Option<Action> {
    let Some(present) = present else {
        return Some(create(resource, wanted, false));
    };
    let mut changed = present.to_value();
    let before = changed.clone();
    for path in fields {
        let value = wanted.at(path);
        if value.is_null() {
            changed.remove_at(path);
        } else {
            changed.set_at(path, value);
        }
    }
    (changed != before).then(|| Action::Update {
        target: crate::common::target(resource, present),
        subresource: "",
        object: changed,
    })
}
