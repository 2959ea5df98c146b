//! YAML text to trees: the parser's events, resolved by the rules Kubernetes clients expect.
//!
//! Plain scalars follow YAML 1.1 as `sigs.k8s.io/yaml` does (`yes`, `off` and `0755` are not
//! strings, and neither are `y` and `n`), but a bare `=` is a string.
//! Knows no schema. Upstream counterpart: `sigs.k8s.io/yaml`.

use super::scalar::resolve;
use crate::{Decoded, Duplicates, Limits};
use machinery::{Map, SmolStr, Status, Value, flat::intern};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput, Tag};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// Nodes that aliases may add to one stream, so that a small text cannot become a huge tree.
pub const MAX_ALIASED_NODES: usize = 100_000;

/// Reads exactly one document. An empty stream is null.
pub fn decode_yaml(bytes: &[u8], limits: Limits) -> Result<Decoded, Status> {
    let mut documents = Reader::new(text(bytes)?, limits).documents()?;
    match documents.len() {
        0 => Ok(Decoded::default()),
        1 => Ok(documents.remove(0)),
        _ => Err(failure("expected a single document in the stream")),
    }
}

/// Reads all documents of a stream, empty ones left out.
pub fn yaml_documents(bytes: &[u8]) -> Result<Vec<Value>, Status> {
    let documents = Reader::new(text(bytes)?, Limits::default()).documents()?;
    let values = documents.into_iter().map(|document| document.value);
    Ok(values.filter(|value| !value.is_null()).collect())
}

fn failure(why: impl std::fmt::Display) -> Status {
    Status::bad_request(format!("error converting YAML to JSON: yaml: {why}"))
}

fn text(bytes: &[u8]) -> Result<&str, Status> {
    let text = std::str::from_utf8(bytes).map_err(|_| failure("invalid UTF-8"))?;
    Ok(text.trim_start_matches('\u{feff}'))
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    /// Levels of nesting that may still be opened.
    depth: usize,
    /// Anchored nodes of the current document, with their sizes.
    anchors: BTreeMap<usize, (Value, usize)>,
    aliased: usize,
    nodes: usize,
    /// Where the event read last began.
    line: usize,
    duplicates: Vec<(usize, SmolStr)>,
}

type Next<'a> = Event<'a>;

impl<'a> Reader<'a> {
    fn new(text: &'a str, limits: Limits) -> Self {
        Self {
            events: Parser::new_from_str(text),
            depth: limits.depth,
            anchors: BTreeMap::new(),
            aliased: 0,
            nodes: 0,
            line: 0,
            duplicates: Vec::new(),
        }
    }

    fn next(&mut self) -> Result<Next<'a>, Status> {
        match self.events.next() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => Err(scan_failure(&error)),
            None => Ok(Event::StreamEnd),
        }
    }

    fn documents(&mut self) -> Result<Vec<Decoded>, Status> {
        let mut documents = Vec::new();
        loop {
            match self.next()? {
                Event::StreamEnd => return Ok(documents),
                Event::DocumentStart(_) => documents.push(self.document()?),
                _ => {}
            }
        }
    }

    fn document(&mut self) -> Result<Decoded, Status> {
        self.anchors.clear();
        let first = self.next()?;
        let value = match first {
            Event::DocumentEnd => Value::Null,
            event => self.value(event)?,
        };
        let duplicates = Duplicates::Lines(std::mem::take(&mut self.duplicates));
        Ok(Decoded { value, duplicates })
    }

    fn value(&mut self, event: Next<'a>) -> Result<Value, Status> {
        let before = self.nodes;
        self.nodes += 1;
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => (anchor, scalar(&text, style, tag)?),
            Event::SequenceStart(anchor, _) => (anchor, self.nested(Self::sequence)?),
            Event::MappingStart(anchor, _) => (anchor, self.nested(Self::mapping)?),
            Event::Alias(anchor) => return self.alias(anchor),
            other => return Err(failure(format!("unexpected {other:?}"))),
        };
        if anchor > 0 {
            let size = self.nodes - before;
            self.anchors.insert(anchor, (value.clone(), size));
        }
        Ok(value)
    }

    fn alias(&mut self, anchor: usize) -> Result<Value, Status> {
        let (value, size) = self
            .anchors
            .get(&anchor)
            .ok_or_else(|| failure("anchor contains itself"))?;
        self.aliased += size;
        self.nodes += size;
        if self.aliased > MAX_ALIASED_NODES {
            return Err(failure("document contains excessive aliasing"));
        }
        Ok(value.clone())
    }

    fn nested(
        &mut self,
        read: impl Fn(&mut Self) -> Result<Value, Status>,
    ) -> Result<Value, Status> {
        self.depth = self
            .depth
            .checked_sub(1)
            .ok_or_else(|| failure("exceeded max depth"))?;
        let value = read(self)?;
        self.depth += 1;
        Ok(value)
    }

    fn sequence(&mut self) -> Result<Value, Status> {
        let mut items = Vec::new();
        loop {
            let event = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::Array(items));
            }
            items.push(self.value(event)?);
        }
    }

    fn mapping(&mut self) -> Result<Value, Status> {
        let mut entries: Vec<(SmolStr, Value)> = Vec::new();
        let (mut merged, mut known) = (Vec::new(), BTreeSet::new());
        loop {
            let event = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let merge = is_merge_key(&event);
            let line = self.line;
            let key = key_text(self.value(event)?)?;
            let event = self.next()?;
            let value = self.value(event)?;
            if !merge && !known.insert(key.clone()) {
                self.duplicates.push((line, key.clone()));
            }
            if merge {
                merged.push(value);
            } else {
                entries.push((key, value));
            }
        }
        let mut map = Map::from_entries(entries, |_| ());
        merged
            .into_iter()
            .try_for_each(|source| merge_into(&mut map, source))?;
        Ok(Value::Object(map))
    }
}

fn scan_failure(error: &ScanError) -> Status {
    failure(format!("line {}: {}", error.marker().line(), error.info()))
}

fn is_merge_key(event: &Event<'_>) -> bool {
    matches!(event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<")
}

/// `<<: *base`: members of the base (or bases) that the mapping does not have itself.
fn merge_into(map: &mut Map, source: Value) -> Result<(), Status> {
    match source {
        Value::Object(base) => {
            for (key, value) in base {
                map.entry_or(&key, || value);
            }
            Ok(())
        }
        Value::Array(bases) => bases.into_iter().try_for_each(|base| match base {
            Value::Object(_) => merge_into(map, base),
            _ => Err(failure(
                "map merge requires map or sequence of maps as the value",
            )),
        }),
        _ => Err(failure(
            "map merge requires map or sequence of maps as the value",
        )),
    }
}

/// Keys of any scalar type become the strings that JSON needs.
fn key_text(key: Value) -> Result<SmolStr, Status> {
    match key {
        Value::String(text) => Ok(text),
        Value::Bool(flag) => Ok(if flag { "true" } else { "false" }.into()),
        Value::Int(number) => Ok(SmolStr::new(number.to_string())),
        Value::Float(number) => Ok(SmolStr::new(number.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(failure("invalid map key")),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<Cow<'_, Tag>>) -> Result<Value, Status> {
    let core = tag
        .as_ref()
        .filter(|tag| tag.is_yaml_core_schema())
        .map(|tag| tag.suffix.as_str());
    match core {
        Some("str") => Ok(Value::String(intern(text))),
        // Base64 stays text: that is how JSON carries bytes.
        Some("binary") => Ok(Value::String(
            text.split_whitespace().collect::<String>().into(),
        )),
        Some("float") => resolve(text)
            .as_f64()
            .map(Value::Float)
            .ok_or_else(|| failure(format!("cannot decode !!str `{text}` as a !!float"))),
        Some("null" | "bool" | "int") => Ok(resolve(text)),
        _ if style == ScalarStyle::Plain => Ok(resolve(text)),
        _ => Ok(Value::String(intern(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    fn read(text: &str) -> Result<Decoded, Status> {
        decode_yaml(text.as_bytes(), Limits::default())
    }

    #[test]
    fn reads_documents() {
        for (text, wanted) in [
            ("", Value::Null),
            (
                "a: 1\nb:\n- x\n- 'true'\n",
                json!({"a": 1, "b": ["x", "true"]}),
            ),
            (
                "a: on\nb: no\nc: y\nd: =\n",
                json!({"a": true, "b": false, "c": true, "d": "="}),
            ),
            ("on: 1\n2: x\n", json!({"true": 1, "2": "x"})),
            (
                "a: |\n  x\n  y\nb: >-\n  x\n  y\n",
                json!({"a": "x\ny\n", "b": "x y"}),
            ),
            (
                "a: &x {k: 1}\nb: *x\nc: {<<: *x, m: 2}\n",
                json!({"a": {"k": 1}, "b": {"k": 1}, "c": {"k": 1, "m": 2}}),
            ),
            (
                "a: !!str 1\nb: ~\nc:\nd: \"\\u00e9\"\n",
                json!({"a": "1", "b": null, "c": null, "d": "é"}),
            ),
            ("{\"a\": [1, 2.5, null]}", json!({"a": [1, 2.5, null]})),
            ("---\na: 1\n...\n", json!({"a": 1})),
            ("enum:\n- =\n- '!='\n", json!({"enum": ["=", "!="]})),
            (
                "t: 2026-01-02T03:04:05Z\nu: 2026-01-02\n",
                json!({"t": "2026-01-02T03:04:05Z", "u": "2026-01-02"}),
            ),
        ] {
            assert_eq!(read(text).unwrap().value, wanted, "{text}");
        }
    }

    #[test]
    fn reports_duplicates_and_splits_streams() {
        let decoded = read("spec:\n  l:\n  - a: 1\n    a: 2\nspec: 3\n").unwrap();
        assert_eq!(
            decoded.complaints(),
            [
                "line 4: key \"a\" already set in map",
                "line 5: key \"spec\" already set in map"
            ]
        );
        let documents = yaml_documents(b"a: 1\n---\n# nothing\n---\nb: 2\n").unwrap();
        assert_eq!(documents, [json!({"a": 1}), json!({"b": 2})]);
        assert!(read("a: 1\n---\nb: 2\n").is_err());
    }

    #[test]
    fn refuses_bombs_and_nonsense() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..10 {
            let alias = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(","));
        }
        let error = read(&bomb).unwrap_err();
        assert!(error.message().contains("excessive aliasing"), "{error}");
        assert!(read(&"[".repeat(10_000)).is_err());
        for bad in ["a: b: c", "{a", "a: *nothing", "? [x]\n: y\n"] {
            let error = read(bad).unwrap_err();
            assert!(
                error
                    .message()
                    .starts_with("error converting YAML to JSON: yaml: "),
                "{bad}"
            );
        }
        assert!(decode_yaml(b"\xff", Limits::default()).is_err());
    }
}
