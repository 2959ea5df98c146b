//! The node agent: makes a node's containers be what its pods ask for, and reports.
//!
//! Knows pods, nodes and leases, and reaches the world only through `env` and [`ApiClient`];
//! must not know whether its containers are real. Upstream counterpart: `pkg/kubelet`.

mod api;
mod config;
mod kubelet;

pub use api::*;
pub use config::*;
pub use kubelet::*;
