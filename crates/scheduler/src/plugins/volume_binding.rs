//! VolumeBinding: bound volumes must be reachable, claims that wait for a consumer get one.

use crate::{
    framework::{Cycle, Events, NodeFilter, Plugin, Prepared, Rejection, Verdict},
    matching::NodeRequirement,
    node::NodeInfo,
    pod::PodInfo,
};
use machinery::{LabelSelector, Object, Quantity, Ref, SmolStr, json};
use reconcile::{Action, Preconditions, Target, View};
use std::sync::Arc;

const NAME: &str = "VolumeBinding";
const CLAIMS: &str = "persistentvolumeclaims";
const VOLUMES: &str = "persistentvolumes";
const CLASSES: &str = "storageclasses.storage.k8s.io";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// The plugin.
pub struct VolumeBinding;

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        NAME
    }
    fn events(&self) -> Events {
        Events::NODE_ADDED
            .or(Events::NODE_LABELS)
            .or(Events::STORAGE)
    }
    fn pre_filter<'a>(&self, cycle: &Cycle<'a>) -> Prepared<'a> {
        if cycle.pod.claims.is_empty() {
            return Ok(None);
        }
        Ok(Some(Box::new(Claims::read(cycle.view, cycle.pod)?)))
    }
    fn pre_bind(&self, cycle: &Cycle<'_>, node: &NodeInfo) -> Option<Vec<Action>> {
        // A claim that vanished fails at the kubelet, as upstream's would after its check.
        let claims = Claims::read(cycle.view, cycle.pod).ok()?;
        let (mut taken, mut actions) = (Vec::new(), Vec::new());
        for claim in &claims.waiting {
            let volume = claim.existing(node, &taken);
            taken.extend(volume.map(|volume| volume.name()));
            actions.extend(claim.action(node, volume.map(AsRef::as_ref)));
        }
        (!claims.waiting.is_empty()).then_some(actions)
    }
}

/// A claim that waits for its first consumer.
struct Waiting<'a> {
    claim: &'a Object,
    provisions: bool,
    /// Any of these must match; empty allows every node.
    topologies: Vec<Vec<(SmolStr, Vec<SmolStr>)>>,
    /// Volumes that could be bound, smallest first.
    candidates: Vec<(&'a Arc<Object>, NodeRequirement)>,
}

/// What a pod's claims ask of nodes.
struct Claims<'a> {
    bound: Vec<NodeRequirement>,
    waiting: Vec<Waiting<'a>>,
}

impl<'a> Claims<'a> {
    fn read(view: &'a View, pod: &PodInfo) -> Result<Self, Rejection> {
        let mut claims = Self {
            bound: Vec::new(),
            waiting: Vec::new(),
        };
        for name in &pod.claims {
            let missing = || format!("persistentvolumeclaim \"{name}\" not found");
            let claim = view
                .get(CLAIMS, &pod.namespace, name)
                .ok_or_else(|| Rejection::unresolvable(NAME, missing()))?;
            if claim.is_deleting() {
                let reason = format!("persistentvolumeclaim \"{name}\" is being deleted");
                return Err(Rejection::unresolvable(NAME, reason));
            }
            claims.add(view, claim)?;
        }
        Ok(claims)
    }

    fn add(&mut self, view: &'a View, claim: &'a Object) -> Result<(), Rejection> {
        let volume = claim.at("spec.volumeName").str();
        let completed = claim
            .annotation("pv.kubernetes.io/bind-completed")
            .is_some()
            || claim.at("status.phase").str() == "Bound";
        if !volume.is_empty() && completed {
            let gone = || format!("persistentvolume \"{volume}\" not found");
            let volume = view
                .get(VOLUMES, "", volume)
                .ok_or_else(|| Rejection::unresolvable(NAME, gone()))?;
            self.bound.push(NodeRequirement::node_selector(
                volume.at("spec.nodeAffinity.required"),
            ));
            return Ok(());
        }
        let class = view.get(CLASSES, "", claim.at("spec.storageClassName").str());
        let late =
            |class: &&Arc<Object>| class.at("volumeBindingMode").str() == "WaitForFirstConsumer";
        let Some(class) = class.filter(late).filter(|_| volume.is_empty()) else {
            let reason = "pod has unbound immediate PersistentVolumeClaims";
            return Err(Rejection::unresolvable(NAME, reason));
        };
        self.waiting.push(Waiting::new(view, claim, class));
        Ok(())
    }
}

impl<'a> Waiting<'a> {
    fn new(view: &'a View, claim: &'a Object, class: &Object) -> Self {
        let mut candidates: Vec<_> = view
            .list(VOLUMES, None)
            .filter(|volume| suits(volume, claim))
            .map(|volume| {
                (
                    volume,
                    NodeRequirement::node_selector(volume.at("spec.nodeAffinity.required")),
                )
            })
            .collect();
        candidates.sort_by_key(|(volume, _)| capacity(volume));
        let values = |list: Ref<'_>| list.items().map(|value| value.str().into()).collect();
        let topology = |term: Ref<'_>| {
            let expressions = term.get("matchLabelExpressions").items();
            expressions
                .map(|one| (one.get("key").str().into(), values(one.get("values"))))
                .collect()
        };
        Self {
            claim,
            provisions: class.at("provisioner").str() != NO_PROVISIONER,
            topologies: class
                .at("allowedTopologies")
                .items()
                .map(topology)
                .collect(),
            candidates,
        }
    }

    fn existing(&self, node: &NodeInfo, taken: &[&str]) -> Option<&'a Arc<Object>> {
        let fits = |(volume, wanted): &&(&Arc<Object>, NodeRequirement)| {
            !taken.contains(&volume.name()) && wanted.matches(&node.labels, &node.name)
        };
        self.candidates.iter().find(fits).map(|(volume, _)| *volume)
    }

    fn can_provision(&self, node: &NodeInfo) -> bool {
        let holds = |(key, values): &(SmolStr, Vec<SmolStr>)| {
            node.label(key)
                .is_some_and(|value| values.iter().any(|one| one == value))
        };
        self.provisions
            && (self.topologies.is_empty()
                || self.topologies.iter().any(|all| all.iter().all(holds)))
    }

    /// What binds the claim for a node; nothing if that has been asked for.
    fn action(&self, node: &NodeInfo, volume: Option<&Object>) -> Option<Action> {
        if let Some(volume) = volume {
            let claim = json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "uid": self.claim.uid(),
                "namespace": self.claim.namespace(), "name": self.claim.name(),
            });
            return Some(Action::Patch {
                target: Target::new(VOLUMES, "", volume.name()),
                subresource: "",
                patch: json!({
                    "metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
                    "spec": {"claimRef": claim},
                }),
                when: Preconditions::exactly(volume),
            });
        }
        if self.claim.annotation(SELECTED_NODE) == Some(node.name.as_str()) {
            return None;
        }
        Some(Action::Patch {
            target: Target::new(CLAIMS, self.claim.namespace(), self.claim.name()),
            subresource: "",
            patch: json!({"metadata": {"annotations": {(SELECTED_NODE): &node.name}}}),
            when: Preconditions::uid(self.claim.uid()),
        })
    }
}

fn capacity(volume: &Object) -> Quantity {
    volume
        .at("spec.capacity.storage")
        .str()
        .parse()
        .unwrap_or(Quantity::ZERO)
}

/// Whether an existing volume could be bound to a claim.
fn suits(volume: &Object, claim: &Object) -> bool {
    let (spec, wanted) = (volume.at("spec"), claim.at("spec"));
    let owner = spec.get("claimRef");
    let free = owner.is_null()
        || owner.get("name").str() == claim.name()
            && owner.get("namespace").str() == claim.namespace()
            && ["", claim.uid()].contains(&owner.get("uid").str());
    let mode =
        |spec: Ref<'_>| SmolStr::new(spec.get("volumeMode").as_str().unwrap_or("Filesystem"));
    let has = |mode: &str| {
        spec.get("accessModes")
            .items()
            .any(|known| known.str() == mode)
    };
    let selector = wanted.get("selector");
    let asked = wanted
        .at("resources.requests.storage")
        .str()
        .parse()
        .unwrap_or(Quantity::ZERO);
    free && !volume.is_deleting()
        && ["", "Pending", "Available"].contains(&volume.at("status.phase").str())
        && spec.get("storageClassName").str() == wanted.get("storageClassName").str()
        && mode(spec) == mode(wanted)
        && wanted
            .get("accessModes")
            .items()
            .all(|mode| has(mode.str()))
        && (selector.is_null() || LabelSelector::from_ref(selector).matches_object(volume))
        && capacity(volume) >= asked
}

impl NodeFilter for Claims<'_> {
    fn filter(&self, node: &NodeInfo) -> Verdict {
        if !self
            .bound
            .iter()
            .all(|wanted| wanted.matches(&node.labels, &node.name))
        {
            let reason = "node(s) didn't match PersistentVolume's node affinity";
            return Err(Rejection::unresolvable(NAME, reason));
        }
        let mut taken = Vec::new();
        for claim in &self.waiting {
            let selected = claim.claim.annotation(SELECTED_NODE);
            if selected.is_some_and(|name| node.name != name) {
                let reason = "node(s) didn't match PersistentVolume's node affinity";
                return Err(Rejection::unresolvable(NAME, reason));
            }
            match claim.existing(node, &taken) {
                Some(volume) => taken.push(volume.name()),
                None if claim.can_provision(node) => {}
                None => {
                    let reason = "node(s) didn't find available persistent volumes to bind";
                    return Err(Rejection::unresolvable(NAME, reason));
                }
            }
        }
        Ok(())
    }
}
