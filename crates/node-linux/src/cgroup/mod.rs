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
    /// Writes all limits of a group that exists; `None` lifts one.
    fn update(&self, path: &str, limits: &Limits) -> io::Result<()>;
    /// What the kernel holds.
    fn held(&self, path: &str) -> Held;
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

/// Limits of a group as the kernel holds them; `None` where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes in use, cached files included.
    pub memory_used: u64,
    /// Microseconds in a period of the default length.
    pub quota: Option<u64>,
    /// Shares, or the weight that stands for them.
    pub shares: u64,
    /// Whether `shares` is a weight.
    pub weighted: bool,
}

impl Held {
    /// These limits in the words of `wanted`, where both mean the same to the kernel.
    fn said_as(&self, wanted: &Limits) -> Limits {
        let same_memory = self.memory.map(pages) == wanted.memory.map(pages);
        let same_quota = self.quota == wanted.cpu_milli.map(quota);
        let own = shares(wanted.cpu_request_milli);
        let own = if self.weighted { weight(own) } else { own };
        Limits {
            memory: if same_memory {
                wanted.memory
            } else {
                self.memory
            },
            cpu_milli: if same_quota {
                wanted.cpu_milli
            } else {
                self.quota.map(|quota| quota * 1000 / CPU_PERIOD)
            },
            cpu_request_milli: if own == self.shares {
                wanted.cpu_request_milli
            } else if self.weighted {
                milli(shares_of(self.shares))
            } else {
                milli(self.shares)
            },
            pids: wanted.pids,
        }
    }
}

/// Changes the limits of a group in place; returns what holds now. A memory limit below what is
/// in use is refused: version 2 would kill for it, version 1 might not return.
pub fn change(cgroups: &dyn Cgroups, path: &str, wanted: &Limits) -> io::Result<Limits> {
    let before = cgroups.held(path);
    if let Some(limit) = wanted.memory {
        let lower = before.memory.is_none_or(|memory| limit < memory);
        if lower && before.memory_used >= limit {
            return Err(io::Error::other(format!(
                "attempting to set memory limit ({limit}) below current usage ({})",
                before.memory_used
            )));
        }
    }
    cgroups.update(path, wanted)?;
    Ok(cgroups.held(path).said_as(wanted))
}

/// The kernel counts memory in pages.
fn pages(bytes: u64) -> u64 {
    const PAGE: u64 = 4096;
    bytes / PAGE
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

/// The version 1 hierarchies that containers are placed in: directory below the common root,
/// and the controllers that share it.
pub fn separate() -> io::Result<Vec<(String, Vec<String>)>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let placed = |mount: &Hierarchy| v1::CONTROLLERS.iter().any(|name| mount.has(name));
    let mounts = parse_mounts(&table).into_iter();
    let mounts = mounts.filter(|mount| mount.version == 1 && placed(mount));
    Ok(mounts.filter_map(Hierarchy::shown).collect())
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

    fn shown(self) -> Option<(String, Vec<String>)> {
        let name = self.path.file_name()?.to_str()?.to_owned();
        let known = |option: &String| name.split(',').any(|part| part == option);
        let controllers = self.options.into_iter().filter(known).collect();
        Some((name, controllers))
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

/// The request that shares stand for, thousandths of a CPU.
fn milli(shares: u64) -> u64 {
    (shares * 1000).div_ceil(1024)
}

const MAX_SHARES: u64 = 262_144;

/// The weight that stands for CPU shares in version 2 (KEP-2254).
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(MIN_SHARES, MAX_SHARES) - MIN_SHARES) * 9_999 / (MAX_SHARES - MIN_SHARES)
}

/// The shares that a weight stands for, as far as it tells.
fn shares_of(weight: u64) -> u64 {
    MIN_SHARES + weight.saturating_sub(1) * (MAX_SHARES - MIN_SHARES) / 9_999
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
    fn what_holds_is_said_in_the_words_asked_for() {
        let wanted = Limits {
            memory: Some(35 << 20),
            cpu_milli: Some(5),
            cpu_request_milli: 1,
            pids: None,
        };
        let held = Held {
            memory: Some(35 << 20),
            memory_used: 0,
            quota: Some(1_000),
            shares: 2,
            weighted: false,
        };
        assert_eq!(held.said_as(&wanted), wanted);
        let other = Held {
            memory: None,
            quota: Some(20_000),
            shares: 512,
            ..held
        };
        let said = other.said_as(&wanted);
        assert_eq!(
            (said.memory, said.cpu_milli, said.cpu_request_milli),
            (None, Some(200), 500)
        );
        let weighted = Held {
            shares: weight(shares(250)),
            weighted: true,
            ..held
        };
        let request = |milli| Limits {
            cpu_request_milli: milli,
            ..wanted.clone()
        };
        assert_eq!(weighted.said_as(&request(250)), request(250));
        assert_ne!(weighted.said_as(&request(500)), request(500));
    }

    #[test]
    fn mount_table() {
        let table = "31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                     40 23 0:30 / /sys/fs/cgroup/unified rw shared:1 - cgroup2 cgroup2 rw\n\
                     41 23 0:31 / /tmp rw - tmpfs tmpfs rw\n";
        let mounts = parse_mounts(table);
        assert_eq!(mounts.len(), 2);
        assert!(mounts[0].has("cpuacct") && mounts[0].version == 1);
        let shared = "1 2 0:3 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,xattr,cpu,cpuacct";
        let shown = parse_mounts(shared).remove(0).shown().expect("named");
        assert_eq!(shown.0, "cpu,cpuacct");
        assert_eq!(shown.1, ["cpu", "cpuacct"]);
        assert_eq!(mounts[1].path, Path::new("/sys/fs/cgroup/unified"));
    }
}
