//! What the kubelet needs from the API server, as one small trait.
//!
//! Must not know how the door is reached: in process it is the registry, elsewhere a client
//! with a node's credentials. Upstream counterpart: the kubelet's `KubeClient`.

use env::BoxFuture;
use machinery::{Object, Status, Value};
use reconcile::Action;
use std::sync::Arc;

/// One step of a pod watch.
#[derive(Clone, Debug)]
pub enum PodChange {
    /// The pod exists in this form: created, changed, or part of the initial state.
    Is(Arc<Object>),
    /// The pod is gone; this was its last form.
    Gone(Arc<Object>),
    /// The initial state has been delivered completely.
    Synced,
}

/// A running watch on the pods of one node.
pub trait PodWatch: Send + Sync {
    /// The next batch of changes, in order, never empty; `None` when the watch has ended and
    /// must be opened anew.
    fn next(&self) -> BoxFuture<'_, Option<Vec<PodChange>>>;
}

/// The API server as one node sees it. Every call passes the door as user
/// `system:node:<name>` of group `system:nodes`.
pub trait ApiClient: Send + Sync {
    /// One object; `resource` is the plural name with `.group` unless core.
    fn get<'a>(
        &'a self,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Arc<Object>, Status>>;

    /// Objects of a resource, of one namespace.
    fn list<'a>(
        &'a self,
        resource: &'a str,
        namespace: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Arc<Object>>, Status>>;

    /// Pods with `spec.nodeName` equal to `node`: the present ones, `Synced`, then changes.
    fn watch_pods<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<Arc<dyn PodWatch>, Status>>;

    /// Replaces an object by a changed tree of it, if it still has the `resourceVersion` in there;
    /// the object as it is then.
    fn replace<'a>(
        &'a self,
        resource: &'a str,
        object: Value,
    ) -> BoxFuture<'a, Result<Arc<Object>, Status>>;

    /// Carries out one action and returns what a subresource answered (null otherwise). A
    /// token is asked for by `Create` on `serviceaccounts/<namespace>/<name>`, subresource
    /// `token`, with a `TokenRequest`; the answer carries `status.token`.
    fn perform(&self, action: Action) -> BoxFuture<'_, Result<Value, Status>>;
}
