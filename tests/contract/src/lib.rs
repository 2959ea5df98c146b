//! A small blocking HTTP/1.1 client over TLS for the contract tests: it shows what the server
//! says, byte for byte, and repairs nothing.
//!
//! Knows addresses and credentials, no kinds. Upstream counterpart: `client-go/rest`.

mod api;
mod http;
mod keep;
mod session;
mod watch;

pub use api::Api;
pub use http::Answer;
pub use keep::Connection;
pub use session::Session;
pub use watch::Watch;
