//! Binds claims to volumes and keeps both phases true.
//!
//! Upstream counterpart: `pkg/controller/volume/persistentvolume`.

use super::{
    BY_CLAIM, SELECTED_NODE, claimed_by, class, class_name, storage, waits_for_consumer, wake_claim,
};
use crate::{
    common::{event, patch, warning, write_status},
    names::{NODES, PVCS, PVS, STORAGE_CLASSES},
};
use env::Time;
use machinery::{LabelSelector, Object, Ref, json};
use reconcile::{Change, Controller, Index, Plan, Target, View, Watch, itself};
use std::sync::Arc;

const COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// The binder of claims and volumes.
pub struct Binder;

impl Controller for Binder {
    fn name(&self) -> &'static str {
        "persistent-volume-binder"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: PVCS,
                wakes: wake_volume,
            },
            Watch {
                resource: PVS,
                wakes: wake_claims,
            },
            Watch {
                resource: STORAGE_CLASSES,
                wakes: |view, _, wake| wake_unbound(view, None, wake),
            },
        ]
    }

    fn indexes(&self) -> Vec<Index> {
        vec![BY_CLAIM]
    }

    fn reconcile(&self, view: &View, key: &Target, _: Time) -> Plan {
        let mut plan = Plan::nothing();
        if key.resource == PVS {
            if let Some(volume) = view.get(PVS, "", &key.name) {
                volume_phase(view, volume, &mut plan);
            }
        } else if let Some(claim) = view.get(PVCS, &key.namespace, &key.name) {
            if claim.is_deleting() {
                return plan;
            }
            match claim.at("spec.volumeName").as_str() {
                Some(name) if !name.is_empty() => bound(view, claim, name, &mut plan),
                _ => unbound(view, claim, &mut plan),
            }
        }
        plan
    }
}

fn wake_volume(view: &View, change: &Change, wake: &mut Vec<Target>) {
    itself(view, change, wake);
    for claim in crate::ownership::states(change) {
        if let Some(volume) = claim.at("spec.volumeName").as_str() {
            crate::ownership::push(wake, Target::new(PVS, "", volume));
        }
    }
}

fn wake_claims(view: &View, change: &Change, wake: &mut Vec<Target>) {
    itself(view, change, wake);
    wake_claim(view, change, wake);
    if let Some(volume) = change
        .new
        .as_ref()
        .filter(|v| v.at("spec.claimRef").is_null())
    {
        wake_unbound(view, Some(class_name(volume)), wake);
    }
}

fn wake_unbound(view: &View, class: Option<&str>, wake: &mut Vec<Target>) {
    let waiting = view.list(PVCS, None).filter(|claim| {
        claim.at("spec.volumeName").str().is_empty()
            && class.is_none_or(|class| class_name(claim) == class)
    });
    wake.extend(waiting.map(|claim| crate::common::target(PVCS, claim)));
}

fn volume_phase(view: &View, volume: &Arc<Object>, plan: &mut Plan) {
    let reference = volume.at("spec.claimRef");
    let uid = reference.get("uid").str();
    let phase = if reference.is_null() || uid.is_empty() {
        "Available"
    } else {
        let claim = view.get(
            PVCS,
            reference.get("namespace").str(),
            reference.get("name").str(),
        );
        match claim.filter(|claim| claim.uid() == uid) {
            Some(claim) if claim.at("spec.volumeName").str() == volume.name() => "Bound",
            Some(_) if volume.at("status.phase").str() == "Bound" => "Bound",
            Some(_) => "Available",
            None => "Released",
        }
    };
    if volume.at("status.phase").str() == "Failed" && phase == "Released" {
        return;
    }
    let mut status = volume.at("status").to_value();
    status["phase"] = phase.into();
    plan.actions.extend(write_status(PVS, volume, status));
}

/// A claim that names its volume.
fn bound(view: &View, claim: &Arc<Object>, name: &str, plan: &mut Plan) {
    let completed = claim.annotation(COMPLETED).is_some();
    let Some(volume) = view.get(PVS, "", name) else {
        let why = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        return pending_or_lost(claim, completed, ("ClaimLost", why), plan);
    };
    let reference = volume.at("spec.claimRef");
    let ours = reference.get("namespace").str() == claim.namespace()
        && reference.get("name").str() == claim.name();
    let uid = reference.get("uid").str();
    if !reference.is_null() && (!ours || (!uid.is_empty() && uid != claim.uid())) {
        let why = format!("Volume {name:?} is bound to another claim");
        return pending_or_lost(claim, completed, ("ClaimMisbound", &why), plan);
    }
    if uid.is_empty() {
        plan.push(take(volume, claim));
        return;
    }
    if !completed {
        let done = json!({"metadata": {"annotations": {(COMPLETED): "yes"}}});
        plan.push(patch(PVCS, claim, done));
        return;
    }
    let mut status = claim.at("status").to_value();
    status["phase"] = "Bound".into();
    status["accessModes"] = volume.at("spec.accessModes").to_value();
    let expanded = status.at(&["capacity", "storage"]).str().parse().ok();
    let size = storage(volume.at("spec.capacity.storage"));
    if expanded != Some(size) {
        let text = volume.at("spec.capacity.storage").to_value();
        status.set_at(&["capacity", "storage"], text);
    }
    plan.actions.extend(write_status(PVCS, claim, status));
}

fn pending_or_lost(claim: &Arc<Object>, lost: bool, (reason, why): (&str, &str), plan: &mut Plan) {
    let mut status = claim.at("status").to_value();
    status["phase"] = if lost { "Lost" } else { "Pending" }.into();
    let change = write_status(PVCS, claim, status);
    if lost && change.is_some() {
        plan.push(warning(claim, reason, why));
    }
    plan.actions.extend(change);
}

fn take(volume: &Object, claim: &Object) -> reconcile::Action {
    let reference = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.namespace(),
        "name": claim.name(), "uid": claim.uid(), "resourceVersion": claim.revision().to_string(),
    });
    let by = json!({(BY_CONTROLLER): "yes"});
    let change = json!({"metadata": {"annotations": by}, "spec": {"claimRef": reference}});
    patch(PVS, volume, change)
}

fn unbound(view: &View, claim: &Arc<Object>, plan: &mut Plan) {
    if claim.at("spec.storageClassName").is_null()
        && let Some(default) = default_class(view)
    {
        let choice = json!({"spec": {"storageClassName": default.name()}});
        plan.push(patch(PVCS, claim, choice));
        return;
    }
    let class = class(view, claim);
    let selected = claim.annotation(SELECTED_NODE);
    let waits = class.is_some_and(|class| waits_for_consumer(class)) && selected.is_none();
    let reserved = claimed_by(view, claim);
    let found = match reserved.first() {
        Some(volume) => Some(*volume),
        None if waits => None,
        None => find(view, claim, selected),
    };
    if let Some(volume) = found {
        if volume.at("spec.claimRef.uid").str() != claim.uid() {
            plan.push(take(volume, claim));
        }
        let marks = json!({(COMPLETED): "yes", (BY_CONTROLLER): "yes"});
        let bind =
            json!({"metadata": {"annotations": marks}, "spec": {"volumeName": volume.name()}});
        plan.push(patch(PVCS, claim, bind));
        return;
    }
    if claim.at("status.phase").str().is_empty() {
        plan.actions
            .extend(write_status(PVCS, claim, json!({"phase": "Pending"})));
        return;
    }
    explain(claim, class, waits, plan);
}

fn default_class(view: &View) -> Option<&Arc<Object>> {
    view.list(STORAGE_CLASSES, None)
        .filter(|class| class.annotation(DEFAULT_CLASS) == Some("true"))
        .max_by_key(|class| {
            let name = std::cmp::Reverse(class.name().to_owned());
            (crate::common::created(class), name)
        })
}

/// Tells the user what the claim is waiting for, and the provisioner that it is wanted.
fn explain(claim: &Object, class: Option<&Arc<Object>>, waits: bool, plan: &mut Plan) {
    let Some(class) = class else {
        plan.push(if class_name(claim).is_empty() {
            event(
                claim,
                "FailedBinding",
                "no persistent volumes available for this claim and no storage class is set",
            )
        } else {
            let text = format!(
                "storageclass.storage.k8s.io {:?} not found",
                class_name(claim)
            );
            warning(claim, "ProvisioningFailed", text)
        });
        return;
    };
    let provisioner = class.at("provisioner").str();
    if waits {
        let text = "waiting for first consumer to be created before binding";
        plan.push(event(claim, "WaitForFirstConsumer", text));
    } else if provisioner == "kubernetes.io/no-provisioner" {
        let text = "no persistent volumes available for this claim and no storage class is set";
        plan.push(event(claim, "FailedBinding", text));
    } else if claim.annotation(PROVISIONER) != Some(provisioner) {
        let mark = json!({"metadata": {"annotations": {(PROVISIONER): provisioner}}});
        plan.push(patch(PVCS, claim, mark));
    } else if provisioner != super::DIRECTORY {
        let text = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        );
        plan.push(event(claim, "ExternalProvisioning", text));
    }
}

/// The smallest free volume that satisfies the claim.
fn find<'a>(view: &'a View, claim: &Object, node: Option<&str>) -> Option<&'a Arc<Object>> {
    let selector = claim.at("spec.selector");
    let selector = if selector.is_null() {
        LabelSelector::everything()
    } else {
        LabelSelector::from_ref(selector)
    };
    let wanted = storage(claim.at("spec.resources.requests.storage"));
    let mode = |object: &Object| {
        object
            .at("spec.volumeMode")
            .as_str()
            .unwrap_or("Filesystem")
            .to_owned()
    };
    view.list(PVS, None)
        .filter(|volume| {
            !volume.is_deleting()
                && volume.at("spec.claimRef").is_null()
                && class_name(volume) == class_name(claim)
                && mode(volume) == mode(claim)
                && storage(volume.at("spec.capacity.storage")) >= wanted
                && selector.matches_object(volume)
                && offers_modes(volume, claim)
                && node.is_none_or(|node| reaches(view, volume, node))
        })
        .min_by_key(|volume| {
            (
                storage(volume.at("spec.capacity.storage")),
                volume.name().to_owned(),
            )
        })
}

fn offers_modes(volume: &Object, claim: &Object) -> bool {
    let offered = volume.at("spec.accessModes");
    claim
        .at("spec.accessModes")
        .items()
        .all(|mode| offered.items().any(|one| one.str() == mode.str()))
}

/// Whether a volume's node affinity admits a node.
fn reaches(view: &View, volume: &Object, node: &str) -> bool {
    let required = volume.at("spec.nodeAffinity.required");
    if required.is_null() {
        return true;
    }
    let Some(node) = view.get(NODES, "", node) else {
        return false;
    };
    let holds = |expression: Ref<'_>| {
        let value = node.label(expression.get("key").str());
        let listed = expression
            .get("values")
            .items()
            .any(|one| value == Some(one.str()));
        match expression.get("operator").str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    };
    required
        .get("nodeSelectorTerms")
        .items()
        .any(|term| term.get("matchExpressions").items().all(holds))
}
