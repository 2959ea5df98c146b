//! A sandbox's namespaces: made in a short-lived child, kept alive by bind mounts.
//!
//! A process stays only if the pod shares one process-id namespace: that namespace needs a first
//! process, which reaps orphans. Upstream counterpart: the `pause` container.

use crate::{
    child::{ERROR, READY},
    spec::SandboxSpec,
    sys::{self, Context},
};
use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

/// Size of a pod's /dev/shm, as container runtimes have it.
const SHARED_MEMORY: &str = "mode=1777,size=65536k";
const NSFS_MAGIC: i64 = 0x6e73_6673;
/// Seconds a sandbox may take to set itself up.
const SETUP_TIMEOUT: i64 = 30;

/// A pod owns its network namespace, so low ports and echo requests need no privilege there
/// (containerd's `enable_unprivileged_ports` and `enable_unprivileged_icmp`).
const OWN_NETWORK_SYSCTLS: [(&str, &str); 2] = [
    ("net.ipv4.ip_unprivileged_port_start", "0"),
    ("net.ipv4.ping_group_range", "0 2147483647"),
];

/// Process that keeps a shared process-id namespace.
pub struct Pause {
    /// Its process id.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

/// Which namespaces a sandbox has of its own: (file name, clone flag).
fn own(spec: &SandboxSpec) -> Vec<(&'static str, i32)> {
    let mut list = vec![("uts", libc::CLONE_NEWUTS)];
    if spec.shared_network.is_none() {
        list.push(("net", libc::CLONE_NEWNET));
    }
    if !spec.host_ipc {
        list.push(("ipc", libc::CLONE_NEWIPC));
    }
    list
}

/// Makes and pins a sandbox's namespaces in `directory`.
pub fn create(spec: &SandboxSpec, directory: &Path) -> io::Result<Option<Pause>> {
    mount_shared_memory(spec, directory)?;
    let namespaces = own(spec);
    let shared = if spec.share_pid {
        libc::CLONE_NEWPID
    } else {
        0
    };
    let flags = namespaces
        .iter()
        .fold(shared, |flags, (_, flag)| flags | flag);
    let (parent, child) = sys::message_pair()?;
    let Some((pid, pidfd)) = sys::clone_process(flags).context(|| "cloning a sandbox".into())?
    else {
        drop(parent);
        live(spec, child)
    };
    drop(child);
    let pinned = wait_ready(&parent).and_then(|()| {
        namespaces
            .iter()
            .try_for_each(|(name, _)| pin(pid, name, directory))
    });
    if pinned.is_err() || !spec.share_pid {
        // It may have ended by itself, which is what we want.
        let _ = sys::signal_process(pidfd.as_fd(), libc::SIGKILL);
        wait_end(&pidfd);
    }
    pinned.map(|()| spec.share_pid.then_some(Pause { pid, pidfd }))
}

fn mount_shared_memory(spec: &SandboxSpec, directory: &Path) -> io::Result<()> {
    let target = directory.join("shm");
    fs::create_dir_all(&target)?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let mounted = if spec.host_ipc {
        sys::mount("/dev/shm", &target, "", libc::MS_BIND, "")
    } else {
        sys::mount("shm", &target, "tmpfs", flags, SHARED_MEMORY)
    };
    mounted.context(|| "mounting shared memory".into())
}

/// The life of the child: set up, report, then wait to be killed.
fn live(spec: &SandboxSpec, sync: OwnedFd) -> ! {
    let message = match set_up(spec) {
        Ok(()) => vec![READY],
        Err(error) => [&[ERROR], error.to_string().as_bytes()].concat(),
    };
    // Without a parent nobody needs the sandbox: the kill that follows covers that too.
    let _ = sys::send(sync.as_fd(), &message, &[]);
    drop(sync);
    sys::close_descriptors();
    sys::reap_for_ever()
}

fn set_up(spec: &SandboxSpec) -> io::Result<()> {
    sys::new_session()?;
    sys::set_hostname(&spec.hostname).context(|| "setting the host name".into())?;
    if spec.shared_network.is_none() {
        sys::raise_loopback().context(|| "raising the loopback interface".into())?;
    }
    if spec.shared_network.is_none() {
        // Where /proc/sys cannot be written, pods do without this convenience.
        OWN_NETWORK_SYSCTLS
            .iter()
            .for_each(|(name, value)| drop(set_parameter(name, value)));
    }
    spec.sysctls
        .iter()
        .try_for_each(|(name, value)| set_parameter(name, value))
}

fn set_parameter(name: &str, value: &str) -> io::Result<()> {
    let path = Path::new("/proc/sys").join(name.replace('.', "/"));
    fs::write(&path, value).context(|| format!("setting sysctl {name}"))
}

fn wait_ready(sync: &OwnedFd) -> io::Result<()> {
    const MAX_MESSAGE: usize = 4096;
    sys::set_receive_timeout(sync.as_fd(), SETUP_TIMEOUT)?;
    let mut buffer = [0; MAX_MESSAGE];
    let (count, _) = sys::receive(sync.as_fd(), &mut buffer)?;
    match buffer[..count].split_first() {
        Some((&READY, _)) => Ok(()),
        Some((_, text)) => Err(io::Error::other(String::from_utf8_lossy(text).into_owned())),
        None => Err(io::Error::other("the sandbox process died")),
    }
}

fn pin(pid: i32, name: &str, directory: &Path) -> io::Result<()> {
    let target = directory.join(name);
    File::create(&target)?;
    sys::mount(
        &format!("/proc/{pid}/ns/{name}"),
        &target,
        "",
        libc::MS_BIND,
        "",
    )
    .context(|| format!("pinning the {name} namespace"))
}

/// Waits for a killed child to end, and reaps it.
pub fn wait_end(pidfd: &OwnedFd) {
    const ROUNDS: usize = 500;
    const PAUSE_MS: u64 = 2;
    for _ in 0..ROUNDS {
        if !matches!(sys::reap(pidfd.as_fd()), Ok(None)) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(PAUSE_MS));
    }
}

/// Releases what [`create`] pinned.
pub fn release(directory: &Path) {
    for name in ["net", "ipc", "uts", "shm"] {
        // Not every sandbox has every one.
        let _ = sys::unmount(directory.join(name));
    }
}

/// Whether the namespaces of a sandbox on record still exist.
pub fn exist(spec: &SandboxSpec, directory: &Path) -> bool {
    !spec.share_pid
        && own(spec)
            .iter()
            .all(|(name, _)| sys::is_file_system(&directory.join(name), NSFS_MAGIC))
}

/// What a container of the sandbox enters: opened namespaces and their kinds.
pub fn open(spec: &SandboxSpec, directory: &Path) -> io::Result<Vec<(OwnedFd, i32)>> {
    let own = own(spec)
        .into_iter()
        .map(|(name, kind)| (directory.join(name), kind));
    let shared = spec
        .shared_network
        .iter()
        .map(|path| (path.clone(), libc::CLONE_NEWNET));
    let open = |(path, kind): (PathBuf, i32)| {
        let file = File::open(&path).context(|| format!("opening {}", path.display()))?;
        Ok((OwnedFd::from(file), kind))
    };
    own.chain(shared).map(open).collect()
}
