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

/// Limits of the whole pod: the sum, or nothing where any container is unlimited.
pub fn pod_limits(pod: &Object) -> CgroupLimits {
    let all: Vec<_> = pod
        .at("spec.containers")
        .items()
        .map(|one| limits(one.get("resources")))
        .collect();
    let sum = |pick: fn(&CgroupLimits) -> Option<u64>| all.iter().map(pick).sum::<Option<u64>>();
    CgroupLimits {
        memory: sum(|one| one.memory),
        cpu_milli: sum(|one| one.cpu_milli),
        cpu_request_milli: all.iter().map(|one| one.cpu_request_milli).sum(),
        pids: None,
    }
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
