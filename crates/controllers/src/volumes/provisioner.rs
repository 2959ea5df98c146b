//! Provisions node-local directories for claims of provisioner `xebec.io/directory`.
//!
//! Only names the directory; the node makes it when the volume is first mounted.
//! Upstream counterpart: `sig-storage-lib-external-provisioner`.

use super::{BY_CLAIM, DIRECTORY, SELECTED_NODE, claimed_by, class, waits_for_consumer};
use crate::{
    common::{create, delete, event, is_true, warning},
    names::{NODES, PVCS, PVS},
};
use env::Time;
use machinery::{Object, json};
use reconcile::{Controller, Index, Plan, Target, View, Watch, itself};
use std::sync::Arc;

const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// The provisioner of directories.
pub struct DirectoryProvisioner {
    /// Directory under which each node keeps its volumes, without trailing slash.
    pub directory: String,
}

impl Controller for DirectoryProvisioner {
    fn name(&self) -> &'static str {
        "directory-provisioner"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: PVCS,
                wakes: itself,
            },
            Watch {
                resource: PVS,
                wakes: itself,
            },
        ]
    }

    fn indexes(&self) -> Vec<Index> {
        vec![BY_CLAIM]
    }

    fn reconcile(&self, view: &View, key: &Target, _: Time) -> Plan {
        let mut plan = Plan::nothing();
        if key.resource == PVS {
            let released = view
                .get(PVS, "", &key.name)
                .filter(|volume| is_ours_to_delete(volume));
            plan.actions
                .extend(released.map(|volume| delete(PVS, volume)));
            return plan;
        }
        let Some(claim) = view.get(PVCS, &key.namespace, &key.name) else {
            return plan;
        };
        let class = class(view, claim);
        let Some(class) = class.filter(|class| class.at("provisioner").str() == DIRECTORY) else {
            return plan;
        };
        let taken = !claim.at("spec.volumeName").str().is_empty()
            || !claimed_by(view, claim).is_empty()
            || !claim.at("spec.selector").is_null();
        if !taken && !claim.is_deleting() {
            self.provision(view, claim, class, &mut plan);
        }
        plan
    }
}

fn is_ours_to_delete(volume: &Object) -> bool {
    volume.annotation(PROVISIONED_BY) == Some(DIRECTORY)
        && volume.at("status.phase").str() == "Released"
        && volume.at("spec.persistentVolumeReclaimPolicy").str() == "Delete"
        && !volume.is_deleting()
}

impl DirectoryProvisioner {
    fn provision(&self, view: &View, claim: &Object, class: &Object, plan: &mut Plan) {
        let selected = claim.annotation(SELECTED_NODE);
        let node = match selected {
            Some(name) => view.get(NODES, "", name),
            None if waits_for_consumer(class) => return,
            None => any_ready_node(view),
        };
        let Some(node) = node else {
            let text = "failed to provision volume: no ready node to keep it";
            plan.push(warning(claim, "ProvisioningFailed", text));
            plan.failed = Some(text.to_owned());
            return;
        };
        let many = claim
            .at("spec.accessModes")
            .items()
            .any(|mode| matches!(mode.str(), "ReadWriteMany" | "ReadOnlyMany"));
        if many && claim.at("spec.volumeMode").str() == "Block" {
            let text = "failed to provision volume: a directory cannot be a shared block device";
            plan.push(warning(claim, "ProvisioningFailed", text));
            return;
        }
        let volume = self.volume(claim, class, node);
        let text = format!("Successfully provisioned volume {}", volume.name());
        plan.push(create(PVS, volume, true));
        plan.push(event(claim, "ProvisioningSucceeded", text));
    }

    fn volume(&self, claim: &Object, class: &Object, node: &Object) -> machinery::Value {
        let name = format!("pvc-{}", claim.uid());
        let host = node.label(HOSTNAME).unwrap_or(node.name());
        let expressions = json!([{"key": HOSTNAME, "operator": "In", "values": [host]}]);
        let mut volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": &name, "annotations": {(PROVISIONED_BY): DIRECTORY}},
            "spec": {
                "capacity": {"storage": claim.at("spec.resources.requests.storage").to_value()},
                "accessModes": claim.at("spec.accessModes").to_value(),
                "storageClassName": class.name(),
                "persistentVolumeReclaimPolicy": class.at("reclaimPolicy").as_str().unwrap_or("Delete"),
                "volumeMode": claim.at("spec.volumeMode").as_str().unwrap_or("Filesystem"),
                "claimRef": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "namespace": claim.namespace(), "name": claim.name(), "uid": claim.uid(),
                },
            },
        });
        let path = format!("{}/{name}", self.directory);
        if shared(claim) {
            // The nodes of a cluster share the machine, so its directory is the same on each.
            volume.set_at(
                &["spec", "hostPath"],
                json!({"path": path, "type": "DirectoryOrCreate"}),
            );
        } else {
            let terms = json!([{"matchExpressions": expressions}]);
            volume.set_at(&["spec", "local"], json!({"path": path}));
            volume.set_at(
                &["spec", "nodeAffinity"],
                json!({"required": {"nodeSelectorTerms": terms}}),
            );
        }
        let options = class.at("mountOptions");
        if !options.is_null() {
            volume.set_at(&["spec", "mountOptions"], options.to_value());
        }
        volume
    }
}

/// Whether a claim asks for a volume that several nodes mount at once.
fn shared(claim: &Object) -> bool {
    let mut modes = claim.at("spec.accessModes").items();
    modes.any(|mode| matches!(mode.str(), "ReadWriteMany" | "ReadOnlyMany"))
}

fn any_ready_node(view: &View) -> Option<&Arc<Object>> {
    view.list(NODES, None)
        .find(|node| is_true(node, "Ready") && !node.at("spec.unschedulable").is_true())
}
