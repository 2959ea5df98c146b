//! Defaults that a type itself states: of the facts table and of CRD schemas.
//!
//! Defaults that need a program (one kind's, or depending on other fields) are hooks of the
//! kinds, run by a [`crate::Visitor`]. Upstream counterpart: `+default` markers and
//! `apiextensions-apiserver/pkg/apiserver/schema/defaulting`.

use crate::{At, Shape, Struct, TypeRef};
use machinery::{Map, Ref, Value};

/// Fills in defaults below `value`, in list items and map values too. In custom types a null
/// where null is not allowed takes the default, or goes if there is none.
pub fn apply_defaults(value: &mut Value, of: &TypeRef) {
    visit(value, At::new(of));
}

/// Whether [`apply_defaults`] would change the stored `value`. Answers at once where the type has
/// no defaults.
pub fn lacks_defaults(value: Ref<'_>, of: &TypeRef) -> bool {
    lacks(value, At::new(of))
}

fn lacks(value: Ref<'_>, at: At) -> bool {
    if !at.node().defaults_below {
        return false;
    }
    match at.shape() {
        Shape::Struct(known) if is_object(value) => lacks_field(value, known, at),
        Shape::Map { value: inner, .. } => {
            let inner = at.to(*inner);
            let drops = at.node().typed;
            value.entries().any(|(_, value)| {
                lacks_element(value, inner) || drops && is_unfit_null(value, inner)
            })
        }
        Shape::List { item, .. } => {
            let mut items = value.items();
            items.any(|value| lacks_element(value, at.to(*item)))
        }
        _ => false,
    }
}

fn lacks_element(value: Ref<'_>, at: At) -> bool {
    let node = at.node();
    value.is_null() && node.default.is_some() && !node.nullable || lacks(value, at)
}

fn is_unfit_null(value: Ref<'_>, at: At) -> bool {
    value.is_null() && !at.node().nullable && at.node().default.is_none()
}

fn is_object(value: Ref<'_>) -> bool {
    matches!(value.shape(), machinery::flat::Shape::Object)
}

fn lacks_field(value: Ref<'_>, known: &Struct, at: At) -> bool {
    let missing = known.fields.iter().any(|field| {
        let node = at.schema.node(field.node);
        let has_default = field.default.is_some() || node.default.is_some();
        has_default
            && match value.entries().find(|(key, _)| *key == field.name) {
                Some((_, found)) => found.is_null() && !node.nullable,
                None => true,
            }
    });
    missing
        || value.entries().any(|(key, value)| {
            at.member(key).is_some_and(|inner| {
                known.custom && is_unfit_null(value, inner) || lacks(value, inner)
            })
        })
}

fn visit(value: &mut Value, at: At) {
    if !at.node().defaults_below {
        return;
    }
    match (at.shape(), value) {
        // What is stored has its defaults; custom types may have got more since.
        (Shape::Struct(known), Value::Object(map)) if map.is_stored() && !known.custom => {}
        (Shape::Struct(known), Value::Object(map)) => fields(map, known, at),
        (Shape::Map { value: inner, .. }, Value::Object(map)) => {
            let inner = at.to(*inner);
            if at.node().typed {
                map.retain(|_, value| !is_forbidden_null(value, inner));
            }
            for (_, value) in map.iter_mut() {
                element(value, inner);
            }
        }
        (Shape::List { item, .. }, Value::Array(items)) => {
            for value in items {
                element(value, at.to(*item));
            }
        }
        _ => {}
    }
}

fn element(value: &mut Value, at: At) {
    if let Some(default) = &at.node().default
        && value.is_null()
        && !at.node().nullable
    {
        *value = default.clone();
    }
    visit(value, at);
}

/// A null that is no value of its type and that no default replaces.
fn is_forbidden_null(value: &Value, at: At) -> bool {
    value.is_null() && !at.node().nullable && at.node().default.is_none()
}

fn fields(map: &mut Map, known: &Struct, at: At) {
    for field in &known.fields {
        let node = at.schema.node(field.node);
        let Some(default) = field.default.as_ref().or(node.default.as_ref()) else {
            continue;
        };
        match map.get_mut(&field.name) {
            Some(value) if value.is_null() && !node.nullable => *value = default.clone(),
            Some(_) => {}
            None => drop(map.insert(field.name.clone(), default)),
        }
    }
    if known.custom {
        let member = |key: &str| at.member(key);
        map.retain(|key, value| !member(key).is_some_and(|inner| is_forbidden_null(value, inner)));
    }
    for (key, value) in map.iter_mut() {
        if let Some(inner) = at.member(key) {
            visit(value, inner);
        }
    }
}
