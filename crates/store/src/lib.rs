//! The ordered log and the snapshots it yields: every object of the cluster, in process.
//!
//! Knows objects by resource name and key only; no kind, no schema, no transport.
//! Upstream counterpart: etcd and the watch cache, as one thing.

mod snapshot;

pub use snapshot::*;
