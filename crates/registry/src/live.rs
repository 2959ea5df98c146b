//! What a write starts from, and what a PUT puts in its place.

use crate::Context;
use machinery::{Object, Status, Value};
use std::{ops::Deref, sync::Arc};

/// The object that a write starts from.
pub(crate) struct Live {
    /// As stored, in the version asked for.
    pub object: Arc<Object>,
    /// Its tree, without `resourceVersion`.
    pub tree: Value,
}

impl Live {
    pub fn new(stored: &Arc<Object>, object: Arc<Object>) -> Self {
        // What was made by a conversion never passed the steps of a write: it is looked at whole.
        let tree = match Arc::ptr_eq(stored, &object) {
            true => object.tree(),
            false => object.root().to_value(),
        };
        Self { object, tree }
    }

    /// The tree as clients see it.
    pub fn shown(&self) -> Value {
        let mut tree = self.tree.clone();
        let revision = self.object.revision().to_string();
        tree.metadata_mut().insert("resourceVersion", revision);
        tree
    }
}

impl Deref for Live {
    type Target = Object;
    fn deref(&self) -> &Object {
        &self.object
    }
}

/// The object of a PUT, to be put in place of whatever version it may replace.
pub(crate) struct Put {
    value: Option<Value>,
    /// Whether it says which version it replaces: it does so once or never.
    conditional: bool,
}

impl Put {
    pub fn new(value: Value) -> Self {
        let version = value.at(&["metadata", "resourceVersion"]).str();
        let conditional = !version.is_empty() && version != "0";
        Self {
            value: Some(value),
            conditional,
        }
    }

    /// The object, for one more attempt.
    pub fn again(&mut self, context: &Context<'_>) -> Result<Value, Status> {
        let value = match self.conditional {
            true => self.value.take(),
            false => self.value.clone(),
        };
        value.ok_or_else(|| context.outdated())
    }
}
