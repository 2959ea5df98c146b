//! The node agent: makes a node's containers be what its pods ask for, and reports.
//!
//! Knows pods, nodes and leases, and reaches the world only through `env` and [`ApiClient`];
//! must not know whether its containers are real. Upstream counterpart: `pkg/kubelet`.

mod admission;
mod agent;
mod api;
mod base64;
mod config;
mod container;
mod context;
mod dns;
mod environment;
mod kubelet;
mod limits;
mod node;
mod probes;
mod resize;
mod spec;
mod status;
mod steps;
mod volumes;
mod worker;

pub use api::*;
pub use config::*;
pub use kubelet::*;
