//! Streams into pods: logs, commands, forwarded ports and proxied requests.
//!
//! Finds the pod, checks that the user may, and hands over to the room of the subresource.
//! Upstream counterpart: `pkg/registry/core/pod/rest`, `kubelet/pkg/cri/streaming`.

mod admit;
mod channels;
mod exec;
mod forward;
mod links;
mod logs;
mod proxy;
mod resolve;
#[cfg(test)]
mod tests;
pub(crate) mod trusting;
mod upgrade;

use crate::{
    ContainerRef,
    answer::HttpResponse,
    options::Query,
    server::{Inner, Parts, connect},
};
use env::RuntimeError;
use hyper::{Request, body::Incoming};
use machinery::{Object, Status};
use std::{sync::Arc, time::Duration};

/// How long a finished stream waits for its client to close first, so that nothing is cut off.
pub(crate) const LINGER: Duration = Duration::from_secs(5);
/// Clients over SPDY must have opened their streams within this time (upstream's number).
const CREATION_MAX: Duration = Duration::from_secs(30);

/// Answers a streaming subresource.
pub(crate) async fn respond(
    inner: &Arc<Inner>,
    parts: Parts,
    request: Request<Incoming>,
) -> Result<HttpResponse, Status> {
    if parts.place.subresource == "proxy" {
        return proxy::proxy(inner, &parts, request).await;
    }
    let pod = connect(inner, &parts)?;
    if parts.place.subresource != "log" {
        admit::admit(inner, &parts, "").await?;
    }
    match parts.place.subresource.as_str() {
        "log" => logs::logs(inner, &parts, &pod, request).await,
        "exec" | "attach" => exec::remote_command(inner, &parts, &pod, request),
        "portforward" => forward::port_forward(inner, &parts, &pod, request),
        other => Err(Status::new(
            machinery::Reason::MethodNotAllowed,
            format!("the subresource {other} is not implemented"),
        )),
    }
}

/// A container of a pod that has a node.
#[derive(Clone, Debug)]
struct Target {
    node: String,
    namespace: String,
    pod: String,
    uid: String,
    container: String,
}

impl Target {
    fn new(pod: &Object, container: String) -> Result<Self, Status> {
        Ok(Self {
            node: node(pod)?.to_owned(),
            namespace: pod.namespace().to_owned(),
            pod: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            container,
        })
    }

    fn place(&self) -> ContainerRef<'_> {
        ContainerRef {
            node: &self.node,
            namespace: &self.namespace,
            pod: &self.pod,
            container: &self.container,
        }
    }
}

/// The container a request is about: named, the default one, or the only one.
fn container(pod: &Object, query: &Query) -> Result<String, Status> {
    let asked = query.get("container");
    let names = |field: &str| -> Vec<String> {
        pod.at(field)
            .items()
            .map(|one| one.get("name").str().to_owned())
            .collect()
    };
    let own = names("spec.containers");
    let all = [
        own.clone(),
        names("spec.initContainers"),
        names("spec.ephemeralContainers"),
    ]
    .concat();
    if !asked.is_empty() {
        if all.iter().any(|name| name == asked) {
            return Ok(asked.to_owned());
        }
        return Err(Status::bad_request(format!(
            "container {asked} is not valid for pod {}",
            pod.name()
        )));
    }
    if let Some(name) = pod
        .annotation("kubectl.kubernetes.io/default-container")
        .filter(|name| own.iter().any(|one| one == name))
    {
        return Ok(name.to_owned());
    }
    match own.as_slice() {
        [only] => Ok(only.clone()),
        many => Err(Status::bad_request(format!(
            "a container name must be specified for pod {}, choose one of: [{}]",
            pod.name(),
            many.join(" ")
        ))),
    }
}

fn node(pod: &Object) -> Result<&str, Status> {
    match pod.at("spec.nodeName").str() {
        "" => Err(Status::bad_request(format!(
            "pod {} does not have a host assigned",
            pod.name()
        ))),
        node => Ok(node),
    }
}

fn runtime_failure(why: RuntimeError) -> Status {
    Status::new(machinery::Reason::BadRequest, why.message)
}
