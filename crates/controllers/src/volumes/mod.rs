//! Volumes: binding claims, provisioning directories, protecting what is in use.
//!
//! Upstream counterpart: `pkg/controller/volume`.

mod binder;
mod protection;
mod provisioner;

#[cfg(test)]
mod tests;

pub use binder::Binder;
pub use protection::{ClaimProtection, VolumeProtection};
pub use provisioner::DirectoryProvisioner;

use crate::names::{PVCS, PVS, STORAGE_CLASSES};
use machinery::{Object, Quantity, Ref};
use reconcile::{Change, Index, Target, View};
use std::sync::Arc;

/// Annotation the scheduler leaves on a claim that waits for its first consumer.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The provisioner of this crate.
const DIRECTORY: &str = "xebec.io/directory";

/// Index over volumes by the claim they name: `namespace/name`.
const BY_CLAIM: Index = Index {
    name: "volumes-by-claim",
    resource: PVS,
    values: |volume, values| {
        let claim = volume.at("spec.claimRef");
        if !claim.is_null() {
            values.push(machinery::format_smolstr!(
                "{}/{}",
                claim.get("namespace").str(),
                claim.get("name").str()
            ));
        }
    },
};

/// Volumes that name this claim, whether or not by UID.
fn claimed_by<'a>(view: &'a View, claim: &Object) -> Vec<&'a Arc<Object>> {
    let name = format!("{}/{}", claim.namespace(), claim.name());
    view.indexed(&BY_CLAIM, &name)
        .map(|(_, volume)| volume)
        .filter(|volume| {
            let uid = volume.at("spec.claimRef.uid").str();
            uid.is_empty() || uid == claim.uid()
        })
        .collect()
}

fn class_name(object: &Object) -> &str {
    object.at("spec.storageClassName").str()
}

fn class<'a>(view: &'a View, claim: &Object) -> Option<&'a Arc<Object>> {
    view.get(STORAGE_CLASSES, "", class_name(claim))
}

fn waits_for_consumer(class: &Object) -> bool {
    class.at("volumeBindingMode").str() == "WaitForFirstConsumer"
}

fn storage(field: Ref<'_>) -> Quantity {
    field.str().parse().unwrap_or(Quantity::ZERO)
}

/// Wakes the claim a changed volume names.
fn wake_claim(_: &View, change: &Change, wake: &mut Vec<Target>) {
    for volume in crate::ownership::states(change) {
        let claim = volume.at("spec.claimRef");
        if !claim.is_null() {
            let key = Target::new(PVCS, claim.get("namespace").str(), claim.get("name").str());
            crate::ownership::push(wake, key);
        }
    }
}
