//! The node's hands on Linux: containers, images, volumes and pod networks.
//!
//! Must not know any Kubernetes kind: it implements the seams of `env` over system calls.
//! Upstream counterpart: containerd with runc, and a CNI plugin.

mod capabilities;
mod cgroup;
mod child;
mod client;
mod images;
mod layout;
mod log;
pub mod net;
mod pod_network;
mod runtime;
mod seccomp;
mod spec;
mod supervisor;
mod sys;
mod volumes;
mod wire;

pub use client::{SupervisorClient, spawn_supervisor};
pub use images::{BinaryImage, Image, ImageStore, RunConfig};
pub use pod_network::PodNetwork;
pub use runtime::{LinuxContainers, RuntimeConfig};
pub use supervisor::{cleanup, supervisor_main};
