//! PodTopologySpread: hard constraints refuse, soft ones (and the system's defaults) score.

use crate::{
    framework::{
        Cycle, Events, MAX_SCORE, NodeFilter, NodeScore, Plugin, Prepared, Rejection, Verdict,
    },
    node::NodeInfo,
    pod::Spread,
    topology::TopologyKey,
};
use std::borrow::Cow;

const NAME: &str = "PodTopologySpread";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// The plugin.
pub struct PodTopologySpread;

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        NAME
    }
    fn weight(&self) -> i64 {
        2
    }
    fn events(&self) -> Events {
        Events::NODE_ADDED
            .or(Events::NODE_LABELS)
            .or(Events::NODE_TAINTS)
            .or(Events::POD_ADDED)
            .or(Events::POD_REMOVED)
    }
    fn pre_filter<'a>(&self, cycle: &Cycle<'a>) -> Prepared<'a> {
        let hard: Vec<&Spread> = cycle.pod.spread.iter().filter(|one| one.hard).collect();
        if hard.is_empty() {
            return Ok(None);
        }
        let parts = hard
            .iter()
            .filter_map(|one| Hard::new(cycle, one, &hard))
            .collect();
        Ok(Some(Box::new(Filter { parts })))
    }
    fn pre_score<'a>(
        &self,
        cycle: &Cycle<'a>,
        feasible: &[&'a NodeInfo],
    ) -> Option<Box<dyn NodeScore + 'a>> {
        let own = !cycle.pod.spread.is_empty();
        let all = if own {
            &cycle.pod.spread[..]
        } else {
            cycle.default_spread
        };
        let soft: Vec<&Spread> = all.iter().filter(|one| !one.hard).collect();
        if soft.is_empty() {
            return None;
        }
        let parts = soft
            .iter()
            .filter_map(|one| Soft::new(cycle, one, &soft, (own, feasible)));
        Some(Box::new(Score {
            parts: parts.collect(),
            require_all: own,
        }))
    }
}

/// Matching pods per domain, and which domains count.
struct Counts<'a> {
    key: &'a TopologyKey,
    pods: Cow<'a, [u32]>,
    eligible: Cow<'a, [u32]>,
}

impl<'a> Counts<'a> {
    /// `all` are the constraints whose keys a node must have to count, if `require_all`.
    fn new(cycle: &Cycle<'a>, one: &'a Spread, all: &[&Spread], require_all: bool) -> Option<Self> {
        let topology = &cycle.cache.topology;
        let state = topology.find(&one.term)?;
        let key = topology.key_of(state);
        let keys: Vec<&TopologyKey> = all
            .iter()
            .filter(|_| require_all)
            .filter_map(|other| Some(topology.key_of(topology.find(&other.term)?)))
            .collect();
        let incomplete = keys.len() > 1 && keys.iter().any(|key| key.missing > 0);
        if !cycle.pod.selective(one) && !incomplete {
            let (pods, eligible) = (
                Cow::Borrowed(&state.counts[..]),
                Cow::Borrowed(&key.nodes[..]),
            );
            return Some(Self {
                key,
                pods,
                eligible,
            });
        }
        let by_node = topology.find(&one.by_node)?;
        let node_key = topology.key_of(by_node);
        let (mut pods, mut eligible) = (vec![0; key.nodes.len()], vec![0; key.nodes.len()]);
        for node in cycle
            .cache
            .order()
            .iter()
            .map(|&slot| &cycle.cache.nodes[slot])
        {
            let Some(domain) = key.domain(node.slot).filter(|_| counts(cycle, one, node)) else {
                continue;
            };
            if keys.iter().all(|key| key.domain(node.slot).is_some()) {
                eligible[domain] += 1;
                pods[domain] += node_key.domain(node.slot).map_or(0, |at| by_node.count(at));
            }
        }
        Some(Self {
            key,
            pods: Cow::Owned(pods),
            eligible: Cow::Owned(eligible),
        })
    }

    fn of(&self, domain: usize) -> i64 {
        self.pods.get(domain).copied().unwrap_or(0).into()
    }
}

/// Whether a node takes part in a constraint, by its inclusion policies.
fn counts(cycle: &Cycle<'_>, one: &Spread, node: &NodeInfo) -> bool {
    let pod = cycle.pod;
    (!one.honor_affinity || pod.node.matches(&node.labels, &node.name))
        && (!one.honor_taints || pod.tolerates(&node.taints))
}

struct Hard<'a> {
    counts: Counts<'a>,
    lowest: i64,
    own: i64,
    max_skew: i64,
}

impl<'a> Hard<'a> {
    fn new(cycle: &Cycle<'a>, one: &'a Spread, all: &[&Spread]) -> Option<Self> {
        let counts = Counts::new(cycle, one, all, true)?;
        let domains = || {
            counts
                .eligible
                .iter()
                .enumerate()
                .filter(|(_, nodes)| **nodes > 0)
        };
        let mut lowest = domains().map(|(at, _)| counts.of(at)).min().unwrap_or(0);
        if (domains().count() as i64) < one.min_domains {
            lowest = 0;
        }
        let own = one.term.matcher.matches(cycle.pod, &cycle.cache.namespaces);
        Some(Self {
            counts,
            lowest,
            own: own.into(),
            max_skew: one.max_skew,
        })
    }
}

struct Filter<'a> {
    parts: Vec<Hard<'a>>,
}

impl NodeFilter for Filter<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        for part in &self.parts {
            let Some(domain) = part.counts.key.domain(node.slot) else {
                let reason =
                    "node(s) didn't match pod topology spread constraints (missing required label)";
                return Err(Rejection::unresolvable(NAME, reason));
            };
            if part.counts.of(domain) + part.own - part.lowest > part.max_skew {
                let reason = "node(s) didn't match pod topology spread constraints";
                return Err(Rejection::resolvable(NAME, reason));
            }
        }
        Ok(())
    }
}

struct Soft<'a> {
    counts: Counts<'a>,
    weight: f64,
    max_skew: i64,
}

impl<'a> Soft<'a> {
    fn new(
        cycle: &Cycle<'a>,
        one: &'a Spread,
        all: &[&Spread],
        (require_all, feasible): (bool, &[&NodeInfo]),
    ) -> Option<Self> {
        let counts = Counts::new(cycle, one, all, require_all)?;
        let size = if one.term.key == HOSTNAME {
            feasible.len()
        } else {
            let mut seen = vec![false; counts.key.nodes.len()];
            for domain in feasible
                .iter()
                .filter_map(|node| counts.key.domain(node.slot))
            {
                seen[domain] = true;
            }
            seen.iter().filter(|seen| **seen).count()
        };
        // Few domains weigh less, as upstream's normalizing weight.
        Some(Self {
            counts,
            weight: (size as f64 + 2.0).ln(),
            max_skew: one.max_skew,
        })
    }
}

struct Score<'a> {
    parts: Vec<Soft<'a>>,
    require_all: bool,
}

/// Raw score of a node that lacks a required label: it ends with zero.
const IGNORED: i64 = -1;

impl NodeScore for Score<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let mut sum = 0.0;
        for part in &self.parts {
            match part.counts.key.domain(node.slot) {
                Some(domain) => {
                    sum += part.counts.of(domain) as f64 * part.weight + (part.max_skew - 1) as f64;
                }
                None if self.require_all => return IGNORED,
                None => {}
            }
        }
        sum.round() as i64
    }
    fn normalize(&self, _: &[&NodeInfo], scores: &mut [i64]) {
        let valid = || scores.iter().copied().filter(|score| *score != IGNORED);
        let (low, high) = (valid().min().unwrap_or(0), valid().max().unwrap_or(0));
        for score in scores {
            *score = match *score {
                IGNORED => 0,
                _ if high == 0 => MAX_SCORE,
                raw => MAX_SCORE * (high + low - raw) / high,
            };
        }
    }
}
