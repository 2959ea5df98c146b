//! What keeps a pod from taking over its node: the baseline level.
//!
//! Upstream counterpart: `k8s.io/pod-security-admission/policy`, the checks of that level.

use super::{Check, Finding, at_fault, containers, fault, named, pod_and_containers, quoted};
use crate::common::texts;
use machinery::Value;
use std::collections::BTreeSet;

/// Checks of both levels, in the order of their upstream ids.
pub(super) const COMMON: [Check; 8] = [
    apparmor,
    host_namespaces,
    host_ports,
    privileged,
    proc_mount,
    selinux,
    sysctls,
    windows,
];
/// Checks that the restricted level replaces by stricter ones.
pub(super) const REPLACED: [Check; 3] = [capabilities, host_paths, seccomp];

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];
const SELINUX_TYPES: [&str; 5] = [
    "",
    "container_engine_t",
    "container_init_t",
    "container_kvm_t",
    "container_t",
];

fn profile<'a>(holder: &'a Value, field: &str) -> &'a str {
    holder["securityContext"][field]["type"].str()
}

fn apparmor(pod: &Value) -> Option<Finding> {
    let unconfined = |holder: &Value| profile(holder, "appArmorProfile") == "Unconfined";
    let mut found = Vec::new();
    if unconfined(&pod["spec"]) {
        found.push("pod must not set AppArmor profile type to \"Unconfined\"".to_owned());
    }
    let names = at_fault(pod, unconfined);
    if !names.is_empty() {
        found.push(format!(
            "{} must not set AppArmor profile type to \"Unconfined\"",
            named("container", &names)
        ));
    }
    (!found.is_empty()).then(|| Finding {
        reason: "forbidden AppArmor profile",
        detail: found.join(", "),
    })
}

fn capabilities(pod: &Value) -> Option<Finding> {
    let forbidden = |container: &Value| -> Vec<String> {
        let added = texts(&container["securityContext"]["capabilities"]["add"]);
        added
            .filter(|name| !CAPABILITIES.contains(name))
            .map(str::to_owned)
            .collect()
    };
    let names = at_fault(pod, |container| !forbidden(container).is_empty());
    let all: BTreeSet<String> = containers(pod).flat_map(forbidden).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    fault("non-default capabilities", &names, |who| {
        format!(
            "{who} must not include {} in securityContext.capabilities.add",
            quoted(&all)
        )
    })
}

fn host_namespaces(pod: &Value) -> Option<Finding> {
    let set = |field: &&str| pod["spec"][*field].as_bool() == Some(true);
    let found: Vec<_> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|field| set(field))
        .map(|field| format!("{field}=true"))
        .collect();
    (!found.is_empty()).then(|| Finding {
        reason: "host namespaces",
        detail: found.join(", "),
    })
}

fn host_paths(pod: &Value) -> Option<Finding> {
    let volumes = pod["spec"]["volumes"]
        .items()
        .iter()
        .filter(|volume| !volume["hostPath"].is_null());
    let names: Vec<&str> = volumes.map(|volume| volume["name"].str()).collect();
    (!names.is_empty()).then(|| Finding {
        reason: "hostPath volumes",
        detail: named("volume", &names),
    })
}

fn host_ports(pod: &Value) -> Option<Finding> {
    let ports = |container: &Value| -> Vec<i64> {
        let ports = container["ports"].items().iter();
        ports
            .filter_map(|port| port["hostPort"].as_i64().filter(|number| *number != 0))
            .collect()
    };
    let names = at_fault(pod, |container| !ports(container).is_empty());
    let all: BTreeSet<i64> = containers(pod).flat_map(ports).collect();
    let shown: Vec<String> = all.iter().map(i64::to_string).collect();
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let noun = if all.len() == 1 {
        "hostPort"
    } else {
        "hostPorts"
    };
    fault("hostPort", &names, |who| {
        format!("{who} {verb} {noun} {}", shown.join(", "))
    })
}

fn privileged(pod: &Value) -> Option<Finding> {
    let names = at_fault(pod, |container| {
        container["securityContext"]["privileged"].as_bool() == Some(true)
    });
    fault("privileged", &names, |who| {
        format!("{who} must not set securityContext.privileged=true")
    })
}

fn proc_mount(pod: &Value) -> Option<Finding> {
    let wrong = |container: &Value| {
        !matches!(
            container["securityContext"]["procMount"].str(),
            "" | "Default"
        )
    };
    let names = at_fault(pod, wrong);
    fault("procMount", &names, |who| {
        format!("{who} must not set securityContext.procMount to \"Unmasked\"")
    })
}

fn selinux(pod: &Value) -> Option<Finding> {
    let wrong = |holder: &Value| {
        let options = &holder["securityContext"]["seLinuxOptions"];
        let own = |field: &str| !options[field].str().is_empty();
        !SELINUX_TYPES.contains(&options["type"].str()) || own("user") || own("role")
    };
    let names = at_fault(pod, wrong);
    let who = pod_and_containers(wrong(&pod["spec"]), &names)?;
    Some(Finding {
        reason: "seLinuxOptions",
        detail: format!("{who} set forbidden securityContext.seLinuxOptions"),
    })
}

fn seccomp(pod: &Value) -> Option<Finding> {
    let unconfined = |holder: &Value| profile(holder, "seccompProfile") == "Unconfined";
    let names = at_fault(pod, unconfined);
    let who = pod_and_containers(unconfined(&pod["spec"]), &names)?;
    let detail =
        format!("{who} must not set securityContext.seccompProfile.type to \"Unconfined\"");
    Some(Finding {
        reason: "seccompProfile",
        detail,
    })
}

fn sysctls(pod: &Value) -> Option<Finding> {
    let all = pod
        .at(&["spec", "securityContext", "sysctls"])
        .items()
        .iter()
        .map(|one| one["name"].str());
    let wrong: Vec<&str> = all.filter(|name| !SYSCTLS.contains(name)).collect();
    (!wrong.is_empty()).then(|| Finding {
        reason: "forbidden sysctls",
        detail: wrong.join(", "),
    })
}

fn windows(pod: &Value) -> Option<Finding> {
    let wrong = |holder: &Value| {
        holder["securityContext"]["windowsOptions"]["hostProcess"].as_bool() == Some(true)
    };
    let names = at_fault(pod, wrong);
    let who = pod_and_containers(wrong(&pod["spec"]), &names)?;
    Some(Finding {
        reason: "hostProcess",
        detail: format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    })
}
