//! Evaluating the expressions of a policy about one write: what they see, variables that are
//! worked out when asked for, and what may be spent.
//!
//! Upstream counterparts: `admission/plugin/cel` (`activation.go`, `composition.go`),
//! `webhook/matchconditions/matcher.go`.

use super::{
    authorizer::Asks,
    compiled::{Expression, Variable},
};
use k8s_cel::{
    AuthorizationCheck, Bindings, Budget, CALL_LIMIT, Decl, EvalError, Fields, Outcome,
    TOTAL_LIMIT, Val,
};
use machinery::Value;
use std::sync::{Arc, Mutex, Weak};

/// Most that the expressions of a policy may cost for one write.
pub(super) const BUDGET: u64 = TOTAL_LIMIT;
/// Most that match conditions may cost for one write.
pub(super) const CONDITIONS_BUDGET: u64 = TOTAL_LIMIT / 4;
/// What is said when that much is spent.
pub(super) const EXHAUSTED: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// What expressions see.
#[derive(Clone)]
pub(super) struct Scene<'a> {
    pub object: &'a Value,
    pub old: &'a Value,
    pub request: &'a Value,
    /// Null for objects of the cluster.
    pub namespace: &'a Value,
    /// Null where there are none.
    pub params: &'a Value,
    pub asks: &'a Asks<'a>,
    pub resource: AuthorizationCheck,
}

fn plain(value: &Value) -> Val<'_> {
    // Nothing is wrong with data of which nothing is declared.
    Val::tree(value, Decl::any()).unwrap_or(Val::Null)
}

/// Expressions evaluated on one budget.
pub(super) struct Run<'a> {
    bindings: Bindings<'a>,
    variables: Arc<Variables<'a>>,
    /// What is left of the budget.
    pub left: u64,
}

impl<'a> Run<'a> {
    pub fn new(scene: &Scene<'a>, variables: &'a [Variable], budget: u64) -> Self {
        let bindings = Bindings::new()
            .with("object", plain(scene.object))
            .with("oldObject", plain(scene.old))
            .with("request", plain(scene.request))
            .with("namespaceObject", plain(scene.namespace))
            .with("params", plain(scene.params))
            .with("authorizer", Val::authorizer(scene.asks))
            .with(
                "authorizer.requestResource",
                Val::resource_check(scene.asks, scene.resource.clone()),
            );
        let variables = Arc::new_cyclic(|me| Variables {
            me: me.clone(),
            bindings: bindings.clone(),
            of: variables,
            state: Mutex::new(State {
                values: vec![None; variables.len()],
                spent: 0,
            }),
        });
        Self {
            bindings: bindings.with_lazy("variables", variables.clone()),
            variables,
            left: budget,
        }
    }

    /// Evaluates an expression: its value, or why it has none.
    ///
    /// # Errors
    /// The budget is spent.
    pub fn evaluate(
        &mut self,
        expression: &Expression,
    ) -> Result<Result<Val<'a>, String>, &'static str> {
        let program = match &expression.program {
            Ok(program) => program,
            Err(why) => return Ok(Err(format!("compilation error: {why}"))),
        };
        let mut budget = Budget {
            per_call: CALL_LIMIT,
            left: u64::MAX,
            spent: 0,
        };
        let found = program.evaluate(&self.bindings, &mut budget);
        let spent = budget.spent.saturating_add(self.variables.take_spent());
        self.left = self.left.checked_sub(spent).ok_or(EXHAUSTED)?;
        Ok(found.map_err(|why| {
            format!(
                "expression '{}' resulted in error: {why}",
                expression.source
            )
        }))
    }
}

/// Whether all conditions hold. One that is false decides, whatever the others fail with.
///
/// # Errors
/// Why those that are not false could not be evaluated.
pub(super) fn hold(run: &mut Run<'_>, conditions: &[Expression]) -> Result<bool, String> {
    let mut failures = Vec::new();
    for condition in conditions {
        match run.evaluate(condition)? {
            Ok(Val::Bool(false)) => return Ok(false),
            Ok(_) => {}
            Err(why) => failures.push(why),
        }
    }
    match &mut failures[..] {
        [] => Ok(true),
        [only] => Err(std::mem::take(only)),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

/// The `variables` of a policy.
struct Variables<'a> {
    me: Weak<Self>,
    bindings: Bindings<'a>,
    of: &'a [Variable],
    state: Mutex<State<'a>>,
}

struct State<'a> {
    values: Vec<Option<Outcome<'a>>>,
    spent: u64,
}

impl<'a> Variables<'a> {
    fn take_spent(&self) -> u64 {
        let mut state = self.state.lock().expect("nothing panics with it");
        std::mem::take(&mut state.spent)
    }

    fn evaluate(&self, variable: &Variable) -> Outcome<'a> {
        let fails = |what: &str, why: &dyn std::fmt::Display| {
            let text = format!(
                "composited variable {:?} fails to {what}: {why}",
                variable.name
            );
            Err(EvalError::new(text))
        };
        let program = match &variable.program {
            Ok(program) => program,
            Err(why) => return fails("compile", why),
        };
        let me = self.me.upgrade().expect("it is borrowed");
        let bindings = self.bindings.clone().with_lazy("variables", me);
        let mut budget = Budget {
            per_call: CALL_LIMIT,
            left: u64::MAX,
            spent: 0,
        };
        let found = program.evaluate(&bindings, &mut budget);
        let mut state = self.state.lock().expect("nothing panics with it");
        state.spent = state.spent.saturating_add(budget.spent);
        found.or_else(|why| fails("evaluate", &why))
    }
}

impl<'a> Fields<'a> for Variables<'a> {
    fn field(&self, name: &str) -> Option<Outcome<'a>> {
        let at = self.of.iter().rposition(|one| one.name == name)?;
        let known = |state: &State<'a>| state.values[at].clone();
        if let Some(value) = known(&self.state.lock().expect("nothing panics with it")) {
            return Some(value);
        }
        let value = self.evaluate(&self.of[at]);
        let mut state = self.state.lock().expect("nothing panics with it");
        state.values[at] = Some(value.clone());
        Some(value)
    }
}
