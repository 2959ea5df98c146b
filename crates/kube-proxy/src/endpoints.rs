//! Which endpoints of a Service port a node sends connections to.
//!
//! Upstream counterpart: `pkg/proxy/topology.go` and `endpointslicecache.go`.

use crate::view::{ConditionsView, EndpointSliceView, EndpointView, NodeView, ServicePortView};
use env::Backend;
use std::collections::BTreeSet;

/// One endpoint of one port.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'a> {
    backend: Backend,
    endpoint: &'a EndpointView,
}

impl ConditionsView {
    fn ready(&self) -> bool {
        self.ready.unwrap_or(true)
    }

    /// Terminating but still able to answer: used when nothing is ready.
    fn last_resort(&self) -> bool {
        self.serving.unwrap_or(self.ready()) && self.terminating.unwrap_or(false)
    }
}

/// All endpoints of a port in the Service's slices, in any state.
pub(crate) fn candidates<'a>(
    port: &ServicePortView,
    slices: &[&'a EndpointSliceView],
) -> Vec<Candidate<'a>> {
    let mut found = Vec::new();
    for slice in slices.iter().filter(|s| s.address_type == "IPv4") {
        let ports = slice.ports.iter().flatten();
        let same = ports.filter(|p| {
            p.name.as_deref().unwrap_or_default() == port.name
                && p.protocol.as_deref().unwrap_or("TCP") == protocol_name(port)
        });
        for number in same.filter_map(|p| p.port) {
            let endpoints = slice.endpoints.iter().flatten();
            found.extend(endpoints.filter_map(|endpoint| {
                let address = endpoint.addresses.first()?.parse().ok()?;
                let backend = Backend {
                    address,
                    port: number,
                };
                Some(Candidate { backend, endpoint })
            }));
        }
    }
    found
}

fn protocol_name(port: &ServicePortView) -> &str {
    if port.protocol.is_empty() {
        "TCP"
    } else {
        &port.protocol
    }
}

/// Endpoints for the `Cluster` traffic policy: ready ones the hints allow, else the last resort.
pub(crate) fn cluster_wide(all: &[Candidate], node: &NodeView) -> Vec<Backend> {
    let ready: Vec<Candidate> = of_state(all, ConditionsView::ready).collect();
    if ready.is_empty() {
        return backends(of_state(all, ConditionsView::last_resort));
    }
    let by_node = |c: &Candidate| hinted(c, |h| h.for_nodes.iter().any(|n| n.name == node.name));
    let by_zone = |c: &Candidate| hinted(c, |h| h.for_zones.iter().any(|z| z.name == node.zone));
    let all_have = |has: fn(&crate::HintsView) -> bool| ready.iter().all(|c| hinted(c, has));
    if all_have(|h| !h.for_nodes.is_empty()) && ready.iter().any(by_node) {
        return backends(ready.into_iter().filter(by_node));
    }
    if all_have(|h| !h.for_zones.is_empty()) && ready.iter().any(by_zone) {
        return backends(ready.into_iter().filter(by_zone));
    }
    backends(ready.into_iter())
}

/// Endpoints for the `Local` traffic policy: those on the node.
pub(crate) fn local(all: &[Candidate], node: &NodeView) -> Vec<Backend> {
    let here = |c: &&Candidate| c.endpoint.node_name.as_deref() == Some(node.name.as_str());
    let all: Vec<Candidate> = all.iter().filter(here).copied().collect();
    let ready = backends(of_state(&all, ConditionsView::ready));
    if ready.is_empty() {
        backends(of_state(&all, ConditionsView::last_resort))
    } else {
        ready
    }
}

fn of_state<'a, 'b>(
    all: &'b [Candidate<'a>],
    state: fn(&ConditionsView) -> bool,
) -> impl Iterator<Item = Candidate<'a>> + 'b {
    all.iter()
        .filter(move |c| state(&c.endpoint.conditions))
        .copied()
}

fn hinted(candidate: &Candidate, test: impl Fn(&crate::HintsView) -> bool) -> bool {
    candidate.endpoint.hints.as_ref().is_some_and(test)
}

/// Sorted and without the duplicates that slices in transition hold.
fn backends<'a>(candidates: impl Iterator<Item = Candidate<'a>>) -> Vec<Backend> {
    let unique: BTreeSet<Backend> = candidates.map(|c| c.backend).collect();
    unique.into_iter().collect()
}
