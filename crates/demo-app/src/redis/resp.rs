//! The Redis serialization protocol, version 2, read and written.

use crate::errors::invalid;
use std::io::{self, BufRead, Read, Write};

/// Longest line: an inline command or a length.
const MAX_LINE: u64 = 64 * 1024;
/// Longest value. Redis allows 512 MiB; a stand-in needs less.
const MAX_BULK: u64 = 64 * 1024 * 1024;
/// Most words of a request or elements of an answer.
const MAX_ITEMS: u64 = 1024 * 1024;
/// Deepest nesting of an answer.
const MAX_DEPTH: usize = 8;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A status such as `OK`.
    Simple(String),
    /// An error, its code first.
    Error(String),
    /// A number.
    Int(i64),
    /// A value.
    Bulk(Vec<u8>),
    /// No value.
    Nil,
    /// Several answers.
    Array(Vec<Reply>),
}

impl Reply {
    /// The status `OK`.
    #[must_use]
    pub fn ok() -> Self {
        Self::Simple("OK".to_owned())
    }

    /// A value from anything that has bytes.
    pub fn bulk(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Bulk(bytes.into())
    }

    /// A count.
    #[must_use]
    pub fn count(count: usize) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// Writes the answer.
    ///
    /// # Errors
    /// Of the writer.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Simple(text) => write!(to, "+{text}\r\n"),
            Self::Error(text) => write!(to, "-{text}\r\n"),
            Self::Int(number) => write!(to, ":{number}\r\n"),
            Self::Nil => to.write_all(b"$-1\r\n"),
            Self::Bulk(bytes) => write_bulk(to, bytes),
            Self::Array(items) => {
                write!(to, "*{}\r\n", items.len())?;
                items.iter().try_for_each(|item| item.write(to))
            }
        }
    }
}

fn write_bulk(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    write!(to, "${}\r\n", bytes.len())?;
    to.write_all(bytes)?;
    to.write_all(b"\r\n")
}

/// Writes a request.
///
/// # Errors
/// Of the writer.
pub fn write_request(to: &mut impl Write, words: &[&[u8]]) -> io::Result<()> {
    write!(to, "*{}\r\n", words.len())?;
    words.iter().try_for_each(|word| write_bulk(to, word))
}

/// Reads a line without its end; nothing at the end of the stream.
fn line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    from.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.pop() != Some(b'\n') {
        return Err(invalid("Protocol error: too big or unfinished line"));
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    let text = String::from_utf8(bytes).map_err(|_| invalid("Protocol error: not text"))?;
    Ok(Some(text))
}

fn needed_line(from: &mut impl BufRead) -> io::Result<String> {
    line(from)?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
}

/// Length after a marker; nothing for -1.
fn length(text: &str, most: u64) -> io::Result<Option<u64>> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(size) if (0..=most.cast_signed()).contains(&size) => Ok(Some(size.cast_unsigned())),
        _ => Err(invalid("Protocol error: invalid length")),
    }
}

fn bulk(from: &mut impl BufRead, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.by_ref().take(size + 2).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != size + 2 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.truncate(bytes.len() - 2);
    Ok(bytes)
}

/// Reads a request, framed or a plain line; nothing at the end of the stream.
///
/// # Errors
/// `InvalidData` when the peer does not speak the protocol; else of the reader.
pub fn read_request(from: &mut impl BufRead) -> io::Result<Option<Vec<Vec<u8>>>> {
    let Some(first) = line(from)? else {
        return Ok(None);
    };
    let Some(count) = first.strip_prefix('*') else {
        let words = crate::shell::split(&first)
            .ok_or_else(|| invalid("Protocol error: unbalanced quotes in request"))?;
        return Ok(Some(words.into_iter().map(String::into_bytes).collect()));
    };
    let mut words = Vec::new();
    for _ in 0..length(count, MAX_ITEMS)?.unwrap_or(0) {
        let head = needed_line(from)?;
        let size = head
            .strip_prefix('$')
            .ok_or_else(|| invalid("Protocol error: expected '$'"))?;
        let size = length(size, MAX_BULK)?
            .ok_or_else(|| invalid("Protocol error: invalid bulk length"))?;
        words.push(bulk(from, size)?);
    }
    Ok(Some(words))
}

/// Reads an answer.
///
/// # Errors
/// `UnexpectedEof` when the stream ends, `InvalidData` when it is no answer.
pub fn read_reply(from: &mut impl BufRead) -> io::Result<Reply> {
    nested(from, MAX_DEPTH)
}

fn nested(from: &mut impl BufRead, depth: usize) -> io::Result<Reply> {
    let head = needed_line(from)?;
    let (marker, rest) = head
        .split_at_checked(1)
        .ok_or_else(|| invalid("empty answer"))?;
    Ok(match marker {
        "+" => Reply::Simple(rest.to_owned()),
        "-" => Reply::Error(rest.to_owned()),
        ":" => Reply::Int(rest.parse().map_err(invalid)?),
        "$" => match length(rest, MAX_BULK)? {
            Some(size) => Reply::Bulk(bulk(from, size)?),
            None => Reply::Nil,
        },
        "*" if depth > 0 => match length(rest, MAX_ITEMS)? {
            Some(count) => Reply::Array(
                (0..count)
                    .map(|_| nested(from, depth - 1))
                    .collect::<io::Result<_>>()?,
            ),
            None => Reply::Nil,
        },
        _ => return Err(invalid("the answer is not of the Redis protocol")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_round_trip() {
        let replies = [
            Reply::ok(),
            Reply::Error("ERR no".into()),
            Reply::Int(-7),
            Reply::Nil,
            Reply::bulk(&b"a\r\nb\0"[..]),
            Reply::Array(vec![Reply::Int(1), Reply::Array(vec![]), Reply::bulk("x")]),
        ];
        for reply in replies {
            let mut bytes = Vec::new();
            reply.write(&mut bytes).unwrap();
            assert_eq!(read_reply(&mut &bytes[..]).unwrap(), reply);
            assert!(
                read_reply(&mut &bytes[..bytes.len() - 1]).is_err(),
                "{reply:?} cut"
            );
        }
    }

    #[test]
    fn requests() {
        let cases: [(&[u8], &[&str]); 4] = [
            (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", &["GET", "k"]),
            (b"SET k 'a b'\r\n", &["SET", "k", "a b"]),
            (b"PING\n", &["PING"]),
            (b"\r\n", &[]),
        ];
        for (bytes, expected) in cases {
            let words = read_request(&mut &bytes[..]).unwrap().unwrap();
            assert_eq!(
                words,
                expected
                    .iter()
                    .map(|word| word.as_bytes().to_vec())
                    .collect::<Vec<_>>()
            );
        }
        assert!(read_request(&mut &b""[..]).unwrap().is_none());
        for broken in [
            &b"*x\r\n"[..],
            b"*1\r\n+3\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n$99999999999\r\n",
            b"GET 'a\r\n",
            b"PING",
        ] {
            assert!(read_request(&mut &broken[..]).is_err(), "{broken:?}");
        }
        let mut bytes = Vec::new();
        write_request(&mut bytes, &[b"ECHO", b"x y"]).unwrap();
        assert_eq!(read_request(&mut &bytes[..]).unwrap().unwrap()[1], b"x y");
    }
}
