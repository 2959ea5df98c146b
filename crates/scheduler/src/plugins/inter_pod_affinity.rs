//! InterPodAffinity: required and preferred affinity to pods, in both directions.

use crate::{
    framework::{
        Cycle, Events, MAX_SCORE, NodeFilter, NodeScore, Plugin, Prepared, Rejection, Verdict,
    },
    node::NodeInfo,
    topology::{TermState, Topology},
};

const NAME: &str = "InterPodAffinity";

/// The plugin.
pub struct InterPodAffinity;

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        NAME
    }
    fn weight(&self) -> i64 {
        2
    }
    fn events(&self) -> Events {
        Events::NODE_ADDED
            .or(Events::NODE_LABELS)
            .or(Events::POD_ADDED)
            .or(Events::POD_REMOVED)
    }
    fn pre_filter<'a>(&self, cycle: &Cycle<'a>) -> Prepared<'a> {
        let (topology, pod) = (&cycle.cache.topology, cycle.pod);
        let find = |terms: &'a [crate::matching::Term]| -> Vec<&'a TermState> {
            terms
                .iter()
                .filter_map(|term| topology.find(term))
                .collect()
        };
        let existing_anti: Vec<_> = topology
            .matching(pod, &cycle.cache.namespaces)
            .into_iter()
            .map(|at| &topology.terms[at])
            .filter(|state| state.anti_total > 0)
            .collect();
        let affinity = find(&pod.affinity);
        if existing_anti.is_empty() && affinity.is_empty() && pod.anti_affinity.is_empty() {
            return Ok(None);
        }
        // The first pod of a group that wants to be together must start somewhere.
        let first = affinity.iter().all(|state| state.total == 0)
            && affinity
                .iter()
                .all(|state| state.term.matcher.matches(pod, &cycle.cache.namespaces));
        let anti = find(&pod.anti_affinity);
        Ok(Some(Box::new(Filter {
            topology,
            existing_anti,
            affinity,
            anti,
            first,
        })))
    }
    fn pre_score<'a>(
        &self,
        cycle: &Cycle<'a>,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        let (topology, pod) = (&cycle.cache.topology, cycle.pod);
        let preferred = pod.preferred_pods.iter();
        let own: Vec<_> = preferred
            .filter_map(|(weight, term)| Some((*weight, topology.find(term)?)))
            .filter(|(_, state)| state.total > 0)
            .collect();
        let others: Vec<_> = topology
            .matching(pod, &cycle.cache.namespaces)
            .into_iter()
            .map(|at| &topology.terms[at])
            .filter(|state| state.has_weights())
            .collect();
        let any = !own.is_empty() || !others.is_empty();
        any.then(|| {
            Box::new(Score {
                topology,
                own,
                others,
            }) as _
        })
    }
}

struct Filter<'a> {
    topology: &'a Topology,
    existing_anti: Vec<&'a TermState>,
    affinity: Vec<&'a TermState>,
    anti: Vec<&'a TermState>,
    first: bool,
}

impl NodeFilter for Filter<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        let domain = |state: &TermState| self.topology.key_of(state).domain(node.slot);
        let satisfied = |state: &&TermState| {
            domain(state).is_some_and(|domain| self.first || state.count(domain) > 0)
        };
        if !self.affinity.iter().all(satisfied) {
            return Err(Rejection::unresolvable(
                NAME,
                "node(s) didn't match pod affinity rules",
            ));
        }
        let taken = |state: &&TermState| domain(state).is_some_and(|at| state.count(at) > 0);
        if self.anti.iter().any(taken) {
            let reason = "node(s) didn't match pod anti-affinity rules";
            return Err(Rejection::resolvable(NAME, reason));
        }
        let refused = |state: &&TermState| {
            domain(state).is_some_and(|at| state.anti.get(at).is_some_and(|&count| count > 0))
        };
        if self.existing_anti.iter().any(refused) {
            let reason = "node(s) didn't satisfy existing pods anti-affinity rules";
            return Err(Rejection::resolvable(NAME, reason));
        }
        Ok(())
    }
}

struct Score<'a> {
    topology: &'a Topology,
    own: Vec<(i64, &'a TermState)>,
    others: Vec<&'a TermState>,
}

impl NodeScore for Score<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let domain = |state: &TermState| self.topology.key_of(state).domain(node.slot);
        let own = self
            .own
            .iter()
            .filter_map(|(weight, state)| Some(weight * i64::from(state.count(domain(state)?))));
        let others = self
            .others
            .iter()
            .filter_map(|state| state.weights.get(domain(state)?));
        own.sum::<i64>() + others.sum::<i64>()
    }
    fn normalize(&self, _: &[&NodeInfo], scores: &mut [i64]) {
        let (low, high) = scores
            .iter()
            .fold((i64::MAX, i64::MIN), |(low, high), &score| {
                (low.min(score), high.max(score))
            });
        for score in scores {
            let spread = high - low;
            *score = if spread > 0 {
                (MAX_SCORE as f64 * (*score - low) as f64 / spread as f64) as i64
            } else {
                0
            };
        }
    }
}
