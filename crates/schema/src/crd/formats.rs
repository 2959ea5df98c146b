//! The string formats that validation knows; others are accepted as they are.
//!
//! Upstream counterpart: `kube-openapi/pkg/validation/strfmt`.

use crate::Shape;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The format, if values of this shape can have it; others are no part of the schema.
pub(super) fn known<'a>(name: &'a str, shape: &Shape) -> &'a str {
    let applies = match shape {
        Shape::String | Shape::Any => KNOWN.contains(&name.replace('-', "").as_str()),
        Shape::Int { .. } => matches!(name, "int32" | "int64"),
        Shape::Float => matches!(name, "float" | "double"),
        _ => false,
    };
    if applies { name } else { "" }
}

/// Formats of texts, without their hyphens.
const KNOWN: [&str; 26] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "k8sshortname",
    "k8slongname",
];

/// Whether `text` is of the format called `name`.
pub(super) fn is_of_format(name: &str, text: &str) -> bool {
    match name {
        "date-time" | "datetime" => machinery::parse_time(text).is_some(),
        "date" => text.len() == 10 && machinery::parse_time(&format!("{text}T00:00:00Z")).is_some(),
        "byte" => crate::base64_error(text).is_none(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => is_uuid(name, text),
        "duration" => is_duration(text),
        "hostname" => is_hostname(text),
        "uri" => is_uri(text),
        "email" => text
            .split_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && is_hostname(host)),
        "k8s-short-name" => machinery::dns1123_label(text).is_empty(),
        "k8s-long-name" => machinery::dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let limit = if address.parse::<Ipv4Addr>().is_ok() {
        32
    } else if address.parse::<Ipv6Addr>().is_ok() {
        128
    } else {
        return false;
    };
    !bits.is_empty()
        && bits.bytes().all(|byte| byte.is_ascii_digit())
        && bits.parse::<u32>().is_ok_and(|bits| bits <= limit)
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<_> = text.split([':', '-']).collect();
    let pair = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    matches!(parts.len(), 6 | 8 | 20) && parts.iter().all(pair)
}

fn is_uuid(name: &str, text: &str) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    let version = name.strip_prefix("uuid").unwrap_or_default();
    digits.len() == 32
        && digits.iter().all(u8::is_ascii_hexdigit)
        && (version.is_empty() || digits[12..13] == *version.as_bytes())
}

/// Go's duration text (`1h30m`), or a number with a word (`3 days`).
fn is_duration(text: &str) -> bool {
    let units = ["ns", "us", "\u{b5}s", "ms", "s", "m", "h"];
    let words = [
        "nanoseconds",
        "microseconds",
        "milliseconds",
        "seconds",
        "minutes",
        "hours",
        "days",
        "weeks",
        "ns",
        "us",
        "ms",
        "s",
        "m",
        "h",
        "d",
        "w",
        "secs",
        "mins",
        "hrs",
        "sec",
        "min",
        "hr",
        "second",
        "minute",
        "hour",
        "day",
        "week",
    ];
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut parts = 0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let unit_end = rest[end..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |at| end + at);
        let (number, unit) = (&rest[..end], rest[end..unit_end].trim());
        let known = units.contains(&unit)
            || (parts == 0 && unit_end == rest.len() && words.contains(&unit));
        if number.parse::<f64>().is_err() || !known {
            return false;
        }
        parts += 1;
        rest = &rest[unit_end..];
    }
    parts > 0
}

fn is_hostname(text: &str) -> bool {
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    text.len() <= 255 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

/// An absolute URI or an absolute path, as Go's `ParseRequestURI` wants it.
fn is_uri(text: &str) -> bool {
    let scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    let clean = !text.chars().any(|c| c.is_control() || c == ' ');
    clean
        && (text.starts_with('/')
            || text
                .split_once(':')
                .is_some_and(|(head, rest)| scheme(head) && !rest.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        for (name, good, bad) in [
            ("date-time", "2026-01-01T00:00:00Z", "2026-01-01"),
            ("date", "2026-02-28", "2026-02-30"),
            ("byte", "YQ==", "YQ="),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("mac", "00:11:22:33:44:55", "00:11"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
            ("duration", "1h30m", "1x"),
            ("duration", "3 days", "days"),
            ("hostname", "a.example", "-a"),
            ("uri", "https://a/b", "a b"),
            ("email", "a@b.c", "b.c"),
        ] {
            assert!(is_of_format(name, good), "{name} {good}");
            assert!(!is_of_format(name, bad), "{name} {bad}");
        }
        assert!(is_of_format("unheard-of", "anything"));
    }
}
