//! `application/vnd.kubernetes.protobuf` both ways, from the tag numbers in the schema.
//!
//! Knows no kind. Upstream counterpart: `apimachinery/pkg/runtime/serializer/protobuf`.

mod decode;
mod encode;
mod forms;
mod time;
mod wire;

pub use decode::{Resolve, decode_protobuf};
pub use encode::*;

/// What every body starts with.
const MAGIC: [u8; 4] = *b"k8s\0";
