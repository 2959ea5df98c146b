//! Objects and trees to JSON bytes, straight from flat bytes, with no tree in between.
//!
//! Escapes as upstream's encoder does (`<`, `>`, `&` and the two line separators too).
//! Knows no schema and no transport.

use super::number::{write_float, write_int};
use machinery::{
    Object, Ref, Value,
    flat::{Raw, RawKey, Walk},
};
use std::{borrow::Cow, sync::OnceLock};

/// One object, `metadata.resourceVersion` included (what was never stored has none).
pub fn encode_json(object: &Object) -> Vec<u8> {
    let mut out = Vec::with_capacity(printed_size(object));
    write_object(&mut out, object, None);
    out
}

/// About how many bytes an object has in JSON: words grow, texts stay.
pub fn printed_size(object: &Object) -> usize {
    object.bytes().len() * 2 + 256
}

/// One tree.
pub fn encode_json_value(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write_value(&mut out, value);
    out
}

/// Appends an object with `metadata.resourceVersion`, under another `(apiVersion, kind)`
/// where one is given. These two come first; what is returned is where the others begin, so
/// that `{` and the bytes from there on are the object as an item ([`write_item`]).
pub fn write_object(
    out: &mut Vec<u8>,
    object: &Object,
    type_override: Option<(&str, &str)>,
) -> usize {
    let mut writer = Writer::new(out);
    let Some(Raw::Object(members)) = object.root().raw() else {
        writer.out.extend_from_slice(b"{}");
        return writer.out.len() - 1;
    };
    let mut any = false;
    writer.head(members, type_override.unzip(), &mut any);
    let start = writer.out.len();
    writer.rest(members, object.revision(), any);
    start + usize::from(matches!(writer.out[start], b',' | b'{'))
}

/// Appends an object as lists of typed kinds hold it: the list says their version and kind.
pub fn write_item(out: &mut Vec<u8>, object: &Object) {
    let mut writer = Writer::new(out);
    match object.root().raw() {
        Some(Raw::Object(members)) => writer.rest(members, object.revision(), false),
        _ => writer.out.extend_from_slice(b"{}"),
    }
}

/// Appends `metadata` with the revision in its place among the sorted fields.
pub fn write_metadata(out: &mut Vec<u8>, fields: Ref<'_>, revision: u64) {
    let nothing = Raw::Null;
    Writer::new(out).metadata(fields.raw().unwrap_or(nothing), revision);
}

/// Appends flat content.
pub fn write_ref(out: &mut Vec<u8>, value: Ref<'_>) {
    Writer::new(out).value(value.raw().unwrap_or(Raw::Null));
}

/// Bytes of a word that are copied in one go, whatever its length: nearly all words fit, and a
/// copy of a fixed length is a few instructions where another is a call.
const FIXED: usize = 32;

/// A word of the dictionary as JSON: `,"word":`, which is a key with what goes before it, and
/// from the second byte to the last but one a string.
struct Word {
    fixed: [u8; FIXED],
    length: usize,
    /// One that does not fit.
    long: Option<Box<[u8]>>,
}

impl Word {
    fn new(word: &&str) -> Self {
        let mut out = vec![b','];
        write_string(&mut out, word);
        out.push(b':');
        let length = out.len();
        let long = (length > FIXED).then(|| out.as_slice().into());
        out.resize(FIXED, 0);
        let fixed = *out.first_chunk().expect("it has been made that long");
        Self {
            fixed,
            length,
            long,
        }
    }

    #[inline(always)]
    fn put(&self, out: &mut Vec<u8>) {
        match &self.long {
            None => {
                let end = out.len() + self.length;
                out.extend_from_slice(&self.fixed);
                out.truncate(end);
            }
            Some(long) => out.extend_from_slice(long),
        }
    }

    #[inline(always)]
    fn put_text(&self, out: &mut Vec<u8>) {
        match &self.long {
            None => {
                let end = out.len() + self.length - 2;
                out.extend_from_slice(&self.fixed[1..]);
                out.truncate(end);
            }
            Some(long) => out.extend_from_slice(&long[1..long.len() - 1]),
        }
    }
}

fn words() -> &'static [Word] {
    static WORDS: OnceLock<Vec<Word>> = OnceLock::new();
    WORDS.get_or_init(|| {
        machinery::flat::dictionary()
            .iter()
            .map(Word::new)
            .collect()
    })
}

/// Prints flat bytes as they come.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
    words: &'static [Word],
}

impl<'o> Writer<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        Self {
            out,
            words: words(),
        }
    }

    /// `apiVersion` and `kind`, which sort before most other members but not before all.
    fn head(
        &mut self,
        mut members: Walk<'_>,
        replaced: (Option<&str>, Option<&str>),
        any: &mut bool,
    ) {
        while let Some(key) = members.key() {
            let value = members.value().unwrap_or(Raw::Null);
            let replaced = match key.bytes() {
                b"apiVersion" => replaced.0,
                b"kind" => replaced.1,
                name if name > b"kind" => break,
                _ => continue,
            };
            self.key(key, any);
            match replaced {
                Some(text) => write_string(self.out, text),
                None => self.value(value),
            }
        }
    }

    /// All members of an object but those of its head, to its end.
    fn rest(&mut self, mut members: Walk<'_>, revision: u64, mut any: bool) {
        while let Some(key) = members.key() {
            let value = members.value().unwrap_or(Raw::Null);
            match key.bytes() {
                b"apiVersion" | b"kind" => continue,
                b"metadata" => {
                    self.key(key, &mut any);
                    self.metadata(value, revision);
                }
                _ => {
                    self.key(key, &mut any);
                    self.value(value);
                }
            }
        }
        self.close_object(any);
    }

    #[inline(always)]
    fn value(&mut self, value: Raw<'_>) {
        match value {
            Raw::Word(number) => self.words[number].put_text(self.out),
            Raw::Text(text) => write_text(self.out, text),
            Raw::Object(members) => self.object(members),
            Raw::Array(items) => self.array(items),
            Raw::Int(number) => write_int(self.out, number),
            Raw::Float(number) => write_float(self.out, number),
            Raw::Bool(flag) => write_bool(self.out, flag),
            Raw::Null => self.out.extend_from_slice(b"null"),
        }
    }

    #[inline(never)]
    fn object(&mut self, mut members: Walk<'_>) {
        let mut any = false;
        while let Some(key) = members.key() {
            self.key(key, &mut any);
            self.value(members.value().unwrap_or(Raw::Null));
        }
        self.close_object(any);
    }

    #[inline(never)]
    fn array(&mut self, mut items: Walk<'_>) {
        self.out.push(b'[');
        let mut any = false;
        while let Some(item) = items.value() {
            if any {
                self.out.push(b',');
            }
            any = true;
            self.value(item);
        }
        self.out.push(b']');
    }

    /// The brace or comma before a member, its key and the colon.
    #[inline(always)]
    fn key(&mut self, key: RawKey<'_>, any: &mut bool) {
        match key {
            RawKey::Word(number) => {
                let start = self.out.len();
                self.words[number].put(self.out);
                if !*any {
                    self.out[start] = b'{';
                }
            }
            RawKey::Text(text) => {
                self.out.push(if *any { b',' } else { b'{' });
                write_text(self.out, text);
                self.out.push(b':');
            }
        }
        *any = true;
    }

    fn close_object(&mut self, any: bool) {
        self.out.extend_from_slice(if any { b"}" } else { b"{}" });
    }

    fn metadata(&mut self, fields: Raw<'_>, revision: u64) {
        const NAME: &[u8] = b"resourceVersion";
        let own = RawKey::Text(NAME);
        let (mut any, mut written) = (false, revision == 0);
        if let Raw::Object(mut fields) = fields {
            while let Some(key) = fields.key() {
                if !written && key.bytes() > NAME {
                    self.key(own, &mut any);
                    write_revision(self.out, revision);
                    written = true;
                }
                self.key(key, &mut any);
                match fields.value().unwrap_or(Raw::Null) {
                    Raw::Array(entries) if key.bytes() == b"managedFields" => {
                        self.managed_fields(entries);
                    }
                    value => self.value(value),
                }
            }
        }
        if !written {
            self.key(own, &mut any);
            write_revision(self.out, revision);
        }
        self.close_object(any);
    }

    /// `fieldsV1` may be kept as the text of its JSON; it goes out as that JSON.
    fn managed_fields(&mut self, mut entries: Walk<'_>) {
        self.out.push(b'[');
        let mut several = false;
        while let Some(entry) = entries.value() {
            if several {
                self.out.push(b',');
            }
            several = true;
            let Raw::Object(mut members) = entry else {
                self.value(entry);
                continue;
            };
            let mut any = false;
            while let Some(key) = members.key() {
                self.key(key, &mut any);
                match members.value().unwrap_or(Raw::Null) {
                    Raw::Text(json) if key.bytes() == b"fieldsV1" => {
                        self.out.extend_from_slice(json);
                    }
                    Raw::Word(number) if key.bytes() == b"fieldsV1" => {
                        let json = machinery::flat::dictionary()[number];
                        self.out.extend_from_slice(json.as_bytes());
                    }
                    value => self.value(value),
                }
            }
            self.close_object(any);
        }
        self.out.push(b']');
    }
}

fn write_revision(out: &mut Vec<u8>, revision: u64) {
    out.push(b'"');
    write_int(out, revision as i64);
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

/// Whether bytes need no escape. The last step overlaps the one before, so that only texts
/// shorter than a step are looked at byte by byte.
fn all_clean(bytes: &[u8]) -> bool {
    let (steps, _) = bytes.as_chunks::<STEP>();
    match bytes.last_chunk::<STEP>() {
        Some(last) => steps.iter().all(|chunk| is_clean(*chunk)) && is_clean(*last),
        None => !bytes.iter().any(|&byte| SPECIAL[usize::from(byte)]),
    }
}

/// Appends a quoted string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    write_text(out, text.as_bytes());
}

/// Appends a quoted string of UTF-8 bytes.
fn write_text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    if all_clean(bytes) {
        out.extend_from_slice(bytes);
    } else {
        write_escaped(out, bytes);
    }
    out.push(b'"');
}

/// Appends bytes of which some need an escape.
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
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
                    out.extend_from_slice(&bytes[clean..at]);
                    out.extend_from_slice(replacement.as_bytes());
                    clean = at + length;
                    length
                }
            };
        }
    }
    out.extend_from_slice(&bytes[clean..]);
}

fn escape_at(bytes: &[u8], at: usize) -> Option<(usize, Cow<'static, str>)> {
    SPECIAL[usize::from(bytes[at])]
        .then(|| escape(&bytes[at..]))
        .flatten()
}

/// How many bytes are replaced, and by what; `None` for another character that starts with 0xe2.
fn escape(bytes: &[u8]) -> Option<(usize, Cow<'static, str>)> {
    let text: Cow<'static, str> = match bytes[0] {
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
        byte => format!("\\u{byte:04x}").into(),
    };
    Some((1, text))
}

/// Opens a list: everything up to the first item. Items follow, separated by commas.
pub fn open_list(out: &mut Vec<u8>, list: &ListHead<'_>) {
    let mut members = Members::open(out);
    write_string(members.key("apiVersion"), list.api_version);
    write_string(members.key("kind"), list.kind);
    let mut metadata = Members::open(members.key("metadata"));
    if list.custom || !list.continue_token.is_empty() {
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
    /// Whether it lists custom objects, which tells `continue` on the last page too.
    pub custom: bool,
}

/// One frame of a JSON watch stream around an object that is JSON already.
pub fn watch_frame(event: &str, object_json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(object_json.len() + 40);
    open_watch_frame(&mut out, event);
    out.extend_from_slice(object_json.trim_ascii_end());
    close_watch_frame(&mut out);
    out
}

/// Opens a frame of a JSON watch stream: everything up to the object.
pub fn open_watch_frame(out: &mut Vec<u8>, event: &str) {
    out.extend_from_slice(b"{\"type\":");
    write_string(out, event);
    out.extend_from_slice(b",\"object\":");
}

/// Closes what [`open_watch_frame`] opened.
pub fn close_watch_frame(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}\n");
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
        let box_of = |tree| Object::new(&tree, 7);
        for (object, item) in [
            (
                object,
                r#"{"metadata":{"name":"a","resourceVersion":"7","uid":"u"},"n":[1.5,null,true,{}]}"#,
            ),
            (box_of(json!({"apiVersion": "v1", "kind": "Box"})), "{}"),
            (
                box_of(json!({"apiVersion": "v1", "data": {}, "kind": "Box", "x": 1})),
                r#"{"data":{},"x":1}"#,
            ),
            (box_of(json!({"data": {}})), r#"{"data":{}}"#),
            (box_of(json!({})), "{}"),
        ] {
            let (mut whole, mut alone) = (b"...".to_vec(), Vec::new());
            let start = write_object(&mut whole, &object, None);
            write_item(&mut alone, &object);
            assert_eq!(text(alone), item);
            assert_eq!(
                format!("{{{}", std::str::from_utf8(&whole[start..]).unwrap()),
                item
            );
        }
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
            custom: false,
        };
        let listed = |head| {
            let mut out = Vec::new();
            open_list(&mut out, &head);
            out.extend(b"{}");
            close_list(&mut out);
            text(out)
        };
        assert_eq!(
            listed(head),
            "{\"apiVersion\":\"v1\",\"kind\":\"BoxList\",\"metadata\":{\"continue\":\"c\",\"remainingItemCount\":2,\"resourceVersion\":\"9\"},\"items\":[{}]}\n"
        );
        let last = |custom| ListHead {
            continue_token: "",
            remaining: None,
            custom,
            ..head
        };
        assert!(listed(last(false)).contains(r#""metadata":{"resourceVersion":"9"}"#));
        assert!(listed(last(true)).contains(r#""metadata":{"continue":"","resourceVersion":"9"}"#));
        assert_eq!(
            text(watch_frame("ADDED", b"{}\n")),
            "{\"type\":\"ADDED\",\"object\":{}}\n"
        );
    }
}
