//! `PodSecurity`: holds pods against the level their namespace is labelled with.
//!
//! Pods are refused, warned about and annotated by level; templates of workloads are warned
//! about only, since what they make is checked itself. The checks are pure functions of a pod.
//! Upstream counterpart: `k8s.io/pod-security-admission`.

mod baseline;
mod restricted;

use crate::common::{forbid, invalid};
use kinds::{
    CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, JOBS, NAMESPACES, POD_TEMPLATES, PODS, REPLICA_SETS,
    REPLICATION_CONTROLLERS, STATEFUL_SETS,
};
use machinery::{FieldError, Object, Status, Value};
use registry::{Admission, Handles, Key, Operation, Review};

/// Kinds that are looked at: pods, what makes them, and where they are allowed.
const KINDS: [&str; 10] = [
    PODS,
    POD_TEMPLATES,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    NAMESPACES,
];

const PREFIX: &str = "pod-security.kubernetes.io/";

/// The plug-in.
pub struct PodSecurity;

/// How much a namespace allows its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "privileged" => Level::Privileged,
            "baseline" => Level::Baseline,
            "restricted" => Level::Restricted,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }
}

/// One finding: what is wrong, and where.
struct Finding {
    reason: &'static str,
    detail: String,
}

type Check = fn(&Value) -> Option<Finding>;

impl Admission for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self) -> Handles {
        Handles::NOTHING
            .admits(&[Operation::Create, Operation::Update])
            .validates(&[Operation::Create, Operation::Update])
            .of(&KINDS)
    }

    /// Warns; the door hands warnings on before validation.
    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let warned = violated(review, "warn");
        review
            .warnings
            .extend(warned.map(|why| format!("would violate {why}")));
        Ok(())
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let written = matches!(review.operation, Operation::Create | Operation::Update);
        if review.kind.storage == NAMESPACES && review.subresource.is_empty() && written {
            let errors = label_errors(&review.object);
            return if errors.is_empty() {
                Ok(())
            } else {
                Err(invalid(review, &errors))
            };
        }
        if review.kind.storage != PODS {
            return Ok(());
        }
        violated(review, "enforce").map_or(Ok(()), |why| {
            Err(forbid(review, &format!("violates {why}")))
        })
    }
}

/// The pod or template that a write brings in; nothing if it is as it was.
fn changed_template<'a>(review: &'a Review<'_>) -> Option<&'a Value> {
    let written = matches!(review.operation, Operation::Create | Operation::Update);
    if !written || !matches!(review.subresource, "" | "ephemeralcontainers") {
        return None;
    }
    let new = template(&review.kind.storage, &review.object)?;
    let old = review.old.map(|old| old.root().to_value());
    let same = old
        .as_ref()
        .and_then(|old| template(&review.kind.storage, old))
        .is_some_and(|old| old["spec"] == new["spec"]);
    (!same).then_some(new)
}

/// How a write violates what its namespace says for `mode`, if it does.
fn violated(review: &Review<'_>, mode: &str) -> Option<String> {
    let state = review.door.snapshot();
    let namespace = state.get(NAMESPACES, &Key::new("", review.namespace))?;
    let (level, version) = policy(namespace, mode)?;
    violation(changed_template(review)?, level, &version)
}

/// Level and version a namespace's labels set for a mode, unless they allow everything.
fn policy(namespace: &Object, mode: &str) -> Option<(Level, String)> {
    let text = namespace.label(&format!("{PREFIX}{mode}"))?;
    // A label that says nothing sensible restricts most, as upstream decides.
    let level = Level::parse(text).unwrap_or(Level::Restricted);
    let version = namespace
        .label(&format!("{PREFIX}{mode}-version"))
        .unwrap_or("latest");
    (level != Level::Privileged).then(|| (level, version.to_owned()))
}

/// `PodSecurity "restricted:latest": reason (detail), ...`, if the pod violates the level.
fn violation(pod: &Value, level: Level, version: &str) -> Option<String> {
    let found: Vec<_> = checks(level)
        .iter()
        .filter_map(|check| check(pod))
        .collect();
    let shown: Vec<_> = found
        .iter()
        .map(|one| format!("{} ({})", one.reason, one.detail))
        .collect();
    (!shown.is_empty()).then(|| {
        format!(
            "PodSecurity \"{}:{version}\": {}",
            level.name(),
            shown.join(", ")
        )
    })
}

fn checks(level: Level) -> Vec<Check> {
    match level {
        Level::Privileged => Vec::new(),
        Level::Baseline => [&baseline::COMMON[..], &baseline::REPLACED].concat(),
        Level::Restricted => [&baseline::COMMON[..], &restricted::CHECKS].concat(),
    }
}

/// The pod, or the pod template, of an object.
fn template<'a>(storage: &str, object: &'a Value) -> Option<&'a Value> {
    Some(match storage {
        PODS => object,
        POD_TEMPLATES => &object["template"],
        CRON_JOBS => object.at(&["spec", "jobTemplate", "spec", "template"]),
        DAEMON_SETS
        | DEPLOYMENTS
        | JOBS
        | REPLICA_SETS
        | REPLICATION_CONTROLLERS
        | STATEFUL_SETS => &object["spec"]["template"],
        _ => return None,
    })
}

fn label_errors(namespace: &Value) -> Vec<FieldError> {
    let labels = namespace.at(&["metadata", "labels"]);
    let wrong = |mode: &str| {
        let key = format!("{PREFIX}{mode}");
        let text = labels[key.as_str()]
            .as_str()
            .filter(|text| Level::parse(text).is_none())?;
        let field = format!("metadata.labels[{key}]");
        Some(FieldError::invalid(
            field,
            text,
            "must be one of privileged, baseline, restricted",
        ))
    };
    ["enforce", "audit", "warn"]
        .into_iter()
        .filter_map(wrong)
        .collect()
}

/// All containers of a pod: those that start first, the usual ones, those for debugging.
fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| pod["spec"][list].items())
}

/// Names of the containers that `wrong` finds fault with.
fn at_fault(pod: &Value, wrong: impl Fn(&Value) -> bool) -> Vec<&str> {
    containers(pod)
        .filter(|container| wrong(container))
        .map(|container| container["name"].str())
        .collect()
}

/// `container "a"` or `containers "a", "b"`.
fn named(word: &str, names: &[&str]) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{word}{plural} {}", quoted(names))
}

fn quoted(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("{name:?}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// `pod`, `container "a"` or `pod and container "a"`; nothing where neither is at fault.
fn pod_and_containers(pod: bool, names: &[&str]) -> Option<String> {
    match (pod, names.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".to_owned()),
        (true, false) => Some(format!("pod and {}", named("container", names))),
        (false, false) => Some(named("container", names)),
    }
}

/// A finding, if any container is at fault.
fn fault(
    reason: &'static str,
    names: &[&str],
    detail: impl FnOnce(String) -> String,
) -> Option<Finding> {
    (!names.is_empty()).then(|| Finding {
        reason,
        detail: detail(named("container", names)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    fn found(spec: Value, level: Level) -> String {
        violation(&json!({"spec": spec}), level, "latest").unwrap_or_default()
    }

    #[test]
    fn baseline_findings() {
        for (spec, wanted) in [
            (json!({"containers": [{"name": "a"}]}), ""),
            (
                json!({"hostNetwork": true, "hostPID": true, "containers": []}),
                "host namespaces (hostNetwork=true, hostPID=true)",
            ),
            (
                json!({"containers": [{"name": "a", "securityContext": {"privileged": true}}, {"name": "b", "securityContext": {"privileged": true}}]}),
                "privileged (containers \"a\", \"b\" must not set securityContext.privileged=true)",
            ),
            (
                json!({"containers": [{"name": "a", "securityContext": {"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}}}]}),
                "non-default capabilities (container \"a\" must not include \"NET_ADMIN\" in securityContext.capabilities.add)",
            ),
            (
                json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
                "hostPath volumes (volume \"v\")",
            ),
            (
                json!({"containers": [{"name": "a", "ports": [{"hostPort": 80}]}]}),
                "hostPort (container \"a\" uses hostPort 80)",
            ),
            (
                json!({"securityContext": {"sysctls": [{"name": "kernel.x"}, {"name": "net.ipv4.tcp_syncookies"}]}}),
                "forbidden sysctls (kernel.x)",
            ),
            (
                json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
                "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
            ),
        ] {
            let text = found(spec, Level::Baseline);
            let text = text
                .strip_prefix("PodSecurity \"baseline:latest\": ")
                .unwrap_or(&text);
            assert_eq!(text, wanted);
        }
    }

    #[test]
    fn restricted_findings_are_upstreams_sentence() {
        let plain = found(
            json!({"containers": [{"name": "nginx"}]}),
            Level::Restricted,
        );
        assert_eq!(
            plain,
            "PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"nginx\" must set securityContext.allowPrivilegeEscalation=false), \
             unrestricted capabilities (container \"nginx\" must set securityContext.capabilities.drop=[\"ALL\"]), \
             runAsNonRoot != true (pod or container \"nginx\" must set securityContext.runAsNonRoot=true), \
             seccompProfile (pod or container \"nginx\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
        );
        let good = json!({
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [{"name": "c", "configMap": {"name": "x"}}],
            "containers": [{"name": "a", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}]
        });
        assert_eq!(found(good.clone(), Level::Restricted), "");
        let mut root = good;
        root.set_at(&["securityContext", "runAsUser"], 0);
        root.set_at(
            &["volumes"],
            json!([{"name": "h", "hostPath": {"path": "/"}}]),
        );
        assert_eq!(
            found(root, Level::Restricted),
            "PodSecurity \"restricted:latest\": restricted volume types (volume \"h\" uses restricted volume type \"hostPath\"), runAsUser=0 (pod must not set runAsUser=0)"
        );
    }
}
