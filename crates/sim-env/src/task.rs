//! Tasks of the simulation and the queue of those that can go on.

use crate::domain::Fate;
use env::BoxFuture;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::Wake,
};

/// Tasks that can go on, first come first served.
pub(crate) type Ready = Mutex<VecDeque<Arc<Task>>>;

/// One concurrent activity. The one without a future is the caller of `block_on`.
pub(crate) struct Task {
    pub(crate) number: u64,
    pub(crate) name: &'static str,
    pub(crate) future: Mutex<Option<BoxFuture<'static, ()>>>,
    pub(crate) queued: AtomicBool,
    pub(crate) ready: Arc<Ready>,
    /// The domain it belongs to, if any.
    pub(crate) fate: Option<Arc<Fate>>,
}

impl Task {
    /// Puts the task into the queue unless it is there already.
    pub(crate) fn schedule(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.put_back();
        }
    }

    /// Puts a task that counts as queued into the queue.
    pub(crate) fn put_back(self: &Arc<Self>) {
        self.ready
            .lock()
            .expect("the queue is sound")
            .push_back(self.clone());
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.schedule();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.schedule();
    }
}
