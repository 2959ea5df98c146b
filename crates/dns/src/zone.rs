//! The cluster's names and their answers.
//!
//! Pure state and lookup: must not know the wire format or sockets. Upstream counterpart:
//! `plugin/kubernetes` of CoreDNS, with `pods insecure` as EKS configures it.

use crate::{
    names::{Subject, dashed, dashed_address, reverse_address},
    view::*,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The DNS specification version the answers follow, told under `dns-version`.
const SPECIFICATION: &str = "1.1.0";
/// Longest chain of ExternalName Services that is followed.
const MAX_ALIASES: usize = 8;

/// What kind of record is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordType {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Port and host of a service.
    Srv,
    /// Name of an address.
    Ptr,
    /// Alias.
    Cname,
    /// Text.
    Txt,
    /// The zone's own record.
    Soa,
    /// A kind no cluster name has.
    Other,
}

/// The content of a record. Names are absolute without the final dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// IPv4 address.
    A(Ipv4Addr),
    /// IPv6 address.
    Aaaa(Ipv6Addr),
    /// Alias.
    Cname(String),
    /// Port and host.
    Srv {
        /// Share among the answers.
        weight: u16,
        /// Port.
        port: u16,
        /// Host.
        target: String,
    },
    /// Name of an address.
    Ptr(String),
    /// Text.
    Txt(String),
    /// The zone's own record.
    Soa,
}

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The name exists, perhaps without records of the type.
    Found,
    /// There is no such name.
    NoName,
    /// Not a name of the cluster.
    NotOurs,
}

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// Records (name, content), in order: aliases before their targets.
    pub records: Vec<(String, Data)>,
    /// Addresses of the hosts in the records.
    pub additional: Vec<(String, Data)>,
}

impl Answer {
    fn of(outcome: Outcome, records: Vec<(String, Data)>) -> Self {
        Self {
            outcome,
            records,
            additional: Vec::new(),
        }
    }
}

type Key = (String, String);

/// The names of a cluster.
#[derive(Clone, Debug)]
pub struct Zone {
    domain: String,
    serial: u32,
    namespaces: BTreeSet<String>,
    services: BTreeMap<Key, ServiceView>,
    /// Slices by Service, then by their own name.
    slices: BTreeMap<Key, BTreeMap<String, EndpointSliceView>>,
    /// The Service of each slice, by the slice's namespace and name.
    owners: BTreeMap<Key, Key>,
}

/// An endpoint with a name.
struct Host<'a> {
    label: String,
    address: IpAddr,
    slice: &'a EndpointSliceView,
}

impl Zone {
    /// An empty zone for `domain`, usually `cluster.local`.
    pub fn new(domain: &str) -> Self {
        Self {
            domain: domain.trim_matches('.').to_ascii_lowercase(),
            serial: 1,
            namespaces: BTreeSet::new(),
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            owners: BTreeMap::new(),
        }
    }

    /// The zone's domain, without the final dot.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Grows with every change: the serial number of the zone's SOA record.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Adds a namespace.
    pub fn set_namespace(&mut self, name: &str) {
        self.touch();
        self.namespaces.insert(name.into());
    }

    /// Removes a namespace.
    pub fn remove_namespace(&mut self, name: &str) {
        self.touch();
        self.namespaces.remove(name);
    }

    /// Adds or replaces a Service.
    pub fn set_service(&mut self, service: ServiceView) {
        self.touch();
        let meta = &service.metadata;
        self.services
            .insert((meta.namespace.clone(), meta.name.clone()), service);
    }

    /// Removes a Service.
    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        self.touch();
        self.services.remove(&(namespace.into(), name.into()));
    }

    /// Adds or replaces an EndpointSlice; one without a Service label is only removed.
    pub fn set_slice(&mut self, slice: EndpointSliceView) {
        let meta = &slice.metadata;
        self.remove_slice(&meta.namespace, &meta.name);
        if let Some(service) = meta.labels.get(SERVICE_NAME_LABEL) {
            let key = (meta.namespace.clone(), service.clone());
            let own = (meta.namespace.clone(), meta.name.clone());
            self.owners.insert(own.clone(), key.clone());
            self.slices.entry(key).or_default().insert(own.1, slice);
        }
    }

    /// Removes an EndpointSlice.
    pub fn remove_slice(&mut self, namespace: &str, name: &str) {
        self.touch();
        let Some(key) = self.owners.remove(&(namespace.into(), name.into())) else {
            return;
        };
        let Some(slices) = self.slices.get_mut(&key) else {
            return;
        };
        slices.remove(name);
        if slices.is_empty() {
            self.slices.remove(&key);
        }
    }

    fn touch(&mut self) {
        self.serial = self.serial.wrapping_add(1);
    }

    /// Answers a question for `name` (any case, with or without final dot).
    pub fn resolve(&self, name: &str, wanted: RecordType) -> Answer {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let labels: Vec<&str> = name.split('.').collect();
        if let Some(address) = reverse_address(&labels) {
            return self.reverse(&name, address, wanted);
        }
        let Some(inner) = self.inside(&name) else {
            return Answer::of(Outcome::NotOurs, Vec::new());
        };
        let mut answer = match self.lookup(inner, wanted) {
            None => Answer::of(Outcome::NoName, Vec::new()),
            Some(data) => {
                let fits = data.into_iter().filter(|d| d.fits(wanted));
                let records = fits.map(|d| (name.clone(), d)).collect();
                Answer::of(Outcome::Found, records)
            }
        };
        self.follow_aliases(&mut answer, wanted);
        self.add_targets(&mut answer);
        answer
    }

    /// The part of a name before the domain; `None` if it is not inside.
    fn inside<'a>(&self, name: &'a str) -> Option<&'a str> {
        let before = name.strip_suffix(self.domain.as_str())?;
        (before.is_empty() || before.ends_with('.')).then(|| before.trim_end_matches('.'))
    }

    /// All data of a name; `None` if there is no such name.
    fn lookup(&self, inner: &str, wanted: RecordType) -> Option<Vec<Data>> {
        let labels: Vec<&str> = inner.split('.').filter(|l| !l.is_empty()).collect();
        match Subject::parse(&labels) {
            Subject::Apex => Some(vec![Data::Soa]),
            Subject::Version => Some(vec![Data::Txt(SPECIFICATION.into())]),
            Subject::Branch => Some(Vec::new()),
            Subject::Namespace(namespace) => self.has(namespace).then(Vec::new),
            Subject::Pod { namespace, address } => {
                let address = dashed_address(address).filter(|_| self.has(namespace))?;
                Some(vec![address_data(address)])
            }
            Subject::Service {
                namespace,
                service,
                port,
            } => self.service(&(namespace.into(), service.into()), port, wanted),
            Subject::Endpoint {
                namespace,
                service,
                host,
            } => self.endpoint(&(namespace.into(), service.into()), host),
            Subject::Unknown => None,
        }
    }

    fn has(&self, namespace: &str) -> bool {
        let from = (namespace.to_owned(), String::new());
        let mut services = self.services.range(from..);
        self.namespaces.contains(namespace)
            || services.next().is_some_and(|(key, _)| key.0 == namespace)
    }

    fn service(
        &self,
        key: &Key,
        port: Option<(&str, &str)>,
        wanted: RecordType,
    ) -> Option<Vec<Data>> {
        let service = self.services.get(key)?;
        if service.spec.kind == "ExternalName" {
            let target = service.spec.external_name.trim_end_matches('.');
            return port
                .is_none()
                .then(|| vec![Data::Cname(target.to_ascii_lowercase())]);
        }
        let data = if service.spec.cluster_ip == "None" {
            self.headless(key, port, wanted)
        } else {
            self.with_address(service, port)
        };
        // A name without any endpoint or port does not exist (DNS specification 2.4).
        (!data.is_empty()).then_some(data)
    }

    /// A Service with cluster addresses: those, and a record for each port.
    fn with_address(&self, service: &ServiceView, port: Option<(&str, &str)>) -> Vec<Data> {
        let ports: Vec<u16> = numbers(&service.spec.ports, port).collect();
        if port.is_some() && ports.is_empty() {
            return Vec::new();
        }
        let spec = &service.spec;
        let only = std::slice::from_ref(&spec.cluster_ip);
        let ips = if spec.cluster_ips.is_empty() {
            only
        } else {
            &spec.cluster_ips
        };
        let addresses = ips
            .iter()
            .filter_map(|ip| ip.parse().ok().map(address_data));
        let meta = &service.metadata;
        let target = self.full_name(&[&meta.name, &meta.namespace]);
        addresses
            .chain(ports.into_iter().map(|p| srv(p, 1, &target)))
            .collect()
    }

    /// A headless Service: all its endpoints.
    fn headless(&self, key: &Key, port: Option<(&str, &str)>, wanted: RecordType) -> Vec<Data> {
        let mut data = BTreeSet::new();
        for host in self.hosts(key) {
            let ports: Vec<u16> = numbers(host.slice.ports.iter().flatten(), port).collect();
            if port.is_some() && ports.is_empty() {
                continue;
            }
            data.insert(address_data(host.address));
            if wanted == RecordType::Srv {
                let target = self.full_name(&[&host.label, &key.1, &key.0]);
                data.extend(ports.into_iter().map(|p| srv(p, 1, &target)));
            }
        }
        data.into_iter().collect()
    }

    /// One endpoint of a Service by its host name or dashed address.
    fn endpoint(&self, key: &Key, label: &str) -> Option<Vec<Data>> {
        self.services.get(key)?;
        let target = self.full_name(&[label, &key.1, &key.0]);
        let mut data = BTreeSet::new();
        for host in self.hosts(key).filter(|h| h.label == label) {
            data.insert(address_data(host.address));
            let ports = numbers(host.slice.ports.iter().flatten(), None);
            data.extend(ports.map(|p| srv(p, 1, &target)));
        }
        (!data.is_empty()).then(|| data.into_iter().collect())
    }

    /// The ready endpoints of a Service.
    fn hosts<'a>(&'a self, key: &Key) -> impl Iterator<Item = Host<'a>> + use<'a> {
        let slices = self
            .slices
            .get(key)
            .into_iter()
            .flatten()
            .map(|(_, slice)| slice);
        slices.flat_map(|slice| {
            let endpoints = slice.endpoints.iter().flatten();
            let ready = endpoints.filter(|e| e.conditions.ready.unwrap_or(true));
            ready.flat_map(move |endpoint| {
                let addresses = endpoint.addresses.iter().filter_map(|a| a.parse().ok());
                addresses.map(move |address| Host {
                    label: endpoint
                        .hostname
                        .clone()
                        .unwrap_or_else(|| dashed(&address)),
                    address,
                    slice,
                })
            })
        })
    }

    /// The names of an address: its Service, else its endpoints. Searches everything: such
    /// questions are rare and an index would cost memory for every endpoint.
    fn reverse(&self, name: &str, address: Ipv4Addr, wanted: RecordType) -> Answer {
        let text = address.to_string();
        let has = |s: &ServiceView| s.spec.cluster_ip == text || s.spec.cluster_ips.contains(&text);
        let service = self.services.iter().find(|(_, s)| has(s));
        let names: Vec<String> = match service {
            Some((key, _)) => vec![self.full_name(&[&key.1, &key.0])],
            None => self.endpoint_names(address.into()),
        };
        if names.is_empty() {
            return Answer::of(Outcome::NotOurs, Vec::new());
        }
        let asked = names.into_iter().filter(|_| wanted == RecordType::Ptr);
        let records = asked
            .map(|target| (name.to_owned(), Data::Ptr(target)))
            .collect();
        Answer::of(Outcome::Found, records)
    }

    fn endpoint_names(&self, address: IpAddr) -> Vec<String> {
        let keys = self
            .slices
            .keys()
            .filter(|key| self.services.contains_key(*key));
        let named = keys.flat_map(|key| {
            let here = self.hosts(key).filter(move |h| h.address == address);
            here.map(move |h| self.full_name(&[&h.label, &key.1, &key.0]))
        });
        named.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Adds what an alias leads to, as long as that is ours.
    fn follow_aliases(&self, answer: &mut Answer, wanted: RecordType) {
        for _ in 0..MAX_ALIASES {
            let Some((_, Data::Cname(target))) = answer.records.last() else {
                return;
            };
            let target = target.clone();
            if wanted == RecordType::Cname {
                return;
            }
            let found = self
                .inside(&target)
                .and_then(|inner| self.lookup(inner, wanted));
            let fits = found.into_iter().flatten().filter(|d| d.fits(wanted));
            answer.records.extend(fits.map(|d| (target.clone(), d)));
        }
    }

    /// Adds the addresses of SRV targets, saving the client a question.
    fn add_targets(&self, answer: &mut Answer) {
        let mut targets = BTreeSet::new();
        for (_, data) in &answer.records {
            if let Data::Srv { target, .. } = data {
                targets.insert(target.clone());
            }
        }
        for target in targets {
            let inner = self.inside(&target);
            let data = inner.and_then(|inner| self.lookup(inner, RecordType::A));
            let addresses = data.into_iter().flatten();
            let addresses = addresses.filter(|d| matches!(d, Data::A(_) | Data::Aaaa(_)));
            answer
                .additional
                .extend(addresses.map(|d| (target.clone(), d)));
        }
        share_weights(&mut answer.records);
    }

    fn full_name(&self, labels: &[&str]) -> String {
        format!("{}.svc.{}", labels.join("."), self.domain)
    }
}

impl Data {
    /// Whether the record answers a question of a type; an alias answers all.
    fn fits(&self, wanted: RecordType) -> bool {
        match self {
            Self::A(_) => wanted == RecordType::A,
            Self::Aaaa(_) => wanted == RecordType::Aaaa,
            Self::Cname(_) => wanted != RecordType::Other,
            Self::Srv { .. } => wanted == RecordType::Srv,
            Self::Ptr(_) => wanted == RecordType::Ptr,
            Self::Txt(_) => wanted == RecordType::Txt,
            Self::Soa => wanted == RecordType::Soa,
        }
    }
}

fn address_data(address: IpAddr) -> Data {
    match address {
        IpAddr::V4(address) => Data::A(address),
        IpAddr::V6(address) => Data::Aaaa(address),
    }
}

fn srv(port: u16, weight: u16, target: &str) -> Data {
    Data::Srv {
        weight,
        port,
        target: target.into(),
    }
}

/// Numbers of the ports that match a `_name._protocol` pair, or of all.
fn numbers<'a>(
    ports: impl IntoIterator<Item = &'a PortView>,
    wanted: Option<(&'a str, &'a str)>,
) -> impl Iterator<Item = u16> {
    let matches = move |port: &&PortView| {
        let name = port.name.as_deref().unwrap_or_default();
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let same =
            |(n, p): (&str, &str)| name.eq_ignore_ascii_case(n) && protocol.eq_ignore_ascii_case(p);
        wanted.is_none_or(same)
    };
    ports.into_iter().filter(matches).filter_map(|p| p.port)
}

/// SRV answers of one question share a weight of 100, as CoreDNS does.
fn share_weights(records: &mut [(String, Data)]) {
    let is_srv = |d: &Data| matches!(d, Data::Srv { .. });
    let count = records.iter().filter(|(_, d)| is_srv(d)).count();
    let share = (100 / count.max(1)).max(1) as u16;
    for (_, data) in records {
        if let Data::Srv { weight, .. } = data {
            *weight = share;
        }
    }
}
