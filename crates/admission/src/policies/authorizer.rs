//! The `authorizer` of expressions, answered by the door.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/cel/library/authz.go`.

use auth::{Attributes, User};
use k8s_cel::{AuthorizationCheck, Authorizer, Verdict};
use machinery::SmolStr;
use registry::{Door, Review};

/// Asks the door about the requester.
pub(super) struct Asks<'a> {
    door: &'a Door,
    user: &'a User,
}

impl<'a> Asks<'a> {
    pub fn of(review: &'a Review<'_>) -> Self {
        Self {
            door: review.door,
            user: review.user,
        }
    }
}

/// `authorizer.requestResource`: the question about what is written.
pub(super) fn request_resource(review: &Review<'_>) -> AuthorizationCheck {
    AuthorizationCheck {
        group: review.kind.gvk.group.clone(),
        resource: review.kind.plural.clone(),
        subresource: review.subresource.into(),
        namespace: crate::webhooks::choose::namespace(review).into(),
        name: review.name.clone(),
        ..AuthorizationCheck::default()
    }
}

impl Authorizer for Asks<'_> {
    fn authorize(&self, check: &AuthorizationCheck) -> Verdict {
        let asked = Attributes {
            verb: check.verb.clone(),
            group: check.group.clone(),
            resource: check.resource.clone(),
            subresource: check.subresource.clone(),
            namespace: check.namespace.clone(),
            name: check.name.clone(),
            path: check.path.clone(),
            fields: required_fields(&check.field_selector),
            ..Attributes::default()
        };
        let account = check.service_account.as_ref();
        let account = account.map(|(namespace, name)| User::service_account(namespace, name, ""));
        let verdict = self
            .door
            .decide(account.as_ref().unwrap_or(self.user), &asked);
        Verdict {
            allowed: verdict.allowed,
            reason: verdict.reason.into(),
            error: SmolStr::default(),
        }
    }
}

/// What a field selector requires to be equal; what else it says decides nothing.
fn required_fields(selector: &str) -> Vec<(SmolStr, SmolStr)> {
    let terms = selector.split(',').filter(|term| !term.contains("!="));
    terms
        .filter_map(|term| term.split_once('='))
        .map(|(field, value)| (field.into(), value.trim_start_matches('=').into()))
        .collect()
}
