//! Opens a connection: to an address of the machine's network, or into a pod, then TLS.
//!
//! Upstream counterpart: the dialer of `k8s.io/apiserver/pkg/util/webhook`.

use super::{Sender, texts};
use env::{ByteStream, CalloutRequest, CalloutTo, PodDialer};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

/// Port of URLs that name none.
const HTTPS: u16 = 443;
/// Bytes that wait between a caller and a pod.
const BUFFER: usize = 64 * 1024;

/// A URL taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// As in the URL, for the `Host` header.
    pub authority: String,
    pub host: String,
    pub port: u16,
    /// Path and query.
    pub path: String,
}

impl Target {
    /// Parses `https://HOST[:PORT][/PATH][?QUERY]`.
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = url
            .strip_prefix("https://")
            .ok_or_else(|| format!("unsupported protocol scheme in {url:?}"))?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let bad = || format!("no host in request URL {url:?}");
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let port = port.parse().map_err(|_| format!("invalid port {port:?}"))?;
                (host, port)
            }
            _ => (authority, HTTPS),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(bad());
        }
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        };
        Ok(Self {
            authority: authority.to_owned(),
            host: host.to_owned(),
            port,
            path,
        })
    }

    /// Where connections for it lead.
    pub fn address(&self, to: &CalloutTo) -> String {
        match to {
            CalloutTo::Pod(to) => format!("{}/{}/{}:{}", to.node, to.namespace, to.pod, to.port),
            CalloutTo::Host(host, port) => format!("{host}:{port}"),
            CalloutTo::Url => format!("{}:{}", self.host, self.port),
        }
    }
}

/// A connection ready for requests.
pub(super) async fn open(
    dialer: &dyn PodDialer,
    config: Arc<ClientConfig>,
    target: &Target,
    request: &CalloutRequest,
) -> Result<Sender, String> {
    let name = ServerName::try_from(request.server_name.clone())
        .map_err(|why| format!("{:?} is not a server name: {why}", request.server_name))?;
    match &request.to {
        CalloutTo::Pod(to) => {
            let dialed = dialer.dial(to).await;
            let stream = dialed.map_err(|why| texts::dial(&to.address, to.port, &why.message))?;
            secure(bridge(stream), config, name).await
        }
        CalloutTo::Host(host, port) => secure(tcp(host, *port).await?, config, name).await,
        CalloutTo::Url => {
            let stream = tcp(&target.host, target.port).await?;
            secure(stream, config, name).await
        }
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, String> {
    let mut why = String::new();
    for address in resolve(host, port).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Small messages must not wait for each other; it works without as well.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => {
                why = texts::dial(&address.ip().to_string(), port, &error.to_string());
            }
        }
    }
    Err(why)
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let of = |address: IpAddr| SocketAddr::new(address, port);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![of(address)]);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![
            of(Ipv4Addr::LOCALHOST.into()),
            of(Ipv6Addr::LOCALHOST.into()),
        ]);
    }
    let found: Vec<_> = match lookup_host((host, port)).await {
        Ok(found) => found.collect(),
        Err(_) => Vec::new(),
    };
    if found.is_empty() {
        return Err(format!("dial tcp: lookup {host}: no such host"));
    }
    Ok(found)
}

async fn secure<T>(
    stream: T,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<Sender, String>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let wanted = name.to_str().into_owned();
    let secured = TlsConnector::from(config).connect(name, stream).await;
    let secured = secured.map_err(|why| texts::tls(&why, &wanted))?;
    let (sender, connection) = http1::handshake(TokioIo::new(secured))
        .await
        .map_err(|why| texts::http(&why))?;
    // Its failure is that of the request on it, which says so.
    tokio::spawn(connection);
    Ok(sender)
}

/// A stream into a pod in the form that TLS wants.
fn bridge(stream: Arc<dyn ByteStream>) -> DuplexStream {
    let (inside, outside) = duplex(BUFFER);
    tokio::spawn(async move {
        let (mut read, mut write) = split(outside);
        let upward = async {
            let mut buffer = vec![0; BUFFER];
            while let Ok(count @ 1..) = read.read(&mut buffer).await {
                if stream.write(&buffer[..count]).await.is_err() {
                    break;
                }
            }
        };
        let downward = async {
            while let Ok(bytes) = stream.read().await {
                if bytes.is_empty() || write.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            // The caller may be gone already.
            let _ = write.shutdown().await;
        };
        tokio::select! {
            () = downward => {}
            () = upward => {}
        }
    });
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_apart() {
        for (url, wanted) in [
            (
                "https://a.b.svc:443/x?timeout=5s",
                Some(("a.b.svc", 443, "/x?timeout=5s")),
            ),
            ("https://127.0.0.1:8443", Some(("127.0.0.1", 8443, "/"))),
            (
                "https://host?timeout=1s",
                Some(("host", 443, "/?timeout=1s")),
            ),
            ("https://[::1]:9/y", Some(("::1", 9, "/y"))),
            ("https://[::1]/y", Some(("::1", 443, "/y"))),
            ("http://host/", None),
            ("https:///x", None),
            ("https://host:99999/", None),
        ] {
            let found = Target::parse(url).ok();
            let found = found
                .as_ref()
                .map(|t| (t.host.as_str(), t.port, t.path.as_str()));
            assert_eq!(found, wanted, "{url}");
        }
    }
}
