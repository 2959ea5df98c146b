//! What agent and supervisor say to each other: resolved specifications, requests, records.
//!
//! Plain data; must not know how anything is carried out. Upstream counterpart: the OCI runtime
//! specification and containerd's task service.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

/// Cgroup limits, see [`env::CgroupLimits`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// CPU quota in thousandths of a CPU.
    pub cpu_milli: Option<u64>,
    /// CPU request in thousandths of a CPU.
    pub cpu_request_milli: u64,
    /// Process count.
    pub pids: Option<u64>,
}

impl From<&Limits> for env::CgroupLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            memory: limits.memory,
            cpu_milli: limits.cpu_milli,
            cpu_request_milli: limits.cpu_request_milli,
            pids: limits.pids,
        }
    }
}

impl From<&env::CgroupLimits> for Limits {
    fn from(limits: &env::CgroupLimits) -> Self {
        Self {
            memory: limits.memory,
            cpu_milli: limits.cpu_milli,
            cpu_request_milli: limits.cpu_request_milli,
            pids: limits.pids,
        }
    }
}

/// A sandbox to make.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Runtime id.
    pub id: String,
    /// Node it belongs to.
    pub node: String,
    /// Pod namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Pod UID.
    pub uid: String,
    /// Attempt.
    pub attempt: u32,
    /// Host name.
    pub hostname: String,
    /// An existing network namespace to share instead of a new one.
    pub shared_network: Option<PathBuf>,
    /// Share the node's IPC namespace.
    pub host_ipc: bool,
    /// Share the node's process ids.
    pub host_pid: bool,
    /// One process-id namespace for all containers.
    pub share_pid: bool,
    /// Namespaced kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Lines of /etc/resolv.conf.
    pub resolv_conf: String,
    /// Cgroup of the pod, relative to the hierarchies' roots.
    pub cgroup: String,
    /// Limits of the pod.
    pub limits: Limits,
    /// Creation time, microseconds since the Unix epoch.
    pub created_at: u64,
}

/// A sandbox on record.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SandboxRecord {
    /// What it is made of.
    pub spec: SandboxSpec,
    /// Whether its namespaces are usable.
    pub ready: bool,
    /// Addresses.
    pub ips: Vec<IpAddr>,
}

/// A bind mount.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MountSpec {
    /// Path on the node.
    pub source: PathBuf,
    /// Path below the source, or empty.
    pub sub_path: String,
    /// Absolute path in the container.
    pub target: String,
    /// Read-only.
    pub read_only: bool,
}

/// Who a process runs as.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UserSpec {
    /// `user[:group]`, names or numbers; empty for root.
    pub user: String,
    /// Group that replaces the user's.
    pub group: Option<u32>,
    /// Supplementary groups.
    pub supplemental: Vec<u32>,
}

/// Privileges of a process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Privileges {
    /// Bit set of capabilities.
    pub capabilities: u64,
    /// All devices, writable /sys, nothing masked.
    pub privileged: bool,
    /// Set `no_new_privs`.
    pub no_new_privileges: bool,
    /// Apply the built-in system-call filter.
    pub seccomp: bool,
}

/// A container to make, everything resolved.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Runtime id.
    pub id: String,
    /// Node it belongs to.
    pub node: String,
    /// Its sandbox.
    pub sandbox: String,
    /// Pod UID.
    pub pod_uid: String,
    /// Name within the pod.
    pub name: String,
    /// Attempt.
    pub attempt: u32,
    /// Image reference.
    pub image: String,
    /// Image id.
    pub image_id: String,
    /// Layer directory names, lowest first.
    pub layers: Vec<String>,
    /// Program and arguments.
    pub arguments: Vec<String>,
    /// Environment as `NAME=value`.
    pub environment: Vec<String>,
    /// Working directory.
    pub directory: String,
    /// Identity.
    pub user: UserSpec,
    /// Privileges.
    pub privileges: Privileges,
    /// Read-only root file system.
    pub read_only_root: bool,
    /// Bind mounts, parents before children.
    pub mounts: Vec<MountSpec>,
    /// Keep standard input open.
    pub stdin: bool,
    /// Close standard input after the first attach session.
    pub stdin_once: bool,
    /// Allocate a terminal.
    pub tty: bool,
    /// Cgroup relative to the hierarchies' roots.
    pub cgroup: String,
    /// Limits.
    pub limits: Limits,
    /// `oom_score_adj`.
    pub oom_score_adj: i32,
    /// Signal that asks it to stop.
    pub stop_signal: i32,
    /// Log file.
    pub log_path: PathBuf,
    /// File whose content becomes the termination message.
    pub termination_log: PathBuf,
    /// Whether the end of the log speaks for a container that failed without a message.
    #[serde(default)]
    pub log_speaks: bool,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Start, microseconds since the Unix epoch.
    pub started_at: u64,
    /// End.
    pub finished_at: u64,
    /// Exit code.
    pub code: i32,
    /// Kubernetes reason.
    pub reason: String,
    /// Detail.
    pub message: String,
}

/// Where a container is in its life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Not started.
    #[default]
    Created,
    /// Running.
    Running {
        /// Process id in the supervisor's namespace.
        pid: i32,
        /// Start, microseconds since the Unix epoch.
        started_at: u64,
    },
    /// Ended.
    Exited(Exit),
}

/// A container on record.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// What it is made of.
    pub spec: ContainerSpec,
    /// State.
    pub phase: Phase,
}

/// The part of a container's record an observation needs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ContainerSummary {
    /// Runtime id.
    pub id: String,
    /// Its sandbox.
    pub sandbox: String,
    /// Pod UID.
    pub pod_uid: String,
    /// Name within the pod.
    pub name: String,
    /// Attempt.
    pub attempt: u32,
    /// Image reference.
    pub image: String,
    /// Image id.
    pub image_id: String,
    /// Its cgroup.
    pub cgroup: String,
    /// Limits in force.
    pub limits: Limits,
    /// State.
    pub phase: Phase,
}

/// A command to run in a container. Without `tty`, three descriptors come along.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ExecSpec {
    /// Container.
    pub container: String,
    /// Program and arguments.
    pub arguments: Vec<String>,
    /// Allocate a terminal.
    pub tty: bool,
    /// Kill the process when the connection closes.
    pub kill_on_close: bool,
}

/// What the agent asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Is anybody there?
    Ping,
    /// Makes a sandbox's namespaces.
    CreateSandbox(Box<SandboxSpec>),
    /// Records a sandbox's addresses and writes its hosts file.
    SetAddresses {
        /// Sandbox.
        id: String,
        /// Addresses.
        ips: Vec<IpAddr>,
    },
    /// Kills all containers of a sandbox and releases its namespaces.
    StopSandbox {
        /// Sandbox.
        id: String,
    },
    /// Forgets a stopped sandbox and its containers.
    RemoveSandbox {
        /// Sandbox.
        id: String,
    },
    /// Records a container.
    Create(Box<ContainerSpec>),
    /// Starts a container.
    Start {
        /// Container.
        id: String,
    },
    /// Sends a signal to a container's first process; 0 stands for its stop signal.
    Signal {
        /// Container.
        id: String,
        /// Signal number.
        signal: i32,
    },
    /// Kills all processes of a container.
    Kill {
        /// Container.
        id: String,
    },
    /// Changes the limits of a running container.
    Update {
        /// Container.
        id: String,
        /// New limits, all of them.
        limits: Limits,
    },
    /// Changes the limits of a sandbox's pod.
    UpdateSandbox {
        /// Sandbox.
        id: String,
        /// New limits, all of them.
        limits: Limits,
    },
    /// Forgets an ended container.
    Remove {
        /// Container.
        id: String,
    },
    /// One container's record.
    Inspect {
        /// Container.
        id: String,
    },
    /// All records of a node.
    List {
        /// Node.
        node: String,
    },
    /// Runs a command in a container; the connection stays open and ends with the exit code.
    Exec(Box<ExecSpec>),
    /// Sends a container's output over this connection from now on.
    Attach {
        /// Container.
        id: String,
        /// Whether its standard input (or terminal) is wanted.
        stdin: bool,
    },
    /// Sends a byte over this connection after every change.
    Subscribe,
    /// Kills and removes everything, then ends the supervisor.
    Shutdown,
}

/// What the supervisor answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Response {
    /// Done.
    Done,
    /// A sandbox.
    Sandbox(Box<SandboxRecord>),
    /// A container.
    Container(Box<ContainerRecord>),
    /// All records.
    List {
        /// Sandboxes.
        sandboxes: Vec<SandboxRecord>,
        /// Containers.
        containers: Vec<ContainerSummary>,
    },
    /// Refused.
    Failed {
        /// Kubernetes reason.
        reason: String,
        /// Detail.
        message: String,
    },
}
