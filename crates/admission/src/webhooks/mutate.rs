//! Mutating webhooks: one after the other, each seeing what those before it made.
//!
//! Upstream counterpart: `admission/plugin/webhook/mutating`.

use super::{
    Webhooks,
    choose::{choose, is_exempt},
    hooks::{Hook, ReviewVersion},
    request::{self, Shown},
    response::{self, Verdict},
};
use machinery::{Status, Value};
use registry::{Door, Pass, Review};

/// Why a webhook did not let a write pass.
pub(super) enum Failure {
    /// It could not be asked or believed; its `failurePolicy` decides.
    Calling(String),
    /// It (or a rule about it) refuses the write.
    Refused(Status),
}

impl Failure {
    /// What the failure means for the write: nothing, where the webhook's policy ignores it.
    pub fn settle(self, hook: &Hook) -> Result<(), Status> {
        match self {
            Self::Calling(_) if hook.ignores_failures => Ok(()),
            Self::Calling(why) => Err(Status::internal(format!(
                "failed calling webhook {:?}: {why}",
                hook.name
            ))),
            Self::Refused(status) => Err(status),
        }
    }
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
        let asked = ready(hook, review, uid, request);
        let outcome = match asked {
            Ok(asked) => self.mutate_by(hook, review, &shown, asked).await,
            Err(failure) => Err(failure),
        };
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
            return Err(Failure::Refused(Status::internal(format!(
                "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                hook.name
            ))));
        }
        if verdict.patch_type != "JSONPatch" {
            let why = format!("unsupported patch type {:?}", verdict.patch_type);
            return Err(Failure::Calling(why));
        }
        let made = schema::json_patch(&shown.object, &patch).map_err(does_not_apply)?;
        let before = review.object.clone();
        request::take_in(review, shown, made)
            .await
            .map_err(Failure::Refused)?;
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
        let client =
            client.map_err(|why| Failure::Calling(format!("could not get REST client: {why}")))?;
        let body = request::review_of(asked.request, asked.version);
        let answer = self.outside.ask(door, client, hook.timeout, &body).await;
        let answer =
            answer.map_err(|why| Failure::Calling(format!("failed to call webhook: {why}")))?;
        response::verify(&answer, asked.version, &asked.uid, mutating)
            .map_err(|why| Failure::Calling(format!("received invalid webhook response: {why}")))
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
        return Err(Failure::Refused(Status::bad_request(format!(
            "admission webhook {:?} does not support dry run",
            hook.name
        ))));
    }
    let unknown = "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)";
    let version = hook
        .version
        .ok_or_else(|| Failure::Calling(unknown.to_owned()))?;
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
        Failure::Calling(format!(
            "received undecodable patch in webhook response: {why}"
        ))
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
    Failure::Refused(Status::internal(why))
}
