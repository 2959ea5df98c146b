//! Connections of the agent: frames in, frames out, never waiting.

use super::{Source, Supervisor};
use crate::{
    spec::Response,
    sys,
    wire::{self, Kind},
};
use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
};

/// A client that lets more than this pile up is cut off (it may attach again; logs have all).
const MAX_BACKLOG: usize = 8 << 20;
const CHUNK: usize = 64 << 10;

/// One connection.
pub(super) struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    fds: Vec<OwnedFd>,
    output: Vec<u8>,
    output_fds: Vec<OwnedFd>,
    close_when_flushed: bool,
    /// Wants to hear of changes.
    pub subscribed: bool,
    /// A command it started: pidfd, and whether the command ends with the connection.
    pub command: Option<(OwnedFd, bool)>,
}

impl Client {
    /// Whether everything was sent.
    pub fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            let fds: Vec<_> = self.output_fds.iter().map(AsFd::as_fd).collect();
            let sent = match sys::send(self.stream.as_fd(), &self.output, &fds) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                sent => sent?,
            };
            self.output_fds.clear();
            self.output.drain(..sent);
        }
        Ok(())
    }
}

impl Supervisor {
    pub(super) fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let client = |stream| Client {
                stream,
                input: Vec::new(),
                fds: Vec::new(),
                output: Vec::new(),
                output_fds: Vec::new(),
                close_when_flushed: false,
                subscribed: false,
                command: None,
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if let Ok(token) = self.watch(stream.as_fd(), Source::Client) {
                self.clients.insert(token, client(stream));
            }
        }
    }

    pub(super) fn serve_client(&mut self, token: u64) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        if client.flush().is_err() {
            return self.drop_client(token);
        }
        let mut chunk = vec![0; CHUNK];
        match sys::receive(client.stream.as_fd(), &mut chunk) {
            Ok((0, _)) => return self.drop_client(token),
            Ok((count, fds)) => {
                client.input.extend_from_slice(&chunk[..count]);
                client.fds.extend(fds);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return self.drop_client(token),
        }
        self.take_requests(token);
        self.after_output(token);
    }

    fn take_requests(&mut self, token: u64) {
        while let Some(client) = self.clients.get_mut(&token) {
            match wire::take(&mut client.input) {
                Ok(Some((Kind::Message, payload))) => {
                    let fds = std::mem::take(&mut client.fds);
                    self.request(token, &payload, fds);
                }
                Ok(None) => return,
                Ok(Some(_)) | Err(_) => return self.drop_client(token),
            }
        }
    }

    /// Queues a response, with descriptors if any.
    pub(super) fn respond(&mut self, token: u64, response: &Response, fds: Vec<OwnedFd>) {
        let payload = serde_json::to_vec(response).expect("responses are plain data");
        if let Some(client) = self.clients.get_mut(&token) {
            client.output_fds = fds;
        }
        self.send_frame(token, Kind::Message, &payload);
    }

    /// Queues a frame and sends what goes at once.
    pub(super) fn send_frame(&mut self, token: u64, kind: Kind, payload: &[u8]) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        client.output.extend(wire::frame(kind, payload));
        client.close_when_flushed |= kind == Kind::Exit;
        if client.flush().is_err() || client.output.len() > MAX_BACKLOG {
            return self.drop_client(token);
        }
        self.after_output(token);
    }

    fn after_output(&mut self, token: u64) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        let flushed = client.is_flushed();
        if flushed && client.close_when_flushed {
            return self.drop_client(token);
        }
        if self
            .epoll
            .want_output(client.stream.as_fd(), token, !flushed)
            .is_err()
        {
            self.drop_client(token);
        }
    }

    fn drop_client(&mut self, token: u64) {
        self.sources.remove(&token);
        let Some(client) = self.clients.remove(&token) else {
            return;
        };
        if let Some((pidfd, true)) = &client.command {
            // Already gone is as good.
            let _ = sys::signal_process(pidfd.as_fd(), libc::SIGKILL);
        }
        for container in self.containers.values_mut() {
            container.attached.retain(|attached| *attached != token);
        }
        // Closing the descriptor would do; an explicit removal does not depend on copies of it.
        let _ = self.epoll.remove(client.stream.as_fd());
    }
}
