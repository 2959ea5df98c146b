//! Rehearsals.

mod cluster;
mod error;

pub use cluster::*;
pub use error::Error;
