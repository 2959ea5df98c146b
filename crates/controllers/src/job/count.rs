//! What a Job's pods amount to.
//!
//! Upstream counterpart: `trackJobStatusAndRemoveFinalizers`.

use super::{
    BACKOFF, LONGEST_BACKOFF, TRACKING, pod,
    policy::{self, Fate, Past},
    put, read, set_list, spell,
};
use crate::{
    common::{has_finalizer, time},
    pods,
};
use env::Time;
use machinery::{Object, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Pods of a Job, counted.
pub struct Counts<'a> {
    /// Running ones, or about to.
    pub active: Vec<&'a Arc<Object>>,
    /// Being deleted, not ended yet.
    pub terminating: i64,
    /// Ended well, noted ones included; for an indexed Job, indexes.
    pub succeeded: i64,
    /// Ended badly, noted ones included.
    pub failed: i64,
    /// Ended, and noted in the stored status or not to be counted: their finalizer may go.
    noted: Vec<&'a Arc<Object>>,
    /// Why a failed pod fails the whole Job, by its failure policy.
    pub lost: Option<String>,
    /// Indexes that have failed for good; `None` unless the Job has a limit per index.
    pub failed_indexes: Option<BTreeSet<i64>>,
    ready: i64,
    /// Counted for good: succeeded, failed.
    counted: (i64, i64),
    /// Noted or to be noted: succeeded, failed.
    pending: (Vec<Value>, Vec<Value>),
    indexes: Option<BTreeSet<i64>>,
    /// What the failed pods of each index that is still open leave to the next one.
    pasts: BTreeMap<i64, Past>,
    /// End of each failure since the last success.
    failures: Vec<Time>,
}

pub fn is_failed(pod: &Object) -> bool {
    pods::phase(pod) == "Failed"
}

fn is_indexed(job: &Object) -> bool {
    job.at("spec.completionMode").str() == "Indexed"
}

impl<'a> Counts<'a> {
    pub fn of(job: &Object, all: &[&'a Arc<Object>]) -> Self {
        let mut counts = Self {
            active: Vec::new(),
            terminating: 0,
            succeeded: 0,
            failed: 0,
            noted: Vec::new(),
            lost: None,
            failed_indexes: policy::index_limit(job)
                .map(|_| read(job.at("status.failedIndexes").str())),
            ready: 0,
            counted: (
                job.at("status.succeeded").i64(),
                job.at("status.failed").i64(),
            ),
            pending: (Vec::new(), Vec::new()),
            indexes: is_indexed(job).then(|| read(job.at("status.completedIndexes").str())),
            pasts: BTreeMap::new(),
            failures: Vec::new(),
        };
        counts.settle(job, all);
        for pod in all {
            counts.look_at(job, pod);
        }
        counts.total();
        counts.per_index(job, all);
        counts.failures = failures(job, all);
        counts
    }

    /// Counts noted pods whose finalizer is gone.
    fn settle(&mut self, job: &Object, all: &[&'a Arc<Object>]) {
        let noted = job.at("status.uncountedTerminatedPods");
        let lists = [
            ("succeeded", &mut self.counted.0, &mut self.pending.0),
            ("failed", &mut self.counted.1, &mut self.pending.1),
        ];
        for (list, counted, pending) in lists {
            for uid in noted.get(list).items().map(|uid| uid.str()) {
                let held = all
                    .iter()
                    .find(|pod| pod.uid() == uid && has_finalizer(pod, TRACKING));
                match held {
                    Some(pod) => {
                        pending.push(uid.into());
                        self.noted.push(pod);
                    }
                    None => *counted += 1,
                }
            }
        }
    }

    fn look_at(&mut self, job: &Object, pod: &'a Arc<Object>) {
        if pods::is_active(pod) {
            self.active.push(pod);
            self.ready += i64::from(pods::is_ready(pod));
            return;
        }
        if !pods::is_finished(pod) {
            self.terminating += 1;
            return;
        }
        let failed = is_failed(pod);
        if let (Some(indexes), Some(index)) = (&mut self.indexes, pod::index(pod)) {
            let wanted = job.at("spec.completions").as_i64().unwrap_or_default();
            if !failed && index < wanted && has_finalizer(pod, TRACKING) {
                indexes.insert(index);
            }
        }
        if failed {
            match policy::fate(job, pod) {
                Fate::Ignored => {
                    if has_finalizer(pod, TRACKING) {
                        self.noted.push(pod);
                    }
                    return;
                }
                Fate::FailsJob(why) => self.lost = Some(why),
                Fate::FailsIndex => {
                    if let (Some(lost), Some(index)) = (&mut self.failed_indexes, pod::index(pod)) {
                        lost.insert(index);
                    }
                }
                Fate::Counted => {}
            }
        }
        let known = self.noted.iter().any(|one| one.uid() == pod.uid());
        if has_finalizer(pod, TRACKING) && !known {
            let list = if failed {
                &mut self.pending.1
            } else {
                &mut self.pending.0
            };
            list.push(pod.uid().into());
        }
    }

    /// Finds indexes that are lost, and what the others have behind them.
    fn per_index(&mut self, job: &Object, all: &[&'a Arc<Object>]) {
        let (Some(limit), Some(lost)) = (policy::index_limit(job), &mut self.failed_indexes) else {
            return;
        };
        let failed = all.iter().filter(|pod| is_failed(pod));
        let indexes: BTreeSet<i64> = failed.filter_map(|pod| pod::index(pod)).collect();
        for index in indexes {
            let past = policy::past(job, index, all);
            if past.failures > limit {
                lost.insert(index);
            } else {
                self.pasts.insert(index, past);
            }
        }
        if let Some(done) = &self.indexes {
            lost.retain(|index| !done.contains(index));
        }
    }

    /// Ended pods whose finalizer may go. While the Job `goes_on`, the pod that failed last for
    /// an index that waits for its next pod is held: its failures would be forgotten with it.
    pub fn released(&self, goes_on: bool) -> Vec<&'a Arc<Object>> {
        let waits = |index: &i64| {
            let within =
                |set: &Option<BTreeSet<i64>>| set.as_ref().is_some_and(|set| set.contains(index));
            let running = |pod: &&Arc<Object>| pod::index(pod) == Some(*index);
            !within(&self.indexes)
                && !within(&self.failed_indexes)
                && !self.active.iter().any(running)
        };
        let is_record = |pod: &Object| {
            let index = pod::index(pod).filter(waits);
            let past = index.and_then(|index| self.pasts.get(&index));
            let (failures, ignored) = pod::failures(pod);
            past.is_some_and(|past| past.failures + past.ignored == failures + ignored + 1)
        };
        let held = |pod: &Object| goes_on && is_failed(pod) && is_record(pod);
        let noted = self.noted.iter().copied();
        noted.filter(|pod| !held(pod)).collect()
    }

    /// Indexes that ended well.
    pub fn completed(&self) -> Option<&BTreeSet<i64>> {
        self.indexes.as_ref()
    }

    /// How many indexes are lost.
    pub fn lost_indexes(&self) -> i64 {
        self.failed_indexes.as_ref().map_or(0, BTreeSet::len) as i64
    }

    /// What the failures of an index leave to its next pod.
    pub fn past(&self, index: i64) -> Past {
        self.pasts.get(&index).copied().unwrap_or_default()
    }

    fn total(&mut self) {
        self.failed = self.counted.1 + self.pending.1.len() as i64;
        self.succeeded = match &self.indexes {
            Some(indexes) => indexes.len() as i64,
            None => self.counted.0 + self.pending.0.len() as i64,
        };
    }

    /// Whether every ended pod is counted for good.
    pub fn is_settled(&self) -> bool {
        self.pending.0.is_empty() && self.pending.1.is_empty()
    }

    /// Pods whose replacement waits for their end, as `podReplacementPolicy: Failed` asks.
    pub fn replaced_later(&self, job: &Object) -> i64 {
        if job.at("spec.podReplacementPolicy").str() == "Failed" {
            self.terminating
        } else {
            0
        }
    }

    /// When the next pod may start after a row of failures.
    pub fn backoff(&self) -> Option<Time> {
        let last = self.failures.iter().max()?;
        let delay = reconcile::backoff(self.failures.len() as u32, BACKOFF, LONGEST_BACKOFF);
        Some(*last + delay)
    }

    /// Indexes that want a pod, lowest first, `limit` beside those with failures behind them; `None` if the Job has no indexes.
    pub fn free_indexes(&self, job: &Object, limit: usize) -> Option<Vec<i64>> {
        let done = self.indexes.as_ref()?;
        let running: BTreeSet<i64> = self
            .active
            .iter()
            .filter_map(|pod| pod::index(pod))
            .collect();
        let all = 0..job.at("spec.completions").i64();
        let lost = self.failed_indexes.clone().unwrap_or_default();
        let free = all.filter(|index| {
            !done.contains(index) && !running.contains(index) && !lost.contains(index)
        });
        // One that waits keeps no other from its turn.
        Some(free.take(limit.saturating_add(self.pasts.len())).collect())
    }

    /// Writes the counts into a status.
    pub fn write(&self, status: &mut Value) {
        let succeeded = match &self.indexes {
            // An index counts once, however many pods ended well for it.
            Some(indexes) if self.pending.0.is_empty() => indexes.len() as i64,
            _ => self.counted.0,
        };
        put(status, "active", self.active.len() as i64);
        put(status, "succeeded", succeeded);
        put(status, "failed", self.counted.1);
        status["ready"] = self.ready.into();
        status["terminating"] = self.terminating.into();
        let mut noted = Value::object();
        set_list(&mut noted, "succeeded", self.pending.0.clone());
        set_list(&mut noted, "failed", self.pending.1.clone());
        status["uncountedTerminatedPods"] = noted;
        if let Some(indexes) = self.indexes.as_ref().filter(|indexes| !indexes.is_empty()) {
            status["completedIndexes"] = spell(indexes).into();
        }
        if let Some(lost) = &self.failed_indexes {
            status["failedIndexes"] = spell(lost).into();
        }
    }
}

/// When a pod ended, as far as its containers tell.
pub fn ended(pod: &Object) -> Time {
    pod.at("status.containerStatuses")
        .items()
        .filter_map(|one| time(one.at("state.terminated.finishedAt")))
        .max()
        .unwrap_or_else(|| crate::common::created(pod))
}

fn failures(job: &Object, all: &[&Arc<Object>]) -> Vec<Time> {
    if policy::index_limit(job).is_some() {
        // Each index waits for itself.
        return Vec::new();
    }
    let succeeded = all
        .iter()
        .filter(|pod| pods::phase(pod) == "Succeeded")
        .map(|pod| ended(pod))
        .max()
        .unwrap_or_default();
    all.iter()
        .filter(|pod| is_failed(pod) && policy::fate(job, pod) != Fate::Ignored)
        .map(|pod| ended(pod))
        .filter(|at| *at >= succeeded)
        .collect()
}
