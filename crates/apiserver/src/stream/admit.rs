//! Shows admission the streams and proxies that are about to be opened.
//!
//! Must not know who looks at them. Upstream counterpart: `endpoints/handlers/rest.go`
//! (`ConnectResource`).

use crate::server::{Inner, Parts};
use machinery::{GroupVersionResource, Status, Value, json};
use registry::{Call, Verb};

/// Parameters that are true or false; those that are false are left out.
const FLAGS: [&str; 4] = ["stderr", "stdin", "stdout", "tty"];

/// Asks admission about the stream of a request. `path` is what a proxied request leads to.
pub(super) async fn admit(inner: &Inner, parts: &Parts, path: &str) -> Result<(), Status> {
    let place = &parts.place;
    let resource = GroupVersionResource {
        group: place.gv.group.clone(),
        version: place.gv.version.clone(),
        resource: place.resource.clone(),
    };
    let catalogue = inner.door.catalogue();
    let kind = catalogue
        .resource(&resource.group, &resource.version, &resource.resource)
        .ok_or_else(Status::no_such_path)?;
    let Some(subresource) = kind.subresource(&place.subresource) else {
        return Err(Status::no_such_path());
    };
    let mut options = options(parts, path);
    options["kind"] = (&subresource.gvk.kind).into();
    options["apiVersion"] = subresource.gvk.group_version().api_version().into();
    let call = Call::new(
        parts.user.clone(),
        Verb::Connect,
        resource,
        &place.namespace,
        &place.name,
    );
    let call = call.on(&place.subresource).with_object(options);
    inner.door.admit_connection(&call).await
}

/// The options object that the query stands for.
fn options(parts: &Parts, path: &str) -> Value {
    let query = &parts.query;
    let mut options = json!({});
    for flag in FLAGS.into_iter().filter(|flag| query.flag(flag)) {
        options[flag] = true.into();
    }
    let container = query.get("container");
    for (field, text) in [("container", container), ("path", path)] {
        if !text.is_empty() {
            options[field] = text.into();
        }
    }
    let command = query.all("command");
    if !command.is_empty() {
        options["command"] = command.into();
    }
    let ports = query.all("ports");
    let ports: Vec<i64> = ports
        .iter()
        .flat_map(|list| list.split(','))
        .filter_map(|port| port.parse().ok())
        .collect();
    if !ports.is_empty() {
        options["ports"] = ports.into();
    }
    options
}
