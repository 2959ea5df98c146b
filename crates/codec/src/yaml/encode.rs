//! Trees to YAML text, in the block form that `kubectl -o yaml` shows.
//!
//! Upstream counterpart: `sigs.k8s.io/yaml` (marshalling).

use super::scalar::resolve;
use crate::json::{write_float, write_string};
use machinery::{Map, Value};

/// Longest lines that are still written as literal blocks have no limit; what decides is content.
const INDENT: &str = "  ";

/// One document, ending in a line break.
pub fn encode_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(&mut out, map, 0),
        Value::Array(items) if !items.is_empty() => write_items(&mut out, items, 0),
        scalar => {
            write_scalar(&mut out, scalar, 0);
            out.push('\n');
        }
    }
    out
}

fn indent(out: &mut String, level: usize) {
    (0..level).for_each(|_| out.push_str(INDENT));
}

fn write_map(out: &mut String, map: &Map, level: usize) {
    for (at, (key, value)) in map.iter().enumerate() {
        // The first key of an item stands behind its dash.
        if at > 0 || !out.ends_with("- ") {
            indent(out, level);
        }
        write_text(out, key, None);
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                write_map(out, inner, level + 1);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                write_items(out, items, level);
            }
            scalar => {
                out.push(' ');
                write_scalar(out, scalar, level + 1);
                out.push('\n');
            }
        }
    }
}

fn write_items(out: &mut String, items: &[Value], level: usize) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 || !out.ends_with("- ") {
            indent(out, level);
        }
        out.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => write_map(out, inner, level + 1),
            Value::Array(inner) if !inner.is_empty() => write_items(out, inner, level + 1),
            scalar => {
                write_scalar(out, scalar, level + 1);
                out.push('\n');
            }
        }
    }
}

/// Anything that fits behind a key; `level` is where the lines of a literal block stand.
fn write_scalar(out: &mut String, value: &Value, level: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => push_bytes(out, |bytes| write_float(bytes, *number)),
        Value::String(text) => write_text(out, text, Some(level)),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
}

fn push_bytes(out: &mut String, write: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::mem::take(out).into_bytes();
    write(&mut bytes);
    *out = String::from_utf8(bytes).expect("writers of text write UTF-8");
}

fn write_text(out: &mut String, text: &str, block: Option<usize>) {
    match block {
        Some(level) if fits_block(text) => write_block(out, text, level),
        _ if is_plain(text) => out.push_str(text),
        _ if text.chars().any(char::is_control) => {
            push_bytes(out, |bytes| write_string(bytes, text))
        }
        _ if resolve(text).as_str().is_none() => push_bytes(out, |bytes| write_string(bytes, text)),
        _ => {
            out.push('\'');
            out.push_str(&text.replace('\'', "''"));
            out.push('\'');
        }
    }
}

/// Whether a literal block keeps the text exactly: several lines, none of which would be
/// changed, and no leading space that would shift the block's indentation.
fn fits_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && !text.chars().any(|c| {
            c != '\n'
                && c != '\t'
                && (c.is_control() || "\u{85}\u{2028}\u{2029}\u{feff}".contains(c))
        })
        && !text.lines().any(|line| line.ends_with(' '))
}

fn write_block(out: &mut String, text: &str, level: usize) {
    let body = text.trim_end_matches('\n');
    out.push_str(match text.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    let last = text.strip_suffix('\n').unwrap_or(text);
    for line in last.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, level);
            out.push_str(line);
        }
    }
}

/// Whether text can stand unquoted and be read back as the same string.
fn is_plain(text: &str) -> bool {
    let special_start = |c: char| "-?:,[]{}#&*!|>'\"%@`".contains(c);
    let starts_safely = match text.strip_prefix(['-', '?', ':']) {
        Some(rest) => {
            !rest.is_empty() && !rest.starts_with([' ', '\t']) && !text.starts_with("---")
        }
        None => !text.starts_with(special_start),
    };
    starts_safely
        && resolve(text).as_str().is_some()
        && !matches!(
            text,
            "y" | "Y" | "n" | "N" | "=" | "<<" | ".inf" | ".nan" | "..."
        )
        && !text.starts_with([' ', '\t'])
        && !text.ends_with([' ', '\t', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !text
            .chars()
            .any(|c| c.is_control() || "\u{2028}\u{2029}\u{feff}".contains(c))
        && !looks_like_time(text)
}

/// Dates are written quoted, so that readers that know the timestamp type leave them alone.
fn looks_like_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 10
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && bytes[4] == b'-'
        && bytes[7] == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, decode_yaml};
    use machinery::json;

    #[test]
    fn writes_blocks_as_kubectl_shows_them() {
        let value = json!({
            "a": {"b": [1, {"c": "x", "d": [[1, 2], []]}], "e": {}},
            "when": "2026-01-02T03:04:05Z",
            "yes": "no",
            "text": "one\n two\n",
        });
        let wanted = "a:\n  b:\n  - 1\n  - c: x\n    d:\n    - - 1\n      - 2\n    - []\n  e: {}\ntext: |\n  one\n   two\nwhen: '2026-01-02T03:04:05Z'\n\"yes\": \"no\"\n";
        assert_eq!(encode_yaml(&value), wanted);
    }

    #[test]
    fn every_string_survives() {
        for text in [
            "",
            " ",
            "a",
            "-",
            "- a",
            "-a",
            "a: b",
            "a:b",
            "a:",
            ":a",
            "#a",
            "a #b",
            "a#b",
            "'",
            "\"",
            "it's",
            "~",
            "null",
            "true",
            "off",
            "1",
            "0x1",
            "1.5",
            "1e3",
            ".5",
            "=",
            "<<",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a",
            "[a",
            "{a",
            "a]",
            "|",
            ">",
            "a\nb",
            "a\nb\n",
            "a\n\nb\n\n",
            "\na",
            " a\nb",
            "a \nb",
            "\ta\nb",
            "a\n  b\n",
            "a\tb",
            "a\r\nb",
            "\u{1}",
            "\u{2028}",
            "é",
            "2026-01-02",
            "---",
            "--- a",
            "...",
            "?",
            "? a",
            "a\n---\nb",
            "a\n",
            "\n",
            "k: |\n x",
            "y",
            "\u{feff}a",
        ] {
            for value in [
                json!(text),
                json!({"k": [text]}),
                json!({(text): {"x": text}}),
                json!([[text]]),
            ] {
                let written = encode_yaml(&value);
                let back = decode_yaml(written.as_bytes(), Limits::default());
                assert_eq!(
                    back.map(|decoded| decoded.value),
                    Ok(value),
                    "{text:?} as {written:?}"
                );
            }
        }
    }
}
