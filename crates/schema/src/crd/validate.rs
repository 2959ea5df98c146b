//! Checks values against a CRD's schema, with upstream's messages, in upstream's order.
//!
//! Upstream counterparts: `kube-openapi/pkg/validation/validate`,
//! `apiextensions-apiserver/pkg/apiserver/validation` (ratcheting).

use super::{embedded::embedded_errors, formats, lists::list_errors};
use crate::{At, Checks, ListKind, NodeId, Shape, Struct, TypeRef, path::Path};
use machinery::{FieldError, Map, SmolStr, Value, format_smolstr};

/// Everything wrong with `value`; empty if it is valid. Built-in types inside check nothing here.
pub fn validate(value: &Value, of: &TypeRef) -> Vec<FieldError> {
    let mut errors = value_errors(value, None, of, "");
    errors.extend(embedded_errors(value, of, ""));
    errors.extend(list_errors(value, of));
    errors
}

/// Everything wrong with an update: what was wrong before and did not change is let through.
pub fn validate_update(new: &Value, old: &Value, of: &TypeRef) -> Vec<FieldError> {
    let mut errors = value_errors(new, None, of, "");
    if !errors.is_empty() {
        errors = value_errors(new, Some(old), of, "");
    }
    errors.extend(embedded_errors(new, of, ""));
    let lists = list_errors(new, of);
    if !lists.is_empty() && list_errors(old, of).is_empty() {
        errors.extend(lists);
    }
    errors
}

/// What is wrong with a value that stands at `path` and was `old` before.
pub(super) fn value_errors(
    value: &Value,
    old: Option<&Value>,
    of: &TypeRef,
    path: &str,
) -> Vec<FieldError> {
    let mut walk = Walk {
        path: Path::new(path),
        errors: Vec::new(),
        met: 0,
    };
    walk.value(value, old, At::new(of));
    walk.errors
}

struct Walk {
    path: Path,
    errors: Vec<FieldError>,
    /// Checks made so far: the alternative that came furthest is the one whose errors are told.
    met: usize,
}

impl Walk {
    fn here(&self) -> String {
        self.path.as_str().to_owned()
    }

    fn invalid(&mut self, value: impl Into<Value>, what: std::fmt::Arguments) {
        let here = self.here();
        let detail = format!("{here} in body {what}");
        self.errors.push(FieldError::invalid(here, value, detail));
    }

    /// `found` is the name of a type, or the text that a format refuses; it is what is shown.
    fn wrong_type(&mut self, wanted: &str, found: &str) {
        let here = self.here();
        let detail = format!("{here} in body must be of type {wanted}: {found:?}");
        self.errors
            .push(FieldError::type_invalid(here, found, detail));
    }

    fn value(&mut self, value: &Value, old: Option<&Value>, at: At) {
        let (node, mark) = (at.node(), self.errors.len());
        self.met += 1;
        if node.typed && !(value.is_null() && node.nullable) {
            self.of_type(value, at);
        }
        if value.is_null() {
            if let Some(checks) = &node.checks {
                self.allowed(value, checks);
            }
            return;
        }
        match &node.checks {
            Some(checks) => self.checked(value, old, checks, at),
            None => {
                self.range(value, "", at);
                self.inside(value, old, at);
            }
        }
        // What did not change may stay wrong.
        if self.errors.len() > mark && old == Some(value) {
            self.errors.truncate(mark);
        }
    }

    fn of_type(&mut self, value: &Value, at: At) {
        self.met += 1;
        let Some(wanted) = mismatch(value, at.shape()) else {
            return;
        };
        let checks = at.node().checks.as_ref();
        let format = checks.map_or("", |checks| formats::known(&checks.format, at.shape()));
        let listed = matches!(value, Value::String(_) | Value::Array(_));
        let number = matches!(
            at.shape(),
            Shape::Int { .. } | Shape::Float | Shape::IntOrString
        );
        match value {
            // A format is looked at before the type, and for texts and lists instead of it.
            _ if !format.is_empty() && listed && !number => {}
            Value::Null => self.wrong_type(wanted, "null"),
            _ if !format.is_empty() && !listed => {
                let found = match value {
                    Value::Int(_) => "int64",
                    Value::Float(_) => "float64",
                    _ => "",
                };
                self.wrong_type(format, found);
            }
            _ => self.wrong_type(wanted, json_type(value)),
        }
    }

    fn checked(&mut self, value: &Value, old: Option<&Value>, checks: &Checks, at: At) {
        self.combinations(value, old, checks, at);
        match value {
            Value::String(text) => self.text(text, checks, at),
            Value::Int(_) | Value::Float(_) => self.number(value, checks, at),
            _ => {}
        }
        if let Value::Array(items) = value {
            self.inside(value, old, at);
            self.item_count(items, checks);
        }
        self.allowed(value, checks);
        if let Value::Object(map) = value {
            self.member_count(map, checks);
            self.inside(value, old, at);
            self.required(map, checks);
        }
    }

    fn inside(&mut self, value: &Value, old: Option<&Value>, at: At) {
        match (at.shape(), value) {
            (Shape::Struct(known), Value::Object(map)) => self.fields(map, old, known, at),
            (
                Shape::Map {
                    value: inner,
                    atomic,
                },
                Value::Object(map),
            ) => {
                for (key, value) in map.iter() {
                    let old = old
                        .filter(|_| !atomic)
                        .and_then(|old| old.get(key.as_str()));
                    self.member(key, value, old, at.to(*inner));
                }
            }
            (Shape::List { item, kind }, Value::Array(items)) => {
                for (position, value) in items.iter().enumerate() {
                    let old = old.and_then(|old| correlated(value, old.items(), kind));
                    let mark = self.path.index(position);
                    self.value(value, old, at.to(*item));
                    self.path.back(mark);
                }
            }
            _ => {}
        }
    }

    fn member(&mut self, key: &str, value: &Value, old: Option<&Value>, at: At) {
        let mark = self.path.member(key);
        self.value(value, old, at);
        self.path.back(mark);
    }

    fn fields(&mut self, map: &Map, old: Option<&Value>, known: &Struct, at: At) {
        for (key, value) in map.iter() {
            let Some(inner) = at.member(key) else {
                continue;
            };
            // Of metadata only what the schema itself says is checked here.
            if known.custom || inner.node().checks.is_some() {
                let old = old
                    .filter(|_| !known.atomic)
                    .and_then(|old| old.get(key.as_str()));
                self.member(key, value, old, inner);
            }
        }
    }

    fn allowed(&mut self, value: &Value, checks: &Checks) {
        if checks.allowed.is_empty() {
            return;
        }
        self.met += 1;
        let same = |allowed: &Value| {
            let numbers = (allowed.as_f64(), value.as_f64());
            allowed == value || matches!(numbers, (Some(a), Some(b)) if a == b)
        };
        if !value.is_null() && checks.allowed.iter().any(same) {
            return;
        }
        let text = |value: &Value| {
            value
                .as_str()
                .map_or_else(|| print(value).into(), SmolStr::new)
        };
        let shown: Vec<SmolStr> = checks.allowed.iter().map(text).collect();
        let names: Vec<&str> = shown.iter().map(SmolStr::as_str).collect();
        self.errors
            .push(FieldError::not_supported(self.here(), value, &names));
    }

    /// Length, else pattern: a text that is too long is not looked at further.
    fn text(&mut self, text: &str, checks: &Checks, at: At) {
        self.met += 2;
        let count = text.chars().count() as u64;
        let (least, most) = checks.length;
        if let Some(limit) = most.filter(|limit| count > *limit) {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            self.errors.push(FieldError::too_long(self.here(), limit));
        } else if let Some(limit) = least.filter(|limit| count < *limit) {
            self.invalid(text, format_args!("should be at least {limit} chars long"));
        } else if !checks.matches(text) {
            self.invalid(text, format_args!("should match '{}'", checks.pattern));
        }
        let format = formats::known(&checks.format, at.shape());
        if !format.is_empty() && !formats::is_of_format(format, text) {
            self.wrong_type(&checks.format, text);
        }
    }

    fn number(&mut self, value: &Value, checks: &Checks, at: At) {
        self.met += 2;
        let number = value.as_f64().unwrap_or_default();
        self.range(value, &checks.format, at);
        if let Some(step) = checks
            .multiple_of
            .filter(|step| (number / step).fract() != 0.0)
        {
            self.invalid(value, format_args!("should be a multiple of {step}"));
        }
        if let Some((limit, exclusive)) = checks.minimum
            && (number < limit || (exclusive && number == limit))
        {
            let or_equal = if exclusive { "" } else { " or equal to" };
            let bound = format_args!("should be greater than{or_equal} {limit}");
            self.invalid(value, bound);
        }
        if let Some((limit, exclusive)) = checks.maximum
            && (number > limit || (exclusive && number == limit))
        {
            let or_equal = if exclusive { "" } else { " or equal to" };
            let bound = format_args!("should be less than{or_equal} {limit}");
            self.invalid(value, bound);
        }
    }

    /// Whole numbers must be whole and fit.
    fn range(&mut self, value: &Value, format: &str, at: At) {
        let (Shape::Int { narrow }, Some(number)) = (at.shape(), value.as_f64()) else {
            return;
        };
        let fits = !narrow || (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number);
        if number.fract() != 0.0 || !fits {
            let how = match formats::known(format, at.shape()) {
                "" => "(default format)".to_owned(),
                format => format!("with format {format}"),
            };
            let here = self.path.as_str();
            let detail = format!("Checked value must be of type integer {how} in {here}");
            self.errors.push(FieldError::invalid("<nil>", "", detail));
        }
    }

    fn item_count(&mut self, items: &[Value], checks: &Checks) {
        self.met += 1;
        let (least, most) = checks.items;
        if let Some(limit) = least.filter(|limit| (items.len() as u64) < *limit) {
            let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
            self.invalid(count, format_args!("should have at least {limit} items"));
        }
        self.too_many(items.len(), most);
        let repeated = |at: usize| items[..at].contains(&items[at]);
        if checks.unique_items && (0..items.len()).any(repeated) {
            self.invalid("", format_args!("shouldn't contain duplicates"));
        }
    }

    fn too_many(&mut self, count: usize, most: Option<u64>) {
        if let Some(limit) = most.filter(|limit| count as u64 > *limit) {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            self.errors
                .push(FieldError::too_many(self.here(), count, limit));
        }
    }

    fn member_count(&mut self, map: &Map, checks: &Checks) {
        self.met += 1;
        let (least, most) = checks.properties;
        if let Some(limit) = least.filter(|limit| (map.len() as u64) < *limit) {
            let count = i64::try_from(map.len()).unwrap_or(i64::MAX);
            self.invalid(
                count,
                format_args!("should have at least {limit} properties"),
            );
        }
        self.too_many(map.len(), most);
    }

    fn required(&mut self, map: &Map, checks: &Checks) {
        let missing = |name: &&SmolStr| !map.contains_key(name);
        for name in checks.required.iter().filter(missing) {
            let mark = self.path.member(name);
            self.errors.push(FieldError::required(self.here(), ""));
            self.path.back(mark);
        }
    }

    /// One alternative: its errors and how many checks it came to.
    fn attempt(&self, value: &Value, old: Option<&Value>, at: At) -> (Vec<FieldError>, usize) {
        let mut walk = Walk {
            path: Path::new(self.path.as_str()),
            errors: Vec::new(),
            met: 0,
        };
        walk.value(value, old, at);
        (walk.errors, walk.met)
    }

    fn combinations(&mut self, value: &Value, old: Option<&Value>, checks: &Checks, at: At) {
        let attempt = |walk: &Self, id: &NodeId| walk.attempt(value, old, at.to(*id));
        if !checks.any_of.is_empty() {
            let found: Vec<_> = checks.any_of.iter().map(|id| attempt(self, id)).collect();
            if found.iter().all(|(errors, _)| !errors.is_empty()) {
                self.combined("must validate at least one schema (anyOf)");
                self.furthest(found);
            }
        }
        if !checks.one_of.is_empty() {
            let found: Vec<_> = checks.one_of.iter().map(|id| attempt(self, id)).collect();
            self.exactly_one(found);
        }
        if !checks.all_of.is_empty() {
            let found: Vec<_> = checks.all_of.iter().map(|id| attempt(self, id)).collect();
            self.every(found);
        }
        let not = checks.not.map(|id| attempt(self, &id).0);
        if not.is_some_and(|errors| errors.is_empty()) {
            self.combined("must not validate the schema (not)");
        }
    }

    fn exactly_one(&mut self, found: Vec<(Vec<FieldError>, usize)>) {
        let valid = found.iter().filter(|(errors, _)| errors.is_empty()).count();
        let how = match valid {
            1 => return,
            0 => "Found none valid".into(),
            count => format_smolstr!("Found {count} valid alternatives"),
        };
        self.combined(&format!(
            "must validate one and only one schema (oneOf). {how}"
        ));
        if valid == 0 {
            self.furthest(found);
        }
    }

    fn every(&mut self, found: Vec<(Vec<FieldError>, usize)>) {
        let failed = found
            .iter()
            .filter(|(errors, _)| !errors.is_empty())
            .count();
        let none = if failed == found.len() {
            ". None validated"
        } else {
            ""
        };
        self.errors
            .extend(found.into_iter().flat_map(|(errors, _)| errors));
        if failed > 0 {
            self.combined(&format!("must validate all the schemas (allOf){none}"));
        }
    }

    /// An error that upstream gives no field, only a name in its text.
    fn combined(&mut self, what: &str) {
        let detail = format!("{:?} {what}", self.path.as_str());
        self.errors.push(FieldError::invalid("<nil>", "", detail));
    }

    /// Adds the errors of the first alternative that came furthest.
    fn furthest(&mut self, found: Vec<(Vec<FieldError>, usize)>) {
        let best = found.iter().map(|(_, met)| *met).max();
        let first = found.into_iter().find(|(_, met)| Some(*met) == best);
        self.errors
            .extend(first.into_iter().flat_map(|(errors, _)| errors));
    }
}

/// What an item was before: only items with keys are known again.
fn correlated<'a>(item: &Value, old: &'a [Value], kind: &ListKind) -> Option<&'a Value> {
    let ListKind::Map(keys) = kind else {
        return None;
    };
    old.iter()
        .find(|other| keys.iter().all(|key| other.get(key) == item.get(key)))
}

fn print(value: &Value) -> String {
    serde_json::to_string(value).expect("a tree always prints")
}

/// The type wanted, if the value is of another.
fn mismatch(value: &Value, shape: &Shape) -> Option<&'static str> {
    let whole = match value {
        Value::Int(_) => true,
        Value::Float(number) => number.fract() == 0.0,
        _ => false,
    };
    let (fits, wanted) = match shape {
        Shape::String => (value.as_str().is_some(), "string"),
        Shape::Bool => (value.as_bool().is_some(), "boolean"),
        Shape::Int { .. } => (whole, "integer"),
        Shape::Float => (value.as_f64().is_some(), "number"),
        Shape::IntOrString => (value.as_str().is_some() || whole, "integer,string"),
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
