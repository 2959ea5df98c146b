//! Protobuf bodies to trees, driven by the tags of the schema.
//!
//! Yields what Go would print as JSON after reading the same bytes: zero values that sit
//! behind no pointer and are `omitempty` disappear. Unknown tags are skipped.
//! Upstream counterpart: the `Unmarshal` methods of `generated.pb.go`.

use super::encode::schema_beside;
use super::forms::{SchemaOr, tag_path, union_of};
use super::wire::{Reader, Wire};
use super::{MAGIC, time};
use crate::{Limits, decode_json};
use base64::{Engine, prelude::BASE64_STANDARD};
use machinery::{GroupVersion, GroupVersionKind, Map, SmolStr, Status, Value, flat::intern};
use schema::{Field, Node, NodeId, Schema, Shape, Struct, TypeRef};

/// Messages within messages deeper than this are refused.
const MAX_DEPTH: usize = 128;

/// Finds the type of an envelope's kind.
pub type Resolve<'a> = dyn Fn(&GroupVersionKind) -> Option<TypeRef> + 'a;

type Outcome<T> = Result<T, String>;

/// Reads a body that starts with `k8s\0`. `resolve` also sees an empty kind, where the
/// caller knows what to expect.
pub fn decode_protobuf(bytes: &[u8], resolve: &Resolve<'_>) -> Result<Value, Status> {
    read_envelope(bytes, resolve, 0)
        .map_err(|why| Status::bad_request(format!("unable to decode protobuf: {why}")))
}

#[derive(Default)]
struct Envelope<'a> {
    api_version: &'a str,
    kind: &'a str,
    raw: &'a [u8],
    encoding: &'a str,
    content_type: &'a str,
}

fn text(bytes: &[u8]) -> Outcome<&str> {
    std::str::from_utf8(bytes).map_err(|_| "invalid UTF-8 in string".into())
}

fn envelope(bytes: &[u8]) -> Outcome<Envelope<'_>> {
    let body = bytes.strip_prefix(&MAGIC).ok_or(
        "provided data does not appear to be a protobuf message, expected prefix k8s\\x00",
    )?;
    let mut found = Envelope::default();
    let mut fields = Reader(body);
    while let Some((tag, wire)) = fields.next()? {
        match (tag, wire) {
            (1, Wire::Bytes(bytes)) => {
                let mut inner = Reader(bytes);
                while let Some((tag, wire)) = inner.next()? {
                    match (tag, wire) {
                        (1, Wire::Bytes(bytes)) => found.api_version = text(bytes)?,
                        (2, Wire::Bytes(bytes)) => found.kind = text(bytes)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => found.raw = bytes,
            (3, Wire::Bytes(bytes)) => found.encoding = text(bytes)?,
            (4, Wire::Bytes(bytes)) => found.content_type = text(bytes)?,
            _ => {}
        }
    }
    Ok(found)
}

fn read_envelope(bytes: &[u8], resolve: &Resolve<'_>, depth: usize) -> Outcome<Value> {
    let head = envelope(bytes)?;
    if !head.encoding.is_empty() {
        return Err(format!(
            "content encoding {:?} is not supported",
            head.encoding
        ));
    }
    let gv = GroupVersion::parse(head.api_version);
    let gvk = GroupVersionKind::new(&gv.group, &gv.version, head.kind);
    let mut value = if head.content_type == "application/json" {
        decode_json(head.raw, Limits::default())
            .map_err(|status| status.to_string())?
            .value
    } else {
        let kind = resolve(&gvk).ok_or_else(|| {
            format!(
                "no kind \"{}\" is registered for version \"{}\"",
                gvk.kind, head.api_version
            )
        })?;
        let decoder = Decoder {
            schema: &kind.schema,
            resolve,
        };
        decoder.message(head.raw, kind.id, depth)?
    };
    if !head.kind.is_empty() {
        value["apiVersion"] = head.api_version.into();
        value["kind"] = head.kind.into();
    }
    Ok(value)
}

struct Decoder<'a> {
    schema: &'a Schema,
    resolve: &'a Resolve<'a>,
}

/// Where a tag leads: a field, or deeper into an embedded message.
enum Target<'a> {
    Field(&'a Field),
    Embedded,
    Unknown,
}

impl<'s> Decoder<'s> {
    fn node(&self, id: NodeId) -> &'s Node {
        self.schema.node(id)
    }

    fn message(&self, bytes: &[u8], id: NodeId, depth: usize) -> Outcome<Value> {
        let node = self.node(id);
        let Shape::Struct(known) = &node.shape else {
            return Err(format!("type {} is not a message", node.name));
        };
        let mut map = Map::new();
        self.fields(bytes, (node, known), &mut Vec::new(), &mut map, depth)?;
        Ok(Value::Object(map))
    }

    /// Reads the message at tag path `path` within `of` into `map`.
    fn fields(
        &self,
        bytes: &[u8],
        of: (&'s Node, &'s Struct),
        path: &mut Vec<u32>,
        map: &mut Map,
        depth: usize,
    ) -> Outcome<()> {
        if depth > MAX_DEPTH {
            return Err("exceeded max depth".into());
        }
        let mut fields = Reader(bytes);
        while let Some((tag, wire)) = fields.next()? {
            path.push(tag);
            match (target(of, path), wire) {
                (Target::Field(field), wire) => self.field(map, field, wire, depth)?,
                (Target::Embedded, Wire::Bytes(inner)) => {
                    self.fields(inner, of, path, map, depth + 1)?;
                }
                _ => {}
            }
            path.pop();
        }
        Ok(())
    }

    fn field(&self, map: &mut Map, field: &Field, wire: Wire<'_>, depth: usize) -> Outcome<()> {
        let node = self.node(field.node);
        match (&node.shape, wire) {
            (Shape::List { item, .. }, wire) => {
                let list = map.entry_or(&field.name, || Value::Array(Vec::new()));
                let items = list.as_array_mut().ok_or("list mixed with another type")?;
                self.items(items, self.node(*item), wire, depth)?;
            }
            (Shape::Map { value, .. }, Wire::Bytes(entry)) => {
                let (key, value) = self.map_entry(entry, self.node(*value), depth)?;
                let entries = map.entry_or(&field.name, Value::object).make_object();
                entries.insert(key, value);
            }
            _ => {
                let value = self.single(node, wire, depth)?;
                if kept(field, &value) {
                    map.insert(intern(&field.name), value);
                } else {
                    map.remove(&field.name);
                }
            }
        }
        Ok(())
    }

    /// One item of a repeated field, or several in the packed form.
    fn items(
        &self,
        items: &mut Vec<Value>,
        of: &Node,
        wire: Wire<'_>,
        depth: usize,
    ) -> Outcome<()> {
        match (&of.shape, wire) {
            (Shape::Int { .. } | Shape::Bool, Wire::Bytes(packed)) => {
                let mut numbers = Reader(packed);
                while !numbers.0.is_empty() {
                    let number = Wire::Varint(numbers.varint()?);
                    items.push(self.single(of, number, depth)?);
                }
            }
            _ => items.push(self.single(of, wire, depth)?),
        }
        Ok(())
    }

    fn map_entry(&self, entry: &[u8], of: &Node, depth: usize) -> Outcome<(SmolStr, Value)> {
        let (mut key, mut value) = (SmolStr::default(), None);
        let mut fields = Reader(entry);
        while let Some((tag, wire)) = fields.next()? {
            match (tag, wire) {
                (1, Wire::Bytes(bytes)) => key = intern(text(bytes)?),
                (2, wire) => value = Some(self.map_value(of, wire, depth)?),
                _ => {}
            }
        }
        Ok((key, value.unwrap_or_else(|| zero(&of.shape))))
    }

    fn map_value(&self, of: &Node, wire: Wire<'_>, depth: usize) -> Outcome<Value> {
        let (Shape::List { item, .. }, Wire::Bytes(bytes)) = (&of.shape, wire) else {
            return self.single(of, wire, depth);
        };
        let mut items = Vec::new();
        let mut fields = Reader(bytes);
        while let Some((tag, wire)) = fields.next()? {
            if tag == 1 {
                self.items(&mut items, self.node(*item), wire, depth)?;
            }
        }
        Ok(Value::Array(items))
    }

    fn single(&self, node: &Node, wire: Wire<'_>, depth: usize) -> Outcome<Value> {
        Ok(match (&node.shape, wire) {
            (Shape::Bool, Wire::Varint(number)) => Value::Bool(number != 0),
            (Shape::Int { narrow: true }, Wire::Varint(number)) => {
                Value::Int((number as i32).into())
            }
            (Shape::Int { .. }, Wire::Varint(number)) => Value::Int(number as i64),
            (Shape::Float, Wire::Fixed64(bits)) => Value::Float(f64::from_bits(bits)),
            (Shape::Float, Wire::Fixed32(bits)) => Value::Float(f32::from_bits(bits).into()),
            (Shape::String, Wire::Bytes(bytes)) => Value::String(intern(text(bytes)?)),
            (Shape::Bytes, Wire::Bytes(bytes)) => BASE64_STANDARD.encode(bytes).into(),
            (Shape::Struct(known), Wire::Bytes(bytes)) => {
                let mut map = Map::new();
                self.fields(bytes, (node, known), &mut Vec::new(), &mut map, depth + 1)?;
                Value::Object(map)
            }
            (Shape::Any, Wire::Bytes(bytes)) => match union_of(node) {
                Some(union) => self.union(bytes, node, union, depth)?,
                None => self.raw(bytes, depth)?,
            },
            (shape, Wire::Bytes(bytes)) => special(shape, bytes)?,
            _ => return Err(format!("wrong wire type for {}", node.name)),
        })
    }

    /// `RawExtension`, `JSON`: JSON bytes or another envelope within field 1.
    fn raw(&self, bytes: &[u8], depth: usize) -> Outcome<Value> {
        let raw = first_bytes(bytes)?;
        if raw.is_empty() {
            return Ok(Value::Null);
        }
        if raw.starts_with(&MAGIC) {
            if depth > MAX_DEPTH {
                return Err("exceeded max depth".into());
            }
            return read_envelope(raw, self.resolve, depth + 1);
        }
        let decoded = decode_json(raw, Limits::default()).map_err(|status| status.to_string())?;
        Ok(decoded.value)
    }

    fn union(&self, bytes: &[u8], node: &Node, union: SchemaOr, depth: usize) -> Outcome<Value> {
        let schema = schema_beside(self.schema, node).ok_or("the schema type is not known")?;
        let schema = self.node(schema);
        let (mut list, mut only, mut flag) = (Vec::new(), None, None);
        let mut fields = Reader(bytes);
        while let Some((tag, wire)) = fields.next()? {
            match (union, tag, wire) {
                (SchemaOr::Bool, 1, Wire::Varint(number)) => flag = Some(number != 0),
                (SchemaOr::Bool, 2, wire) | (_, 1, wire) => {
                    only = Some(self.single(schema, wire, depth)?);
                }
                (SchemaOr::Strings, 2, Wire::Bytes(bytes)) => list.push(text(bytes)?.into()),
                (SchemaOr::Array, 2, wire) => list.push(self.single(schema, wire, depth)?),
                _ => {}
            }
        }
        Ok(match (only, flag) {
            (Some(schema), _) => schema,
            (None, Some(flag)) => Value::Bool(flag),
            (None, None) if union == SchemaOr::Bool => Value::Bool(false),
            (None, None) => Value::Array(list),
        })
    }
}

fn target<'a>((node, known): (&'a Node, &'a Struct), path: &[u32]) -> Target<'a> {
    let mut found = Target::Unknown;
    for field in &known.fields {
        let tags = tag_path(node, field);
        if tags == path {
            return Target::Field(field);
        }
        if tags.starts_with(path) {
            found = Target::Embedded;
        }
    }
    found
}

/// Whether Go would print the field.
fn kept(field: &Field, value: &Value) -> bool {
    field.pointer || !field.omitempty || !is_zero(value)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) | Value::Int(0) => true,
        Value::Float(number) => *number == 0.0,
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::String | Shape::Bytes => "".into(),
        Shape::Bool => false.into(),
        Shape::Int { .. } => 0.into(),
        Shape::Quantity => "0".into(),
        Shape::List { .. } => Value::Array(Vec::new()),
        Shape::Struct(_) | Shape::Map { .. } => Value::object(),
        _ => Value::Null,
    }
}

/// Content of field 1, where it is bytes.
fn first_bytes(message: &[u8]) -> Outcome<&[u8]> {
    let mut found: &[u8] = &[];
    let mut fields = Reader(message);
    while let Some((tag, wire)) = fields.next()? {
        if let (1, Wire::Bytes(bytes)) = (tag, wire) {
            found = bytes;
        }
    }
    Ok(found)
}

/// The types with a message of their own behind a JSON scalar.
fn special(shape: &Shape, message: &[u8]) -> Outcome<Value> {
    let (mut numbers, mut string) = ([0i64; 4], "");
    let mut fields = Reader(message);
    while let Some((tag, wire)) = fields.next()? {
        match wire {
            Wire::Varint(number) if tag < 4 => numbers[tag as usize] = number as i64,
            Wire::Bytes(bytes) => string = text(bytes)?,
            _ => {}
        }
    }
    Ok(match shape {
        Shape::Quantity if string.is_empty() => "0".into(),
        Shape::Quantity => string.into(),
        Shape::IntOrString if numbers[1] == 1 => string.into(),
        Shape::IntOrString => Value::Int((numbers[2] as i32).into()),
        Shape::Time | Shape::MicroTime if message.is_empty() => Value::Null,
        Shape::Time => time::format_timestamp(numbers[1], numbers[2], false).into(),
        Shape::MicroTime => time::format_timestamp(numbers[1], numbers[2], true).into(),
        Shape::Duration => time::format_duration(numbers[1]).into(),
        Shape::FieldsV1 => fields_v1(string)?,
        _ => return Err("wrong wire type".into()),
    })
}

fn fields_v1(json: &str) -> Outcome<Value> {
    if json.is_empty() {
        return Ok(Value::Null);
    }
    let decoded =
        decode_json(json.as_bytes(), Limits::default()).map_err(|status| status.to_string())?;
    Ok(decoded.value)
}
