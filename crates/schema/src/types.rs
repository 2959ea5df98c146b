//! The shape of types: what a field is called, holds, merges by, defaults to and encodes as.
//!
//! Built-in types (from the facts table) and a CRD's structural schema compile into this one
//! form. Upstream counterparts: `structured-merge-diff/schema`, `kube-openapi`, the generated
//! protobuf and defaulting code, taken together.

use machinery::{SmolStr, Value};
use std::{collections::BTreeMap, sync::Arc};

/// A node's place in its [`Schema`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// A closed set of types that refer to each other.
#[derive(Debug, Default)]
pub struct Schema {
    /// All nodes; [`NodeId`] is the position.
    pub nodes: Vec<Node>,
    /// Named types: `io.k8s.api.core.v1.Pod`.
    pub names: BTreeMap<SmolStr, NodeId>,
}

/// One type.
#[derive(Debug, Default)]
pub struct Node {
    /// Definition name, empty for anonymous ones.
    pub name: SmolStr,
    /// What values look like.
    pub shape: Shape,
    /// Whether null is a value of its own (CRD `nullable`).
    pub nullable: bool,
    /// Default of a value of this type where its field is absent (CRD `default`).
    pub default: Option<Value>,
    /// Keywords that only check (CRD schemas); `None` for built-in types.
    pub checks: Option<Box<crate::Checks>>,
    /// Text for `kubectl explain`; built-in ones are attached by the codec.
    pub description: SmolStr,
}

/// What values of a type look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Shape {
    /// Anything, kept as it is (`RawExtension`, `JSON`, preserve-unknown without properties).
    #[default]
    Any,
    /// Boolean.
    Bool,
    /// Whole number of 32 or 64 bits.
    Int {
        /// Whether it must fit 32 bits.
        narrow: bool,
    },
    /// Number.
    Float,
    /// String.
    String,
    /// Base64 text (`[]byte`).
    Bytes,
    /// `resource.Quantity`: string or number in, canonical string out.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// `metav1.Time`.
    Time,
    /// `metav1.MicroTime`.
    MicroTime,
    /// `metav1.Duration` (Go text such as `1m30s`).
    Duration,
    /// `metav1.FieldsV1`: any object, never interned.
    FieldsV1,
    /// Array.
    List {
        /// Type of the items.
        item: NodeId,
        /// How two versions of the list merge.
        kind: ListKind,
    },
    /// Object with free keys.
    Map {
        /// Type of the values.
        value: NodeId,
        /// Whether it is replaced whole.
        atomic: bool,
    },
    /// Object with known fields.
    Struct(Struct),
}

/// How a list merges under server-side apply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// Replaced whole.
    #[default]
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects identified by these fields.
    Map(Vec<SmolStr>),
}

/// An object type with known fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Struct {
    /// Fields, sorted by name.
    pub fields: Vec<Field>,
    /// Whether fields not listed are kept (CRD preserve-unknown-fields).
    pub preserve_unknown: bool,
    /// Type of fields not listed (CRD `properties` together with `additionalProperties` is not
    /// structural, so this is only set by preserve-unknown with a schema).
    pub additional: Option<NodeId>,
    /// Whether it is replaced whole.
    pub atomic: bool,
    /// Whether it is a complete embedded object (`apiVersion`, `kind`, `metadata` implied).
    pub embedded: bool,
}

/// A field of a struct.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Field {
    /// JSON name.
    pub name: SmolStr,
    /// Type.
    pub node: NodeId,
    /// Protobuf tag path; longer than one where Go embeds a struct. Empty: not in protobuf.
    pub tag: Arc<[u32]>,
    /// Must be present.
    pub required: bool,
    /// Go pointer: a zero value is kept and differs from absence.
    pub pointer: bool,
    /// Go `omitempty`: a zero value behind no pointer is dropped.
    pub omitempty: bool,
    /// Strategic-merge strategy.
    pub patch: PatchStrategy,
    /// Merge key of the strategic-merge patch, empty if none.
    pub patch_key: SmolStr,
    /// Default where absent.
    pub default: Option<Value>,
}

/// Strategic-merge behaviour of a field (`x-kubernetes-patch-strategy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// `merge`: lists merge by key (or as sets of scalars).
    pub merge: bool,
    /// `retainKeys`.
    pub retain_keys: bool,
    /// `replace` where a merge would be the rule.
    pub replace: bool,
}

impl Schema {
    /// The node at `id`.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The named type.
    pub fn named(&self, name: &str) -> Option<NodeId> {
        self.names.get(name).copied()
    }
}

impl Struct {
    /// The field called `name`.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields
            .binary_search_by(|field| field.name.as_str().cmp(name))
            .ok()
            .map(|at| &self.fields[at])
    }
}

/// A type within a shared schema: what everything that handles objects passes around.
#[derive(Clone, Debug)]
pub struct TypeRef {
    /// The schema.
    pub schema: Arc<Schema>,
    /// The type within it.
    pub id: NodeId,
}

impl TypeRef {
    /// The node.
    pub fn node(&self) -> &Node {
        self.schema.node(self.id)
    }
}
