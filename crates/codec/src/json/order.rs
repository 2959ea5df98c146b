//! Unknown and repeated fields in the order of the text they stand in.
//!
//! Trees are sorted by key, so the order is looked up in the text again, and only where there
//! is something to tell. Knows no schema: which fields are unknown is the caller's to say.
//! Upstream counterpart: the strict errors of `sigs.k8s.io/json`.

use super::decode::Parser;
use crate::Limits;
use std::collections::{BTreeMap, BTreeSet};

/// Strict errors told of one document (upstream's number).
pub const STRICT_ERRORS_MAX: usize = 100;

/// What is odd about fields of a JSON text, in its order and once each: `unknown field
/// "spec.a"` where one of the paths of `unknown` stands first, `duplicate field "spec.b"` where
/// one of `repeated` is repeated. Nothing is said of what is inside an unknown field.
pub fn complaints_in_order(json: &[u8], repeated: &[String], unknown: &[String]) -> Vec<String> {
    let index = |paths: &[String]| {
        paths
            .iter()
            .map(|path| (hash(path), path.clone()))
            .collect()
    };
    let mut walk = Walk {
        parser: Parser::new(json, Limits::default()),
        unknown: index(unknown),
        repeated: index(repeated),
        told: Vec::new(),
    };
    // The text was read before; should it end early, what was found so far is told.
    let _ = walk.value(Place::default());
    walk.told
}

/// A path as the walk remembers it: long keys must not be copied for every field below them.
#[derive(Clone, Copy, Default)]
struct Place {
    hash: u64,
    deep: bool,
}

impl Place {
    fn member(self, key: &str) -> Self {
        let dotted = if self.deep {
            fold(self.hash, ".")
        } else {
            self.hash
        };
        Place {
            hash: fold(dotted, key),
            deep: true,
        }
    }

    fn item(self, position: usize) -> Self {
        Place {
            hash: fold(self.hash, &format!("[{position}]")),
            deep: true,
        }
    }
}

/// FNV-1a, continued. Two paths of one hash would only be told in the wrong order.
fn fold(hash: u64, text: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x100_0000_01b3;
    let step =
        |hash: u64, byte: u8| ((hash ^ OFFSET ^ u64::from(byte)).wrapping_mul(PRIME)) ^ OFFSET;
    text.bytes().fold(hash, step)
}

fn hash(path: &str) -> u64 {
    fold(0, path)
}

struct Walk<'a> {
    parser: Parser<'a>,
    unknown: BTreeMap<u64, String>,
    repeated: BTreeMap<u64, String>,
    told: Vec<String>,
}

impl Walk<'_> {
    fn value(&mut self, place: Place) -> Result<(), String> {
        self.parser.space();
        match self.parser.peek() {
            Some(b'{') => self.object(place),
            Some(b'[') => self.array(place),
            _ => self.parser.value().map(drop),
        }
    }

    fn object(&mut self, place: Place) -> Result<(), String> {
        self.parser.at += 1;
        self.parser.space();
        let mut met = BTreeSet::new();
        if self.parser.peek() == Some(b'}') {
            self.parser.at += 1;
            return Ok(());
        }
        loop {
            self.parser.space();
            let key = self.parser.key()?;
            self.member(place.member(&key), &mut met)?;
            if self
                .parser
                .next_after("after object key:value pair", b'}')?
            {
                return Ok(());
            }
        }
    }

    fn member(&mut self, place: Place, met: &mut BTreeSet<u64>) -> Result<(), String> {
        if let Some(path) = self.unknown.get(&place.hash) {
            if met.insert(place.hash) {
                tell(&mut self.told, format!("unknown field {path:?}"));
            }
            return self.parser.value().map(drop);
        }
        if let Some(path) = self.repeated.get(&place.hash)
            && !met.insert(place.hash)
        {
            tell(&mut self.told, format!("duplicate field {path:?}"));
        }
        self.value(place)
    }

    fn array(&mut self, place: Place) -> Result<(), String> {
        self.parser.at += 1;
        self.parser.space();
        if self.parser.peek() == Some(b']') {
            self.parser.at += 1;
            return Ok(());
        }
        for position in 0.. {
            self.value(place.item(position))?;
            if self.parser.next_after("after array element", b']')? {
                break;
            }
        }
        Ok(())
    }
}

fn tell(told: &mut Vec<String>, text: String) {
    if told.len() < STRICT_ERRORS_MAX && !told.contains(&text) {
        told.push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_in_the_order_of_the_text() {
        let json = r#" { "z": 1, "spec": {"u": {"a": 1, "a": 2}, "u": 3, "p": true, "p": false,
            "list": [ {"q": 1, "n": "x", "n": "y"}, {"n": 1} ], "e": {}, "f": [] },
            "m": {"l": {"a": "1", "a": "2"}}, "spec": {"p": 1, "p": 2, "w": 1} } "#;
        let owned = |paths: &[&str]| {
            paths
                .iter()
                .map(|path| (*path).to_owned())
                .collect::<Vec<_>>()
        };
        let repeated = owned(&[
            "spec.u.a",
            "spec.u",
            "spec.p",
            "spec.list[0].n",
            "m.l.a",
            "spec",
        ]);
        let unknown = owned(&["spec.list[0].q", "spec.u", "spec.w", "z"]);
        assert_eq!(
            complaints_in_order(json.as_bytes(), &repeated, &unknown),
            [
                "unknown field \"z\"",
                "unknown field \"spec.u\"",
                "duplicate field \"spec.p\"",
                "unknown field \"spec.list[0].q\"",
                "duplicate field \"spec.list[0].n\"",
                "duplicate field \"m.l.a\"",
                "duplicate field \"spec\"",
                "unknown field \"spec.w\"",
            ]
        );
    }

    #[test]
    fn tells_no_more_than_upstream() {
        let names: Vec<_> = (0..150).map(|number| format!("u{number}")).collect();
        let json = format!(
            "{{{}}}",
            names
                .iter()
                .rev()
                .map(|name| format!("{name:?}:1"))
                .collect::<Vec<_>>()
                .join(",")
        );
        let told = complaints_in_order(json.as_bytes(), &[], &names);
        assert_eq!(
            (told.len(), told[0].as_str()),
            (STRICT_ERRORS_MAX, "unknown field \"u149\"")
        );
    }
}
