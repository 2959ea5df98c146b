//! URLs, with the parts that Go sees in them.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/cel/library/urls.go` over Go's `net/url`.

use super::{Opaque, Row, text, wrong};
use crate::{EvalError, MadeMap, Map, Outcome, Val};
use std::{fmt::Write, sync::Arc};

pub(crate) const TABLE: &[Row] = &[
    ("url", "string_to_url", "(string) -> URL", |args| {
        Url::parse(text(&args[0])?)
            .map(|url| Val::Opaque(Opaque::Url(Arc::new(url))))
            .map_err(|why| {
                EvalError::new(format!(
                    "URL parse error during conversion from string: {why}"
                ))
            })
    }),
    ("isURL", "is_url_string", "(string) -> bool", |args| {
        Ok(Val::Bool(Url::parse(text(&args[0])?).is_ok()))
    }),
    ("getScheme", "url_get_scheme", "URL.() -> string", |args| {
        Ok(Val::text(url(args)?.scheme.clone()))
    }),
    ("getHost", "url_get_host", "URL.() -> string", |args| {
        Ok(Val::text(url(args)?.host.clone()))
    }),
    (
        "getHostname",
        "url_get_hostname",
        "URL.() -> string",
        |args| Ok(Val::text(split_host(&url(args)?.host).0)),
    ),
    ("getPort", "url_get_port", "URL.() -> string", |args| {
        Ok(Val::text(split_host(&url(args)?.host).1))
    }),
    (
        "getEscapedPath",
        "url_get_escaped_path",
        "URL.() -> string",
        |args| Ok(Val::text(url(args)?.path.clone())),
    ),
    (
        "getQuery",
        "url_get_query",
        "URL.() -> map<string, list<string>>",
        |args| query(&url(args)?.query),
    ),
];

/// A URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Url {
    /// As written.
    pub text: String,
    pub scheme: String,
    /// With the port, if there is one.
    pub host: String,
    /// Escaped.
    pub path: String,
    /// Without the question mark.
    pub query: String,
}

impl Url {
    /// Reads an absolute URL or path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("parse {text:?}: {why}");
        if text.is_empty() {
            return Err(bad("empty url"));
        }
        if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return Err(bad("net/url: invalid control character in URL"));
        }
        let (scheme, rest) = scheme(text).map_err(|why| bad(&why))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut url = Self {
            text: text.to_owned(),
            scheme: scheme.to_ascii_lowercase(),
            query: query
                .split_once('#')
                .map_or(query, |(query, _)| query)
                .to_owned(),
            ..Self::default()
        };
        if !rest.starts_with('/') {
            if url.scheme.is_empty() {
                return Err(bad("invalid URI for request"));
            }
            return Ok(url);
        }
        let mut path = rest;
        if (!url.scheme.is_empty() || !rest.starts_with("///"))
            && let Some(after) = rest.strip_prefix("//")
            && !url.scheme.is_empty()
        {
            let end = after.find('/').unwrap_or(after.len());
            url.host = authority(&after[..end]).map_err(|why| bad(&why))?;
            path = &after[end..];
        }
        url.path = escaped(path).map_err(|why| bad(&why))?;
        Ok(url)
    }
}

fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, letter) in text.char_indices() {
        match letter {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".into()),
            ':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn authority(text: &str) -> Result<String, String> {
    let host = match text.rsplit_once('@') {
        Some((user, host)) => {
            let fine = |letter: char| {
                letter.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(letter)
            };
            if !user.chars().all(fine) {
                return Err("net/url: invalid userinfo".into());
            }
            host
        }
        None => text,
    };
    let port = if let Some(inside) = host.strip_prefix('[') {
        let (_, after) = inside.rsplit_once(']').ok_or("missing ']' in host")?;
        after
    } else {
        host.rfind(':').map_or("", |at| &host[at..])
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if (!port.is_empty() && !port.starts_with(':'))
        || !digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(format!("invalid port {port:?} after host"));
    }
    if let Some(bad) = host.chars().find(|letter| " \"<>\\^`{|}".contains(*letter)) {
        return Err(format!(
            "invalid character {:?} in host name",
            bad.to_string()
        ));
    }
    Ok(host.to_owned())
}

/// The path as Go writes it: as it stands if it is validly escaped.
fn escaped(path: &str) -> Result<String, String> {
    let mut shown = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        if letter == '%' {
            let digits = rest.get(..2).unwrap_or(rest);
            if digits.len() != 2 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(format!("invalid URL escape {:?}", format!("%{digits}")));
            }
        }
        let plain = letter.is_ascii_alphanumeric() || "-_.~$&+,/:;=@!'()*[]%".contains(letter);
        if plain {
            shown.push(letter);
            continue;
        }
        for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
            let _infallible = write!(shown, "%{byte:02X}");
        }
    }
    Ok(shown)
}

/// Host without brackets, and port.
fn split_host(host: &str) -> (&str, &str) {
    let (name, port) = match host.rfind(':') {
        Some(at) if host[at + 1..].bytes().all(|byte| byte.is_ascii_digit()) => {
            (&host[..at], &host[at + 1..])
        }
        _ => (host, ""),
    };
    let bare = name
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'));
    (bare.unwrap_or(name), port)
}

fn url<'v>(args: &'v [Val]) -> Result<&'v Url, EvalError> {
    match &args[0] {
        Val::Opaque(Opaque::Url(url)) => Ok(url),
        _ => Err(wrong()),
    }
}

fn query<'a>(text: &str) -> Outcome<'a> {
    let mut found: Vec<(String, Vec<Val<'a>>)> = Vec::new();
    for pair in text
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.contains(';'))
    {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(key), Some(value)) = (unescaped(key), unescaped(value)) else {
            continue;
        };
        match found.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) => values.push(Val::text(value)),
            None => found.push((key, vec![Val::text(value)])),
        }
    }
    let mut map = MadeMap::default();
    for (key, values) in found {
        map.insert(Val::text(key), Val::list(values))?;
    }
    Ok(Val::Map(Map::Made(Arc::new(map))))
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let digits = std::str::from_utf8(&digits).ok()?.to_owned();
                bytes.push(u8::from_str_radix(&digits, 16).ok()?);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}
