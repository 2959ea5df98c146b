//! Optional values.
//!
//! Upstream counterpart: the optional types of cel-go's `cel/library.go`.

use super::{Row, list, wrong};
use crate::{EvalError, Outcome, Val};

pub(crate) const TABLE: &[Row] = &[
    ("optional.of", "optional_of", "(V) -> optional<V>", |args| {
        Ok(Val::some(args[0].clone()))
    }),
    (
        "optional.ofNonZeroValue",
        "optional_ofNonZeroValue",
        "(V) -> optional<V>",
        |args| {
            Ok(if args[0].is_zero() {
                Val::Optional(None)
            } else {
                Val::some(args[0].clone())
            })
        },
    ),
    (
        "optional.none",
        "optional_none",
        "() -> optional<V>",
        |_| Ok(Val::Optional(None)),
    ),
    (
        "value",
        "optional_value",
        "optional<V>.() -> V",
        |args| match &args[0] {
            Val::Optional(Some(value)) => Ok((**value).clone()),
            Val::Optional(None) => Err(EvalError::new("optional.none() dereference")),
            _ => Err(wrong()),
        },
    ),
    (
        "hasValue",
        "optional_hasValue",
        "optional<V>.() -> bool",
        |args| match &args[0] {
            Val::Optional(value) => Ok(Val::Bool(value.is_some())),
            _ => Err(wrong()),
        },
    ),
    (
        "or",
        "optional_or_optional",
        "optional<V>.(optional<V>) -> optional<V>",
        |_| Err(wrong()),
    ),
    (
        "orValue",
        "optional_orValue_value",
        "optional<V>.(V) -> V",
        |_| Err(wrong()),
    ),
    ("last", "list_last", "list<V>.() -> optional<V>", |args| {
        let list = list(&args[0])?;
        list.len()
            .checked_sub(1)
            .and_then(|last| list.get(last))
            .map_or(Ok(Val::Optional(None)), |item| item.map(Val::some))
    }),
    ("first", "list_first", "list<V>.() -> optional<V>", |args| {
        list(&args[0])?
            .get(0)
            .map_or(Ok(Val::Optional(None)), |item| item.map(Val::some))
    }),
    (
        "optional.unwrap",
        "optional_unwrap",
        "(list<optional<V>>) -> list<V>",
        unwrap,
    ),
    (
        "unwrapOpt",
        "optional_unwrapOpt",
        "list<optional<V>>.() -> list<V>",
        unwrap,
    ),
];

fn unwrap<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let mut items = Vec::new();
    for item in list(&args[0])?.items() {
        match item? {
            Val::Optional(Some(value)) => items.push((*value).clone()),
            Val::Optional(None) => {}
            _ => return Err(wrong()),
        }
    }
    Ok(Val::list(items))
}
