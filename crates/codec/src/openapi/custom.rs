//! Definitions of custom kinds, as their definitions write them: with texts, rules and all.
//!
//! Made from the stored definition when asked for, so that texts cost no memory meanwhile.
//! Upstream counterpart: `apiextensions-apiserver/pkg/controller/openapi/builder`.

use super::types::Dialect;
use machinery::{Map, SmolStr, Value, json};

const EMBEDDED_VERSION: &str = "apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const EMBEDDED_KIND: &str = "kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
/// What an object's metadata is said to be.
pub(super) const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
/// Keywords with schemas below them, beside `properties`.
const NESTED: [&str; 6] = [
    "items",
    "additionalProperties",
    "not",
    "allOf",
    "anyOf",
    "oneOf",
];
/// Keywords that OpenAPI v2 has no words for.
const ONLY_V3: [&str; 6] = ["default", "nullable", "not", "allOf", "anyOf", "oneOf"];

/// A schema as it is published. `metadata` is what stands for an object's metadata.
pub(super) fn published(mut schema: Value, dialect: Dialect, metadata: &Value) -> Value {
    publish(&mut schema, dialect, metadata);
    schema
}

fn publish(schema: &mut Value, dialect: Dialect, metadata: &Value) {
    let Some(map) = schema.as_object_mut() else {
        return;
    };
    map.retain(|_, value| !value.is_null());
    if dialect == Dialect::V2 {
        simplify(map);
    }
    for (_, property) in map.get_mut("properties").into_iter().flat_map(members) {
        publish(property, dialect, metadata);
    }
    for key in NESTED {
        match map.get_mut(key) {
            Some(Value::Array(parts)) => {
                for part in parts {
                    publish(part, dialect, metadata);
                }
            }
            Some(part) => publish(part, dialect, metadata),
            None => {}
        }
    }
    let embedded = map.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true));
    if embedded && dialect == Dialect::V3 {
        embed(map, metadata);
    }
}

fn members(value: &mut Value) -> impl Iterator<Item = (&SmolStr, &mut Value)> {
    value.as_object_mut().into_iter().flat_map(Map::iter_mut)
}

/// Takes away what v2 would have clients understand wrongly: they refuse unknown fields of an
/// object with properties, and null.
fn simplify(map: &mut Map) {
    let set = |map: &Map, key: &str| map.get(key) == Some(&Value::Bool(true));
    if set(map, "x-kubernetes-preserve-unknown-fields") {
        map.retain(|key, _| key == "description" || key.starts_with("x-kubernetes-"));
    }
    if set(map, "nullable") {
        let shapes = ["type", "items", "properties", "additionalProperties"];
        map.retain(|key, _| !shapes.contains(&key));
    }
    map.retain(|key, _| !ONLY_V3.contains(&key));
}

fn embed(map: &mut Map, metadata: &Value) {
    let mut schema = Value::Object(std::mem::take(map));
    let properties = schema.object_at(&["properties"]);
    for (name, text) in [("apiVersion", EMBEDDED_VERSION), ("kind", EMBEDDED_KIND)] {
        properties.insert(name, json!({"type": "string", "description": text}));
    }
    properties.insert("metadata", metadata);
    let mut required: Vec<Value> = vec!["kind".into(), "apiVersion".into()];
    let more = schema["required"].items().iter();
    required.extend(
        more.filter(|name| !matches!(name.str(), "kind" | "apiVersion"))
            .cloned(),
    );
    schema["required"] = required.into();
    *map = std::mem::take(schema.make_object());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_says_what_it_can() {
        let schema = json!({"type": "object", "description": "d", "properties": {
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"n": {"type": "integer"}}},
            "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "size": {"type": "integer", "default": 3, "minimum": 1},
            "weight": {"type": "integer", "nullable": true, "minimum": 3},
            "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        }});
        let meta = json!({"m": true});
        let v2 = published(schema.clone(), Dialect::V2, &meta);
        let wanted = json!({"type": "object", "description": "d", "properties": {
            "free": {"x-kubernetes-preserve-unknown-fields": true}, "port": {"x-kubernetes-int-or-string": true},
            "size": {"type": "integer", "minimum": 1}, "weight": {"minimum": 3},
            "pod": {"x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        }});
        assert_eq!(v2, wanted);
        let v3 = published(schema.clone(), Dialect::V3, &meta);
        let properties = &v3["properties"];
        assert_eq!(properties["size"], schema["properties"]["size"]);
        assert_eq!(properties["pod"]["required"], json!(["kind", "apiVersion"]));
        assert_eq!(properties["pod"].at(&["properties", "metadata"]), &meta);
    }
}
