//! Where a cluster keeps what it has: one directory below the user's home.

use machinery::{Value, json};
use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// Longest name of a cluster: it becomes part of cgroup paths and host names.
const NAME_MAX: usize = 40;

/// The directory of one cluster.
#[derive(Clone, Debug)]
pub struct Home {
    name: String,
    root: PathBuf,
}

impl Home {
    /// The directory of the cluster called `name`: `$XEBEC_HOME/NAME`, else `~/.xebec/NAME`.
    pub fn of(name: &str) -> io::Result<Self> {
        let base = match env::var_os("XEBEC_HOME") {
            Some(path) => PathBuf::from(path),
            None => {
                PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".xebec")
            }
        };
        Self::below(&base, name)
    }

    /// The directory of the cluster called `name` below a directory of clusters.
    pub fn below(base: &Path, name: &str) -> io::Result<Self> {
        let errors = machinery::dns1123_label(name);
        if !errors.is_empty() || name.len() > NAME_MAX {
            let why = format!(
                "{name:?} is no name for a cluster: lower-case letters, digits and '-', at most {NAME_MAX}"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let base = std::path::absolute(base)?;
        Ok(Self {
            name: name.into(),
            root: base.join(name),
        })
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The store's log.
    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// Certificates and keys.
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// Containers and images.
    pub fn node(&self) -> PathBuf {
        self.root.join("node")
    }

    /// Network namespaces.
    pub fn vpc(&self) -> PathBuf {
        self.root.join("vpc")
    }

    /// Directory volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// Log of a detached server.
    pub fn log(&self) -> PathBuf {
        self.root.join("server.log")
    }

    /// The supervisor's socket.
    pub fn socket(&self) -> PathBuf {
        self.root.join("supervisor.sock")
    }

    /// Cgroup of this cluster's pods, relative to the hierarchies' roots.
    pub fn cgroup(&self) -> String {
        format!("xebec/{}", self.name)
    }

    fn record(&self) -> PathBuf {
        self.root.join("server.json")
    }

    /// Notes how the running server can be reached.
    pub fn write_record(&self, record: &Value) -> io::Result<()> {
        let temporary = self.root.join("server.json.new");
        fs::write(&temporary, codec::encode_json_value(record))?;
        fs::rename(temporary, self.record())
    }

    /// What the last server noted, if any.
    pub fn read_record(&self) -> Option<Value> {
        let bytes = fs::read(self.record()).ok()?;
        codec::decode_json(&bytes, codec::Limits::default())
            .ok()
            .map(|decoded| decoded.value)
    }

    /// The port of the last server: a restart keeps it, so that clients find it again.
    pub fn last_port(&self) -> u16 {
        fs::read_to_string(self.root.join("port"))
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    /// Notes the port of a server's URL.
    pub fn remember_port(&self, url: &str) -> io::Result<()> {
        fs::write(
            self.root.join("port"),
            url.rsplit(':').next().unwrap_or_default(),
        )
    }

    /// Forgets the server.
    pub fn remove_record(&self) {
        // It may never have been written.
        let _ = fs::remove_file(self.record());
    }

    /// The record of a server: its process, address and node count.
    pub fn record_of(server: &str, nodes: usize, simulated: bool, kubeconfig: &Path) -> Value {
        json!({
            "pid": i64::from(std::process::id()), "server": server, "nodes": nodes, "simulated": simulated,
            "kubeconfig": kubeconfig.display().to_string(),
        })
    }

    /// The pid of the running server, if it lives.
    pub fn running(&self) -> Option<i32> {
        let pid = i32::try_from(self.read_record()?["pid"].as_i64()?).ok()?;
        is_server(pid).then_some(pid)
    }
}

/// Whether a process is a server of ours and not a later process with the same number.
fn is_server(pid: i32) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let word = command.split(|byte| *byte == 0).nth(1);
    matches!(word, Some(b"up" | b"demo"))
}
