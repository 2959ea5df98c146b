//! The admission chain: what a write is completed with and what it is refused for, and the
//! objects every cluster begins with.
//!
//! Each plug-in is a file, called as upstream calls it. Pure over what the door shows; knows
//! no store, transport or clock of its own. Upstream counterparts: `plugin/pkg/admission`,
//! `pkg/registry/core/service`.

pub mod bootstrap;
mod certificates;
mod claim_resize;
mod common;
pub mod csr;
mod default_classes;
mod ledger;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod pod_resize;
mod pod_resources;
mod pod_security;
mod policies;
mod priority;
pub mod quota;
mod role_escalation;
mod runtime_class;
mod service_account;
mod services;
mod storage_protection;
mod taint_nodes;
#[cfg(test)]
mod testing;
mod tolerations;
pub mod webhooks;

pub use policies::MatchConditions;
pub use services::{PortRange, ServiceRange};

use registry::Admission;
use std::sync::Arc;

/// What the chain depends on.
#[derive(Clone, Debug, Default)]
pub struct AdmissionConfig {
    /// Addresses of services.
    pub services: ServiceRange,
    /// Node ports.
    pub node_ports: PortRange,
}

/// The plug-ins in upstream's order. Quota counts after everything that may refuse or change,
/// webhooks included; the allocator, part of storage upstream, comes last.
pub fn chain(config: AdmissionConfig) -> Vec<Arc<dyn Admission>> {
    vec![
        Arc::new(namespace_lifecycle::NamespaceLifecycle),
        Arc::new(limit_ranger::LimitRanger),
        Arc::new(service_account::ServiceAccount),
        Arc::new(node_restriction::NodeRestriction),
        Arc::new(taint_nodes::TaintNodesByCondition),
        Arc::new(pod_security::PodSecurity),
        Arc::new(priority::Priority),
        Arc::new(tolerations::DefaultTolerationSeconds),
        Arc::new(default_classes::DefaultClass::STORAGE),
        Arc::new(storage_protection::StorageObjectInUseProtection),
        Arc::new(claim_resize::PersistentVolumeClaimResize),
        Arc::new(runtime_class::RuntimeClass),
        Arc::new(certificates::Certificates::APPROVAL),
        Arc::new(certificates::Certificates::SIGNING),
        Arc::new(certificates::CertificateSubjectRestriction),
        Arc::new(default_classes::DefaultClass::INGRESS),
        Arc::new(pod_resize::PodResizeValidator),
        Arc::new(role_escalation::RoleEscalation),
        Arc::new(quota::ResourceQuota::default()),
        Arc::new(services::ServiceAllocator::new(
            config.services,
            config.node_ports,
        )),
    ]
}
