//! Version 1 hierarchies, with the version 2 tree beside them (if mounted) for killing.

use super::*;

/// Controllers mounted one by one.
pub struct V1 {
    mounts: Vec<Hierarchy>,
    unified: Option<PathBuf>,
}

/// Controllers a container is placed in; others (cpuset, devices) are left alone.
pub(super) const CONTROLLERS: [&str; 4] = ["memory", "cpu", "cpuacct", "pids"];
const MEMORY_LIMIT: &str = "memory.limit_in_bytes";
/// The kernel's largest limit is a little below this power of two, less some pages.
const UNLIMITED: u64 = 1 << 62;

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

    fn set(
        &self,
        controller: &str,
        path: &str,
        file: &str,
        value: impl ToString,
    ) -> io::Result<()> {
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

    fn read(&self, controller: &str, path: &str, file: &str) -> Option<u64> {
        read_number(&self.directory(controller, path)?.join(file))
    }

    /// Memory and swap together must stay above memory alone, so the order depends on which way
    /// it goes.
    fn set_memory(&self, path: &str, limit: Option<u64>) -> io::Result<()> {
        let text = limit.map_or("-1".to_owned(), |limit| limit.to_string());
        let before = self.read("memory", path, MEMORY_LIMIT).unwrap_or(0);
        // Absent without swap accounting; then there is nothing to limit.
        let both = || self.set("memory", path, "memory.memsw.limit_in_bytes", &text);
        if limit.is_none_or(|limit| limit > before) {
            let _ = both();
            return self.set("memory", path, MEMORY_LIMIT, &text);
        }
        self.set("memory", path, MEMORY_LIMIT, &text)?;
        let _ = both();
        Ok(())
    }

    fn set_quota(&self, path: &str, milli: Option<u64>) -> io::Result<()> {
        let Some(milli) = milli else {
            // Without the controller there is no limit to lift.
            return match self.directory("cpu", path) {
                Some(_) => self.set("cpu", path, "cpu.cfs_quota_us", -1),
                None => Ok(()),
            };
        };
        self.set("cpu", path, "cpu.cfs_period_us", CPU_PERIOD)?;
        self.set("cpu", path, "cpu.cfs_quota_us", quota(milli))
    }
}

impl Cgroups for V1 {
    fn create(&self, path: &str, limits: &Limits) -> io::Result<()> {
        for directory in self.directories(path) {
            fs::create_dir_all(directory)?;
        }
        if limits.memory.is_some() {
            self.set_memory(path, limits.memory)?;
        }
        // A share is a wish: without the controller it has no meaning.
        let _ = self.set("cpu", path, "cpu.shares", shares(limits.cpu_request_milli));
        if limits.cpu_milli.is_some() {
            self.set_quota(path, limits.cpu_milli)?;
        }
        limits
            .pids
            .map_or(Ok(()), |pids| self.set("pids", path, "pids.max", pids))
    }

    fn update(&self, path: &str, limits: &Limits) -> io::Result<()> {
        if limits.memory.is_some() || self.directory("memory", path).is_some() {
            self.set_memory(path, limits.memory)?;
        }
        let _ = self.set("cpu", path, "cpu.shares", shares(limits.cpu_request_milli));
        self.set_quota(path, limits.cpu_milli)
    }

    fn held(&self, path: &str) -> Held {
        let limited = |memory: &u64| *memory < UNLIMITED;
        let quota = || {
            let quota = self.read("cpu", path, "cpu.cfs_quota_us")?;
            let period = self.read("cpu", path, "cpu.cfs_period_us")?.max(1);
            Some(quota * CPU_PERIOD / period)
        };
        Held {
            memory: self.read("memory", path, MEMORY_LIMIT).filter(limited),
            memory_used: self
                .read("memory", path, "memory.usage_in_bytes")
                .unwrap_or(0),
            // A number below zero does not parse, and means that there is none.
            quota: quota(),
            shares: self.read("cpu", path, "cpu.shares").unwrap_or(0),
            weighted: false,
        }
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
