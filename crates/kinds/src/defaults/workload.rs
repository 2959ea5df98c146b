//! Defaults of controllers' kinds. Upstream counterparts: `pkg/apis/{apps,batch,autoscaling}/*/defaults.go`.

use super::{Rows, fill, member, set, text};
use machinery::{Map, Value, json};

/// What a limit of retries per index turns the total limit into.
const NO_LIMIT: i64 = i32::MAX as i64;

pub(super) const ROWS: Rows = &[
    ("apps.v1.DeploymentSpec", |spec| {
        set(spec, "replicas", 1_i64);
        member(spec, "strategy");
        set(spec, "revisionHistoryLimit", 10_i64);
        set(spec, "progressDeadlineSeconds", 600_i64);
    }),
    ("apps.v1.DeploymentStrategy", |strategy| {
        fill(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate" {
            let rolling = member(strategy, "rollingUpdate");
            set(rolling, "maxUnavailable", "25%");
            set(rolling, "maxSurge", "25%");
        }
    }),
    ("apps.v1.ReplicaSetSpec", |spec| {
        set(spec, "replicas", 1_i64)
    }),
    ("apps.v1.StatefulSetSpec", stateful_set_spec),
    ("apps.v1.DaemonSetSpec", daemon_set_spec),
    ("batch.v1.Job", job),
    (
        "batch.v1.PodFailurePolicyOnPodConditionsPattern",
        |pattern| fill(pattern, "status", "True"),
    ),
    ("batch.v1.CronJobSpec", |spec| {
        fill(spec, "concurrencyPolicy", "Allow");
        set(spec, "suspend", false);
        set(spec, "successfulJobsHistoryLimit", 3_i64);
        set(spec, "failedJobsHistoryLimit", 1_i64);
    }),
    ("autoscaling.v1.HorizontalPodAutoscalerSpec", |spec| {
        set(spec, "minReplicas", 1_i64)
    }),
    (
        "autoscaling.v2.HorizontalPodAutoscalerSpec",
        autoscaler_spec,
    ),
];

fn stateful_set_spec(spec: &mut Map) {
    fill(spec, "podManagementPolicy", "OrderedReady");
    let strategy = member(spec, "updateStrategy");
    if text(strategy, "type").is_empty() {
        strategy.insert("type", "RollingUpdate");
        member(strategy, "rollingUpdate");
    }
    if text(strategy, "type") == "RollingUpdate" && strategy.contains_key("rollingUpdate") {
        set(member(strategy, "rollingUpdate"), "partition", 0_i64);
    }
    let retention = member(spec, "persistentVolumeClaimRetentionPolicy");
    fill(retention, "whenDeleted", "Retain");
    fill(retention, "whenScaled", "Retain");
    set(spec, "replicas", 1_i64);
    set(spec, "revisionHistoryLimit", 10_i64);
    let claims = spec
        .get_mut("volumeClaimTemplates")
        .and_then(Value::as_array_mut);
    for claim in claims
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        claim.insert("apiVersion", "v1");
        claim.insert("kind", "PersistentVolumeClaim");
    }
}

fn daemon_set_spec(spec: &mut Map) {
    let strategy = member(spec, "updateStrategy");
    fill(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = member(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", 1_i64);
        set(rolling, "maxSurge", 0_i64);
    }
    set(spec, "revisionHistoryLimit", 10_i64);
}

fn job(job: &mut Map) {
    let labels = job
        .get("spec")
        .map(|spec| spec.at(&["template", "metadata", "labels"]).clone());
    let Some(spec) = job.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let absent = |spec: &Map, key| spec.get(key).is_none_or(Value::is_null);
    if absent(spec, "completions") && absent(spec, "parallelism") {
        set(spec, "completions", 1_i64);
    }
    set(spec, "parallelism", 1_i64);
    let per_index = !absent(spec, "backoffLimitPerIndex");
    set(spec, "backoffLimit", if per_index { NO_LIMIT } else { 6 });
    set(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    set(spec, "manualSelector", false);
    let replace = if absent(spec, "podFailurePolicy") {
        "TerminatingOrFailed"
    } else {
        "Failed"
    };
    set(spec, "podReplacementPolicy", replace);
    if let Some(labels) = labels.filter(|labels| !labels.is_null()) {
        set(member(job, "metadata"), "labels", labels);
    }
}

fn autoscaler_spec(spec: &mut Map) {
    set(spec, "minReplicas", 1_i64);
    if spec
        .get("metrics")
        .is_none_or(|metrics| metrics.items().is_empty())
    {
        let target = json!({"type": "Utilization", "averageUtilization": 80_i64});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        spec.insert("metrics", json!([metric]));
    }
    if spec.get("behavior").is_none_or(Value::is_null) {
        return;
    }
    let percent = || json!({"type": "Percent", "value": 100_i64, "periodSeconds": 15_i64});
    let up = member(member(spec, "behavior"), "scaleUp");
    set(up, "stabilizationWindowSeconds", 0_i64);
    set(up, "selectPolicy", "Max");
    set(
        up,
        "policies",
        json!([{"type": "Pods", "value": 4_i64, "periodSeconds": 15_i64}, percent()]),
    );
    let down = member(member(spec, "behavior"), "scaleDown");
    set(down, "selectPolicy", "Max");
    set(down, "policies", json!([percent()]));
}
