//! Admission webhooks: programs outside the platform that complete and refuse writes, and that
//! convert custom kinds.
//!
//! Knows how they are chosen, asked and believed; not how they are reached (`env::Callout`).
//! Upstream counterparts: `k8s.io/apiserver/pkg/admission/plugin/webhook`,
//! `apiextensions-apiserver/pkg/apiserver/conversion`.

pub(crate) mod choose;
mod client;
mod conditions;
mod conversion;
pub(crate) mod hooks;
mod mutate;
pub(crate) mod request;
mod response;
mod service;
pub(crate) mod validate;

pub use conditions::{Condition, Conditions, Question};

use crate::policies::Policies;
use client::Outside;
use env::{BoxFuture, Callout};
use hooks::Hooks;
use machinery::{Status, Value};
use registry::{Conversion, Pass, Review, Waiting};
use std::{sync::Arc, time::Duration};

/// Asks the programs that webhook configurations and custom resource definitions name, after
/// admission policies, which upstream's chain has right before them.
pub struct Webhooks {
    outside: Outside,
    conditions: Option<Arc<dyn Conditions>>,
    policies: Policies,
    mutating: Hooks,
    validating: Hooks,
}

impl Webhooks {
    /// Reaches programs through `callout`. Without `conditions`, webhooks that have
    /// `matchConditions` fail as if their conditions could not be evaluated.
    pub fn new(callout: Arc<dyn Callout>, conditions: Option<Arc<dyn Conditions>>) -> Self {
        Self {
            outside: Outside::new(callout),
            conditions,
            policies: Policies::default(),
            mutating: Hooks::of(kinds::MUTATING_WEBHOOK_CONFIGURATIONS),
            validating: Hooks::of(kinds::VALIDATING_WEBHOOK_CONFIGURATIONS),
        }
    }
}

impl registry::Webhooks for Webhooks {
    fn mutate<'a>(
        &'a self,
        review: &'a mut Review<'_>,
        pass: Pass,
    ) -> BoxFuture<'a, Result<bool, Status>> {
        Box::pin(async move {
            if !self.policies.may_mutate(review.door) && !self.mutating.exist(review.door) {
                for who in [Waiting::MutatingPolicies, Waiting::MutatingWebhooks] {
                    count(review, (who, Duration::ZERO), false);
                }
                return Ok(false);
            }
            if pass == Pass::Again && review.object != review.rounds.output {
                // The platform's own steps have changed the object since.
                review.rounds.changed();
            }
            let begun = review.door.world().lapse();
            let by_policies = self.policies.mutate(review, pass).await;
            let since = told(
                review,
                (Waiting::MutatingPolicies, begun),
                by_policies.is_err(),
            );
            let by_policies = by_policies?;
            let by_hooks = self.mutate_review(review, pass).await;
            told(
                review,
                (Waiting::MutatingWebhooks, since),
                by_hooks.is_err(),
            );
            let by_hooks = by_hooks?;
            review.rounds.output = review.object.clone();
            Ok(by_policies || by_hooks)
        })
    }

    fn validate<'a>(&'a self, review: &'a mut Review<'_>) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let begun = review.door.world().lapse();
            let by_policies = self.policies.validate(review).await;
            let since = told(
                review,
                (Waiting::ValidatingPolicies, begun),
                by_policies.is_err(),
            );
            by_policies?;
            let by_hooks = self.validate_review(review).await;
            told(
                review,
                (Waiting::ValidatingWebhooks, since),
                by_hooks.is_err(),
            );
            by_hooks
        })
    }

    fn convert<'a>(
        &'a self,
        conversion: Conversion<'a>,
    ) -> BoxFuture<'a, Result<Vec<Value>, Status>> {
        Box::pin(self.convert_objects(conversion))
    }
}

/// Counts that all policies or all webhooks were asked.
fn count(review: &Review<'_>, (who, took): (Waiting, Duration), rejected: bool) {
    let measures = review.door.measures();
    measures.waited(who, review.operation, rejected, took);
}

/// The same, with when that began; when it is over.
fn told(review: &Review<'_>, (who, begun): (Waiting, Duration), rejected: bool) -> Duration {
    let now = review.door.world().lapse();
    count(review, (who, now.saturating_sub(begun)), rejected);
    now
}
