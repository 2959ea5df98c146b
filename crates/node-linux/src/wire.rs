//! Frames on the supervisor's socket: length, kind, payload; descriptors ride on the first byte.
//!
//! Must not know what is said. Upstream counterpart: ttrpc.

use std::io;

/// Largest frame accepted: a container specification with a megabyte of environment fits well.
pub const MAX_FRAME: usize = 16 << 20;
/// Bytes before a payload: length (32 bits, little endian) and kind.
pub const HEADER: usize = 5;

/// What a frame's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request or response in JSON.
    Message = 0,
    /// Bytes of standard output.
    Stdout = 1,
    /// Bytes of standard error.
    Stderr = 2,
    /// An exit code, 32 bits little endian; nothing follows.
    Exit = 3,
    /// Something changed.
    Changed = 4,
}

impl Kind {
    fn parse(byte: u8) -> Option<Self> {
        [
            Self::Message,
            Self::Stdout,
            Self::Stderr,
            Self::Exit,
            Self::Changed,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// A frame ready to send.
pub fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames stay far below 4 GiB");
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.push(kind as u8);
    bytes.extend_from_slice(payload);
    bytes
}

/// Kind and payload length announced by a header.
pub fn header(bytes: [u8; HEADER]) -> io::Result<(Kind, usize)> {
    let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    match Kind::parse(bytes[4]) {
        Some(kind) if length <= MAX_FRAME => Ok((kind, length)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a supervisor frame",
        )),
    }
}

/// Takes the first complete frame out of `buffer`.
pub fn take(buffer: &mut Vec<u8>) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let Some(start) = buffer.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let (kind, length) = header(*start)?;
    if buffer.len() < HEADER + length {
        return Ok(None);
    }
    let rest = buffer.split_off(HEADER + length);
    let payload = std::mem::replace(buffer, rest).split_off(HEADER);
    Ok(Some((kind, payload)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let mut sent = frame(Kind::Stdout, b"abc");
        sent.extend(frame(Kind::Exit, &7i32.to_le_bytes()));
        let mut buffer = Vec::new();
        let mut seen = Vec::new();
        for byte in sent {
            buffer.push(byte);
            seen.extend(take(&mut buffer).expect("valid frames"));
        }
        let expected = [
            (Kind::Stdout, b"abc".to_vec()),
            (Kind::Exit, vec![7, 0, 0, 0]),
        ];
        assert_eq!(seen, expected);
        assert!(take(&mut vec![0, 0, 0, 0, 9]).is_err());
    }
}
