//! NodeResourcesFit (filter, LeastAllocated score) and NodeResourcesBalancedAllocation.

use crate::{
    framework::{Cycle, Events, MAX_SCORE, NodeScore, Plugin, Prepared, Rejection, Verdict},
    node::NodeInfo,
    pod::PodInfo,
};
use machinery::{SmolStr, format_smolstr};

/// Refuses nodes without room; prefers empty ones.
pub struct Fit;

impl Plugin for Fit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }
    fn events(&self) -> Events {
        Events::NODE_ADDED
            .or(Events::NODE_RESOURCES)
            .or(Events::POD_REMOVED)
    }
    fn pre_filter<'a>(&self, cycle: &Cycle<'a>) -> Prepared<'a> {
        let pod = cycle.pod;
        Ok(Some(Box::new(move |node: &NodeInfo| fit(pod, node))))
    }
    fn pre_score<'a>(
        &self,
        cycle: &Cycle<'a>,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        Some(Box::new(LeastAllocated(cycle.pod)))
    }
}

/// Whether the node has room for the pod; all shortages otherwise.
pub fn fit(pod: &PodInfo, node: &NodeInfo) -> Verdict {
    let (asked, have, used) = (&pod.requests, &node.allocatable, &node.requested);
    let mut reasons: Vec<SmolStr> = Vec::new();
    let mut resolvable = true;
    if node.pods.len() as i64 + 1 > have.pods {
        reasons.push(SmolStr::new_static("Too many pods"));
    }
    let mut check = |name: &str, asked: i64, have: i64, used: i64| {
        if asked > 0 && asked > have - used {
            resolvable &= asked <= have;
            reasons.push(format_smolstr!("Insufficient {name}"));
        }
    };
    check("cpu", asked.cpu, have.cpu, used.cpu);
    check("memory", asked.memory, have.memory, used.memory);
    check(
        "ephemeral-storage",
        asked.ephemeral,
        have.ephemeral,
        used.ephemeral,
    );
    for (name, amount) in &asked.extended {
        check(name, *amount, have.extended(name), used.extended(name));
    }
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Rejection {
        plugin: "NodeResourcesFit",
        resolvable,
        reasons,
    })
}

struct LeastAllocated<'a>(&'a PodInfo);

impl NodeScore for LeastAllocated<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let asked = &self.0.scored_requests;
        let resources = [
            (node.allocatable.cpu, node.scored.0 + asked.cpu),
            (node.allocatable.memory, node.scored.1 + asked.memory),
        ];
        let (mut sum, mut weights) = (0, 0);
        for (have, used) in resources {
            if have > 0 {
                sum += (have - used).max(0) * MAX_SCORE / have;
                weights += 1;
            }
        }
        if weights == 0 { 0 } else { sum / weights }
    }
}

/// Prefers nodes whose resources are used evenly.
pub struct BalancedAllocation;

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }
    fn events(&self) -> Events {
        Events::NONE
    }
    fn pre_score<'a>(
        &self,
        cycle: &Cycle<'a>,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        let asked = &cycle.pod.requests;
        (asked.cpu > 0 || asked.memory > 0).then(|| Box::new(Balance(cycle.pod)) as _)
    }
}

struct Balance<'a>(&'a PodInfo);

impl NodeScore for Balance<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let asked = &self.0.requests;
        let share = |used: i64, have: i64| (have > 0).then(|| (used as f64 / have as f64).min(1.0));
        let cpu = share(node.requested.cpu + asked.cpu, node.allocatable.cpu);
        let memory = share(
            node.requested.memory + asked.memory,
            node.allocatable.memory,
        );
        // The standard deviation of two numbers is half their distance.
        let deviation = match (cpu, memory) {
            (Some(cpu), Some(memory)) => (cpu - memory).abs() / 2.0,
            _ => 0.0,
        };
        ((1.0 - deviation) * MAX_SCORE as f64) as i64
    }
}
