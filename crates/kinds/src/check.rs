//! Small checks that validation is made of; each adds upstream's texts to a list.
//!
//! Upstream counterpart: `k8s.io/apimachinery/pkg/api/validation` and `util/validation`.

use machinery::{FieldError, Quantity, SmolStr, Value, label_value, qualified_name};

/// Where a checked value stands (`spec.containers[0].name`): made with [`at!`] from the place of
/// what holds it, which it borrows, and printed only if something is wrong there.
pub(crate) type Place<'a> = std::fmt::Arguments<'a>;

/// The place that a format says, mostly below another: `at!("{path}.name")`.
macro_rules! at {
    ($($place:tt)*) => {
        format_args!($($place)*)
    };
}
pub(crate) use at;

/// The list that checks add to.
pub(crate) type Errors = Vec<FieldError>;

/// Refusal of a change to a field that may not change.
pub(crate) const IMMUTABLE: &str = "field is immutable";
const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// Adds an `Invalid value` for each complaint of a syntax check.
pub(crate) fn syntax(
    errors: &mut Errors,
    path: Place<'_>,
    text: &str,
    check: fn(&str) -> Vec<String>,
) {
    errors.extend(
        check(text)
            .into_iter()
            .map(|why| FieldError::invalid(path, text, why)),
    );
}

/// As [`syntax`], where an empty text is `Required value`.
pub(crate) fn named(
    errors: &mut Errors,
    path: Place<'_>,
    text: &str,
    check: fn(&str) -> Vec<String>,
) {
    if text.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        syntax(errors, path, text, check);
    }
}

/// A text must be there.
pub(crate) fn present(errors: &mut Errors, path: Place<'_>, value: &Value) {
    if value.str().is_empty() {
        errors.push(FieldError::required(path, ""));
    }
}

/// A text must be one of a list; an empty one is `Required value`.
pub(crate) fn one_of(errors: &mut Errors, path: Place<'_>, value: &Value, allowed: &[&str]) {
    if value.str().is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        one_of_if_set(errors, path, value, allowed);
    }
}

/// A text, if there is one, must be one of a list.
pub(crate) fn one_of_if_set(errors: &mut Errors, path: Place<'_>, value: &Value, allowed: &[&str]) {
    if !value.str().is_empty() && !allowed.contains(&value.str()) {
        errors.push(FieldError::not_supported(path, value.str(), allowed));
    }
}

/// A number must not be negative.
pub(crate) fn not_negative(errors: &mut Errors, path: Place<'_>, value: &Value) {
    if let Some(number) = value.as_i64().filter(|number| *number < 0) {
        errors.push(FieldError::invalid(path, number, NOT_NEGATIVE));
    }
}

/// Each of these members must not be negative.
pub(crate) fn none_negative(errors: &mut Errors, path: Place<'_>, value: &Value, members: &[&str]) {
    for member in members {
        not_negative(errors, at!("{path}.{member}"), &value[*member]);
    }
}

/// A port number.
pub(crate) fn port(errors: &mut Errors, path: Place<'_>, number: i64) {
    if !(1..=65_535).contains(&number) {
        errors.push(FieldError::invalid(
            path,
            number,
            "must be between 1 and 65535, inclusive",
        ));
    }
}

/// A port by number or name.
pub(crate) fn port_or_name(errors: &mut Errors, path: Place<'_>, value: &Value) {
    match value.as_i64() {
        Some(number) => port(errors, path, number),
        None => syntax(errors, path, value.str(), machinery::port_name),
    }
}

/// A count or a percentage up to 100 %.
pub(crate) fn count_or_percent(errors: &mut Errors, path: Place<'_>, value: &Value) {
    match value {
        Value::String(text) => {
            let digits = text.strip_suffix('%').filter(|digits| {
                !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
            });
            match digits {
                None => errors.push(FieldError::invalid(path, text, "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')")),
                Some(digits) if digits.parse::<u64>().is_ok_and(|n| n <= 100) => {}
                Some(_) => errors.push(FieldError::invalid(path, text, "must not be greater than 100%")),
            }
        }
        _ => not_negative(errors, path, value),
    }
}

/// Two states of a field must be equal.
pub(crate) fn immutable(errors: &mut Errors, path: Place<'_>, new: &Value, old: &Value) {
    if new != old && !(is_empty(new) && is_empty(old)) {
        errors.push(FieldError::invalid(path, new, IMMUTABLE));
    }
}

/// Absent, null, or a zero value of its type.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(flag) => !flag,
        _ => false,
    }
}

/// Keys and values of a label map.
pub(crate) fn labels(errors: &mut Errors, path: Place<'_>, labels: &Value) {
    for (key, value) in labels.entries() {
        syntax(errors, path, key, label_key);
        syntax(errors, path, value.str(), label_value);
    }
}

/// As a qualified name, in words about labels.
pub(crate) fn label_key(key: &str) -> Vec<String> {
    let complaints = qualified_name(key).into_iter();
    complaints
        .map(|why| why.replacen("a qualified name must", "a valid label key must", 1))
        .collect()
}

/// A `metav1.LabelSelector`.
pub(crate) fn label_selector(errors: &mut Errors, path: Place<'_>, selector: &Value) {
    labels(errors, at!("{path}.matchLabels"), &selector["matchLabels"]);
    for (at, term) in selector["matchExpressions"].items().iter().enumerate() {
        let path = at!("{path}.matchExpressions[{at}]");
        let values = term["values"].items();
        match term["operator"].str() {
            "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
                at!("{path}.values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
                at!("{path}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.push(FieldError::invalid(
                at!("{path}.operator"),
                &term["operator"],
                "not a valid selector operator",
            )),
        }
        syntax(errors, at!("{path}.key"), term["key"].str(), qualified_name);
        for (at, value) in values.iter().enumerate() {
            syntax(errors, at!("{path}.values[{at}]"), value.str(), label_value);
        }
    }
}

/// A quantity that must not be negative; `None` if it is none.
pub(crate) fn quantity(errors: &mut Errors, path: Place<'_>, value: &Value) -> Option<Quantity> {
    let Ok(amount) = text_of(value).parse::<Quantity>() else {
        errors.push(FieldError::invalid(
            path,
            value,
            machinery::QuantityError.to_string(),
        ));
        return None;
    };
    if amount.is_negative() {
        errors.push(FieldError::invalid(path, value, NOT_NEGATIVE));
    }
    Some(amount)
}

/// A scalar as text.
pub(crate) fn text_of(value: &Value) -> SmolStr {
    match value {
        Value::String(text) => text.clone(),
        Value::Int(number) => machinery::format_smolstr!("{number}"),
        Value::Float(number) => machinery::format_smolstr!("{number}"),
        _ => SmolStr::default(),
    }
}

/// An IP address.
pub(crate) fn ip(errors: &mut Errors, path: Place<'_>, text: &str) {
    if text.parse::<std::net::IpAddr>().is_err() {
        let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(FieldError::invalid(path, text, why));
    }
}

/// Whether a text is an address block.
pub(crate) fn is_cidr(text: &str) -> bool {
    let parsed = text.split_once('/').and_then(|(address, length)| {
        let limit = if address.parse::<std::net::IpAddr>().ok()?.is_ipv4() {
            32
        } else {
            128
        };
        Some(length.parse::<u8>().ok()? <= limit)
    });
    parsed == Some(true)
}

/// Adds `Duplicate value` for texts that come twice; `path_of` names the place.
pub(crate) fn unique<'a>(
    errors: &mut Errors,
    texts: impl Iterator<Item = &'a str>,
    path_of: impl Fn(usize) -> String,
) {
    let mut seen = std::collections::BTreeSet::new();
    for (at, text) in texts.enumerate() {
        if !text.is_empty() && !seen.insert(text) {
            errors.push(FieldError::duplicate(path_of(at), text));
        }
    }
}

/// Complaints about a key of a config map or secret.
pub(crate) fn config_key(key: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if key.len() > 253 {
        errors.push("must be no more than 253 bytes".into());
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if key.is_empty() || !key.bytes().all(good) {
        errors.push("a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')".into());
    }
    match key {
        "." => errors.push("must not be '.'".into()),
        ".." => errors.push("must not be '..'".into()),
        _ if key.starts_with("..") => errors.push("must not start with '..'".into()),
        _ => {}
    }
    errors
}

/// As a subdomain, where underscores are borne too.
pub(crate) fn underscored(name: &str) -> Vec<String> {
    let complaints = machinery::dns1123_subdomain(&name.replace('_', "a"));
    if complaints.is_empty() {
        return complaints;
    }
    vec!["a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9_]([-_a-z0-9]*[a-z0-9_])?(\\.[a-z0-9_]([-_a-z0-9]*[a-z0-9_])?)*')".into()]
}

/// An address block.
pub(crate) fn block(errors: &mut Errors, path: Place<'_>, text: &str) {
    if !is_cidr(text) {
        let why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        errors.push(FieldError::invalid(path, text, why));
    }
}

/// Addresses that are nobody's to serve: of this host, of this link, of groups.
pub(crate) fn special_address(errors: &mut Errors, path: Place<'_>, text: &str) {
    let Ok(address) = text.parse::<std::net::IpAddr>() else {
        return;
    };
    let link = match address {
        std::net::IpAddr::V4(address) => [
            // The server and the cluster's names answer on addresses of 169.254.20.0/24 on every
            // node; their endpoints say so.
            address.is_link_local() && address.octets()[2] != 20,
            address.octets()[..3] == [224, 0, 0],
        ],
        std::net::IpAddr::V6(address) => [
            address.is_unicast_link_local(),
            address.segments()[0] == 0xff02,
        ],
    };
    let mut refuse = |why: String| errors.push(FieldError::invalid(path, text, why));
    if address.is_unspecified() {
        refuse(format!("may not be unspecified ({text})"));
    }
    if address.is_loopback() {
        refuse("may not be in the loopback range (127.0.0.0/8, ::1/128)".into());
    }
    if link[0] {
        refuse("may not be in the link-local range (169.254.0.0/16, fe80::/10)".into());
    }
    if link[1] {
        refuse("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".into());
    }
}

/// A name below a domain, such as a controller's: `acme.io/foo`.
pub(crate) fn domain_path(errors: &mut Errors, path: Place<'_>, text: &str) {
    let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
    let Some((domain, rest)) = text.split_once('/').filter(|(_, rest)| !rest.is_empty()) else {
        return errors.push(FieldError::invalid(path, text, why));
    };
    syntax(errors, path, domain, machinery::dns1123_subdomain);
    if rest.contains([' ', '?', '#']) {
        errors.push(FieldError::invalid(path, text, why));
    }
}

/// Whether an address block lies within another and is not all of it.
pub(crate) fn is_within(inner: &str, outer: &str) -> bool {
    let parsed = |text: &str| {
        let (address, length) = text.split_once('/')?;
        let length: u32 = length.parse().ok()?;
        Some(match address.parse::<std::net::IpAddr>().ok()? {
            std::net::IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, length, true),
            std::net::IpAddr::V6(address) => (address.to_bits(), length, false),
        })
    };
    let Some((inner, outer)) = parsed(inner).zip(parsed(outer)) else {
        return false;
    };
    let same = |bits: u32| bits == 0 || (inner.0 ^ outer.0) >> (128 - bits) == 0;
    inner.2 == outer.2 && inner.1 > outer.1 && same(outer.1)
}
