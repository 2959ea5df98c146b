//! `application/vnd.kubernetes.protobuf` both ways, from the tag numbers in the schema.
//!
//! Knows no kind. Upstream counterpart: `apimachinery/pkg/runtime/serializer/protobuf`.

mod decode;
mod encode;
mod forms;
mod time;
pub(crate) mod wire;

pub use decode::{Resolve, decode_protobuf};
pub use encode::*;

/// What every body starts with.
const MAGIC: [u8; 4] = *b"k8s\0";

#[cfg(test)]
mod tests {
    use super::forms::tag_path;
    use schema::{Shape, builtin};

    #[test]
    fn tags_of_every_type_are_unambiguous() {
        let mut messages = 0;
        for node in &builtin().nodes {
            let Shape::Struct(known) = &node.shape else {
                continue;
            };
            let mut paths: Vec<_> = known
                .fields
                .iter()
                .map(|field| tag_path(node, field))
                .collect();
            paths.retain(|path| !path.is_empty());
            paths.sort();
            for pair in paths.windows(2) {
                assert!(!pair[1].starts_with(pair[0]), "{}: {pair:?}", node.name);
            }
            messages += usize::from(!paths.is_empty());
        }
        assert!(messages > 600, "{messages}");
    }
}
