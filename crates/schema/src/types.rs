//! The shape of types: what a field is called, holds, merges by, defaults to and encodes as.
//!
//! Built-in types (from the facts table) and a CRD's structural schema compile into this one
//! form. Upstream counterparts: `structured-merge-diff/schema`, `kube-openapi`, the generated
//! protobuf and defaulting code, taken together.

use machinery::{Object, SmolStr, Value};
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
    /// What a CRD's types were compiled from: its texts are read there when asked for.
    pub source: Option<Source>,
    /// Whether any type of a CRD's is an embedded object.
    pub has_embedded: bool,
    /// Whether any list of a CRD's is a set or a map.
    pub has_identities: bool,
}

/// A version of a stored definition.
#[derive(Clone, Debug)]
pub struct Source {
    /// The definition, shared with the store.
    pub definition: Arc<Object>,
    /// Name of the version.
    pub version: SmolStr,
}

impl Source {
    /// The schema as the definition writes it.
    pub fn schema(&self) -> Value {
        let versions = self.definition.root().get("spec").get("versions");
        let mut version = versions
            .items()
            .filter(|one| one.get("name").str() == self.version);
        let schema = version
            .next()
            .map(|one| one.get("schema").get("openAPIV3Schema"));
        schema.map_or(Value::object(), |schema| schema.to_value())
    }
}

/// One type.
#[derive(Debug, Default)]
pub struct Node {
    /// Definition name, empty for anonymous ones.
    pub name: SmolStr,
    /// What values look like.
    pub shape: Shape,
    /// Whether validation refuses values of another JSON type (CRD `type` given).
    pub typed: bool,
    /// Whether null is a value of its own (CRD `nullable`).
    pub nullable: bool,
    /// Default of a value of this type where its field is absent (CRD `default`).
    pub default: Option<Value>,
    /// Keywords that only check (CRD schemas); `None` for built-in types.
    pub checks: Option<Box<crate::Checks>>,
    /// Whether a default applies at or below this node.
    pub defaults_below: bool,
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
    /// Whether values are kept as written (a CRD's) and not as a Go struct would print them.
    pub custom: bool,
    /// Positions of fields that a Go struct prints even where they were not given.
    pub always: Vec<u32>,
    /// Where the fields of each first letter are, if there are many; made by [`Schema::finish`].
    pub letters: Option<Box<Letters>>,
}

/// For each letter from `a` on, and for what comes after them, how many fields come before.
pub type Letters = [u16; LETTERS + 1];

/// Letters that names of fields begin with.
const LETTERS: usize = 26;
/// Fields up to which looking at each is cheaper than a table.
const SCANNED_MAX: usize = 6;

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
    /// Go `omitzero`: a zero value is dropped even where it is a struct.
    pub omitzero: bool,
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

    /// Works out what follows from all nodes together: which fields always print, and where
    /// defaults are. To be called once when the last node is in place.
    pub fn finish(&mut self) {
        for at in 0..self.nodes.len() {
            let Shape::Struct(known) = &self.nodes[at].shape else {
                continue;
            };
            let always = if known.custom {
                Vec::new()
            } else {
                self.always(known)
            };
            let Shape::Struct(known) = &mut self.nodes[at].shape else {
                continue;
            };
            known.always = always;
            known.letters = letters(&known.fields);
        }
        let sources = self.nodes.iter().map(Node::holds_default).collect();
        for (node, below) in std::iter::zip(0.., self.leading_to(sources)) {
            self.nodes[node].defaults_below = below;
        }
    }

    fn always(&self, known: &Struct) -> Vec<u32> {
        let prints = |field: &Field| {
            let go_struct = matches!(
                self.node(field.node).shape,
                Shape::Struct(_)
                    | Shape::Time
                    | Shape::MicroTime
                    | Shape::Quantity
                    | Shape::IntOrString
                    | Shape::Any
            );
            !field.omitzero && (!field.omitempty || (go_struct && !field.pointer))
        };
        std::iter::zip(0.., &known.fields)
            .filter(|(_, field)| prints(field))
            .map(|(at, _)| at)
            .collect()
    }

    /// For each node, whether it is in `found` or leads to one that is.
    pub(crate) fn leading_to(&self, mut found: Vec<bool>) -> Vec<bool> {
        loop {
            let mut grown = false;
            for at in (0..self.nodes.len()).rev() {
                if !found[at]
                    && self.nodes[at]
                        .children()
                        .any(|child| found[child.0 as usize])
                {
                    found[at] = true;
                    grown = true;
                }
            }
            if !grown {
                return found;
            }
        }
    }

    /// The named type.
    pub fn named(&self, name: &str) -> Option<NodeId> {
        self.names.get(name).copied()
    }
}

impl Node {
    /// Types of members and items.
    pub fn children(&self) -> impl Iterator<Item = NodeId> {
        let (one, fields, rest) = match &self.shape {
            Shape::List { item, .. } => (Some(*item), &[][..], None),
            Shape::Map { value, .. } => (Some(*value), &[][..], None),
            Shape::Struct(known) => (None, &known.fields[..], known.additional),
            _ => (None, &[][..], None),
        };
        one.into_iter()
            .chain(fields.iter().map(|field| field.node))
            .chain(rest)
    }

    fn holds_default(&self) -> bool {
        let fields = match &self.shape {
            Shape::Struct(known) => &known.fields[..],
            _ => &[],
        };
        // Custom values also lose nulls that their schema does not allow, in the same walk.
        // A CRD's maps state their type, built-in ones do not.
        let custom = match &self.shape {
            Shape::Struct(known) => known.custom,
            Shape::Map { .. } => self.typed,
            _ => false,
        };
        custom || self.default.is_some() || fields.iter().any(|field| field.default.is_some())
    }
}

impl Struct {
    /// The field called `name`.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let candidates = match &self.letters {
            Some(letters) => &self.fields[beside(name, letters, self.fields.len())],
            None => &self.fields[..],
        };
        candidates.iter().find(|field| field.name == *name)
    }
}

/// The table of fields that are sorted by name; `None` where they are few.
fn letters(fields: &[Field]) -> Option<Box<Letters>> {
    let many = fields.len() > SCANNED_MAX && u16::try_from(fields.len()).is_ok();
    let before = |letter: u8| fields.partition_point(|field| first_of(&field.name) < letter) as u16;
    many.then(|| Box::new(std::array::from_fn(|at| before(b'a' + at as u8))))
}

/// Where the fields are that begin as `name` does.
fn beside(name: &str, letters: &Letters, count: usize) -> std::ops::Range<usize> {
    let start = |letter: u8| usize::from(letters[usize::from(letter - b'a')]);
    match first_of(name) {
        ..b'a' => 0..start(b'a'),
        letter @ b'a'..=b'z' => start(letter)..start(letter + 1),
        _ => usize::from(letters[LETTERS])..count,
    }
}

fn first_of(name: &str) -> u8 {
    name.bytes().next().unwrap_or_default()
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

    /// The same schema, another type of it.
    pub fn to(&self, id: NodeId) -> TypeRef {
        TypeRef {
            schema: Arc::clone(&self.schema),
            id,
        }
    }
}

/// A type on the way down a walk: borrowed, so that walking costs no reference counts.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub schema: &'a Schema,
    pub id: NodeId,
}

impl<'a> At<'a> {
    pub fn new(of: &'a TypeRef) -> Self {
        At {
            schema: &of.schema,
            id: of.id,
        }
    }

    pub fn node(self) -> &'a Node {
        self.schema.node(self.id)
    }

    pub fn shape(self) -> &'a Shape {
        &self.node().shape
    }

    pub fn to(self, id: NodeId) -> Self {
        At { id, ..self }
    }

    /// Type of the member `key` of an object of this type; `None` where nothing is known of it.
    pub fn member(self, key: &str) -> Option<Self> {
        match self.shape() {
            Shape::Map { value, .. } => Some(self.to(*value)),
            Shape::Struct(known) => known
                .field(key)
                .map(|field| field.node)
                .or(known.additional)
                .map(|id| self.to(id)),
            _ => None,
        }
    }
}
