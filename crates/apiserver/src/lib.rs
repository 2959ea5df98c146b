//! The Kubernetes API over HTTP: TLS, identity, paths, forms, streams.
//!
//! Turns requests into calls of the door and answers into bytes; decides nothing about
//! objects itself and knows no kind by name. Upstream counterpart: `k8s.io/apiserver/pkg/server`
//! and `pkg/endpoints`.

mod answer;
mod body;
mod discovery;
mod health;
mod identity;
mod level;
mod limits;
mod measured;
mod metrics;
mod nodes;
mod options;
mod pace;
mod path;
mod pki;
mod printed;
mod server;
pub mod spdy;
mod stream;
mod watch;
mod wire;
mod zpages;

pub use nodes::*;
pub use pki::*;
pub use server::*;
