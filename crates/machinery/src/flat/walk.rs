//! Flat bytes read front to back, once, with words still as numbers: what printers stand on.
//!
//! Does less than `Ref`: no lookup by name, no check that texts are UTF-8 (bytes of `encode`
//! and checked ones are), no second pass to find a value's end. Knows no form of printing.

use super::{
    ARRAY, FALSE, FLOAT, INT, NULL, OBJECT, Ref, TEXT, TRUE, WORD, dictionary, take, take_varint,
};

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

/// A place inside an array or an object, moving forward. Always inlined into its reader: a value
/// that goes through memory on its way costs more than reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk<'a>(&'a [u8]);

impl<'a> Walk<'a> {
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
