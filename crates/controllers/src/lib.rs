//! The controllers of kube-controller-manager, each a function from a view and a key to a plan.
//!
//! They know objects by resource name and field path; neither the door nor the store, nor each
//! other. Upstream counterpart: `pkg/controller`.

mod common;
mod deployment;
mod garbage;
mod hash;
#[allow(dead_code)]
mod names;
mod namespace;
mod ownership;
mod pods;
mod replicaset;
pub use ownership::{BY_UID, ORPHANS};
use reconcile::Controller;

/// All controllers, in a fixed order.
pub fn all() -> Vec<Box<dyn Controller>> {
    vec![
        Box::new(namespace::Namespace),
        Box::new(garbage::GarbageCollector),
        Box::new(replicaset::ReplicaSet),
        Box::new(replicaset::ReplicationController),
        Box::new(deployment::Deployment),
    ]
}
