//! What identifies the items of a list, and which types are merged part by part.

use crate::{At, ListKind, Shape};
use machinery::{SmolStr, SmolStrBuilder, Value, format_smolstr};

/// How a value of a type takes part in a merge.
#[derive(Clone, Copy)]
pub(super) enum Parts<'a> {
    /// Replaced whole.
    Leaf,
    /// Object whose named fields are never in a set only because they hold others.
    Struct(At<'a>),
    /// Object with free keys: each key is in the set itself. Without a type: deduced from values.
    Map(Option<At<'a>>),
    /// Items with an identity.
    List(At<'a>, &'a ListKind),
}

/// How values like `value` of type `at` merge. `None` is a type not known.
pub(super) fn parts<'a>(at: Option<At<'a>>, value: &Value) -> Parts<'a> {
    let Some(at) = at.filter(|at| !matches!(at.shape(), Shape::Any | Shape::FieldsV1)) else {
        return if matches!(value, Value::Object(_)) {
            Parts::Map(None)
        } else {
            Parts::Leaf
        };
    };
    match (at.shape(), value) {
        (Shape::Struct(known), Value::Object(_) | Value::Null) if !known.atomic => {
            Parts::Struct(at)
        }
        (
            Shape::Map {
                value,
                atomic: false,
            },
            Value::Object(_) | Value::Null,
        ) => Parts::Map(Some(at.to(*value))),
        (Shape::List { item, kind }, Value::Array(_) | Value::Null)
            if *kind != ListKind::Atomic =>
        {
            Parts::List(at.to(*item), kind)
        }
        _ => Parts::Leaf,
    }
}

/// Type of a member, and whether it is a named field.
pub(super) fn member<'a>(parts: Parts<'a>, key: &str) -> (Option<At<'a>>, bool) {
    match parts {
        Parts::Struct(at) => match at.shape() {
            Shape::Struct(known) => match known.field(key) {
                Some(field) => (Some(at.to(field.node)), true),
                None => (known.additional.map(|id| at.to(id)), false),
            },
            _ => (None, false),
        },
        Parts::Map(value) => (value, false),
        _ => (None, false),
    }
}

pub(super) fn field_key(name: &str) -> SmolStr {
    let mut key = SmolStrBuilder::new();
    key.push_str("f:");
    key.push_str(name);
    key.finish()
}

/// Path element of an item: by its keys (absent ones take their default) or its value.
pub(super) fn item_key(item: &Value, at: At, kind: &ListKind, position: usize) -> SmolStr {
    let ListKind::Map(names) = kind else {
        return format_smolstr!("v:{}", print(item));
    };
    let mut keys: Vec<(&SmolStr, &Value)> = names
        .iter()
        .filter_map(|name| Some((name, item.get(name).or_else(|| default(at, name))?)))
        .collect();
    if keys.is_empty() {
        // Without any key it has no identity but its place.
        return format_smolstr!("i:{position}");
    }
    keys.sort_by_key(|(name, _)| *name);
    let mut key = SmolStrBuilder::new();
    for (at, (name, value)) in keys.into_iter().enumerate() {
        key.push_str(if at == 0 { "k:{" } else { "," });
        put_text(name, &mut key);
        key.push(':');
        match value {
            Value::String(text) => put_text(text, &mut key),
            other => key.push_str(&print(other)),
        }
    }
    key.push('}');
    key.finish()
}

/// Prints a string as JSON. Nearly all are names, in which nothing needs escaping.
fn put_text(text: &str, key: &mut SmolStrBuilder) {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if !text.bytes().all(plain) {
        return key.push_str(&print(&Value::from(text)));
    }
    key.push('"');
    key.push_str(text);
    key.push('"');
}

fn default<'a>(at: At<'a>, name: &str) -> Option<&'a Value> {
    let Shape::Struct(known) = at.shape() else {
        return None;
    };
    let field = known.field(name)?;
    field
        .default
        .as_ref()
        .or(at.schema.node(field.node).default.as_ref())
}

fn print(value: &Value) -> String {
    serde_json::to_string(value).expect("a tree always prints")
}

/// Keys of all items, in the items' order.
pub(super) fn keys(items: &[Value], at: At, kind: &ListKind) -> Vec<SmolStr> {
    items
        .iter()
        .enumerate()
        .map(|(position, item)| item_key(item, at, kind, position))
        .collect()
}
