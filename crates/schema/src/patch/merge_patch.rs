//! JSON merge patch (RFC 7386).

use machinery::{Map, Status, Value};

/// Applies `patch`: nulls remove, objects merge, everything else replaces.
///
/// # Errors
/// 400 if the patch is not an object.
pub fn merge_patch(current: impl Into<Value>, patch: &Value) -> Result<Value, Status> {
    let Value::Object(changes) = patch else {
        return Err(Status::bad_request("Invalid JSON Patch"));
    };
    let mut document = current.into();
    merge(document.make_object(), changes);
    Ok(document)
}

fn merge(target: &mut Map, changes: &Map) {
    for (key, change) in changes.iter() {
        match change {
            Value::Null => drop(target.remove(key)),
            Value::Object(inner) => {
                merge(target.entry_or(key, Value::object).make_object(), inner);
            }
            other => drop(target.insert(key.clone(), other)),
        }
    }
}
