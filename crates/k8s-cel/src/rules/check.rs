//! What is wrong with the rules of a definition, and what they cost by estimate.
//!
//! Upstream counterpart: `apis/apiextensions/validation/{validation,cel_validation}.go`.

use super::{EXPRESSION_LIMIT, Source, VERSION_LIMIT, build, field_path};
use crate::{Decl, MAX_REQUEST_SIZE, Program};
use machinery::{FieldError, Map, Value};
use schema::{ListKind, Node, Shape, TypeRef};
use std::sync::Arc;

/// What rules may give as their reason.
const REASONS: &[&str] = &[
    "FieldValueRequired",
    "FieldValueInvalid",
    "FieldValueForbidden",
    "FieldValueDuplicate",
];
/// How many of the most expensive rules are named.
const NAMED: usize = 4;

/// Everything wrong with the rules of a version, whose schema stands at `path`
/// (`spec.versions[0].schema.openAPIV3Schema`) in the definition.
pub fn check(of: &TypeRef, path: &str) -> Vec<FieldError> {
    let mut check = Check::default();
    let place = Place {
        path: path.to_owned(),
        decl: Decl::of(of, "self", true),
        cardinality: Some(1),
        no_old: None,
    };
    check.node(of, &place);
    let mut errors = check.written;
    errors.extend(check.compiled);
    if check.total > VERSION_LIMIT {
        check
            .expensive
            .sort_by_key(|rule| std::cmp::Reverse(rule.1));
        for (path, _) in check.expensive.into_iter().take(NAMED) {
            let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(FieldError::forbidden(path, why));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(
            path,
            exceeded(what, check.total, VERSION_LIMIT),
        ));
    }
    errors
}

#[derive(Default)]
struct Check {
    /// Errors in how rules are written.
    written: Vec<FieldError>,
    /// Errors found by compiling them.
    compiled: Vec<FieldError>,
    total: u64,
    expensive: Vec<(String, u64)>,
}

/// A node of the schema.
struct Place {
    path: String,
    decl: Option<Arc<Decl>>,
    /// How many values of it there may be; `None` if that is unbounded.
    cardinality: Option<u64>,
    /// The list below which old values cannot be found.
    no_old: Option<String>,
}

impl Check {
    fn node(&mut self, of: &TypeRef, place: &Place) {
        let before = self.written.len();
        let node = of.node();
        let cardinality = most_children(node)
            .and_then(|most| place.cardinality.map(|count| count.saturating_mul(most)));
        let child = |path: String, decl: Option<Arc<Decl>>| Place {
            path,
            decl,
            cardinality,
            no_old: place.no_old.clone(),
        };
        let decl = place.decl.as_ref();
        match &node.shape {
            Shape::List { item, kind } => {
                let mut inner = child(format!("{}.items", place.path), build::item_decl(decl));
                if !matches!(kind, ListKind::Map(_)) {
                    inner.no_old.get_or_insert_with(|| place.path.clone());
                }
                self.node(&of.to(*item), &inner);
            }
            Shape::Map { value, .. } => {
                let path = format!("{}.additionalProperties", place.path);
                self.node(&of.to(*value), &child(path, build::item_decl(decl)));
            }
            Shape::Struct(known) if known.custom => {
                for field in &known.fields {
                    let path = format!("{}.properties[{}]", place.path, field.name);
                    let decl = build::field_decl(of, decl, &field.name, field.node);
                    self.node(&of.to(field.node), &child(path, decl));
                }
            }
            _ => {}
        }
        let rules = node.checks.iter().flat_map(|checks| &checks.rules);
        let rules: Vec<Source> = rules.map(Source::new).collect();
        for (at, rule) in rules.iter().enumerate() {
            self.written(
                rule,
                of,
                &format!("{}.x-kubernetes-validations[{at}]", place.path),
            );
        }
        if self.written.len() == before && !rules.is_empty() {
            self.compiled(of, place);
        }
    }

    fn written(&mut self, rule: &Source, of: &TypeRef, path: &str) {
        let at = |key: &str| format!("{path}.{key}");
        let message = rule.message.trim();
        if rule.rule.trim().is_empty() {
            let error = FieldError::required(at("rule"), "rule is not specified");
            self.written.push(error);
        } else if !rule.message.is_empty() && message.is_empty() {
            self.bad(
                at("message"),
                &rule.message,
                "must be non-empty if specified",
            );
        } else if message.contains(['\n', '\r']) {
            self.bad(at("message"), &rule.message, "must not contain line breaks");
        } else if rule.rule.trim().contains(['\n', '\r']) && message.is_empty() {
            let why = "message must be specified if rule contains line breaks";
            self.written.push(FieldError::required(at("message"), why));
        }
        if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            let error = FieldError::required(at("messageExpression"), why);
            self.written.push(error);
        }
        if !rule.reason.is_empty() && !REASONS.contains(&rule.reason.as_str()) {
            let mut known = REASONS.to_vec();
            known.sort_unstable();
            let error = FieldError::not_supported(at("reason"), rule.reason.clone(), &known);
            self.written.push(error);
        }
        self.field_path(rule, of, at("fieldPath"));
    }

    fn field_path(&mut self, rule: &Source, of: &TypeRef, at: String) {
        let path = &rule.field_path;
        if path.is_empty() {
            return;
        }
        if path.trim().is_empty() {
            self.bad(at.clone(), path, "must be non-empty if specified");
        }
        if path.contains(['\n', '\r']) {
            self.bad(at.clone(), path, "must not contain line breaks");
        }
        if field_path::normalize(path, of).is_err() {
            self.bad(at, path, "must be a valid path");
        }
    }

    fn bad(&mut self, at: String, value: &str, why: &str) {
        self.written.push(FieldError::invalid(at, value, why));
    }

    fn compiled(&mut self, of: &TypeRef, place: &Place) {
        let Some(decl) = &place.decl else {
            let why =
                "internal error: failed to retrieve type information for x-kubernetes-validations";
            let mut error =
                FieldError::forbidden(format!("{}.x-kubernetes-validations", place.path), why);
            error.kind = machinery::FieldErrorKind::Internal;
            self.compiled.push(error);
            return;
        };
        let Some(checks) = &of.node().checks else {
            return;
        };
        let rules = build::compile_all(of, Some(decl), &checks.rules);
        for (at, rule) in rules.iter().enumerate() {
            let path = format!("{}.x-kubernetes-validations[{at}]", place.path);
            self.rule(rule, &path, decl, place);
            let message = match &rule.message {
                Some(Ok(message)) => message,
                Some(Err(why)) => {
                    let at = format!("{path}.messageExpression");
                    self.compiled
                        .push(FieldError::invalid(at, shown(&rule.source), why));
                    continue;
                }
                None => continue,
            };
            let cost = message.static_cost(&**decl).max;
            let at = format!("{path}.messageExpression");
            self.cost("estimated messageExpression cost", at, cost);
        }
    }

    fn rule(&mut self, rule: &super::Rule, path: &str, decl: &Arc<Decl>, place: &Place) {
        let at = format!("{path}.rule");
        match &rule.program {
            Ok(program) => {
                let cost = expression_cost(program, decl, place.cardinality);
                self.cost("estimated rule cost", at.clone(), cost);
            }
            Err(why) => {
                let error = FieldError::invalid(at.clone(), shown(&rule.source), why);
                self.compiled.push(error);
            }
        }
        match (&place.no_old, rule.uses_old, rule.source.optional_old) {
            (Some(list), true, _) => {
                let why = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {list}"
                );
                let error = FieldError::invalid(at, rule.source.rule.clone(), why);
                self.compiled.push(error);
            }
            (_, false, Some(flag)) => {
                let at = format!("{path}.optionalOldSelf");
                let why = "may not be set if oldSelf is not used in rule";
                self.compiled.push(FieldError::invalid(at, flag, why));
            }
            _ => {}
        }
    }

    fn cost(&mut self, what: &str, at: String, cost: u64) {
        if cost > EXPRESSION_LIMIT {
            let why = exceeded(what, cost, EXPRESSION_LIMIT);
            self.compiled.push(FieldError::forbidden(at.clone(), why));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= VERSION_LIMIT / 100 {
            self.expensive.push((at, cost));
        }
    }
}

/// How many children of one kind a value may have; `None` if that is unbounded.
fn most_children(node: &Node) -> Option<u64> {
    let checks = node.checks.as_deref();
    match &node.shape {
        Shape::List { .. } => checks?.items.1,
        Shape::Map { .. } => checks?.properties.1,
        _ => Some(1),
    }
}

fn expression_cost(program: &Program, decl: &Arc<Decl>, cardinality: Option<u64>) -> u64 {
    let cost = program.static_cost(&**decl).max;
    let count = cardinality.unwrap_or(MAX_REQUEST_SIZE / (decl.min_size + 1));
    cost.saturating_mul(count)
}

fn exceeded(what: &str, cost: u64, limit: u64) -> String {
    let times = cost as f64 / limit as f64;
    let factor = if times > 100.0 {
        "more than 100x".to_owned()
    } else if times < 1.5 {
        format!("{times:.6}x")
    } else {
        format!("{times:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// A rule as upstream prints it in errors.
fn shown(rule: &Source) -> Value {
    let optional = |text: &str| match text {
        "" => Value::Null,
        text => text.into(),
    };
    let mut map = Map::new();
    map.insert("Rule", rule.rule.clone());
    map.insert("Message", rule.message.clone());
    map.insert("MessageExpression", rule.message_expression.clone());
    map.insert("Reason", optional(&rule.reason));
    map.insert("FieldPath", rule.field_path.clone());
    map.insert(
        "OptionalOldSelf",
        rule.optional_old.map_or(Value::Null, Value::Bool),
    );
    Value::Object(map)
}
