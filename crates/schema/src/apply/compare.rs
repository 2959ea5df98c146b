//! Which paths a value sets, and which differ between two values.
//!
//! Upstream counterpart: `typed.TypedValue.ToFieldSet` and `Compare`.

use super::{
    fieldset::FieldSet,
    items::{Parts, field_key, keys, member, parts},
};
use crate::{At, ListKind, TypeRef};
use machinery::{Map, SmolStr, Value};
use std::cmp::Ordering;

/// The paths an applied configuration sets.
pub fn field_set(value: &Value, of: &TypeRef) -> FieldSet {
    let mut set = set_of(value, Some(At::new(of)));
    set.own = false;
    set
}

fn set_of(value: &Value, at: Option<At>) -> FieldSet {
    if value.is_null() {
        return FieldSet::leaf();
    }
    let how = parts(at, value);
    let mut set = FieldSet::default();
    match (how, value) {
        (Parts::Struct(_) | Parts::Map(_), Value::Object(map)) => {
            set.own = map.is_empty();
            for (key, value) in map.iter() {
                let (inner_at, named) = member(how, key);
                let mut inner = set_of(value, inner_at);
                inner.own |= !named;
                set.put(field_key(key), inner);
            }
        }
        (Parts::List(item_at, kind), Value::Array(items)) => {
            for (key, item) in keys(items, item_at, kind).into_iter().zip(items) {
                let mut inner = set_of(item, Some(item_at));
                inner.own = true;
                set.put(key, inner);
            }
        }
        _ => set.own = true,
    }
    set
}

/// Every path of a value, inner ones included: what appears or goes with it.
fn all_of(value: &Value, at: Option<At>) -> FieldSet {
    let how = parts(at, value);
    let mut set = FieldSet::leaf();
    match (how, value) {
        (Parts::Struct(_) | Parts::Map(_), Value::Object(map)) => {
            for (key, value) in map.iter() {
                set.put(field_key(key), all_of(value, member(how, key).0));
            }
        }
        (Parts::List(item_at, kind), Value::Array(items)) => {
            for (key, item) in keys(items, item_at, kind).into_iter().zip(items) {
                set.put(key, all_of(item, Some(item_at)));
            }
        }
        _ => {}
    }
    set
}

/// Differences between two values.
#[derive(Default)]
pub(super) struct Difference {
    /// Paths added or with another value.
    pub changed: FieldSet,
    /// Paths no longer there.
    pub removed: FieldSet,
}

impl Difference {
    pub fn between(old: &Value, new: &Value, of: &TypeRef) -> Self {
        compare(old, new, Some(At::new(of)))
    }

    /// Whether both are the same.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }

    /// Does the same to both sets.
    pub fn each(&mut self, change: impl Fn(&mut FieldSet)) {
        change(&mut self.changed);
        change(&mut self.removed);
    }

    fn put(&mut self, key: impl Fn() -> SmolStr, inner: Difference) {
        if !inner.changed.is_empty() {
            self.changed.put(key(), inner.changed);
        }
        if !inner.removed.is_empty() {
            self.removed.put(key(), inner.removed);
        }
    }

    fn one_sided(old: Option<&Value>, new: Option<&Value>, at: Option<At>) -> Self {
        Difference {
            changed: new.map(|new| all_of(new, at)).unwrap_or_default(),
            removed: old.map(|old| all_of(old, at)).unwrap_or_default(),
        }
    }

    fn whole(differs: bool) -> Self {
        Difference {
            changed: FieldSet {
                own: differs,
                ..FieldSet::default()
            },
            ..Self::default()
        }
    }
}

static EMPTY: Map = Map::new();

fn compare(old: &Value, new: &Value, at: Option<At>) -> Difference {
    // A null on one side is an empty container of the other side's form.
    let how = parts(at, if new.is_null() { old } else { new });
    match (how, old, new) {
        (
            Parts::Struct(_) | Parts::Map(_),
            Value::Object(_) | Value::Null,
            Value::Object(_) | Value::Null,
        ) if !(old.is_null() && new.is_null()) => {
            let (old, new) = (
                old.as_object().unwrap_or(&EMPTY),
                new.as_object().unwrap_or(&EMPTY),
            );
            members(old, new, how)
        }
        (Parts::List(at, kind), Value::Array(_) | Value::Null, Value::Array(_) | Value::Null)
            if old != new =>
        {
            list(old.items(), new.items(), at, kind)
        }
        _ => Difference::whole(old != new),
    }
}

/// Walks two sorted objects side by side.
fn members(old: &Map, new: &Map, how: Parts) -> Difference {
    let mut found = Difference::default();
    let (mut left, mut right) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some((a, _)), Some((b, _))) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return found,
        };
        let before = if order.is_le() { left.next() } else { None };
        let after = if order.is_ge() { right.next() } else { None };
        let Some((key, _)) = before.or(after) else {
            return found;
        };
        if let (Some((_, old)), Some((_, new))) = (before, after)
            && old == new
        {
            continue;
        }
        let at = member(how, key).0;
        let inner = match (before, after) {
            (Some((_, old)), Some((_, new))) => compare(old, new, at),
            (old, new) => Difference::one_sided(old.map(|old| old.1), new.map(|new| new.1), at),
        };
        found.put(|| field_key(key), inner);
    }
}

fn list(old: &[Value], new: &[Value], at: At, kind: &ListKind) -> Difference {
    let (old_keys, new_keys) = (keys(old, at, kind), keys(new, at, kind));
    let mut places: Vec<_> = old_keys.iter().zip(old).collect();
    // Stable, so of equal keys the first is found.
    places.sort_by_key(|(key, _)| *key);
    let mut found = Difference::default();
    for (key, item) in new_keys.iter().zip(new) {
        let at_key = places.partition_point(|(other, _)| *other < key);
        let before = places.get(at_key).filter(|(other, _)| *other == key);
        let inner = match before {
            Some((_, before)) => compare(before, item, Some(at)),
            None => Difference::one_sided(None, Some(item), Some(at)),
        };
        found.put(|| key.clone(), inner);
    }
    let mut left: Vec<_> = new_keys.iter().collect();
    left.sort();
    for (key, item) in places {
        if left.binary_search(&key).is_err() {
            found.put(
                || key.clone(),
                Difference::one_sided(Some(item), None, Some(at)),
            );
        }
    }
    found
}
