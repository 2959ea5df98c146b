//! YAML both ways.

mod decode;
mod encode;
mod scalar;

pub use decode::*;
pub use encode::*;
