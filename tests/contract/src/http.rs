//! One request on one connection: its bytes out, its head and body back.
//!
//! Knows HTTP/1.1 framing and nothing of what is asked. Upstream counterpart: `net/http`.

use serde_json::Value;
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
};

/// Something that carries a connection's bytes.
pub(crate) trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// What a request says.
pub(crate) struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub host: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
    /// Whether the connection is wanted for another request.
    pub keep: bool,
}

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The JSON body of a success; panics otherwise.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(
            (200..300).contains(&self.code),
            "{}: {}",
            self.code,
            String::from_utf8_lossy(&self.body)
        );
        self.json()
    }

    /// The `Status` of a refusal with this code and reason; panics otherwise.
    #[track_caller]
    pub fn refused(self, code: u16, reason: &str) -> Value {
        let status = self.json();
        assert_eq!(
            (self.code, status["reason"].as_str()),
            (code, Some(reason)),
            "{status}"
        );
        assert_eq!(
            (&status["kind"], &status["status"]),
            (&"Status".into(), &"Failure".into()),
            "{status}"
        );
        assert_eq!(status["code"], code, "{status}");
        status
    }
}

/// The head of an answer, and where its body is read from.
pub(crate) struct Opened {
    pub code: u16,
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

/// A body as it comes.
pub(crate) struct Body {
    wire: BufReader<Box<dyn Wire>>,
    left: usize,
    chunked: bool,
    ended: bool,
}

pub(crate) fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a request and reads the head of its answer.
pub(crate) fn send(mut wire: Box<dyn Wire>, request: &Request) -> io::Result<Opened> {
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: {}\r\n",
        request.method, request.path, request.host
    );
    for (name, value) in request.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let connection = if request.keep { "keep-alive" } else { "close" };
    head += &format!(
        "Content-Length: {}\r\nConnection: {connection}\r\n\r\n",
        request.body.len()
    );
    wire.write_all(&[head.as_bytes(), request.body].concat())?;
    wire.flush()?;
    let mut wire = BufReader::new(wire);
    let first = line(&mut wire)?;
    let code = first.split(' ').nth(1).and_then(|word| word.parse().ok());
    let code = code.ok_or_else(|| io::Error::other(format!("not an answer: {first:?}")))?;
    let headers = headers(&mut wire)?;
    let value = |name: &str| {
        headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    let chunked = value("transfer-encoding") == Some("chunked");
    let left = value("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let body = Body {
        wire,
        left,
        chunked,
        ended: false,
    };
    Ok(Opened {
        code,
        headers,
        body,
    })
}

fn line(wire: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    wire.read_line(&mut text)?;
    Ok(text.trim_end().to_owned())
}

fn headers(wire: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    loop {
        let text = line(wire)?;
        let Some((name, value)) = text.split_once(':') else {
            return Ok(found);
        };
        found.push((name.to_lowercase(), value.trim().to_owned()));
    }
}

impl Opened {
    /// Reads the whole body; the answer and the connection it came on.
    pub fn whole(mut self) -> io::Result<(Answer, Box<dyn Wire>)> {
        let mut body = Vec::new();
        self.body.read_to_end(&mut body)?;
        let answer = Answer {
            code: self.code,
            headers: self.headers,
            body,
        };
        Ok((answer, self.body.wire.into_inner()))
    }
}

impl Body {
    fn next_chunk(&mut self) -> io::Result<()> {
        let size = line(&mut self.wire)?;
        self.left = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
        if self.left == 0 {
            self.ended = true;
            line(&mut self.wire)?;
        }
        Ok(())
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && self.chunked && !self.ended {
            self.next_chunk()?;
        }
        let want = buffer.len().min(self.left);
        if want == 0 {
            return Ok(0);
        }
        let got = self.wire.read(&mut buffer[..want])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= got;
        if self.left == 0 && self.chunked {
            line(&mut self.wire)?;
        }
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    struct Script(Cursor<Vec<u8>>);

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            // One byte at a time: no frame may depend on how bytes arrive.
            let most = buffer.len().min(1);
            self.0.read(&mut buffer[..most])
        }
    }

    impl Write for Script {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            Ok(buffer.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn body(answer: &str) -> (u16, String) {
        let request = Request {
            method: "GET",
            path: "/",
            host: "h",
            headers: &[],
            body: b"",
            keep: false,
        };
        let script = Script(Cursor::new(answer.as_bytes().to_vec()));
        let mut opened = send(Box::new(script), &request).unwrap();
        let mut text = String::new();
        opened.body.read_to_string(&mut text).unwrap();
        (opened.code, text)
    }

    #[test]
    fn reads_both_framings() {
        let sized = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef";
        assert_eq!(body(sized), (200, "abc".into()));
        let chunked =
            "HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(body(chunked), (404, "abcde".into()));
    }
}
