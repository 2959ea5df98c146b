//! One attempt to find a node: PreFilter, Filter over a rotating sample, PreScore, Score.
//!
//! Upstream counterpart: `schedule_one.go`.

use crate::{
    framework::{Cycle, NodeFilter, Plugin, Rejection, Verdict},
    node::NodeInfo,
};
use machinery::SmolStr;
use std::collections::BTreeMap;

/// Clusters up to this size are always examined whole, and at least this many feasible
/// nodes are looked for in larger ones.
const FEW_NODES: usize = 100;
/// At least this share of a large cluster is looked for, percent.
const LOWEST_PERCENTAGE: usize = 5;

/// How many feasible nodes are enough, as upstream's adaptive `percentageOfNodesToScore`.
pub fn enough(nodes: usize) -> usize {
    if nodes < FEW_NODES {
        return nodes;
    }
    let percentage = 50usize.saturating_sub(nodes / 125).max(LOWEST_PERCENTAGE);
    (nodes * percentage / 100).max(FEW_NODES)
}

/// The filters prepared for a pod.
pub type Filters<'a> = Vec<Box<dyn NodeFilter + 'a>>;

/// Prepares all filters, or says why no node can be right.
pub fn prepare<'a>(
    plugins: &[Box<dyn Plugin>],
    cycle: &Cycle<'a>,
) -> Result<Filters<'a>, Rejection> {
    let prepared = plugins
        .iter()
        .filter_map(|plugin| plugin.pre_filter(cycle).transpose());
    prepared.collect()
}

/// Whether all filters accept a node, also with the pods that preempted for a place on it.
pub fn accepts(filters: &Filters<'_>, cycle: &Cycle<'_>, node: &NodeInfo) -> Verdict {
    filters.iter().try_for_each(|filter| filter.filter(node))?;
    let Some(nominated) = cycle.cache.nominated.get(&node.slot) else {
        return Ok(());
    };
    let ahead: Vec<_> = nominated
        .iter()
        .filter(|pod| pod.uid != cycle.pod.uid && pod.priority >= cycle.pod.priority)
        .collect();
    if ahead.is_empty() {
        return Ok(());
    }
    let mut crowded = node.clone();
    ahead.into_iter().for_each(|pod| crowded.add(pod.clone()));
    filters
        .iter()
        .try_for_each(|filter| filter.filter(&crowded))
}

/// Why no node was found.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    /// Nodes there are.
    pub nodes: usize,
    /// A refusal that concerns all nodes.
    pub outright: Option<Rejection>,
    /// Refusals by slot.
    pub rejections: Vec<(usize, Rejection)>,
}

impl Failure {
    /// Upstream's sentence.
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".into();
        }
        let head = format!("0/{} nodes are available:", self.nodes);
        if let Some(outright) = &self.outright {
            return format!("{head} {}.", outright.reasons.join(", "));
        }
        let reasons = self
            .rejections
            .iter()
            .flat_map(|(_, rejection)| &rejection.reasons);
        format!("{head} {}.", histogram(reasons))
    }
}

/// `2 Insufficient cpu, 1 node(s) were unschedulable`, sorted as text.
pub fn histogram<'a>(reasons: impl Iterator<Item = &'a SmolStr>) -> String {
    let mut counts: BTreeMap<&SmolStr, usize> = BTreeMap::new();
    reasons.for_each(|reason| *counts.entry(reason).or_default() += 1);
    let mut parts: Vec<_> = counts
        .into_iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    parts.sort();
    parts.join(", ")
}

/// Where the last search ended, so that the next one goes on from there.
pub type Start = usize;

/// Finds the best node; `start` rotates through the cluster.
pub fn find(
    plugins: &[Box<dyn Plugin>],
    cycle: &Cycle<'_>,
    start: &mut Start,
) -> Result<usize, Failure> {
    let order = cycle.cache.order();
    let mut failure = Failure {
        nodes: order.len(),
        ..Failure::default()
    };
    let filters = match prepare(plugins, cycle) {
        Ok(filters) => filters,
        Err(outright) => {
            failure.outright = Some(outright);
            return Err(failure);
        }
    };
    let nominated = cycle.cache.slot(&cycle.pod.nominated);
    if let Some(slot) = nominated
        && accepts(&filters, cycle, &cycle.cache.nodes[slot]).is_ok()
    {
        return Ok(slot);
    }
    let feasible = feasible(&filters, cycle, start, &mut failure);
    match feasible.as_slice() {
        [] => Err(failure),
        [only] => Ok(only.slot),
        _ => Ok(best(plugins, cycle, &feasible).slot),
    }
}

fn feasible<'a>(
    filters: &Filters<'_>,
    cycle: &Cycle<'a>,
    start: &mut Start,
    failure: &mut Failure,
) -> Vec<&'a NodeInfo> {
    let order = cycle.cache.order();
    let wanted = enough(order.len());
    let mut found = Vec::with_capacity(wanted);
    let (head, tail) = order.split_at((*start).min(order.len()));
    let mut seen = 0;
    // A pod bound to certain nodes by name (a DaemonSet's) needs no search.
    let named: Option<Vec<usize>> = cycle.pod.node.names().map(|names| {
        names
            .iter()
            .filter_map(|name| cycle.cache.slot(name))
            .collect()
    });
    for &slot in tail.iter().chain(head) {
        let node = &cycle.cache.nodes[slot];
        seen += 1;
        if named.as_ref().is_some_and(|named| !named.contains(&slot)) {
            const REASON: &str = "node(s) didn't satisfy plugin(s) [NodeAffinity]";
            failure.rejections.push((
                slot,
                Rejection::unresolvable("NodeAffinity", SmolStr::new_static(REASON)),
            ));
            continue;
        }
        match accepts(filters, cycle, node) {
            Ok(()) => found.push(node),
            Err(rejection) => failure.rejections.push((slot, rejection)),
        }
        if found.len() >= wanted {
            break;
        }
    }
    *start = if order.is_empty() {
        0
    } else {
        (*start + seen) % order.len()
    };
    found
}

/// Scores by plugin name (weighted) of each node, and their sum.
pub fn scores(
    plugins: &[Box<dyn Plugin>],
    cycle: &Cycle<'_>,
    feasible: &[&NodeInfo],
    mut report: impl FnMut(&'static str, &[i64]),
) -> Vec<i64> {
    let mut totals = vec![0; feasible.len()];
    let mut scores = Vec::with_capacity(feasible.len());
    for plugin in plugins {
        let Some(prepared) = plugin.pre_score(cycle, feasible) else {
            continue;
        };
        scores.clear();
        scores.extend(feasible.iter().map(|node| prepared.score(node)));
        prepared.normalize(feasible, &mut scores);
        for (total, score) in totals.iter_mut().zip(&mut scores) {
            *score *= plugin.weight();
            *total += *score;
        }
        report(plugin.name(), &scores);
    }
    totals
}

fn best<'a>(
    plugins: &[Box<dyn Plugin>],
    cycle: &Cycle<'_>,
    feasible: &[&'a NodeInfo],
) -> &'a NodeInfo {
    let totals = scores(plugins, cycle, feasible, |_, _| ());
    let highest = totals.iter().copied().max().unwrap_or(0);
    let ties = || {
        totals
            .iter()
            .enumerate()
            .filter(|(_, total)| **total == highest)
    };
    let turn = hash(&cycle.pod.uid) as usize % ties().count();
    let (at, _) = ties()
        .nth(turn)
        .expect("the turn is below the number of ties");
    feasible[at]
}

/// Ties are broken by the pod's UID: spread out, and the same in every run.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    }) >> 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_as_upstream() {
        for (nodes, wanted) in [
            (3, 3),
            (99, 99),
            (100, 100),
            (1000, 420),
            (5000, 500),
            (15000, 750),
        ] {
            assert_eq!(enough(nodes), wanted, "{nodes}");
        }
    }
}
