//! Forwarded ports: plain channels, SPDY, and SPDY inside WebSocket messages (kubectl's way).
//!
//! Upstream counterpart: `kubelet/pkg/cri/streaming/portforward`,
//! `apimachinery/pkg/util/httpstream/wsstream` (`tunneling_handler.go`).

use super::{
    Target,
    channels::{Framing, Sender, channels, goodbye},
    upgrade,
};
use crate::{
    answer::HttpResponse,
    options::Query,
    server::{Inner, Parts},
    spdy::{SpdyConnection, SpdyReader, SpdyStream, SpdyWriter},
};
use env::ByteStream;
use futures::{SinkExt, StreamExt, future::join};
use hyper::{Request, body::Incoming};
use machinery::{Object, Status};
use std::{collections::BTreeMap, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split},
    sync::Mutex,
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::Message;

/// SPDY frames in binary messages.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// Subprotocols in order of preference.
const PROTOCOLS: [&str; 3] = [TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io"];
/// The protocol over SPDY.
const SPDY_PROTOCOLS: [&str; 1] = ["portforward.k8s.io"];
/// Ports of one WebSocket with plain channels: two channels each, a byte names a channel.
const PORTS_MAX: usize = 100;
/// Bytes inside a tunnel that wait for either side.
const TUNNEL_BUFFER: usize = 64 * 1024;

/// What ports are forwarded to.
struct Forward {
    inner: Arc<Inner>,
    target: Target,
}

/// Answers `pods/NAME/portforward`.
pub fn port_forward(
    inner: &Arc<Inner>,
    parts: &Parts,
    pod: &Object,
    request: Request<Incoming>,
) -> Result<HttpResponse, Status> {
    let forward = Arc::new(Forward {
        inner: inner.clone(),
        target: Target::new(pod, String::new())?,
    });
    match upgrade::wanted(request.headers()) {
        upgrade::Wanted::WebSocket => {
            let ports = ports(&parts.query);
            upgrade::websocket(request, &PROTOCOLS, |socket, protocol| async move {
                if protocol == TUNNEL {
                    let connection = SpdyConnection::start(tunnel(socket));
                    return over_spdy(forward, connection).await;
                }
                over_channels(forward, ports, socket, protocol).await;
            })
        }
        upgrade::Wanted::Spdy => {
            upgrade::spdy(request, &SPDY_PROTOCOLS, |transport, _| async move {
                over_spdy(forward, SpdyConnection::start(transport)).await;
            })
        }
        upgrade::Wanted::Nothing => Err(upgrade::required()),
    }
}

fn ports(query: &Query) -> Vec<u16> {
    query
        .all("ports")
        .iter()
        .flat_map(|text| text.split(','))
        .filter_map(|text| text.parse().ok())
        .take(PORTS_MAX)
        .collect()
}

impl Forward {
    async fn connect(&self, port: u16) -> Result<Arc<dyn ByteStream>, String> {
        let Target { pod, uid, .. } = &self.target;
        let connected = self.inner.nodes.connect(self.target.place(), port).await;
        connected.map_err(|why| {
            format!(
                "error forwarding port {port} to pod {pod}, uid {uid}: {}",
                why.message
            )
        })
    }
}

/// The byte stream inside the binary messages of a WebSocket.
fn tunnel(socket: upgrade::Socket) -> DuplexStream {
    let (inside, outside) = duplex(TUNNEL_BUFFER);
    tokio::spawn(async move {
        let (mut sender, mut receiver) = socket.split();
        let (mut read, mut write) = split(outside);
        let inward = async {
            while let Some(Ok(message)) = receiver.next().await {
                match message {
                    Message::Binary(bytes) if write.write_all(&bytes).await.is_err() => break,
                    Message::Close(_) => break,
                    _ => {}
                }
            }
            // The other side may be gone already.
            let _ = write.shutdown().await;
        };
        let outward = async {
            let mut buffer = vec![0; TUNNEL_BUFFER];
            while let Ok(count @ 1..) = read.read(&mut buffer).await {
                let message = Message::Binary(buffer[..count].to_vec().into());
                if sender.send(message).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = outward => {}
            () = inward => {}
        }
        goodbye(&mut sender, receiver).await;
    });
    inside
}

/// Pairs of streams, one pair for each connection: data and error.
async fn over_spdy(forward: Arc<Forward>, mut connection: SpdyConnection) {
    let mut waiting: BTreeMap<String, SpdyStream> = BTreeMap::new();
    let mut running = JoinSet::new();
    while let Some(stream) = connection.accept().await {
        while running.try_join_next().is_some() {}
        let request = request_of(&stream);
        match waiting.remove(&request) {
            None => _ = waiting.insert(request, stream),
            Some(first) => {
                let is_error = |stream: &SpdyStream| stream.header("streamtype") == "error";
                let (error, data) = match (is_error(&first), is_error(&stream)) {
                    (true, false) => (first, stream),
                    (false, true) => (stream, first),
                    // Two of a kind make no connection: dropping them resets nothing else.
                    _ => continue,
                };
                running.spawn(pair(forward.clone(), data, error.writer));
            }
        }
    }
    drop((waiting, running));
    connection.finish().await;
}

/// What names a connection; clients without the header open the error stream first.
fn request_of(stream: &SpdyStream) -> String {
    let named = stream.header("requestid");
    if !named.is_empty() {
        return named.to_owned();
    }
    match stream.header("streamtype") {
        "error" => format!("stream {}", stream.number),
        _ => format!("stream {}", stream.number.saturating_sub(2)),
    }
}

async fn pair(forward: Arc<Forward>, data: SpdyStream, error: SpdyWriter) {
    let connected = match data.header("port").parse::<u16>() {
        Ok(port) => forward.connect(port).await,
        Err(_) => Err("the header \"port\" names no port".into()),
    };
    match connected {
        Ok(stream) => carry(stream, data).await,
        Err(why) => {
            error.write(why.as_bytes()).await;
            data.writer.finish().await;
        }
    }
    error.finish().await;
}

/// Carries bytes both ways until both directions end or the client resets.
async fn carry(stream: Arc<dyn ByteStream>, data: SpdyStream) {
    let SpdyStream {
        mut reader, writer, ..
    } = data;
    let reset = writer.reset();
    tokio::select! {
        _ = join(upward(&*stream, &mut reader), downward(&*stream, writer)) => {}
        () = reset => {}
    }
}

async fn upward(stream: &dyn ByteStream, reader: &mut SpdyReader) {
    while let Some(bytes) = reader.read().await {
        if stream.write(&bytes).await.is_err() {
            return;
        }
    }
    // The pod may have closed already.
    let _ = stream.write(&[]).await;
}

async fn downward(stream: &dyn ByteStream, writer: SpdyWriter) {
    while let Ok(bytes) = stream.read().await {
        if bytes.is_empty() || !writer.write(&bytes).await {
            break;
        }
    }
    writer.finish().await;
}

/// Two channels for each port: data and error; each begins with the port number.
async fn over_channels(
    forward: Arc<Forward>,
    ports: Vec<u16>,
    socket: upgrade::Socket,
    protocol: &'static str,
) {
    let (sender, mut receiver) = channels(socket, Framing::of(protocol));
    let sender = Arc::new(Mutex::new(sender));
    let mut streams = Vec::new();
    let mut pumps = JoinSet::new();
    for (at, port) in ports.into_iter().enumerate() {
        let channel = (at * 2) as u8;
        let mut out = sender.lock().await;
        out.send(channel, &port.to_le_bytes()).await;
        out.send(channel + 1, &port.to_le_bytes()).await;
        match forward.connect(port).await {
            Ok(stream) => {
                pumps.spawn(pump(stream.clone(), sender.clone(), channel));
                streams.push(Some(stream));
            }
            Err(why) => {
                out.send(channel + 1, why.as_bytes()).await;
                streams.push(None);
            }
        }
    }
    let input = async {
        while let Some((channel, data)) = receiver.next().await {
            if let Some(Some(stream)) = streams.get(usize::from(channel / 2))
                && channel % 2 == 0
            {
                // A pod that has closed hears nothing more; its other ports may.
                let _ = stream.write(&data).await;
            }
        }
    };
    tokio::select! {
        () = input => {}
        () = async { while pumps.join_next().await.is_some() {} } => {}
    }
    pumps.shutdown().await;
    if let Some(sender) = Arc::into_inner(sender) {
        sender.into_inner().close(receiver).await;
    }
}

async fn pump(stream: Arc<dyn ByteStream>, sender: Arc<Mutex<Sender>>, channel: u8) {
    while let Ok(bytes) = stream.read().await {
        if bytes.is_empty() || !sender.lock().await.send(channel, &bytes).await {
            return;
        }
    }
}
