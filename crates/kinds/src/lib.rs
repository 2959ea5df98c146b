//! The catalogue of kinds: what each kind is called, how it is shown, what it defaults to and
//! what is refused, as values and pure functions.
//!
//! A plain kind is a row of `discovery.txt`; one with rules of its own adds a file with a
//! [`Part`]. Knows no store, transport or clock. Upstream counterparts: `pkg/apis/*`,
//! `pkg/registry/*/strategy.go`, `pkg/printers/internalversion`.

mod catalogue;
mod columns;
mod kind;
pub mod resources;
mod strategy;

pub use catalogue::*;
pub use columns::*;
pub use kind::*;
pub use resources::*;
pub use strategy::*;
