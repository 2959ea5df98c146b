//! Runs pods to completion.
//!
//! A pod is counted exactly once: its UID goes into the status, then its finalizer goes, then
//! the count rises. Upstream counterpart: `pkg/controller/job`.

mod count;
mod pod;
mod policy;

#[cfg(test)]
mod tests;

use crate::{
    common::{
        ACTIONS_PER_PLAN, Condition, create, delete, event, is_true, remove_finalizer,
        set_condition, set_count, target, text, time, warning, write_status,
    },
    names::{JOBS, NAMESPACES, PODS},
    ownership::{Claimed, claim_held, claim_indexes, selector, wake_controller, wake_selecting},
    pods,
};
use count::Counts;
use env::Time;
use machinery::{Object, Value};
use reconcile::{
    Action, Controller, Index, Plan, Preconditions, Propagation, Target, View, Watch, itself,
};
use std::{borrow::Cow, collections::BTreeSet, sync::Arc, time::Duration};

const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// Failed pods a Job survives when `backoffLimit` is absent.
const BACKOFF_LIMIT: i64 = 6;
/// Delay after the first failure of a row, and the longest one.
const BACKOFF: Duration = Duration::from_secs(10);
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);

/// The controller of Jobs.
pub struct Job;

impl Controller for Job {
    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: JOBS,
                wakes: itself,
            },
            Watch {
                resource: PODS,
                wakes: |view, change, wake| {
                    wake_controller(change, "Job", JOBS, wake);
                    wake_selecting(view, change, JOBS, wake);
                },
            },
        ]
    }

    fn indexes(&self) -> Vec<Index> {
        claim_indexes()
    }

    fn reconcile(&self, view: &View, key: &Target, now: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(job) = view.get(JOBS, &key.namespace, &key.name) else {
            free_orphans(view, key, &mut plan);
            return plan;
        };
        if job.is_deleting() || finished_at(job).is_some() {
            let held = view
                .owned(PODS, job.uid())
                .filter(|pod| crate::common::has_finalizer(pod, TRACKING));
            plan.actions
                .extend(held.map(|pod| remove_finalizer(PODS, pod, TRACKING)));
            expire(job, now, &mut plan);
            return plan;
        }
        let what = Claimed(PODS, "Pod");
        let pods = claim_held(view, what, (job, TRACKING), &selector(job), &mut plan);
        let counts = Counts::of(job, &pods);
        sync(view, job, &counts, now, &mut plan);
        plan
    }
}

/// Pods of a Job that is gone are counted by nobody: nothing may hold them.
fn free_orphans(view: &View, key: &Target, plan: &mut Plan) {
    let held = view.list(PODS, Some(&key.namespace)).filter(|pod| {
        crate::common::has_finalizer(pod, TRACKING)
            && pod
                .controller()
                .is_some_and(|owner| owner.kind() == "Job" && owner.name() == key.name)
    });
    plan.actions
        .extend(held.map(|pod| remove_finalizer(PODS, pod, TRACKING)));
}

fn finished_at(job: &Object) -> Option<Time> {
    ["Complete", "Failed"]
        .into_iter()
        .find(|kind| is_true(job, kind))
        .and_then(|kind| time(crate::common::condition(job, kind).get("lastTransitionTime")))
}

fn is_suspended(job: &Object) -> bool {
    job.at("spec.suspend").is_true()
}

/// Deletes a finished Job whose time to live is over.
fn expire(job: &Object, now: Time, plan: &mut Plan) {
    let ttl = job.at("spec.ttlSecondsAfterFinished").as_i64();
    let (Some(ttl), Some(finished), false) = (ttl, finished_at(job), job.is_deleting()) else {
        return;
    };
    let due = finished + Duration::from_secs(ttl.max(0) as u64);
    if due > now {
        return plan.look_again(due);
    }
    plan.push(Action::Delete {
        target: target(JOBS, job),
        when: Preconditions::uid(job.uid()),
        grace_seconds: None,
        propagation: Propagation::Foreground,
    });
}

fn sync(view: &View, job: &Arc<Object>, counts: &Counts<'_>, now: Time, plan: &mut Plan) {
    let mut status = job.at("status").to_value();
    counts.write(&mut status);
    note_suspension(job, &mut status, now, plan);
    if status["startTime"].is_null() && !is_suspended(job) {
        status["startTime"] = text(now).into();
    }
    let verdict = verdict(job, counts, &status, now, plan);
    if let Some(verdict) = &verdict {
        conclude(job, counts, verdict, (&mut status, now), plan);
    }
    let mut actions = Vec::new();
    let goes_on = verdict.is_none() && !is_suspended(job);
    if goes_on {
        let namespace = view.get(NAMESPACES, "", job.namespace());
        if namespace.is_none_or(|namespace| !namespace.is_deleting()) {
            actions = size(view, job, counts, now, plan);
        }
    } else {
        let doomed = counts.active.iter().take(ACTIONS_PER_PLAN);
        for pod in doomed {
            actions.push(delete(PODS, pod));
            let words = format!("Deleted pod: {}", pod.name());
            actions.push(event(job, "SuccessfulDelete", words));
        }
    }
    plan.actions.extend(write_status(JOBS, job, status));
    let released = counts.released(goes_on).into_iter();
    plan.actions
        .extend(released.map(|pod| remove_finalizer(PODS, pod, TRACKING)));
    plan.actions.extend(actions);
}

fn note_suspension(job: &Object, status: &mut Value, now: Time, plan: &mut Plan) {
    let was = is_true(job, "Suspended");
    let is = is_suspended(job);
    if was == is {
        return;
    }
    let (state, reason, message) = if is {
        ("True", "JobSuspended", "Job suspended")
    } else {
        ("False", "JobResumed", "Job resumed")
    };
    let condition = Condition {
        kind: "Suspended",
        status: state,
        reason,
        message,
    };
    set_condition(status, condition, now);
    status.make_object().remove("startTime");
    let reason = if is { "Suspended" } else { "Resumed" };
    plan.push(event(job, reason, message));
}

/// How a Job ends.
struct Verdict {
    success: bool,
    reason: Cow<'static, str>,
    message: Cow<'static, str>,
}

impl Verdict {
    fn failure(reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            success: false,
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// The end that was announced before: a verdict stands, whatever becomes of the pods.
    fn announced(job: &Object) -> Option<Self> {
        let (success, kind) = [(true, "SuccessCriteriaMet"), (false, "FailureTarget")]
            .into_iter()
            .find(|(_, kind)| is_true(job, kind))?;
        let condition = crate::common::condition(job, kind);
        let word = |key| Cow::Owned(condition.get(key).str().to_owned());
        Some(Self {
            success,
            reason: word("reason"),
            message: word("message"),
        })
    }

    /// By the policies of failure and success and the limits per index.
    fn by_policy(job: &Object, counts: &Counts<'_>) -> Option<Self> {
        if let Some(why) = &counts.lost {
            return Some(Self::failure("PodFailurePolicy", why.clone()));
        }
        if let Some(lost) = &counts.failed_indexes {
            let most = job.at("spec.maxFailedIndexes").as_i64();
            if most.is_some_and(|most| lost.len() as i64 > most) {
                let message = "Job has exceeded the specified maximal number of failed indexes";
                return Some(Self::failure("MaxFailedIndexesExceeded", message));
            }
            let all = job.at("spec.completions").i64();
            if !lost.is_empty() && counts.succeeded + lost.len() as i64 >= all {
                return Some(Self::failure("FailedIndexes", "Job has failed indexes"));
            }
        }
        let message = policy::success(job, counts.completed()?)?;
        Some(Self {
            success: true,
            reason: "SuccessPolicy".into(),
            message: message.into(),
        })
    }
}

fn verdict(
    job: &Object,
    counts: &Counts<'_>,
    status: &Value,
    now: Time,
    plan: &mut Plan,
) -> Option<Verdict> {
    if let Some(verdict) = Verdict::announced(job).or_else(|| Verdict::by_policy(job, counts)) {
        return Some(verdict);
    }
    let limit = job.at("spec.backoffLimit").as_i64();
    if counts.failed > limit.unwrap_or(BACKOFF_LIMIT) {
        let message = "Job has reached the specified backoff limit";
        return Some(Verdict::failure("BackoffLimitExceeded", message));
    }
    if let Some(seconds) = job.at("spec.activeDeadlineSeconds").as_i64()
        && let Some(start) = machinery::parse_time(status["startTime"].str())
        && !is_suspended(job)
    {
        let due = Time(start) + Duration::from_secs(seconds.max(0) as u64);
        if now >= due {
            let message = "Job was active longer than specified deadline";
            return Some(Verdict::failure("DeadlineExceeded", message));
        }
        plan.look_again(due);
    }
    let done = match job.at("spec.completions").as_i64() {
        Some(completions) => counts.succeeded >= completions,
        None => counts.succeeded > 0 && counts.active.is_empty(),
    };
    done.then_some(Verdict {
        success: true,
        reason: "CompletionsReached".into(),
        message: "Reached expected number of succeeded pods".into(),
    })
}

/// Announces the end, and declares it once no pod runs and all are counted.
fn conclude(
    job: &Object,
    counts: &Counts<'_>,
    verdict: &Verdict,
    (status, now): (&mut Value, Time),
    plan: &mut Plan,
) {
    let (announced, declared) = if verdict.success {
        ("SuccessCriteriaMet", "Complete")
    } else {
        ("FailureTarget", "Failed")
    };
    let condition = |kind| Condition {
        kind,
        status: "True",
        reason: &verdict.reason,
        message: &verdict.message,
    };
    set_condition(status, condition(announced), now);
    if !counts.active.is_empty() || counts.terminating > 0 || !counts.is_settled() {
        return;
    }
    set_condition(status, condition(declared), now);
    if verdict.success {
        status["completionTime"] = text(now).into();
        plan.push(event(job, "Completed", "Job completed"));
    } else {
        plan.push(warning(job, &verdict.reason, verdict.message.as_ref()));
    }
}

/// Brings the number of running pods to what is wanted.
fn size(
    view: &View,
    job: &Arc<Object>,
    counts: &Counts<'_>,
    now: Time,
    plan: &mut Plan,
) -> Vec<Action> {
    let parallelism = job.at("spec.parallelism").as_i64().unwrap_or(1);
    let active = counts.active.len() as i64;
    let wanted = match job.at("spec.completions").as_i64() {
        Some(completions) => {
            parallelism.min(completions - counts.succeeded - counts.lost_indexes())
        }
        None if counts.succeeded > 0 => active.min(parallelism),
        None => parallelism,
    };
    let mut actions = Vec::new();
    if active > wanted {
        let mut excess = counts.active.clone();
        pods::sort_for_deletion(&mut excess, &counts.active, now);
        for pod in excess.into_iter().take((active - wanted.max(0)) as usize) {
            actions.push(delete(PODS, pod));
            let words = format!("Deleted pod: {}", pod.name());
            actions.push(event(job, "SuccessfulDelete", words));
        }
        return actions;
    }
    let missing = (wanted - active - counts.replaced_later(job)).max(0) as usize;
    if missing == 0 {
        return actions;
    }
    if let Some(due) = counts.backoff().filter(|due| *due > now) {
        plan.look_again(due);
        return actions;
    }
    let missing = missing.min(ACTIONS_PER_PLAN / 2);
    for (turn, index) in starters(job, counts, missing, now, plan)
        .into_iter()
        .enumerate()
    {
        let mut made = pod::make(view, job, index, turn);
        if let (Some(index), Some(_)) = (index, policy::index_limit(job)) {
            pod::remember(&mut made, counts.past(index));
        }
        let words = format!("Created pod: {}", made.name());
        actions.push(create(PODS, made, false));
        actions.push(event(job, "SuccessfulCreate", words));
    }
    actions
}

/// The pods to start, at most `missing`: by index where there are indexes. One that has to wait
/// after a failure keeps no other from starting.
fn starters(
    job: &Object,
    counts: &Counts<'_>,
    missing: usize,
    now: Time,
    plan: &mut Plan,
) -> Vec<Option<i64>> {
    let Some(free) = counts.free_indexes(job, missing) else {
        return vec![None; missing];
    };
    let (waiting, ready): (Vec<_>, Vec<_>) = free
        .into_iter()
        .partition(|index| counts.past(*index).due.is_some_and(|due| due > now));
    let dues = waiting.iter().filter_map(|index| counts.past(*index).due);
    if let Some(due) = dues.min() {
        plan.look_again(due);
    }
    ready.into_iter().take(missing).map(Some).collect()
}

/// Spells indexes as ranges: `0-2,4`.
fn spell(indexes: &BTreeSet<i64>) -> String {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for &index in indexes {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == index => *end = index,
            _ => ranges.push((index, index)),
        }
    }
    let words: Vec<_> = ranges
        .into_iter()
        .map(|(start, end)| match end - start {
            0 => start.to_string(),
            1 => format!("{start},{end}"),
            _ => format!("{start}-{end}"),
        })
        .collect();
    words.join(",")
}

/// Reads indexes spelled as ranges.
fn read(words: &str) -> BTreeSet<i64> {
    words
        .split(',')
        .filter_map(|word| {
            let (start, end) = word.split_once('-').unwrap_or((word, word));
            Some(start.parse::<i64>().ok()?..=end.parse().ok()?)
        })
        .flatten()
        .collect()
}

/// Sets a list that is left out when empty.
fn set_list(status: &mut Value, key: &str, list: Vec<Value>) {
    let map = status.make_object();
    if list.is_empty() {
        map.remove(key);
    } else {
        map.insert(key, list);
    }
}

/// Writes a count the API leaves out when zero.
fn put(status: &mut Value, key: &str, count: i64) {
    set_count(status, key, count);
}
