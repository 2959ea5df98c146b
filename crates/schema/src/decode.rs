//! What decoding does to a tree once its type is known: unknown fields are found and removed,
//! wrong types refused, and values take the form they have after a trip through Go's structs.
//!
//! One walk does all three. Values of custom types only lose unknown fields: their types are a
//! matter of validation. Knows no wire format. Upstream counterpart: `sigs.k8s.io/json` and the
//! structs it fills.

use crate::{At, Field, Shape, Struct, TypeRef};
use machinery::{
    Map, Quantity, Ref, SmolStr, Status, Value, format_any_time, format_smolstr, parse_any_time,
};
use std::fmt::Arguments;

/// Removes what the type does not know; the result says which paths those were
/// (`spec.containers[0].foo`).
pub fn prune(value: &mut Value, of: &TypeRef) -> Vec<String> {
    let mut walk = Decoder {
        normal: false,
        ..Decoder::default()
    };
    walk.visit(value, At::new(of), Place::ROOT);
    walk.unknown
}

/// Whether [`prune`] would remove something of the stored `value` of a custom type.
pub fn has_unknown(value: Ref<'_>, of: &TypeRef) -> bool {
    is_unknown_below(value, At::new(of))
}

fn is_unknown_below(value: Ref<'_>, at: At) -> bool {
    match at.shape() {
        Shape::Struct(known) if known.custom && is_stored_object(value) => {
            value.entries().any(|(key, value)| {
                let node = known.field(key).map(|field| field.node);
                match node.or(known.additional) {
                    Some(node) => is_unknown_below(value, at.to(node)),
                    None => !known.preserve_unknown,
                }
            })
        }
        Shape::Map { value: inner, .. } if is_stored_object(value) => {
            let mut entries = value.entries();
            entries.any(|(_, value)| is_unknown_below(value, at.to(*inner)))
        }
        Shape::List { item, .. } => {
            let mut items = value.items();
            items.any(|value| is_unknown_below(value, at.to(*item)))
        }
        _ => false,
    }
}

fn is_stored_object(value: Ref<'_>) -> bool {
    matches!(value.shape(), machinery::flat::Shape::Object)
}

/// Removes unknown fields, refuses wrong types and brings values into Go's form, in one walk.
/// The result holds the paths of the removed fields.
///
/// # Errors
/// Upstream's sentence, e.g. `json: cannot unmarshal string into Go struct field
/// DeploymentSpec.spec.replicas of type int32`; see [`decode_error`].
pub fn decode(value: &mut Value, of: &TypeRef) -> Result<Vec<String>, String> {
    let mut walk = Decoder {
        normal: true,
        ..Decoder::default()
    };
    walk.visit(value, At::new(of), Place::ROOT);
    walk.error.map_or(Ok(walk.unknown), Err)
}

/// Refuses values that a built-in type cannot hold. See [`decode`] for the errors.
///
/// # Errors
/// As [`decode`].
pub fn check_types(value: &Value, of: &TypeRef) -> Result<(), String> {
    decode(&mut value.clone(), of).map(drop)
}

/// Brings values into the form that a GET shows after a write: nulls and omitted zero values
/// gone, structs that always print in place, quantities and times canonical.
/// Values of a wrong type stay as they are.
pub fn normalize(value: &mut Value, of: &TypeRef) {
    Decoder {
        normal: true,
        keep_unknown: true,
        ..Decoder::default()
    }
    .visit(value, At::new(of), Place::ROOT);
}

/// Brings scalars into canonical form and leaves everything else, nulls included.
pub(crate) fn canonicalize(value: &mut Value, of: &TypeRef) {
    Decoder {
        normal: true,
        keep_unknown: true,
        scalars_only: true,
        ..Decoder::default()
    }
    .visit(value, At::new(of), Place::ROOT);
}

/// Upstream's strict messages for fields the type does not know: `unknown field "spec.foo"`.
/// The value stays as it is.
pub fn unknown_fields(value: &Value, of: &TypeRef) -> Vec<String> {
    strict_messages(&prune(&mut value.clone(), of))
}

/// Paths of unknown fields as upstream's messages.
pub fn strict_messages(paths: &[String]) -> Vec<String> {
    paths
        .iter()
        .map(|path| format!("unknown field {path:?}"))
        .collect()
}

/// The 400 of field validation `Strict`.
pub fn strict_error(messages: &[String]) -> Status {
    Status::bad_request(format!("strict decoding error: {}", messages.join(", ")))
}

/// The 400 for a body of the wrong types: `Pod in version "v1" cannot be handled as a Pod: why`.
pub fn decode_error(kind: &str, version: &str, why: &str) -> Status {
    Status::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
    ))
}

/// Package of the types that definitions are made of.
const DEFINITIONS: &str = "io.k8s.apiextensions-apiserver.";
/// What the names of a definition's unions have in common after their package.
const SCHEMA_OR: &str = "JSONSchemaPropsOr";

/// Where a value stands, printed only where something is to be said of it.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// With indexes, for messages about unknown fields. Members begin with a dot.
    path: Arguments<'a>,
    /// Names of struct fields only, as Go's decoder keeps them, each after a dot.
    names: Arguments<'a>,
}

impl<'a> Place<'a> {
    const ROOT: Place<'static> = Place {
        path: format_args!(""),
        names: format_args!(""),
    };

    /// Another path, the same fields.
    fn to(self, path: Arguments<'a>) -> Self {
        Place { path, ..self }
    }
}

/// A path without the dot before its first member.
fn shown(path: Arguments<'_>) -> String {
    let mut text = path.to_string();
    if text.starts_with('.') {
        text.remove(0);
    }
    text
}

#[derive(Default)]
struct Decoder<'a> {
    /// The innermost struct that Go knows; none in a CRD's.
    holder: Option<At<'a>>,
    unknown: Vec<String>,
    /// First wrong type met.
    error: Option<String>,
    normal: bool,
    keep_unknown: bool,
    /// Only scalars are brought into form; nothing is dropped or filled in.
    scalars_only: bool,
}

impl<'a> Decoder<'a> {
    fn visit(&mut self, value: &mut Value, at: At<'a>, place: Place<'_>) {
        let Place { path, .. } = place;
        match (at.shape(), &mut *value) {
            // What is stored was decoded before; custom types may have changed since.
            (Shape::Struct(known), Value::Object(map)) if map.is_stored() && !known.custom => {}
            (Shape::Map { .. }, Value::Object(map)) if map.is_stored() && !self.custom() => {}
            (Shape::Struct(known), Value::Object(map)) => self.fields(map, known, at, place),
            (Shape::Map { value: inner, .. }, Value::Object(map)) => {
                for (key, value) in map.iter_mut() {
                    let path = format_args!("{path}.{key}");
                    self.element(value, at.to(*inner), place.to(path));
                }
            }
            (Shape::List { item, .. }, Value::Array(items)) => {
                for (position, value) in items.iter_mut().enumerate() {
                    let path = format_args!("{path}[{position}]");
                    self.element(value, at.to(*item), place.to(path));
                }
            }
            (Shape::Any, _) => self.schema_or(value, at, place),
            _ if self.normal => self.leaf(value, at, place),
            _ => {}
        }
    }

    /// A schema or something else in its place, as `items` and `additionalProperties` take it.
    /// Go reads it with a decoder of its own, which drops unknown fields without a word.
    fn schema_or(&mut self, value: &mut Value, at: At<'a>, place: Place<'_>) {
        let Some((name, or)) = at.node().name.split_once(SCHEMA_OR) else {
            return;
        };
        let schema = at.schema.named(&format!("{name}JSONSchemaProps"));
        let schema = at.to(schema.expect("the facts table has the type beside its unions"));
        let known = self.unknown.len();
        match (or, &mut *value) {
            (_, Value::Object(_)) => self.visit(value, schema, place),
            ("Array", Value::Array(items)) => {
                for one in items {
                    self.visit(one, schema, place);
                }
            }
            ("StringArray", Value::Array(_)) | ("Bool", Value::Bool(_)) => {}
            ("Bool", _) if self.normal => {
                let why = "boolean or JSON schema expected";
                self.error.get_or_insert_with(|| why.into());
            }
            _ if self.normal => *value = Value::Null,
            _ => {}
        }
        self.unknown.truncate(known);
    }

    /// An item or a map's value: Go turns null into the zero value.
    fn element(&mut self, value: &mut Value, at: At<'a>, place: Place<'_>) {
        if self.normal && !self.scalars_only && value.is_null() && !self.custom() {
            *value = zero(at);
        }
        self.visit(value, at, place);
    }

    /// Whether upstream stores what it is in as JSON, which tells empty lists from none.
    fn stored_as_json(&self) -> bool {
        let holder = self.holder.as_ref();
        holder.is_some_and(|holder| holder.node().name.starts_with(DEFINITIONS))
    }

    /// Whether the innermost struct is a CRD's.
    fn custom(&self) -> bool {
        self.holder.is_none()
    }

    fn fields(&mut self, map: &mut Map, known: &'a Struct, at: At<'a>, place: Place<'_>) {
        let holder = (!known.custom).then_some(at);
        let outer = std::mem::replace(&mut self.holder, holder);
        map.retain(|key, value| {
            let path = format_args!("{}.{key}", place.path);
            self.keep_field(key, value, (known, at), place.to(path))
        });
        if self.normal && !self.scalars_only {
            for position in &known.always {
                let field = &known.fields[*position as usize];
                if !map.contains_key(&field.name) {
                    let mut value = absent(field, at);
                    self.visit(&mut value, at.to(field.node), place);
                    map.insert(field.name.clone(), value);
                }
            }
        }
        self.holder = outer;
    }

    /// Handles one field; the result says whether it stays.
    fn keep_field(
        &mut self,
        key: &str,
        value: &mut Value,
        (known, at): (&'a Struct, At<'a>),
        place: Place<'_>,
    ) -> bool {
        let Some(field) = known.field(key) else {
            return self.other_field(value, known, at, place);
        };
        let names = format_args!("{}.{key}", place.names);
        let (at, place) = (at.to(field.node), Place { names, ..place });
        if known.custom || !self.normal || self.scalars_only {
            self.visit(value, at, place);
            return true;
        }
        if value.is_null() {
            // What always prints is put back by the caller.
            return false;
        }
        self.visit(value, at, place);
        if field.pointer || !is_empty(value, at) {
            return true;
        }
        // Storing makes no difference between a list or map without members and none, so what
        // always prints is null then.
        let collects = matches!(at.shape(), Shape::List { .. } | Shape::Map { .. });
        !(field.omitempty || collects && !self.stored_as_json())
    }

    fn other_field(
        &mut self,
        value: &mut Value,
        known: &'a Struct,
        at: At<'a>,
        place: Place<'_>,
    ) -> bool {
        if let Some(node) = known.additional {
            self.visit(value, at.to(node), place);
            return true;
        }
        if !known.preserve_unknown && !self.keep_unknown {
            self.unknown.push(shown(place.path));
        }
        known.preserve_unknown || self.keep_unknown
    }

    fn leaf(&mut self, value: &mut Value, at: At<'a>, place: Place<'_>) {
        let Some(holder) = self.holder.filter(|_| !value.is_null()) else {
            return;
        };
        if let Err(why) = canonical(value, at) {
            let text = match why {
                Wrong::Type => wrong_type(value, at, holder, &shown(place.names)),
                Wrong::Text(text) => text,
            };
            self.error.get_or_insert(text);
        }
    }
}

fn wrong_type(value: &Value, at: At, holder: At, names: &str) -> String {
    let found = match value {
        Value::Float(number) => format!("number {number:?}"),
        Value::Int(number) if matches!(at.shape(), Shape::Int { .. }) => {
            format!("number {number}")
        }
        other => other.type_name().to_owned(),
    };
    let into = match names {
        "" => "value".to_owned(),
        _ => format!("struct field {}.{names}", go_name(holder)),
    };
    format!(
        "json: cannot unmarshal {found} into Go {into} of type {}",
        go_type(at)
    )
}

enum Wrong {
    /// The JSON type does not fit.
    Type,
    /// The type fits, its text does not.
    Text(String),
}

/// Checks a scalar and brings it into canonical form.
fn canonical(value: &mut Value, at: At) -> Result<(), Wrong> {
    match (at.shape(), &*value) {
        (Shape::String, Value::String(_)) | (Shape::Bool, Value::Bool(_)) => Ok(()),
        (Shape::Int { narrow }, Value::Int(number)) => {
            let fits = !narrow || i32::try_from(*number).is_ok();
            fits.then_some(()).ok_or(Wrong::Type)
        }
        (Shape::Float, Value::Int(_) | Value::Float(_)) => Ok(()),
        (Shape::FieldsV1, Value::Object(_)) => Ok(()),
        (Shape::Duration, Value::String(_)) => Ok(()),
        (Shape::Bytes, Value::String(text)) => check_base64(text),
        (Shape::IntOrString, Value::String(_)) => Ok(()),
        (Shape::IntOrString, Value::Int(number)) => {
            i32::try_from(*number).map(drop).map_err(|_| Wrong::Type)
        }
        (Shape::Quantity, _) => canonical_quantity(value),
        (Shape::Time | Shape::MicroTime, Value::String(text)) => {
            let micro = matches!(at.shape(), Shape::MicroTime);
            let text = canonical_time(text, micro)?;
            *value = Value::String(text);
            Ok(())
        }
        _ => Err(Wrong::Type),
    }
}

fn canonical_quantity(value: &mut Value) -> Result<(), Wrong> {
    let text = match &*value {
        Value::String(text) => text.clone(),
        Value::Int(number) => format_smolstr!("{number}"),
        Value::Float(number) => format_smolstr!("{number}"),
        _ => return Err(Wrong::Type),
    };
    let quantity: Quantity = text.parse().map_err(|why| Wrong::Text(format!("{why}")))?;
    let printed = format_smolstr!("{quantity}");
    if value.as_str() != Some(&*printed) {
        *value = Value::String(printed);
    }
    Ok(())
}

fn canonical_time(text: &str, micro: bool) -> Result<SmolStr, Wrong> {
    let layout = if micro {
        "2006-01-02T15:04:05.000000Z07:00"
    } else {
        "2006-01-02T15:04:05Z07:00"
    };
    let refuse = || {
        Wrong::Text(format!(
            "parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""
        ))
    };
    let micros = parse_any_time(text).ok_or_else(refuse)?;
    let printed = format_any_time(micros, micro).ok_or_else(refuse)?;
    Ok(printed.into())
}

fn check_base64(text: &str) -> Result<(), Wrong> {
    match crate::base64_error(text) {
        None => Ok(()),
        Some(position) => Err(Wrong::Text(format!(
            "illegal base64 data at input byte {position}"
        ))),
    }
}

/// Whether Go's `omitempty` drops the value. Structs are never empty to it.
fn is_empty(value: &Value, at: At) -> bool {
    match (at.shape(), value) {
        (Shape::String | Shape::Bytes | Shape::Duration, Value::String(text)) => text.is_empty(),
        (Shape::Bool, Value::Bool(flag)) => !flag,
        (Shape::Int { .. } | Shape::Float, Value::Int(number)) => *number == 0,
        (Shape::Float, Value::Float(number)) => *number == 0.0,
        (Shape::List { .. }, Value::Array(items)) => items.is_empty(),
        (Shape::Map { .. }, Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

/// What prints for a field that was not given.
fn absent(field: &Field, at: At) -> Value {
    if field.pointer {
        Value::Null
    } else {
        zero(at.to(field.node))
    }
}

/// Go's zero value of a type, as it prints.
fn zero(at: At) -> Value {
    match at.shape() {
        Shape::Struct(_) => Value::object(),
        Shape::Bool => Value::Bool(false),
        Shape::Int { .. } | Shape::Float | Shape::IntOrString => Value::Int(0),
        Shape::String => "".into(),
        Shape::Quantity => "0".into(),
        Shape::Duration => "0s".into(),
        _ => Value::Null,
    }
}

fn go_name(at: At<'_>) -> &str {
    let name = &at.node().name;
    name.rsplit('.')
        .next()
        .filter(|name| !name.is_empty())
        .unwrap_or("struct")
}

/// Go's name of a type: `int32`, `v1.PodSpec`, `[]v1.Container`, `map[string]string`.
fn go_type(at: At) -> String {
    match at.shape() {
        Shape::Bool => "bool".into(),
        Shape::Int { narrow: true } | Shape::IntOrString => "int32".into(),
        Shape::Int { narrow: false } => "int64".into(),
        Shape::Float => "float64".into(),
        Shape::Bytes => "[]uint8".into(),
        Shape::String => "string".into(),
        Shape::List { item, .. } => format!("[]{}", go_type(at.to(*item))),
        Shape::Map { value, .. } => format!("map[string]{}", go_type(at.to(*value))),
        _ => {
            let mut parts = at.node().name.rsplit('.');
            let name = parts.next().unwrap_or_default();
            format!("{}.{name}", parts.next().unwrap_or_default())
        }
    }
}
