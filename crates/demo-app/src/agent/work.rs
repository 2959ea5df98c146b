//! The work itself: small, repeatable, with a memory in Redis.

use crate::redis::{client::Client, resp::Reply};
use std::io;

/// Key of the number of requests all agents served.
const COUNTER: &str = "agent:requests";
/// Key of the last task of any agent.
const LAST: &str = "agent:last-task";
/// Key of how often a task was seen, before its hash.
const SEEN: &str = "agent:seen";
/// How long a task is remembered, so that the memory does not grow without end.
const SEEN_SECONDS: &str = "3600";
/// Bytes a token is taken to have, a common rule of thumb.
const TOKEN_BYTES: u64 = 4;

/// What the agents know together.
pub struct Memory {
    /// Requests so far, this one included.
    pub counter: i64,
    /// The task before this one.
    pub previous: Option<String>,
    /// How often this task came before.
    pub seen: u64,
}

/// Tokens a task takes.
pub fn tokens(task: &str) -> u64 {
    (task.len() as u64).div_ceil(TOKEN_BYTES)
}

/// FNV-1a: short, and the same everywhere.
fn hash(task: &str) -> u64 {
    task.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A result that depends on the task alone.
pub fn think(task: &str) -> String {
    let words = task.split_whitespace().count();
    format!("{words} words considered, conclusion {:016x}", hash(task))
}

fn text(reply: Reply) -> Option<String> {
    match reply {
        Reply::Bulk(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        _ => None,
    }
}

/// Counts the request and swaps the remembered task for this one.
pub fn remember(redis: &mut Client, task: &str) -> io::Result<Memory> {
    let Reply::Int(counter) = redis.command(&["INCR", COUNTER])? else {
        return Err(io::Error::other("INCR gave no number"));
    };
    let previous = text(redis.command(&["GET", LAST])?);
    redis.command(&["SET", LAST, task])?;
    let key = format!("{SEEN}:{:016x}", hash(task));
    let Reply::Int(times) = redis.command(&["INCR", &key])? else {
        return Err(io::Error::other("INCR gave no number"));
    };
    redis.command(&["EXPIRE", &key, SEEN_SECONDS])?;
    let seen = times.saturating_sub(1).unsigned_abs();
    Ok(Memory {
        counter,
        previous,
        seen,
    })
}
