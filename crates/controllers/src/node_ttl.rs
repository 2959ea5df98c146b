//! Annotates nodes with how long their kubelets may keep secrets and configuration they have
//! read: the longer, the more nodes there are.
//!
//! Keeps nothing: a node's own annotation says which size of cluster it was last told of.
//! Upstream counterpart: `pkg/controller/ttl`.

use crate::{common::patch, names::NODES};
use env::Time;
use machinery::json;
use reconcile::{Controller, Plan, Target, View, Watch, itself};

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";
/// Fewest and most nodes, and the seconds between them (upstream's). They overlap, so that one
/// node that comes and goes changes nothing.
const STEPS: [(usize, usize, u32); 6] = [
    (0, 100, 0),
    (90, 500, 15),
    (450, 1_000, 30),
    (900, 2_000, 60),
    (1_800, 10_000, 300),
    (9_000, usize::MAX, 600),
];

/// The controller of nodes' times to live.
pub struct NodeTtl;

impl Controller for NodeTtl {
    fn name(&self) -> &'static str {
        "ttl-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch {
            resource: NODES,
            wakes: itself,
        }]
    }

    fn reconcile(&self, view: &View, key: &Target, _: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(node) = view.get(NODES, "", &key.name) else {
            return plan;
        };
        let annotations = node.metadata().get("annotations");
        let told = annotations.get(ANNOTATION).as_str();
        let nodes = view.snapshot().tables.get(NODES);
        let wanted = seconds(nodes.map_or(0, |nodes| nodes.len()), told).to_string();
        if told != Some(&wanted) {
            let mut change = json!({});
            change.set_at(&["metadata", "annotations", ANNOTATION], wanted);
            plan.push(patch(NODES, node, change));
        }
        plan
    }
}

/// The seconds for so many nodes, where a node was told of others before.
fn seconds(nodes: usize, told: Option<&str>) -> u32 {
    let told = told.and_then(|text| text.parse().ok());
    let fits = |&&(least, most, seconds): &&(usize, usize, u32)| {
        (least..=most).contains(&nodes) && told.is_none_or(|told: u32| told == seconds)
    };
    let step = STEPS.iter().find(fits);
    let step = step.or_else(|| STEPS.iter().find(|(_, most, _)| nodes <= *most));
    step.map_or(0, |(.., seconds)| *seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::Value;
    use reconcile::Action;

    #[test]
    fn steps_overlap() {
        for (nodes, told, wanted) in [
            (1, None, 0),
            (100, None, 0),
            (101, None, 15),
            (101, Some("0"), 15),
            (95, Some("15"), 15),
            (95, Some("0"), 0),
            (89, Some("15"), 0),
            (600, Some("15"), 30),
            (5_000, Some("0"), 300),
            (1_850, Some("300"), 300),
            (1_850, Some("?"), 60),
        ] {
            assert_eq!(seconds(nodes, told), wanted, "{nodes} {told:?}");
        }
    }

    #[test]
    fn a_node_is_told_once() {
        let node = |annotations: Value| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "annotations": annotations}});
        let plan = |annotations| {
            let view = View::of(vec![(NODES, node(annotations))], &[]);
            let key = Target::new(NODES, "", "n");
            NodeTtl.reconcile(&view, &key, Time::default()).actions
        };
        let [Action::Patch { patch, .. }] = &plan(json!({"a": "b"}))[..] else {
            panic!("one patch")
        };
        let wanted = json!({"metadata": {"annotations": {"node.alpha.kubernetes.io/ttl": "0"}}});
        assert_eq!(*patch, wanted);
        assert!(plan(json!({"node.alpha.kubernetes.io/ttl": "0"})).is_empty());
    }
}
