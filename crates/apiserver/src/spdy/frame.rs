//! Frames: bytes to frames and back, without input or output.
//!
//! It must not know who talks to whom. Upstream counterpart: `moby/spdystream/spdy`.

use super::{
    SpdyError,
    headers::{Headers, Packer, Unpacker},
};
use bytes::{Buf, Bytes, BytesMut};

/// Control frames longer than this are refused, bytes (peers send below 1 KiB).
const CONTROL_MAX: usize = 64 * 1024;
/// Length of a frame's head, bytes.
const HEAD: usize = 8;
/// The control bit and the version.
const CONTROL: u16 = 0x8003;
const FIN: u8 = 1;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// A frame, or a part of one: data come in the pieces they arrived in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpdyFrame {
    /// A new stream.
    Open {
        /// Its number.
        stream: u32,
        /// Its headers.
        headers: Headers,
        /// Whether its opener sends nothing more.
        last: bool,
    },
    /// A stream was accepted.
    Reply {
        /// Its number.
        stream: u32,
        /// Headers of the answer.
        headers: Headers,
        /// Whether the answerer sends nothing more.
        last: bool,
    },
    /// Bytes.
    Data {
        /// Number of the stream.
        stream: u32,
        /// The bytes.
        bytes: Bytes,
        /// Whether they are the sender's last.
        last: bool,
    },
    /// A stream ends in both directions.
    Reset {
        /// Its number.
        stream: u32,
        /// Why.
        code: u32,
    },
    /// Is anybody there? The same number is the answer.
    Ping(u32),
    /// The connection ends; the number is that of the last stream seen.
    GoAway(u32),
}

/// Bytes to frames.
#[derive(Default)]
pub struct Decoder {
    pending: BytesMut,
    data: Option<DataHead>,
    headers: Unpacker,
}

/// A data frame of which a part has come.
#[derive(Clone, Copy)]
struct DataHead {
    stream: u32,
    left: usize,
    last: bool,
}

impl Decoder {
    /// Takes what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next frame that is complete. After an error the connection is of no use.
    pub fn next_frame(&mut self) -> Result<Option<SpdyFrame>, SpdyError> {
        loop {
            if let Some(head) = self.data {
                return Ok(self.data(head));
            }
            let Some(head) = self.pending.first_chunk::<HEAD>().copied() else {
                return Ok(None);
            };
            let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
            if head[0] & 0x80 == 0 {
                self.pending.advance(HEAD);
                self.data = Some(DataHead {
                    stream: u32::from_be_bytes([head[0], head[1], head[2], head[3]]),
                    left: length,
                    last: head[4] & FIN != 0,
                });
                continue;
            }
            if u16::from_be_bytes([head[0], head[1]]) != CONTROL {
                return Err(SpdyError("a frame is not of SPDY version 3"));
            }
            if length > CONTROL_MAX {
                return Err(SpdyError("a control frame is too long"));
            }
            if self.pending.len() < HEAD + length {
                return Ok(None);
            }
            self.pending.advance(HEAD);
            let body = self.pending.split_to(length).freeze();
            let kind = u16::from_be_bytes([head[2], head[3]]);
            if let Some(frame) = self.control(kind, head[4] & FIN != 0, &body)? {
                return Ok(Some(frame));
            }
        }
    }

    fn data(&mut self, head: DataHead) -> Option<SpdyFrame> {
        let here = head.left.min(self.pending.len());
        if here == 0 && head.left > 0 {
            return None;
        }
        let left = head.left - here;
        self.data = (left > 0).then_some(DataHead { left, ..head });
        Some(SpdyFrame::Data {
            stream: head.stream,
            bytes: self.pending.split_to(here).freeze(),
            last: head.last && left == 0,
        })
    }

    fn control(
        &mut self,
        kind: u16,
        last: bool,
        body: &[u8],
    ) -> Result<Option<SpdyFrame>, SpdyError> {
        let word = |at: usize| {
            body.get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok())
                .map(|bytes| u32::from_be_bytes(bytes) & 0x7fff_ffff)
                .ok_or(SpdyError("a control frame ends early"))
        };
        let rest = |at: usize| {
            body.get(at..)
                .ok_or(SpdyError("a control frame ends early"))
        };
        Ok(match kind {
            SYN_STREAM => Some(SpdyFrame::Open {
                stream: word(0)?,
                headers: self.headers.unpack(rest(10)?)?,
                last,
            }),
            SYN_REPLY => Some(SpdyFrame::Reply {
                stream: word(0)?,
                headers: self.headers.unpack(rest(4)?)?,
                last,
            }),
            RST_STREAM => Some(SpdyFrame::Reset {
                stream: word(0)?,
                code: word(4)?,
            }),
            PING => Some(SpdyFrame::Ping(word(0)?)),
            GOAWAY => Some(SpdyFrame::GoAway(word(0)?)),
            HEADERS => {
                // Nobody needs later headers, but they are part of the connection's zlib stream.
                self.headers.unpack(rest(4)?)?;
                None
            }
            // Settings and windows: the peers of this protocol neither send nor heed them.
            _ => None,
        })
    }
}

/// Frames to bytes.
#[derive(Default)]
pub struct Encoder(Packer);

impl Encoder {
    /// The bytes of a frame. Data must be shorter than 16 MiB.
    pub fn encode(&mut self, frame: &SpdyFrame) -> Vec<u8> {
        let flags = |last: bool| if last { FIN } else { 0 };
        match frame {
            SpdyFrame::Open {
                stream,
                headers,
                last,
            } => {
                let mut body = stream.to_be_bytes().to_vec();
                // No associated stream, no priority.
                body.extend([0; 6]);
                body.extend(self.0.pack(headers));
                control(SYN_STREAM, flags(*last), &body)
            }
            SpdyFrame::Reply {
                stream,
                headers,
                last,
            } => {
                let mut body = stream.to_be_bytes().to_vec();
                body.extend(self.0.pack(headers));
                control(SYN_REPLY, flags(*last), &body)
            }
            SpdyFrame::Data {
                stream,
                bytes,
                last,
            } => {
                let mut out = Vec::with_capacity(HEAD + bytes.len());
                out.extend((stream & 0x7fff_ffff).to_be_bytes());
                out.push(flags(*last));
                out.extend(length(bytes));
                out.extend(&bytes[..]);
                out
            }
            SpdyFrame::Reset { stream, code } => control(RST_STREAM, 0, &two(*stream, *code)),
            SpdyFrame::Ping(number) => control(PING, 0, &number.to_be_bytes()),
            SpdyFrame::GoAway(last) => control(GOAWAY, 0, &two(*last, 0)),
        }
    }
}

fn two(first: u32, second: u32) -> Vec<u8> {
    [first.to_be_bytes(), second.to_be_bytes()].concat()
}

/// The 24 bits of a length.
fn length(bytes: &[u8]) -> [u8; 3] {
    let [top, rest @ ..] = (bytes.len() as u32).to_be_bytes();
    assert!(top == 0, "a frame is shorter than 16 MiB");
    rest
}

fn control(kind: u16, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + body.len());
    out.extend(CONTROL.to_be_bytes());
    out.extend(kind.to_be_bytes());
    out.push(flags);
    out.extend(length(body));
    out.extend(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<SpdyFrame> {
        let headers = |id: u32| {
            vec![
                ("streamtype".to_owned(), "data".to_owned()),
                ("port".to_owned(), "8000".to_owned()),
                ("requestid".to_owned(), id.to_string()),
            ]
        };
        vec![
            SpdyFrame::Open {
                stream: 1,
                headers: headers(0),
                last: false,
            },
            SpdyFrame::Open {
                stream: 3,
                headers: headers(1),
                last: true,
            },
            SpdyFrame::Reply {
                stream: 1,
                headers: vec![],
                last: false,
            },
            SpdyFrame::Data {
                stream: 1,
                bytes: Bytes::from_static(b"hello"),
                last: false,
            },
            SpdyFrame::Data {
                stream: 1,
                bytes: Bytes::new(),
                last: true,
            },
            SpdyFrame::Reset { stream: 3, code: 5 },
            SpdyFrame::Ping(7),
            SpdyFrame::GoAway(3),
        ]
    }

    fn decode(bytes: &[u8], step: usize) -> Result<Vec<SpdyFrame>, SpdyError> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for part in bytes.chunks(step) {
            decoder.push(part);
            while let Some(frame) = decoder.next_frame()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn encoded() -> Vec<u8> {
        let mut encoder = Encoder::default();
        samples()
            .iter()
            .flat_map(|frame| encoder.encode(frame))
            .collect()
    }

    #[test]
    fn frames_survive_the_wire() {
        assert_eq!(decode(&encoded(), 1 << 20).unwrap(), samples());
    }

    #[test]
    fn frames_survive_any_cut() {
        for step in [1, 2, 3, 7] {
            let frames = decode(&encoded(), step).unwrap();
            let text: Vec<u8> = frames
                .iter()
                .filter_map(|frame| match frame {
                    SpdyFrame::Data { bytes, .. } => Some(bytes.to_vec()),
                    _ => None,
                })
                .flatten()
                .collect();
            assert_eq!(text, b"hello");
            assert_eq!(frames[..3], samples()[..3]);
        }
    }

    #[test]
    fn header_blocks_begin_as_the_peers_do() {
        let open = Encoder::default().encode(&samples()[0]);
        // The zlib head with a dictionary, and the dictionary's checksum.
        assert_eq!(open[18], 0x78);
        assert_eq!(open[20..24], [0xe3, 0xc6, 0xa7, 0xc2]);
    }

    #[test]
    fn damage_is_an_error_or_a_frame_but_no_panic() {
        let good = encoded();
        // A xorshift: the same damage in every run.
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut refused = 0;
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..1 + next() % 4 {
                let at = next() as usize % bytes.len();
                bytes[at] = next() as u8;
            }
            bytes.truncate(next() as usize % bytes.len() + 1);
            refused += usize::from(decode(&bytes, 1 + next() as usize % 64).is_err());
        }
        assert!(refused > 1000, "{refused}");
    }

    #[test]
    fn limits_hold() {
        let mut long = vec![0x80, 3, 0, 1, 0];
        long.extend([0xff, 0xff, 0xff]);
        assert_eq!(
            decode(&long, 8),
            Err(SpdyError("a control frame is too long"))
        );
        let bomb = SpdyFrame::Open {
            stream: 1,
            headers: vec![("a".into(), "b".repeat(1 << 20))],
            last: false,
        };
        let bytes = Encoder::default().encode(&bomb);
        assert!(bytes.len() < 32 * 1024);
        assert_eq!(
            decode(&bytes, 1 << 20),
            Err(SpdyError("a header block is too long"))
        );
    }
}
