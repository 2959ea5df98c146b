//! Answers as bytes, in the form the client chose.

use crate::{
    metrics::Served,
    options::Query,
    printed::{self, Printed},
};
use bytes::Bytes;
use codec::{Choice, Encoding, IncludeObject, ListHead, Offer, TableColumn, Transform};
use flate2::{Compression, write::GzEncoder};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Response, StatusCode,
    body::{Body, Frame},
    header,
};
use kinds::Kind;
use machinery::{Object, Status, Value};
use registry::{List, Reply};
use std::{
    convert::Infallible,
    io::Write,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// A response body, whole or streamed.
pub type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;
/// A response.
pub type HttpResponse = Response<ResponseBody>;

/// What endpoints of objects can answer with; what is only asked and not read has no table.
pub fn offer(kind: &Kind, subresource: &str) -> Offer<'static> {
    const ALL: &[Encoding] = &[Encoding::Json, Encoding::Yaml, Encoding::Protobuf];
    const CUSTOM: &[Encoding] = &[Encoding::Json, Encoding::Yaml];
    const TRANSFORMS: &[Transform] = &[
        Transform::PartialObjectMetadata,
        Transform::PartialObjectMetadataList,
        Transform::Table,
    ];
    let verbs = match kind.subresource(subresource) {
        Some(found) => found.verbs,
        None => kind.verbs,
    };
    Offer {
        encodings: if kind.custom { CUSTOM } else { ALL },
        transforms: match verbs.contains("get") {
            true => TRANSFORMS,
            false => &TRANSFORMS[..2],
        },
    }
}

/// Pieces of a streamed body, bytes.
const CHUNK: usize = 64 * 1024;
/// Items of a list that stand for all when its size is estimated.
const SAMPLES: usize = 64;

/// A response with a whole body.
pub fn whole(status: u16, content_type: &str, body: impl Into<Bytes>) -> HttpResponse {
    with_body(status, content_type, Full::new(body.into()).boxed_unsync())
}

/// A response that is made while it is sent; one that fits a piece is sent whole.
fn streamed(
    content_type: &str,
    mut pieces: impl Iterator<Item = Bytes> + Send + 'static,
) -> HttpResponse {
    let first = pieces.next().unwrap_or_default();
    if first.len() < CHUNK {
        return whole(200, content_type, first);
    }
    let frames = std::iter::once(first).chain(pieces);
    let frames = futures::stream::iter(frames.map(|piece| Ok(Frame::data(piece))));
    let mut response = with_body(200, content_type, StreamBody::new(frames).boxed_unsync());
    response.extensions_mut().insert(Long);
    response
}

/// Marks a streamed answer that is worth compressing, unlike a watch.
#[derive(Clone, Copy)]
struct Long;

fn with_body(status: u16, content_type: &str, body: ResponseBody) -> HttpResponse {
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
    with_warnings(response, status.warnings())
}

/// A tree in a chosen form.
pub fn value(status: u16, choice: Choice, value: &Value) -> HttpResponse {
    match choice.encoding {
        Encoding::Yaml => whole(status, "application/yaml", codec::encode_yaml(value)),
        // Values that are no stored kind have their JSON form accepted everywhere.
        Encoding::Json | Encoding::Protobuf => {
            let mut bytes = codec::encode_json_value(value);
            bytes.push(b'\n');
            whole(status, "application/json", bytes)
        }
    }
}

/// One object; `shared` has the bytes of stored ones.
pub fn object(
    status: u16,
    choice: Choice,
    (kind, object): (&Arc<Kind>, &Object),
    shared: Option<&Printed>,
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
        )
        .into(),
        (Transform::PartialObjectMetadata, _) => {
            let mut out = Vec::new();
            codec::write_partial_metadata(&mut out, object);
            out.into()
        }
        (_, Encoding::Yaml) => codec::encode_yaml(&object.to_value()).into(),
        (_, encoding) => match (shared, encoding) {
            (Some(shared), _) => shared.object(kind, object, encoding),
            (None, Encoding::Protobuf) => {
                codec::encode_object_protobuf(object, &kind.gvk, &kind.type_ref).into()
            }
            (None, _) => codec::encode_json(object).into(),
        },
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
fn table(
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

/// A page of objects; JSON goes out while it is printed.
pub fn list(
    choice: Choice,
    list: List,
    shared: &Arc<Printed>,
    query: &Query,
    now: u64,
) -> Result<HttpResponse, Status> {
    let kind = list.kind.clone();
    let api_version = kind.api_version();
    let head = ListHead {
        api_version: &api_version,
        kind: &kind.list_kind,
        revision: list.revision,
        continue_token: &list.next,
        remaining: list.remaining.map(|count| count as i64),
        custom: kind.custom,
    };
    let content_type = choice.content_type(false);
    match (choice.transform, choice.encoding) {
        (Transform::Table, _) => {
            let include = query.include_object()?;
            let mut open = Vec::with_capacity(CHUNK);
            codec::open_table(&mut open, &head, Some(&columns(&kind)));
            let row = move |out: &mut Vec<u8>, object: &Object| {
                codec::write_row(out, &kind.columns.row(object, now), object, include, None);
            };
            Ok(streamed(&content_type, Pieces::new(open, list.items, row)))
        }
        (Transform::PartialObjectMetadata | Transform::PartialObjectMetadataList, _) => {
            let head = ListHead {
                api_version: "meta.k8s.io/v1",
                kind: "PartialObjectMetadataList",
                custom: false,
                ..head
            };
            let open = opened(&head);
            let pieces = Pieces::new(open, list.items, codec::write_partial_metadata);
            Ok(streamed(&content_type, pieces))
        }
        (_, Encoding::Protobuf) => {
            let items = list.items.iter().map(Arc::as_ref);
            let bytes = codec::encode_list_protobuf(&head, &kind.type_ref, items);
            Ok(whole(200, &content_type, bytes))
        }
        (_, Encoding::Json) => {
            let keep = Printed::keeps_list(size_of(&list.items));
            let (open, shared) = (opened(&head), shared.clone());
            let item = move |out: &mut Vec<u8>, object: &Object| {
                shared.append(out, &kind, object, keep);
            };
            Ok(streamed(&content_type, Pieces::new(open, list.items, item)))
        }
        (_, Encoding::Yaml) => {
            let write = |out: &mut Vec<u8>, object: &Object| {
                printed::write_item(out, &kind, object);
            };
            let json = Pieces::new(opened(&head), list.items, write).collect::<Vec<_>>();
            let decoded = codec::decode_json(&json.concat(), codec::Limits::default())?;
            let yaml = codec::encode_yaml(&decoded.value);
            Ok(whole(200, &content_type, yaml))
        }
    }
}

/// About how many bytes a list has, by looking at some of its items: looking at all would cost
/// as much as sending them does.
fn size_of(items: &[Arc<Object>]) -> usize {
    let step = items.len().div_ceil(SAMPLES).max(1);
    let sampled = items.iter().step_by(step);
    step * sampled.map(|item| codec::printed_size(item)).sum::<usize>()
}

fn opened(head: &ListHead<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(CHUNK);
    codec::open_list(&mut out, head);
    out
}

/// What follows the last item of a list or the last row of a table.
const CLOSE: &[u8] = b"]}\n";

/// A list on its way out, piece by piece; each object is let go once it is printed.
struct Pieces<F> {
    out: Vec<u8>,
    items: std::vec::IntoIter<Arc<Object>>,
    write: F,
    several: bool,
    over: bool,
}

impl<F: Fn(&mut Vec<u8>, &Object)> Pieces<F> {
    /// After the bytes that open the list.
    fn new(open: Vec<u8>, items: Vec<Arc<Object>>, write: F) -> Self {
        Self {
            out: open,
            items: items.into_iter(),
            write,
            several: false,
            over: false,
        }
    }
}

impl<F: Fn(&mut Vec<u8>, &Object)> Iterator for Pieces<F> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let mut out = std::mem::take(&mut self.out);
        // The last item of a piece may go beyond its size; most do so by less than an eighth.
        out.reserve(CHUNK + CHUNK / 8);
        while out.len() < CHUNK && !self.over {
            match self.items.next() {
                Some(object) => {
                    if self.several {
                        out.push(b',');
                    }
                    self.several = true;
                    (self.write)(&mut out, &object);
                }
                None => {
                    out.extend_from_slice(CLOSE);
                    self.over = true;
                }
            }
        }
        Some(out.into())
    }
}

/// Characters of all warnings of an answer; if there are more, each is cut (upstream's number).
const WARNINGS_MAX: usize = 4096;
/// Characters of one warning that is cut.
const WARNING_CUT: usize = 256;

/// Adds `Warning` headers (RFC 7234 form, as upstream): each text once, and not too much of them.
pub fn with_warnings(mut response: HttpResponse, reply_warnings: &[String]) -> HttpResponse {
    for text in warnings(reply_warnings) {
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(header) = format!("299 - \"{quoted}\"").parse() {
            response.headers_mut().append(header::WARNING, header);
        }
    }
    response
}

/// What of the warnings is told.
fn warnings(given: &[String]) -> Vec<String> {
    let mut all: Vec<&String> = Vec::new();
    for text in given.iter().filter(|text| !text.is_empty()) {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    let total: usize = all.iter().map(|text| text.chars().count()).sum();
    if total <= WARNINGS_MAX {
        return all.into_iter().cloned().collect();
    }
    let mut told = 0;
    let cut = |text: &String| text.chars().take(WARNING_CUT).collect::<String>();
    let mut kept = Vec::new();
    for text in all.into_iter().map(cut) {
        if told >= WARNINGS_MAX {
            break;
        }
        told += text.chars().count();
        kept.push(text);
    }
    kept
}

/// The success code of a reply.
pub fn code(reply: &Reply) -> u16 {
    if reply.created { 201 } else { 200 }
}

/// Bodies above this size are worth compressing (upstream's number), bytes.
const COMPRESS_MIN: u64 = 128 * 1024;
/// Level of compression (upstream's): time is dearer than bytes.
const COMPRESS_LEVEL: Compression = Compression::new(1);

/// The same response, gzip-compressed while it is sent, if it is large and no watch.
pub fn compressed(mut response: HttpResponse) -> HttpResponse {
    let exact = response.body().size_hint().exact();
    let long = response.extensions().get::<Long>().is_some();
    if !long && exact.is_none_or(|size| size < COMPRESS_MIN) {
        return response;
    }
    let gzip = header::HeaderValue::from_static("gzip");
    let varies = header::HeaderValue::from_static("Accept-Encoding");
    response
        .headers_mut()
        .insert(header::CONTENT_ENCODING, gzip);
    response.headers_mut().append(header::VARY, varies);
    response.map(|body| {
        let source = Zip {
            body,
            encoder: Some(GzEncoder::new(Vec::new(), COMPRESS_LEVEL)),
        };
        let frames = futures::stream::unfold(source, |mut zip| async move {
            let piece = zip.piece().await?;
            Some((Ok(Frame::data(piece)), zip))
        });
        StreamBody::new(frames).boxed_unsync()
    })
}

/// A body being compressed.
struct Zip {
    body: ResponseBody,
    /// None when everything has been given out.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Zip {
    /// The next compressed bytes. Writing into memory does not fail.
    async fn piece(&mut self) -> Option<Bytes> {
        const MEMORY: &str = "memory takes any bytes";
        loop {
            let Some(frame) = self.body.frame().await else {
                let encoder = self.encoder.take()?;
                return Some(encoder.finish().expect(MEMORY).into());
            };
            let Ok(frame) = frame;
            let encoder = self.encoder.as_mut()?;
            // A whole body is one frame of any size.
            for part in frame
                .data_ref()
                .into_iter()
                .flat_map(|data| data.chunks(CHUNK))
            {
                encoder.write_all(part).expect(MEMORY);
            }
            if !encoder.get_ref().is_empty() {
                return Some(std::mem::take(encoder.get_mut()).into());
            }
        }
    }
}

/// The same response, counted when it has been sent; whole ones are as good as sent.
pub fn counted(response: HttpResponse, mut served: Served) -> HttpResponse {
    served.answered(response.status().as_u16());
    if let Some(size) = response.body().size_hint().exact() {
        served.sent(size);
        return response;
    }
    response.map(|body| Counted { body, served }.boxed_unsync())
}

/// A streamed body whose request is being served until its end.
struct Counted {
    body: ResponseBody,
    served: Served,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let length = frame.data_ref().map_or(0, Bytes::len);
            self.served.sent(length as u64);
        }
        polled
    }
}

/// The answer to HEAD: headers alone.
pub fn without_body(response: HttpResponse) -> HttpResponse {
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, Full::new(Bytes::new()).boxed_unsync())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_tell_what_was_warned_of() {
        let mut texts = vec!["unknown field \"spec.a\"".to_owned()];
        let status = Status::bad_request("no").warned(&mut texts);
        let response = failure(&status);
        assert_eq!(
            response.headers()["warning"],
            r#"299 - "unknown field \"spec.a\"""#
        );
    }

    #[test]
    fn warnings_are_told_once_and_cut_when_there_are_many() {
        let few: Vec<String> = ["a", "", "a", "b"].map(str::to_owned).into();
        assert_eq!(warnings(&few), ["a", "b"]);
        let long = "x".repeat(WARNINGS_MAX);
        assert_eq!(warnings(std::slice::from_ref(&long)).concat(), long);
        let many: Vec<String> = (0..40).map(|at| format!("{at:02}{long}")).collect();
        let told = warnings(&many);
        assert_eq!(told.len(), WARNINGS_MAX / WARNING_CUT);
        assert!(told.iter().all(|text| text.chars().count() == WARNING_CUT));
    }
}
