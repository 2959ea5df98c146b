//! Policies and bindings as they are written, compiled once and kept while they stay the same.
//!
//! Upstream counterparts: `policy/generic/policy_source.go`, `policy/validating/plugin.go`
//! (`compilePolicy`), `policy/mutating/compilation.go`.

use crate::webhooks::hooks::{Criteria, selector};
use k8s_cel::{Program, Type};
use kinds::{Expressions, Powers, configuration_type, patch_type};
use machinery::{GroupVersionKind, LabelSelector, Object, SmolStr, Value};
use registry::{Door, Table};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// An expression, and what compiling it gave.
#[derive(Debug)]
pub(super) struct Expression {
    pub source: String,
    pub program: Result<Program, String>,
}

/// An entry of `variables`.
#[derive(Debug)]
pub(super) struct Variable {
    pub name: SmolStr,
    pub program: Result<Program, String>,
}

/// An entry of `validations`.
#[derive(Debug)]
pub(super) struct Validation {
    pub expression: Expression,
    pub message: String,
    pub message_expression: Option<Expression>,
    pub reason: String,
}

/// How a mutation is made.
#[derive(Debug)]
pub(super) enum Mutation {
    /// By an apply configuration.
    Configuration(Expression),
    /// By JSON patch operations.
    Operations(Expression),
}

/// A policy of either sort.
#[derive(Debug)]
pub(super) struct Compiled {
    pub name: SmolStr,
    pub criteria: Criteria,
    /// `failurePolicy: Ignore`.
    pub ignores_failures: bool,
    /// `reinvocationPolicy: IfNeeded`.
    pub asked_again: bool,
    /// `paramKind`.
    pub params: Option<GroupVersionKind>,
    pub conditions: Vec<Expression>,
    pub variables: Vec<Variable>,
    pub validations: Vec<Validation>,
    /// Key and value.
    pub annotations: Vec<(String, Expression)>,
    pub mutations: Vec<Mutation>,
}

/// `paramRef`.
#[derive(Debug)]
pub(super) struct ParamRef {
    pub name: SmolStr,
    pub namespace: SmolStr,
    pub selector: Option<LabelSelector>,
    /// `parameterNotFoundAction: Deny`.
    pub required: bool,
}

/// A binding of either sort.
#[derive(Debug)]
pub(super) struct Binding {
    pub name: SmolStr,
    pub criteria: Option<Criteria>,
    pub params: Option<ParamRef>,
    /// `validationActions`.
    pub actions: Vec<SmolStr>,
}

/// A policy that is bound.
#[derive(Debug)]
pub(super) struct Bound {
    pub policy: Arc<Compiled>,
    pub bindings: Vec<Binding>,
}

/// Policies that were compiled, by UID, with their generation.
type Known = BTreeMap<SmolStr, (i64, Arc<Compiled>)>;

#[derive(Default)]
struct Cache {
    tables: Option<(Table, Table)>,
    known: Known,
    bound: Arc<[Bound]>,
}

/// The policies of one sort.
pub(super) struct Source {
    policies: &'static str,
    bindings: &'static str,
    cache: Mutex<Cache>,
}

impl Source {
    pub fn new(policies: &'static str, bindings: &'static str) -> Self {
        Self {
            policies,
            bindings,
            cache: Mutex::default(),
        }
    }

    /// Whether there are any.
    pub fn exist(&self, door: &Door) -> bool {
        let snapshot = door.snapshot();
        let table = snapshot.tables.get(self.bindings);
        table.is_some_and(|table| !table.is_empty())
    }

    /// The policies of now that are bound, by name; none costs nothing.
    pub fn now(&self, door: &Door) -> Option<Arc<[Bound]>> {
        let snapshot = door.snapshot();
        let bindings = snapshot.tables.get(self.bindings)?;
        let policies = snapshot.tables.get(self.policies)?;
        if bindings.is_empty() || policies.is_empty() {
            return None;
        }
        let mut cache = self.cache.lock().expect("compiling does not panic");
        let same = |(a, b): &(Table, Table)| a.ptr_eq(policies) && b.ptr_eq(bindings);
        if !cache.tables.as_ref().is_some_and(same) {
            cache.refresh(policies, bindings);
        }
        Some(cache.bound.clone())
    }
}

impl Cache {
    fn refresh(&mut self, policies: &Table, bindings: &Table) {
        let mut by_policy: BTreeMap<SmolStr, Vec<Binding>> = BTreeMap::new();
        for binding in bindings.values() {
            let binding = binding.root().to_value();
            let policy = binding["spec"]["policyName"].str();
            let list = by_policy.entry(policy.into()).or_default();
            list.push(parse_binding(&binding));
        }
        let mut known = std::mem::take(&mut self.known);
        let mut bound = Vec::new();
        for policy in policies.values() {
            let Some(bindings) = by_policy.remove(policy.name()) else {
                continue;
            };
            let compiled = compiled(&mut known, policy);
            let entry = (policy.generation(), compiled.clone());
            self.known.insert(policy.uid().into(), entry);
            bound.push(Bound {
                policy: compiled,
                bindings,
            });
        }
        self.bound = bound.into();
        self.tables = Some((policies.clone(), bindings.clone()));
    }
}

fn compiled(known: &mut Known, policy: &Arc<Object>) -> Arc<Compiled> {
    match known.remove(policy.uid()) {
        Some((generation, compiled)) if generation == policy.generation() => compiled,
        _ => Arc::new(compile(&policy.root().to_value())),
    }
}

fn compile(policy: &Value) -> Compiled {
    let spec = &policy["spec"];
    let mut made = Compiler {
        expressions: Expressions::new(!spec["paramKind"].is_null()).composed(),
    };
    let variables = spec["variables"].items().iter();
    let variables = variables.map(|one| made.variable(one)).collect();
    let each = |field: &str| spec[field].items().iter();
    let boolean = [Type::Bool];
    Compiled {
        name: policy.name().into(),
        criteria: Criteria::parse(&spec["matchConstraints"], "resourceRules"),
        ignores_failures: spec["failurePolicy"].str() == "Ignore",
        asked_again: spec["reinvocationPolicy"].str() == "IfNeeded",
        params: param_kind(&spec["paramKind"]),
        variables,
        conditions: each("matchConditions")
            .map(|one| made.expression(&one["expression"], &boolean, Powers::Ask))
            .collect(),
        validations: each("validations")
            .map(|one| made.validation(one))
            .collect(),
        annotations: each("auditAnnotations")
            .map(|one| made.annotation(one))
            .collect(),
        mutations: each("mutations").map(|one| made.mutation(one)).collect(),
    }
}

struct Compiler {
    expressions: Expressions,
}

impl Compiler {
    fn variable(&mut self, one: &Value) -> Variable {
        let name = one["name"].str();
        Variable {
            name: name.into(),
            program: self.expressions.add(name, one["expression"].str()),
        }
    }

    fn expression(&self, source: &Value, wanted: &[Type], powers: Powers) -> Expression {
        let source = source.str();
        Expression {
            source: source.to_owned(),
            program: self.expressions.compile(source, wanted, powers),
        }
    }

    fn validation(&self, one: &Value) -> Validation {
        let message = &one["messageExpression"];
        let text = |field: &str| one[field].str().to_owned();
        Validation {
            expression: self.expression(&one["expression"], &[Type::Bool], Powers::Ask),
            message: text("message"),
            message_expression: (!message.str().is_empty())
                .then(|| self.expression(message, &[Type::String], Powers::Look)),
            reason: text("reason"),
        }
    }

    fn annotation(&self, one: &Value) -> (String, Expression) {
        let wanted = [Type::String, Type::Null];
        let value = self.expression(&one["valueExpression"], &wanted, Powers::Ask);
        (one["key"].str().to_owned(), value)
    }

    fn mutation(&self, one: &Value) -> Mutation {
        let of =
            |field: &str, ty| self.expression(&one[field]["expression"], &[ty], Powers::Mutate);
        match one["patchType"].str() {
            "JSONPatch" => Mutation::Operations(of("jsonPatch", patch_type())),
            _ => Mutation::Configuration(of("applyConfiguration", configuration_type())),
        }
    }
}

fn param_kind(kind: &Value) -> Option<GroupVersionKind> {
    let api_version = kind["apiVersion"].as_str()?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Some(GroupVersionKind::new(group, version, kind["kind"].str()))
}

fn parse_binding(binding: &Value) -> Binding {
    let spec = &binding["spec"];
    let resources = &spec["matchResources"];
    let reference = &spec["paramRef"];
    Binding {
        name: binding.name().into(),
        criteria: (!resources.is_null()).then(|| Criteria::parse(resources, "resourceRules")),
        params: (!reference.is_null()).then(|| ParamRef {
            name: reference["name"].str().into(),
            namespace: reference["namespace"].str().into(),
            selector: (!reference["selector"].is_null()).then(|| selector(&reference["selector"])),
            required: reference["parameterNotFoundAction"].str() == "Deny",
        }),
        actions: crate::common::texts(&spec["validationActions"])
            .map(SmolStr::new)
            .collect(),
    }
}
