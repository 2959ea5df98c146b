//! Streams through the whole server, as clients open them: TLS, upgrade, frames; nodes are fakes.

use super::channels::Framing;
use crate::{
    ApiServer, ApiServerConfig, ContainerRef, LiveTls, Nodes, new_authority, new_server,
    spdy::{Decoder, Encoder, SpdyFrame},
};
use auth::{TokenKey, User};
use bytes::Bytes;
use env::{
    BoxFuture, ByteStream, LogOptions, LogReader, Output, RuntimeError, RuntimeResult, Session,
    StreamOptions, TerminalSize, Time,
};
use futures::{SinkExt, StreamExt};
use machinery::{Value, json};
use registry::{Door, DoorConfig, Verb};
use sim_env::{DiskImage, DiskSpeed, Sim, SimDisk};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use store::{Store, StoreOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    net::TcpStream,
    sync::{Mutex, mpsc},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

const POD: &str = "/api/v1/namespaces/default/pods/web";
const ECHO_PORT: u16 = 7;
const HTTP_PORT: u16 = 8000;
const TLS_PORT: u16 = 8443;

fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Time::from_unix_seconds(since.unwrap().as_secs())
}

/// Nodes whose commands repeat their input and end with the code they were told.
struct FakeNodes;

struct Pipe {
    send: mpsc::UnboundedSender<Output>,
    receive: Mutex<mpsc::UnboundedReceiver<Output>>,
    code: i32,
}

fn pipe(code: i32) -> Pipe {
    let (send, receive) = mpsc::unbounded_channel();
    let receive = Mutex::new(receive);
    Pipe {
        send,
        receive,
        code,
    }
}

impl Pipe {
    fn put(&self, output: Output) {
        self.send.send(output).unwrap();
    }
}

impl Session for Pipe {
    fn write<'a>(&'a self, input: &'a [u8]) -> BoxFuture<'a, RuntimeResult<()>> {
        self.put(match input {
            [] => Output::Exit(self.code),
            bytes => Output::Stdout(bytes.to_vec()),
        });
        Box::pin(async { Ok(()) })
    }
    fn read(&self) -> BoxFuture<'_, Output> {
        Box::pin(async { self.receive.lock().await.recv().await.unwrap() })
    }
    fn resize(&self, size: TerminalSize) {
        self.put(Output::Stdout(
            format!("{}x{}", size.width, size.height).into(),
        ));
    }
}

/// Repeats what it hears; the HTTP one answers with the request's head as its body.
struct FakeStream {
    pipe: Pipe,
    http: bool,
}

impl ByteStream for FakeStream {
    fn write<'a>(&'a self, bytes: &'a [u8]) -> BoxFuture<'a, RuntimeResult<()>> {
        let answer = match bytes {
            head if head.windows(13).any(|part| part == b"upgrade: echo") => {
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"
                    .to_vec()
            }
            head if self.http && head.ends_with(b"\r\n\r\n") => {
                let head = String::from_utf8_lossy(head).into_owned();
                let page = head.contains("x-page: 1");
                let (kind, extra) = if page {
                    ("text/html", "<a href=\"/x\">")
                } else {
                    ("text/plain", "")
                };
                let head = format!("{head}{extra}");
                let length = head.len();
                format!("HTTP/1.1 302 Found\r\nlocation: /there\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{head}").into()
            }
            echo => echo.to_vec(),
        };
        self.pipe.put(Output::Stdout(answer));
        Box::pin(async { Ok(()) })
    }
    fn read(&self) -> BoxFuture<'_, RuntimeResult<Vec<u8>>> {
        Box::pin(async {
            match self.pipe.read().await {
                Output::Stdout(bytes) => Ok(bytes),
                _ => Ok(Vec::new()),
            }
        })
    }
}

/// A stream to a server inside this process.
struct Inside(
    Mutex<ReadHalf<DuplexStream>>,
    Mutex<WriteHalf<DuplexStream>>,
);

impl ByteStream for Inside {
    fn write<'a>(&'a self, bytes: &'a [u8]) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move {
            let mut side = self.1.lock().await;
            let done = match bytes {
                [] => side.shutdown().await,
                bytes => side.write_all(bytes).await,
            };
            done.map_err(|why| RuntimeError::new("Unknown", why.to_string()))
        })
    }
    fn read(&self) -> BoxFuture<'_, RuntimeResult<Vec<u8>>> {
        Box::pin(async {
            let mut buffer = vec![0; 4096];
            let count = self.0.lock().await.read(&mut buffer).await.unwrap_or(0);
            buffer.truncate(count);
            Ok(buffer)
        })
    }
}

/// A pod that speaks TLS with a certificate of its own making.
fn secured() -> Inside {
    let (near, far) = tokio::io::duplex(4096);
    tokio::spawn(async move {
        let authority = new_authority("nobody", now()).unwrap();
        let own = new_server(&authority, &["elsewhere"], &[], now()).unwrap();
        let tls = LiveTls::new(&authority.certificate, &own).unwrap().config();
        let mut stream = tokio_rustls::TlsAcceptor::from(tls)
            .accept(far)
            .await
            .unwrap();
        let mut head = vec![0; 4096];
        assert!(stream.read(&mut head).await.unwrap() > 0);
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret";
        stream.write_all(answer).await.unwrap();
        stream.flush().await.unwrap();
        // Stays until the client leaves.
        let _ = stream.read(&mut head).await;
    });
    let (read, write) = tokio::io::split(near);
    Inside(Mutex::new(read), Mutex::new(write))
}

struct FakeLog(Mutex<Vec<Vec<u8>>>);

impl LogReader for FakeLog {
    fn read(&self) -> BoxFuture<'_, RuntimeResult<Option<Vec<u8>>>> {
        Box::pin(async { Ok(self.0.lock().await.pop()) })
    }
}

impl Nodes for FakeNodes {
    fn exec<'a>(
        &'a self,
        _: ContainerRef<'a>,
        command: &'a [String],
        options: StreamOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn Session>>> {
        let pipe = pipe(command[0].parse().unwrap());
        pipe.put(Output::Stderr(b"started".to_vec()));
        if !options.stdin {
            pipe.put(Output::Exit(pipe.code));
        }
        Box::pin(async { Ok(Arc::new(pipe) as Arc<dyn Session>) })
    }
    fn attach<'a>(
        &'a self,
        at: ContainerRef<'a>,
        options: StreamOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn Session>>> {
        Box::pin(async move { self.exec(at, &["3".to_owned()], options).await })
    }
    fn logs<'a>(
        &'a self,
        _: ContainerRef<'a>,
        _: bool,
        _: &'a LogOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn LogReader>>> {
        let log = FakeLog(Mutex::new(vec![b"two\n".to_vec(), b"one\n".to_vec()]));
        Box::pin(async { Ok(Arc::new(log) as Arc<dyn LogReader>) })
    }
    fn connect<'a>(
        &'a self,
        _: ContainerRef<'a>,
        port: u16,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn ByteStream>>> {
        Box::pin(async move {
            if port == TLS_PORT {
                return Ok(Arc::new(secured()) as Arc<dyn ByteStream>);
            }
            if port != ECHO_PORT && port != HTTP_PORT {
                return Err(RuntimeError::new("Unknown", "Connection refused"));
            }
            let http = port == HTTP_PORT;
            let pipe = pipe(0);
            Ok(Arc::new(FakeStream { pipe, http }) as Arc<dyn ByteStream>)
        })
    }
}

/// A served door; the simulation holds its store.
struct Rig {
    address: SocketAddr,
    roots: Arc<RootCertStore>,
}

fn door() -> (Sim, Door) {
    let sim = Sim::new(7, Time::from_unix_seconds(1_800_000_000));
    let speed = DiskSpeed {
        latency: Duration::from_micros(1),
        sync_latency: Duration::from_micros(1),
    };
    let disk = SimDisk::new(sim.fork("disk"), speed, DiskImage::default());
    let world = sim.world();
    let store = Store::open(&world, disk, StoreOptions::default());
    let store = sim.block_on(store).unwrap();
    let tokens = TokenKey::generate(&*sim.world().entropy, "https://kubernetes.default.svc");
    let door = Door::new(DoorConfig {
        world: sim.world(),
        store,
        catalogue: kinds::Catalogue::builtin(),
        admission: Vec::new(),
        webhooks: None,
        tokens: Arc::new(tokens),
    });
    (sim, door)
}

fn create(sim: &Sim, door: &Door, storage: &str, object: Value) {
    let user = Arc::new(User::component("test"));
    let call = door
        .component_call(&user, Verb::Create, storage, object.namespace(), "")
        .unwrap();
    sim.block_on(door.call(call.with_object(object))).unwrap();
}

fn objects(sim: &Sim, door: &Door) {
    create(
        sim,
        door,
        kinds::NAMESPACES,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}),
    );
    create(
        sim,
        door,
        kinds::PODS,
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 8000}]}]},
        }),
    );
    create(
        sim,
        door,
        kinds::SERVICES,
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
            "spec": {"clusterIP": "None", "ports": [{"port": 80}]},
        }),
    );
}

/// Runs a test against a server.
fn with_server<F: Future<Output = ()>>(test: impl FnOnce(Rig) -> F) {
    let (sim, door) = door();
    objects(&sim, &door);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let authority = new_authority("test", now()).unwrap();
        let own = new_server(&authority, &["localhost"], &[], now()).unwrap();
        let tls = LiveTls::new(&authority.certificate, &own).unwrap();
        let mut admin = User::component("admin");
        admin.groups.push("system:masters".into());
        let tokens = BTreeMap::from([("secret".to_owned(), admin)]);
        let nodes = Arc::new(FakeNodes);
        let server = ApiServer::new(ApiServerConfig {
            door,
            nodes,
            tokens,
            tls,
            flags: Default::default(),
        });
        let listener = crate::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap();
        roots.add(root).unwrap();
        tokio::spawn(async move { server.serve(listener).await });
        let roots = Arc::new(roots);
        tokio::time::timeout(Duration::from_secs(20), test(Rig { address, roots }))
            .await
            .unwrap();
    });
}

type Wire = TlsStream<TcpStream>;

impl Rig {
    /// Sends a request and returns the head of the answer and the connection.
    async fn request(&self, line: &str, headers: &[&str]) -> (String, Wire) {
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut wire = connector.connect(name, tcp).await.unwrap();
        let fixed = "Host: localhost\r\nAuthorization: Bearer secret";
        let headers = headers.join("\r\n");
        let text = format!("{line} HTTP/1.1\r\n{fixed}\r\n{headers}\r\n\r\n");
        wire.write_all(text.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(wire.read_u8().await.unwrap());
        }
        (String::from_utf8(head).unwrap(), wire)
    }

    async fn web_socket(&self, path: &str, protocol: &str) -> WebSocketStream<Wire> {
        let offer = format!("Sec-WebSocket-Protocol: {protocol}");
        let mut headers = vec![
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        if !protocol.is_empty() {
            headers.push(&offer);
        }
        let (head, wire) = self.request(&format!("GET {path}"), &headers).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert!(protocol.is_empty() || head.contains(protocol), "{head}");
        WebSocketStream::from_raw_socket(wire, Role::Client, None).await
    }

    async fn spdy(&self, path: &str, protocol: &str) -> SpdyClient {
        let offer = format!("X-Stream-Protocol-Version: {protocol}");
        let headers = [
            "Connection: Upgrade",
            "Upgrade: SPDY/3.1",
            &offer,
            "Content-Length: 0",
        ];
        let (head, wire) = self.request(&format!("POST {path}"), &headers).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert!(
            head.to_lowercase()
                .contains(&format!("x-stream-protocol-version: {protocol}")),
            "{head}"
        );
        SpdyClient {
            wire: SpdyWire::Plain(Box::new(wire)),
            encoder: Encoder::default(),
            decoder: Decoder::default(),
        }
    }
}

/// Reads all channels of a WebSocket up to its close.
async fn read_channels(
    socket: &mut WebSocketStream<Wire>,
    framing: Framing,
) -> BTreeMap<u8, String> {
    let mut all: BTreeMap<u8, String> = BTreeMap::new();
    while let Some(Ok(message)) = socket.next().await {
        if let Some((channel, bytes)) = framing.read(message) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            all.entry(channel).or_default().push_str(&text);
        }
    }
    all
}

/// The client's side of a SPDY connection, plain or inside a WebSocket.
struct SpdyClient {
    wire: SpdyWire,
    encoder: Encoder,
    decoder: Decoder,
}

enum SpdyWire {
    Plain(Box<Wire>),
    Tunnel(Box<WebSocketStream<Wire>>),
}

impl SpdyClient {
    async fn send(&mut self, frame: SpdyFrame) {
        let bytes = self.encoder.encode(&frame);
        match &mut self.wire {
            SpdyWire::Plain(wire) => wire.write_all(&bytes).await.unwrap(),
            SpdyWire::Tunnel(socket) => socket.send(Message::Binary(bytes.into())).await.unwrap(),
        }
    }

    async fn open(&mut self, stream: u32, headers: &[(&str, &str)]) {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect();
        self.send(SpdyFrame::Open {
            stream,
            headers,
            last: false,
        })
        .await;
    }

    async fn data(&mut self, stream: u32, text: &str, last: bool) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.send(SpdyFrame::Data {
            stream,
            bytes,
            last,
        })
        .await;
    }

    async fn arrived(&mut self) -> Option<Bytes> {
        match &mut self.wire {
            SpdyWire::Plain(wire) => {
                let mut buffer = vec![0; 4096];
                let count = wire.read(&mut buffer).await.unwrap_or(0);
                (count > 0).then(|| Bytes::from(buffer).slice(..count))
            }
            SpdyWire::Tunnel(socket) => match socket.next().await {
                Some(Ok(Message::Binary(bytes))) => Some(bytes),
                _ => None,
            },
        }
    }

    /// Reads until `ends` streams have ended; what they said, and the pings seen.
    async fn read(&mut self, ends: usize) -> (BTreeMap<u32, String>, Vec<u32>) {
        let (mut all, mut pings, mut ended) = (BTreeMap::<u32, String>::new(), Vec::new(), 0);
        while ended < ends {
            let bytes = self.arrived().await.expect("the server still talks");
            self.decoder.push(&bytes);
            while let Some(frame) = self.decoder.next_frame().unwrap() {
                match frame {
                    SpdyFrame::Data {
                        stream,
                        bytes,
                        last,
                    } => {
                        all.entry(stream)
                            .or_default()
                            .push_str(&String::from_utf8_lossy(&bytes));
                        ended += usize::from(last);
                    }
                    SpdyFrame::Ping(number) => pings.push(number),
                    _ => {}
                }
            }
        }
        (all, pings)
    }
}

#[test]
fn commands_end_with_their_code_over_channels() {
    with_server(|rig| async move {
        let path = format!("{POD}/exec?command=7&stdout=true&stderr=true");
        for (protocol, error) in [
            ("v5.channel.k8s.io", "ExitCode"),
            ("v4.channel.k8s.io", "ExitCode"),
            ("v4.base64.channel.k8s.io", "ExitCode"),
            (
                "channel.k8s.io",
                "command terminated with non-zero exit code: exit status 7",
            ),
            (
                "base64.channel.k8s.io",
                "command terminated with non-zero exit code: exit status 7",
            ),
            (
                "",
                "command terminated with non-zero exit code: exit status 7",
            ),
        ] {
            let mut socket = rig.web_socket(&path, protocol).await;
            let said = read_channels(&mut socket, Framing::of(protocol)).await;
            assert_eq!(said[&1], "", "{protocol}");
            assert_eq!(said[&2], "started", "{protocol}");
            let exact = said[&3] == error;
            assert!(
                exact || (error == "ExitCode" && said[&3].contains(error)),
                "{protocol}: {said:?}"
            );
        }
    });
}

#[test]
fn input_half_close_and_sizes_travel_over_channels() {
    with_server(|rig| async move {
        let path = format!("{POD}/exec?command=0&stdin=true&stdout=true&tty=true");
        let mut socket = rig.web_socket(&path, "v5.channel.k8s.io").await;
        for message in [
            &b"\x04{\"Width\":80,\"Height\":24}"[..],
            b"\x00 hello",
            b"\xff\x00",
        ] {
            socket
                .send(Message::Binary(message.to_vec().into()))
                .await
                .unwrap();
        }
        let said = read_channels(&mut socket, Framing::Binary).await;
        assert_eq!(said[&1], "80x24 hello");
        assert!(said[&3].contains("Success"));
    });
}

#[test]
fn attachments_end_well_whatever_the_code() {
    with_server(|rig| async move {
        let mut socket = rig
            .web_socket(&format!("{POD}/attach?stdout=true"), "v5.channel.k8s.io")
            .await;
        let said = read_channels(&mut socket, Framing::Binary).await;
        assert!(said[&3].contains("Success"), "{said:?}");
    });
}

#[test]
fn commands_run_over_spdy() {
    with_server(|rig| async move {
        for (protocol, error) in [
            ("v4.channel.k8s.io", "ExitCode"),
            ("v2.channel.k8s.io", "exit status 7"),
        ] {
            let mut client = rig
                .spdy(
                    &format!("{POD}/exec?command=7&stdin=true&stdout=true&stderr=true"),
                    protocol,
                )
                .await;
            for (number, kind) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")] {
                client.open(number, &[("streamtype", kind)]).await;
            }
            client.send(SpdyFrame::Ping(9)).await;
            client.data(3, "hello", false).await;
            client.data(3, "", true).await;
            let (said, pings) = client.read(4).await;
            assert_eq!((said[&5].as_str(), said[&7].as_str()), ("hello", "started"));
            assert!(said[&1].contains(error), "{said:?}");
            assert_eq!(pings, [9]);
        }
    });
}

async fn forwards(client: &mut SpdyClient) {
    for (request, port, error, data) in [("0", "7", 1, 3), ("1", "81", 5, 7)] {
        client
            .open(
                error,
                &[
                    ("streamType", "error"),
                    ("port", port),
                    ("requestID", request),
                ],
            )
            .await;
        client.data(error, "", true).await;
        client
            .open(
                data,
                &[
                    ("streamType", "data"),
                    ("port", port),
                    ("requestID", request),
                ],
            )
            .await;
    }
    client.data(3, "over there", false).await;
    client.data(3, "", true).await;
    let (said, _) = client.read(4).await;
    assert_eq!((said[&3].as_str(), said[&1].as_str()), ("over there", ""));
    assert!(
        said[&5].starts_with("error forwarding port 81 to pod web, uid "),
        "{said:?}"
    );
    assert!(said[&5].ends_with(": Connection refused"), "{said:?}");
}

#[test]
fn ports_are_forwarded_over_spdy_and_inside_a_web_socket() {
    with_server(|rig| async move {
        let path = format!("{POD}/portforward");
        let mut plain = rig.spdy(&path, "portforward.k8s.io").await;
        forwards(&mut plain).await;
        let socket = rig.web_socket(&path, "SPDY/3.1+portforward.k8s.io").await;
        let wire = SpdyWire::Tunnel(Box::new(socket));
        let (encoder, decoder) = (Encoder::default(), Decoder::default());
        forwards(&mut SpdyClient {
            wire,
            encoder,
            decoder,
        })
        .await;
    });
}

#[test]
fn ports_are_forwarded_over_plain_channels() {
    with_server(|rig| async move {
        let path = format!("{POD}/portforward?ports=7,81");
        let mut socket = rig.web_socket(&path, "v4.channel.k8s.io").await;
        socket
            .send(Message::Binary(Bytes::from_static(b"\x00hi")))
            .await
            .unwrap();
        let mut said: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        while said.get(&0).is_none_or(|bytes| bytes.len() < 4) {
            let message = socket.next().await.unwrap().unwrap();
            let (channel, bytes) = Framing::Binary.read(message).unwrap();
            said.entry(channel).or_default().extend(bytes);
        }
        assert_eq!(
            (&said[&0][..], &said[&1][..]),
            (&b"\x07\x00hi"[..], &b"\x07\x00"[..])
        );
        assert!(said[&3].ends_with(b"Connection refused"));
    });
}

#[test]
fn logs_come_as_messages() {
    with_server(|rig| async move {
        for (protocol, wanted) in [
            ("binary.k8s.io", "one\ntwo\n"),
            ("base64.binary.k8s.io", "b25lCg==dHdvCg=="),
        ] {
            let mut socket = rig.web_socket(&format!("{POD}/log"), protocol).await;
            let mut text = String::new();
            while let Some(Ok(message)) = socket.next().await {
                if matches!(message, Message::Binary(_) | Message::Text(_)) {
                    text += message.to_text().unwrap();
                }
            }
            assert_eq!(text, wanted);
        }
    });
}

#[test]
fn requests_are_proxied_with_path_and_query() {
    with_server(|rig| async move {
        let (head, mut wire) = rig
            .request(
                &format!("GET {POD}:8000/proxy/a//b%2Fc/?d=e"),
                &["X-Own: 1", "Connection: close"],
            )
            .await;
        assert!(head.starts_with("HTTP/1.1 302"), "{head}");
        assert!(
            head.contains(&format!("location: {POD}:8000/proxy/there\r\n")),
            "{head}"
        );
        let mut body = String::new();
        wire.read_to_string(&mut body).await.unwrap();
        assert!(
            body.starts_with("GET /a//b%2Fc/?d=e HTTP/1.1\r\n"),
            "{body}"
        );
        assert!(
            body.contains("x-own: 1\r\n") && !body.contains("secret"),
            "{body}"
        );
        assert!(
            body.contains(&format!("x-forwarded-uri: {POD}:8000/proxy/a//b%2Fc/\r\n")),
            "{body}"
        );
    });
}

#[test]
fn links_of_proxied_pages_lead_back() {
    with_server(|rig| async move {
        let (head, mut wire) = rig
            .request(
                &format!("GET {POD}/proxy/"),
                &["X-Page: 1", "Connection: close"],
            )
            .await;
        assert!(head.contains("content-type: text/html\r\n"), "{head}");
        let mut body = String::new();
        wire.read_to_string(&mut body).await.unwrap();
        assert!(
            body.ends_with(&format!("<a href=\"{POD}/proxy/x\">")),
            "{body}"
        );
    });
}

#[test]
fn switched_protocols_pass_the_proxy() {
    with_server(|rig| async move {
        let headers = ["Connection: Upgrade", "Upgrade: echo"];
        let (head, mut wire) = rig.request(&format!("GET {POD}/proxy/"), &headers).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert!(head.contains("upgrade: echo\r\n"), "{head}");
        wire.write_all(b"anything").await.unwrap();
        let mut echo = [0; 8];
        wire.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"anything");
    });
}

#[test]
fn pods_that_speak_tls_are_reached() {
    with_server(|rig| async move {
        let path = "/api/v1/namespaces/default/pods/https:web:8443/proxy/";
        let (head, mut wire) = rig
            .request(&format!("GET {path}"), &["Connection: close"])
            .await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let mut body = String::new();
        wire.read_to_string(&mut body).await.unwrap();
        assert_eq!(body, "secret");
    });
}

#[test]
fn refusals_are_statuses() {
    with_server(|rig| async move {
        for (path, wanted) in [
            (format!("{POD}/proxy"), "HTTP/1.1 301"),
            (format!("{POD}:81/proxy/"), "HTTP/1.1 503"),
            (
                "/api/v1/namespaces/default/pods/ftp:web:80/proxy/".into(),
                "HTTP/1.1 400",
            ),
            (
                "/api/v1/namespaces/default/services/web/proxy/".into(),
                "HTTP/1.1 503",
            ),
            (
                "/api/v1/namespaces/default/services/none/proxy/".into(),
                "HTTP/1.1 404",
            ),
            (format!("{POD}/exec?command=0&stdout=true"), "HTTP/1.1 400"),
            (format!("{POD}/portforward"), "HTTP/1.1 400"),
        ] {
            let (head, _) = rig
                .request(&format!("GET {path}"), &["Connection: close"])
                .await;
            assert!(head.starts_with(wanted), "{path}: {head}");
        }
    });
}
