//! A container's view of files: overlay, kernel file systems, devices, bind mounts, pivot.
//!
//! Everything is reached through descriptors below the new root, so that no symbolic link in an
//! image or volume can lead outside. Device nodes work only where we put them: all other mounts
//! are `nodev`, which holds on every cgroup version. Upstream counterpart: runc's
//! `rootfs_linux.go`.

use crate::{
    cgroup,
    spec::{ContainerSpec, MountSpec},
    sys::{self, Context},
};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

/// Directories a container's root is made of.
pub struct Places<'a> {
    /// Unpacked layers.
    pub layers: &'a Path,
    /// The container's own directory (upper, work, root).
    pub container: &'a Path,
    /// The sandbox's directory (shm).
    pub sandbox: &'a Path,
}

/// Device nodes every container has.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Links every container has in /dev.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
/// Kernel files a container must not read.
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Kernel files a container must not write.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];
const CGROUP2_MAGIC: i64 = 0x6367_7270;
const NO_SUID_DEV_EXEC: u64 = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

/// Builds the root, makes it this process's root, and hides what must not be seen.
pub fn enter(spec: &ContainerSpec, places: &Places<'_>) -> io::Result<()> {
    sys::mount("", "/", "", libc::MS_SLAVE | libc::MS_REC, "")
        .context(|| "detaching mount propagation".into())?;
    let root = mount_overlay(spec, places)?;
    mount_kernel_files(&root, spec, places)?;
    for mount in &spec.mounts {
        bind(&root, mount, !spec.privileges.privileged)
            .context(|| format!("mounting {:?} to {:?}", mount.source, mount.target))?;
    }
    std::env::set_current_dir(handle(&root)).context(|| "entering the root".into())?;
    sys::pivot_here().context(|| "pivot_root".into())?;
    std::env::set_current_dir("/")?;
    if !spec.privileges.privileged {
        protect()?;
    }
    make_working_directory(&spec.directory)?;
    if spec.read_only_root {
        let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | libc::MS_NODEV;
        let flags = if spec.privileges.privileged {
            flags & !libc::MS_NODEV
        } else {
            flags
        };
        sys::mount("", "/", "", flags, "").context(|| "making the root read-only".into())?;
    }
    Ok(())
}

/// The working directory may be missing from the image; container runtimes create it.
fn make_working_directory(path: &str) -> io::Result<()> {
    if path.is_empty() || Path::new(path).is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).context(|| format!("creating working directory {path:?}"))
}

/// A path that reaches an open file by way of the kernel, for calls that take only paths.
fn handle(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

fn open_path(path: &Path) -> io::Result<OwnedFd> {
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path);
    file.map(OwnedFd::from)
        .context(|| format!("opening {}", path.display()))
}

fn escaped(path: &Path) -> String {
    path.to_string_lossy()
        .replace('\\', "\\\\")
        .replace(':', "\\:")
        .replace(',', "\\,")
}

fn mount_overlay(spec: &ContainerSpec, places: &Places<'_>) -> io::Result<OwnedFd> {
    let lower: Vec<&str> = spec.layers.iter().rev().map(String::as_str).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        escaped(&places.container.join("upper")),
        escaped(&places.container.join("work")),
    );
    let target = places.container.join("root");
    let flags = if spec.privileges.privileged {
        0
    } else {
        libc::MS_NODEV
    };
    // Relative layer names keep the option string within the kernel's page.
    std::env::set_current_dir(places.layers)?;
    // A container's upper layer does not survive a power failure, so syncing it is wasted work;
    // kernels before 5.10 do not know the option.
    sys::mount(
        "overlay",
        &target,
        "overlay",
        flags,
        &format!("{options},volatile"),
    )
    .or_else(|_| sys::mount("overlay", &target, "overlay", flags, &options))
    .context(|| overlay_failure(places.container))?;
    open_path(&target)
}

fn overlay_failure(place: &Path) -> String {
    const OVERLAY_MAGIC: i64 = 0x794c_7630;
    if sys::is_file_system(place, OVERLAY_MAGIC) {
        return "mounting the overlay: the state directory is itself on an overlay file system; \
                put it on a disk, a volume or a tmpfs"
            .into();
    }
    "mounting the overlay".into()
}

/// Opens `path` as seen from `root`, making it (a directory, or an empty file) if it is missing.
fn ensure(root: &OwnedFd, path: &Path, directory: bool) -> io::Result<OwnedFd> {
    let look = || sys::open_beneath(root.as_fd(), path, libc::O_PATH, libc::RESOLVE_IN_ROOT);
    match look() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return look();
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new("/")
    } else {
        parent
    };
    let parent = ensure(root, parent, true)?;
    const DIRECTORY_MODE: u32 = 0o755;
    if directory {
        sys::make_directory(parent.as_fd(), name, DIRECTORY_MODE)?;
    } else {
        sys::make_file(parent.as_fd(), name)?;
    }
    look()
}

fn mount_at(
    root: &OwnedFd,
    path: &str,
    kind: &str,
    flags: libc::c_ulong,
    options: &str,
) -> io::Result<()> {
    let target = ensure(root, Path::new(path), true)?;
    sys::mount(kind, handle(&target), kind, flags, options)
        .context(|| format!("mounting {kind} at {path}"))
}

fn mount_kernel_files(root: &OwnedFd, spec: &ContainerSpec, places: &Places<'_>) -> io::Result<()> {
    let privileged = spec.privileges.privileged;
    mount_at(root, "/proc", "proc", NO_SUID_DEV_EXEC, "")?;
    let read_only = if privileged { 0 } else { libc::MS_RDONLY };
    mount_at(root, "/sys", "sysfs", NO_SUID_DEV_EXEC | read_only, "")?;
    if sys::is_file_system(Path::new("/sys/fs/cgroup"), CGROUP2_MAGIC) {
        mount_at(
            root,
            "/sys/fs/cgroup",
            "cgroup2",
            NO_SUID_DEV_EXEC | read_only,
            "",
        )?;
    } else {
        mount_separate_cgroups(root, read_only)?;
    }
    let device_flags = libc::MS_NOSUID | libc::MS_STRICTATIME;
    let device_flags = device_flags | if privileged { 0 } else { libc::MS_NODEV };
    mount_at(root, "/dev", "tmpfs", device_flags, "mode=755,size=65536k")?;
    let terminals = "newinstance,ptmxmode=0666,mode=0620,gid=5";
    mount_at(
        root,
        "/dev/pts",
        "devpts",
        libc::MS_NOSUID | libc::MS_NOEXEC,
        terminals,
    )?;
    mount_at(root, "/dev/mqueue", "mqueue", NO_SUID_DEV_EXEC, "")?;
    let shared = MountSpec {
        source: places.sandbox.join("shm"),
        target: "/dev/shm".into(),
        ..MountSpec::default()
    };
    bind(root, &shared, true)?;
    make_devices(root, privileged)
}

/// Version 1 has a tree for each controller: all of them side by side, each from the
/// container's own group downward.
fn mount_separate_cgroups(root: &OwnedFd, read_only: libc::c_ulong) -> io::Result<()> {
    const PLACE: &str = "/sys/fs/cgroup";
    if !Path::new(PLACE).is_dir() {
        return Ok(());
    }
    let flags = NO_SUID_DEV_EXEC;
    mount_at(root, PLACE, "tmpfs", flags, "mode=755,size=4k")?;
    let directory = ensure(root, Path::new(PLACE), true)?;
    for (name, controllers) in cgroup::separate()? {
        let path = format!("{PLACE}/{name}");
        mount_at(
            root,
            &path,
            "cgroup",
            flags | read_only,
            &controllers.join(","),
        )?;
        for other in controllers.iter().filter(|other| **other != name) {
            symlink(&name, handle(&directory).join(other))?;
        }
    }
    let flags = flags | libc::MS_REMOUNT | libc::MS_BIND | read_only;
    let place = ensure(root, Path::new(PLACE), true)?;
    sys::mount("", handle(&place), "", flags, "").context(|| format!("remounting {PLACE}"))
}

fn make_devices(root: &OwnedFd, privileged: bool) -> io::Result<()> {
    let directory = ensure(root, Path::new("/dev"), true)?;
    for (name, target) in DEVICE_LINKS {
        symlink(target, handle(&directory).join(name))?;
    }
    if privileged {
        return copy_devices(Path::new("/dev"), &handle(&directory));
    }
    for name in DEVICES {
        let device = MountSpec {
            source: Path::new("/dev").join(name),
            target: format!("/dev/{name}"),
            ..MountSpec::default()
        };
        bind(root, &device, false)?;
    }
    Ok(())
}

fn occupied(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Repeats the host's device nodes, for privileged containers.
fn copy_devices(from: &Path, to: &Path) -> io::Result<()> {
    const OWN_MOUNTS: [&str; 4] = ["pts", "shm", "mqueue", "hugepages"];
    for entry in fs::read_dir(from)?.flatten() {
        let (kind, name) = (entry.file_type()?, entry.file_name());
        let target = to.join(&name);
        if kind.is_dir() && !OWN_MOUNTS.iter().any(|own| name == *own) {
            fs::create_dir_all(&target)?;
            copy_devices(&entry.path(), &target)?;
        } else if (kind.is_char_device() || kind.is_block_device()) && !occupied(&target) {
            let data = entry.metadata()?;
            sys::make_node(&target, data.mode(), data.rdev())?;
        }
    }
    Ok(())
}

fn bind(root: &OwnedFd, mount: &MountSpec, no_devices: bool) -> io::Result<()> {
    let source = open_path(&mount.source)?;
    let source = match mount.sub_path.as_str() {
        "" => source,
        path => open_sub_path(source, Path::new(path))?,
    };
    let directory = File::from(source.try_clone()?).metadata()?.is_dir();
    let target = ensure(root, Path::new(&mount.target), directory)?;
    let tree = sys::clone_mount(source.as_fd())?;
    if no_devices {
        sys::set_mount_attributes(tree.as_fd(), sys::ATTR_NO_DEVICES, true)?;
    }
    if mount.read_only {
        sys::set_mount_attributes(tree.as_fd(), sys::ATTR_READ_ONLY, false)?;
    }
    sys::move_mount(tree.as_fd(), target.as_fd())
}

/// Opens a path that must stay within the volume, making missing directories.
fn open_sub_path(volume: OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let look = |from: BorrowedFd<'_>, part: &OsStr| {
        sys::open_beneath(from, part, libc::O_PATH, libc::RESOLVE_BENEATH)
    };
    match look(volume.as_fd(), path.as_os_str()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found.context(|| format!("subPath {path:?}")),
    }
    let mode = File::from(volume.try_clone()?).metadata()?.mode() & 0o7777;
    let mut built = PathBuf::new();
    for part in path {
        built.push(part);
        if look(volume.as_fd(), built.as_os_str()).is_err() {
            let parent = built
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            let parent = look(volume.as_fd(), parent.unwrap_or(Path::new(".")).as_os_str())?;
            sys::make_directory(parent.as_fd(), part, mode)?;
            // Exactly the volume's mode: the file creation mask took something away.
            let made = look(volume.as_fd(), built.as_os_str())?;
            fs::set_permissions(handle(&made), fs::Permissions::from_mode(mode))?;
        }
    }
    look(volume.as_fd(), path.as_os_str()).context(|| format!("subPath {path:?}"))
}

fn protect() -> io::Result<()> {
    for path in MASKED.iter().filter(|path| Path::new(path).exists()) {
        let hidden = if Path::new(path).is_dir() {
            sys::mount("tmpfs", path, "tmpfs", libc::MS_RDONLY, "size=0k")
        } else {
            sys::mount("/dev/null", path, "", libc::MS_BIND, "")
        };
        hidden.context(|| format!("masking {path}"))?;
    }
    for path in READ_ONLY.iter().filter(|path| Path::new(path).exists()) {
        let flags = libc::MS_BIND | libc::MS_REC;
        let remount = flags | libc::MS_REMOUNT | libc::MS_RDONLY | NO_SUID_DEV_EXEC;
        sys::mount(path, path, "", flags, "")
            .and_then(|()| sys::mount("", path, "", remount, ""))
            .context(|| format!("making {path} read-only"))?;
    }
    Ok(())
}
