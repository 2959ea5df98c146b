//! Words every controller uses: targets, patches, events, conditions, status writes.
//!
//! Decides nothing. Upstream counterpart: `pkg/controller/controller_utils.go`.

use env::Time;
use machinery::{Object, Ref, Value, format_time, json, parse_time};
use reconcile::{Action, Event, Preconditions, Propagation, Target, reference};
use std::sync::Arc;

/// Most actions of one kind in one plan: keeps a plan, and what its failure throws away, small.
pub const ACTIONS_PER_PLAN: usize = 500;

/// The target of an object found in the view.
pub fn target(resource: &str, object: &Object) -> Target {
    Target::new(resource, object.namespace(), object.name())
}

/// Creates a whole object.
pub fn create(resource: &str, object: Value, existing_is_fine: bool) -> Action {
    Action::Create {
        target: Target::new(resource, object.namespace(), ""),
        subresource: "",
        object,
        existing_is_fine,
    }
}

/// Deletes exactly this object, dependents afterwards.
pub fn delete(resource: &str, object: &Object) -> Action {
    Action::Delete {
        target: target(resource, object),
        when: Preconditions::uid(object.uid()),
        grace_seconds: None,
        propagation: Propagation::Background,
    }
}

/// Merges `patch` into exactly this revision.
pub fn patch(resource: &str, object: &Object, patch: Value) -> Action {
    Action::Patch {
        target: target(resource, object),
        subresource: "",
        patch,
        when: Preconditions::exactly(object),
    }
}

/// Replaces the status of exactly this revision, unless it is so already.
pub fn write_status(resource: &str, object: &Arc<Object>, status: Value) -> Option<Action> {
    if object.at("status").to_value() == status {
        return None;
    }
    let mut changed = object.shown();
    changed["status"] = status;
    Some(Action::Update {
        target: target(resource, object),
        subresource: "status",
        object: changed,
    })
}

/// Removes one finalizer from exactly this revision.
pub fn remove_finalizer(resource: &str, object: &Object, finalizer: &str) -> Action {
    let left: Vec<Value> = object
        .finalizers()
        .filter(|known| *known != finalizer)
        .map(Value::from)
        .collect();
    patch(resource, object, json!({"metadata": {"finalizers": left}}))
}

/// Adds one finalizer to exactly this revision.
pub fn add_finalizer(resource: &str, object: &Object, finalizer: &str) -> Action {
    let mut all: Vec<Value> = object.finalizers().map(Value::from).collect();
    all.push(finalizer.into());
    patch(resource, object, json!({"metadata": {"finalizers": all}}))
}

/// Whether a finalizer is on the object.
pub fn has_finalizer(object: &Object, finalizer: &str) -> bool {
    object.finalizers().any(|known| known == finalizer)
}

/// A `Normal` event.
pub fn event(object: &Object, reason: &str, message: impl Into<String>) -> Action {
    Action::Event(Event {
        about: reference(object),
        warning: false,
        reason: reason.into(),
        message: message.into(),
    })
}

/// A `Warning` event.
pub fn warning(object: &Object, reason: &str, message: impl Into<String>) -> Action {
    Action::Event(Event {
        about: reference(object),
        warning: true,
        reason: reason.into(),
        message: message.into(),
    })
}

/// Now, as a `metav1.Time`.
pub fn text(now: Time) -> String {
    format_time(now.0)
}

/// The time a field holds.
pub fn time(field: Ref<'_>) -> Option<Time> {
    parse_time(field.str()).map(Time)
}

/// `metadata.creationTimestamp`.
pub fn created(object: &Object) -> Time {
    time(object.metadata().get("creationTimestamp")).unwrap_or_default()
}

/// An object's condition of a type (missing if absent).
pub fn condition<'a>(object: &'a Object, kind: &str) -> Ref<'a> {
    object
        .at("status.conditions")
        .items()
        .find(|one| one.get("type").str() == kind)
        .unwrap_or(Ref::MISSING)
}

/// Whether a condition is `True`.
pub fn is_true(object: &Object, kind: &str) -> bool {
    condition(object, kind).get("status").str() == "True"
}

/// A condition's new state.
#[derive(Clone, Copy)]
pub struct Condition<'a> {
    /// `type`.
    pub kind: &'a str,
    /// `True`, `False` or `Unknown`.
    pub status: &'a str,
    /// CamelCase reason.
    pub reason: &'a str,
    /// Sentence.
    pub message: &'a str,
}

/// Sets a condition; keeps `lastTransitionTime` while the status stays, and everything while nothing differs.
pub fn set_condition(status: &mut Value, new: Condition<'_>, now: Time) {
    let conditions = conditions_mut(status);
    let at = conditions
        .iter()
        .position(|one| one["type"].str() == new.kind);
    let mut made = json!({
        "type": new.kind, "status": new.status, "lastTransitionTime": text(now),
    });
    for (field, words) in [("reason", new.reason), ("message", new.message)] {
        if !words.is_empty() {
            made[field] = words.into();
        }
    }
    let Some(at) = at else {
        return conditions.push(made);
    };
    let old = &mut conditions[at];
    for key in ["status", "reason", "message"] {
        if made[key].is_null() {
            if let Some(map) = old.as_object_mut() {
                map.remove(key);
            }
        } else if old[key] != made[key] {
            if key == "status" {
                old["lastTransitionTime"] = made["lastTransitionTime"].clone();
            }
            old[key] = made[key].clone();
        }
    }
}

/// Removes a condition.
pub fn remove_condition(status: &mut Value, kind: &str) {
    let Some(conditions) = status
        .get_mut("conditions")
        .and_then(|list| list.as_array_mut())
    else {
        return;
    };
    conditions.retain(|one| one["type"].str() != kind);
    if conditions.is_empty() {
        status.make_object().remove("conditions");
    }
}

/// `conditions` of a status, for change.
pub fn conditions_mut(status: &mut Value) -> &mut Vec<Value> {
    let list = status
        .make_object()
        .entry_or("conditions", || Value::Array(Vec::new()));
    if list.as_array().is_none() {
        *list = Value::Array(Vec::new());
    }
    list.as_array_mut().expect("just made an array")
}

/// Sets a count that is left out when zero.
pub fn set_count(status: &mut Value, key: &str, count: i64) {
    let map = status.make_object();
    if count == 0 {
        map.remove(key);
    } else {
        map.insert(key, count);
    }
}

/// An absolute number or a percentage of `total`; percentages round up or down.
pub fn int_or_percent(field: Ref<'_>, total: i64, round_up: bool) -> Option<i64> {
    if let Some(number) = field.as_i64() {
        return Some(number);
    }
    let percent: i64 = field.as_str()?.strip_suffix('%')?.parse().ok()?;
    let product = percent.checked_mul(total)?;
    Some(if round_up {
        product.div_euclid(100) + i64::from(product.rem_euclid(100) != 0)
    } else {
        product.div_euclid(100)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_asked() {
        let object = Object::new(&json!({"a": "25%", "b": 3, "c": "x"}), 1);
        for (field, up, want) in [
            ("a", true, Some(3)),
            ("a", false, Some(2)),
            ("b", true, Some(3)),
            ("c", true, None),
        ] {
            assert_eq!(int_or_percent(object.at(field), 10, up), want, "{field}");
        }
    }

    #[test]
    fn a_condition_keeps_its_transition_time_while_its_status_stays() {
        let mut status = json!({});
        let ready = |status, reason| Condition {
            kind: "Ready",
            status,
            reason,
            message: "",
        };
        set_condition(&mut status, ready("True", "A"), Time(0));
        set_condition(&mut status, ready("True", "B"), Time(1_000_000));
        assert_eq!(
            status["conditions"][0]["lastTransitionTime"].str(),
            "1970-01-01T00:00:00Z"
        );
        assert_eq!(status["conditions"][0]["reason"].str(), "B");
        set_condition(&mut status, ready("False", "B"), Time(1_000_000));
        assert_eq!(
            status["conditions"][0]["lastTransitionTime"].str(),
            "1970-01-01T00:00:01Z"
        );
        remove_condition(&mut status, "Ready");
        assert_eq!(status, json!({}));
    }
}
