//! Compiles the rules of a schema, node by node.

use super::{NodeRules, Rule, Rules, Source, field_path};
use crate::{Decl, DeclShape, Environment, Type, join};
use machinery::{SmolStr, Value};
use schema::{ListKind, NodeId, Shape, TypeRef};
use std::{collections::BTreeMap, sync::Arc};

impl Rules {
    /// Compiles all rules of a version; `None` if there are none.
    pub fn compile(of: &TypeRef) -> Option<Self> {
        if !has_rules(of) {
            return None;
        }
        let decl = Decl::of(of, "self", true);
        let root = node_rules(of, of.id, decl.as_ref());
        Some(Self { root })
    }
}

fn has_rules(of: &TypeRef) -> bool {
    let mut waiting = vec![of.id];
    let mut seen = vec![false; of.schema.nodes.len()];
    while let Some(id) = waiting.pop() {
        if std::mem::replace(&mut seen[id.0 as usize], true) {
            continue;
        }
        let node = of.schema.node(id);
        if let Some(checks) = &node.checks {
            if !checks.rules.is_empty() {
                return true;
            }
            waiting.extend(&checks.all_of);
        }
        waiting.extend(node.children());
    }
    false
}

/// Rules written at `rules_at` (the node itself, or a part of its `allOf`) about values of the
/// node `of`.
fn node_rules(of: &TypeRef, rules_at: NodeId, decl: Option<&Arc<Decl>>) -> NodeRules {
    let (node, source) = (of.node(), of.schema.node(rules_at));
    let written = source
        .checks
        .as_ref()
        .map_or(&[][..], |checks| &checks.rules[..]);
    let mut found = NodeRules {
        decl: decl.cloned(),
        kind: json_type(&node.shape),
        rules: compile_all(of, decl, written),
        list: ListKind::Atomic,
        items: None,
        values: None,
        fields: BTreeMap::new(),
        all_of: Vec::new(),
    };
    match (&node.shape, &source.shape) {
        (Shape::List { item, kind }, Shape::List { item: part, .. }) => {
            found.list = kind.clone();
            found.items = child(of, *item, *part, item_decl(decl)).map(Box::new);
        }
        (Shape::Map { value, .. }, Shape::Map { value: part, .. }) => {
            found.values = child(of, *value, *part, item_decl(decl)).map(Box::new);
        }
        (Shape::Struct(known), Shape::Struct(parts)) => {
            for part in &parts.fields {
                let field = known.field(&part.name).filter(|_| known.custom);
                let Some(field) = field else { continue };
                let decl = field_decl(of, decl, &field.name, field.node);
                if let Some(rules) = child(of, field.node, part.node, decl) {
                    found.fields.insert(field.name.clone(), rules);
                }
            }
        }
        _ => {}
    }
    for part in source.checks.iter().flat_map(|checks| &checks.all_of) {
        let rules = node_rules(of, *part, decl);
        if !rules.is_empty() {
            found.all_of.push(rules);
        }
    }
    found
}

fn child(
    of: &TypeRef,
    node: NodeId,
    rules_at: NodeId,
    decl: Option<Arc<Decl>>,
) -> Option<NodeRules> {
    let of = of.to(node);
    if !has_rules(&of.to(rules_at)) {
        return None;
    }
    let rules = node_rules(&of, rules_at, decl.as_ref());
    (!rules.is_empty()).then_some(rules)
}

/// Type of items or values.
pub(super) fn item_decl(decl: Option<&Arc<Decl>>) -> Option<Arc<Decl>> {
    match &decl?.shape {
        DeclShape::List(inner, _) | DeclShape::Map(inner) => Some(Arc::clone(inner)),
        _ => None,
    }
}

/// Type of a field; of its own where expressions cannot spell its name.
pub(super) fn field_decl(
    of: &TypeRef,
    decl: Option<&Arc<Decl>>,
    name: &str,
    node: NodeId,
) -> Option<Arc<Decl>> {
    match crate::escape(name) {
        Some(escaped) => decl?.field(&escaped).map(|field| Arc::clone(&field.decl)),
        None => Decl::of(&of.to(node), name, false),
    }
}

pub(super) fn json_type(shape: &Shape) -> &'static str {
    match shape {
        Shape::Bool => "boolean",
        Shape::Int { .. } => "integer",
        Shape::Float => "number",
        Shape::List { .. } => "array",
        Shape::Map { .. } | Shape::Struct(_) | Shape::FieldsV1 => "object",
        Shape::Any | Shape::IntOrString => "",
        _ => "string",
    }
}

pub(super) fn compile_all(of: &TypeRef, decl: Option<&Arc<Decl>>, written: &[Value]) -> Vec<Rule> {
    let Some(decl) = decl else {
        let why = "failed to convert to declType for CEL validation rules";
        return written
            .iter()
            .map(|rule| Rule {
                source: Source::new(rule),
                program: Err(why.to_owned()),
                message: None,
                field: String::new(),
                uses_old: false,
            })
            .collect();
    };
    let ty = decl.ty();
    let plain = Environment::base()
        .with_variable("self", ty.clone())
        .with_variable("oldSelf", ty.clone());
    written
        .iter()
        .map(Source::new)
        .filter(|source| !source.rule.trim().is_empty())
        .map(|source| {
            let environment = if source.optional_old == Some(true) {
                plain
                    .clone()
                    .with_variable("oldSelf", Type::optional(ty.clone()))
            } else {
                plain.clone()
            };
            compile(&environment, of, source)
        })
        .collect()
}

fn compile(environment: &Environment, of: &TypeRef, source: Source) -> Rule {
    let program = typed(environment, &source.rule, &Type::Bool, "");
    let uses_old = program
        .as_ref()
        .is_ok_and(|program| program.uses("oldSelf"));
    let expression = &source.message_expression;
    let message = (program.is_ok() && !expression.is_empty())
        .then(|| typed(environment, expression, &Type::String, "messageExpression "));
    let field = match source.field_path.as_str() {
        "" => String::new(),
        path => field_path::normalize(path, of).unwrap_or_default(),
    };
    Rule {
        source,
        program,
        message,
        field,
        uses_old,
    }
}

fn typed(
    environment: &Environment,
    source: &SmolStr,
    wanted: &Type,
    what: &str,
) -> Result<crate::Program, String> {
    let program = environment
        .compile(source)
        .map_err(|errors| format!("{what}compilation failed: {}", join(&errors)))?;
    if program.output_type() == wanted {
        return Ok(program);
    }
    Err(if what.is_empty() {
        "cel expression must evaluate to a bool".to_owned()
    } else {
        format!("{what}must evaluate to a string")
    })
}
