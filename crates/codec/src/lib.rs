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

use machinery::{SmolStr, Status, Value};

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
    /// Where fields occurred more than once.
    pub duplicates: Duplicates,
}

/// Repeated fields, as upstream's readers tell of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Duplicates {
    /// In JSON by their paths.
    Paths(Vec<String>),
    /// In YAML by the line of the repetition and the key.
    Lines(Vec<(usize, SmolStr)>),
}

impl Default for Duplicates {
    fn default() -> Self {
        Self::Paths(Vec::new())
    }
}

impl Decoded {
    /// Paths of the repeated fields of JSON.
    pub fn repeated_paths(&self) -> &[String] {
        match &self.duplicates {
            Duplicates::Paths(paths) => paths,
            Duplicates::Lines(_) => &[],
        }
    }

    /// A sentence for each repeated field.
    pub fn complaints(&self) -> Vec<String> {
        match &self.duplicates {
            Duplicates::Paths(paths) => paths
                .iter()
                .map(|path| format!("duplicate field {path:?}"))
                .collect(),
            Duplicates::Lines(lines) => lines
                .iter()
                .map(|(line, key)| format!("line {line}: key {key:?} already set in map"))
                .collect(),
        }
    }
}

/// Reads a request's body in its encoding. Only JSON and YAML can repeat a field.
pub fn decode_body(
    bytes: &[u8],
    encoding: Encoding,
    resolve: &Resolve<'_>,
) -> Result<Decoded, Status> {
    match encoding {
        Encoding::Json => decode_json(bytes, Limits::default()),
        Encoding::Yaml => decode_yaml(bytes, Limits::default()),
        Encoding::Protobuf => decode_protobuf(bytes, resolve).map(|value| Decoded {
            value,
            duplicates: Duplicates::default(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn bodies_are_read_in_their_encoding() {
        let nothing = |_: &machinery::GroupVersionKind| None;
        for (encoding, body) in [(Encoding::Json, "{\"a\": 1}"), (Encoding::Yaml, "a: 1\n")] {
            let decoded = decode_body(body.as_bytes(), encoding, &nothing).unwrap();
            assert_eq!(decoded.value, json!({"a": 1}));
        }
        assert!(decode_body(b"{}", Encoding::Protobuf, &nothing).is_err());
    }
}
