//! What a plain YAML scalar means: the YAML 1.1 types that `sigs.k8s.io/yaml` knows.
//!
//! Timestamps stay strings, as they must in JSON. Shared by reader and writer, so that what
//! one would misread the other quotes.

use machinery::{SmolStr, Value, flat::intern};

/// The value of an unquoted scalar.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "false" | "False" | "FALSE" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        _ if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
            number(text).unwrap_or_else(|| Value::String(SmolStr::new(text)))
        }
        _ => Value::String(intern(text)),
    }
}

fn number(text: &str) -> Option<Value> {
    let plain = text.replace('_', "");
    integer(&plain).or_else(|| float(text))
}

fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    let number = if negative { -magnitude } else { magnitude };
    Some(i64::try_from(number).map_or(Value::Float(number as f64), Value::Int))
}

/// Decimal with a digit in it, `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`.
/// Infinity and NaN cannot be said in JSON, so their names stay strings.
fn float(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let allowed = |byte: u8| byte.is_ascii_digit() || b".eE+-_".contains(&byte);
    let starts = unsigned
        .trim_start_matches('.')
        .starts_with(|c: char| c.is_ascii_digit());
    if !starts || !unsigned.bytes().all(allowed) {
        return None;
    }
    let number: f64 = text.replace('_', "").parse().ok()?;
    number.is_finite().then_some(Value::Float(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn resolves_as_yaml_1_1() {
        for (text, wanted) in [
            ("0", json!(0)),
            ("-12", json!(-12)),
            ("+3", json!(3)),
            ("0755", json!(493)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("0b101", json!(5)),
            ("1_000", json!(1000)),
            ("089", json!(89.0)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1e3", json!(1000.0)),
            ("1.", json!(1.0)),
            ("9223372036854775808", json!(9_223_372_036_854_775_808.0)),
            ("1.2.3", json!("1.2.3")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("100m", json!("100m")),
            ("1Gi", json!("1Gi")),
            ("-", json!("-")),
            (".", json!(".")),
            ("--1", json!("--1")),
            (".inf", json!(".inf")),
            ("12:30", json!("12:30")),
            ("y", json!(true)),
            ("N", json!(false)),
            ("Yes", json!(true)),
            ("oFF", json!("oFF")),
            ("2026-01-02", json!("2026-01-02")),
            ("12e03", json!(12000.0)),
        ] {
            assert_eq!(resolve(text), wanted, "{text}");
        }
    }
}
