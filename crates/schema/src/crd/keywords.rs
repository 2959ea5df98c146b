//! What each keyword of a CRD's schema may say, at every node.
//!
//! Works on the schema as written and never meets a value. Upstream counterpart:
//! `apiextensions-apiserver/pkg/apis/apiextensions/validation` (`ValidateCustomResourceDefinitionOpenAPISchema`).

use super::{flag, given};
use crate::path::Path;
use machinery::{FieldError, SmolStr, Value};
use std::collections::BTreeSet;

/// Everything wrong with the keywords of `schema`, which stands at `path`.
pub(super) fn keyword_errors(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut walk = Walk {
        path: Path::new(path),
        errors: Vec::new(),
    };
    let root = Context {
        root: true,
        ..Context::default()
    };
    walk.node(schema, &root);
    walk.errors
}

/// Whether any schema says of which dialect it is.
pub(super) fn names_a_dialect(schema: &Value) -> bool {
    let below = |key: &str| match &schema[key] {
        Value::Array(items) => items.iter().any(names_a_dialect),
        one @ Value::Object(_) => names_a_dialect(one),
        _ => false,
    };
    let parts = [
        "items",
        "additionalProperties",
        "not",
        "allOf",
        "anyOf",
        "oneOf",
    ];
    let mut properties = schema["properties"].entries();
    !schema["$schema"].str().is_empty()
        || properties.any(|(_, property)| names_a_dialect(property))
        || parts.into_iter().any(below)
}

/// Types a schema may state.
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// Keywords of JSON schema that are refused, wherever they say anything.
const UNSUPPORTED: [&str; 6] = [
    "id",
    "additionalItems",
    "patternProperties",
    "definitions",
    "dependencies",
    "$ref",
];
/// Reasons a rule may give.
const REASONS: [&str; 4] = [
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];

/// Where a schema stands.
#[derive(Clone, Default)]
struct Context {
    root: bool,
    inside_meta: bool,
    /// Why no default may stand here; empty where one may.
    no_defaults: SmolStr,
}

impl Context {
    fn below(&self) -> Self {
        Self {
            root: false,
            ..self.clone()
        }
    }
}

struct Walk {
    path: Path,
    errors: Vec<FieldError>,
}

impl Walk {
    fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.path.as_str())
    }

    fn required(&mut self, key: &str, detail: &str) {
        let at = self.at(key);
        self.errors.push(FieldError::required(at, detail));
    }

    fn forbidden(&mut self, key: &str, detail: &str) {
        let at = self.at(key);
        self.errors.push(FieldError::forbidden(at, detail));
    }

    fn invalid(&mut self, key: &str, value: impl Into<Value>, detail: &str) {
        let at = self.at(key);
        self.errors.push(FieldError::invalid(at, value, detail));
    }

    fn unsupported(&mut self, key: &str, value: &str, known: &[&str]) {
        let at = self.at(key);
        self.errors
            .push(FieldError::not_supported(at, value, known));
    }

    fn node(&mut self, schema: &Value, context: &Context) {
        self.standard(schema, context);
        if flag(schema, "uniqueItems") {
            let why =
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.forbidden("uniqueItems", why);
        }
        self.additional(schema, context);
        self.properties(schema, context);
        self.alternatives(schema, context);
        self.child("items", &schema["items"], &context.below());
        if schema["x-kubernetes-preserve-unknown-fields"] == Value::Bool(false) {
            let key = "x-kubernetes-preserve-unknown-fields";
            self.invalid(key, false, "must be true or undefined");
        }
        self.map_type(schema);
        self.list_type(schema);
        self.list_keys(schema);
        self.list_map(schema);
        self.identities(schema);
        self.rules(schema);
    }

    fn standard(&mut self, schema: &Value, context: &Context) {
        let found = schema["type"].str();
        if !found.is_empty() && !TYPES.contains(&found) {
            self.unsupported("type", found, &TYPES);
        }
        if given(schema, "default") && !context.no_defaults.is_empty() {
            let why = format!("must not be set {}", context.no_defaults);
            self.forbidden("default", &why);
        }
        for key in UNSUPPORTED.iter().filter(|key| says(&schema[**key])) {
            self.forbidden(key, &format!("{key} is not supported"));
        }
        if found == "null" {
            let why = "type cannot be set to null, use nullable as an alternative";
            self.forbidden("type", why);
        }
        if schema["items"].as_array().is_some() {
            let why = "items must be a schema object and not an array";
            self.forbidden("items", why);
        }
        if context.inside_meta && flag(schema, "x-kubernetes-embedded-resource") {
            let why = "must not be used inside of resource meta";
            self.forbidden("x-kubernetes-embedded-resource", why);
        }
    }

    fn child(&mut self, key: &str, schema: &Value, context: &Context) {
        if schema.as_object().is_some() {
            let mark = self.path.member(key);
            self.node(schema, context);
            self.path.back(mark);
        }
    }

    fn additional(&mut self, schema: &Value, context: &Context) {
        let additional = &schema["additionalProperties"];
        if additional.is_null() {
            return;
        }
        let both = schema["properties"].entries().next().is_some();
        if both && *additional != Value::Bool(true) {
            let why = "additionalProperties and properties are mutual exclusive";
            self.forbidden("additionalProperties", why);
        }
        let mut below = context.below();
        if context.inside_meta {
            below.no_defaults = "inside additionalProperties applying to object metadata".into();
        }
        self.child("additionalProperties", additional, &below);
    }

    fn properties(&mut self, schema: &Value, context: &Context) {
        let whole = context.root || flag(schema, "x-kubernetes-embedded-resource");
        for (name, property) in schema["properties"].entries() {
            let mut below = context.below();
            if whole && matches!(name.as_str(), "metadata" | "kind" | "apiVersion") {
                below.inside_meta = true;
                if context.root {
                    below.no_defaults = machinery::format_smolstr!("in top-level {name}");
                }
            }
            let mark = self.path.member("properties");
            self.path.key(name);
            self.node(property, &below);
            self.path.back(mark);
        }
    }

    fn alternatives(&mut self, schema: &Value, context: &Context) {
        self.child("not", &schema["not"], &context.below());
        for key in ["allOf", "oneOf", "anyOf"] {
            for (position, part) in schema[key].items().iter().enumerate() {
                let mark = self.path.member(key);
                self.path.index(position);
                self.node(part, &context.below());
                self.path.back(mark);
            }
        }
    }

    fn map_type(&mut self, schema: &Value) {
        let Some(kind) = schema["x-kubernetes-map-type"].as_str() else {
            return;
        };
        self.wants_type(schema, "object", "x-kubernetes-map-type");
        if !matches!(kind, "atomic" | "granular") {
            self.unsupported("x-kubernetes-map-type", kind, &["atomic", "granular"]);
        }
    }

    fn wants_type(&mut self, schema: &Value, wanted: &str, because: &str) {
        let found = schema["type"].str();
        let why = format!("must be {wanted} if {because} is specified");
        match found {
            "" => self.required("type", &why),
            _ if found != wanted => self.invalid("type", found, &why),
            _ => {}
        }
    }

    fn list_type(&mut self, schema: &Value) {
        let Some(kind) = schema["x-kubernetes-list-type"].as_str() else {
            return;
        };
        self.wants_type(schema, "array", "x-kubernetes-list-type");
        if kind == "set" && schema["type"].str() == "array" {
            self.set_items(&schema["items"]);
        }
        if !matches!(kind, "atomic" | "set" | "map") {
            let known = ["atomic", "set", "map"];
            self.unsupported("x-kubernetes-list-type", kind, &known);
        }
    }

    /// Items of a set are compared whole.
    fn set_items(&mut self, items: &Value) {
        let list_type = items["x-kubernetes-list-type"].as_str();
        let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
        match items["type"].str() {
            "array" if list_type.is_some_and(|kind| kind != "atomic") => {
                let value = list_type.unwrap_or_default();
                self.invalid("items.x-kubernetes-list-type", value, why);
            }
            "object" if items["x-kubernetes-map-type"].str() != "atomic" => {
                let value = list_type.map_or(Value::Null, Value::from);
                self.invalid("items.x-kubernetes-map-type", value, why);
            }
            _ => {}
        }
    }

    fn list_keys(&mut self, schema: &Value) {
        if schema["x-kubernetes-list-map-keys"].items().is_empty() {
            return;
        }
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        match schema["x-kubernetes-list-type"].as_str() {
            None => self.required("x-kubernetes-list-type", why),
            Some("map") => {}
            Some(other) => self.invalid("x-kubernetes-list-type", other, why),
        }
    }

    fn list_map(&mut self, schema: &Value) {
        if schema["x-kubernetes-list-type"].str() != "map" {
            return;
        }
        let (keys, items) = (&schema["x-kubernetes-list-map-keys"], &schema["items"]);
        if keys.items().is_empty() {
            let why = "must not be empty if x-kubernetes-list-type is map";
            self.required("x-kubernetes-list-map-keys", why);
        }
        match items {
            Value::Null => {
                let why = "must have a schema if x-kubernetes-list-type is map";
                self.required("items", why);
            }
            Value::Object(_) if items["type"].str() == "object" => self.map_keys(keys, items),
            Value::Object(_) => {
                let why = "must be object if parent array's x-kubernetes-list-type is map";
                self.invalid("items.type", items["type"].str(), why);
            }
            other => {
                let why = "must only have a single schema if x-kubernetes-list-type is map";
                self.invalid("items", other, why);
            }
        }
    }

    fn map_keys(&mut self, keys: &Value, items: &Value) {
        let mut seen = BTreeSet::new();
        for key in keys.items() {
            match items["properties"].get(key.str()) {
                Some(property) if matches!(property["type"].str(), "array" | "object") => {
                    let at = format!("items.properties[{}].type", key.str());
                    let why =
                        "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    self.invalid(&at, items["type"].str(), why);
                }
                Some(_) => {}
                None => {
                    let why = "entries must all be names of item properties";
                    self.invalid("x-kubernetes-list-map-keys", keys, why);
                }
            }
            if !seen.insert(key.str()) {
                let why = "must not contain duplicate entries";
                self.invalid("x-kubernetes-list-map-keys", keys, why);
            }
        }
    }

    /// What identifies an item must be there.
    fn identities(&mut self, schema: &Value) {
        let kind = schema["x-kubernetes-list-type"].str();
        let items = &schema["items"];
        if !matches!(kind, "set" | "map") || items.as_object().is_none() {
            return;
        }
        if flag(items, "nullable") {
            let why = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
            self.forbidden("items.nullable", &why);
        }
        if kind != "map" {
            return;
        }
        for key in schema["x-kubernetes-list-map-keys"].items() {
            let Some(property) = items["properties"].get(key.str()) else {
                continue;
            };
            let at = format!("items.properties[{}]", key.str());
            if !items["required"].items().contains(key) && property["default"].is_null() {
                let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                self.required(&format!("{at}.default"), why);
            }
            if flag(property, "nullable") {
                let why =
                    "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                self.forbidden(&format!("{at}.nullable"), why);
            }
        }
    }

    fn rules(&mut self, schema: &Value) {
        for (position, rule) in schema["x-kubernetes-validations"]
            .items()
            .iter()
            .enumerate()
        {
            let mark = self.path.member("x-kubernetes-validations");
            self.path.index(position);
            self.rule(rule);
            self.path.back(mark);
        }
    }

    fn rule(&mut self, rule: &Value) {
        let text = |key: &str| (rule[key].str(), rule[key].str().trim());
        let (_, said) = text("rule");
        let (message, trimmed) = text("message");
        if said.is_empty() {
            self.required("rule", "rule is not specified");
        } else if !message.is_empty() && trimmed.is_empty() {
            self.invalid("message", message, "must be non-empty if specified");
        } else if broken(trimmed) {
            self.invalid("message", message, "must not contain line breaks");
        } else if broken(said) && trimmed.is_empty() {
            let why = "message must be specified if rule contains line breaks";
            self.required("message", why);
        }
        let (expression, trimmed) = text("messageExpression");
        if !expression.is_empty() && trimmed.is_empty() {
            let why = "messageExpression must be non-empty if specified";
            self.required("messageExpression", why);
        }
        if let Some(reason) = rule["reason"].as_str().filter(|one| !REASONS.contains(one)) {
            self.unsupported("reason", reason, &REASONS);
        }
        let (field, trimmed) = text("fieldPath");
        if !field.is_empty() && trimmed.is_empty() {
            self.invalid("fieldPath", field, "must be non-empty if specified");
        }
        if broken(field) {
            self.invalid("fieldPath", field, "must not contain line breaks");
        }
    }
}

fn broken(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

/// Whether a keyword says anything: Go's structs hold no empty texts and maps.
fn says(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    }
}
