//! `ResourceQuota`: a write that would take a namespace over a quota is refused.
//!
//! Usage is counted in a book for each resource; `status.used` is for people and may lag. Knows
//! what an object uses only through `usage.rs`. Upstream counterpart:
//! `k8s.io/apiserver/pkg/admission/plugin/resourcequota`, `pkg/quota/v1/evaluator/core`.

mod book;
mod scope;
pub mod usage;

use crate::{
    common::{forbid, quantity},
    ledger::token,
    pod_resources::Amounts,
};
use book::Book;
use kinds::{PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES};
use machinery::{Object, Quantity, SmolStr, Status, Value};
use registry::{Admission, Handles, Key, Operation, Operations, Review};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Mutex, MutexGuard},
};

/// Resources whose updates can add to usage (pods have a subresource for it).
const GROWING: [&str; 2] = [SERVICES, PERSISTENT_VOLUME_CLAIMS];

/// The plug-in.
#[derive(Default)]
pub struct ResourceQuota {
    /// By resource.
    books: Mutex<BTreeMap<SmolStr, Book>>,
}

impl ResourceQuota {
    fn books(&self) -> MutexGuard<'_, BTreeMap<SmolStr, Book>> {
        self.books.lock().expect("no holder of books panics")
    }
}

impl Admission for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn handles(&self) -> Handles {
        Handles {
            count: Operations::WRITES,
            ..Handles::NOTHING
        }
    }

    fn count(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !counts(review) {
            return Ok(());
        }
        let state = review.door.snapshot();
        let mut quotas = state
            .list(RESOURCE_QUOTAS, Some(review.namespace))
            .peekable();
        if quotas.peek().is_none() {
            return Ok(());
        }
        let mut books = self.books();
        let book = match books.entry(review.kind.storage.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(Book::new(&review.kind.storage, review.door)?),
        };
        book.catch_up(review.door)?;
        let mut limited = false;
        for quota in quotas {
            limited |= check(review, quota, book)?;
        }
        if limited {
            book.pass(review);
        }
        Ok(())
    }

    fn rolled_back(&self, review: &Review<'_>) {
        if counts(review)
            && let Some(book) = self.books().get_mut(&review.kind.storage)
        {
            book.roll_back(token(review));
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
#[derive(Clone, PartialEq)]
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
fn check(review: &Review<'_>, quota: &Object, book: &mut Book) -> Result<bool, Status> {
    let (key, quota) = (Key::new(review.namespace, quota.name()), Quota::read(quota));
    let storage = review.kind.storage.as_str();
    if storage == PODS && review.old.is_none() && quota.covers(storage, &review.object) {
        let missing = usage::unspecified(&review.object, quota.hard.keys());
        if !missing.is_empty() {
            let (name, missing) = (&quota.name, missing.join("; "));
            let why = format!("failed quota: {name}: must specify {missing}");
            return Err(forbid(review, &why));
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
    let used = book.used(&key, &quota, review.door)?;
    match exceeded(&new, &old, &used, &quota.hard) {
        Some(over) => {
            let why = format!("exceeded quota: {}, {over}", quota.name);
            Err(forbid(review, &why))
        }
        None => Ok(true),
    }
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
