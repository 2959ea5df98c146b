//! A CRD's `openAPIV3Schema` into the shared form of types, refusing what is not structural.

use crate::{
    Checks, Field, ListKind, Node, NodeId, OBJECT_META, Schema, Shape, Struct, TypeRef, builtin,
    compile_pattern, crd::validate::validate_at, path::Path,
};
use machinery::{FieldError, SmolStr, Value};
use std::{collections::BTreeMap, sync::Arc};

/// Nesting deeper than this is refused, so that no walk runs out of stack.
const MAX_DEPTH: usize = 100;

/// Compiles the schema of one version. `path` is where it stands in the CRD
/// (`spec.versions[0].schema.openAPIV3Schema`), for errors. `apiVersion`, `kind` and `metadata`
/// are those of every object.
///
/// # Errors
/// Upstream's field errors for what is not structural.
pub fn compile_crd_schema(schema: &Value, path: &str) -> Result<TypeRef, Vec<FieldError>> {
    let mut compiler = Compiler {
        path: Path::new(path),
        ..Compiler::default()
    };
    let root = compiler.root(schema);
    compiler.schema.finish();
    let of = TypeRef {
        schema: Arc::new(compiler.schema),
        id: root,
    };
    let mut errors = compiler.errors;
    if errors.is_empty() {
        for (path, node) in compiler.defaults {
            let default = of.schema.node(node).default.as_ref();
            errors.extend(
                default
                    .into_iter()
                    .flat_map(|value| validate_at(value, &of.to(node), &path)),
            );
        }
    }
    if errors.is_empty() {
        Ok(of)
    } else {
        Err(errors)
    }
}

#[derive(Default)]
struct Compiler {
    schema: Schema,
    path: Path,
    depth: usize,
    errors: Vec<FieldError>,
    /// Nodes with defaults and where these stand, to be checked when all is compiled.
    defaults: Vec<(String, NodeId)>,
    /// Built-in nodes already copied.
    copied: BTreeMap<NodeId, NodeId>,
}

/// What a schema is part of: decides whether its type must be stated.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Field,
    Item,
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

    fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.path.as_str())
    }

    fn root(&mut self, schema: &Value) -> NodeId {
        match schema["type"].str() {
            "object" => {}
            "" => self.errors.push(FieldError::required(
                self.at("type"),
                "must not be empty at the root",
            )),
            other => self.errors.push(FieldError::invalid(
                self.at("type"),
                other,
                "must be object at the root",
            )),
        }
        let id = self.node(schema, Part::Field);
        self.add_object_fields(id);
        id
    }

    /// Adds what every whole object has.
    fn add_object_fields(&mut self, id: NodeId) {
        let text = self.push(Node {
            shape: Shape::String,
            typed: true,
            ..Node::default()
        });
        let meta = builtin()
            .named(OBJECT_META)
            .expect("the facts table holds object metadata");
        let meta = self.copy(meta);
        let fields = [("apiVersion", text), ("kind", text), ("metadata", meta)];
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
            default: schema.get("default").cloned(),
            checks: (!checks.is_trivial()).then(|| Box::new(checks)),
            shape,
            ..Node::default()
        });
        if schema.get("default").is_some() {
            self.defaults.push((self.at("default"), id));
        }
        if flag(schema, "x-kubernetes-embedded-resource") {
            self.add_object_fields(id);
        }
        self.depth -= 1;
        id
    }

    fn shape(&mut self, schema: &Value, part: Part) -> Shape {
        let preserve = flag(schema, "x-kubernetes-preserve-unknown-fields");
        if schema.get("$ref").is_some_and(|value| !value.is_null()) {
            self.errors.push(FieldError::forbidden(
                self.at("$ref"),
                "$ref is not supported",
            ));
        }
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
            "object" => self.object(schema, preserve),
            "" if part == Part::Check => self.loose(schema),
            "" if preserve => self.preserved(schema),
            "" => {
                let what = if part == Part::Item {
                    "array items"
                } else {
                    "object fields"
                };
                let detail = format!("must not be empty for specified {what}");
                self.errors
                    .push(FieldError::required(self.at("type"), detail));
                Shape::Any
            }
            other => {
                let known = ["array", "boolean", "integer", "number", "object", "string"];
                self.errors
                    .push(FieldError::not_supported(self.at("type"), other, &known));
                Shape::Any
            }
        }
    }

    /// Part of a check without a type of its own.
    fn loose(&mut self, schema: &Value) -> Shape {
        if schema.get("items").is_some() {
            self.list(schema, Part::Check)
        } else if schema.get("properties").is_some() || schema.get("additionalProperties").is_some()
        {
            self.object_with(schema, true, Part::Check)
        } else {
            Shape::Any
        }
    }

    /// Preserved without a type: anything, but known properties of it keep their types.
    fn preserved(&mut self, schema: &Value) -> Shape {
        if schema.get("properties").is_some() {
            self.object(schema, true)
        } else {
            Shape::Any
        }
    }

    fn object(&mut self, schema: &Value, preserve: bool) -> Shape {
        self.object_with(schema, preserve, Part::Field)
    }

    fn object_with(&mut self, schema: &Value, preserve: bool, part: Part) -> Shape {
        let (properties, additional) = (&schema["properties"], schema.get("additionalProperties"));
        let atomic = self.map_type(schema);
        if let Some(additional) =
            additional.filter(|value| !matches!(value, Value::Null | Value::Bool(false)))
        {
            if properties.entries().next().is_some() {
                let detail = "additionalProperties and properties are mutual exclusive";
                self.errors.push(FieldError::forbidden(
                    self.at("additionalProperties"),
                    detail,
                ));
            }
            let mark = self.path.member("additionalProperties");
            let value = match additional {
                Value::Object(_) => self.node(additional, part),
                _ => self.push(Node::default()),
            };
            self.path.back(mark);
            return Shape::Map { value, atomic };
        }
        let mut fields = Vec::new();
        for (name, property) in properties.entries() {
            let outer = self.path.member("properties");
            self.path.key(name);
            let node = self.node(property, part);
            self.path.back(outer);
            fields.push(custom_field(name.clone(), node));
        }
        Shape::Struct(Struct {
            fields,
            preserve_unknown: preserve,
            atomic,
            embedded: flag(schema, "x-kubernetes-embedded-resource"),
            custom: true,
            ..Struct::default()
        })
    }

    fn map_type(&mut self, schema: &Value) -> bool {
        match schema["x-kubernetes-map-type"].str() {
            "" | "granular" => false,
            "atomic" => true,
            other => {
                let at = self.at("x-kubernetes-map-type");
                self.errors.push(FieldError::not_supported(
                    at,
                    other,
                    &["atomic", "granular"],
                ));
                false
            }
        }
    }

    fn list(&mut self, schema: &Value, part: Part) -> Shape {
        let items = &schema["items"];
        if items.is_null() && part != Part::Check {
            self.errors
                .push(FieldError::required(self.at("items"), "must be specified"));
        }
        let mark = self.path.member("items");
        let item_part = if part == Part::Check {
            part
        } else {
            Part::Item
        };
        let item = if items.is_null() {
            self.push(Node::default())
        } else {
            self.node(items, item_part)
        };
        self.path.back(mark);
        Shape::List {
            item,
            kind: self.list_kind(schema),
        }
    }

    fn list_kind(&mut self, schema: &Value) -> ListKind {
        let keys: Vec<SmolStr> = schema["x-kubernetes-list-map-keys"]
            .items()
            .iter()
            .map(|key| key.str().into())
            .collect();
        match schema["x-kubernetes-list-type"].str() {
            "" | "atomic" => ListKind::Atomic,
            "set" => ListKind::Set,
            "map" => {
                if keys.is_empty() {
                    let detail = "must not be empty if x-kubernetes-list-type is map";
                    self.errors.push(FieldError::required(
                        self.at("x-kubernetes-list-map-keys"),
                        detail,
                    ));
                }
                for key in &keys {
                    if schema.at(&["items", "properties", key]).is_null() {
                        let at = self.at("x-kubernetes-list-map-keys");
                        let detail = "entries must all be names of item properties";
                        self.errors
                            .push(FieldError::invalid(at, key.clone(), detail));
                    }
                }
                ListKind::Map(keys)
            }
            other => {
                let at = self.at("x-kubernetes-list-type");
                self.errors.push(FieldError::not_supported(
                    at,
                    other,
                    &["atomic", "map", "set"],
                ));
                ListKind::Atomic
            }
        }
    }

    fn checks(&mut self, schema: &Value) -> Checks {
        let pattern = schema["pattern"].str();
        if let Err(why) = compile_pattern(pattern) {
            let detail = format!("must be a valid regular expression, but isn't: {why}");
            self.errors
                .push(FieldError::invalid(self.at("pattern"), pattern, detail));
        }
        if flag(schema, "uniqueItems") {
            let detail =
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.errors
                .push(FieldError::forbidden(self.at("uniqueItems"), detail));
        }
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
            pattern: pattern.into(),
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

fn flag(schema: &Value, key: &str) -> bool {
    schema[key] == Value::Bool(true)
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
