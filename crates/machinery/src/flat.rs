//! The immutable byte form of a tree: what the store holds, the log records and everyone reads.
//!
//! A value is a tag byte and its payload; arrays and objects carry their byte length, so a
//! reader skips what it does not want. Field names and frequent strings are numbers into
//! `dictionary.txt`, which is append-only: a number never changes its meaning.
//! Knows no schema and no metadata.

use crate::{Map, Value};
use smol_str::SmolStr;
use std::sync::OnceLock;

mod walk;

pub use walk::*;

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const FLOAT: u8 = 4;
const TEXT: u8 = 5;
const WORD: u8 = 6;
const ARRAY: u8 = 7;
const OBJECT: u8 = 8;

/// Nesting deeper than this is refused when bytes are checked.
pub const MAX_DEPTH: usize = 512;

static DICTIONARY: &str = include_str!("dictionary.txt");

/// The strings that have numbers, in number order.
pub fn dictionary() -> &'static [&'static str] {
    static WORDS: OnceLock<Vec<&'static str>> = OnceLock::new();
    WORDS.get_or_init(|| DICTIONARY.lines().collect())
}

const TABLE_SIZE: usize = 8192;
/// Spreads the bits of a hash: the golden ratio's.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where words are, by hash.
struct Table {
    slots: Vec<u16>,
    /// Bytes of the longest word: what is longer is none.
    longest: usize,
}

fn hash(text: &str) -> usize {
    let mix = |hash: u64, part: u64| (hash ^ part).wrapping_mul(SPREAD).rotate_left(29);
    let (eights, rest) = text.as_bytes().as_chunks::<8>();
    let eights = eights.iter().map(|bytes| u64::from_le_bytes(*bytes));
    let hash = eights.fold(text.len() as u64, mix);
    let rest = rest.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    mix(hash, rest) as usize % TABLE_SIZE
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut slots = vec![u16::MAX; TABLE_SIZE];
        assert!(
            dictionary().len() * 2 < TABLE_SIZE,
            "the dictionary outgrew its table"
        );
        for (number, word) in dictionary().iter().enumerate() {
            let mut slot = hash(word);
            while slots[slot] != u16::MAX {
                slot = (slot + 1) % TABLE_SIZE;
            }
            slots[slot] = number as u16;
        }
        let longest = dictionary().iter().map(|word| word.len()).max();
        Table {
            slots,
            longest: longest.unwrap_or_default(),
        }
    })
}

/// Where in `dictionary.txt` each word begins: its number at that place.
fn places() -> &'static [u16] {
    static PLACES: OnceLock<Vec<u16>> = OnceLock::new();
    PLACES.get_or_init(|| {
        let mut places = vec![u16::MAX; DICTIONARY.len()];
        for (number, word) in dictionary().iter().enumerate() {
            places[word.as_ptr().addr() - DICTIONARY.as_ptr().addr()] = number as u16;
        }
        places
    })
}

/// The number of a string in the dictionary.
fn number_of(text: &str) -> Option<u16> {
    let words = dictionary();
    // Names read from an object or interned lie in the dictionary themselves.
    let place = text
        .as_ptr()
        .addr()
        .wrapping_sub(DICTIONARY.as_ptr().addr());
    if let Some(number) = places().get(place)
        && let Some(word) = words.get(usize::from(*number))
        && word.len() == text.len()
    {
        return Some(*number);
    }
    let table = table();
    if text.len() > table.longest {
        return None;
    }
    let mut slot = hash(text);
    loop {
        match table.slots[slot] {
            u16::MAX => return None,
            number if words[usize::from(number)] == text => return Some(number),
            _ => slot = (slot + 1) % TABLE_SIZE,
        }
    }
}

/// A shared copy of `text` where the dictionary has it: no allocation for field names.
pub fn intern(text: &str) -> SmolStr {
    number_of(text).map_or_else(
        || SmolStr::new(text),
        |number| SmolStr::new_static(dictionary()[usize::from(number)]),
    )
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0u64, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
        shift += 7;
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(head)
}

/// Encodes a tree.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    encode_into(value, &mut out);
    // A copy of the right size leaves the first piece of memory whole for the next one.
    out.as_slice().to_vec()
}

fn encode_into(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(flag) => out.push(if *flag { TRUE } else { FALSE }),
        Value::Int(number) => {
            out.push(INT);
            put_varint(out, (number << 1 ^ number >> 63) as u64);
        }
        Value::Float(number) => {
            out.push(FLOAT);
            out.extend(number.to_le_bytes());
        }
        Value::String(text) => encode_text(text, out),
        Value::Array(items) => encode_block(ARRAY, out, |out| {
            items.iter().for_each(|item| encode_into(item, out));
        }),
        Value::Object(map) => match map.stored_bytes() {
            Some(bytes) => {
                out.push(OBJECT);
                put_varint(out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            None => encode_block(OBJECT, out, |out| {
                for (key, value) in map.iter() {
                    encode_key(key, out);
                    encode_into(value, out);
                }
            }),
        },
    }
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    if let Some(number) = number_of(text) {
        out.push(WORD);
        put_varint(out, number.into());
    } else {
        out.push(TEXT);
        put_varint(out, text.len() as u64);
        out.extend(text.as_bytes());
    }
}

fn encode_key(key: &str, out: &mut Vec<u8>) {
    if let Some(number) = number_of(key) {
        put_varint(out, u64::from(number) + 1);
    } else {
        out.push(0);
        put_varint(out, key.len() as u64);
        out.extend(key.as_bytes());
    }
}

/// Writes tag, length and body; the length's place is kept small and widened after the fact.
fn encode_block(tag: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    out.push(0);
    let start = out.len();
    body(out);
    let length = out.len() - start;
    if length < 0x80 {
        out[start - 1] = length as u8;
        return;
    }
    // The length goes behind the body, its first byte to its place, the others before the body.
    put_varint(out, length as u64);
    out[start - 1] = out.remove(start + length);
    let rest = out.len() - start - length;
    out[start..].rotate_right(rest);
}

/// A cursor on one value inside flat bytes, or on nothing at all (a missing field).
#[derive(Clone, Copy, Debug, Default)]
pub struct Ref<'a>(&'a [u8]);

/// What a [`Ref`] points at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape<'a> {
    /// Nothing: the field is not there.
    Missing,
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// A string.
    String(&'a str),
    /// An array; see [`Ref::items`].
    Array,
    /// An object; see [`Ref::entries`].
    Object,
}

impl<'a> Ref<'a> {
    /// A cursor that points at nothing.
    pub const MISSING: Ref<'static> = Ref(&[]);

    /// A cursor on the value that `bytes` start with. The bytes must come from [`encode`]
    /// or have passed [`check`]; anything else reads as missing fields.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What this points at.
    pub fn shape(self) -> Shape<'a> {
        let Some((&tag, mut rest)) = self.0.split_first() else {
            return Shape::Missing;
        };
        let shape = match tag {
            NULL => Some(Shape::Null),
            FALSE => Some(Shape::Bool(false)),
            TRUE => Some(Shape::Bool(true)),
            INT => take_varint(&mut rest)
                .map(|raw| Shape::Int((raw >> 1) as i64 ^ -((raw & 1) as i64))),
            FLOAT => rest
                .first_chunk()
                .map(|raw| Shape::Float(f64::from_le_bytes(*raw))),
            TEXT => take_text(&mut rest).map(Shape::String),
            WORD => take_varint(&mut rest).and_then(word).map(Shape::String),
            ARRAY => Some(Shape::Array),
            OBJECT => Some(Shape::Object),
            _ => None,
        };
        shape.unwrap_or(Shape::Missing)
    }

    fn body(self, tag: u8) -> &'a [u8] {
        let Some((&found, mut rest)) = self.0.split_first() else {
            return &[];
        };
        if found != tag {
            return &[];
        }
        take_varint(&mut rest)
            .and_then(|length| take(&mut rest, length))
            .unwrap_or_default()
    }

    /// The member `key` of an object.
    pub fn get(self, key: &str) -> Ref<'a> {
        let number = number_of(key).map(usize::from);
        let mut rest = self.body(OBJECT);
        while !rest.is_empty() {
            let mut walk = Walk::new(rest);
            let same = match walk.key() {
                Some(RawKey::Word(found)) => number == Some(found),
                // Bytes of a smaller dictionary spell out what is a word by now.
                Some(RawKey::Text(text)) => text == key.as_bytes(),
                None => break,
            };
            rest = walk.bytes();
            match take_value(&mut rest) {
                Some(value) if same => return value,
                Some(_) => {}
                None => break,
            }
        }
        Ref::MISSING
    }

    /// Follows object members along a dotted path (for fixed field names without dots).
    pub fn at(self, path: &str) -> Ref<'a> {
        path.split('.').fold(self, Ref::get)
    }

    /// Items of an array; nothing for anything else.
    pub fn items(self) -> impl Iterator<Item = Ref<'a>> + Clone {
        let mut rest = self.body(ARRAY);
        std::iter::from_fn(move || take_value(&mut rest))
    }

    /// Members of an object in key order; nothing for anything else.
    pub fn entries(self) -> impl Iterator<Item = (&'a str, Ref<'a>)> + Clone {
        let mut rest = self.body(OBJECT);
        std::iter::from_fn(move || Some((take_key(&mut rest)?, take_value(&mut rest)?)))
    }

    /// Whether nothing is there, or null.
    pub fn is_null(self) -> bool {
        matches!(self.shape(), Shape::Missing | Shape::Null)
    }

    /// The string, if it is one.
    pub fn as_str(self) -> Option<&'a str> {
        if let Shape::String(text) = self.shape() {
            Some(text)
        } else {
            None
        }
    }

    /// The string, or the empty string.
    pub fn str(self) -> &'a str {
        self.as_str().unwrap_or_default()
    }

    /// The whole number, if it is one.
    pub fn as_i64(self) -> Option<i64> {
        match self.shape() {
            Shape::Int(number) => Some(number),
            Shape::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                Some(number as i64)
            }
            _ => None,
        }
    }

    /// The whole number, or zero.
    pub fn i64(self) -> i64 {
        self.as_i64().unwrap_or_default()
    }

    /// The boolean, if it is one.
    pub fn as_bool(self) -> Option<bool> {
        if let Shape::Bool(flag) = self.shape() {
            Some(flag)
        } else {
            None
        }
    }

    /// Whether it is `true`.
    pub fn is_true(self) -> bool {
        self.as_bool() == Some(true)
    }

    /// A mutable copy. Words share their text, and a text that was written out is no word.
    pub fn to_value(self) -> Value {
        let value = self.raw().unwrap_or(Raw::Null);
        value.to_value(&Walk::to_map)
    }

    /// Reads a struct of the caller's; the error names what did not fit.
    pub fn read<T: serde::Deserialize<'a>>(self) -> Result<T, serde::de::value::Error> {
        T::deserialize(self)
    }
}

/// Same content (field order is canonical, so bytes decide).
impl PartialEq for Ref<'_> {
    fn eq(&self, other: &Ref<'_>) -> bool {
        let (mut left, mut right) = (self.0, other.0);
        match (skip(&mut left), skip(&mut right)) {
            (Some(left), Some(right)) => left == right,
            (left, right) => left.is_none() && right.is_none(),
        }
    }
}

fn word(number: u64) -> Option<&'static str> {
    dictionary().get(usize::try_from(number).ok()?).copied()
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = take_varint(rest)?;
    std::str::from_utf8(take(rest, length)?).ok()
}

fn take_key<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    match take_varint(rest)? {
        0 => take_text(rest),
        number => word(number - 1),
    }
}

/// Passes over one value and returns its bytes.
fn skip<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let start = *rest;
    let (&tag, body) = rest.split_first()?;
    *rest = body;
    match tag {
        NULL | FALSE | TRUE => {}
        INT | WORD => {
            take_varint(rest)?;
        }
        FLOAT => {
            take(rest, 8)?;
        }
        TEXT | ARRAY | OBJECT => {
            let length = take_varint(rest)?;
            take(rest, length)?;
        }
        _ => return None,
    }
    Some(&start[..start.len() - rest.len()])
}

fn take_value<'a>(rest: &mut &'a [u8]) -> Option<Ref<'a>> {
    skip(rest).map(Ref)
}

/// Decodes bytes written with another dictionary (an older or newer binary's), checking
/// every length and nesting on the way. `None` if the bytes are not a value.
pub fn decode_foreign(bytes: &[u8], words: &[String]) -> Option<Value> {
    let mut rest = bytes;
    let value = decode_checked(
        &mut rest,
        &|number| words.get(number).map(String::as_str),
        0,
    )?;
    rest.is_empty().then_some(value)
}

/// Whether `bytes` are exactly one well-formed value in this binary's dictionary.
pub fn check(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let words = dictionary();
    decode_checked(&mut rest, &|number| words.get(number).copied(), 0).is_some() && rest.is_empty()
}

type Words<'a> = dyn Fn(usize) -> Option<&'a str> + 'a;

fn decode_checked<'a>(rest: &mut &[u8], words: &Words<'a>, depth: usize) -> Option<Value> {
    let (&tag, body) = rest.split_first()?;
    *rest = body;
    Some(match tag {
        NULL => Value::Null,
        FALSE => Value::Bool(false),
        TRUE => Value::Bool(true),
        INT => {
            let raw = take_varint(rest)?;
            Value::Int((raw >> 1) as i64 ^ -((raw & 1) as i64))
        }
        FLOAT => Value::Float(f64::from_le_bytes(take(rest, 8)?.try_into().ok()?)),
        TEXT => Value::String(take_text(rest)?.into()),
        WORD => Value::String(words(usize::try_from(take_varint(rest)?).ok()?)?.into()),
        ARRAY | OBJECT if depth < MAX_DEPTH => {
            let length = take_varint(rest)?;
            decode_block(tag, take(rest, length)?, words, depth + 1)?
        }
        _ => return None,
    })
}

fn decode_block<'a>(tag: u8, mut body: &[u8], words: &Words<'a>, depth: usize) -> Option<Value> {
    if tag == ARRAY {
        let mut items = Vec::new();
        while !body.is_empty() {
            items.push(decode_checked(&mut body, words, depth)?);
        }
        return Some(Value::Array(items));
    }
    let mut entries = Vec::new();
    while !body.is_empty() {
        let key = match take_varint(&mut body)? {
            0 => take_text(&mut body)?.into(),
            number => words(usize::try_from(number - 1).ok()?)?.into(),
        };
        entries.push((key, decode_checked(&mut body, words, depth)?));
    }
    Some(Value::Object(Map::from_entries(entries, |_| ())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn sample() -> Value {
        json!({
            "metadata": {"name": "web", "labels": {"app": "x", "unheard/of": "y".repeat(300)}},
            "spec": {"replicas": -3, "big": i64::MAX, "small": i64::MIN, "ratio": 0.25, "on": true, "off": false, "none": null,
                "containers": [{"name": "a"}, {"name": "b", "imagePullPolicy": "Always"}], "empty": {}, "nothing": []}
        })
    }

    #[test]
    fn round_trips_and_reads_by_path() {
        let bytes = encode(&sample());
        let root = Ref::new(&bytes);
        assert_eq!(root.to_value(), sample());
        assert_eq!(root.at("spec.replicas").as_i64(), Some(-3));
        assert_eq!(root.at("spec.big").as_i64(), Some(i64::MAX));
        assert_eq!(
            root.at("spec.containers")
                .items()
                .nth(1)
                .unwrap()
                .get("imagePullPolicy")
                .str(),
            "Always"
        );
        assert_eq!(root.at("spec.nowhere.at.all").shape(), Shape::Missing);
        assert!(root.at("spec.none").is_null());
        assert!(check(&bytes));
        let words: Vec<_> = dictionary().iter().map(|word| word.to_string()).collect();
        assert_eq!(decode_foreign(&bytes, &words), Some(sample()));
    }

    #[test]
    fn damaged_bytes_never_panic_and_truncated_ones_never_pass() {
        let bytes = encode(&sample());
        for length in 0..bytes.len() {
            assert!(!check(&bytes[..length]));
            let _ = Ref::new(&bytes[..length]).to_value();
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let _ = (check(&damaged), Ref::new(&damaged).to_value());
        }
    }

    #[test]
    fn reads_into_structs() {
        #[derive(serde::Deserialize)]
        struct Spec {
            replicas: i32,
            ratio: f64,
            absent: Option<String>,
        }
        let bytes = encode(&sample());
        let spec: Spec = Ref::new(&bytes).get("spec").read().unwrap();
        assert_eq!((spec.replicas, spec.ratio, spec.absent), (-3, 0.25, None));
    }

    #[test]
    fn dictionary_has_no_duplicates() {
        let mut words = dictionary().to_vec();
        words.sort_unstable();
        assert!(words.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_word_spelled_out_is_found() {
        let mut bytes = vec![OBJECT, 11, 0, 8];
        bytes.extend(b"metadata");
        bytes.push(TRUE);
        assert!(Ref::new(&bytes).get("metadata").is_true());
        assert!(Ref::new(&bytes).get("spec").is_null());
        let tree = json!({"metadata": true});
        assert_eq!(Ref::new(&bytes).to_value(), tree);
        assert!(Ref::new(&encode(&tree)).get("metadata").is_true());
    }
}
