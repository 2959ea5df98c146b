//! Whether a CRD's schema is structural: every field has a type, and checks only check.
//!
//! Works on the schema as written and never meets a value. Upstream counterpart:
//! `apiextensions-apiserver/pkg/apiserver/schema` (`ValidateStructural`).

use super::{flag, given};
use crate::{compile_pattern, path::Path};
use machinery::{FieldError, Value};

/// Everything that keeps `schema`, which stands at `path`, from being structural, in the order of
/// the messages.
pub(super) fn structural_errors(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut walk = Walk {
        path: Path::new(path),
        errors: Vec::new(),
    };
    walk.invariants(schema, Level::Root);
    let counterpart = Path::new(path);
    walk.complete(schema, Some(schema), &counterpart);
    walk.errors.sort_by_cached_key(ToString::to_string);
    walk.errors
}

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Which `anyOf` says no more than `x-kubernetes-int-or-string` and may therefore name types.
#[derive(Clone, Copy, Default)]
struct Skip {
    any_of: bool,
    first_all_of: bool,
}

struct Walk {
    path: Path,
    errors: Vec<FieldError>,
}

impl Walk {
    fn at(&self, key: &str) -> String {
        if self.path.as_str().is_empty() {
            return key.to_owned();
        }
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

    fn below(&mut self, key: &str, schema: &Value, visit: impl FnOnce(&mut Self, &Value)) {
        if schema.as_object().is_some() {
            let mark = self.path.member(key);
            visit(self, schema);
            self.path.back(mark);
        }
    }

    fn properties(&mut self, schema: &Value, mut visit: impl FnMut(&mut Self, &Value)) {
        for (name, property) in schema["properties"].entries() {
            let mark = self.path.member("properties");
            self.path.key(name);
            visit(self, property);
            self.path.back(mark);
        }
    }

    fn invariants(&mut self, schema: &Value, level: Level) {
        if schema["type"].str() == "array" && schema["items"].is_null() {
            self.required("items", "must be specified");
        }
        self.below("items", &schema["items"], |walk, items| {
            walk.invariants(items, Level::Item);
        });
        self.properties(schema, |walk, property| {
            walk.invariants(property, Level::Field);
        });
        if given(schema, "additionalProperties") && level == Level::Root {
            self.forbidden("additionalProperties", "must not be used at the root");
        }
        let additional = &schema["additionalProperties"];
        self.below("additionalProperties", additional, |walk, value| {
            walk.invariants(value, Level::Field);
        });
        self.extensions(schema);
        self.values(schema, int_or_string(schema));
        self.types(schema, level);
        if level == Level::Root || flag(schema, "x-kubernetes-embedded-resource") {
            self.type_meta(schema);
        }
        self.metadata(schema, level);
    }

    fn extensions(&mut self, schema: &Value) {
        if !flag(schema, "x-kubernetes-int-or-string") {
            return;
        }
        for key in [
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-embedded-resource",
        ] {
            if flag(schema, key) {
                self.invalid(
                    key,
                    true,
                    "must be false if x-kubernetes-int-or-string is true",
                );
            }
        }
    }

    fn types(&mut self, schema: &Value, level: Level) {
        let (found, embedded) = (
            schema["type"].str(),
            flag(schema, "x-kubernetes-embedded-resource"),
        );
        let preserve = flag(schema, "x-kubernetes-preserve-unknown-fields");
        let free = flag(schema, "x-kubernetes-int-or-string") || preserve;
        if embedded && found != "object" {
            let why = "must be object if x-kubernetes-embedded-resource is true";
            match found {
                "" => self.required("type", why),
                _ => self.invalid("type", found, why),
            }
        } else if found.is_empty() && !free {
            let whose = match level {
                Level::Root => "at the root",
                Level::Item => "for specified array items",
                Level::Field => "for specified object fields",
            };
            self.required("type", &format!("must not be empty {whose}"));
        }
        if embedded && given(schema, "additionalProperties") {
            let why = "must not be used if x-kubernetes-embedded-resource is set";
            self.forbidden("additionalProperties", why);
        }
        if level == Level::Root && !found.is_empty() && found != "object" {
            self.invalid("type", found, "must be object at the root");
        }
        if embedded && !preserve && schema["properties"].entries().next().is_none() {
            let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
            self.required("properties", why);
        }
    }

    fn type_meta(&mut self, schema: &Value) {
        for (name, wanted) in [
            ("kind", "string"),
            ("apiVersion", "string"),
            ("metadata", "object"),
        ] {
            let property = &schema["properties"][name];
            if !property.is_null() && property["type"].str() != wanted {
                let found = property["type"].str();
                let key = format!("properties[{name}].type");
                self.invalid(&key, found, &format!("must be {wanted}"));
            }
        }
    }

    fn metadata(&mut self, schema: &Value, level: Level) {
        let metadata = &schema["properties"]["metadata"];
        if level != Level::Root || metadata.is_null() {
            return;
        }
        let plain = |(name, _): (&machinery::SmolStr, &Value)| {
            matches!(name.as_str(), "name" | "generateName")
        };
        let names_only = metadata["properties"].entries().all(plain);
        // Checks, a type and texts may stand there; whatever shapes values may not.
        let shaping = |(key, value): (&machinery::SmolStr, &Value)| {
            let says = !value.is_null() && *value != Value::Bool(false);
            says && (matches!(
                key.as_str(),
                "items" | "additionalProperties" | "title" | "description" | "example"
            ) || key.starts_with("x-kubernetes-")
                || is_check(key)
                || (key == "nullable"))
        };
        if !names_only || metadata.entries().any(shaping) {
            let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.forbidden("properties[metadata]", why);
        }
    }

    /// Checks of one schema: what stands below `anyOf` and the like.
    fn values(&mut self, schema: &Value, skip: Skip) {
        if !skip.any_of {
            self.alternatives(schema, "anyOf", false);
        }
        self.alternatives(schema, "allOf", skip.first_all_of);
        self.alternatives(schema, "oneOf", false);
        self.below("not", &schema["not"], |walk, not| {
            walk.nested(not, Skip::default());
        });
        let pattern = schema["pattern"].str();
        if let Err(why) = compile_pattern(pattern) {
            let detail = format!("must be a valid regular expression, but isn't: {why}");
            self.invalid("pattern", pattern, &detail);
        }
    }

    fn alternatives(&mut self, schema: &Value, key: &str, skip_first: bool) {
        for (position, alternative) in schema[key].items().iter().enumerate() {
            let mark = self.path.member(key);
            self.path.index(position);
            let any_of = skip_first && position == 0;
            self.nested(
                alternative,
                Skip {
                    any_of,
                    first_all_of: false,
                },
            );
            self.path.back(mark);
        }
    }

    /// A schema below `anyOf` and the like may not shape values.
    fn nested(&mut self, schema: &Value, skip: Skip) {
        self.values(schema, skip);
        self.below("items", &schema["items"], |walk, items| {
            walk.nested(items, Skip::default());
        });
        self.properties(schema, |walk, property| {
            walk.nested(property, Skip::default());
        });
        for (key, must) in SHAPING {
            let (value, set) = (&schema[*key], given(schema, key));
            let empty = value.as_str() == Some("")
                || *value == Value::Bool(false)
                || value.as_array().is_some_and(Vec::is_empty);
            if set && !empty {
                self.forbidden(key, &format!("{must} to be structural"));
            }
        }
        if given(&schema["properties"], "metadata") {
            let why = "must not be specified in a nested context";
            self.forbidden("properties[metadata]", why);
        }
    }

    /// Whether everything that is checked is also specified. `counterpart` is where the schema
    /// stands that `schema` checks values of.
    fn complete(&mut self, schema: &Value, specified: Option<&Value>, counterpart: &Path) {
        for key in ["not", "allOf", "anyOf", "oneOf"] {
            let parts = match &schema[key] {
                Value::Array(parts) => &parts[..],
                single => std::slice::from_ref(single),
            };
            for (position, part) in parts.iter().enumerate().filter(|(_, part)| !part.is_null()) {
                let mark = self.path.member(key);
                if key != "not" {
                    self.path.index(position);
                }
                self.nested_complete(part, specified, counterpart);
                self.path.back(mark);
            }
        }
    }

    fn nested_complete(&mut self, check: &Value, specified: Option<&Value>, counterpart: &Path) {
        let Some(specified) = specified else {
            let why = format!("because it is defined in {}", self.path.as_str());
            self.errors
                .push(FieldError::required(counterpart.as_str(), why));
            return;
        };
        self.complete(check, Some(specified), counterpart);
        let of = |schema: &Value, key: &str| schema[key].as_object().is_some();
        if of(check, "items") {
            let mut below = Path::new(counterpart.as_str());
            below.member("items");
            let items = of(specified, "items").then(|| &specified["items"]);
            self.below("items", &check["items"], |walk, part| {
                walk.nested_complete(part, items, &below);
            });
        }
        for (name, property) in check["properties"].entries() {
            let mut below = Path::new(counterpart.as_str());
            below.member("properties");
            below.key(name);
            let mark = self.path.member("properties");
            self.path.key(name);
            let inner = specified["properties"].get(name);
            self.nested_complete(property, inner, &below);
            self.path.back(mark);
        }
    }
}

/// Keywords that shape values, and what their absence is called where only checks may stand.
const SHAPING: &[(&str, &str)] = &[
    ("type", "must be empty"),
    ("additionalProperties", "must be undefined"),
    ("default", "must be undefined"),
    ("title", "must be empty"),
    ("description", "must be empty"),
    ("nullable", "must be false"),
    ("x-kubernetes-preserve-unknown-fields", "must be false"),
    ("x-kubernetes-embedded-resource", "must be false"),
    ("x-kubernetes-int-or-string", "must be false"),
    ("x-kubernetes-list-map-keys", "must be empty"),
    ("x-kubernetes-list-type", "must be undefined"),
    ("x-kubernetes-map-type", "must be undefined"),
    ("x-kubernetes-validations", "must be empty"),
];

/// Keywords that only check values.
fn is_check(key: &str) -> bool {
    matches!(
        key,
        "format"
            | "maximum"
            | "exclusiveMaximum"
            | "minimum"
            | "exclusiveMinimum"
            | "maxLength"
            | "minLength"
            | "pattern"
            | "maxItems"
            | "minItems"
            | "uniqueItems"
            | "multipleOf"
            | "enum"
            | "maxProperties"
            | "minProperties"
            | "required"
            | "allOf"
            | "oneOf"
            | "anyOf"
            | "not"
    )
}

fn int_or_string(schema: &Value) -> Skip {
    let both = |alternatives: &Value| {
        let types = ["integer", "string"];
        let alternatives = alternatives.items();
        alternatives.len() == types.len()
            && std::iter::zip(alternatives, types)
                .all(|(one, wanted)| one["type"].str() == wanted && one.entries().count() == 1)
    };
    Skip {
        any_of: both(&schema["anyOf"]),
        first_all_of: schema["allOf"]
            .items()
            .first()
            .is_some_and(|first| both(&first["anyOf"])),
    }
}
