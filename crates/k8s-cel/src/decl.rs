//! Declared types: what data looks like, how large it may be, and how its fields are spelled.
//!
//! Made from a schema type, or by hand for what has no schema. Upstream counterpart:
//! `k8s.io/apiserver/pkg/cel/types.go`, `common/schemas.go` and `escaping.go`.

use crate::Type;
use machinery::{SmolStr, Value};
use schema::{Checks, ListKind, Node, NodeId, Schema, Shape, TypeRef};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

/// Largest request body, in bytes: what unbounded values are assumed to fill.
pub const MAX_REQUEST_SIZE: u64 = 3 * 1024 * 1024;
/// Longest duration in JSON, in bytes.
const MAX_DURATION_SIZE: u64 = 32;
/// Longest date and time in JSON, in bytes.
const MAX_DATETIME_SIZE: u64 = 32;
/// A date in JSON, in bytes.
const DATE_SIZE: u64 = 12;
/// Types nested deeper than this (or within themselves) are seen as `dyn`.
const MAX_DEPTH: usize = 64;

/// A declared type.
#[derive(Debug)]
pub struct Decl {
    /// Name of an object type.
    pub name: SmolStr,
    /// What values look like.
    pub shape: DeclShape,
    /// Whether null is a value.
    pub nullable: bool,
    /// Most characters, items or entries a value may have.
    pub max_elements: u64,
    /// Fewest bytes a value takes in JSON.
    pub min_size: u64,
}

/// What values of a declared type look like.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum DeclShape {
    /// Anything (also int-or-string).
    Any,
    Bool,
    Int,
    Double,
    String,
    /// Base64 text.
    Bytes,
    /// Go or ISO duration text.
    Duration,
    /// A date, or a date and time.
    Timestamp,
    /// Array; the kind decides what `==` and `+` mean.
    List(Arc<Decl>, ListKind),
    /// Object with free keys.
    Map(Arc<Decl>),
    /// Object with known fields, sorted by the name expressions use.
    Object(Vec<DeclField>),
}

/// A field of an object type.
#[derive(Debug)]
pub struct DeclField {
    /// Name in expressions.
    pub name: SmolStr,
    /// Name in JSON.
    pub json: SmolStr,
    /// Type, seen by the checker.
    pub decl: Arc<Decl>,
    /// The type for expressions.
    pub ty: Type,
}

static ANY: LazyLock<Arc<Decl>> =
    LazyLock::new(|| Arc::new(Decl::new(DeclShape::Any, MAX_REQUEST_SIZE - 2, 1)));

impl Decl {
    fn new(shape: DeclShape, max_elements: u64, min_size: u64) -> Self {
        Self {
            name: SmolStr::default(),
            shape,
            nullable: true,
            max_elements,
            min_size,
        }
    }

    /// A type of which nothing is known.
    pub fn any() -> &'static Arc<Decl> {
        &ANY
    }

    /// A simple type made by hand: `Any`, `Bool`, `Int`, `Double`, `String`, `Bytes`, `Duration`
    /// or `Timestamp`.
    pub fn simple(shape: DeclShape) -> Arc<Decl> {
        Arc::new(Decl::new(shape, MAX_REQUEST_SIZE - 2, 1))
    }

    /// A list type made by hand.
    pub fn list(item: Arc<Decl>) -> Arc<Decl> {
        let shape = DeclShape::List(item, ListKind::Atomic);
        Arc::new(Decl::new(shape, MAX_REQUEST_SIZE, 2))
    }

    /// A map type made by hand.
    pub fn map(value: Arc<Decl>) -> Arc<Decl> {
        Arc::new(Decl::new(DeclShape::Map(value), MAX_REQUEST_SIZE, 2))
    }

    /// An object type made by hand: name, and fields with their types.
    pub fn object(name: &str, fields: Vec<(&str, Arc<Decl>)>) -> Arc<Decl> {
        let mut decl = Decl::new(DeclShape::Object(fields_of(fields)), 0, 2);
        decl.name = name.into();
        Arc::new(decl)
    }

    /// An object type whose fields are not known.
    pub fn open(name: &str) -> Arc<Decl> {
        let mut decl = Decl::new(DeclShape::Any, 0, 2);
        decl.name = name.into();
        Arc::new(decl)
    }

    /// The type of a schema node; `None` where expressions cannot see it.
    /// `root` says whether it is a whole object, which has `apiVersion`, `kind` and `metadata`.
    pub fn of(of: &TypeRef, name: &str, root: bool) -> Option<Arc<Decl>> {
        let mut maker = Maker {
            schema: &of.schema,
            made: BTreeMap::new(),
            open: Vec::new(),
        };
        maker.make(of.id, name, root)
    }

    /// The field that expressions call `name`.
    pub fn field(&self, name: &str) -> Option<&DeclField> {
        let DeclShape::Object(fields) = &self.shape else {
            return None;
        };
        let at = |name: &str| fields.binary_search_by(|field| field.name.as_str().cmp(name));
        // Keywords may be selected as they are.
        let found = at(name).or_else(|missing| {
            if RESERVED.contains(&name) {
                at(&format!("__{name}__"))
            } else {
                Err(missing)
            }
        });
        found.ok().map(|at| &fields[at])
    }

    /// The type for the checker.
    pub fn ty(self: &Arc<Self>) -> Type {
        match &self.shape {
            DeclShape::Any => Type::Dyn,
            DeclShape::Bool => Type::Bool,
            DeclShape::Int => Type::Int,
            DeclShape::Double => Type::Double,
            DeclShape::String => Type::String,
            DeclShape::Bytes => Type::Bytes,
            DeclShape::Duration => Type::Duration,
            DeclShape::Timestamp => Type::Timestamp,
            DeclShape::List(item, _) => Type::list(item.ty()),
            DeclShape::Map(value) => Type::map(Type::String, value.ty()),
            DeclShape::Object(_) => Type::Object(Arc::clone(self)),
        }
    }

    /// The type that a path of field names, `@items` and `@values` leads to.
    pub fn at<'d>(&'d self, path: &[SmolStr]) -> Option<&'d Decl> {
        path.iter()
            .try_fold(self, |decl, step| match (&decl.shape, step.as_str()) {
                (DeclShape::List(item, _), "@items") => Some(&**item),
                (DeclShape::Map(value), "@values") => Some(&**value),
                (DeclShape::Map(_), "@keys") => Some(&**KEY),
                (DeclShape::Object(_), name) => decl.field(name).map(|field| &*field.decl),
                _ => None,
            })
    }
}

/// Keys of maps: upstream's plain string type, whose size estimate is zero.
static KEY: LazyLock<Arc<Decl>> = LazyLock::new(|| Arc::new(Decl::new(DeclShape::String, 0, 2)));

fn fields_of(fields: Vec<(&str, Arc<Decl>)>) -> Vec<DeclField> {
    let mut fields: Vec<DeclField> = fields
        .into_iter()
        .filter_map(|(json, decl)| {
            Some(DeclField {
                name: escape(json)?,
                json: json.into(),
                ty: decl.ty(),
                decl,
            })
        })
        .collect();
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    fields
}

/// Words that no field or variable can be called in an expression.
pub const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// How expressions spell a JSON name; `None` where they cannot.
pub fn escape(name: &str) -> Option<SmolStr> {
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__").into());
    }
    let first = name.chars().next()?;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_.-/".contains(letter);
    if first.is_ascii_digit() || !name.chars().all(plain) {
        return None;
    }
    if !name.contains(['.', '-', '/']) && !name.contains("__") {
        return Some(name.into());
    }
    let escaped = name
        .replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__");
    Some(escaped.into())
}

struct Maker<'s> {
    schema: &'s Arc<Schema>,
    made: BTreeMap<(NodeId, bool), Option<Arc<Decl>>>,
    open: Vec<NodeId>,
}

impl Maker<'_> {
    fn make(&mut self, id: NodeId, name: &str, root: bool) -> Option<Arc<Decl>> {
        if let Some(done) = self.made.get(&(id, root)) {
            return done.clone();
        }
        if self.open.contains(&id) || self.open.len() >= MAX_DEPTH {
            return Some(Arc::clone(Decl::any()));
        }
        self.open.push(id);
        let node = self.schema.clone();
        let made = self.decl(node.node(id), name, root).map(Arc::new);
        self.open.pop();
        self.made.insert((id, root), made.clone());
        made
    }

    fn decl(&mut self, node: &Node, name: &str, root: bool) -> Option<Decl> {
        static NONE: LazyLock<Checks> = LazyLock::new(Checks::default);
        let checks: &Checks = node.checks.as_deref().unwrap_or(&NONE);
        let (shape, most, least) = match &node.shape {
            Shape::IntOrString => {
                let most = checks
                    .length
                    .1
                    .map_or(MAX_REQUEST_SIZE - 2, |most| most * 4);
                (DeclShape::Any, most, 1)
            }
            Shape::Bool => (DeclShape::Bool, 0, 4),
            Shape::Int { .. } => (DeclShape::Int, 0, 1),
            Shape::Float => (DeclShape::Double, 0, 1),
            Shape::String => text(checks),
            Shape::Bytes => (DeclShape::Bytes, MAX_REQUEST_SIZE - 2, 2),
            Shape::Quantity | Shape::Duration => (DeclShape::String, MAX_REQUEST_SIZE - 2, 2),
            Shape::Time | Shape::MicroTime => (DeclShape::Timestamp, MAX_DATETIME_SIZE, 21),
            Shape::Any if node.typed => (DeclShape::Object(Vec::new()), 0, 2),
            Shape::FieldsV1 => (DeclShape::Object(Vec::new()), 0, 2),
            Shape::Any => return None,
            Shape::List { item, kind } => self.list(*item, kind, checks, name)?,
            Shape::Map { value, .. } => {
                let value = self.make(*value, &format!("{name}.@elem"), self.embedded(*value))?;
                let most = checks
                    .properties
                    .1
                    .unwrap_or((MAX_REQUEST_SIZE - 2) / (value.min_size + 6));
                (DeclShape::Map(value), most, 2)
            }
            Shape::Struct(_) => self.object(node, checks, name, root),
        };
        let name = if node.name.is_empty() {
            SmolStr::new(name)
        } else {
            node.name.clone()
        };
        Some(Decl {
            name,
            shape,
            nullable: node.nullable,
            max_elements: most,
            min_size: least,
        })
    }

    fn embedded(&self, id: NodeId) -> bool {
        matches!(&self.schema.node(id).shape, Shape::Struct(known) if known.embedded)
    }

    fn list(
        &mut self,
        item: NodeId,
        kind: &ListKind,
        checks: &Checks,
        name: &str,
    ) -> Option<(DeclShape, u64, u64)> {
        let item = self.make(item, &format!("{name}.@idx"), self.embedded(item))?;
        let most = checks
            .items
            .1
            .unwrap_or((MAX_REQUEST_SIZE - 2) / (item.min_size + 1));
        Some((DeclShape::List(item, kind.clone()), most, 2))
    }

    fn object(
        &mut self,
        node: &Node,
        checks: &Checks,
        name: &str,
        root: bool,
    ) -> (DeclShape, u64, u64) {
        let Shape::Struct(known) = &node.shape else {
            return (DeclShape::Object(Vec::new()), 0, 2);
        };
        let mut fields = Vec::new();
        let mut least = 2;
        let whole = root || known.embedded;
        for field in &known.fields {
            if known.custom && whole && field.name == "metadata" {
                fields.push(("metadata", metadata(&format!("{name}.metadata"))));
                continue;
            }
            let inner = self.embedded(field.node);
            let made = self.make(field.node, &format!("{name}.{}", field.name), inner);
            let Some(decl) = made else { continue };
            let required = checks.required.contains(&field.name) || field.required;
            let default = field.default.is_some() || self.schema.node(field.node).default.is_some();
            if required && !default && known.custom {
                least += field.name.len() as u64 + decl.min_size + 4;
            }
            fields.push((field.name.as_str(), decl));
        }
        (DeclShape::Object(fields_of(fields)), 0, least)
    }
}

/// What expressions see of a custom object's metadata.
fn metadata(name: &str) -> Arc<Decl> {
    let text = || {
        let shape = DeclShape::String;
        Arc::new(Decl::new(shape, MAX_REQUEST_SIZE - 2, 2))
    };
    Decl::object(name, vec![("name", text()), ("generateName", text())])
}

fn text(checks: &Checks) -> (DeclShape, u64, u64) {
    let longest = checks.length.1;
    match checks.format.as_str() {
        "byte" => (DeclShape::Bytes, longest.unwrap_or(MAX_REQUEST_SIZE - 2), 2),
        "duration" => (DeclShape::Duration, MAX_DURATION_SIZE, 3),
        "date" => (DeclShape::Timestamp, DATE_SIZE, DATE_SIZE),
        "date-time" => (DeclShape::Timestamp, MAX_DATETIME_SIZE, 21),
        _ => {
            let named = checks.allowed.iter().filter_map(Value::as_str);
            let most = match (longest, checks.allowed.is_empty()) {
                (Some(most), _) => most * 4,
                (None, false) => named.map(str::len).max().unwrap_or_default() as u64,
                (None, true) => MAX_REQUEST_SIZE - 2,
            };
            (DeclShape::String, most, 2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_upstream_does() {
        for (name, wanted) in [
            ("a", Some("a")),
            ("namespace", Some("__namespace__")),
            ("foo.bar", Some("foo__dot__bar")),
            ("foo-bar", Some("foo__dash__bar")),
            ("a/b", Some("a__slash__b")),
            ("a__b", Some("a__underscores__b")),
            ("a_b", Some("a_b")),
            ("1a", None),
            ("a$", None),
            ("", None),
        ] {
            assert_eq!(escape(name).as_deref(), wanted, "{name}");
        }
    }
}
