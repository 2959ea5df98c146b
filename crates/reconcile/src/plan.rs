//! What brains want done, as values, and the two shapes a brain can have.
//!
//! A [`Controller`] is a function of one key; a [`Brain`] keeps state of its own (the
//! scheduler, a kubelet). Neither sees the door: plans are carried out by the driver, and
//! their outcomes come back by being observed.

use crate::{Change, View};
use env::Time;
use machinery::{SmolStr, Status, Value};
use std::time::Duration;

/// The name of one object anywhere in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Resource: plural name, with `.group` unless core.
    pub resource: SmolStr,
    /// Namespace, empty for cluster scope.
    pub namespace: SmolStr,
    /// Name.
    pub name: SmolStr,
}

impl Target {
    /// From three names.
    pub fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self {
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// What must still hold when an action is carried out; otherwise it fails with a conflict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// The object's UID.
    pub uid: Option<SmolStr>,
    /// The object's revision.
    pub revision: Option<u64>,
}

impl Preconditions {
    /// The object must still be the one with this UID.
    pub fn uid(uid: &str) -> Self {
        Self {
            uid: Some(uid.into()),
            revision: None,
        }
    }

    /// The object must still be exactly this revision.
    pub fn exactly(object: &machinery::Object) -> Self {
        Self {
            uid: Some(object.uid().into()),
            revision: Some(object.revision()),
        }
    }
}

/// What happens to dependents of a deleted object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// The kind's default.
    #[default]
    Default,
    /// The object goes first.
    Background,
    /// Dependents go first.
    Foreground,
    /// Dependents stay.
    Orphan,
}

/// One request to the door.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Creates an object (`metadata.name` or `generateName` inside). `namespace` empty for cluster scope.
    Create {
        /// Where; `name` is empty for the resource itself or names the parent of a subresource
        /// (`binding`, `eviction`).
        target: Target,
        /// Subresource, usually empty.
        subresource: &'static str,
        /// The object, with `apiVersion` and `kind`.
        object: Value,
        /// Whether an existing object of that name is success.
        existing_is_fine: bool,
    },
    /// Replaces an object, or its `status`, if its `metadata.resourceVersion` (when set) still holds.
    Update {
        /// What.
        target: Target,
        /// `status`, `finalize`, `scale` or empty.
        subresource: &'static str,
        /// The complete object.
        object: Value,
    },
    /// JSON merge patch (RFC 7386): lists are replaced whole.
    Patch {
        /// What.
        target: Target,
        /// `status`, `scale` or empty.
        subresource: &'static str,
        /// The patch.
        patch: Value,
        /// What must hold.
        when: Preconditions,
    },
    /// Deletes an object; one that is gone already is success.
    Delete {
        /// What.
        target: Target,
        /// What must hold.
        when: Preconditions,
        /// Overrides the grace period, seconds.
        grace_seconds: Option<i64>,
        /// Dependents.
        propagation: Propagation,
    },
    /// Records an Event; failures are not reported.
    Event(Event),
}

/// An Event about an object; the driver aggregates repetitions into a count.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// `apiVersion`, `kind`, `namespace`, `name`, `uid`, optional `fieldPath` of what it is about.
    pub about: Value,
    /// `Warning` instead of `Normal`.
    pub warning: bool,
    /// CamelCase reason.
    pub reason: SmolStr,
    /// Sentence.
    pub message: String,
}

/// An object reference for [`Event::about`].
pub fn reference(object: &machinery::Object) -> Value {
    let mut reference = machinery::json!({
        "apiVersion": object.at("apiVersion").str(), "kind": object.at("kind").str(),
        "name": object.name(), "uid": object.uid(), "resourceVersion": object.revision().to_string(),
    });
    if !object.namespace().is_empty() {
        reference["namespace"] = object.namespace().into();
    }
    reference
}

/// What a reconciliation wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// To be carried out in this order; the first failure ends the plan and the key is tried again.
    pub actions: Vec<Action>,
    /// Look at the key again at this time even if nothing changes.
    pub again_at: Option<Time>,
    /// The view was not good enough to decide (a sentence for diagnostics): try again with back-off.
    pub failed: Option<String>,
}

impl Plan {
    /// Nothing to do.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Adds an action.
    pub fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Looks again no later than `time`.
    pub fn look_again(&mut self, time: Time) {
        self.again_at = Some(self.again_at.map_or(time, |known| known.min(time)));
    }
}

/// A resource a controller watches and which keys its changes wake.
#[derive(Clone, Copy)]
pub struct Watch {
    /// Resource (`pods`, `deployments.apps`), or `*` for all.
    pub resource: &'static str,
    /// Adds the keys to look at because of a change. The view already contains the change.
    pub wakes: fn(&View, &Change, &mut Vec<Target>),
}

/// Wakes the changed object itself.
pub fn itself(_: &View, change: &Change, wake: &mut Vec<Target>) {
    wake.push(Target {
        resource: change.resource.clone(),
        namespace: change.key.namespace.clone(),
        name: change.key.name.clone(),
    });
}

/// A reconciler of single keys. Has no state: everything it knows is in the view.
pub trait Controller: Send + Sync {
    /// Name: appears in metrics, and as user `system:serviceaccount:kube-system:<name>` and field manager.
    fn name(&self) -> &'static str;
    /// What wakes it.
    fn watches(&self) -> Vec<Watch>;
    /// Indexes it reads.
    fn indexes(&self) -> Vec<crate::Index> {
        Vec::new()
    }
    /// Decides what to do about one key. After its own actions were carried out, the key is
    /// looked at again only with a view that contains their effects.
    fn reconcile(&self, view: &View, key: &Target, now: Time) -> Plan;
    /// What to report about an action of the key's plan that failed (an event, a condition). The
    /// driver carries it out once, ignores its failures, and then retries the key with back-off.
    fn failed(&self, _: &View, _: &Target, _: (&Action, &Status), _: Time) -> Plan {
        Plan::nothing()
    }
}

/// A unit of work of a [`Brain`]: actions carried out in order, until one fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// The brain's own number for it, returned in [`Brain::finished`].
    pub id: u64,
    /// The actions.
    pub actions: Vec<Action>,
}

/// What a brain wants now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Independent units, carried out concurrently.
    pub work: Vec<Work>,
    /// Decide again at this time even if nothing changes.
    pub again_at: Option<Time>,
}

/// A decider with state of its own, fed by the log.
pub trait Brain: Send {
    /// Name: appears in metrics and as its user and field manager.
    fn name(&self) -> &'static str;
    /// Resources it wants to observe; `*` for all.
    fn resources(&self) -> Vec<SmolStr>;
    /// Indexes it reads.
    fn indexes(&self) -> Vec<crate::Index> {
        Vec::new()
    }
    /// Whether it waits for the view to reach a revision, so that any change may free it.
    fn awaits_revision(&self) -> bool {
        false
    }
    /// What time it is: told before changes and after a decision, for what is measured.
    fn clock(&mut self, _now: Time) {}
    /// Takes in one change, in log order; the first ones present the initial state as creations.
    fn observe(&mut self, view: &View, change: &Change);
    /// Decides. Called after changes, after finished work, and when due.
    fn decide(&mut self, view: &View, now: Time) -> Decision;
    /// What to report (events, conditions) about an action of this work that failed. Carried out
    /// once, failures ignored, before [`Brain::finished`].
    fn report(&self, _: &View, _id: u64, _: (&Action, &Status), _: Time) -> Vec<Action> {
        Vec::new()
    }
    /// Work ended: with the revision its last write made, or the first failure.
    fn finished(&mut self, id: u64, result: Result<u64, Status>, now: Time);
}

/// Doubling delay: `base` at the first failure, at most `limit`.
pub fn backoff(failures: u32, base: Duration, limit: Duration) -> Duration {
    base.saturating_mul(
        1u32.checked_shl(failures.saturating_sub(1))
            .unwrap_or(u32::MAX),
    )
    .min(limit)
}
