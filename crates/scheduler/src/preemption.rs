//! DefaultPreemption: which pods of lower priority would have to go, and from which node.
//!
//! Dry runs take the victims off the cache and put them back, so that every filter, the
//! topological ones too, answers exactly. Upstream counterpart:
//! `plugins/defaultpreemption` and `framework/preemption`.

use crate::{
    cache::Cache,
    cycle::{Failure, accepts, histogram, prepare},
    framework::{Cycle, Plugin},
    pod::{PodInfo, Spread},
};
use machinery::{LabelSelector, SmolStr};
use reconcile::View;
use std::{cmp::Reverse, sync::Arc};

/// Candidates looked at in large clusters: this many percent of the nodes,
const CANDIDATE_PERCENTAGE: usize = 10;
/// but at least this many.
const FEWEST_CANDIDATES: usize = 100;

const DISRUPTION_BUDGETS: &str = "poddisruptionbudgets.policy";

/// A way to make room.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Node.
    pub slot: usize,
    /// Pods to evict, most important first.
    pub victims: Vec<Arc<PodInfo>>,
    violations: usize,
}

/// What a search needs besides the cache it changes and restores.
pub struct Search<'a> {
    pub plugins: &'a [Box<dyn Plugin>],
    pub view: &'a View,
    pub pod: &'a PodInfo,
    pub default_spread: &'a [Spread],
}

impl Search<'_> {
    /// The best candidate, or upstream's sentence on why there is none.
    pub fn run(&self, cache: &mut Cache, failure: &Failure) -> Result<Candidate, String> {
        if self.pod.never_preempts {
            return Err(none("not eligible due to preemptionPolicy=Never."));
        }
        if self.waits_for_victims(cache) {
            return Err(none(
                "not eligible due to a terminating pod on the nominated node.",
            ));
        }
        let helpful: Vec<usize> = failure
            .rejections
            .iter()
            .filter(|(_, rejection)| rejection.resolvable)
            .map(|(slot, _)| *slot)
            .collect();
        let limit = (failure.nodes * CANDIDATE_PERCENTAGE / 100).max(FEWEST_CANDIDATES);
        let mut candidates: Vec<Candidate> = Vec::new();
        for &slot in &helpful {
            candidates.extend(self.candidate(cache, slot));
            if candidates.len() >= limit {
                break;
            }
        }
        let best = candidates.into_iter().min_by_key(rank);
        best.ok_or_else(|| self.fruitless(failure, helpful.len()))
    }

    fn fruitless(&self, failure: &Failure, helpful: usize) -> String {
        let no_victims = SmolStr::new_static("No preemption victims found for incoming pod");
        let not_helpful = SmolStr::new_static("Preemption is not helpful for scheduling");
        let reasons = std::iter::repeat_n(&no_victims, helpful)
            .chain(std::iter::repeat_n(&not_helpful, failure.nodes - helpful));
        none(&format!(
            "0/{} nodes are available: {}.",
            failure.nodes,
            histogram(reasons)
        ))
    }

    /// Victims of an earlier round are still leaving.
    fn waits_for_victims(&self, cache: &Cache) -> bool {
        let leaving = |pod: &Arc<PodInfo>| pod.terminating && pod.priority < self.pod.priority;
        cache
            .slot(&self.pod.nominated)
            .is_some_and(|slot| cache.nodes[slot].pods.iter().any(leaving))
    }

    fn fits(&self, cache: &Cache, slot: usize) -> bool {
        let cycle = Cycle {
            cache,
            view: self.view,
            pod: self.pod,
            default_spread: self.default_spread,
        };
        prepare(self.plugins, &cycle)
            .is_ok_and(|filters| accepts(&filters, &cycle, &cache.nodes[slot]).is_ok())
    }

    fn candidate(&self, cache: &mut Cache, slot: usize) -> Option<Candidate> {
        let below = |pod: &&Arc<PodInfo>| pod.priority < self.pod.priority;
        let mut lower: Vec<_> = cache.nodes[slot]
            .pods
            .iter()
            .filter(below)
            .cloned()
            .collect();
        if lower.is_empty() {
            return None;
        }
        lower.sort_by_key(|pod| (Reverse(pod.priority), pod.started, pod.uid.clone()));
        let node = cache.nodes[slot].name.clone();
        for pod in &lower {
            cache.remove(&pod.uid);
        }
        let found = self
            .fits(cache, slot)
            .then(|| self.reprieve(cache, slot, &lower));
        lower.into_iter().for_each(|pod| cache.place(pod, &node));
        found
    }

    /// Puts back as many as possible, those protected by a budget first.
    fn reprieve(&self, cache: &mut Cache, slot: usize, lower: &[Arc<PodInfo>]) -> Candidate {
        let node = cache.nodes[slot].name.clone();
        let (violating, harmless) = self.by_budget(lower);
        let (mut victims, mut violations) = (Vec::new(), 0);
        let both = [(violating, 1), (harmless, 0)];
        for (pod, violates) in both
            .into_iter()
            .flat_map(|(pods, violates)| pods.into_iter().map(move |pod| (pod, violates)))
        {
            cache.place(pod.clone(), &node);
            if !self.fits(cache, slot) {
                cache.remove(&pod.uid);
                violations += violates;
                victims.push(pod);
            }
        }
        victims.sort_by_key(|pod| (Reverse(pod.priority), pod.started));
        // The caller puts everyone back; those reprieved must not be there twice.
        for pod in lower
            .iter()
            .filter(|pod| !victims.iter().any(|gone| gone.uid == pod.uid))
        {
            cache.remove(&pod.uid);
        }
        Candidate {
            slot,
            victims,
            violations,
        }
    }

    fn by_budget(&self, pods: &[Arc<PodInfo>]) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
        let budgets = self.view.list(DISRUPTION_BUDGETS, None);
        let mut budgets: Vec<(SmolStr, LabelSelector, i64)> = budgets
            .map(|budget| {
                let selector = LabelSelector::from_ref(budget.at("spec.selector"));
                (
                    budget.namespace().into(),
                    selector,
                    budget.at("status.disruptionsAllowed").i64(),
                )
            })
            .collect();
        pods.iter().cloned().partition(|pod| {
            let mut violates = false;
            for (namespace, selector, allowed) in &mut budgets {
                let label = |key: &str| crate::matching::label(&pod.labels, key);
                if *namespace == pod.namespace && selector.matches(label) {
                    *allowed -= 1;
                    violates |= *allowed < 0;
                }
            }
            violates
        })
    }
}

fn none(why: &str) -> String {
    format!("preemption: {why}")
}

/// Upstream's order: fewest broken budgets, least important victims, fewest, youngest.
fn rank(candidate: &Candidate) -> impl Ord + use<> {
    let victims = &candidate.victims;
    let highest = victims.first().map_or(i64::MIN, |pod| pod.priority);
    // Priorities may be negative; the offset makes more victims always weigh more.
    let sum: i64 = victims
        .iter()
        .map(|pod| pod.priority + i64::from(i32::MAX) + 1)
        .sum();
    let important = victims.iter().filter(|pod| pod.priority == highest);
    let earliest = important.map(|pod| pod.started).min();
    (
        candidate.violations,
        highest,
        sum,
        victims.len(),
        Reverse(earliest),
        candidate.slot,
    )
}
