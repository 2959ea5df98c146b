//! The parameters that a binding gives its policy.
//!
//! Upstream counterpart: `policy/generic/policy_dispatcher.go` (`CollectParams`).

use super::compiled::{Compiled, ParamRef};
use crate::webhooks::choose::namespace;
use kinds::Kind;
use machinery::{LabelSelector, Object, Value};
use registry::{Key, Review};
use std::sync::Arc;

/// Why a policy cannot be followed.
pub(super) enum Unusable {
    /// The policy itself is at fault.
    Policy(String),
    /// The binding is.
    Binding(String),
}

/// The kind of a policy's parameters.
///
/// # Errors
/// There is none of that name.
pub(super) fn param_kind(
    policy: &Compiled,
    review: &Review<'_>,
) -> Result<Option<Arc<Kind>>, Unusable> {
    let Some(gvk) = &policy.params else {
        return Ok(None);
    };
    let catalogue = review.door.catalogue();
    let missing = || {
        let why = format!("failed to find resource referenced by paramKind: '{gvk}'");
        Unusable::Policy(why)
    };
    let kind = catalogue.kind(gvk).cloned().ok_or_else(missing)?;
    Ok(Some(kind))
}

/// The parameters to evaluate a policy with, once each; null stands for none.
///
/// # Errors
/// They cannot be found.
pub(super) async fn collect(
    kind: Option<&Arc<Kind>>,
    reference: Option<&ParamRef>,
    review: &Review<'_>,
) -> Result<Vec<Value>, Unusable> {
    let (Some(kind), Some(reference)) = (kind, reference) else {
        return Ok(vec![Value::Null]);
    };
    let place = place(kind, reference, review)?;
    let found = find(kind, reference, &place, review);
    if found.is_empty() && reference.required {
        let why = "no params found for policy binding with `Deny` parameterNotFoundAction";
        return Err(Unusable::Binding(why.to_owned()));
    }
    let mut params = Vec::new();
    for object in found {
        let to = kind.api_version();
        let converted = review.door.to_version(object.to_value(), kind, &to).await;
        let failed = |status: machinery::Status| Unusable::Binding(status.message().to_owned());
        params.push(converted.map_err(failed)?);
    }
    Ok(params)
}

/// The namespace of parameters; empty for those of the cluster.
fn place(kind: &Kind, reference: &ParamRef, review: &Review<'_>) -> Result<String, Unusable> {
    let given = reference.namespace.as_str();
    let why = match (kind.namespaced, given.is_empty()) {
        (false, true) => return Ok(String::new()),
        (true, false) => return Ok(given.to_owned()),
        (true, true) if !namespace(review).is_empty() => return Ok(namespace(review).to_owned()),
        (true, true) => {
            "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
        }
        (false, false) => {
            "paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
        }
    };
    Err(Unusable::Binding(why.to_owned()))
}

fn find(kind: &Kind, reference: &ParamRef, place: &str, review: &Review<'_>) -> Vec<Arc<Object>> {
    let state = review.door.snapshot();
    if !reference.name.is_empty() {
        let key = Key::new(place, &reference.name);
        return state
            .get(&kind.storage, &key)
            .cloned()
            .into_iter()
            .collect();
    }
    let everything = LabelSelector::everything();
    let selector = reference.selector.as_ref().unwrap_or(&everything);
    let within = kind.namespaced.then_some(place);
    let all = state.list(&kind.storage, within);
    all.filter(|object| selector.matches_object(object))
        .cloned()
        .collect()
}
