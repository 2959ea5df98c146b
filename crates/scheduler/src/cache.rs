//! What runs where: nodes with their pods (assumed ones too), kept by single changes.
//!
//! Upstream counterpart: `pkg/scheduler/backend/cache`.

use crate::{
    matching::{Namespaces, labels},
    node::NodeInfo,
    pod::{PodInfo, Spread},
    topology::Topology,
};
use machinery::{Object, SmolStr};
use std::{collections::BTreeMap, sync::Arc};

/// Terms kept beyond twice the owned ones before all are counted anew: bounds memory when
/// many short-lived workloads have come and gone.
const SPARE_TERMS: usize = 8192;

const ZONE: &str = "topology.kubernetes.io/zone";

/// The scheduler's picture of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    pub nodes: Vec<NodeInfo>,
    slots: BTreeMap<SmolStr, usize>,
    placed: BTreeMap<SmolStr, usize>,
    /// Slots of present nodes, zones taking turns.
    order: Vec<usize>,
    stale_order: bool,
    pub topology: Topology,
    pub namespaces: Namespaces,
    /// Pods that preempted for a place, by slot.
    pub nominated: BTreeMap<usize, Vec<Arc<PodInfo>>>,
    /// Nodes that have an image.
    images: BTreeMap<SmolStr, u32>,
    /// Present nodes with a soft taint.
    pub soft_taints: usize,
}

impl Cache {
    fn slot_for(&mut self, name: &str) -> usize {
        if let Some(&slot) = self.slots.get(name) {
            return slot;
        }
        let slot = self.nodes.len();
        self.nodes.push(NodeInfo {
            slot,
            name: name.into(),
            ..NodeInfo::default()
        });
        self.slots.insert(name.into(), slot);
        self.topology.node_enters(&self.nodes[slot]);
        slot
    }

    /// The slot of a present node.
    pub fn slot(&self, name: &str) -> Option<usize> {
        self.slots
            .get(name)
            .copied()
            .filter(|&slot| self.nodes[slot].present)
    }

    /// The slot a pod is placed in.
    pub fn placed(&self, uid: &str) -> Option<usize> {
        self.placed.get(uid).copied()
    }

    /// Takes in a Node object; returns its slot.
    pub fn set_node(&mut self, object: &Object) -> usize {
        let slot = self.slot_for(object.name());
        self.change_node(slot, |node| node.read(object));
        slot
    }

    /// A Node object is gone.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(&slot) = self.slots.get(name) {
            self.change_node(slot, NodeInfo::vanish);
        }
    }

    fn change_node(&mut self, slot: usize, change: impl FnOnce(&mut NodeInfo)) {
        let mut after = self.nodes[slot].clone();
        change(&mut after);
        let before = &self.nodes[slot];
        let moved = before.labels != after.labels || before.present != after.present;
        self.count_extras(slot, false);
        if moved {
            self.recount(slot, false);
            self.topology.node_leaves(&self.nodes[slot]);
        }
        self.nodes[slot] = after;
        if moved {
            self.topology.node_enters(&self.nodes[slot]);
            self.recount(slot, true);
            self.stale_order = true;
        }
        self.count_extras(slot, true);
    }

    fn recount(&mut self, slot: usize, up: bool) {
        for pod in self.nodes[slot].pods.clone() {
            self.topology
                .apply(&pod, (slot, &self.nodes), &self.namespaces, up);
        }
    }

    fn count_extras(&mut self, slot: usize, up: bool) {
        let node = &self.nodes[slot];
        let soft = node
            .taints
            .iter()
            .any(|taint| taint.effect == "PreferNoSchedule");
        self.soft_taints = if up {
            self.soft_taints + usize::from(soft)
        } else {
            self.soft_taints - usize::from(soft)
        };
        for (name, _) in &node.images {
            let count = self.images.entry(name.clone()).or_default();
            *count = if up { *count + 1 } else { *count - 1 };
        }
    }

    /// How many nodes have an image.
    pub fn image_nodes(&self, image: &str) -> u32 {
        self.images.get(image).copied().unwrap_or(0)
    }

    /// Puts a pod on a node (known or not yet known), taking it from wherever it was.
    pub fn place(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.remove(&pod.uid);
        let slot = self.slot_for(node);
        self.placed.insert(pod.uid.clone(), slot);
        self.topology
            .apply(&pod, (slot, &self.nodes), &self.namespaces, true);
        self.nodes[slot].add(pod);
    }

    /// Takes a pod off its node; returns the slot.
    pub fn remove(&mut self, uid: &str) -> Option<usize> {
        let slot = self.placed.remove(uid)?;
        let pod = self.nodes[slot].remove(uid)?;
        self.topology
            .apply(&pod, (slot, &self.nodes), &self.namespaces, false);
        Some(slot)
    }

    /// The pod as it was placed.
    pub fn pod(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.nodes[self.placed(uid)?]
            .pods
            .iter()
            .find(|pod| pod.uid == uid)
    }

    /// Records (or clears) the place a pod preempted for.
    pub fn nominate(&mut self, pod: &Arc<PodInfo>, slot: Option<usize>) {
        self.nominated.retain(|_, pods| {
            pods.retain(|known| known.uid != pod.uid);
            !pods.is_empty()
        });
        if let Some(slot) = slot {
            self.nominated.entry(slot).or_default().push(pod.clone());
        }
    }

    /// Takes in a namespace's labels, or its end.
    pub fn set_namespace(&mut self, name: &str, object: Option<&Object>) {
        let now = object.map(|object| labels(object.metadata().get("labels")));
        if self.namespaces.get(name) == now.as_ref() {
            return;
        }
        match now {
            Some(labels) => self.namespaces.insert(name.into(), labels),
            None => self.namespaces.remove(name),
        };
        self.rebuild();
    }

    /// Starts counting what a pod's cycle will ask for.
    pub fn prepare(&mut self, pod: &PodInfo, default_spread: &[Spread]) {
        if self.topology.terms.len() > SPARE_TERMS
            && self.topology.terms.len() > SPARE_TERMS + 2 * self.topology.owned_terms()
        {
            self.rebuild();
        }
        for term in pod.counted_terms() {
            self.topology.count(term, &self.nodes, &self.namespaces);
        }
        let several = pod.spread.len() > 1;
        for one in pod.spread.iter().chain(default_spread) {
            self.topology
                .count(&one.term, &self.nodes, &self.namespaces);
            if several || pod.selective(one) {
                self.topology
                    .count(&one.by_node, &self.nodes, &self.namespaces);
            }
        }
        if self.stale_order {
            self.reorder();
        }
    }

    fn rebuild(&mut self) {
        let selective = |state: &crate::topology::TermState| {
            state
                .term
                .matcher
                .parts
                .iter()
                .any(|part| part.namespace_selector.is_some())
        };
        // Most clusters name namespaces outright: then labels of namespaces change nothing.
        if self.topology.terms.len() <= SPARE_TERMS && !self.topology.terms.iter().any(selective) {
            return;
        }
        self.topology = Topology::default();
        for slot in 0..self.nodes.len() {
            self.recount(slot, true);
        }
    }

    fn reorder(&mut self) {
        let mut zones: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for node in self.nodes.iter().filter(|node| node.present) {
            zones
                .entry(node.label(ZONE).unwrap_or_default())
                .or_default()
                .push(node.slot);
        }
        let longest = zones.values().map(Vec::len).max().unwrap_or(0);
        self.order = (0..longest)
            .flat_map(|row| {
                zones
                    .values()
                    .filter_map(move |zone| zone.get(row).copied())
            })
            .collect();
        self.stale_order = false;
    }

    /// Slots of present nodes, zones taking turns.
    pub fn order(&self) -> &[usize] {
        &self.order
    }
}
