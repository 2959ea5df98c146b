//! The default profile's plugins, one upstream plugin each.
//!
//! A plugin knows the cache and the view, never another plugin. Upstream counterpart:
//! `pkg/scheduler/framework/plugins`.

mod basic;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_resources;
mod pod_topology_spread;
mod taint_toleration;
mod volume_binding;
mod volume_limits;

use crate::framework::Plugin;
pub use node_resources::fit;

/// All of them, in the order of upstream's default profile: cheap ones refuse first.
pub fn all() -> Vec<Box<dyn Plugin>> {
    vec![
        Box::new(basic::SchedulingGates),
        Box::new(basic::NodeUnschedulable),
        Box::new(basic::NodeName),
        Box::new(taint_toleration::TaintToleration),
        Box::new(node_affinity::NodeAffinity),
        Box::new(basic::NodePorts),
        Box::new(node_resources::Fit),
        Box::new(volume_limits::VolumeRestrictions),
        Box::new(volume_binding::VolumeBinding),
        Box::new(volume_limits::VolumeZone),
        Box::new(pod_topology_spread::PodTopologySpread),
        Box::new(inter_pod_affinity::InterPodAffinity),
        Box::new(node_resources::BalancedAllocation),
        Box::new(image_locality::ImageLocality),
    ]
}
