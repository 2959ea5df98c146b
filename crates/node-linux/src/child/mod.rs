//! What happens between clone and exec, in the new process.
//!
//! Runs in a copy of the single-threaded supervisor, so ordinary Rust is safe here. It talks to
//! its parent over one message socket: `go` in; a terminal, readiness and at worst an error out.
//! Upstream counterpart: runc's `init` and `setns` stages.

pub mod identity;
pub mod root;

use crate::{
    spec::{ContainerSpec, Privileges, UserSpec},
    sys::{self, Context},
};
use seccompiler::BpfProgram;
use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::{MetadataExt, PermissionsExt, fchown},
    },
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// First byte of a message: the controlling side of a terminal is attached.
pub const TERMINAL: u8 = b'P';
/// First byte of a message: the program is about to be executed.
pub const READY: u8 = b'R';
/// First byte of a message: an error text follows.
pub const ERROR: u8 = b'E';
/// Search path of a process whose environment has none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const FAILURE: i32 = 128;

/// Standard streams of a new process.
pub enum Streams {
    /// Input, output, errors.
    Plain([OwnedFd; 3]),
    /// A terminal made inside the container.
    Terminal,
}

/// What runs: common to a container's first process and later commands.
pub struct Program<'a> {
    /// Program and arguments.
    pub arguments: &'a [String],
    /// Environment.
    pub environment: &'a [String],
    /// Working directory.
    pub directory: &'a str,
    /// Identity.
    pub user: &'a UserSpec,
    /// Privileges.
    pub privileges: &'a Privileges,
    /// System-call filters.
    pub filters: &'a [BpfProgram],
    /// `oom_score_adj`.
    pub oom_score_adj: i32,
    /// Soft limit on open files.
    pub open_files: u64,
    /// Streams.
    pub streams: Streams,
    /// Socket to the parent.
    pub sync: OwnedFd,
}

/// Becomes the first process of a container. `namespaces` are entered by descriptor.
pub fn start_container(
    spec: &ContainerSpec,
    places: &root::Places<'_>,
    namespaces: &[(OwnedFd, i32)],
    program: Program<'_>,
) -> ! {
    run(&program, || {
        for (fd, kind) in namespaces {
            sys::set_namespace(fd.as_fd(), *kind).context(|| "joining a namespace".into())?;
        }
        sys::unshare(libc::CLONE_NEWCGROUP).context(|| "unsharing cgroups".into())?;
        root::enter(spec, places)
    })
}

/// Becomes a further process of a running container, given a pidfd of its first.
pub fn start_command(container: &OwnedFd, program: Program<'_>) -> ! {
    let all = libc::CLONE_NEWNS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    run(&program, || {
        sys::set_namespace(container.as_fd(), all).context(|| "joining the container".into())
    })
}

fn run(program: &Program<'_>, prepare: impl FnOnce() -> io::Result<()>) -> ! {
    let attempt = || -> io::Result<()> {
        sys::hide_process()?;
        sys::new_session()?;
        sys::reset_signals();
        let mut go = [0; 1];
        if sys::receive(program.sync.as_fd(), &mut go)?.0 == 0 {
            return Err(io::Error::other("the supervisor gave up"));
        }
        adjust_oom_score(program.oom_score_adj);
        prepare()?;
        finish(program)
    };
    let result = catch_unwind(AssertUnwindSafe(attempt));
    let message = match result {
        Ok(Ok(())) => "exec returned".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the start-up code panicked".to_owned(),
    };
    let mut bytes = vec![ERROR];
    bytes.extend_from_slice(message.as_bytes());
    // The parent is the only reader; if it is gone, so is the container.
    let _ = sys::send(program.sync.as_fd(), &bytes, &[]);
    sys::exit_now(FAILURE)
}

/// Lowering the score needs a privilege the node may lack; the container then keeps the
/// inherited score.
fn adjust_oom_score(score: i32) {
    let _ = fs::write("/proc/self/oom_score_adj", score.to_string());
}

fn finish(program: &Program<'_>) -> io::Result<()> {
    const UMASK: u32 = 0o022;
    let identity = identity::resolve(program.user)?;
    connect_streams(program, identity.user)?;
    let directory = if program.directory.is_empty() {
        "/"
    } else {
        program.directory
    };
    std::env::set_current_dir(directory).context(|| format!("chdir to cwd ({directory:?})"))?;
    let environment = complete_environment(program.environment, &identity.home);
    let path = find_program(&program.arguments[0], &environment)?;
    let arguments = program
        .arguments
        .iter()
        .map(sys::c_string)
        .collect::<io::Result<Vec<_>>>()?;
    let environment = environment
        .iter()
        .map(sys::c_string)
        .collect::<io::Result<Vec<_>>>()?;
    sys::set_umask(UMASK);
    sys::set_open_files(Some(program.open_files))?;
    sys::close_on_exec_all()?;
    sys::send(program.sync.as_fd(), &[READY], &[])?;
    identity::assume(&identity, program.privileges, program.filters)?;
    let error = sys::execute(&path, &arguments, &environment);
    let name = &program.arguments[0];
    Err(io::Error::new(
        error.kind(),
        format!("exec {name}: {}", plain(&error)),
    ))
}

fn connect_streams(program: &Program<'_>, user: u32) -> io::Result<()> {
    match &program.streams {
        Streams::Plain(streams) => {
            for (number, fd) in streams.iter().enumerate() {
                give_to(fd, user);
                sys::install_fd(fd.as_fd(), number as i32)?;
            }
            Ok(())
        }
        Streams::Terminal => {
            let (control, terminal) =
                sys::open_terminal("/dev/pts/ptmx").context(|| "opening a terminal".into())?;
            give_to(&terminal, user);
            sys::control_terminal(terminal.as_fd())?;
            sys::send(program.sync.as_fd(), &[TERMINAL], &[control.as_fd()])?;
            (0..3).try_for_each(|number| sys::install_fd(terminal.as_fd(), number))
        }
    }
}

/// Lets the container's user reopen its streams through /proc/self/fd. Streams that are no
/// pipes or terminals of ours (the null device) keep their owner.
fn give_to(fd: &OwnedFd, user: u32) {
    const NULL_DEVICE: u64 = 0x103;
    let file = fs::metadata(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    if file.is_ok_and(|data| data.rdev() != NULL_DEVICE) {
        let _ = fchown(fd, Some(user), None);
    }
}

fn complete_environment(given: &[String], home: &str) -> Vec<String> {
    let mut environment = given.to_vec();
    let has = |name: &str| given.iter().any(|entry| entry.starts_with(name));
    if !has("PATH=") {
        environment.push(format!("PATH={DEFAULT_PATH}"));
    }
    if !has("HOME=") {
        environment.push(format!("HOME={home}"));
    }
    environment
}

fn plain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "no such file or directory".into(),
        Some(libc::EACCES | libc::EPERM) => "permission denied".into(),
        Some(libc::ENOEXEC) => "exec format error".into(),
        _ => error.to_string(),
    }
}

fn find_program(name: &str, environment: &[String]) -> io::Result<CString> {
    let fail = |text: String| io::Error::other(format!("exec: {name:?}: {text}"));
    if name.contains('/') {
        let data =
            fs::metadata(name).map_err(|error| fail(format!("stat {name}: {}", plain(&error))))?;
        return match (data.is_dir(), data.permissions().mode() & 0o111) {
            (true, _) => Err(fail("is a directory".into())),
            (false, 0) => Err(fail("permission denied".into())),
            _ => sys::c_string(name),
        };
    }
    let search = environment
        .iter()
        .find_map(|entry| entry.strip_prefix("PATH="));
    let executable = |path: &Path| {
        fs::metadata(path)
            .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    search
        .unwrap_or_default()
        .split(':')
        .map(|directory| Path::new(directory).join(name))
        .find(|path| executable(path))
        .map_or_else(
            || Err(fail("executable file not found in $PATH".into())),
            sys::c_string,
        )
}
