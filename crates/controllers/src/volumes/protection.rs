//! Keeps claims used by pods, and volumes bound to claims, from going away under their users.
//!
//! Upstream counterpart: `pkg/controller/volume/pvcprotection` and `pvprotection`.

use crate::{
    common::{add_finalizer, has_finalizer, remove_finalizer},
    names::{PODS, PVCS, PVS},
    ownership::{push, states},
    pods,
};
use env::Time;
use machinery::{Object, format_smolstr};
use reconcile::{Change, Controller, Index, Plan, Target, View, Watch, itself};

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

/// Index over pods by the claims they use: `namespace/claim`.
const PODS_BY_CLAIM: Index = Index {
    name: "pods-by-claim",
    resource: PODS,
    values: |pod, values| {
        values.extend(claims(pod).map(|claim| format_smolstr!("{}/{claim}", pod.namespace())));
    },
};

/// Names of the claims a pod uses, ephemeral ones included.
fn claims(pod: &Object) -> impl Iterator<Item = String> {
    pod.at("spec.volumes").items().filter_map(|volume| {
        if !volume.get("ephemeral").is_null() {
            return Some(format!("{}-{}", pod.name(), volume.get("name").str()));
        }
        let claim = volume.get("persistentVolumeClaim").get("claimName");
        claim.as_str().map(Into::into)
    })
}

/// Protects claims.
pub struct ClaimProtection;
/// Protects volumes.
pub struct VolumeProtection;

impl Controller for ClaimProtection {
    fn name(&self) -> &'static str {
        "pvc-protection-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: PVCS,
                wakes: itself,
            },
            Watch {
                resource: PODS,
                wakes: wake_claims,
            },
        ]
    }

    fn indexes(&self) -> Vec<Index> {
        vec![PODS_BY_CLAIM]
    }

    fn reconcile(&self, view: &View, key: &Target, _: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(claim) = view.get(PVCS, &key.namespace, &key.name) else {
            return plan;
        };
        let name = format!("{}/{}", key.namespace, key.name);
        let used = view
            .indexed(&PODS_BY_CLAIM, &name)
            .any(|(_, pod)| !pods::is_finished(pod) && !pod.at("spec.nodeName").str().is_empty());
        protect(PVCS, claim, (CLAIM_FINALIZER, used), &mut plan);
        plan
    }
}

impl Controller for VolumeProtection {
    fn name(&self) -> &'static str {
        "pv-protection-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch {
            resource: PVS,
            wakes: itself,
        }]
    }

    fn reconcile(&self, view: &View, key: &Target, _: Time) -> Plan {
        let mut plan = Plan::nothing();
        if let Some(volume) = view.get(PVS, "", &key.name) {
            let used = volume.at("status.phase").str() == "Bound";
            protect(PVS, volume, (VOLUME_FINALIZER, used), &mut plan);
        }
        plan
    }
}

fn protect(resource: &str, object: &Object, (finalizer, used): (&str, bool), plan: &mut Plan) {
    let held = has_finalizer(object, finalizer);
    if !object.is_deleting() && !held {
        plan.push(add_finalizer(resource, object, finalizer));
    } else if object.is_deleting() && held && !used {
        plan.push(remove_finalizer(resource, object, finalizer));
    }
}

fn wake_claims(_: &View, change: &Change, wake: &mut Vec<Target>) {
    for pod in states(change) {
        for claim in claims(pod) {
            push(wake, Target::new(PVCS, pod.namespace(), &claim));
        }
    }
}
