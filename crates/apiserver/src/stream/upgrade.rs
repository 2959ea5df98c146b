//! Switching protocols: WebSocket and SPDY handshakes.
//!
//! It must not know what the streams carry. Upstream counterpart:
//! `apiserver/pkg/util/wsstream`, `apimachinery/pkg/util/httpstream`.

use crate::answer::{HttpResponse, whole};
use hyper::{
    HeaderMap, Request, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use machinery::Status;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

/// A WebSocket on the server's side.
pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What a client asked to switch to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// WebSocket (RFC 6455).
    WebSocket,
    /// SPDY/3.1.
    Spdy,
    /// Nothing known.
    Nothing,
}

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// What a request asks to switch to.
pub fn wanted(headers: &HeaderMap) -> Wanted {
    let upgrade = text(headers, header::UPGRADE).to_lowercase();
    let asked = text(headers, header::CONNECTION)
        .to_lowercase()
        .contains("upgrade");
    match upgrade.as_str() {
        "websocket" if asked => Wanted::WebSocket,
        "spdy/3.1" if asked => Wanted::Spdy,
        _ => Wanted::Nothing,
    }
}

/// The answer to a request that needed to switch and did not ask to.
pub fn required() -> Status {
    Status::bad_request("Upgrade request required")
}

/// The values of a header that lists names, over all its lines.
fn offered(headers: &HeaderMap, name: HeaderName) -> Vec<&str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect()
}

/// The server's first choice among what the client offers; a client that offers nothing gets "".
fn choose(offered: &[&str], known: &[&'static str]) -> Result<&'static str, Status> {
    if offered.is_empty() {
        return Ok("");
    }
    let chosen = known.iter().find(|known| offered.contains(known)).copied();
    chosen.ok_or_else(|| {
        Status::bad_request(format!(
            "unable to upgrade: none of the offered protocols {offered:?} is supported: {known:?}"
        ))
    })
}

/// Answers a WebSocket handshake; `run` gets the socket and the protocol once the client has
/// switched.
pub fn websocket<F>(
    mut request: Request<Incoming>,
    known: &[&'static str],
    run: impl FnOnce(Socket, &'static str) -> F + Send + 'static,
) -> Result<HttpResponse, Status>
where
    F: Future<Output = ()> + Send + 'static,
{
    let headers = request.headers();
    let protocol = choose(&offered(headers, header::SEC_WEBSOCKET_PROTOCOL), known)?;
    let accept = derive_accept_key(text(headers, header::SEC_WEBSOCKET_KEY).as_bytes());
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // A client that goes away before switching has nothing to be told.
        if let Ok(upgraded) = upgraded.await {
            let transport = TokioIo::new(upgraded);
            run(
                WebSocketStream::from_raw_socket(transport, Role::Server, None).await,
                protocol,
            )
            .await;
        }
    });
    let mut response = switching("websocket");
    let headers = response.headers_mut();
    if !protocol.is_empty() {
        let protocol = HeaderValue::from_static(protocol);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    if let Ok(accept) = accept.parse() {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok(response)
}

/// Answers a SPDY handshake; `run` gets the bytes and the protocol once the client has switched.
pub fn spdy<F>(
    mut request: Request<Incoming>,
    known: &[&'static str],
    run: impl FnOnce(TokioIo<Upgraded>, &'static str) -> F + Send + 'static,
) -> Result<HttpResponse, Status>
where
    F: Future<Output = ()> + Send + 'static,
{
    let protocol = choose(&offered(request.headers(), STREAM_PROTOCOL), known)?;
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // A client that goes away before switching has nothing to be told.
        if let Ok(upgraded) = upgraded.await {
            run(TokioIo::new(upgraded), protocol).await;
        }
    });
    let mut response = switching("SPDY/3.1");
    if !protocol.is_empty() {
        let protocol = HeaderValue::from_static(protocol);
        response.headers_mut().insert(STREAM_PROTOCOL, protocol);
    }
    Ok(response)
}

fn switching(to: &'static str) -> HttpResponse {
    let mut response = whole(101, "text/plain", Vec::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.clear();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(to));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_order_decides() {
        let known = ["v5", "v4"];
        for (offered, wanted) in [
            (vec!["v4", "v5"], Ok("v5")),
            (vec!["v4", "other"], Ok("v4")),
            (vec![], Ok("")),
        ] {
            assert_eq!(choose(&offered, &known).map_err(|_| ()), wanted);
        }
        assert_eq!(choose(&["v9"], &known).unwrap_err().code(), 400);
    }

    #[test]
    fn both_headers_are_needed() {
        let mut headers = HeaderMap::new();
        headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        assert_eq!(wanted(&headers), Wanted::Nothing);
        headers.insert(
            header::CONNECTION,
            HeaderValue::from_static("keep-alive, Upgrade"),
        );
        assert_eq!(wanted(&headers), Wanted::Spdy);
        headers.insert(header::UPGRADE, HeaderValue::from_static("WebSocket"));
        assert_eq!(wanted(&headers), Wanted::WebSocket);
    }
}
