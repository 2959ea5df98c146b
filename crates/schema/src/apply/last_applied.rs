//! Moving from kubectl's client-side apply to server-side apply without conflicts.
//!
//! Upstream counterpart: `lastAppliedManager` and `lastAppliedUpdater` of `managedfields`.

use super::{
    compare::{Difference, field_set},
    fieldset::FieldSet,
};
use crate::TypeRef;
use machinery::Value;

/// The manager these rules are for: another name opts out of them.
pub(super) const KUBECTL: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
const PATH: [&str; 3] = ["metadata", "annotations", ANNOTATION];

/// Fields that client-side apply set and that still have the value it set.
pub(super) fn still_applied(live: &Value, of: &TypeRef) -> FieldSet {
    let Ok(applied) = serde_json::from_str::<Value>(live.at(&PATH).str()) else {
        return FieldSet::default();
    };
    let mut fields = field_set(&applied, of);
    let since = Difference::between(&applied, live, of);
    fields.subtract(&since.changed);
    fields.subtract(&since.removed);
    fields
}

/// Keeps the annotation of an object that has it in step with what is applied now.
pub(super) fn refresh(merged: &mut Value, config: &Value) {
    if merged.at(&PATH).str().is_empty() {
        return;
    }
    let mut applied = config.clone();
    applied.remove_at(&PATH);
    let mut text = serde_json::to_string(&applied).expect("a tree always prints");
    text.push('\n');
    merged.set_at(&PATH, text);
}
