//! `ResourceQuota`: a write that would take a namespace over a quota is refused.
//!
//! Usage is counted from the live objects of the resource being written, plus the writes that
//! have passed but are not yet visible; `status.used` is for people and may lag. Knows what an
//! object uses only through `usage.rs`. Upstream counterpart:
//! `k8s.io/apiserver/pkg/admission/plugin/resourcequota`, `pkg/quota/v1/evaluator/core`.

mod scope;
pub mod usage;

use crate::{
    common::{forbid, quantity},
    ledger::{RESERVED_FOR, Token, token},
    pod_resources::{Amounts, add},
};
use env::Time;
use kinds::{PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES};
use machinery::{Object, Quantity, SmolStr, Status, Value};
use registry::{Admission, Key, Operation, Review, Snapshot, Subscription};
use std::sync::{Arc, Mutex};

/// Resources whose updates can add to usage (pods have a subresource for it).
const GROWING: [&str; 2] = [SERVICES, PERSISTENT_VOLUME_CLAIMS];

/// The plug-in.
#[derive(Default)]
pub struct ResourceQuota {
    pending: Mutex<Pending>,
}

/// Writes that have passed and are not yet seen in the log.
#[derive(Default)]
struct Pending {
    log: Option<Subscription>,
    writes: Vec<Passed>,
}

struct Passed {
    token: Token,
    at: Time,
    storage: SmolStr,
    key: Key,
    uid: String,
    /// Revision that is replaced; zero for a creation.
    base: u64,
    object: Value,
}

impl Admission for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn count(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !counts(review) {
            return Ok(());
        }
        let mut pending = self
            .pending
            .lock()
            .expect("no holder of pending writes panics");
        pending.catch_up(review.door.now());
        let state = review.door.snapshot();
        let mut limited = false;
        for quota in state.list(RESOURCE_QUOTAS, Some(review.namespace)) {
            limited |= check(review, &Quota::read(quota), &state, &pending)
                .map_err(|why| forbid(review, &why))?;
        }
        if limited {
            pending.pass(review, &state)
        } else {
            Ok(())
        }
    }

    fn rolled_back(&self, review: &Review<'_>) {
        if counts(review) {
            let mut pending = self
                .pending
                .lock()
                .expect("no holder of pending writes panics");
            let own = token(review);
            pending.writes.retain(|write| write.token != own);
        }
    }
}

/// Whether the write can add to a namespace's usage.
fn counts(review: &Review<'_>) -> bool {
    let grows = match (review.operation, review.subresource) {
        (Operation::Create, "") => true,
        (Operation::Update, "") => GROWING.contains(&review.kind.storage.as_str()),
        (Operation::Update, "resize") => review.kind.storage == PODS,
        _ => false,
    };
    grows && review.kind.namespaced && review.kind.stored
}

/// A quota as far as admission reads it.
struct Quota {
    name: String,
    hard: Amounts,
    scopes: Vec<scope::Scope>,
}

impl Quota {
    fn read(quota: &Object) -> Self {
        let value = quota.root().to_value();
        let hard = value["spec"]["hard"].entries();
        Self {
            name: quota.name().into(),
            hard: hard
                .filter_map(|(name, limit)| Some((name.to_string(), quantity(limit)?)))
                .collect(),
            scopes: scope::read(&value["spec"]),
        }
    }

    /// Whether `object` is in all scopes.
    fn covers(&self, storage: &str, object: &Value) -> bool {
        self.scopes
            .iter()
            .all(|scope| scope.matches(storage, object))
    }

    /// What `object` uses of this quota.
    fn usage(&self, storage: &str, object: &Value) -> Amounts {
        if !self.covers(storage, object) {
            return Amounts::new();
        }
        let mut used = usage::of(storage, object);
        used.retain(|name, _| self.hard.contains_key(name));
        used
    }
}

/// Whether the quota concerns the write; an error says what it exceeds.
fn check(
    review: &Review<'_>,
    quota: &Quota,
    state: &Snapshot,
    pending: &Pending,
) -> Result<bool, String> {
    let storage = review.kind.storage.as_str();
    if storage == PODS && review.old.is_none() && quota.covers(storage, &review.object) {
        let missing = usage::unspecified(&review.object, quota.hard.keys());
        if !missing.is_empty() {
            return Err(format!(
                "failed quota: {}: must specify {}",
                quota.name,
                missing.join("; ")
            ));
        }
    }
    let new = quota.usage(storage, &review.object);
    if new.is_empty() {
        return Ok(false);
    }
    let old = review
        .old
        .map(|old| quota.usage(storage, &old.root().to_value()))
        .unwrap_or_default();
    let used = live(review, quota, state, pending);
    match exceeded(&new, &old, &used, &quota.hard) {
        Some(over) => Err(format!("exceeded quota: {}, {over}", quota.name)),
        None => Ok(true),
    }
}

/// Usage of the namespace by objects of the resource, passed writes included.
fn live(review: &Review<'_>, quota: &Quota, state: &Snapshot, pending: &Pending) -> Amounts {
    let storage = review.kind.storage.as_str();
    let mut sum = Amounts::new();
    for object in state.list(storage, Some(review.namespace)) {
        add(&mut sum, &quota.usage(storage, &object.root().to_value()));
    }
    for write in pending.unseen(storage, review.namespace, state) {
        add(&mut sum, &quota.usage(storage, &write.object));
        if let Some(old) = state.get(storage, &write.key) {
            for (name, amount) in quota.usage(storage, &old.root().to_value()) {
                let entry = sum.entry(name).or_default();
                *entry = *entry - amount;
            }
        }
    }
    sum
}

/// Upstream's account of what goes over, if something does.
fn exceeded(new: &Amounts, old: &Amounts, used: &Amounts, hard: &Amounts) -> Option<String> {
    let mut over = Vec::new();
    for (name, amount) in new {
        let delta = *amount - old.get(name).copied().unwrap_or_default();
        let now = used.get(name).copied().unwrap_or(Quantity::ZERO);
        let limit = hard.get(name).copied().unwrap_or_default();
        if delta > Quantity::ZERO && now + delta > limit {
            over.push((name, [delta, now, limit]));
        }
    }
    let show = |which: usize| {
        let shown: Vec<_> = over
            .iter()
            .map(|(name, amounts)| format!("{name}={}", amounts[which]))
            .collect();
        shown.join(",")
    };
    (!over.is_empty()).then(|| {
        format!(
            "requested: {}, used: {}, limited: {}",
            show(0),
            show(1),
            show(2)
        )
    })
}

impl Pending {
    /// Drops writes that the log shows, and those too old to be under way.
    fn catch_up(&mut self, now: Time) {
        while let Some(log) = self.log.as_mut().filter(|_| !self.writes.is_empty()) {
            match log.try_next() {
                Ok(changes) if changes.is_empty() => break,
                Ok(changes) => {
                    for new in changes.iter().filter_map(|change| change.new.as_ref()) {
                        self.writes.retain(|write| write.uid != new.uid());
                    }
                }
                // Whatever passed before the retained log began has long been decided.
                Err(_) => self.writes.clear(),
            }
        }
        self.writes
            .retain(|write| now.since(write.at) < RESERVED_FOR);
        if self.writes.is_empty() {
            self.log = None;
        }
    }

    fn pass(&mut self, review: &Review<'_>, state: &Snapshot) -> Result<(), Status> {
        if self.log.is_none() {
            self.log = Some(review.door.subscribe(state.revision)?);
        }
        self.writes.push(Passed {
            token: token(review),
            at: review.door.now(),
            storage: review.kind.storage.clone(),
            key: Key::new(review.namespace, review.object.name()),
            uid: review.object.uid().into(),
            base: review.old.map_or(0, |old: &Arc<Object>| old.revision()),
            object: review.object.clone(),
        });
        Ok(())
    }

    /// Passed writes whose effect `state` does not show.
    fn unseen<'a>(
        &'a self,
        storage: &'a str,
        namespace: &'a str,
        state: &'a Snapshot,
    ) -> impl Iterator<Item = &'a Passed> {
        self.writes.iter().filter(move |write| {
            let here = write.storage == storage && write.key.namespace == namespace;
            let current = state.get(storage, &write.key);
            here && match write.base {
                0 => current.is_none_or(|current| current.uid() != write.uid),
                base => current.is_some_and(|current| current.revision() == base),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_growth_beyond_the_limit_counts() {
        let amounts = |list: &[(&str, &str)]| -> Amounts {
            list.iter()
                .map(|(name, amount)| ((*name).to_owned(), amount.parse().unwrap()))
                .collect()
        };
        let hard = amounts(&[("requests.cpu", "20"), ("pods", "3")]);
        for (new, old, used, wanted) in [
            (
                vec![("requests.cpu", "1")],
                vec![],
                vec![("requests.cpu", "20")],
                Some("requested: requests.cpu=1, used: requests.cpu=20, limited: requests.cpu=20"),
            ),
            (
                vec![("requests.cpu", "1")],
                vec![],
                vec![("requests.cpu", "19")],
                None,
            ),
            (
                vec![("requests.cpu", "2")],
                vec![("requests.cpu", "3")],
                vec![("requests.cpu", "25")],
                None,
            ),
            (
                vec![("pods", "1"), ("requests.cpu", "500m")],
                vec![],
                vec![("pods", "3"), ("requests.cpu", "20")],
                Some(
                    "requested: pods=1,requests.cpu=500m, used: pods=3,requests.cpu=20, limited: pods=3,requests.cpu=20",
                ),
            ),
        ] {
            let found = exceeded(&amounts(&new), &amounts(&old), &amounts(&used), &hard);
            assert_eq!(found.as_deref(), wanted);
        }
    }
}
