//! The controllers of kube-controller-manager, each a function from a view and a key to a plan.
//!
//! They know objects by resource name and field path; neither the door nor the store, nor each
//! other. Upstream counterpart: `pkg/controller`.

mod certificates;
mod cluster_role_aggregation;
mod common;
mod crd;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
mod endpointslice;
mod endpointslice_mirroring;
mod flow_schema;
mod garbage;
mod hash;
mod history;
mod job;
mod names;
mod namespace;
mod node_lifecycle;
mod node_ttl;
mod ownership;
mod podgc;
mod pods;
mod queues;
mod quota;
mod replicaset;
mod serviceaccount;
mod services;
mod statefulset;
mod taint_eviction;
mod tokens;
mod trust;
mod volumes;

pub use ownership::{BY_UID, ORPHANS};
pub use queues::queue_name;
use reconcile::Controller;
use std::sync::Arc;
pub use trust::{Asked, RootBundle, Trust};

/// What controllers must be told about the cluster.
#[derive(Clone, Default)]
pub struct ControllersConfig {
    /// Whom clients believe, for `kube-root-ca.crt`.
    pub root_ca: RootBundle,
    /// Directory under which each node keeps the volumes of provisioner `xebec.io/directory`.
    pub volume_directory: String,
    /// The cluster's keys; without them nobody signs certificates or tokens.
    pub trust: Option<Arc<dyn Trust>>,
}

/// All controllers, in a fixed order.
pub fn all(config: ControllersConfig) -> Vec<Box<dyn Controller>> {
    let mut all: Vec<Box<dyn Controller>> = vec![
        Box::new(namespace::Namespace),
        Box::new(garbage::GarbageCollector),
        Box::new(replicaset::ReplicaSet),
        Box::new(replicaset::ReplicationController),
        Box::new(deployment::Deployment),
        Box::new(statefulset::StatefulSet),
        Box::new(daemonset::DaemonSet),
        Box::new(job::Job),
        Box::new(cronjob::CronJob),
        Box::new(disruption::Disruption),
        Box::new(quota::ResourceQuota),
        Box::new(endpointslice::EndpointSlice),
        Box::new(endpointslice_mirroring::EndpointSliceMirroring),
        Box::new(endpoints::Endpoints),
        Box::new(serviceaccount::ServiceAccount),
        Box::new(cluster_role_aggregation::ClusterRoleAggregation),
        Box::new(flow_schema::FlowSchema),
        Box::new(crd::CustomResourceDefinition),
        Box::new(node_lifecycle::NodeLifecycle),
        Box::new(node_ttl::NodeTtl),
        Box::new(taint_eviction::TaintEviction),
        Box::new(podgc::PodGc),
        Box::new(volumes::Binder),
        Box::new(volumes::ClaimProtection),
        Box::new(volumes::VolumeProtection),
    ];
    if let Some(trust) = config.trust {
        all.extend(of_keys(&trust, &config.root_ca));
    }
    all.push(Box::new(serviceaccount::RootCa {
        bundle: config.root_ca,
    }));
    all.push(Box::new(volumes::DirectoryProvisioner {
        directory: config.volume_directory,
    }));
    all
}

/// The controllers that have something signed.
fn of_keys(trust: &Arc<dyn Trust>, root_ca: &RootBundle) -> [Box<dyn Controller>; 4] {
    [
        Box::new(certificates::Approver {
            trust: trust.clone(),
        }),
        Box::new(certificates::Signer {
            trust: trust.clone(),
        }),
        Box::new(certificates::Cleaner {
            trust: trust.clone(),
        }),
        Box::new(tokens::Tokens {
            trust: trust.clone(),
            root_ca: root_ca.clone(),
        }),
    ]
}
