//! The commands people and probes run in a container: small, with the few options that are used.

pub mod archive;
pub mod files;
pub mod net;
pub mod system;
pub mod text;

use crate::errors::usage;
use std::io;

/// Takes one-letter flags (in any grouping) off the front of the arguments.
fn flags<'a>(args: &'a [String], known: &str) -> io::Result<(String, &'a [String])> {
    let mut found = String::new();
    let mut rest = args;
    while let [first, tail @ ..] = rest {
        if first == "--" {
            return Ok((found, tail));
        }
        let Some(letters) = first
            .strip_prefix('-')
            .filter(|letters| !letters.is_empty())
        else {
            break;
        };
        if let Some(unknown) = letters.chars().find(|letter| !known.contains(*letter)) {
            return Err(usage(format!("unrecognized option '-{unknown}'")));
        }
        found.push_str(letters);
        rest = tail;
    }
    Ok((found, rest))
}
