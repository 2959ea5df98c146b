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

/// Notes the time of what got another value just now, unless the writer says when that was.
pub(crate) fn note_changes(context: &Context<'_>, new: &mut Value, old: &Value) {
    for [what, when] in context.kind.strategy.since {
        let said = new.at(when);
        if new.at(what) != old.at(what) && (said.is_null() || said == old.at(when)) {
            new.set_at(when, format_time(context.now.0));
        }
    }
}

/// Metadata of an update: the server's fields stay as they are in `old`.
pub(crate) fn prepare_update(value: &mut Value, old: &Value) {
    let owned = &old["metadata"];
    if value["metadata"] == *owned {
        return;
    }
    let metadata = value.metadata_mut();
    for field in SERVER_OWNED {
        match &owned[field] {
            Value::Null => drop(metadata.remove(field)),
            kept => drop(metadata.insert(field, kept)),
        }
    }
    metadata.remove("resourceVersion");
    if !owned["generateName"].is_null() && !metadata.contains_key("generateName") {
        metadata.insert("generateName", &owned["generateName"]);
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
            let message = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
            Status::foreign(500, "", message, Value::Null)
        })?;
        if wanted != old.revision() {
            return Err(Status::modified(&resource, old.name()));
        }
    } else if !context.kind.strategy.allow_unconditional_update
        && context.call.verb == crate::Verb::Update
    {
        let error = FieldError::invalid(
            "metadata.resourceVersion",
            0,
            "must be specified for an update",
        );
        return Err(Status::invalid(
            &resource.group,
            &resource.resource,
            value.name(),
            &[error],
        ));
    }
    let uid = metadata["uid"].str();
    if !uid.is_empty() && uid != old.uid() && context.call.verb == crate::Verb::Update {
        return Err(wrong_uid(context, uid, old));
    }
    match moved(metadata, old) {
        errors if errors.is_empty() => Ok(()),
        errors => Err(invalid(context, value, &errors)),
    }
}

/// The refusal of a replacement for another object of the same name.
fn wrong_uid(context: &Context<'_>, uid: &str, old: &Object) -> Status {
    let resource = context.call.resource.group_resource();
    let mut key = format!("/{}", resource.resource);
    for part in [old.namespace(), old.name()] {
        if !part.is_empty() {
            key.push('/');
            key.push_str(part);
        }
    }
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
        old.uid()
    );
    Status::conflict(&resource, old.name(), &why)
}

/// Server-owned fields that a client has moved; one it leaves out it does not mean.
fn moved(metadata: &Value, old: &Object) -> Vec<FieldError> {
    const GUARDED: [&str; 4] = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ];
    let owned = old.metadata();
    let changed = GUARDED.iter().filter(|field| {
        let given = &metadata[**field];
        !given.is_null() && given.as_str() != Some("") && *given != owned.get(field).to_value()
    });
    changed
        .map(|field| {
            let path = format!("metadata.{field}");
            FieldError::invalid(path, &metadata[*field], "field is immutable")
        })
        .collect()
}

/// A 422 about the object of this call.
pub(crate) fn invalid(context: &Context<'_>, value: &Value, errors: &[FieldError]) -> Status {
    let gvk = &context.kind.gvk;
    Status::invalid(&gvk.group, &gvk.kind, value.name(), errors)
}

/// Whether an object under deletion has nothing left that holds it.
pub(crate) fn is_finished(kind: &kinds::Kind, value: &Value) -> bool {
    let metadata = &value["metadata"];
    !metadata["deletionTimestamp"].is_null()
        && metadata["finalizers"].items().is_empty()
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && !(kind.strategy.prepare_delete)(&mut value.clone())
}
