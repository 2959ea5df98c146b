//! Logs: a streamed body, or messages of a WebSocket.
//!
//! Upstream counterpart: `apiserver/pkg/registry/generic/rest/streamer.go`, `wsstream/stream.go`.

use super::{Target, channels::goodbye, container, runtime_failure, upgrade};
use crate::{
    answer::{HttpResponse, whole},
    options::Query,
    server::{Inner, Parts},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use env::{LogOptions, LogReader, Time};
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Request,
    body::{Frame, Incoming},
};
use machinery::{Object, Status, parse_time};
use std::{convert::Infallible, sync::Arc};
use tokio_tungstenite::tungstenite::Message;

/// Subprotocols; a client that offers none gets binary messages.
const PROTOCOLS: [&str; 2] = ["binary.k8s.io", "base64.binary.k8s.io"];

/// Answers `pods/NAME/log`.
pub async fn logs(
    inner: &Inner,
    parts: &Parts,
    pod: &Object,
    request: Request<Incoming>,
) -> Result<HttpResponse, Status> {
    let target = Target::new(pod, container(pod, &parts.query)?)?;
    let options = log_options(&parts.query, inner.door.now())?;
    let reader = inner
        .nodes
        .logs(target.place(), parts.query.flag("previous"), &options)
        .await
        .map_err(runtime_failure)?;
    if upgrade::wanted(request.headers()) == upgrade::Wanted::WebSocket {
        return upgrade::websocket(request, &PROTOCOLS, |socket, protocol| {
            send(reader, socket, protocol)
        });
    }
    let frames = futures::stream::unfold(reader, |reader: Arc<dyn LogReader>| async move {
        match reader.read().await {
            Ok(Some(bytes)) => Some((Ok::<_, Infallible>(Frame::data(Bytes::from(bytes))), reader)),
            // The status line is gone; ending the stream is all that is left.
            Ok(None) | Err(_) => None,
        }
    });
    let mut response = whole(200, "text/plain", Vec::new());
    *response.body_mut() = StreamBody::new(frames).boxed_unsync();
    Ok(response)
}

async fn send(reader: Arc<dyn LogReader>, socket: upgrade::Socket, protocol: &str) {
    let (mut sender, mut receiver) = socket.split();
    let gone = async {
        // What a reader of logs says has no meaning, but its leaving has.
        while let Some(Ok(message)) = receiver.next().await {
            if message.is_close() {
                break;
            }
        }
    };
    let copy = async {
        while let Ok(Some(bytes)) = reader.read().await {
            let message = match protocol {
                "base64.binary.k8s.io" => Message::Text(BASE64.encode(&bytes).into()),
                _ => Message::Binary(bytes.into()),
            };
            if sender.send(message).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = gone => {}
        () = copy => {}
    }
    goodbye(&mut sender, receiver).await;
}

fn log_options(query: &Query, now: Time) -> Result<LogOptions, Status> {
    let number = |key: &str| match query.get(key) {
        "" => Ok(None),
        text => text.parse::<u64>().map(Some).map_err(|_| {
            Status::bad_request(format!(
                "{key}: Invalid value: {text:?}: must be greater than or equal to 0"
            ))
        }),
    };
    let since_time = parse_time(query.get("sinceTime")).map(Time);
    let since_seconds =
        number("sinceSeconds")?.map(|seconds| now - std::time::Duration::from_secs(seconds));
    Ok(LogOptions {
        follow: query.flag("follow"),
        tail_lines: number("tailLines")?,
        since: since_time.or(since_seconds),
        timestamps: query.flag("timestamps"),
        limit_bytes: number("limitBytes")?,
    })
}
