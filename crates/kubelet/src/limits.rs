//! Security settings, kernel limits and the order in which memory shortage kills.
//!
//! Pure; upstream counterpart: `pkg/securitycontext`, `cm` and `qos/policy.go`.

use crate::status::qos_class;
use env::{CgroupLimits, Seccomp, Security};
use machinery::{Object, Quantity, Ref};
use std::collections::BTreeMap;

/// Pods of this priority and above are never killed first when memory is short.
const CRITICAL_PRIORITY: i64 = 2_000_000_000;

/// The container's settings where it has them, else the pod's.
pub fn security(pod: Ref<'_>, own: Ref<'_>) -> Result<Security, String> {
    let number = |field: &str| own.get(field).as_i64().or(pod.get(field).as_i64());
    let names = |list: Ref<'_>| list.items().map(|name| name.str().into()).collect();
    let mut groups: Vec<i64> = pod
        .get("supplementalGroups")
        .items()
        .map(Ref::i64)
        .collect();
    groups.extend(pod.get("fsGroup").as_i64());
    let non_root = own
        .get("runAsNonRoot")
        .as_bool()
        .or(pod.get("runAsNonRoot").as_bool());
    let run_as_user = number("runAsUser");
    if non_root == Some(true) && run_as_user == Some(0) {
        return Err("container's runAsUser breaks non-root policy".into());
    }
    let profile = Some(own.get("seccompProfile")).filter(|profile| !profile.is_null());
    let profile = profile
        .unwrap_or(pod.get("seccompProfile"))
        .get("type")
        .str();
    let privileged = own.get("privileged").is_true();
    Ok(Security {
        run_as_user,
        run_as_group: number("runAsGroup"),
        run_as_non_root: non_root.unwrap_or(false),
        supplemental_groups: groups,
        read_only_root: own.get("readOnlyRootFilesystem").is_true(),
        privileged,
        allow_privilege_escalation: own
            .get("allowPrivilegeEscalation")
            .as_bool()
            .unwrap_or(true),
        capabilities_add: names(own.at("capabilities.add")),
        capabilities_drop: names(own.at("capabilities.drop")),
        seccomp: match profile {
            "RuntimeDefault" if !privileged => Seccomp::RuntimeDefault,
            _ => Seccomp::Unconfined,
        },
    })
}

fn quantity(list: Ref<'_>, name: &str) -> Option<Quantity> {
    let amount = list.get(name);
    match amount.as_i64() {
        Some(units) => Some(Quantity::from_units(units, machinery::Format::DecimalSi)),
        None => amount.as_str()?.parse().ok(),
    }
}

/// Kernel limits of a `ResourceRequirements`.
pub fn limits(resources: Ref<'_>) -> CgroupLimits {
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    let positive = |amount: i64| u64::try_from(amount).ok().filter(|amount| *amount > 0);
    let cpu = quantity(limits, "cpu");
    CgroupLimits {
        memory: quantity(limits, "memory").and_then(|amount| positive(amount.units())),
        cpu_milli: cpu.and_then(|amount| positive(amount.milli())),
        cpu_request_milli: quantity(requests, "cpu")
            .or(cpu)
            .and_then(|amount| positive(amount.milli()))
            .unwrap_or(0),
        pids: None,
    }
}

/// Kernel limits of a container; where it has none, those of its pod bound it.
pub fn container_limits(pod: &Object, container: Ref<'_>) -> CgroupLimits {
    let own = limits(container.get("resources"));
    let whole = limits(pod.at("spec.resources"));
    CgroupLimits {
        memory: own.memory.or(whole.memory),
        cpu_milli: own.cpu_milli.or(whole.cpu_milli),
        ..own
    }
}

/// Limits of the whole pod: its own where it has them, else the most that its containers can
/// use at a time, or nothing where any of them is unlimited.
pub fn pod_limits(pod: &Object) -> CgroupLimits {
    let spec = pod.at("spec");
    let (own, overhead) = (limits(spec.get("resources")), spec.get("overhead"));
    let more = |name: &str| quantity(overhead, name).unwrap_or(Quantity::ZERO);
    let positive = |amount: i64| u64::try_from(amount).unwrap_or(0);
    let (memory, cpu) = (
        positive(more("memory").units()),
        positive(more("cpu").milli()),
    );
    let summed = |pick: Pick, more: u64| most(spec, pick).map(|sum| sum + more);
    let request = summed(|one| Some(one.cpu_request_milli), cpu).unwrap_or(0);
    CgroupLimits {
        memory: own.memory.or(summed(|one| one.memory, memory)),
        cpu_milli: own.cpu_milli.or(summed(|one| one.cpu_milli, cpu)),
        cpu_request_milli: match own.cpu_request_milli {
            0 => request,
            own => own,
        },
        pids: None,
    }
}

type Pick = fn(&CgroupLimits) -> Option<u64>;

/// The most that containers of a pod have of something at a time: main ones and sidecars
/// together, or an init container with the sidecars before it.
fn most(spec: Ref<'_>, pick: Pick) -> Option<u64> {
    let amount = |one: Ref<'_>| pick(&limits(one.get("resources")));
    let mut running: u64 = spec
        .get("containers")
        .items()
        .map(amount)
        .sum::<Option<u64>>()?;
    let (mut sidecars, mut peak) = (0, 0);
    for container in spec.get("initContainers").items() {
        let own = amount(container)?;
        if container.get("restartPolicy").str() == "Always" {
            (running, sidecars) = (running + own, sidecars + own);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + own);
        }
    }
    Some(running.max(peak))
}

/// Who goes first when memory is short, by quality of service.
pub fn oom_score(pod: &Object, container: Ref<'_>, capacity: &BTreeMap<String, String>) -> i32 {
    const GUARANTEED: i32 = -997;
    if pod.at("spec.priority").i64() >= CRITICAL_PRIORITY {
        return GUARANTEED;
    }
    match qos_class(pod.at("spec")) {
        "Guaranteed" => GUARANTEED,
        "BestEffort" => 1000,
        _ => {
            let asked =
                quantity(container.at("resources.requests"), "memory").unwrap_or(Quantity::ZERO);
            let all = capacity
                .get("memory")
                .and_then(|text| text.parse::<Quantity>().ok());
            let all = all.map_or(1, Quantity::units).max(1);
            let score = 1000 - (1000 * i128::from(asked.units()) / i128::from(all)) as i32;
            score.clamp(1000 + GUARANTEED, 999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::{Value, json};

    #[test]
    fn a_pod_is_limited_by_all_its_containers() {
        let container =
            |memory: &str| json!({"resources": {"limits": {"cpu": "100m", "memory": memory}}});
        let mut sidecar = container("3Mi");
        sidecar["restartPolicy"] = "Always".into();
        let pod = |spec| pod_limits(&Object::new(&json!({"spec": spec}), 1));
        let spec = json!({"containers": [container("1Mi"), container("2Mi")],
            "initContainers": [sidecar, container("4Mi")], "overhead": {"memory": "1Mi"}});
        let limits = pod(spec.clone());
        assert_eq!(
            (limits.memory, limits.cpu_milli),
            (Some(8 << 20), Some(300))
        );
        assert_eq!(limits.cpu_request_milli, 300);
        let mut open = spec.clone();
        open["containers"] =
            json!([container("1Mi"), {"resources": {"limits": {"memory": "1Mi"}}}]);
        assert_eq!(pod(open).cpu_milli, None);
        let mut own = spec;
        own["resources"] = json!({"limits": {"memory": "64Mi"}});
        assert_eq!(pod(own.clone()).memory, Some(64 << 20));
        let whole = Object::new(&json!({"spec": own}), 1);
        let bound = |resources: Value| {
            let bytes = machinery::flat::encode(&json!({"resources": resources}));
            container_limits(&whole, Ref::new(&bytes)).memory
        };
        assert_eq!(bound(json!({})), Some(64 << 20), "as its pod");
        assert_eq!(bound(json!({"limits": {"memory": "1Mi"}})), Some(1 << 20));
    }
}
