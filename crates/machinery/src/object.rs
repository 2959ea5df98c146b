//! An API object at rest: flat bytes plus the revision that wrote them, shared by everyone.
//!
//! Knows object metadata and nothing of any kind. Upstream counterpart: `metav1.ObjectMeta`
//! and the cacher's cached objects.

use crate::{GroupVersion, GroupVersionKind, Map, Value, flat, flat::Ref, map};
use serde::{Serialize, Serializer, ser::SerializeMap};
use smol_str::SmolStr;
use std::sync::Arc;

/// One immutable revision of an object. `metadata.resourceVersion` is not in the bytes:
/// it is the revision, added whenever the object is shown.
#[derive(Debug)]
pub struct Object {
    bytes: Box<[u8]>,
    revision: u64,
}

impl Object {
    /// Freezes a tree as the state written by `revision`.
    pub fn new(value: &Value, revision: u64) -> Self {
        debug_assert!(
            value.at(&["metadata", "resourceVersion"]).is_null(),
            "the revision is kept beside the bytes"
        );
        Self {
            bytes: flat::encode(value).into(),
            revision,
        }
    }

    /// From bytes of [`flat::encode`] (or checked ones) without `metadata.resourceVersion`.
    pub fn from_bytes(bytes: impl Into<Box<[u8]>>, revision: u64) -> Self {
        Self {
            bytes: bytes.into(),
            revision,
        }
    }

    /// The flat bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The revision that wrote this state.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The whole object, without `resourceVersion`.
    pub fn root(&self) -> Ref<'_> {
        Ref::new(&self.bytes)
    }

    /// The field at a dotted path.
    pub fn at(&self, path: &str) -> Ref<'_> {
        self.root().at(path)
    }

    /// `metadata`.
    pub fn metadata(&self) -> Ref<'_> {
        self.root().get("metadata")
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.metadata().get("name").str()
    }

    /// `metadata.namespace`, empty for cluster scope.
    pub fn namespace(&self) -> &str {
        self.metadata().get("namespace").str()
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        self.metadata().get("uid").str()
    }

    /// `metadata.generation`.
    pub fn generation(&self) -> i64 {
        self.metadata().get("generation").i64()
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata().get("labels").get(key).as_str()
    }

    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata().get("annotations").get(key).as_str()
    }

    /// All labels.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata()
            .get("labels")
            .entries()
            .map(|(key, value)| (key, value.str()))
    }

    /// `metadata.deletionTimestamp`, if deletion has begun.
    pub fn deletion_timestamp(&self) -> Option<&str> {
        self.metadata().get("deletionTimestamp").as_str()
    }

    /// Whether deletion has begun.
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp().is_some()
    }

    /// The finalizers that still hold the object.
    pub fn finalizers(&self) -> impl Iterator<Item = &str> {
        self.metadata()
            .get("finalizers")
            .items()
            .map(|item| item.str())
    }

    /// Owner references.
    pub fn owner_references(&self) -> impl Iterator<Item = OwnerReference<'_>> {
        self.metadata()
            .get("ownerReferences")
            .items()
            .map(OwnerReference)
    }

    /// The owner that manages this object (`controller: true`).
    pub fn controller(&self) -> Option<OwnerReference<'_>> {
        self.owner_references().find(OwnerReference::is_controller)
    }

    /// `apiVersion` and `kind`.
    pub fn gvk(&self) -> GroupVersionKind {
        let gv = GroupVersion::parse(self.at("apiVersion").str());
        GroupVersionKind {
            group: gv.group,
            version: gv.version,
            kind: self.at("kind").str().into(),
        }
    }

    /// The object as a tree, without `resourceVersion`. Only what is looked at is read, only what
    /// is changed is copied.
    pub fn tree(self: &Arc<Self>) -> Value {
        map::stored(self)
    }

    /// As [`Object::tree`], with `metadata.resourceVersion` filled in.
    pub fn shown(self: &Arc<Self>) -> Value {
        let mut tree = self.tree();
        tree.set_at(&["metadata", "resourceVersion"], self.revision.to_string());
        tree
    }

    /// A mutable copy with `metadata.resourceVersion` filled in (what was never stored has none).
    pub fn to_value(&self) -> Value {
        let mut value = self.root().to_value();
        if self.revision > 0 {
            value.set_at(&["metadata", "resourceVersion"], self.revision.to_string());
        }
        value
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(None)?;
        for (key, value) in self.root().entries() {
            if key == "metadata" {
                map.serialize_entry(
                    key,
                    &Metadata {
                        fields: value,
                        revision: self.revision,
                    },
                )?;
            } else {
                map.serialize_entry(key, &value)?;
            }
        }
        map.end()
    }
}

struct Metadata<'a> {
    fields: Ref<'a>,
    revision: u64,
}

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        const OWN: &str = "resourceVersion";
        let mut map = out.serialize_map(None)?;
        let mut shown = self.revision == 0;
        for (key, value) in self.fields.entries() {
            if !shown && key > OWN {
                map.serialize_entry(OWN, &self.revision.to_string())?;
                shown = true;
            }
            map.serialize_entry(key, &value)?;
        }
        if !shown {
            map.serialize_entry(OWN, &self.revision.to_string())?;
        }
        map.end()
    }
}

/// One entry of `metadata.ownerReferences`.
#[derive(Clone, Copy, Debug)]
pub struct OwnerReference<'a>(pub Ref<'a>);

impl<'a> OwnerReference<'a> {
    /// `apiVersion` of the owner.
    pub fn api_version(&self) -> &'a str {
        self.0.get("apiVersion").str()
    }
    /// Kind of the owner.
    pub fn kind(&self) -> &'a str {
        self.0.get("kind").str()
    }
    /// Name of the owner.
    pub fn name(&self) -> &'a str {
        self.0.get("name").str()
    }
    /// UID of the owner.
    pub fn uid(&self) -> &'a str {
        self.0.get("uid").str()
    }
    /// Whether the owner manages the object.
    pub fn is_controller(&self) -> bool {
        self.0.get("controller").is_true()
    }
    /// Whether the owner's foreground deletion waits for the object.
    pub fn blocks_deletion(&self) -> bool {
        self.0.get("blockOwnerDeletion").is_true()
    }
}

/// Metadata of a tree in flight.
impl Value {
    /// `metadata`, created if absent.
    pub fn metadata_mut(&mut self) -> &mut Map {
        self.object_at(&["metadata"])
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.at(&["metadata", "name"]).str()
    }

    /// `metadata.namespace`.
    pub fn namespace(&self) -> &str {
        self.at(&["metadata", "namespace"]).str()
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        self.at(&["metadata", "uid"]).str()
    }

    /// `apiVersion` and `kind`.
    pub fn gvk(&self) -> GroupVersionKind {
        let gv = GroupVersion::parse(self["apiVersion"].str());
        GroupVersionKind {
            group: gv.group,
            version: gv.version,
            kind: SmolStr::new(self["kind"].str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn shows_its_revision_in_place() {
        let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "uid": "u", "labels": {"x": "y"}}, "spec": {}});
        let object = Object::new(&value, 42);
        let text = serde_json::to_string(&object).unwrap();
        assert_eq!(
            text,
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"x":"y"},"name":"a","resourceVersion":"42","uid":"u"},"spec":{}}"#
        );
        assert_eq!(
            object.to_value().at(&["metadata", "resourceVersion"]).str(),
            "42"
        );
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            object.to_value()
        );
    }
}
