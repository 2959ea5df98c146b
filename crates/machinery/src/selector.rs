//! Label and field selectors: parsed once, matched often.
//!
//! Upstream counterpart: `k8s.io/apimachinery/pkg/labels` and `pkg/fields`.

use crate::{
    Ref, Status,
    names::{label_value, qualified_name},
};
use smol_str::SmolStr;
use std::fmt;

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// `key in (values)`; `key = value` is the case of one.
    In(SmolStr, Vec<SmolStr>),
    /// `key notin (values)`; true where the key is absent.
    NotIn(SmolStr, Vec<SmolStr>),
    /// `key`.
    Exists(SmolStr),
    /// `!key`.
    DoesNotExist(SmolStr),
    /// `key > number`.
    GreaterThan(SmolStr, i64),
    /// `key < number`.
    LessThan(SmolStr, i64),
}

impl Requirement {
    /// Whether labels, looked up by `label`, satisfy it.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let number = |key: &str| label(key).and_then(|text| text.parse::<i64>().ok());
        match self {
            Self::In(key, values) => label(key).is_some_and(|v| values.iter().any(|x| x == v)),
            Self::NotIn(key, values) => label(key).is_none_or(|v| values.iter().all(|x| x != v)),
            Self::Exists(key) => label(key).is_some(),
            Self::DoesNotExist(key) => label(key).is_none(),
            Self::GreaterThan(key, bound) => number(key).is_some_and(|n| n > *bound),
            Self::LessThan(key, bound) => number(key).is_some_and(|n| n < *bound),
        }
    }
}

/// A conjunction of requirements on labels; the empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// All must hold.
    pub requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Matches everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Matches nothing: what an absent selector means in most API types.
    pub fn nothing() -> Self {
        Self {
            requirements: Vec::new(),
            nothing: true,
        }
    }

    /// Whether it matches everything.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Requires equality with each pair of a `matchLabels`-like map.
    pub fn from_map(map: Ref<'_>) -> Self {
        let equal =
            |(key, value): (&str, Ref<'_>)| Requirement::In(key.into(), vec![value.str().into()]);
        Self {
            requirements: map.entries().map(equal).collect(),
            nothing: false,
        }
    }

    /// From a `metav1.LabelSelector`; absent means nothing, empty means everything.
    /// An operator that is not known matches nothing.
    pub fn from_ref(selector: Ref<'_>) -> Self {
        if selector.is_null() {
            return Self::nothing();
        }
        let mut made = Self::from_map(selector.get("matchLabels"));
        for expression in selector.get("matchExpressions").items() {
            let key: SmolStr = expression.get("key").str().into();
            let values = || {
                expression
                    .get("values")
                    .items()
                    .map(|v| v.str().into())
                    .collect()
            };
            made.requirements
                .push(match expression.get("operator").str() {
                    "In" => Requirement::In(key, values()),
                    "NotIn" => Requirement::NotIn(key, values()),
                    "Exists" => Requirement::Exists(key),
                    "DoesNotExist" => Requirement::DoesNotExist(key),
                    _ => return Self::nothing(),
                });
        }
        made
    }

    /// Parses the query form: `a=b,c!=d,e in (x,y),f notin (z),g,!h`.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let mut requirements = Vec::new();
        for term in split_terms(text) {
            requirements.push(parse_term(term.trim()).map_err(|why| {
                Status::bad_request(format!("unable to parse requirement: {why}"))
            })?);
        }
        Ok(Self {
            requirements,
            nothing: false,
        })
    }

    /// Whether labels, looked up by `label`, satisfy all requirements.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|one| one.matches(&label))
    }

    /// Whether an object's labels satisfy it.
    pub fn matches_object(&self, object: &crate::Object) -> bool {
        let labels = object.metadata().get("labels");
        self.matches(|key| labels.get(key).as_str())
    }

    /// Whether labels in a flat map satisfy it.
    pub fn matches_labels(&self, labels: Ref<'_>) -> bool {
        self.matches(|key| labels.get(key).as_str())
    }
}

impl fmt::Display for LabelSelector {
    /// The query form, as shown in `status.selector` of a scale.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match requirement {
                Requirement::In(key, values) if values.len() == 1 => {
                    write!(f, "{key}={}", values[0])?
                }
                Requirement::In(key, values) => write!(f, "{key} in ({})", values.join(","))?,
                Requirement::NotIn(key, values) if values.len() == 1 => {
                    write!(f, "{key}!={}", values[0])?
                }
                Requirement::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(","))?,
                Requirement::Exists(key) => f.write_str(key)?,
                Requirement::DoesNotExist(key) => write!(f, "!{key}")?,
                Requirement::GreaterThan(key, bound) => write!(f, "{key}>{bound}")?,
                Requirement::LessThan(key, bound) => write!(f, "{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

/// Splits at commas outside parentheses; an all-blank text has no terms.
fn split_terms(text: &str) -> Vec<&str> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    let mut depth = 0;
    text.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    })
    .collect()
}

fn parse_term(term: &str) -> Result<Requirement, String> {
    if let Some(key) = term.strip_prefix('!') {
        return Ok(Requirement::DoesNotExist(checked_key(key)?));
    }
    for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((key, value)) = term.split_once(operator) {
            let (key, values) = (checked_key(key)?, vec![checked_value(value)?]);
            return Ok(if negated {
                Requirement::NotIn(key, values)
            } else {
                Requirement::In(key, values)
            });
        }
    }
    for (operator, greater) in [('>', true), ('<', false)] {
        if let Some((key, bound)) = term.split_once(operator) {
            let bound = bound.trim().parse().map_err(|_| format!("values[0]: Invalid value: {:?}: for 'Gt', 'Lt' operators, the value must be an integer", bound.trim()))?;
            let key = checked_key(key)?;
            return Ok(if greater {
                Requirement::GreaterThan(key, bound)
            } else {
                Requirement::LessThan(key, bound)
            });
        }
    }
    match term.strip_suffix(')').and_then(|head| head.split_once('(')) {
        Some((head, values)) => parse_set(head.trim(), values),
        None => Ok(Requirement::Exists(checked_key(term)?)),
    }
}

fn parse_set(head: &str, values: &str) -> Result<Requirement, String> {
    let values = values
        .split(',')
        .map(checked_value)
        .collect::<Result<Vec<_>, _>>()?;
    match head.rsplit_once(char::is_whitespace) {
        Some((key, "in")) => Ok(Requirement::In(checked_key(key)?, values)),
        Some((key, "notin")) => Ok(Requirement::NotIn(checked_key(key)?, values)),
        _ => Err(format!(
            "found '{head}', expected: in, notin, =, ==, !=, gt, lt"
        )),
    }
}

fn checked_key(key: &str) -> Result<SmolStr, String> {
    let key = key.trim();
    match qualified_name(key).as_slice() {
        [] => Ok(key.into()),
        errors => Err(format!(
            "key: Invalid value: {key:?}: {}",
            errors.join("; ")
        )),
    }
}

fn checked_value(value: &str) -> Result<SmolStr, String> {
    let value = value.trim();
    match label_value(value).as_slice() {
        [] => Ok(value.into()),
        errors => Err(format!(
            "values[0]: Invalid value: {value:?}: {}",
            errors.join("; ")
        )),
    }
}

/// One term of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// Dotted path, e.g. `spec.nodeName`.
    pub field: SmolStr,
    /// Wanted (or unwanted) text.
    pub value: SmolStr,
    /// Whether equality is wanted.
    pub equal: bool,
}

/// A conjunction of equalities on fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// All must hold.
    pub terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// Parses `a=b,c!=d` with backslash escapes for `\`, `,` and `=`.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let mut terms = Vec::new();
        for term in split_escaped(text).iter().filter(|term| !term.is_empty()) {
            let (field, equal, value) = split_operator(term).ok_or_else(|| {
                Status::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{term}'"
                ))
            })?;
            terms.push(FieldTerm {
                field: field.into(),
                value: unescape(value).into(),
                equal,
            });
        }
        Ok(Self { terms })
    }

    /// Whether it matches everything.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that `field` must equal, if a term says so.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.equal && term.field == field)
            .map(|term| term.value.as_str())
    }

    /// Whether a flat object satisfies all terms; absent fields count as empty.
    pub fn matches(&self, root: Ref<'_>) -> bool {
        self.terms.iter().all(|term| {
            let found = root.at(&term.field);
            let text = match found.shape() {
                crate::flat::Shape::Bool(flag) => {
                    SmolStr::new_static(if flag { "true" } else { "false" })
                }
                crate::flat::Shape::Int(number) => smol_str::format_smolstr!("{number}"),
                _ => found.str().into(),
            };
            (text == term.value) == term.equal
        })
    }
}

fn split_escaped(text: &str) -> Vec<&str> {
    let mut escaped = false;
    text.split(|c| {
        let cut = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        cut
    })
    .collect()
}

fn split_operator(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find(['=', '!'])?;
    let (field, rest) = term.split_at(at);
    if let Some(value) = rest.strip_prefix("!=") {
        return Some((field, false, value));
    }
    let value = rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?;
    Some((field, true, value))
}

fn unescape(value: &str) -> String {
    let mut escaped = false;
    let keep = |c: &char| {
        let drop = *c == '\\' && !escaped;
        escaped = drop;
        !drop
    };
    value.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{flat, json};

    #[test]
    fn label_queries() {
        let labels = |key: &str| match key {
            "app" => Some("web"),
            "n" => Some("5"),
            _ => None,
        };
        for (text, wanted) in [
            ("", true),
            ("app=web", true),
            ("app==web,n", true),
            ("app!=web", false),
            ("other!=x", true),
            ("app in (a, web)", true),
            ("app notin (web)", false),
            ("!app", false),
            ("!other", true),
            ("n>4", true),
            ("n<4", false),
            ("x.io/y", false),
        ] {
            assert_eq!(
                LabelSelector::parse(text).unwrap().matches(labels),
                wanted,
                "{text}"
            );
        }
        for bad in ["a=b c", "a in b", "=x", "a,,b", "a in (x", "n>x"] {
            assert!(LabelSelector::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            LabelSelector::parse("a=b,c in (d,e),!f")
                .unwrap()
                .to_string(),
            "a=b,c in (d,e),!f"
        );
    }

    #[test]
    fn object_selectors() {
        let bytes = flat::encode(
            &json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "n", "operator": "Exists"}]}),
        );
        let selector = LabelSelector::from_ref(Ref::new(&bytes));
        assert!(selector.matches(|key| {
            (key == "app")
                .then_some("web")
                .or((key == "n").then_some(""))
        }));
        assert!(!selector.matches(|_| None));
        assert!(!LabelSelector::from_ref(Ref::MISSING).matches(|_| None));
    }

    #[test]
    fn field_queries() {
        let bytes = flat::encode(
            &json!({"spec": {"nodeName": "n,1", "unschedulable": true}, "status": {"phase": "Running"}}),
        );
        let root = Ref::new(&bytes);
        for (text, wanted) in [
            ("spec.nodeName=n\\,1", true),
            ("status.phase!=Running", false),
            ("status.phase!=Failed,spec.unschedulable=true", true),
            ("spec.absent=", true),
            ("", true),
        ] {
            assert_eq!(
                FieldSelector::parse(text).unwrap().matches(root),
                wanted,
                "{text}"
            );
        }
        assert!(FieldSelector::parse("bogus").is_err());
    }
}
