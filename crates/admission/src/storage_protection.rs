//! `StorageObjectInUseProtection`: new claims and volumes carry the finalizers that the
//! protection controllers take away once nobody uses them.
//!
//! Upstream counterpart: `plugin/pkg/admission/storage/storageobjectinuseprotection`.

use crate::common::{is, list_at};
use kinds::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES};
use machinery::{Status, Value};
use registry::{Admission, Handles, Operation, Review};

const FINALIZERS: [(&str, &str); 2] = [
    (PERSISTENT_VOLUME_CLAIMS, "kubernetes.io/pvc-protection"),
    (PERSISTENT_VOLUMES, "kubernetes.io/pv-protection"),
];

/// The plug-in.
pub struct StorageObjectInUseProtection;

impl Admission for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self) -> Handles {
        Handles::NOTHING
            .admits(&[Operation::Create])
            .of(&[PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES])
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        for (storage, finalizer) in FINALIZERS {
            if is(review, storage, Operation::Create) {
                protect(&mut review.object, finalizer);
            }
        }
        Ok(())
    }
}

fn protect(object: &mut Value, finalizer: &str) {
    let finalizers = list_at(object, &["metadata", "finalizers"]);
    if !finalizers.iter().any(|one| one.str() == finalizer) {
        finalizers.push(finalizer.into());
    }
}
