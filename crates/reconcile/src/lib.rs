//! What every brain is made of: a view of the world, a plan, and the drivers that carry
//! plans out through the door.
//!
//! Knows no kind by name. Upstream counterpart: client-go informers and workqueues,
//! controller-runtime.

mod plan;
mod view;

pub use plan::*;
pub use store::{Change, Key, Snapshot};
pub use view::*;
