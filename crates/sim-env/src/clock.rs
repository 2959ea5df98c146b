//! Virtual time: a number that moves only when the executor moves it, and its timers.

use env::{BoxFuture, Clock, Time};
use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

#[derive(Default)]
struct Timers {
    now: Time,
    next: u64,
    waiting: BTreeMap<(Time, u64), Waker>,
}

/// The clock of a simulation.
pub(crate) struct SimClock {
    timers: Mutex<Timers>,
}

impl SimClock {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            timers: Mutex::new(Timers {
                now,
                ..Timers::default()
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().expect("timers are sound")
    }

    /// The earliest deadline anyone waits for.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.lock()
            .waiting
            .first_key_value()
            .map(|((deadline, _), _)| *deadline)
    }

    /// Moves time forward and wakes everyone whose deadline has come, in deadline order and
    /// then in order of registration.
    pub(crate) fn advance(&self, to: Time) {
        let before = std::mem::replace(&mut self.lock().now, to);
        assert!(to >= before, "time never runs backwards");
        while let Some(waker) = self.take_due(to) {
            waker.wake();
        }
    }

    fn take_due(&self, now: Time) -> Option<Waker> {
        let mut timers = self.lock();
        let first = timers.waiting.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Drops all timers (their wakers hold tasks).
    pub(crate) fn clear(&self) {
        let waiting = std::mem::take(&mut self.lock().waiting);
        drop(waiting);
    }

    pub(crate) fn time(&self) -> Time {
        self.lock().now
    }
}

/// The clock as handed to the world.
pub(crate) struct SharedClock(pub(crate) Arc<SimClock>);

impl Clock for SharedClock {
    fn now(&self) -> Time {
        self.0.time()
    }

    fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()> {
        Box::pin(Sleep {
            clock: self.0.clone(),
            deadline,
            timer: None,
        })
    }
}

struct Sleep {
    clock: Arc<SimClock>,
    deadline: Time,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut timers = this.clock.lock();
        if timers.now >= this.deadline {
            return Poll::Ready(());
        }
        let next = timers.next;
        let number = *this.timer.get_or_insert(next);
        timers.next += u64::from(number == next);
        match timers.waiting.get_mut(&(this.deadline, number)) {
            Some(waker) => waker.clone_from(context.waker()),
            None => {
                let waker = context.waker().clone();
                timers.waiting.insert((this.deadline, number), waker);
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.timer {
            let removed = self.clock.lock().waiting.remove(&(self.deadline, number));
            drop(removed);
        }
    }
}
