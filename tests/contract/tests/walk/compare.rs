//! Comparing trees: where two differ, and whether one holds all that another says. Null is
//! nothing.

use serde_json::Value;

/// What comes back from a check: nothing, or what is wrong.
pub type Outcome = Result<(), String>;

/// Fails with a text unless something holds.
pub fn ensure(holds: bool, why: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(why()) }
}

/// Two trees are equal; else the first difference.
pub fn equal(left: &Value, right: &Value) -> Outcome {
    difference("", left, right, false).map_or(Ok(()), Err)
}

/// Everything `said` is in `kept`, which may hold more. Empty texts, lists and objects need not
/// be kept.
pub fn kept(said: &Value, kept: &Value) -> Outcome {
    difference("", said, kept, true).map_or(Ok(()), Err)
}

fn hollow(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn difference(path: &str, left: &Value, right: &Value, partly: bool) -> Option<String> {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            let found = a.iter().find_map(|(key, value)| {
                let other = b.get(key).unwrap_or(&Value::Null);
                if other.is_null() && (value.is_null() || partly && hollow(value)) {
                    return None;
                }
                difference(&format!("{path}.{key}"), value, other, partly)
            });
            let more = || {
                b.keys()
                    .find(|key| !partly && !a.contains_key(*key) && !b[*key].is_null())
            };
            found.or_else(|| {
                more().map(|key| format!("{path}.{key} is only on the right: {}", b[key]))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(at, (a, b))| difference(&format!("{path}[{at}]"), a, b, partly))
        }
        // Controllers may add to a list what is theirs.
        (Value::Array(a), Value::Array(b)) if partly => {
            let lost = |one: &&Value| {
                b.iter()
                    .all(|other| difference("", one, other, true).is_some())
            };
            a.iter()
                .find(lost)
                .map(|one| format!("{path}: {one} is not in {right}"))
        }
        _ if left == right => None,
        // One number can be written as 0 and 0.0.
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => None,
        _ => Some(format!("{path}: {left} against {right}")),
    }
}
