//! What the plug-ins share: recognising a review, refusing it, small reads of trees.
//!
//! Knows no particular rule. Upstream counterpart: `k8s.io/apiserver/pkg/admission`.

use machinery::{FieldError, Quantity, Status, Value};
use registry::{Operation, Review};

/// Whether the review is of `operation` on objects stored as `storage` themselves (no subresource).
pub(crate) fn is(review: &Review<'_>, storage: &str, operation: Operation) -> bool {
    review.subresource.is_empty() && review.operation == operation && review.kind.storage == storage
}

/// Whether the review creates or updates objects stored as `storage`.
pub(crate) fn writes(review: &Review<'_>, storage: &str) -> bool {
    is(review, storage, Operation::Create) || is(review, storage, Operation::Update)
}

/// `pods "x" is forbidden: why`.
pub(crate) fn forbid(review: &Review<'_>, why: &str) -> Status {
    let name = if review.name.is_empty() {
        review.object.name()
    } else {
        &review.name
    };
    Status::forbidden(&review.kind.group_resource(), name, why)
}

/// 403 with several reasons, as upstream joins them; nothing for none.
pub(crate) fn forbid_all(review: &Review<'_>, reasons: &[String]) -> Result<(), Status> {
    match reasons {
        [] => Ok(()),
        [one] => Err(forbid(review, one)),
        many => Err(forbid(review, &format!("[{}]", many.join(", ")))),
    }
}

/// 422 about the object under review.
pub(crate) fn invalid(review: &Review<'_>, errors: &[FieldError]) -> Status {
    let gvk = &review.kind.gvk;
    Status::invalid(&gvk.group, &gvk.kind, review.object.name(), errors)
}

/// The quantity at a value; nothing for what is absent or malformed (validation tells).
pub(crate) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Int(number) => Some(Quantity::from_units(*number, machinery::Format::DecimalSi)),
        Value::Float(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// The list at `path`, created where missing.
pub(crate) fn list_at<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Vec<Value> {
    let (last, parents) = path.split_last().expect("a list has a path");
    let list = value
        .object_at(parents)
        .entry_or(last, || Value::Array(Vec::new()));
    if list.as_array().is_none() {
        *list = Value::Array(Vec::new());
    }
    list.as_array_mut().expect("just made a list")
}

/// The texts of a list.
pub(crate) fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.items().iter().map(Value::str)
}

/// An annotation of a tree.
pub(crate) fn annotation<'a>(value: &'a Value, key: &str) -> &'a str {
    value.at(&["metadata", "annotations", key]).str()
}
