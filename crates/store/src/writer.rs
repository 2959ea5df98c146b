//! The store's tasks: the log writer and the remover of expired objects.
//!
//! Group commit needs no timer: while one write is under way the queue fills.
//! Upstream counterpart: etcd's raft apply loop and lessor.

use crate::{
    Expected, Operation, Transaction, Write,
    checkpoint::{self, Capture},
    codec,
    leases::Place,
    log::Log,
    shared::{Acknowledgement, Group, Shared, Work},
};
use env::{Disk, Time};
use futures::{
    FutureExt,
    channel::oneshot,
    future::{join_all, pending, poll_fn},
    select_biased,
};
use std::{io, sync::Arc, task::Poll};

/// Expired objects removed in one go: keeps other writers' waits short.
const EXPIRE_AT_ONCE: usize = 256;

/// Stops the store if the writer ends without having done so itself (a panic).
struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop("its writer ended unexpectedly", true);
    }
}

/// Writes groups until the store is closed or the disk fails.
pub(crate) async fn run(shared: Arc<Shared>, log: Log, ended: oneshot::Sender<()>) {
    let guard = StopOnDrop(shared.clone());
    if let Err(error) = write_groups(&shared, log).await {
        // After a failed sync nobody knows what is on disk; retrying would hide the loss.
        shared.stop(&format!("its disk failed: {error}"), true);
    }
    drop(guard);
    // Nobody may be waiting for the end.
    let _ = ended.send(());
}

async fn write_groups(shared: &Arc<Shared>, mut log: Log) -> io::Result<()> {
    let mut checkpoint: Option<oneshot::Receiver<io::Result<()>>> = None;
    while let Work::Group(group) = poll_fn(|context| shared.poll_work(context)).await {
        if let Err(error) = write_group(shared, &mut log, &group).await {
            group.fail(&Arc::from(format!("its disk failed: {error}")));
            return Err(error);
        }
        shared.publish(shared.world.now(), group);
        if let Some(done) = &mut checkpoint
            && let Some(result) = done.now_or_never()
        {
            result.unwrap_or(Ok(()))?;
            checkpoint = None;
        }
        if checkpoint.is_none() && log.since_checkpoint >= shared.options.checkpoint_bytes {
            // A checkpoint must not know more than the log that follows it.
            log.sync().await?;
            checkpoint = Some(start_checkpoint(shared, &mut log));
        }
    }
    if let Some(done) = checkpoint {
        done.await.unwrap_or(Ok(()))?;
    }
    log.sync().await
}

async fn write_group(shared: &Shared, log: &mut Log, group: &Group) -> io::Result<()> {
    let revisions = group.entries().count() as u64;
    if revisions == 0 {
        return Ok(());
    }
    let fill = |out: &mut Vec<u8>| {
        for entry in group.entries() {
            let change = &entry.change;
            let place = (change.resource.as_str(), &change.key);
            codec::put_item(
                out,
                place,
                change.revision,
                entry.lease,
                change.new.as_deref(),
            );
        }
    };
    log.append(group.durable, revisions, shared.world.now(), fill)
        .await
}

/// Writes a checkpoint beside the log and then drops what it replaces.
fn start_checkpoint(shared: &Arc<Shared>, log: &mut Log) -> oneshot::Receiver<io::Result<()>> {
    let state = shared.lock();
    let capture = Capture {
        sequence: log.next - 1,
        snapshot: state.published.clone(),
        leases: state.leases.clone(),
        time: shared.world.now(),
    };
    drop(state);
    log.since_checkpoint = 0;
    let superfluous = log.forget_through(capture.sequence);
    let disk = log.disk.clone();
    let (done, receiver) = oneshot::channel();
    shared.world.spawn("store checkpoint", async move {
        let result = replace_checkpoint(&disk, &capture, &superfluous).await;
        drop(disk);
        // The writer is gone if the disk failed meanwhile.
        let _ = done.send(result);
    });
    receiver
}

async fn replace_checkpoint(
    disk: &Arc<dyn Disk>,
    capture: &Capture,
    superfluous: &[String],
) -> io::Result<()> {
    checkpoint::write(disk, capture).await?;
    for segment in superfluous {
        disk.remove(segment).await?;
    }
    let own = checkpoint::name(capture.sequence);
    for file in disk.list().await? {
        if checkpoint::is_checkpoint(&file) && file < own {
            disk.remove(&file).await?;
        }
    }
    Ok(())
}

/// Removes expired objects until the store stops.
pub(crate) async fn expire(shared: Arc<Shared>) {
    loop {
        let (removals, wait) = remove_due(&shared);
        let Some((deadline, generation)) = wait else {
            return;
        };
        if !removals.is_empty() {
            // A refusal means a newer write exists; its lease is what counts then.
            let _ = join_all(removals).await;
            continue;
        }
        let mut timer = match deadline {
            Some(deadline) => shared.world.clock.sleep_until(deadline).fuse(),
            None => pending().boxed().fuse(),
        };
        let mut changed = poll_fn(|context| {
            shared.leases_changed.register(context.waker());
            let state = shared.lock();
            let news = state.lease_generation != generation || state.stopped.is_some();
            if news { Poll::Ready(()) } else { Poll::Pending }
        })
        .fuse();
        select_biased! {
            () = changed => {}
            () = timer => {}
        }
    }
}

/// Submits the removal of what is due. Then: when to look again (no time if a due object
/// waits for a write under way), and the state of the leases; nothing once stopped.
#[allow(clippy::type_complexity)]
fn remove_due(shared: &Shared) -> (Vec<Acknowledgement>, Option<(Option<Time>, u64)>) {
    let now = shared.world.now();
    let state = shared.lock();
    if state.stopped.is_some() {
        return (Vec::new(), None);
    }
    let removal = |(resource, key): &Place| {
        let revision = state.published.get(resource, key)?.revision();
        let expected = Expected::Revision(revision);
        Some(Operation::new(
            resource.clone(),
            key.clone(),
            expected,
            Write::Delete,
        ))
    };
    let operations: Vec<_> = state
        .leases
        .due(now)
        .take(EXPIRE_AT_ONCE)
        .filter_map(removal)
        .collect();
    let next = state.leases.next().filter(|next| *next > now);
    let generation = state.lease_generation;
    drop(state);
    let submit = |operation| shared.submit(Transaction::single(operation).relaxed()).ok();
    let removals = operations.into_iter().filter_map(submit).collect();
    (removals, Some((next, generation)))
}
