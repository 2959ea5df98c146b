//! The nouns of the Kubernetes API as plain values: trees, immutable objects, names of
//! kinds and resources, `Status` errors, quantities, selectors, time formats.
//!
//! Knows no kind, no store, no transport and no clock. Upstream counterpart: `k8s.io/apimachinery`.

mod duration;
pub mod flat;
mod gvk;
mod map;
mod names;
mod object;
mod quantity;
mod selector;
mod status;
mod time;
mod value;
mod value_serde;

pub use duration::*;
pub use flat::Ref;
pub use gvk::*;
pub use map::Map;
pub use names::*;
pub use object::*;
pub use quantity::*;
pub use selector::*;
pub use smol_str::{SmolStr, SmolStrBuilder, ToSmolStr, format_smolstr};
pub use status::*;
pub use time::*;
pub use value::*;
