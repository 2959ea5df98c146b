//! The store's handle: read snapshots, commit transactions, subscribe to changes.
//!
//! Upstream counterpart: `storage.Interface` of the API server over etcd.

use crate::{
    CommitError, Committed, Compacted, Key, OpenError, Snapshot, StoreOptions, Subscription,
    TornTail, Transaction, recover,
    shared::{Shared, Slot},
    writer,
};
use env::{Disk, World};
use futures::{
    FutureExt,
    channel::oneshot,
    future::{BoxFuture, Shared as SharedFuture},
    task::AtomicWaker,
};
use machinery::{Object, SmolStr};
use std::sync::{Arc, atomic::AtomicU64};

/// All objects, their log and their watchers. Dropping the handle closes it.
pub struct Store {
    shared: Arc<Shared>,
    torn: Option<TornTail>,
    stopped: SharedFuture<oneshot::Receiver<Arc<str>>>,
    ended: SharedFuture<oneshot::Receiver<()>>,
}

impl Store {
    /// Reads what is on `disk`, cuts a torn tail and starts the writer as a task of `world`.
    pub async fn open(
        world: &World,
        disk: Arc<dyn Disk>,
        options: StoreOptions,
    ) -> Result<Arc<Store>, OpenError> {
        let recovered = recover::recover(disk, &options).await?;
        let (tell_stopped, stopped) = oneshot::channel();
        let (tell_ended, ended) = oneshot::channel();
        let shared = Arc::new(Shared::new(
            world.clone(),
            options,
            recovered.start,
            tell_stopped,
        ));
        world.spawn(
            "store writer",
            writer::run(shared.clone(), recovered.log, tell_ended),
        );
        world.spawn("store leases", writer::expire(shared.clone()));
        Ok(Arc::new(Store {
            shared,
            torn: recovered.torn,
            stopped: stopped.shared(),
            ended: ended.shared(),
        }))
    }

    /// The unfinished write that was cut off on opening, if there was one.
    pub fn torn_tail(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }

    /// The latest published state: everything in it is acknowledged.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.lock().published.clone()
    }

    /// The latest published revision; zero before the first change.
    pub fn revision(&self) -> u64 {
        self.shared.lock().published.revision
    }

    /// The oldest revision [`Store::subscribe`] and [`Store::snapshot_at`] may be asked for.
    pub fn oldest_revision(&self) -> u64 {
        self.shared.lock().window.base()
    }

    /// The latest accepted state of an object, perhaps not yet durable: the base for
    /// read-modify-write, never to be shown to anyone.
    pub fn head(&self, resource: &str, key: &Key) -> Option<Arc<Object>> {
        self.shared.lock().head.get(resource, key).cloned()
    }

    /// The latest accepted state of everything; see [`Store::head`].
    pub fn head_snapshot(&self) -> Snapshot {
        self.shared.lock().head.clone()
    }

    /// Checks the preconditions and assigns revisions now; the future completes when the
    /// changes are durable (or written, see [`crate::Durability`]) and published. Dropping
    /// the future does not undo anything.
    pub fn commit(
        &self,
        transaction: impl Into<Transaction>,
    ) -> BoxFuture<'static, Result<Committed, CommitError>> {
        let stopped = || CommitError::Stopped("the store's writer ended".into());
        match self.shared.submit(transaction.into()) {
            Ok(acknowledged) => acknowledged
                .map(move |result| result.unwrap_or_else(|_| Err(stopped())))
                .boxed(),
            Err(error) => std::future::ready(Err(error)).boxed(),
        }
    }

    /// The state at an exact revision that is still retained.
    pub fn snapshot_at(&self, revision: u64) -> Result<Snapshot, Compacted> {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let current = state.published.revision;
        if revision == current {
            return Ok(state.published.clone());
        }
        if !state.window.knows(revision) {
            return Err(Compacted {
                oldest: state.window.base(),
                current,
            });
        }
        Ok(state.window.rewind(&state.published, revision))
    }

    /// All changes after `since`, which a snapshot or an object carried.
    pub fn subscribe(&self, since: u64) -> Result<Subscription, Compacted> {
        self.subscribe_resources(&[], since)
    }

    /// The changes of one resource after `since`; wakes for that resource only.
    pub fn subscribe_resource(
        &self,
        resource: &str,
        since: u64,
    ) -> Result<Subscription, Compacted> {
        self.subscribe_resources(&[resource], since)
    }

    /// The changes of some resources after `since` (of all, if none is named); wakes for those
    /// only.
    pub fn subscribe_resources(
        &self,
        resources: &[&str],
        since: u64,
    ) -> Result<Subscription, Compacted> {
        let mut state = self.shared.lock();
        let current = state.published.revision;
        if since != current && !state.window.knows(since) {
            return Err(Compacted {
                oldest: state.window.base(),
                current,
            });
        }
        let cursor = AtomicU64::new(since);
        let slot = Arc::new(Slot {
            resources: resources.iter().map(SmolStr::new).collect(),
            cursor,
            waker: AtomicWaker::new(),
        });
        let number = state.next_slot;
        state.next_slot += 1;
        state.slots.insert(number, slot.clone());
        drop(state);
        Ok(Subscription {
            shared: self.shared.clone(),
            slot,
            number,
        })
    }

    /// Completes with the reason when the store has stopped (closed, or its disk failed).
    pub fn stopped(&self) -> BoxFuture<'static, Arc<str>> {
        let lost = || Arc::from("the store was dropped");
        self.stopped
            .clone()
            .map(move |reason| reason.unwrap_or_else(|_| lost()))
            .boxed()
    }

    /// Refuses new commits, waits for queued ones, syncs and lets go of the disk.
    pub async fn close(&self) {
        self.shared.stop("it was closed", false);
        // An error means the writer is already gone, which is what is wanted.
        let _ = self.ended.clone().await;
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.stop("the store was dropped", false);
    }
}
