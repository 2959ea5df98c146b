//! SPDY/3.1, as far as clients of exec, attach and port-forward speak it.
//!
//! Frames, header blocks, and connections with many streams. It must not know pods. No flow
//! control: the Go peers neither send nor heed windows. Upstream counterpart: `moby/spdystream`.

mod connection;
mod dictionary;
mod frame;
mod headers;

pub use connection::{SpdyConnection, SpdyReader, SpdyStream, SpdyWriter};
pub use frame::{Decoder, Encoder, SpdyFrame};

/// What the peer did wrong; the connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpdyError(pub &'static str);
