//! The mutable tree that exists only while a write is in flight.
//!
//! Maps are sorted by key, so equal trees have one form and iteration is repeatable.
//! Knows no schema. Upstream counterpart: `unstructured.Unstructured`.

use crate::Map;
use smol_str::SmolStr;
use std::ops::{Index, IndexMut};

/// A JSON value. Integers stay integers.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number within 64 bits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    String(SmolStr),
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Map),
}

static NULL: Value = Value::Null;

impl Value {
    /// An empty object.
    pub const fn object() -> Self {
        Self::Object(Map::new())
    }

    /// The member `key` of an object.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_object()?.get(key)
    }

    /// The member `key` of an object, for change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.as_object_mut()?.get_mut(key)
    }

    /// Follows object members along `path`; null where one is missing.
    pub fn at(&self, path: &[&str]) -> &Value {
        path.iter()
            .try_fold(self, |value, key| value.get(key))
            .unwrap_or(&NULL)
    }

    /// Follows object members along `path` for change.
    pub fn at_mut(&mut self, path: &[&str]) -> Option<&mut Value> {
        path.iter().try_fold(self, |value, key| value.get_mut(key))
    }

    /// The object at `path`, created (replacing nulls and scalars) where missing.
    pub fn object_at(&mut self, path: &[&str]) -> &mut Map {
        let mut value = self;
        for key in path {
            value = value.make_object().entry_or(key, Value::object);
        }
        value.make_object()
    }

    /// Sets the value at `path`, creating objects on the way. `path` must not be empty.
    pub fn set_at(&mut self, path: &[&str], value: impl Into<Value>) {
        let (last, parents) = path.split_last().expect("set_at needs a path");
        self.object_at(parents).insert(*last, value);
    }

    /// Removes the value at `path`, returning it.
    pub fn remove_at(&mut self, path: &[&str]) -> Option<Value> {
        let (last, parents) = path.split_last()?;
        self.at_mut(parents)?.as_object_mut()?.remove(last)
    }

    /// This value as an object, made one if it was anything else.
    pub fn make_object(&mut self) -> &mut Map {
        if !matches!(self, Value::Object(_)) {
            *self = Value::object();
        }
        self.as_object_mut().expect("just made an object")
    }

    /// The same, with nothing in it a part of a stored object any more: for what moves to where
    /// its type may be another.
    pub fn detached(self) -> Self {
        match self {
            Value::Array(items) => Value::Array(items.into_iter().map(Value::detached).collect()),
            Value::Object(map) => {
                let entries = map.into_iter().map(|(key, value)| (key, value.detached()));
                Value::Object(Map::from_entries(entries.collect(), |_| ()))
            }
            scalar => scalar,
        }
    }

    /// Whether this is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// The string, or the empty string.
    pub fn str(&self) -> &str {
        self.as_str().unwrap_or_default()
    }

    /// The whole number, if it is one (floats without a fraction count).
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                Some(*number as i64)
            }
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(flag) = self {
            Some(*flag)
        } else {
            None
        }
    }

    /// The array, if it is one.
    pub fn as_array(&self) -> Option<&Vec<Value>> {
        if let Value::Array(items) = self {
            Some(items)
        } else {
            None
        }
    }

    /// The array for change, if it is one.
    pub fn as_array_mut(&mut self) -> Option<&mut Vec<Value>> {
        if let Value::Array(items) = self {
            Some(items)
        } else {
            None
        }
    }

    /// The items of an array, none for anything else.
    pub fn items(&self) -> &[Value] {
        self.as_array().map_or(&[], Vec::as_slice)
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Map> {
        if let Value::Object(map) = self {
            Some(map)
        } else {
            None
        }
    }

    /// The object for change, if it is one.
    pub fn as_object_mut(&mut self) -> Option<&mut Map> {
        if let Value::Object(map) = self {
            Some(map)
        } else {
            None
        }
    }

    /// The entries of an object, none for anything else.
    pub fn entries(&self) -> impl Iterator<Item = (&SmolStr, &Value)> {
        self.as_object().into_iter().flat_map(Map::iter)
    }

    /// JSON name of the type, as in Go's error texts: `object`, `array`, `string`, `number`, `bool`, `null`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) | Value::Float(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        }
    }
}

impl Index<&str> for Value {
    type Output = Value;
    fn index(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&NULL)
    }
}

impl IndexMut<&str> for Value {
    fn index_mut(&mut self, key: &str) -> &mut Value {
        self.make_object().entry_or(key, || Value::Null)
    }
}

impl Index<usize> for Value {
    type Output = Value;
    fn index(&self, at: usize) -> &Value {
        self.items().get(at).unwrap_or(&NULL)
    }
}

macro_rules! from {
    ($($source:ty => $name:ident $made:expr;)*) => {$(
        impl From<$source> for Value {
            fn from($name: $source) -> Value { $made }
        }
    )*};
}
from! {
    bool => flag Value::Bool(flag);
    i64 => number Value::Int(number);
    i32 => number Value::Int(number.into());
    u32 => number Value::Int(number.into());
    u16 => number Value::Int(number.into());
    f64 => number Value::Float(number);
    &str => text Value::String(text.into());
    &String => text Value::String(text.into());
    String => text Value::String(text.into());
    SmolStr => text Value::String(text);
    &SmolStr => text Value::String(text.clone());
    Map => map Value::Object(map);
    &Value => value value.clone();
}

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::Int(i64::try_from(number).expect("a length fits 63 bits"))
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Value {
        Value::Array(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// Builds a [`Value`] from JSON-like syntax: `json!({"a": [1, x, {"b": null}]})`.
/// Values are expressions convertible into `Value`; keys are expressions convertible into a string.
#[macro_export]
macro_rules! json {
    (null) => { $crate::Value::Null };
    ([ $($item:tt)* ]) => { $crate::json_array!([] $($item)*) };
    ({ $($member:tt)* }) => {{
        #[allow(unused_mut)]
        let mut map = $crate::Map::new();
        $crate::json_members!(map; $($member)*);
        $crate::Value::Object(map)
    }};
    ($value:expr) => { $crate::Value::from($value) };
}

/// Part of [`json!`].
#[doc(hidden)]
#[macro_export]
macro_rules! json_array {
    ([$($done:expr,)*]) => { $crate::Value::Array(vec![$($done),*]) };
    ([$($done:expr,)*] null $(, $($rest:tt)*)?) => { $crate::json_array!([$($done,)* $crate::Value::Null,] $($($rest)*)?) };
    ([$($done:expr,)*] [$($inner:tt)*] $(, $($rest:tt)*)?) => { $crate::json_array!([$($done,)* $crate::json!([$($inner)*]),] $($($rest)*)?) };
    ([$($done:expr,)*] {$($inner:tt)*} $(, $($rest:tt)*)?) => { $crate::json_array!([$($done,)* $crate::json!({$($inner)*}),] $($($rest)*)?) };
    ([$($done:expr,)*] $item:expr $(, $($rest:tt)*)?) => { $crate::json_array!([$($done,)* $crate::json!($item),] $($($rest)*)?) };
}

/// Part of [`json!`].
#[doc(hidden)]
#[macro_export]
macro_rules! json_members {
    ($map:ident;) => {};
    ($map:ident; $key:literal : null $(, $($rest:tt)*)?) => { $map.insert($crate::SmolStr::new_static($key), $crate::Value::Null); $crate::json_members!($map; $($($rest)*)?); };
    ($map:ident; $key:literal : [$($inner:tt)*] $(, $($rest:tt)*)?) => { $map.insert($crate::SmolStr::new_static($key), $crate::json!([$($inner)*])); $crate::json_members!($map; $($($rest)*)?); };
    ($map:ident; $key:literal : {$($inner:tt)*} $(, $($rest:tt)*)?) => { $map.insert($crate::SmolStr::new_static($key), $crate::json!({$($inner)*})); $crate::json_members!($map; $($($rest)*)?); };
    ($map:ident; $key:literal : $value:expr $(, $($rest:tt)*)?) => { $map.insert($crate::SmolStr::new_static($key), $crate::json!($value)); $crate::json_members!($map; $($($rest)*)?); };
    ($map:ident; ($key:expr) : null $(, $($rest:tt)*)?) => { $map.insert($key, $crate::Value::Null); $crate::json_members!($map; $($($rest)*)?); };
    ($map:ident; ($key:expr) : [$($inner:tt)*] $(, $($rest:tt)*)?) => { $map.insert($key, $crate::json!([$($inner)*])); $crate::json_members!($map; $($($rest)*)?); };
    ($map:ident; ($key:expr) : {$($inner:tt)*} $(, $($rest:tt)*)?) => { $map.insert($key, $crate::json!({$($inner)*})); $crate::json_members!($map; $($($rest)*)?); };
    ($map:ident; ($key:expr) : $value:expr $(, $($rest:tt)*)?) => { $map.insert($key, $crate::json!($value)); $crate::json_members!($map; $($($rest)*)?); };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_reads_and_changes() {
        let name = "x";
        let mut value = json!({"b": [1, null, {"c": name}, [true]], "a": {"k": 1.5}, (name): {}});
        assert_eq!(value.at(&["a", "k"]).as_f64(), Some(1.5));
        assert_eq!(value["b"][2]["c"].str(), "x");
        value.set_at(&["spec", "replicas"], 3);
        assert_eq!(value["spec"]["replicas"].as_i64(), Some(3));
        assert_eq!(value.remove_at(&["spec", "replicas"]), Some(Value::Int(3)));
        let keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["a", "b", "spec", "x"]);
    }

    #[test]
    fn last_duplicate_wins_and_is_reported() {
        let mut seen = Vec::new();
        let entries = vec![
            ("b".into(), 1.into()),
            ("a".into(), 2.into()),
            ("b".into(), 3.into()),
        ];
        let map = Map::from_entries(entries, |key| seen.push(key.to_owned()));
        assert_eq!(
            (map.get("b"), seen),
            (Some(&Value::Int(3)), vec!["b".to_owned()])
        );
    }
}
