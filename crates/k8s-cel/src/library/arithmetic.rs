//! Arithmetic, and `+` of texts and lists.
//!
//! Upstream counterpart: cel-go's `common/stdlib` and `common/types/overflow.go`.

use super::{Row, list, wrong};
use crate::{EvalError, Outcome, Val, data::concatenate};

pub(crate) const TABLE: &[Row] = &[
    ("_+_", "add_bytes", "(bytes, bytes) -> bytes", add),
    ("_+_", "add_double", "(double, double) -> double", add),
    (
        "_+_",
        "add_duration_duration",
        "(duration, duration) -> duration",
        add,
    ),
    (
        "_+_",
        "add_duration_timestamp",
        "(duration, timestamp) -> timestamp",
        add,
    ),
    (
        "_+_",
        "add_timestamp_duration",
        "(timestamp, duration) -> timestamp",
        add,
    ),
    ("_+_", "add_int64", "(int, int) -> int", add),
    ("_+_", "add_list", "(list<A>, list<A>) -> list<A>", add),
    ("_+_", "add_string", "(string, string) -> string", add),
    ("_+_", "add_uint64", "(uint, uint) -> uint", add),
    (
        "_-_",
        "subtract_double",
        "(double, double) -> double",
        subtract,
    ),
    (
        "_-_",
        "subtract_duration_duration",
        "(duration, duration) -> duration",
        subtract,
    ),
    ("_-_", "subtract_int64", "(int, int) -> int", subtract),
    (
        "_-_",
        "subtract_timestamp_duration",
        "(timestamp, duration) -> timestamp",
        subtract,
    ),
    (
        "_-_",
        "subtract_timestamp_timestamp",
        "(timestamp, timestamp) -> duration",
        subtract,
    ),
    ("_-_", "subtract_uint64", "(uint, uint) -> uint", subtract),
    (
        "_*_",
        "multiply_double",
        "(double, double) -> double",
        multiply,
    ),
    ("_*_", "multiply_int64", "(int, int) -> int", multiply),
    ("_*_", "multiply_uint64", "(uint, uint) -> uint", multiply),
    ("_/_", "divide_double", "(double, double) -> double", divide),
    ("_/_", "divide_int64", "(int, int) -> int", divide),
    ("_/_", "divide_uint64", "(uint, uint) -> uint", divide),
    ("_%_", "modulo_int64", "(int, int) -> int", modulo),
    ("_%_", "modulo_uint64", "(uint, uint) -> uint", modulo),
    ("-_", "negate_double", "(double) -> double", negate),
    ("-_", "negate_int64", "(int) -> int", negate),
];

fn overflow(kind: &str) -> EvalError {
    EvalError::new(format!("{kind} overflow"))
}

fn whole<'a>(found: Option<i64>) -> Outcome<'a> {
    found.map(Val::Int).ok_or_else(|| overflow("integer"))
}

fn unsigned<'a>(found: Option<u64>) -> Outcome<'a> {
    found
        .map(Val::Uint)
        .ok_or_else(|| overflow("unsigned integer"))
}

fn span<'a>(found: Option<i64>) -> Outcome<'a> {
    found.map(Val::Duration).ok_or_else(|| overflow("duration"))
}

pub(crate) fn add<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (Val::Int(a), Val::Int(b)) => whole(a.checked_add(*b)),
        (Val::Uint(a), Val::Uint(b)) => unsigned(a.checked_add(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a + b)),
        (Val::String(a), Val::String(b)) => Ok(Val::text(format!("{}{}", &**a, &**b))),
        (Val::Bytes(a), Val::Bytes(b)) => Ok(Val::Bytes([&a[..], &b[..]].concat().into())),
        (Val::Duration(a), Val::Duration(b)) => span(a.checked_add(*b)),
        (Val::Timestamp(time), Val::Duration(nanos))
        | (Val::Duration(nanos), Val::Timestamp(time)) => time
            .plus(*nanos)
            .map(Val::Timestamp)
            .ok_or_else(|| overflow("timestamp")),
        _ => Ok(Val::list(concatenate(list(&args[0])?, list(&args[1])?)?)),
    }
}

fn subtract<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (Val::Int(a), Val::Int(b)) => whole(a.checked_sub(*b)),
        (Val::Uint(a), Val::Uint(b)) => unsigned(a.checked_sub(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a - b)),
        (Val::Duration(a), Val::Duration(b)) => span(a.checked_sub(*b)),
        (Val::Timestamp(a), Val::Timestamp(b)) => span(a.since(*b)),
        (Val::Timestamp(time), Val::Duration(nanos)) => nanos
            .checked_neg()
            .and_then(|nanos| time.plus(nanos))
            .map(Val::Timestamp)
            .ok_or_else(|| overflow("timestamp")),
        _ => Err(wrong()),
    }
}

fn multiply<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (Val::Int(a), Val::Int(b)) => whole(a.checked_mul(*b)),
        (Val::Uint(a), Val::Uint(b)) => unsigned(a.checked_mul(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a * b)),
        _ => Err(wrong()),
    }
}

fn divide<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (_, Val::Int(0) | Val::Uint(0)) => Err(EvalError::new("division by zero")),
        (Val::Int(a), Val::Int(b)) => whole(a.checked_div(*b)),
        (Val::Uint(a), Val::Uint(b)) => unsigned(a.checked_div(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a / b)),
        _ => Err(wrong()),
    }
}

fn modulo<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (_, Val::Int(0) | Val::Uint(0)) => Err(EvalError::new("modulus by zero")),
        (Val::Int(a), Val::Int(b)) => whole(a.checked_rem(*b)),
        (Val::Uint(a), Val::Uint(b)) => unsigned(a.checked_rem(*b)),
        _ => Err(wrong()),
    }
}

fn negate<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    match &args[0] {
        Val::Int(number) => whole(number.checked_neg()),
        Val::Double(number) => Ok(Val::Double(-number)),
        _ => Err(wrong()),
    }
}
