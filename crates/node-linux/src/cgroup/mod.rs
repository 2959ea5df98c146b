//! Control groups: limits, accounting, and killing a container as a whole.
//!
//! Paths are relative to the hierarchies' roots. Must not know pods or containers.
//! Upstream counterpart: `opencontainers/cgroups`.

mod v1;
mod v2;

use crate::spec::Limits;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Default period of the CPU quota in microseconds, as in the kernel.
const CPU_PERIOD: u64 = 100_000;
/// Smallest CPU quota the kernel accepts, microseconds.
const MIN_QUOTA: u64 = 1_000;
/// Smallest CPU shares the kernel accepts.
const MIN_SHARES: u64 = 2;
/// How often killing is repeated while new processes keep appearing.
const KILL_ROUNDS: usize = 50;

/// What a group has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, nanoseconds.
    pub cpu_nanos: u64,
    /// Memory less inactive file cache, bytes.
    pub working_set: u64,
}

/// The machine's control groups, version 1, 2 or both.
pub trait Cgroups: Send + Sync {
    /// Creates a group (and its parents) and applies limits.
    fn create(&self, path: &str, limits: &Limits) -> io::Result<()>;
    /// Moves a process into a group.
    fn enter(&self, path: &str, pid: i32) -> io::Result<()>;
    /// Makes a shortage of memory kill all processes of the group, where the kernel can.
    fn kill_together(&self, path: &str);
    /// Kills every process of a group and its children.
    fn kill(&self, path: &str);
    /// How many processes the kernel killed there for lack of memory.
    fn oom_kills(&self, path: &str) -> u64;
    /// What a group has used.
    fn usage(&self, path: &str) -> Usage;
    /// Removes a group with its children; fails while processes are left.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Removes a group that has neither processes nor children; false if it has.
    fn remove_if_empty(&self, path: &str) -> bool;
}

/// Finds the hierarchies this machine has mounted.
pub fn detect() -> io::Result<Box<dyn Cgroups>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mounts = parse_mounts(&table);
    let unified = mounts
        .iter()
        .find(|mount| mount.version == 2)
        .map(|mount| mount.path.clone());
    let v1: Vec<_> = mounts
        .into_iter()
        .filter(|mount| mount.version == 1)
        .collect();
    if v1
        .iter()
        .any(|mount| mount.has("memory") || mount.has("pids"))
    {
        return Ok(Box::new(v1::V1::new(v1, unified)));
    }
    unified
        .map(|root| Box::new(v2::V2::new(root)) as Box<dyn Cgroups>)
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "no cgroup hierarchy is mounted below /sys/fs/cgroup",
            )
        })
}

/// A mounted hierarchy.
struct Hierarchy {
    version: u8,
    path: PathBuf,
    options: Vec<String>,
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        self.options.iter().any(|option| option == controller)
    }
}

fn parse_mounts(table: &str) -> Vec<Hierarchy> {
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let path = PathBuf::from(left.split(' ').nth(4)?);
        let mut right = right.split(' ');
        let version = match right.next()? {
            "cgroup" => 1,
            "cgroup2" => 2,
            _ => return None,
        };
        let options = right.nth(1)?.split(',').map(str::to_owned).collect();
        Some(Hierarchy {
            version,
            path,
            options,
        })
    };
    table.lines().filter_map(parse).collect()
}

fn write(path: &Path, value: impl ToString) -> io::Result<()> {
    fs::write(path, value.to_string()).map_err(|error| {
        io::Error::new(error.kind(), format!("writing {}: {error}", path.display()))
    })
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number behind `key` in a file of `key value` lines.
fn read_field(path: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

fn read_processes(directory: &Path) -> Vec<i32> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Removes a group directory and those below it; a missing one is fine.
fn remove_tree(directory: &Path) -> io::Result<()> {
    for child in children(directory) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn remove_one(directory: &Path) -> bool {
    let removed = fs::remove_dir(directory);
    removed.is_ok() || removed.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Kills by `cgroup.kill` where the kernel has it, else process by process.
fn kill_tree(directory: &Path) {
    if fs::write(directory.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for child in children(directory) {
        kill_tree(&child);
    }
    for _ in 0..KILL_ROUNDS {
        let processes = read_processes(directory);
        if processes.is_empty() {
            return;
        }
        for pid in processes {
            // A process that is already gone is what we want.
            let _ = crate::sys::kill(pid, libc::SIGKILL);
        }
    }
}

fn shares(milli: u64) -> u64 {
    (milli * 1024 / 1000).max(MIN_SHARES)
}

fn quota(milli: u64) -> u64 {
    (milli * CPU_PERIOD / 1000).max(MIN_QUOTA)
}

/// The weight that stands for CPU shares in version 2 (KEP-2254).
fn weight(shares: u64) -> u64 {
    const MAX_SHARES: u64 = 262_144;
    1 + (shares.clamp(MIN_SHARES, MAX_SHARES) - MIN_SHARES) * 9_999 / (MAX_SHARES - MIN_SHARES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_units() {
        let cases = [
            (0, 2, 1_000),
            (10, 10, 1_000),
            (100, 102, 10_000),
            (1500, 1536, 150_000),
        ];
        for (milli, expected_shares, expected_quota) in cases {
            assert_eq!(
                (shares(milli), quota(milli)),
                (expected_shares, expected_quota)
            );
        }
        assert_eq!([2, 1024, 262_144].map(weight), [1, 39, 10_000]);
    }

    #[test]
    fn mount_table() {
        let table = "31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                     40 23 0:30 / /sys/fs/cgroup/unified rw shared:1 - cgroup2 cgroup2 rw\n\
                     41 23 0:31 / /tmp rw - tmpfs tmpfs rw\n";
        let mounts = parse_mounts(table);
        assert_eq!(mounts.len(), 2);
        assert!(mounts[0].has("cpuacct") && mounts[0].version == 1);
        assert_eq!(mounts[1].path, Path::new("/sys/fs/cgroup/unified"));
    }
}
