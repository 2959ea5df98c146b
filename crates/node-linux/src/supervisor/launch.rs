//! The parent's side of starting a process: clone, place in cgroups, let go, hear how it went.

use crate::{
    cgroup::Cgroups,
    child::{self, ERROR, Program, READY, Streams, TERMINAL, root::Places},
    layout::Layout,
    seccomp,
    spec::{ContainerSpec, SandboxSpec},
    supervisor::namespaces::{self, Pause},
    sys::{self, Context},
};
use seccompiler::BpfProgram;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::{self, File},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Seconds a container may take from clone to exec before it is given up.
const START_TIMEOUT: i64 = 60;
const MAX_MESSAGE: usize = 4096;

/// Compiled system-call filters by capability set: compiling takes longer than starting.
#[derive(Default)]
pub struct Filters(BTreeMap<u64, Vec<BpfProgram>>);

impl Filters {
    fn get(&mut self, wanted: bool, capabilities: u64) -> io::Result<&[BpfProgram]> {
        if !wanted {
            return Ok(&[]);
        }
        if let Entry::Vacant(entry) = self.0.entry(capabilities) {
            entry.insert(seccomp::filters(capabilities)?);
        }
        Ok(&self.0[&capabilities])
    }
}

/// A process that runs.
pub struct Started {
    /// Process id.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// Controlling side of its terminal.
    pub console: Option<OwnedFd>,
    /// Write end of its standard input.
    pub stdin: Option<OwnedFd>,
    /// Read ends of its output and errors.
    pub outputs: Option<[OwnedFd; 2]>,
}

/// What launching needs besides the specification.
pub struct Launcher {
    /// Directories.
    pub layout: Layout,
    /// Control groups.
    pub cgroups: Box<dyn Cgroups>,
    filters: Filters,
    own_pids: OwnedFd,
    /// Containers get the limit the supervisor was started with; it needs more itself.
    open_files: u64,
}

impl Launcher {
    /// A launcher for this process.
    pub fn new(layout: Layout, cgroups: Box<dyn Cgroups>) -> io::Result<Self> {
        let own_pids = File::open("/proc/self/ns/pid")?.into();
        let open_files = sys::set_open_files(None)?;
        Ok(Self {
            layout,
            cgroups,
            filters: Filters::default(),
            own_pids,
            open_files,
        })
    }

    /// Starts a container's first process.
    pub fn start(
        &mut self,
        spec: &ContainerSpec,
        sandbox: &SandboxSpec,
        pause: Option<&Pause>,
    ) -> io::Result<Started> {
        let sandbox_directory = self.layout.sandbox(&sandbox.id);
        let container_directory = self.layout.container(&spec.id);
        for name in ["upper", "work", "root"] {
            fs::create_dir_all(container_directory.join(name))?;
        }
        self.cgroups.create(&spec.cgroup, &spec.limits)?;
        self.cgroups.kill_together(&spec.cgroup);
        let namespaces = namespaces::open(sandbox, &sandbox_directory)?;
        let pids = pause.map(|pause| open_pids(pause.pid)).transpose()?;
        let own_pids = pids.is_none() && !sandbox.host_pid;
        let flags = libc::CLONE_NEWNS | if own_pids { libc::CLONE_NEWPID } else { 0 };
        let (streams, mut started) = make_streams(spec)?;
        let (parent, sync) = sys::message_pair()?;
        let privileges = &spec.privileges;
        let filters = self
            .filters
            .get(privileges.seccomp, privileges.capabilities)?;
        let program = program(
            spec,
            &spec.arguments,
            filters,
            (streams, sync),
            self.open_files,
        );
        let cloned = clone_into(pids.as_ref(), &self.own_pids, flags)?;
        let Some((pid, pidfd)) = cloned else {
            drop(parent);
            let layers = self.layout.layers();
            let places = Places {
                layers: &layers,
                container: &container_directory,
                sandbox: &sandbox_directory,
            };
            child::start_container(spec, &places, &namespaces, program)
        };
        drop(program);
        started.console = self.release(spec, pid, &pidfd, parent)?;
        Ok(started.finish(pid, pidfd))
    }

    /// Starts a further process in a running container, on given streams or a terminal.
    pub fn command(
        &mut self,
        spec: &ContainerSpec,
        container: (i32, &OwnedFd),
        arguments: &[String],
        streams: Streams,
    ) -> io::Result<Started> {
        let pids = open_pids(container.0)?;
        let (parent, sync) = sys::message_pair()?;
        let privileges = &spec.privileges;
        let filters = self
            .filters
            .get(privileges.seccomp, privileges.capabilities)?;
        let program = program(spec, arguments, filters, (streams, sync), self.open_files);
        let Some((pid, pidfd)) = clone_into(Some(&pids), &self.own_pids, 0)? else {
            drop(parent);
            child::start_command(container.1, program)
        };
        drop(program);
        let console = self.release(spec, pid, &pidfd, parent)?;
        Ok(Started {
            console,
            ..Unstarted::default().finish(pid, pidfd)
        })
    }

    /// Puts the child into its cgroup, lets it run and waits until it has become the program.
    fn release(
        &self,
        spec: &ContainerSpec,
        pid: i32,
        pidfd: &OwnedFd,
        sync: OwnedFd,
    ) -> io::Result<Option<OwnedFd>> {
        let entered = self.cgroups.enter(&spec.cgroup, pid);
        let result = entered
            .and_then(|()| sys::send(sync.as_fd(), b"G", &[]).map(drop))
            .and_then(|()| wait_executed(sync.as_fd()));
        result.map_err(|error| {
            // It may have ended already.
            let _ = sys::signal_process(pidfd.as_fd(), libc::SIGKILL);
            namespaces::wait_end(pidfd);
            match self.cgroups.oom_kills(&spec.cgroup) {
                0 => error,
                _ => io::Error::other("container init was OOM-killed (memory limit too low?)"),
            }
        })
    }
}

fn program<'a>(
    spec: &'a ContainerSpec,
    arguments: &'a [String],
    filters: &'a [BpfProgram],
    (streams, sync): (Streams, OwnedFd),
    open_files: u64,
) -> Program<'a> {
    Program {
        arguments,
        environment: &spec.environment,
        directory: &spec.directory,
        user: &spec.user,
        privileges: &spec.privileges,
        filters,
        oom_score_adj: spec.oom_score_adj,
        open_files,
        streams,
        sync,
    }
}

fn open_pids(pid: i32) -> io::Result<OwnedFd> {
    let file = File::open(format!("/proc/{pid}/ns/pid"));
    file.map(OwnedFd::from)
        .context(|| "opening a process-id namespace".into())
}

/// Clones into an existing process-id namespace, or the own one.
fn clone_into(
    pids: Option<&OwnedFd>,
    own: &OwnedFd,
    flags: i32,
) -> io::Result<Option<(i32, OwnedFd)>> {
    let Some(pids) = pids else {
        return sys::clone_process(flags);
    };
    sys::set_namespace(pids.as_fd(), libc::CLONE_NEWPID)?;
    let cloned = sys::clone_process(flags);
    if !matches!(cloned, Ok(None)) {
        sys::set_namespace(own.as_fd(), libc::CLONE_NEWPID)
            .expect("a process can always return to its own process-id namespace");
    }
    cloned
}

/// The supervisor's ends of a container's streams, before there is a process.
#[derive(Default)]
struct Unstarted {
    console: Option<OwnedFd>,
    stdin: Option<OwnedFd>,
    outputs: Option<[OwnedFd; 2]>,
}

impl Unstarted {
    fn finish(self, pid: i32, pidfd: OwnedFd) -> Started {
        let Self {
            console,
            stdin,
            outputs,
        } = self;
        Started {
            pid,
            pidfd,
            console,
            stdin,
            outputs,
        }
    }
}

fn make_streams(spec: &ContainerSpec) -> io::Result<(Streams, Unstarted)> {
    if spec.tty {
        return Ok((Streams::Terminal, Unstarted::default()));
    }
    let (input, stdin) = if spec.stdin {
        let (read, write) = sys::pipe()?;
        (read, Some(write))
    } else {
        (File::open("/dev/null")?.into(), None)
    };
    let (stdout, output) = sys::pipe()?;
    let (stderr, error) = sys::pipe()?;
    let ours = Unstarted {
        console: None,
        stdin,
        outputs: Some([stdout, stderr]),
    };
    Ok((Streams::Plain([input, output, error]), ours))
}

/// Listens until the socket closes, which exec does.
fn wait_executed(sync: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    sys::set_receive_timeout(sync, START_TIMEOUT)?;
    let (mut console, mut ready) = (None, false);
    loop {
        let mut buffer = [0; MAX_MESSAGE];
        let (count, mut fds) = sys::receive(sync, &mut buffer)?;
        match buffer[..count].split_first() {
            Some((&TERMINAL, _)) => console = fds.pop(),
            Some((&READY, _)) => ready = true,
            Some((&ERROR, text)) => {
                return Err(io::Error::other(String::from_utf8_lossy(text).into_owned()));
            }
            None if ready => return Ok(console),
            _ => return Err(io::Error::other("the process died before it could run")),
        }
    }
}
