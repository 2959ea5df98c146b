//! Request bodies: collected within a limit, decoded in the form their type names.

use bytes::Bytes;
use codec::{Encoding, Limits};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use kinds::{Catalogue, Kind};
use machinery::{GroupVersionKind, Reason, Status};
use registry::{Body, PatchKind};
use schema::TypeRef;

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
pub fn object(bytes: &[u8], content_type: &str, catalogue: &Catalogue) -> Result<Body, Status> {
    if bytes.is_empty() {
        return Ok(Body::None);
    }
    let decoded = match codec::body_encoding(content_type)? {
        Encoding::Json => codec::decode_json(bytes, Limits::default())?,
        Encoding::Yaml => codec::decode_yaml(bytes, Limits::default())?,
        Encoding::Protobuf => {
            let value = codec::decode_protobuf(bytes, &|gvk| type_of(catalogue, gvk))?;
            return Ok(Body::object(value));
        }
    };
    Ok(Body::Object {
        duplicates: decoded.complaints(),
        value: decoded.value,
    })
}

/// A patch in the language its content type names.
pub fn patch(bytes: &[u8], content_type: &str, kind: &Kind) -> Result<Body, Status> {
    let language = match codec::patch_kind(content_type, !kind.custom)? {
        codec::PatchKind::Json => PatchKind::Json,
        codec::PatchKind::Merge => PatchKind::Merge,
        codec::PatchKind::StrategicMerge => PatchKind::Strategic,
        codec::PatchKind::Apply => PatchKind::Apply,
    };
    let decoded = if language == PatchKind::Apply && !codec::looks_like_json(bytes) {
        codec::decode_yaml(bytes, Limits::default())?
    } else {
        codec::decode_json(bytes, Limits::default())?
    };
    Ok(Body::Patch {
        kind: language,
        duplicates: decoded.complaints(),
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
