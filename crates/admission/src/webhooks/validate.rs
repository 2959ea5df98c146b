//! Validating webhooks: all at once, each seeing the object as it will be stored.
//!
//! Upstream counterpart: `admission/plugin/webhook/validating`.

use super::{
    Webhooks,
    choose::{choose, is_exempt},
    hooks::Hook,
    mutate::{Asked, Failure, count, ready},
    request::{self, Shown},
    response,
};
use futures::{StreamExt, stream::FuturesUnordered};
use kinds::Kind;
use machinery::Status;
use registry::{CallEnd, Door, Operation, Review, Step};
use std::sync::Arc;

/// What one webhook said.
struct Said {
    /// Its place among those asked.
    at: usize,
    warnings: Vec<String>,
    outcome: Result<(), Status>,
}

impl Webhooks {
    pub(super) async fn validate_review(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let Some(hooks) = self.validating.now(review.door) else {
            return Ok(());
        };
        if is_exempt(review) {
            return Ok(());
        }
        let mut all: Vec<(&Hook, Result<Asked, Failure>)> = Vec::new();
        let mut versions: Vec<Shown> = Vec::new();
        for hook in hooks.iter() {
            let Some(kind) = choose(&hook.criteria, review)? else {
                continue;
            };
            let shown = version(&mut versions, review, &kind).await?;
            let uid = review.door.world().uuid();
            let request = request::request(review, shown, &uid);
            if self.conditions_match(hook, review, &request)? {
                all.push((hook, ready(hook, review, uid, request)));
            }
        }
        let door = review.door;
        let (operation, since) = (review.operation, door.now());
        let any = !all.is_empty();
        let asked = all.into_iter().enumerate();
        let asked =
            asked.map(|(at, (hook, asked))| self.validate_by(at, hook, (door, operation), asked));
        // In the order of their arrival: the first refusal is the one that counts.
        let mut said: Vec<Said> = asked.collect::<FuturesUnordered<_>>().collect().await;
        if any {
            // They are asked at once: what the slowest took.
            review.options.waited.add(door.now().since(since));
        }
        let refusal = said
            .iter_mut()
            .find(|one| one.outcome.is_err())
            .map(|one| std::mem::replace(&mut one.outcome, Ok(())));
        said.sort_by_key(|one| one.at);
        review
            .warnings
            .extend(said.into_iter().flat_map(|one| one.warnings));
        refusal.unwrap_or(Ok(()))
    }

    async fn validate_by(
        &self,
        at: usize,
        hook: &Hook,
        (door, operation): (&Door, Operation),
        asked: Result<Asked, Failure>,
    ) -> Said {
        let since = door.now();
        let verdict = match asked {
            Ok(asked) => self.ask(hook, door, asked, false).await,
            Err(failure) => Err(failure),
        };
        let (warnings, outcome) = match verdict {
            Ok(verdict) if verdict.allowed => (verdict.warnings, Ok(())),
            Ok(verdict) => {
                let refusal = response::refusal(&hook.name, &verdict.result);
                (verdict.warnings, Err(Failure::Refused(refusal)))
            }
            Err(failure) => (Vec::new(), Err(failure)),
        };
        let end = match &outcome {
            Ok(()) => CallEnd::Passed,
            Err(failure) => failure.end(),
        };
        let took = door.now().since(since);
        count(door, (hook, Step::Validate, operation), end, took);
        Said {
            at,
            outcome: outcome.or_else(|failure| failure.settle(hook)),
            warnings,
        }
    }
}

/// The write in a version, converted once for all who want to see it so.
pub(crate) async fn version<'a>(
    versions: &'a mut Vec<Shown>,
    review: &Review<'_>,
    kind: &Arc<Kind>,
) -> Result<&'a Shown, Status> {
    let known = versions.iter().position(|one| one.kind.gvk == kind.gvk);
    let at = match known {
        Some(at) => at,
        None => {
            versions.push(request::show(review, kind).await?);
            versions.len() - 1
        }
    };
    Ok(&versions[at])
}
