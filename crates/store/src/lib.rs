//! The ordered log and the snapshots it yields: every object of the cluster, in process.
//!
//! Knows objects by resource name and key only; no kind, no schema, no transport.
//! Upstream counterpart: etcd and the watch cache, as one thing.

mod checkpoint;
mod codec;
mod leases;
mod log;
mod options;
mod recover;
mod shared;
mod snapshot;
mod store;
mod subscription;
mod transaction;
mod window;
mod writer;

pub use options::*;
pub use snapshot::*;
pub use store::*;
pub use subscription::*;
pub use transaction::*;
