//! Named formats.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/cel/library/format.go`.

use super::{Opaque, Row, Url, text, wrong};
use crate::{Outcome, Val, time::Timestamp};
use base64::{Engine, engine::general_purpose::STANDARD};
use machinery::{dns1035_label, dns1123_label, dns1123_subdomain, label_value, qualified_name};

/// Longest pattern that a format is assumed to have, for estimates.
pub(crate) const MAX_NAME_REGEX: u64 = 128;

/// A format.
#[derive(Debug)]
pub struct NamedFormat {
    /// Name, as values show it.
    pub name: &'static str,
    /// Name in `format.named`.
    pub key: &'static str,
    /// What is wrong with a text.
    pub check: fn(&str) -> Vec<String>,
    /// Length of the pattern that costs are for.
    pub pattern_size: u64,
}

static FORMATS: &[NamedFormat] = &[
    named("DNS1123Label", "dns1123Label", dns1123_label, 30),
    named(
        "DNS1123Subdomain",
        "dns1123Subdomain",
        dns1123_subdomain,
        60,
    ),
    named("DNS1035Label", "dns1035Label", dns1035_label, 30),
    named("QualifiedName", "qualifiedName", qualified_name, 60),
    named(
        "DNS1123LabelPrefix",
        "dns1123LabelPrefix",
        |text| dns1123_label(&prefix(text)),
        30,
    ),
    named(
        "DNS1123SubdomainPrefix",
        "dns1123SubdomainPrefix",
        |text| dns1123_subdomain(&prefix(text)),
        60,
    ),
    named(
        "DNS1035LabelPrefix",
        "dns1035LabelPrefix",
        |text| dns1035_label(&prefix(text)),
        30,
    ),
    named("LabelValue", "labelValue", label_value, 40),
    named(
        "URI",
        "uri",
        |text| Url::parse(text).err().into_iter().collect(),
        1000,
    ),
    named(
        "uuid",
        "uuid",
        |text| unless(is_uuid(text), "does not match the UUID format"),
        131,
    ),
    named(
        "byte",
        "byte",
        |text| unless(STANDARD.decode(text).is_ok(), "invalid base64"),
        1000,
    ),
    named(
        "date",
        "date",
        |text| {
            unless(
                text.len() == 10 && Timestamp::parse_loosely(text).is_some(),
                "invalid date",
            )
        },
        171,
    ),
    named(
        "datetime",
        "datetime",
        |text| {
            unless(
                text.len() > 10 && Timestamp::parse_loosely(text).is_some(),
                "invalid datetime",
            )
        },
        171,
    ),
];

const fn named(
    name: &'static str,
    key: &'static str,
    check: fn(&str) -> Vec<String>,
    pattern_size: u64,
) -> NamedFormat {
    NamedFormat {
        name,
        key,
        check,
        pattern_size,
    }
}

pub(crate) const TABLE: &[Row] = &[
    (
        "validate",
        "format-validate",
        "Format.(string) -> optional<list<string>>",
        |args| {
            let Val::Opaque(Opaque::Format(format)) = &args[0] else {
                return Err(wrong());
            };
            let errors = (format.check)(text(&args[1])?);
            Ok(if errors.is_empty() {
                Val::Optional(None)
            } else {
                Val::some(Val::list(errors.into_iter().map(Val::text).collect()))
            })
        },
    ),
    (
        "format.named",
        "format-named",
        "(string) -> optional<Format>",
        |args| {
            let name = text(&args[0])?;
            let found = FORMATS.iter().find(|format| format.key == name);
            Ok(found.map_or(Val::Optional(None), |format| {
                Val::some(Val::Opaque(Opaque::Format(format)))
            }))
        },
    ),
    (
        "format.dns1123Label",
        "format.dns1123Label",
        "() -> Format",
        |_| constant(0),
    ),
    (
        "format.dns1123Subdomain",
        "format.dns1123Subdomain",
        "() -> Format",
        |_| constant(1),
    ),
    (
        "format.dns1035Label",
        "format.dns1035Label",
        "() -> Format",
        |_| constant(2),
    ),
    (
        "format.qualifiedName",
        "format.qualifiedName",
        "() -> Format",
        |_| constant(3),
    ),
    (
        "format.dns1123LabelPrefix",
        "format.dns1123LabelPrefix",
        "() -> Format",
        |_| constant(4),
    ),
    (
        "format.dns1123SubdomainPrefix",
        "format.dns1123SubdomainPrefix",
        "() -> Format",
        |_| constant(5),
    ),
    (
        "format.dns1035LabelPrefix",
        "format.dns1035LabelPrefix",
        "() -> Format",
        |_| constant(6),
    ),
    (
        "format.labelValue",
        "format.labelValue",
        "() -> Format",
        |_| constant(7),
    ),
    ("format.uri", "format.uri", "() -> Format", |_| constant(8)),
    ("format.uuid", "format.uuid", "() -> Format", |_| {
        constant(9)
    }),
    ("format.byte", "format.byte", "() -> Format", |_| {
        constant(10)
    }),
    ("format.date", "format.date", "() -> Format", |_| {
        constant(11)
    }),
    ("format.datetime", "format.datetime", "() -> Format", |_| {
        constant(12)
    }),
];

fn constant<'a>(at: usize) -> Outcome<'a> {
    Ok(Val::Opaque(Opaque::Format(&FORMATS[at])))
}

fn unless(fine: bool, why: &str) -> Vec<String> {
    if fine {
        Vec::new()
    } else {
        vec![why.to_owned()]
    }
}

/// A prefix may end in a dash, which what follows then hides.
fn prefix(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => text.to_owned(),
    }
}

fn is_uuid(text: &str) -> bool {
    let hex: Vec<&str> = text.split('-').collect();
    let widths: Vec<usize> = hex.iter().map(|part| part.len()).collect();
    let shaped = widths == [8, 4, 4, 4, 12] || (hex.len() == 1 && text.len() == 32);
    shaped
        && hex
            .iter()
            .all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
