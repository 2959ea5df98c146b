//! Strategic merge patch: lists that merge, by key or as sets of scalars, and their order.

use super::strategic::{DIRECTIVE, Member, merge_map, without_directives};
use machinery::{Map, Value};

/// Merges `changes` into `target`. Items the patch names follow the patch's order; others stay
/// before those they were before, so a new item comes ahead of items the patch does not name.
pub(super) fn merge(
    target: &mut Vec<Value>,
    changes: &[Value],
    member: Member,
) -> Result<(), String> {
    if changes
        .iter()
        .chain(&*target)
        .all(|item| item.as_object().is_none())
    {
        let before = target.clone();
        for item in changes.iter().filter(|item| !item.is_null()) {
            if !target.contains(item) {
                target.push(item.clone());
            }
        }
        arrange(target, changes, &before, "");
        return Ok(());
    }
    let before = target.clone();
    let (plain, replace) = directives(target, changes, member.key())?;
    if replace {
        *target = plain
            .into_iter()
            .map(|map| Value::Object(without_directives(map)))
            .collect();
        return Ok(());
    }
    let mut order = Vec::with_capacity(plain.len());
    for change in plain {
        merge_item(target, change, member)?;
        order.push(Value::Object(change.clone()));
    }
    arrange(target, &order, &before, member.key());
    Ok(())
}

/// Carries out `$patch: delete` items and finds `$patch: replace`; returns the other items.
fn directives<'a>(
    target: &mut Vec<Value>,
    changes: &'a [Value],
    key: &str,
) -> Result<(Vec<&'a Map>, bool), String> {
    let (mut plain, mut replace) = (Vec::new(), false);
    for change in changes {
        let Value::Object(map) = change else {
            return Err("expected all elements of a list to be of the same type".into());
        };
        match map.get(DIRECTIVE).map(Value::str) {
            None => plain.push(map),
            Some("replace") => replace = true,
            Some("delete") if key.is_empty() => {
                return Err("delete patch type with no merge key defined".into());
            }
            Some("delete") => {
                let wanted = map.get(key).ok_or_else(|| no_key(key))?;
                target.retain(|item| &item[key] != wanted);
            }
            Some("merge") => {
                return Err("merging lists cannot yet be specified in the patch".into());
            }
            Some(other) => return Err(format!("unknown patch type found: {other} in map")),
        }
    }
    Ok((plain, replace))
}

fn no_key(key: &str) -> String {
    format!("map: map does not contain declared merge key: {key}")
}

fn merge_item(target: &mut Vec<Value>, change: &Map, member: Member) -> Result<(), String> {
    let key = member.key();
    let wanted = change.get(key).ok_or_else(|| no_key(key))?;
    let at = match target.iter().position(|item| &item[key] == wanted) {
        Some(at) => at,
        None => {
            target.push(Value::object());
            target.len() - 1
        }
    };
    merge_map(target[at].make_object(), change, member.item())
}

/// Identity of an item for ordering: its merge key's value, or itself.
fn identity<'a>(item: &'a Value, key: &str) -> &'a Value {
    if key.is_empty() { item } else { &item[key] }
}

fn place(list: &[Value], item: &Value, key: &str) -> Option<usize> {
    list.iter()
        .position(|other| identity(other, key) == identity(item, key))
}

/// Refuses a patch whose items are not all in its order list, in that order.
pub(super) fn check_order(
    changes: &[Value],
    order: &[Value],
    member: Member,
) -> Result<(), String> {
    let places: Vec<_> = changes
        .iter()
        .filter(|change| change.get(DIRECTIVE).is_none())
        .map(|change| place(order, change, member.key()))
        .collect();
    if places.iter().any(Option::is_none) || !places.is_sorted() {
        return Err(format!(
            "The order in patch list doesn't match $setElementOrder list of {:?}",
            if member.key().is_empty() {
                "scalars"
            } else {
                member.key()
            }
        ));
    }
    Ok(())
}

/// Puts items into the order of `$setElementOrder`; others keep their place among them.
pub(super) fn order(items: &mut Vec<Value>, order: &[Value], key: &str) {
    let before = items.clone();
    arrange(items, order, &before, key);
}

/// Items of `order` in that order; the rest, in the order of `before`, stays before an item of
/// `order` only if it was before it.
fn arrange(items: &mut Vec<Value>, order: &[Value], before: &[Value], key: &str) {
    let all = std::mem::take(items);
    let (mut ordered, mut rest): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|item| place(order, item, key).is_some());
    ordered.sort_by_key(|item| place(order, item, key));
    rest.sort_by_key(|item| place(before, item, key));
    let mut rest = rest.into_iter().peekable();
    for item in ordered {
        let limit = place(before, &item, key);
        while let Some(next) = rest.next_if(|next| {
            place(before, next, key)
                .zip(limit)
                .is_some_and(|(a, b)| a < b)
        }) {
            items.push(next);
        }
        items.push(item);
    }
    items.extend(rest);
}
