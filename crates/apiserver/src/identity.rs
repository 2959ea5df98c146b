//! Who sends a request: client certificate, bearer token, impersonation.
//!
//! Upstream counterpart: `authentication/request/{x509,bearertoken,union}` and
//! `endpoints/filters/impersonation`.

use crate::{
    path,
    pki::{LiveTls, Validity},
};
use auth::{AUTHENTICATED, Attributes, User, Wanted};
use env::Time;
use hyper::{HeaderMap, Method, Request, header};
use machinery::Status;
use registry::Door;
use std::{collections::BTreeMap, sync::Arc};
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Tokens with a fixed meaning, beside those of service accounts.
pub type StaticTokens = BTreeMap<String, User>;

/// Header that names a key of further attributes, before the key.
const EXTRA: &str = "impersonate-extra-";

/// The certificate a client showed when it connected.
pub struct Presented {
    /// Whom it names, if its chain leads to an authority we trust.
    user: Option<User>,
    /// When it holds: a connection may outlive it.
    holds: Validity,
}

impl Presented {
    /// Looks at a client's chain once, at the connection's beginning.
    pub fn of(chain: &[CertificateDer<'_>], trust: &LiveTls, now: Time) -> Self {
        let trusted = trust.verify(chain, now).is_ok();
        let first = chain.first().filter(|_| trusted);
        let holds = first.and_then(|first| Validity::of_der(first).ok());
        Self {
            user: first.and_then(|first| of_certificate(first)),
            holds: holds.unwrap_or(Validity { from: 0, to: 0 }),
        }
    }

    fn user(&self, now: Time) -> Option<&User> {
        let now = now.unix_seconds();
        let held = (self.holds.from..=self.holds.to).contains(&now);
        self.user.as_ref().filter(|_| held)
    }
}

/// The user a client certificate names: common name and organizations.
pub fn of_certificate(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> = subject
        .iter_organization()
        .filter_map(|part| part.as_str().ok().map(str::to_owned))
        .collect();
    groups.push(AUTHENTICATED.into());
    Some(User {
        name,
        groups,
        ..User::default()
    })
}

/// The user of a request, impersonation carried out; anonymous without credentials. Credentials
/// that do not hold are refused even where nobody in particular might ask.
pub fn of_request<B>(
    door: &Door,
    tokens: &StaticTokens,
    certificate: Option<&Presented>,
    request: &Request<B>,
) -> Result<Arc<User>, Status> {
    let by_certificate = certificate.map(|shown| shown.user(door.now()).cloned());
    let user = match (by_certificate, bearer(request.headers())) {
        (Some(Some(user)), _) => user,
        (_, Some(token)) => match tokens.get(token) {
            Some(user) => user.clone(),
            None => door
                .authenticate_token(token)
                .map_err(|_| Status::unauthorized())?,
        },
        (Some(None), None) => return Err(Status::unauthorized()),
        (None, None) => User::anonymous(),
    };
    let wanted = wanted(request.headers());
    if !wanted.is_anybody()? {
        return Ok(Arc::new(user));
    }
    let require = |user: &User, asked: &Attributes| door.require(user, asked);
    auth::impersonate(&require, &user, &wanted, &attributes(request)).map(Arc::new)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

/// Whom the headers name.
fn wanted(headers: &HeaderMap) -> Wanted {
    let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let one = |name: &str| headers.get(name).map(text).unwrap_or_default();
    let mut wanted = Wanted {
        name: one("impersonate-user"),
        uid: one("impersonate-uid"),
        groups: headers
            .get_all("impersonate-group")
            .iter()
            .map(text)
            .collect(),
        ..Wanted::default()
    };
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            let values = wanted.extra.entry(path::decode(key)).or_default();
            values.push(text(value));
        }
    }
    wanted
}

/// What a request asks, as far as its line tells.
fn attributes<B>(request: &Request<B>) -> Attributes {
    let (method, uri) = (request.method(), request.uri());
    let Some(place) = path::parse(uri.path()) else {
        return Attributes {
            verb: method.as_str().to_lowercase().into(),
            path: uri.path().into(),
            ..Attributes::default()
        };
    };
    let query = path::query(uri.query().unwrap_or_default());
    let flagged = query
        .iter()
        .any(|(key, value)| key == "watch" && matches!(value.as_str(), "true" | "1" | ""));
    let watches = place.watch || flagged && place.name.is_empty();
    let verb = match (method, place.name.is_empty()) {
        (&Method::GET | &Method::HEAD, _) if watches => "watch",
        (&Method::GET | &Method::HEAD, false) => "get",
        (&Method::GET | &Method::HEAD, true) => "list",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, false) => "delete",
        (&Method::DELETE, true) => "deletecollection",
        _ => "",
    };
    let own = place.resource == "namespaces" && place.namespace.is_empty();
    Attributes {
        verb: verb.into(),
        group: place.gv.group,
        version: place.gv.version,
        namespace: if own {
            place.name.clone()
        } else {
            place.namespace
        },
        resource: place.resource,
        subresource: place.subresource,
        name: place.name,
        ..Attributes::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_tells_what_is_asked() {
        for (method, uri, wanted) in [
            ("GET", "/api/v1/pods?watch=true", "watch pods  "),
            ("GET", "/api/v1/namespaces/a/pods", "list pods a "),
            ("HEAD", "/api/v1/namespaces/a", "get namespaces a a"),
            (
                "POST",
                "/api/v1/namespaces/a/pods/b/exec",
                "create pods a b",
            ),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/a/deployments",
                "deletecollection deployments a ",
            ),
            ("GET", "/version", "get   "),
        ] {
            let request = Request::builder().method(method).uri(uri).body(()).unwrap();
            let asked = attributes(&request);
            let text = format!(
                "{} {} {} {}",
                asked.verb, asked.resource, asked.namespace, asked.name
            );
            assert_eq!(text, wanted, "{method} {uri}");
        }
    }

    #[test]
    fn headers_name_whom_to_be() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("impersonate-user", "ann"),
            ("impersonate-group", "a"),
            ("impersonate-group", "b"),
            ("impersonate-extra-acme.com%2fscope", "view"),
        ] {
            let name: header::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        let wanted = wanted(&headers);
        assert_eq!((wanted.name.as_str(), wanted.groups.len()), ("ann", 2));
        assert_eq!(wanted.extra["acme.com/scope"], ["view"]);
    }
}
