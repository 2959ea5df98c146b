//! Whether a node takes a pod that was bound to it: room, selector, host ports.
//!
//! Pure; upstream counterpart: `pkg/kubelet/lifecycle/predicate.go`.

use crate::KubeletConfig;
use machinery::{Object, Quantity, Ref, SmolStr, Value};
use std::collections::BTreeMap;

type Amounts = BTreeMap<SmolStr, Quantity>;

fn quantity(amount: Ref<'_>) -> Quantity {
    match amount.as_i64() {
        Some(units) => Quantity::from_units(units, machinery::Format::DecimalSi),
        None => amount.str().parse().unwrap_or(Quantity::ZERO),
    }
}

fn add(into: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *into.entry(name.clone()).or_default() += *amount;
    }
}

fn raise(into: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let known = into.entry(name.clone()).or_default();
        *known = (*known).max(*amount);
    }
}

/// What a pod asks for, with its init and sidecar containers and overhead.
pub fn requests(pod: &Object) -> Amounts {
    let mut sum = together(pod, "requests");
    add(&mut sum, &amounts(pod.at("spec.overhead")));
    sum
}

/// The limits of a pod, with those of its init and sidecar containers; overhead comes on top
/// where there is a limit.
pub fn limits(pod: &Object) -> Amounts {
    let mut sum = together(pod, "limits");
    let mut overhead = amounts(pod.at("spec.overhead"));
    overhead.retain(|name, _| sum.get(name).is_some_and(|limit| *limit != Quantity::ZERO));
    add(&mut sum, &overhead);
    sum
}

fn amounts(list: Ref<'_>) -> Amounts {
    list.entries()
        .map(|(name, amount)| (name.into(), quantity(amount)))
        .collect()
}

/// What the containers of a pod have in a list of their resources (`requests`, `limits`) at most
/// at a time; what the pod says of itself holds instead.
fn together(pod: &Object, list: &str) -> Amounts {
    let spec = pod.at("spec");
    let own = |holder: Ref<'_>| amounts(holder.get("resources").get(list));
    let mut sum = Amounts::new();
    spec.get("containers")
        .items()
        .for_each(|one| add(&mut sum, &own(one)));
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in spec.get("initContainers").items() {
        let mut own = own(container);
        if container.get("restartPolicy").str() == "Always" {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            raise(&mut peak, &sidecars);
        } else {
            add(&mut own, &sidecars);
            raise(&mut peak, &own);
        }
    }
    raise(&mut sum, &peak);
    sum.extend(own(spec));
    sum
}

/// Whether a pod can have the resources it asks for beside the others, which have theirs: a
/// reason (`Infeasible` or `Deferred`) and a sentence.
pub fn admit_resize<'a>(
    pod: &Object,
    others: impl Iterator<Item = &'a Object>,
    config: &KubeletConfig,
) -> Result<(), (&'static str, String)> {
    let (mut used, mut count) = (Amounts::new(), 0);
    for other in others {
        add(&mut used, &requests(other));
        count += 1;
    }
    let Some(short) = shortage(pod, (&used, count), config) else {
        return Ok(());
    };
    if short.asked > short.capacity {
        let Shortage {
            name,
            asked,
            capacity,
            ..
        } = short;
        let amounts = format!("{name}, requested: {asked}, capacity: {capacity}");
        let message = format!("Node didn't have enough capacity: {amounts}");
        return Err(("Infeasible", message));
    }
    Err(("Deferred", short.message()))
}

/// A resource of which the node has not enough left.
struct Shortage {
    name: SmolStr,
    asked: i64,
    used: i64,
    capacity: i64,
}

impl Shortage {
    fn message(&self) -> String {
        let Self {
            name,
            asked,
            used,
            capacity,
        } = self;
        let amounts = format!("requested: {asked}, used: {used}, capacity: {capacity}");
        format!("Node didn't have enough resource: {name}, {amounts}")
    }
}

/// A port of the node that a container claims: protocol, number, address (empty for all).
type HostPort = (String, i64, String);

fn ports(pod: &Object) -> Vec<HostPort> {
    let containers = pod.at("spec.containers").items();
    let all = containers.flat_map(|container| container.get("ports").items());
    let address = |port: Ref<'_>| match port.get("hostIP").str() {
        "0.0.0.0" | "::" => String::new(),
        one => one.to_owned(),
    };
    all.filter(|port| port.get("hostPort").i64() > 0)
        .map(|port| {
            (
                port.get("protocol").as_str().unwrap_or("TCP").into(),
                port.get("hostPort").i64(),
                address(port),
            )
        })
        .collect()
}

fn conflict(one: &HostPort, other: &HostPort) -> bool {
    let shared = one.2.is_empty() || other.2.is_empty() || one.2 == other.2;
    (&one.0, one.1) == (&other.0, other.1) && shared
}

fn selected(pod: &Object, labels: &BTreeMap<SmolStr, SmolStr>) -> bool {
    let mut selector = pod.at("spec.nodeSelector").entries();
    selector.all(|(key, value)| labels.get(key).is_some_and(|own| own == value.str()))
}

/// The labels this kubelet puts on its node.
fn labels(config: &KubeletConfig) -> BTreeMap<SmolStr, SmolStr> {
    let own = config.labels.iter();
    let mut labels: BTreeMap<SmolStr, SmolStr> =
        own.map(|(key, value)| (key.into(), value.into())).collect();
    for (key, value) in [
        ("kubernetes.io/hostname", config.hostname.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", &config.architecture),
        ("topology.kubernetes.io/zone", &config.zone),
        ("topology.kubernetes.io/region", &config.region),
        ("node.kubernetes.io/instance-type", &config.instance_type),
    ] {
        labels.insert(key.into(), value.into());
    }
    labels
}

/// A reason and a sentence.
type Refusal = (SmolStr, String);

fn refusal(reason: &str, message: &str) -> Refusal {
    (reason.into(), format!("Pod was rejected: {message}"))
}

/// Refuses a pod with (reason, message), given the pods already taken.
pub fn admit<'a>(
    pod: &Object,
    others: impl Iterator<Item = &'a Object>,
    config: &KubeletConfig,
) -> Result<(), Refusal> {
    let (mut used, mut count, mut taken) = (Amounts::new(), 0, Vec::new());
    for other in others {
        add(&mut used, &requests(other));
        taken.extend(ports(other));
        count += 1;
    }
    if let Some(short) = shortage(pod, (&used, count), config) {
        return Err(refusal(&format!("OutOf{}", short.name), &short.message()));
    }
    let mut own = ports(pod).into_iter();
    if own.any(|port| taken.iter().any(|other| conflict(&port, other))) {
        let why = "node(s) didn't have free ports for the requested pod ports";
        return Err(refusal(
            "NodePorts",
            &format!("Predicate NodePorts failed: {why}"),
        ));
    }
    let labels = labels(config);
    // Labels that others put on the Node are unknown here: only keys of ours can refuse.
    let mut keys = pod.at("spec.nodeSelector").entries();
    if keys.all(|(key, _)| labels.contains_key(key)) && !selected(pod, &labels) {
        let why = "node(s) didn't match Pod's node affinity/selector";
        return Err(refusal(
            "NodeAffinity",
            &format!("Predicate NodeAffinity failed: {why}"),
        ));
    }
    Ok(())
}

fn shortage(
    pod: &Object,
    (used, count): (&Amounts, i64),
    config: &KubeletConfig,
) -> Option<Shortage> {
    let allocatable = crate::node::allocatable(config);
    let have = |name: &str| -> Quantity {
        let amount: &Value = allocatable.get(name).unwrap_or(&Value::Null);
        amount.str().parse().unwrap_or(Quantity::ZERO)
    };
    let capacity = have("pods").units();
    if count + 1 > capacity {
        return Some(Shortage {
            name: "pods".into(),
            asked: 1,
            used: count,
            capacity,
        });
    }
    for (name, asked) in requests(pod) {
        let used = used.get(&name).copied().unwrap_or(Quantity::ZERO);
        // Resources the node does not know are a device plugin's affair.
        let known = config.capacity.contains_key(name.as_str());
        if asked.is_zero() || !known || used + asked <= have(&name) {
            continue;
        }
        let unit = |amount: Quantity| {
            if name == "cpu" {
                amount.milli()
            } else {
                amount.units()
            }
        };
        return Some(Shortage {
            asked: unit(asked),
            used: unit(used),
            capacity: unit(have(&name)),
            name,
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_ports_conflict_where_addresses_meet() {
        let port = |protocol: &str, address: &str| (protocol.into(), 80, address.into());
        for (one, other, wanted) in [
            (port("TCP", ""), port("TCP", "10.0.0.1"), true),
            (port("TCP", "10.0.0.1"), port("TCP", "10.0.0.1"), true),
            (port("TCP", "127.0.0.1"), port("TCP", "10.0.0.1"), false),
            (port("TCP", ""), port("UDP", ""), false),
        ] {
            assert_eq!(conflict(&one, &other), wanted, "{one:?} {other:?}");
        }
    }
}
