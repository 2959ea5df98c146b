//! Current hardening practice: the restricted level.
//!
//! Upstream counterpart: `k8s.io/pod-security-admission/policy`, the checks of that level.

use super::{Check, Finding, at_fault, containers, fault, named, pod_and_containers, quoted};
use crate::common::texts;
use machinery::Value;
use std::collections::BTreeSet;

/// Its checks in the order of their upstream ids.
pub(super) const CHECKS: [Check; 6] = [
    privilege_escalation,
    capabilities,
    volumes,
    run_as_non_root,
    run_as_user,
    seccomp,
];

const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Linux rules do not hold for Windows pods.
fn is_windows(pod: &Value) -> bool {
    pod.at(&["spec", "os", "name"]).str() == "windows"
}

fn privilege_escalation(pod: &Value) -> Option<Finding> {
    if is_windows(pod) {
        return None;
    }
    let wrong = |container: &Value| {
        container["securityContext"]["allowPrivilegeEscalation"].as_bool() != Some(false)
    };
    fault(
        "allowPrivilegeEscalation != false",
        &at_fault(pod, wrong),
        |who| format!("{who} must set securityContext.allowPrivilegeEscalation=false"),
    )
}

fn capabilities(pod: &Value) -> Option<Finding> {
    if is_windows(pod) {
        return None;
    }
    let of = |container: &Value, field: &str| -> Vec<String> {
        texts(&container["securityContext"]["capabilities"][field])
            .map(str::to_owned)
            .collect()
    };
    let keeps = at_fault(pod, |container| {
        !of(container, "drop").iter().any(|name| name == "ALL")
    });
    let added = |container: &Value| {
        of(container, "add")
            .into_iter()
            .filter(|name| name != "NET_BIND_SERVICE")
            .collect::<Vec<_>>()
    };
    let adds = at_fault(pod, |container| !added(container).is_empty());
    let all: BTreeSet<String> = containers(pod).flat_map(added).collect();
    let mut found = Vec::new();
    if !keeps.is_empty() {
        found.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            named("container", &keeps)
        ));
    }
    if !adds.is_empty() {
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let who = named("container", &adds);
        found.push(format!(
            "{who} must not include {} in securityContext.capabilities.add",
            quoted(&all)
        ));
    }
    (!found.is_empty()).then(|| Finding {
        reason: "unrestricted capabilities",
        detail: found.join("; "),
    })
}

fn volumes(pod: &Value) -> Option<Finding> {
    let kind = |volume: &Value| {
        volume
            .entries()
            .map(|(key, _)| key.to_string())
            .find(|key| key != "name")
            .unwrap_or_default()
    };
    let volumes = pod["spec"]["volumes"].items().iter();
    let wrong: Vec<_> = volumes
        .map(|volume| (volume["name"].str(), kind(volume)))
        .filter(|(_, kind)| !VOLUMES.contains(&kind.as_str()))
        .collect();
    let names: Vec<&str> = wrong.iter().map(|(name, _)| *name).collect();
    let kinds: BTreeSet<&str> = wrong.iter().map(|(_, kind)| kind.as_str()).collect();
    let kinds: Vec<&str> = kinds.into_iter().collect();
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let plural = if kinds.len() == 1 { "" } else { "s" };
    (!names.is_empty()).then(|| Finding {
        reason: "restricted volume types",
        detail: format!(
            "{} {verb} restricted volume type{plural} {}",
            named("volume", &names),
            quoted(&kinds)
        ),
    })
}

fn run_as_non_root(pod: &Value) -> Option<Finding> {
    let said = |holder: &Value| holder["securityContext"]["runAsNonRoot"].as_bool();
    let reason = "runAsNonRoot != true";
    let denied = at_fault(pod, |container| said(container) == Some(false));
    let open = at_fault(pod, |container| said(container).is_none());
    let all = said(&pod["spec"]);
    let mut found = Vec::new();
    if all == Some(false) {
        found.push("pod must not set securityContext.runAsNonRoot=false".to_owned());
    }
    if !denied.is_empty() {
        found.push(format!(
            "{} must not set securityContext.runAsNonRoot=false",
            named("container", &denied)
        ));
    }
    if found.is_empty() && all.is_none() && !open.is_empty() {
        found.push(format!(
            "pod or {} must set securityContext.runAsNonRoot=true",
            named("container", &open)
        ));
    }
    (!found.is_empty()).then(|| Finding {
        reason,
        detail: found.join(", "),
    })
}

fn run_as_user(pod: &Value) -> Option<Finding> {
    let root = |holder: &Value| holder["securityContext"]["runAsUser"].as_i64() == Some(0);
    let names = at_fault(pod, root);
    let who = pod_and_containers(root(&pod["spec"]), &names)?;
    Some(Finding {
        reason: "runAsUser=0",
        detail: format!("{who} must not set runAsUser=0"),
    })
}

fn seccomp(pod: &Value) -> Option<Finding> {
    if is_windows(pod) {
        return None;
    }
    let profile = |holder: &Value| {
        holder["securityContext"]["seccompProfile"]["type"]
            .str()
            .to_owned()
    };
    let good = |text: &str| matches!(text, "RuntimeDefault" | "Localhost");
    let all = profile(&pod["spec"]);
    let wrong = at_fault(pod, |container| {
        !matches!(
            profile(container).as_str(),
            "" | "RuntimeDefault" | "Localhost"
        )
    });
    let open = at_fault(pod, |container| profile(container).is_empty());
    let mut found = Vec::new();
    if !all.is_empty() && !good(&all) {
        found.push(format!(
            "pod must not set securityContext.seccompProfile.type to {all:?}"
        ));
    }
    if !wrong.is_empty() {
        let who = named("container", &wrong);
        found.push(format!(
            "{who} must not set securityContext.seccompProfile.type to \"Unconfined\""
        ));
    }
    if found.is_empty() && all.is_empty() && !open.is_empty() {
        let who = named("container", &open);
        found.push(format!("pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""));
    }
    (!found.is_empty()).then(|| Finding {
        reason: "seccompProfile",
        detail: found.join("; "),
    })
}
