//! Validation rules of custom resources (`x-kubernetes-validations`).
//!
//! Compiled once per version of a definition, evaluated for every write. Knows no store. Upstream
//! counterpart: `k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel` and the parts of
//! `apis/apiextensions/validation` that concern rules.

mod build;
mod check;
mod evaluate;
mod field_path;

use crate::{Decl, Program};
use machinery::{SmolStr, Value};
use schema::ListKind;
use std::{collections::BTreeMap, sync::Arc};

pub use check::check;
pub use evaluate::Findings;

/// Most that a single expression is allowed to cost by estimate.
pub const EXPRESSION_LIMIT: u64 = 10_000_000;
/// Most that all expressions of a version are allowed to cost by estimate.
pub const VERSION_LIMIT: u64 = 100_000_000;

/// Compiled rules of a version.
#[derive(Debug)]
pub struct Rules {
    root: NodeRules,
}

/// Rules at a node of the schema, and below it.
#[derive(Debug)]
struct NodeRules {
    decl: Option<Arc<Decl>>,
    /// JSON type, as errors show it.
    kind: &'static str,
    rules: Vec<Rule>,
    list: ListKind,
    items: Option<Box<NodeRules>>,
    values: Option<Box<NodeRules>>,
    fields: BTreeMap<SmolStr, NodeRules>,
    all_of: Vec<NodeRules>,
}

impl NodeRules {
    /// Whether there is nothing here to evaluate.
    fn is_empty(&self) -> bool {
        self.rules.is_empty()
            && self.items.is_none()
            && self.values.is_none()
            && self.fields.is_empty()
            && self.all_of.is_empty()
    }
}

/// A rule.
#[derive(Debug)]
struct Rule {
    source: Source,
    /// The compiled rule, or why there is none.
    program: Result<Program, String>,
    /// The compiled message expression, or why there is none.
    message: Option<Result<Program, String>>,
    /// Where errors are reported, below the node.
    field: String,
    uses_old: bool,
}

/// A rule as it is written.
#[derive(Clone, Debug, Default)]
struct Source {
    rule: SmolStr,
    message: SmolStr,
    message_expression: SmolStr,
    reason: SmolStr,
    field_path: SmolStr,
    optional_old: Option<bool>,
}

impl Source {
    fn new(written: &Value) -> Self {
        let text = |key: &str| SmolStr::new(written[key].str());
        Self {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: text("reason"),
            field_path: text("fieldPath"),
            optional_old: written["optionalOldSelf"].as_bool(),
        }
    }
}
