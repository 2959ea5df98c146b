//! Objects and trees to JSON bytes, straight from flat bytes, with no tree in between.
//!
//! Escapes as upstream's encoder does (`<`, `>`, `&` and the two line separators too).
//! Knows no schema and no transport.

use super::number::{write_float, write_int};
use machinery::{Object, Ref, Value, flat::Shape};

/// One object, `metadata.resourceVersion` included.
pub fn encode_json(object: &Object) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.bytes().len() * 3);
    write_object(&mut out, object, None);
    out
}

/// One tree.
pub fn encode_json_value(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write_value(&mut out, value);
    out
}

/// Appends an object with `metadata.resourceVersion`, under another `(apiVersion, kind)`
/// where one is given.
pub fn write_object(out: &mut Vec<u8>, object: &Object, type_override: Option<(&str, &str)>) {
    let (api_version, kind) = type_override.unzip();
    let mut members = Members::open(out);
    for (key, value) in object.root().entries() {
        let replaced = match key {
            "apiVersion" => api_version,
            "kind" => kind,
            _ => None,
        };
        let out = members.key(key);
        match replaced {
            Some(text) => write_string(out, text),
            None if key == "metadata" => write_metadata(out, value, object.revision()),
            None => write_ref(out, value),
        }
    }
    members.close();
}

/// Appends `metadata` with the revision in its place among the sorted fields.
pub fn write_metadata(out: &mut Vec<u8>, fields: Ref<'_>, revision: u64) {
    const NAME: &str = "resourceVersion";
    let mut members = Members::open(out);
    let mut written = false;
    for (key, value) in fields.entries() {
        if !written && key > NAME {
            write_revision(members.key(NAME), revision);
            written = true;
        }
        let out = members.key(key);
        match key {
            "managedFields" => write_managed_fields(out, value),
            _ => write_ref(out, value),
        }
    }
    if !written {
        write_revision(members.key(NAME), revision);
    }
    members.close();
}

/// `fieldsV1` may be kept as the text of its JSON; it goes out as that JSON.
fn write_managed_fields(out: &mut Vec<u8>, entries: Ref<'_>) {
    out.push(b'[');
    for (at, entry) in entries.items().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let mut members = Members::open(out);
        for (key, value) in entry.entries() {
            let out = members.key(key);
            match value.as_str().filter(|_| key == "fieldsV1") {
                Some(json) => out.extend(json.as_bytes()),
                None => write_ref(out, value),
            }
        }
        members.close();
    }
    out.push(b']');
}

fn write_revision(out: &mut Vec<u8>, revision: u64) {
    out.push(b'"');
    out.extend(revision.to_string().as_bytes());
    out.push(b'"');
}

/// Writes the commas and keys of one JSON object.
struct Members<'a> {
    out: &'a mut Vec<u8>,
    any: bool,
}

impl<'a> Members<'a> {
    fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, any: false }
    }

    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if self.any {
            self.out.push(b',');
        }
        self.any = true;
        write_string(self.out, key);
        self.out.push(b':');
        self.out
    }

    fn close(self) {
        self.out.push(b'}');
    }
}

/// Appends flat content.
pub fn write_ref(out: &mut Vec<u8>, value: Ref<'_>) {
    match value.shape() {
        Shape::Missing | Shape::Null => out.extend(b"null"),
        Shape::Bool(flag) => write_bool(out, flag),
        Shape::Int(number) => write_int(out, number),
        Shape::Float(number) => write_float(out, number),
        Shape::String(text) => write_string(out, text),
        Shape::Array => {
            out.push(b'[');
            for (at, item) in value.items().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_ref(out, item);
            }
            out.push(b']');
        }
        Shape::Object => {
            let mut members = Members::open(out);
            for (key, value) in value.entries() {
                write_ref(members.key(key), value);
            }
            members.close();
        }
    }
}

/// Appends a tree.
pub fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend(b"null"),
        Value::Bool(flag) => write_bool(out, *flag),
        Value::Int(number) => write_int(out, *number),
        Value::Float(number) => write_float(out, *number),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_value(out, item);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            let mut members = Members::open(out);
            for (key, value) in map.iter() {
                write_value(members.key(key), value);
            }
            members.close();
        }
    }
}

fn write_bool(out: &mut Vec<u8>, flag: bool) {
    out.extend(if flag { &b"true"[..] } else { b"false" });
}

/// Bytes that cannot stand as they are. 0xe2 starts U+2028 and U+2029.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    let marks = b"\"\\<>&\xe2";
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    table
};

/// How many bytes are looked at in one step.
const STEP: usize = 8;

/// Whether none of eight bytes may need an escape. Texts are nearly always clean, so this test
/// decides how fast lists are written.
fn is_clean(chunk: [u8; STEP]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let word = u64::from_le_bytes(chunk);
    // Sets the high bit of each zero byte (and maybe of bytes above one; any means "look closer").
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let angles = zeros((word | (ONES * 0x02)) ^ (ONES * u64::from(b'>')));
    let quote_or_ampersand = zeros((word | (ONES * 0x04)) ^ (ONES * u64::from(b'&')));
    let backslash = zeros(word ^ (ONES * u64::from(b'\\')));
    (word | control | angles | quote_or_ampersand | backslash) & HIGH == 0
}

/// Appends a quoted string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let (mut clean, mut at) = (0, 0);
    while at < bytes.len() {
        if bytes[at..]
            .first_chunk()
            .is_some_and(|chunk| is_clean(*chunk))
        {
            at += STEP;
            continue;
        }
        let end = bytes.len().min(at + STEP);
        while at < end {
            at += match escape_at(bytes, at) {
                None => 1,
                Some((length, replacement)) => {
                    out.extend(&bytes[clean..at]);
                    out.extend(replacement.as_bytes());
                    clean = at + length;
                    length
                }
            };
        }
    }
    out.extend(&bytes[clean..]);
    out.push(b'"');
}

fn escape_at(bytes: &[u8], at: usize) -> Option<(usize, String)> {
    SPECIAL[usize::from(bytes[at])]
        .then(|| escape(&bytes[at..]))
        .flatten()
}

/// How many bytes are replaced, and by what; `None` for another character that starts with 0xe2.
fn escape(bytes: &[u8]) -> Option<(usize, String)> {
    let text = match bytes[0] {
        b'"' => "\\\"".into(),
        b'\\' => "\\\\".into(),
        b'\n' => "\\n".into(),
        b'\r' => "\\r".into(),
        b'\t' => "\\t".into(),
        8 => "\\b".into(),
        12 => "\\f".into(),
        0xe2 => {
            let last = bytes.get(2).filter(|_| bytes[1] == 0x80)?;
            return match last {
                0xa8 => Some((3, "\\u2028".into())),
                0xa9 => Some((3, "\\u2029".into())),
                _ => None,
            };
        }
        byte => format!("\\u{byte:04x}"),
    };
    Some((1, text))
}

/// Opens a list: everything up to the first item. Items follow, separated by commas.
pub fn open_list(out: &mut Vec<u8>, list: &ListHead<'_>) {
    let mut members = Members::open(out);
    write_string(members.key("apiVersion"), list.api_version);
    write_string(members.key("kind"), list.kind);
    let mut metadata = Members::open(members.key("metadata"));
    if !list.continue_token.is_empty() {
        write_string(metadata.key("continue"), list.continue_token);
    }
    if let Some(left) = list.remaining {
        write_int(metadata.key("remainingItemCount"), left);
    }
    write_revision(metadata.key("resourceVersion"), list.revision);
    metadata.close();
    members.key("items").push(b'[');
}

/// Closes what [`open_list`] opened.
pub fn close_list(out: &mut Vec<u8>) {
    out.extend(b"]}\n");
}

/// What a list says about itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListHead<'a> {
    /// `apiVersion` of the list.
    pub api_version: &'a str,
    /// `kind` of the list.
    pub kind: &'a str,
    /// `metadata.resourceVersion`.
    pub revision: u64,
    /// `metadata.continue`, empty on the last page.
    pub continue_token: &'a str,
    /// `metadata.remainingItemCount`, where it is known.
    pub remaining: Option<i64>,
}

/// One frame of a JSON watch stream around an object that is JSON already.
pub fn watch_frame(event: &str, object_json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(object_json.len() + 32);
    out.extend(b"{\"type\":");
    write_string(&mut out, event);
    out.extend(b",\"object\":");
    out.extend(object_json.trim_ascii_end());
    out.extend(b"}\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, decode_json};
    use machinery::json;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn escapes_as_upstream() {
        for (raw, wanted) in [
            ("a<b>&c", r#""a\u003cb\u003e\u0026c""#),
            ("\"\\\n\r\t\u{8}\u{c}\u{1}", r#""\"\\\n\r\t\b\f\u0001""#),
            ("é\u{2028}\u{2029}–€", "\"é\\u2028\\u2029–€\""),
            ("", "\"\""),
        ] {
            let out = encode_json_value(&json!(raw));
            assert_eq!(
                decode_json(&out, Limits::default()).unwrap().value,
                json!(raw)
            );
            assert_eq!(text(out), wanted);
        }
    }

    #[test]
    fn every_byte_is_escaped_wherever_it_stands() {
        for letter in (0..=0x2100).filter_map(char::from_u32) {
            for before in 0..10 {
                let raw = format!("{}{letter}tail of it", "x".repeat(before));
                let out = encode_json_value(&json!(&raw));
                let clean = |byte: &u8| *byte >= 0x20 && !b"<>&".contains(byte);
                assert!(out.iter().all(clean), "{raw:?}");
                let back = decode_json(&out, Limits::default()).unwrap().value;
                assert_eq!(back.str(), raw);
            }
        }
    }

    #[test]
    fn shows_the_revision_among_the_metadata() {
        let tree = json!({"apiVersion": "v1", "kind": "Box", "metadata": {"name": "a", "uid": "u"}, "n": [1.5, null, true, {}]});
        let object = Object::new(&tree, 7);
        assert_eq!(
            text(encode_json(&object)),
            r#"{"apiVersion":"v1","kind":"Box","metadata":{"name":"a","resourceVersion":"7","uid":"u"},"n":[1.5,null,true,{}]}"#
        );
        let mut out = Vec::new();
        write_object(&mut out, &object, Some(("v2", "Crate")));
        assert!(text(out).starts_with(r#"{"apiVersion":"v2","kind":"Crate","metadata""#));
        let managed = json!({"metadata": {"managedFields": [{"fieldsV1": "{\"f:a\":{}}", "manager": "m"}, {"fieldsV1": {"f:b": {}}}]}});
        assert_eq!(
            text(encode_json(&Object::new(&managed, 2))),
            r#"{"metadata":{"managedFields":[{"fieldsV1":{"f:a":{}},"manager":"m"},{"fieldsV1":{"f:b":{}}}],"resourceVersion":"2"}}"#
        );
        let bare = Object::new(&json!({"metadata": {}}), 1);
        assert_eq!(
            text(encode_json(&bare)),
            r#"{"metadata":{"resourceVersion":"1"}}"#
        );
    }

    #[test]
    fn frames_lists_and_events() {
        let head = ListHead {
            api_version: "v1",
            kind: "BoxList",
            revision: 9,
            continue_token: "c",
            remaining: Some(2),
        };
        let mut out = Vec::new();
        open_list(&mut out, &head);
        out.extend(b"{}");
        close_list(&mut out);
        assert_eq!(
            text(out),
            "{\"apiVersion\":\"v1\",\"kind\":\"BoxList\",\"metadata\":{\"continue\":\"c\",\"remainingItemCount\":2,\"resourceVersion\":\"9\"},\"items\":[{}]}\n"
        );
        assert_eq!(
            text(watch_frame("ADDED", b"{}\n")),
            "{\"type\":\"ADDED\",\"object\":{}}\n"
        );
    }
}
