//! What upstream calls the work queues of its controllers: monitoring knows them by these names.
//!
//! Upstream counterpart: the `Name` of each `workqueue.TypedRateLimitingQueueConfig`.

/// Controllers whose queue is not called as they are.
const NAMES: [(&str, &str); 29] = [
    (
        "clusterrole-aggregation-controller",
        "ClusterRoleAggregator",
    ),
    ("cronjob-controller", "cronjob"),
    ("csrapproving", "certificate"),
    ("csrsigning", "certificate"),
    (
        "customresourcedefinition-controller",
        "crd_naming_condition_controller",
    ),
    ("daemon-set-controller", "daemonset"),
    ("deployment-controller", "deployment"),
    ("disruption-controller", "disruption"),
    ("endpoint-controller", "endpoint"),
    ("endpointslice-controller", "endpoint_slice"),
    (
        "endpointslicemirroring-controller",
        "endpoint_slice_mirroring",
    ),
    (
        "flow-schema-controller",
        "priority_and_fairness_config_queue",
    ),
    (
        "generic-garbage-collector",
        "garbage_collector_attempt_to_delete",
    ),
    ("job-controller", "job"),
    ("namespace-controller", "namespace"),
    ("node-controller", "node_lifecycle_controller"),
    ("persistent-volume-binder", "claims"),
    ("pod-garbage-collector", "orphaned_pods_nodes"),
    ("pv-protection-controller", "pvprotection"),
    ("pvc-protection-controller", "pvcprotection"),
    ("replicaset-controller", "replicaset"),
    ("replication-controller", "replicationmanager"),
    ("resourcequota-controller", "resourcequota_primary"),
    ("root-ca-cert-publisher", "root_ca_cert_publisher"),
    ("service-account-controller", "serviceaccount"),
    ("statefulset-controller", "statefulset"),
    ("taint-eviction-controller", "noexec_taint_pod"),
    ("tokens-controller", "serviceaccount_tokens_service"),
    ("ttl-controller", "ttlcontroller"),
];

/// The name of a controller's queue: its own where upstream has no such controller.
pub fn queue_name(controller: &'static str) -> &'static str {
    let known = NAMES.iter().find(|(name, _)| *name == controller);
    known.map_or(controller, |(_, queue)| queue)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ControllersConfig, all};
    use std::collections::BTreeSet;

    #[test]
    fn names_are_of_controllers() {
        let known: BTreeSet<_> = all(ControllersConfig::default())
            .iter()
            .map(|one| one.name())
            .collect();
        // Those with the cluster's keys are not among controllers that have none.
        let keyed = [
            "csrapproving",
            "csrsigning",
            "tokens-controller",
            "root-ca-cert-publisher",
        ];
        for (name, _) in NAMES {
            assert!(known.contains(name) || keyed.contains(&name), "{name}");
        }
        assert_eq!(queue_name("deployment-controller"), "deployment");
        assert_eq!(queue_name("directory-provisioner"), "directory-provisioner");
    }
}
