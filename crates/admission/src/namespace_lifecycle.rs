//! `NamespaceLifecycle`: three namespaces cannot be deleted. (That a namespace exists and is
//! not going away is the door's own step.)
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle`.

use crate::common::{forbid, is};
use kinds::NAMESPACES;
use machinery::Status;
use registry::{Admission, Handles, Operation, Review};

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// The plug-in.
pub struct NamespaceLifecycle;

impl Admission for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self) -> Handles {
        Handles::NOTHING
            .validates(&[Operation::Create, Operation::Update, Operation::Delete])
            .of(&[NAMESPACES])
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if is(review, NAMESPACES, Operation::Delete) && IMMORTAL.contains(&review.name.as_str()) {
            return Err(forbid(review, "this namespace may not be deleted"));
        }
        Ok(())
    }
}
