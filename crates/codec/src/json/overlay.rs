//! Repeated members, as Go's decoder leaves them: each is read over what the one before made.
//!
//! Knows no schema. Only texts with repeated members are read here, which are rare. Upstream
//! counterpart: `sigs.k8s.io/json`, decoding into structs that hold something already.

use super::decode::Parser;
use crate::Limits;
use machinery::{Map, SmolStr, Value};
use std::collections::{BTreeMap, btree_map::Entry};

/// How lists that are read over each other end.
#[derive(Clone, Copy, PartialEq)]
enum Lists {
    /// With the last of them, as Go cuts them.
    Last,
    /// With the longest.
    Longest,
}

/// A JSON text read as Go reads it into structs.
pub struct Overlaid {
    /// What the structs hold in the end.
    pub value: Value,
    /// Everything the text has said, for those who look for what is unknown.
    pub said: Value,
}

/// Reads repeated members of a JSON text over each other; none where it is no JSON.
pub fn overlaid(json: &[u8]) -> Option<Overlaid> {
    let read = |lists| {
        let parser = Parser::new(json, Limits::default());
        let tree = Reader { parser, lists }.value().ok()?;
        Some(tree.finished())
    };
    Some(Overlaid {
        value: read(Lists::Last)?,
        said: read(Lists::Longest)?,
    })
}

/// A value that takes members in any order at little cost.
enum Tree {
    Leaf(Value),
    Array(Vec<Tree>),
    Object(BTreeMap<SmolStr, Tree>),
}

impl Tree {
    fn finished(self) -> Value {
        match self {
            Self::Leaf(value) => value,
            Self::Array(items) => {
                let items = items.into_iter().map(Self::finished);
                items.collect::<Vec<_>>().into()
            }
            Self::Object(members) => {
                let members = members.into_iter();
                let members = members.map(|(key, value)| (key, value.finished()));
                Value::Object(Map::from_entries(members.collect(), |_| {}))
            }
        }
    }

    /// Reads `new` over what is there.
    fn take(&mut self, new: Self, lists: Lists) {
        match (self, new) {
            (Self::Object(known), Self::Object(more)) => {
                for (key, value) in more {
                    put(known, key, value, lists);
                }
            }
            (Self::Array(items), Self::Array(more)) => {
                if lists == Lists::Last {
                    items.truncate(more.len());
                }
                let known = items.len();
                for (at, value) in more.into_iter().enumerate() {
                    match at < known {
                        true => items[at].take(value, lists),
                        false => items.push(value),
                    }
                }
            }
            (known, new) => *known = new,
        }
    }
}

fn put(members: &mut BTreeMap<SmolStr, Tree>, key: SmolStr, value: Tree, lists: Lists) {
    match members.entry(key) {
        Entry::Vacant(place) => drop(place.insert(value)),
        Entry::Occupied(known) => known.into_mut().take(value, lists),
    }
}

struct Reader<'a> {
    parser: Parser<'a>,
    lists: Lists,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Tree, String> {
        self.parser.space();
        match self.parser.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            _ => self.parser.value().map(Tree::Leaf),
        }
    }

    fn object(&mut self) -> Result<Tree, String> {
        let mut members = BTreeMap::new();
        let mut ended = self.begins_empty(b'}');
        while !ended {
            self.parser.space();
            let key = self.parser.key()?;
            let value = self.value()?;
            put(&mut members, key, value, self.lists);
            ended = self
                .parser
                .next_after("after object key:value pair", b'}')?;
        }
        Ok(Tree::Object(members))
    }

    fn array(&mut self) -> Result<Tree, String> {
        let mut items = Vec::new();
        let mut ended = self.begins_empty(b']');
        while !ended {
            items.push(self.value()?);
            ended = self.parser.next_after("after array element", b']')?;
        }
        Ok(Tree::Array(items))
    }

    fn begins_empty(&mut self, end: u8) -> bool {
        self.parser.at += 1;
        self.parser.space();
        let empty = self.parser.peek() == Some(end);
        self.parser.at += usize::from(empty);
        empty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn later_members_are_read_over_earlier_ones() {
        let text = br#"{"a":{"x":1,"y":{"z":1}},"l":[{"n":1,"p":2},{"q":3}],
            "a":{"y":{"w":2},"x":4},"l":[{"n":5}],"s":"t","s":{"u":1},"e":[],"e":{}}"#;
        let read = overlaid(text).expect("JSON");
        let rest = json!({"a": {"x": 4, "y": {"z": 1, "w": 2}}, "s": {"u": 1}, "e": {}});
        let with = |list: Value| {
            let mut whole = rest.clone();
            whole["l"] = list;
            whole
        };
        assert_eq!(read.value, with(json!([{"n": 5, "p": 2}])));
        assert_eq!(read.said, with(json!([{"n": 5, "p": 2}, {"q": 3}])));
        assert!(overlaid(b"{").is_none());
    }
}
