//! Lists that are sets or maps: no two items may be the same one.
//!
//! Upstream counterpart: `apiextensions-apiserver/pkg/apiserver/schema/listtype`.

use crate::{At, ListKind, Shape, TypeRef, path::Path};
use machinery::{FieldError, Map, SmolStr, Value};
use std::collections::BTreeMap;

/// Items of sets and maps below `value` that are there already.
pub(super) fn list_errors(value: &Value, of: &TypeRef) -> Vec<FieldError> {
    let mut walk = Walk {
        path: Path::default(),
        errors: Vec::new(),
    };
    if of.schema.has_identities {
        walk.value(value, At::new(of));
    }
    walk.errors
}

struct Walk {
    path: Path,
    errors: Vec<FieldError>,
}

impl Walk {
    fn value(&mut self, value: &Value, at: At) {
        match (at.shape(), value) {
            (Shape::Struct(known), Value::Object(map)) if known.custom => {
                for (key, value) in map.iter() {
                    if let Some(inner) = at.member(key) {
                        let mark = self.path.member(key);
                        self.value(value, inner);
                        self.path.back(mark);
                    }
                }
            }
            (Shape::Map { value: inner, .. }, Value::Object(map)) => {
                for (key, value) in map.iter() {
                    let mark = self.path.key(key);
                    self.value(value, at.to(*inner));
                    self.path.back(mark);
                }
            }
            (Shape::List { item, kind }, Value::Array(items)) => {
                self.items(items, kind);
                for (position, value) in items.iter().enumerate() {
                    let mark = self.path.index(position);
                    self.value(value, at.to(*item));
                    self.path.back(mark);
                }
            }
            _ => {}
        }
    }

    fn items(&mut self, items: &[Value], kind: &ListKind) {
        let keys = match kind {
            ListKind::Atomic => return,
            ListKind::Set => items.to_vec(),
            ListKind::Map(names) => {
                let other = |item: &&Value| !matches!(item, Value::Object(_) | Value::Null);
                if let Some(position) = items.iter().position(|item| other(&item)) {
                    let why = "must be an object for an array of list-type map";
                    self.error(position, |at| {
                        FieldError::invalid(at, &items[position], why)
                    });
                    return;
                }
                items.iter().map(|item| identity(item, names)).collect()
            }
        };
        // Only the first repetition of each is reported.
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (position, key) in keys.into_iter().enumerate() {
            let count = seen.entry(print(&key)).or_default();
            *count += 1;
            if *count == 2 {
                self.error(position, |at| FieldError::duplicate(at, key));
            }
        }
    }

    fn error(&mut self, position: usize, make: impl FnOnce(String) -> FieldError) {
        let mark = self.path.index(position);
        self.errors.push(make(self.path.as_str().to_owned()));
        self.path.back(mark);
    }
}

/// The members of an item that identify it.
fn identity(item: &Value, names: &[SmolStr]) -> Value {
    let member = |name: &SmolStr| Some((name.clone(), item.get(name)?.clone()));
    Value::Object(names.iter().filter_map(member).collect::<Map>())
}

fn print(value: &Value) -> String {
    serde_json::to_string(value).expect("a tree always prints")
}
