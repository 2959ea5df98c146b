//! THE DOOR: the one read path and the one write path to every object of the cluster.
//!
//! Every caller comes through [`Door::call`]: clients over HTTP, controllers, kubelets, the
//! AWS front, rehearsals. The steps of a write are written once, in order, in `write.rs`.
//! Knows no kind by name (namespaces aside, which are the API's own notion of scope) and no
//! transport. Upstream counterpart: `k8s.io/apiserver/pkg/{endpoints/handlers,registry/generic}`.

mod actions;
mod admission;
mod authorize;
mod call;
mod convert;
mod decode;
mod delete;
mod door;
mod live;
mod managed;
mod measures;
mod meta;
mod patch;
mod read;
mod reviews;
mod subresource;
mod tokens;
mod watch;
mod write;

pub(crate) use live::{Live, Put};

pub use admission::*;
pub use call::*;
pub use door::*;
pub use kinds::Propagation;
pub use measures::*;
pub use store::{Change, Key, Lagged, Snapshot, Subscription, Table};
pub use tokens::Authenticated;
pub use watch::*;
