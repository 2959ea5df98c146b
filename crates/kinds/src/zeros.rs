//! Status fields that upstream always writes, zero or not: fields without `omitempty`.
//!
//! Clients read `status.replicas` without asking whether it is there. Upstream counterpart: the
//! JSON tags of `k8s.io/api`.

use machinery::{Value, json};

/// Counts that are there from the start, by kind.
const COUNTS: &[(&str, &[&str])] = &[
    (crate::REPLICATION_CONTROLLERS, &["replicas"]),
    (crate::REPLICA_SETS, &["replicas"]),
    (
        crate::DAEMON_SETS,
        &[
            "currentNumberScheduled",
            "desiredNumberScheduled",
            "numberMisscheduled",
            "numberReady",
        ],
    ),
    (crate::STATEFUL_SETS, &["availableReplicas", "replicas"]),
    (crate::HORIZONTAL_POD_AUTOSCALERS, &["desiredReplicas"]),
    (
        crate::POD_DISRUPTION_BUDGETS,
        &[
            "currentHealthy",
            "desiredHealthy",
            "disruptionsAllowed",
            "expectedPods",
        ],
    ),
];

/// Writes them where the object has a status.
pub(crate) fn write(object: &mut Value, storage: &str) {
    if object["status"].as_object().is_none() {
        return;
    }
    let status = object["status"].make_object();
    match storage {
        crate::INGRESSES => drop(status.entry_or("loadBalancer", || json!({}))),
        crate::VOLUME_ATTACHMENTS => drop(status.entry_or("attached", || false.into())),
        _ => {}
    }
    let counts = COUNTS.iter().find(|row| row.0 == storage);
    for field in counts.map_or(&[][..], |row| row.1) {
        status.entry_or(field, || 0_i64.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_written_and_nothing_is_overwritten() {
        for (storage, object, wanted) in [
            (
                crate::REPLICA_SETS,
                json!({"status": {}}),
                json!({"status": {"replicas": 0}}),
            ),
            (
                crate::REPLICA_SETS,
                json!({"status": {"replicas": 3}}),
                json!({"status": {"replicas": 3}}),
            ),
            (crate::REPLICA_SETS, json!({}), json!({})),
            (
                crate::INGRESSES,
                json!({"status": {}}),
                json!({"status": {"loadBalancer": {}}}),
            ),
            (crate::PODS, json!({"status": {}}), json!({"status": {}})),
        ] {
            let mut object = object;
            write(&mut object, storage);
            assert_eq!(object, wanted, "{storage}");
        }
    }
}
