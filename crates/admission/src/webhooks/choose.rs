//! Which webhooks a write concerns: selectors, rules, and rules that name another version of the
//! same resource.
//!
//! Upstream counterparts: `admission/plugin/webhook/predicates`, `generic/webhook.go`
//! (`ShouldCallHook`).

use super::hooks::{Criteria, Rule};
use kinds::{Kind, SubKind};
use machinery::{GroupResource, GroupVersionKind, LabelSelector, SmolStr, Status, Value};
use registry::{Key, Operation, Review};
use std::sync::Arc;

/// Configurations of admission itself are shown to no webhook: a broken one could not be mended.
const EXEMPT: [&str; 6] = [
    kinds::MUTATING_ADMISSION_POLICIES,
    kinds::MUTATING_ADMISSION_POLICY_BINDINGS,
    kinds::MUTATING_WEBHOOK_CONFIGURATIONS,
    kinds::VALIDATING_ADMISSION_POLICIES,
    kinds::VALIDATING_ADMISSION_POLICY_BINDINGS,
    kinds::VALIDATING_WEBHOOK_CONFIGURATIONS,
];

/// Whether no webhook is asked about a write, whatever the rules say.
pub(crate) fn is_exempt(review: &Review<'_>) -> bool {
    EXEMPT.contains(&review.kind.storage.as_str()) || is_carried_out(review)
}

/// Whether a write only carries out an action that was admitted with its body.
pub(crate) fn is_carried_out(review: &Review<'_>) -> bool {
    // What an action with a body of its own writes was admitted with that body.
    let of_action = review
        .kind
        .subresource(review.subresource)
        .is_some_and(|one| one.kind == SubKind::Create);
    of_action && review.operation == Operation::Update
}

/// The namespace of a write; that of a namespace is itself.
pub(crate) fn namespace<'a>(review: &'a Review<'_>) -> &'a str {
    if review.kind.storage == kinds::NAMESPACES {
        &review.name
    } else {
        review.namespace
    }
}

/// Kind of what a write carries: the object's, or that of its subresource.
pub(crate) fn body_kind<'a>(kind: &'a Kind, subresource: &str) -> &'a GroupVersionKind {
    kind.subresource(subresource)
        .map_or(&kind.gvk, |one| &one.gvk)
}

/// The kind in whose version a webhook wants to see a write; `None` if it does not concern it.
///
/// # Errors
/// The namespace whose labels decide is not there.
pub(crate) fn choose(
    criteria: &Criteria,
    review: &Review<'_>,
) -> Result<Option<Arc<Kind>>, Status> {
    let in_namespace = matches_namespace(&criteria.namespaces, review);
    if matches!(in_namespace, Ok(false)) || !matches_object(&criteria.objects, review) {
        return Ok(None);
    }
    if matches_rules(&criteria.excluded, criteria.exact, review).is_some() {
        return Ok(None);
    }
    let kind = match criteria.unruled {
        true => Some(review.kind.clone()),
        false => matches_rules(&criteria.rules, criteria.exact, review),
    };
    let Some(kind) = kind else {
        return Ok(None);
    };
    in_namespace.map(|_| Some(kind))
}

fn matches_namespace(selector: &LabelSelector, review: &Review<'_>) -> Result<bool, Status> {
    let name = namespace(review);
    let own = review.kind.storage == kinds::NAMESPACES;
    if selector.is_everything() || name.is_empty() && !own {
        return Ok(true);
    }
    let written = matches!(review.operation, Operation::Create | Operation::Update);
    if own && review.subresource.is_empty() && written {
        return Ok(matches_labels(selector, &review.object));
    }
    let state = review.door.snapshot();
    let missing = || Status::not_found(&GroupResource::new("", "namespaces"), name);
    let namespace = state
        .get(kinds::NAMESPACES, &Key::new("", name))
        .ok_or_else(missing)?;
    Ok(selector.matches_object(namespace))
}

fn matches_labels(selector: &LabelSelector, object: &Value) -> bool {
    let labels = object.at(&["metadata", "labels"]);
    selector.matches(|key| labels.get(key).and_then(Value::as_str))
}

/// An object selector looks at the object before and after; either will do.
fn matches_object(selector: &LabelSelector, review: &Review<'_>) -> bool {
    selector.is_everything()
        || !review.object.is_null() && matches_labels(selector, &review.object)
        || review.old.is_some_and(|old| selector.matches_object(old))
}

fn matches_rules(rules: &[Rule], exact: bool, review: &Review<'_>) -> Option<Arc<Kind>> {
    let own = |rule: &&Rule| matches_rule(rule, review, &review.kind);
    if rules.iter().any(|rule| own(&rule)) {
        return Some(review.kind.clone());
    }
    // Only rules that match but for group, version and resource are worth a walk through the kinds.
    let wanted = |rule: &&Rule| matches_operation(rule, review) && matches_scope(rule, review);
    let mut rules = rules.iter().filter(wanted).peekable();
    if exact || rules.peek().is_none() {
        return None;
    }
    let catalogue = review.door.catalogue();
    let others: Vec<_> = catalogue
        .iter()
        .filter(|kind| kind.storage == review.kind.storage && kind.gvk != review.kind.gvk)
        .filter(|kind| review.subresource.is_empty() || has_subresource(kind, review))
        .collect();
    rules.find_map(|rule| {
        let found = others.iter().find(|kind| matches_rule(rule, review, kind));
        found.map(|kind| Arc::clone(kind))
    })
}

fn has_subresource(kind: &Kind, review: &Review<'_>) -> bool {
    kind.subresource(review.subresource).is_some()
}

fn matches_rule(rule: &Rule, review: &Review<'_>, kind: &Kind) -> bool {
    matches_scope(rule, review)
        && matches_operation(rule, review)
        && (rule.names.is_empty() || rule.names.contains(&review.name))
        && one_or_any(&rule.groups, &kind.gvk.group)
        && one_or_any(&rule.versions, &kind.gvk.version)
        && matches_resource(&rule.resources, &kind.plural, review.subresource)
}

fn one_or_any(list: &[SmolStr], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

fn matches_operation(rule: &Rule, review: &Review<'_>) -> bool {
    one_or_any(&rule.operations, review.operation.name())
}

fn matches_scope(rule: &Rule, review: &Review<'_>) -> bool {
    let in_namespace = !review.namespace.is_empty() && review.kind.storage != kinds::NAMESPACES;
    match rule.scope.as_str() {
        "" | "*" => true,
        "Namespaced" => in_namespace,
        "Cluster" => !in_namespace,
        _ => false,
    }
}

/// `pods`, `pods/*`, `*/scale`, `*`, `*/*`; `*` alone means no subresource.
fn matches_resource(list: &[SmolStr], resource: &str, subresource: &str) -> bool {
    list.iter().any(|one| {
        let (wanted, wanted_sub) = one.split_once('/').unwrap_or((one, ""));
        (wanted == "*" || wanted == resource) && (wanted_sub == "*" || wanted_sub == subresource)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_resources_and_subresources() {
        for (listed, resource, subresource, wanted) in [
            ("pods", "pods", "", true),
            ("pods", "pods", "status", false),
            ("pods/*", "pods", "status", true),
            ("pods/*", "pods", "", true),
            ("*", "pods", "", true),
            ("*", "pods", "log", false),
            ("*/*", "pods", "log", true),
            ("*/*", "pods", "", true),
            ("*/scale", "deployments", "scale", true),
            ("*/scale", "deployments", "", false),
            ("pods/exec", "services", "exec", false),
        ] {
            let found = matches_resource(&[listed.into()], resource, subresource);
            assert_eq!(found, wanted, "{listed} {resource}/{subresource}");
        }
    }
}
