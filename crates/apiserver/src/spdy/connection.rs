//! A connection with many streams over any pair of byte streams, server's side.
//!
//! Upstream counterpart: `moby/spdystream/connection.go`.

use crate::stream::LINGER;

use super::{Decoder, Encoder, SpdyError, SpdyFrame, headers::Headers};
use bytes::Bytes;
use std::collections::BTreeMap;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    sync::{mpsc, watch},
};

/// Streams that one client may have open; kubectl opens two for each forwarded connection.
const STREAMS_MAX: usize = 1024;
/// Pieces that wait in a stream for its reader; a full one holds the whole connection, as upstream.
const INBOX: usize = 64;
/// Frames that wait to be sent.
const OUTBOX: usize = 64;
/// Bytes read at once.
const READ: usize = 32 * 1024;
/// Largest data frame sent, bytes.
const DATA_MAX: usize = 64 * 1024;
/// RST_STREAM code: refused stream.
const REFUSED: u32 = 3;

/// The streams that a client opens. Dropping it ends the reading; what was written is still sent.
pub struct SpdyConnection {
    opened: mpsc::Receiver<SpdyStream>,
    reading: tokio::task::JoinHandle<()>,
    outbox: mpsc::Sender<SpdyFrame>,
    writing: tokio::task::JoinHandle<()>,
}

/// A stream that the client has opened.
pub struct SpdyStream {
    /// Its number.
    pub number: u32,
    /// Its headers, names in lower case.
    pub headers: Headers,
    /// From the client.
    pub reader: SpdyReader,
    /// To the client.
    pub writer: SpdyWriter,
}

/// What the client sends on a stream.
pub struct SpdyReader(mpsc::Receiver<Bytes>);

/// What is sent to the client on a stream.
pub struct SpdyWriter {
    number: u32,
    outbox: mpsc::Sender<SpdyFrame>,
    alive: watch::Receiver<()>,
}

impl SpdyConnection {
    /// Begins to serve a connection.
    pub fn start(transport: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (read, write) = split(transport);
        let (outbox, frames) = mpsc::channel(OUTBOX);
        let (announce, opened) = mpsc::channel(INBOX);
        let reader = Reader {
            open: BTreeMap::new(),
            last: 0,
            announce,
            outbox: outbox.clone(),
        };
        Self {
            opened,
            reading: tokio::spawn(reader.run(read)),
            writing: tokio::spawn(write_frames(write, frames)),
            outbox,
        }
    }

    /// The next stream; `None` when the client has gone.
    pub async fn accept(&mut self) -> Option<SpdyStream> {
        self.opened.recv().await
    }

    /// Says that the connection ends, and waits until all is sent. Streams' writers must be gone.
    pub async fn finish(self) {
        let Self {
            opened,
            mut reading,
            outbox,
            writing,
        } = self;
        drop(opened);
        // The client may be gone: then nothing is left to do.
        let _ = outbox.send(SpdyFrame::GoAway(0)).await;
        drop(outbox);
        // The client closes once it has read everything; closing first could cut off its reading.
        let _ = tokio::time::timeout(LINGER, &mut reading).await;
        reading.abort();
        writing.abort();
    }
}

impl SpdyStream {
    /// A header's value, or empty. `name` in lower case.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value)
    }
}

impl SpdyReader {
    /// The next bytes; `None` at the end.
    pub async fn read(&mut self) -> Option<Bytes> {
        self.0.recv().await
    }
}

impl SpdyWriter {
    /// Sends bytes. False if the client has gone.
    pub async fn write(&self, bytes: &[u8]) -> bool {
        for part in bytes.chunks(DATA_MAX) {
            let frame = SpdyFrame::Data {
                stream: self.number,
                bytes: Bytes::copy_from_slice(part),
                last: false,
            };
            if self.outbox.send(frame).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Completes when the client has reset the stream or has gone.
    pub fn reset(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut alive = self.alive.clone();
        // Nothing is ever sent: only the sender's end matters.
        async move { while alive.changed().await.is_ok() {} }
    }

    /// Ends this direction.
    pub async fn finish(self) {
        let frame = SpdyFrame::Data {
            stream: self.number,
            bytes: Bytes::new(),
            last: true,
        };
        // A client that has gone needs no end.
        let _ = self.outbox.send(frame).await;
    }
}

/// A stream as the reading side sees it; forgetting it ends the stream's reset future.
struct Open {
    /// `None` after the client's last bytes.
    inbox: Option<mpsc::Sender<Bytes>>,
    alive: watch::Sender<()>,
}

/// The reading side's memory.
struct Reader {
    open: BTreeMap<u32, Open>,
    last: u32,
    announce: mpsc::Sender<SpdyStream>,
    outbox: mpsc::Sender<SpdyFrame>,
}

impl Reader {
    /// Ends with the connection or at the client's first mistake; all streams end with it.
    async fn run<T: AsyncRead>(mut self, mut read: ReadHalf<T>) {
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; READ];
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            decoder.push(&buffer[..count]);
            loop {
                match decoder.next_frame() {
                    Ok(None) => break,
                    Ok(Some(SpdyFrame::GoAway(_))) => continue,
                    Ok(Some(frame)) => {
                        if self.take(frame).await.is_err() {
                            return;
                        }
                    }
                    Err(_) => return,
                }
            }
        }
    }

    async fn take(&mut self, frame: SpdyFrame) -> Result<(), SpdyError> {
        match frame {
            SpdyFrame::Open {
                stream,
                headers,
                last,
            } => return self.opened(stream, headers, last).await,
            SpdyFrame::Data {
                stream,
                bytes,
                last,
            } => {
                let Some(open) = self.open.get_mut(&stream) else {
                    return Ok(());
                };
                if let Some(inbox) = open.inbox.as_ref().filter(|_| !bytes.is_empty()) {
                    // Nobody may be reading any more; the bytes are then of no interest.
                    let _ = inbox.send(bytes).await;
                }
                if last {
                    open.inbox = None;
                }
            }
            SpdyFrame::Reset { stream, .. } => {
                self.open.remove(&stream);
            }
            // The client's numbers are odd; an even one answers a ping that was never sent.
            SpdyFrame::Ping(number) if number % 2 == 1 => {
                let _ = self.outbox.send(SpdyFrame::Ping(number)).await;
            }
            SpdyFrame::Ping(_) | SpdyFrame::GoAway(_) | SpdyFrame::Reply { .. } => {}
        }
        Ok(())
    }

    async fn opened(&mut self, number: u32, headers: Headers, last: bool) -> Result<(), SpdyError> {
        if number.is_multiple_of(2) || number <= self.last {
            return Err(SpdyError("a stream's number is not in order"));
        }
        self.last = number;
        self.open.retain(|_, open| !open.alive.is_closed());
        if self.open.len() >= STREAMS_MAX {
            let refusal = SpdyFrame::Reset {
                stream: number,
                code: REFUSED,
            };
            let _ = self.outbox.send(refusal).await;
            return Ok(());
        }
        let (inbox, bytes) = mpsc::channel(INBOX);
        let (alive, watched) = watch::channel(());
        let inbox = (!last).then_some(inbox);
        self.open.insert(number, Open { inbox, alive });
        let reply = SpdyFrame::Reply {
            stream: number,
            headers: Headers::new(),
            last: false,
        };
        let gone = SpdyError("the connection has ended");
        self.outbox.send(reply).await.map_err(|_| gone)?;
        let stream = SpdyStream {
            number,
            headers,
            reader: SpdyReader(bytes),
            writer: SpdyWriter {
                number,
                outbox: self.outbox.clone(),
                alive: watched,
            },
        };
        // Nobody may be accepting any more while the last streams end.
        let _ = self.announce.send(stream).await;
        Ok(())
    }
}

async fn write_frames<T: AsyncWrite>(
    mut write: WriteHalf<T>,
    mut frames: mpsc::Receiver<SpdyFrame>,
) {
    let mut encoder = Encoder::default();
    while let Some(frame) = frames.recv().await {
        let sent = write.write_all(&encoder.encode(&frame)).await;
        if sent.is_err() || write.flush().await.is_err() {
            return;
        }
    }
    // The other side may have closed already.
    let _ = write.shutdown().await;
}
