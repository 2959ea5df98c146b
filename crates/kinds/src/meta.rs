//! Validation of object metadata, the same for every kind.
//!
//! Upstream counterpart: `k8s.io/apimachinery/pkg/api/validation/objectmeta.go`.

use crate::{
    Kind,
    check::{Errors, IMMUTABLE, Place, at, is_empty, labels, syntax},
};
use machinery::{FieldError, SmolStr, Value, dns1123_label, qualified_name};
use std::collections::BTreeSet;

/// Finalizers of the system itself, which need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// Bytes that all annotations of an object may hold together.
const ANNOTATIONS_MAX: usize = 256 * 1024;

pub(crate) fn validate(object: &Value, kind: &Kind) -> Errors {
    let mut errors = Errors::new();
    let metadata = &object["metadata"];
    // Reviews and the like are answered, not kept: they need no name.
    if kind.stored {
        names(&mut errors, metadata, kind);
    }
    common(&mut errors, metadata, kind);
    errors
}

fn names(errors: &mut Errors, metadata: &Value, kind: &Kind) {
    let (name, prefix) = (metadata["name"].str(), metadata["generateName"].str());
    let check = kind.strategy.name_check;
    if !prefix.is_empty() {
        // A generated suffix follows, so a dash may stand at the end.
        let complaints = check(&format!("{}a", prefix.strip_suffix('-').unwrap_or(prefix)));
        let path = "metadata.generateName";
        errors.extend(
            complaints
                .into_iter()
                .map(|why| FieldError::invalid(path, prefix, why)),
        );
    }
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else {
        syntax(errors, at!("metadata.name"), name, check);
    }
    let namespace = metadata["namespace"].str();
    match (kind.namespaced, namespace.is_empty()) {
        (true, true) => errors.push(FieldError::required("metadata.namespace", "")),
        (true, false) => syntax(errors, at!("metadata.namespace"), namespace, dns1123_label),
        (false, false) => {
            errors.push(FieldError::forbidden(
                "metadata.namespace",
                "not allowed on this type",
            ));
        }
        (false, true) => {}
    }
}

fn common(errors: &mut Errors, metadata: &Value, kind: &Kind) {
    labels(errors, at!("metadata.labels"), &metadata["labels"]);
    annotations(
        errors,
        at!("metadata.annotations"),
        &metadata["annotations"],
    );
    owners(errors, metadata["ownerReferences"].items());
    finalizers(errors, metadata["finalizers"].items(), kind);
}

/// Keys of annotations, and their size together.
pub(crate) fn annotations(errors: &mut Errors, path: Place<'_>, annotations: &Value) {
    let mut total = 0;
    for (key, value) in annotations.entries() {
        let complaints = qualified_name(&key.to_ascii_lowercase());
        errors.extend(
            complaints
                .into_iter()
                .map(|why| FieldError::invalid(path, key, why)),
        );
        total += key.len() + value.str().len();
    }
    if total > ANNOTATIONS_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_MAX));
    }
}

fn owners(errors: &mut Errors, owners: &[Value]) {
    const PATH: &str = "metadata.ownerReferences";
    for owner in owners {
        for (field, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            let text = owner[field].str();
            // What is no group and version has no version.
            let versionless = field == "apiVersion" && text.split('/').count() > 2;
            if text.is_empty() || versionless {
                errors.push(FieldError::invalid(at!("{PATH}.{field}"), text, why));
            }
        }
        if owner["apiVersion"].str() == "v1" && owner["kind"].str() == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(PATH, owner, why));
        }
    }
    let mut controllers = owners
        .iter()
        .filter(|owner| owner["controller"].as_bool() == Some(true));
    if let (Some(first), Some(second)) = (controllers.next(), controllers.next()) {
        let why = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
            first["kind"].str(),
            first["name"].str(),
            second["kind"].str(),
            second["name"].str()
        );
        errors.push(FieldError::invalid(
            PATH,
            Value::Array(owners.to_vec()),
            why,
        ));
    }
}

/// Finalizers that came with a write and may collide with those of others.
pub(crate) fn finalizer_warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let all = |object: &Value| -> BTreeSet<SmolStr> {
        let list = object.at(&["metadata", "finalizers"]).items();
        list.iter().map(|one| SmolStr::new(one.str())).collect()
    };
    let (new, old) = (all(new), old.map(all).unwrap_or_default());
    let plain =
        |name: &&SmolStr| !name.contains('/') && !STANDARD_FINALIZERS.contains(&name.as_str());
    new.difference(&old)
        .filter(plain)
        .map(|name| format!("metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers"))
        .collect()
}

/// Kinds of the core and its sisters want finalizers qualified; definitions, their kinds and
/// aggregation have the generic rule alone.
fn wants_qualified(kind: &Kind) -> bool {
    let generic = ["apiextensions.k8s.io", "apiregistration.k8s.io"];
    !kind.custom && !generic.contains(&kind.gvk.group.as_str())
}

/// Whether a finalizer is one that everybody knows, or names its owner.
pub(crate) fn is_owned(finalizer: &str) -> bool {
    finalizer.contains('/') || STANDARD_FINALIZERS.contains(&finalizer)
}

pub(crate) const UNOWNED: &str =
    "name is neither a standard finalizer name nor is it fully qualified";

fn finalizers(errors: &mut Errors, finalizers: &[Value], kind: &Kind) {
    const PATH: &str = "metadata.finalizers";
    for (at, finalizer) in finalizers.iter().enumerate() {
        let (name, before) = (finalizer.str(), errors.len());
        syntax(errors, at!("{PATH}"), name, qualified_name);
        if wants_qualified(kind) && (errors.len() > before || !is_owned(name)) {
            errors.push(FieldError::invalid(at!("{PATH}[{at}]"), name, UNOWNED));
        }
    }
    let has = |name: &str| finalizers.iter().any(|one| one.str() == name);
    if has("orphan") && has("foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(
            PATH,
            Value::Array(finalizers.to_vec()),
            why,
        ));
    }
}

pub(crate) fn validate_update(new: &Value, old: &Value, kind: &Kind) -> Errors {
    let mut errors = Errors::new();
    let (new, old) = (&new["metadata"], &old["metadata"]);
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        if new[field] != old[field] && !(is_empty(&new[field]) && is_empty(&old[field])) {
            errors.push(FieldError::invalid(
                at!("metadata.{field}"),
                &new[field],
                IMMUTABLE,
            ));
        }
    }
    if !old["deletionTimestamp"].is_null() {
        added_finalizers(&mut errors, new, old);
    }
    common(&mut errors, new, kind);
    errors
}

/// An object that is going must not be held by more than already holds it.
fn added_finalizers(errors: &mut Errors, new: &Value, old: &Value) {
    let known = old["finalizers"].items();
    let added: Vec<_> = new["finalizers"]
        .items()
        .iter()
        .filter(|one| !known.contains(one))
        .collect();
    if !added.is_empty() {
        let names: Vec<_> = added.iter().map(|one| format!("{:?}", one.str())).collect();
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            names.join(", ")
        );
        errors.push(FieldError::forbidden("metadata.finalizers", why));
    }
}
