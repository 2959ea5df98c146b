//! JSON both ways.

mod decode;
mod encode;
mod number;
mod order;
mod overlay;

pub use decode::*;
pub use encode::*;
pub(crate) use number::write_float;
pub use order::*;
pub use overlay::*;
