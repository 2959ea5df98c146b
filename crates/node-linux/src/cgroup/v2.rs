//! The version 2 tree.

use super::*;

/// The unified hierarchy.
pub struct V2 {
    root: PathBuf,
}

/// Controllers handed down to containers.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// No limit.
const NONE: &str = "max";

impl V2 {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Enables our controllers for the children of `directory`.
    fn delegate(&self, directory: &Path) -> io::Result<()> {
        let file = directory.join("cgroup.subtree_control");
        let enabled = fs::read_to_string(&file)?;
        let offered = fs::read_to_string(directory.join("cgroup.controllers"))?;
        let lists = |text: &str, name| text.split_whitespace().any(|word| word == name);
        for name in CONTROLLERS {
            // One that is not offered matters only to those who ask for its limits.
            if lists(&enabled, name) || !lists(&offered, name) {
                continue;
            }
            match write(&file, format!("+{name}")) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    self.evacuate(directory)?;
                    write(&file, format!("+{name}"))?;
                }
                written => written?,
            }
        }
        Ok(())
    }

    /// A group with processes of its own cannot hand controllers down. That is so where the root
    /// we see is not the machine's (inside a container): its processes move to a leaf.
    fn evacuate(&self, directory: &Path) -> io::Result<()> {
        const LEAF: &str = "init";
        if directory != self.root {
            return Err(io::Error::other(format!(
                "{} has processes",
                directory.display()
            )));
        }
        let leaf = directory.join(LEAF);
        fs::create_dir_all(&leaf)?;
        for pid in read_processes(directory) {
            // A process may have ended since; one that stays shows in the next write.
            let _ = write(&leaf.join("cgroup.procs"), pid);
        }
        Ok(())
    }

    fn set(&self, path: &str, file: &str, value: impl ToString) -> io::Result<()> {
        write(&self.root.join(path).join(file), value)
    }
}

impl Cgroups for V2 {
    fn create(&self, path: &str, limits: &Limits) -> io::Result<()> {
        let mut directory = self.root.clone();
        for part in Path::new(path) {
            self.delegate(&directory)?;
            directory.push(part);
            fs::create_dir_all(&directory)?;
        }
        if let Some(memory) = limits.memory {
            self.set(path, "memory.max", memory)?;
            // Absent without swap accounting; then there is nothing to limit.
            let _ = self.set(path, "memory.swap.max", 0);
        }
        // A share is a wish: without the controller it has no meaning.
        let _ = self.set(path, "cpu.weight", weight(shares(limits.cpu_request_milli)));
        if let Some(milli) = limits.cpu_milli {
            self.set(path, "cpu.max", format!("{} {CPU_PERIOD}", quota(milli)))?;
        }
        limits
            .pids
            .map_or(Ok(()), |pids| self.set(path, "pids.max", pids))
    }

    fn update(&self, path: &str, limits: &Limits) -> io::Result<()> {
        let memory = limits.memory.map(|memory| memory.to_string());
        let memory = memory.as_deref().unwrap_or(NONE);
        if limits.memory.is_some() || self.root.join(path).join("memory.max").exists() {
            self.set(path, "memory.max", memory)?;
        }
        // Absent without swap accounting; then there is nothing to limit.
        let swap = if limits.memory.is_some() { "0" } else { NONE };
        let _ = self.set(path, "memory.swap.max", swap);
        let _ = self.set(path, "cpu.weight", weight(shares(limits.cpu_request_milli)));
        let quota = limits.cpu_milli.map(|milli| quota(milli).to_string());
        if limits.cpu_milli.is_some() || self.root.join(path).join("cpu.max").exists() {
            let quota = quota.as_deref().unwrap_or(NONE);
            self.set(path, "cpu.max", format!("{quota} {CPU_PERIOD}"))?;
        }
        Ok(())
    }

    fn held(&self, path: &str) -> Held {
        let directory = self.root.join(path);
        let quota = || {
            let text = fs::read_to_string(directory.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            let period: u64 = period.parse().ok()?;
            Some(quota.parse::<u64>().ok()? * CPU_PERIOD / period.max(1))
        };
        Held {
            memory: read_number(&directory.join("memory.max")),
            memory_used: read_number(&directory.join("memory.current")).unwrap_or(0),
            // The word for none does not parse.
            quota: quota(),
            shares: read_number(&directory.join("cpu.weight")).unwrap_or(0),
            weighted: true,
        }
    }

    fn enter(&self, path: &str, pid: i32) -> io::Result<()> {
        self.set(path, "cgroup.procs", pid)
    }

    fn kill_together(&self, path: &str) {
        // Absent before Linux 4.19; then processes are killed one by one.
        let _ = self.set(path, "memory.oom.group", 1);
    }

    fn kill(&self, path: &str) {
        kill_tree(&self.root.join(path));
    }

    fn oom_kills(&self, path: &str) -> u64 {
        read_field(&self.root.join(path).join("memory.events"), "oom_kill").unwrap_or(0)
    }

    fn usage(&self, path: &str) -> Usage {
        const NANOS_PER_MICRO: u64 = 1_000;
        let directory = self.root.join(path);
        let used = read_number(&directory.join("memory.current")).unwrap_or(0);
        let cache = read_field(&directory.join("memory.stat"), "inactive_file").unwrap_or(0);
        let cpu = read_field(&directory.join("cpu.stat"), "usage_usec").unwrap_or(0);
        Usage {
            cpu_nanos: cpu * NANOS_PER_MICRO,
            working_set: used.saturating_sub(cache),
        }
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        remove_tree(&self.root.join(path))
    }

    fn remove_if_empty(&self, path: &str) -> bool {
        remove_one(&self.root.join(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_limited_group() {
        let root = std::env::temp_dir().join(format!("xebec-cgroup-{}", std::process::id()));
        fs::create_dir_all(root.join("a/b")).expect("created");
        fs::write(root.join("cgroup.subtree_control"), "cpu memory\n").expect("written");
        fs::write(root.join("a/cgroup.subtree_control"), "cpu memory pids\n").expect("written");
        for place in ["", "a/"] {
            let file = root.join(format!("{place}cgroup.controllers"));
            fs::write(file, "cpuset cpu memory pids\n").expect("written");
        }
        let limits = Limits {
            memory: Some(1 << 20),
            cpu_milli: Some(1500),
            cpu_request_milli: 1000,
            pids: Some(9),
        };
        V2::new(root.clone())
            .create("a/b", &limits)
            .expect("created");
        let read = |name: &str| fs::read_to_string(root.join(name)).expect("written");
        let found = ["memory.max", "cpu.weight", "cpu.max", "pids.max"]
            .map(|name| read(&format!("a/b/{name}")));
        assert_eq!(found, ["1048576", "39", "150000 100000", "9"]);
        let groups = V2::new(root.clone());
        let wider = Limits {
            memory: None,
            cpu_milli: None,
            cpu_request_milli: 2000,
            pids: Some(9),
        };
        let held = change(&groups, "a/b", &wider).expect("changed");
        assert_eq!((held, read("a/b/cpu.max").as_str()), (wider, "max 100000"));
        fs::write(root.join("a/b/memory.current"), "5000000").expect("written");
        let refused = change(&groups, "a/b", &limits).expect_err("more is in use");
        assert!(refused.to_string().contains("below current usage"));
        assert_eq!(read("a/b/memory.max"), "max");
        assert_eq!(
            read("cgroup.subtree_control"),
            "+pids",
            "only what was missing is asked for"
        );
        fs::remove_dir_all(root).expect("removed");
    }
}
