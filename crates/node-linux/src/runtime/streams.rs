//! Live streams: commands in containers, attached containers, connections into pods.

use super::{Shared, blocking, io_error, netns};
use crate::{
    client::Stream,
    spec::{ContainerRecord, ExecSpec, Request},
    sys,
    wire::{self, HEADER, Kind},
};
use env::{
    BoxFuture, ByteStream, ExecOutput, Output, RuntimeError, RuntimeResult, Session, StreamOptions,
    TerminalSize,
};
use std::{
    fs::File,
    future::Future,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, unix::AsyncFd},
    net::{TcpStream, UnixStream, tcp, unix::pipe},
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

/// Bytes moved at once.
const CHUNK: usize = 32 << 10;
/// Chunks a session holds for a slow client before its program has to wait.
const BACKLOG: usize = 16;
/// How long output is awaited after a command's end if another process keeps it open.
const DRAIN: Duration = Duration::from_millis(500);
/// Bytes of each stream a synchronous command returns.
const MAX_CAPTURE: usize = 64 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a session's input goes.
enum Input {
    Pipe(pipe::Sender),
    Terminal(AsyncFd<OwnedFd>),
}

impl Input {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let terminal = match self {
            Self::Pipe(sender) => return sender.write_all(bytes).await,
            Self::Terminal(terminal) => terminal,
        };
        let mut left = bytes;
        while !left.is_empty() {
            let written = terminal
                .writable()
                .await?
                .try_io(|fd| sys::write(fd.as_fd(), left));
            if let Ok(count) = written {
                left = &left[count?..];
            }
        }
        Ok(())
    }
}

/// An exec or attach session.
struct LiveSession {
    input: Mutex<Option<Input>>,
    output: Mutex<mpsc::Receiver<Output>>,
    terminal: Option<OwnedFd>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for LiveSession {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Session for LiveSession {
    fn write<'a>(&'a self, input: &'a [u8]) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move {
            let mut target = self.input.lock().await;
            if input.is_empty() {
                *target = None;
                return Ok(());
            }
            match target.as_mut() {
                Some(target) => target.write(input).await.map_err(io_error("StreamError")),
                None => Err(RuntimeError::new("StreamError", "standard input is closed")),
            }
        })
    }

    fn read(&self) -> BoxFuture<'_, Output> {
        Box::pin(async move {
            let next = self.output.lock().await.recv().await;
            next.unwrap_or_else(|| Output::Failed("the session has ended".into()))
        })
    }

    fn resize(&self, size: TerminalSize) {
        if let Some(terminal) = &self.terminal {
            // A terminal whose program has ended has no size worth keeping.
            let _ = sys::resize_terminal(terminal.as_fd(), size.width, size.height);
        }
    }
}

/// Lets the executor wait for a descriptor.
fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd stays open, and the same, for as long as the AsyncFd owns it.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}

/// The supervisor's ends and ours of a command's streams.
struct Pipes {
    theirs: [OwnedFd; 3],
    stdin: Option<OwnedFd>,
    outputs: [OwnedFd; 2],
}

impl Pipes {
    fn new(with_stdin: bool) -> io::Result<Self> {
        let (input, stdin) = if with_stdin {
            let (read, write) = sys::pipe()?;
            (read, Some(write))
        } else {
            (File::open("/dev/null")?.into(), None)
        };
        let (stdout, output) = sys::pipe()?;
        let (stderr, error) = sys::pipe()?;
        Ok(Self {
            theirs: [input, output, error],
            stdin,
            outputs: [stdout, stderr],
        })
    }
}

/// A command that has been started: our pipe ends (without a terminal) and the connection.
struct Command {
    stdin: Option<OwnedFd>,
    outputs: Option<[OwnedFd; 2]>,
    stream: Stream,
}

async fn start_command(
    shared: &Arc<Shared>,
    spec: ExecSpec,
    with_stdin: bool,
) -> RuntimeResult<Command> {
    let shared = shared.clone();
    blocking(move || {
        let tty = spec.tty;
        let request = Request::Exec(Box::new(spec));
        if tty {
            let (_, stream) = shared.client.open(&request, &[])?;
            return Ok(Command {
                stdin: None,
                outputs: None,
                stream,
            });
        }
        let pipes = Pipes::new(with_stdin).map_err(io_error("ExecError"))?;
        let fds = pipes.theirs.each_ref().map(AsFd::as_fd);
        let (_, stream) = shared.client.open(&request, &fds)?;
        Ok(Command {
            stdin: pipes.stdin,
            outputs: Some(pipes.outputs),
            stream,
        })
    })
    .await
}

fn to_async(stream: std::os::unix::net::UnixStream) -> io::Result<UnixStream> {
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

async fn read_frame(socket: &mut UnixStream) -> io::Result<(Kind, Vec<u8>)> {
    let mut header = [0; HEADER];
    socket.read_exact(&mut header).await?;
    let (kind, length) = wire::header(header)?;
    let mut payload = vec![0; length];
    socket.read_exact(&mut payload).await?;
    Ok((kind, payload))
}

/// The exit code the supervisor reports at last.
async fn wait_exit(socket: &mut UnixStream) -> Output {
    loop {
        match read_frame(socket).await {
            Ok((Kind::Exit, code)) => return Output::Exit(exit_code(&code)),
            Ok(_) => {}
            Err(error) => return Output::Failed(format!("container supervisor: {error}")),
        }
    }
}

fn exit_code(payload: &[u8]) -> i32 {
    payload.try_into().map(i32::from_le_bytes).unwrap_or(-1)
}

pub(super) async fn exec(
    shared: &Arc<Shared>,
    id: &str,
    command: &[String],
    options: StreamOptions,
) -> RuntimeResult<Arc<dyn Session>> {
    let spec = ExecSpec {
        container: id.to_owned(),
        arguments: command.to_vec(),
        tty: options.tty,
        kill_on_close: false,
    };
    let command = start_command(shared, spec, options.stdin).await?;
    command_session(command, options).map_err(io_error("ExecError"))
}

fn command_session(command: Command, options: StreamOptions) -> io::Result<Arc<dyn Session>> {
    let Command {
        stdin,
        outputs,
        mut stream,
    } = command;
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let mut socket = to_async(stream.socket)?;
    let mut readers = Vec::new();
    let mut input = stdin
        .map(pipe::Sender::from_owned_fd)
        .transpose()?
        .map(Input::Pipe);
    let mut terminal = None;
    if let Some(console) = stream.fds.pop() {
        sys::set_nonblocking(console.as_fd())?;
        let source = watch(console.try_clone()?)?;
        readers.push(tokio::spawn(copy_terminal(source, sender.clone())));
        input = options
            .stdin
            .then(|| watch(console.try_clone()?).map(Input::Terminal))
            .transpose()?;
        terminal = Some(console);
    }
    if let Some([stdout, stderr]) = outputs {
        let stdout = pipe::Receiver::from_owned_fd(stdout)?;
        let stderr = pipe::Receiver::from_owned_fd(stderr)?;
        readers.push(tokio::spawn(copy_pipe(
            stdout,
            sender.clone(),
            Output::Stdout,
        )));
        readers.push(tokio::spawn(copy_pipe(
            stderr,
            sender.clone(),
            Output::Stderr,
        )));
    }
    let aborts: Vec<_> = readers.iter().map(JoinHandle::abort_handle).collect();
    let finish = tokio::spawn(async move {
        let exit = wait_exit(&mut socket).await;
        for (reader, abort) in readers.into_iter().zip(&aborts) {
            if tokio::time::timeout(DRAIN, reader).await.is_err() {
                abort.abort();
            }
        }
        // A client that has gone does not want to know.
        let _ = sender.send(exit).await;
    });
    Ok(Arc::new(LiveSession {
        input: Mutex::new(input),
        output: Mutex::new(receiver),
        terminal,
        tasks: vec![finish],
    }))
}

async fn copy_pipe(
    mut from: pipe::Receiver,
    to: mpsc::Sender<Output>,
    wrap: fn(Vec<u8>) -> Output,
) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            () = to.closed() => return,
        };
        match read {
            Ok(count) if count > 0 => {
                if to.send(wrap(buffer[..count].to_vec())).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

async fn read_terminal(terminal: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut ready = terminal.readable().await?;
        if let Ok(read) = ready.try_io(|fd| sys::read(fd.as_fd(), buffer)) {
            return read;
        }
    }
}

async fn copy_terminal(from: AsyncFd<OwnedFd>, to: mpsc::Sender<Output>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            read = read_terminal(&from, &mut buffer) => read,
            () = to.closed() => return,
        };
        // A terminal ends with EIO when its last user has gone.
        match read {
            Ok(count) if count > 0 => {
                if to
                    .send(Output::Stdout(buffer[..count].to_vec()))
                    .await
                    .is_err()
                {
                    return;
                }
            }
            _ => return,
        }
    }
}

pub(super) async fn attach(
    shared: &Arc<Shared>,
    id: &str,
    options: StreamOptions,
) -> RuntimeResult<Arc<dyn Session>> {
    let (shared, id) = (shared.clone(), id.to_owned());
    let (record, stream) = blocking(move || {
        let record = shared
            .client
            .container(&Request::Inspect { id: id.clone() })?;
        // A terminal is wanted even without input: for its size.
        let stdin = options.stdin || record.spec.tty;
        let (_, stream) = shared.client.open(&Request::Attach { id, stdin }, &[])?;
        Ok((record, stream))
    })
    .await?;
    attach_session(&record, stream, options).map_err(io_error("AttachError"))
}

fn attach_session(
    record: &ContainerRecord,
    mut stream: Stream,
    options: StreamOptions,
) -> io::Result<Arc<dyn Session>> {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let socket = to_async(stream.socket)?;
    let (mut input, mut terminal) = (None, None);
    if let Some(fd) = stream.fds.pop() {
        if record.spec.tty {
            let own = watch(fd.try_clone()?)?;
            input = options.stdin.then_some(Input::Terminal(own));
            terminal = Some(fd);
        } else {
            input = Some(Input::Pipe(pipe::Sender::from_owned_fd(fd)?));
        }
    }
    let task = tokio::spawn(copy_frames(socket, sender, options));
    Ok(Arc::new(LiveSession {
        input: Mutex::new(input),
        output: Mutex::new(receiver),
        terminal,
        tasks: vec![task],
    }))
}

async fn copy_frames(mut socket: UnixStream, to: mpsc::Sender<Output>, options: StreamOptions) {
    loop {
        let output = match read_frame(&mut socket).await {
            Ok((Kind::Stdout, bytes)) if options.stdout => Output::Stdout(bytes),
            Ok((Kind::Stderr, bytes)) if options.stderr => Output::Stderr(bytes),
            Ok((Kind::Exit, code)) => Output::Exit(exit_code(&code)),
            Ok(_) => continue,
            Err(error) => Output::Failed(format!("container supervisor: {error}")),
        };
        let last = matches!(output, Output::Exit(_) | Output::Failed(_));
        if to.send(output).await.is_err() || last {
            return;
        }
    }
}

pub(super) async fn exec_sync(
    shared: &Arc<Shared>,
    id: &str,
    command: &[String],
    timeout: Duration,
) -> RuntimeResult<ExecOutput> {
    let spec = ExecSpec {
        container: id.to_owned(),
        arguments: command.to_vec(),
        tty: false,
        kill_on_close: true,
    };
    let started = start_command(shared, spec, false).await?;
    let finished = run_to_end(started);
    if timeout.is_zero() {
        return finished.await.map_err(io_error("ExecError"));
    }
    tokio::select! {
        output = finished => output.map_err(io_error("ExecError")),
        () = shared.world.sleep(timeout) => {
            let text = format!("command {:?} timed out after {timeout:?}", command.join(" "));
            Err(RuntimeError::new("DeadlineExceeded", text))
        }
    }
}

async fn run_to_end(command: Command) -> io::Result<ExecOutput> {
    let mut socket = to_async(command.stream.socket)?;
    let [stdout, stderr] = command.outputs.ok_or(io::ErrorKind::InvalidInput)?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = {
        let capture = |fd| pipe::Receiver::from_owned_fd(fd);
        let (stdout, stderr) = (capture(stdout)?, capture(stderr)?);
        let copies = async {
            futures::future::join(copy_capped(stdout, &mut out), copy_capped(stderr, &mut err))
                .await
        };
        exit_and_drain(wait_exit(&mut socket), copies).await
    };
    match exit {
        Output::Exit(exit_code) => Ok(ExecOutput {
            exit_code,
            stdout: out,
            stderr: err,
        }),
        Output::Failed(text) => Err(io::Error::other(text)),
        Output::Stdout(_) | Output::Stderr(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The exit code; after it, output gets a moment to end.
async fn exit_and_drain<T>(
    exit: impl Future<Output = Output>,
    copies: impl Future<Output = T>,
) -> Output {
    tokio::pin!(copies, exit);
    let code = tokio::select! {
        code = &mut exit => code,
        _ = &mut copies => return exit.await,
    };
    // A process left behind may hold the pipes; its output is nobody's concern here.
    let _ = tokio::time::timeout(DRAIN, copies).await;
    code
}

async fn copy_capped(mut from: pipe::Receiver, to: &mut Vec<u8>) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        let room = MAX_CAPTURE - to.len();
        to.extend_from_slice(&buffer[..count.min(room)]);
    }
}

/// A TCP connection into a sandbox.
struct PodConnection {
    read: Mutex<tcp::OwnedReadHalf>,
    write: Mutex<tcp::OwnedWriteHalf>,
}

impl ByteStream for PodConnection {
    fn write<'a>(&'a self, bytes: &'a [u8]) -> BoxFuture<'a, RuntimeResult<()>> {
        Box::pin(async move {
            let mut half = self.write.lock().await;
            let result = if bytes.is_empty() {
                half.shutdown().await
            } else {
                half.write_all(bytes).await
            };
            result.map_err(io_error("StreamError"))
        })
    }

    fn read(&self) -> BoxFuture<'_, RuntimeResult<Vec<u8>>> {
        Box::pin(async move {
            let mut buffer = vec![0; CHUNK];
            let count = self.read.lock().await.read(&mut buffer).await;
            buffer.truncate(count.map_err(io_error("StreamError"))?);
            Ok(buffer)
        })
    }
}

pub(super) async fn connect(
    shared: &Arc<Shared>,
    sandbox: &str,
    port: u16,
) -> RuntimeResult<Arc<dyn ByteStream>> {
    let (owner, id) = (shared.clone(), sandbox.to_owned());
    let netns = blocking(move || owner.sandbox_netns(&id)).await?;
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let connected = match netns::connect_async(&netns, v4, CONNECT_TIMEOUT).await {
        Err(first) => netns::connect_async(&netns, v6, CONNECT_TIMEOUT)
            .await
            .map_err(|_| first),
        connected => connected,
    };
    let stream: TcpStream = connected.map_err(|error| {
        let text = format!("failed to connect to localhost:{port} inside sandbox: {error}");
        RuntimeError::new("StreamError", text)
    })?;
    let (read, write) = stream.into_split();
    Ok(Arc::new(PodConnection {
        read: Mutex::new(read),
        write: Mutex::new(write),
    }))
}
