//! The seam to admission: what a plug-in is shown and may change.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/admission`.

use crate::{Body, Call, Context, Door, Options};
use auth::User;
use env::BoxFuture;
use kinds::Kind;
use machinery::{Object, SmolStr, Status, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

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
    /// What earlier passes over this write left behind.
    pub rounds: Rounds,
}

/// What the first pass over a write leaves for the second, so that only those are asked again
/// whose answer may differ by now.
#[derive(Clone, Debug, Default)]
pub struct Rounds {
    /// The object as the last pass left it.
    pub output: Value,
    /// Who was asked and wants to be asked again if others change the object.
    pub invoked: BTreeSet<SmolStr>,
    /// Of those, whoever is due.
    pub due: BTreeSet<SmolStr>,
    /// What admission has to say to the audit log, by annotation.
    pub annotations: BTreeMap<String, String>,
}

impl Rounds {
    /// The object has changed: whoever was asked before is due.
    pub fn changed(&mut self) {
        self.due.append(&mut self.invoked);
    }
}

/// Objects of a custom kind that a program outside converts.
pub struct Conversion<'a> {
    /// The door, for reading the state of the cluster.
    pub door: &'a Door,
    /// The kind, in any of its versions.
    pub kind: Arc<Kind>,
    /// The `apiVersion` wanted.
    pub to: &'a str,
    /// Whether the objects are those of a list.
    pub list: bool,
    /// Objects, none of them in that version yet.
    pub objects: Vec<Value>,
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
    /// Counts a write that nobody has refused; refuses what is too much.
    fn count(&self, _review: &mut Review<'_>) -> Result<(), Status> {
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
    /// Converts objects of a kind whose definition names a program that does, in their order.
    fn convert<'a>(
        &'a self,
        conversion: Conversion<'a>,
    ) -> BoxFuture<'a, Result<Vec<Value>, Status>>;
}

impl Door {
    /// Shows admission a body that is acted upon but not stored (an eviction, a binding, a
    /// request for a token, an access review); what admission made of it.
    pub(crate) async fn admit_posted(
        &self,
        context: &mut Context<'_>,
        body: Value,
    ) -> Result<Value, Status> {
        let mut review = self.review_of(context, Operation::Create, body, None);
        self.mutate(&mut review).await?;
        self.admit(&mut review).await?;
        context.warnings.append(&mut review.warnings);
        Ok(review.object)
    }

    /// Shows admission a stream or proxy that is about to be opened. The body of the call is its
    /// options object (`PodExecOptions`, ...).
    pub async fn admit_connection(&self, call: &Call) -> Result<(), Status> {
        let Body::Object { value, .. } = &call.body else {
            return Ok(());
        };
        let resource = &call.resource;
        let catalogue = self.catalogue();
        let kind = catalogue
            .resource(&resource.group, &resource.version, &resource.resource)
            .cloned()
            .ok_or_else(Status::no_such_path)?;
        let mut review = Review {
            door: self,
            user: &call.user,
            operation: Operation::Connect,
            kind,
            subresource: &call.subresource,
            namespace: &call.namespace,
            name: call.name.clone(),
            object: value.clone(),
            old: None,
            options: &call.options,
            warnings: Vec::new(),
            rounds: Rounds::default(),
        };
        self.mutate(&mut review).await?;
        self.admit(&mut review).await
    }
}
