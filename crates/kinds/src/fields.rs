//! What a field selector compares with: mostly the field itself, for some kinds not quite.
//!
//! Upstream counterparts: `SelectableFields` of the kinds' strategies.

use crate::Kind;
use machinery::{FieldSelector, Ref, SmolStr, flat::Shape, format_smolstr};

/// Storage resource, selectable field, where it is kept.
const ELSEWHERE: [(&str, &str, &str); 3] = [
    (crate::JOBS, "status.successful", "status.succeeded"),
    (crate::EVENTS, "source", "source.component"),
    (crate::PODS, "status.podIPs", "status.podIP"),
];

/// What a selectable field of an event is called where it is stored; the words of the one
/// version mean nothing in the other.
pub(crate) fn stored_field<'a>(kind: &Kind, field: &'a str) -> &'a str {
    if kind.storage != crate::EVENTS || kind.gvk.group.is_empty() {
        return field;
    }
    match field {
        "reportingController" => "reportingComponent",
        "type" | "reason" => field,
        _ => REGARDING
            .iter()
            .find(|(new, _)| *new == field)
            .map_or("", |(_, core)| core),
    }
}

/// Fields of what an event is about, in the words of `events.k8s.io` and of core.
const REGARDING: [(&str, &str); 7] = [
    ("regarding.kind", "involvedObject.kind"),
    ("regarding.namespace", "involvedObject.namespace"),
    ("regarding.name", "involvedObject.name"),
    ("regarding.uid", "involvedObject.uid"),
    ("regarding.apiVersion", "involvedObject.apiVersion"),
    (
        "regarding.resourceVersion",
        "involvedObject.resourceVersion",
    ),
    ("regarding.fieldPath", "involvedObject.fieldPath"),
];

/// Fields that are false or zero, not empty, where they are absent.
const ABSENT: [(&str, &str); 4] = [
    ("spec.unschedulable", "false"),
    ("spec.hostNetwork", "false"),
    ("status.replicas", "0"),
    ("status.successful", "0"),
];

impl Kind {
    /// Whether an object, in its storage version, satisfies a field selector.
    pub fn matches_fields(&self, selector: &FieldSelector, root: Ref<'_>) -> bool {
        let holds = |field: &SmolStr, value: &SmolStr| self.field_text(field, root) == *value;
        selector
            .terms
            .iter()
            .all(|term| holds(&term.field, &term.value) == term.equal)
    }

    /// The text that a selector on `field` compares with.
    pub fn field_text(&self, field: &str, root: Ref<'_>) -> SmolStr {
        let field = match stored_field(self, field) {
            "" => field,
            stored => stored,
        };
        let moved = ELSEWHERE
            .iter()
            .find(|(storage, name, _)| self.storage == *storage && *name == field);
        let text = text_of(root.at(moved.map_or(field, |(_, _, path)| path)));
        if !text.is_empty() {
            return text;
        }
        if field == "source" {
            return text_of(root.at("reportingComponent"));
        }
        let absent = ABSENT
            .iter()
            .find(|(name, _)| *name == field && !self.custom);
        absent.map_or(text, |(_, text)| SmolStr::new_static(text))
    }
}

fn text_of(found: Ref<'_>) -> SmolStr {
    match found.shape() {
        Shape::Bool(flag) => SmolStr::new_static(if flag { "true" } else { "false" }),
        Shape::Int(number) => format_smolstr!("{number}"),
        _ => found.str().into(),
    }
}
