//! Request bodies: collected within a limit, decoded in the form their type names.

use bytes::Bytes;
use codec::{Encoding, Limits};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use kinds::{Catalogue, Kind};
use machinery::Value;
use machinery::{GroupVersionKind, Reason, Status};
use registry::{Body, Complaints, PatchKind, Text};
use schema::TypeRef;
use std::sync::Arc;

/// Largest request body (upstream's limit): 3 MiB.
pub const BODY_MAX: usize = 3 * 1024 * 1024;

/// The whole body, or 413.
pub async fn collect(body: Incoming) -> Result<Bytes, Status> {
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(why) if why.is::<http_body_util::LengthLimitError>() => {
            let message = format!("limit is {BODY_MAX}");
            Err(Status::new(
                Reason::RequestEntityTooLarge,
                format!("Request entity too large: {message}"),
            ))
        }
        Err(why) => Err(Status::bad_request(format!(
            "the request body could not be read: {why}"
        ))),
    }
}

/// An object, `None` for an empty body.
pub fn object(bytes: &Bytes, content_type: &str, catalogue: &Catalogue) -> Result<Body, Status> {
    if bytes.is_empty() {
        return Ok(Body::None);
    }
    let decoded = match codec::body_encoding(content_type)? {
        Encoding::Json => {
            let decoded = codec::decode_json(bytes, Limits::default())?;
            return Ok(Body::Object {
                duplicates: json_complaints(bytes, &decoded),
                value: decoded.value,
            });
        }
        Encoding::Yaml => codec::decode_yaml(bytes, Limits::default())?,
        Encoding::Protobuf => {
            let value = codec::decode_protobuf(bytes, &|gvk| type_of(catalogue, gvk))?;
            return Ok(Body::object(value));
        }
    };
    Ok(Body::Object {
        duplicates: repeated(decoded.complaints()),
        value: decoded.value,
    })
}

/// The options of a deletion.
pub fn options(bytes: &Bytes, content_type: &str, catalogue: &Catalogue) -> Result<Body, Status> {
    let json = codec::body_encoding(content_type)? == Encoding::Json;
    object(bytes, content_type, catalogue).map_err(|status| {
        match json && status.reason() == Reason::BadRequest {
            true => Status::bad_request(format!("{HEAD_FAILED}{}", status.message())),
            false => status,
        }
    })
}

/// Of a body that cannot be read, at most this much is shown, bytes (upstream's number).
const SHOWN_MAX: usize = 30;
/// What Go reads first of a body, as its errors spell it.
const HEAD: &str = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

/// An object, in upstream's words where it cannot be read as one.
pub fn recognized(
    bytes: &Bytes,
    content_type: &str,
    catalogue: &Catalogue,
    wanted: &str,
) -> Result<Body, Status> {
    let encoding = codec::body_encoding(content_type)?;
    // Protobuf names its kind outside of what may be broken.
    let (json, read) = (encoding == Encoding::Json, encoding != Encoding::Protobuf);
    let unrecognized = |why: &str| {
        let head = if json { HEAD_FAILED } else { "" };
        let shown = shown(bytes);
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {wanted}): {head}{why} ({shown})"
        ))
    };
    if json && bytes.is_empty() {
        return Err(unrecognized("unexpected end of JSON input"));
    }
    let mut body = object(bytes, content_type, catalogue).map_err(|status| {
        match status.reason() == Reason::BadRequest && read {
            true => unrecognized(status.message().trim_start_matches(CONVERTING)),
            false => status,
        }
    })?;
    if let (true, Body::Object { value, .. }) = (json, &mut body) {
        let found = match value {
            Value::Array(_) => "array",
            Value::String(_) => "string",
            Value::Bool(_) => "bool",
            Value::Int(_) | Value::Float(_) => "number",
            Value::Null => {
                *value = Value::object();
                return Ok(body);
            }
            Value::Object(_) => return Ok(body),
        };
        let why = format!("json: cannot unmarshal {found} into Go value of type {HEAD}");
        return Err(unrecognized(&why));
    }
    Ok(body)
}

/// What stands before the errors of YAML elsewhere.
const CONVERTING: &str = "error converting YAML to JSON: ";
/// What stands before why the kind of JSON could not be read.
const HEAD_FAILED: &str = "couldn't get version/kind; json parse error: ";

/// The beginning of a body, as text where it may be an object.
fn shown(bytes: &[u8]) -> String {
    let part = &bytes[..bytes.len().min(SHOWN_MAX)];
    let text = match bytes.first() {
        None => return "<empty>".into(),
        Some(b'{') => String::from_utf8_lossy(part).into_owned(),
        Some(_) => part.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let more = if bytes.len() > SHOWN_MAX { " ..." } else { "" };
    text + more
}

fn repeated(repeated: Vec<String>) -> Complaints {
    Complaints {
        repeated,
        text: None,
    }
}

/// JSON that a body was read from.
#[derive(Debug)]
struct JsonText {
    bytes: Bytes,
    repeated: Vec<String>,
}

impl Text for JsonText {
    fn complaints(&self, unknown: &[String]) -> Vec<String> {
        codec::complaints_in_order(&self.bytes, &self.repeated, unknown)
    }

    fn overlaid(&self) -> Option<(Value, Value)> {
        codec::overlaid(&self.bytes).map(|read| (read.value, read.said))
    }
}

fn json_complaints(bytes: &Bytes, decoded: &codec::Decoded) -> Complaints {
    let text = JsonText {
        bytes: bytes.clone(),
        repeated: decoded.repeated_paths().to_vec(),
    };
    Complaints {
        repeated: decoded.complaints(),
        text: Some(Arc::new(text)),
    }
}

/// A configuration to apply. Upstream reads all of them as YAML, which is laxer than JSON and
/// has other words for what is repeated; proper JSON is read sooner as what it is.
fn applied(bytes: &[u8]) -> Result<codec::Decoded, Status> {
    if codec::looks_like_json(bytes)
        && let Ok(decoded) = codec::decode_json(bytes, Limits::default())
        && decoded.repeated_paths().is_empty()
    {
        return Ok(decoded);
    }
    codec::decode_yaml(bytes, Limits::default())
}

/// Members that an operation of a JSON patch may have.
const OPERATION: [&str; 4] = ["op", "path", "from", "value"];

/// What is odd about a patch itself; what it makes of an object is looked at later.
fn patch_complaints(bytes: &[u8], language: PatchKind, decoded: &codec::Decoded) -> Vec<String> {
    let paths = decoded.repeated_paths();
    let operations = match language {
        PatchKind::Json => decoded.value.items(),
        _ if paths.is_empty() => return decoded.complaints(),
        _ => return codec::complaints_in_order(bytes, paths, &[]),
    };
    let odd = |(position, operation): (usize, &Value)| {
        let members = operation.as_object().into_iter().flat_map(|map| map.iter());
        let unknown = members.filter(|(key, _)| !OPERATION.contains(&key.as_str()));
        unknown
            .map(|(key, _)| format!("[{position}].{key}"))
            .collect::<Vec<_>>()
    };
    let unknown: Vec<_> = operations.iter().enumerate().flat_map(odd).collect();
    if paths.is_empty() && unknown.is_empty() {
        return Vec::new();
    }
    let told = codec::complaints_in_order(bytes, paths, &unknown);
    told.iter()
        .map(|text| format!("json patch {text}"))
        .collect()
}

/// A patch in the language its content type names.
pub fn patch(bytes: &[u8], content_type: &str, kind: &Kind) -> Result<Body, Status> {
    let language = match codec::patch_kind(content_type, !kind.custom)? {
        codec::PatchKind::Json => PatchKind::Json,
        codec::PatchKind::Merge => PatchKind::Merge,
        codec::PatchKind::StrategicMerge => PatchKind::Strategic,
        codec::PatchKind::Apply => PatchKind::Apply,
    };
    let decoded = match language {
        PatchKind::Apply => applied(bytes)?,
        _ => codec::decode_json(bytes, Limits::default()).map_err(|status| {
            match status.reason() {
                Reason::BadRequest => {
                    Status::bad_request(format!("error decoding patch: {}", status.message()))
                }
                _ => status,
            }
        })?,
    };
    Ok(Body::Patch {
        kind: language,
        duplicates: repeated(patch_complaints(bytes, language, &decoded)),
        value: decoded.value,
    })
}

/// The type behind a protobuf envelope: a served kind, or one of the bodies of subresources.
fn type_of(catalogue: &Catalogue, gvk: &GroupVersionKind) -> Option<TypeRef> {
    if let Some(kind) = catalogue.kind(gvk) {
        return Some(kind.type_ref.clone());
    }
    let schema = schema::builtin();
    let group = gvk
        .group
        .split('.')
        .next()
        .filter(|group| !group.is_empty())
        .unwrap_or("core");
    let names = [
        format!("io.k8s.api.{group}.{}.{}", gvk.version, gvk.kind),
        format!(
            "io.k8s.apimachinery.pkg.apis.meta.{}.{}",
            gvk.version, gvk.kind
        ),
        // Options travel under the group of the resource they are about.
        format!("io.k8s.apimachinery.pkg.apis.meta.v1.{}", gvk.kind),
    ];
    let id = names.iter().find_map(|name| schema.named(name))?;
    Some(TypeRef {
        schema: schema.clone(),
        id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn what_is_applied_is_yaml_even_where_it_looks_like_json() {
        let decoded = applied(b"{\"a\": {\"b\": 1,},}").unwrap();
        assert_eq!(decoded.value, json!({"a": {"b": 1}}));
        let decoded = applied(b"{\"a\": 1,\n\"a\": 2}").unwrap();
        assert_eq!(
            decoded.complaints(),
            ["line 2: key \"a\" already set in map"]
        );
    }
}
