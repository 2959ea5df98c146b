//! TaintToleration: hard taints refuse, soft ones cost score.

use crate::{
    framework::{Cycle, Events, NodeScore, Plugin, Prepared, Rejection, default_normalize},
    node::NodeInfo,
    pod::PodInfo,
};

/// The plugin.
pub struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }
    fn weight(&self) -> i64 {
        3
    }
    fn events(&self) -> Events {
        Events::NODE_ADDED.or(Events::NODE_TAINTS)
    }
    fn pre_filter<'a>(&self, cycle: &Cycle<'a>) -> Prepared<'a> {
        let pod = cycle.pod;
        Ok(Some(Box::new(move |node: &NodeInfo| {
            match pod.tolerates(&node.taints) {
                true => Ok(()),
                false => Err(Rejection::unresolvable(
                    "TaintToleration",
                    "node(s) had untolerated taint(s)",
                )),
            }
        })))
    }
    fn pre_score<'a>(
        &self,
        cycle: &Cycle<'a>,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        (cycle.cache.soft_taints > 0).then(|| Box::new(SoftTaints(cycle.pod)) as _)
    }
}

struct SoftTaints<'a>(&'a PodInfo);

impl NodeScore for SoftTaints<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let soft = node
            .taints
            .iter()
            .filter(|taint| taint.effect == "PreferNoSchedule");
        let tolerated = |taint: &_| self.0.tolerations.iter().any(|one| one.tolerates(taint));
        soft.filter(|taint| !tolerated(taint)).count() as i64
    }
    fn normalize(&self, _: &[&NodeInfo], scores: &mut [i64]) {
        default_normalize(scores, true);
    }
}
