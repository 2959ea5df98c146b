//! The subset of JSON path that columns and scale paths are written in.
//!
//! Members, indexes, `*`, and filters `[?(@.type=="Ready")]`. Upstream counterpart:
//! `k8s.io/client-go/util/jsonpath` as used by custom columns.

use machinery::{Ref, SmolStr, flat::Shape};

/// A parsed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Member(SmolStr),
    Index(i64),
    All,
    Where(Vec<SmolStr>, bool, SmolStr),
}

impl Path {
    /// Parses `.spec.list[0].name`, with or without enclosing braces; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Path> {
        let text = text.trim();
        let text = text
            .strip_prefix('{')
            .and_then(|t| t.strip_suffix('}'))
            .unwrap_or(text);
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, tail) = match rest.strip_prefix('[') {
                Some(inner) => bracket(inner)?,
                None => member(rest.strip_prefix('.')?)?,
            };
            steps.push(step);
            rest = tail;
        }
        Some(Path { steps })
    }

    /// Everything the path leads to below `root`.
    pub fn find<'a>(&self, root: Ref<'a>) -> Vec<Ref<'a>> {
        let mut found = vec![root];
        for step in &self.steps {
            found = found.into_iter().flat_map(|at| step.follow(at)).collect();
        }
        found.retain(|one| !one.is_null());
        found
    }

    /// A value found by it, as text.
    pub fn show(&self, found: Ref<'_>) -> String {
        show(found)
    }
}

fn member(rest: &str) -> Option<(Step, &str)> {
    let mut name = String::new();
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '.' | '[' if !escaped => return named(name, &rest[at..]),
            _ => {
                name.push(c);
                escaped = false;
            }
        }
    }
    named(name, "")
}

fn named(name: String, rest: &str) -> Option<(Step, &str)> {
    match name.as_str() {
        "" => None,
        "*" => Some((Step::All, rest)),
        _ => Some((Step::Member(name.into()), rest)),
    }
}

fn bracket(inner: &str) -> Option<(Step, &str)> {
    if let Some(filter) = inner.strip_prefix("?(") {
        let (condition, rest) = filter.split_once(")]")?;
        return Some((filter_step(condition)?, rest));
    }
    let (body, rest) = inner.split_once(']')?;
    let step = match body {
        "*" => Step::All,
        _ => match body.parse() {
            Ok(index) => Step::Index(index),
            Err(_) => Step::Member(unquote(body)?.into()),
        },
    };
    Some((step, rest))
}

fn filter_step(condition: &str) -> Option<Step> {
    let (left, equal, right) = match condition.split_once("==") {
        Some((left, right)) => (left, true, right),
        None => {
            let (left, right) = condition.split_once("!=")?;
            (left, false, right)
        }
    };
    let path = left
        .trim()
        .strip_prefix("@.")?
        .split('.')
        .map(SmolStr::new)
        .collect();
    let right = right.trim();
    Some(Step::Where(
        path,
        equal,
        unquote(right).unwrap_or(right).into(),
    ))
}

fn unquote(text: &str) -> Option<&str> {
    ['\'', '"']
        .iter()
        .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
}

impl Step {
    fn follow<'a>(&self, at: Ref<'a>) -> Vec<Ref<'a>> {
        match self {
            Step::Member(name) => vec![at.get(name)],
            Step::Index(index) => {
                let items: Vec<_> = at.items().collect();
                let place = if *index < 0 {
                    items.len() as i64 + index
                } else {
                    *index
                };
                usize::try_from(place)
                    .ok()
                    .and_then(|at| items.get(at).copied())
                    .into_iter()
                    .collect()
            }
            Step::All => at
                .items()
                .chain(at.entries().map(|(_, value)| value))
                .collect(),
            Step::Where(path, equal, wanted) => {
                let keep = |item: &Ref<'a>| {
                    let field = path.iter().fold(*item, |at, name| at.get(name));
                    (show(field) == *wanted) == *equal
                };
                at.items().filter(keep).collect()
            }
        }
    }
}

fn show(found: Ref<'_>) -> String {
    match found.shape() {
        Shape::Missing | Shape::Null => String::new(),
        Shape::Bool(flag) => flag.to_string(),
        Shape::Int(number) => number.to_string(),
        Shape::Float(number) => number.to_string(),
        Shape::String(text) => text.to_owned(),
        Shape::Array => {
            let items: Vec<_> = found.items().map(quoted).collect();
            format!("[{}]", items.join(","))
        }
        Shape::Object => {
            let entries: Vec<_> = found
                .entries()
                .map(|(key, value)| format!("{key:?}:{}", quoted(value)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
    }
}

fn quoted(found: Ref<'_>) -> String {
    match found.as_str() {
        Some(text) => format!("{text:?}"),
        None => show(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::{flat, json};

    #[test]
    fn finds_what_columns_name() {
        let value = json!({"spec": {"a.b": 1, "list": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]}});
        let bytes = flat::encode(&value);
        for (path, wanted) in [
            (".spec.list[0].type", "Ready"),
            (".spec.list[-1].type", "Other"),
            (".spec.list[?(@.type==\"Ready\")].status", "True"),
            (".spec.list[?(@.type=='Other')].status", "False"),
            ("{.spec.list[*].type}", "Ready Other"),
            (".spec['a.b']", "1"),
            (".spec.a\\.b", "1"),
            (".spec.none.deeper", ""),
        ] {
            let parsed = Path::parse(path).expect(path);
            let texts: Vec<_> = parsed
                .find(Ref::new(&bytes))
                .into_iter()
                .map(show)
                .collect();
            assert_eq!(texts.join(" "), wanted, "{path}");
        }
        for wrong in ["spec", ".spec[", ".spec..x"] {
            assert_eq!(Path::parse(wrong), None, "{wrong}");
        }
    }
}
