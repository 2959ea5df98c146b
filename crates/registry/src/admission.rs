//! The seam to admission: what a plug-in is shown and may change.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/admission`.

use crate::{Door, Options};
use auth::User;
use env::BoxFuture;
use kinds::Kind;
use machinery::{Object, SmolStr, Status, Value};
use std::sync::Arc;

/// What is being done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    /// As in `AdmissionReview`.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// A write under review.
pub struct Review<'a> {
    /// The door, for reading the state of the cluster.
    pub door: &'a Door,
    /// Who asks.
    pub user: &'a User,
    /// What is done.
    pub operation: Operation,
    /// Kind of the resource.
    pub kind: Arc<Kind>,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Namespace, empty for cluster scope.
    pub namespace: &'a str,
    /// Name; empty while it is still to be generated.
    pub name: SmolStr,
    /// The new object (null for deletions).
    pub object: Value,
    /// The stored object, if there is one.
    pub old: Option<&'a Arc<Object>>,
    /// The request's options.
    pub options: &'a Options,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// A step of the admission chain. Synchronous: what must wait (webhooks) has its own step.
pub trait Admission: Send + Sync {
    /// Upstream's plug-in name.
    fn name(&self) -> &'static str;
    /// Changes `review.object`, or refuses.
    fn mutate(&self, _review: &mut Review<'_>) -> Result<(), Status> {
        Ok(())
    }
    /// Refuses, seeing the object as it will be stored.
    fn validate(&self, _review: &mut Review<'_>) -> Result<(), Status> {
        Ok(())
    }
    /// The write this plug-in let pass was not committed after all.
    fn rolled_back(&self, _review: &Review<'_>) {}
}

/// Which time a write is shown to mutating webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// All that match are called.
    First,
    /// Something changed since: those with `reinvocationPolicy: IfNeeded` are called again.
    Again,
}

/// The step of the chain that waits: programs outside the platform that are asked about a write.
pub trait Webhooks: Send + Sync {
    /// Lets them change `review.object`; whether any did.
    fn mutate<'a>(
        &'a self,
        review: &'a mut Review<'_>,
        pass: Pass,
    ) -> BoxFuture<'a, Result<bool, Status>>;
    /// Lets them refuse.
    fn validate<'a>(&'a self, review: &'a mut Review<'_>) -> BoxFuture<'a, Result<(), Status>>;
}
