//! How a program outside is addressed and asked, and what went wrong in upstream's words.
//!
//! Knows neither reviews nor conversions. Upstream counterparts: `k8s.io/apiserver/pkg/util/webhook`
//! (`client.go`), `client-go/rest`.

use super::service::{self, ServicePort};
use base64::{Engine, engine::general_purpose::STANDARD};
use env::{Callout, CalloutAnswer, CalloutRequest, CalloutTo};
use futures::{FutureExt, select_biased};
use machinery::{SmolStr, Value};
use registry::Door;
use std::{sync::Arc, time::Duration};

/// Port of a service where the configuration names none.
const HTTPS: u16 = 443;
/// Longer answers are refused, bytes: a list of the largest objects converted at once fits.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
/// Code of a program that cannot be reached or understood.
pub(super) const UNAVAILABLE: u16 = 503;
/// Of an answer that is an error, at most this much is shown, bytes (upstream's number).
const SHOWN_MAX: usize = 2048;

/// `clientConfig`.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// Without query.
    url: String,
    service: Option<ServicePort>,
    server_name: String,
    ca: Arc<[u8]>,
}

impl Client {
    /// Parses a `clientConfig`.
    ///
    /// # Errors
    /// It names nobody.
    pub fn parse(config: &Value) -> Result<Self, String> {
        let ca = STANDARD.decode(config["caBundle"].str());
        let ca = ca.map_err(|_| "caBundle is not base64".to_owned())?;
        let blank = ca.iter().all(u8::is_ascii_whitespace);
        let ca: Arc<[u8]> = if blank { Arc::default() } else { ca.into() };
        let service = &config["service"];
        if !service.is_null() {
            return Ok(Self::of_service(service, ca));
        }
        let url = config["url"].str();
        let rest = url.strip_prefix("https://").unwrap_or_default();
        if rest.is_empty() {
            return Err("webhook configuration must have either service or URL".into());
        }
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let port_less = host
            .rsplit_once(':')
            .filter(|(_, port)| !port.ends_with(']'));
        let name = port_less.map_or(host, |(name, _)| name);
        Ok(Self {
            url: format!("https://{host}{}", joined(path)),
            service: None,
            server_name: name.trim_matches(['[', ']']).to_owned(),
            ca,
        })
    }

    fn of_service(service: &Value, ca: Arc<[u8]>) -> Self {
        let (namespace, name) = (service["namespace"].str(), service["name"].str());
        let port = service["port"]
            .as_i64()
            .and_then(|port| u16::try_from(port).ok());
        let port = port.unwrap_or(HTTPS);
        let server_name = format!("{name}.{namespace}.svc");
        Self {
            url: format!(
                "https://{server_name}:{port}{}",
                joined(service["path"].str())
            ),
            service: Some(ServicePort {
                namespace: SmolStr::new(namespace),
                name: SmolStr::new(name),
                port,
            }),
            server_name,
            ca,
        }
    }
}

/// A path with a slash before it and none after.
fn joined(path: &str) -> String {
    format!("/{}", path.trim_matches('/'))
}

/// The way to all programs outside.
pub(super) struct Outside {
    callout: Arc<dyn Callout>,
}

impl Outside {
    pub fn new(callout: Arc<dyn Callout>) -> Self {
        Self { callout }
    }

    /// Posts a review and reads the answer.
    ///
    /// # Errors
    /// Why there is none that can be read, and upstream's code for that.
    pub async fn ask(
        &self,
        door: &Door,
        client: &Client,
        timeout: Duration,
        review: &Value,
    ) -> Result<Value, (String, u16)> {
        let url = format!("{}?timeout={}s", client.url, timeout.as_secs());
        let late = door.world().sleep(timeout);
        let answer = select_biased! {
            answer = self.post(door, client, &url, review).fuse() => answer,
            () = late.fuse() => Err("context deadline exceeded".to_owned()),
        };
        let answer = answer.map_err(|why| (format!("Post {url:?}: {why}"), UNAVAILABLE))?;
        // A refusal has a code of its own.
        let refused = !(200..=206).contains(&answer.status);
        let code = if refused { answer.status } else { UNAVAILABLE };
        read(&answer).map_err(|why| (why, code))
    }

    async fn post(
        &self,
        door: &Door,
        client: &Client,
        url: &str,
        review: &Value,
    ) -> Result<CalloutAnswer, String> {
        let to = match &client.service {
            Some(service) => service::resolve(&door.snapshot(), service, door)?,
            None => CalloutTo::Url,
        };
        let body = serde_json::to_vec(review).map_err(|why| why.to_string())?;
        let request = CalloutRequest {
            url: url.to_owned(),
            to,
            server_name: client.server_name.clone(),
            ca: client.ca.clone(),
            body,
            answer_max: ANSWER_MAX,
        };
        self.callout.post(request).await
    }
}

fn read(answer: &CalloutAnswer) -> Result<Value, String> {
    if !(200..=206).contains(&answer.status) {
        return Err(refusal(answer));
    }
    if answer.body.is_empty() {
        let status = answer.status;
        return Err(format!(
            "0-length response with status code: {status} and content type: "
        ));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|why| format!("couldn't get version/kind; json parse error: {why}"))
}

/// What a status code means for a POST that names no object.
fn refusal(answer: &CalloutAnswer) -> String {
    let shown = &answer.body[..answer.body.len().min(SHOWN_MAX)];
    let said = String::from_utf8_lossy(shown);
    let said = match said.trim() {
        "" => "unknown",
        said => said,
    };
    let text = match answer.status {
        400 => "the server rejected our request for an unknown reason",
        401 => "the server has asked for the client to provide credentials",
        404 => "the server could not find the requested resource",
        405 => "the server does not allow this method on the requested resource",
        406 if said == "unknown" => {
            "the server was unable to respond with a content type that the client supports"
        }
        403 | 406 | 415 => said,
        409 => "the server reported a conflict",
        422 => "the server rejected our request due to an error in our request",
        429 => "the server has received too many requests and has asked us to try again later",
        503 => "the server is currently unable to handle the request",
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
        }
        500.. => {
            return format!(
                "an error on the server ({said:?}) has prevented the request from succeeding"
            );
        }
        code => {
            return format!(
                "the server responded with the status code {code} but did not return more information"
            );
        }
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn configurations_become_addresses() {
        let service = json!({"namespace": "ns", "name": "hook", "path": "/check/", "port": 8443});
        for (config, url, name) in [
            (
                json!({"service": service}),
                "https://hook.ns.svc:8443/check",
                "hook.ns.svc",
            ),
            (
                json!({"service": {"namespace": "ns", "name": "hook"}}),
                "https://hook.ns.svc:443/",
                "hook.ns.svc",
            ),
            (
                json!({"url": "https://127.0.0.1:9/a/b"}),
                "https://127.0.0.1:9/a/b",
                "127.0.0.1",
            ),
            (
                json!({"url": "https://example.test"}),
                "https://example.test/",
                "example.test",
            ),
            (json!({"url": "https://[::1]:9"}), "https://[::1]:9/", "::1"),
            (json!({"url": "https://[::1]/x"}), "https://[::1]/x", "::1"),
        ] {
            let client = Client::parse(&config).unwrap();
            assert_eq!(
                (client.url.as_str(), client.server_name.as_str()),
                (url, name)
            );
        }
        assert!(Client::parse(&json!({})).is_err());
    }

    #[test]
    fn answers_that_are_none_are_explained() {
        let read = |status, body: &str| {
            let body = body.as_bytes().to_vec();
            read(&CalloutAnswer { status, body }).unwrap_err()
        };
        let wanted = "an error on the server (\"oops\") has prevented the request from succeeding";
        assert_eq!(read(500, "oops\n"), wanted);
        assert_eq!(
            read(404, "x"),
            "the server could not find the requested resource"
        );
        assert_eq!(read(403, "no"), "no");
        assert!(read(200, "<html>").starts_with("couldn't get version/kind; json parse error"));
        assert!(read(200, "").starts_with("0-length response"));
    }
}
