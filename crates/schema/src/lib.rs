//! Types as data, and everything that follows from them: defaults, pruning, strict checks,
//! validation, patches and server-side apply.
//!
//! Knows no kind by name, no store and no transport.

mod apply;
mod base64;
mod checks;
mod crd;
mod decode;
mod defaults;
mod facts;
mod patch;
mod path;
mod types;
mod visit;

pub use apply::*;
pub use base64::*;
pub use checks::*;
pub use crd::*;
pub use decode::*;
pub use defaults::*;
pub use facts::*;
pub use patch::*;
pub use types::*;
pub use visit::*;
