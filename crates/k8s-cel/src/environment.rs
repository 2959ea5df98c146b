//! Where expressions are compiled, and what becomes of them.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/cel/environment`.

use crate::{
    Decl, DeclShape, EvalError, Fields, Map, Outcome, Type, Val,
    checker::{self, Checked, Reference},
    estimate::{self, Estimate, Sizes},
    eval::Frame,
    plan::{self, Step},
    syntax::{self, CompileError},
};
use machinery::SmolStr;
use std::sync::Arc;

/// Most that one evaluation may cost.
pub const CALL_LIMIT: u64 = 1_000_000;
/// Most that all evaluations for one request may cost.
pub const TOTAL_LIMIT: u64 = 10_000_000;

/// Variables and options that expressions are compiled with.
#[derive(Clone, Debug)]
pub struct Environment {
    variables: Vec<(SmolStr, Type)>,
    mutation: bool,
    optimize: bool,
}

impl Environment {
    /// What Kubernetes 1.36 offers everywhere: all libraries, no variables.
    pub fn base() -> Self {
        Self {
            variables: Vec::new(),
            mutation: false,
            optimize: true,
        }
    }

    /// With a variable.
    #[must_use]
    pub fn with_variable(mut self, name: &str, ty: Type) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.into(), ty));
        self
    }

    /// With `Object{}`, `JSONPatch{}` and `jsonpatch.escapeKey`, for mutating policies.
    #[must_use]
    pub fn with_mutation(mut self) -> Self {
        self.mutation = true;
        self
    }

    /// Without working out constants beforehand, and with a cost for presence tests: cel-go's
    /// own settings, which its and Kubernetes' published cost figures are for.
    #[must_use]
    pub fn unoptimized(mut self) -> Self {
        self.optimize = false;
        self
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&Type> {
        self.variables
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, ty)| ty)
    }

    pub(crate) fn allows(&self, function: &str) -> bool {
        self.mutation || !function.starts_with("jsonpatch.")
    }

    /// The type of messages called `name`.
    pub(crate) fn message(&self, name: &str) -> Option<Type> {
        if !self.mutation {
            return None;
        }
        if name == "JSONPatch" {
            let text = || Decl::simple(DeclShape::String);
            let fields = vec![
                ("op", text()),
                ("path", text()),
                ("from", text()),
                ("value", Arc::clone(Decl::any())),
            ];
            return Some(Decl::object(name, fields).ty());
        }
        (name == "Object" || name.starts_with("Object.")).then(|| Type::Object(Decl::open(name)))
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// Everything wrong with it.
    pub fn compile(&self, source: &str) -> Result<Program, Vec<CompileError>> {
        let (expr, count) = syntax::parse(source)?;
        let checked = checker::check(self, source, expr, count)?;
        let errors = crate::validators::literals(source, &checked);
        if !errors.is_empty() {
            return Err(errors);
        }
        let step = plan::plan(&checked, self.optimize)
            .map_err(|why| vec![CompileError::new(source, 0, why.to_string())])?;
        Ok(Program {
            checked,
            step,
            presence_costs: !self.optimize,
        })
    }

    /// Compiles an expression whose result must be of one of `allowed` types.
    ///
    /// # Errors
    /// Everything wrong with it, in upstream's words for policies.
    pub fn compile_expecting(
        &self,
        source: &str,
        allowed: &[Type],
    ) -> Result<Program, Vec<CompileError>> {
        let program = self.compile(source)?;
        let found = program.output_type();
        if found.is_dyn() || allowed.contains(found) || allowed.iter().any(Type::is_dyn) {
            return Ok(program);
        }
        let why = match allowed {
            [only] => format!("must evaluate to {only}"),
            several => {
                let names: Vec<String> = several.iter().map(ToString::to_string).collect();
                format!("must evaluate to one of [{}]", names.join(" "))
            }
        };
        Err(vec![CompileError::new(source, 0, why)])
    }
}

/// Values of variables.
#[derive(Clone, Default)]
pub struct Bindings<'a> {
    values: Vec<(&'a str, Val<'a>)>,
    lazy: Option<Arc<dyn Fields<'a> + 'a>>,
}

impl std::fmt::Debug for Bindings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.values.fmt(f)
    }
}

impl<'a> Bindings<'a> {
    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    /// With the value of a variable.
    #[must_use]
    pub fn with(mut self, name: &'a str, value: Val<'a>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets the value of a variable.
    pub fn set(&mut self, name: &'a str, value: Val<'a>) {
        self.values.retain(|(known, _)| *known != name);
        self.values.push((name, value));
    }

    /// With an object whose fields are worked out when they are asked for; there is one at most.
    #[must_use]
    pub fn with_lazy(mut self, name: &'a str, fields: Arc<dyn Fields<'a> + 'a>) -> Self {
        self.set(name, Val::Map(Map::Lazy));
        self.lazy = Some(fields);
        self
    }

    pub(crate) fn lazy(&self, field: &str) -> Option<Outcome<'a>> {
        self.lazy.as_ref()?.field(field)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Val<'a>> {
        self.values
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }
}

/// What may still be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Most that one evaluation may cost.
    pub per_call: u64,
    /// What is left for all.
    pub left: u64,
    /// What the last evaluation cost.
    pub spent: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            per_call: CALL_LIMIT,
            left: TOTAL_LIMIT,
            spent: 0,
        }
    }
}

/// A compiled expression.
#[derive(Debug)]
pub struct Program {
    checked: Checked,
    step: Step,
    presence_costs: bool,
}

impl Program {
    /// Type of the result.
    pub fn output_type(&self) -> &Type {
        &self.checked.types[self.checked.expr.id]
    }

    /// Whether the expression refers to a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.checked
            .references
            .iter()
            .flatten()
            .any(|reference| match reference {
                Reference::Variable(name) | Reference::Local(name) => name == variable,
                _ => false,
            })
    }

    /// Names selected from a variable (`variables.x` yields `x`), each once.
    pub fn members_used(&self, variable: &str) -> Vec<SmolStr> {
        let mut found = Vec::new();
        crate::validators::members(&self.checked.expr, variable, &mut found);
        found
    }

    /// What evaluating costs at least and at most.
    pub fn static_cost(&self, sizes: &dyn Sizes) -> Estimate {
        estimate::estimate(&self.checked, sizes, self.presence_costs)
    }

    /// Evaluates the expression.
    ///
    /// # Errors
    /// What goes wrong, and costs beyond the limits.
    pub fn evaluate<'a>(
        &self,
        bindings: &Bindings<'a>,
        budget: &mut Budget,
    ) -> Result<Val<'a>, EvalError> {
        let mut frame = Frame::new(bindings, budget.per_call, self.presence_costs);
        let found = frame.step(&self.step);
        budget.spent = frame.cost;
        if frame.cost > budget.left {
            budget.left = 0;
            return Err(EvalError::Budget);
        }
        budget.left -= frame.cost;
        found
    }
}
