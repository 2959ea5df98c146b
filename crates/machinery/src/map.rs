//! A JSON object of a tree: entries of its own, or a part of a stored object as it lies there.
//!
//! What nobody changes of an object is never copied: it is read when first looked at, shared by
//! all trees made from it, told equal by where it lies, and written back as the bytes it was.
//! Knows no schema.

use crate::{
    Object, Value,
    flat::{self, Raw, Walk},
};
use smol_str::SmolStr;
use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// Entries up to which looking at each is cheaper than halving.
const SCANNED_MAX: usize = 16;

type Entry = (SmolStr, Value);

/// A JSON object, sorted by key.
#[derive(Clone)]
pub struct Map(Entries);

#[derive(Clone)]
enum Entries {
    Own(Vec<Entry>),
    Stored(Arc<Part>),
}

/// An object inside a stored one.
struct Part {
    of: Arc<Object>,
    /// Where its members lie in the bytes.
    start: usize,
    end: usize,
    read: OnceLock<Vec<Entry>>,
}

impl Part {
    fn walk(&self) -> Walk<'_> {
        Walk::new(&self.of.bytes()[self.start..self.end])
    }

    fn entries(&self) -> &[Entry] {
        self.read.get_or_init(|| self.decode())
    }

    fn decode(&self) -> Vec<Entry> {
        self.walk().members(&|walk| part(walk, &self.of))
    }
}

/// The object of these members, which lie in the bytes of `of`.
fn part(members: Walk<'_>, of: &Arc<Object>) -> Map {
    if members.bytes().is_empty() {
        return Map::new();
    }
    let start = members.bytes().as_ptr().addr() - of.bytes().as_ptr().addr();
    Map(Entries::Stored(Arc::new(Part {
        of: of.clone(),
        start,
        end: start + members.bytes().len(),
        read: OnceLock::new(),
    })))
}

/// The tree of a stored object.
pub(crate) fn stored(of: &Arc<Object>) -> Value {
    let root = of.root().raw().unwrap_or(Raw::Null);
    root.to_value(&|walk| part(walk, of))
}

/// Whether entries are those of a stored object.
fn same_entries(own: &[Entry], mut stored: Walk<'_>) -> bool {
    own.iter().all(|(key, value)| {
        stored
            .key()
            .is_some_and(|theirs| theirs.bytes() == key.as_bytes())
            && stored.value().is_some_and(|theirs| same(value, theirs))
    }) && stored.bytes().is_empty()
}

fn same(value: &Value, stored: Raw<'_>) -> bool {
    match (value, stored) {
        (Value::Object(map), Raw::Object(walk)) => match map.stored_bytes() {
            Some(bytes) => bytes == walk.bytes(),
            None => same_entries(map.entries(), walk),
        },
        (Value::Array(items), Raw::Array(mut walk)) => {
            let alike = |item| walk.value().is_some_and(|theirs| same(item, theirs));
            items.iter().all(alike) && walk.bytes().is_empty()
        }
        (Value::String(text), Raw::Text(bytes)) => text.as_bytes() == bytes,
        (Value::String(text), Raw::Word(number)) => *text == flat::dictionary()[number],
        (Value::Int(one), Raw::Int(other)) => *one == other,
        (Value::Float(one), Raw::Float(other)) => *one == other,
        (Value::Bool(one), Raw::Bool(other)) => *one == other,
        (Value::Null, Raw::Null) => true,
        _ => false,
    }
}

/// The order of two keys, mostly told by their first bytes.
fn compare(one: &[u8], other: &[u8]) -> std::cmp::Ordering {
    match (one.first(), other.first()) {
        (Some(first), Some(second)) if first != second => first.cmp(second),
        _ => one.cmp(other),
    }
}

impl Map {
    /// An empty object.
    pub const fn new() -> Self {
        Self(Entries::Own(Vec::new()))
    }

    /// An empty object with room for `capacity` entries.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Entries::Own(Vec::with_capacity(capacity)))
    }

    /// Builds from entries in any order; the last of equal keys wins and each earlier one's
    /// key is reported to `duplicate`.
    pub fn from_entries(
        mut entries: Vec<(SmolStr, Value)>,
        mut duplicate: impl FnMut(&str),
    ) -> Self {
        if !entries.is_sorted_by(|a, b| compare(a.0.as_bytes(), b.0.as_bytes()).is_lt()) {
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0;
                if same {
                    duplicate(&later.0);
                    std::mem::swap(&mut later.1, &mut earlier.1);
                }
                same
            });
        }
        Self(Entries::Own(entries))
    }

    /// Builds from entries that are sorted by key and have no key twice.
    pub fn from_sorted(entries: Vec<(SmolStr, Value)>) -> Self {
        Self(Entries::Own(entries))
    }

    /// Whether this is a part of a stored object that nobody has changed.
    pub fn is_stored(&self) -> bool {
        matches!(self.0, Entries::Stored(_))
    }

    /// The flat bytes of its members, if it is such a part.
    pub(crate) fn stored_bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            Entries::Own(_) => None,
            Entries::Stored(part) => Some(part.walk().bytes()),
        }
    }

    fn entries(&self) -> &[Entry] {
        match &self.0 {
            Entries::Own(entries) => entries,
            Entries::Stored(part) => part.entries(),
        }
    }

    /// The entries for change: from here on they are this map's own.
    fn entries_mut(&mut self) -> &mut Vec<Entry> {
        if let Entries::Stored(part) = &mut self.0 {
            let entries = match Arc::get_mut(part) {
                // Nobody else looks at it.
                Some(part) => part.read.take().unwrap_or_else(|| part.decode()),
                None => part.entries().to_vec(),
            };
            self.0 = Entries::Own(entries);
        }
        match &mut self.0 {
            Entries::Own(entries) => entries,
            Entries::Stored(_) => unreachable!("stored entries were just taken over"),
        }
    }

    /// Where `key` is, or where it would be.
    fn position(&self, key: &str) -> Result<usize, usize> {
        self.entries()
            .binary_search_by(|entry| compare(entry.0.as_bytes(), key.as_bytes()))
    }

    /// Where `key` is. Almost all objects have few members, most of whose keys are told from
    /// another by their length alone.
    fn find(&self, key: &str) -> Option<usize> {
        let entries = self.entries();
        if entries.len() > SCANNED_MAX {
            return self.position(key).ok();
        }
        entries.iter().position(|entry| entry.0 == *key)
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let at = self.find(key)?;
        Some(&self.entries()[at].1)
    }

    /// The value of `key`, for change.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        let at = self.find(key)?;
        Some(&mut self.entries_mut()[at].1)
    }

    /// Whether `key` is there (possibly null).
    pub fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Sets `key`, returning what was there.
    pub fn insert(&mut self, key: impl Into<SmolStr>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.position(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.entries_mut()[at].1, value)),
            Err(at) => {
                self.entries_mut().insert(at, (key, value));
                None
            }
        }
    }

    /// Removes `key`, returning its value.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.find(key)?;
        Some(self.entries_mut().remove(at).1)
    }

    /// The value of `key`, first set to `default()` if absent.
    pub fn entry_or(&mut self, key: &str, default: impl FnOnce() -> Value) -> &mut Value {
        let at = match self.position(key) {
            Ok(at) => at,
            Err(at) => {
                self.entries_mut()
                    .insert(at, (SmolStr::new(key), default()));
                at
            }
        };
        &mut self.entries_mut()[at].1
    }

    /// Keeps the entries that `keep` accepts.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        self.entries_mut()
            .retain_mut(|(key, value)| keep(key, value));
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// Entries in key order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&SmolStr, &Value)> + DoubleEndedIterator {
        self.entries().iter().map(|(key, value)| (key, value))
    }

    /// Entries in key order, values for change.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&SmolStr, &mut Value)> {
        self.entries_mut()
            .iter_mut()
            .map(|(key, value)| (&*key, value))
    }

    /// Keys in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &SmolStr> {
        self.entries().iter().map(|(key, _)| key)
    }
}

impl Default for Map {
    fn default() -> Self {
        Self::new()
    }
}

/// Flat bytes have one form, so of two untouched parts these decide.
impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Entries::Stored(one), Entries::Stored(other)) => {
                Arc::ptr_eq(one, other) || one.walk().bytes() == other.walk().bytes()
            }
            (Entries::Own(own), Entries::Stored(part))
            | (Entries::Stored(part), Entries::Own(own))
                if part.read.get().is_none() =>
            {
                same_entries(own, part.walk())
            }
            _ => self.entries() == other.entries(),
        }
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl IntoIterator for Map {
    type Item = (SmolStr, Value);
    type IntoIter = std::vec::IntoIter<(SmolStr, Value)>;
    fn into_iter(mut self) -> Self::IntoIter {
        std::mem::take(self.entries_mut()).into_iter()
    }
}

impl<K: Into<SmolStr>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let entries = entries
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        Self::from_entries(entries, |_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn object() -> (Value, Arc<Object>) {
        let value =
            json!({"a": {"b": [{"c": 1}, {"d": "x"}, "y"], "e": {}}, "f": null, "g": {"h": true}});
        (value.clone(), Arc::new(Object::new(&value, 7)))
    }

    #[test]
    fn a_stored_tree_reads_as_the_one_that_was_stored() {
        let (value, object) = object();
        assert_eq!(object.tree(), value);
        assert_eq!(value, object.tree());
        assert_eq!(object.tree(), object.tree());
        assert_eq!(object.tree().at(&["a", "b"])[0]["c"], json!(1));
        assert_eq!(format!("{:?}", object.tree()), format!("{value:?}"));
        let entries: Vec<_> = object.tree()["a"]
            .as_object()
            .unwrap()
            .clone()
            .into_iter()
            .collect();
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn a_change_leaves_other_trees_alone_and_what_is_beside_it_stored() {
        let (value, object) = object();
        let before = object.tree();
        let mut after = before.clone();
        assert_eq!(flat::encode(&after), object.bytes());
        after.set_at(&["g", "h"], false);
        assert_eq!(before, value);
        assert_ne!(before, after);
        let is_stored = |key: &str| after[key].as_object().unwrap().is_stored();
        assert_eq!((is_stored("a"), is_stored("g")), (true, false));
        let mut wanted = value;
        wanted.set_at(&["g", "h"], false);
        assert_eq!(flat::encode(&after), flat::encode(&wanted));
        after.set_at(&["g", "h"], true);
        assert_eq!(before, after);
    }

    #[test]
    fn a_tree_of_one_holder_is_taken_over() {
        let (value, object) = object();
        let mut tree = object.tree();
        for key in ["a", "f", "g"] {
            assert_eq!(
                tree.as_object_mut().unwrap().remove(key).as_ref(),
                value.get(key)
            );
        }
        assert_eq!(tree, Value::object());
    }
}
