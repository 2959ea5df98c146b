//! Between the version an object is stored in and the version a client speaks.

use kinds::Kind;
use machinery::{Object, Value};
use std::sync::Arc;

/// The stored object in the version of `kind`; the same `Arc` where nothing differs.
pub(crate) fn to_requested(object: &Arc<Object>, kind: &Kind) -> Arc<Object> {
    if object.at("apiVersion").str() == kind.api_version() {
        return object.clone();
    }
    let mut value = object.root().to_value();
    kind.convert(&mut value, &kind.api_version());
    Arc::new(Object::new(&value, object.revision()))
}

/// Turns a tree of any version of the kind into its storage version.
pub(crate) fn to_storage(value: &mut Value, kind: &Kind) {
    kind.convert(value, &kind.storage_version);
}
