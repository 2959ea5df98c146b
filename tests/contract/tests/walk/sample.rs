//! The samples: one rich object of every resource, as text and as a tree.
//!
//! Upstream counterpart: `test/integration/etcd/data.go`.

use crate::{NAMESPACE, discovery::Resource};
use serde_json::Value;

/// One object of the file, with its placeholders.
pub struct Sample {
    text: String,
    kind: (String, String),
    /// A merge patch of what is wanted.
    pub change: Option<Value>,
    /// A merge patch of what is seen.
    pub status: Option<Value>,
}

/// Reads YAML as JSON.
pub fn tree(yaml: &[u8]) -> Result<Value, String> {
    let decoded =
        codec::decode_yaml(yaml, codec::Limits::default()).map_err(|why| why.to_string())?;
    serde_json::to_value(decoded.value).map_err(|why| why.to_string())
}

impl Sample {
    /// All samples of the file.
    pub fn all() -> Vec<Self> {
        let documents = include_str!("samples.yaml").split("\n---\n").skip(1);
        documents.map(Self::parse).collect()
    }

    fn parse(text: &str) -> Self {
        let directive = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(serde_json::from_str(line).unwrap_or_else(|why| panic!("{line}: {why}")))
        };
        let object = tree(text.as_bytes()).unwrap_or_else(|why| panic!("{text}: {why}"));
        let word = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        Self {
            text: text.to_owned(),
            kind: (word("apiVersion"), word("kind")),
            change: directive("# change: "),
            status: directive("# status: "),
        }
    }

    /// Whether it is an object of a resource.
    pub fn is_of(&self, resource: &Resource) -> bool {
        self.kind == (resource.group_version.clone(), resource.kind.clone())
    }

    /// The text of the object that `name` and `number` make of it.
    pub fn text(&self, name: &str, number: usize) -> String {
        self.text
            .replace("NAMESPACE", NAMESPACE)
            .replace("NAME", name)
            .replace("NUMBER", &number.to_string())
    }
}
