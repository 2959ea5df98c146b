//! The three patch formats that need no field ownership: JSON patch, JSON merge patch and
//! strategic merge patch.
//!
//! Knows no kind: what merges how is in the schema. Upstream counterpart:
//! `apiserver/pkg/endpoints/handlers/patch.go` and `apimachinery/pkg/util/strategicpatch`.

mod json_patch;
mod merge_patch;
mod strategic;
mod strategic_list;

pub use json_patch::*;
pub use merge_patch::*;
pub use strategic::*;
