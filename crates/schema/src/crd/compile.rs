//! A CRD's `openAPIV3Schema` into the shared form of types.
//!
//! Takes what it finds: whether a schema may be written is decided beside it.

use super::{flag, given};
use crate::{
    Checks, Field, ListKind, Node, NodeId, OBJECT_META, Schema, Shape, Struct, TypeRef, builtin,
    path::Path,
};
use machinery::{FieldError, SmolStr, Value};
use std::{collections::BTreeMap, sync::Arc};

/// Nesting deeper than this is refused, so that no walk runs out of stack.
const MAX_DEPTH: usize = 100;

/// A compiled schema and what only compiling finds.
pub(super) struct Compiled {
    /// The type.
    pub of: TypeRef,
    /// Where it is nested too deeply.
    pub errors: Vec<FieldError>,
    /// Nodes with defaults and where these stand.
    pub defaults: Vec<Placed>,
}

/// A node with a default.
pub(super) struct Placed {
    /// Where the default stands.
    pub path: String,
    /// Its node.
    pub node: NodeId,
    /// Whether it is part of an object's metadata, where other rules hold.
    pub inside_meta: bool,
}

/// Compiles the schema that stands at `path`.
pub(super) fn compile(schema: &Value, path: &str) -> Compiled {
    let mut compiler = Compiler {
        path: Path::new(path),
        ..Compiler::default()
    };
    let root = compiler.root(schema);
    compiler.schema.finish();
    Compiled {
        of: TypeRef {
            schema: Arc::new(compiler.schema),
            id: root,
        },
        errors: compiler.errors,
        defaults: compiler.defaults,
    }
}

#[derive(Default)]
struct Compiler {
    schema: Schema,
    path: Path,
    depth: usize,
    errors: Vec<FieldError>,
    /// Nodes with defaults, to be checked when all is compiled.
    defaults: Vec<Placed>,
    /// Whether the walk is below an object's metadata.
    inside_meta: bool,
    /// Built-in nodes already copied.
    copied: BTreeMap<NodeId, NodeId>,
}

/// What a schema is part of: decides whether its type must be stated.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// A field or an item.
    Field,
    /// Below `allOf`, `anyOf`, `oneOf` or `not`: only checks.
    Check,
}

impl Compiler {
    fn push(&mut self, node: Node) -> NodeId {
        self.schema.nodes.push(node);
        NodeId(
            u32::try_from(self.schema.nodes.len() - 1).expect("a schema has fewer than 2^32 nodes"),
        )
    }

    fn root(&mut self, schema: &Value) -> NodeId {
        let id = self.node(schema, Part::Field);
        self.add_object_fields(id);
        id
    }

    /// Adds what every whole object has. What the schema checks of names stays.
    fn add_object_fields(&mut self, id: NodeId) {
        let Shape::Struct(known) = &self.schema.nodes[id.0 as usize].shape else {
            return;
        };
        let given = |name: &str| known.field(name).map(|field| field.node);
        let (version, kind, meta) = (given("apiVersion"), given("kind"), given("metadata"));
        let fields = [
            ("apiVersion", self.text(version)),
            ("kind", self.text(kind)),
            ("metadata", self.object_meta(meta)),
        ];
        if let Shape::Struct(known) = &mut self.schema.nodes[id.0 as usize].shape {
            known
                .fields
                .retain(|field| fields.iter().all(|(name, _)| field.name != *name));
            known
                .fields
                .extend(fields.map(|(name, node)| custom_field(name.into(), node)));
            known.fields.sort_by(|a, b| a.name.cmp(&b.name));
        }
    }

    fn text(&mut self, given: Option<NodeId>) -> NodeId {
        let is_text = |id: &NodeId| self.schema.node(*id).shape == Shape::String;
        given.filter(is_text).unwrap_or_else(|| {
            self.push(Node {
                shape: Shape::String,
                typed: true,
                ..Node::default()
            })
        })
    }

    /// Object metadata; where the schema says something of a name, a copy of its own.
    fn object_meta(&mut self, given: Option<NodeId>) -> NodeId {
        let meta = builtin()
            .named(OBJECT_META)
            .expect("the facts table holds object metadata");
        let shared = self.copy(meta);
        let checked: Vec<(SmolStr, NodeId)> = given.map_or(Vec::new(), |given| {
            let Shape::Struct(known) = &self.schema.node(given).shape else {
                return Vec::new();
            };
            let checked = |field: &&Field| self.schema.node(field.node).checks.is_some();
            let fields = known.fields.iter().filter(checked);
            fields
                .map(|field| (field.name.clone(), field.node))
                .collect()
        });
        if checked.is_empty() {
            return shared;
        }
        let source = self.schema.node(shared);
        let (name, mut shape) = (source.name.clone(), source.shape.clone());
        if let Shape::Struct(known) = &mut shape {
            for field in &mut known.fields {
                if let Some((_, node)) = checked.iter().find(|(name, _)| field.name == *name) {
                    field.node = *node;
                }
            }
        }
        self.push(Node {
            name,
            shape,
            ..Node::default()
        })
    }

    /// Copies a built-in type and all it refers to.
    fn copy(&mut self, id: NodeId) -> NodeId {
        if let Some(done) = self.copied.get(&id) {
            return *done;
        }
        let source = builtin().node(id);
        let new = self.push(Node {
            name: source.name.clone(),
            ..Node::default()
        });
        self.copied.insert(id, new);
        let shape = match source.shape.clone() {
            Shape::List { item, kind } => Shape::List {
                item: self.copy(item),
                kind,
            },
            Shape::Map { value, atomic } => Shape::Map {
                value: self.copy(value),
                atomic,
            },
            Shape::Struct(mut known) => {
                for field in &mut known.fields {
                    field.node = self.copy(field.node);
                }
                Shape::Struct(known)
            }
            other => other,
        };
        self.schema.nodes[new.0 as usize].shape = shape;
        new
    }

    fn node(&mut self, schema: &Value, part: Part) -> NodeId {
        if self.depth >= MAX_DEPTH {
            let detail = format!("must not be nested deeper than {MAX_DEPTH} levels");
            self.errors
                .push(FieldError::forbidden(self.path.as_str(), detail));
            return self.push(Node::default());
        }
        self.depth += 1;
        let shape = self.shape(schema, part);
        let checks = self.checks(schema);
        let id = self.push(Node {
            typed: !schema["type"].str().is_empty() || flag(schema, "x-kubernetes-int-or-string"),
            nullable: flag(schema, "nullable"),
            default: schema
                .get("default")
                .filter(|value| !value.is_null())
                .cloned(),
            checks: (!checks.is_trivial()).then(|| Box::new(checks)),
            shape,
            ..Node::default()
        });
        self.schema.has_embedded |= flag(schema, "x-kubernetes-embedded-resource");
        self.schema.has_identities |=
            matches!(schema["x-kubernetes-list-type"].str(), "set" | "map");
        if given(schema, "default") {
            self.defaults.push(Placed {
                path: format!("{}.default", self.path.as_str()),
                node: id,
                inside_meta: self.inside_meta,
            });
        }
        if flag(schema, "x-kubernetes-embedded-resource") {
            self.add_object_fields(id);
        }
        self.depth -= 1;
        id
    }

    fn shape(&mut self, schema: &Value, part: Part) -> Shape {
        let preserve = flag(schema, "x-kubernetes-preserve-unknown-fields");
        if flag(schema, "x-kubernetes-int-or-string") {
            return Shape::IntOrString;
        }
        match schema["type"].str() {
            "string" => Shape::String,
            "integer" => Shape::Int {
                narrow: schema["format"].str() == "int32",
            },
            "number" => Shape::Float,
            "boolean" => Shape::Bool,
            "array" => self.list(schema, part),
            "object" => self.object(schema, preserve, part),
            "" if part == Part::Check => self.loose(schema),
            "" if preserve => self.preserved(schema),
            _ => Shape::Any,
        }
    }

    /// Part of a check without a type of its own.
    fn loose(&mut self, schema: &Value) -> Shape {
        if schema.get("items").is_some() {
            self.list(schema, Part::Check)
        } else if schema.get("properties").is_some() || schema.get("additionalProperties").is_some()
        {
            self.object(schema, true, Part::Check)
        } else {
            Shape::Any
        }
    }

    /// Preserved without a type: anything, but known properties of it keep their types.
    fn preserved(&mut self, schema: &Value) -> Shape {
        if schema.get("properties").is_some() {
            self.object(schema, true, Part::Field)
        } else {
            Shape::Any
        }
    }

    fn object(&mut self, schema: &Value, preserve: bool, part: Part) -> Shape {
        let (properties, additional) = (&schema["properties"], schema.get("additionalProperties"));
        let atomic = schema["x-kubernetes-map-type"].str() == "atomic";
        let mut rest = None;
        if let Some(additional) =
            additional.filter(|value| !matches!(value, Value::Null | Value::Bool(false)))
        {
            let mark = self.path.member("additionalProperties");
            let value = match additional {
                Value::Object(_) => self.node(additional, part),
                _ => self.push(anything_flat()),
            };
            self.path.back(mark);
            if properties.entries().next().is_none() {
                return Shape::Map { value, atomic };
            }
            rest = Some(value);
        }
        let mut fields = Vec::new();
        let outside = self.inside_meta;
        let whole = self.depth == 1 || flag(schema, "x-kubernetes-embedded-resource");
        for (name, property) in properties.entries() {
            let envelope = matches!(name.as_str(), "metadata" | "apiVersion" | "kind");
            self.inside_meta = outside || (whole && envelope);
            let outer = self.path.member("properties");
            self.path.key(name);
            let node = self.node(property, part);
            self.path.back(outer);
            fields.push(custom_field(name.clone(), node));
        }
        self.inside_meta = outside;
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        Shape::Struct(Struct {
            fields,
            preserve_unknown: preserve,
            additional: rest,
            atomic,
            embedded: flag(schema, "x-kubernetes-embedded-resource"),
            custom: true,
            ..Struct::default()
        })
    }

    fn list(&mut self, schema: &Value, part: Part) -> Shape {
        let items = &schema["items"];
        let mark = self.path.member("items");
        let item = if items.is_null() {
            self.push(Node::default())
        } else {
            self.node(items, part)
        };
        self.path.back(mark);
        Shape::List {
            item,
            kind: list_kind(schema),
        }
    }

    fn checks(&mut self, schema: &Value) -> Checks {
        let number = |key: &str| schema[key].as_f64();
        let size = |low: &str, high: &str| {
            let count = |key: &str| {
                schema[key]
                    .as_i64()
                    .and_then(|count| u64::try_from(count).ok())
            };
            (count(low), count(high))
        };
        Checks {
            format: schema["format"].str().into(),
            pattern: schema["pattern"].str().into(),
            allowed: schema["enum"].items().to_vec(),
            minimum: number("minimum").map(|limit| (limit, flag(schema, "exclusiveMinimum"))),
            maximum: number("maximum").map(|limit| (limit, flag(schema, "exclusiveMaximum"))),
            multiple_of: number("multipleOf"),
            length: size("minLength", "maxLength"),
            items: size("minItems", "maxItems"),
            properties: size("minProperties", "maxProperties"),
            required: schema["required"]
                .items()
                .iter()
                .map(|name| name.str().into())
                .collect(),
            all_of: self.alternatives(schema, "allOf"),
            any_of: self.alternatives(schema, "anyOf"),
            one_of: self.alternatives(schema, "oneOf"),
            not: schema.get("not").filter(|not| !not.is_null()).map(|not| {
                let mark = self.path.member("not");
                let id = self.node(not, Part::Check);
                self.path.back(mark);
                id
            }),
            rules: schema["x-kubernetes-validations"].items().to_vec(),
            ..Checks::default()
        }
    }

    fn alternatives(&mut self, schema: &Value, key: &str) -> Vec<NodeId> {
        let mut found = Vec::new();
        for (position, alternative) in schema[key].items().iter().enumerate() {
            let mark = self.path.member(key);
            self.path.index(position);
            found.push(self.node(alternative, Part::Check));
            self.path.back(mark);
        }
        found
    }
}

fn list_kind(schema: &Value) -> ListKind {
    match schema["x-kubernetes-list-type"].str() {
        "set" => ListKind::Set,
        "map" => {
            let keys = schema["x-kubernetes-list-map-keys"].items().iter();
            ListKind::Map(keys.map(|key| key.str().into()).collect())
        }
        _ => ListKind::Atomic,
    }
}

/// What `additionalProperties: true` lets through: values, but no fields of objects.
fn anything_flat() -> Node {
    Node {
        shape: Shape::Struct(Struct {
            custom: true,
            ..Struct::default()
        }),
        nullable: true,
        ..Node::default()
    }
}

/// A field whose value is kept as written.
fn custom_field(name: SmolStr, node: NodeId) -> Field {
    Field {
        name,
        node,
        pointer: true,
        omitempty: true,
        ..Field::default()
    }
}
