//! A connection that is kept: for measuring the server, not handshakes.

use crate::http::{Wire, connect};
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    sync::Arc,
};

/// One connection, one request after another; whole bodies only.
pub struct Connection {
    wire: BufReader<Box<dyn Wire>>,
    host: String,
}

impl Connection {
    pub(crate) fn open(address: &str, tls: &Arc<ClientConfig>) -> io::Result<Self> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(tls.clone(), name).map_err(io::Error::other)?;
        let wire: Box<dyn Wire> = Box::new(StreamOwned::new(session, connect(address)?));
        Ok(Self {
            wire: BufReader::with_capacity(256 * 1024, wire),
            host: address.to_owned(),
        })
    }

    /// Sends a request; the status code and the length of the body.
    pub fn call(
        &mut self,
        method: &str,
        path: &str,
        form: &str,
        body: &[u8],
    ) -> io::Result<(u16, usize)> {
        let host = &self.host;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {form}\r\nContent-Length: {length}\r\n\r\n"
        );
        let wire = self.wire.get_mut();
        wire.write_all(&[head.as_bytes(), body].concat())?;
        wire.flush()?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<(u16, usize)> {
        let mut line = String::new();
        self.wire.read_line(&mut line)?;
        let code = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let code = code.ok_or_else(|| io::Error::other(format!("not an answer: {line:?}")))?;
        let (mut length, mut chunked) = (0, false);
        loop {
            line.clear();
            self.wire.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            chunked |= name.eq_ignore_ascii_case("transfer-encoding");
        }
        let got = if chunked {
            self.pass_chunks()?
        } else {
            self.pass(length)?
        };
        Ok((code, got as usize))
    }

    fn pass(&mut self, length: u64) -> io::Result<u64> {
        io::copy(&mut (&mut self.wire).take(length), &mut io::sink())
    }

    /// Reads over a body in chunks; its length.
    fn pass_chunks(&mut self) -> io::Result<u64> {
        let (mut line, mut all) = (String::new(), 0);
        loop {
            line.clear();
            self.wire.read_line(&mut line)?;
            let length = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            all += self.pass(length)?;
            self.pass(2)?;
            if length == 0 {
                return Ok(all);
            }
        }
    }
}
