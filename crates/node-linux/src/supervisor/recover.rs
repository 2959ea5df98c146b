//! What a supervisor that died (or is about to end) leaves behind, found from its records.

use super::{namespaces, now, records};
use crate::{
    cgroup::{self, Cgroups},
    layout::Layout,
    spec::{ContainerRecord, Exit, Phase, SandboxRecord},
    sys,
};
use std::{
    fs::{self, File},
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// How often removing a control group is tried: killed processes take a moment to go.
const ATTEMPTS: usize = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// Ends what lost its parent and returns records that are true again.
pub fn recover(
    layout: &Layout,
    cgroups: &dyn Cgroups,
) -> (Vec<SandboxRecord>, Vec<ContainerRecord>) {
    let (mut sandboxes, stray_sandboxes) = records::load_sandboxes(layout);
    let (mut containers, stray_containers) = records::load_containers(layout);
    for container in containers
        .iter_mut()
        .filter(|container| is_running(container))
    {
        end_lost(container, layout, cgroups);
    }
    for sandbox in &mut sandboxes {
        let directory = layout.sandbox(&sandbox.spec.id);
        if sandbox.ready && !namespaces::exist(&sandbox.spec, &directory) {
            namespaces::release(&directory);
            cgroups.kill(&sandbox.spec.cgroup);
            report(remove_cgroup(cgroups, &sandbox.spec.cgroup));
            sandbox.ready = false;
            report(records::save_sandbox(layout, sandbox));
        }
    }
    for stray in stray_sandboxes.iter().chain(&stray_containers) {
        namespaces::release(stray);
        report(remove_directory(stray));
    }
    (sandboxes, containers)
}

fn report(result: io::Result<()>) {
    if let Err(error) = result {
        eprintln!("recovering: {error}");
    }
}

fn is_running(container: &ContainerRecord) -> bool {
    matches!(container.phase, Phase::Running { .. })
}

fn end_lost(container: &mut ContainerRecord, layout: &Layout, cgroups: &dyn Cgroups) {
    let Phase::Running { started_at, .. } = container.phase else {
        return;
    };
    cgroups.kill(&container.spec.cgroup);
    report(remove_cgroup(cgroups, &container.spec.cgroup));
    container.phase = Phase::Exited(Exit {
        started_at,
        finished_at: now(),
        code: 128 + libc::SIGKILL,
        reason: "Error".into(),
        message: "killed because its supervisor had died".into(),
    });
    report(records::save_container(layout, container));
}

fn remove_cgroup(cgroups: &dyn Cgroups, path: &str) -> io::Result<()> {
    let mut result = Ok(());
    for _ in 0..ATTEMPTS {
        result = cgroups.remove(path);
        if result.is_ok() {
            break;
        }
        cgroups.kill(path);
        thread::sleep(PAUSE);
    }
    result
}

/// Kills and removes everything on record: processes, control groups, mounts, files. Images stay.
pub fn remove_all(layout: &Layout, cgroups: &dyn Cgroups) -> io::Result<()> {
    let (sandboxes, _) = records::load_sandboxes(layout);
    let (containers, _) = records::load_containers(layout);
    let groups = containers
        .iter()
        .map(|container| container.spec.cgroup.as_str());
    let groups = groups.chain(sandboxes.iter().map(|sandbox| sandbox.spec.cgroup.as_str()));
    let mut result = Ok(());
    for path in groups {
        cgroups.kill(path);
        result = result.and(remove_cgroup(cgroups, path));
        remove_empty_parents(cgroups, path);
    }
    result.and(unmount_below(layout.root()))?;
    for name in ["sandboxes", "containers", "trash", "logs", "pods"] {
        remove_directory(&layout.root().join(name))?;
    }
    Ok(())
}

/// Removes the groups above a pod's that we made, unless somebody else still uses them.
pub fn remove_empty_parents(cgroups: &dyn Cgroups, path: &str) {
    for parent in Path::new(path).ancestors().skip(1) {
        let name = parent.to_string_lossy();
        if name.is_empty() || !cgroups.remove_if_empty(&name) {
            return;
        }
    }
}

fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io::Error::new(
            error.kind(),
            format!("removing {}: {error}", path.display()),
        )),
        _ => Ok(()),
    }
}

fn unmount_below(root: &Path) -> io::Result<()> {
    let root = root.canonicalize()?;
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mut targets: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(unescape(path)))
        .filter(|path| path.starts_with(&root) && *path != root)
        .collect();
    targets.reverse();
    targets.iter().try_for_each(sys::unmount)
}

/// Undoes the kernel's octal escapes in mount tables.
fn unescape(path: &str) -> String {
    let escapes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    escapes
        .iter()
        .fold(path.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Takes the lock of a state directory. A supervisor that was just killed holds it for a moment
/// longer than its socket.
pub fn lock(layout: &Layout) -> io::Result<File> {
    const LOCK_ATTEMPTS: usize = 100;
    let lock = File::create(layout.lock())?;
    for _ in 0..LOCK_ATTEMPTS {
        if sys::lock_file(lock.as_fd()).is_ok() {
            return Ok(lock);
        }
        thread::sleep(PAUSE);
    }
    Err(io::Error::other(
        "a supervisor runs on this state directory",
    ))
}

/// Removes everything a supervisor left in `state` after it died. Fails if one still runs there:
/// that one can be asked to shut down.
pub fn cleanup(state: &Path) -> io::Result<()> {
    let layout = Layout::new(state);
    if !state.exists() {
        return Ok(());
    }
    let _lock = lock(&layout)?;
    remove_all(&layout, cgroup::detect()?.as_ref())
}
