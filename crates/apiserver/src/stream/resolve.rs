//! What a proxied request goes to: names like `https:web:metrics`, pods, endpoints of services.
//!
//! Upstream counterpart: `apimachinery/pkg/util/net` (`SplitSchemeNamePort`),
//! `pkg/registry/core/{pod/strategy,service/storage}` (`ResourceLocation`).

use super::Target;
use machinery::{Object, Reason, Status};
use std::sync::Arc;

/// A name in the path of a proxied request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyName<'a> {
    /// Whether the backend speaks TLS.
    pub https: bool,
    /// Name of the pod or service.
    pub name: &'a str,
    /// Port number or name, or empty.
    pub port: &'a str,
}

/// Takes `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT` apart; `None` for anything else.
pub fn split(text: &str) -> Option<ProxyName<'_>> {
    let parts: Vec<&str> = text.split(':').collect();
    let (scheme, name, port) = match parts.as_slice() {
        [name] => ("", *name, ""),
        [name, port] => ("", *name, *port),
        [scheme @ ("" | "http" | "https"), name, port] => (*scheme, *name, *port),
        _ => return None,
    };
    (!name.is_empty()).then_some(ProxyName {
        https: scheme == "https",
        name,
        port,
    })
}

/// A place in a pod.
#[derive(Clone, Debug)]
pub struct Backend {
    /// The pod.
    pub target: Target,
    /// Its port.
    pub port: u16,
}

/// The port of a pod: the one asked for, or its first.
pub fn pod_port(pod: &Object, asked: ProxyName<'_>) -> Result<u16, Status> {
    if !asked.port.is_empty() {
        let bad = || Status::bad_request(format!("invalid pod port {:?}", asked.port));
        return asked.port.parse().map_err(|_| bad());
    }
    let first = pod
        .at("spec.containers")
        .items()
        .flat_map(|container| container.get("ports").items())
        .find_map(|port| u16::try_from(port.get("containerPort").as_i64()?).ok());
    Ok(first.unwrap_or(if asked.https { 443 } else { 80 }))
}

/// All ready endpoints of a service's port, in the order of its slices.
pub fn backends(
    service: &Object,
    slices: &[Arc<Object>],
    asked: ProxyName<'_>,
) -> Result<Vec<Backend>, Status> {
    let port = port_name(service, asked)?;
    let of_slice = |slice: &Arc<Object>| -> Vec<Backend> {
        let found = slice
            .at("ports")
            .items()
            .find(|one| one.get("name").str() == port)
            .and_then(|one| u16::try_from(one.get("port").as_i64()?).ok());
        let Some(port) = found else {
            return Vec::new();
        };
        slice
            .at("endpoints")
            .items()
            .filter(|one| one.get("conditions").get("ready").as_bool() != Some(false))
            .filter(|one| one.get("targetRef").get("kind").str() == "Pod")
            .map(|one| Backend {
                target: Target {
                    node: one.get("nodeName").str().to_owned(),
                    namespace: slice.namespace().to_owned(),
                    pod: one.get("targetRef").get("name").str().to_owned(),
                    uid: one.get("targetRef").get("uid").str().to_owned(),
                    container: String::new(),
                },
                port,
            })
            .collect()
    };
    let found: Vec<Backend> = slices.iter().flat_map(of_slice).collect();
    if found.is_empty() {
        let name = service.name();
        let message = format!("no endpoints available for service {name:?}");
        return Err(Status::new(Reason::ServiceUnavailable, message));
    }
    Ok(found)
}

/// The name of the port asked for by number or name.
fn port_name<'a>(service: &'a Object, asked: ProxyName<'a>) -> Result<&'a str, Status> {
    let Ok(number) = asked.port.parse::<i64>() else {
        return Ok(asked.port);
    };
    let found = service
        .at("spec.ports")
        .items()
        .find(|port| port.get("port").as_i64() == Some(number));
    found.map(|port| port.get("name").str()).ok_or_else(|| {
        let name = service.name();
        let message = format!("no service port {number} found for service {name:?}");
        Status::new(Reason::ServiceUnavailable, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::{Value, json};

    #[test]
    fn names_have_up_to_three_parts() {
        for (text, wanted) in [
            ("web", Some((false, "web", ""))),
            ("web:80", Some((false, "web", "80"))),
            ("http:web:", Some((false, "web", ""))),
            ("https:web:metrics", Some((true, "web", "metrics"))),
            (":web:80", Some((false, "web", "80"))),
            ("ftp:web:80", None),
            ("a:b:c:d", None),
            (":80", None),
        ] {
            let found = split(text).map(|name| (name.https, name.name, name.port));
            assert_eq!(found, wanted, "{text}");
        }
    }

    fn service() -> Object {
        let ports = json!([{"name": "web", "port": 80}, {"name": "metrics", "port": 9090}]);
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "a"},
            "spec": {"ports": ports},
        });
        Object::new(&service, 1)
    }

    fn slice(ready: bool) -> Arc<Object> {
        let endpoint: Value = json!({
            "addresses": ["10.0.0.1"], "conditions": {"ready": ready}, "nodeName": "n",
            "targetRef": {"kind": "Pod", "name": "p", "namespace": "a"},
        });
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "s-1", "namespace": "a"}, "endpoints": [endpoint],
            "ports": [{"name": "web", "port": 8000}],
        });
        Arc::new(Object::new(&slice, 1))
    }

    #[test]
    fn services_lead_to_ready_pods() {
        let ask = |port, ready| {
            backends(&service(), &[slice(ready)], split(port).unwrap())
                .map(|found| format!("{}:{}", found[0].target.pod, found[0].port))
                .map_err(|status| status.message().to_owned())
        };
        assert_eq!(ask("s:80", true).unwrap(), "p:8000");
        assert_eq!(ask("s:web", true).unwrap(), "p:8000");
        let none = "no endpoints available for service \"s\"";
        assert_eq!(ask("s:80", false).unwrap_err(), none);
        assert_eq!(ask("s:metrics", true).unwrap_err(), none);
        let no_port = "no service port 81 found for service \"s\"";
        assert_eq!(ask("s:81", true).unwrap_err(), no_port);
    }
}
