//! What quotas count of one resource: counted from the live objects once and kept up from the
//! log, plus the writes that have passed and that the log does not show yet.
//!
//! Everything here is of one point of the log. Knows no rule of what an object uses. Upstream
//! counterpart: `quotaAccessor` of the plug-in, and the quota controller's recounting.

use super::{Quota, usage};
use crate::{
    ledger::{RESERVED_FOR, Token, token},
    pod_resources::{Amounts, add},
};
use env::Time;
use kinds::RESOURCE_QUOTAS;
use machinery::{Object, SmolStr, Status, Value};
use registry::{Change, Door, Key, Review, Snapshot, Subscription};
use std::{collections::BTreeMap, sync::Arc};

/// The book of one resource.
pub(super) struct Book {
    storage: SmolStr,
    log: Subscription,
    passed: Vec<Passed>,
    /// By quota.
    counted: BTreeMap<Key, Counted>,
}

/// A write that has passed and is not yet seen in the log.
struct Passed {
    token: Token,
    at: Time,
    namespace: SmolStr,
    uid: String,
    object: Value,
    old: Option<Arc<Object>>,
}

/// What all objects of the resource use of a quota.
struct Counted {
    quota: Quota,
    /// The state it was counted in: older changes are in it.
    revision: u64,
    used: Amounts,
}

impl Book {
    /// An empty book of what is stored as `storage`.
    pub fn new(storage: &SmolStr, door: &Door) -> Result<Self, Status> {
        Ok(Self {
            storage: storage.clone(),
            log: door.subscribe_to(storage, door.snapshot().revision)?,
            passed: Vec::new(),
            counted: BTreeMap::new(),
        })
    }

    /// Reads what the log has to say, and forgets writes too old to be under way.
    pub fn catch_up(&mut self, door: &Door) -> Result<(), Status> {
        loop {
            match self.log.try_next() {
                Ok(changes) if changes.is_empty() => break,
                Ok(changes) => changes.iter().for_each(|change| self.take_in(change)),
                Err(_) => {
                    // Whatever passed before the retained log began has long been decided.
                    *self = Self::new(&self.storage, door)?;
                }
            }
        }
        let now = door.now();
        self.passed
            .retain(|write| now.since(write.at) < RESERVED_FOR);
        Ok(())
    }

    fn take_in(&mut self, change: &Change) {
        if let Some(new) = &change.new {
            self.passed.retain(|write| write.uid != new.uid());
        }
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && usage::is_alike(old, new)
        {
            return;
        }
        let concerned = self.counted.iter_mut().filter(|(key, counted)| {
            key.namespace == change.key.namespace && counted.revision < change.revision
        });
        for (_, counted) in concerned {
            let usage =
                |object: &Arc<Object>| counted.quota.usage(&self.storage, &object.to_value());
            let (old, new) = (
                change.old.as_ref().map(usage),
                change.new.as_ref().map(usage),
            );
            exchange(&mut counted.used, old, new);
        }
    }

    /// What a quota is used, passed writes included. Ends at a later point of the log where it
    /// has to count anew.
    pub fn used(&mut self, key: &Key, quota: &Quota, door: &Door) -> Result<Amounts, Status> {
        let is_known = |known: &Counted| known.quota == *quota;
        while !self.counted.get(key).is_some_and(is_known) {
            let state = door.snapshot();
            self.counted
                .retain(|key, _| state.get(RESOURCE_QUOTAS, key).is_some());
            let counted = Counted::of(quota, &self.storage, &key.namespace, &state);
            self.counted.insert(key.clone(), counted);
            self.catch_up(door)?;
        }
        let counted = self.counted.get(key);
        let mut used = counted.map(|one| one.used.clone()).unwrap_or_default();
        for write in self
            .passed
            .iter()
            .filter(|one| one.namespace == key.namespace)
        {
            let old = write.old.as_ref().map(|old| old.to_value());
            let old = old.map(|old| quota.usage(&self.storage, &old));
            exchange(
                &mut used,
                old,
                Some(quota.usage(&self.storage, &write.object)),
            );
        }
        Ok(used)
    }

    /// Notes a write that passes.
    pub fn pass(&mut self, review: &Review<'_>) {
        self.passed.push(Passed {
            token: token(review),
            at: review.door.now(),
            namespace: review.namespace.into(),
            uid: review.object.uid().into(),
            object: review.object.clone(),
            old: review.old.cloned(),
        });
    }

    /// Forgets a write that was not committed after all.
    pub fn roll_back(&mut self, own: Token) {
        self.passed.retain(|write| write.token != own);
    }
}

impl Counted {
    fn of(quota: &Quota, storage: &str, namespace: &str, state: &Snapshot) -> Self {
        let mut used = Amounts::new();
        for object in state.list(storage, Some(namespace)) {
            add(&mut used, &quota.usage(storage, &object.to_value()));
        }
        Self {
            quota: quota.clone(),
            revision: state.revision,
            used,
        }
    }
}

/// Takes what an object used out of a sum and puts in what it uses.
fn exchange(sum: &mut Amounts, old: Option<Amounts>, new: Option<Amounts>) {
    for (name, amount) in old.unwrap_or_default() {
        let entry = sum.entry(name).or_default();
        *entry = *entry - amount;
    }
    add(sum, &new.unwrap_or_default());
}
