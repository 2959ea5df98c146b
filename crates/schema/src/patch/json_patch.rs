//! JSON patch (RFC 6902).

use machinery::{Map, Reason, SmolStr, Status, Value};

/// Most operations in one patch, as upstream limits them.
pub const MAX_OPERATIONS: usize = 10_000;

/// Applies the operations of `patch` in order; the first that fails refuses the whole.
///
/// # Errors
/// 400 for what is no patch, 413 for too many operations, 422 for an operation that does not apply.
pub fn json_patch(current: &Value, patch: &Value) -> Result<Value, Status> {
    if patch.is_null() {
        return Ok(current.clone());
    }
    let Value::Array(operations) = patch else {
        let found = patch.type_name();
        return Err(Status::bad_request(format!(
            "json: cannot unmarshal {found} into Go value of type jsonpatch.Patch"
        )));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(Status::new(
            Reason::RequestEntityTooLarge,
            format!(
                "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
                operations.len()
            ),
        ));
    }
    let mut document = current.clone();
    for operation in operations {
        apply(&mut document, operation).map_err(refusal)?;
    }
    Ok(document)
}

fn refusal(why: String) -> Status {
    let message = "the server rejected our request due to an error in our request";
    Status::new(Reason::Invalid, message).cause("", why, "")
}

fn apply(document: &mut Value, operation: &Value) -> Result<(), String> {
    let path = pointer(operation, "path")?;
    let value = || operation.get("value").cloned().unwrap_or_default();
    match operation["op"].str() {
        "add" => add(document, &path, value()),
        "remove" => remove(document, &path).map(drop),
        "replace" => replace(document, &path, value()),
        "move" => {
            let from = pointer(operation, "from")?;
            let moved = remove(document, &from)?;
            add(document, &path, moved.detached())
        }
        "copy" => {
            let from = pointer(operation, "from")?;
            let copied = member(document, &from)?.clone();
            add(document, &path, copied.detached())
        }
        "test" => test(document, &path, &value()),
        other => Err(format!("Unexpected kind: {other}")),
    }
}

fn test(document: &mut Value, path: &[SmolStr], wanted: &Value) -> Result<(), String> {
    // A missing member equals null, as upstream's library has it.
    let found = find(document, path)
        .map(|found| &*found)
        .unwrap_or(&Value::Null);
    if same(found, wanted) {
        return Ok(());
    }
    Err(format!(
        "testing value /{} failed: test failed",
        path.join("/")
    ))
}

/// Equality of JSON values, `1` and `1.0` being the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
            a.as_f64() == b.as_f64()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let equal =
                |(a, b): ((&SmolStr, &Value), (&SmolStr, &Value))| a.0 == b.0 && same(a.1, b.1);
            a.len() == b.len() && a.iter().zip(b.iter()).all(equal)
        }
        _ => a == b,
    }
}

/// The JSON pointer in the member `key`, in parts.
fn pointer(operation: &Value, key: &str) -> Result<Vec<SmolStr>, String> {
    let Some(text) = operation[key].as_str() else {
        return Err(format!(
            "missing or invalid {key:?} in JSON patch operation"
        ));
    };
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let parts = text
        .strip_prefix('/')
        .ok_or_else(|| format!("invalid JSON pointer {text:?}"))?;
    let unescape = |part: &str| SmolStr::from(part.replace("~1", "/").replace("~0", "~"));
    Ok(parts.split('/').map(unescape).collect())
}

/// An existing position in an array. Negative ones count from the end, as upstream allows.
fn position(part: &str, length: usize) -> Result<usize, String> {
    let number: i64 = part
        .parse()
        .map_err(|_| format!("invalid array index {part:?}"))?;
    let length = i64::try_from(length).expect("a length fits 63 bits");
    let at = if number < 0 { number + length } else { number };
    let outside = || format!("Unable to access invalid index: {number}: invalid index referenced");
    if (0..length).contains(&at) {
        usize::try_from(at).map_err(|_| outside())
    } else {
        Err(outside())
    }
}

fn missing(key: &str) -> String {
    format!("operation does not apply: doc is missing key: {key}: missing value")
}

fn find<'a>(document: &'a mut Value, path: &[SmolStr]) -> Result<&'a mut Value, String> {
    path.iter().try_fold(document, |value, part| match value {
        Value::Object(map) => map.get_mut(part).ok_or_else(|| missing(part)),
        Value::Array(items) => {
            let at = position(part, items.len())?;
            Ok(&mut items[at])
        }
        _ => Err(missing(part)),
    })
}

/// What stands at `path`; a member that its object does not have is null, as upstream's library
/// has it.
fn member<'a>(document: &'a mut Value, path: &[SmolStr]) -> Result<&'a Value, String> {
    let Some((last, parents)) = path.split_last() else {
        return Ok(document);
    };
    match find(document, parents)? {
        Value::Object(map) => Ok(map.get(last).unwrap_or(&Value::Null)),
        Value::Array(items) => {
            let at = position(last, items.len())?;
            Ok(&items[at])
        }
        _ => Err(missing(last)),
    }
}

/// Puts a value where another is; a member that its object does not have is added, as upstream's
/// library does it.
fn replace(document: &mut Value, path: &[SmolStr], value: Value) -> Result<(), String> {
    if let Some((last, parents)) = path.split_last()
        && let Value::Object(map) = find(document, parents)?
    {
        map.insert(last.clone(), value);
        return Ok(());
    }
    *find(document, path)? = value;
    Ok(())
}

fn add(document: &mut Value, path: &[SmolStr], value: Value) -> Result<(), String> {
    let Some((last, parents)) = path.split_last() else {
        *document = value;
        return Ok(());
    };
    match find(document, parents)? {
        Value::Object(map) => drop(map.insert(last.clone(), value)),
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            // One past the end is allowed here.
            let at = position(last, items.len() + 1)?;
            items.insert(at, value);
        }
        _ => return Err(missing(last)),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &[SmolStr]) -> Result<Value, String> {
    let Some((last, parents)) = path.split_last() else {
        return Ok(std::mem::replace(document, Value::Object(Map::new())));
    };
    match find(document, parents)? {
        Value::Object(map) => map
            .remove(last)
            .ok_or_else(|| format!("Unable to remove nonexistent key: {last}: missing value")),
        Value::Array(items) => {
            let at = position(last, items.len())?;
            Ok(items.remove(at))
        }
        _ => Err(missing(last)),
    }
}
