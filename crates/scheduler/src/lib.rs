//! The scheduler: a brain that gives every pending pod a node, or the reason why not.
//!
//! Decides over its own incremental cache and never lists the world; it must not know how
//! bindings are carried out. Upstream counterpart: `pkg/scheduler` with its framework.

mod cache;
mod cycle;
mod explain;
mod framework;
mod matching;
mod node;
mod plugins;
mod pod;
mod preemption;
mod queue;
mod resources;
mod scheduler;
mod topology;

pub use explain::*;
pub use framework::{Events, Rejection};
pub use scheduler::*;
