//! The seam to admission: what a plug-in is shown and may change.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/admission`.

use crate::{Body, Call, Context, Door, Options, Step};
use auth::User;
use env::BoxFuture;
use kinds::Kind;
use machinery::{Object, SmolStr, Status, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
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

/// Operations, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations(u8);

impl Operations {
    /// None.
    pub const NONE: Self = Self(0);
    /// Those that bring objects in or change them.
    pub const WRITES: Self = Self::of(&[Operation::Create, Operation::Update]);

    /// These.
    pub const fn of(all: &[Operation]) -> Self {
        let (mut set, mut at) = (0, 0);
        while at < all.len() {
            set |= 1 << all[at] as u8;
            at += 1;
        }
        Self(set)
    }

    /// Whether this is one of them.
    pub const fn has(self, operation: Operation) -> bool {
        self.0 & (1 << operation as u8) != 0
    }
}

/// What a plug-in is there for: it is asked about nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handles {
    /// Operations that it may change.
    pub admit: Operations,
    /// Operations that it may refuse, as they will be stored.
    pub validate: Operations,
    /// Operations that it counts.
    pub count: Operations,
    /// Storage resources of the objects that it looks at; none for all.
    pub kinds: &'static [&'static str],
    /// Whether upstream has a plug-in of this name: metrics tell of those only.
    pub told: bool,
}

impl Handles {
    /// Nothing yet, of all kinds.
    pub const NOTHING: Self = Self {
        admit: Operations::NONE,
        validate: Operations::NONE,
        count: Operations::NONE,
        kinds: &[],
        told: true,
    };

    /// Changes what these operations bring.
    pub const fn admits(self, admit: &[Operation]) -> Self {
        let admit = Operations::of(admit);
        Self { admit, ..self }
    }

    /// Refuses what these operations bring.
    pub const fn validates(self, validate: &[Operation]) -> Self {
        let validate = Operations::of(validate);
        Self { validate, ..self }
    }

    /// Looks at objects of these kinds only.
    pub const fn of(self, kinds: &'static [&'static str]) -> Self {
        Self { kinds, ..self }
    }

    pub(crate) fn looks_at(&self, kind: &Kind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind.storage.as_str())
    }
}

/// A step of the admission chain. Synchronous: what must wait (webhooks) has its own step.
pub trait Admission: Send + Sync {
    /// Upstream's plug-in name.
    fn name(&self) -> &'static str;
    /// What it is asked about.
    fn handles(&self) -> Handles;
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

/// What plug-ins are asked to do with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Mutate,
    Validate,
    Count,
}

impl Stage {
    fn of(self, handles: &Handles) -> Operations {
        match self {
            Self::Mutate => handles.admit,
            Self::Validate => handles.validate,
            Self::Count => handles.count,
        }
    }

    /// The step it is part of.
    fn step(self) -> Step {
        match self {
            Self::Mutate => Step::Admit,
            Self::Validate | Self::Count => Step::Validate,
        }
    }

    fn ask(self, plugin: &dyn Admission, review: &mut Review<'_>) -> Result<(), Status> {
        match self {
            Self::Mutate => plugin.mutate(review),
            Self::Validate => plugin.validate(review),
            Self::Count => plugin.count(review),
        }
    }
}

impl Door {
    /// Asks the plug-ins that are there for such a write, and counts what they took. Those that
    /// look at other kinds have nothing to do and take no time. The end of one is the beginning
    /// of the next: a clock is read once for each.
    pub(crate) fn chain(&self, review: &mut Review<'_>, stage: Stage) -> Result<(), Status> {
        let (operation, step) = (review.operation, stage.step());
        let mut since = None;
        let plugins = self.inner().admission.iter();
        for (plugin, counts) in plugins.zip(self.measures().chain()) {
            if !stage.of(&counts.handles).has(operation) {
                continue;
            }
            if !counts.handles.looks_at(&review.kind) {
                counts.asked(operation, step, false, Duration::ZERO);
                continue;
            }
            let begun = since.unwrap_or_else(|| self.world().lapse());
            let outcome = stage.ask(plugin.as_ref(), review);
            let done = self.world().lapse();
            let took = done.saturating_sub(begun);
            counts.asked(operation, step, outcome.is_err(), took);
            outcome?;
            since = Some(done);
        }
        Ok(())
    }

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
