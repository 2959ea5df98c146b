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

/// Runs an HTTP or TCP check from the namespace at `netns`.
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
        Probe::Grpc { .. } => Err("gRPC probes are not supported by this node".into()),
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
