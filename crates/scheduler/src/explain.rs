//! Why a pod is, or is not, scheduled: every plugin's verdict on every node.
//!
//! No upstream counterpart: its scheduler only counts reasons.

use crate::{
    cycle,
    framework::{Cycle, Rejection},
    node::NodeInfo,
    pod::PodInfo,
    scheduler::Scheduler,
};
use machinery::{Object, SmolStr};
use reconcile::{Brain, Change, Key, View};

/// What the plugins say about one node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeVerdict {
    /// Node.
    pub node: SmolStr,
    /// All refusals; none means the pod fits.
    pub rejections: Vec<Rejection>,
    /// Weighted scores by plugin, for nodes that fit.
    pub scores: Vec<(&'static str, i64)>,
    /// Their sum.
    pub total: i64,
}

/// What the plugins say about a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// Refusals that concern every node (and gates).
    pub outright: Vec<Rejection>,
    /// Nodes, best first; those that do not fit come last.
    pub nodes: Vec<NodeVerdict>,
}

/// Explains from a view alone: builds the cache anew, so it also answers where no scheduler runs.
pub fn explain(view: &View, pod: &Object) -> Explanation {
    let mut scheduler = Scheduler::new("");
    for resource in ["namespaces", "nodes", "services", "pods"] {
        for object in view.list(resource, None) {
            scheduler.observe(
                view,
                &Change {
                    revision: object.revision(),
                    resource: resource.into(),
                    key: Key::new(object.namespace(), object.name()),
                    old: None,
                    new: Some(object.clone()),
                },
            );
        }
    }
    scheduler.explain(view, pod)
}

impl Scheduler {
    /// Asks every plugin about every node; changes nothing.
    pub fn explain(&self, view: &View, pod: &Object) -> Explanation {
        let pod = PodInfo::read(pod);
        let mut cache = self.cache.clone();
        cache.remove(&pod.uid);
        let default_spread = self.default_spread(view, &pod);
        cache.prepare(&pod, &default_spread);
        let cycle = Cycle {
            cache: &cache,
            view,
            pod: &pod,
            default_spread: &default_spread,
        };
        let mut explanation = Explanation {
            outright: self.gates(&pod),
            nodes: Vec::new(),
        };
        let mut filters = Vec::new();
        for plugin in self.plugins.iter() {
            match plugin.pre_filter(&cycle) {
                Ok(filter) => filters.extend(filter),
                Err(rejection) => explanation.outright.push(rejection),
            }
        }
        let mut feasible: Vec<&NodeInfo> = Vec::new();
        for node in cache.order().iter().map(|&slot| &cache.nodes[slot]) {
            let rejections: Vec<_> = filters
                .iter()
                .filter_map(|filter| filter.filter(node).err())
                .collect();
            if rejections.is_empty() {
                feasible.push(node);
            }
            let (node, scores) = (node.name.clone(), Vec::new());
            explanation.nodes.push(NodeVerdict {
                node,
                rejections,
                scores,
                total: 0,
            });
        }
        let mut fitting: Vec<_> = explanation
            .nodes
            .iter_mut()
            .filter(|node| node.rejections.is_empty())
            .collect();
        let totals = cycle::scores(&self.plugins, &cycle, &feasible, |plugin, scores| {
            for (verdict, score) in fitting.iter_mut().zip(scores) {
                verdict.scores.push((plugin, *score));
            }
        });
        fitting
            .iter_mut()
            .zip(totals)
            .for_each(|(verdict, total)| verdict.total = total);
        explanation
            .nodes
            .sort_by_key(|node| (!node.rejections.is_empty(), -node.total, node.node.clone()));
        explanation
    }

    fn gates(&self, pod: &PodInfo) -> Vec<Rejection> {
        let gate = |plugin: &dyn crate::framework::Plugin| {
            Some(Rejection::unresolvable(
                plugin.name(),
                plugin.pre_enqueue(pod)?,
            ))
        };
        self.plugins
            .iter()
            .filter_map(|plugin| gate(plugin.as_ref()))
            .collect()
    }
}
