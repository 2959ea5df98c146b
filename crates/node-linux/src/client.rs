//! The agent's side of the supervisor's socket; blocking, one connection per request.
//!
//! Upstream counterpart: containerd's shim client.

use crate::{
    layout::Layout,
    spec::{ContainerRecord, Request, Response, SandboxRecord},
    sys,
    wire::{self, HEADER, Kind},
};
use env::{RuntimeError, RuntimeResult};
use std::{
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// How long a new supervisor may take to answer: recovery ends what its predecessor left.
const START_ATTEMPTS: usize = 1_000;
const START_PAUSE: Duration = Duration::from_millis(10);

/// A connection that stays open after its response.
pub struct Stream {
    /// The connection.
    pub socket: UnixStream,
    /// Descriptors that came with the response.
    pub fds: Vec<OwnedFd>,
}

/// Where a supervisor listens.
#[derive(Clone, Debug)]
pub struct SupervisorClient {
    socket: PathBuf,
    revival: Option<Arc<Revival>>,
}

/// How to start a supervisor again that has died.
#[derive(Debug)]
struct Revival {
    command: Vec<String>,
    state: PathBuf,
    /// It was asked to end, so nobody may bring it back.
    ended: AtomicBool,
    one_at_a_time: Mutex<()>,
}

/// Reasons of the supervisor as the constants that errors carry.
fn known_reason(reason: &str) -> &'static str {
    const REASONS: [&str; 12] = [
        "NotFound",
        "InvalidRequest",
        "CreatePodSandboxError",
        "KillPodSandboxError",
        "CreateContainerError",
        "RunContainerError",
        "KillContainerError",
        "ResizeError",
        "RemoveContainerError",
        "ContainerNotRunning",
        "ExecError",
        "AttachError",
    ];
    REASONS
        .into_iter()
        .find(|known| *known == reason)
        .unwrap_or("RuntimeError")
}

fn broken(error: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::new(
        "ContainerRuntimeUnavailable",
        format!("container supervisor: {error}"),
    )
}

impl SupervisorClient {
    /// A client of the supervisor at `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            revival: None,
        }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// One request, one response.
    pub(crate) fn call(&self, request: &Request) -> RuntimeResult<Response> {
        self.open(request, &[]).map(|(response, _)| response)
    }

    pub(crate) fn sandbox(&self, request: &Request) -> RuntimeResult<SandboxRecord> {
        match self.call(request)? {
            Response::Sandbox(record) => Ok(*record),
            other => Err(broken(format!("unexpected response {other:?}"))),
        }
    }

    pub(crate) fn container(&self, request: &Request) -> RuntimeResult<ContainerRecord> {
        match self.call(request)? {
            Response::Container(record) => Ok(*record),
            other => Err(broken(format!("unexpected response {other:?}"))),
        }
    }

    /// A request with descriptors; the connection stays open for what follows.
    pub(crate) fn open(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> RuntimeResult<(Response, Stream)> {
        let exchanged = self.exchange(request, fds).map_err(broken)?;
        match exchanged {
            (Response::Failed { reason, message }, _) => {
                Err(RuntimeError::new(known_reason(&reason), message))
            }
            answered => Ok(answered),
        }
    }

    /// Connects, starting the supervisor again if it has died: its containers are lost then, and
    /// the new one records that.
    fn connect(&self) -> io::Result<UnixStream> {
        use io::ErrorKind::{ConnectionRefused, NotFound};
        match (UnixStream::connect(&self.socket), &self.revival) {
            (Err(error), Some(revival)) if matches!(error.kind(), ConnectionRefused | NotFound) => {
                revival.revive(&self.socket)?;
                UnixStream::connect(&self.socket)
            }
            (connected, _) => connected,
        }
    }

    fn exchange(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<(Response, Stream)> {
        let mut socket = self.connect()?;
        let bytes = wire::frame(Kind::Message, &serde_json::to_vec(request)?);
        let mut sent = sys::send(socket.as_fd(), &bytes, fds)?;
        while sent < bytes.len() {
            sent += sys::send(socket.as_fd(), &bytes[sent..], &[])?;
        }
        let mut header = [0; HEADER];
        let (mut count, fds) = sys::receive(socket.as_fd(), &mut header)?;
        while count < HEADER {
            match socket.read(&mut header[count..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => count += more,
            }
        }
        let (_, length) = wire::header(header)?;
        let mut payload = vec![0; length];
        socket.read_exact(&mut payload)?;
        let response = serde_json::from_slice(&payload)?;
        Ok((response, Stream { socket, fds }))
    }

    /// Whether a supervisor answers.
    pub fn is_alive(&self) -> bool {
        let plain = Self::new(&self.socket);
        plain.call(&Request::Ping).is_ok()
    }

    /// Asks the supervisor to kill and remove everything and end; waits until it has.
    pub fn shutdown(&self) -> RuntimeResult<()> {
        if let Some(revival) = &self.revival {
            revival.ended.store(true, Ordering::Release);
        }
        let (_, mut stream) = self.open(&Request::Shutdown, &[])?;
        let mut rest = Vec::new();
        // The connection closes with the process; how it closes does not matter.
        let _ = stream.socket.read_to_end(&mut rest);
        Ok(())
    }
}

impl Revival {
    fn revive(&self, socket: &Path) -> io::Result<()> {
        if self.ended.load(Ordering::Acquire) {
            return Err(io::Error::other("the supervisor was shut down"));
        }
        let _turn = self
            .one_at_a_time
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if SupervisorClient::new(socket).is_alive() {
            return Ok(());
        }
        start_process(&self.command, socket, &self.state)
    }
}

/// Starts a supervisor for a state directory unless one answers already. `command` is the program
/// (normally the own executable) with the arguments that make it call
/// [`supervisor_main`](crate::supervisor_main); socket and state directory are appended. The
/// client starts it again should it die.
pub fn spawn_supervisor(
    command: &[&str],
    socket: &Path,
    state: &Path,
) -> io::Result<SupervisorClient> {
    let revival = Revival {
        command: command.iter().map(|word| word.to_string()).collect(),
        state: state.to_owned(),
        ended: AtomicBool::new(false),
        one_at_a_time: Mutex::new(()),
    };
    revival.revive(socket)?;
    Ok(SupervisorClient {
        socket: socket.to_owned(),
        revival: Some(Arc::new(revival)),
    })
}

fn start_process(command: &[String], socket: &Path, state: &Path) -> io::Result<()> {
    let [program, leading @ ..] = command else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "no supervisor program",
        ));
    };
    fs::create_dir_all(state)?;
    let path = Layout::new(state).journal();
    let journal = File::options().create(true).append(true).open(&path)?;
    let mut child = Command::new(program)
        .args(leading)
        .args([socket, state])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(journal.try_clone()?)
        .stderr(journal)
        .spawn()?;
    let client = SupervisorClient::new(socket);
    for _ in 0..START_ATTEMPTS {
        if client.is_alive() {
            reap_later(child);
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let last = text.lines().last().unwrap_or_default();
            let text = format!("the supervisor ended ({status}): {last}");
            return Err(io::Error::other(text));
        }
        thread::sleep(START_PAUSE);
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "the supervisor does not answer",
    ))
}

/// Keeps an ended supervisor from staying in the process table.
fn reap_later(mut child: Child) {
    let name = "supervisor-reaper".to_owned();
    // Without the thread a dead entry stays until the agent ends: harmless.
    let _ = thread::Builder::new()
        .name(name)
        .spawn(move || child.wait());
}
