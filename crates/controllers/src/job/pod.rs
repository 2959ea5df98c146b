//! A Job's pods: labels, index, finalizer.
//!
//! Upstream counterpart: `pkg/controller/job/indexed_job_utils.go`.

use super::{TRACKING, policy::Past};
use crate::pods;
use machinery::{Object, Value, json};
use reconcile::View;

const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// The completion index of a pod.
pub fn index(pod: &Object) -> Option<i64> {
    pod.annotation(INDEX)?.parse().ok()
}

/// Failures of a pod's index before it: those that count, those that do not.
pub fn failures(pod: &Object) -> (i64, i64) {
    let count = |key| pod.annotation(key).and_then(|text| text.parse().ok());
    (
        count(FAILURES).unwrap_or_default(),
        count(IGNORED).unwrap_or_default(),
    )
}

/// Tells a new pod what its index has behind it.
pub fn remember(pod: &mut Value, past: Past) {
    let mut note = |key, count: i64| {
        pod.set_at(&["metadata", "annotations", key], count.to_string());
    };
    note(FAILURES, past.failures);
    if past.ignored > 0 {
        note(IGNORED, past.ignored);
    }
}

/// A new pod, for an index if given.
pub fn make(view: &View, job: &Object, index: Option<i64>, turn: usize) -> Value {
    let mut pod = pods::from_template(job, job.at("spec.template"));
    let prefix = match index {
        Some(index) => format!("{}-{index}-", job.name()),
        None => format!("{}-", job.name()),
    };
    let name = pods::generated_name(view, job, &prefix, turn);
    pod.metadata_mut().insert("name", name);
    pod.metadata_mut().insert("generateName", prefix);
    let labels = pod.object_at(&["metadata", "labels"]);
    for prefix in ["batch.kubernetes.io/", ""] {
        labels.insert(format!("{prefix}controller-uid"), job.uid());
        labels.insert(format!("{prefix}job-name"), job.name());
    }
    let mut finalizers = pod.at(&["metadata", "finalizers"]).items().to_vec();
    finalizers.push(TRACKING.into());
    pod.metadata_mut().insert("finalizers", finalizers);
    if let Some(index) = index {
        number(&mut pod, job, index);
    }
    pod
}

fn number(pod: &mut Value, job: &Object, index: i64) {
    for map in ["labels", "annotations"] {
        pod.set_at(&["metadata", map, INDEX], index.to_string());
    }
    pod.set_at(&["spec", "hostname"], format!("{}-{index}", job.name()));
    let path = format!("metadata.labels['{INDEX}']");
    let variable = json!({"name": INDEX_VARIABLE, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    for list in ["initContainers", "containers"] {
        let Some(containers) = pod
            .at_mut(&["spec", list])
            .and_then(|containers| containers.as_array_mut())
        else {
            continue;
        };
        for container in containers {
            let mut variables = container["env"].items().to_vec();
            if variables
                .iter()
                .all(|one| one["name"].str() != INDEX_VARIABLE)
            {
                variables.push(variable.clone());
            }
            container["env"] = variables.into();
        }
    }
}
