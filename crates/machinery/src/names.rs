//! Syntax of names, labels and annotations; each check returns upstream's complaint texts.
//!
//! Upstream counterpart: `k8s.io/apimachinery/pkg/util/validation`.

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;
const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035_TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED_TEXT: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn too_many(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

fn too_long(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

fn label_shape(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(|&b| lower_or_digit(b))
        && bytes.last().is_some_and(|&b| lower_or_digit(b));
    ends && bytes.iter().all(|&b| lower_or_digit(b) || b == b'-')
}

/// RFC 1123 label: what namespaces and most pod-level names are.
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_MAX {
        errors.push(too_many(LABEL_MAX));
    }
    if !label_shape(text) {
        errors.push(if text.contains('.') && text.split('.').all(label_shape) {
            "must not contain dots".into()
        } else {
            LABEL_TEXT.into()
        });
    }
    errors
}

/// RFC 1123 subdomain: what most object names are.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        errors.push(too_many(SUBDOMAIN_MAX));
    }
    if !text.split('.').all(label_shape) {
        errors.push(SUBDOMAIN_TEXT.into());
    }
    errors
}

/// RFC 1035 label: what Service names are.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_MAX {
        errors.push(too_long(LABEL_MAX));
    }
    if !label_shape(text) || !text.as_bytes()[0].is_ascii_lowercase() {
        errors.push(LABEL_1035_TEXT.into());
    }
    errors
}

fn qualified_shape(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric);
    ends && bytes
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// `[prefix/]name`: label, annotation, finalizer and taint keys.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let name = match text.split_once('/') {
        None => text,
        Some((_, name)) if name.contains('/') => {
            return vec![format!(
                "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
        Some((prefix, name)) => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".into());
            } else {
                errors.extend(
                    dns1123_subdomain(prefix)
                        .iter()
                        .map(|e| format!("prefix part {e}")),
                );
            }
            name
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".into());
    } else if name.len() > LABEL_MAX {
        errors.push(format!("name part {}", too_long(LABEL_MAX)));
    }
    if !qualified_shape(name) {
        errors.push(QUALIFIED_TEXT.into());
    }
    errors
}

/// A label's value.
pub fn label_value(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_MAX {
        errors.push(too_long(LABEL_MAX));
    }
    if !text.is_empty() && !qualified_shape(text) {
        errors.push(LABEL_VALUE_TEXT.into());
    }
    errors
}

/// A name that is one segment of a URL path: what RBAC objects are named by.
pub fn path_segment(text: &str) -> Vec<String> {
    match text {
        "." | ".." => vec![format!("may not be '{text}'")],
        _ => ["/", "%"]
            .iter()
            .filter(|part| text.contains(**part))
            .map(|part| format!("may not contain '{part}'"))
            .collect(),
    }
}

/// An IANA service name: what container and service port names are.
pub fn port_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 15 {
        errors.push("must be no more than 15 characters".into());
    }
    if text.is_empty() || !text.bytes().all(|b| lower_or_digit(b) || b == b'-') {
        errors
            .push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".into());
    }
    if text.contains("--") {
        errors.push("must not contain consecutive hyphens".into());
    }
    if text.starts_with('-') || text.ends_with('-') {
        errors.push("must not begin or end with a hyphen".into());
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_refuses() {
        let long = "a".repeat(64);
        type Check = fn(&str) -> Vec<String>;
        let cases: [(Check, &[&str], &[&str]); 5] = [
            (
                dns1123_label,
                &["a", "a-b", "1"],
                &["", "A", "-a", "a-", "a.b", &long],
            ),
            (
                dns1123_subdomain,
                &["a.b", "a-1.b"],
                &["", ".a", "a..b", "A.b", "a_b"],
            ),
            (dns1035_label, &["a1"], &["1a", "", "a."]),
            (
                qualified_name,
                &["app", "x.io/A_b.c"],
                &["", "/a", "x/", "a/b/c", "-a", "X_y/a"],
            ),
            (label_value, &["", "A.b_c"], &["-a", "a b", &long]),
        ];
        for (check, good, bad) in cases {
            good.iter()
                .for_each(|text| assert_eq!(check(text), Vec::<String>::new(), "{text}"));
            bad.iter()
                .for_each(|text| assert!(!check(text).is_empty(), "{text}"));
        }
    }
}
