//! The service rules of one node: what is wanted, what the kernel holds, and the change between.
//!
//! Rules never change; services are elements of two maps. Must not know Kubernetes objects.
//! Upstream counterpart: kube-proxy's nftables proxier.

mod conntrack;
mod nft;
mod rules;
mod slots;

use super::{addresses::Ipv4Net, netlink::Socket};
use conntrack::Conntrack;
use env::{Frontend, Protocol, ServiceChange, ServiceEntry, ServiceTable};
use nft::{Batch, Element};
use std::{collections::BTreeSet, io, net::Ipv4Addr};

/// Addresses that the rules of a node name.
#[derive(Clone, Copy)]
pub(super) struct ServiceNet {
    /// The node's address: source of masqueraded connections.
    pub node: Ipv4Addr,
    /// The node's pods.
    pub pods: Ipv4Net,
    /// All Service addresses: what no frontend serves is rejected.
    pub services: Ipv4Net,
}

/// The rules of one node. It stays in the namespace of the thread that opened it.
pub(super) struct Services {
    net: ServiceNet,
    rules: Socket,
    conntrack: Conntrack,
    /// Everything wanted, host ports included.
    table: ServiceTable,
    /// Host ports of the node's pods: they come and go with their pod, whatever Services say.
    host_ports: BTreeSet<Frontend>,
    /// What Services say of frontends that are host ports now.
    shadowed: ServiceTable,
    /// Whether the kernel holds exactly `table`.
    loaded: bool,
    /// Classes that remember clients, as far as they have rules.
    sticky: BTreeSet<u32>,
}

impl Services {
    /// Opens the sockets in the calling thread's namespace; rules already there stay until
    /// [`replace`](Self::replace).
    pub fn open(net: ServiceNet) -> io::Result<Self> {
        Ok(Self {
            net,
            rules: Socket::open(libc::NETLINK_NETFILTER)?,
            conntrack: Conntrack::open()?,
            table: ServiceTable::new(),
            host_ports: BTreeSet::new(),
            shadowed: ServiceTable::new(),
            loaded: false,
            sticky: BTreeSet::new(),
        })
    }

    /// Takes note of host ports that were opened before; the next table includes them.
    pub fn know_host_ports(&mut self, ports: ServiceTable) {
        self.host_ports.extend(ports.keys());
        self.table.extend(ports);
    }

    /// Leads ports of the node into a pod. One that is taken by another pod stays with it.
    pub fn open_host_ports(&mut self, ports: &ServiceTable) -> io::Result<()> {
        let free = |frontend: &Frontend| !self.host_ports.contains(frontend);
        let set: ServiceTable = ports
            .iter()
            .filter(|(frontend, _)| free(frontend))
            .map(|(frontend, entry)| (*frontend, entry.clone()))
            .collect();
        if set.is_empty() {
            return Ok(());
        }
        for frontend in set.keys() {
            self.host_ports.insert(*frontend);
            if let Some(entry) = self.table.get(frontend) {
                self.shadowed.insert(*frontend, entry.clone());
            }
        }
        let remove = Vec::new();
        self.apply(&ServiceChange { set, remove })
    }

    /// Takes back what [`open_host_ports`](Self::open_host_ports) did for the pod.
    pub fn close_host_ports(&mut self, ports: &ServiceTable) -> io::Result<()> {
        let mut change = ServiceChange::default();
        for (frontend, entry) in ports {
            if self.table.get(frontend) != Some(entry) || !self.host_ports.remove(frontend) {
                continue;
            }
            match self.shadowed.remove(frontend) {
                Some(entry) => drop(change.set.insert(*frontend, entry)),
                None => change.remove.push(*frontend),
            }
        }
        match change == ServiceChange::default() {
            true => Ok(()),
            false => self.apply(&change),
        }
    }

    /// Makes the kernel hold exactly `table`, in one transaction.
    pub fn replace(&mut self, mut table: ServiceTable) -> io::Result<()> {
        self.shadowed.clear();
        for frontend in &self.host_ports {
            let own = self.table.get(frontend).cloned();
            if let Some(entry) = own.and_then(|own| table.insert(*frontend, own)) {
                self.shadowed.insert(*frontend, entry);
            }
        }
        let old = std::mem::replace(&mut self.table, table);
        self.load()?;
        let before = old.iter().chain(&self.table);
        let stale = before.map(|(f, _)| (*f, old.get(f), self.table.get(f)));
        self.conntrack.forget(stale_flows(stale))
    }

    /// Applies a change of what Services say.
    pub fn change(&mut self, change: &ServiceChange) -> io::Result<()> {
        let hidden = |frontend: &Frontend| self.host_ports.contains(frontend);
        let touched = change.set.keys().chain(&change.remove);
        if !touched.clone().any(hidden) {
            return self.apply(change);
        }
        let mut rest = change.clone();
        for frontend in touched.copied().filter(hidden).collect::<Vec<_>>() {
            rest.remove.retain(|one| *one != frontend);
            match rest.set.remove(&frontend) {
                Some(entry) => drop(self.shadowed.insert(frontend, entry)),
                None => drop(self.shadowed.remove(&frontend)),
            }
        }
        self.apply(&rest)
    }

    /// Applies a change in one transaction; falls back to loading everything if the kernel's
    /// state turns out not to be the expected one.
    fn apply(&mut self, change: &ServiceChange) -> io::Result<()> {
        let frontends = change.set.keys().chain(&change.remove);
        let mut batch = Batch::default();
        let mut moves = Vec::new();
        for frontend in frontends {
            let old = self.table.get(frontend);
            let new = change.set.get(frontend);
            prepare(&mut batch, &mut self.sticky, new);
            encode(&mut batch, frontend, old, new);
            moves.push((*frontend, old.cloned(), new.cloned()));
        }
        for (frontend, _, new) in &moves {
            match new {
                Some(entry) => drop(self.table.insert(*frontend, entry.clone())),
                None => drop(self.table.remove(frontend)),
            }
        }
        if !self.loaded || batch.send(&mut self.rules).is_err() {
            self.load()?;
        }
        let stale = moves
            .iter()
            .map(|(f, old, new)| (*f, old.as_ref(), new.as_ref()));
        self.conntrack.forget(stale_flows(stale))
    }

    /// Writes everything anew. Clients that are known stay so.
    fn load(&mut self) -> io::Result<()> {
        self.loaded = false;
        let clients = nft::members(&mut self.rules, rules::CLIENTS)?;
        let mut batch = Batch::default();
        rules::base(&mut batch, &self.net);
        self.sticky.clear();
        for (frontend, entry) in &self.table {
            prepare(&mut batch, &mut self.sticky, Some(entry));
            encode(&mut batch, frontend, None, Some(entry));
        }
        for client in clients {
            batch.add(rules::CLIENTS, client);
        }
        batch.send(&mut self.rules)?;
        self.loaded = true;
        Ok(())
    }
}

/// Makes the rules of a frontend that remembers its clients, unless others like it have them.
fn prepare(batch: &mut Batch, made: &mut BTreeSet<u32>, entry: Option<&ServiceEntry>) {
    let class = slots::class(entry).filter(|class| class.seconds > 0);
    if let Some(class) = class.filter(|class| made.insert(class.number())) {
        rules::class_chains(batch, class);
    }
}

/// Adds the element changes that lead a frontend from `old` to `new`.
fn encode(
    batch: &mut Batch,
    frontend: &Frontend,
    old: Option<&ServiceEntry>,
    new: Option<&ServiceEntry>,
) {
    let (before, after) = (slots::class(old), slots::class(new));
    let key = || rules::frontend_key(frontend);
    if before != after {
        if let Some(class) = before {
            batch.delete(rules::FRONTENDS, class_element(key(), class));
        }
        if let Some(class) = after {
            batch.add(rules::FRONTENDS, class_element(key(), class));
        }
    }
    let (before, after) = (slots::slots(old), slots::slots(new));
    for slot in 0..before.len().max(after.len()) {
        let (was, is) = (before.get(slot), after.get(slot));
        if was == is {
            continue;
        }
        let element = |b: &env::Backend| {
            let key = rules::slot_key(frontend, slot as u32);
            Element::new(key, Some(rules::backend_data(b)))
        };
        if let Some(backend) = was {
            batch.delete(rules::SLOTS, element(backend));
        }
        if let Some(backend) = is {
            batch.add(rules::SLOTS, element(backend));
        }
    }
    let endpoints = |entry| slots::remembered(entry).iter().collect::<BTreeSet<_>>();
    let (before, after) = (endpoints(old), endpoints(new));
    let element = |b: &env::Backend| Element::new(rules::endpoint_key(frontend, b), None);
    for gone in before.difference(&after) {
        batch.delete(rules::BACKENDS, element(gone));
    }
    for new in after.difference(&before) {
        batch.add(rules::BACKENDS, element(new));
    }
}

fn class_element(key: Vec<u8>, class: slots::Class) -> Element {
    let mark = if class.masquerade {
        rules::MASQUERADE_MARK
    } else {
        0
    };
    let mut data = class.number().to_ne_bytes().to_vec();
    data.extend(mark.to_ne_bytes());
    Element::new(key, Some(data))
}

/// UDP flows that must be forgotten: to removed endpoints, and those that began while nobody served the frontend.
fn stale_flows<'a>(
    moves: impl Iterator<Item = (Frontend, Option<&'a ServiceEntry>, Option<&'a ServiceEntry>)>,
) -> Vec<conntrack::Stale> {
    let backends = |e: Option<&ServiceEntry>| e.map(|e| e.backends.clone()).unwrap_or_default();
    let mut stale = Vec::new();
    for (frontend, old, new) in moves.filter(|(f, ..)| f.protocol == Protocol::Udp) {
        let (old, new) = (backends(old), backends(new));
        let removed = old.iter().filter(|b| !new.contains(b));
        stale.extend(removed.map(|b| conntrack::Stale {
            frontend,
            backend: Some(*b),
        }));
        if old.is_empty() && !new.is_empty() {
            stale.push(conntrack::Stale {
                frontend,
                backend: None,
            });
        }
    }
    stale
}
