//! A watcher's reading of the log: every change after a revision, in order, once.
//!
//! Upstream counterpart: etcd's watch stream, the cacher's `cacheWatcher`.

use crate::{
    Change,
    shared::{Shared, Slot},
};
use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    task::Poll,
};

/// Changes handed out by one call at most: bounds what a late watcher holds at once.
const CHANGES_PER_READ: usize = 1_000;

/// The asked revision is not (or no longer, or not yet) in the retained window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Oldest revision that can be asked for.
    pub oldest: u64,
    /// Latest published revision.
    pub current: u64,
}

impl fmt::Display for Compacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the revision is not retained; oldest {}, current {}",
            self.oldest, self.current
        )
    }
}
impl std::error::Error for Compacted {}

/// The watcher fell behind the retained window; it must list again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lagged {
    /// Oldest revision still retained.
    pub oldest: u64,
}

impl fmt::Display for Lagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the watcher fell behind revision {}", self.oldest)
    }
}
impl std::error::Error for Lagged {}

/// A place in the log that moves forward as it is read.
pub struct Subscription {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: Arc<Slot>,
    pub(crate) number: u64,
}

impl Subscription {
    /// All revisions up to this one have been handed out (or concern other resources).
    pub fn revision(&self) -> u64 {
        self.slot.cursor.load(Ordering::Relaxed)
    }

    /// What is new, possibly nothing.
    pub fn try_next(&mut self) -> Result<Vec<Arc<Change>>, Lagged> {
        let state = self.shared.lock();
        let cursor = self.revision();
        let oldest = state.window.base();
        if cursor < oldest {
            return Err(Lagged { oldest });
        }
        let mut reached = state.published.revision;
        let new = state.window.after(cursor);
        let mut changes = Vec::with_capacity(match &*self.slot.resources {
            [] => new.len().min(CHANGES_PER_READ),
            _ => 0,
        });
        for change in new {
            if !self.slot.wants(&change.resource) {
                continue;
            }
            if changes.len() == CHANGES_PER_READ {
                reached = changes
                    .last()
                    .map_or(reached, |last: &Arc<Change>| last.revision);
                break;
            }
            changes.push(change.clone());
        }
        self.slot.cursor.store(reached, Ordering::Relaxed);
        Ok(changes)
    }

    /// Waits until there is something new and returns all of it (in portions). Stays pending
    /// when the store stops. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Vec<Arc<Change>>, Lagged> {
        std::future::poll_fn(|context| {
            // Before anybody is to be woken: who has something to do is not woken once more.
            match self.try_next() {
                Ok(changes) if changes.is_empty() => {}
                result => return Poll::Ready(result),
            }
            self.slot.waker.register(context.waker());
            match self.try_next() {
                Ok(changes) if changes.is_empty() => Poll::Pending,
                result => Poll::Ready(result),
            }
        })
        .await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.lock().slots.remove(&self.number);
    }
}
