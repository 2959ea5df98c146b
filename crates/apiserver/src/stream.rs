//! Streams into pods: logs, and exec, attach and port-forward over WebSocket channels.
//!
//! Protocols `v5.channel.k8s.io` and `v4.channel.k8s.io`: the first byte of a message is the
//! channel. Upstream counterpart: `apimachinery/pkg/util/remotecommand`, `kubelet/pkg/cri/streaming`.

use crate::{
    ContainerRef,
    answer::{HttpResponse, whole},
    options::Query,
    server::{Inner, Parts, connect},
};
use bytes::Bytes;
use env::{
    ByteStream, LogOptions, LogReader, Output, RuntimeError, Session, StreamOptions, TerminalSize,
    Time,
};
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Request, StatusCode,
    body::{Frame, Incoming},
    header,
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use machinery::{Object, Status, json, parse_time};
use std::{convert::Infallible, sync::Arc};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message, Utf8Bytes,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

type Socket = WebSocketStream<TokioIo<Upgraded>>;
type Sender = SplitSink<Socket, Message>;
type Receiver = SplitStream<Socket>;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Half close: the byte after it names the channel (v5).
const CLOSE: u8 = 255;

/// Protocols in order of preference.
const PROTOCOLS: [&str; 5] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
];

/// Answers a streaming subresource.
pub(crate) async fn respond(
    inner: &Arc<Inner>,
    parts: Parts,
    request: Request<Incoming>,
) -> Result<HttpResponse, Status> {
    let pod = connect(inner, &parts)?;
    match parts.place.subresource.as_str() {
        "log" => logs(inner, &parts, &pod).await,
        "exec" | "attach" => remote_command(inner, parts, &pod, request).await,
        "portforward" => port_forward(inner, parts, &pod, request),
        other => Err(Status::new(
            machinery::Reason::MethodNotAllowed,
            format!("the subresource {other} is not implemented"),
        )),
    }
}

/// The container a request is about: named, the default one, or the only one.
fn container(pod: &Object, query: &Query) -> Result<String, Status> {
    let asked = query.get("container");
    let names = |field: &str| -> Vec<String> {
        pod.at(field)
            .items()
            .map(|one| one.get("name").str().to_owned())
            .collect()
    };
    let own = names("spec.containers");
    let all = [
        own.clone(),
        names("spec.initContainers"),
        names("spec.ephemeralContainers"),
    ]
    .concat();
    if !asked.is_empty() {
        if all.iter().any(|name| name == asked) {
            return Ok(asked.to_owned());
        }
        return Err(Status::bad_request(format!(
            "container {asked} is not valid for pod {}",
            pod.name()
        )));
    }
    if let Some(name) = pod
        .annotation("kubectl.kubernetes.io/default-container")
        .filter(|name| own.iter().any(|one| one == name))
    {
        return Ok(name.to_owned());
    }
    match own.as_slice() {
        [only] => Ok(only.clone()),
        many => Err(Status::bad_request(format!(
            "a container name must be specified for pod {}, choose one of: [{}]",
            pod.name(),
            many.join(" ")
        ))),
    }
}

fn node(pod: &Object) -> Result<&str, Status> {
    match pod.at("spec.nodeName").str() {
        "" => Err(Status::bad_request(format!(
            "pod {} does not have a host assigned",
            pod.name()
        ))),
        node => Ok(node),
    }
}

fn runtime_failure(why: RuntimeError) -> Status {
    Status::new(machinery::Reason::BadRequest, why.message)
}

async fn logs(inner: &Inner, parts: &Parts, pod: &Object) -> Result<HttpResponse, Status> {
    let name = container(pod, &parts.query)?;
    let at = ContainerRef {
        node: node(pod)?,
        namespace: pod.namespace(),
        pod: pod.name(),
        container: &name,
    };
    let options = log_options(&parts.query, inner.door.now())?;
    let reader = inner
        .nodes
        .logs(at, parts.query.flag("previous"), &options)
        .await
        .map_err(runtime_failure)?;
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

/// Answers a WebSocket handshake; the socket is handed to `run` once the client has switched.
fn upgrade<F>(
    mut request: Request<Incoming>,
    run: impl FnOnce(Socket, &'static str) -> F + Send + 'static,
) -> Result<HttpResponse, Status>
where
    F: Future<Output = ()> + Send + 'static,
{
    let text = |name: header::HeaderName| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    if !text(header::UPGRADE).eq_ignore_ascii_case("websocket") {
        let message = "you must specify a WebSocket upgrade (SPDY streams are not served; clients fall back or use WebSocket first)";
        return Err(Status::bad_request(message));
    }
    let offered = text(header::SEC_WEBSOCKET_PROTOCOL);
    let offered: Vec<&str> = offered.split(',').map(str::trim).collect();
    let protocol = PROTOCOLS
        .into_iter()
        .find(|known| offered.contains(known))
        .ok_or_else(|| {
            Status::bad_request(format!(
                "no offered protocol is supported: {}",
                offered.join(", ")
            ))
        })?;
    let accept = derive_accept_key(text(header::SEC_WEBSOCKET_KEY).as_bytes());
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // A client that goes away before switching has nothing to be told.
        if let Ok(upgraded) = upgraded.await {
            let socket =
                WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            run(socket, protocol).await;
        }
    });
    let mut response = whole(101, "text/plain", Vec::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.clear();
    headers.insert(
        header::CONNECTION,
        header::HeaderValue::from_static("Upgrade"),
    );
    headers.insert(
        header::UPGRADE,
        header::HeaderValue::from_static("websocket"),
    );
    headers.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        header::HeaderValue::from_static(protocol),
    );
    if let Ok(accept) = accept.parse() {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok(response)
}

async fn remote_command(
    inner: &Arc<Inner>,
    parts: Parts,
    pod: &Object,
    request: Request<Incoming>,
) -> Result<HttpResponse, Status> {
    let query = &parts.query;
    let name = container(pod, query)?;
    let options = StreamOptions {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        tty: query.flag("tty"),
    };
    let command = query.all("command");
    let exec = parts.place.subresource == "exec";
    if exec && command.is_empty() {
        return Err(Status::bad_request(
            "you must specify at least 1 command for the container",
        ));
    }
    let (inner, pod_node) = (inner.clone(), node(pod)?.to_owned());
    let (namespace, pod) = (pod.namespace().to_owned(), pod.name().to_owned());
    upgrade(request, move |socket, protocol| async move {
        let at = ContainerRef {
            node: &pod_node,
            namespace: &namespace,
            pod: &pod,
            container: &name,
        };
        let session = if exec {
            inner.nodes.exec(at, &command, options).await
        } else {
            inner.nodes.attach(at, options).await
        };
        let (mut sender, receiver) = socket.split();
        match session {
            Ok(session) => run_session(session, sender, receiver).await,
            Err(why) => {
                send_end(&mut sender, Output::Failed(why.message)).await;
                close(sender, receiver).await;
            }
        }
        let _ = protocol;
    })
}

/// A normal end: clients take a close without a code for a broken connection.
fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() }))
}

/// Carries bytes both ways until the command ends or the client goes.
async fn run_session(session: Arc<dyn Session>, mut sender: Sender, receiver: Receiver) {
    let input = tokio::spawn(feed(session.clone(), receiver));
    loop {
        let output = session.read().await;
        let ended = matches!(output, Output::Exit(_) | Output::Failed(_));
        let sent = match output {
            Output::Stdout(bytes) => send(&mut sender, STDOUT, &bytes).await,
            Output::Stderr(bytes) => send(&mut sender, STDERR, &bytes).await,
            end => send_end(&mut sender, end).await,
        };
        if ended || !sent {
            break;
        }
    }
    input.abort();
    // The client may be gone already.
    let _ = sender.send(goodbye()).await;
}

async fn close(mut sender: Sender, mut receiver: Receiver) {
    let _ = sender.send(goodbye()).await;
    while let Some(Ok(_)) = receiver.next().await {}
}

/// Client to container.
async fn feed(session: Arc<dyn Session>, mut receiver: Receiver) {
    while let Some(Ok(message)) = receiver.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => break,
            _ => continue,
        };
        let Some((&channel, data)) = bytes.split_first() else {
            continue;
        };
        match channel {
            STDIN if !data.is_empty() => {
                if session.write(data).await.is_err() {
                    break;
                }
            }
            RESIZE => session.resize(terminal_size(data)),
            CLOSE if data == [STDIN] => {
                let _ = session.write(&[]).await;
            }
            _ => {}
        }
    }
    // The client's end of input is the container's, too; a failure means that it ended first.
    let _ = session.write(&[]).await;
}

fn terminal_size(data: &[u8]) -> TerminalSize {
    let decoded = codec::decode_json(data, codec::Limits::default())
        .map(|decoded| decoded.value)
        .unwrap_or_default();
    let side = |key: &str| {
        decoded[key]
            .as_i64()
            .and_then(|size| u16::try_from(size).ok())
            .unwrap_or_default()
    };
    TerminalSize {
        width: side("Width"),
        height: side("Height"),
    }
}

async fn send(sender: &mut Sender, channel: u8, data: &[u8]) -> bool {
    let mut message = Vec::with_capacity(data.len() + 1);
    message.push(channel);
    message.extend(data);
    sender.send(Message::Binary(message.into())).await.is_ok()
}

/// The status of an ended command on the error channel.
async fn send_end(sender: &mut Sender, end: Output) -> bool {
    let status = match end {
        Output::Exit(0) => json!({"metadata": {}, "status": "Success"}),
        Output::Exit(code) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Output::Failed(why) => Status::internal(why).to_value(),
        Output::Stdout(_) | Output::Stderr(_) => return true,
    };
    send(sender, ERROR, &codec::encode_json_value(&status)).await
}

/// Two channels for each port: data and error; each begins with the port number.
fn port_forward(
    inner: &Arc<Inner>,
    parts: Parts,
    pod: &Object,
    request: Request<Incoming>,
) -> Result<HttpResponse, Status> {
    let ports: Vec<u16> = parts
        .query
        .all("ports")
        .iter()
        .flat_map(|text| text.split(','))
        .filter_map(|text| text.parse().ok())
        .collect();
    if ports.is_empty() {
        return Err(Status::bad_request("query parameter \"ports\" is required"));
    }
    let (inner, pod_node) = (inner.clone(), node(pod)?.to_owned());
    let (namespace, pod) = (pod.namespace().to_owned(), pod.name().to_owned());
    upgrade(request, move |socket, _| async move {
        let (sender, receiver) = socket.split();
        let sender = Arc::new(tokio::sync::Mutex::new(sender));
        let mut streams = Vec::new();
        for (at, port) in ports.iter().enumerate() {
            let place = ContainerRef {
                node: &pod_node,
                namespace: &namespace,
                pod: &pod,
                container: "",
            };
            let channel = (at * 2) as u8;
            let mut out = sender.lock().await;
            send(&mut out, channel, &port.to_le_bytes()).await;
            send(&mut out, channel + 1, &port.to_le_bytes()).await;
            match inner.nodes.connect(place, *port).await {
                Ok(stream) => {
                    drop(out);
                    tokio::spawn(pump(stream.clone(), sender.clone(), channel));
                    streams.push(Some(stream));
                }
                Err(why) => {
                    send(&mut out, channel + 1, why.message.as_bytes()).await;
                    streams.push(None);
                }
            }
        }
        forward(receiver, &streams).await;
    })
}

async fn pump(stream: Arc<dyn ByteStream>, sender: Arc<tokio::sync::Mutex<Sender>>, channel: u8) {
    while let Ok(bytes) = stream.read().await {
        let sent = !bytes.is_empty() && send(&mut *sender.lock().await, channel, &bytes).await;
        if !sent {
            break;
        }
    }
    let _ = sender.lock().await.send(goodbye()).await;
}

async fn forward(mut receiver: Receiver, streams: &[Option<Arc<dyn ByteStream>>]) {
    while let Some(Ok(Message::Binary(bytes))) = receiver.next().await {
        let Some((&channel, data)) = bytes.split_first() else {
            continue;
        };
        if let Some(Some(stream)) = streams.get(usize::from(channel / 2)) {
            if stream.write(data).await.is_err() {
                break;
            }
        }
    }
    for stream in streams.iter().flatten() {
        let _ = stream.write(&[]).await;
    }
}
