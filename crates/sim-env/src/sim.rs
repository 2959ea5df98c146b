//! The executor: runs what is ready in order, and when nothing is, moves time to the next timer.
//!
//! Upstream counterpart: none; a discrete event simulator.

use crate::{
    Domain, SimEntropy,
    clock::{SharedClock, SimClock},
    domain::Fate,
    task::{Ready, Task},
};
use env::{BoxFuture, Entropy, Tasks, Time, World};
use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

/// Polls allowed without time moving on. A fleet of thousands of nodes waking at one instant
/// stays far below; tasks that wake each other for ever do not.
pub const POLLS_PER_INSTANT: u64 = 50_000_000;

/// Number of the caller of `block_on` among the tasks.
const CALLER: u64 = 0;
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x100_0000_01b3;

struct Spawner {
    ready: Arc<Ready>,
    live: Mutex<BTreeMap<u64, Arc<Task>>>,
    next: AtomicU64,
}

impl Spawner {
    fn task(
        &self,
        name: &'static str,
        future: Option<BoxFuture<'static, ()>>,
        fate: Option<Arc<Fate>>,
    ) -> Arc<Task> {
        let number = match &future {
            Some(_) => self.next.fetch_add(1, Ordering::Relaxed),
            None => CALLER,
        };
        Arc::new(Task {
            number,
            name,
            future: Mutex::new(future),
            queued: AtomicBool::new(false),
            ready: self.ready.clone(),
            fate,
        })
    }
}

impl Tasks for Spawner {
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) {
        self.start(self.task(name, Some(future), None));
    }
}

impl Spawner {
    fn start(&self, task: Arc<Task>) {
        self.live
            .lock()
            .expect("tasks are sound")
            .insert(task.number, task.clone());
        task.schedule();
    }

    /// Drops the futures of all tasks of a domain.
    fn reap(&self, fate: &Arc<Fate>) {
        let of_it = |task: &Arc<Task>| task.fate.as_ref().is_some_and(|own| Arc::ptr_eq(own, fate));
        let dead: Vec<Arc<Task>> = {
            let mut live = self.live.lock().expect("tasks are sound");
            let dead: Vec<_> = live.values().filter(|task| of_it(task)).cloned().collect();
            dead.iter().for_each(|task| drop(live.remove(&task.number)));
            dead
        };
        // What a future drops may wake or spawn, so no lock is held here.
        for task in dead {
            let future = task.future.lock().expect("tasks are sound").take();
            drop(future);
        }
    }
}

/// Spawns tasks that belong to a domain.
struct DomainSpawner {
    spawner: Arc<Spawner>,
    fate: Arc<Fate>,
}

impl Tasks for DomainSpawner {
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) {
        if !self.fate.is_dead() {
            let fate = Some(self.fate.clone());
            self.spawner
                .start(self.spawner.task(name, Some(future), fate));
        }
    }
}

/// A simulated world and the executor of its tasks. Time stands still while anything runs.
pub struct Sim {
    seed: u64,
    clock: Arc<SimClock>,
    spawner: Arc<Spawner>,
    world: World,
    hash: Mutex<u64>,
    polls: AtomicU64,
    polls_per_instant: u64,
}

impl Sim {
    /// A world whose time is `start` and whose chance follows from `seed`.
    pub fn new(seed: u64, start: Time) -> Self {
        let clock = Arc::new(SimClock::new(start));
        let spawner = Arc::new(Spawner {
            ready: Arc::default(),
            live: Mutex::default(),
            next: AtomicU64::new(CALLER + 1),
        });
        let world = World {
            clock: Arc::new(SharedClock(clock.clone())),
            entropy: Arc::new(SimEntropy::new(seed)),
            tasks: spawner.clone(),
        };
        let (hash, polls) = (Mutex::new(FNV_OFFSET), AtomicU64::new(0));
        Self {
            polls_per_instant: POLLS_PER_INSTANT,
            seed,
            clock,
            spawner,
            world,
            hash,
            polls,
        }
    }

    /// The world to hand to what is simulated.
    pub fn world(&self) -> World {
        self.world.clone()
    }

    /// Replaces [`POLLS_PER_INSTANT`] for this simulation.
    pub fn limit_polls(&mut self, polls_per_instant: u64) {
        self.polls_per_instant = polls_per_instant;
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The current virtual time.
    pub fn now(&self) -> Time {
        self.clock.time()
    }

    /// The same world drawing from a random stream of its own, which depends on the seed and
    /// `label` only: faults drawn there do not shift anyone else's chance.
    pub fn fork(&self, label: &str) -> World {
        let entropy: Arc<dyn Entropy> = Arc::new(SimEntropy::labelled(self.seed, label));
        World {
            entropy,
            ..self.world()
        }
    }

    /// A part of this simulation that can die or freeze alone, with a random stream of its own.
    pub fn domain(&self, label: &str) -> Domain {
        let fate = Arc::new(Fate::default());
        let tasks = DomainSpawner {
            spawner: self.spawner.clone(),
            fate: fate.clone(),
        };
        let (spawner, own) = (Arc::downgrade(&self.spawner), fate.clone());
        let reap = move || {
            if let Some(spawner) = spawner.upgrade() {
                spawner.reap(&own);
            }
        };
        let world = World {
            tasks: Arc::new(tasks),
            ..self.fork(label)
        };
        let reap = Box::new(reap);
        Domain { world, fate, reap }
    }

    /// Runs until `future` completes. Panics if it waits for something that can never happen.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let caller = self.spawner.task("caller", None, None);
        caller.schedule();
        let waker = Waker::from(caller.clone());
        loop {
            while let Some(task) = self.pop() {
                if task.number != CALLER {
                    self.poll(&task);
                } else if Arc::ptr_eq(&task, &caller) {
                    self.count(&task);
                    task.queued.store(false, Ordering::Release);
                    if let Poll::Ready(output) =
                        future.as_mut().poll(&mut Context::from_waker(&waker))
                    {
                        return output;
                    }
                }
            }
            let deadline = self.clock.next_deadline();
            self.advance(
                deadline.expect("the future waits, but nothing is left that could happen"),
            );
        }
    }

    /// Runs everything that happens up to and including `time`, and leaves the clock there.
    pub fn run_until(&self, time: Time) {
        self.run_ready();
        while let Some(deadline) = self
            .clock
            .next_deadline()
            .filter(|deadline| *deadline <= time)
        {
            self.advance(deadline);
            self.run_ready();
        }
        if time > self.now() {
            self.advance(time);
        }
    }

    /// Runs everything that happens in the next `duration`.
    pub fn run_for(&self, duration: Duration) {
        self.run_until(self.now() + duration);
    }

    /// Feeds bytes (an event, a decision) into the run's hash, together with the time.
    pub fn note(&self, bytes: &[u8]) {
        let now = self.now().0.to_le_bytes();
        let length = (bytes.len() as u64).to_le_bytes();
        let mut hash = self.hash.lock().expect("the hash is sound");
        for byte in now.iter().chain(&length).chain(bytes) {
            *hash = (*hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }

    /// FNV-1a over everything noted: equal for equal runs.
    pub fn hash(&self) -> u64 {
        *self.hash.lock().expect("the hash is sound")
    }

    /// Number of tasks that have not ended.
    pub fn live_tasks(&self) -> usize {
        self.spawner.live.lock().expect("tasks are sound").len()
    }

    fn advance(&self, to: Time) {
        self.clock.advance(to);
        self.polls.store(0, Ordering::Relaxed);
    }

    fn pop(&self) -> Option<Arc<Task>> {
        self.spawner
            .ready
            .lock()
            .expect("the queue is sound")
            .pop_front()
    }

    fn run_ready(&self) {
        while let Some(task) = self.pop() {
            if task.number != CALLER {
                self.poll(&task);
            }
        }
    }

    fn count(&self, task: &Task) {
        let polls = self.polls.fetch_add(1, Ordering::Relaxed);
        assert!(
            polls < self.polls_per_instant,
            "livelock: {polls} polls at {:?}, the last of task {}",
            self.now(),
            task.name
        );
    }

    /// Lets one task go on. A panic inside passes through to whoever runs the simulation.
    fn poll(&self, task: &Arc<Task>) {
        if task.fate.as_ref().is_some_and(|fate| !fate.admits(task)) {
            return;
        }
        self.count(task);
        task.queued.store(false, Ordering::Release);
        let taken = task.future.lock().expect("tasks are sound").take();
        let Some(mut future) = taken else {
            return;
        };
        let waker = Waker::from(task.clone());
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => *task.future.lock().expect("tasks are sound") = Some(future),
            Poll::Ready(()) => {
                self.spawner
                    .live
                    .lock()
                    .expect("tasks are sound")
                    .remove(&task.number);
            }
        }
    }
}

impl Drop for Sim {
    /// Tasks and wakers hold each other; taking the futures out lets them go.
    fn drop(&mut self) {
        let live = std::mem::take(&mut *self.spawner.live.lock().expect("tasks are sound"));
        for task in live.values() {
            let future = task.future.lock().expect("tasks are sound").take();
            drop(future);
        }
        self.spawner
            .ready
            .lock()
            .expect("the queue is sound")
            .clear();
        self.clock.clear();
    }
}
