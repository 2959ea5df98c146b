//! What a client should hear of pods and templates that are taken but hardly meant so.
//!
//! Upstream counterpart: `pkg/api/pod/warnings.go`.

use crate::check::{Place, at, is_empty, text_of};
use machinery::{Quantity, Value};
use std::collections::BTreeSet;

/// Labels of nodes that have new names.
const OLD_LABELS: [(&str, &str); 5] = [
    (
        "beta.kubernetes.io/arch",
        "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
    ),
    (
        "beta.kubernetes.io/os",
        "deprecated since v1.14; use \"kubernetes.io/os\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
];

/// Kinds of volumes that are on their way out, or gone.
const OLD_VOLUMES: [(&str, &str); 8] = [
    (
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    (
        "gitRepo",
        "deprecated in v1.11, and disabled by default in v1.33+",
    ),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Kinds whose pods are named after them.
const NAMING: [&str; 5] = [
    crate::CRON_JOBS,
    crate::DEPLOYMENTS,
    crate::JOBS,
    crate::REPLICA_SETS,
    crate::REPLICATION_CONTROLLERS,
];

/// A warning about the name of a new object, where pods get host names from it.
pub(crate) fn name(storage: &str, name: &str) -> Option<String> {
    let of = match storage {
        crate::PODS => "the Pod's hostname",
        _ if NAMING.contains(&storage) => "Pod names and hostnames",
        _ => return None,
    };
    let complaints = machinery::dns1123_label(name);
    (!complaints.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in {of}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            complaints.join(" ")
        )
    })
}

/// Warnings about a pod.
pub(crate) fn pod(pod: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    specification(&mut warnings, at!("spec"), &pod["spec"]);
    warnings
}

/// Warnings about the pods that an object makes.
pub(crate) fn template(o: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let places: [(&str, &[&str]); 3] = [
        ("spec.template.spec", &["spec", "template", "spec"]),
        (
            "spec.jobTemplate.spec.template.spec",
            &["spec", "jobTemplate", "spec", "template", "spec"],
        ),
        ("template.spec", &["template", "spec"]),
    ];
    for (path, place) in places {
        specification(&mut warnings, at!("{path}"), o.at(place));
    }
    warnings
}

fn specification(warnings: &mut Vec<String>, path: Place<'_>, spec: &Value) {
    for (label, why) in OLD_LABELS {
        if spec["nodeSelector"].get(label).is_some() {
            warnings.push(format!("{path}.nodeSelector[{label}]: {why}"));
        }
    }
    let constraints = spec["topologySpreadConstraints"].items();
    for (at, one) in constraints.iter().enumerate() {
        if one["labelSelector"].is_null() {
            warnings.push(format!("{path}.topologySpreadConstraints[{at}].labelSelector: a null labelSelector results in matching no pod"));
        }
    }
    for (at, volume) in spec["volumes"].items().iter().enumerate() {
        for (kind, why) in OLD_VOLUMES {
            if !volume[kind].is_null() {
                warnings.push(format!("{path}.volumes[{at}].{kind}: {why}"));
            }
        }
        let projected = volume.at(&["projected", "sources"]).items();
        for _ in projected.iter().filter(|source| is_empty(source)) {
            let name = volume["name"].str();
            warnings.push(format!(
                "volume {name:?} (Projected) has no sources provided"
            ));
        }
    }
    repeated(
        warnings,
        at!("{path}.hostAliases"),
        &spec["hostAliases"],
        ("ip", "ip"),
    );
    let secrets = &spec["imagePullSecrets"];
    repeated(
        warnings,
        at!("{path}.imagePullSecrets"),
        secrets,
        ("name", "name"),
    );
    for (at, secret) in secrets.items().iter().enumerate() {
        if secret["name"].str().is_empty() {
            warnings.push(format!(
                "{path}.imagePullSecrets[{at}].name: invalid empty name \"\""
            ));
        }
    }
    for list in ["initContainers", "containers"] {
        for (at, one) in spec[list].items().iter().enumerate() {
            container(warnings, at!("{path}.{list}[{at}]"), one);
        }
    }
    let grace = spec["terminationGracePeriodSeconds"].as_i64();
    if grace.is_some_and(|seconds| seconds < 0) {
        warnings.push(format!("{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"));
    }
}

fn repeated(
    warnings: &mut Vec<String>,
    path: Place<'_>,
    list: &Value,
    (field, word): (&str, &str),
) {
    let mut seen = BTreeSet::new();
    for (at, one) in list.items().iter().enumerate() {
        let text = one[field].str();
        if !text.is_empty() && !seen.insert(text) {
            warnings.push(format!("{path}[{at}].{field}: duplicate {word} {text:?}"));
        }
    }
}

fn container(warnings: &mut Vec<String>, path: Place<'_>, container: &Value) {
    for list in ["limits", "requests"] {
        for resource in ["memory", "ephemeral-storage"] {
            let text = text_of(container.at(&["resources", list, resource]));
            let amount = text.parse::<Quantity>();
            if amount.is_ok_and(|amount| amount.milli() % 1_000 != 0) {
                warnings.push(format!("{path}.resources.{list}[{resource}]: fractional byte value {text:?} is invalid, must be an integer"));
            }
        }
    }
    let variables = container["env"].items();
    for (at, one) in variables.iter().enumerate() {
        let name = one["name"].str();
        // A later value may be made of the one before.
        let refers = one["value"].str().contains(&format!("$({name})"));
        let hides = variables[..at]
            .iter()
            .any(|other| other["name"].str() == name);
        if hides && !refers {
            warnings.push(format!("{path}.env[{at}]: hides previous definition of {name:?}, which may be dropped when using apply"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn says_what_is_hardly_meant() {
        let spec = json!({
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}],
            "containers": [{"env": [{"name": "A"}, {"name": "A"}, {"name": "A", "value": "$(A)x"}],
                "resources": {"limits": {"memory": "100m"}}}],
        });
        let wanted = [
            "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            "spec.template.spec.imagePullSecrets[1].name: duplicate name \"a\"",
            "spec.template.spec.imagePullSecrets[2].name: invalid empty name \"\"",
            "spec.template.spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.template.spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
        ];
        assert_eq!(
            template(&json!({"spec": {"template": {"spec": spec}}})),
            wanted
        );
    }
}
