//! Thin, typed wrappers of the system calls the runtime needs, with all their `unsafe`.
//!
//! Must not know what containers are. Upstream counterpart: `golang.org/x/sys/unix`.

use std::{
    ffi::{CString, OsStr},
    io,
    mem::{size_of, zeroed},
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    ptr,
};

/// Most descriptors one message carries: standard streams of one process, and one to spare.
pub const MAX_FDS: usize = 4;

/// Adds what was attempted to an input/output error.
pub trait Context<T> {
    /// Prefixes the error with `what`.
    fn context(self, what: impl FnOnce() -> String) -> io::Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl FnOnce() -> String) -> io::Result<T> {
        self.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", what())))
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    check_long(result.into()).map(|value| value as libc::c_int)
}

fn check_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just returned this descriptor and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// A path or name as the kernel takes it.
pub fn c_string(text: impl AsRef<OsStr>) -> io::Result<CString> {
    CString::new(text.as_ref().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a zero byte in a string"))
}

/// `mount(2)`.
pub fn mount(
    source: &str,
    target: impl AsRef<OsStr>,
    kind: &str,
    flags: libc::c_ulong,
    data: &str,
) -> io::Result<()> {
    let (source, target, kind, data) = (
        c_string(source)?,
        c_string(target)?,
        c_string(kind)?,
        c_string(data)?,
    );
    // SAFETY: all pointers are to live zero-terminated strings.
    let result = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            data.as_ptr().cast(),
        )
    };
    check(result).map(drop)
}

/// Detaches the mount at `target`, busy or not, without following a symbolic link.
pub fn unmount(target: impl AsRef<OsStr>) -> io::Result<()> {
    let target = c_string(target)?;
    let flags = libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW;
    // SAFETY: the pointer is to a live zero-terminated string.
    check(unsafe { libc::umount2(target.as_ptr(), flags) }).map(drop)
}

/// `pivot_root(".", ".")`: the working directory becomes the root, stacked over the old one.
pub fn pivot_here() -> io::Result<()> {
    let here = c".";
    // SAFETY: constant strings.
    check_long(unsafe { libc::syscall(libc::SYS_pivot_root, here.as_ptr(), here.as_ptr()) })?;
    // SAFETY: constant string.
    check(unsafe { libc::umount2(here.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// Forks with the namespaces in `flags`. Returns the child's id and pidfd in the parent and
/// `None` in the child. Callers must be single-threaded, or the child may do no more than exec.
pub fn clone_process(flags: libc::c_int) -> io::Result<Option<(i32, OwnedFd)>> {
    let mut pidfd: RawFd = -1;
    let arguments = CloneArgs {
        flags: (flags | libc::CLONE_PIDFD) as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    // SAFETY: without CLONE_VM and a stack this behaves like fork(2); `arguments` outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<CloneArgs>(),
        )
    };
    match check_long(result)? {
        0 => Ok(None),
        pid => Ok(Some((pid as i32, owned(pidfd.into())))),
    }
}

/// Ends the process at once, without running destructors or exit handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

/// `setns(2)`.
pub fn set_namespace(fd: BorrowedFd<'_>, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: plain integers.
    check(unsafe { libc::setns(fd.as_raw_fd(), kind) }).map(drop)
}

/// `unshare(2)`.
pub fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: plain integer.
    check(unsafe { libc::unshare(flags) }).map(drop)
}

/// `openat2(2)` with close-on-exec.
pub fn open_beneath(
    directory: BorrowedFd<'_>,
    path: impl AsRef<OsStr>,
    flags: libc::c_int,
    resolve: u64,
) -> io::Result<OwnedFd> {
    let path = c_string(path)?;
    // SAFETY: all-zero is a valid open_how.
    let mut how: libc::open_how = unsafe { zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.resolve = resolve;
    // SAFETY: pointers live across the call, the size is the structure's.
    let result = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            directory.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    };
    check_long(result).map(owned)
}

/// `mkdirat(2)`.
pub fn make_directory(parent: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<()> {
    let name = c_string(name)?;
    // SAFETY: live string.
    check(unsafe { libc::mkdirat(parent.as_raw_fd(), name.as_ptr(), mode) }).map(drop)
}

/// Creates an empty regular file.
pub fn make_file(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let name = c_string(name)?;
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: live string.
    let fd = check(unsafe { libc::openat(parent.as_raw_fd(), name.as_ptr(), flags, 0o644) })?;
    drop(owned(fd.into()));
    Ok(())
}

/// `mknod(2)` for device nodes.
pub fn make_node(path: &Path, mode: u32, device: u64) -> io::Result<()> {
    let path = c_string(path)?;
    // SAFETY: live string.
    check(unsafe { libc::mknod(path.as_ptr(), mode, device) }).map(drop)
}

/// A detached copy of the mount at an open path, submounts included.
pub fn clone_mount(source: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const OPEN_TREE_CLONE: libc::c_int = 1;
    const AT_RECURSIVE: libc::c_int = 0x8000;
    let flags = OPEN_TREE_CLONE | AT_RECURSIVE | libc::AT_EMPTY_PATH | libc::O_CLOEXEC;
    // SAFETY: constant string.
    let result =
        unsafe { libc::syscall(libc::SYS_open_tree, source.as_raw_fd(), c"".as_ptr(), flags) };
    check_long(result).map(owned)
}

/// Attaches a detached mount onto an open path.
pub fn move_mount(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    const FROM_AND_TO_ARE_EMPTY: libc::c_int = 0x4 | 0x40;
    // SAFETY: constant strings.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            FROM_AND_TO_ARE_EMPTY,
        )
    };
    check_long(result).map(drop)
}

/// Mount attribute: read-only.
pub const ATTR_READ_ONLY: u64 = 1;
/// Mount attribute: device nodes cannot be opened.
pub const ATTR_NO_DEVICES: u64 = 4;

/// Sets attributes on the mount at an open path and, if asked, on everything mounted below it.
pub fn set_mount_attributes(fd: BorrowedFd<'_>, set: u64, recursive: bool) -> io::Result<()> {
    const AT_RECURSIVE: libc::c_int = 0x8000;
    let attributes: [u64; 4] = [set, 0, 0, 0];
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: mount_attr is four 64-bit words; pointer and size match.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            attributes.as_ptr(),
            size_of::<[u64; 4]>(),
        )
    };
    check_long(result).map(drop)
}

/// A pipe, close-on-exec: (read end, write end).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    Ok((owned(ends[0].into()), owned(ends[1].into())))
}

/// A pair of connected message sockets, close-on-exec.
pub fn message_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the array has room for two descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    Ok((owned(ends[0].into()), owned(ends[1].into())))
}

const CONTROL_WORDS: usize = 8;

/// Sends bytes with descriptors attached to the first of them; never raises SIGPIPE.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    assert!(
        fds.len() <= MAX_FDS,
        "one message carries at most {MAX_FDS} descriptors"
    );
    let mut control = [0u64; CONTROL_WORDS];
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: all-zero is a valid msghdr.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    if !fds.is_empty() {
        let length = (fds.len() * size_of::<RawFd>()) as u32;
        header.msg_control = control.as_mut_ptr().cast();
        // SAFETY: pure arithmetic; the control buffer holds MAX_FDS descriptors and a header.
        unsafe {
            header.msg_controllen = libc::CMSG_SPACE(length) as _;
            let message = libc::CMSG_FIRSTHDR(&raw const header);
            (*message).cmsg_level = libc::SOL_SOCKET;
            (*message).cmsg_type = libc::SCM_RIGHTS;
            (*message).cmsg_len = libc::CMSG_LEN(length) as _;
            let data = libc::CMSG_DATA(message).cast::<RawFd>();
            for (index, fd) in fds.iter().enumerate() {
                data.add(index).write_unaligned(fd.as_raw_fd());
            }
        }
    }
    // SAFETY: header points at live buffers.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) };
    check_long(sent as libc::c_long).map(|count| count as usize)
}

/// Receives bytes and any descriptors that came with them, close-on-exec.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = [0u64; CONTROL_WORDS];
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all-zero is a valid msghdr.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: header points at live buffers of the stated sizes.
    let count =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
    let count = check_long(count as libc::c_long)?;
    let mut fds = Vec::new();
    // SAFETY: the kernel filled the control buffer; the macros walk it within msg_controllen.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(&raw const header);
        while !message.is_null() {
            if (*message).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*message).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(message).cast::<RawFd>();
                for index in 0..bytes / size_of::<RawFd>() {
                    fds.push(owned(data.add(index).read_unaligned().into()));
                }
            }
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
    }
    Ok((count as usize, fds))
}

/// Limits how long a blocking receive waits.
pub fn set_receive_timeout(socket: BorrowedFd<'_>, seconds: i64) -> io::Result<()> {
    let time = libc::timeval {
        tv_sec: seconds,
        tv_usec: 0,
    };
    // SAFETY: pointer and size belong to `time`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const time).cast(),
            size_of::<libc::timeval>() as u32,
        )
    };
    check(result).map(drop)
}

/// Makes reads and writes return instead of wait.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: plain integers.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: plain integers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

/// `read(2)`.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is live and of the stated length.
    let count = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    check_long(count as libc::c_long).map(|count| count as usize)
}

/// `write(2)`.
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the buffer is live and of the stated length.
    let count = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    check_long(count as libc::c_long).map(|count| count as usize)
}

/// Sends a signal to the process behind a pidfd.
pub fn signal_process(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo is allowed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    check_long(result).map(drop)
}

/// Sends a signal to a process id.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: plain integers.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Reaps the child behind a pidfd: its exit code, 128 + signal if it was killed, `None` if it
/// still runs.
pub fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    // SAFETY: all-zero is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { zeroed() };
    let id = pidfd.as_raw_fd() as libc::id_t;
    let flags = libc::WEXITED | libc::WNOHANG;
    // SAFETY: info is live.
    check(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, flags) })?;
    // SAFETY: waitid filled the child fields, or left them zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok(match (pid, info.si_code) {
        (0, _) => None,
        (_, libc::CLD_EXITED) => Some(status),
        _ => Some(128 + status),
    })
}

/// Starts a new session and process group.
pub fn new_session() -> io::Result<()> {
    // SAFETY: no arguments.
    check(unsafe { libc::setsid() }).map(drop)
}

/// Sets the UTS host name.
pub fn set_hostname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length belong to `name`.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// Undoes what the Rust runtime and callers did to signals: default actions, nothing blocked.
pub fn reset_signals() {
    const LAST_SIGNAL: libc::c_int = 64;
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: default disposition; fails harmlessly for SIGKILL and SIGSTOP.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an emptied set is valid.
    unsafe {
        let mut none: libc::sigset_t = zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Makes `fd` the descriptor `number`, open across exec.
pub fn install_fd(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: plain integers.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// Marks all descriptors from 3 up close-on-exec.
pub fn close_on_exec_all() -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: plain integers.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, CLOSE_RANGE_CLOEXEC) };
    check_long(result).map(drop)
}

/// Sets groups, group and user of the process (for good), keeping permitted capabilities.
pub fn set_identity(user: u32, group: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length belong to `groups`; the rest are integers.
    unsafe {
        check(libc::setgroups(groups.len(), groups.as_ptr()))?;
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))?;
        check(libc::setresgid(group, group, group))?;
        check(libc::setresuid(user, user, user))?;
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 0, 0, 0, 0)).map(drop)
    }
}

/// Drops every capability not in `keep` from the bounding set.
pub fn limit_capabilities(keep: u64) {
    for capability in (0..64).filter(|bit| keep & 1 << bit == 0) {
        // SAFETY: integers; an unknown capability gives EINVAL, which ends nothing.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
}

/// Capabilities in the bounding set of this process.
pub fn bounding_set() -> u64 {
    let has = |bit: &u64| {
        // SAFETY: integers.
        unsafe { libc::prctl(libc::PR_CAPBSET_READ, *bit, 0, 0, 0) == 1 }
    };
    (0..64u64).filter(has).fold(0, |set, bit| set | 1 << bit)
}

/// Sets effective and permitted capabilities, none inheritable.
pub fn set_capabilities(set: u64) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let (low, high) = (set as u32, (set >> 32) as u32);
    let data: [u32; 6] = [low, low, 0, high, high, 0];
    // SAFETY: header and data have the layout of version 3.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    check_long(result).map(drop)
}

/// Sets `no_new_privs`.
pub fn forbid_new_privileges() -> io::Result<()> {
    // SAFETY: integers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop)
}

/// Opens the pseudo terminal multiplexer at `path`: (controlling side, terminal side).
pub fn open_terminal(path: &str) -> io::Result<(OwnedFd, OwnedFd)> {
    let path = c_string(path)?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: live string.
    let control = owned(check(unsafe { libc::open(path.as_ptr(), flags) })?.into());
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int; TIOCGPTPEER takes open flags and returns a descriptor.
    let terminal = unsafe {
        check(libc::ioctl(
            control.as_raw_fd(),
            libc::TIOCSPTLCK,
            &raw const unlock,
        ))?;
        owned(check(libc::ioctl(control.as_raw_fd(), libc::TIOCGPTPEER, flags))?.into())
    };
    Ok((control, terminal))
}

/// Makes a terminal the controlling one of this session.
pub fn control_terminal(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

/// Changes a terminal's size.
pub fn resize_terminal(terminal: BorrowedFd<'_>, width: u16, height: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: height,
        ws_col: width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCSWINSZ reads one winsize.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// Brings up the loopback interface of the current network namespace.
pub fn raise_loopback() -> io::Result<()> {
    // SAFETY: socket(2) takes integers; ifreq all-zero is valid and lives across the calls.
    unsafe {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        let socket = owned(check(libc::socket(libc::AF_INET, kind, 0))?.into());
        let mut request: libc::ifreq = zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        check(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS,
            &raw const request,
        ))
        .map(drop)
    }
}

/// `execve(2)`; returns only on failure.
pub fn execute(program: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    let list = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings
            .iter()
            .map(|text| text.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let (arguments, environment) = (list(arguments), list(environment));
    // SAFETY: null-terminated arrays of live strings.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Whether `path` is on a file system of this magic number.
pub fn is_file_system(path: &Path, magic: i64) -> bool {
    let Ok(path) = c_string(path) else {
        return false;
    };
    // SAFETY: all-zero is a valid statfs; pointers are live.
    unsafe {
        let mut data: libc::statfs = zeroed();
        libc::statfs(path.as_ptr(), &raw mut data) == 0 && data.f_type as i64 == magic
    }
}

/// Readiness queue over descriptors, each with a number the caller chose.
pub struct Epoll(OwnedFd);

impl Epoll {
    /// An empty queue.
    pub fn new() -> io::Result<Self> {
        // SAFETY: integer.
        check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(|fd| Self(owned(fd.into())))
    }

    fn control(&self, what: i32, fd: BorrowedFd<'_>, token: u64, output: bool) -> io::Result<()> {
        let writable = if output { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | writable) as u32,
            u64: token,
        };
        // SAFETY: event is live.
        let result =
            unsafe { libc::epoll_ctl(self.0.as_raw_fd(), what, fd.as_raw_fd(), &raw mut event) };
        check(result).map(drop)
    }

    /// Reports input (and hang-up) on `fd` as `token`.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, false)
    }

    /// Also reports, or no longer reports, room for output.
    pub fn want_output(&self, fd: BorrowedFd<'_>, token: u64, output: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, output)
    }

    /// Stops reporting `fd`.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, false)
    }

    /// Waits for readiness, at most `timeout` milliseconds (-1: for ever).
    pub fn wait(&self, timeout: i32) -> io::Result<Vec<u64>> {
        const BATCH: usize = 64;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        // SAFETY: the array has BATCH entries.
        let count = unsafe {
            libc::epoll_wait(
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                BATCH as i32,
                timeout,
            )
        };
        match check(count) {
            Ok(count) => Ok(events[..count as usize]
                .iter()
                .map(|event| event.u64)
                .collect()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// Hides this process from inspection by processes without `CAP_SYS_PTRACE`.
pub fn hide_process() -> io::Result<()> {
    // SAFETY: integers.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }).map(drop)
}

/// Installs one system-call filter on the calling thread.
pub fn install_filter(filter: &[seccompiler::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut().cast(),
    };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: both sock_filter types have the kernel's layout; the kernel copies the program.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, mode, 0, &raw const program) };
    check_long(result).map(drop)
}

/// Sets the file mode creation mask.
pub fn set_umask(mask: u32) {
    // SAFETY: integer; cannot fail.
    unsafe { libc::umask(mask) };
}

/// Closes all descriptors from 3 up.
pub fn close_descriptors() {
    // SAFETY: the caller gives up everything it had open; failure leaves them open, harmlessly.
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0) };
}

/// Life of a first process that has nothing to do: reaps orphans until it is killed.
pub fn reap_for_ever() -> ! {
    // SAFETY: the set is initialised before use; all calls take live pointers or none.
    unsafe {
        let mut children: libc::sigset_t = zeroed();
        libc::sigemptyset(&raw mut children);
        libc::sigaddset(&raw mut children, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const children, ptr::null_mut());
        loop {
            libc::sigwaitinfo(&raw const children, ptr::null_mut());
            while libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) > 0 {}
        }
    }
}

/// Takes an exclusive lock on a file, without waiting.
pub fn lock_file(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: integers.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }).map(drop)
}

/// Takes an exclusive lock on a file, waiting for its holder.
pub fn wait_for_lock(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: integers.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) }).map(drop)
}

/// Sets an extended attribute.
pub fn set_attribute(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    let (path, name) = (c_string(path)?, c_string(name)?);
    // SAFETY: live strings; pointer and length belong to `value`.
    let result = unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    check(result).map(drop)
}

/// Sets the soft limit on open files, to the hard limit for `None`; returns what it was.
pub fn set_open_files(soft: Option<u64>) -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: limit is live.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    let before = limit.rlim_cur;
    limit.rlim_cur = soft.unwrap_or(limit.rlim_max).min(limit.rlim_max);
    // SAFETY: limit is live.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(before)
}
