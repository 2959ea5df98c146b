//! A set of field paths in the form of `fieldsV1`.
//!
//! Path elements stay in their written form (`f:spec`, `k:{"name":"x"}`, `v:"x"`, `i:0`), so
//! reading and printing are copies. Upstream counterpart: `fieldpath.Set`.

use machinery::{Map, SmolStr, Value, format_smolstr};
use std::cmp::Ordering;

/// Says among the elements below a path that the path is in the set itself.
const OWN: SmolStr = SmolStr::new_static(".");

/// A set of field paths, as a tree sorted by path element.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldSet {
    /// Whether the path that leads here is in the set itself.
    pub(super) own: bool,
    pub(super) children: Vec<(SmolStr, FieldSet)>,
}

impl FieldSet {
    /// A set of just the path that leads here.
    pub(super) fn leaf() -> Self {
        FieldSet {
            own: true,
            children: Vec::new(),
        }
    }

    /// The set of these field paths, their parts apart by dots: `status`, `metadata.labels`.
    pub fn of_fields(paths: &[&str]) -> Self {
        let mut set = FieldSet::default();
        for path in paths {
            let mut here = &mut set;
            for name in path.split('.') {
                here = here.child_or_new(&format_smolstr!("f:{name}"));
            }
            here.own = true;
        }
        set
    }

    /// Reads `fieldsV1`; elements of unknown form are skipped.
    pub fn parse(fields: &Value) -> Self {
        let mut set = FieldSet::read(fields);
        // An empty object at the root is an empty set, not the root itself.
        set.own = false;
        set
    }

    fn read(fields: &Value) -> Self {
        let Some(map) = fields.as_object().filter(|map| !map.is_empty()) else {
            return FieldSet::leaf();
        };
        let known = |key: &str| {
            ["f:", "k:", "v:", "i:"]
                .iter()
                .any(|start| key.starts_with(start))
        };
        let children = map.iter().filter(|(key, _)| known(key));
        FieldSet {
            own: map.contains_key("."),
            children: children
                .map(|(key, inner)| (key.clone(), FieldSet::read(inner)))
                // Nothing is left of an element below which nothing is known.
                .filter(|(_, inner)| !inner.is_empty())
                .collect(),
        }
    }

    /// Prints `fieldsV1`.
    pub fn to_value(&self) -> Value {
        if self.children.is_empty() {
            return Value::object();
        }
        // Sorts before the other elements, which all start with a letter.
        let own = self.own.then(|| (OWN, Value::object()));
        let children = self.children.iter();
        let children = children.map(|(key, inner)| (key.clone(), inner.to_value()));
        let mut entries = Vec::with_capacity(self.children.len() + usize::from(self.own));
        entries.extend(own.into_iter().chain(children));
        Value::Object(Map::from_sorted(entries))
    }

    /// Whether no path is in the set.
    pub fn is_empty(&self) -> bool {
        !self.own && self.children.is_empty()
    }

    /// Whether all paths are in `other`.
    pub(super) fn is_subset(&self, other: &FieldSet) -> bool {
        let holds = |(key, inner): &(SmolStr, FieldSet)| {
            other.child(key).is_some_and(|other| inner.is_subset(other))
        };
        (other.own || !self.own) && self.children.iter().all(holds)
    }

    /// Whether all paths are in the set that `fields` (`fieldsV1`) says, without reading it whole.
    pub(super) fn is_within(&self, fields: &Value) -> bool {
        self.children.iter().all(|(key, inner)| {
            fields
                .get(key)
                .is_some_and(|theirs| (!inner.own || says_own(theirs)) && inner.is_within(theirs))
        })
    }

    /// Whether any path is in the set that `fields` (`fieldsV1`) says.
    pub(super) fn meets(&self, fields: &Value) -> bool {
        self.children.iter().any(|(key, inner)| {
            fields
                .get(key)
                .is_some_and(|theirs| (inner.own && says_own(theirs)) || inner.meets(theirs))
        })
    }

    fn position(&self, key: &str) -> Result<usize, usize> {
        self.children
            .binary_search_by(|(other, _)| other.as_str().cmp(key))
    }

    pub(super) fn child(&self, key: &str) -> Option<&FieldSet> {
        self.position(key).ok().map(|at| &self.children[at].1)
    }

    fn child_or_new(&mut self, key: &SmolStr) -> &mut FieldSet {
        let at = self.position(key).unwrap_or_else(|at| {
            self.children.insert(at, (key.clone(), FieldSet::default()));
            at
        });
        &mut self.children[at].1
    }

    /// Adds what is below `key`, unless that is nothing.
    pub(super) fn put(&mut self, key: SmolStr, inner: FieldSet) {
        if inner.is_empty() {
            return;
        }
        // Most come in order.
        if self.children.last().is_none_or(|(last, _)| *last < key) {
            return self.children.push((key, inner));
        }
        match self.position(&key) {
            Ok(at) => self.children[at].1.union(&inner),
            Err(at) => self.children.insert(at, (key, inner)),
        }
    }

    /// Adds all paths of `other`.
    pub fn union(&mut self, other: &FieldSet) {
        self.own |= other.own;
        for (key, inner) in &other.children {
            self.child_or_new(key).union(inner);
        }
    }

    /// Removes the paths of `other`; what is below them stays.
    pub fn subtract(&mut self, other: &FieldSet) {
        self.own &= !other.own;
        self.each_common(other, FieldSet::subtract);
    }

    /// Removes the paths of `other` and everything below them.
    pub fn subtract_trees(&mut self, other: &FieldSet) {
        if other.own {
            *self = FieldSet::default();
        } else {
            self.each_common(other, FieldSet::subtract_trees);
        }
    }

    fn each_common(&mut self, other: &FieldSet, change: fn(&mut FieldSet, &FieldSet)) {
        if other.children.is_empty() {
            return;
        }
        self.children.retain_mut(|(key, inner)| {
            if let Some(theirs) = other.child(key) {
                change(inner, theirs);
            }
            !inner.is_empty()
        });
    }

    /// The paths that are in both.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let mut both = FieldSet {
            own: self.own && other.own,
            children: Vec::new(),
        };
        let (mut ours, mut theirs) = (
            self.children.iter().peekable(),
            other.children.iter().peekable(),
        );
        while let (Some((key, mine)), Some((other_key, other))) = (ours.peek(), theirs.peek()) {
            match key.cmp(other_key) {
                Ordering::Less => drop(ours.next()),
                Ordering::Greater => drop(theirs.next()),
                Ordering::Equal => {
                    let common = mine.intersection(other);
                    if !common.is_empty() {
                        both.children.push((key.clone(), common));
                    }
                    ours.next();
                    theirs.next();
                }
            }
        }
        both
    }

    /// All paths as upstream prints them: `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_paths(String::new(), &mut found);
        found
    }

    fn collect_paths(&self, path: String, found: &mut Vec<String>) {
        for (key, inner) in &self.children {
            inner.collect_paths(format!("{path}{}", show_element(key)), found);
        }
        if self.own {
            found.push(path);
        }
    }
}

/// Whether the path that leads to `fields` is in their set itself.
fn says_own(fields: &Value) -> bool {
    fields
        .as_object()
        .is_none_or(|map| map.is_empty() || map.contains_key("."))
}

fn show_element(key: &str) -> String {
    let (form, text) = key.split_at(2.min(key.len()));
    match form {
        "k:" => {
            let keys: Value = serde_json::from_str(text).unwrap_or_default();
            let shown: Vec<_> = keys
                .entries()
                .map(|(key, value)| format!("{key}={}", json(value)))
                .collect();
            format!("[{}]", shown.join(","))
        }
        "v:" => format!("[={text}]"),
        "i:" => format!("[{text}]"),
        _ => format!(".{text}"),
    }
}

fn json(value: &Value) -> String {
    serde_json::to_string(value).expect("a tree always prints")
}
