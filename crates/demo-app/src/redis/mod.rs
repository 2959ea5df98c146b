//! A small key-value store that speaks the Redis protocol (RESP2), its client and its command line.
//!
//! A stand-in: one database, strings, lists and hashes, no replication, no scripting.

pub mod cli;
pub mod client;
mod commands;
mod db;
mod glob;
mod rdb;
pub mod resp;
pub mod server;
mod session;

/// The port of Redis.
pub const PORT: u16 = 6379;
