//! `PersistentVolumeClaimResize`: only bound claims of classes that allow it may grow.
//!
//! Upstream counterpart: `plugin/pkg/admission/storage/persistentvolume/resize`.

use crate::common::{forbid, is, quantity};
use kinds::{PERSISTENT_VOLUME_CLAIMS, STORAGE_CLASSES};
use machinery::{Object, Status, Value};
use registry::{Admission, Handles, Key, Operation, Review, Snapshot};

const SIZE: [&str; 4] = ["spec", "resources", "requests", "storage"];

/// The plug-in.
pub struct PersistentVolumeClaimResize;

impl Admission for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self) -> Handles {
        Handles::NOTHING
            .validates(&[Operation::Update])
            .of(&[PERSISTENT_VOLUME_CLAIMS])
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let Some(old) = review
            .old
            .filter(|_| is(review, PERSISTENT_VOLUME_CLAIMS, Operation::Update))
        else {
            return Ok(());
        };
        match refusal(&review.door.snapshot(), &review.object, old) {
            Some(why) => Err(forbid(review, why)),
            None => Ok(()),
        }
    }
}

fn refusal(state: &Snapshot, claim: &Value, old: &Object) -> Option<&'static str> {
    let size = quantity(claim.at(&SIZE));
    if size <= quantity(&old.at("spec.resources.requests.storage").to_value()) {
        return None;
    }
    if old.at("status.phase").str() != "Bound" {
        return Some("Only bound persistent volume claims can be expanded");
    }
    let class = claim["spec"]["storageClassName"].str();
    let class = state.get(STORAGE_CLASSES, &Key::new("", class));
    if class.is_some_and(|class| class.at("allowVolumeExpansion").is_true()) {
        return None;
    }
    Some(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::state;
    use machinery::json;

    #[test]
    fn only_bound_claims_of_willing_classes_grow() {
        let state = state(&[
            (
                STORAGE_CLASSES,
                json!({"metadata": {"name": "big"}, "allowVolumeExpansion": true}),
            ),
            (STORAGE_CLASSES, json!({"metadata": {"name": "fixed"}})),
        ]);
        let claim = |class: &str, size: &str, phase: &str| json!({"metadata": {"name": "c"}, "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}, "status": {"phase": phase}});
        for (class, size, phase, allowed) in [
            ("big", "2Gi", "Bound", true),
            ("big", "2Gi", "Pending", false),
            ("fixed", "2Gi", "Bound", false),
            ("none", "2Gi", "Bound", false),
            ("fixed", "1Gi", "Bound", true),
        ] {
            let old = Object::new(&claim(class, "1Gi", phase), 1);
            let refused = refusal(&state, &claim(class, size, phase), &old);
            assert_eq!(refused.is_none(), allowed, "{class} {size} {phase}");
        }
    }
}
