//! VolumeRestrictions and VolumeZone: disks and claims of one user at a time, volumes that
//! live in one zone.

use crate::{
    framework::{Cycle, Events, Plugin, Prepared, Rejection, Verdict},
    node::NodeInfo,
};
use machinery::SmolStr;

/// Refuses a second writer of a disk, or a second user of a `ReadWriteOncePod` claim.
pub struct VolumeRestrictions;

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }
    fn events(&self) -> Events {
        Events::NODE_ADDED
            .or(Events::POD_REMOVED)
            .or(Events::STORAGE)
    }
    fn pre_filter<'a>(&self, cycle: &Cycle<'a>) -> Prepared<'a> {
        let pod = cycle.pod;
        let exclusive: Vec<&SmolStr> = pod
            .claims
            .iter()
            .filter(|name| {
                let claim = cycle
                    .view
                    .get("persistentvolumeclaims", &pod.namespace, name);
                claim.is_some_and(|claim| {
                    let mut modes = claim.at("spec.accessModes").items();
                    modes.any(|mode| mode.str() == "ReadWriteOncePod")
                })
            })
            .collect();
        if pod.disks.is_empty() && exclusive.is_empty() {
            return Ok(None);
        }
        let mut everyone = cycle.cache.nodes.iter().flat_map(|node| &node.pods);
        let in_use = !exclusive.is_empty()
            && everyone.any(|other| {
                other.namespace == pod.namespace
                    && exclusive.iter().any(|name| other.claims.contains(name))
            });
        Ok(Some(Box::new(move |node: &NodeInfo| -> Verdict {
            if in_use {
                let reason = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
                return Err(Rejection::resolvable("VolumeRestrictions", reason));
            }
            let mut used = node.pods.iter().flat_map(|pod| &pod.disks);
            let clash = used.any(|(kind, identity, shared)| {
                pod.disks
                    .iter()
                    .any(|own| own.0 == *kind && own.1 == *identity && !(own.2 && *shared))
            });
            match clash {
                false => Ok(()),
                true => Err(Rejection::resolvable(
                    "VolumeRestrictions",
                    "node(s) had no available disk",
                )),
            }
        })))
    }
}

/// Refuses nodes outside the zone or region a bound volume is labelled with.
pub struct VolumeZone;

const TOPOLOGY: [&str; 4] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }
    fn events(&self) -> Events {
        Events::NODE_ADDED
            .or(Events::NODE_LABELS)
            .or(Events::STORAGE)
    }
    fn pre_filter<'a>(&self, cycle: &Cycle<'a>) -> Prepared<'a> {
        let mut wanted: Vec<(&'static str, Vec<SmolStr>)> = Vec::new();
        for name in &cycle.pod.claims {
            let claim = cycle
                .view
                .get("persistentvolumeclaims", &cycle.pod.namespace, name);
            let volume = claim
                .map(|claim| claim.at("spec.volumeName").str())
                .unwrap_or_default();
            let Some(volume) = cycle.view.get("persistentvolumes", "", volume) else {
                continue;
            };
            for key in TOPOLOGY {
                // Several zones are joined by two underscores.
                let values = volume
                    .label(key)
                    .map(|text| text.split("__").map(Into::into).collect());
                wanted.extend(values.map(|values| (key, values)));
            }
        }
        if wanted.is_empty() {
            return Ok(None);
        }
        Ok(Some(Box::new(move |node: &NodeInfo| -> Verdict {
            let labelled = TOPOLOGY.iter().any(|key| node.label(key).is_some());
            let fits = |(key, values): &(&str, Vec<SmolStr>)| {
                node.label(key)
                    .is_some_and(|zone| values.iter().any(|value| value == zone))
            };
            match !labelled || wanted.iter().all(fits) {
                true => Ok(()),
                false => Err(Rejection::unresolvable(
                    "VolumeZone",
                    "node(s) had no available volume zone",
                )),
            }
        })))
    }
}
