//! Network checks of containers, sent from the node's network.
//!
//! Upstream counterpart: `pkg/probe` (texts as there).

use super::netns;
use env::{ExecOutput, Probe, RuntimeResult};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

/// Longest response head read.
const MAX_HEAD: usize = 16 << 10;
/// Longest output shown of a failed command.
const MAX_OUTPUT: usize = 10 << 10;

/// Whether an exec probe succeeded.
pub(super) fn judge_command(output: RuntimeResult<ExecOutput>) -> Result<(), String> {
    let output = output.map_err(|error| error.message)?;
    if output.exit_code == 0 {
        return Ok(());
    }
    let mut text = [output.stdout, output.stderr].concat();
    text.truncate(MAX_OUTPUT);
    let text = String::from_utf8_lossy(&text).trim_end().to_owned();
    if text.is_empty() {
        return Err(format!(
            "command terminated with exit code {}",
            output.exit_code
        ));
    }
    Err(text)
}

/// Runs an HTTP, TCP or gRPC check from the namespace at `netns`.
pub(super) async fn run(netns: &Path, probe: &Probe, timeout: Duration) -> Result<(), String> {
    match probe {
        Probe::Tcp { host, port } => connect(netns, (*host, *port), timeout).await.map(drop),
        Probe::Http {
            host,
            port,
            path,
            https,
            headers,
        } => {
            let request = request_head((*host, *port), path, headers);
            let url = url((*host, *port), path, *https);
            let check = http(netns, (*host, *port), *https, &request, timeout);
            match tokio::time::timeout(timeout, check).await {
                Ok(Ok(status)) => judge_status(status),
                Ok(Err(error)) => Err(format!("Get \"{url}\": {error}")),
                Err(_) => Err(format!(
                    "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while \
                     awaiting headers)"
                )),
            }
        }
        Probe::Grpc {
            host,
            port,
            service,
        } => {
            let check = grpc(netns, (*host, *port), service, timeout);
            let late = |_| format!("timeout: health rpc did not complete within {timeout:?}");
            tokio::time::timeout(timeout, check).await.map_err(late)?
        }
        Probe::Exec { .. } => Err("a command is no network check".into()),
    }
}

fn judge_status(status: u16) -> Result<(), String> {
    match status {
        200..=399 => Ok(()),
        _ => Err(format!("HTTP probe failed with statuscode: {status}")),
    }
}

async fn connect(
    netns: &Path,
    address: (IpAddr, u16),
    timeout: Duration,
) -> Result<TcpStream, String> {
    let address = SocketAddr::from(address);
    netns::connect_async(netns, address, timeout)
        .await
        .map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
                io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
                io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
                _ => error.to_string(),
            };
            format!("dial tcp {address}: {why}")
        })
}

fn url(address: (IpAddr, u16), path: &str, https: bool) -> String {
    let scheme = if https { "https" } else { "http" };
    format!("{scheme}://{}{}", SocketAddr::from(address), rooted(path))
}

fn rooted(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

fn request_head(address: (IpAddr, u16), path: &str, headers: &[(String, String)]) -> String {
    let has = |name: &str| {
        headers
            .iter()
            .any(|(given, _)| given.eq_ignore_ascii_case(name))
    };
    let mut head = format!("GET {} HTTP/1.1\r\n", rooted(path));
    let defaults = [
        ("Host", SocketAddr::from(address).to_string()),
        ("User-Agent", "kube-probe/1.36".to_owned()),
        ("Accept", "*/*".to_owned()),
    ];
    for (name, value) in defaults.iter().filter(|(name, _)| !has(name)) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    // An empty value of one of the defaults means: do not send it.
    for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("Connection: close\r\n\r\n");
    head
}

async fn http(
    netns: &Path,
    address: (IpAddr, u16),
    https: bool,
    request: &str,
    timeout: Duration,
) -> Result<u16, String> {
    let stream = connect(netns, address, timeout).await?;
    if !https {
        return exchange(stream, request).await;
    }
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls_config()?));
    let name = ServerName::from(address.0);
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(|error| error.to_string())?;
    exchange(stream, request).await
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> Result<u16, String> {
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|error| error.to_string())?;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.contains(&b'\n') && head.len() < MAX_HEAD {
        match stream.read(&mut buffer).await {
            Ok(0) => return Err("EOF".into()),
            Ok(count) => head.extend_from_slice(&buffer[..count]),
            Err(error) => return Err(error.to_string()),
        }
    }
    parse_status(&head).ok_or_else(|| "malformed HTTP response".into())
}

fn parse_status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.trim_end();
    let (version, rest) = line.split_once(' ')?;
    version
        .starts_with("HTTP/1.")
        .then(|| rest.get(..3)?.parse().ok())?
}

/// `grpc.health.v1.Health/Check`, by hand: one request, one small message each way.
async fn grpc(
    netns: &Path,
    address: (IpAddr, u16),
    service: &str,
    timeout: Duration,
) -> Result<(), String> {
    let stream = connect(netns, address, timeout).await?;
    let text = |error: h2::Error| format!("error: health rpc failed: {error}");
    let (client, connection) = h2::client::handshake(stream).await.map_err(text)?;
    // It ends with the connection, whose other half is dropped below.
    tokio::spawn(connection);
    let request = http::Request::post(format!(
        "http://{}/grpc.health.v1.Health/Check",
        SocketAddr::from(address)
    ));
    let request = request
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .map_err(|error| error.to_string())?;
    let mut client = client.ready().await.map_err(text)?;
    let (response, mut body) = client.send_request(request, false).map_err(text)?;
    body.send_data(health_request(service).into(), true)
        .map_err(text)?;
    let response = response.await.map_err(text)?;
    let early = grpc_status(response.headers());
    let mut body = response.into_body();
    let mut message = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(text)?;
        body.flow_control()
            .release_capacity(chunk.len())
            .map_err(text)?;
        message.extend_from_slice(&chunk);
    }
    let trailers = body.trailers().await.map_err(text)?;
    judge_health(early.or(trailers.as_ref().and_then(grpc_status)), &message)
}

fn grpc_status(headers: &http::HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// Frame (not compressed, length) around a message whose field 1 is the service's name.
fn health_request(service: &str) -> Vec<u8> {
    const NAME_FIELD: u8 = 0x0a;
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(NAME_FIELD);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend(message);
    frame
}

fn judge_health(status: Option<u32>, frame: &[u8]) -> Result<(), String> {
    const UNIMPLEMENTED: u32 = 12;
    const FRAME_HEADER: usize = 5;
    const STATUS_FIELD: u8 = 0x08;
    let state = match frame.get(FRAME_HEADER..) {
        Some([STATUS_FIELD, state, ..]) => *state,
        _ => 0,
    };
    match (status, state) {
        (Some(0), 1) => Ok(()),
        (Some(0), state) => {
            let names = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
            let name = names.get(usize::from(state)).unwrap_or(&"UNKNOWN");
            Err(format!("service unhealthy (responded with {name:?})"))
        }
        (Some(UNIMPLEMENTED), _) => Err("error: this server does not implement the grpc health \
                                         protocol (grpc.health.v1.Health)"
            .into()),
        (Some(code), _) => Err(format!("error: health rpc failed: status code {code}")),
        (None, _) => Err("error: health rpc failed: no status".into()),
    }
}

fn tls_config() -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(AcceptAny(provider.clone()));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// Probes do not verify certificates: they ask whether something answers, not who.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_messages() {
        assert_eq!(health_request(""), [0, 0, 0, 0, 0]);
        assert_eq!(health_request("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(judge_health(Some(0), &[0, 0, 0, 0, 2, 8, 1]), Ok(()));
        let unhealthy = judge_health(Some(0), &[0, 0, 0, 0, 2, 8, 2]);
        assert_eq!(
            unhealthy,
            Err("service unhealthy (responded with \"NOT_SERVING\")".into())
        );
        assert!(judge_health(Some(12), &[]).is_err() && judge_health(None, &[]).is_err());
    }

    #[test]
    fn heads() {
        let address = (IpAddr::from([10, 0, 0, 1]), 80);
        let headers = [
            ("host".to_owned(), "x".to_owned()),
            ("Accept".to_owned(), String::new()),
        ];
        let expected = "GET /a?b HTTP/1.1\r\nUser-Agent: kube-probe/1.36\r\nhost: x\r\n\
                        Connection: close\r\n\r\n";
        assert_eq!(request_head(address, "a?b", &headers), expected);
        assert_eq!(url(address, "/x", true), "https://10.0.0.1:80/x");
        let cases: [(&[u8], Option<u16>); 4] = [
            (b"HTTP/1.1 204 No Content\r\n", Some(204)),
            (b"HTTP/1.0 500\r\n", Some(500)),
            (b"SSH-2.0-x\r\n", None),
            (b"HTTP/1.1 2\n", None),
        ];
        for (head, status) in cases {
            assert_eq!(parse_status(head), status);
        }
        assert!(judge_status(302).is_ok() && judge_status(404).is_err());
    }
}
