//! What upstream's documents state of built-in types beside their form: the order of required
//! fields, allowed words, unions.
//!
//! Only said, nowhere acted upon. The notation is explained on top of `data/openapi-1.36.txt`.
//! Upstream counterpart: `zz_generated.openapi.go`.

use super::types::Dialect;
use crate::{Limits, decode_json};
use machinery::Value;
use std::{collections::BTreeMap, sync::OnceLock};

const TEXT: &str = include_str!("../../data/openapi-1.36.txt");

/// Where in a definition, and what stands there; null for nothing.
type Stated = (Vec<&'static str>, Value);

fn table() -> &'static BTreeMap<&'static str, Vec<Stated>> {
    static TABLE: OnceLock<BTreeMap<&'static str, Vec<Stated>>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut all: BTreeMap<_, Vec<Stated>> = BTreeMap::new();
        for line in TEXT.lines().filter(|line| !line.starts_with("//")) {
            let (definition, stated) = read(line).expect("the committed table is well formed");
            all.entry(definition).or_default().push(stated);
        }
        all
    })
}

fn read(line: &'static str) -> Option<(&'static str, Stated)> {
    let mut parts = line.splitn(3, ' ');
    let (definition, place, text) = (parts.next()?, parts.next()?, parts.next()?);
    let value = decode_json(text.as_bytes(), Limits::default()).ok()?.value;
    Some((definition, (place.split('/').collect(), value)))
}

/// Completes a definition.
pub(super) fn state(dialect: Dialect, name: &str, definition: &mut Value) {
    for (place, value) in table().get(name).into_iter().flatten() {
        let (last, before) = place.split_last().expect("a place has a word");
        // OpenAPI v2 states no defaults.
        if *last == "default" && dialect == Dialect::V2 {
            continue;
        }
        let mut at = &mut *definition;
        for word in before {
            at = &mut at[*word];
        }
        match value.is_null() {
            true => drop(at.make_object().remove(last)),
            false => at[*last] = value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn what_is_stated_is_of_known_definitions() {
        for (name, stated) in table() {
            assert!(schema::builtin().named(name).is_some(), "{name}");
            assert!(stated.iter().all(|(place, _)| !place.is_empty()));
        }
    }

    #[test]
    fn definitions_are_completed() {
        let name = "io.k8s.api.core.v1.AttachedVolume";
        let mut definition = json!({"required": ["devicePath", "name"]});
        state(Dialect::V3, name, &mut definition);
        assert_eq!(definition, json!({"required": ["name", "devicePath"]}));
        let name = "io.k8s.api.core.v1.LocalObjectReference";
        for (dialect, wanted) in [(Dialect::V3, json!("")), (Dialect::V2, Value::Null)] {
            let mut definition = json!({"properties": {"name": {}}});
            state(dialect, name, &mut definition);
            assert_eq!(definition["properties"]["name"]["default"], wanted);
        }
    }
}
