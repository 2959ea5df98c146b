//! Types as data, and everything that follows from them: defaults, pruning, strict checks,
//! validation, patches and server-side apply.
//!
//! Knows no kind by name, no store and no transport.

mod checks;
mod types;

pub use checks::*;
pub use types::*;
