//! Keywords of a CRD schema that only check values: bounds, patterns, enums, rules.

use crate::NodeId;
use machinery::{SmolStr, Value};
use regex::Regex;
use std::sync::OnceLock;

/// Value checks of one node (`JSONSchemaProps` keywords).
#[derive(Debug, Default)]
pub struct Checks {
    /// `format`.
    pub format: SmolStr,
    /// `pattern`.
    pub pattern: SmolStr,
    /// `pattern`, compiled at first use: most are never met.
    pub regex: OnceLock<Option<Regex>>,
    /// `enum`.
    pub allowed: Vec<Value>,
    /// `minimum` and whether it is exclusive.
    pub minimum: Option<(f64, bool)>,
    /// `maximum` and whether it is exclusive.
    pub maximum: Option<(f64, bool)>,
    /// `multipleOf`.
    pub multiple_of: Option<f64>,
    /// `minLength`, `maxLength`.
    pub length: (Option<u64>, Option<u64>),
    /// `minItems`, `maxItems`.
    pub items: (Option<u64>, Option<u64>),
    /// `minProperties`, `maxProperties`.
    pub properties: (Option<u64>, Option<u64>),
    /// `uniqueItems`.
    pub unique_items: bool,
    /// `required`.
    pub required: Vec<SmolStr>,
    /// `allOf`.
    pub all_of: Vec<NodeId>,
    /// `anyOf`.
    pub any_of: Vec<NodeId>,
    /// `oneOf`.
    pub one_of: Vec<NodeId>,
    /// `not`.
    pub not: Option<NodeId>,
    /// `x-kubernetes-validations`, kept as written.
    pub rules: Vec<Value>,
}

impl Checks {
    /// Whether nothing is checked.
    pub fn is_trivial(&self) -> bool {
        let texts = self.format.is_empty() && self.pattern.is_empty();
        let numbers =
            self.minimum.is_none() && self.maximum.is_none() && self.multiple_of.is_none();
        let sizes = [self.length, self.items, self.properties]
            .iter()
            .all(|size| *size == (None, None));
        let lists = self.allowed.is_empty() && self.required.is_empty() && self.rules.is_empty();
        let nested = self.all_of.is_empty() && self.any_of.is_empty() && self.one_of.is_empty();
        texts && numbers && sizes && lists && nested && !self.unique_items && self.not.is_none()
    }

    /// Whether `text` matches the pattern; anything matches where there is none or a bad one.
    pub fn matches(&self, text: &str) -> bool {
        if self.pattern.is_empty() {
            return true;
        }
        let regex = self
            .regex
            .get_or_init(|| compile_pattern(&self.pattern).ok());
        regex.as_ref().is_none_or(|regex| regex.is_match(text))
    }
}

/// Compiles a pattern with the meaning it has in Go, where `\d`, `\w` and `\s` are ASCII only.
///
/// # Errors
/// What is wrong with the pattern.
pub fn compile_pattern(pattern: &str) -> Result<Regex, String> {
    let (mut text, mut inside) = (String::with_capacity(pattern.len()), false);
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => escape(&mut text, letters.next(), inside),
            '[' if inside => text.push_str(if letters.as_str().starts_with(':') {
                "["
            } else {
                "\\["
            }),
            '[' => {
                inside = true;
                text.push('[');
                // A bracket that comes first in a class is a member of it.
                for first in ["^", "]"] {
                    if let Some(rest) = letters.as_str().strip_prefix(first) {
                        letters = rest.chars();
                        text.push_str(if first == "]" { "\\]" } else { first });
                    }
                }
            }
            ']' => {
                inside = inside && text.ends_with(':') && text.contains("[:");
                text.push(']');
            }
            '&' | '~' | '-' if inside && letters.as_str().starts_with(letter) => {
                text.push('\\');
                text.push(letter);
            }
            other => text.push(other),
        }
    }
    Regex::new(&text).map_err(|why| why.to_string())
}

fn escape(text: &mut String, letter: Option<char>, inside: bool) {
    let class = match letter {
        Some('d') => "0-9",
        Some('w') => "0-9A-Za-z_",
        Some('s') => r"\t\n\f\r ",
        other => {
            text.push('\\');
            text.extend(other);
            return;
        }
    };
    if inside {
        text.push_str(class);
    } else {
        text.extend(["[", class, "]"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        for (pattern, text, wanted) in [
            (r"^\d+$", "12", true),
            (r"^\d+$", "\u{0663}", false),
            (r"^[\w.-]+$", "a_b.c-d", true),
            (r"^[^/\s]+$", "a b", false),
            (r"^[[:alpha:]]+[0-9]$", "ab1", true),
            (r"^[a[]+$", "a[", true),
            (r"^[]a]+$", "]a", true),
            (r"^[a-z--]+$", "a-b", true),
            (r"^(\/[^\/]+)+$", "/a/b", true),
        ] {
            let regex = compile_pattern(pattern).expect(pattern);
            assert_eq!(regex.is_match(text), wanted, "{pattern} {text}");
        }
        assert!(compile_pattern("(").is_err());
    }
}
