//! Conversion between served versions of kinds that differ in more than their `apiVersion`.
//!
//! Upstream counterparts: `pkg/apis/events/v1/conversion.go`, `pkg/apis/autoscaling/v1/conversion.go`.

use machinery::{Map, Value, json};

/// Names of the same fields of an event: core, `events.k8s.io`.
const EVENT_FIELDS: [(&str, &str); 6] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Between `v1` and `events.k8s.io/v1`.
pub(crate) fn event(event: &mut Value, from: &str, to: &str) {
    let map = event.make_object();
    for (core, new) in EVENT_FIELDS
        .into_iter()
        .chain([("reportingComponent", "reportingController")])
    {
        match (from, to) {
            ("v1", _) => rename(map, core, new),
            (_, "v1") => rename(map, new, core),
            _ => {}
        }
    }
}

fn rename(map: &mut Map, from: &'static str, to: &'static str) {
    if let Some(value) = map.remove(from) {
        map.insert(to, value);
    }
}

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Between `autoscaling/v1` and `autoscaling/v2`. What v1 has no field for travels in
/// annotations as JSON.
pub(crate) fn autoscaler(scaler: &mut Value, from: &str, to: &str) {
    match (from, to) {
        ("autoscaling/v1", "autoscaling/v2") => to_v2(scaler),
        ("autoscaling/v2", "autoscaling/v1") => to_v1(scaler),
        _ => {}
    }
}

fn is_cpu(metric: &Value) -> bool {
    let resource = &metric["resource"];
    resource["name"].str() == "cpu" && !resource["target"]["averageUtilization"].is_null()
}

fn to_v2(scaler: &mut Value) {
    let mut metrics =
        take_annotation(scaler, METRICS).map_or_else(Vec::new, |kept| kept.items().to_vec());
    if let Some(percent) = scaler
        .remove_at(&["spec", "targetCPUUtilizationPercentage"])
        .filter(|v| !v.is_null())
    {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        metrics.insert(
            0,
            json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}),
        );
    }
    if !metrics.is_empty() {
        scaler.set_at(&["spec", "metrics"], metrics);
    }
    if let Some(behavior) = take_annotation(scaler, BEHAVIOR) {
        scaler.set_at(&["spec", "behavior"], behavior);
    }
    if let Some(percent) = scaler
        .remove_at(&["status", "currentCPUUtilizationPercentage"])
        .filter(|v| !v.is_null())
    {
        let current = json!({"averageUtilization": percent});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "current": current}});
        scaler.set_at(&["status", "currentMetrics"], vec![metric]);
    }
}

fn to_v1(scaler: &mut Value) {
    if scaler["status"].as_object().is_some() {
        // v1 always tells it.
        let status = scaler["status"].make_object();
        status.entry_or("currentReplicas", || 0_i64.into());
    }
    if let Some(Value::Array(metrics)) = scaler.remove_at(&["spec", "metrics"]) {
        let (cpu, rest): (Vec<_>, Vec<_>) = metrics.into_iter().partition(is_cpu);
        if let Some(cpu) = cpu.first() {
            let percent = cpu
                .at(&["resource", "target", "averageUtilization"])
                .clone();
            scaler.set_at(&["spec", "targetCPUUtilizationPercentage"], percent);
        }
        if !rest.is_empty() {
            put_annotation(scaler, METRICS, &Value::Array(rest));
        }
    }
    if let Some(behavior) = scaler
        .remove_at(&["spec", "behavior"])
        .filter(|value| !value.is_null())
    {
        put_annotation(scaler, BEHAVIOR, &behavior);
    }
    let current = scaler
        .at_mut(&["status"])
        .and_then(|status| status.make_object().remove("currentMetrics"));
    let percent = current.iter().flat_map(Value::items).find_map(|metric| {
        let cpu = metric.at(&["resource", "name"]).str() == "cpu";
        metric
            .at(&["resource", "current", "averageUtilization"])
            .as_i64()
            .filter(|_| cpu)
    });
    if let Some(percent) = percent {
        scaler.set_at(&["status", "currentCPUUtilizationPercentage"], percent);
    }
    if let Some(status) = scaler.get_mut("status") {
        status.make_object().remove("conditions");
    }
}

fn take_annotation(object: &mut Value, key: &str) -> Option<Value> {
    let text = object.remove_at(&["metadata", "annotations", key])?;
    serde_json::from_str(text.str()).ok()
}

fn put_annotation(object: &mut Value, key: &str, value: &Value) {
    let text = serde_json::to_string(value).expect("a tree of plain values is JSON");
    object.set_at(&["metadata", "annotations", key], text);
}
