//! Starts Jobs on a schedule.
//!
//! Schedules are read on the clocks of `timeZone`, else in UTC.
//! Upstream counterpart: `pkg/controller/cronjob`.

mod schedule;

use crate::{
    common::{
        condition, create, created, delete, event, is_true, text, time, warning, write_status,
    },
    names::{CRON_JOBS, JOBS},
    ownership::{is_controlled_by, owner_reference, wake_controller},
};
use env::Time;
use jiff::{
    Timestamp,
    tz::{Offset, TimeZone, TimeZoneDatabase},
};
use machinery::{Object, Value, json};
use reconcile::{BY_OWNER, Controller, Index, Plan, Target, View, Watch, itself, reference};
use schedule::Schedule;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Missed times counted before giving up on telling how many there were.
const MISSED_LIMIT: usize = 100;

/// The controller of CronJobs.
pub struct CronJob;

impl Controller for CronJob {
    fn name(&self) -> &'static str {
        "cronjob-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: CRON_JOBS,
                wakes: itself,
            },
            Watch {
                resource: JOBS,
                wakes: |_, change, wake| wake_controller(change, "CronJob", CRON_JOBS, wake),
            },
        ]
    }

    fn indexes(&self) -> Vec<Index> {
        vec![BY_OWNER]
    }

    fn reconcile(&self, view: &View, key: &Target, now: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(cron) = view.get(CRON_JOBS, &key.namespace, &key.name) else {
            return plan;
        };
        let jobs: Vec<_> = view
            .owned(JOBS, cron.uid())
            .filter(|job| is_controlled_by(job, cron))
            .collect();
        let mut status = status(cron, &jobs);
        if !cron.is_deleting() {
            trim(cron, &jobs, &mut plan);
            if !cron.at("spec.suspend").is_true() {
                start(view, cron, &jobs, (&mut status, now), &mut plan);
            }
        }
        plan.actions.extend(write_status(CRON_JOBS, cron, status));
        plan
    }
}

fn is_finished(job: &Object) -> bool {
    is_true(job, "Complete") || is_true(job, "Failed")
}

fn status(cron: &Object, jobs: &[&Arc<Object>]) -> Value {
    let mut status = cron.at("status").to_value();
    let active: Vec<Value> = jobs
        .iter()
        .filter(|job| !is_finished(job))
        .map(|job| {
            let mut active = reference(job);
            // The reference must not change with every write to the Job.
            active.make_object().remove("resourceVersion");
            active
        })
        .collect();
    if active.is_empty() {
        status.make_object().remove("active");
    } else {
        status["active"] = active.into();
    }
    let succeeded = jobs
        .iter()
        .filter_map(|job| job.at("status.completionTime").as_str())
        .chain(cron.at("status.lastSuccessfulTime").as_str())
        .max();
    if let Some(last) = succeeded {
        status["lastSuccessfulTime"] = last.into();
    }
    status
}

/// Deletes the oldest ended Jobs beyond each history limit.
fn trim(cron: &Object, jobs: &[&Arc<Object>], plan: &mut Plan) {
    for (kind, field, default) in [
        ("Complete", "spec.successfulJobsHistoryLimit", 3),
        ("Failed", "spec.failedJobsHistoryLimit", 1),
    ] {
        let limit = cron.at(field).as_i64().unwrap_or(default).max(0) as usize;
        let mut ended: Vec<_> = jobs
            .iter()
            .filter(|job| is_true(job, kind) && !job.is_deleting())
            .collect();
        ended.sort_by_key(|job| {
            (
                time(condition(job, kind).get("lastTransitionTime")),
                job.name(),
            )
        });
        let excess = ended.len().saturating_sub(limit);
        for job in ended.into_iter().take(excess) {
            plan.push(delete(JOBS, job));
            let text = format!("Deleted job {}", job.name());
            plan.push(event(cron, "SuccessfulDelete", text));
        }
    }
}

/// A schedule and the clocks it is read on.
struct Timetable {
    schedule: Schedule,
    zone: TimeZone,
}

impl Timetable {
    fn read(cron: &Object, plan: &mut Plan) -> Option<Self> {
        let words = cron.at("spec.schedule").str();
        let Some(schedule) = Schedule::parse(words) else {
            let text = format!("unparseable schedule: {words:?}");
            plan.push(warning(cron, "UnparseableSchedule", text));
            return None;
        };
        let Some(zone) = zone(cron) else {
            let name = cron.at("spec.timeZone").str();
            let text = format!("invalid timeZone: {name:?}: unknown time zone {name}");
            plan.push(warning(cron, "UnknownTimeZone", text));
            return None;
        };
        Some(Self { schedule, zone })
    }

    fn next(&self, after: Time) -> Option<Time> {
        self.schedule.next(after, &self.zone)
    }
}

/// The zone of a CronJob; `None` if nobody knows it.
fn zone(cron: &Object) -> Option<TimeZone> {
    static ZONES: OnceLock<TimeZoneDatabase> = OnceLock::new();
    match cron.at("spec.timeZone").str() {
        "" => Some(TimeZone::UTC),
        name => {
            let zones = ZONES.get_or_init(TimeZoneDatabase::bundled);
            zones.get(name).ok()
        }
    }
}

/// A time as the clocks of a CronJob's zone show it, with their distance from UTC.
fn shown(cron: &Object, time: Time) -> String {
    let zone = zone(cron).unwrap_or(TimeZone::UTC);
    let stamp = i64::try_from(time.unix_seconds()).map(Timestamp::from_second);
    match stamp {
        Ok(Ok(stamp)) if zone.to_offset(stamp) != Offset::UTC => {
            let offset = zone.to_offset(stamp);
            stamp.display_with_offset(offset).to_string()
        }
        _ => text(time),
    }
}

fn start(
    view: &View,
    cron: &Object,
    jobs: &[&Arc<Object>],
    (status, now): (&mut Value, Time),
    plan: &mut Plan,
) {
    let Some(schedule) = Timetable::read(cron, plan) else {
        return;
    };
    if let Some(next) = schedule.next(now) {
        plan.look_again(next);
    }
    let deadline = cron.at("spec.startingDeadlineSeconds").as_i64();
    let mut from = time(cron.at("status.lastScheduleTime")).unwrap_or_else(|| created(cron));
    if let Some(seconds) = deadline {
        from = from.max(now - Duration::from_secs(seconds.max(0) as u64));
    }
    let Some(due) = last_due(cron, &schedule, (from, now), plan) else {
        return;
    };
    let active: Vec<_> = jobs.iter().filter(|job| !is_finished(job)).collect();
    match cron.at("spec.concurrencyPolicy").str() {
        "Forbid" if !active.is_empty() => {
            let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.push(event(cron, "JobAlreadyActive", text));
            return;
        }
        "Replace" => {
            for job in active.iter().filter(|job| !job.is_deleting()) {
                plan.push(delete(JOBS, job));
                let text = format!("Deleted job {}", job.name());
                plan.push(event(cron, "SuccessfulDelete", text));
            }
        }
        _ => {}
    }
    let name = format!("{}-{}", cron.name(), due.unix_seconds() / 60);
    if view.get(JOBS, cron.namespace(), &name).is_none() {
        plan.push(create(JOBS, job(cron, &name, due), true));
        plan.push(event(
            cron,
            "SuccessfulCreate",
            format!("Created job {name}"),
        ));
    }
    status["lastScheduleTime"] = text(due).into();
}

/// The latest scheduled time that has passed.
fn last_due(
    cron: &Object,
    schedule: &Timetable,
    (from, now): (Time, Time),
    plan: &mut Plan,
) -> Option<Time> {
    let mut due = schedule.next(from).filter(|next| *next <= now)?;
    let mut missed = 0;
    while let Some(next) = schedule.next(due).filter(|next| *next <= now) {
        due = next;
        missed += 1;
        if missed == MISSED_LIMIT {
            let text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            plan.push(warning(cron, "TooManyMissedTimes", text));
            // The last hours decide; looking at years minute by minute would not end.
            let recent = now - Duration::from_secs(86_400);
            due = schedule
                .next(due.max(recent))
                .filter(|next| *next <= now)
                .unwrap_or(due);
        }
    }
    Some(due)
}

fn job(cron: &Object, name: &str, due: Time) -> Value {
    let template = cron.at("spec.jobTemplate");
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "spec": template.get("spec").to_value(),
        "metadata": {"name": name, "namespace": cron.namespace(), "ownerReferences": [owner_reference(cron)]},
    });
    for field in ["labels", "annotations"] {
        let value = template.get("metadata").get(field);
        if !value.is_null() {
            job.metadata_mut().insert(field, value.to_value());
        }
    }
    let stamp = "batch.kubernetes.io/cronjob-scheduled-timestamp";
    job.set_at(&["metadata", "annotations", stamp], shown(cron, due));
    job
}

#[cfg(test)]
mod tests {
    use super::*;
    use reconcile::Action;

    fn plan_of(cron: &Value, now: Time) -> Plan {
        let view = View::of([(CRON_JOBS, cron.clone())], &[BY_OWNER]);
        CronJob.reconcile(&view, &Target::new(CRON_JOBS, "n", "c"), now)
    }

    #[test]
    fn starts_the_last_due_job_once_and_looks_again() {
        let mut cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c", "namespace": "n", "uid": "c", "creationTimestamp": "2026-01-01T00:00:30Z"},
            "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": {}}}}});
        let now = Time(machinery::parse_time("2026-01-01T00:11:00Z").unwrap());
        let plan = plan_of(&cron, now);
        let Action::Create { object, .. } = &plan.actions[0] else {
            panic!()
        };
        assert_eq!(
            object
                .at(&[
                    "metadata",
                    "annotations",
                    "batch.kubernetes.io/cronjob-scheduled-timestamp"
                ])
                .str(),
            "2026-01-01T00:10:00Z"
        );
        assert_eq!(
            plan.again_at.map(text).as_deref(),
            Some("2026-01-01T00:15:00Z")
        );
        cron.set_at(&["status", "lastScheduleTime"], "2026-01-01T00:10:00Z");
        assert!(plan_of(&cron, now).actions.is_empty());
    }

    #[test]
    fn the_clocks_of_the_zone_decide() {
        let mut cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c", "namespace": "n", "uid": "c", "creationTimestamp": "2026-07-01T00:00:30Z"},
            "spec": {"schedule": "30 5 * * *", "timeZone": "Europe/Paris", "jobTemplate": {"spec": {"template": {}}}}});
        let now = Time(machinery::parse_time("2026-07-01T03:31:00Z").unwrap());
        let plan = plan_of(&cron, now);
        let Action::Create { object, .. } = &plan.actions[0] else {
            panic!()
        };
        let stamp = "batch.kubernetes.io/cronjob-scheduled-timestamp";
        let annotation = object.at(&["metadata", "annotations", stamp]);
        assert_eq!(annotation.str(), "2026-07-01T05:30:00+02:00");
        cron["spec"]["timeZone"] = "Mars/Olympus".into();
        let plan = plan_of(&cron, now);
        assert!(plan.again_at.is_none(), "{:?}", plan.actions);
    }
}
