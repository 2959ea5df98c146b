//! The seam to `matchConditions`: expressions over the request that a webhook must match besides
//! its rules.
//!
//! Knows no expression language. Upstream counterpart:
//! `k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions`.

use super::{Webhooks, hooks::Hook};
use crate::common::forbid;
use machinery::{Status, Value};
use registry::Review;

/// One entry of `matchConditions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Its name.
    pub name: String,
    /// The expression.
    pub expression: String,
}

/// What conditions are about.
pub struct Question<'a> {
    /// The write, for the user and the authorizer.
    pub review: &'a Review<'a>,
    /// `request` of the `AdmissionReview`, with `object` and `oldObject` inside, in the version
    /// that the webhook is sent.
    pub request: &'a Value,
}

/// Evaluates conditions.
pub trait Conditions: Send + Sync {
    /// Whether all hold. One that is false decides, whatever the others fail with.
    ///
    /// # Errors
    /// Why those that are not false could not be evaluated.
    fn hold(&self, conditions: &[Condition], about: &Question<'_>) -> Result<bool, String>;
}

impl Webhooks {
    /// Whether a webhook's conditions let it be asked. What cannot be evaluated refuses the write
    /// or skips the webhook, as its `failurePolicy` says.
    pub(super) fn conditions_match(
        &self,
        hook: &Hook,
        review: &Review<'_>,
        request: &Value,
    ) -> Result<bool, Status> {
        if hook.conditions.is_empty() {
            return Ok(true);
        }
        let outcome = match &self.conditions {
            Some(conditions) => conditions.hold(&hook.conditions, &Question { review, request }),
            None => Err("matchConditions cannot be evaluated by this server".to_owned()),
        };
        match outcome {
            Ok(hold) => Ok(hold),
            Err(_) if hook.ignores_failures => Ok(false),
            Err(why) => Err(forbid(review, &why)),
        }
    }
}
