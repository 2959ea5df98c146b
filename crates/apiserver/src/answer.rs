//! Answers as bytes, in the form the client chose.

use crate::options::Query;
use bytes::Bytes;
use codec::{Choice, Encoding, IncludeObject, ListHead, Offer, TableColumn, Transform};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{Response, StatusCode, header};
use kinds::Kind;
use machinery::{Object, Status, Value};
use registry::{List, Reply};
use std::{convert::Infallible, sync::Arc};

/// A response body, whole or streamed.
pub type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;
/// A response.
pub type HttpResponse = Response<ResponseBody>;

/// What endpoints of objects can answer with.
pub fn offer(kind: &Kind) -> Offer<'static> {
    const ALL: &[Encoding] = &[Encoding::Json, Encoding::Yaml, Encoding::Protobuf];
    const CUSTOM: &[Encoding] = &[Encoding::Json, Encoding::Yaml];
    Offer {
        encodings: if kind.custom { CUSTOM } else { ALL },
        transforms: &[
            Transform::Table,
            Transform::PartialObjectMetadata,
            Transform::PartialObjectMetadataList,
        ],
    }
}

/// A response with a whole body.
pub fn whole(status: u16, content_type: &str, body: Vec<u8>) -> HttpResponse {
    let body = Full::new(Bytes::from(body)).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = content_type
        .parse()
        .unwrap_or(header::HeaderValue::from_static("application/json"));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-cache, private"),
    );
    response
}

/// A failure, always JSON: every client reads it.
pub fn failure(status: &Status) -> HttpResponse {
    let mut response = whole(
        status.code(),
        "application/json",
        codec::encode_json_value(&status.to_value()),
    );
    if status.retry_after_seconds() > 0 {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, status.retry_after_seconds().into());
    }
    response
}

/// A tree in a chosen form.
pub fn value(status: u16, choice: Choice, value: &Value) -> HttpResponse {
    match choice.encoding {
        Encoding::Yaml => whole(status, "application/yaml", codec::encode_yaml(value).into()),
        // Values that are no stored kind have their JSON form accepted everywhere.
        Encoding::Json | Encoding::Protobuf => {
            let mut bytes = codec::encode_json_value(value);
            bytes.push(b'\n');
            whole(status, "application/json", bytes)
        }
    }
}

/// One object.
pub fn object(
    status: u16,
    choice: Choice,
    kind: &Kind,
    object: &Object,
    query: &Query,
    now: u64,
) -> Result<HttpResponse, Status> {
    let content_type = choice.content_type(false);
    let bytes = match (choice.transform, choice.encoding) {
        (Transform::Table, _) => table(
            kind,
            &[object],
            &ListHead {
                revision: object.revision(),
                ..ListHead::default()
            },
            query.include_object()?,
            now,
        ),
        (Transform::PartialObjectMetadata, _) => {
            let mut out = Vec::new();
            codec::write_partial_metadata(&mut out, object);
            out
        }
        (_, Encoding::Yaml) => codec::encode_yaml(&object.to_value()).into(),
        (_, Encoding::Protobuf) => codec::encode_object_protobuf(object, &kind.gvk, &kind.type_ref),
        (_, Encoding::Json) => codec::encode_json(object),
    };
    Ok(whole(status, &content_type, bytes))
}

/// The column definitions of a kind.
pub fn columns(kind: &Kind) -> Vec<TableColumn> {
    let column = |column: &kinds::Column| TableColumn {
        name: column.name.clone(),
        kind: column.kind.clone(),
        format: column.format.clone(),
        description: column.description.clone(),
        priority: column.priority,
    };
    kind.columns.definitions.iter().map(column).collect()
}

/// A table of objects.
pub fn table(
    kind: &Kind,
    objects: &[&Object],
    head: &ListHead<'_>,
    include: IncludeObject,
    now: u64,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024 + objects.len() * 512);
    codec::open_table(&mut out, head, Some(&columns(kind)));
    for (at, object) in objects.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        codec::write_row(
            &mut out,
            &kind.columns.row(object, now),
            object,
            include,
            None,
        );
    }
    codec::close_table(&mut out);
    out
}

/// A page of objects.
pub fn list(choice: Choice, list: &List, query: &Query, now: u64) -> Result<HttpResponse, Status> {
    let kind = &list.kind;
    let api_version = kind.api_version();
    let head = ListHead {
        api_version: &api_version,
        kind: &kind.list_kind,
        revision: list.revision,
        continue_token: &list.next,
        remaining: list.remaining.map(|count| count as i64),
    };
    let objects: Vec<&Object> = list.items.iter().map(Arc::as_ref).collect();
    let bytes = match (choice.transform, choice.encoding) {
        (Transform::Table, _) => table(kind, &objects, &head, query.include_object()?, now),
        (Transform::PartialObjectMetadata | Transform::PartialObjectMetadataList, _) => {
            let head = ListHead {
                api_version: "meta.k8s.io/v1",
                kind: "PartialObjectMetadataList",
                ..head
            };
            items(&head, &objects, codec::write_partial_metadata)
        }
        (_, Encoding::Protobuf) => {
            codec::encode_list_protobuf(&head, &kind.type_ref, objects.iter().copied())
        }
        (_, Encoding::Json) => items(&head, &objects, |out, object| {
            codec::write_object(out, object, None)
        }),
        (_, Encoding::Yaml) => {
            let json = items(&head, &objects, |out, object| {
                codec::write_object(out, object, None)
            });
            let decoded = codec::decode_json(&json, codec::Limits::default())?;
            codec::encode_yaml(&decoded.value).into()
        }
    };
    Ok(whole(200, &choice.content_type(false), bytes))
}

fn items(
    head: &ListHead<'_>,
    objects: &[&Object],
    write: impl Fn(&mut Vec<u8>, &Object),
) -> Vec<u8> {
    let size: usize = objects.iter().map(|object| object.bytes().len() * 3).sum();
    let mut out = Vec::with_capacity(256 + size);
    codec::open_list(&mut out, head);
    for (at, object) in objects.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(&mut out, object);
    }
    codec::close_list(&mut out);
    out
}

/// Adds `Warning` headers (RFC 7234 form, as upstream).
pub fn with_warnings(mut response: HttpResponse, reply_warnings: &[String]) -> HttpResponse {
    for text in reply_warnings {
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(header) = format!("299 - \"{quoted}\"").parse() {
            response.headers_mut().append(header::WARNING, header);
        }
    }
    response
}

/// The success code of a reply.
pub fn code(reply: &Reply) -> u16 {
    if reply.created { 201 } else { 200 }
}

/// Whole bodies above this size are worth compressing (upstream's number), bytes.
const COMPRESS_MIN: usize = 128 * 1024;

/// The same response, gzip-compressed if it is whole and large.
pub async fn compressed(response: HttpResponse) -> HttpResponse {
    use hyper::body::Body;
    let exact = response.body().size_hint().exact();
    if exact.is_none_or(|size| size < COMPRESS_MIN as u64) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(collected) = body.collect().await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let bytes = collected.to_bytes();
    // Writing into memory does not fail.
    let zipped = std::io::Write::write_all(&mut encoder, &bytes).and_then(|()| encoder.finish());
    let body = match zipped {
        Ok(zipped) => {
            parts.headers.insert(
                header::CONTENT_ENCODING,
                header::HeaderValue::from_static("gzip"),
            );
            Bytes::from(zipped)
        }
        Err(_) => bytes,
    };
    Response::from_parts(parts, Full::new(body).boxed_unsync())
}

/// The answer to HEAD: headers alone.
pub fn without_body(response: HttpResponse) -> HttpResponse {
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, Full::new(Bytes::new()).boxed_unsync())
}
