//! What a Job's pods amount to.
//!
//! Upstream counterpart: `trackJobStatusAndRemoveFinalizers`.

use super::{BACKOFF, LONGEST_BACKOFF, TRACKING, pod, put, read, set_list, spell};
use crate::{
    common::{has_finalizer, time},
    pods,
};
use env::Time;
use machinery::{Object, Value};
use std::{collections::BTreeSet, sync::Arc};

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
    /// Ended, and noted in the stored status: their finalizer may go.
    pub noted: Vec<&'a Arc<Object>>,
    ready: i64,
    /// Counted for good: succeeded, failed.
    counted: (i64, i64),
    /// Noted or to be noted: succeeded, failed.
    pending: (Vec<Value>, Vec<Value>),
    indexes: Option<BTreeSet<i64>>,
    /// End of each failure since the last success.
    failures: Vec<Time>,
}

fn is_failed(pod: &Object) -> bool {
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
            ready: 0,
            counted: (
                job.at("status.succeeded").i64(),
                job.at("status.failed").i64(),
            ),
            pending: (Vec::new(), Vec::new()),
            indexes: is_indexed(job).then(|| read(job.at("status.completedIndexes").str())),
            failures: Vec::new(),
        };
        counts.settle(job, all);
        for pod in all {
            counts.look_at(job, pod);
        }
        counts.total();
        counts.failures = failures(all);
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

    /// Indexes that want a pod, lowest first; `None` if the Job has no indexes.
    pub fn free_indexes(&self, job: &Object, limit: usize) -> Option<Vec<i64>> {
        let done = self.indexes.as_ref()?;
        let running: BTreeSet<i64> = self
            .active
            .iter()
            .filter_map(|pod| pod::index(pod))
            .collect();
        let all = 0..job.at("spec.completions").i64();
        let free = all.filter(|index| !done.contains(index) && !running.contains(index));
        Some(free.take(limit).collect())
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
    }
}

fn failures(all: &[&Arc<Object>]) -> Vec<Time> {
    let ended = |pod: &Object| {
        pod.at("status.containerStatuses")
            .items()
            .filter_map(|one| time(one.at("state.terminated.finishedAt")))
            .max()
            .unwrap_or_else(|| crate::common::created(pod))
    };
    let succeeded = all
        .iter()
        .filter(|pod| pods::phase(pod) == "Succeeded")
        .map(|pod| ended(pod))
        .max()
        .unwrap_or_default();
    all.iter()
        .filter(|pod| is_failed(pod))
        .map(|pod| ended(pod))
        .filter(|at| *at >= succeeded)
        .collect()
}
