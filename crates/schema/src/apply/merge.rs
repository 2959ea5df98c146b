//! Merging a configuration into the live value, and taking away what is no longer applied.
//!
//! Upstream counterpart: `typed.TypedValue.Merge` and `merge.Updater.prune`.

use super::{
    fieldset::FieldSet,
    items::{Parts, field_key, item_key, keys, member, parts},
};
use crate::{At, ListKind, TypeRef};
use machinery::{Map, SmolStr, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of `live` when everything that `config` sets is set in it; nobody's ownership
/// is asked.
pub fn merge_configuration(live: &Value, config: &Value, of: &TypeRef) -> Value {
    merge(live, config, Some(At::new(of))).unwrap_or_else(|| live.clone())
}

/// `live` with everything that `config` sets; `None` if it is so already. What does not change
/// stays shared with `live`.
pub(super) fn merge(live: &Value, config: &Value, at: Option<At>) -> Option<Value> {
    let how = parts(at, config);
    match (how, config) {
        (Parts::Struct(_) | Parts::Map(_), Value::Object(config)) => {
            merge_members(live.as_object(), config, how).map(Value::Object)
        }
        (Parts::List(item_at, kind), Value::Array(items)) => {
            let merged = merge_list(live.items(), items, item_at, kind);
            (live.as_array() != Some(&merged)).then_some(Value::Array(merged))
        }
        _ => (live != config).then(|| config.clone()),
    }
}

fn merge_members(live: Option<&Map>, config: &Map, how: Parts) -> Option<Map> {
    let mut merged = match live {
        Some(_) => None,
        None => Some(Map::new()),
    };
    for (key, value) in config.iter() {
        let changed = match live.and_then(|live| live.get(key)) {
            Some(present) => merge(present, value, member(how, key).0),
            None => Some(value.clone()),
        };
        if let Some(value) = changed {
            let merged = merged.get_or_insert_with(|| live.cloned().unwrap_or_default());
            merged.insert(key.clone(), value);
        }
    }
    merged
}

/// Items of the configuration in its order; live items it does not name stay where they are
/// between those it does.
fn merge_list(live: &[Value], config: &[Value], at: At, kind: &ListKind) -> Vec<Value> {
    let live_keys = keys(live, at, kind);
    let wanted_keys = keys(config, at, kind);
    let named: BTreeSet<&SmolStr> = wanted_keys.iter().collect();
    let places: BTreeMap<&SmolStr, usize> = live_keys.iter().zip(0..).collect();
    let mut wanted = wanted_keys.iter().zip(config);
    let mut taken = vec![false; live.len()];
    let mut merged = Vec::with_capacity(live.len() + config.len());
    let take = |taken: &mut Vec<bool>, (key, item): (&SmolStr, &Value)| {
        let place = places.get(key).filter(|place| !taken[**place]);
        let Some(place) = place.copied() else {
            return merge(&Value::Null, item, Some(at)).unwrap_or_default();
        };
        taken[place] = true;
        merge(&live[place], item, Some(at)).unwrap_or_else(|| live[place].clone())
    };
    for (place, key) in live_keys.iter().enumerate() {
        if !named.contains(key) {
            taken[place] = true;
            merged.push(live[place].clone());
        }
        while !taken[place] {
            let Some(next) = wanted.next() else { break };
            merged.push(take(&mut taken, next));
        }
    }
    for next in wanted {
        merged.push(take(&mut taken, next));
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
