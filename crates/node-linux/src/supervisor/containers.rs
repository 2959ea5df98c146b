//! A container's life in the supervisor: start, output, end.

use super::{Garbage, Source, Supervisor, launch::Started, now, records};
use crate::{
    log::{self, LogWriter, Stream},
    spec::{ContainerRecord, Exit, Phase},
    sys,
    wire::Kind,
};
use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

/// Bytes taken from a stream at once.
const CHUNK: usize = 64 << 10;
/// Chunks taken from one stream before others get their turn.
const CHUNKS_PER_TURN: usize = 4;
/// Chunks taken after the end: more than a pipe can hold.
const CHUNKS_AT_END: usize = 64;
/// Longest termination message (`TerminationMessagePath` contract).
const MAX_TERMINATION_MESSAGE: usize = 4096;
/// Exit code of a container that could not be started, as containerd has it.
pub(super) const START_ERROR_CODE: i32 = 128;

/// A container and what belongs to its run.
pub(super) struct Container {
    /// What is on disk.
    pub record: ContainerRecord,
    /// First process.
    pub process: Option<(i32, OwnedFd)>,
    /// Write end of standard input.
    pub stdin: Option<OwnedFd>,
    /// Controlling side of the terminal.
    pub console: Option<OwnedFd>,
    /// Clients that get its output.
    pub attached: Vec<u64>,
    log: Option<LogWriter>,
    outputs: Vec<u64>,
}

impl Container {
    pub fn new(record: ContainerRecord) -> Self {
        Self {
            record,
            process: None,
            stdin: None,
            console: None,
            attached: Vec::new(),
            log: None,
            outputs: Vec::new(),
        }
    }
}

impl Supervisor {
    /// Starts a container on record; a failure becomes its end.
    pub(super) fn start_container(&mut self, id: &str) -> io::Result<()> {
        let container = self.containers.get(id).ok_or(io::ErrorKind::NotFound)?;
        let spec = container.record.spec.clone();
        let sandbox = self
            .sandboxes
            .get(&spec.sandbox)
            .ok_or(io::ErrorKind::NotFound)?;
        let pause = sandbox.pause.as_ref();
        let started_at = now();
        let launched = LogWriter::open(&spec.log_path).and_then(|log| {
            Ok((
                log,
                self.launcher.start(&spec, &sandbox.record.spec, pause)?,
            ))
        });
        let result = launched.and_then(|(log, started)| self.adopt(id, log, started, started_at));
        if let Err(error) = &result {
            self.garbage.push(Garbage::Container(spec.cgroup));
            let exit = Exit {
                started_at,
                finished_at: now(),
                code: START_ERROR_CODE,
                reason: "StartError".into(),
                message: error.to_string(),
            };
            self.set_phase(id, Phase::Exited(exit));
        }
        result
    }

    fn adopt(
        &mut self,
        id: &str,
        log: LogWriter,
        started: Started,
        started_at: u64,
    ) -> io::Result<()> {
        let Started {
            pid,
            pidfd,
            console,
            stdin,
            outputs,
        } = started;
        self.watch(pidfd.as_fd(), Source::Ended(id.to_owned()))?;
        let mut streams = Vec::new();
        if let Some(console) = &console {
            streams.push((Stream::Stdout, console.try_clone()?));
        }
        if let Some([output, error]) = outputs {
            streams.extend([(Stream::Stdout, output), (Stream::Stderr, error)]);
        }
        let mut tokens = Vec::new();
        for (stream, fd) in streams {
            sys::set_nonblocking(fd.as_fd())?;
            let token = self.watch_output(&fd)?;
            tokens.push(token);
            self.sources
                .insert(token, Source::Output(id.to_owned(), stream, fd));
        }
        let container = self.containers.get_mut(id).ok_or(io::ErrorKind::NotFound)?;
        container.process = Some((pid, pidfd));
        (container.stdin, container.console) = (stdin, console);
        (container.log, container.outputs) = (Some(log), tokens);
        self.set_phase(id, Phase::Running { pid, started_at });
        Ok(())
    }

    fn watch_output(&mut self, fd: &OwnedFd) -> io::Result<u64> {
        let token = self.next_token;
        self.next_token += 1;
        self.epoll.add(fd.as_fd(), token).map(|()| token)
    }

    fn set_phase(&mut self, id: &str, phase: Phase) {
        if let Some(container) = self.containers.get_mut(id) {
            container.record.phase = phase;
            if let Err(error) = records::save_container(&self.launcher.layout, &container.record) {
                eprintln!("recording container {id}: {error}");
            }
        }
        self.announce();
    }

    pub(super) fn copy_output(&mut self, token: u64) {
        if !self.copy_chunks(token, CHUNKS_PER_TURN) {
            self.close_output(token);
        }
    }

    /// Copies at most `limit` chunks; false when the stream has ended.
    fn copy_chunks(&mut self, token: u64, limit: usize) -> bool {
        let mut buffer = vec![0; CHUNK];
        for _ in 0..limit {
            let Some(Source::Output(id, stream, fd)) = self.sources.get(&token) else {
                return false;
            };
            let (id, stream) = (id.clone(), *stream);
            match sys::read(fd.as_fd(), &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // A terminal answers EIO when its last user has gone.
                Ok(0) | Err(_) => return false,
                Ok(count) => self.deliver(&id, stream, &buffer[..count]),
            }
        }
        true
    }

    fn close_output(&mut self, token: u64) {
        if let Some(Source::Output(_, _, fd)) = self.sources.remove(&token) {
            // Closing does the same, unless another copy of the descriptor is open.
            let _ = self.epoll.remove(fd.as_fd());
        }
    }

    fn deliver(&mut self, id: &str, stream: Stream, bytes: &[u8]) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        if let Some(log) = &mut container.log
            && let Err(error) = log.append(stream, bytes)
        {
            eprintln!("log of container {id}: {error}");
        }
        let kind = match stream {
            Stream::Stdout => Kind::Stdout,
            Stream::Stderr => Kind::Stderr,
        };
        for client in container.attached.clone() {
            self.send_frame(client, kind, bytes);
        }
    }

    pub(super) fn container_ended(&mut self, token: u64, id: &str) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let Some((_, pidfd)) = &container.process else {
            return;
        };
        let Ok(Some(code)) = sys::reap(pidfd.as_fd()) else {
            return;
        };
        // Leaving the epoll set by hand: the descriptor is closed only below.
        let _ = self.epoll.remove(pidfd.as_fd());
        self.sources.remove(&token);
        let spec = container.record.spec.clone();
        let outputs = std::mem::take(&mut container.outputs);
        self.launcher.cgroups.kill(&spec.cgroup);
        for output in outputs {
            self.copy_chunks(output, CHUNKS_AT_END);
            self.close_output(output);
        }
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        if let Some(mut log) = container.log.take()
            && let Err(error) = log.finish()
        {
            eprintln!("log of container {id}: {error}");
        }
        (container.process, container.stdin, container.console) = (None, None, None);
        let attached = std::mem::take(&mut container.attached);
        let started_at = match container.record.phase {
            Phase::Running { started_at, .. } => started_at,
            _ => now(),
        };
        let killed_for_memory =
            code == 128 + libc::SIGKILL && self.launcher.cgroups.oom_kills(&spec.cgroup) > 0;
        let mut message = read_message(&spec.termination_log);
        if message.is_empty() && code != 0 && spec.log_speaks {
            message = log::last_words(&spec.log_path);
        }
        let exit = Exit {
            started_at,
            finished_at: now(),
            code,
            reason: reason(code, killed_for_memory).into(),
            message,
        };
        self.garbage.push(Garbage::Container(spec.cgroup));
        self.collect_garbage();
        self.set_phase(id, Phase::Exited(exit));
        for client in attached {
            self.send_frame(client, Kind::Exit, &code.to_le_bytes());
        }
    }

    pub(super) fn command_ended(&mut self, token: u64, client: u64) {
        let Some(Source::CommandEnded(_)) = self.sources.get(&token) else {
            return;
        };
        let Some(pidfd) = self.commands.get(&token) else {
            return;
        };
        let Ok(Some(code)) = sys::reap(pidfd.as_fd()) else {
            return;
        };
        let _ = self.epoll.remove(pidfd.as_fd());
        self.sources.remove(&token);
        self.commands.remove(&token);
        if let Some(client) = self.clients.get_mut(&client) {
            client.command = None;
        }
        self.send_frame(client, Kind::Exit, &code.to_le_bytes());
    }
}

fn reason(code: i32, killed_for_memory: bool) -> &'static str {
    match code {
        _ if killed_for_memory => "OOMKilled",
        0 => "Completed",
        _ => "Error",
    }
}

fn read_message(path: &std::path::Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let start = bytes.len().saturating_sub(MAX_TERMINATION_MESSAGE);
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}
