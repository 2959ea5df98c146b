//! Which addresses and ports a service has, and which it leaves to the server to choose.
//!
//! Upstream counterpart: the `needs*` functions of `pkg/registry/core/service/storage`.

use machinery::{SmolStr, Value};
use std::net::Ipv4Addr;

/// What a service has of the things that are given out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Cluster addresses.
    pub addresses: Vec<SmolStr>,
    /// Node ports with their field.
    pub ports: Vec<(String, i64)>,
}

impl Wanted {
    pub fn of(service: &Value) -> Self {
        let mut wanted = Self::default();
        if needs_address(service) {
            let single = &service["spec"]["clusterIP"];
            let list = service["spec"]["clusterIPs"].items();
            let all = if list.is_empty() {
                std::slice::from_ref(single)
            } else {
                list
            };
            let texts = all
                .iter()
                .map(Value::str)
                .filter(|text| !["", "None"].contains(text));
            wanted.addresses.extend(texts.map(SmolStr::new));
        }
        // A port that a service keeps after it stopped needing ports is still its own.
        for (at, port) in service["spec"]["ports"].items().iter().enumerate() {
            wanted.port(format!("spec.ports[{at}].nodePort"), &port["nodePort"]);
        }
        wanted.port(
            "spec.healthCheckNodePort".into(),
            &service["spec"]["healthCheckNodePort"],
        );
        wanted
    }

    fn port(&mut self, path: String, port: &Value) {
        if let Some(port) = port.as_i64().filter(|port| *port != 0) {
            let known = self.ports.iter().any(|(_, known)| *known == port);
            if !known {
                self.ports.push((path, port));
            }
        }
    }

    /// The addresses as numbers, those that are IPv4.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.addresses
            .iter()
            .filter_map(|text| text.parse::<Ipv4Addr>().ok())
            .map(u32::from)
    }

    /// The ports as numbers.
    pub fn port_numbers(&self) -> impl Iterator<Item = u32> {
        self.ports
            .iter()
            .filter_map(|(_, port)| u32::try_from(*port).ok())
    }
}

fn kind(service: &Value) -> &str {
    service["spec"]["type"].as_str().unwrap_or("ClusterIP")
}

/// Whether services of this type have an address.
pub(super) fn needs_address(service: &Value) -> bool {
    matches!(kind(service), "ClusterIP" | "NodePort" | "LoadBalancer")
}

/// Whether services of this type have node ports.
pub(super) fn needs_ports(service: &Value) -> bool {
    let without = service["spec"]["allocateLoadBalancerNodePorts"].as_bool() == Some(false);
    kind(service) == "NodePort" || kind(service) == "LoadBalancer" && !without
}

/// Whether the service has a port for health checks of its load balancer.
pub(super) fn needs_health_port(service: &Value) -> bool {
    kind(service) == "LoadBalancer" && service["spec"]["externalTrafficPolicy"].str() == "Local"
}

pub(super) fn lacks_address(service: &Value) -> bool {
    let spec = &service["spec"];
    needs_address(service)
        && spec["clusterIP"].str().is_empty()
        && spec["clusterIPs"].items().is_empty()
}

pub(super) fn lacks_health_port(service: &Value) -> bool {
    needs_health_port(service) && service["spec"]["healthCheckNodePort"].as_i64().unwrap_or(0) == 0
}

/// Places of ports that need a number, each with the earlier port whose number it shares: the
/// same service port on another protocol.
pub(super) fn ports_to_choose(service: &Value) -> Vec<(usize, Option<usize>)> {
    if !needs_ports(service) {
        return Vec::new();
    }
    let ports = service["spec"]["ports"].items();
    let lacking = |port: &Value| port["nodePort"].as_i64().unwrap_or(0) == 0;
    let shared = |at: usize| {
        ports[..at].iter().position(|earlier| {
            earlier["port"] == ports[at]["port"] && earlier["protocol"] != ports[at]["protocol"]
        })
    };
    (0..ports.len())
        .filter(|at| lacking(&ports[*at]))
        .map(|at| (at, shared(at)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn what_a_service_has_and_lacks() {
        for (spec, addresses, address, ports, health) in [
            (
                json!({"type": "ClusterIP", "ports": [{"port": 1}]}),
                vec![],
                true,
                0,
                false,
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "None"}),
                vec![],
                false,
                0,
                false,
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "10.0.0.1"}),
                vec!["10.0.0.1"],
                false,
                0,
                false,
            ),
            (json!({"type": "ExternalName"}), vec![], false, 0, false),
            (
                json!({"type": "NodePort", "ports": [{"port": 1}, {"port": 2, "nodePort": 30000}]}),
                vec![],
                true,
                1,
                false,
            ),
            (
                json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 1}]}),
                vec![],
                true,
                1,
                true,
            ),
            (
                json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 1}]}),
                vec![],
                true,
                0,
                false,
            ),
        ] {
            let service = json!({"spec": spec});
            assert_eq!(Wanted::of(&service).addresses, addresses);
            assert_eq!(lacks_address(&service), address);
            assert_eq!(ports_to_choose(&service).len(), ports);
            assert_eq!(lacks_health_port(&service), health);
        }
        let both = json!({"spec": {"type": "NodePort", "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}});
        assert_eq!(ports_to_choose(&both), [(0, None), (1, Some(0))]);
    }
}
