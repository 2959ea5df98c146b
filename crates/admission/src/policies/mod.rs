//! Admission policies: rules that users write as expressions, which refuse or complete writes
//! without anybody being asked.
//!
//! Knows no program outside. Upstream counterpart:
//! `k8s.io/apiserver/pkg/admission/plugin/policy`.

mod authorizer;
mod compiled;
mod conditions;
mod evaluate;
mod mutating;
mod params;
mod patch;
mod validating;

pub use conditions::MatchConditions;

use crate::webhooks::choose::{choose, is_carried_out, namespace};
use compiled::{Binding, Compiled, Source};
use kinds::Kind;
use machinery::{GroupResource, Status, Value};
use registry::{Door, Key, Review};
use std::sync::Arc;

/// Policies and their bindings themselves: a broken policy could not be mended.
const EXEMPT: [&str; 4] = [
    kinds::MUTATING_ADMISSION_POLICIES,
    kinds::MUTATING_ADMISSION_POLICY_BINDINGS,
    kinds::VALIDATING_ADMISSION_POLICIES,
    kinds::VALIDATING_ADMISSION_POLICY_BINDINGS,
];
/// Reviews that a cluster cannot do without.
const REVIEWS: [(&str, &str); 6] = [
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

/// The policies of a cluster, compiled once.
pub(crate) struct Policies {
    validating: Source,
    mutating: Source,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            validating: Source::new(
                kinds::VALIDATING_ADMISSION_POLICIES,
                kinds::VALIDATING_ADMISSION_POLICY_BINDINGS,
            ),
            mutating: Source::new(
                kinds::MUTATING_ADMISSION_POLICIES,
                kinds::MUTATING_ADMISSION_POLICY_BINDINGS,
            ),
        }
    }
}

impl Policies {
    /// Whether there are policies that change writes.
    pub fn may_mutate(&self, door: &Door) -> bool {
        self.mutating.exist(door)
    }
}

fn is_exempt(review: &Review<'_>) -> bool {
    let gvk = &review.kind.gvk;
    EXEMPT.contains(&review.kind.storage.as_str())
        || REVIEWS.contains(&(gvk.group.as_str(), review.kind.plural.as_str()))
        || is_carried_out(review)
}

/// The kind in whose version a policy sees a write; `None` if it does not concern it.
fn concerns(policy: &Compiled, review: &Review<'_>) -> Result<Option<Arc<Kind>>, String> {
    choose(&policy.criteria, review).map_err(|status| status.message().to_owned())
}

/// Whether a binding makes its policy count for a write.
fn binds(binding: &Binding, review: &Review<'_>) -> Result<bool, String> {
    let Some(criteria) = &binding.criteria else {
        return Ok(true);
    };
    let found = choose(criteria, review).map_err(|status| status.message().to_owned())?;
    Ok(found.is_some())
}

/// The namespace of a write as expressions see it; null where there is none.
fn namespace_object(review: &Review<'_>) -> Result<Value, Status> {
    let name = namespace(review);
    if name.is_empty() || review.kind.storage == kinds::NAMESPACES {
        return Ok(Value::Null);
    }
    let state = review.door.snapshot();
    let found = state.get(kinds::NAMESPACES, &Key::new("", name));
    let missing = || Status::not_found(&GroupResource::new("", "namespaces"), name);
    found.map(|object| object.to_value()).ok_or_else(missing)
}
