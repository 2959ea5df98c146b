//! Version 1 hierarchies, with the version 2 tree beside them (if mounted) for killing.

use super::*;

/// Controllers mounted one by one.
pub struct V1 {
    mounts: Vec<Hierarchy>,
    unified: Option<PathBuf>,
}

/// Controllers a container is placed in; others (cpuset, devices) are left alone.
const CONTROLLERS: [&str; 4] = ["memory", "cpu", "cpuacct", "pids"];

impl V1 {
    pub(super) fn new(mut mounts: Vec<Hierarchy>, unified: Option<PathBuf>) -> Self {
        mounts.retain(|mount| CONTROLLERS.iter().any(|name| mount.has(name)));
        Self { mounts, unified }
    }

    fn directories(&self, path: &str) -> Vec<PathBuf> {
        let mounts = self.mounts.iter().map(|mount| &mount.path);
        mounts
            .chain(&self.unified)
            .map(|root| root.join(path))
            .collect()
    }

    fn directory(&self, controller: &str, path: &str) -> Option<PathBuf> {
        let mount = self.mounts.iter().find(|mount| mount.has(controller))?;
        Some(mount.path.join(path))
    }

    fn set(&self, controller: &str, path: &str, file: &str, value: u64) -> io::Result<()> {
        let missing = || {
            let text = format!("the {controller} cgroup controller is not mounted");
            io::Error::new(io::ErrorKind::Unsupported, text)
        };
        write(
            &self
                .directory(controller, path)
                .ok_or_else(missing)?
                .join(file),
            value,
        )
    }
}

impl Cgroups for V1 {
    fn create(&self, path: &str, limits: &Limits) -> io::Result<()> {
        for directory in self.directories(path) {
            fs::create_dir_all(directory)?;
        }
        if let Some(memory) = limits.memory {
            self.set("memory", path, "memory.limit_in_bytes", memory)?;
            // Absent without swap accounting; then there is nothing to limit.
            let _ = self.set("memory", path, "memory.memsw.limit_in_bytes", memory);
        }
        // A share is a wish: without the controller it has no meaning.
        let _ = self.set("cpu", path, "cpu.shares", shares(limits.cpu_request_milli));
        if let Some(milli) = limits.cpu_milli {
            self.set("cpu", path, "cpu.cfs_period_us", CPU_PERIOD)?;
            self.set("cpu", path, "cpu.cfs_quota_us", quota(milli))?;
        }
        limits
            .pids
            .map_or(Ok(()), |pids| self.set("pids", path, "pids.max", pids))
    }

    fn enter(&self, path: &str, pid: i32) -> io::Result<()> {
        let directories = self.directories(path);
        directories
            .iter()
            .try_for_each(|directory| write(&directory.join("cgroup.procs"), pid))
    }

    /// Version 1 knows no such thing.
    fn kill_together(&self, _path: &str) {}

    fn kill(&self, path: &str) {
        let tree = self
            .unified
            .as_ref()
            .or(self.mounts.first().map(|mount| &mount.path));
        if let Some(root) = tree {
            kill_tree(&root.join(path));
        }
    }

    fn oom_kills(&self, path: &str) -> u64 {
        let file = self
            .directory("memory", path)
            .map(|path| path.join("memory.oom_control"));
        file.and_then(|file| read_field(&file, "oom_kill"))
            .unwrap_or(0)
    }

    fn usage(&self, path: &str) -> Usage {
        let memory = self.directory("memory", path).unwrap_or_default();
        let used = read_number(&memory.join("memory.usage_in_bytes")).unwrap_or(0);
        let cache = read_field(&memory.join("memory.stat"), "total_inactive_file").unwrap_or(0);
        let cpu = self.directory("cpuacct", path).unwrap_or_default();
        Usage {
            cpu_nanos: read_number(&cpu.join("cpuacct.usage")).unwrap_or(0),
            working_set: used.saturating_sub(cache),
        }
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.directories(path)
            .iter()
            .try_for_each(|directory| remove_tree(directory))
    }

    fn remove_if_empty(&self, path: &str) -> bool {
        self.directories(path)
            .iter()
            .all(|directory| remove_one(directory))
    }
}
