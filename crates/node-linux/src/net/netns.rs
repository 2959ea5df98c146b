//! Network namespaces pinned by bind mounts, and sockets made inside them.
//!
//! Must not know what the namespaces are for. A thread that has changed its namespace is never
//! reused, so nothing else can be born in the wrong network. Upstream counterpart: `ip netns` and the CNI `ns` package.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Error},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::Path,
    ptr,
    time::Duration,
};

/// Magic number of the file system that namespace files live in, `NSFS_MAGIC`.
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Runs `work` on a thread of its own inside the namespace pinned at `netns` and returns its result.
pub fn run_in_netns<T: Send>(
    netns: &Path,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let file = File::open(netns).map_err(|e| context(e, "open", netns))?;
    on_own_thread(move || {
        // SAFETY: setns only reads the descriptor, which `file` keeps open.
        check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) })?;
        work()
    })
}

/// Makes a new network namespace, pins it at `path` (its directory must exist) and runs `work` in it.
pub(super) fn create_netns_with<T: Send>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    File::create(path).map_err(|e| context(e, "create", path))?;
    let made = on_own_thread(|| {
        // SAFETY: unshare takes no pointers and affects this thread only.
        check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
        bind_mount(Path::new("/proc/thread-self/ns/net"), path)?;
        work()
    });
    if made.is_err() {
        remove_netns(path)?;
    }
    made
}

/// Makes a new network namespace pinned at `path`, with its loopback interface up.
pub fn create_netns(path: &Path) -> io::Result<()> {
    create_netns_with(path, || super::links::Links::open()?.loopback_up())
}

/// Unpins the namespace at `path` and removes the file; an absent file is success.
/// The kernel frees the namespace once no process and no socket is left in it.
pub fn remove_netns(path: &Path) -> io::Result<()> {
    let name = c_path(path)?;
    // SAFETY: `name` is a valid C string for the length of the call.
    while unsafe { libc::umount2(name.as_ptr(), libc::MNT_DETACH) } == 0 {}
    match std::fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether a namespace is pinned at `path`.
pub(super) fn is_pinned(path: &Path) -> bool {
    let Ok(name) = c_path(path) else { return false };
    // SAFETY: all-zero bytes are a valid `statfs`.
    let mut buffer: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the length of the call.
    let found = unsafe { libc::statfs(name.as_ptr(), &mut buffer) };
    found == 0 && buffer.f_type as i64 == NSFS_MAGIC
}

/// A UDP socket bound to `address` inside the namespace at `netns`.
pub fn bind_udp_in(netns: &Path, address: SocketAddr) -> io::Result<UdpSocket> {
    run_in_netns(netns, || UdpSocket::bind(address))
}

/// A TCP socket listening on `address` inside the namespace at `netns`.
pub fn listen_tcp_in(netns: &Path, address: SocketAddr) -> io::Result<TcpListener> {
    run_in_netns(netns, || TcpListener::bind(address))
}

/// A TCP connection to `address` made inside the namespace at `netns`.
pub fn connect_tcp_in(
    netns: &Path,
    address: SocketAddr,
    timeout: Duration,
) -> io::Result<TcpStream> {
    run_in_netns(netns, || TcpStream::connect_timeout(&address, timeout))
}

/// Writes a kernel parameter of the calling thread's namespace.
pub(super) fn set_sysctl(name: &str, value: &str) -> io::Result<()> {
    let path = format!("/proc/sys/{name}");
    std::fs::write(&path, value).map_err(|e| context(e, "write", Path::new(&path)))
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, work)?;
        thread
            .join()
            .unwrap_or_else(|_| Err(Error::other("the thread inside the namespace panicked")))
    })
}

fn bind_mount(source: &Path, target: &Path) -> io::Result<()> {
    let (from, to) = (c_path(source)?, c_path(target)?);
    // SAFETY: both strings are valid for the length of the call; a bind mount takes no type or data.
    let result = unsafe {
        libc::mount(
            from.as_ptr(),
            to.as_ptr(),
            ptr::null(),
            libc::MS_BIND,
            ptr::null(),
        )
    };
    check(result).map_err(|e| context(e, "pin a namespace at", target))
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(Error::other)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(Error::last_os_error())
    }
}

/// Adds what was done to which file to an error.
pub(super) fn context(error: Error, doing: &str, path: &Path) -> Error {
    Error::new(error.kind(), format!("{doing} {}: {error}", path.display()))
}
