//! The recent past: changes kept for watchers that come or catch up late, and for exact reads.
//!
//! Upstream counterpart: the watch cache's ring of events; etcd's uncompacted history.

use crate::{Change, Snapshot, StoreOptions};
use env::Time;
use std::{collections::VecDeque, sync::Arc};

/// Past snapshots kept for whoever pages through a list at an old revision.
const REMEMBERED_SNAPSHOTS: usize = 8;

/// The retained changes in revision order, all after `base`.
pub(crate) struct Window {
    base: u64,
    changes: VecDeque<(Time, Arc<Change>)>,
    bytes: usize,
    remembered: VecDeque<Snapshot>,
}

fn superseded_bytes(change: &Change) -> usize {
    change.old.as_ref().map_or(0, |old| old.bytes().len())
}

impl Window {
    /// An empty window after revision `base`.
    pub(crate) fn new(base: u64) -> Self {
        Self {
            base,
            changes: VecDeque::new(),
            bytes: 0,
            remembered: VecDeque::new(),
        }
    }

    /// The oldest revision that can still be read or watched from.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// Appends a change made at `time`.
    pub(crate) fn push(&mut self, time: Time, change: Arc<Change>) {
        self.bytes += superseded_bytes(&change);
        self.changes.push_back((time, change));
    }

    /// Drops what the limits no longer allow and returns it, to be freed outside of locks.
    pub(crate) fn trim(&mut self, now: Time, options: &StoreOptions) -> Vec<Arc<Change>> {
        let mut dropped = Vec::new();
        while let Some((time, _)) = self.changes.front() {
            let aged = now.since(*time) > options.retain_for
                && self.changes.len() > options.retain_at_least;
            let crowded =
                self.changes.len() > options.retain_at_most || self.bytes > options.retain_bytes;
            if !aged && !crowded {
                break;
            }
            dropped.extend(self.changes.pop_front().map(|(_, change)| change));
        }
        if let Some(last) = dropped.last() {
            self.base = last.revision;
        }
        self.bytes -= dropped
            .iter()
            .map(|change| superseded_bytes(change))
            .sum::<usize>();
        let base = self.base;
        self.remembered.retain(|snapshot| snapshot.revision >= base);
        dropped
    }

    /// Whether `revision` is one that readers may have seen and that is still retained.
    /// Revisions in a gap (lost in a power failure before they became durable) are not.
    pub(crate) fn knows(&self, revision: u64) -> bool {
        revision == self.base
            || self
                .changes
                .binary_search_by_key(&revision, |(_, change)| change.revision)
                .is_ok()
    }

    /// All changes after `revision`.
    pub(crate) fn after(
        &self,
        revision: u64,
    ) -> impl DoubleEndedIterator<Item = &Arc<Change>> + ExactSizeIterator {
        let start = self
            .changes
            .partition_point(|(_, change)| change.revision <= revision);
        self.changes.range(start..).map(|(_, change)| change)
    }

    /// The state at a known `revision`, reached by undoing changes from the nearest later one.
    pub(crate) fn rewind(&mut self, published: &Snapshot, revision: u64) -> Snapshot {
        let later = |snapshot: &&Snapshot| snapshot.revision >= revision;
        let nearest = self
            .remembered
            .iter()
            .filter(later)
            .min_by_key(|snapshot| snapshot.revision);
        let mut snapshot = nearest.unwrap_or(published).clone();
        if snapshot.revision == revision {
            return snapshot;
        }
        let end = snapshot.revision;
        for change in self.after(revision).rev() {
            if change.revision <= end {
                undo(&mut snapshot, change);
            }
        }
        snapshot.revision = revision;
        if self.remembered.len() == REMEMBERED_SNAPSHOTS {
            self.remembered.pop_front();
        }
        self.remembered.push_back(snapshot.clone());
        snapshot
    }
}

fn undo(snapshot: &mut Snapshot, change: &Change) {
    let table = snapshot.tables.entry(change.resource.clone()).or_default();
    match &change.old {
        Some(object) => table.insert(change.key.clone(), object.clone()),
        None => table.remove(&change.key),
    };
}
