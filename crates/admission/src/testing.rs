//! What the unit tests share: a state of the cluster made of a few objects.

use machinery::{Object, Value};
use registry::{Change, Key, Snapshot};
use std::sync::Arc;

/// A snapshot with these objects, by storage resource.
pub(crate) fn state(objects: &[(&str, Value)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (at, (storage, value)) in objects.iter().enumerate() {
        let revision = at as u64 + 1;
        snapshot.apply(&Change {
            revision,
            resource: (*storage).into(),
            key: Key::new(value.namespace(), value.name()),
            old: None,
            new: Some(Arc::new(Object::new(value, revision))),
        });
    }
    snapshot
}
