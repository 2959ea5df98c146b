//! Fills in defaults: those of the schema and those computed by type.
//!
//! Upstream counterpart: the generated `SetObjectDefaults_*` functions, which call
//! `pkg/apis/*/*/defaults.go` from the outside in.

mod cluster;
mod core;
mod pod;
mod workload;

use crate::Kind;
use machinery::{Map, SmolStr, Value};
use schema::{TypeRef, Visitor};
use std::sync::OnceLock;

/// Sets defaults of one value of a type.
type Default = fn(&mut Map);
/// Type names (below `io.k8s.api.` where they are there) and their defaults.
type Rows = &'static [(&'static str, Default)];

struct Table {
    visitor: Visitor,
    hooks: Vec<Default>,
}

fn rows() -> impl Iterator<Item = (String, Default)> {
    let full = |name: &str| {
        if name.starts_with("io.k8s.") {
            name.to_owned()
        } else {
            format!("io.k8s.api.{name}")
        }
    };
    let rows = [pod::ROWS, core::ROWS, workload::ROWS, cluster::ROWS]
        .into_iter()
        .flatten();
    rows.map(move |(name, hook)| (full(name), *hook))
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let (names, hooks): (Vec<_>, Vec<_>) = rows().unzip();
        let visitor = Visitor::new(schema::builtin(), names.iter().map(String::as_str));
        Table { visitor, hooks }
    })
}

/// Defaults of an object of `kind`.
pub(crate) fn apply(object: &mut Value, kind: &Kind) {
    if kind.custom {
        schema::apply_defaults(object, &kind.type_ref);
    } else {
        apply_builtin(object, &kind.type_ref);
    }
}

/// Defaults of a value of a built-in type, such as the body of a subresource.
pub fn apply_builtin(object: &mut Value, of: &TypeRef) {
    schema::apply_defaults(object, of);
    let table = table();
    table
        .visitor
        .visit(object, of.id, &mut |at, map| table.hooks[at](map));
}

/// Sets `key` where absent or null (a nil pointer).
fn set(map: &mut Map, key: &'static str, value: impl Into<Value>) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(SmolStr::new_static(key), value);
    }
}

/// Sets `key` where absent or a zero value (a Go field that is no pointer).
fn fill(map: &mut Map, key: &'static str, value: impl Into<Value>) {
    let unset = match map.get(key) {
        None | Some(Value::Null | Value::Int(0)) => true,
        Some(Value::String(text)) => text.is_empty(),
        _ => false,
    };
    if unset {
        map.insert(SmolStr::new_static(key), value);
    }
}

/// The member object `key`, made if it is not there.
fn member<'a>(map: &'a mut Map, key: &'static str) -> &'a mut Map {
    map.entry_or(key, Value::object).make_object()
}

/// The text of `key`, empty if there is none.
fn text<'a>(map: &'a Map, key: &str) -> &'a str {
    map.get(key).map_or("", Value::str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_names_a_type() {
        for (name, _) in rows() {
            assert!(schema::builtin().named(&name).is_some(), "{name}");
        }
    }
}
