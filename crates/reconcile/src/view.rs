//! The world as a brain sees it: all objects at one revision, and indexes over them.
//!
//! Upstream counterpart: the shared informer's `Indexer`.

use crate::{Change, Key, Snapshot};
use machinery::{Object, SmolStr};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

/// A secondary index as a value: which objects it covers and what they are found by.
#[derive(Clone, Copy)]
pub struct Index {
    /// Name to look it up by.
    pub name: &'static str,
    /// Resource it covers (`pods`), or `*` for all.
    pub resource: &'static str,
    /// The index values of an object.
    pub values: fn(&Object, &mut Vec<SmolStr>),
}

/// The index over all resources from owner UID to the objects that name it as owner.
pub const BY_OWNER: Index = Index {
    name: "owner-uid",
    resource: "*",
    values: |object, values| values.extend(object.owner_references().map(|o| o.uid().into())),
};

/// Where an indexed object stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    resource: SmolStr,
    key: Key,
}

/// The objects found by one index value. Most values (UIDs) find one, for which a set of its own
/// would take a kilobyte.
enum Found {
    One(Place),
    Many(BTreeSet<Place>),
}

impl Found {
    fn iter(&self) -> impl Iterator<Item = &Place> {
        let (one, many) = match self {
            Self::One(place) => (Some(place), None),
            Self::Many(places) => (None, Some(places)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn add(&mut self, place: Place) {
        match self {
            Self::Many(places) => drop(places.insert(place)),
            Self::One(known) if *known == place => {}
            Self::One(known) => *self = Self::Many([known.clone(), place].into()),
        }
    }

    /// Removes a place; whether nothing is left.
    fn remove(&mut self, place: &Place) -> bool {
        match self {
            Self::One(known) => known == place,
            Self::Many(places) => {
                places.remove(place);
                places.is_empty()
            }
        }
    }
}

/// Index values, and what is found by each.
type Places = BTreeMap<SmolStr, Found>;

impl Index {
    /// The index values of an object, in place of what `values` held; none of no object.
    fn read(&self, object: Option<&Object>, values: &mut Vec<SmolStr>) {
        values.clear();
        if let Some(object) = object {
            (self.values)(object, values);
        }
    }
}

fn leave(places: &mut Places, value: &SmolStr, place: &Place) {
    if places
        .get_mut(value)
        .is_some_and(|found| found.remove(place))
    {
        places.remove(value);
    }
}

/// All objects at one revision, with indexes.
#[derive(Default)]
pub struct View {
    snapshot: Snapshot,
    indexes: Vec<(Index, Places)>,
}

impl View {
    /// A view of `snapshot` that maintains `indexes` (each name once).
    pub fn new(snapshot: Snapshot, indexes: &[Index]) -> Self {
        let mut view = Self {
            snapshot: Snapshot::default(),
            indexes: Vec::new(),
        };
        for index in indexes {
            if view
                .indexes
                .iter()
                .all(|(known, _)| known.name != index.name)
            {
                view.indexes.push((*index, BTreeMap::new()));
            }
        }
        for (resource, table) in &snapshot.tables {
            for (key, object) in table {
                view.index(resource, key, None, Some(object));
            }
        }
        view.snapshot = snapshot;
        view
    }

    /// A view for tests: the objects given as (resource, tree), revisions counted from one.
    pub fn of(
        objects: impl IntoIterator<Item = (&'static str, machinery::Value)>,
        indexes: &[Index],
    ) -> Self {
        let mut view = Self::new(Snapshot::default(), indexes);
        for (revision, (resource, value)) in (1..).zip(objects) {
            let key = Key::new(value.namespace(), value.name());
            let new = Some(Arc::new(Object::new(&value, revision)));
            let old = view.snapshot.get(resource, &key).cloned();
            view.advance(&Change {
                revision,
                resource: resource.into(),
                key,
                old,
                new,
            });
        }
        view
    }

    /// Moves the view forward by one change of the log.
    pub fn advance(&mut self, change: &Change) {
        let (old, new) = (change.old.as_deref(), change.new.as_deref());
        self.index(&change.resource, &change.key, old, new);
        self.snapshot.apply(change);
    }

    fn index(&mut self, resource: &SmolStr, key: &Key, old: Option<&Object>, new: Option<&Object>) {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (index, places) in &mut self.indexes {
            if index.resource != "*" && index.resource != resource {
                continue;
            }
            index.read(old, &mut before);
            index.read(new, &mut after);
            if before == after {
                continue;
            }
            let place = Place {
                resource: resource.clone(),
                key: key.clone(),
            };
            before
                .drain(..)
                .for_each(|value| leave(places, &value, &place));
            for value in after.drain(..) {
                match places.entry(value) {
                    Entry::Vacant(free) => drop(free.insert(Found::One(place.clone()))),
                    Entry::Occupied(taken) => taken.into_mut().add(place.clone()),
                }
            }
        }
    }

    /// The revision this view stands at.
    pub fn revision(&self) -> u64 {
        self.snapshot.revision
    }

    /// The snapshot behind it.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// One object; `resource` is the plural name with `.group` unless core.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<&Arc<Object>> {
        self.snapshot.get(resource, &Key::new(namespace, name))
    }

    /// Objects of a resource in key order, of one namespace if given.
    pub fn list<'a>(
        &'a self,
        resource: &str,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        self.snapshot.list(resource, namespace)
    }

    /// Objects found by an index value, in resource and key order.
    pub fn indexed<'a>(
        &'a self,
        index: &Index,
        value: &str,
    ) -> impl Iterator<Item = (&'a SmolStr, &'a Arc<Object>)> + use<'a> {
        let places = self
            .indexes
            .iter()
            .find(|(known, _)| known.name == index.name);
        assert!(
            places.is_some(),
            "index {} is not maintained by this view",
            index.name
        );
        places
            .and_then(|(_, places)| places.get(value))
            .into_iter()
            .flat_map(Found::iter)
            .filter_map(|place| {
                Some((
                    &place.resource,
                    self.snapshot.get(&place.resource, &place.key)?,
                ))
            })
    }

    /// Objects of `resource` that name the owner `uid` (needs [`BY_OWNER`]).
    pub fn owned<'a>(
        &'a self,
        resource: &str,
        uid: &str,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let resource = SmolStr::new(resource);
        self.indexed(&BY_OWNER, uid)
            .filter(move |(found, _)| **found == resource)
            .map(|(_, object)| object)
    }
}
