//! A blocking client for one connection.

use super::resp::{Reply, read_reply, write_request};
use crate::resolve;
use std::{
    io::{self, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

/// A connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects, and authenticates if there is a password; `timeout` bounds each step.
    ///
    /// # Errors
    /// Of the connection; `PermissionDenied` when the password is refused.
    pub fn connect(
        host: &str,
        port: u16,
        password: Option<&str>,
        timeout: Duration,
    ) -> io::Result<Self> {
        let stream = resolve::connect(host, port, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream: BufReader::new(stream),
        };
        if let Some(password) = password.filter(|password| !password.is_empty())
            && let Reply::Error(text) = client.call(&[b"AUTH", password.as_bytes()])?
        {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(client)
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// Of the connection; an answer that is an error is an answer.
    pub fn call(&mut self, words: &[&[u8]]) -> io::Result<Reply> {
        let mut request = Vec::new();
        write_request(&mut request, words)?;
        self.stream.get_mut().write_all(&request)?;
        read_reply(&mut self.stream)
    }

    /// As [`Self::call`], with words of text, and an error answer is an error.
    ///
    /// # Errors
    /// Of the connection, or the server's.
    pub fn command(&mut self, words: &[&str]) -> io::Result<Reply> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        match self.call(&words)? {
            Reply::Error(text) => Err(io::Error::other(text)),
            reply => Ok(reply),
        }
    }
}
