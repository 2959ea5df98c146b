//! Pending pods: active, backing off, or unschedulable until something changes.
//!
//! Upstream counterpart: `pkg/scheduler/backend/queue`, with PrioritySort as QueueSort.

use crate::{framework::Events, pod::PodInfo};
use env::Time;
use machinery::SmolStr;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// First delay after a failed attempt.
const BACKOFF: Duration = Duration::from_secs(1);
/// Longest delay after a failed attempt.
const BACKOFF_LIMIT: Duration = Duration::from_secs(10);
/// Unschedulable pods are tried again after this long without any helpful change.
const UNSCHEDULABLE_LIMIT: Duration = Duration::from_secs(300);

type Order = (Reverse<i64>, Time, u64, SmolStr);

/// Where a pod waits.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    Gated,
    Active(Order),
    Backoff(Time),
    Unschedulable(Time),
    /// Being tried, or assumed and not yet bound.
    InFlight,
}

/// A pending pod.
#[derive(Clone, Debug)]
pub struct Queued {
    pub pod: Arc<PodInfo>,
    place: Place,
    queued_at: Time,
    sequence: u64,
    attempts: u32,
    tried_at: Time,
    /// Changes that may help.
    wanted: Events,
    /// Only what frees resources on a node that could then hold it helps.
    pub resources_only: bool,
}

/// All pending pods.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    pods: BTreeMap<SmolStr, Queued>,
    active: BTreeSet<Order>,
    backoff: BTreeSet<(Time, SmolStr)>,
    unschedulable: BTreeSet<(Time, SmolStr)>,
    sequence: u64,
}

impl Queue {
    /// Adds a pod, or replaces its form; `gated` keeps it from being tried.
    pub fn set(&mut self, pod: Arc<PodInfo>, gated: bool, now: Time) {
        self.sequence += 1;
        let known = self.pods.remove(&pod.uid);
        if let Some(known) = &known {
            self.leave(known);
        }
        let mut queued = match known {
            Some(known) => Queued { pod, ..known },
            None => Queued {
                queued_at: pod.created,
                sequence: self.sequence,
                attempts: 0,
                tried_at: Time::default(),
                wanted: Events::ALL,
                resources_only: false,
                place: Place::Gated,
                pod,
            },
        };
        if gated {
            queued.place = Place::Gated;
        } else if queued.place != Place::InFlight {
            queued.place = self.ready_place(&queued, now);
        }
        self.enter(queued);
    }

    fn ready_place(&self, queued: &Queued, now: Time) -> Place {
        let until = queued.tried_at + reconcile::backoff(queued.attempts, BACKOFF, BACKOFF_LIMIT);
        if queued.attempts > 0 && until > now {
            return Place::Backoff(until);
        }
        let pod = &queued.pod;
        Place::Active((
            Reverse(pod.priority),
            queued.queued_at,
            queued.sequence,
            pod.uid.clone(),
        ))
    }

    fn enter(&mut self, queued: Queued) {
        let uid = queued.pod.uid.clone();
        match &queued.place {
            Place::Active(order) => drop(self.active.insert(order.clone())),
            Place::Backoff(until) => drop(self.backoff.insert((*until, uid.clone()))),
            Place::Unschedulable(since) => drop(self.unschedulable.insert((*since, uid.clone()))),
            Place::Gated | Place::InFlight => {}
        }
        self.pods.insert(uid, queued);
    }

    fn leave(&mut self, queued: &Queued) {
        let uid = &queued.pod.uid;
        match &queued.place {
            Place::Active(order) => drop(self.active.remove(order)),
            Place::Backoff(until) => drop(self.backoff.remove(&(*until, uid.clone()))),
            Place::Unschedulable(since) => drop(self.unschedulable.remove(&(*since, uid.clone()))),
            Place::Gated | Place::InFlight => {}
        }
    }

    fn move_to(&mut self, uid: &str, place: impl FnOnce(&Self, &Queued) -> Place) {
        if let Some(mut queued) = self.pods.remove(uid) {
            self.leave(&queued);
            queued.place = place(self, &queued);
            self.enter(queued);
        }
    }

    /// Replaces a pod's form without moving it.
    pub fn replace(&mut self, pod: Arc<PodInfo>) {
        if let Some(queued) = self.pods.get_mut(&pod.uid) {
            queued.pod = pod;
        }
    }

    /// Forgets a pod.
    pub fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let queued = self.pods.remove(uid)?;
        self.leave(&queued);
        Some(queued.pod)
    }

    /// A pending pod.
    pub fn get(&self, uid: &str) -> Option<&Queued> {
        self.pods.get(uid)
    }

    /// Takes the next pod to try.
    pub fn pop(&mut self, now: Time) -> Option<Arc<PodInfo>> {
        let (_, _, _, uid) = self.active.pop_first()?;
        let queued = self.pods.get_mut(&uid).expect("active pods are known");
        queued.place = Place::InFlight;
        queued.attempts += 1;
        queued.tried_at = now;
        Some(queued.pod.clone())
    }

    /// The attempt failed; `wanted` may help. Something helpful may have happened meanwhile
    /// (`retry`): then it only backs off.
    pub fn failed(&mut self, uid: &str, wanted: Events, resources_only: bool, now: Time) {
        if let Some(queued) = self.pods.get_mut(uid) {
            (queued.wanted, queued.resources_only) = (wanted, resources_only);
        }
        self.move_to(uid, |_, _| Place::Unschedulable(now));
    }

    /// The attempt failed for a passing reason.
    pub fn retry(&mut self, uid: &str, now: Time) {
        self.move_to(uid, |queue, queued| queue.ready_place(queued, now));
    }

    /// Something happened: unschedulable pods it may help become ready.
    pub fn wake(&mut self, events: Events, now: Time, helps: impl Fn(&Queued) -> bool) {
        let mut woken = Vec::new();
        for (_, uid) in &self.unschedulable {
            let queued = &self.pods[uid];
            if queued.wanted.meets(events) && helps(queued) {
                woken.push(uid.clone());
            }
        }
        for uid in woken {
            self.retry(&uid, now);
        }
    }

    /// Moves what has waited long enough.
    pub fn flush(&mut self, now: Time) {
        while let Some((until, uid)) = self.backoff.first().cloned().filter(|(at, _)| *at <= now) {
            debug_assert!(until <= now);
            self.retry(&uid, now);
        }
        while let Some((_, uid)) = self
            .unschedulable
            .first()
            .cloned()
            .filter(|(since, _)| *since + UNSCHEDULABLE_LIMIT <= now)
        {
            self.retry(&uid, now);
        }
    }

    /// Whether a pod can be tried now.
    pub fn has_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// Whether any pod waits for a change.
    pub fn has_unschedulable(&self) -> bool {
        !self.unschedulable.is_empty()
    }

    /// When `flush` has something to do.
    pub fn due(&self) -> Option<Time> {
        let backoff = self.backoff.first().map(|(at, _)| *at);
        let limit = self
            .unschedulable
            .first()
            .map(|(since, _)| *since + UNSCHEDULABLE_LIMIT);
        backoff.into_iter().chain(limit).min()
    }

    /// Numbers of pods (active, backing off, unschedulable, gated), as upstream's metric `pending_pods`.
    pub fn lengths(&self) -> [usize; 4] {
        let gated = self
            .pods
            .values()
            .filter(|queued| queued.place == Place::Gated)
            .count();
        [
            self.active.len(),
            self.backoff.len(),
            self.unschedulable.len(),
            gated,
        ]
    }
}
