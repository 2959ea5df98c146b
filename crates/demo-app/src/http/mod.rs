//! HTTP/1.1, as much as probes, a scraper and `curl` need: one request a connection.

pub mod client;
pub mod server;

/// Longest head of a message.
const MAX_HEAD: u64 = 64 * 1024;
