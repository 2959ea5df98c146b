//! What a Job's policies make of a failed pod, of its indexes and of success.
//!
//! Decides from one Job and its pods; counts nothing. Upstream counterpart:
//! `pkg/controller/job/{pod_failure_policy,success_policy,backoff_utils}.go`.

use super::{BACKOFF, LONGEST_BACKOFF, count, pod, read};
use env::Time;
use machinery::{Object, Ref};
use std::{collections::BTreeSet, sync::Arc};

/// What a failed pod means for its Job.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// One more failure.
    Counted,
    /// It never happened.
    Ignored,
    /// Its index is lost.
    FailsIndex,
    /// The Job is lost, and why.
    FailsJob(String),
}

/// The fate of a failed pod: the first rule that matches decides.
pub fn fate(job: &Object, pod: &Object) -> Fate {
    for (at, rule) in job.at("spec.podFailurePolicy.rules").items().enumerate() {
        let Some(what) = on_exit_codes(rule, pod).or_else(|| on_conditions(rule, pod)) else {
            continue;
        };
        return match rule.get("action").str() {
            "Ignore" => Fate::Ignored,
            "FailIndex" => Fate::FailsIndex,
            "FailJob" => Fate::FailsJob(format!("{what} matching FailJob rule at index {at}")),
            _ => Fate::Counted,
        };
    }
    Fate::Counted
}

fn on_exit_codes(rule: Ref<'_>, pod: &Object) -> Option<String> {
    let wanted = rule.get("onExitCodes");
    let name = wanted.get("containerName").as_str();
    let within = wanted.get("operator").str() == "In";
    let lists = ["status.initContainerStatuses", "status.containerStatuses"];
    lists
        .into_iter()
        .flat_map(|list| pod.at(list).items())
        .find_map(|status| {
            let container = status.get("name").str();
            let code = status.get("state").get("terminated").get("exitCode");
            let code = code.as_i64().filter(|code| *code != 0)?;
            let listed = wanted
                .get("values")
                .items()
                .any(|one| one.as_i64() == Some(code));
            let matches =
                !wanted.is_null() && name.is_none_or(|name| name == container) && listed == within;
            matches.then(|| {
                format!(
                    "Container {container} for pod {}/{} failed with exit code {code}",
                    pod.namespace(),
                    pod.name()
                )
            })
        })
}

fn on_conditions(rule: Ref<'_>, pod: &Object) -> Option<String> {
    rule.get("onPodConditions").items().find_map(|wanted| {
        let kind = wanted.get("type").str();
        let status = wanted.get("status").as_str().unwrap_or("True");
        let found = pod.at("status.conditions").items().any(|condition| {
            condition.get("type").str() == kind && condition.get("status").str() == status
        });
        found.then(|| {
            format!(
                "Pod {}/{} has condition {kind}",
                pod.namespace(),
                pod.name()
            )
        })
    })
}

/// Says which rule of the success policy the completed indexes meet.
pub fn success(job: &Object, completed: &BTreeSet<i64>) -> Option<String> {
    let mut rules = job.at("spec.successPolicy.rules").items().enumerate();
    rules.find_map(|(at, rule)| {
        let named = rule.get("succeededIndexes").as_str().map(read);
        let met = match &named {
            Some(named) => named.intersection(completed).count(),
            None => completed.len(),
        };
        let all = named.as_ref().map_or(0, BTreeSet::len) as i64;
        let wanted = rule.get("succeededCount").as_i64().unwrap_or(all);
        (met as i64 >= wanted).then(|| format!("Matched rules at index {at}"))
    })
}

/// Failures an index survives; `None` if the Job counts failures of all indexes together.
pub fn index_limit(job: &Object) -> Option<i64> {
    job.at("spec.backoffLimitPerIndex").as_i64()
}

/// What the last failed pod of an index tells the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Failures that count.
    pub failures: i64,
    /// Failures that were ignored.
    pub ignored: i64,
    /// When the next pod may start.
    pub due: Option<Time>,
}

/// The past of an index, by its pod that failed last.
pub fn past(job: &Object, index: i64, all: &[&Arc<Object>]) -> Past {
    let last = all
        .iter()
        .filter(|one| count::is_failed(one) && pod::index(one) == Some(index))
        .max_by_key(|one| (pod::failures(one), count::ended(one)));
    let Some(last) = last else {
        return Past::default();
    };
    let (failures, ignored) = pod::failures(last);
    if fate(job, last) == Fate::Ignored {
        return Past {
            failures,
            ignored: ignored + 1,
            due: None,
        };
    }
    let delay = reconcile::backoff(failures as u32 + 1, BACKOFF, LONGEST_BACKOFF);
    Past {
        failures: failures + 1,
        ignored,
        due: Some(count::ended(last) + delay),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::{Value, json};

    fn job(spec: Value) -> Object {
        Object::new(
            &json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "n"}, "spec": spec}),
            1,
        )
    }

    #[test]
    fn the_first_matching_rule_decides() {
        let rules = json!([
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
            {"action": "FailIndex", "onExitCodes": {"containerName": "c", "operator": "In", "values": [3]}},
            {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [1, 2]}},
        ]);
        let job = job(json!({"podFailurePolicy": {"rules": rules}}));
        let fails =
            "Container c for pod n/p failed with exit code 7 matching FailJob rule at index 2";
        for (code, condition, wanted) in [
            (3, "DisruptionTarget", Fate::Ignored),
            (3, "Ready", Fate::FailsIndex),
            (7, "Ready", Fate::FailsJob(fails.into())),
            (2, "Ready", Fate::Counted),
            (0, "Ready", Fate::Counted),
        ] {
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "status": {
                "conditions": [{"type": condition, "status": "True"}],
                "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": code}}}]}});
            assert_eq!(
                fate(&job, &Object::new(&pod, 1)),
                wanted,
                "{code} {condition}"
            );
        }
    }

    #[test]
    fn success_needs_the_named_indexes_or_the_count() {
        let rule = |rule| job(json!({"successPolicy": {"rules": [rule]}}));
        for (rules, met) in [
            (json!({"succeededIndexes": "0-1"}), true),
            (json!({"succeededIndexes": "0-2"}), false),
            (
                json!({"succeededIndexes": "0-2", "succeededCount": 2}),
                true,
            ),
            (json!({"succeededCount": 3}), true),
            (json!({"succeededCount": 4}), false),
        ] {
            let done = BTreeSet::from([0, 1, 7]);
            assert_eq!(
                success(&rule(rules.clone()), &done).is_some(),
                met,
                "{rules:?}"
            );
        }
        assert_eq!(success(&job(json!({})), &BTreeSet::from([0])), None);
    }
}
