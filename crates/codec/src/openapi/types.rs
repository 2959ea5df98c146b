//! Types of a schema as OpenAPI definitions, in both dialects.
//!
//! Knows no kind by name. Upstream counterparts: `kube-openapi/pkg/builder`, `builder3`.

use super::{
    custom::{METADATA, published},
    stated::state,
};
use crate::description;
use machinery::{GroupVersionKind, Map, SmolStr, Value, format_smolstr, json};
use schema::{Checks, Field, ListKind, Node, NodeId, Schema, Shape, Struct, TypeRef};
use std::{collections::BTreeMap, sync::Arc};

/// Which OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn prefix(self) -> &'static str {
        match self {
            Dialect::V2 => "#/definitions/",
            Dialect::V3 => "#/components/schemas/",
        }
    }

    /// A reference to a definition.
    pub(super) fn reference(self, name: &str) -> Value {
        json!({"$ref": format!("{}{name}", self.prefix())})
    }
}

/// Where the metadata of every object and list is defined.
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
/// What every object says of itself.
const TYPE_META: [(&str, &str); 2] = [
    (
        "apiVersion",
        "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
    ),
    (
        "kind",
        "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
    ),
];
/// Where texts of custom kinds' lists send readers.
const MORE: &str = "More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";

/// Definitions collected so far, and those still to be made.
pub(super) struct Definitions {
    pub(super) dialect: Dialect,
    /// The schema that custom kinds borrow metadata from.
    shared: Arc<Schema>,
    made: BTreeMap<SmolStr, Value>,
    wanted: Vec<(Arc<Schema>, NodeId)>,
}

/// What upstream states as the default of a built-in type's field: an empty struct where it is no
/// pointer, and the zero of a scalar that always prints.
fn printed(schema: &Schema, field: &Field) -> Option<Value> {
    if field.pointer {
        return None;
    }
    let shape = &schema.node(field.node).shape;
    let always = !field.omitempty && !field.omitzero;
    match shape {
        Shape::Struct(_) => Some(Value::object()),
        _ if !always => None,
        Shape::String => Some("".into()),
        Shape::Int { .. } | Shape::Float => Some(Value::Int(0)),
        Shape::Bool => Some(false.into()),
        _ => None,
    }
}

impl Definitions {
    pub(super) fn new(dialect: Dialect, shared: &Arc<Schema>) -> Self {
        Self {
            dialect,
            shared: shared.clone(),
            made: BTreeMap::new(),
            wanted: Vec::new(),
        }
    }

    /// All definitions by name, with the kinds they stand for.
    pub(super) fn finish(mut self, kinds: &BTreeMap<SmolStr, Vec<GroupVersionKind>>) -> Value {
        while let Some((schema, id)) = self.wanted.pop() {
            self.define(&schema, id);
        }
        for (name, gvks) in kinds {
            if let Some(definition) = self.made.get_mut(name) {
                let gvks: Vec<Value> = gvks.iter().map(gvk_value).collect();
                definition["x-kubernetes-group-version-kind"] = gvks.into();
            }
        }
        Value::Object(self.made.into_iter().collect())
    }

    /// A reference to a shared type, which is then defined too.
    pub(super) fn shared(&mut self, name: &str) -> Value {
        if let Some(id) = self.shared.named(name) {
            self.wanted.push((self.shared.clone(), id));
        }
        self.dialect.reference(name)
    }

    /// Defines an object type under `name` where its schema gives it none.
    pub(super) fn kind(&mut self, kind: &TypeRef, name: &str) {
        if !kind.node().name.is_empty() {
            self.wanted.push((kind.schema.clone(), kind.id));
            return;
        }
        let meta = self.shared(OBJECT_META);
        let meta = with_description(self.dialect, meta, METADATA);
        let mut definition = match &kind.schema.source {
            // Of what is all open v2 says nothing more: clients would refuse what is not listed.
            Some(_) if self.dialect == Dialect::V2 && is_open(kind) => {
                self.made.insert(name.into(), json!({"type": "object"}));
                return;
            }
            Some(source) => published(source.schema(), self.dialect, &meta),
            None => self.inline(&kind.schema, kind.id, ""),
        };
        // What v2 leaves open has no properties to complete.
        if definition.get("type").is_some() {
            type_meta(definition.object_at(&["properties"]), meta);
        }
        self.made.insert(name.into(), definition);
    }

    /// Defines the list of a kind: its own type where there is one, else the usual frame.
    pub(super) fn list(&mut self, item: &str, list: &str, plural: &str) {
        if let Some(id) = self.shared.named(list) {
            self.wanted.push((self.shared.clone(), id));
            return;
        }
        let meta = self.shared(LIST_META);
        let short = item.rsplit('.').next().unwrap_or(item);
        let mut properties = json!({
            "items": {"type": "array", "items": self.dialect.reference(item), "description": format!("List of {plural}. {MORE}")},
        });
        let meta = with_description(
            self.dialect,
            meta,
            &format!("Standard list metadata. {MORE}#types-kinds"),
        );
        type_meta(properties.make_object(), meta);
        let definition = json!({
            "type": "object", "required": ["items"], "properties": properties,
            "description": format!("{short}List is a list of {short}"),
        });
        self.made.insert(list.into(), definition);
    }

    /// Defines all shared types that are referred to below a value.
    pub(super) fn referred(&mut self, value: &Value) {
        let found = value.get("$ref").and_then(Value::as_str);
        if let Some(name) = found.and_then(|found| found.rsplit('/').next()) {
            self.shared(name);
        }
        value.entries().for_each(|(_, inner)| self.referred(inner));
        value.items().iter().for_each(|inner| self.referred(inner));
    }

    fn define(&mut self, schema: &Arc<Schema>, id: NodeId) {
        let name = schema.node(id).name.clone();
        if !self.made.contains_key(&name) {
            self.made.insert(name.clone(), Value::Null);
            let mut definition = self.inline(schema, id, &name);
            state(self.dialect, &name, &mut definition);
            self.made.insert(name, definition);
        }
    }

    /// A reference for a named type, the type itself for an anonymous one.
    fn usage(&mut self, schema: &Arc<Schema>, id: NodeId) -> Value {
        let name = &schema.node(id).name;
        if name.is_empty() {
            return self.inline(schema, id, "");
        }
        self.wanted.push((schema.clone(), id));
        self.dialect.reference(name)
    }

    fn inline(&mut self, schema: &Arc<Schema>, id: NodeId, name: &str) -> Value {
        let node = schema.node(id);
        let mut value = match &node.shape {
            Shape::List { item, kind } => self.list_type(schema, *item, kind),
            Shape::Map { value, atomic } => {
                let mut map =
                    json!({"type": "object", "additionalProperties": self.usage(schema, *value)});
                if *atomic {
                    map["x-kubernetes-map-type"] = "atomic".into();
                }
                map
            }
            Shape::Struct(known) => self.object(schema, known, name),
            shape => simple(self.dialect, shape, name),
        };
        let text = if node.description.is_empty() {
            description(name, "")
        } else {
            &node.description
        };
        let map = value.make_object();
        if !text.is_empty() {
            map.insert("description", text);
        }
        self.node_keywords(schema, node, map);
        value
    }

    fn list_type(&mut self, schema: &Arc<Schema>, item: NodeId, kind: &ListKind) -> Value {
        let mut list = json!({"type": "array", "items": self.usage(schema, item)});
        match kind {
            ListKind::Atomic => list["x-kubernetes-list-type"] = "atomic".into(),
            ListKind::Set => list["x-kubernetes-list-type"] = "set".into(),
            ListKind::Map(keys) => {
                list["x-kubernetes-list-type"] = "map".into();
                list["x-kubernetes-list-map-keys"] = keys.clone().into();
            }
        }
        list
    }

    fn object(&mut self, schema: &Arc<Schema>, known: &Struct, name: &str) -> Value {
        let mut properties = Map::new();
        for field in &known.fields {
            let mut property = self.property(schema, field, name);
            let told = self.dialect == Dialect::V3 && !known.custom;
            if let Some(zero) = printed(schema, field).filter(|_| told) {
                property.make_object().entry_or("default", || zero);
            }
            if field.name == "items" && name.ends_with("List") {
                property.make_object().remove("x-kubernetes-list-type");
            }
            if self.dialect == Dialect::V3 {
                property = alone(property);
            }
            properties.insert(field.name.clone(), property);
        }
        let required = known.fields.iter().filter(|field| field.required);
        let required: Vec<SmolStr> = required.map(|field| field.name.clone()).collect();
        let mut object = json!({"type": "object"});
        let map = object.make_object();
        if !properties.is_empty() {
            map.insert("properties", properties);
        }
        if !required.is_empty() {
            map.insert("required", required);
        }
        if let Some(additional) = known.additional {
            let value = self.usage(schema, additional);
            map.insert("additionalProperties", value);
        }
        for (key, set) in [
            (
                "x-kubernetes-preserve-unknown-fields",
                known.preserve_unknown,
            ),
            ("x-kubernetes-embedded-resource", known.embedded),
        ] {
            if set {
                map.insert(key, true);
            }
        }
        if known.atomic {
            map.insert("x-kubernetes-map-type", "atomic");
        }
        object
    }

    fn property(&mut self, schema: &Arc<Schema>, field: &Field, parent: &str) -> Value {
        let usage = self.usage(schema, field.node);
        let mut value = with_description(self.dialect, usage, description(parent, &field.name));
        let map = value.make_object();
        if let Some(default) = field
            .default
            .as_ref()
            .filter(|_| self.dialect == Dialect::V3)
        {
            map.insert("default", default);
        }
        let patch = field.patch;
        let words = [
            (patch.merge, "merge"),
            (patch.retain_keys, "retainKeys"),
            (patch.replace, "replace"),
        ];
        let strategy: Vec<&str> = words
            .into_iter()
            .filter(|(set, _)| *set)
            .map(|(_, word)| word)
            .collect();
        if !strategy.is_empty() {
            map.insert("x-kubernetes-patch-strategy", strategy.join(","));
        }
        if !field.patch_key.is_empty() {
            map.insert("x-kubernetes-patch-merge-key", &field.patch_key);
        }
        value
    }

    fn node_keywords(&mut self, schema: &Arc<Schema>, node: &Node, map: &mut Map) {
        if self.dialect == Dialect::V3 {
            if let Some(default) = &node.default {
                map.insert("default", default);
            }
            if node.nullable {
                map.insert("nullable", true);
            }
        }
        let Some(checks) = &node.checks else {
            return;
        };
        plain_keywords(checks, map);
        // OpenAPI v2 has no words for these.
        if self.dialect == Dialect::V3 {
            self.combinations(schema, checks, map);
        }
    }

    fn combinations(&mut self, schema: &Arc<Schema>, checks: &Checks, map: &mut Map) {
        for (key, nodes) in [
            ("allOf", &checks.all_of),
            ("anyOf", &checks.any_of),
            ("oneOf", &checks.one_of),
        ] {
            if !nodes.is_empty() {
                let parts: Vec<Value> = nodes
                    .iter()
                    .map(|id| self.inline(schema, *id, ""))
                    .collect();
                map.insert(key, parts);
            }
        }
        if let Some(not) = checks.not {
            let value = self.inline(schema, not, "");
            map.insert("not", value);
        }
        if !checks.rules.is_empty() {
            map.insert("x-kubernetes-validations", checks.rules.clone());
        }
    }
}

/// `group`, `version` and `kind` as the extension spells them.
pub(super) fn gvk_value(gvk: &GroupVersionKind) -> Value {
    json!({"group": &gvk.group, "version": &gvk.version, "kind": &gvk.kind})
}

/// Whether a kind keeps fields that it does not list.
fn is_open(kind: &TypeRef) -> bool {
    match &kind.node().shape {
        Shape::Struct(known) => known.preserve_unknown,
        Shape::Any => true,
        _ => false,
    }
}

fn type_meta(properties: &mut Map, metadata: Value) {
    for (name, text) in TYPE_META {
        properties.insert(name, json!({"type": "string", "description": text}));
    }
    properties.insert("metadata", metadata);
}

/// Adds a text to a type or a reference; v3 lets nothing stand beside `$ref`.
fn with_description(dialect: Dialect, mut usage: Value, text: &str) -> Value {
    if text.is_empty() {
        return usage;
    }
    if dialect == Dialect::V3 && usage.get("$ref").is_some() {
        usage = json!({"allOf": [usage]});
    }
    usage["description"] = text.into();
    usage
}

/// A reference that something stands beside, wrapped: v3 lets nothing stand there.
fn alone(mut property: Value) -> Value {
    let several = property.entries().count() > 1;
    if several && let Some(reference) = property.make_object().remove("$ref") {
        property["allOf"] = json!([{"$ref": reference}]);
    }
    property
}

/// Types without parts.
fn simple(dialect: Dialect, shape: &Shape, name: &str) -> Value {
    let v3 = dialect == Dialect::V3;
    match shape {
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Int { narrow: true } => json!({"type": "integer", "format": "int32"}),
        Shape::Int { narrow: false } => json!({"type": "integer", "format": "int64"}),
        Shape::Float => json!({"type": "number", "format": "double"}),
        Shape::String | Shape::Duration => json!({"type": "string"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::Time | Shape::MicroTime => json!({"type": "string", "format": "date-time"}),
        Shape::Quantity if v3 => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        Shape::Quantity => json!({"type": "string"}),
        Shape::IntOrString if name.is_empty() => json!({"x-kubernetes-int-or-string": true}),
        Shape::IntOrString if v3 => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        Shape::IntOrString => json!({"type": "string", "format": "int-or-string"}),
        Shape::FieldsV1 => json!({"type": "object"}),
        Shape::Any if name.is_empty() => json!({"x-kubernetes-preserve-unknown-fields": true}),
        Shape::Any if name.ends_with(".RawExtension") => json!({"type": "object"}),
        _ => Value::object(),
    }
}

fn plain_keywords(checks: &Checks, map: &mut Map) {
    for (key, text) in [("format", &checks.format), ("pattern", &checks.pattern)] {
        if !text.is_empty() {
            map.insert(key, text);
        }
    }
    if !checks.allowed.is_empty() {
        map.insert("enum", checks.allowed.clone());
    }
    if !checks.required.is_empty() {
        map.insert("required", checks.required.clone());
    }
    for (key, exclusive_key, bound) in [
        ("minimum", "exclusiveMinimum", checks.minimum),
        ("maximum", "exclusiveMaximum", checks.maximum),
    ] {
        if let Some((number, exclusive)) = bound {
            map.insert(key, number);
            if exclusive {
                map.insert(exclusive_key, true);
            }
        }
    }
    if let Some(number) = checks.multiple_of {
        map.insert("multipleOf", number);
    }
    if checks.unique_items {
        map.insert("uniqueItems", true);
    }
    counts(checks, map);
}

fn counts(checks: &Checks, map: &mut Map) {
    for (what, (least, most)) in [
        ("Length", checks.length),
        ("Items", checks.items),
        ("Properties", checks.properties),
    ] {
        for (prefix, count) in [("min", least), ("max", most)] {
            if let Some(count) = count.and_then(|count| i64::try_from(count).ok()) {
                map.insert(format_smolstr!("{prefix}{what}"), count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_always_print_have_defaults() {
        let schema = schema::builtin();
        let id = schema.named("io.k8s.api.core.v1.Container").unwrap();
        let Shape::Struct(container) = &schema.node(id).shape else {
            panic!("a container is a struct")
        };
        for (name, wanted) in [
            ("name", Some("".into())),
            ("resources", Some(json!({}))),
            ("image", None),
            ("livenessProbe", None),
            ("ports", None),
        ] {
            let field = container.field(name).unwrap();
            assert_eq!(printed(schema, field), wanted, "{name}");
        }
    }
}
