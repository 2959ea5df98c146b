//! A Job from start to end.

use super::*;
use machinery::json;

fn job(extra: Value) -> Value {
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "n", "uid": "j"},
        "spec": {"parallelism": 2, "completions": 3, "selector": {"matchLabels": {"job-name": "j"}}, "template": {"spec": {"containers": [{"name": "c"}], "restartPolicy": "Never"}}}});
    for (key, value) in extra.entries() {
        job.set_at(&["spec", key.as_str()], value.clone());
    }
    job
}

/// Runs until nothing is left to do; every pod ends as `phase`.
fn run(job: Value, phase: &str) -> (Value, usize) {
    run_with(job, phase, |_| i64::from(phase == "Failed"))
}

/// The same, and the pod of each turn ends with the code `code` gives it.
fn run_with(job: Value, phase: &str, code: impl Fn(usize) -> i64) -> (Value, usize) {
    let mut now = Time::from_unix_seconds(1_800_000_000);
    let (mut job, mut pods): (Value, Vec<Value>) = (job, Vec::new());
    let mut made = 0;
    for _ in 0..60 {
        let world = pods.iter().map(|pod| (PODS, pod.clone()));
        let view = View::of(
            [(JOBS, job.clone())].into_iter().chain(world),
            &claim_indexes(),
        );
        let plan = Job.reconcile(&view, &Target::new(JOBS, "n", "j"), now);
        if plan.actions.is_empty() && plan.again_at.is_none() {
            return (job, made);
        }
        for action in plan.actions {
            match action {
                Action::Create { mut object, .. } => {
                    let exit = code(made);
                    made += 1;
                    object.metadata_mut().insert("uid", format!("p{made}"));
                    object["status"] = json!({"phase": phase, "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": exit, "finishedAt": text(now)}}}]});
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
fn a_failure_policy_ends_the_job_or_looks_away() {
    let policy = |action: &str| {
        let rule = json!({"action": action, "onExitCodes": {"operator": "In", "values": [5]}});
        job(json!({"podFailurePolicy": {"rules": [rule]}, "parallelism": 1, "backoffLimit": 1}))
    };
    let (job, made) = run_with(policy("FailJob"), "Failed", |_| 5);
    assert_eq!(made, 1);
    let failed = &job["status"]["conditions"][1];
    assert_eq!(failed["reason"].str(), "PodFailurePolicy");
    let words = failed["message"].str();
    assert!(words.starts_with("Container c for pod n/j-"), "{words}");
    assert!(
        words.ends_with(" failed with exit code 5 matching FailJob rule at index 0"),
        "{words}"
    );
    // Four are looked away from, then two count, which is one too many.
    let (job, made) = run_with(
        policy("Ignore"),
        "Failed",
        |pod| if pod < 4 { 5 } else { 1 },
    );
    assert_eq!(made, 6, "{job:?}");
    assert_eq!(job["status"]["failed"].as_i64(), Some(2));
}

#[test]
fn an_index_fails_alone() {
    let spec = json!({"completionMode": "Indexed", "completions": 2, "backoffLimitPerIndex": 1, "backoffLimit": 1000});
    let (job, made) = run_with(job(spec.clone()), "Failed", |_| 1);
    assert_eq!(made, 4, "each index is tried twice");
    assert_eq!(job["status"]["failedIndexes"].str(), "0,1");
    assert_eq!(job["status"]["failed"].as_i64(), Some(4));
    assert_eq!(
        job["status"]["conditions"][1]["reason"].str(),
        "FailedIndexes"
    );
    let mut most = self::job(spec);
    most.set_at(&["spec", "maxFailedIndexes"], 0);
    most.set_at(&["spec", "parallelism"], 1);
    let (job, made) = run_with(most, "Failed", |_| 1);
    assert_eq!(made, 3, "the second index starts while the first waits");
    assert_eq!(
        job["status"]["conditions"][1]["reason"].str(),
        "MaxFailedIndexesExceeded"
    );
}

#[test]
fn a_success_policy_ends_the_job_early() {
    let rules = json!({"rules": [{"succeededIndexes": "0"}]});
    let spec = json!({"completionMode": "Indexed", "completions": 4, "parallelism": 1, "successPolicy": rules});
    let (job, made) = run(job(spec), "Succeeded");
    assert_eq!(made, 1);
    assert_eq!(job["status"]["conditions"][1]["type"].str(), "Complete");
    assert_eq!(
        job["status"]["conditions"][1]["reason"].str(),
        "SuccessPolicy"
    );
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
    let view = View::of([(PODS, pod)], &claim_indexes());
    let plan = Job.reconcile(&view, &Target::new(JOBS, "n", "j"), Time(0));
    assert!(
        matches!(&plan.actions[0], Action::Patch { patch, .. } if patch.at(&["metadata", "finalizers"]).items().is_empty())
    );
}

#[test]
fn matching_orphans_are_adopted_and_others_let_go() {
    let pod = |name: &str, labels: Value, owned: bool| {
        let owner = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "j", "controller": true}]);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "uid": name, "labels": labels,
            "finalizers": if owned { json!([TRACKING]) } else { json!([]) }, "ownerReferences": if owned { owner } else { json!([]) }}})
    };
    let world = [
        (JOBS, job(json!({}))),
        (PODS, pod("orphan", json!({"job-name": "j"}), false)),
        (PODS, pod("stray", json!({}), true)),
    ];
    let view = View::of(world, &claim_indexes());
    let plan = Job.reconcile(&view, &Target::new(JOBS, "n", "j"), Time(0));
    let patched = |name: &str| {
        let of = |action: &Action| match action {
            Action::Patch { target, patch, .. } if target.name == name => Some(patch.clone()),
            _ => None,
        };
        plan.actions.iter().find_map(of).unwrap()
    };
    let (orphan, stray) = (patched("orphan"), patched("stray"));
    assert_eq!(orphan["metadata"]["ownerReferences"][0]["uid"].str(), "j");
    assert_eq!(orphan["metadata"]["finalizers"][0].str(), TRACKING);
    assert!(stray["metadata"]["ownerReferences"].items().is_empty());
    assert!(stray["metadata"]["finalizers"].items().is_empty());
}
