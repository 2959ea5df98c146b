//! Descriptions of built-in types, packed into the binary by the build script.
//!
//! Knows no type by name; empty answers where the build had no source to read.

use std::{collections::BTreeMap, sync::OnceLock};

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.deflate"));

/// Definition and field.
type Key = (Box<str>, Box<str>);
type Table = BTreeMap<Key, Box<str>>;

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let text = miniz_oxide::inflate::decompress_to_vec(PACKED).unwrap_or_default();
        let text = String::from_utf8(text).unwrap_or_default();
        text.lines().filter_map(entry).collect()
    })
}

fn entry(line: &str) -> Option<(Key, Box<str>)> {
    let mut parts = line.splitn(3, '\t');
    let (definition, field, text) = (parts.next()?, parts.next()?, parts.next()?);
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter == '\\').then(|| letters.next()).flatten() {
            None => plain.push(letter),
            Some('n') => plain.push('\n'),
            Some(other) => plain.push(other),
        }
    }
    Some(((definition.into(), field.into()), plain.into()))
}

/// The text of a definition (empty `field`) or of one of its fields; empty if there is none.
pub fn description(definition: &str, field: &str) -> &'static str {
    table()
        .get(&(definition.into(), field.into()))
        .map_or("", |text| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_under_their_json_names() {
        if table().is_empty() {
            return; // Built without the source of the descriptions.
        }
        let port = "io.k8s.api.core.v1.ContainerPort";
        assert_eq!(
            description(port, ""),
            "ContainerPort represents a network port in a single container."
        );
        assert_eq!(
            description(port, "hostIP"),
            "What host IP to bind the external port to."
        );
        assert!(description(port, "containerPort").ends_with("0 < x < 65536."));
        assert_eq!(description(port, "nothing"), "");
    }

    #[test]
    fn nearly_all_fields_have_one() {
        let (mut with, mut all) = (0, 0);
        for node in &schema::builtin().nodes {
            if let schema::Shape::Struct(known) = &node.shape
                && !node.name.is_empty()
                && !node.name.ends_with("List")
            {
                let texts = known
                    .fields
                    .iter()
                    .map(|field| description(&node.name, &field.name));
                with += texts.filter(|text| !text.is_empty()).count();
                all += known.fields.len();
            }
        }
        assert!(
            table().is_empty() || with * 100 > all * 90,
            "{with} of {all}"
        );
    }
}
