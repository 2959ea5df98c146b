//! Flat bytes read front to back, once, with words still as numbers: what printers stand on.
//!
//! Does less than `Ref`: no lookup by name, no check that texts are UTF-8 (bytes of `encode`
//! and checked ones are), no second pass to find a value's end. Knows no form of printing.

use super::{
    ARRAY, FALSE, FLOAT, INT, NULL, OBJECT, Ref, TEXT, TRUE, WORD, dictionary, take, take_varint,
};
use crate::{Map, Value};
use smol_str::SmolStr;

/// How many words the dictionary has, known without looking at it.
const WORDS: usize = {
    let bytes = include_bytes!("../dictionary.txt");
    let (mut at, mut lines) = (0, 0);
    while at < bytes.len() {
        lines += (bytes[at] == b'\n') as usize;
        at += 1;
    }
    lines + (bytes[bytes.len() - 1] != b'\n') as usize
};

/// A value as it lies in the bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Raw<'a> {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// A text of its own.
    Text(&'a [u8]),
    /// A text by its number in the dictionary.
    Word(usize),
    /// The items of an array.
    Array(Walk<'a>),
    /// The members of an object.
    Object(Walk<'a>),
}

/// The key of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawKey<'a> {
    /// A name of its own.
    Text(&'a [u8]),
    /// A name by its number in the dictionary.
    Word(usize),
}

impl RawKey<'_> {
    /// The name's bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            RawKey::Text(text) => text,
            RawKey::Word(number) => dictionary()[*number].as_bytes(),
        }
    }
}

/// Room made for members before they are read: most objects have no more.
const USUAL_MEMBERS: usize = 8;

/// The name or string that these bytes are; empty where they are damaged.
fn text(bytes: &[u8]) -> SmolStr {
    std::str::from_utf8(bytes)
        .map(SmolStr::new)
        .unwrap_or_default()
}

fn word(number: usize) -> SmolStr {
    SmolStr::new_static(dictionary()[number])
}

impl<'a> Raw<'a> {
    /// The tree of this value, its objects made by `object`.
    pub(crate) fn to_value(self, object: &impl Fn(Walk<'a>) -> Map) -> Value {
        match self {
            Raw::Null => Value::Null,
            Raw::Bool(flag) => Value::Bool(flag),
            Raw::Int(number) => Value::Int(number),
            Raw::Float(number) => Value::Float(number),
            Raw::Text(bytes) => Value::String(text(bytes)),
            Raw::Word(number) => Value::String(word(number)),
            Raw::Array(mut walk) => {
                let items = std::iter::from_fn(|| walk.value());
                Value::Array(items.map(|item| item.to_value(object)).collect())
            }
            Raw::Object(walk) => Value::Object(object(walk)),
        }
    }
}

/// A place inside an array or an object, moving forward. Always inlined into its reader: a value
/// that goes through memory on its way costs more than reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk<'a>(&'a [u8]);

impl<'a> Walk<'a> {
    /// Over the members or items that `bytes` are.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Walk(bytes)
    }

    /// What is still to come.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The members of an object, the objects in them made by `object`.
    pub(crate) fn members(mut self, object: &impl Fn(Walk<'a>) -> Map) -> Vec<(SmolStr, Value)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let mut members = Vec::with_capacity(USUAL_MEMBERS);
        while let Some(key) = self.key() {
            let key = match key {
                RawKey::Text(bytes) => text(bytes),
                RawKey::Word(number) => word(number),
            };
            let value = self.value().unwrap_or(Raw::Null);
            members.push((key, value.to_value(object)));
        }
        members
    }

    /// The object with these members.
    pub(crate) fn to_map(self) -> Map {
        Map::from_sorted(self.members(&Walk::to_map))
    }

    /// The next value; `None` at the end, or where bytes are damaged.
    #[inline(always)]
    pub fn value(&mut self) -> Option<Raw<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(match tag {
            WORD => Raw::Word(self.word(0)?),
            TEXT => Raw::Text(self.block()?),
            OBJECT => Raw::Object(Walk(self.block()?)),
            ARRAY => Raw::Array(Walk(self.block()?)),
            INT => {
                let raw = self.number()?;
                Raw::Int((raw >> 1) as i64 ^ -((raw & 1) as i64))
            }
            FLOAT => Raw::Float(f64::from_le_bytes(take(&mut self.0, 8)?.try_into().ok()?)),
            NULL => Raw::Null,
            FALSE => Raw::Bool(false),
            TRUE => Raw::Bool(true),
            _ => return None,
        })
    }

    /// The key of the next member, whose value [`Walk::value`] then reads.
    #[inline(always)]
    pub fn key(&mut self) -> Option<RawKey<'a>> {
        match self.0.first()? {
            0 => {
                self.0 = &self.0[1..];
                self.block().map(RawKey::Text)
            }
            _ => self.word(1).map(RawKey::Word),
        }
    }

    #[inline(always)]
    fn number(&mut self) -> Option<u64> {
        // Nearly all are one byte long.
        match self.0.split_first()? {
            (&byte, rest) if byte < 0x80 => {
                self.0 = rest;
                Some(byte.into())
            }
            _ => take_varint(&mut self.0),
        }
    }

    #[inline(always)]
    fn word(&mut self, base: u64) -> Option<usize> {
        let number = usize::try_from(self.number()?.checked_sub(base)?).ok()?;
        (number < WORDS).then_some(number)
    }

    #[inline(always)]
    fn block(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        take(&mut self.0, length)
    }
}

impl<'a> Ref<'a> {
    /// What this points at, for reading it whole; `None` for a missing field.
    pub fn raw(self) -> Option<Raw<'a>> {
        Walk(self.0).value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Value, flat::encode, json};

    fn rebuilt(raw: Raw<'_>) -> Value {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        match raw {
            Raw::Null => Value::Null,
            Raw::Bool(flag) => flag.into(),
            Raw::Int(number) => number.into(),
            Raw::Float(number) => Value::Float(number),
            Raw::Text(bytes) => text(bytes).as_str().into(),
            Raw::Word(number) => dictionary()[number].into(),
            Raw::Array(mut walk) => {
                Value::Array(std::iter::from_fn(|| walk.value().map(rebuilt)).collect())
            }
            Raw::Object(mut walk) => {
                let mut made = Value::object();
                while let Some(key) = walk.key() {
                    made[text(key.bytes()).as_str()] = rebuilt(walk.value().unwrap());
                }
                made
            }
        }
    }

    #[test]
    fn walks_over_everything_and_over_damage() {
        assert_eq!(WORDS, dictionary().len());
        let tree = json!({"metadata": {"name": "web", "own/key": "é".repeat(100)}, "spec": {"replicas": -3, "big": i64::MAX,
            "ratio": 0.25, "on": true, "off": false, "none": null, "containers": [{"name": "a"}, []], "empty": {}}});
        let bytes = encode(&tree);
        assert_eq!(rebuilt(Ref::new(&bytes).raw().unwrap()), tree);
        assert_eq!(Ref::MISSING.raw(), None);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let mut left = vec![Ref::new(&damaged).raw()];
            while let Some(raw) = left.pop() {
                match raw {
                    Some(Raw::Array(mut walk)) => {
                        left.extend(std::iter::from_fn(|| walk.value().map(Some)))
                    }
                    Some(Raw::Object(mut walk)) => {
                        while walk.key().is_some() {
                            left.push(walk.value());
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}
