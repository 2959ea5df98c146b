//! NodeAffinity: node selector, required and preferred node affinity.

use crate::{
    framework::{Cycle, Events, NodeScore, Plugin, Prepared, Rejection, default_normalize},
    node::NodeInfo,
    pod::PodInfo,
};

/// The plugin.
pub struct NodeAffinity;

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }
    fn weight(&self) -> i64 {
        2
    }
    fn events(&self) -> Events {
        Events::NODE_ADDED.or(Events::NODE_LABELS)
    }
    fn pre_filter<'a>(&self, cycle: &Cycle<'a>) -> Prepared<'a> {
        let wanted = &cycle.pod.node;
        if wanted.is_empty() {
            return Ok(None);
        }
        Ok(Some(Box::new(move |node: &NodeInfo| {
            match wanted.matches(&node.labels, &node.name) {
                true => Ok(()),
                false => Err(Rejection::unresolvable(
                    "NodeAffinity",
                    "node(s) didn't match Pod's node affinity/selector",
                )),
            }
        })))
    }
    fn pre_score<'a>(
        &self,
        cycle: &Cycle<'a>,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        (!cycle.pod.preferred_nodes.is_empty()).then(|| Box::new(Preferred(cycle.pod)) as _)
    }
}

struct Preferred<'a>(&'a PodInfo);

impl NodeScore for Preferred<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let terms = self.0.preferred_nodes.iter();
        let matched = terms.filter(|(_, term)| term.matches(&node.labels, &node.name));
        matched.map(|(weight, _)| weight).sum()
    }
    fn normalize(&self, _: &[&NodeInfo], scores: &mut [i64]) {
        default_normalize(scores, false);
    }
}
