//! The node's hands on Linux: containers, images, volumes and pod networks.
//!
//! Must not know any Kubernetes kind: it implements the seams of `env` over system calls.
//! Upstream counterpart: containerd with runc, and a CNI plugin.

mod capabilities;
mod cgroup;
mod child;
mod layout;
mod log;
pub mod net;
mod pod_network;
mod seccomp;
mod spec;
mod supervisor;
mod sys;
mod wire;

pub use pod_network::PodNetwork;
