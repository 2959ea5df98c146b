//! Compiled forms of selectors, tolerations and topology terms, matched many times.
//!
//! Upstream counterpart: `k8s.io/component-helpers/scheduling/corev1`.

use crate::pod::PodInfo;
use machinery::{LabelSelector, Ref, Requirement, SmolStr};
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

/// Sorted labels.
pub type Labels = Vec<(SmolStr, SmolStr)>;

/// Labels of an object, sorted.
pub fn labels(map: Ref<'_>) -> Labels {
    map.entries()
        .map(|(key, value)| (key.into(), value.str().into()))
        .collect()
}

/// The value of a label.
pub fn label<'a>(labels: &'a Labels, key: &str) -> Option<&'a str> {
    let found = labels
        .binary_search_by(|(known, _)| known.as_str().cmp(key))
        .ok()?;
    Some(&labels[found].1)
}

/// One `NodeSelectorTerm`: all must hold; an empty one matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeTerm {
    expressions: Vec<Requirement>,
    fields: Vec<Requirement>,
    unreadable: bool,
}

impl NodeTerm {
    /// From a `NodeSelectorTerm`.
    pub fn read(term: Ref<'_>) -> Self {
        let mut read = Self::default();
        for (from, into) in [
            ("matchExpressions", &mut read.expressions),
            ("matchFields", &mut read.fields),
        ] {
            for expression in term.get(from).items() {
                match requirement(expression) {
                    Some(requirement) => into.push(requirement),
                    None => read.unreadable = true,
                }
            }
        }
        read
    }

    /// Whether a node of these labels and name matches.
    pub fn matches(&self, labels: &Labels, name: &str) -> bool {
        let empty = self.expressions.is_empty() && self.fields.is_empty();
        let field = |key: &str| (key == "metadata.name").then_some(name);
        !empty
            && !self.unreadable
            && self
                .expressions
                .iter()
                .all(|one| one.matches(|key| label(labels, key)))
            && self.fields.iter().all(|one| one.matches(field))
    }

    /// The only node names a `matchFields` term allows, if it has one.
    pub fn names(&self) -> Option<&[SmolStr]> {
        self.fields.iter().find_map(|one| match one {
            Requirement::In(key, values) if key == "metadata.name" => Some(values.as_slice()),
            _ => None,
        })
    }
}

fn requirement(expression: Ref<'_>) -> Option<Requirement> {
    let key: SmolStr = expression.get("key").str().into();
    let values = || {
        expression
            .get("values")
            .items()
            .map(|value| value.str().into())
            .collect()
    };
    let bound = || expression.get("values").items().next()?.str().parse().ok();
    Some(match expression.get("operator").str() {
        "In" => Requirement::In(key, values()),
        "NotIn" => Requirement::NotIn(key, values()),
        "Exists" => Requirement::Exists(key),
        "DoesNotExist" => Requirement::DoesNotExist(key),
        "Gt" => Requirement::GreaterThan(key, bound()?),
        "Lt" => Requirement::LessThan(key, bound()?),
        _ => return None,
    })
}

/// The node selector and required node affinity of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRequirement {
    selector: Vec<Requirement>,
    /// Any of them; `None` if there is no required affinity.
    terms: Option<Vec<NodeTerm>>,
}

impl NodeRequirement {
    /// From a pod's spec.
    pub fn read(spec: Ref<'_>) -> Self {
        let selector = LabelSelector::from_map(spec.get("nodeSelector")).requirements;
        let required =
            spec.at("affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
        Self {
            selector,
            terms: Self::terms(required),
        }
    }

    /// From a `NodeSelector` (as in a PersistentVolume); absent allows every node.
    pub fn node_selector(selector: Ref<'_>) -> Self {
        Self {
            selector: Vec::new(),
            terms: Self::terms(selector),
        }
    }

    fn terms(selector: Ref<'_>) -> Option<Vec<NodeTerm>> {
        let read = || {
            selector
                .get("nodeSelectorTerms")
                .items()
                .map(NodeTerm::read)
                .collect()
        };
        (!selector.is_null()).then(read)
    }

    /// Whether every node matches.
    pub fn is_empty(&self) -> bool {
        self.selector.is_empty() && self.terms.is_none()
    }

    /// Whether a node of these labels and name matches.
    pub fn matches(&self, labels: &Labels, name: &str) -> bool {
        self.selector
            .iter()
            .all(|one| one.matches(|key| label(labels, key)))
            && self
                .terms
                .as_ref()
                .is_none_or(|any| any.iter().any(|one| one.matches(labels, name)))
    }

    /// The only nodes that can match, when every term names some.
    pub fn names(&self) -> Option<Vec<SmolStr>> {
        let terms = self.terms.as_ref().filter(|terms| !terms.is_empty())?;
        let names: Option<Vec<_>> = terms.iter().map(NodeTerm::names).collect();
        Some(names?.concat())
    }
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    pub key: SmolStr,
    pub value: SmolStr,
    pub effect: SmolStr,
}

impl Taint {
    /// From a `Taint`.
    pub fn read(taint: Ref<'_>) -> Self {
        Self {
            key: taint.get("key").str().into(),
            value: taint.get("value").str().into(),
            effect: taint.get("effect").str().into(),
        }
    }
}

/// A toleration of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toleration {
    key: SmolStr,
    operator: SmolStr,
    value: SmolStr,
    effect: SmolStr,
}

impl Toleration {
    /// From a `Toleration`.
    pub fn read(toleration: Ref<'_>) -> Self {
        Self {
            key: toleration.get("key").str().into(),
            operator: toleration.get("operator").str().into(),
            value: toleration.get("value").str().into(),
            effect: toleration.get("effect").str().into(),
        }
    }

    /// Whether it tolerates `taint`.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        if !self.effect.is_empty() && self.effect != taint.effect
            || !self.key.is_empty() && self.key != taint.key
        {
            return false;
        }
        let numbers = || {
            Some((
                taint.value.parse::<i64>().ok()?,
                self.value.parse::<i64>().ok()?,
            ))
        };
        match self.operator.as_str() {
            "" | "Equal" => self.value == taint.value,
            "Exists" => true,
            "Lt" => numbers().is_some_and(|(taint, own)| taint < own),
            "Gt" => numbers().is_some_and(|(taint, own)| taint > own),
            _ => false,
        }
    }
}

/// Which pods a term is about: namespaces and labels, all parts together.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    pub parts: Vec<MatcherPart>,
    /// Pods being deleted do not count (topology spread).
    pub skip_terminating: bool,
}

/// One pair of namespaces and labels.
#[derive(Clone, Debug, Default)]
pub struct MatcherPart {
    pub namespaces: Vec<SmolStr>,
    /// Namespaces by label, besides the named ones.
    pub namespace_selector: Option<LabelSelector>,
    pub labels: LabelSelector,
}

/// Labels of all namespaces.
pub type Namespaces = BTreeMap<SmolStr, Labels>;

impl MatcherPart {
    fn matches(&self, pod: &PodInfo, namespaces: &Namespaces) -> bool {
        let by_label = |selector: &LabelSelector| {
            let labels = namespaces.get(&pod.namespace);
            selector.matches(|key| labels.and_then(|labels| label(labels, key)))
        };
        (self.namespaces.contains(&pod.namespace)
            || self.namespace_selector.as_ref().is_some_and(by_label))
            && self.labels.matches(|key| label(&pod.labels, key))
    }
}

impl Matcher {
    /// Whether a pod is meant.
    pub fn matches(&self, pod: &PodInfo, namespaces: &Namespaces) -> bool {
        !(self.skip_terminating && pod.terminating)
            && self.parts.iter().all(|part| part.matches(pod, namespaces))
    }
}

/// A matcher and the topology key its pods are counted by. Equal texts mean equal terms.
#[derive(Clone, Debug)]
pub struct Term {
    pub text: Arc<str>,
    pub matcher: Arc<Matcher>,
    /// Node label; empty for the node itself.
    pub key: SmolStr,
}

impl Term {
    /// Builds the term with its canonical text.
    pub fn new(matcher: Arc<Matcher>, key: &str) -> Self {
        let mut text = format!("{key}|{}", matcher.skip_terminating);
        for part in &matcher.parts {
            text.push('|');
            text.push_str(&part.namespaces.join(","));
            if let Some(selector) = &part.namespace_selector {
                let _infallible = write!(text, "|{}:{selector}", selector.is_everything());
            }
            let _infallible = write!(text, "|{}:{}", part.labels.is_everything(), part.labels);
        }
        Self {
            text: text.into(),
            matcher,
            key: key.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::{flat, json};

    #[test]
    fn tolerations() {
        let taint = |value: &str| Taint {
            key: "k".into(),
            value: value.into(),
            effect: "NoSchedule".into(),
        };
        for (toleration, value, wanted) in [
            (json!({"key": "k", "value": "v"}), "v", true),
            (json!({"key": "k", "value": "v"}), "w", false),
            (json!({"operator": "Exists"}), "w", true),
            (
                json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}),
                "v",
                false,
            ),
            (
                json!({"key": "k", "operator": "Gt", "value": "5"}),
                "7",
                true,
            ),
            (
                json!({"key": "k", "operator": "Lt", "value": "5"}),
                "7",
                false,
            ),
        ] {
            let bytes = flat::encode(&toleration);
            let read = Toleration::read(Ref::new(&bytes));
            assert_eq!(read.tolerates(&taint(value)), wanted, "{toleration:?}");
        }
    }

    #[test]
    fn node_terms() {
        let labels: Labels = vec![("n".into(), "5".into()), ("zone".into(), "a".into())];
        for (term, wanted) in [
            (json!({}), false),
            (
                json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "n", "operator": "Gt", "values": ["4"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "n", "operator": "Lt", "values": ["4"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}),
                true,
            ),
            (
                json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["one"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "x", "operator": "Bogus"}]}),
                false,
            ),
        ] {
            let bytes = flat::encode(&term);
            assert_eq!(
                NodeTerm::read(Ref::new(&bytes)).matches(&labels, "one"),
                wanted,
                "{term:?}"
            );
        }
    }
}
