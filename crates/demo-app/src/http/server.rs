//! A small HTTP server: a thread a connection, a limit on connections, an orderly end.

use super::MAX_HEAD;
use crate::errors::invalid;
use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Largest body taken.
const MAX_BODY: u64 = 1024 * 1024;
/// Most requests at once; more are told to come back.
const MAX_CONNECTIONS: usize = 512;
/// Time a client has to send or take something.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the end of the last requests is looked for.
const DRAIN_STEP: Duration = Duration::from_millis(10);

/// A request.
#[derive(Debug, Default)]
pub struct Request {
    /// `GET` and so on.
    pub method: String,
    /// Path, without the query, decoded.
    pub path: String,
    /// Parameters of the query, decoded.
    pub query: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Media type of the body.
    pub kind: &'static str,
    /// The body.
    pub body: String,
}

impl Response {
    /// An answer in JSON, with a new line at its end.
    #[must_use]
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Self {
            status,
            kind: "application/json",
            body: format!("{value}\n"),
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}

/// Decodes `%41` and `+`.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|pair| str::from_utf8(pair).ok());
        let code = hex.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        (rest, bytes) = match (first, code) {
            (b'%', Some(code)) => (&tail[2..], [bytes, vec![code]].concat()),
            (b'+', _) => (tail, [bytes, vec![b' ']].concat()),
            (other, _) => (tail, [bytes, vec![*other]].concat()),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads a request.
///
/// # Errors
/// `InvalidData` when it is none or too large; else of the reader.
pub fn read_request(from: &mut impl BufRead) -> io::Result<Request> {
    let mut head = from.by_ref().take(MAX_HEAD);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next())
    else {
        return Err(invalid("not an HTTP request"));
    };
    if !version.starts_with("HTTP/1.") {
        return Err(invalid("not HTTP/1"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let query = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    });
    let mut request = Request {
        method: method.to_owned(),
        path: decode(path),
        query: query.collect(),
        body: Vec::new(),
    };
    let length = body_length(&mut head)?;
    from.take(length).read_to_end(&mut request.body)?;
    Ok(request)
}

fn body_length(head: &mut impl BufRead) -> io::Result<u64> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Err(invalid("the head of the request is too long or has no end"));
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Ok(length);
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value
                .trim()
                .parse()
                .map_err(|_| invalid("bad Content-Length"))?;
        }
        if length > MAX_BODY || name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(invalid("the body is too large or chunked"));
        }
    }
}

fn write_response(mut to: &TcpStream, response: &Response) -> io::Result<()> {
    let Response { status, kind, body } = response;
    let text = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        reason(*status),
        body.len(),
    );
    to.write_all(text.as_bytes())
}

/// What answers requests.
pub type Handler = dyn Fn(&Request) -> Response + Send + Sync;

/// A server that listens.
pub struct Server {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    active: Arc<AtomicUsize>,
}

impl Server {
    /// Listens on all addresses and answers with `handler`.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub fn start(port: u16, handler: Arc<Handler>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
        let server = Self {
            address: listener.local_addr()?,
            stopping: Arc::default(),
            active: Arc::default(),
        };
        let (stopping, active) = (Arc::clone(&server.stopping), Arc::clone(&server.active));
        thread::Builder::new()
            .name("accept".into())
            .spawn(move || {
                for stream in listener.incoming() {
                    if stopping.load(Ordering::Acquire) {
                        return;
                    }
                    if let Ok(stream) = stream {
                        converse(stream, &active, &handler);
                    }
                }
            })?;
        Ok(server)
    }

    /// Port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Takes no more requests and waits for the last ones to end, `patience` at most.
    pub fn stop(&self, patience: Duration) {
        self.stopping.store(true, Ordering::Release);
        // Wakes the thread that accepts; if it cannot be reached it is gone already.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port()));
        let end = Instant::now() + patience;
        while self.active.load(Ordering::Acquire) > 0 && Instant::now() < end {
            thread::sleep(DRAIN_STEP);
        }
    }
}

fn converse(stream: TcpStream, active: &Arc<AtomicUsize>, handler: &Arc<Handler>) {
    if active.fetch_add(1, Ordering::AcqRel) >= MAX_CONNECTIONS {
        let full = Response {
            status: 503,
            kind: "text/plain",
            body: "too many connections\n".to_owned(),
        };
        // The client learns it from the closed connection if not from this answer.
        let _ = write_response(&stream, &full);
        active.fetch_sub(1, Ordering::AcqRel);
        return;
    }
    let (active, handler) = (Arc::clone(active), Arc::clone(handler));
    thread::spawn(move || {
        // A client that goes away before its answer is an everyday thing.
        let _ = answer(&stream, &handler);
        active.fetch_sub(1, Ordering::AcqRel);
    });
}

fn answer(stream: &TcpStream, handler: &Arc<Handler>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let response = match read_request(&mut BufReader::new(stream)) {
        Ok(request) => handler(&request),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Response {
            status: 400,
            kind: "text/plain",
            body: format!("{error}\n"),
        },
        Err(error) => return Err(error),
    };
    write_response(stream, &response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_requests() {
        let text =
            "POST /a%20b?task=x+y&n=%3d HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nokrest";
        let request = read_request(&mut text.as_bytes()).unwrap();
        assert_eq!(
            (
                request.path.as_str(),
                request.query["task"].as_str(),
                request.query["n"].as_str()
            ),
            ("/a b", "x y", "=")
        );
        assert_eq!(request.body, b"ok");
        for broken in [
            "",
            "GET /\r\n\r\n",
            "GET / HTTP/2\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n",
        ] {
            assert!(read_request(&mut broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
