//! The seam to node agents: streams into pods.
//!
//! Upstream counterpart: `pkg/kubelet/client` and the kubelet's streaming server.

use env::{BoxFuture, ByteStream, LogOptions, LogReader, RuntimeResult, Session, StreamOptions};
use std::sync::Arc;

/// A container of a pod on a node.
#[derive(Clone, Copy, Debug)]
pub struct ContainerRef<'a> {
    /// Node.
    pub node: &'a str,
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// Name of the pod.
    pub pod: &'a str,
    /// Name of the container.
    pub container: &'a str,
}

/// Ways into what runs on nodes.
pub trait Nodes: Send + Sync {
    /// Runs a command.
    fn exec<'a>(
        &'a self,
        at: ContainerRef<'a>,
        command: &'a [String],
        options: StreamOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn Session>>>;
    /// Joins a running container's streams.
    fn attach<'a>(
        &'a self,
        at: ContainerRef<'a>,
        options: StreamOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn Session>>>;
    /// Reads a log; `previous` asks for the instance before the present one.
    fn logs<'a>(
        &'a self,
        at: ContainerRef<'a>,
        previous: bool,
        options: &'a LogOptions,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn LogReader>>>;
    /// Connects to a port of a pod (`container` is not looked at).
    fn connect<'a>(
        &'a self,
        at: ContainerRef<'a>,
        port: u16,
    ) -> BoxFuture<'a, RuntimeResult<Arc<dyn ByteStream>>>;
}
