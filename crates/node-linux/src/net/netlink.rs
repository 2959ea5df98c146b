//! Netlink on the wire: message building, sending in one piece, acknowledgements.
//!
//! Must not know any particular netlink family. Upstream counterpart: libmnl.

use std::{
    io::{self, Error},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// Size of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Largest answer read at once; the kernel never sends larger netlink messages.
const RECEIVE_BUFFER: usize = 256 * 1024;
/// Requested receive queue, bytes: holds the acknowledgements of the largest batch.
const RECEIVE_QUEUE: i32 = 4 << 20;
/// How long an answer may take, seconds; the kernel answers at once unless something is broken.
const ANSWER_SECONDS: i64 = 20;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLA_F_NESTED: u16 = 0x8000;

pub(super) const REQUEST: u16 = 1;
pub(super) const ACK: u16 = 4;
pub(super) const DUMP: u16 = 0x300;
pub(super) const REPLACE: u16 = 0x100;
pub(super) const CREATE_NEW: u16 = 0x200 | 0x400;
pub(super) const CREATE: u16 = 0x400;

/// One or more netlink messages under construction.
#[derive(Default)]
pub(super) struct Messages {
    bytes: Vec<u8>,
    start: usize,
    count: u32,
}

impl Messages {
    /// Opens a message; `header` is the family's fixed part.
    pub fn begin(&mut self, kind: u16, flags: u16, header: &[u8]) -> &mut Self {
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        // Numbered within the buffer; the socket adds its own counter when sending.
        self.bytes.extend_from_slice(&self.count.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        self.count += 1;
        self.pad();
        self
    }

    /// Closes the message opened last.
    pub fn end(&mut self) {
        let length = (self.bytes.len() - self.start) as u32;
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Appends an attribute.
    pub fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = (value.len() + 4) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// Appends a text attribute with its terminating zero.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let length = (value.len() + 5) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.pad();
        self
    }

    /// Appends a 32-bit attribute in network order.
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Appends an attribute made of attributes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.attr(kind | NLA_F_NESTED, &[]);
        fill(self);
        let length = self.bytes.len() - start;
        assert!(
            length <= usize::from(u16::MAX),
            "netlink attribute too long"
        );
        self.bytes[start..start + 2].copy_from_slice(&(length as u16).to_ne_bytes());
        self
    }

    /// Appends raw bytes, for attributes with fixed structs in front of nested ones.
    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Adds `base` to all sequence numbers.
    fn renumber(&mut self, base: u32) {
        let mut at = 0;
        while at < self.bytes.len() {
            let field = at + 8..at + 12;
            let sequence = u32_at(&self.bytes, field.start).wrapping_add(base);
            self.bytes[field].copy_from_slice(&sequence.to_ne_bytes());
            at += (u32_at(&self.bytes, at) as usize).next_multiple_of(4);
        }
    }
}

/// A netlink socket. It stays in the namespace of the thread that opened it.
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket of a netlink protocol in the calling thread's namespace.
    pub fn open(protocol: i32) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: socket takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) };
        if fd < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: the descriptor is new and owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let socket = Self {
            fd,
            sequence: 1,
            buffer: vec![0; RECEIVE_BUFFER],
        };
        let wait = libc::timeval {
            tv_sec: ANSWER_SECONDS,
            tv_usec: 0,
        };
        socket.option(libc::SO_RCVTIMEO, &wait)?;
        // Without CAP_NET_ADMIN over the machine the default queue stays, enough but for floods of errors.
        let _ = socket.option(libc::SO_RCVBUFFORCE, &RECEIVE_QUEUE);
        Ok(socket)
    }

    /// Sends messages of which each asks for an acknowledgement, and waits for all of them.
    /// Errors come back by position; `None` is success.
    pub fn request(&mut self, messages: Messages) -> io::Result<Vec<Option<Error>>> {
        let (first, count) = self.send(messages)?;
        let mut results: Vec<Option<Error>> = (0..count).map(|_| None).collect();
        let mut left = count;
        while left > 0 {
            self.receive(|kind, sequence, body| {
                if kind == NLMSG_ERROR && sequence.wrapping_sub(first) < count {
                    results[sequence.wrapping_sub(first) as usize] = error_of(body);
                    left = left.saturating_sub(1);
                }
            })?;
        }
        Ok(results)
    }

    /// Sends a batch whose last but one message asks for an acknowledgement (the last closes the
    /// batch); returns when the kernel has applied or refused all of it.
    pub fn transaction(&mut self, messages: Messages) -> io::Result<()> {
        let (first, count) = self.send(messages)?;
        let acknowledged = first.wrapping_add(count - 2);
        let mut result = None;
        while result.is_none() {
            self.receive(|kind, sequence, body| {
                let ours = sequence.wrapping_sub(first) < count;
                if result.is_some() || kind != NLMSG_ERROR || !ours {
                    return;
                }
                match error_of(body) {
                    Some(error) => result = Some(Err(error)),
                    None if sequence == acknowledged => result = Some(Ok(())),
                    None => {}
                }
            })?;
        }
        result.unwrap_or(Ok(()))
    }

    /// Sends one dump request and hands each answer's body to `each`.
    pub fn dump(&mut self, messages: Messages, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let (first, _) = self.send(messages)?;
        let mut result = None;
        while result.is_none() {
            self.receive(|kind, sequence, body| match kind {
                _ if sequence != first => {}
                NLMSG_DONE => result = Some(Ok(())),
                NLMSG_ERROR => result = Some(error_of(body).map_or(Ok(()), Err)),
                _ => each(body),
            })?;
        }
        result.unwrap_or(Ok(()))
    }

    /// Sends everything in one piece; returns the first sequence number and how many there are.
    fn send(&mut self, mut messages: Messages) -> io::Result<(u32, u32)> {
        let first = self.sequence;
        messages.renumber(first);
        self.sequence = self.sequence.wrapping_add(messages.count);
        let bytes = &messages.bytes;
        self.make_room(bytes.len())?;
        retry(|| {
            // SAFETY: pointer and length describe the buffer.
            unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) }
        })?;
        Ok((first, messages.count))
    }

    /// A message larger than the send buffer is refused, so large batches enlarge it first.
    fn make_room(&self, length: usize) -> io::Result<()> {
        const DEFAULT_ROOM: usize = 100 * 1024;
        if length <= DEFAULT_ROOM {
            return Ok(());
        }
        let size = i32::try_from(length + length / 2).map_err(Error::other)?;
        self.option(libc::SO_SNDBUFFORCE, &size)
    }

    fn option<T>(&self, name: i32, value: &T) -> io::Result<()> {
        let length = size_of::<T>() as libc::socklen_t;
        let pointer = std::ptr::from_ref(value).cast();
        // SAFETY: pointer and length describe `value`.
        let done = unsafe {
            libc::setsockopt(self.fd.as_raw_fd(), libc::SOL_SOCKET, name, pointer, length)
        };
        if done == 0 {
            Ok(())
        } else {
            Err(Error::last_os_error())
        }
    }

    /// Reads one datagram and hands each message in it (type, sequence, body) to `each`.
    fn receive(&mut self, mut each: impl FnMut(u16, u32, &[u8])) -> io::Result<()> {
        let (pointer, room) = (self.buffer.as_mut_ptr().cast(), self.buffer.len());
        let got = retry(|| {
            // SAFETY: pointer and length describe the buffer.
            unsafe { libc::recv(self.fd.as_raw_fd(), pointer, room, 0) }
        })?;
        let mut rest = &self.buffer[..got];
        while rest.len() >= HEADER {
            let length = (u32_at(rest, 0) as usize).clamp(HEADER, rest.len());
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            each(kind, u32_at(rest, 8), &rest[HEADER..length]);
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
        Ok(())
    }
}

/// Repeats a call that a signal interrupted; with a receive timeout the kernel never does so itself.
fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        let result = call();
        if result >= 0 {
            return Ok(result as usize);
        }
        let error = Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The error a `nlmsgerr` body carries.
fn error_of(body: &[u8]) -> Option<Error> {
    let code = body.first_chunk::<4>().map(|c| i32::from_ne_bytes(*c))?;
    (code != 0).then(|| Error::from_raw_os_error(-code))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Splits a run of attributes into (type without flags, value).
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]));
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_padded_nested_and_numbered() {
        let mut messages = Messages::default();
        messages
            .begin(16, ACK, &[9])
            .text(1, "ab")
            .nest(2, |inner| {
                inner.be32(1, 7);
            })
            .end();
        messages.begin(17, 0, &[]).end();
        messages.renumber(40);
        let bytes = messages.bytes;
        assert_eq!(bytes.len(), 16 + 4 + 8 + 12 + 16);
        assert_eq!(u32_at(&bytes, 0), 40);
        assert_eq!(u32_at(&bytes, 8), 40);
        assert_eq!(u32_at(&bytes, 48), 41);
        let found: Vec<_> = attributes(&bytes[20..40]).collect();
        assert_eq!(found[0], (1, &b"ab\0"[..]));
        assert_eq!(attributes(found[1].1).next(), Some((1, &[0, 0, 0, 7][..])));
    }
}
