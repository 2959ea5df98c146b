//! Checks values against a CRD's schema, with upstream's messages.

use super::formats::is_of_format;
use crate::{At, Checks, ListKind, NodeId, Shape, Struct, TypeRef, path::Path};
use machinery::{FieldError, Map, SmolStr, Value};

/// Everything wrong with `value`; empty if it is valid. Built-in types inside check nothing here.
pub fn validate(value: &Value, of: &TypeRef) -> Vec<FieldError> {
    validate_at(value, of, "")
}

/// As [`validate`], for a value that stands at `path`.
pub(super) fn validate_at(value: &Value, of: &TypeRef, path: &str) -> Vec<FieldError> {
    let mut walk = Walk {
        path: Path::new(path),
        errors: Vec::new(),
    };
    walk.value(value, At::new(of));
    walk.errors
}

struct Walk {
    path: Path,
    errors: Vec<FieldError>,
}

impl Walk {
    fn here(&self) -> String {
        self.path.as_str().to_owned()
    }

    fn invalid(&mut self, value: &Value, what: std::fmt::Arguments) {
        let here = self.here();
        let detail = format!("{here} in body {what}");
        self.errors.push(FieldError::invalid(here, value, detail));
    }

    fn wrong_type(&mut self, value: &Value, wanted: &str, found: &str) {
        let here = self.here();
        let detail = format!("{here} in body must be of type {wanted}: {found:?}");
        self.errors
            .push(FieldError::type_invalid(here, value, detail));
    }

    fn value(&mut self, value: &Value, at: At) {
        let node = at.node();
        if value.is_null() && node.nullable {
            return;
        }
        if node.typed
            && let Some(wanted) = mismatch(value, at.shape())
        {
            self.wrong_type(value, wanted, json_type(value));
            return;
        }
        if let Some(checks) = &node.checks {
            self.checks(value, checks, at);
        }
        self.inside(value, at);
    }

    fn inside(&mut self, value: &Value, at: At) {
        match (at.shape(), value) {
            (Shape::Struct(known), Value::Object(map)) => self.fields(map, known, at),
            (Shape::Map { value: inner, .. }, Value::Object(map)) => {
                for (key, value) in map.iter() {
                    self.member(key, value, at.to(*inner));
                }
            }
            (Shape::List { item, kind }, Value::Array(items)) => {
                for (position, value) in items.iter().enumerate() {
                    let mark = self.path.index(position);
                    self.value(value, at.to(*item));
                    self.path.back(mark);
                }
                self.duplicates(items, kind, at.to(*item));
            }
            _ => {}
        }
    }

    fn member(&mut self, key: &str, value: &Value, at: At) {
        let mark = self.path.member(key);
        self.value(value, at);
        self.path.back(mark);
    }

    fn fields(&mut self, map: &Map, known: &Struct, at: At) {
        if !known.custom {
            return;
        }
        for name in ["apiVersion", "kind"].iter().filter(|_| known.embedded) {
            if map.get(name).is_none_or(|value| value.str().is_empty()) {
                let mark = self.path.member(name);
                self.errors
                    .push(FieldError::required(self.here(), "must not be empty"));
                self.path.back(mark);
            }
        }
        for (key, value) in map.iter() {
            if let Some(inner) = at.member(key) {
                self.member(key, value, inner);
            }
        }
    }

    fn duplicates(&mut self, items: &[Value], kind: &ListKind, at: At) {
        let mut seen: Vec<Value> = Vec::new();
        for (position, item) in items.iter().enumerate() {
            let Some(identity) = identity(item, kind, at) else {
                return;
            };
            if seen.contains(&identity) {
                let mark = self.path.index(position);
                self.errors
                    .push(FieldError::duplicate(self.here(), identity));
                self.path.back(mark);
            } else {
                seen.push(identity);
            }
        }
    }

    fn checks(&mut self, value: &Value, checks: &Checks, at: At) {
        match value {
            Value::String(text) => self.text(value, text, checks),
            Value::Int(_) | Value::Float(_) => self.number(value, checks, at),
            Value::Array(items) => self.item_count(value, items, checks),
            Value::Object(map) => self.members(value, map, checks),
            _ => {}
        }
        self.allowed(value, checks);
        self.combinations(value, checks, at);
    }

    fn allowed(&mut self, value: &Value, checks: &Checks) {
        if checks.allowed.is_empty() || checks.allowed.contains(value) {
            return;
        }
        let shown: Vec<SmolStr> = checks
            .allowed
            .iter()
            .map(|value| {
                value
                    .as_str()
                    .map_or_else(|| print(value).into(), SmolStr::new)
            })
            .collect();
        let names: Vec<&str> = shown.iter().map(SmolStr::as_str).collect();
        self.errors
            .push(FieldError::not_supported(self.here(), value, &names));
    }

    fn text(&mut self, value: &Value, text: &str, checks: &Checks) {
        let count = text.chars().count() as u64;
        let (least, most) = checks.length;
        if let Some(limit) = most.filter(|limit| count > *limit) {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            self.errors.push(FieldError::too_long(self.here(), limit));
        }
        if let Some(limit) = least.filter(|limit| count < *limit) {
            self.invalid(value, format_args!("should be at least {limit} chars long"));
        }
        if !checks.matches(text) {
            self.invalid(value, format_args!("should match '{}'", checks.pattern));
        }
        if !is_of_format(&checks.format, text) {
            self.wrong_type(value, &checks.format, text);
        }
    }

    fn number(&mut self, value: &Value, checks: &Checks, at: At) {
        let number = value.as_f64().unwrap_or_default();
        if let Some((limit, exclusive)) = checks.minimum
            && (number < limit || (exclusive && number == limit))
        {
            let how = if exclusive {
                "greater than"
            } else {
                "greater than or equal to"
            };
            self.invalid(value, format_args!("should be {how} {limit}"));
        }
        if let Some((limit, exclusive)) = checks.maximum
            && (number > limit || (exclusive && number == limit))
        {
            let how = if exclusive {
                "less than"
            } else {
                "less than or equal to"
            };
            self.invalid(value, format_args!("should be {how} {limit}"));
        }
        if let Some(step) = checks
            .multiple_of
            .filter(|step| (number / step).fract() != 0.0)
        {
            self.invalid(value, format_args!("should be a multiple of {step}"));
        }
        let narrow = matches!(at.shape(), Shape::Int { narrow: true });
        if narrow
            && value
                .as_i64()
                .is_some_and(|number| i32::try_from(number).is_err())
        {
            self.wrong_type(value, "int32", "int64");
        }
    }

    fn item_count(&mut self, value: &Value, items: &[Value], checks: &Checks) {
        let (least, most) = checks.items;
        self.too_many(items.len(), most);
        if let Some(limit) = least.filter(|limit| (items.len() as u64) < *limit) {
            self.invalid(value, format_args!("should have at least {limit} items"));
        }
        let repeated = |at: usize| items[..at].contains(&items[at]);
        if checks.unique_items && (0..items.len()).any(repeated) {
            self.invalid(value, format_args!("shouldn't contain duplicates"));
        }
    }

    fn too_many(&mut self, count: usize, most: Option<u64>) {
        if let Some(limit) = most.filter(|limit| count as u64 > *limit) {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            self.errors
                .push(FieldError::too_many(self.here(), count, limit));
        }
    }

    fn members(&mut self, value: &Value, map: &Map, checks: &Checks) {
        let (least, most) = checks.properties;
        self.too_many(map.len(), most);
        if let Some(limit) = least.filter(|limit| (map.len() as u64) < *limit) {
            self.invalid(
                value,
                format_args!("should have at least {limit} properties"),
            );
        }
        for name in checks
            .required
            .iter()
            .filter(|name| !map.contains_key(name))
        {
            let mark = self.path.member(name);
            self.errors.push(FieldError::required(self.here(), ""));
            self.path.back(mark);
        }
    }

    /// Errors of one alternative.
    fn attempt(&self, value: &Value, at: At) -> Vec<FieldError> {
        let mut walk = Walk {
            path: Path::new(self.path.as_str()),
            errors: Vec::new(),
        };
        walk.value(value, at);
        walk.errors
    }

    fn combinations(&mut self, value: &Value, checks: &Checks, at: At) {
        let attempts = |walk: &Self, ids: &[NodeId]| -> Vec<Vec<FieldError>> {
            ids.iter()
                .map(|id| walk.attempt(value, at.to(*id)))
                .collect()
        };
        let valid =
            |found: &[Vec<FieldError>]| found.iter().filter(|errors| errors.is_empty()).count();
        if !checks.any_of.is_empty() {
            let found = attempts(self, &checks.any_of);
            if valid(&found) == 0 {
                self.combined("must validate at least one schema (anyOf)");
                self.closest(found);
            }
        }
        if !checks.one_of.is_empty() {
            let found = attempts(self, &checks.one_of);
            match valid(&found) {
                1 => {}
                0 => {
                    self.combined("must validate one and only one schema (oneOf). Found none valid");
                    self.closest(found);
                }
                count => self.combined(&format!(
                    "must validate one and only one schema (oneOf). Found {count} valid alternatives"
                )),
            }
        }
        let failed: Vec<_> = attempts(self, &checks.all_of)
            .into_iter()
            .filter(|errors| !errors.is_empty())
            .collect();
        if !failed.is_empty() {
            let none = if failed.len() == checks.all_of.len() {
                ". None validated"
            } else {
                ""
            };
            self.errors.extend(failed.into_iter().flatten());
            self.combined(&format!("must validate all the schemas (allOf){none}"));
        }
        if checks
            .not
            .is_some_and(|id| self.attempt(value, at.to(id)).is_empty())
        {
            self.combined("must not validate the schema (not)");
        }
    }

    /// An error that upstream gives no field, only a name in its text.
    fn combined(&mut self, what: &str) {
        let detail = format!("{:?} {what}", self.path.as_str());
        self.errors.push(FieldError::invalid("<nil>", "", detail));
    }

    /// Adds the errors of the alternative that came closest.
    fn closest(&mut self, found: Vec<Vec<FieldError>>) {
        self.errors
            .extend(found.into_iter().min_by_key(Vec::len).into_iter().flatten());
    }
}

fn print(value: &Value) -> String {
    serde_json::to_string(value).expect("a tree always prints")
}

/// What tells an item from others, `None` where items may repeat.
fn identity(item: &Value, kind: &ListKind, at: At) -> Option<Value> {
    match kind {
        ListKind::Atomic => None,
        ListKind::Set => Some(item.clone()),
        ListKind::Map(keys) => {
            let value = |key: &SmolStr| {
                let default = || {
                    at.member(key)
                        .and_then(|inner| inner.node().default.clone())
                };
                item.get(key).cloned().or_else(default)
            };
            Some(Value::Object(
                keys.iter()
                    .filter_map(|key| Some((key.clone(), value(key)?)))
                    .collect(),
            ))
        }
    }
}

/// The type wanted, if the value is of another.
fn mismatch(value: &Value, shape: &Shape) -> Option<&'static str> {
    let (fits, wanted) = match shape {
        Shape::String => (value.as_str().is_some(), "string"),
        Shape::Bool => (value.as_bool().is_some(), "boolean"),
        Shape::Int { .. } => (value.as_i64().is_some(), "integer"),
        Shape::Float => (value.as_f64().is_some(), "number"),
        Shape::IntOrString => (
            value.as_str().is_some() || value.as_i64().is_some(),
            "integer,string",
        ),
        Shape::List { .. } => (value.as_array().is_some(), "array"),
        Shape::Struct(_) | Shape::Map { .. } => (value.as_object().is_some(), "object"),
        _ => (true, ""),
    };
    (!fits).then_some(wanted)
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Int(_) => "integer",
        Value::Bool(_) => "boolean",
        other => other.type_name(),
    }
}
