//! Semantic versions.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/cel/library/semverlib.go` over `blang/semver`.

use super::{Opaque, Row, text, wrong};
use crate::{EvalError, Outcome, Val};
use std::{cmp::Ordering, fmt, sync::Arc};

pub(crate) const TABLE: &[Row] = &[
    ("semver", "string_to_semver", "(string) -> Semver", |args| {
        made(Semver::parse(text(&args[0])?))
    }),
    (
        "semver",
        "string_bool_to_semver",
        "(string, bool) -> Semver",
        |args| made(parse(args)),
    ),
    ("isSemver", "is_semver_string", "(string) -> bool", |args| {
        Ok(Val::Bool(Semver::parse(text(&args[0])?).is_ok()))
    }),
    (
        "isSemver",
        "is_semver_string_bool",
        "(string, bool) -> bool",
        |args| Ok(Val::Bool(parse(args).is_ok())),
    ),
    (
        "isGreaterThan",
        "semver_is_greater_than",
        "Semver.(Semver) -> bool",
        |args| Ok(Val::Bool(compare(args)?.is_gt())),
    ),
    (
        "isLessThan",
        "semver_is_less_than",
        "Semver.(Semver) -> bool",
        |args| Ok(Val::Bool(compare(args)?.is_lt())),
    ),
    (
        "compareTo",
        "semver_compare_to",
        "Semver.(Semver) -> int",
        |args| Ok(Val::Int(compare(args)? as i64)),
    ),
    ("major", "semver_major", "Semver.() -> int", |args| {
        Ok(Val::Int(semver(&args[0])?.numbers[0] as i64))
    }),
    ("minor", "semver_minor", "Semver.() -> int", |args| {
        Ok(Val::Int(semver(&args[0])?.numbers[1] as i64))
    }),
    ("patch", "semver_patch", "Semver.() -> int", |args| {
        Ok(Val::Int(semver(&args[0])?.numbers[2] as i64))
    }),
];

/// A version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semver {
    /// Major, minor, patch.
    pub numbers: [u64; 3],
    /// Identifiers after `-`.
    pub pre: Vec<String>,
    /// Identifiers after `+`.
    pub build: Vec<String>,
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre.join("."))?;
        }
        if !self.build.is_empty() {
            write!(f, "+{}", self.build.join("."))?;
        }
        Ok(())
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Semver {
    /// Reads `1.2.3-pre+build`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("Version string empty".into());
        }
        let (text, build) = text
            .split_once('+')
            .map_or((text, None), |(a, b)| (a, Some(b)));
        let (text, pre) = text
            .split_once('-')
            .map_or((text, None), |(a, b)| (a, Some(b)));
        let parts: Vec<&str> = text.splitn(3, '.').collect();
        if parts.len() != 3 {
            return Err("No Major.Minor.Patch elements found".into());
        }
        let mut numbers = [0; 3];
        for (number, part) in std::iter::zip(&mut numbers, parts) {
            if !digits(part) {
                return Err(format!("Invalid character(s) found in number {part:?}"));
            }
            if part.len() > 1 && part.starts_with('0') {
                return Err(format!("number must not contain leading zeroes {part:?}"));
            }
            *number = part
                .parse()
                .map_err(|_| format!("number {part:?} is too large"))?;
        }
        let pre = identifiers(pre)?;
        if let Some(bad) = pre
            .iter()
            .find(|part| digits(part) && part.len() > 1 && part.starts_with('0'))
        {
            return Err(format!(
                "Numeric PreRelease version must not contain leading zeroes {bad:?}"
            ));
        }
        Ok(Self {
            numbers,
            pre,
            build: identifiers(build)?,
        })
    }

    /// Reads what may start with `v`, be short or have leading zeroes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_loosely(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut parts: Vec<String> = text.splitn(3, '.').map(without_zeroes).collect();
        if parts.len() < 3 {
            if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
                return Err("short version cannot contain PreRelease/Build meta data".into());
            }
            parts.resize(3, "0".into());
        }
        Self::parse(&parts.join("."))
    }

    /// Order, in which build identifiers count for nothing.
    pub fn compare(&self, other: &Self) -> Ordering {
        let numbers = self.numbers.cmp(&other.numbers);
        numbers.then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => pre_order(&self.pre, &other.pre),
        })
    }
}

fn pre_order(a: &[String], b: &[String]) -> Ordering {
    for (a, b) in std::iter::zip(a, b) {
        let order = match (a.parse::<u64>(), b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => a.cmp(b),
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

fn identifiers(text: Option<&str>) -> Result<Vec<String>, String> {
    let Some(text) = text else {
        return Ok(Vec::new());
    };
    text.split('.')
        .map(|part| {
            let fine = !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if fine {
                Ok(part.to_owned())
            } else {
                Err(format!("Invalid character(s) found in {part:?}"))
            }
        })
        .collect()
}

fn without_zeroes(part: &str) -> String {
    if part.len() <= 1 {
        return part.to_owned();
    }
    let trimmed = part.trim_start_matches('0');
    if trimmed.starts_with(|letter: char| letter.is_ascii_digit()) {
        trimmed.to_owned()
    } else {
        format!("0{trimmed}")
    }
}

fn parse(args: &[Val]) -> Result<Semver, String> {
    let text = args[0].as_str().unwrap_or_default();
    if args[1].as_bool() == Some(true) {
        Semver::parse_loosely(text)
    } else {
        Semver::parse(text)
    }
}

fn semver<'v>(val: &'v Val) -> Result<&'v Semver, EvalError> {
    match val {
        Val::Opaque(Opaque::Semver(version)) => Ok(version),
        _ => Err(wrong()),
    }
}

fn compare(args: &[Val]) -> Result<Ordering, EvalError> {
    Ok(semver(&args[0])?.compare(semver(&args[1])?))
}

fn made<'a>(parsed: Result<Semver, String>) -> Outcome<'a> {
    parsed
        .map(|version| Val::Opaque(Opaque::Semver(Arc::new(version))))
        .map_err(EvalError::new)
}
