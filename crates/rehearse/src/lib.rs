//! Rehearsals: a scenario file in, what would happen out, in virtual time.
//!
//! The platform that is rehearsed is the platform that runs; only its world differs. This
//! room knows scenarios, faults and reports, and no way to decide anything the platform
//! decides. Upstream counterpart: KWOK with chaos-mesh and KUTTL, as one deterministic thing.

mod cluster;
mod error;
mod expect;
mod manifests;
mod report;
mod run;
pub mod scenario;
mod signer;
mod steps;
mod timeline;

pub use cluster::*;
pub use error::Error;
pub use expect::Outcome;
pub use manifests::load as load_manifests;
pub use report::Report;
pub use run::{Observer, Options, run};
pub use steps::apply_all;
pub use timeline::Entry;
