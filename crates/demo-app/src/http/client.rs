//! One HTTP request and its whole answer.

use super::MAX_HEAD;
use crate::{
    errors::{invalid, usage},
    resolve,
};
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    time::Duration,
};

/// Largest answer kept.
const MAX_BODY: u64 = 64 * 1024 * 1024;

/// Where a URL leads.
#[derive(Debug, PartialEq, Eq)]
pub struct Url {
    /// Name or address.
    pub host: String,
    /// Port, 80 if none is given.
    pub port: u16,
    /// Path and query.
    pub target: String,
}

impl Url {
    /// Reads a URL; `http://` may be left out.
    ///
    /// # Errors
    /// For other schemes and bad ports.
    pub fn parse(text: &str) -> io::Result<Self> {
        let rest = match text.split_once("://") {
            None => text,
            Some(("http", rest)) => rest,
            Some((scheme, _)) => {
                return Err(usage(format!(
                    "Protocol \"{scheme}\" not supported by this stand-in"
                )));
            }
        };
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(split);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (
                host,
                port.parse()
                    .map_err(|_| usage(format!("bad port in URL '{text}'")))?,
            ),
            None => (authority, 80),
        };
        if host.is_empty() {
            return Err(usage(format!("no host in URL '{text}'")));
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            host: host.to_owned(),
            port,
            target: format!("{slash}{target}"),
        })
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Status line and headers as sent.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Sends a request; `headers` are whole lines.
///
/// # Errors
/// Of the connection, or when the answer is not HTTP.
pub fn send(
    url: &Url,
    method: &str,
    headers: &[String],
    body: &[u8],
    timeout: Duration,
) -> io::Result<Answer> {
    let mut stream = resolve::connect(&url.host, url.port, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    let mut text = format!(
        "{method} {} HTTP/1.1\r\nHost: {}:{}\r\nAccept: */*\r\nConnection: close\r\n",
        url.target, url.host, url.port
    );
    for header in headers {
        text += &format!("{header}\r\n");
    }
    if !body.is_empty() || method == "POST" {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    text += "\r\n";
    stream.write_all(text.as_bytes())?;
    stream.write_all(body)?;
    read_answer(&mut BufReader::new(stream), method == "HEAD")
}

fn read_answer(from: &mut impl BufRead, bare: bool) -> io::Result<Answer> {
    let mut head = String::new();
    let mut limited = from.by_ref().take(MAX_HEAD);
    while limited.read_line(&mut head)? > 2 || head.len() <= 2 {
        if head.is_empty() {
            return Err(invalid("Empty reply from server"));
        }
    }
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|code| code.parse().ok());
    let status = status
        .filter(|_| head.starts_with("HTTP/1."))
        .ok_or_else(|| invalid("the answer is not HTTP/1"))?;
    let mut body = Vec::new();
    if !bare && status != 204 {
        let header = |name: &str| {
            let mut fields = head.lines().filter_map(|line| line.split_once(':'));
            fields
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim())
        };
        match (header("transfer-encoding"), header("content-length")) {
            (Some(_), _) => read_chunks(from, &mut body)?,
            (_, Some(length)) => {
                let length: u64 = length.parse().map_err(invalid)?;
                from.take(length.min(MAX_BODY)).read_to_end(&mut body)?;
            }
            _ => drop(from.take(MAX_BODY).read_to_end(&mut body)?),
        }
    }
    Ok(Answer { status, head, body })
}

fn read_chunks(from: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        from.by_ref().take(MAX_HEAD).read_line(&mut line)?;
        let size = line.split(';').next().unwrap_or("").trim();
        let size = u64::from_str_radix(size, 16).map_err(invalid)?;
        if size == 0 {
            return Ok(());
        }
        if body.len() as u64 + size > MAX_BODY {
            return Err(invalid("the answer is too large"));
        }
        from.by_ref().take(size).read_to_end(body)?;
        from.by_ref().take(MAX_HEAD).read_line(&mut String::new())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let cases = [
            (
                "agent-service:8000/health",
                "agent-service",
                8000,
                "/health",
            ),
            ("http://a", "a", 80, "/"),
            ("http://a?x=1", "a", 80, "/?x=1"),
        ];
        for (text, host, port, target) in cases {
            let expected = Url {
                host: host.into(),
                port,
                target: target.into(),
            };
            assert_eq!(Url::parse(text).unwrap(), expected);
        }
        for text in ["https://a", "http://", "a:b/"] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn answers() {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n";
        assert_eq!(
            read_answer(&mut text.as_bytes(), false).unwrap().body,
            b"abcde"
        );
        let text = "HTTP/1.0 404 Not Found\r\n\r\ngone";
        let answer = read_answer(&mut text.as_bytes(), false).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (404, &b"gone"[..]));
        assert!(read_answer(&mut &b""[..], false).is_err());
        assert!(read_answer(&mut &b"SSH-2.0\r\n\r\n"[..], false).is_err());
    }
}
