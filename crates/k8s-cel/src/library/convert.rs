//! Conversions between types.
//!
//! Upstream counterpart: the `ConvertToType` methods of cel-go's `common/types`.

use super::{Row, text, wrong};
use crate::{
    EvalError, Outcome, Val,
    time::{self, Timestamp},
};

pub(crate) const TABLE: &[Row] = &[
    ("type", "type", "(A) -> type<A>", |args| {
        Ok(Val::Type(args[0].type_of()))
    }),
    ("dyn", "to_dyn", "(A) -> dyn", same),
    ("bool", "bool_to_bool", "(bool) -> bool", same),
    ("bool", "string_to_bool", "(string) -> bool", to_bool),
    ("bytes", "bytes_to_bytes", "(bytes) -> bytes", same),
    ("bytes", "string_to_bytes", "(string) -> bytes", |args| {
        Ok(Val::Bytes(text(&args[0])?.as_bytes().into()))
    }),
    ("double", "double_to_double", "(double) -> double", same),
    ("double", "int64_to_double", "(int) -> double", to_double),
    (
        "double",
        "string_to_double",
        "(string) -> double",
        to_double,
    ),
    ("double", "uint64_to_double", "(uint) -> double", to_double),
    (
        "duration",
        "duration_to_duration",
        "(duration) -> duration",
        same,
    ),
    (
        "duration",
        "int64_to_duration",
        "(int) -> duration",
        to_duration,
    ),
    (
        "duration",
        "string_to_duration",
        "(string) -> duration",
        to_duration,
    ),
    ("int", "int64_to_int64", "(int) -> int", same),
    ("int", "double_to_int64", "(double) -> int", to_int),
    ("int", "duration_to_int64", "(duration) -> int", to_int),
    ("int", "string_to_int64", "(string) -> int", to_int),
    ("int", "timestamp_to_int64", "(timestamp) -> int", to_int),
    ("int", "uint64_to_int64", "(uint) -> int", to_int),
    ("string", "string_to_string", "(string) -> string", same),
    ("string", "bool_to_string", "(bool) -> string", to_string),
    ("string", "bytes_to_string", "(bytes) -> string", to_string),
    (
        "string",
        "double_to_string",
        "(double) -> string",
        to_string,
    ),
    (
        "string",
        "duration_to_string",
        "(duration) -> string",
        to_string,
    ),
    ("string", "int64_to_string", "(int) -> string", to_string),
    (
        "string",
        "timestamp_to_string",
        "(timestamp) -> string",
        to_string,
    ),
    ("string", "uint64_to_string", "(uint) -> string", to_string),
    ("string", "ip_to_string", "(IP) -> string", to_string),
    ("string", "cidr_to_string", "(CIDR) -> string", to_string),
    (
        "timestamp",
        "timestamp_to_timestamp",
        "(timestamp) -> timestamp",
        same,
    ),
    (
        "timestamp",
        "int64_to_timestamp",
        "(int) -> timestamp",
        to_timestamp,
    ),
    (
        "timestamp",
        "string_to_timestamp",
        "(string) -> timestamp",
        to_timestamp,
    ),
    ("uint", "uint64_to_uint64", "(uint) -> uint", same),
    ("uint", "double_to_uint64", "(double) -> uint", to_uint),
    ("uint", "int64_to_uint64", "(int) -> uint", to_uint),
    ("uint", "string_to_uint64", "(string) -> uint", to_uint),
];

fn same<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    Ok(args[0].clone())
}

fn failed(from: &str, to: &str, value: &str) -> EvalError {
    EvalError::new(format!(
        "type conversion error from '{from}' to '{to}'{value}"
    ))
}

fn to_bool<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    match text(&args[0])? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
        _ => Err(failed("string", "bool", "")),
    }
}

fn to_double<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    Ok(Val::Double(match &args[0] {
        Val::Int(number) => *number as f64,
        Val::Uint(number) => *number as f64,
        Val::String(text) => text.parse().map_err(|_| failed("string", "double", ""))?,
        _ => return Err(wrong()),
    }))
}

fn to_duration<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    match &args[0] {
        Val::Int(nanos) => Ok(Val::Duration(*nanos)),
        Val::String(text) => time::parse_duration(text)
            .map(Val::Duration)
            .ok_or_else(|| failed("string", "duration", "")),
        _ => Err(wrong()),
    }
}

fn to_int<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let overflow = || EvalError::new("integer overflow");
    match &args[0] {
        Val::Double(number) if number.abs() < i64::MAX as f64 => Ok(Val::Int(*number as i64)),
        Val::Double(_) => Err(overflow()),
        Val::Uint(number) => i64::try_from(*number).map(Val::Int).map_err(|_| overflow()),
        Val::Duration(nanos) => Ok(Val::Int(*nanos)),
        Val::Timestamp(at) => Ok(Val::Int(at.seconds)),
        Val::String(text) => text
            .parse()
            .map(Val::Int)
            .map_err(|_| failed("string", "int", "")),
        _ => Err(wrong()),
    }
}

fn to_uint<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let overflow = || EvalError::new("unsigned integer overflow");
    match &args[0] {
        Val::Double(number) if *number >= 0.0 && *number < u64::MAX as f64 => {
            Ok(Val::Uint(*number as u64))
        }
        Val::Double(_) => Err(overflow()),
        Val::Int(number) => u64::try_from(*number)
            .map(Val::Uint)
            .map_err(|_| overflow()),
        Val::String(text) => text
            .parse()
            .map(Val::Uint)
            .map_err(|_| failed("string", "uint", "")),
        _ => Err(wrong()),
    }
}

fn to_timestamp<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let time = match &args[0] {
        Val::Int(seconds) => {
            Timestamp::new(*seconds, 0).ok_or_else(|| EvalError::new("timestamp overflow"))?
        }
        Val::String(text) => {
            Timestamp::parse(text).ok_or_else(|| failed("string", "timestamp", ""))?
        }
        _ => return Err(wrong()),
    };
    Ok(Val::Timestamp(time))
}

fn to_string<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    Ok(match &args[0] {
        Val::Bytes(bytes) => {
            let text = std::str::from_utf8(bytes)
                .map_err(|_| EvalError::new("invalid UTF-8 in bytes, cannot convert to string"))?;
            Val::text(text)
        }
        Val::String(_) => args[0].clone(),
        other => Val::text(super::show(other)),
    })
}

/// Exponents below and from these are written with `e`, as Go's `%g` does at full precision.
const PLAIN_EXPONENTS: std::ops::Range<i32> = -4..21;

/// A number as Go writes it with the fewest digits.
pub(crate) fn show_double(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = exponent.parse().unwrap_or_default();
    if PLAIN_EXPONENTS.contains(&power) {
        return number.to_string();
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.abs())
}
