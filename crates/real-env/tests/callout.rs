//! Real calls out to a TLS server on the loopback: whom they trust, how they reuse connections,
//! and what they say when nobody answers.

use env::{
    BoxFuture, ByteStream, Callout, CalloutAnswer, CalloutRequest, CalloutTo, PodDialer, PodPort,
    RuntimeError, RuntimeResult,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use real_env::RealCallout;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

const NAMES: [&str; 2] = ["127.0.0.1", "hook.ns.svc"];

struct Shown {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    /// PEM that vouches for it.
    trust: String,
}

/// A certificate of a CA of its own.
fn issued() -> Shown {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(NAMES.map(String::from)).unwrap();
    let made = params.signed_by(&key, &ca).unwrap();
    Shown {
        certificate: made.der().clone(),
        key,
        trust: ca.pem(),
    }
}

/// A certificate that vouches for itself, as charts make them.
fn own() -> Shown {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(NAMES.map(String::from)).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let made = params.self_signed(&key).unwrap();
    Shown {
        certificate: made.der().clone(),
        trust: made.pem(),
        key,
    }
}

/// Echoes request bodies; the port, and how many connections there have been.
async fn serve(shown: &Shown) -> (u16, Arc<AtomicUsize>) {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(shown.key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![shown.certificate.clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(tcp).await {
                    echo(stream).await;
                }
            });
        }
    });
    (port, connections)
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        seen.extend_from_slice(&buffer[..count]);
        let Some(head) = seen.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let text = String::from_utf8_lossy(&seen[..head]).to_lowercase();
        let length = text.split("content-length: ").nth(1).unwrap();
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        if seen.len() < head + 4 + length {
            continue;
        }
        let body: Vec<u8> = seen.drain(..).skip(head + 4).collect();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
    }
}

/// Leads every pod to the loopback.
struct Loopback;

struct Wire(Mutex<ReadHalf<TcpStream>>, Mutex<WriteHalf<TcpStream>>);

impl PodDialer for Loopback {
    fn dial<'a>(&'a self, to: &'a PodPort) -> BoxFuture<'a, RuntimeResult<Arc<dyn ByteStream>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(("127.0.0.1", to.port)).await;
            let stream = stream.map_err(|why| RuntimeError::new("StreamError", why.to_string()))?;
            let (read, write) = split(stream);
            Ok(Arc::new(Wire(read.into(), write.into())) as Arc<dyn ByteStream>)
        })
    }
}

impl ByteStream for Wire {
    fn write<'a>(&'a self, bytes: &'a [u8]) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move {
            let written = self.1.lock().await.write_all(bytes).await;
            written.map_err(|why| RuntimeError::new("StreamError", why.to_string()))
        })
    }
    fn read(&self) -> BoxFuture<'_, RuntimeResult<Vec<u8>>> {
        Box::pin(async move {
            let mut buffer = vec![0; 4096];
            let read = self.0.lock().await.read(&mut buffer).await;
            let count = read.map_err(|why| RuntimeError::new("StreamError", why.to_string()))?;
            buffer.truncate(count);
            Ok(buffer)
        })
    }
}

fn request(port: u16, trust: &str) -> CalloutRequest {
    CalloutRequest {
        url: format!("https://127.0.0.1:{port}/check?timeout=10s"),
        to: CalloutTo::Url,
        server_name: "127.0.0.1".into(),
        ca: trust.as_bytes().into(),
        body: b"{\"a\":1}".to_vec(),
        answer_max: 1024,
    }
}

fn in_pod(port: u16, trust: &str) -> CalloutRequest {
    let (node, namespace, pod) = ("n".into(), "ns".into(), "hook-0".into());
    CalloutRequest {
        url: "https://hook.ns.svc:443/check?timeout=10s".into(),
        to: CalloutTo::Pod(PodPort {
            node,
            namespace,
            pod,
            address: "10.0.0.9".into(),
            port,
        }),
        server_name: "hook.ns.svc".into(),
        ..request(port, trust)
    }
}

fn echoed() -> Result<CalloutAnswer, String> {
    Ok(CalloutAnswer {
        status: 200,
        body: b"{\"a\":1}".to_vec(),
    })
}

#[tokio::test]
async fn one_connection_serves_many_calls() {
    let shown = issued();
    let (port, connections) = serve(&shown).await;
    let callout = RealCallout::new(Arc::new(Loopback));
    for _ in 0..3 {
        assert_eq!(callout.post(request(port, &shown.trust)).await, echoed());
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    for _ in 0..2 {
        assert_eq!(callout.post(in_pod(port, &shown.trust)).await, echoed());
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_server_may_vouch_for_itself() {
    let shown = own();
    let (port, _) = serve(&shown).await;
    let callout = RealCallout::new(Arc::new(Loopback));
    assert_eq!(callout.post(request(port, &shown.trust)).await, echoed());
}

#[tokio::test]
async fn nobody_else_is_trusted() {
    let shown = issued();
    let (port, _) = serve(&shown).await;
    let callout = RealCallout::new(Arc::new(Loopback));
    let verify = "tls: failed to verify certificate: x509: ";
    let stranger = callout.post(request(port, &issued().trust)).await;
    let wanted = format!("{verify}certificate signed by unknown authority");
    assert_eq!(stranger.unwrap_err(), wanted);
    for shown in [shown, own()] {
        let (port, _) = serve(&shown).await;
        let other = CalloutRequest {
            server_name: "other.ns.svc".into(),
            ..request(port, &shown.trust)
        };
        let why = callout.post(other).await.unwrap_err();
        assert!(
            why.starts_with(&format!("{verify}certificate is valid for ")),
            "{why}"
        );
        assert!(why.ends_with(", not other.ns.svc"), "{why}");
    }
    let garbage = callout.post(request(port, "no certificate")).await;
    let wanted = "unable to load root certificates: unable to parse bytes as PEM block";
    assert_eq!(garbage.unwrap_err(), wanted);
}

#[tokio::test]
async fn what_does_not_answer_is_told() {
    let shown = issued();
    let callout = RealCallout::new(Arc::new(Loopback));
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let refused = callout.post(request(port, &shown.trust)).await;
    let wanted = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    assert_eq!(refused.unwrap_err(), wanted);
    let refused = callout.post(in_pod(port, &shown.trust)).await;
    let wanted = format!("dial tcp 10.0.0.9:{port}: connect: connection refused");
    assert_eq!(refused.unwrap_err(), wanted);
    let named = CalloutRequest {
        to: CalloutTo::Host("localhost".into(), port),
        ..in_pod(port, &shown.trust)
    };
    let refused = callout.post(named).await.unwrap_err();
    assert!(
        refused.ends_with(&format!(":{port}: connect: connection refused")),
        "{refused}"
    );
    let (port, _) = serve(&shown).await;
    let long = CalloutRequest {
        answer_max: 3,
        ..request(port, &shown.trust)
    };
    let why = callout.post(long).await.unwrap_err();
    assert_eq!(why, "the answer is longer than 3 bytes");
}
