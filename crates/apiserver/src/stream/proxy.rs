//! Requests proxied to pods and services.
//!
//! It must not know what travels through. Upstream counterpart:
//! `apimachinery/pkg/util/proxy` (`upgradeaware.go`, `transport.go`).

use super::{
    LINGER, Target, admit, links,
    resolve::{self, Backend, ProxyName},
    trusting,
};
use crate::{
    answer::{HttpResponse, ResponseBody, whole},
    server::{Inner, Parts},
};
use auth::Attributes;
use bytes::{Bytes, BytesMut};
use env::ByteStream;
use futures::StreamExt;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    body::{Frame, Incoming},
    client::conn::http1,
    header::{self, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use machinery::{GroupResource, Object, Reason, Status};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, copy_bidirectional, duplex,
    split,
};

/// Bytes that wait between the HTTP client and the pod.
const BUFFER: usize = 64 * 1024;
/// Pages longer than this keep their links, bytes: they are held whole to be read.
const PAGE_MAX: usize = 4 * 1024 * 1024;
/// Segments of a path before what is proxied: `/api/v1/namespaces/NS/pods/NAME/proxy`.
const PREFIX_SEGMENTS: usize = 8;
/// Headers about one connection; they are not passed on (RFC 9110).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Answers `pods/NAME/proxy` and `services/NAME/proxy`.
pub async fn proxy(
    inner: &Arc<Inner>,
    parts: &Parts,
    request: Request<Incoming>,
) -> Result<HttpResponse, Status> {
    let place = &parts.place;
    authorize(inner, parts)?;
    let path = rest(request.uri().path()).unwrap_or_default();
    admit::admit(inner, parts, path).await?;
    if place.resource == "nodes" {
        let message = "nodes have no HTTP endpoint of their own: read logs and metrics through pods and the metrics API";
        return Err(Status::new(Reason::MethodNotAllowed, message));
    }
    let invalid = || {
        let kind = place.resource.trim_end_matches('s');
        Status::bad_request(format!("invalid {kind} request {:?}", place.name))
    };
    let asked = resolve::split(&place.name).ok_or_else(invalid)?;
    let backend = backend(inner, parts, asked)?;
    let read = matches!(parts.method, Method::GET | Method::HEAD);
    let path = match rest(request.uri().path()) {
        None if read => return Ok(redirect(&request)),
        path => path.unwrap_or_default().to_owned(),
    };
    let stream = inner
        .nodes
        .connect(backend.target.place(), backend.port)
        .await
        .map_err(|why| unreachable(&why.message))?;
    let plain = bridge(stream);
    if !asked.https {
        return forward(plain, request, &path).await;
    }
    let secured = trusting::connect(plain)
        .await
        .map_err(|why| unreachable(&why.to_string()))?;
    forward(secured, request, &path).await
}

fn authorize(inner: &Inner, parts: &Parts) -> Result<(), Status> {
    let place = &parts.place;
    let verb = match parts.method {
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    };
    let asked = Attributes {
        verb: verb.into(),
        group: place.gv.group.clone(),
        version: place.gv.version.clone(),
        resource: place.resource.clone(),
        subresource: place.subresource.clone(),
        namespace: place.namespace.clone(),
        name: place.name.clone(),
        ..Attributes::default()
    };
    inner.door.require(&parts.user, &asked)
}

fn unreachable(why: &str) -> Status {
    let message = format!("error trying to reach service: {why}");
    Status::new(Reason::ServiceUnavailable, message)
}

fn backend(inner: &Inner, parts: &Parts, asked: ProxyName<'_>) -> Result<Backend, Status> {
    // Spreads requests over a service's pods.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let place = &parts.place;
    let snapshot = inner.door.snapshot();
    let find = |resource: &str| -> Result<Arc<Object>, Status> {
        let key = registry::Key::new(&place.namespace, asked.name);
        snapshot.get(resource, &key).cloned().ok_or_else(|| {
            let resource = GroupResource {
                group: place.gv.group.clone(),
                resource: place.resource.clone(),
            };
            Status::not_found(&resource, asked.name)
        })
    };
    if place.resource == "pods" {
        let pod = find(kinds::PODS)?;
        let port = resolve::pod_port(&pod, asked)?;
        return Ok(Backend {
            target: Target::new(&pod, String::new())?,
            port,
        });
    }
    let service = find(kinds::SERVICES)?;
    let slices: Vec<Arc<Object>> = snapshot
        .list(kinds::ENDPOINT_SLICES, Some(&place.namespace))
        .filter(|slice| slice.label("kubernetes.io/service-name") == Some(asked.name))
        .cloned()
        .collect();
    let mut found = resolve::backends(&service, &slices, asked)?;
    let at = NEXT.fetch_add(1, Ordering::Relaxed) % found.len();
    Ok(found.swap_remove(at))
}

/// The path behind `.../proxy`; `None` if not even a slash follows.
fn rest(path: &str) -> Option<&str> {
    path.splitn(PREFIX_SEGMENTS + 1, '/').nth(PREFIX_SEGMENTS)
}

/// Relative links of the backend's pages need the slash.
fn redirect(request: &Request<Incoming>) -> HttpResponse {
    let query = request.uri().query().map(|query| format!("?{query}"));
    let to = format!("{}/{}", request.uri().path(), query.unwrap_or_default());
    let mut response = whole(301, "text/plain", Vec::new());
    if let Ok(to) = to.parse() {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

async fn forward(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    mut request: Request<Incoming>,
    path: &str,
) -> Result<HttpResponse, Status> {
    let failed = |why: hyper::Error| unreachable(&why.to_string());
    let prefix = request.uri().path().strip_suffix(path).unwrap_or_default();
    let prefix = prefix.trim_end_matches('/').to_owned();
    let client = hyper::upgrade::on(&mut request);
    rewrite(&mut request, path, &prefix)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    // Its failure is the request's, which says so.
    tokio::spawn(connection.with_upgrades());
    let mut response = sender.send_request(request).await.map_err(failed)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let pod = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            if let (Ok(client), Ok(pod)) = (client.await, pod.await) {
                // Either side's end is the end; there is nobody to tell.
                let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(pod)).await;
            }
        });
    }
    Ok(answer(response, &prefix).await)
}

/// Makes a request for the backend of a request for this server.
fn rewrite(request: &mut Request<Incoming>, path: &str, prefix: &str) -> Result<(), Status> {
    let query = request.uri().query().map(|query| format!("?{query}"));
    let uri: Uri = format!("/{path}{}", query.unwrap_or_default())
        .parse()
        .map_err(|_| Status::bad_request("the proxied path is not valid"))?;
    let host = request
        .uri()
        .authority()
        .and_then(|authority| authority.as_str().parse::<HeaderValue>().ok());
    let forwarded = format!("{prefix}/{path}");
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    pass_on(headers);
    headers.remove(header::AUTHORIZATION);
    let impersonation: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("impersonate-"))
        .cloned()
        .collect();
    for name in impersonation {
        headers.remove(name);
    }
    if let Some(host) = host {
        headers.entry(header::HOST).or_insert(host);
    }
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.insert("x-forwarded-host", host);
    }
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    if let Ok(forwarded) = forwarded.parse() {
        headers.insert("x-forwarded-uri", forwarded);
    }
    Ok(())
}

/// Removes what concerns one connection, except a switch of protocols.
fn pass_on(headers: &mut HeaderMap) {
    let upgrade = headers.get(header::UPGRADE).cloned();
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    if let Some(upgrade) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, upgrade);
    }
}

async fn answer(response: Response<Incoming>, prefix: &str) -> HttpResponse {
    let (mut head, mut body) = response.into_parts();
    pass_on(&mut head.headers);
    let moved = head
        .headers
        .get(header::LOCATION)
        .and_then(|to| to.to_str().ok())
        .filter(|to| to.starts_with('/') && !to.starts_with("//"))
        .and_then(|to| format!("{prefix}{to}").parse().ok());
    if let Some(moved) = moved {
        head.headers.insert(header::LOCATION, moved);
    }
    head.version = Version::default();
    if !is_page(&head.headers) {
        return Response::from_parts(head, until_failure(Bytes::new(), body));
    }
    let (page, whole) = collect_page(&mut body).await;
    match std::str::from_utf8(&page) {
        Ok(text) if whole => {
            head.headers.remove(header::CONTENT_LENGTH);
            let page = links::rewrite(text, prefix);
            Response::from_parts(head, Full::new(Bytes::from(page)).boxed_unsync())
        }
        _ => Response::from_parts(head, until_failure(page, body)),
    }
}

/// Whether an answer is a page whose links can be read.
fn is_page(headers: &HeaderMap) -> bool {
    let html = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("text/html"));
    html && !headers.contains_key(header::CONTENT_ENCODING)
}

/// A page and whether it is whole: one much longer than `PAGE_MAX`, or broken off, is not.
async fn collect_page(body: &mut Incoming) -> (Bytes, bool) {
    let mut page = BytesMut::new();
    while page.len() <= PAGE_MAX {
        match body.frame().await {
            None => return (page.freeze(), true),
            Some(Err(_)) => break,
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    page.extend_from_slice(&bytes);
                }
            }
        }
    }
    (page.freeze(), false)
}

/// A body that ends where the backend's breaks: the status line is gone by then.
fn until_failure(first: Bytes, body: Incoming) -> ResponseBody {
    let first = (!first.is_empty()).then(|| Ok(Frame::data(first)));
    let frames = futures::stream::unfold(body, |mut body| async move {
        let frame = body.frame().await?.ok()?;
        Some((Ok(frame), body))
    });
    StreamBody::new(futures::stream::iter(first).chain(frames)).boxed_unsync()
}

/// A stream into a pod in the form that the HTTP client wants.
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
            // The pod may have closed already, and its answer still be on the way.
            let _ = stream.write(&[]).await;
            tokio::time::sleep(LINGER).await;
        };
        let downward = async {
            while let Ok(bytes) = stream.read().await {
                if bytes.is_empty() || write.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            // The HTTP client may be gone already.
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
    fn the_rest_of_a_path_stays_as_it_is() {
        for (path, wanted) in [
            ("/api/v1/namespaces/a/pods/b/proxy", None),
            ("/api/v1/namespaces/a/pods/b/proxy/", Some("")),
            (
                "/api/v1/namespaces/a/pods/b:80/proxy/x/%2F/y/",
                Some("x/%2F/y/"),
            ),
        ] {
            assert_eq!(rest(path), wanted, "{path}");
        }
    }

    #[test]
    fn only_a_switch_survives_the_hop() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONNECTION,
            HeaderValue::from_static("keep-alive, upgrade"),
        );
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        pass_on(&mut headers);
        assert_eq!(headers[header::CONNECTION], "Upgrade");
        assert_eq!(headers[header::UPGRADE], "websocket");
        assert_eq!(
            (headers.len(), headers.contains_key(header::TE)),
            (3, false)
        );
    }
}
