//! Watch streams: frames as they happen, several to a chunk when they come fast.

use crate::{
    answer::{HttpResponse, ResponseBody, columns, whole},
    metrics::WatchSeries,
    options::Query,
    pace::Pace,
    printed::Printed,
    server::Inner,
};
use bytes::Bytes;
use codec::{Choice, Encoding, IncludeObject, ListHead, Transform};
use env::{BoxFuture, World};
use futures::{FutureExt, select_biased};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use machinery::{Object, Status, Value, json};
use registry::{EventType, WatchEvent, WatchStream};
use std::{convert::Infallible, sync::Arc, time::Duration};

/// A chunk takes in further ready events until it is this large, bytes.
const CHUNK: usize = 64 * 1024;
/// Watches end after this long at least, up to twice that, unless the client says (upstream's).
const DURATION_MIN: Duration = Duration::from_secs(1800);

struct Writer {
    stream: Box<WatchStream>,
    choice: Choice,
    include: IncludeObject,
    world: World,
    shared: Arc<Printed>,
    events: Arc<WatchSeries>,
    /// Objects beyond this revision were written while the watch ran.
    since: u64,
    /// Whether a table event with column definitions has been sent.
    headed: bool,
    end: BoxFuture<'static, ()>,
    /// Nothing for a watch that chooses what it is told of.
    pace: Option<Pace>,
    over: bool,
}

/// Starts the response of a watch.
pub fn respond(
    stream: Box<WatchStream>,
    choice: Choice,
    query: &Query,
    server: &Inner,
) -> Result<HttpResponse, Status> {
    let world = server.door.world();
    let jitter = world.entropy.next_u64() % DURATION_MIN.as_secs();
    let duration = match query.timeout_seconds()? {
        // Less than nothing is over at once, as upstream.
        Some(seconds) if seconds != 0 => Duration::from_secs(seconds.try_into().unwrap_or(0)),
        _ => DURATION_MIN + Duration::from_secs(jitter),
    };
    let writer = Writer {
        choice,
        include: query.include_object()?,
        world: world.clone(),
        shared: server.printed.clone(),
        events: server.metrics.watch(&stream.kind),
        since: server.door.snapshot().revision,
        headed: false,
        end: world.sleep(duration),
        pace: stream
            .place()
            .map(|namespace| server.paces.join(&stream.kind.storage, namespace)),
        over: false,
        stream,
    };
    let frames = futures::stream::unfold(writer, |mut writer| async move {
        let chunk = writer.chunk().await?;
        Some((Ok::<_, Infallible>(Frame::data(chunk)), writer))
    });
    let body: ResponseBody = StreamBody::new(frames).boxed_unsync();
    let mut response = whole(200, &choice.content_type(true), Bytes::new());
    *response.body_mut() = body;
    Ok(response)
}

impl Writer {
    /// The next bytes; `None` when the watch is over. A frame that is alone goes out as the
    /// bytes that all readers share. What is large enough to go on at once is no burst of changes
    /// but a state that the watch begins with or has to catch up with.
    async fn chunk(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let event = select_biased! {
            event = self.stream.next().fuse() => event?,
            () = (&mut self.end).fuse() => return None,
        };
        let rest = |pace: &Pace| pace.rest(self.world.now());
        if let Some(rest) = self.pace.as_ref().and_then(rest) {
            self.world.sleep(rest).await;
        }
        let chunk = self.gathered(event);
        if let Some(pace) = &mut self.pace {
            pace.wrote(self.world.now(), chunk.len() >= CHUNK);
        }
        Some(chunk)
    }

    /// A chunk that begins with this event.
    fn gathered(&mut self, event: WatchEvent) -> Bytes {
        let first = self.framed(event);
        let mut more = self.more(first.len());
        if more.is_none() {
            return first;
        }
        let mut out = Vec::with_capacity(first.len() * 4);
        out.extend_from_slice(&first);
        while let Some(event) = more {
            let frame = self.framed(event);
            out.extend_from_slice(&frame);
            more = self.more(out.len());
        }
        out.into()
    }

    /// A further event for a chunk of this length, if one is ready.
    fn more(&mut self, length: usize) -> Option<WatchEvent> {
        let room = length < CHUNK && !self.over;
        room.then(|| self.stream.ready()).flatten()
    }

    fn framed(&mut self, event: WatchEvent) -> Bytes {
        let frame = self.frame_of(event);
        self.events.event(frame.len());
        frame
    }

    fn frame_of(&mut self, event: WatchEvent) -> Bytes {
        match event {
            WatchEvent::Object(kind, object) => self.framed_object(kind, &object),
            WatchEvent::Bookmark {
                revision,
                initial_end,
            } => {
                let value = self.stream.bookmark_object(revision, initial_end);
                let bytes = self.encode_bookmark(&value, revision);
                self.frame(EventType::Bookmark, &bytes)
            }
            WatchEvent::Error(status) => {
                self.over = true;
                let bytes = match self.choice.encoding {
                    Encoding::Protobuf => encode_status(&status),
                    _ => codec::encode_json_value(&status.to_value()),
                };
                self.frame(EventType::Error, &bytes)
            }
        }
    }

    fn frame(&self, event: EventType, bytes: &[u8]) -> Bytes {
        match self.choice.encoding {
            Encoding::Protobuf => codec::watch_frame_protobuf(event.name(), bytes).into(),
            _ => codec::watch_frame(event.name(), bytes).into(),
        }
    }

    fn framed_object(&mut self, event: EventType, object: &Object) -> Bytes {
        let kind = self.stream.kind.clone();
        let bytes = match self.choice.transform {
            Transform::Table => {
                let now = self.world.now().0;
                self.table(object.revision(), |out, include| {
                    codec::write_row(out, &kind.columns.row(object, now), object, include, None);
                })
            }
            Transform::PartialObjectMetadata | Transform::PartialObjectMetadataList => {
                let mut out = Vec::new();
                codec::write_partial_metadata(&mut out, object);
                out
            }
            _ => {
                let news = object.revision() > self.since;
                let encoding = self.choice.encoding;
                return self.shared.frame(&kind, object, encoding, event, news);
            }
        };
        self.frame(event, &bytes)
    }

    fn encode_bookmark(&mut self, value: &Value, revision: u64) -> Vec<u8> {
        let kind = self.stream.kind.clone();
        match (self.choice.transform, self.choice.encoding) {
            // The row of a bookmark carries the object, for its annotation.
            (Transform::Table, _) => self.table(revision, |out, _| {
                let mut stripped = value.clone();
                stripped.metadata_mut().remove("resourceVersion");
                let object = Object::new(&stripped, revision);
                codec::write_row(out, &[], &object, IncludeObject::Metadata, None);
            }),
            (Transform::PartialObjectMetadata | Transform::PartialObjectMetadataList, _) => {
                let mut shown = value.clone();
                shown["kind"] = "PartialObjectMetadata".into();
                shown["apiVersion"] = "meta.k8s.io/v1".into();
                codec::encode_json_value(&shown)
            }
            (_, Encoding::Protobuf) => codec::encode_protobuf(value, &kind.gvk, &kind.type_ref),
            _ => codec::encode_json_value(value),
        }
    }

    fn table(&mut self, revision: u64, row: impl FnOnce(&mut Vec<u8>, IncludeObject)) -> Vec<u8> {
        let definitions = (!self.headed).then(|| columns(&self.stream.kind));
        self.headed = true;
        let mut out = Vec::new();
        let head = ListHead {
            revision,
            ..ListHead::default()
        };
        codec::open_table(&mut out, &head, definitions.as_deref());
        row(&mut out, self.include);
        codec::close_table(&mut out);
        out
    }
}

/// A `Status` as protobuf, for watches that speak it.
fn encode_status(status: &Status) -> Vec<u8> {
    let schema = schema::builtin();
    let value = status.to_value();
    match schema.named("io.k8s.apimachinery.pkg.apis.meta.v1.Status") {
        Some(id) => {
            let gvk = machinery::GroupVersionKind::new("", "v1", "Status");
            codec::encode_protobuf(
                &value,
                &gvk,
                &schema::TypeRef {
                    schema: schema.clone(),
                    id,
                },
            )
        }
        None => codec::encode_json_value(&json!({"kind": "Status"})),
    }
}
