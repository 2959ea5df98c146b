//! What the door, its webhooks and the work queues count of themselves while they work.
//!
//! Knows neither names nor text forms of metrics, and reads no clock: durations are handed in.
//! Upstream counterparts: `apiserver/pkg/admission/metrics`, `client-go/util/workqueue/metrics.go`.

use crate::{Admission, Handles, Operation};
use env::Time;
use machinery::SmolStr;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Upper bounds of a step of admission, microseconds (upstream's).
pub const STEP_BOUNDS: [u64; 6] = [5_000, 25_000, 100_000, 500_000, 1_000_000, 2_500_000];
/// Upper bounds of a call of a webhook, microseconds (upstream's).
pub const WEBHOOK_BOUNDS: [u64; 8] = [
    5_000, 25_000, 100_000, 500_000, 1_000_000, 2_500_000, 10_000_000, 25_000_000,
];
/// Upper bounds of waiting in a queue and of work, nanoseconds (upstream's).
pub const QUEUE_BOUNDS: [u64; 10] = [
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
];
/// Codes of refusals above this count as this (upstream's).
const CODE_MAX: u16 = 600;

/// Counts of values up to each bound, not yet summed up.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    counts: [AtomicU64; N],
    beyond: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// An empty one with these upper bounds.
    pub const fn new(bounds: &'static [u64; N]) -> Self {
        Self {
            bounds,
            counts: [const { AtomicU64::new(0) }; N],
            beyond: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts `value` in the bucket of `bound`, which may be the same in another unit.
    pub fn add(&self, bound: u64, value: u64) {
        self.add_all(bound, value, 1);
    }

    /// Counts the same value so many times.
    pub fn add_all(&self, bound: u64, value: u64, times: u64) {
        let at = self.bounds.partition_point(|known| *known < bound);
        self.counts
            .get(at)
            .unwrap_or(&self.beyond)
            .fetch_add(times, Relaxed);
        self.sum.fetch_add(value * times, Relaxed);
    }

    /// Adds what another of the same bounds has counted.
    pub fn absorb(&self, other: &Self) {
        let pairs = self.counts.iter().zip(&other.counts);
        for (own, other) in pairs.chain([(&self.beyond, &other.beyond), (&self.sum, &other.sum)]) {
            own.fetch_add(other.load(Relaxed), Relaxed);
        }
    }

    /// Bounds, each with how many values do not exceed it.
    pub fn totals(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut total = 0;
        self.bounds
            .iter()
            .zip(&self.counts)
            .map(move |(bound, count)| {
                total += count.load(Relaxed);
                (*bound, total)
            })
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        let within: u64 = self.counts.iter().map(|count| count.load(Relaxed)).sum();
        within + self.beyond.load(Relaxed)
    }

    /// The values' sum.
    pub fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }
}

/// What a step of admission may do to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Change it.
    Admit,
    /// Refuse it.
    Validate,
}

/// Time that a request has waited for programs outside, microseconds; kept only where asked for.
#[derive(Clone, Debug, Default)]
pub struct Waited(Option<Arc<AtomicU64>>);

impl Waited {
    /// One that is kept.
    pub fn kept() -> Self {
        Self(Some(Arc::default()))
    }

    /// Adds to it.
    pub fn add(&self, duration: Duration) {
        if let Some(total) = &self.0 {
            total.fetch_add(micros(duration), Relaxed);
        }
    }

    /// Microseconds so far.
    pub fn micros(&self) -> u64 {
        self.0.as_ref().map_or(0, |total| total.load(Relaxed))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What is told of one call of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Called {
    /// The webhook.
    pub name: SmolStr,
    /// Whether it may change writes, or only refuse them.
    pub step: Step,
    /// What was done to the object.
    pub operation: &'static str,
    /// Whether the write was refused for it.
    pub rejected: bool,
}

/// How a call of a webhook ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallEnd {
    /// It let the write pass.
    Passed,
    /// It refused, with this code.
    Refused(u16),
    /// It could not be asked or believed, with the code of that.
    Failed(u16),
    /// What it wants cannot be done.
    Broken,
}

/// Counts of the calls of one kind.
#[derive(Debug)]
pub struct Calls {
    /// Microseconds.
    pub durations: Histogram<{ WEBHOOK_BOUNDS.len() }>,
    /// How often each end was.
    pub ends: BTreeMap<CallEnd, u64>,
}

/// Counts of one queue. Its owner alone writes them; readers see each number on its own.
#[derive(Debug)]
pub struct QueueCounts {
    /// Keys that wait now.
    pub depth: AtomicU64,
    /// Keys that were put in.
    pub adds: AtomicU64,
    /// Keys that were put in again because their work failed.
    pub retries: AtomicU64,
    /// Waiting, nanoseconds.
    pub waits: Histogram<{ QUEUE_BOUNDS.len() }>,
    /// Working, nanoseconds.
    pub works: Histogram<{ QUEUE_BOUNDS.len() }>,
    /// How much work is under way, the sum of its beginnings, and the first of them.
    running: [AtomicI64; 3],
}

impl Default for QueueCounts {
    fn default() -> Self {
        Self {
            depth: AtomicU64::new(0),
            adds: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            waits: Histogram::new(&QUEUE_BOUNDS),
            works: Histogram::new(&QUEUE_BOUNDS),
            running: [const { AtomicI64::new(0) }; 3],
        }
    }
}

/// Nanoseconds, of a clock that tells microseconds apart: less than one counts as one in buckets.
fn nanos(duration: Duration) -> (u64, u64) {
    let exact = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    (exact.max(1_000), exact)
}

impl QueueCounts {
    /// A key was put in; so many wait now.
    pub fn added(&self, depth: usize) {
        self.adds.fetch_add(1, Relaxed);
        self.depth.store(depth as u64, Relaxed);
    }

    /// A key was taken out after waiting; so many wait still.
    pub fn taken(&self, waited: Duration, depth: usize) {
        let (bound, value) = nanos(waited);
        self.waits.add(bound, value);
        self.depth.store(depth as u64, Relaxed);
    }

    /// A key's work failed and is tried again.
    pub fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    /// So many keys took this long each and needed nothing to be carried out.
    pub fn looked(&self, keys: u64, took: Duration) {
        if keys > 0 {
            let (bound, value) = nanos(took);
            self.works.add_all(bound, value, keys);
        }
    }

    /// Work that something was carried out for is done.
    pub fn worked(&self, took: Duration) {
        let (bound, value) = nanos(took);
        self.works.add(bound, value);
    }

    /// Adds what another has counted.
    fn absorb(&self, other: &Self) {
        for (own, other) in [
            (&self.depth, &other.depth),
            (&self.adds, &other.adds),
            (&self.retries, &other.retries),
        ] {
            own.fetch_add(other.load(Relaxed), Relaxed);
        }
        self.waits.absorb(&other.waits);
        self.works.absorb(&other.works);
        let [count, sum, first] = [0, 1, 2].map(|at| other.running[at].load(Relaxed));
        if count == 0 {
            return;
        }
        let known = self.running[0].fetch_add(count, Relaxed);
        self.running[1].fetch_add(sum, Relaxed);
        let earlier = self.running[2].load(Relaxed);
        let first = if known == 0 {
            first
        } else {
            first.min(earlier)
        };
        self.running[2].store(first, Relaxed);
    }

    /// What is under way: how much, the sum of its beginnings, and the first.
    pub fn running(&self, count: usize, sum: i64, first: Time) {
        for (at, value) in [count as i64, sum, first.0 as i64].into_iter().enumerate() {
            self.running[at].store(value, Relaxed);
        }
    }

    /// Microseconds of all work under way, and of the longest.
    pub fn unfinished(&self, now: Time) -> (u64, u64) {
        let [count, sum, first] = [0, 1, 2].map(|at| self.running[at].load(Relaxed));
        if count == 0 {
            return (0, 0);
        }
        let all = (now.0 as i64).wrapping_mul(count).wrapping_sub(sum);
        let longest = (now.0 as i64).wrapping_sub(first);
        (all.max(0) as u64, longest.max(0) as u64)
    }
}

type Steps = [[[Histogram<{ STEP_BOUNDS.len() }>; 2]; 2]; 4];

/// Counts of one plug-in: buckets by microseconds, sums in nanoseconds.
#[derive(Debug)]
pub(crate) struct Plugin {
    name: &'static str,
    pub handles: Handles,
    steps: Steps,
}

impl Plugin {
    fn new(name: &'static str, handles: Handles) -> Self {
        Self {
            name,
            handles,
            steps: steps(),
        }
    }

    /// It has been asked.
    pub fn asked(&self, operation: Operation, step: Step, rejected: bool, took: Duration) {
        if self.handles.told {
            let series = &self.steps[operation as usize][step as usize][usize::from(rejected)];
            let exact = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            series.add(micros(took), exact);
        }
    }
}

/// Plug-ins that may have to wait for others to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Policies that change.
    MutatingPolicies,
    /// Webhooks that change.
    MutatingWebhooks,
    /// Policies that refuse.
    ValidatingPolicies,
    /// Webhooks that refuse.
    ValidatingWebhooks,
}

/// Upstream's names of these plug-ins.
const WAITING: [&str; 4] = [
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
];

/// A counted step: operation, step, whether it refused.
pub type Counted<'a> = (Operation, Step, bool, &'a Histogram<{ STEP_BOUNDS.len() }>);

const fn steps() -> Steps {
    [const { [const { [const { Histogram::new(&STEP_BOUNDS) }; 2] }; 2] }; 4]
}

fn counted(of: &Steps) -> impl Iterator<Item = Counted<'_>> {
    use Operation::{Connect, Create, Delete, Update};
    let kinds = [Create, Update, Delete, Connect]
        .into_iter()
        .flat_map(|of| {
            [Step::Admit, Step::Validate]
                .into_iter()
                .flat_map(move |step| [false, true].map(|rejected| (of, step, rejected)))
        });
    let all = kinds.map(|(operation, step, rejected)| {
        let found = &of[operation as usize][step as usize][usize::from(rejected)];
        (operation, step, rejected, found)
    });
    all.filter(|(.., found)| found.count() > 0)
}

/// All counts of one door.
#[derive(Debug)]
pub struct Measures {
    steps: Steps,
    plugins: Vec<Plugin>,
    waiting: [Plugin; WAITING.len()],
    calls: Mutex<BTreeMap<Called, Calls>>,
    queues: Mutex<Vec<(&'static str, Arc<QueueCounts>)>>,
}

/// Nothing under these locks panics half way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Measures {
    /// Counts for these plug-ins.
    pub(crate) fn new(plugins: &[Arc<dyn Admission>]) -> Self {
        let of = |plugin: &Arc<dyn Admission>| Plugin::new(plugin.name(), plugin.handles());
        Self {
            steps: steps(),
            plugins: plugins.iter().map(of).collect(),
            waiting: WAITING.map(|name| Plugin::new(name, Handles::NOTHING)),
            calls: Mutex::default(),
            queues: Mutex::default(),
        }
    }

    /// Plug-ins in the chain's order.
    pub(crate) fn chain(&self) -> &[Plugin] {
        &self.plugins
    }

    /// A plug-in that may wait has been asked.
    pub fn waited(&self, who: Waiting, operation: Operation, rejected: bool, took: Duration) {
        let step = match who {
            Waiting::MutatingPolicies | Waiting::MutatingWebhooks => Step::Admit,
            Waiting::ValidatingPolicies | Waiting::ValidatingWebhooks => Step::Validate,
        };
        self.waiting[who as usize].asked(operation, step, rejected, took);
    }

    /// Plug-ins by name, with what they were asked: buckets by microseconds, sums in nanoseconds.
    pub fn plugins(&self) -> impl Iterator<Item = (&'static str, Counted<'_>)> {
        let mut all: Vec<&Plugin> = self.plugins.iter().chain(&self.waiting).collect();
        all.sort_by_key(|one| one.name);
        all.into_iter()
            .flat_map(|one| counted(&one.steps).map(|series| (one.name, series)))
    }

    /// A step of admission is over.
    pub fn step(&self, operation: Operation, step: Step, rejected: bool, took: Duration) {
        let took = micros(took);
        self.steps[operation as usize][step as usize][usize::from(rejected)].add(took, took);
    }

    /// Steps of admission that there were: operation, step, whether refused, microseconds.
    pub fn steps(&self) -> impl Iterator<Item = Counted<'_>> {
        counted(&self.steps)
    }

    /// A webhook was called.
    pub fn called(&self, call: Called, end: CallEnd, took: Duration) {
        let end = match end {
            CallEnd::Refused(code) => CallEnd::Refused(code.min(CODE_MAX)),
            CallEnd::Failed(code) => CallEnd::Failed(code.min(CODE_MAX)),
            CallEnd::Passed | CallEnd::Broken => end,
        };
        let mut calls = lock(&self.calls);
        let series = calls.entry(call).or_insert_with(|| Calls {
            durations: Histogram::new(&WEBHOOK_BOUNDS),
            ends: BTreeMap::new(),
        });
        series.durations.add(micros(took), micros(took));
        *series.ends.entry(end).or_default() += 1;
    }

    /// Shows all calls of webhooks.
    pub fn calls<T>(&self, show: impl FnOnce(&BTreeMap<Called, Calls>) -> T) -> T {
        show(&lock(&self.calls))
    }

    /// Makes a queue's counts known under its name.
    pub fn queue(&self, name: &'static str, counts: Arc<QueueCounts>) {
        lock(&self.queues).push((name, counts));
    }

    /// All queues; those of one name as one.
    pub fn queues(&self) -> BTreeMap<&'static str, QueueCounts> {
        let mut all: BTreeMap<_, QueueCounts> = BTreeMap::new();
        for (name, counts) in lock(&self.queues).iter() {
            all.entry(*name).or_default().absorb(counts);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_grows_with_time() {
        let counts = QueueCounts::default();
        assert_eq!(counts.unfinished(Time(9)), (0, 0));
        counts.running(2, 30, Time(10));
        assert_eq!(counts.unfinished(Time(100)), (170, 90));
    }

    #[test]
    fn queues_of_one_name_are_one() {
        let measures = Measures::new(&[]);
        for (adds, count, first) in [(1, 1, 10), (2, 0, 0), (3, 2, 4)] {
            let counts = QueueCounts::default();
            (0..adds).for_each(|_| counts.added(1));
            counts.taken(Duration::from_nanos(5), adds);
            counts.running(count, count as i64 * first, Time(first as u64));
            measures.queue("same", Arc::new(counts));
        }
        let all = measures.queues();
        let [(_, one)] = Vec::from_iter(&all)[..] else {
            panic!("one queue");
        };
        assert_eq!((one.adds.load(Relaxed), one.depth.load(Relaxed)), (6, 6));
        assert_eq!(one.waits.count(), 3);
        assert_eq!(one.unfinished(Time(20)), (10 + 2 * 16, 16));
    }

    #[test]
    fn what_nobody_can_tell_apart_counts_as_a_microsecond_in_buckets_only() {
        let counts = QueueCounts::default();
        counts.looked(3, Duration::from_nanos(333));
        assert_eq!(
            counts.works.totals().nth(1),
            Some((100, 0)),
            "too fine for the clock"
        );
        assert_eq!(counts.works.totals().nth(2), Some((1_000, 3)));
        assert_eq!(counts.works.sum(), 999);
    }
}
