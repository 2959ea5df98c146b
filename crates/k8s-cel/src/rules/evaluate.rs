//! Evaluates compiled rules for an object.

use super::{NodeRules, Rule, Rules};
use crate::{Bindings, Budget, Decl, EvalError, Val, data};
use machinery::{FieldError, Value};
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

/// Longest message that an expression may make, in bytes.
const MAX_MESSAGE: usize = 5 * 1024;

/// What evaluating the rules of an object found.
#[derive(Debug, Default, PartialEq)]
pub struct Findings {
    /// What refuses it.
    pub errors: Vec<FieldError>,
    /// What would, if the part in question had changed.
    pub warnings: Vec<String>,
}

impl Rules {
    /// Evaluates all rules for `new`, which replaces `old`. Errors in parts that are as they
    /// were become warnings, unless the rule compares with the old value.
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> Findings {
        let mut walk = Walk {
            path: Vec::new(),
            budget: Budget::default(),
            found: Findings::default(),
        };
        let correlation = Correlation {
            current: old.map(|old| (new, old)),
            parent: None,
        };
        // A spent budget has reported itself.
        let _stopped = walk.node(&self.root, new, old, correlation);
        walk.found
    }
}

/// Evaluation ended early; the error that says so is among the findings.
struct Stopped;

enum Step<'a> {
    Field(&'a str),
    Key(&'a str),
    Index(usize),
}

/// Which old value this one, and the nearest one above, is to be compared with.
#[derive(Clone, Copy)]
struct Correlation<'a> {
    current: Option<(&'a Value, &'a Value)>,
    parent: Option<(&'a Value, &'a Value)>,
}

impl<'a> Correlation<'a> {
    fn unchanged(&self) -> bool {
        self.current
            .or(self.parent)
            .is_some_and(|(new, old)| new == old)
    }

    fn below(self, new: &'a Value, old: Option<&'a Value>) -> Self {
        if self.current.is_none() {
            return self;
        }
        Self {
            current: old.map(|old| (new, old)),
            parent: self.current,
        }
    }

    fn key(self, name: &str, new: &'a Value, old: Option<&'a Value>) -> Self {
        if self.parent.is_none() && self.current.is_some() && matches!(name, "apiVersion" | "kind")
        {
            return Self {
                current: None,
                parent: None,
            };
        }
        self.below(new, old)
    }
}

struct Walk<'a> {
    path: Vec<Step<'a>>,
    budget: Budget,
    found: Findings,
}

impl<'a> Walk<'a> {
    fn here(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Field(name) if path.is_empty() => path.push_str(name),
                Step::Field(name) => path += &format!(".{name}"),
                Step::Key(key) => path += &format!("[{key}]"),
                Step::Index(at) => path += &format!("[{at}]"),
            }
        }
        path
    }

    fn node(
        &mut self,
        rules: &'a NodeRules,
        new: &'a Value,
        old: Option<&'a Value>,
        correlation: Correlation<'a>,
    ) -> Result<(), Stopped> {
        if new.is_null() {
            return Ok(());
        }
        let old = old.filter(|old| !old.is_null());
        self.rules(rules, new, old, correlation)?;
        for part in &rules.all_of {
            let correlation = Correlation {
                current: None,
                ..correlation
            };
            self.node(part, new, old, correlation)?;
        }
        match new {
            Value::Array(items) => self.items(rules, items, old, correlation),
            Value::Object(_) => self.members(rules, new, old, correlation),
            _ => Ok(()),
        }
    }

    fn members(
        &mut self,
        rules: &'a NodeRules,
        new: &'a Value,
        old: Option<&'a Value>,
        correlation: Correlation<'a>,
    ) -> Result<(), Stopped> {
        for (name, value) in new.entries() {
            let (inner, step) = match (&rules.values, rules.fields.get(name)) {
                (Some(values), _) => (&**values, Step::Key(name)),
                (None, Some(field)) => (field, Step::Field(name)),
                (None, None) => continue,
            };
            let old = old.and_then(|old| old.get(name));
            self.path.push(step);
            let done = self.node(inner, value, old, correlation.key(name, value, old));
            self.path.pop();
            done?;
        }
        Ok(())
    }

    fn items(
        &mut self,
        rules: &'a NodeRules,
        items: &'a [Value],
        old: Option<&'a Value>,
        correlation: Correlation<'a>,
    ) -> Result<(), Stopped> {
        let Some(inner) = &rules.items else {
            return Ok(());
        };
        let olds = old.map_or(&[][..], Value::items);
        let keyed: BTreeMap<String, &Value> = match &rules.list {
            schema::ListKind::Map(_) => olds
                .iter()
                .rev()
                .map(|old| (data::key_of(old, &rules.list), old))
                .collect(),
            _ => BTreeMap::new(),
        };
        for (at, item) in items.iter().enumerate() {
            let old = if keyed.is_empty() {
                None
            } else {
                keyed.get(&data::key_of(item, &rules.list)).copied()
            };
            self.path.push(Step::Index(at));
            let done = self.node(inner, item, old, correlation.below(item, old));
            self.path.pop();
            done?;
        }
        Ok(())
    }

    fn rules(
        &mut self,
        rules: &'a NodeRules,
        new: &'a Value,
        old: Option<&'a Value>,
        correlation: Correlation<'a>,
    ) -> Result<(), Stopped> {
        if rules.rules.is_empty() {
            return Ok(());
        }
        if self.budget.left == 0 {
            return self.out_of_budget(rules);
        }
        let seen = |value: &'a Value| match &rules.decl {
            Some(decl) => view(value, decl),
            None => Val::Null,
        };
        let mut plain = Bindings::new().with("self", seen(new));
        let mut optional = plain.clone();
        if rules.rules.iter().any(|rule| rule.uses_old) {
            let old = old.map(seen);
            optional.set("oldSelf", Val::Optional(old.clone().map(Arc::new)));
            if let Some(old) = old {
                plain.set("oldSelf", old);
            }
        }
        for rule in &rules.rules {
            let optional_old = rule.source.optional_old == Some(true);
            if rule.uses_old && old.is_none() && !optional_old {
                continue;
            }
            let bindings = if optional_old { &optional } else { &plain };
            self.rule(rules, rule, new, bindings, correlation)?;
        }
        Ok(())
    }

    fn type_error(&mut self, rules: &NodeRules, why: String) {
        let error = FieldError::invalid(self.here(), rules.kind, why);
        self.found.errors.push(error);
    }

    fn out_of_budget(&mut self, rules: &NodeRules) -> Result<(), Stopped> {
        let why = "validation failed due to running out of cost budget, no further validation rules will be run";
        self.type_error(rules, why.to_owned());
        Err(Stopped)
    }

    fn rule(
        &mut self,
        rules: &NodeRules,
        rule: &Rule,
        new: &Value,
        bindings: &Bindings<'a>,
        correlation: Correlation,
    ) -> Result<(), Stopped> {
        let program = match &rule.program {
            Ok(program) => program,
            Err(why) => {
                self.type_error(rules, format!("rule compile error: {why}"));
                return Ok(());
            }
        };
        match program.evaluate(bindings, &mut self.budget) {
            Ok(Val::Bool(true)) => return Ok(()),
            Ok(_) => {}
            Err(EvalError::Budget) => return self.out_of_budget(rules),
            Err(why @ EvalError::Cost) => {
                let why = format!(
                    "'{why}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                    name(rule)
                );
                self.type_error(rules, why);
                return Err(Stopped);
            }
            Err(EvalError::Message(why)) => {
                let why = if why.starts_with("no such overload") {
                    format!(
                        "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                        name(rule)
                    )
                } else {
                    format!("{why} evaluating rule: {}", name(rule))
                };
                self.type_error(rules, why);
                return Ok(());
            }
        }
        let ratchets = !rule.uses_old && correlation.unchanged();
        let message = match self.message(rule, bindings) {
            Ok(message) => message,
            Err(why) => {
                let error = FieldError::invalid(self.at(rule), rules.kind, why);
                self.report(error, ratchets);
                return Err(Stopped);
            }
        };
        let error = failure(self.at(rule), rules, rule, new, &message);
        self.report(error, ratchets);
        Ok(())
    }

    fn at(&self, rule: &Rule) -> String {
        let here = self.here();
        match (here.is_empty(), rule.field.is_empty()) {
            (_, true) => here,
            (true, false) => rule.field.clone(),
            (false, false) => format!("{here}.{}", rule.field),
        }
    }

    fn report(&mut self, error: FieldError, ratchets: bool) {
        if ratchets {
            self.found.warnings.push(error.to_string());
        } else {
            self.found.errors.push(error);
        }
    }

    /// What a failed rule says; an error ends all evaluation.
    fn message<'r>(
        &mut self,
        rule: &'r Rule,
        bindings: &Bindings<'a>,
    ) -> Result<Cow<'r, str>, String> {
        if let Some(Ok(program)) = &rule.message {
            let source = &rule.source.message_expression;
            match program.evaluate(bindings, &mut self.budget) {
                Ok(Val::String(text)) if is_message(&text) => {
                    return Ok(Cow::Owned(text.trim().to_owned()));
                }
                Err(EvalError::Budget) => {
                    let why = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run";
                    return Err(why.to_owned());
                }
                Err(EvalError::Cost) => {
                    return Err(format!(
                        "no further validation rules will be run due to call cost exceeds limit for messageExpression: {source:?}"
                    ));
                }
                // Anything else falls back to the plain message.
                _ => {}
            }
        }
        Ok(match rule.source.message.as_str() {
            "" => Cow::Owned(format!("failed rule: {}", name(rule))),
            message => Cow::Borrowed(message.trim()),
        })
    }
}

fn view<'a>(value: &'a Value, decl: &'a Decl) -> Val<'a> {
    Val::tree(value, decl).unwrap_or_else(|why| Val::Failed(Arc::new(why)))
}

fn is_message(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n')
}

/// How errors name a rule.
fn name(rule: &Rule) -> &str {
    match rule.source.message.as_str() {
        "" => rule.source.rule.trim(),
        message => message.trim(),
    }
}

fn failure(path: String, rules: &NodeRules, rule: &Rule, new: &Value, message: &str) -> FieldError {
    // Whole objects and lists are not shown.
    let whole = matches!(rules.kind, "object" | "array");
    let value = if whole { Value::Null } else { new.clone() };
    let error = match rule.source.reason.as_str() {
        "FieldValueForbidden" => FieldError::forbidden(path, message),
        "FieldValueRequired" => FieldError::required(path, message),
        "FieldValueDuplicate" => FieldError::duplicate(path, value),
        _ => FieldError::invalid(path, value, message),
    };
    if whole { error.without_value() } else { error }
}
