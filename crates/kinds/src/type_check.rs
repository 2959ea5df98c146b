//! What a type checker has to say about a policy whose expressions compile only because nothing
//! is known of what they are about.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/admission/plugin/policy/validating/typechecking.go`.

use crate::{Catalogue, Expressions, Kind};
use k8s_cel::{Decl, Type};
use machinery::{GroupVersionKind, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Kinds that a rule is checked against at most.
const KINDS_MAX: usize = 10;

/// `status.typeChecking.expressionWarnings` of a `ValidatingAdmissionPolicy`.
pub fn type_check(policy: &Value, catalogue: &Catalogue) -> Vec<Value> {
    let spec = &policy["spec"];
    let checkers = checkers(spec, catalogue);
    let mut warnings = Vec::new();
    for (at, validation) in spec["validations"].items().iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = validation[field].str();
            if source.is_empty() {
                continue;
            }
            let found = checkers.iter().filter_map(|(gvk, expressions)| {
                let why = expressions.check(source).err()?;
                Some(format!("{gvk}: {why}\n"))
            });
            let found: Vec<String> = found.collect();
            if !found.is_empty() {
                let place = format!("spec.validations[{at}].{field}");
                warnings.push(json!({"fieldRef": place, "warning": found.join("\n")}));
            }
        }
    }
    warnings
}

/// What expressions are compiled with, for each kind they are about.
fn checkers(spec: &Value, catalogue: &Catalogue) -> Vec<(GroupVersionKind, Expressions)> {
    let params = params(&spec["paramKind"], catalogue);
    let variables = spec["variables"].items();
    let mut checkers = Vec::new();
    for (gvk, kind) in matched(spec, catalogue) {
        let mut expressions = Expressions::about(declared(&kind), params.clone()).composed();
        for variable in variables {
            let source = variable["expression"].str();
            expressions.add_unchecked(variable["name"].str(), source);
        }
        checkers.push((gvk, expressions));
    }
    checkers
}

fn declared(kind: &Kind) -> Type {
    let decl = Decl::of(&kind.type_ref, &kind.gvk.kind, true);
    decl.map_or(Type::Dyn, |decl| decl.ty())
}

fn params(kind: &Value, catalogue: &Catalogue) -> Option<Type> {
    let api_version = kind["apiVersion"].as_str()?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let gvk = GroupVersionKind::new(group, version, kind["kind"].str());
    Some(
        catalogue
            .kind(&gvk)
            .map_or(Type::Dyn, |kind| declared(kind)),
    )
}

/// The kinds that a policy names, without those behind wildcards and subresources.
fn matched(spec: &Value, catalogue: &Catalogue) -> BTreeMap<GroupVersionKind, Arc<Kind>> {
    let mut found = BTreeMap::new();
    let rules = &spec.at(&["matchConstraints", "resourceRules"]);
    for rule in rules.items() {
        let (groups, versions) = (texts(&rule["apiGroups"]), texts(&rule["apiVersions"]));
        if groups.iter().chain(&versions).any(|one| one.contains('*')) {
            continue;
        }
        let mut resources = texts(&rule["resources"]);
        resources.retain(|one| !one.contains(['*', '/']));
        let wanted = groups.iter().flat_map(|group| {
            let versions = versions.iter();
            versions.flat_map(|version| {
                let resources = resources.iter();
                resources.filter_map(|plural| catalogue.resource(group, version, plural))
            })
        });
        let wanted: Vec<&Arc<Kind>> = wanted.take(KINDS_MAX).collect();
        let full = wanted.len() == KINDS_MAX;
        found.extend(
            wanted
                .into_iter()
                .map(|kind| (kind.gvk.clone(), kind.clone())),
        );
        if full {
            break;
        }
    }
    found
}

fn texts(list: &Value) -> Vec<&str> {
    let mut texts: Vec<&str> = list.items().iter().map(Value::str).collect();
    texts.sort_unstable();
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(expression: &str, change: Value) -> Vec<Value> {
        let rule = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments", "deployments/scale"]});
        let mut spec = json!({"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": expression}]});
        for (field, value) in change.entries() {
            spec[field.as_str()] = value.clone();
        }
        type_check(&json!({"spec": spec}), &Catalogue::builtin())
    }

    #[test]
    fn what_does_not_fit_a_kind_is_said_per_kind() {
        assert!(warnings("object.spec.replicas > 1", json!({})).is_empty());
        let found = warnings("object.spec.replicas > '1'", json!({}));
        let [one] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(one["fieldRef"].str(), "spec.validations[0].expression");
        let text = one["warning"].str();
        assert!(
            text.starts_with("apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'"),
            "{text}"
        );
        let rule = json!({"apiGroups": ["*"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]});
        let wild = json!({"matchConstraints": {"resourceRules": [rule]}});
        assert!(warnings("object.spec.nothing", wild).is_empty());
    }

    #[test]
    fn variables_and_parameters_have_types() {
        let variables = json!([{"name": "n", "expression": "object.spec.replicas"}]);
        let kind = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        let change = json!({"variables": variables, "paramKind": kind});
        assert!(warnings("string(variables.n) == params.data.x", change.clone()).is_empty());
        let found = warnings("variables.n == params.data.x", change);
        assert!(
            found[0]["warning"]
                .str()
                .contains("'_==_' applied to '(int, string)'")
        );
    }
}
