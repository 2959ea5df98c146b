//! One policy rule: what it allows, and whether rules held cover rules to be granted.
//!
//! Upstream counterpart: `pkg/apis/rbac/v1/evaluation_helpers.go` and
//! `k8s.io/component-helpers/auth/rbac/validation`.

use crate::Attributes;
use machinery::{Ref, SmolStr, Value};
use std::collections::{BTreeMap, BTreeSet};

/// One `PolicyRule`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// `verbs`.
    pub verbs: Vec<SmolStr>,
    /// `apiGroups`.
    pub groups: Vec<SmolStr>,
    /// `resources`, `*`, `*/sub`, `res/sub`.
    pub resources: Vec<SmolStr>,
    /// `resourceNames`; empty means all.
    pub names: Vec<SmolStr>,
    /// `nonResourceURLs`, `*` at the end is a prefix.
    pub urls: Vec<SmolStr>,
}

impl Rule {
    /// From a `PolicyRule` object.
    pub fn from_ref(rule: Ref<'_>) -> Self {
        let texts = |key: &str| {
            rule.get(key)
                .items()
                .map(|item| item.str().into())
                .collect()
        };
        Self {
            verbs: texts("verbs"),
            groups: texts("apiGroups"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            urls: texts("nonResourceURLs"),
        }
    }

    /// Whether the rule allows the request.
    pub fn allows(&self, asked: &Attributes) -> bool {
        let any =
            |list: &[SmolStr], wanted: &str| list.iter().any(|one| one == "*" || one == wanted);
        if !any(&self.verbs, &asked.verb) {
            return false;
        }
        if asked.resource.is_empty() {
            return self.urls.iter().any(|url| url_matches(url, &asked.path));
        }
        any(&self.groups, &asked.group)
            && self
                .resources
                .iter()
                .any(|one| resource_matches(one, asked))
            && (self.names.is_empty() || self.names.contains(&asked.name))
    }
}

fn url_matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

fn resource_matches(pattern: &str, asked: &Attributes) -> bool {
    if pattern == "*" {
        return true;
    }
    match pattern.split_once('/') {
        Some(("*", sub)) => !sub.is_empty() && sub == asked.subresource,
        Some((resource, sub)) => resource == asked.resource && sub == asked.subresource,
        None => pattern == asked.resource && asked.subresource.is_empty(),
    }
}

impl Rule {
    /// Everything on every resource, and every path: what a cluster's administrator holds.
    pub fn everything() -> [Self; 2] {
        let all = || vec![SmolStr::new("*")];
        [
            Self {
                verbs: all(),
                groups: all(),
                resources: all(),
                ..Self::default()
            },
            Self {
                verbs: all(),
                urls: all(),
                ..Self::default()
            },
        ]
    }

    /// The rules of a role.
    pub fn of_role(rules: &Value) -> Vec<Self> {
        let texts = |rule: &Value, key: &str| {
            let items = rule[key].items().iter();
            items.map(|item| item.str().into()).collect()
        };
        let read = |rule: &Value| Self {
            verbs: texts(rule, "verbs"),
            groups: texts(rule, "apiGroups"),
            resources: texts(rule, "resources"),
            names: texts(rule, "resourceNames"),
            urls: texts(rule, "nonResourceURLs"),
        };
        rules.items().iter().map(read).collect()
    }

    /// The same as rules about one verb of one resource (and name) or path each.
    fn pieces(&self) -> Vec<Self> {
        let mut pieces = Vec::new();
        let one = |text: &SmolStr| vec![text.clone()];
        let names: Vec<Vec<SmolStr>> = match self.names.is_empty() {
            true => vec![Vec::new()],
            false => self.names.iter().map(one).collect(),
        };
        for verb in &self.verbs {
            for (group, resource) in self
                .groups
                .iter()
                .flat_map(|group| self.resources.iter().map(move |resource| (group, resource)))
            {
                pieces.extend(names.iter().map(|name| Self {
                    verbs: one(verb),
                    groups: one(group),
                    resources: one(resource),
                    names: name.clone(),
                    urls: Vec::new(),
                }));
            }
            pieces.extend(self.urls.iter().map(|url| Self {
                verbs: one(verb),
                urls: one(url),
                ..Self::default()
            }));
        }
        pieces
    }

    /// Whether this rule alone covers a piece.
    fn covers(&self, piece: &Self) -> bool {
        let has = |list: &[SmolStr], wanted: &[SmolStr]| {
            list.iter().any(|one| one == "*") || wanted.iter().all(|one| list.contains(one))
        };
        let names = self.names.is_empty()
            || !piece.names.is_empty() && piece.names.iter().all(|one| self.names.contains(one));
        has(&self.verbs, &piece.verbs)
            && has(&self.groups, &piece.groups)
            && piece
                .resources
                .iter()
                .all(|one| resource_covered(&self.resources, one))
            && piece
                .urls
                .iter()
                .all(|url| self.urls.iter().any(|own| url_matches(own, url)))
            && names
    }

    /// `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}`.
    fn text(&self) -> String {
        let list = |texts: &[SmolStr]| {
            let quoted: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
            format!("[{}]", quoted.join(" "))
        };
        let parts: Vec<String> = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.urls),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ]
        .into_iter()
        .filter(|(_, texts)| !texts.is_empty())
        .map(|(name, texts)| format!("{name}:{}", list(texts)))
        .collect();
        format!("{{{}}}", parts.join(", "))
    }
}

fn resource_covered(held: &[SmolStr], wanted: &SmolStr) -> bool {
    let of_any = wanted
        .split_once('/')
        .map(|(_, subresource)| format!("*/{subresource}"));
    held.iter()
        .any(|one| one == "*" || one == wanted || of_any.as_ref().is_some_and(|any| one == any))
}

/// What `wanted` grants beyond `held`, one text a rule, sorted; empty if all is covered.
pub fn missing_rights(held: &[Rule], wanted: &[Rule]) -> Vec<String> {
    let missing: Vec<Rule> = wanted
        .iter()
        .flat_map(Rule::pieces)
        .filter(|piece| !held.iter().any(|own| own.covers(piece)))
        .collect();
    let texts: BTreeSet<String> = compact(missing).iter().map(Rule::text).collect();
    texts.into_iter().collect()
}

/// Rules about the same resource (and name) become one with all verbs.
fn compact(pieces: Vec<Rule>) -> Vec<Rule> {
    let mut whole = Vec::new();
    let mut merged: BTreeMap<(SmolStr, SmolStr, Vec<SmolStr>), Rule> = BTreeMap::new();
    for piece in pieces {
        let ([group], [resource]) = (&piece.groups[..], &piece.resources[..]) else {
            whole.push(piece);
            continue;
        };
        let key = (group.clone(), resource.clone(), piece.names.clone());
        merged
            .entry(key)
            .and_modify(|known| known.verbs.extend(piece.verbs.iter().cloned()))
            .or_insert(piece);
    }
    whole.extend(merged.into_values());
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn what_is_held_covers_what_is_granted() {
        let rules = Rule::of_role;
        for (held, wanted, missing) in [
            (
                json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]),
                json!([{"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments", "deployments/scale"]}]),
                vec![],
            ),
            (
                json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]),
                json!([{"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods"]}]),
                vec![r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#],
            ),
            (
                json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}]),
                json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
                       {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a", "b"]}]),
                vec![
                    r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["b"], Verbs:["get"]}"#,
                    r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#,
                ],
            ),
            (
                json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]}, {"verbs": ["update"], "apiGroups": ["*"], "resources": ["*/status"]}]),
                json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz/a", "/metrics"]}, {"verbs": ["update"], "apiGroups": ["apps"], "resources": ["deployments/status"]}]),
                vec![r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#],
            ),
        ] {
            assert_eq!(missing_rights(&rules(&held), &rules(&wanted)), missing);
        }
        let all = Rule::everything();
        assert!(missing_rights(&all, &all).is_empty());
    }
}
