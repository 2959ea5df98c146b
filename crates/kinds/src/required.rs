//! Required fields of built-in kinds, from the facts table: what holds where a kind has no
//! check of its own.
//!
//! Upstream counterpart: the many `Required value` branches of `pkg/apis/*/validation`.

use crate::check::{Errors, Place, at};
use machinery::{FieldError, FieldErrorKind, Value};
use schema::{Field, NodeId, Schema, Shape, TypeRef};

/// Required fields that upstream does not ask for.
const UNCHECKED: [&str; 2] = ["endpoints[].hints.forZones[].name", "spec.selector"];

/// A path without its positions.
fn path_shape(path: &str) -> String {
    path.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Adds `Required value` for each missing text or object that no error names yet. Lists and
/// numbers may be empty or zero. Metadata and status are not a client's to fill.
pub(crate) fn validate(object: &Value, of: &TypeRef, errors: &mut Errors) {
    let Shape::Struct(root) = &of.node().shape else {
        return;
    };
    let fields = root
        .fields
        .iter()
        .filter(|field| field.name != "metadata" && field.name != "status");
    for field in fields {
        let path = at!("{}", field.name);
        check_field(
            &of.schema,
            field,
            &object[field.name.as_str()],
            path,
            errors,
        );
    }
}

fn visit(schema: &Schema, id: NodeId, value: &Value, path: Place<'_>, errors: &mut Errors) {
    match (&schema.node(id).shape, value) {
        (Shape::Struct(known), Value::Object(_)) if !known.embedded => {
            for field in known.fields.iter().filter(|field| field.name != "metadata") {
                let path = at!("{path}.{}", field.name);
                check_field(schema, field, &value[field.name.as_str()], path, errors);
            }
        }
        (Shape::List { item, .. }, Value::Array(items)) => {
            for (at, one) in items.iter().enumerate() {
                visit(schema, *item, one, at!("{path}[{at}]"), errors);
            }
        }
        (Shape::Map { value: of, .. }, Value::Object(map)) => {
            for (key, one) in map.iter() {
                visit(schema, *of, one, at!("{path}[{key}]"), errors);
            }
        }
        _ => {}
    }
}

/// Checks what a field holds, at its own place.
fn check_field(
    schema: &Schema,
    field: &Field,
    found: &Value,
    path: Place<'_>,
    errors: &mut Errors,
) {
    if field.required && is_missing(schema, field, found) {
        let path = path.to_string();
        let told = |error: &FieldError| {
            let forbidden = error.kind == FieldErrorKind::Forbidden;
            error.field.starts_with(&path) || forbidden && path.starts_with(&error.field)
        };
        if !errors.iter().any(told) && !UNCHECKED.contains(&path_shape(&path).as_str()) {
            errors.push(FieldError::required(path, ""));
        }
    } else if matches!(found, Value::Object(_) | Value::Array(_)) {
        visit(schema, field.node, found, path, errors);
    }
}

fn is_missing(schema: &Schema, field: &Field, found: &Value) -> bool {
    // An empty header, kernel parameter or audience is one; messages may be empty.
    if matches!(field.name.as_str(), "value" | "message" | "audience") {
        return false;
    }
    match schema.node(field.node).shape {
        Shape::String => found.str().is_empty(),
        Shape::Struct(_) => found.is_null(),
        _ => false,
    }
}
