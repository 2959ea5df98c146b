//! A simulated world: virtual time, seeded chance, one thread, disks that break on demand.
//!
//! A run is a function of its seed and its code. Knows no Kubernetes and no operating
//! system. Upstream counterpart: `k8s.io/utils/clock/testing`, taken to its end.

mod clock;
mod disk;
mod entropy;
mod sim;
mod task;

pub use disk::*;
pub use entropy::SimEntropy;
pub use sim::*;
