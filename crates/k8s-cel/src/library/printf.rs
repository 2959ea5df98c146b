//! `format`: texts with places for values.
//!
//! Upstream counterpart: cel-go's `ext/formatting.go`.

use crate::{EvalError, List, Val, library::show_double, time};
use std::fmt::Write;

/// Digits after the point where none are asked for.
const PRECISION: usize = 6;

/// A value as `string()` and `%s` write it.
pub fn show(val: &Val) -> String {
    match val {
        Val::Null => "null".into(),
        Val::Bool(flag) => flag.to_string(),
        Val::Int(number) => number.to_string(),
        Val::Uint(number) => number.to_string(),
        Val::Double(number) => show_double(*number),
        Val::String(text) => text.to_string(),
        Val::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Val::Timestamp(time) => time.to_string(),
        Val::Duration(nanos) => time::show_duration(*nanos),
        Val::List(list) => show_list(list),
        Val::Map(map) => {
            let mut entries: Vec<String> = map
                .entries()
                .map(|(key, value)| {
                    format!(
                        "{}:{}",
                        inner(&key),
                        value.as_ref().map_or_else(ToString::to_string, inner)
                    )
                })
                .collect();
            entries.sort();
            format!("{{{}}}", entries.join(", "))
        }
        Val::Optional(Some(value)) => format!("optional({})", show(value)),
        Val::Optional(None) => "optional.none()".into(),
        Val::Type(ty) => ty.name().to_owned(),
        Val::Opaque(opaque) => opaque.to_string(),
        Val::Failed(error) => error.to_string(),
    }
}

fn show_list(list: &List) -> String {
    let items: Vec<String> = list
        .items()
        .map(|item| item.as_ref().map_or_else(ToString::to_string, inner))
        .collect();
    format!("[{}]", items.join(", "))
}

/// A value within a list or map.
fn inner(val: &Val) -> String {
    match val {
        Val::String(text) => quote(text),
        Val::Bytes(_) => format!("b{}", quote(&show(val))),
        Val::Double(number) if number.is_finite() => format!("{number:.PRECISION$}"),
        Val::Double(_) => quote(&show(val)),
        Val::Timestamp(_) => format!("timestamp({})", quote(&show(val))),
        Val::Duration(_) => format!("duration({})", quote(&show(val))),
        Val::Type(_) => format!("type({})", show(val)),
        other => show(other),
    }
}

/// A text in double quotes, escaped.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        let escaped = match letter {
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\u{c}' => 'f',
            '\n' => 'n',
            '\r' => 'r',
            '\t' => 't',
            '\u{b}' => 'v',
            '\\' | '"' => letter,
            _ => {
                quoted.push(letter);
                continue;
            }
        };
        quoted.push('\\');
        quoted.push(escaped);
    }
    quoted.push('"');
    quoted
}

/// Fills the places of `text` with `args`.
pub(crate) fn format(text: &str, args: &List) -> Result<String, EvalError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut next = 0;
    while let Some(at) = rest.find('%') {
        out += &rest[..at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let (precision, clause, after) = clause(rest)?;
        rest = after;
        let arg = args
            .get(next)
            .ok_or_else(|| EvalError::new(format!("index {next} out of range")))??;
        next += 1;
        place(&mut out, clause, precision, &arg)?;
    }
    out += rest;
    Ok(out)
}

fn clause(rest: &str) -> Result<(usize, char, &str), EvalError> {
    let bad = || EvalError::new("unexpected end of string");
    let (precision, rest) = match rest.strip_prefix('.') {
        Some(digits) => {
            let end = digits
                .find(|letter: char| !letter.is_ascii_digit())
                .ok_or_else(bad)?;
            let number = digits[..end]
                .parse()
                .map_err(|_| EvalError::new("error while converting precision to integer"))?;
            (number, &digits[end..])
        }
        None => (PRECISION, rest),
    };
    let letter = rest.chars().next().ok_or_else(bad)?;
    Ok((
        precision.min(MAX_PRECISION),
        letter,
        &rest[letter.len_utf8()..],
    ))
}

/// More digits than this are never written.
const MAX_PRECISION: usize = 1000;

fn place(out: &mut String, clause: char, precision: usize, arg: &Val) -> Result<(), EvalError> {
    let written = match (clause, arg) {
        ('s', _) => write!(out, "{}", show(arg)),
        ('d', Val::Int(_) | Val::Uint(_)) => write!(out, "{}", show(arg)),
        ('f', _) => {
            let number = double(arg).ok_or_else(|| bad(clause, arg))?;
            if number.is_finite() {
                write!(out, "{number:.precision$}")
            } else {
                write!(out, "{}", special(number))
            }
        }
        ('e', _) => {
            let number = double(arg).ok_or_else(|| bad(clause, arg))?;
            write!(out, "{}", scientific(number, precision))
        }
        ('b', Val::Bool(flag)) => write!(out, "{}", u8::from(*flag)),
        ('b' | 'o' | 'x' | 'X', Val::Int(number)) => {
            let sign = if *number < 0 { "-" } else { "" };
            write!(out, "{sign}{}", based(clause, number.unsigned_abs()))
        }
        ('b' | 'o' | 'x' | 'X', Val::Uint(number)) => write!(out, "{}", based(clause, *number)),
        ('x' | 'X', Val::String(text)) => write!(out, "{}", hex(clause, text.as_bytes())),
        ('x' | 'X', Val::Bytes(bytes)) => write!(out, "{}", hex(clause, bytes)),
        ('d' | 'b' | 'o' | 'x' | 'X', _) => return Err(bad(clause, arg)),
        (other, _) => {
            let why = format!(
                "could not parse formatting clause: unrecognized formatting clause \"{other}\""
            );
            return Err(EvalError::new(why));
        }
    };
    written.map_err(|_| EvalError::new("formatting failed"))
}

fn double(arg: &Val) -> Option<f64> {
    match arg {
        Val::Double(number) => Some(*number),
        Val::String(text) => match &**text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn special(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "\u{221e}"
    } else {
        "-\u{221e}"
    }
}

/// `1.052033\u{d7}10\u{2070}\u{b3}`: the printer for American English writes powers of ten.
fn scientific(number: f64, precision: usize) -> String {
    if !number.is_finite() {
        return special(number).into();
    }
    let text = format!("{number:.precision$e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = power.parse().unwrap_or_default();
    let raised: String = format!("{:02}", power.abs())
        .chars()
        .map(|digit| match digit {
            '1' => '\u{b9}',
            '2' => '\u{b2}',
            '3' => '\u{b3}',
            other => char::from_u32(0x2070 + other as u32 - '0' as u32).unwrap_or(other),
        })
        .collect();
    let sign = if power < 0 { "\u{207b}" } else { "" };
    format!("{digits}\u{d7}10{sign}{raised}")
}

fn based(clause: char, number: u64) -> String {
    match clause {
        'b' => format!("{number:b}"),
        'o' => format!("{number:o}"),
        'x' => format!("{number:x}"),
        _ => format!("{number:X}"),
    }
}

fn hex(clause: char, bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| {
            if clause == 'x' {
                format!("{byte:02x}")
            } else {
                format!("{byte:02X}")
            }
        })
        .collect()
}

fn bad(clause: char, arg: &Val) -> EvalError {
    let (what, only) = match clause {
        'd' => ("decimal clause", "integers"),
        'f' => ("fixed-point clause", "doubles"),
        'e' => ("scientific clause", "doubles"),
        'b' => ("binary clause", "integers and bools"),
        'o' => ("octal clause", "integers"),
        _ => ("hex clause", "integers, byte buffers, and strings"),
    };
    let ty = arg.type_of();
    EvalError::new(format!(
        "error during formatting: {what} can only be used on {only}, was given {}",
        ty.name()
    ))
}
