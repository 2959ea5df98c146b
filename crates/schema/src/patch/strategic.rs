//! Strategic merge patch: maps. Lists are in `strategic_list`.

use super::strategic_list;
use crate::{At, Field, Shape, TypeRef};
use machinery::{Map, SmolStr, Status, Value};

pub(super) const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_PREFIX: &str = "$deleteFromPrimitiveList/";
const ORDER_PREFIX: &str = "$setElementOrder/";

/// Applies a strategic merge patch to a value of a built-in type, with all directives.
///
/// # Errors
/// 400 with upstream's sentence for a malformed patch.
pub fn strategic_merge_patch(
    current: &Value,
    patch: &Value,
    of: &TypeRef,
) -> Result<Value, Status> {
    let Value::Object(changes) = patch else {
        return Err(Status::bad_request("invalid JSON document"));
    };
    let mut document = current.clone();
    merge_map(document.make_object(), changes, Some(At::new(of))).map_err(Status::bad_request)?;
    Ok(document)
}

/// What the schema says about the member a patch names.
#[derive(Clone, Copy, Default)]
pub(super) struct Member<'a> {
    pub at: Option<At<'a>>,
    field: Option<&'a Field>,
}

impl<'a> Member<'a> {
    fn of(at: Option<At<'a>>, key: &str) -> Self {
        let field = match at.map(At::shape) {
            Some(Shape::Struct(known)) => known.field(key),
            _ => None,
        };
        Member {
            at: at.and_then(|at| at.member(key)),
            field,
        }
    }

    pub fn merges(self) -> bool {
        self.field.is_some_and(|field| field.patch.merge)
    }

    fn replaces(self) -> bool {
        self.field.is_some_and(|field| field.patch.replace)
    }

    pub fn key(self) -> &'a str {
        self.field.map_or("", |field| &field.patch_key)
    }

    /// Type of the list's items.
    pub fn item(self) -> Option<At<'a>> {
        match self.at?.shape() {
            Shape::List { item, .. } => Some(self.at?.to(*item)),
            _ => None,
        }
    }
}

/// Merges `patch` into `target`.
pub(super) fn merge_map(target: &mut Map, patch: &Map, at: Option<At>) -> Result<(), String> {
    match patch.get(DIRECTIVE).map(Value::str) {
        Some("replace") => {
            *target = without_directives(patch);
            return Ok(());
        }
        Some("delete") => {
            *target = Map::new();
            return Ok(());
        }
        None | Some("merge") => {}
        Some(other) => return Err(format!("unknown patch type found: {other} in map")),
    }
    if let Some(keep) = patch.get(RETAIN_KEYS) {
        retain_keys(target, patch, keep.items())?;
    }
    for (key, change) in patch.iter().filter(|(key, _)| !is_directive(key)) {
        merge_member(target, key, change, Member::of(at, key))?;
    }
    special_lists(target, patch, at)
}

fn is_directive(key: &str) -> bool {
    key == DIRECTIVE
        || key == RETAIN_KEYS
        || key.starts_with(DELETE_PREFIX)
        || key.starts_with(ORDER_PREFIX)
}

/// The map's plain members.
pub(super) fn without_directives(patch: &Map) -> Map {
    let plain = patch.iter().filter(|(key, _)| !is_directive(key));
    plain
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn retain_keys(target: &mut Map, patch: &Map, keep: &[Value]) -> Result<(), String> {
    let kept = |key: &str| keep.iter().any(|name| name.as_str() == Some(key));
    let stray = patch
        .iter()
        .any(|(key, value)| !value.is_null() && !is_directive(key) && !kept(key));
    if stray {
        return Err("bad patch format of retainKeys: the patch has keys that are not in the retainKeys list".into());
    }
    target.retain(|key, _| kept(key));
    Ok(())
}

fn merge_member(
    target: &mut Map,
    key: &SmolStr,
    change: &Value,
    member: Member,
) -> Result<(), String> {
    match change {
        Value::Null => drop(target.remove(key)),
        Value::Object(inner) if member.replaces() => {
            target.insert(key.clone(), Value::Object(without_directives(inner)));
        }
        Value::Object(inner) => {
            merge_map(
                target.entry_or(key, Value::object).make_object(),
                inner,
                member.at,
            )?;
        }
        Value::Array(items) if member.merges() => {
            let list = target.entry_or(key, || Value::Array(Vec::new()));
            if !matches!(list, Value::Array(_)) {
                *list = Value::Array(Vec::new());
            }
            strategic_list::merge(
                list.as_array_mut().expect("just made a list"),
                items,
                member,
            )?;
        }
        other => drop(target.insert(key.clone(), other)),
    }
    Ok(())
}

/// `$deleteFromPrimitiveList/x` and `$setElementOrder/x`, after the members themselves.
fn special_lists(target: &mut Map, patch: &Map, at: Option<At>) -> Result<(), String> {
    for (key, value) in patch.iter() {
        if let Some(name) = key.strip_prefix(DELETE_PREFIX) {
            if let Some(Value::Array(items)) = target.get_mut(name) {
                items.retain(|item| !value.items().contains(item));
            }
        } else if let Some(name) = key.strip_prefix(ORDER_PREFIX) {
            let member = Member::of(at, name);
            let changes = patch.get(name).map_or(&[][..], Value::items);
            strategic_list::check_order(changes, value.items(), member)?;
            if let Some(Value::Array(items)) = target.get_mut(name) {
                strategic_list::order(items, value.items(), member.key());
            }
        }
    }
    Ok(())
}
