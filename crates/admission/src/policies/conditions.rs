//! `matchConditions` of webhooks, evaluated.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions`.

use super::{
    authorizer::{Asks, request_resource},
    compiled::Expression,
    evaluate::{CONDITIONS_BUDGET, Run, Scene, hold},
};
use crate::webhooks::{Condition, Conditions, Question};
use k8s_cel::Type;
use kinds::{Expressions, Powers};
use machinery::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// Lists of conditions kept compiled at most; beyond that all are compiled anew.
const KEPT_MAX: usize = 1024;

/// Evaluates the conditions of webhooks; keeps them compiled.
#[derive(Default)]
pub struct MatchConditions {
    kept: Mutex<BTreeMap<Vec<String>, Arc<[Expression]>>>,
}

impl MatchConditions {
    fn compiled(&self, conditions: &[Condition]) -> Arc<[Expression]> {
        let sources = conditions.iter().map(|one| one.expression.clone());
        let sources: Vec<String> = sources.collect();
        let mut kept = self.kept.lock().expect("compiling does not panic");
        if let Some(known) = kept.get(&sources) {
            return known.clone();
        }
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        let expressions = Expressions::new(false);
        let compile = |source: &String| Expression {
            source: source.clone(),
            program: expressions.compile(source, &[Type::Bool], Powers::Ask),
        };
        let made: Arc<[Expression]> = sources.iter().map(compile).collect();
        kept.insert(sources, made.clone());
        made
    }
}

impl Conditions for MatchConditions {
    fn hold(&self, conditions: &[Condition], about: &Question<'_>) -> Result<bool, String> {
        let compiled = self.compiled(conditions);
        let asks = Asks::of(about.review);
        let scene = Scene {
            object: &about.request["object"],
            old: &about.request["oldObject"],
            request: about.request,
            namespace: &Value::Null,
            params: &Value::Null,
            asks: &asks,
            resource: request_resource(about.review),
        };
        hold(&mut Run::new(&scene, &[], CONDITIONS_BUDGET), &compiled)
    }
}
