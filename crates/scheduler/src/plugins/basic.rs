//! SchedulingGates, NodeName, NodeUnschedulable and NodePorts: plugins of a few lines.

use crate::{
    framework::{Cycle, Events, Plugin, Prepared, Rejection},
    matching::Taint,
    node::NodeInfo,
    pod::PodInfo,
};

/// Keeps pods with `spec.schedulingGates` from being tried.
pub struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }
    fn events(&self) -> Events {
        Events::NONE
    }
    fn pre_enqueue(&self, pod: &PodInfo) -> Option<String> {
        let gates = &pod.gates;
        (!gates.is_empty()).then(|| format!("waiting for scheduling gates: {}", gates.join(", ")))
    }
}

/// Refuses nodes other than `spec.nodeName`. Pods that name one never reach a cycle of this
/// scheduler, so there is nothing to prepare.
pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }
    fn events(&self) -> Events {
        Events::NODE_ADDED
    }
}

/// Refuses cordoned nodes.
pub struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }
    fn events(&self) -> Events {
        Events::NODE_ADDED.or(Events::NODE_TAINTS)
    }
    fn pre_filter<'a>(&self, cycle: &Cycle<'a>) -> Prepared<'a> {
        let cordon = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            value: "".into(),
            effect: "NoSchedule".into(),
        };
        if cycle.pod.tolerates(&[cordon]) {
            return Ok(None);
        }
        Ok(Some(Box::new(|node: &NodeInfo| match node.unschedulable {
            false => Ok(()),
            true => Err(Rejection::unresolvable(
                "NodeUnschedulable",
                "node(s) were unschedulable",
            )),
        })))
    }
}

/// Refuses nodes where a wanted host port is taken.
pub struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }
    fn events(&self) -> Events {
        Events::NODE_ADDED.or(Events::POD_REMOVED)
    }
    fn pre_filter<'a>(&self, cycle: &Cycle<'a>) -> Prepared<'a> {
        let wanted = &cycle.pod.ports;
        if wanted.is_empty() {
            return Ok(None);
        }
        Ok(Some(Box::new(move |node: &NodeInfo| {
            let mut taken = node.pods.iter().flat_map(|pod| &pod.ports);
            match taken.any(|port| wanted.iter().any(|own| own.conflicts(port))) {
                false => Ok(()),
                true => Err(Rejection::resolvable(
                    "NodePorts",
                    "node(s) didn't have free ports for the requested pod ports",
                )),
            }
        })))
    }
}
