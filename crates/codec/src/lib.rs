//! The API's forms on the wire: JSON, YAML, protobuf, tables, OpenAPI and discovery documents,
//! and the choice among them.
//!
//! Knows no kind by name, no store and no transport: types come in as `schema` trees and
//! resources as plain data. Upstream counterparts: `apimachinery/pkg/runtime/serializer`,
//! `kube-openapi`, `apiserver/pkg/endpoints/discovery`.

mod descriptions;
mod discovery;
mod json;
mod negotiate;
mod openapi;
mod path;
mod protobuf;
mod resource;
mod table;
#[cfg(test)]
mod testing;
mod yaml;

pub use descriptions::*;
pub use discovery::*;
pub use json::*;
pub use negotiate::*;
pub use openapi::*;
pub use protobuf::*;
pub use resource::*;
pub use table::*;
pub use yaml::*;

use machinery::Value;

/// What a decoder may be made to do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Levels of nesting.
    pub depth: usize,
}

impl Default for Limits {
    /// As deep as stored bytes may be.
    fn default() -> Self {
        Self {
            depth: machinery::flat::MAX_DEPTH,
        }
    }
}

/// A body read into a tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The tree; of equal keys the last won.
    pub value: Value,
    /// Paths of the fields that occurred more than once, for `duplicate field "spec.a"`.
    pub duplicates: Vec<String>,
}
