//! One connection's bytes under TLS: encrypted as they are written, sent when everything that
//! was ready has been written.
//!
//! A server of HTTP writes and flushes frame by frame; a system call and a wake-up of the reader
//! for each would cost more than the frame. So a flush only notes that something waits, and
//! [`Wire::serve`] sends once per turn of the connection. Knows no HTTP. Upstream counterpart:
//! `crypto/tls.Conn` under `net/http`'s buffered writers.

use std::{
    future::Future,
    io::{self, BufRead, IoSlice, Read, Write},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{rustls::ServerConnection, server::TlsStream};

/// Encrypted bytes that wait for the socket at most; a reader that does not take them is not
/// written for. Also what one system call sends at most: larger ones save nothing more.
const UNSENT_MAX: usize = 128 * 1024;
/// A client may go on sending for so long after its answer (upstream's number).
const LINGER_MAX: Duration = Duration::from_millis(500);
/// Bytes thrown away by one system call meanwhile.
const DISCARDED_AT_ONCE: usize = 64 * 1024;

/// A connection after its handshake, shared by who writes it and who sends it.
pub(crate) struct Wire(Arc<Mutex<Line>>);

struct Line {
    socket: TcpStream,
    tls: ServerConnection,
    /// Whether nobody sends at the end of a turn, so that a flush must.
    alone: bool,
}

impl Wire {
    /// Takes a connection over.
    pub(crate) fn new(stream: TlsStream<TcpStream>) -> Self {
        let (socket, mut tls) = stream.into_inner();
        tls.set_buffer_limit(Some(UNSENT_MAX));
        Self(Arc::new(Mutex::new(Line {
            socket,
            tls,
            alone: true,
        })))
    }

    /// Runs what `serve` makes of this connection to its end, sending after every turn what it
    /// has written.
    pub(crate) async fn serve<F: Future>(self, serve: impl FnOnce(Self) -> F) {
        let line = self.0.clone();
        lock(&line).alone = false;
        turns(&line, serve(self)).await;
        if let Some(line) = Arc::into_inner(line) {
            line.into_inner()
                .expect("reading and writing do not panic")
                .linger()
                .await;
        }
    }
}

/// Polls `service` to its end and sends after each turn.
async fn turns(line: &Mutex<Line>, service: impl Future) {
    let mut service = pin!(service);
    std::future::poll_fn(|context| {
        let served = service.as_mut().poll(context).is_ready();
        let mut line = lock(line);
        // Whoever has taken the connection over meanwhile sends by itself from now on.
        line.alone |= served;
        match line.send(context) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            _ if served => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().expect("reading and writing do not panic")
}

impl Line {
    /// Sends what is encrypted.
    fn send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            let Self { socket, tls, .. } = self;
            match tls.write_tls(&mut Socket { socket, context }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(why) => return Poll::Ready(Err(why)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Closes so that a client which is still sending can read its answer: a socket closed with
    /// bytes unread is reset, and what was sent last is lost with it.
    async fn linger(mut self) {
        let rest = async {
            self.socket.shutdown().await?;
            let mut unread = vec![0; DISCARDED_AT_ONCE];
            while self.socket.read(&mut unread).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        // Who has not finished by then is cut off; there is nobody to tell.
        let _ = tokio::time::timeout(LINGER_MAX, rest).await;
    }

    fn write(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if parts.iter().all(|part| part.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        loop {
            let taken = self.tls.writer().write_vectored(parts)?;
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
            // Full: there is room again once the socket has taken something.
            ready!(self.send(context))?;
        }
    }

    fn read(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.tls.reader().into_first_chunk() {
                Ok(bytes) => {
                    let taken = bytes.len().min(into.remaining());
                    into.put_slice(&bytes[..taken]);
                    self.tls.reader().consume(taken);
                    return Poll::Ready(Ok(()));
                }
                Err(why) if why.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(why));
                }
                Err(_) => ready!(self.receive(context))?,
            }
        }
    }

    /// Takes in what the socket has; the end of the stream is the session's to judge.
    fn receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, tls, .. } = self;
        match tls.read_tls(&mut Socket { socket, context }) {
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            taken => taken?,
        };
        self.tls.process_new_packets().map_err(|why| {
            // The client is told why, if it still listens; the failure is what matters.
            let _ = self.send(context);
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?;
        Poll::Ready(Ok(()))
    }
}

/// The socket as something that would rather not wait.
struct Socket<'s, 'w, 'c> {
    socket: &'s mut TcpStream,
    context: &'w mut Context<'c>,
}

fn at_once<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Read for Socket<'_, '_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut into = ReadBuf::new(into);
        at_once(Pin::new(&mut *self.socket).poll_read(self.context, &mut into))?;
        Ok(into.filled().len())
    }
}

impl Write for Socket<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        at_once(Pin::new(&mut *self.socket).poll_write(self.context, bytes))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        at_once(Pin::new(&mut *self.socket).poll_write_vectored(self.context, parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        lock(&self.0).read(context, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).write(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).write(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut line = lock(&self.0);
        match line.alone {
            true => line.send(context),
            false => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut line = lock(&self.0);
        line.tls.send_close_notify();
        ready!(line.send(context))?;
        Pin::new(&mut line.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LiveTls, new_authority, new_server, stream::trusting};
    use env::Time;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use tokio::net::TcpListener;
    use tokio_rustls::{TlsAcceptor, client};

    /// Both ends of a connection.
    async fn pair() -> (Wire, client::TlsStream<TcpStream>) {
        let now = Time::from_unix_seconds(1_800_000_000);
        let authority = new_authority("test", now).unwrap();
        let own = new_server(&authority, &["localhost"], &[], now).unwrap();
        let tls = LiveTls::new(&authority.certificate, &own).unwrap().config();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (far, _) = listener.accept().await.unwrap();
        let accept = TlsAcceptor::from(tls).accept(far);
        let (far, near) = tokio::join!(accept, trusting::connect(near.unwrap()));
        (Wire::new(far.unwrap()), near.unwrap())
    }

    #[tokio::test]
    async fn what_a_turn_writes_arrives_without_another() {
        let (wire, mut client) = pair().await;
        let serving = tokio::spawn(wire.serve(async |mut wire: Wire| {
            for part in ["what ", "was ", "written"] {
                wire.write_all(part.as_bytes()).await.unwrap();
                wire.flush().await.unwrap();
            }
            let mut answer = [0; 4];
            wire.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"seen");
            wire.shutdown().await.unwrap();
        }));
        let mut all = [0; 16];
        client.read_exact(&mut all).await.unwrap();
        assert_eq!(&all, b"what was written");
        client.write_all(b"seen").await.unwrap();
        assert_eq!(client.read(&mut all).await.unwrap(), 0);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_written_for_who_does_not_read() {
        const ALL: usize = 64 << 20;
        let (wire, mut client) = pair().await;
        let written = Arc::new(AtomicUsize::new(0));
        let count = written.clone();
        let serving = tokio::spawn(wire.serve(async move |mut wire: Wire| {
            let block = vec![7; 1 << 16];
            while count.load(SeqCst) < ALL {
                wire.write_all(&block).await.unwrap();
                wire.flush().await.unwrap();
                count.fetch_add(block.len(), SeqCst);
            }
            wire.shutdown().await.unwrap();
        }));
        // The socket takes a few megabytes; then the writer stands still.
        let mut before = usize::MAX;
        while before != written.load(SeqCst) {
            before = written.load(SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!((1..ALL / 2).contains(&before), "{before}");
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.len(), ALL);
        assert!(got.iter().all(|byte| *byte == 7));
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn who_takes_it_over_flushes_alone() {
        let (wire, mut client) = pair().await;
        let (taken, taker) = tokio::sync::oneshot::channel();
        wire.serve(async |mut wire: Wire| {
            wire.write_all(b"switched ").await.unwrap();
            wire.flush().await.unwrap();
            assert!(taken.send(wire).is_ok());
        })
        .await;
        let mut wire = taker.await.unwrap();
        wire.write_all(b"over").await.unwrap();
        wire.flush().await.unwrap();
        let mut all = [0; 13];
        client.read_exact(&mut all).await.unwrap();
        assert_eq!(&all, b"switched over");
    }

    #[tokio::test]
    async fn who_is_still_sending_reads_the_answer() {
        let (wire, mut client) = pair().await;
        let serving = tokio::spawn(wire.serve(async |mut wire: Wire| {
            let mut first = [0; 4];
            wire.read_exact(&mut first).await.unwrap();
            wire.write_all(b"too much").await.unwrap();
            wire.shutdown().await.unwrap();
        }));
        client.write_all(&vec![7; 8 << 20]).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"too much");
        drop(client);
        serving.await.unwrap();
    }
}
