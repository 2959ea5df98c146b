//! Object metadata that the server owns: filled in on creation, guarded on update.

use crate::Context;
use machinery::{FieldError, Map, Object, Status, Value, format_time};

/// Fields of `metadata` that a client cannot change.
const SERVER_OWNED: [&str; 6] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "selfLink",
    "uid",
];

/// Longest name that still takes a generated suffix.
const GENERATED_BASE_MAX: usize = 58;
/// Length of a generated suffix.
pub(crate) const SUFFIX_LENGTH: usize = 5;

/// Metadata of a new object: identity, time, generation; whatever a client sent of these goes.
pub(crate) fn prepare_create(
    context: &Context<'_>,
    value: &mut Value,
    uid: String,
    suffix: &str,
) -> Result<(), Status> {
    let metadata = value.metadata_mut();
    if metadata
        .get("resourceVersion")
        .is_some_and(|version| !version.str().is_empty())
    {
        return Err(Status::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    metadata.remove("resourceVersion");
    SERVER_OWNED
        .iter()
        .for_each(|field| drop(metadata.remove(field)));
    if context.kind.namespaced {
        metadata.insert("namespace", &context.call.namespace);
    } else {
        metadata.remove("namespace");
    }
    generate_name(metadata, suffix);
    metadata.insert("uid", uid);
    metadata.insert("creationTimestamp", format_time(context.now.0));
    Ok(())
}

fn generate_name(metadata: &mut Map, suffix: &str) {
    if metadata
        .get("name")
        .is_some_and(|name| !name.str().is_empty())
    {
        return;
    }
    let base = metadata
        .get("generateName")
        .map(|base| base.str().to_owned())
        .unwrap_or_default();
    if !base.is_empty() {
        let mut end = base.len().min(GENERATED_BASE_MAX);
        while !base.is_char_boundary(end) {
            end -= 1;
        }
        metadata.insert("name", format!("{}{suffix}", &base[..end]));
    }
}

/// Metadata of an update: the server's fields stay as they are in `old`.
pub(crate) fn prepare_update(value: &mut Value, old: &Object) {
    let owned = old.metadata();
    let metadata = value.metadata_mut();
    for field in SERVER_OWNED {
        let kept = owned.get(field);
        if kept.is_null() {
            metadata.remove(field);
        } else {
            metadata.insert(field, kept.to_value());
        }
    }
    metadata.remove("resourceVersion");
    if !owned.get("generateName").is_null() && !metadata.contains_key("generateName") {
        metadata.insert("generateName", owned.get("generateName").to_value());
    }
}

/// Checks what an update says about identity against the stored object.
pub(crate) fn check_identity(
    context: &Context<'_>,
    value: &Value,
    old: &Object,
) -> Result<(), Status> {
    let metadata = &value["metadata"];
    let resource = context.call.resource.group_resource();
    let version = metadata["resourceVersion"].str();
    if !version.is_empty() && version != "0" {
        let wanted: u64 = version.parse().map_err(|_| {
            invalid(
                context,
                value,
                FieldError::invalid(
                    "metadata.resourceVersion",
                    version,
                    format!("Invalid value: {version:?}"),
                ),
            )
        })?;
        if wanted != old.revision() {
            return Err(Status::modified(&resource, old.name()));
        }
    } else if !context.kind.strategy.allow_unconditional_update
        && context.call.verb == crate::Verb::Update
    {
        return Err(invalid(
            context,
            value,
            FieldError::invalid(
                "metadata.resourceVersion",
                0,
                "must be specified for an update",
            ),
        ));
    }
    let uid = metadata["uid"].str();
    if !uid.is_empty() && uid != old.uid() {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            old.uid()
        );
        return Err(Status::conflict(&resource, old.name(), &why));
    }
    Ok(())
}

/// A 422 about the object of this call.
pub(crate) fn invalid(context: &Context<'_>, value: &Value, error: FieldError) -> Status {
    let gvk = &context.kind.gvk;
    Status::invalid(&gvk.group, &gvk.kind, value.name(), &[error])
}

/// Whether an object under deletion has nothing left that holds it.
pub(crate) fn is_finished(kind: &kinds::Kind, value: &Value) -> bool {
    let metadata = &value["metadata"];
    !metadata["deletionTimestamp"].is_null()
        && metadata["finalizers"].items().is_empty()
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && !(kind.strategy.prepare_delete)(&mut value.clone())
}
