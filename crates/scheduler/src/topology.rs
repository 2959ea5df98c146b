//! Counts of pods per topology domain, kept up to date with every pod placed or removed.
//!
//! A term (which pods, by which node label) is counted from the first time someone asks for
//! it; after that each placement costs a few additions. Upstream recomputes the same numbers
//! in every `PreFilter` of InterPodAffinity and PodTopologySpread.

use crate::{
    matching::{Namespaces, Term},
    node::NodeInfo,
    pod::PodInfo,
};
use machinery::{Requirement, SmolStr};
use std::{collections::BTreeMap, sync::Arc};

/// A node that lacks the label has no domain.
pub const NO_DOMAIN: u32 = u32::MAX;

/// One topology key and the domains its values make.
#[derive(Clone, Debug, Default)]
pub struct TopologyKey {
    name: SmolStr,
    values: BTreeMap<SmolStr, u32>,
    /// Domain by node slot.
    pub of_slot: Vec<u32>,
    /// Present nodes by domain.
    pub nodes: Vec<u32>,
    /// Present nodes without a domain.
    pub missing: usize,
}

impl TopologyKey {
    /// The domain of a node.
    pub fn domain(&self, slot: usize) -> Option<usize> {
        let domain = self.of_slot.get(slot).copied().unwrap_or(NO_DOMAIN);
        (domain != NO_DOMAIN).then_some(domain as usize)
    }

    fn value<'a>(&self, node: &'a NodeInfo) -> Option<&'a str> {
        if self.name.is_empty() {
            Some(&node.name)
        } else {
            node.label(&self.name)
        }
    }

    fn enter(&mut self, node: &NodeInfo) {
        let domain = match self.value(node).filter(|_| node.present) {
            None => NO_DOMAIN,
            Some(value) => match self.values.get(value) {
                Some(&domain) => domain,
                None => {
                    let domain = self.nodes.len() as u32;
                    self.values.insert(value.into(), domain);
                    self.nodes.push(0);
                    domain
                }
            },
        };
        if self.of_slot.len() <= node.slot {
            self.of_slot.resize(node.slot + 1, NO_DOMAIN);
        }
        self.of_slot[node.slot] = domain;
        match domain {
            NO_DOMAIN => self.missing += usize::from(node.present),
            _ => self.nodes[domain as usize] += 1,
        }
    }

    fn leave(&mut self, node: &NodeInfo) {
        match self.domain(node.slot) {
            Some(domain) => self.nodes[domain] -= 1,
            None => self.missing -= usize::from(node.present),
        }
        if let Some(domain) = self.of_slot.get_mut(node.slot) {
            *domain = NO_DOMAIN;
        }
    }
}

/// One term with its numbers per domain.
#[derive(Clone, Debug)]
pub struct TermState {
    pub term: Term,
    /// Position of its topology key.
    pub key: usize,
    counted: bool,
    /// Pods that match, by domain.
    pub counts: Vec<u32>,
    /// All pods that match on nodes with a domain.
    pub total: u64,
    /// Pods whose required anti-affinity this term is, by domain.
    pub anti: Vec<u32>,
    /// All of those.
    pub anti_total: u64,
    /// Sum of weights of pods that prefer (or require) this term, by domain.
    pub weights: Vec<i64>,
    owners: u64,
}

/// Positions of terms, found by what a pod must have to match.
#[derive(Clone, Debug, Default)]
struct TermIndex {
    plain: Vec<usize>,
    by_label: BTreeMap<SmolStr, BTreeMap<SmolStr, Vec<usize>>>,
}

/// All topology keys and terms in use.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    pub keys: Vec<TopologyKey>,
    by_name: BTreeMap<SmolStr, usize>,
    pub terms: Vec<TermState>,
    by_text: BTreeMap<Arc<str>, usize>,
    anywhere: TermIndex,
    by_namespace: BTreeMap<SmolStr, TermIndex>,
}

fn bump(list: &mut Vec<u32>, at: usize, up: bool) {
    if list.len() <= at {
        list.resize(at + 1, 0);
    }
    list[at] = if up { list[at] + 1 } else { list[at] - 1 };
}

impl Topology {
    /// A term's numbers, if it is in use.
    pub fn find(&self, term: &Term) -> Option<&TermState> {
        self.by_text.get(&term.text).map(|&at| &self.terms[at])
    }

    /// The key of a term.
    pub fn key_of(&self, state: &TermState) -> &TopologyKey {
        &self.keys[state.key]
    }

    fn key(&mut self, name: &SmolStr, nodes: &[NodeInfo]) -> usize {
        if let Some(&at) = self.by_name.get(name) {
            return at;
        }
        let mut key = TopologyKey {
            name: name.clone(),
            ..TopologyKey::default()
        };
        nodes.iter().for_each(|node| key.enter(node));
        self.keys.push(key);
        self.by_name.insert(name.clone(), self.keys.len() - 1);
        self.keys.len() - 1
    }

    fn intern(&mut self, term: &Term, nodes: &[NodeInfo]) -> usize {
        if let Some(&at) = self.by_text.get(&term.text) {
            return at;
        }
        let key = self.key(&term.key, nodes);
        let at = self.terms.len();
        self.terms.push(TermState {
            term: term.clone(),
            key,
            counted: false,
            counts: Vec::new(),
            total: 0,
            anti: Vec::new(),
            anti_total: 0,
            weights: Vec::new(),
            owners: 0,
        });
        self.by_text.insert(term.text.clone(), at);
        self.index(term, at);
        at
    }

    fn index(&mut self, term: &Term, at: usize) {
        let Some(part) = term.matcher.parts.first() else {
            return;
        };
        let single = |one: &Requirement| match one {
            Requirement::In(key, values) if values.len() == 1 => {
                Some((key.clone(), values[0].clone()))
            }
            _ => None,
        };
        // The last requirement tends to be the narrowest (`pod-template-hash` is added last).
        let label = part.labels.requirements.iter().rev().find_map(single);
        let put = |index: &mut TermIndex| match &label {
            Some((key, value)) => {
                let values = index.by_label.entry(key.clone()).or_default();
                values.entry(value.clone()).or_default().push(at);
            }
            None => index.plain.push(at),
        };
        if part.namespace_selector.is_some() {
            return put(&mut self.anywhere);
        }
        for namespace in &part.namespaces {
            put(self.by_namespace.entry(namespace.clone()).or_default());
        }
    }

    /// Starts counting a term.
    pub fn count(&mut self, term: &Term, nodes: &[NodeInfo], namespaces: &Namespaces) {
        let at = self.intern(term, nodes);
        let state = &mut self.terms[at];
        if std::mem::replace(&mut state.counted, true) {
            return;
        }
        let key = &self.keys[state.key];
        for node in nodes {
            let Some(domain) = key.domain(node.slot) else {
                continue;
            };
            for pod in &node.pods {
                if state.term.matcher.matches(pod, namespaces) {
                    bump(&mut state.counts, domain, true);
                    state.total += 1;
                }
            }
        }
    }

    /// Terms that match a pod.
    pub fn matching(&self, pod: &PodInfo, namespaces: &Namespaces) -> Vec<usize> {
        let mut found = Vec::new();
        for index in [Some(&self.anywhere), self.by_namespace.get(&pod.namespace)]
            .into_iter()
            .flatten()
        {
            found.extend(&index.plain);
            for (key, value) in &pod.labels {
                let known = index.by_label.get(key).and_then(|values| values.get(value));
                found.extend(known.into_iter().flatten());
            }
        }
        found.retain(|&at: &usize| self.terms[at].term.matcher.matches(pod, namespaces));
        found
    }

    /// Counts a pod in (`up`) or out of a node.
    pub fn apply(
        &mut self,
        pod: &PodInfo,
        node: (usize, &[NodeInfo]),
        names: &Namespaces,
        up: bool,
    ) {
        let (slot, nodes) = node;
        for at in self.matching(pod, names) {
            let state = &mut self.terms[at];
            let Some(domain) = self.keys[state.key].domain(slot).filter(|_| state.counted) else {
                continue;
            };
            bump(&mut state.counts, domain, up);
            state.total = if up { state.total + 1 } else { state.total - 1 };
        }
        for term in &pod.anti_affinity {
            let at = self.intern(term, nodes);
            let state = &mut self.terms[at];
            state.own(up);
            if let Some(domain) = self.keys[state.key].domain(slot) {
                bump(&mut state.anti, domain, up);
                state.anti_total = if up {
                    state.anti_total + 1
                } else {
                    state.anti_total - 1
                };
            }
        }
        let required = pod.affinity_owned.iter().map(|term| (1, term));
        let preferred = pod
            .preferred_pods
            .iter()
            .map(|(weight, term)| (*weight, term));
        for (weight, term) in required.chain(preferred) {
            let at = self.intern(term, nodes);
            let state = &mut self.terms[at];
            state.own(up);
            if let Some(domain) = self.keys[state.key].domain(slot) {
                if state.weights.len() <= domain {
                    state.weights.resize(domain + 1, 0);
                }
                state.weights[domain] += if up { weight } else { -weight };
            }
        }
    }

    /// A node appears or changes: call [`Self::node_leaves`] before, both without its pods counted.
    pub fn node_enters(&mut self, node: &NodeInfo) {
        self.keys.iter_mut().for_each(|key| key.enter(node));
    }

    /// A node goes or is about to change.
    pub fn node_leaves(&mut self, node: &NodeInfo) {
        self.keys.iter_mut().for_each(|key| key.leave(node));
    }

    /// Number of terms that pods on nodes own.
    pub fn owned_terms(&self) -> usize {
        self.terms.iter().filter(|state| state.owners > 0).count()
    }
}

impl TermState {
    fn own(&mut self, up: bool) {
        self.owners = if up { self.owners + 1 } else { self.owners - 1 };
    }

    /// Whether weights can matter.
    pub fn has_weights(&self) -> bool {
        self.owners > 0 && self.weights.iter().any(|&weight| weight != 0)
    }

    /// Matching pods in a domain.
    pub fn count(&self, domain: usize) -> u32 {
        self.counts.get(domain).copied().unwrap_or(0)
    }
}
