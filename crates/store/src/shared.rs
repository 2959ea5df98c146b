//! The store's state under its one lock: accepted head, published snapshot, queue, watchers.
//!
//! Everything here is synchronous and short; the disk is the writer's business.
//! Upstream counterpart: etcd's raft-applied mvcc store.

use crate::{
    Change, CommitError, Committed, Durability, Expected, Operation, Snapshot, StoreOptions,
    Transaction, Write, leases::Leases, window::Window,
};
use env::{Time, World};
use futures::{channel::oneshot, task::AtomicWaker};
use machinery::{Object, SmolStr};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

/// Transactions written by one disk write at most.
const GROUP_TRANSACTIONS: usize = 256;
/// Object bytes written by one disk write at most (one transaction may exceed it alone).
const GROUP_BYTES: usize = 1 << 20;

/// What a commit waits for.
pub(crate) type Acknowledgement = oneshot::Receiver<Result<Committed, CommitError>>;

/// A change and the lease it leaves its object with.
pub(crate) struct Entry {
    pub(crate) change: Arc<Change>,
    pub(crate) lease: Option<Time>,
}

/// An accepted transaction that waits for the disk.
pub(crate) struct Pending {
    pub(crate) entries: Vec<Entry>,
    acknowledge: oneshot::Sender<Result<Committed, CommitError>>,
}

/// Transactions that go to disk in one write.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) transactions: Vec<Pending>,
    pub(crate) durable: bool,
    bytes: usize,
    /// State after the group, known once it is closed.
    after: Option<Snapshot>,
}

impl Group {
    fn is_full(&self) -> bool {
        self.transactions.len() >= GROUP_TRANSACTIONS || self.bytes >= GROUP_BYTES
    }

    /// All entries in revision order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.transactions
            .iter()
            .flat_map(|transaction| &transaction.entries)
    }

    /// Tells everyone who waits for the group that the store has stopped.
    pub(crate) fn fail(self, reason: &Arc<str>) {
        for pending in self.transactions {
            // See `publish`: nobody may be waiting any more.
            let _ = pending
                .acknowledge
                .send(Err(CommitError::Stopped(reason.clone())));
        }
    }
}

/// What the writer does next.
pub(crate) enum Work {
    /// Write this group.
    Group(Group),
    /// Nothing is queued and nothing will be.
    Close,
}

/// A watcher's place in the log.
pub(crate) struct Slot {
    /// Resources it wants; all if it names none.
    pub(crate) resources: Box<[SmolStr]>,
    /// Last revision it has consumed or may skip.
    pub(crate) cursor: AtomicU64,
    pub(crate) waker: AtomicWaker,
}

impl Slot {
    pub(crate) fn wants(&self, resource: &SmolStr) -> bool {
        self.resources.is_empty() || self.resources.contains(resource)
    }
}

pub(crate) struct State {
    pub(crate) head: Snapshot,
    next_revision: u64,
    pub(crate) published: Snapshot,
    pub(crate) window: Window,
    pub(crate) leases: Leases,
    /// Counts groups that touched a lease.
    pub(crate) lease_generation: u64,
    groups: VecDeque<Group>,
    pub(crate) slots: BTreeMap<u64, Arc<Slot>>,
    pub(crate) next_slot: u64,
    pub(crate) stopped: Option<Arc<str>>,
    tell_stopped: Option<oneshot::Sender<Arc<str>>>,
}

/// State shared by the store's handle, its watchers and its tasks.
pub(crate) struct Shared {
    pub(crate) world: World,
    pub(crate) options: StoreOptions,
    state: Mutex<State>,
    writer: AtomicWaker,
    pub(crate) leases_changed: AtomicWaker,
}

/// What recovery found on disk.
pub(crate) struct Start {
    pub(crate) snapshot: Snapshot,
    pub(crate) next_revision: u64,
    pub(crate) window: Window,
    pub(crate) leases: Leases,
}

impl Shared {
    pub(crate) fn new(
        world: World,
        options: StoreOptions,
        start: Start,
        tell_stopped: oneshot::Sender<Arc<str>>,
    ) -> Self {
        let state = State {
            head: start.snapshot.clone(),
            next_revision: start.next_revision,
            published: start.snapshot,
            window: start.window,
            leases: start.leases,
            lease_generation: 0,
            groups: VecDeque::new(),
            slots: BTreeMap::new(),
            next_slot: 0,
            stopped: None,
            tell_stopped: Some(tell_stopped),
        };
        Self {
            world,
            options,
            state: Mutex::new(state),
            writer: AtomicWaker::new(),
            leases_changed: AtomicWaker::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a broken invariant; going on would publish it.
        self.state.lock().expect("the store's state is sound")
    }

    /// Checks and accepts a transaction; the receiver completes when it is published.
    pub(crate) fn submit(&self, transaction: Transaction) -> Result<Acknowledgement, CommitError> {
        transaction.operations.iter().for_each(check_names);
        let (acknowledge, acknowledged) = oneshot::channel();
        let durable = transaction.durability == Durability::Durable;
        let mut state = self.lock();
        if let Some(reason) = &state.stopped {
            return Err(CommitError::Stopped(reason.clone()));
        }
        state.check(&transaction)?;
        let full = state.groups.back().is_some_and(Group::is_full);
        let before = full.then(|| state.head.clone());
        let entries = state.accept(transaction);
        state.enqueue(
            before,
            Pending {
                entries,
                acknowledge,
            },
            durable,
        );
        drop(state);
        self.writer.wake();
        Ok(acknowledged)
    }

    /// The next group to write; waits (as a poll) for one.
    pub(crate) fn poll_work(&self, context: &mut std::task::Context<'_>) -> std::task::Poll<Work> {
        self.writer.register(context.waker());
        let mut state = self.lock();
        if let Some(mut group) = state.groups.pop_front() {
            if group.after.is_none() {
                group.after = Some(state.head.clone());
            }
            return std::task::Poll::Ready(Work::Group(group));
        }
        if state.stopped.is_some() {
            return std::task::Poll::Ready(Work::Close);
        }
        std::task::Poll::Pending
    }

    /// Makes a written group visible: snapshot, window, leases, acknowledgements, watchers.
    pub(crate) fn publish(&self, time: Time, group: Group) {
        let mut state = self.lock();
        let leases_before = state.leases.next();
        let group_leased = group.entries().any(|entry| entry.lease.is_some());
        let before = state.published.revision;
        let mut touched = BTreeSet::new();
        for entry in group.entries() {
            let change = &entry.change;
            state.leases.set(&change.resource, &change.key, entry.lease);
            state.window.push(time, change.clone());
            touched.insert(change.resource.clone());
        }
        state.published = group.after.expect("a group taken by the writer is closed");
        let after = state.published.revision;
        let dropped = state.window.trim(time, &self.options);
        let woken = state.advance_slots(&touched, before, after);
        let leased = group_leased || state.leases.next() != leases_before;
        state.lease_generation += u64::from(leased);
        drop(state);
        for pending in group.transactions {
            let changes: Vec<_> = pending
                .entries
                .into_iter()
                .map(|entry| entry.change)
                .collect();
            let revision = changes.last().map_or(after, |change| change.revision);
            // The caller may have gone away; its transaction has happened all the same.
            let _ = pending
                .acknowledge
                .send(Ok(Committed { revision, changes }));
        }
        woken.iter().for_each(|slot| slot.waker.wake());
        if leased {
            self.leases_changed.wake();
        }
        drop(dropped);
    }

    /// Ends the store: nothing is accepted from now on. The first reason stays.
    pub(crate) fn stop(&self, reason: &str, drop_queue: bool) {
        let mut state = self.lock();
        let reason: Arc<str> = state.stopped.get_or_insert_with(|| reason.into()).clone();
        let queue = if drop_queue {
            std::mem::take(&mut state.groups)
        } else {
            VecDeque::new()
        };
        let teller = state.tell_stopped.take();
        drop(state);
        queue.into_iter().for_each(|group| group.fail(&reason));
        // Nobody may have asked to be told.
        let _ = teller.map(|teller| teller.send(reason));
        self.writer.wake();
        self.leases_changed.wake();
    }
}

/// Names the log could not record are a mistake of the caller, who must fail, not the writer.
fn check_names(operation: &Operation) {
    let names = [
        &operation.resource,
        &operation.key.namespace,
        &operation.key.name,
    ];
    assert!(
        names.iter().all(|name| name.len() <= usize::from(u16::MAX)),
        "names have been validated to be below 64 KiB"
    );
}

impl State {
    /// Whether all preconditions hold, operations seen in order.
    fn check(&self, transaction: &Transaction) -> Result<(), CommitError> {
        let mut staged: BTreeMap<(&SmolStr, &crate::Key), bool> = BTreeMap::new();
        for (index, operation) in transaction.operations.iter().enumerate() {
            let current = self.head.get(&operation.resource, &operation.key);
            let place = (&operation.resource, &operation.key);
            let holds = match (operation.expected, staged.get(&place)) {
                (Expected::Any, _) => true,
                (Expected::Absent, Some(exists)) => !exists,
                (Expected::Absent, None) => current.is_none(),
                // A revision given inside this very transaction cannot be known to its author.
                (Expected::Revision(_), Some(_)) => false,
                (Expected::Revision(wanted), None) => {
                    current.is_some_and(|object| object.revision() == wanted)
                }
            };
            if !holds {
                let current = current.cloned();
                return Err(CommitError::Mismatch {
                    operation: index,
                    current,
                });
            }
            staged.insert(place, matches!(operation.write, Write::Put(_)));
        }
        Ok(())
    }

    /// Applies a checked transaction to the head.
    fn accept(&mut self, transaction: Transaction) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(transaction.operations.len());
        for operation in transaction.operations {
            let old = self.head.get(&operation.resource, &operation.key).cloned();
            let revision = self.next_revision;
            let (new, lease) = match operation.write {
                Write::Put(bytes) => (
                    Some(Arc::new(Object::from_bytes(bytes, revision))),
                    operation.lease,
                ),
                Write::Delete if old.is_none() => continue,
                Write::Delete => (None, None),
            };
            let (resource, key) = (operation.resource, operation.key);
            let change = Arc::new(Change {
                revision,
                resource,
                key,
                old,
                new,
            });
            self.next_revision += 1;
            self.head.apply(&change);
            entries.push(Entry { change, lease });
        }
        entries
    }

    /// Queues an accepted transaction; `before` is the head without it if the last group is full.
    fn enqueue(&mut self, before: Option<Snapshot>, pending: Pending, durable: bool) {
        if let (Some(full), Some(before)) = (self.groups.back_mut(), &before) {
            full.after = Some(before.clone());
        }
        if self.groups.is_empty() || before.is_some() {
            self.groups.push_back(Group::default());
        }
        let group = self.groups.back_mut().expect("a group was just ensured");
        let size = |entry: &Entry| {
            entry
                .change
                .new
                .as_ref()
                .map_or(64, |new| new.bytes().len())
        };
        group.bytes += pending.entries.iter().map(size).sum::<usize>();
        group.durable |= durable;
        group.transactions.push(pending);
    }

    /// The watchers to wake; those that wait for other resources step over the changes.
    fn advance_slots(
        &self,
        touched: &BTreeSet<SmolStr>,
        before: u64,
        after: u64,
    ) -> Vec<Arc<Slot>> {
        let mut woken = Vec::new();
        for slot in self.slots.values() {
            if touched.iter().any(|resource| slot.wants(resource)) {
                woken.push(slot.clone());
            } else {
                // Failure means the watcher has older changes to read first.
                let _ = slot.cursor.compare_exchange(
                    before,
                    after,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
            }
        }
        woken
    }
}
