//! Flat objects to protobuf, driven by the tags of the schema.
//!
//! Fields go out in tag order, absent ones not at all (a reader takes zero for them).
//! Knows no kind. Upstream counterpart: the `Marshal` methods of `generated.pb.go`.

use super::forms::{SchemaOr, tag_path, union_of};
use super::wire::{put_block, put_bytes, put_fixed, put_number};
use super::{MAGIC, time};
use crate::json::write_ref;
use base64::{Engine, prelude::BASE64_STANDARD};
use machinery::{GroupVersionKind, Object, Ref, SmolStr, Value, flat, flat::Shape as Content};
use schema::{Field, Node, NodeId, Schema, Shape, Struct, TypeRef};

/// A tree as `k8s\0` and an envelope.
pub fn encode_protobuf(value: &Value, gvk: &GroupVersionKind, kind: &TypeRef) -> Vec<u8> {
    let bytes = flat::encode(value);
    let encoder = Encoder::new(&kind.schema);
    envelope(gvk, |out| encoder.message(out, Ref::new(&bytes), kind.id))
}

/// An object with its `resourceVersion` as `k8s\0` and an envelope.
pub fn encode_object_protobuf(object: &Object, gvk: &GroupVersionKind, kind: &TypeRef) -> Vec<u8> {
    let encoder = Encoder::new(&kind.schema);
    envelope(gvk, |out| encoder.object(out, object, kind.id))
}

/// A list of objects; `kind` is the type of its items.
pub fn encode_list_protobuf<'a>(
    head: &crate::ListHead<'_>,
    kind: &TypeRef,
    items: impl Iterator<Item = &'a Object>,
) -> Vec<u8> {
    let encoder = Encoder::new(&kind.schema);
    let gv = machinery::GroupVersion::parse(head.api_version);
    let gvk = GroupVersionKind::new(&gv.group, &gv.version, head.kind);
    envelope(&gvk, |out| {
        put_block(out, 1, |out| list_metadata(out, head));
        for object in items {
            put_block(out, 2, |out| encoder.object(out, object, kind.id));
        }
    })
}

/// `ListMeta`: 2 resourceVersion, 3 continue, 4 remainingItemCount.
fn list_metadata(out: &mut Vec<u8>, head: &crate::ListHead<'_>) {
    put_bytes(out, 2, head.revision.to_string().as_bytes());
    put_bytes(out, 3, head.continue_token.as_bytes());
    if let Some(left) = head.remaining {
        put_number(out, 4, left as u64);
    }
}

/// One frame of `application/vnd.kubernetes.protobuf;stream=watch` around an encoded object:
/// a length of four bytes, then `WatchEvent` (1 type, 2 object as RawExtension).
pub fn watch_frame_protobuf(event: &str, object: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    put_bytes(&mut out, 1, event.as_bytes());
    put_block(&mut out, 2, |out| put_bytes(out, 1, object));
    let length = u32::try_from(out.len() - 4).expect("an object is far below 4 GiB");
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

/// `Unknown`: 1 typeMeta (1 apiVersion, 2 kind), 2 raw, 3 contentEncoding, 4 contentType.
fn envelope(gvk: &GroupVersionKind, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put_block(&mut out, 1, |out| {
        put_bytes(out, 1, gvk.group_version().api_version().as_bytes());
        put_bytes(out, 2, gvk.kind.as_bytes());
    });
    put_block(&mut out, 2, write);
    put_bytes(&mut out, 3, b"");
    put_bytes(&mut out, 4, b"");
    out
}

/// A present field on its way out.
type Part<'a> = (&'a [u32], &'a Field, Ref<'a>);

struct Encoder<'s> {
    schema: &'s Schema,
}

impl<'s> Encoder<'s> {
    fn new(schema: &'s Schema) -> Self {
        Self { schema }
    }

    fn node(&self, id: NodeId) -> &'s Node {
        self.schema.node(id)
    }

    /// A message's fields; other shapes have a message form of their own.
    fn message(&self, out: &mut Vec<u8>, value: Ref<'_>, id: NodeId) {
        let node = self.node(id);
        if let Shape::Struct(known) = &node.shape {
            let mut parts = present(node, known, value);
            parts.sort_by_key(|part| part.0);
            self.parts(out, &parts, 0);
        }
    }

    fn object(&self, out: &mut Vec<u8>, object: &Object, id: NodeId) {
        let node = self.node(id);
        let Shape::Struct(known) = &node.shape else {
            return;
        };
        let mut parts = present(node, known, object.root());
        parts.sort_by_key(|part| part.0);
        for part in &parts {
            if part.1.name == "metadata" {
                put_block(out, part.0[0], |out| {
                    self.metadata(out, object, part.1.node)
                });
            } else {
                self.parts(out, std::slice::from_ref(part), 0);
            }
        }
    }

    /// `metadata` with the revision as its `resourceVersion`.
    fn metadata(&self, out: &mut Vec<u8>, object: &Object, id: NodeId) {
        let node = self.node(id);
        let Shape::Struct(known) = &node.shape else {
            return;
        };
        let revision = flat::encode(&Value::from(object.revision().to_string()));
        let mut parts = present(node, known, object.metadata());
        let stored = object.revision() > 0;
        if let Some(field) = known.field("resourceVersion").filter(|_| stored) {
            parts.push((tag_path(node, field), field, Ref::new(&revision)));
        }
        parts.sort_by_key(|part| part.0);
        self.parts(out, &parts, 0);
    }

    /// Writes sorted parts; those that share a tag at `level` and go deeper share a message.
    fn parts(&self, out: &mut Vec<u8>, parts: &[Part<'_>], level: usize) {
        let shares = |a: &Part<'_>, b: &Part<'_>| a.0[level] == b.0[level];
        for group in parts.chunk_by(shares) {
            let (path, field, value) = group[0];
            if path.len() > level + 1 {
                put_block(out, path[level], |out| self.parts(out, group, level + 1));
            } else {
                self.field(out, path[level], value, field.node);
            }
        }
    }

    fn field(&self, out: &mut Vec<u8>, tag: u32, value: Ref<'_>, id: NodeId) {
        let node = self.node(id);
        match &node.shape {
            Shape::List { item, .. } => value
                .items()
                .for_each(|value| self.single(out, tag, value, self.node(*item))),
            Shape::Map { value: of, .. } => {
                for (key, value) in value.entries() {
                    put_block(out, tag, |out| {
                        put_bytes(out, 1, key.as_bytes());
                        self.map_value(out, value, *of);
                    });
                }
            }
            _ => self.single(out, tag, value, node),
        }
    }

    /// A map's value; a list stands in a message of its own there (`ExtraValue`: 1 items).
    fn map_value(&self, out: &mut Vec<u8>, value: Ref<'_>, of: NodeId) {
        if matches!(self.node(of).shape, Shape::List { .. }) {
            put_block(out, 2, |out| self.field(out, 1, value, of));
        } else {
            self.field(out, 2, value, of);
        }
    }

    /// One value that is neither list nor map. Values of another type than the schema's are
    /// left out: validation has refused them long before.
    fn single(&self, out: &mut Vec<u8>, tag: u32, value: Ref<'_>, node: &Node) {
        match (&node.shape, value.shape()) {
            (Shape::Any, Content::Missing) => {}
            (Shape::Any, _) => put_block(out, tag, |out| self.any(out, value, node)),
            (Shape::FieldsV1, Content::String(text)) => {
                put_block(out, tag, |out| put_bytes(out, 1, text.as_bytes()));
            }
            (Shape::FieldsV1, Content::Object) => put_block(out, tag, |out| raw_json(out, value)),
            (Shape::Time | Shape::MicroTime, content) => {
                put_block(out, tag, |out| timestamp(out, content));
            }
            (_, Content::Missing | Content::Null) => {}
            (Shape::Struct(known), _) => put_block(out, tag, |out| {
                let mut parts = present(node, known, value);
                parts.sort_by_key(|part| part.0);
                self.parts(out, &parts, 0);
            }),
            (shape, content) => scalar(out, tag, shape, content),
        }
    }

    /// Free content: JSON bytes in a message, or one of the unions.
    fn any(&self, out: &mut Vec<u8>, value: Ref<'_>, node: &Node) {
        match union_of(node) {
            Some(union) => self.union(out, value, node, union),
            None => raw_json(out, value),
        }
    }

    fn union(&self, out: &mut Vec<u8>, value: Ref<'_>, node: &Node, union: SchemaOr) {
        let Some(schema) = schema_beside(self.schema, node) else {
            return;
        };
        match (union, value.shape()) {
            (SchemaOr::Bool, Content::Bool(flag)) => put_number(out, 1, flag.into()),
            (SchemaOr::Bool, Content::Object) => {
                put_number(out, 1, 1);
                put_block(out, 2, |out| self.message(out, value, schema));
            }
            (SchemaOr::Strings, Content::Array) => value
                .items()
                .for_each(|item| put_bytes(out, 2, item.str().as_bytes())),
            (SchemaOr::Array, Content::Array) => value
                .items()
                .for_each(|item| put_block(out, 2, |out| self.message(out, item, schema))),
            (_, Content::Object) => put_block(out, 1, |out| self.message(out, value, schema)),
            _ => {}
        }
    }
}

/// The schema type that a union refers to.
pub(super) fn schema_beside(schema: &Schema, node: &Node) -> Option<NodeId> {
    let (package, _) = node.name.rsplit_once('.')?;
    schema.named(&format!("{package}.{}", super::forms::SCHEMA_TYPE))
}

/// The fields of a message that a value has and protobuf carries.
fn present<'a>(node: &'a Node, known: &'a Struct, value: Ref<'a>) -> Vec<Part<'a>> {
    value
        .entries()
        .filter_map(|(name, value)| {
            let field = known.field(name)?;
            let path = tag_path(node, field);
            (!path.is_empty()).then_some((path, field, value))
        })
        .collect()
}

fn raw_json(out: &mut Vec<u8>, value: Ref<'_>) {
    put_block(out, 1, |out| write_ref(out, value));
}

/// 1 seconds, 2 nanoseconds; nothing for the zero time.
fn timestamp(out: &mut Vec<u8>, content: Content<'_>) {
    if let Content::String(text) = content
        && let Some((seconds, nanos)) = time::parse_timestamp(text)
    {
        put_number(out, 1, seconds as u64);
        put_number(out, 2, u64::from(nanos));
    }
}

fn scalar(out: &mut Vec<u8>, tag: u32, shape: &Shape, content: Content<'_>) {
    match (shape, content) {
        (Shape::Bool, Content::Bool(flag)) => put_number(out, tag, flag.into()),
        (Shape::Int { .. }, Content::Int(number)) => put_number(out, tag, number as u64),
        (Shape::Int { .. }, Content::Float(number)) => put_number(out, tag, number as i64 as u64),
        (Shape::Float, Content::Int(number)) => put_fixed(out, tag, (number as f64).to_bits()),
        (Shape::Float, Content::Float(number)) => put_fixed(out, tag, number.to_bits()),
        (Shape::String, Content::String(text)) => put_bytes(out, tag, text.as_bytes()),
        (Shape::Bytes, Content::String(text)) => {
            put_bytes(out, tag, &BASE64_STANDARD.decode(text).unwrap_or_default());
        }
        (Shape::Quantity, content) => put_block(out, tag, |out| {
            put_bytes(out, 1, plain(content).as_bytes());
        }),
        (Shape::IntOrString, content) => put_block(out, tag, |out| int_or_string(out, content)),
        (Shape::Duration, Content::String(text)) => put_block(out, tag, |out| {
            put_number(
                out,
                1,
                time::parse_duration(text).unwrap_or_default() as u64,
            );
        }),
        _ => {}
    }
}

/// 1 type (0 number, 1 string), 2 number, 3 string.
fn int_or_string(out: &mut Vec<u8>, content: Content<'_>) {
    let (kind, number, text) = match content {
        Content::Int(number) => (0, number, ""),
        Content::String(text) => (1, 0, text),
        _ => (0, 0, ""),
    };
    put_number(out, 1, kind);
    put_number(out, 2, number as u64);
    put_bytes(out, 3, text.as_bytes());
}

fn plain(content: Content<'_>) -> SmolStr {
    match content {
        Content::String(text) => text.into(),
        Content::Int(number) => SmolStr::new(number.to_string()),
        Content::Float(number) => SmolStr::new(number.to_string()),
        _ => SmolStr::default(),
    }
}
