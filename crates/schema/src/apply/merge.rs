//! Merging a configuration into the live value, and taking away what is no longer applied.
//!
//! Upstream counterpart: `typed.TypedValue.Merge` and `merge.Updater.prune`.

use super::{
    fieldset::FieldSet,
    items::{Parts, field_key, item_key, keys, member, parts},
};
use crate::{At, ListKind, TypeRef};
use machinery::{SmolStr, Value};
use std::collections::BTreeMap;

/// What becomes of `live` when everything that `config` sets is set in it; nobody's ownership
/// is asked.
pub fn merge_configuration(live: &Value, config: &Value, of: &TypeRef) -> Value {
    let mut merged = live.clone();
    merge(&mut merged, config, Some(At::new(of)));
    merged
}

/// Sets in `target` everything that `config` sets.
pub(super) fn merge(target: &mut Value, config: &Value, at: Option<At>) {
    let how = parts(at, config);
    match (how, config) {
        (Parts::Struct(_) | Parts::Map(_), Value::Object(map)) => {
            let target = target.make_object();
            for (key, value) in map.iter() {
                match target.get_mut(key) {
                    Some(existing) => merge(existing, value, member(how, key).0),
                    None => drop(target.insert(key.clone(), value)),
                }
            }
        }
        (Parts::List(item_at, kind), Value::Array(items)) => {
            let live = match std::mem::take(target) {
                Value::Array(live) => live,
                _ => Vec::new(),
            };
            *target = Value::Array(merge_list(live, items, item_at, kind));
        }
        _ => *target = config.clone(),
    }
}

/// Items of the configuration in its order; live items it does not name stay where they are
/// between those it does.
fn merge_list(live: Vec<Value>, config: &[Value], at: At, kind: &ListKind) -> Vec<Value> {
    let live_keys = keys(&live, at, kind);
    let wanted_keys = keys(config, at, kind);
    let named: BTreeMap<&SmolStr, ()> = wanted_keys.iter().map(|key| (key, ())).collect();
    let mut live: Vec<Option<Value>> = live.into_iter().map(Some).collect();
    let places: BTreeMap<&SmolStr, usize> = live_keys.iter().zip(0..).collect();
    let mut wanted = wanted_keys.iter().zip(config);
    let mut merged = Vec::with_capacity(live.len() + config.len());
    let take = |live: &mut Vec<Option<Value>>, (key, item): (&SmolStr, &Value)| {
        let mut value = places
            .get(key)
            .and_then(|place| live[*place].take())
            .unwrap_or_default();
        merge(&mut value, item, Some(at));
        value
    };
    for (place, key) in live_keys.iter().enumerate() {
        if !named.contains_key(key) {
            merged.extend(live[place].take());
        }
        while live[place].is_some() {
            let Some(next) = wanted.next() else { break };
            merged.push(take(&mut live, next));
        }
    }
    for next in wanted {
        merged.push(take(&mut live, next));
    }
    merged
}

/// Removes from `value` what `last` set and none of `owners` holds now.
pub(super) fn prune(value: &mut Value, at: Option<At>, last: &FieldSet, owners: &[&FieldSet]) {
    let how = parts(at, value);
    match (how, value) {
        (Parts::Struct(_) | Parts::Map(_), Value::Object(map)) => map.retain(|key, value| {
            let (inner_at, named) = member(how, key);
            keep(value, inner_at, named, (last, owners), &field_key(key))
        }),
        (Parts::List(item_at, kind), Value::Array(items)) => {
            let mut position = 0;
            items.retain_mut(|item| {
                let key = item_key(item, item_at, kind, position);
                position += 1;
                keep(item, Some(item_at), false, (last, owners), &key)
            });
        }
        _ => {}
    }
}

fn keep(
    value: &mut Value,
    at: Option<At>,
    named: bool,
    (last, owners): (&FieldSet, &[&FieldSet]),
    key: &str,
) -> bool {
    let Some(last) = last.child(key) else {
        return true;
    };
    let owners: Vec<_> = owners.iter().filter_map(|owner| owner.child(key)).collect();
    // A named field counts as held by whoever holds anything below it.
    let holds = |set: &FieldSet| set.own || (named && !set.children.is_empty());
    if holds(last) && !owners.iter().any(|owner| holds(owner)) {
        return false;
    }
    let was_empty = is_empty(value);
    prune(value, at, last, &owners);
    was_empty || !is_empty(value) || owners.iter().any(|owner| owner.own)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}
