//! Policies that refuse, warn, or leave a word for the audit log.
//!
//! Upstream counterparts: `policy/validating/{dispatcher,validator}.go`.

use super::{
    Policies,
    authorizer::{Asks, request_resource},
    binds,
    compiled::{Binding, Bound, Compiled, Validation},
    concerns,
    evaluate::{BUDGET, CONDITIONS_BUDGET, Run, Scene, hold},
    is_exempt, namespace_object,
    params::{Unusable, collect, param_kind},
};
use crate::webhooks::{
    request::{self, Shown},
    validate::version,
};
use k8s_cel::Val;
use kinds::Kind;
use machinery::{Reason, Status, Value, json};
use registry::Review;
use std::{collections::BTreeMap, sync::Arc};

/// Bytes of a message that an expression makes at most; a longer one is not told.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
/// Bytes of an audit annotation at most.
const ANNOTATION_BYTES_MAX: usize = 10 * 1024;
const FAILURES: &str = "validation.policy.admission.k8s.io/validation_failure";

/// What speaks against a write.
struct Against {
    message: String,
    reason: String,
    /// Place of the expression that says so.
    at: usize,
}

impl Against {
    fn failure(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            reason: String::new(),
            at: 0,
        }
    }
}

/// What a policy finds with one set of parameters.
#[derive(Default)]
struct Findings {
    against: Vec<Against>,
    /// Annotations by key.
    annotations: Vec<(String, String)>,
    /// Annotations that could not be made.
    failed_annotations: Vec<String>,
}

/// What all policies make of a write.
#[derive(Default)]
struct Sum {
    /// Text and reason of the first refusal.
    refusal: Option<(String, String)>,
    warnings: Vec<String>,
    annotations: BTreeMap<String, String>,
}

impl Sum {
    fn refuse(&mut self, policy: &str, binding: Option<&str>, message: &str, reason: &str) {
        let by = binding.map_or(String::new(), |name| format!(" with binding '{name}'"));
        let text = format!("ValidatingAdmissionPolicy '{policy}'{by} denied request: {message}");
        self.refusal.get_or_insert((text, reason.to_owned()));
    }

    fn unusable(&mut self, bound: &Bound, binding: Option<&Binding>, why: Unusable) {
        if bound.policy.ignores_failures {
            return;
        }
        let (binding, message) = match why {
            Unusable::Policy(why) => (None, format!("failed to configure policy: {why}")),
            Unusable::Binding(why) => {
                let name = binding.map(|binding| binding.name.as_str());
                (name, format!("failed to configure binding: {why}"))
            }
        };
        self.refuse(&bound.policy.name, binding, &message, "");
    }

    fn take(&mut self, policy: &Compiled, binding: &Binding, findings: &Findings) {
        for against in &findings.against {
            for action in &binding.actions {
                match action.as_str() {
                    "Deny" => self.refuse(
                        &policy.name,
                        Some(&binding.name),
                        &against.message,
                        &against.reason,
                    ),
                    "Warn" => self.warnings.push(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                        policy.name, binding.name, against.message
                    )),
                    _ => self.audit(policy, binding, against),
                }
            }
        }
        for why in &findings.failed_annotations {
            self.refuse(&policy.name, Some(&binding.name), why, "");
        }
    }

    fn audit(&mut self, policy: &Compiled, binding: &Binding, against: &Against) {
        let actions: Vec<&str> = binding.actions.iter().map(|one| one.as_str()).collect();
        let failure = json!([{
            "message": &against.message,
            "policy": policy.name.as_str(),
            "binding": binding.name.as_str(),
            "expressionIndex": against.at as i64,
            "validationActions": actions,
        }]);
        let text = serde_json::to_string(&failure).expect("plain data has a text");
        self.annotations.entry(FAILURES.to_owned()).or_insert(text);
    }
}

/// A write before a policy, in the version it wants.
struct Before<'a> {
    shown: &'a Shown,
    request: &'a Value,
    namespace: &'a Value,
    review: &'a Review<'a>,
}

impl Policies {
    /// Lets policies refuse a write.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let Some(all) = self.validating.now(review.door) else {
            return Ok(());
        };
        if is_exempt(review) {
            return Ok(());
        }
        let mut sum = Sum::default();
        let mut versions = Vec::new();
        for bound in all.iter() {
            follow(bound, review, &mut versions, &mut sum).await?;
        }
        review.warnings.append(&mut sum.warnings);
        review.rounds.annotations.append(&mut sum.annotations);
        match sum.refusal {
            Some((message, reason)) => Err(refusal(review, &message, &reason)),
            None => Ok(()),
        }
    }
}

async fn follow(
    bound: &Bound,
    review: &Review<'_>,
    versions: &mut Vec<Shown>,
    sum: &mut Sum,
) -> Result<(), Status> {
    let policy = &*bound.policy;
    let kind = match concerns(policy, review) {
        Ok(Some(kind)) => kind,
        Ok(None) => return Ok(()),
        Err(why) => {
            sum.unusable(bound, None, Unusable::Policy(why));
            return Ok(());
        }
    };
    let params = match param_kind(policy, review) {
        Ok(params) => params,
        Err(why) => {
            sum.unusable(bound, None, why);
            return Ok(());
        }
    };
    let mut annotations: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for binding in &bound.bindings {
        let found = match bound_params(binding, params.as_ref(), review).await {
            Ok(found) => found,
            Err(why) => {
                sum.unusable(bound, Some(binding), why);
                continue;
            }
        };
        if found.is_empty() {
            continue;
        }
        let shown = match version(versions, review, &kind).await {
            Ok(shown) => shown,
            Err(why) => {
                let why = format!("failed to convert object version: {}", why.message());
                sum.unusable(bound, Some(binding), Unusable::Binding(why));
                continue;
            }
        };
        let namespace = namespace_object(review)?;
        let request = request::circumstances(review, &kind);
        let before = Before {
            shown,
            request: &request,
            namespace: &namespace,
            review,
        };
        for params in &found {
            let findings = examine(policy, &before, params);
            sum.take(policy, binding, &findings);
            collect_annotations(&mut annotations, findings.annotations);
        }
    }
    for (key, values) in annotations {
        let key = format!("{}/{key}", policy.name);
        sum.annotations.insert(key, values.join(", "));
    }
    Ok(())
}

/// The parameters of a binding that concerns the write; none if it does not.
async fn bound_params(
    binding: &Binding,
    kind: Option<&Arc<Kind>>,
    review: &Review<'_>,
) -> Result<Vec<Value>, Unusable> {
    if !binds(binding, review).map_err(Unusable::Binding)? {
        return Ok(Vec::new());
    }
    collect(kind, binding.params.as_ref(), review).await
}

fn collect_annotations(all: &mut BTreeMap<String, Vec<String>>, new: Vec<(String, String)>) {
    for (key, value) in new {
        let values = all.entry(key).or_default();
        if !values.contains(&value) {
            values.push(value);
        }
    }
}

/// Evaluates a policy; failures count as its `failurePolicy` says.
fn examine(policy: &Compiled, before: &Before<'_>, params: &Value) -> Findings {
    let asks = Asks::of(before.review);
    let scene = Scene {
        object: &before.shown.object,
        old: &before.shown.old,
        request: before.request,
        namespace: before.namespace,
        params,
        asks: &asks,
        resource: request_resource(before.review),
    };
    let examined = examine_scene(policy, &scene);
    examined.unwrap_or_else(|why| {
        let mut findings = Findings::default();
        if !policy.ignores_failures {
            findings.against.push(Against::failure(why));
        }
        findings
    })
}

fn examine_scene(policy: &Compiled, scene: &Scene<'_>) -> Result<Findings, String> {
    let mut findings = Findings::default();
    if !policy.conditions.is_empty() {
        let unseen = Scene {
            namespace: &Value::Null,
            ..scene.clone()
        };
        let mut run = Run::new(&unseen, &policy.variables, CONDITIONS_BUDGET);
        if !hold(&mut run, &policy.conditions)? {
            return Ok(findings);
        }
    }
    let mut run = Run::new(scene, &policy.variables, BUDGET);
    let validations = policy.validations.iter();
    let verdicts = validations.map(|one| run.evaluate(&one.expression));
    let verdicts: Vec<Result<Val<'_>, String>> = verdicts.collect::<Result<_, _>>()?;
    let messages = messages(policy, scene, run.left);
    for (at, (validation, verdict)) in policy.validations.iter().zip(verdicts).enumerate() {
        let against = match verdict {
            Ok(Val::Bool(true)) if messages.is_ok() => continue,
            Err(why) => Against::failure(why),
            Ok(_) => match &messages {
                Err(why) => Against::failure(format!("failed messageExpression: {why}")),
                Ok(messages) => denial(validation, messages[at].as_deref()),
            },
        };
        if !(policy.ignores_failures && against.reason.is_empty()) {
            findings.against.push(Against { at, ..against });
        }
    }
    annotate(policy, scene, &mut findings)?;
    Ok(findings)
}

/// What the expressions for messages say, where they say something that can be told.
fn messages(
    policy: &Compiled,
    scene: &Scene<'_>,
    budget: u64,
) -> Result<Vec<Option<String>>, &'static str> {
    let mut run = Run::new(scene, &policy.variables, budget);
    let mut messages = Vec::new();
    for validation in &policy.validations {
        let Some(expression) = &validation.message_expression else {
            messages.push(None);
            continue;
        };
        let found = run.evaluate(expression)?;
        let text = found.ok().and_then(|text| text.as_str().map(str::to_owned));
        let text = text.map(|text| text.trim().to_owned());
        messages.push(text.filter(|text| {
            !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n')
        }));
    }
    Ok(messages)
}

fn denial(validation: &Validation, message: Option<&str>) -> Against {
    let own = validation.message.trim();
    let message = match (message, own) {
        (Some(message), _) => message.to_owned(),
        (None, "") => format!("failed expression: {}", validation.expression.source.trim()),
        (None, own) => own.to_owned(),
    };
    let reason = match validation.reason.as_str() {
        "" => "Invalid",
        reason => reason,
    };
    Against {
        message,
        reason: reason.to_owned(),
        at: 0,
    }
}

fn annotate(
    policy: &Compiled,
    scene: &Scene<'_>,
    findings: &mut Findings,
) -> Result<(), &'static str> {
    let mut run = Run::new(scene, &policy.variables, BUDGET);
    for (key, expression) in &policy.annotations {
        let found = match run.evaluate(expression)? {
            Ok(found) => found,
            Err(_) if policy.ignores_failures => continue,
            Err(why) => {
                findings.failed_annotations.push(why);
                continue;
            }
        };
        let value = found.as_str().unwrap_or_default().trim();
        if !value.is_empty() {
            let mut end = value.len().min(ANNOTATION_BYTES_MAX);
            while !value.is_char_boundary(end) {
                end -= 1;
            }
            let value = value[..end].to_owned();
            findings.annotations.push((key.clone(), value));
        }
    }
    Ok(())
}

fn refusal(review: &Review<'_>, message: &str, reason: &str) -> Status {
    let reason = match reason {
        "Forbidden" => Reason::Forbidden,
        "RequestEntityTooLarge" => Reason::RequestEntityTooLarge,
        _ => Reason::Invalid,
    };
    let resource = review.kind.group_resource();
    let forbidden = crate::common::forbid(review, message);
    let name = match review.name.as_str() {
        "" => review.object.name(),
        name => name,
    };
    Status::new(reason, forbidden.message())
        .about(&resource, name)
        .cause("", message, "")
}
