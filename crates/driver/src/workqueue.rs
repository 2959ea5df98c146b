//! A [`Controller`] as a [`Brain`]: a queue of keys, each worked on by one plan at a time,
//! failures retried with back-off.
//!
//! Upstream counterpart: `k8s.io/client-go/util/workqueue`.

use env::Time;
use machinery::{SmolStr, Status};
use reconcile::{
    Action, Brain, Change, Controller, Decision, Index, Plan, Target, View, Watch, Work, backoff,
};
use registry::QueueCounts;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Delay after the first failure of a key (upstream's default).
const BACKOFF_BASE: Duration = Duration::from_millis(5);
/// Longest delay (upstream's is 1,000 s; a local cluster recovers sooner).
const BACKOFF_LIMIT: Duration = Duration::from_secs(60);
/// Plans of one controller carried out at once.
const IN_FLIGHT_MAX: usize = 64;
/// Keys looked at in one decision, so that brains take turns.
const KEYS_PER_DECISION: usize = 4096;

/// A controller with its queue.
pub struct Workqueue {
    controller: Box<dyn Controller>,
    watches: Vec<Watch>,
    /// Keys to look at, in order of arrival.
    order: BTreeMap<u64, (Target, Time)>,
    queued: BTreeMap<Target, u64>,
    /// Keys whose plan is under way, by work id, and since when.
    working: BTreeMap<u64, (Target, Time)>,
    /// The sum of those beginnings, microseconds; may wrap.
    begun: i64,
    busy: BTreeSet<Target>,
    /// Keys to look at later.
    timers: BTreeSet<(Time, Target)>,
    due: BTreeMap<Target, Time>,
    failures: BTreeMap<Target, u32>,
    /// The view must contain this revision before the key is looked at again.
    needed: BTreeMap<Target, u64>,
    next: u64,
    woken: Vec<Target>,
    /// What was last said of the time, the last decision, and of how many keys, of which so many
    /// needed nothing.
    now: Time,
    decided: Option<(Time, u32, u64)>,
    counts: Arc<QueueCounts>,
}

impl Workqueue {
    /// A queue for `controller`.
    pub fn new(controller: Box<dyn Controller>) -> Self {
        Self {
            watches: controller.watches(),
            controller,
            order: BTreeMap::new(),
            queued: BTreeMap::new(),
            working: BTreeMap::new(),
            begun: 0,
            busy: BTreeSet::new(),
            timers: BTreeSet::new(),
            due: BTreeMap::new(),
            failures: BTreeMap::new(),
            needed: BTreeMap::new(),
            next: 0,
            woken: Vec::new(),
            now: Time::default(),
            decided: None,
            counts: Arc::default(),
        }
    }

    /// What the queue counts of itself.
    pub fn counts(&self) -> &Arc<QueueCounts> {
        &self.counts
    }

    fn count_running(&self) {
        let first = self.working.values().next().map(|(_, since)| *since);
        self.counts
            .running(self.working.len(), self.begun, first.unwrap_or_default());
    }

    fn enqueue(&mut self, key: Target) {
        if !self.queued.contains_key(&key) {
            self.next += 1;
            self.queued.insert(key.clone(), self.next);
            self.order.insert(self.next, (key, self.now));
            self.counts.added(self.order.len());
        }
    }

    fn enqueue_at(&mut self, key: Target, time: Time) {
        if let Some(&known) = self.due.get(&key) {
            if known <= time {
                return;
            }
            self.timers.remove(&(known, key.clone()));
        }
        self.due.insert(key.clone(), time);
        self.timers.insert((time, key));
    }

    fn retry(&mut self, key: Target, now: Time) {
        self.counts.retried();
        let failures = self.failures.entry(key.clone()).or_default();
        *failures += 1;
        let delay = backoff(*failures, BACKOFF_BASE, BACKOFF_LIMIT);
        self.enqueue_at(key, now + delay);
    }

    fn take_due(&mut self, now: Time) {
        while let Some((time, key)) = self
            .timers
            .first()
            .cloned()
            .filter(|(time, _)| *time <= now)
        {
            self.timers.remove(&(time, key.clone()));
            self.due.remove(&key);
            self.enqueue(key);
        }
    }

    /// The next key that may be looked at with this view.
    fn pop(&mut self, view: &View) -> Option<Target> {
        let ready = |key: &Target| {
            !self.busy.contains(key)
                && self
                    .needed
                    .get(key)
                    .is_none_or(|needed| *needed <= view.revision())
        };
        let (&place, _) = self.order.iter().find(|(_, (key, _))| ready(key))?;
        let (key, since) = self.order.remove(&place)?;
        self.counts.taken(self.now.since(since), self.order.len());
        self.queued.remove(&key);
        self.needed.remove(&key);
        Some(key)
    }

    fn look(&mut self, view: &View, key: Target, now: Time) -> Option<Work> {
        let Plan {
            actions,
            again_at,
            failed,
            ..
        } = self.controller.reconcile(view, &key, now);
        if let Some(time) = again_at {
            self.enqueue_at(key.clone(), time.max(now + Duration::from_millis(1)));
        }
        if let Some((_, all, idle)) = &mut self.decided {
            *all += 1;
            *idle += u64::from(actions.is_empty());
        }
        if actions.is_empty() {
            match failed {
                Some(_) => self.retry(key, now),
                None => drop(self.failures.remove(&key)),
            }
            return None;
        }
        self.next += 1;
        self.busy.insert(key.clone());
        self.working.insert(self.next, (key, now));
        self.begun = self.begun.wrapping_add(now.0 as i64);
        Some(Work {
            id: self.next,
            actions,
        })
    }
}

impl Brain for Workqueue {
    fn name(&self) -> &'static str {
        self.controller.name()
    }

    fn resources(&self) -> Vec<SmolStr> {
        self.watches
            .iter()
            .map(|watch| watch.resource.into())
            .collect()
    }

    fn indexes(&self) -> Vec<Index> {
        self.controller.indexes()
    }

    fn awaits_revision(&self) -> bool {
        self.needed.keys().any(|key| self.queued.contains_key(key))
    }

    fn clock(&mut self, now: Time) {
        self.now = now;
        if let Some((begun, all, idle)) = self.decided.take() {
            self.counts.looked(idle, now.since(begun) / all.max(1));
        }
    }

    fn observe(&mut self, view: &View, change: &Change) {
        let mut woken = std::mem::take(&mut self.woken);
        for watch in &self.watches {
            if watch.resource == "*" || watch.resource == change.resource {
                (watch.wakes)(view, change, &mut woken);
            }
        }
        woken.drain(..).for_each(|key| self.enqueue(key));
        self.woken = woken;
    }

    fn decide(&mut self, view: &View, now: Time) -> Decision {
        self.now = now;
        self.decided = Some((now, 0, 0));
        self.take_due(now);
        self.needed.retain(|_, needed| *needed > view.revision());
        let mut work = Vec::new();
        for _ in 0..KEYS_PER_DECISION {
            if self.working.len() >= IN_FLIGHT_MAX {
                break;
            }
            let Some(key) = self.pop(view) else { break };
            work.extend(self.look(view, key, now));
        }
        self.count_running();
        Decision {
            work,
            again_at: self.timers.first().map(|(time, _)| *time),
        }
    }

    fn report(&self, view: &View, id: u64, failure: (&Action, &Status), now: Time) -> Vec<Action> {
        match self.working.get(&id) {
            Some((key, _)) => self.controller.failed(view, key, failure, now).actions,
            None => Vec::new(),
        }
    }

    fn finished(&mut self, id: u64, result: Result<u64, Status>, now: Time) {
        let Some((key, since)) = self.working.remove(&id) else {
            return;
        };
        self.now = now;
        self.begun = self.begun.wrapping_sub(since.0 as i64);
        self.counts.worked(now.since(since));
        self.count_running();
        self.busy.remove(&key);
        match result {
            Ok(revision) => {
                self.failures.remove(&key);
                self.needed.insert(key, revision);
            }
            Err(_) => self.retry(key, now),
        }
    }
}
