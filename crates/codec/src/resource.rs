//! What the documents need to know of a resource, as plain data: built-in kinds and custom
//! ones look the same here.
//!
//! Knows no kind by name. Upstream counterpart: `metav1.APIResource` and the installer's tables.

use base64::{Engine, prelude::BASE64_STANDARD};
use machinery::{GroupVersion, GroupVersionKind, SmolStr, format_smolstr};
use schema::TypeRef;
use sha2::{Digest, Sha256};

/// An API group, its preferred version first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiGroup {
    /// Name, empty for the core group.
    pub name: SmolStr,
    /// Versions, the preferred one first.
    pub versions: Vec<SmolStr>,
}

/// One resource in one served version.
#[derive(Clone, Debug)]
pub struct ApiResource {
    /// Group, version and kind.
    pub gvk: GroupVersionKind,
    /// Plural name.
    pub plural: SmolStr,
    /// Singular name.
    pub singular: SmolStr,
    /// Kind of its lists.
    pub list_kind: SmolStr,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs in discovery's order.
    pub verbs: Vec<SmolStr>,
    /// Short names.
    pub short_names: Vec<SmolStr>,
    /// Categories.
    pub categories: Vec<SmolStr>,
    /// Subresources.
    pub subresources: Vec<ApiSubresource>,
    /// Type of the objects.
    pub type_ref: TypeRef,
    /// Whether a deletion answers with the object instead of a status.
    pub shows_deleted: bool,
    /// See [`storage_version_hash`]; empty for resources that are not stored.
    pub storage_version_hash: SmolStr,
}

/// One subresource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiSubresource {
    /// Last path segment.
    pub name: SmolStr,
    /// Kind of its body.
    pub gvk: GroupVersionKind,
    /// Verbs.
    pub verbs: Vec<SmolStr>,
}

impl ApiResource {
    /// `/api/v1` or `/apis/GROUP/VERSION`.
    pub fn base_path(&self) -> SmolStr {
        base_path(&self.gvk.group_version())
    }

    /// Whether it is of a custom kind, whose type has no name and does not say how lists merge.
    pub fn is_custom(&self) -> bool {
        self.type_ref.node().name.is_empty()
    }

    /// Whether `verb` is served.
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }
}

/// `/api/v1` or `/apis/GROUP/VERSION`.
pub fn base_path(gv: &GroupVersion) -> SmolStr {
    if gv.group.is_empty() {
        format_smolstr!("/api/{}", gv.version)
    } else {
        format_smolstr!("/apis/{}/{}", gv.group, gv.version)
    }
}

/// `storageVersionHash` of what is stored as this kind.
pub fn storage_version_hash(gvk: &GroupVersionKind) -> SmolStr {
    const SHOWN_BYTES: usize = 8;
    let digest = Sha256::digest(format!("{}/{}/{}", gvk.group, gvk.version, gvk.kind));
    BASE64_STANDARD.encode(&digest[..SHOWN_BYTES]).into()
}

/// Hash of a document for `ETag` headers and the OpenAPI index, in upper-case hexadecimal.
pub fn document_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_upstream() {
        // From the discovery of a 1.36 server.
        let hash = storage_version_hash(&GroupVersionKind::new("", "v1", "Pod"));
        assert_eq!(hash, "xPOwRZ+Yhw8=");
        assert_eq!(document_hash(b"").len(), 64);
    }
}
