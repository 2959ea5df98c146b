//! Which objects a quota counts.
//!
//! Upstream counterpart: `podMatchesScopeFunc` in `pkg/quota/v1/evaluator/core/pods.go`.

use crate::{common::texts, pod_resources::amounts};
use kinds::PODS;
use machinery::Value;

/// A condition on counted pods.
#[derive(Clone, PartialEq)]
pub(crate) struct Scope {
    name: String,
    operator: String,
    values: Vec<String>,
}

/// `scopes` and `scopeSelector` of a quota's spec.
pub(crate) fn read(spec: &Value) -> Vec<Scope> {
    let plain = texts(&spec["scopes"]).map(|name| Scope {
        name: name.into(),
        operator: "Exists".into(),
        values: Vec::new(),
    });
    let terms = spec["scopeSelector"]["matchExpressions"]
        .items()
        .iter()
        .map(|term| Scope {
            name: term["scopeName"].str().into(),
            operator: term["operator"].str().into(),
            values: texts(&term["values"]).map(str::to_owned).collect(),
        });
    plain.chain(terms).collect()
}

impl Scope {
    /// Whether the object is in the scope; only pods are in any.
    pub fn matches(&self, storage: &str, object: &Value) -> bool {
        let spec = &object["spec"];
        storage == PODS
            && match self.name.as_str() {
                "Terminating" => terminates(spec),
                "NotTerminating" => !terminates(spec),
                "BestEffort" => is_best_effort(spec),
                "NotBestEffort" => !is_best_effort(spec),
                "PriorityClass" => self.has_class(spec["priorityClassName"].str()),
                "CrossNamespacePodAffinity" => crosses(spec),
                _ => false,
            }
    }

    fn has_class(&self, class: &str) -> bool {
        let named = self.values.iter().any(|value| value == class);
        match self.operator.as_str() {
            "In" => named,
            "NotIn" => !named,
            "Exists" => !class.is_empty(),
            "DoesNotExist" => class.is_empty(),
            _ => false,
        }
    }
}

fn terminates(spec: &Value) -> bool {
    spec["activeDeadlineSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds >= 0)
}

fn is_best_effort(spec: &Value) -> bool {
    let containers = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| spec[*list].items());
    containers.chain([spec]).all(|holder| {
        let named = |field: &str| {
            let all = amounts(&holder["resources"][field]);
            ["cpu", "memory"]
                .iter()
                .any(|name| all.get(*name).is_some_and(|amount| !amount.is_zero()))
        };
        !named("requests") && !named("limits")
    })
}

fn crosses(spec: &Value) -> bool {
    let terms = ["podAffinity", "podAntiAffinity"].iter().flat_map(|kind| {
        let affinity = &spec["affinity"][*kind];
        let hard = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
            .items()
            .iter();
        let soft = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
            .items()
            .iter();
        hard.chain(soft.map(|term| &term["podAffinityTerm"]))
    });
    let mut terms = terms;
    terms.any(|term| !term["namespaces"].items().is_empty() || !term["namespaceSelector"].is_null())
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn scopes() {
        let in_class = json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}});
        for (quota, pod, wanted) in [
            (
                json!({"scopes": ["BestEffort"]}),
                json!({"containers": [{}]}),
                true,
            ),
            (
                json!({"scopes": ["BestEffort"]}),
                json!({"containers": [{"resources": {"limits": {"cpu": "1"}}}]}),
                false,
            ),
            (
                json!({"scopes": ["NotBestEffort", "Terminating"]}),
                json!({"activeDeadlineSeconds": 5, "containers": [{}]}),
                false,
            ),
            (
                json!({"scopes": ["Terminating"]}),
                json!({"activeDeadlineSeconds": 5}),
                true,
            ),
            (in_class.clone(), json!({"priorityClassName": "high"}), true),
            (in_class, json!({"priorityClassName": "low"}), false),
            (json!({}), json!({}), true),
        ] {
            let pod = json!({"spec": pod});
            let all = read(&quota).iter().all(|scope| scope.matches(PODS, &pod));
            assert_eq!(all, wanted);
        }
    }
}
