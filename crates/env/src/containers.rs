//! Containers as the kubelet sees them: images, pod sandboxes, containers, streams, volumes.
//!
//! Everything is per node. Upstream counterpart: the CRI (`RuntimeService`, `ImageService`)
//! and the kubelet's volume and prober seams.

use crate::{BoxFuture, Protocol, Time};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

/// Why a container operation failed. `reason` is the CamelCase word Kubernetes shows
/// (`ErrImagePull`, `CreateContainerError`, ...), `message` the sentence behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeError {
    /// CamelCase machine-readable reason.
    pub reason: &'static str,
    /// Human-readable detail.
    pub message: String,
}

impl RuntimeError {
    /// An error with its reason and message.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

impl std::fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}
impl std::error::Error for RuntimeError {}

/// Result of a runtime call.
pub type RuntimeResult<T> = Result<T, RuntimeError>;

/// An image on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageInfo {
    /// Digest of the image configuration, `sha256:...`.
    pub id: String,
    /// Names with tag, fully qualified (`docker.io/library/redis:7`).
    pub tags: Vec<String>,
    /// Names with digest.
    pub digests: Vec<String>,
    /// Unpacked size in bytes.
    pub size: u64,
    /// User of the image configuration (`uid[:gid]` or a name), empty for root.
    pub user: String,
}

/// User name and password for a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

/// What a pod sandbox (shared namespaces, address) is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxConfig {
    /// Pod namespace, name and UID.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Pod UID: the sandbox's identity.
    pub uid: String,
    /// How many sandboxes this pod had before.
    pub attempt: u32,
    /// Host name inside the UTS namespace.
    pub hostname: String,
    /// Share the node's network namespace instead of having one.
    pub host_network: bool,
    /// Share the node's process ids.
    pub host_pid: bool,
    /// Share the node's IPC namespace.
    pub host_ipc: bool,
    /// One process-id namespace for all containers of the pod.
    pub share_process_namespace: bool,
    /// Lines of /etc/resolv.conf.
    pub resolv_conf: String,
    /// Namespaced kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Pod-level cgroup limits (sum of the containers').
    pub limits: CgroupLimits,
    /// Ports of the node that lead into the pod.
    pub ports: Vec<HostPort>,
}

/// A port of the node that leads to one of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Address of the node it is bound to; `None` for all of them.
    pub address: Option<IpAddr>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the node.
    pub port: u16,
    /// Port of the pod.
    pub container_port: u16,
}

/// Resource limits in kernel units; `None` means unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupLimits {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// CPU quota in thousandths of a CPU.
    pub cpu_milli: Option<u64>,
    /// CPU request in thousandths of a CPU (becomes shares or weight).
    pub cpu_request_milli: u64,
    /// Process count.
    pub pids: Option<u64>,
}

/// A running or finished sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxStatus {
    /// Runtime id.
    pub id: String,
    /// UID of its pod.
    pub pod_uid: String,
    /// Pod namespace.
    pub pod_namespace: String,
    /// Pod name.
    pub pod_name: String,
    /// Attempt it was created with.
    pub attempt: u32,
    /// Whether its namespaces are usable.
    pub ready: bool,
    /// Pod addresses; empty with host networking.
    pub ips: Vec<IpAddr>,
    /// Creation time.
    pub created_at: Time,
    /// Limits of the pod as a whole that are in force.
    pub limits: CgroupLimits,
}

/// A directory or file mounted into a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path inside the container.
    pub container_path: String,
    /// Path on the node, as returned by [`Containers::prepare_volume`] or a host path.
    pub host_path: String,
    /// Path below `host_path` to mount instead of it; resolved without following links outside.
    pub sub_path: String,
    /// Mount read-only.
    pub read_only: bool,
}

/// What a container is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerConfig {
    /// Name within the pod.
    pub name: String,
    /// How often it has been started before in this pod.
    pub attempt: u32,
    /// Image reference or id, already present.
    pub image: String,
    /// Replaces the image's entry point if not empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments if not empty (or if `command` is given).
    pub args: Vec<String>,
    /// Working directory; empty takes the image's.
    pub working_dir: String,
    /// Environment, later entries win.
    pub env: Vec<(String, String)>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Keep stdin open.
    pub stdin: bool,
    /// Close stdin after the first attach.
    pub stdin_once: bool,
    /// Allocate a terminal.
    pub tty: bool,
    /// Security settings.
    pub security: Security,
    /// Limits of this container.
    pub limits: CgroupLimits,
    /// `oom_score_adj` to set.
    pub oom_score_adj: i32,
    /// Whether the end of the log is the termination message of a failure that left none.
    pub log_speaks: bool,
}

/// Container security settings, already merged from pod and container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// Numeric user; `None` takes the image's.
    pub run_as_user: Option<i64>,
    /// Numeric group; `None` takes the image's.
    pub run_as_group: Option<i64>,
    /// Refuse to start as user 0.
    pub run_as_non_root: bool,
    /// Supplementary groups (fsGroup among them).
    pub supplemental_groups: Vec<i64>,
    /// Mount the root file system read-only.
    pub read_only_root: bool,
    /// All capabilities and devices.
    pub privileged: bool,
    /// Whether `no_new_privs` stays unset.
    pub allow_privilege_escalation: bool,
    /// Capabilities added to the default set (`NET_ADMIN`, or `ALL`).
    pub capabilities_add: Vec<String>,
    /// Capabilities removed from the default set (or `ALL`).
    pub capabilities_drop: Vec<String>,
    /// `Unconfined`, `RuntimeDefault`.
    pub seccomp: Seccomp,
}

/// Which system-call filter applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// No filter (Kubernetes' default).
    #[default]
    Unconfined,
    /// The built-in profile.
    RuntimeDefault,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Created, not started.
    Created,
    /// Running since.
    Running {
        /// Start time.
        started_at: Time,
    },
    /// Ended.
    Exited {
        /// Start time; equal to `finished_at` if it never ran.
        started_at: Time,
        /// End time.
        finished_at: Time,
        /// Exit code; 128 + signal if killed.
        exit_code: i32,
        /// `Completed`, `Error`, `OOMKilled`, `ContainerCannotRun`, `StartError`.
        reason: &'static str,
        /// Detail, e.g. the termination message file's content.
        message: String,
    },
}

/// A container as observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    /// Runtime id.
    pub id: String,
    /// Its sandbox.
    pub sandbox_id: String,
    /// UID of its pod.
    pub pod_uid: String,
    /// Name within the pod.
    pub name: String,
    /// Attempt it was created with.
    pub attempt: u32,
    /// Image reference it was created from.
    pub image: String,
    /// Digest of that image.
    pub image_id: String,
    /// Limits in force: what was asked for where that is what the kernel holds, else the
    /// kernel's own numbers.
    pub limits: CgroupLimits,
    /// State.
    pub state: ContainerState,
}

/// Everything that runs on a node, taken at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeContainers {
    /// Time of the observation: states are at least this fresh.
    pub observed_at: Time,
    /// All sandboxes not yet removed.
    pub sandboxes: Vec<SandboxStatus>,
    /// All containers not yet removed.
    pub containers: Vec<ContainerStatus>,
}

/// A volume for the node to make available below a directory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// Scratch directory, gone with the pod; in memory with an optional size limit in bytes.
    EmptyDir {
        /// Use tmpfs.
        memory: bool,
        /// Size limit in bytes.
        size_limit: Option<u64>,
    },
    /// Files with given content and mode, updated atomically when prepared again.
    Files {
        /// Relative path to (content, mode).
        files: BTreeMap<String, (Vec<u8>, u32)>,
    },
    /// A directory that outlives pods, named by its persistent volume.
    Directory {
        /// Path on the node; created if absent.
        path: String,
    },
    /// The files of an image that is present, read-only.
    Image {
        /// Reference or id.
        reference: String,
    },
    /// A path of the host.
    HostPath {
        /// The path.
        path: String,
        /// Kubernetes' `hostPath.type`, empty for no check.
        kind: String,
    },
}

/// Result of a command run to completion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// Exit code.
    pub exit_code: i32,
    /// Captured standard output, cut at 64 KiB.
    pub stdout: Vec<u8>,
    /// Captured standard error, cut at 64 KiB.
    pub stderr: Vec<u8>,
}

/// A terminal's size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// Which streams a client wants of an exec or attach session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// Client sends input.
    pub stdin: bool,
    /// Client wants output.
    pub stdout: bool,
    /// Client wants errors.
    pub stderr: bool,
    /// Terminal: one merged output stream.
    pub tty: bool,
}

/// A chunk that a session sends to its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Bytes of standard output.
    Stdout(Vec<u8>),
    /// Bytes of standard error.
    Stderr(Vec<u8>),
    /// The session ended with this exit code; nothing follows.
    Exit(i32),
    /// The session failed; nothing follows.
    Failed(String),
}

/// A live exec or attach session.
pub trait Session: Send + Sync {
    /// Sends input; an empty slice closes standard input.
    fn write<'a>(&'a self, input: &'a [u8]) -> BoxFuture<'a, RuntimeResult<()>>;
    /// The next output; `Exit` or `Failed` is the last.
    fn read(&self) -> BoxFuture<'_, Output>;
    /// Changes the terminal's size.
    fn resize(&self, size: TerminalSize);
}

/// A byte stream into a pod (port-forward, proxy).
pub trait ByteStream: Send + Sync {
    /// Sends bytes; an empty slice shuts down writing.
    fn write<'a>(&'a self, bytes: &'a [u8]) -> BoxFuture<'a, RuntimeResult<()>>;
    /// The next bytes; empty at the end.
    fn read(&self) -> BoxFuture<'_, RuntimeResult<Vec<u8>>>;
}

/// Which part of a container's log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Keep sending new lines.
    pub follow: bool,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Only lines at or after this time.
    pub since: Option<Time>,
    /// Prefix each line with its RFC 3339 time.
    pub timestamps: bool,
    /// Stop after this many bytes.
    pub limit_bytes: Option<u64>,
}

/// A running log reader.
pub trait LogReader: Send + Sync {
    /// The next bytes of the log; `None` at its end.
    fn read(&self) -> BoxFuture<'_, RuntimeResult<Option<Vec<u8>>>>;
}

/// A check of a container from its node's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// GET; success is a status from 200 to 399.
    Http {
        /// Address of the pod.
        host: IpAddr,
        /// Port.
        port: u16,
        /// Path with query.
        path: String,
        /// TLS without verification.
        https: bool,
        /// Extra headers; `Host` replaces the default.
        headers: Vec<(String, String)>,
    },
    /// Success is an accepted connection.
    Tcp {
        /// Address of the pod.
        host: IpAddr,
        /// Port.
        port: u16,
    },
    /// Success is exit code 0 of a command in the container.
    Exec {
        /// Runtime id.
        container_id: String,
        /// Command.
        command: Vec<String>,
    },
    /// gRPC health check; success is SERVING.
    Grpc {
        /// Address of the pod.
        host: IpAddr,
        /// Port.
        port: u16,
        /// Service name, may be empty.
        service: String,
    },
}

/// Resource use of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Runtime id.
    pub id: String,
    /// CPU time used so far, nanoseconds.
    pub cpu_nanos: u64,
    /// Working set in bytes (usage less inactive file cache).
    pub memory_working_set: u64,
}

/// The container runtime of one node.
pub trait Containers: Send + Sync {
    /// Runtime name and version for `NodeInfo`, e.g. `("xebec", "0.1.0")`.
    fn version(&self) -> (String, String);

    /// Images present.
    fn images(&self) -> BoxFuture<'_, RuntimeResult<Vec<ImageInfo>>>;
    /// The image named by a reference or id, if present.
    fn image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, RuntimeResult<Option<ImageInfo>>>;
    /// Fetches an image from its registry, trying the credentials in order, then none.
    fn pull<'a>(
        &'a self,
        reference: &'a str,
        auth: &'a [RegistryAuth],
    ) -> BoxFuture<'a, RuntimeResult<ImageInfo>>;
    /// Forgets an image.
    fn remove_image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, RuntimeResult<()>>;

    /// Creates and starts a sandbox with its network; idempotent per (uid, attempt).
    fn run_sandbox<'a>(
        &'a self,
        config: &'a SandboxConfig,
    ) -> BoxFuture<'a, RuntimeResult<SandboxStatus>>;
    /// Kills what still runs in a sandbox and releases its network; idempotent.
    fn stop_sandbox<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<()>>;
    /// Forgets a sandbox and its containers, logs included; idempotent.
    fn remove_sandbox<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<()>>;

    /// Creates a container; idempotent per (sandbox, name, attempt). Returns its id.
    fn create<'a>(
        &'a self,
        sandbox: &'a str,
        config: &'a ContainerConfig,
    ) -> BoxFuture<'a, RuntimeResult<String>>;
    /// Starts a created container.
    fn start<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<()>>;
    /// Sends the stop signal and, after `grace`, SIGKILL; returns when the container has ended.
    fn stop<'a>(&'a self, id: &'a str, grace: Duration) -> BoxFuture<'a, RuntimeResult<()>>;
    /// Changes the limits of a running container in place; one that is `None` is lifted. A
    /// memory limit below what is in use is refused. Idempotent.
    fn update<'a>(
        &'a self,
        id: &'a str,
        limits: &'a CgroupLimits,
    ) -> BoxFuture<'a, RuntimeResult<()>>;
    /// Changes the limits of a sandbox as a whole, in the same way.
    fn update_sandbox<'a>(
        &'a self,
        id: &'a str,
        limits: &'a CgroupLimits,
    ) -> BoxFuture<'a, RuntimeResult<()>>;
    /// Forgets a container that has ended; idempotent.
    fn remove<'a>(&'a self, id: &'a str) -> BoxFuture<'a, RuntimeResult<()>>;

    /// All that exists now.
    fn observe(&self) -> BoxFuture<'_, RuntimeResult<NodeContainers>>;
    /// Completes when anything may have changed since the last `observe`; may complete spuriously.
    fn changed(&self) -> BoxFuture<'_, ()>;
    /// Resource use of all running containers.
    fn usage(&self) -> BoxFuture<'_, RuntimeResult<Vec<ContainerUsage>>>;

    /// Makes a volume of a pod available and returns its path on the node; idempotent.
    /// `group` is the pod's fsGroup.
    fn prepare_volume<'a>(
        &'a self,
        pod_uid: &'a str,
        name: &'a str,
        source: &'a VolumeSource,
        group: Option<i64>,
    ) -> BoxFuture<'a, RuntimeResult<String>>;
    /// Releases all volumes of a pod (not the content of `Directory` and `HostPath`); idempotent.
    fn release_volumes<'a>(&'a self, pod_uid: &'a str) -> BoxFuture<'a, RuntimeResult<()>>;

    /// Runs one check; the error text says why it failed.
    fn probe<'a>(
        &'a self,
        probe: &'a Probe,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<(), String>>;
    /// Runs a command to completion.
    fn exec_sync<'a>(
        &'a self,
        id: &'a str,
        command: &'a [String],
        timeout: Duration,
    ) -> BoxFuture<'a, RuntimeResult<ExecOutput>>;
    /// Starts a command with streams.
    fn exec<'a>(
        &'a self,
        id: &'a str,
        command: &'a [String],
        options: StreamOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn Session>>>;
    /// Joins the streams of a running container.
    fn attach<'a>(
        &'a self,
        id: &'a str,
        options: StreamOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn Session>>>;
    /// Connects to a TCP port inside a sandbox.
    fn connect<'a>(
        &'a self,
        sandbox: &'a str,
        port: u16,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn ByteStream>>>;
    /// Reads a container's log.
    fn logs<'a>(
        &'a self,
        id: &'a str,
        options: &'a LogOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn LogReader>>>;
}
