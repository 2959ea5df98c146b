//! A simulated world: virtual time, seeded chance, one thread, disks that break on demand.
//!
//! A run is a function of its seed and its code. Knows no Kubernetes and no operating
//! system. Upstream counterpart: `k8s.io/utils/clock/testing`, taken to its end.

mod callout;
mod clock;
mod containers;
mod disk;
mod domain;
mod entropy;
mod profile;
mod sim;
mod task;

pub use callout::{Scripted, SimCallout};
pub use containers::SimContainers;
pub use disk::*;
pub use domain::Domain;
pub use entropy::SimEntropy;
pub use profile::*;
pub use sim::*;
