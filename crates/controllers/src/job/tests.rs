//! A Job from start to end.

use super::*;
use machinery::json;

fn job(extra: Value) -> Value {
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "n", "uid": "j"},
        "spec": {"parallelism": 2, "completions": 3, "template": {"spec": {"containers": [{"name": "c"}], "restartPolicy": "Never"}}}});
    for (key, value) in extra.entries() {
        job.set_at(&["spec", key.as_str()], value.clone());
    }
    job
}

/// Runs until nothing is left to do; every pod ends as `phase`.
fn run(job: Value, phase: &str) -> (Value, usize) {
    let mut now = Time::from_unix_seconds(1_800_000_000);
    let (mut job, mut pods): (Value, Vec<Value>) = (job, Vec::new());
    let mut made = 0;
    for _ in 0..60 {
        let world = pods.iter().map(|pod| (PODS, pod.clone()));
        let view = View::of([(JOBS, job.clone())].into_iter().chain(world), &[BY_OWNER]);
        let plan = Job.reconcile(&view, &Target::new(JOBS, "n", "j"), now);
        if plan.actions.is_empty() && plan.again_at.is_none() {
            return (job, made);
        }
        for action in plan.actions {
            match action {
                Action::Create { mut object, .. } => {
                    made += 1;
                    object.metadata_mut().insert("uid", format!("p{made}"));
                    object["status"] = json!({"phase": phase, "containerStatuses": [{"state": {"terminated": {"finishedAt": text(now)}}}]});
                    pods.push(object);
                }
                Action::Update { mut object, .. } => {
                    object.metadata_mut().remove("resourceVersion");
                    job = object;
                }
                Action::Patch { target, patch, .. } => {
                    let pod = pods
                        .iter_mut()
                        .find(|pod| pod.name() == target.name)
                        .unwrap();
                    pod.set_at(
                        &["metadata", "finalizers"],
                        patch.at(&["metadata", "finalizers"]),
                    );
                }
                _ => {}
            }
        }
        now = plan.again_at.unwrap_or(now).max(now);
    }
    panic!("does not end: {job:?}");
}

#[test]
fn counts_each_success_once() {
    let (job, made) = run(job(json!({})), "Succeeded");
    assert_eq!(made, 3);
    assert_eq!(job["status"]["succeeded"].as_i64(), Some(3));
    let kinds: Vec<_> = job["status"]["conditions"]
        .items()
        .iter()
        .map(|c| c["type"].str())
        .collect();
    assert_eq!(kinds, ["SuccessCriteriaMet", "Complete"]);
}

#[test]
fn indexes_are_each_completed() {
    let (job, made) = run(
        job(json!({"completionMode": "Indexed", "completions": 4})),
        "Succeeded",
    );
    assert_eq!(made, 4);
    assert_eq!(job["status"]["completedIndexes"].str(), "0-3");
}

#[test]
fn gives_up_beyond_the_backoff_limit() {
    let (job, made) = run(job(json!({"backoffLimit": 2, "parallelism": 1})), "Failed");
    assert_eq!(made, 3);
    assert_eq!(
        job["status"]["conditions"][1]["reason"].str(),
        "BackoffLimitExceeded"
    );
    assert_eq!(job["status"]["failed"].as_i64(), Some(3));
}

#[test]
fn suspension_starts_nothing() {
    let (job, made) = run(job(json!({"suspend": true})), "Succeeded");
    assert_eq!(made, 0);
    assert_eq!(job["status"]["conditions"][0]["type"].str(), "Suspended");
}

#[test]
fn indexes_are_spelled_as_ranges() {
    for words in ["", "3", "0-2,4", "1,2,5-9"] {
        assert_eq!(spell(&read(words)), words);
    }
}

#[test]
fn pods_of_a_gone_job_are_freed() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": "p", "finalizers": [TRACKING],
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "old", "controller": true}]}});
    let view = View::of([(PODS, pod)], &[BY_OWNER]);
    let plan = Job.reconcile(&view, &Target::new(JOBS, "n", "j"), Time(0));
    assert!(
        matches!(&plan.actions[0], Action::Patch { patch, .. } if patch.at(&["metadata", "finalizers"]).items().is_empty())
    );
}
