//! The immutable state of the world at one revision.
//!
//! Copy-on-write trees: a commit shares all but the changed path with its predecessor, so
//! keeping a snapshot costs only what has changed since.

use imbl::OrdMap;
use machinery::{Object, SmolStr};
use std::sync::Arc;

/// Identity of an object within its resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace, empty for cluster scope.
    pub namespace: SmolStr,
    /// Name.
    pub name: SmolStr,
}

impl Key {
    /// From two names.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// All objects of one resource, in key order.
pub type Table = OrdMap<Key, Arc<Object>>;

/// All objects at one revision. Cheap to clone.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// The revision of the last commit it contains.
    pub revision: u64,
    /// Resource (`pods`, `deployments.apps`) to its objects.
    pub tables: OrdMap<SmolStr, Table>,
}

impl Snapshot {
    /// One object.
    pub fn get(&self, resource: &str, key: &Key) -> Option<&Arc<Object>> {
        self.tables.get(resource)?.get(key)
    }

    /// Objects of a resource in key order, of one namespace if given.
    pub fn list<'a>(
        &'a self,
        resource: &str,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let start = Key::new(namespace.unwrap_or_default(), "");
        let namespace: Option<SmolStr> = namespace.map(Into::into);
        self.tables
            .get(resource)
            .into_iter()
            .flat_map(move |table| table.range(start.clone()..))
            .take_while(move |(key, _)| {
                namespace
                    .as_ref()
                    .is_none_or(|wanted| key.namespace == *wanted)
            })
            .map(|(_, object)| object)
    }

    /// The state after `change`.
    pub fn apply(&mut self, change: &Change) {
        let table = self.tables.entry(change.resource.clone()).or_default();
        match &change.new {
            Some(object) => table.insert(change.key.clone(), object.clone()),
            None => table.remove(&change.key),
        };
        self.revision = change.revision;
    }
}

/// One object's transition in the log.
#[derive(Clone, Debug)]
pub struct Change {
    /// The revision that made it.
    pub revision: u64,
    /// Resource: plural name, with `.group` unless core.
    pub resource: SmolStr,
    /// Which object.
    pub key: Key,
    /// State before; `None` for a creation.
    pub old: Option<Arc<Object>>,
    /// State after; `None` for a removal.
    pub new: Option<Arc<Object>>,
}
