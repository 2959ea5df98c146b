//! The cluster's DNS: who has which name, and a server that says so on UDP and TCP.
//!
//! Answers for the cluster's own names only; it sends nothing to other servers. Must not know how
//! objects are watched or sockets reach a node. Upstream counterpart: CoreDNS with its `kubernetes` plugin.

mod names;
mod server;
mod view;
mod wire;
mod zone;

pub use server::{SharedZone, serve};
pub use view::*;
pub use wire::{answer_tcp, answer_udp};
pub use zone::{Answer, Data, Outcome, RecordType, Zone};
