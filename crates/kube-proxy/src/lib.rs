//! From Services and EndpointSlices to the service table of one node, and the change between two tables.
//!
//! Pure: must not know how the table is put into a kernel, nor how objects are watched.
//! Upstream counterpart: `pkg/proxy` (ServiceChangeTracker, EndpointsChangeTracker, CategorizeEndpoints).

mod compile;
mod endpoints;
mod view;

pub use compile::{compile, compile_service, diff};
pub use view::*;
