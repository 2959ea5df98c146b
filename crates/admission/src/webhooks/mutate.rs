//! Mutating webhooks: one after the other, each seeing what those before it made.
//!
//! Upstream counterpart: `admission/plugin/webhook/mutating`.

use super::{
    Webhooks,
    choose::{choose, is_exempt},
    client::UNAVAILABLE,
    hooks::{Hook, ReviewVersion},
    request::{self, Shown},
    response::{self, Verdict},
};
use machinery::{Status, Value};
use registry::{CallEnd, Called, Door, Operation, Pass, Review, Step};
use std::time::Duration;

/// Code of a webhook that cannot be asked as it is configured.
const BAD: u16 = 400;

/// Why a webhook did not let a write pass.
pub(super) enum Failure {
    /// It could not be asked or believed; its `failurePolicy` decides. With upstream's code.
    Calling(String, u16),
    /// It (or a rule about it) refuses the write.
    Refused(Status),
    /// What it wants cannot be done.
    Broken(Status),
}

impl Failure {
    /// The end it is counted as.
    pub fn end(&self) -> CallEnd {
        match self {
            Self::Calling(_, code) => CallEnd::Failed(*code),
            Self::Refused(status) => CallEnd::Refused(status.code()),
            Self::Broken(_) => CallEnd::Broken,
        }
    }

    /// What the failure means for the write: nothing, where the webhook's policy ignores it.
    pub fn settle(self, hook: &Hook) -> Result<(), Status> {
        match self {
            Self::Calling(..) if hook.ignores_failures => Ok(()),
            Self::Calling(why, _) => Err(Status::internal(format!(
                "failed calling webhook {:?}: {why}",
                hook.name
            ))),
            Self::Refused(status) | Self::Broken(status) => Err(status),
        }
    }
}

/// Counts a call of a webhook.
pub(super) fn count(
    door: &Door,
    (hook, step, operation): (&Hook, Step, Operation),
    end: CallEnd,
    took: Duration,
) {
    let ignored = hook.ignores_failures && matches!(end, CallEnd::Failed(_));
    let call = Called {
        name: hook.name.as_str().into(),
        step,
        operation: operation.name(),
        rejected: end != CallEnd::Passed && !ignored,
    };
    door.measures().called(call, end, took);
}

/// A review ready to be sent.
pub(super) struct Asked {
    pub uid: String,
    pub version: ReviewVersion,
    pub request: Value,
}

impl Webhooks {
    pub(super) async fn mutate_review(
        &self,
        review: &mut Review<'_>,
        pass: Pass,
    ) -> Result<bool, Status> {
        let Some(hooks) = self.mutating.now(review.door) else {
            return Ok(false);
        };
        if is_exempt(review) {
            return Ok(false);
        }
        let mut changed = false;
        for hook in hooks.iter() {
            changed |= self.offer(hook, review, pass).await?;
        }
        Ok(changed)
    }

    /// Shows the object to one webhook, if it concerns it; whether it changed the object.
    async fn offer(
        &self,
        hook: &Hook,
        review: &mut Review<'_>,
        pass: Pass,
    ) -> Result<bool, Status> {
        let Some(kind) = choose(&hook.criteria, review)? else {
            return Ok(false);
        };
        if pass == Pass::Again && !review.rounds.due.contains(&hook.id) {
            return Ok(false);
        }
        let shown = request::show(review, &kind).await?;
        let uid = review.door.world().uuid();
        let request = request::request(review, &shown, &uid);
        if !self.conditions_match(hook, review, &request)? {
            return Ok(false);
        }
        let since = review.door.now();
        let asked = ready(hook, review, uid, request);
        let outcome = match asked {
            Ok(asked) => self.mutate_by(hook, review, &shown, asked).await,
            Err(failure) => Err(failure),
        };
        let took = review.door.now().since(since);
        review.options.waited.add(took);
        let end = outcome
            .as_ref()
            .map_or_else(Failure::end, |_| CallEnd::Passed);
        count(
            review.door,
            (hook, Step::Admit, review.operation),
            end,
            took,
        );
        let changed = *outcome.as_ref().unwrap_or(&false);
        if changed {
            review.rounds.changed();
        }
        if hook.asked_again {
            review.rounds.invoked.insert(hook.id.clone());
        }
        match outcome {
            Ok(changed) => Ok(changed),
            Err(failure) => failure.settle(hook).map(|()| false),
        }
    }

    async fn mutate_by(
        &self,
        hook: &Hook,
        review: &mut Review<'_>,
        shown: &Shown,
        asked: Asked,
    ) -> Result<bool, Failure> {
        let verdict = self.ask(hook, review.door, asked, true).await?;
        review.warnings.extend(verdict.warnings.iter().cloned());
        if !verdict.allowed {
            return Err(Failure::Refused(response::refusal(
                &hook.name,
                &verdict.result,
            )));
        }
        let Some(patch) = patch(&verdict)? else {
            return Ok(false);
        };
        if review.object.is_null() {
            return Err(Failure::Broken(Status::internal(format!(
                "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                hook.name
            ))));
        }
        if verdict.patch_type != "JSONPatch" {
            let why = format!("unsupported patch type {:?}", verdict.patch_type);
            return Err(Failure::Calling(why, UNAVAILABLE));
        }
        let made = schema::json_patch(&shown.object, &patch).map_err(does_not_apply)?;
        let before = review.object.clone();
        request::take_in(review, shown, made)
            .await
            .map_err(Failure::Broken)?;
        Ok(review.object != before)
    }

    /// Sends a review and checks the answer.
    pub(super) async fn ask(
        &self,
        hook: &Hook,
        door: &Door,
        asked: Asked,
        mutating: bool,
    ) -> Result<Verdict, Failure> {
        let client = hook.client.as_ref();
        let client = client
            .map_err(|why| Failure::Calling(format!("could not get REST client: {why}"), BAD))?;
        let body = request::review_of(asked.request, asked.version);
        let answer = self.outside.ask(door, client, hook.timeout, &body).await;
        let answer = answer.map_err(|(why, code)| {
            Failure::Calling(format!("failed to call webhook: {why}"), code)
        })?;
        response::verify(&answer, asked.version, &asked.uid, mutating).map_err(|why| {
            Failure::Calling(
                format!("received invalid webhook response: {why}"),
                UNAVAILABLE,
            )
        })
    }
}

/// A review that may be sent: the webhook can be asked about dry runs and speaks a known version.
pub(super) fn ready(
    hook: &Hook,
    review: &Review<'_>,
    uid: String,
    request: Value,
) -> Result<Asked, Failure> {
    if review.options.dry_run && !hook.dry_runs {
        return Err(Failure::Broken(Status::bad_request(format!(
            "admission webhook {:?} does not support dry run",
            hook.name
        ))));
    }
    let unknown = "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)";
    let version = hook
        .version
        .ok_or_else(|| Failure::Calling(unknown.to_owned(), BAD))?;
    Ok(Asked {
        uid,
        version,
        request,
    })
}

/// The operations of a response's patch, if there are any.
fn patch(verdict: &Verdict) -> Result<Option<Value>, Failure> {
    if verdict.patch.is_empty() {
        return Ok(None);
    }
    let bad = |why: &dyn std::fmt::Display| {
        let why = format!("received undecodable patch in webhook response: {why}");
        Failure::Calling(why, UNAVAILABLE)
    };
    let patch: Value = serde_json::from_slice(&verdict.patch).map_err(|why| bad(&why))?;
    match &patch {
        Value::Array(operations) if operations.is_empty() => Ok(None),
        Value::Array(_) => Ok(Some(patch)),
        other => Err(bad(&format!(
            "a patch is a list, not {}",
            other.type_name()
        ))),
    }
}

fn does_not_apply(status: Status) -> Failure {
    let why = status.causes().first();
    let why = why.map_or_else(|| status.message(), |cause| cause.message.as_str());
    Failure::Broken(Status::internal(why))
}
