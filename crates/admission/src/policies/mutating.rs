//! Policies that change what is written: one after the other, each seeing what those before it
//! made.
//!
//! Upstream counterparts: `policy/mutating/{dispatcher,reinvocationcontext}.go`.

use super::{
    Policies,
    authorizer::{Asks, request_resource},
    binds,
    compiled::{Binding, Bound, Compiled},
    concerns,
    evaluate::{CONDITIONS_BUDGET, Run, Scene, hold},
    is_exempt, namespace_object,
    params::{Unusable, collect, param_kind},
    patch,
};
use crate::webhooks::request::{self, Shown};
use kinds::Kind;
use machinery::{SmolStr, Status, Value, format_smolstr, json};
use registry::{Pass, Review};
use std::sync::Arc;

/// One policy with one binding and one set of parameters.
struct Invocation<'a> {
    policy: &'a Compiled,
    binding: &'a Binding,
    kind: Arc<Kind>,
    params: Value,
}

impl Invocation<'_> {
    /// Names it among all.
    fn id(&self) -> SmolStr {
        format_smolstr!(
            "policy {}/{}/{}/{}",
            self.policy.name,
            self.binding.name,
            self.params.namespace(),
            self.params.name()
        )
    }
}

/// What went wrong with policies that do not ignore it: text, and whether it was about the
/// write.
#[derive(Default)]
struct Failures(Vec<(String, bool)>);

impl Failures {
    fn unusable(&mut self, policy: &Compiled, binding: Option<&Binding>, why: Unusable) {
        match why {
            Unusable::Policy(why) => {
                let why = format!("failed to configure policy: {why}");
                self.add(policy, None, &why, false);
            }
            Unusable::Binding(why) => {
                let why = format!("failed to configure binding: {why}");
                self.add(policy, binding, &why, false);
            }
        }
    }

    fn add(&mut self, policy: &Compiled, binding: Option<&Binding>, why: &str, own: bool) {
        if policy.ignores_failures {
            return;
        }
        let name = &policy.name;
        let text = match binding {
            Some(binding) => format!(
                "policy '{name}' with binding '{}' denied request: {why}",
                binding.name
            ),
            None => format!("policy {name:?} denied request: {why}"),
        };
        self.0.push((text, own));
    }

    fn settle(self, review: &Review<'_>) -> Result<(), Status> {
        let Some((message, own)) = self.0.first() else {
            return Ok(());
        };
        let causes = self.0.iter().map(|(text, _)| json!({"message": text}));
        let mut details = json!({
            "name": review.name.as_str(),
            "kind": review.kind.plural.as_str(),
            "causes": causes.collect::<Vec<Value>>(),
        });
        let group = review.kind.gvk.group.as_str();
        if !group.is_empty() {
            details["group"] = group.into();
        }
        let reason = if *own { "Invalid" } else { "Forbidden" };
        Err(Status::foreign(403, reason, message, details))
    }
}

impl Policies {
    /// Lets policies change a write; whether any did.
    ///
    /// # Errors
    /// What policies that do not ignore failures failed with.
    pub async fn mutate(&self, review: &mut Review<'_>, pass: Pass) -> Result<bool, Status> {
        let Some(all) = self.mutating.now(review.door) else {
            return Ok(false);
        };
        if is_exempt(review) {
            return Ok(false);
        }
        let mut failures = Failures::default();
        let mut invocations = Vec::new();
        for bound in all.iter() {
            invite(bound, review, &mut invocations, &mut failures).await;
        }
        let mut changed = false;
        if !invocations.is_empty() {
            let namespace = namespace_object(review)?;
            for one in &invocations {
                changed |= invoke(one, review, &namespace, pass, &mut failures).await?;
            }
        }
        failures.settle(review)?;
        Ok(changed)
    }
}

/// Adds the invocations of a policy that concerns the write.
async fn invite<'a>(
    bound: &'a Bound,
    review: &Review<'_>,
    invocations: &mut Vec<Invocation<'a>>,
    failures: &mut Failures,
) {
    let policy = &*bound.policy;
    let kind = match concerns(policy, review) {
        Ok(Some(kind)) => kind,
        Ok(None) => return,
        Err(why) => return failures.unusable(policy, None, Unusable::Policy(why)),
    };
    let params = match param_kind(policy, review) {
        Ok(params) => params,
        Err(why) => return failures.unusable(policy, None, why),
    };
    for binding in &bound.bindings {
        let found = match binds(binding, review) {
            Ok(false) => continue,
            Ok(true) => collect(params.as_ref(), binding.params.as_ref(), review).await,
            Err(why) => Err(Unusable::Binding(why)),
        };
        match found {
            Ok(found) => invocations.extend(found.into_iter().map(|params| Invocation {
                policy,
                binding,
                kind: kind.clone(),
                params,
            })),
            Err(why) => failures.unusable(policy, Some(binding), why),
        }
    }
}

async fn invoke(
    one: &Invocation<'_>,
    review: &mut Review<'_>,
    namespace: &Value,
    pass: Pass,
    failures: &mut Failures,
) -> Result<bool, Status> {
    let shown = request::show(review, &one.kind).await?;
    let request = request::circumstances(review, &one.kind);
    match conditions_hold(one, review, &shown, &request) {
        Ok(true) => {}
        Ok(false) => return Ok(false),
        Err(why) => {
            failures.add(one.policy, Some(one.binding), &why, true);
            return Ok(false);
        }
    }
    let id = one.id();
    if pass == Pass::Again && !review.rounds.due.contains(&id) {
        return Ok(false);
    }
    let made = mutated(one, review, &shown, (&request, namespace), failures);
    let changed = made != shown.object;
    if changed {
        request::take_in(review, &shown, made).await?;
        review.rounds.changed();
    }
    if one.policy.asked_again {
        review.rounds.invoked.insert(id);
    }
    Ok(changed)
}

fn conditions_hold(
    one: &Invocation<'_>,
    review: &Review<'_>,
    shown: &Shown,
    request: &Value,
) -> Result<bool, String> {
    if one.policy.conditions.is_empty() {
        return Ok(true);
    }
    let asks = Asks::of(review);
    let scene = Scene {
        object: &shown.object,
        old: &shown.old,
        request,
        namespace: &Value::Null,
        params: &one.params,
        asks: &asks,
        resource: request_resource(review),
    };
    let mut run = Run::new(&scene, &one.policy.variables, CONDITIONS_BUDGET);
    // A policy that ignores failures is not followed where its conditions fail.
    hold(&mut run, &one.policy.conditions)
}

/// The object after all mutations of a policy; those that fail change nothing.
fn mutated(
    one: &Invocation<'_>,
    review: &Review<'_>,
    shown: &Shown,
    (request, namespace): (&Value, &Value),
    failures: &mut Failures,
) -> Value {
    let mut object = shown.object.clone();
    if object.is_null() {
        return object;
    }
    let asks = Asks::of(review);
    for mutation in &one.policy.mutations {
        let scene = Scene {
            object: &object,
            old: &shown.old,
            request,
            namespace,
            params: &one.params,
            asks: &asks,
            resource: request_resource(review),
        };
        let of = request::is_object(review).then_some(&shown.kind.type_ref);
        match patch::apply(mutation, &scene, &one.policy.variables, of) {
            Ok(mut made) => {
                if of.is_some() {
                    shown.kind.apply_defaults(&mut made);
                }
                object = made;
            }
            Err(why) => failures.add(one.policy, Some(one.binding), &why, true),
        }
    }
    object
}
