//! Calls out of the control plane: a JSON body posted over TLS to a program that someone
//! else runs, and its answer.
//!
//! Knows neither what is asked nor who answers. Whoever waits too long drops the future, which
//! gives the call up. Upstream counterpart: `k8s.io/apiserver/pkg/util/webhook` over
//! `client-go/rest`.

use crate::{BoxFuture, ByteStream, RuntimeResult};
use std::sync::Arc;

/// A port of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodPort {
    /// Node the pod runs on.
    pub node: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Address of the pod, shown in errors.
    pub address: String,
    /// Port.
    pub port: u16,
}

/// Ways into pods, whatever network they live in.
pub trait PodDialer: Send + Sync {
    /// Connects to a port of a pod.
    fn dial<'a>(&'a self, to: &'a PodPort) -> BoxFuture<'a, RuntimeResult<Arc<dyn ByteStream>>>;
}

/// Where a connection is opened to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CalloutTo {
    /// The URL's host and port.
    #[default]
    Url,
    /// A pod.
    Pod(PodPort),
    /// Another host and port.
    Host(String, u16),
}

/// One POST of JSON over TLS.
#[derive(Clone, Debug)]
pub struct CalloutRequest {
    /// Where to, as errors show it: `https://HOST[:PORT]/PATH?QUERY`.
    pub url: String,
    /// Where to connect.
    pub to: CalloutTo,
    /// Name the server's certificate must be valid for: a DNS name or an address.
    pub server_name: String,
    /// PEM certificates that the server's must lead to (or be); none: the system's roots.
    pub ca: Arc<[u8]>,
    /// The body, JSON.
    pub body: Vec<u8>,
    /// A longer answer is a failure, bytes.
    pub answer_max: usize,
}

/// What came back, whatever its status code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalloutAnswer {
    /// HTTP status code.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
}

/// Posts to programs outside.
pub trait Callout: Send + Sync {
    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// Why there is no answer, in upstream's words without the URL:
    /// `dial tcp 127.0.0.1:1: connect: connection refused`.
    fn post(&self, request: CalloutRequest) -> BoxFuture<'_, Result<CalloutAnswer, String>>;
}
