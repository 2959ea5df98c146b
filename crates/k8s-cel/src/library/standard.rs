//! What every CEL has: logic, equality, order, membership, sizes, simple tests on strings.
//!
//! Upstream counterpart: cel-go's `common/stdlib`.

use super::{Row, list, map, text, wrong};
use crate::{EvalError, List, Outcome, Text, Val};
use std::{cell::RefCell, cmp::Ordering};

pub(crate) const TABLE: &[Row] = &[
    ("_?_:_", "conditional", "(bool, T, T) -> T", never),
    ("_&&_", "logical_and", "(bool, bool) -> bool", never),
    ("_||_", "logical_or", "(bool, bool) -> bool", never),
    ("!_", "logical_not", "(bool) -> bool", not),
    (
        "@not_strictly_false",
        "not_strictly_false",
        "(bool) -> bool",
        never,
    ),
    ("_==_", "equals", "(A, A) -> bool", |args| {
        Ok(Val::Bool(args[0].equals(&args[1])))
    }),
    ("_!=_", "not_equals", "(A, A) -> bool", |args| {
        Ok(Val::Bool(!args[0].equals(&args[1])))
    }),
    ("@in", "in_list", "(A, list<A>) -> bool", in_list),
    ("@in", "in_map", "(A, map<A, B>) -> bool", in_map),
    ("_[_]", "index_list", "(list<A>, int) -> A", never),
    ("_[_]", "index_map", "(map<A, B>, A) -> B", never),
    (
        "_[_]",
        "optional_list_index_int",
        "(optional<list<V>>, int) -> optional<V>",
        never,
    ),
    (
        "_[_]",
        "optional_map_index_value",
        "(optional<map<K, V>>, K) -> optional<V>",
        never,
    ),
    (
        "_[?_]",
        "list_optindex_optional_int",
        "(list<V>, int) -> optional<V>",
        never,
    ),
    (
        "_[?_]",
        "optional_list_optindex_optional_int",
        "(optional<list<V>>, int) -> optional<V>",
        never,
    ),
    (
        "_[?_]",
        "map_optindex_optional_value",
        "(map<K, V>, K) -> optional<V>",
        never,
    ),
    (
        "_[?_]",
        "optional_map_optindex_optional_value",
        "(optional<map<K, V>>, K) -> optional<V>",
        never,
    ),
    ("_<_", "less_bool", "(bool, bool) -> bool", less),
    ("_<_", "less_int64", "(int, int) -> bool", less),
    ("_<_", "less_int64_double", "(int, double) -> bool", less),
    ("_<_", "less_int64_uint64", "(int, uint) -> bool", less),
    ("_<_", "less_uint64", "(uint, uint) -> bool", less),
    ("_<_", "less_uint64_double", "(uint, double) -> bool", less),
    ("_<_", "less_uint64_int64", "(uint, int) -> bool", less),
    ("_<_", "less_double", "(double, double) -> bool", less),
    ("_<_", "less_double_int64", "(double, int) -> bool", less),
    ("_<_", "less_double_uint64", "(double, uint) -> bool", less),
    ("_<_", "less_string", "(string, string) -> bool", less),
    ("_<_", "less_bytes", "(bytes, bytes) -> bool", less),
    (
        "_<_",
        "less_timestamp",
        "(timestamp, timestamp) -> bool",
        less,
    ),
    ("_<_", "less_duration", "(duration, duration) -> bool", less),
    (
        "_<=_",
        "less_equals_bool",
        "(bool, bool) -> bool",
        less_equal,
    ),
    (
        "_<=_",
        "less_equals_int64",
        "(int, int) -> bool",
        less_equal,
    ),
    (
        "_<=_",
        "less_equals_int64_double",
        "(int, double) -> bool",
        less_equal,
    ),
    (
        "_<=_",
        "less_equals_int64_uint64",
        "(int, uint) -> bool",
        less_equal,
    ),
    (
        "_<=_",
        "less_equals_uint64",
        "(uint, uint) -> bool",
        less_equal,
    ),
    (
        "_<=_",
        "less_equals_uint64_double",
        "(uint, double) -> bool",
        less_equal,
    ),
    (
        "_<=_",
        "less_equals_uint64_int64",
        "(uint, int) -> bool",
        less_equal,
    ),
    (
        "_<=_",
        "less_equals_double",
        "(double, double) -> bool",
        less_equal,
    ),
    (
        "_<=_",
        "less_equals_double_int64",
        "(double, int) -> bool",
        less_equal,
    ),
    (
        "_<=_",
        "less_equals_double_uint64",
        "(double, uint) -> bool",
        less_equal,
    ),
    (
        "_<=_",
        "less_equals_string",
        "(string, string) -> bool",
        less_equal,
    ),
    (
        "_<=_",
        "less_equals_bytes",
        "(bytes, bytes) -> bool",
        less_equal,
    ),
    (
        "_<=_",
        "less_equals_timestamp",
        "(timestamp, timestamp) -> bool",
        less_equal,
    ),
    (
        "_<=_",
        "less_equals_duration",
        "(duration, duration) -> bool",
        less_equal,
    ),
    ("_>_", "greater_bool", "(bool, bool) -> bool", greater),
    ("_>_", "greater_int64", "(int, int) -> bool", greater),
    (
        "_>_",
        "greater_int64_double",
        "(int, double) -> bool",
        greater,
    ),
    (
        "_>_",
        "greater_int64_uint64",
        "(int, uint) -> bool",
        greater,
    ),
    ("_>_", "greater_uint64", "(uint, uint) -> bool", greater),
    (
        "_>_",
        "greater_uint64_double",
        "(uint, double) -> bool",
        greater,
    ),
    (
        "_>_",
        "greater_uint64_int64",
        "(uint, int) -> bool",
        greater,
    ),
    ("_>_", "greater_double", "(double, double) -> bool", greater),
    (
        "_>_",
        "greater_double_int64",
        "(double, int) -> bool",
        greater,
    ),
    (
        "_>_",
        "greater_double_uint64",
        "(double, uint) -> bool",
        greater,
    ),
    ("_>_", "greater_string", "(string, string) -> bool", greater),
    ("_>_", "greater_bytes", "(bytes, bytes) -> bool", greater),
    (
        "_>_",
        "greater_timestamp",
        "(timestamp, timestamp) -> bool",
        greater,
    ),
    (
        "_>_",
        "greater_duration",
        "(duration, duration) -> bool",
        greater,
    ),
    (
        "_>=_",
        "greater_equals_bool",
        "(bool, bool) -> bool",
        greater_equal,
    ),
    (
        "_>=_",
        "greater_equals_int64",
        "(int, int) -> bool",
        greater_equal,
    ),
    (
        "_>=_",
        "greater_equals_int64_double",
        "(int, double) -> bool",
        greater_equal,
    ),
    (
        "_>=_",
        "greater_equals_int64_uint64",
        "(int, uint) -> bool",
        greater_equal,
    ),
    (
        "_>=_",
        "greater_equals_uint64",
        "(uint, uint) -> bool",
        greater_equal,
    ),
    (
        "_>=_",
        "greater_equals_uint64_double",
        "(uint, double) -> bool",
        greater_equal,
    ),
    (
        "_>=_",
        "greater_equals_uint64_int64",
        "(uint, int) -> bool",
        greater_equal,
    ),
    (
        "_>=_",
        "greater_equals_double",
        "(double, double) -> bool",
        greater_equal,
    ),
    (
        "_>=_",
        "greater_equals_double_int64",
        "(double, int) -> bool",
        greater_equal,
    ),
    (
        "_>=_",
        "greater_equals_double_uint64",
        "(double, uint) -> bool",
        greater_equal,
    ),
    (
        "_>=_",
        "greater_equals_string",
        "(string, string) -> bool",
        greater_equal,
    ),
    (
        "_>=_",
        "greater_equals_bytes",
        "(bytes, bytes) -> bool",
        greater_equal,
    ),
    (
        "_>=_",
        "greater_equals_timestamp",
        "(timestamp, timestamp) -> bool",
        greater_equal,
    ),
    (
        "_>=_",
        "greater_equals_duration",
        "(duration, duration) -> bool",
        greater_equal,
    ),
    ("size", "size_string", "(string) -> int", size),
    ("size", "size_bytes", "(bytes) -> int", size),
    ("size", "size_list", "(list<A>) -> int", size),
    ("size", "size_map", "(map<A, B>) -> int", size),
    ("size", "string_size", "string.() -> int", size),
    ("size", "bytes_size", "bytes.() -> int", size),
    ("size", "list_size", "list<A>.() -> int", size),
    ("size", "map_size", "map<A, B>.() -> int", size),
    (
        "contains",
        "contains_string",
        "string.(string) -> bool",
        |args| Ok(Val::Bool(text(&args[0])?.contains(text(&args[1])?))),
    ),
    (
        "startsWith",
        "starts_with_string",
        "string.(string) -> bool",
        |args| Ok(Val::Bool(text(&args[0])?.starts_with(text(&args[1])?))),
    ),
    (
        "endsWith",
        "ends_with_string",
        "string.(string) -> bool",
        |args| Ok(Val::Bool(text(&args[0])?.ends_with(text(&args[1])?))),
    ),
    ("matches", "matches", "(string, string) -> bool", matches),
    (
        "matches",
        "matches_string",
        "string.(string) -> bool",
        matches,
    ),
    (
        "find",
        "string_find_string",
        "string.(string) -> string",
        |args| {
            with_regex(text(&args[1])?, |regex| {
                let found = regex.find(text(&args[0])?);
                Ok(Val::text(found.map_or("", |found| found.as_str())))
            })
        },
    ),
    (
        "findAll",
        "string_find_all_string",
        "string.(string) -> list<string>",
        |args| find_all(args, usize::MAX),
    ),
    (
        "findAll",
        "string_find_all_string_int",
        "string.(string, int) -> list<string>",
        |args| {
            find_all(
                args,
                usize::try_from(super::int(&args[2])?).unwrap_or(usize::MAX),
            )
        },
    ),
    (
        "cel.@mapInsert",
        "@mapInsert_map_map",
        "(map<K, V>, map<K, V>) -> map<K, V>",
        never,
    ),
    (
        "cel.@mapInsert",
        "@mapInsert_map_key_value",
        "(map<K, V>, K, V) -> map<K, V>",
        never,
    ),
];

/// Stands for what the evaluator does itself.
fn never<'a>(_: &[Val<'a>]) -> Outcome<'a> {
    Err(wrong())
}

fn not<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    args[0]
        .as_bool()
        .map(|flag| Val::Bool(!flag))
        .ok_or_else(wrong)
}

fn ordered<'a>(args: &[Val], wanted: fn(Ordering) -> bool) -> Outcome<'a> {
    if let Some(order) = args[0].order(&args[1]) {
        return Ok(Val::Bool(wanted(order)));
    }
    match (&args[0], &args[1]) {
        (Val::Double(a), _) | (_, Val::Double(a)) if a.is_nan() => {
            Err(EvalError::new("NaN values cannot be ordered"))
        }
        (_, Val::Double(b)) if b.is_nan() => Err(EvalError::new("NaN values cannot be ordered")),
        _ => Err(wrong()),
    }
}

fn less<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    ordered(args, Ordering::is_lt)
}

fn less_equal<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    ordered(args, Ordering::is_le)
}

fn greater<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    ordered(args, Ordering::is_gt)
}

fn greater_equal<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    ordered(args, Ordering::is_ge)
}

fn in_list<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    for item in list(&args[1])?.items() {
        if item?.equals(&args[0]) {
            return Ok(Val::Bool(true));
        }
    }
    Ok(Val::Bool(false))
}

fn in_map<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    Ok(Val::Bool(map(&args[1])?.get(&args[0]).is_some()))
}

fn size<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    Ok(Val::Int(args[0].size() as i64))
}

/// How many patterns of a thread are kept compiled.
const KEPT_PATTERNS: usize = 64;

thread_local! {
    static PATTERNS: RefCell<Vec<(String, regex::Regex)>> = const { RefCell::new(Vec::new()) };
}

/// Runs `then` with the compiled pattern, kept from earlier calls where possible.
pub(crate) fn with_regex<'a>(
    pattern: &str,
    then: impl FnOnce(&regex::Regex) -> Outcome<'a>,
) -> Outcome<'a> {
    let known = PATTERNS.with_borrow(|kept| {
        kept.iter()
            .find(|(known, _)| known == pattern)
            .map(|(_, regex)| regex.clone())
    });
    if let Some(regex) = known {
        return then(&regex);
    }
    let regex = schema::compile_pattern(pattern).map_err(|_| {
        EvalError::new(format!(
            "error parsing regexp: invalid pattern: `{pattern}`"
        ))
    })?;
    PATTERNS.with_borrow_mut(|kept| {
        if kept.len() == KEPT_PATTERNS {
            kept.remove(0);
        }
        kept.push((pattern.to_owned(), regex.clone()));
    });
    then(&regex)
}

fn matches<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    with_regex(text(&args[1])?, |regex| {
        Ok(Val::Bool(regex.is_match(text(&args[0])?)))
    })
}

fn find_all<'a>(args: &[Val<'a>], most: usize) -> Outcome<'a> {
    with_regex(text(&args[1])?, |regex| {
        let found = regex.find_iter(text(&args[0])?).take(most);
        Ok(Val::list(
            found.map(|found| Val::text(found.as_str())).collect(),
        ))
    })
}

/// Whether a list holds a value.
pub(crate) fn holds(list: &List, value: &Val) -> bool {
    list.items()
        .any(|item| item.is_ok_and(|item| item.equals(value)))
}

/// A string that shares nothing with its source.
pub(crate) fn owned<'a>(text: &str) -> Val<'a> {
    Val::String(Text::Shared(text.into()))
}
