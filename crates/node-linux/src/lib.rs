//! The node's hands on Linux: containers, images, volumes and pod networks.
//!
//! Must not know any Kubernetes kind: it implements the seams of `env` over system calls.
//! Upstream counterpart: containerd with runc, and a CNI plugin.

pub mod net;
mod pod_network;

pub use pod_network::PodNetwork;
