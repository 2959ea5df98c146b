//! Every decoder that faces input, as a function from bytes to nothing that panics when a
//! promise is broken: what is read prints and reads again as the same, what is refused is
//! refused with an error, and nothing hangs, overflows or exhausts memory.
//!
//! Knows no transport and starts no task. `tests/smoke.rs` runs each target over seeds and
//! seeded mutations of them; `bin/decoders.rs` gives the same functions to libFuzzer.

mod bytes;
mod expressions;
mod mutate;
mod objects;
mod records;
mod texts;

pub use mutate::*;

/// A decoder under test.
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Feeds it one input.
    pub run: fn(&[u8]),
    /// Inputs that it reads well, to start from.
    pub seeds: &'static [&'static [u8]],
}

/// All of them.
pub const TARGETS: &[Target] = &[
    bytes::JSON,
    bytes::YAML,
    bytes::PROTOBUF,
    texts::LABEL_SELECTOR,
    texts::FIELD_SELECTOR,
    texts::QUANTITY,
    texts::PATTERN,
    texts::FIELD_PATHS,
    texts::TIME,
    expressions::CEL,
    objects::JSON_PATCH,
    objects::MERGE_PATCH,
    objects::STRATEGIC_PATCH,
    objects::APPLY,
    objects::CUSTOM_SCHEMA,
    records::LOG,
    records::FLAT,
    records::SPDY,
];

/// Their names.
pub fn names() -> Vec<&'static str> {
    TARGETS.iter().map(|target| target.name).collect()
}
