//! `AdmissionReview` requests: a write as a webhook sees it, in the version its rule names.
//!
//! Upstream counterpart: `admission/plugin/webhook/request`.

use super::{
    choose::{body_kind, namespace},
    hooks::ReviewVersion,
};
use kinds::{Kind, SubKind};
use machinery::{GroupVersionKind, Status, Value, json};
use registry::{FieldValidation, Operation, Options, Propagation, Review};
use std::sync::Arc;

/// Characters of a generated name after `generateName`.
const SUFFIX_LENGTH: usize = 5;
/// Fields of `metadata` that a new object gets only after admission.
const GIVEN_LATER: [&str; 2] = ["creationTimestamp", "uid"];

/// A write in one version.
pub(crate) struct Shown {
    /// The kind in that version.
    pub kind: Arc<Kind>,
    pub object: Value,
    pub old: Value,
}

/// Whether what is written is the object itself (or a part of it), not a body of another kind.
pub(crate) fn is_object(review: &Review<'_>) -> bool {
    if review.operation == Operation::Connect {
        return false;
    }
    let subresource = review.kind.subresource(review.subresource);
    subresource.is_none_or(|one| matches!(one.kind, SubKind::Status | SubKind::Part))
}

fn is_scale(review: &Review<'_>) -> bool {
    let subresource = review.kind.subresource(review.subresource);
    subresource.is_some_and(|one| matches!(one.kind, SubKind::Scale(_)))
}

/// The name as the client gave it: empty where the server made it up.
fn given_name<'a>(review: &'a Review<'_>) -> &'a str {
    let metadata = &review.object["metadata"];
    let base = metadata["generateName"].str();
    let name = review.name.as_str();
    let generated = review.operation == Operation::Create
        && !base.is_empty()
        && name.len() > SUFFIX_LENGTH
        && name
            .get(..name.len() - SUFFIX_LENGTH)
            .is_some_and(|start| base.starts_with(start));
    if generated { "" } else { name }
}

/// A write in the version of `kind`, as it is shown outside.
pub(crate) async fn show(review: &Review<'_>, kind: &Arc<Kind>) -> Result<Shown, Status> {
    let old = review.old.map(|old| old.to_value()).unwrap_or_default();
    let object = own_form(review);
    let (object, old) = if is_scale(review) {
        let scale = |value: &Value| review.kind.to_scale(value).unwrap_or_default();
        (scale(&object), scale(&old))
    } else if is_object(review) && kind.gvk != review.kind.gvk {
        (
            in_version(review, object, kind).await?,
            in_version(review, old, kind).await?,
        )
    } else {
        (object, old)
    };
    Ok(Shown {
        kind: kind.clone(),
        object,
        old,
    })
}

/// The object under review without what it gets later, and with what an update is based on.
fn own_form(review: &Review<'_>) -> Value {
    let mut object = review.object.clone();
    if object.is_null() || !is_object(review) && !is_scale(review) {
        return object;
    }
    match review.old {
        Some(old) => {
            let version = old.revision().to_string();
            object.metadata_mut().insert("resourceVersion", version);
        }
        None => {
            let generated = given_name(review).is_empty();
            let metadata = object.metadata_mut();
            for field in GIVEN_LATER {
                metadata.remove(field);
            }
            if generated {
                metadata.remove("name");
            }
        }
    }
    object
}

async fn in_version(review: &Review<'_>, value: Value, kind: &Arc<Kind>) -> Result<Value, Status> {
    if value.is_null() {
        return Ok(value);
    }
    let to = kind.api_version();
    review.door.to_version(value, &review.kind, &to).await
}

/// Takes in what a webhook made of the object it was shown.
pub(crate) async fn take_in(
    review: &mut Review<'_>,
    shown: &Shown,
    mut made: Value,
) -> Result<(), Status> {
    if is_scale(review) {
        let kind = review.kind.clone();
        kind.set_scale(&mut review.object, &made);
        review.object.metadata_mut().remove("resourceVersion");
        return Ok(());
    }
    if !is_object(review) {
        review.object = made;
        return Ok(());
    }
    decode(&mut made, &shown.kind)?;
    shown.kind.apply_defaults(&mut made);
    if shown.kind.gvk != review.kind.gvk {
        let to = review.kind.api_version();
        made = review.door.to_version(made, &review.kind, &to).await?;
    }
    restore(review, &mut made)?;
    review.object = made;
    Ok(())
}

fn decode(made: &mut Value, kind: &Kind) -> Result<(), Status> {
    let gvk = made.gvk();
    if gvk != kind.gvk {
        let why = format!(
            "unable to decode {gvk} into {}: admission webhooks may not change the kind",
            kind.gvk
        );
        return Err(Status::internal(why));
    }
    // Unknown fields are dropped without a word, as upstream's lenient decoder does.
    schema::decode(made, &kind.type_ref)
        .map(drop)
        .map_err(Status::internal)
}

/// Puts back what the server keeps for itself.
fn restore(review: &Review<'_>, made: &mut Value) -> Result<(), Status> {
    if review.kind.namespaced && made.namespace() != review.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let before = &review.object["metadata"];
    let metadata = made.metadata_mut();
    metadata.remove("resourceVersion");
    if review.old.is_some() {
        return Ok(());
    }
    for field in GIVEN_LATER {
        match before.get(field) {
            Some(value) => drop(metadata.insert(field, value)),
            None => drop(metadata.remove(field)),
        }
    }
    if metadata
        .get("name")
        .is_none_or(|name| name.str().is_empty())
    {
        metadata.insert("name", &before["name"]);
    }
    Ok(())
}

/// `request` of the review.
pub(crate) fn request(review: &Review<'_>, shown: &Shown, uid: &str) -> Value {
    let mut request = circumstances(review, &shown.kind);
    request["uid"] = uid.into();
    request["object"] = shown.object.clone();
    request["oldObject"] = shown.old.clone();
    request
}

/// `request` of the review without the objects.
pub(crate) fn circumstances(review: &Review<'_>, kind: &Kind) -> Value {
    let (asked, subresource) = (&review.kind, review.subresource);
    let mut request = json!({
        "kind": kind_of(body_kind(kind, subresource)),
        "resource": resource_of(kind),
        "requestKind": kind_of(body_kind(asked, subresource)),
        "requestResource": resource_of(asked),
        "operation": review.operation.name(),
        "userInfo": review.user.to_value(),
        "dryRun": review.options.dry_run,
        "options": options(review),
    });
    for (field, text) in [
        ("subResource", subresource),
        ("requestSubResource", subresource),
        ("name", given_name(review)),
        ("namespace", namespace(review)),
    ] {
        if !text.is_empty() {
            request[field] = text.into();
        }
    }
    request
}

/// The whole review.
pub(crate) fn review_of(request: Value, version: ReviewVersion) -> Value {
    json!({"kind": "AdmissionReview", "apiVersion": api_version(version), "request": request})
}

/// `apiVersion` of a review.
pub(crate) fn api_version(version: ReviewVersion) -> &'static str {
    match version {
        ReviewVersion::V1 => "admission.k8s.io/v1",
        ReviewVersion::V1Beta1 => "admission.k8s.io/v1beta1",
    }
}

fn kind_of(gvk: &GroupVersionKind) -> Value {
    json!({"group": &gvk.group, "version": &gvk.version, "kind": &gvk.kind})
}

fn resource_of(kind: &Kind) -> Value {
    json!({"group": &kind.gvk.group, "version": &kind.gvk.version, "resource": &kind.plural})
}

/// The request's options as the operation's options object; none where something is connected to.
fn options(review: &Review<'_>) -> Value {
    let kind = match review.operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
        Operation::Connect => return Value::Null,
    };
    let asked = review.options;
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if asked.dry_run {
        options["dryRun"] = vec!["All"].into();
    }
    if review.operation == Operation::Delete {
        add_deletion(&mut options, asked);
        return options;
    }
    if !asked.field_manager.is_empty() {
        options["fieldManager"] = (&asked.field_manager).into();
    }
    match asked.field_validation {
        FieldValidation::Strict => options["fieldValidation"] = "Strict".into(),
        FieldValidation::Ignore => options["fieldValidation"] = "Ignore".into(),
        // What a request says that says nothing.
        FieldValidation::Warn => {}
    }
    options
}

fn add_deletion(options: &mut Value, asked: &Options) {
    let deletion = &asked.delete;
    if let Some(seconds) = deletion.grace_seconds {
        options["gracePeriodSeconds"] = seconds.into();
    }
    if let Some(policy) = deletion.propagation {
        options["propagationPolicy"] = match policy {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        }
        .into();
    }
    if let Some(uid) = &deletion.uid {
        options.set_at(&["preconditions", "uid"], uid);
    }
    if let Some(revision) = &deletion.revision {
        options.set_at(&["preconditions", "resourceVersion"], revision);
    }
}
