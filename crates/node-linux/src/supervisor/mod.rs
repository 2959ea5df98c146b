//! The supervisor: one small single-threaded process that is the parent of all containers.
//!
//! It outlives the agent, reaps, keeps exit codes and state on disk, writes logs. It must not
//! know Kubernetes, images or networks, and never waits for a client. Upstream counterpart:
//! containerd's shims, all of them in one.

mod clients;
mod containers;
mod launch;
mod namespaces;
mod records;
mod recover;
mod requests;

use crate::{
    cgroup,
    layout::Layout,
    spec::{ContainerRecord, SandboxRecord},
    sys::{self, Epoll},
    wire::Kind,
};
use clients::Client;
use containers::Container;
use launch::Launcher;
use namespaces::Pause;
pub use recover::cleanup;
use std::{
    collections::BTreeMap,
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// Milliseconds between attempts to remove control groups that are still busy.
const GARBAGE_INTERVAL: i32 = 10;

/// What a readiness event is about.
enum Source {
    Listener,
    Client,
    /// Output of a container: its id and the stream.
    Output(String, crate::log::Stream, OwnedFd),
    /// End of a container's first process.
    Ended(String),
    /// End of a command that a client started.
    CommandEnded(u64),
}

/// A control group to remove.
enum Garbage {
    /// A container's: the pod's above it stays.
    Container(String),
    /// A pod's, and those above it if they have become empty.
    Pod(String),
}

/// A sandbox and its pause process, if it has one.
struct Sandbox {
    record: SandboxRecord,
    pause: Option<Pause>,
}

/// The whole state of the process.
struct Supervisor {
    launcher: Launcher,
    epoll: Epoll,
    listener: UnixListener,
    sources: BTreeMap<u64, Source>,
    clients: BTreeMap<u64, Client>,
    sandboxes: BTreeMap<String, Sandbox>,
    containers: BTreeMap<String, Container>,
    /// Running commands by the token of their end.
    commands: BTreeMap<u64, OwnedFd>,
    /// Control groups to remove as soon as the kernel lets us.
    garbage: Vec<Garbage>,
    next_token: u64,
    stopping: bool,
}

/// Microseconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_micros() as u64
}

/// The supervisor's program: `arguments` are the socket's path and the state directory.
/// Returns the process's exit code once it has been asked to shut down.
pub fn supervisor_main(arguments: &[String]) -> i32 {
    let [socket, state] = arguments else {
        eprintln!("usage: node-supervisor SOCKET STATE_DIRECTORY");
        return 2;
    };
    match serve(Path::new(socket), Layout::new(state.as_str())) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("node-supervisor: {error}");
            1
        }
    }
}

fn serve(socket: &Path, layout: Layout) -> io::Result<()> {
    // Already leader of a session if started by hand; then there is nothing to leave.
    let _ = sys::new_session();
    fs::create_dir_all(layout.layers())?;
    let _lock = recover::lock(&layout)?;
    let cgroups = cgroup::detect()?;
    let (sandboxes, containers) = recover::recover(&layout, cgroups.as_ref());
    // Left behind by a supervisor that died: nobody listens, the lock says so.
    let _ = fs::remove_file(socket);
    let listener = UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    let launcher = Launcher::new(layout, cgroups)?;
    let mut supervisor = Supervisor::new(launcher, listener, sandboxes, containers)?;
    supervisor.run()?;
    let cgroups = &supervisor.launcher.cgroups;
    recover::remove_all(&supervisor.launcher.layout, cgroups.as_ref())?;
    fs::remove_file(socket)
}

impl Supervisor {
    fn new(
        launcher: Launcher,
        listener: UnixListener,
        sandboxes: Vec<SandboxRecord>,
        containers: Vec<ContainerRecord>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        const LISTENER: u64 = 0;
        epoll.add(listener.as_fd(), LISTENER)?;
        let sandbox = |record: SandboxRecord| {
            (
                record.spec.id.clone(),
                Sandbox {
                    record,
                    pause: None,
                },
            )
        };
        let container = |record: ContainerRecord| (record.spec.id.clone(), Container::new(record));
        Ok(Self {
            launcher,
            epoll,
            listener,
            sources: [(LISTENER, Source::Listener)].into(),
            clients: BTreeMap::new(),
            sandboxes: sandboxes.into_iter().map(sandbox).collect(),
            containers: containers.into_iter().map(container).collect(),
            commands: BTreeMap::new(),
            garbage: Vec::new(),
            next_token: LISTENER + 1,
            stopping: false,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        while !self.stopping {
            let timeout = if self.garbage.is_empty() {
                -1
            } else {
                GARBAGE_INTERVAL
            };
            for token in self.epoll.wait(timeout)? {
                self.handle(token);
            }
            self.collect_garbage();
        }
        Ok(())
    }

    fn handle(&mut self, token: u64) {
        match self.sources.get(&token) {
            Some(Source::Listener) => self.accept(),
            Some(Source::Client) => self.serve_client(token),
            Some(Source::Output(..)) => self.copy_output(token),
            Some(Source::Ended(id)) => {
                let id = id.clone();
                self.container_ended(token, &id);
            }
            Some(Source::CommandEnded(client)) => {
                let client = *client;
                self.command_ended(token, client);
            }
            // An earlier event of the same batch closed it.
            None => {}
        }
    }

    fn watch(&mut self, fd: std::os::fd::BorrowedFd<'_>, source: Source) -> io::Result<u64> {
        let token = self.next_token;
        self.next_token += 1;
        self.epoll.add(fd, token)?;
        self.sources.insert(token, source);
        Ok(token)
    }

    /// Tells every subscriber that something changed.
    fn announce(&mut self) {
        let idle = |(token, client): (&u64, &Client)| {
            (client.subscribed && client.is_flushed()).then_some(*token)
        };
        let tokens: Vec<u64> = self.clients.iter().filter_map(idle).collect();
        for token in tokens {
            self.send_frame(token, Kind::Changed, &[]);
        }
    }

    fn collect_garbage(&mut self) {
        let cgroups = &self.launcher.cgroups;
        self.garbage.retain(|garbage| match garbage {
            Garbage::Container(path) => cgroups.remove(path).is_err(),
            Garbage::Pod(path) => {
                let kept = cgroups.remove(path).is_err();
                if !kept {
                    recover::remove_empty_parents(cgroups.as_ref(), path);
                }
                kept
            }
        });
    }
}
