//! Facts about types whose protobuf form differs from their JSON form.
//!
//! Upstream counterpart: the hand-written marshallers beside `generated.pb.go`
//! (`metav1.Time`, `intstr`, `resource`, `runtime`, `apiextensions/v1`).

use schema::{Field, Node};

/// A message that stands for a JSON value of more than one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SchemaOr {
    /// 1: schema, 2: repeated schema.
    Array,
    /// 1: bool, 2: schema.
    Bool,
    /// 1: schema, 2: repeated string.
    Strings,
}

/// The type that a union's schema branch has, beside it in the same package.
pub(super) const SCHEMA_TYPE: &str = "JSONSchemaProps";

/// Whether a type is such a union.
pub(super) fn union_of(node: &Node) -> Option<SchemaOr> {
    match node.name.rsplit('.').next()?.strip_prefix(SCHEMA_TYPE)? {
        "OrArray" => Some(SchemaOr::Array),
        "OrBool" => Some(SchemaOr::Bool),
        "OrStringArray" => Some(SchemaOr::Strings),
        _ => None,
    }
}

/// Tags of the fields whose protobuf names cannot be derived from their JSON names.
const SCHEMA_TAGS: [(&str, u32); 9] = [
    ("$schema", 2),
    ("$ref", 3),
    ("x-kubernetes-preserve-unknown-fields", 38),
    ("x-kubernetes-embedded-resource", 39),
    ("x-kubernetes-int-or-string", 40),
    ("x-kubernetes-list-map-keys", 41),
    ("x-kubernetes-list-type", 42),
    ("x-kubernetes-map-type", 43),
    ("x-kubernetes-validations", 44),
];

/// The field's tag path; empty if protobuf does not carry it.
pub(super) fn tag_path<'a>(node: &Node, field: &'a Field) -> &'a [u32] {
    if !field.tag.is_empty() || !node.name.ends_with(SCHEMA_TYPE) {
        return &field.tag;
    }
    SCHEMA_TAGS
        .iter()
        .find(|(name, _)| *name == field.name)
        .map_or(&[], |(_, tag)| std::slice::from_ref(tag))
}
