//! More about strings; positions count characters.
//!
//! Upstream counterpart: cel-go's `ext/strings.go`, version 2.

use super::{Row, int, list, printf, standard::owned, text};
use crate::{EvalError, Outcome, Val};

pub(crate) const TABLE: &[Row] = &[
    (
        "charAt",
        "string_char_at_int",
        "string.(int) -> string",
        char_at,
    ),
    (
        "indexOf",
        "string_index_of_string",
        "string.(string) -> int",
        index_of,
    ),
    (
        "indexOf",
        "string_index_of_string_int",
        "string.(string, int) -> int",
        index_of,
    ),
    (
        "lastIndexOf",
        "string_last_index_of_string",
        "string.(string) -> int",
        last_index_of,
    ),
    (
        "lastIndexOf",
        "string_last_index_of_string_int",
        "string.(string, int) -> int",
        last_index_of,
    ),
    (
        "lowerAscii",
        "string_lower_ascii",
        "string.() -> string",
        |args| Ok(owned(&text(&args[0])?.to_ascii_lowercase())),
    ),
    (
        "upperAscii",
        "string_upper_ascii",
        "string.() -> string",
        |args| Ok(owned(&text(&args[0])?.to_ascii_uppercase())),
    ),
    (
        "replace",
        "string_replace_string_string",
        "string.(string, string) -> string",
        replace,
    ),
    (
        "replace",
        "string_replace_string_string_int",
        "string.(string, string, int) -> string",
        replace,
    ),
    (
        "split",
        "string_split_string",
        "string.(string) -> list<string>",
        split,
    ),
    (
        "split",
        "string_split_string_int",
        "string.(string, int) -> list<string>",
        split,
    ),
    (
        "substring",
        "string_substring_int",
        "string.(int) -> string",
        substring,
    ),
    (
        "substring",
        "string_substring_int_int",
        "string.(int, int) -> string",
        substring,
    ),
    ("trim", "string_trim", "string.() -> string", |args| {
        Ok(owned(text(&args[0])?.trim()))
    }),
    ("join", "list_join", "list<string>.() -> string", join),
    (
        "join",
        "list_join_string",
        "list<string>.(string) -> string",
        join,
    ),
    (
        "format",
        "string_format",
        "string.(list<dyn>) -> string",
        |args| printf::format(text(&args[0])?, list(&args[1])?).map(Val::text),
    ),
    (
        "strings.quote",
        "strings_quote",
        "(string) -> string",
        |args| Ok(owned(&printf::quote(text(&args[0])?))),
    ),
    (
        "jsonpatch.escapeKey",
        "string_jsonpatch_escapeKey_string",
        "(string) -> string",
        |args| {
            let escaped = text(&args[0])?.replace('~', "~0").replace('/', "~1");
            Ok(owned(&escaped))
        },
    ),
];

fn out_of_range(at: i64) -> EvalError {
    EvalError::new(format!("index out of range: {at}"))
}

/// A position within `length` characters, its end included.
fn position(at: i64, length: usize) -> Result<usize, EvalError> {
    usize::try_from(at)
        .ok()
        .filter(|at| *at <= length)
        .ok_or_else(|| out_of_range(at))
}

fn char_at<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let letters: Vec<char> = text(&args[0])?.chars().collect();
    let at = position(int(&args[1])?, letters.len())?;
    let found = letters.get(at).map(ToString::to_string);
    Ok(Val::text(found.unwrap_or_default()))
}

/// Text and part as characters, and the offset that was given.
type Search = (Vec<char>, Vec<char>, Option<i64>);

fn search(args: &[Val]) -> Result<Search, EvalError> {
    let letters = |at: usize| text(&args[at]).map(|text| text.chars().collect::<Vec<char>>());
    let offset = args.get(2).map(int).transpose()?;
    Ok((letters(0)?, letters(1)?, offset))
}

fn index_of<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let (whole, part, offset) = search(args)?;
    let offset = offset.unwrap_or(0);
    if part.is_empty() {
        return Ok(Val::Int(offset));
    }
    let from = usize::try_from(offset).map_err(|_| out_of_range(offset))?;
    let found = (from..whole.len()).find(|at| whole[*at..].starts_with(&part));
    Ok(Val::Int(found.map_or(-1, |at| at as i64)))
}

fn last_index_of<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let (whole, part, offset) = search(args)?;
    if part.is_empty() {
        return Ok(Val::Int(offset.unwrap_or(whole.len() as i64)));
    }
    if offset.is_none() && whole.len() < part.len() {
        return Ok(Val::Int(-1));
    }
    let offset = offset.unwrap_or(whole.len() as i64 - 1);
    let from = usize::try_from(offset).map_err(|_| out_of_range(offset))?;
    if from >= whole.len() || part.len() > whole.len() {
        return Ok(Val::Int(-1));
    }
    let found = (0..=from.min(whole.len() - part.len()))
        .rev()
        .find(|at| whole[*at..].starts_with(&part));
    Ok(Val::Int(found.map_or(-1, |at| at as i64)))
}

fn replace<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let (whole, from, to) = (text(&args[0])?, text(&args[1])?, text(&args[2])?);
    let count = args.get(3).map(int).transpose()?.unwrap_or(-1);
    let replaced = match usize::try_from(count) {
        Ok(count) => whole.replacen(from, to, count),
        Err(_) => whole.replace(from, to),
    };
    Ok(Val::text(replaced))
}

fn split<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let (whole, between) = (text(&args[0])?, text(&args[1])?);
    let count = args.get(2).map(int).transpose()?.unwrap_or(-1);
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    if most == 0 {
        return Ok(Val::list(Vec::new()));
    }
    let parts: Vec<Val> = if between.is_empty() {
        letters(whole, most)
    } else {
        whole.splitn(most, between).map(owned).collect()
    };
    Ok(Val::list(parts))
}

/// Single characters, the rest in the last part.
fn letters<'a>(whole: &str, most: usize) -> Vec<Val<'a>> {
    let mut parts = Vec::new();
    let mut rest = whole;
    while let Some(letter) = rest.chars().next() {
        if parts.len() + 1 == most {
            parts.push(owned(rest));
            break;
        }
        let (first, after) = rest.split_at(letter.len_utf8());
        parts.push(owned(first));
        rest = after;
    }
    parts
}

fn substring<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let letters: Vec<char> = text(&args[0])?.chars().collect();
    let start = int(&args[1])?;
    let end = args
        .get(2)
        .map(int)
        .transpose()?
        .unwrap_or(letters.len() as i64);
    if args.len() > 2 && start > end {
        let why = format!("invalid substring range. start: {start}, end: {end}");
        return Err(EvalError::new(why));
    }
    let from = position(start, letters.len())?;
    let to = position(end, letters.len())?;
    Ok(Val::text(letters[from..to].iter().collect::<String>()))
}

fn join<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let between = args.get(1).map(text).transpose()?.unwrap_or_default();
    let mut joined = String::new();
    for (at, item) in list(&args[0])?.items().enumerate() {
        let item = item?;
        let Some(part) = item.as_str() else {
            let shown = super::show(&item);
            return Err(EvalError::new(format!("join: invalid input: {shown}")));
        };
        if at > 0 {
            joined += between;
        }
        joined += part;
    }
    Ok(Val::text(joined))
}
