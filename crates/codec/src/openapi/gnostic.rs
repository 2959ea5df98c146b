//! The v2 document as `application/com.github.proto-openapi.spec.v2@v1.0+protobuf`.
//!
//! A table of JSON names and protobuf tags; only what our documents contain is in it.
//! Upstream counterpart: `gnostic/openapiv2`.

use crate::encode_yaml;
use crate::protobuf::wire::{put_block, put_bytes, put_fixed, put_number};
use machinery::Value;

/// Its media type.
pub const OPENAPI_V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// How a member of a JSON object is written.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Flag,
    Whole,
    Double,
    Texts,
    /// `Any` with its YAML text.
    Any,
    Anys,
    Message(&'static [Row]),
    Messages(&'static [Row]),
    /// A message whose repeated field (the tag) holds pairs of 1 name and 2 message.
    Named(u32, &'static [Row]),
    /// The message within field 1 of another.
    Wrapped(&'static [Row]),
    /// One text in a message whose field 1 is repeated.
    WrappedText,
    /// `additionalProperties`: 1 schema, 2 boolean.
    SchemaOrFlag,
    Parameters,
}

/// JSON name, tag, form.
type Row = (&'static str, u32, Form);

/// Name of the row that takes all members starting with `x-`.
const EXTENSIONS: &str = "x-";

static DOCUMENT: &[Row] = &[
    ("swagger", 1, Form::Text),
    ("info", 2, Form::Message(INFO)),
    ("paths", 8, Form::Named(2, PATH_ITEM)),
    ("definitions", 9, Form::Named(1, &SCHEMA)),
    ("securityDefinitions", 13, Form::Named(1, SECURITY)),
];
static INFO: &[Row] = &[("title", 1, Form::Text), ("version", 2, Form::Text)];
/// `SecurityDefinitionsItem`: 2 apiKeySecurity; reached through [`API_KEY`].
static SECURITY: &[Row] = &[("", 2, Form::Message(API_KEY))];
static API_KEY: &[Row] = &[
    ("type", 1, Form::Text),
    ("name", 2, Form::Text),
    ("in", 3, Form::Text),
    ("description", 4, Form::Text),
];
static PATH_ITEM: &[Row] = &[
    ("get", 2, Form::Message(OPERATION)),
    ("put", 3, Form::Message(OPERATION)),
    ("post", 4, Form::Message(OPERATION)),
    ("delete", 5, Form::Message(OPERATION)),
    ("options", 6, Form::Message(OPERATION)),
    ("head", 7, Form::Message(OPERATION)),
    ("patch", 8, Form::Message(OPERATION)),
    ("parameters", 9, Form::Parameters),
];
static OPERATION: &[Row] = &[
    ("tags", 1, Form::Texts),
    ("description", 3, Form::Text),
    ("operationId", 5, Form::Text),
    ("produces", 6, Form::Texts),
    ("consumes", 7, Form::Texts),
    ("parameters", 8, Form::Parameters),
    ("responses", 9, Form::Named(1, RESPONSE_VALUE)),
    ("schemes", 10, Form::Texts),
    (EXTENSIONS, 13, Form::Any),
];
static BODY_PARAMETER: &[Row] = &[
    ("description", 1, Form::Text),
    ("name", 2, Form::Text),
    ("in", 3, Form::Text),
    ("required", 4, Form::Flag),
    ("schema", 5, Form::Message(&SCHEMA)),
];
static QUERY_PARAMETER: &[Row] = &[
    ("required", 1, Form::Flag),
    ("in", 2, Form::Text),
    ("description", 3, Form::Text),
    ("name", 4, Form::Text),
    ("type", 6, Form::Text),
    ("uniqueItems", 20, Form::Flag),
];
static PATH_PARAMETER: &[Row] = &[
    ("required", 1, Form::Flag),
    ("in", 2, Form::Text),
    ("description", 3, Form::Text),
    ("name", 4, Form::Text),
    ("type", 5, Form::Text),
    ("uniqueItems", 19, Form::Flag),
];
static RESPONSE_VALUE: &[Row] = &[("", 1, Form::Message(RESPONSE))];
static RESPONSE: &[Row] = &[
    ("description", 1, Form::Text),
    ("schema", 2, Form::Wrapped(&SCHEMA)),
];
static SCHEMA: [Row; 26] = [
    ("$ref", 1, Form::Text),
    ("format", 2, Form::Text),
    ("title", 3, Form::Text),
    ("description", 4, Form::Text),
    ("default", 5, Form::Any),
    ("multipleOf", 6, Form::Double),
    ("maximum", 7, Form::Double),
    ("exclusiveMaximum", 8, Form::Flag),
    ("minimum", 9, Form::Double),
    ("exclusiveMinimum", 10, Form::Flag),
    ("maxLength", 11, Form::Whole),
    ("minLength", 12, Form::Whole),
    ("pattern", 13, Form::Text),
    ("maxItems", 14, Form::Whole),
    ("minItems", 15, Form::Whole),
    ("uniqueItems", 16, Form::Flag),
    ("maxProperties", 17, Form::Whole),
    ("minProperties", 18, Form::Whole),
    ("required", 19, Form::Texts),
    ("enum", 20, Form::Anys),
    ("additionalProperties", 21, Form::SchemaOrFlag),
    ("type", 22, Form::WrappedText),
    ("items", 23, Form::Wrapped(&SCHEMA)),
    ("allOf", 24, Form::Messages(&SCHEMA)),
    ("properties", 25, Form::Named(1, &SCHEMA)),
    (EXTENSIONS, 31, Form::Any),
];

/// The bytes of a document made by [`crate::openapi_v2`].
pub fn openapi_v2_protobuf(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, document, DOCUMENT);
    out
}

fn message(out: &mut Vec<u8>, value: &Value, rows: &[Row]) {
    for &(name, tag, form) in rows {
        match name {
            // A message with one field that has no JSON name: the value itself.
            "" => member(out, tag, value, form),
            EXTENSIONS => extensions(out, tag, value),
            name => {
                if let Some(value) = value.get(name) {
                    member(out, tag, value, form);
                }
            }
        }
    }
}

fn extensions(out: &mut Vec<u8>, tag: u32, value: &Value) {
    let extensions = value
        .entries()
        .filter(|(name, _)| name.starts_with(EXTENSIONS));
    for (name, value) in extensions {
        put_block(out, tag, |out| {
            put_bytes(out, 1, name.as_bytes());
            any(out, 2, value);
        });
    }
}

fn any(out: &mut Vec<u8>, tag: u32, value: &Value) {
    put_block(out, tag, |out| {
        put_bytes(out, 2, encode_yaml(value).as_bytes())
    });
}

fn member(out: &mut Vec<u8>, tag: u32, value: &Value, form: Form) {
    match form {
        Form::Text => put_bytes(out, tag, value.str().as_bytes()),
        Form::Flag => put_number(out, tag, u64::from(value.as_bool() == Some(true))),
        Form::Whole => put_number(out, tag, value.as_i64().unwrap_or_default() as u64),
        Form::Double => put_fixed(out, tag, value.as_f64().unwrap_or_default().to_bits()),
        Form::Texts => value
            .items()
            .iter()
            .for_each(|item| put_bytes(out, tag, item.str().as_bytes())),
        Form::Any => any(out, tag, value),
        Form::Anys => value.items().iter().for_each(|item| any(out, tag, item)),
        Form::Message(rows) => put_block(out, tag, |out| message(out, value, rows)),
        Form::Messages(rows) => {
            let each = |item| put_block(out, tag, |out| message(out, item, rows));
            value.items().iter().for_each(each);
        }
        Form::Named(inner, rows) => put_block(out, tag, |out| named(out, inner, value, rows)),
        Form::Wrapped(rows) => put_block(out, tag, |out| {
            put_block(out, 1, |out| message(out, value, rows));
        }),
        Form::WrappedText => put_block(out, tag, |out| put_bytes(out, 1, value.str().as_bytes())),
        Form::SchemaOrFlag => put_block(out, tag, |out| match value.as_bool() {
            Some(flag) => put_number(out, 2, flag.into()),
            None => put_block(out, 1, |out| message(out, value, &SCHEMA)),
        }),
        Form::Parameters => value
            .items()
            .iter()
            .for_each(|item| parameter(out, tag, item)),
    }
}

fn named(out: &mut Vec<u8>, tag: u32, value: &Value, rows: &[Row]) {
    for (name, value) in value.entries() {
        put_block(out, tag, |out| {
            put_bytes(out, 1, name.as_bytes());
            put_block(out, 2, |out| message(out, value, rows));
        });
    }
}

/// `ParametersItem` (1 parameter), `Parameter` (1 body, 2 others), `NonBodyParameter` (3 query, 4 path).
fn parameter(out: &mut Vec<u8>, tag: u32, value: &Value) {
    put_block(out, tag, |out| {
        put_block(out, 1, |out| match value["in"].str() {
            "body" => put_block(out, 1, |out| message(out, value, BODY_PARAMETER)),
            place => put_block(out, 2, |out| {
                let (tag, rows) = if place == "path" {
                    (4, PATH_PARAMETER)
                } else {
                    (3, QUERY_PARAMETER)
                };
                put_block(out, tag, |out| message(out, value, rows));
            }),
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn writes_the_published_tags() {
        let document = json!({
            "swagger": "2.0", "info": {"title": "t"},
            "definitions": {"a": {"type": "object", "x-n": 1, "properties": {"p": {"$ref": "r"}}}},
            "paths": {"/p": {"get": {"parameters": [{"in": "query", "name": "q", "type": "string"}], "responses": {"200": {"description": "fine"}}}}},
        });
        let bytes = openapi_v2_protobuf(&document);
        assert!(bytes.starts_with(b"\x0a\x032.0\x12\x03\x0a\x01t"));
        // definitions: type in a wrapper, properties as pairs, the extension as YAML.
        let schema = b"\xb2\x01\x08\x0a\x06object\xca\x01\x0a\x0a\x08\x0a\x01p\x12\x03\x0a\x01r\xfa\x01\x0b\x0a\x03x-n\x12\x04\x12\x021\n";
        assert!(bytes.windows(schema.len()).any(|window| window == schema));
        let parameter = b"\x42\x18\x0a\x16\x12\x14\x1a\x12\x12\x05query\x22\x01q\x32\x06string";
        assert!(
            bytes
                .windows(parameter.len())
                .any(|window| window == parameter),
            "{bytes:x?}"
        );
        let response = b"\x4a\x11\x0a\x0f\x0a\x03200\x12\x08\x0a\x06\x0a\x04fine";
        assert!(
            bytes
                .windows(response.len())
                .any(|window| window == response),
            "{bytes:x?}"
        );
    }
}
