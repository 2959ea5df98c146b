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
    let spec = pod.at("spec");
    let list = |list: Ref<'_>| -> Amounts {
        list.entries()
            .map(|(name, amount)| (name.into(), quantity(amount)))
            .collect()
    };
    let asked = |container: Ref<'_>| list(container.at("resources.requests"));
    let mut sum = Amounts::new();
    spec.get("containers")
        .items()
        .for_each(|one| add(&mut sum, &asked(one)));
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in spec.get("initContainers").items() {
        let mut own = asked(container);
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
    add(&mut sum, &list(spec.get("overhead")));
    sum
}

fn ports(pod: &Object) -> Vec<(String, i64)> {
    let containers = pod.at("spec.containers").items();
    let all = containers.flat_map(|container| container.get("ports").items());
    all.filter(|port| port.get("hostPort").i64() > 0)
        .map(|port| {
            (
                port.get("protocol").as_str().unwrap_or("TCP").into(),
                port.get("hostPort").i64(),
            )
        })
        .collect()
}

fn selected(pod: &Object, labels: &BTreeMap<SmolStr, SmolStr>) -> bool {
    let mut selector = pod.at("spec.nodeSelector").entries();
    selector.all(|(key, value)| labels.get(key).is_some_and(|own| own == value.str()))
}

/// Refuses a pod with (reason, message), given the pods already taken.
pub fn admit<'a>(
    pod: &Object,
    others: impl Iterator<Item = &'a Object>,
    config: &KubeletConfig,
) -> Result<(), (SmolStr, String)> {
    let allocatable = crate::node::allocatable(config);
    let (mut used, mut count, mut taken) = (Amounts::new(), 0, Vec::new());
    for other in others {
        add(&mut used, &requests(other));
        taken.extend(ports(other));
        count += 1;
    }
    let refuse = |reason: String, message: String| {
        Err((reason.into(), format!("Pod was rejected: {message}")))
    };
    let have = |name: &str| -> Quantity {
        let amount: &Value = allocatable.get(name).unwrap_or(&Value::Null);
        amount.str().parse().unwrap_or(Quantity::ZERO)
    };
    if Quantity::from_units(count + 1, machinery::Format::DecimalSi) > have("pods") {
        let capacity = have("pods").units();
        return refuse(
            "OutOfpods".into(),
            format!(
                "Node didn't have enough resource: pods, requested: 1, used: {count}, capacity: {capacity}"
            ),
        );
    }
    for (name, asked) in requests(pod) {
        let (capacity, used) = (
            have(&name),
            used.get(&name).copied().unwrap_or(Quantity::ZERO),
        );
        // Resources the node does not know are a device plugin's affair.
        if asked.is_zero()
            || !config.capacity.contains_key(name.as_str())
            || used + asked <= capacity
        {
            continue;
        }
        let unit = |amount: Quantity| {
            if name == "cpu" {
                amount.milli()
            } else {
                amount.units()
            }
        };
        let (asked, used, capacity) = (unit(asked), unit(used), unit(capacity));
        return refuse(
            format!("OutOf{name}"),
            format!(
                "Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {capacity}"
            ),
        );
    }
    if ports(pod).iter().any(|port| taken.contains(port)) {
        return refuse("NodePorts".into(), "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports".into());
    }
    let mut labels: BTreeMap<SmolStr, SmolStr> = BTreeMap::new();
    labels.extend(
        config
            .labels
            .iter()
            .map(|(key, value)| (key.into(), value.into())),
    );
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
    // Labels that others put on the Node are unknown here: only keys of ours can refuse.
    let known = pod
        .at("spec.nodeSelector")
        .entries()
        .all(|(key, _)| labels.contains_key(key));
    if known && !selected(pod, &labels) {
        return refuse(
            "NodeAffinity".into(),
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
                .into(),
        );
    }
    Ok(())
}
