//! JSON text to a tree, in one pass, with the duplicates that strict validation reports.
//!
//! Error texts are those of Go's `encoding/json`, because clients see them.
//! Knows no schema. Upstream counterpart: `sigs.k8s.io/json`.

use crate::{Decoded, Duplicates, Limits, path};
use machinery::{Map, SmolStr, Status, Value, flat::intern};

/// Reads one JSON value and nothing after it.
pub fn decode_json(bytes: &[u8], limits: Limits) -> Result<Decoded, Status> {
    let mut parser = Parser::new(bytes, limits);
    let value = parser.document().map_err(Status::bad_request)?;
    Ok(Decoded {
        value,
        duplicates: Duplicates::Paths(parser.duplicates),
    })
}

/// Whether `bytes` start like a JSON object (upstream's way to tell JSON from YAML).
pub fn looks_like_json(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .find(|byte| !byte.is_ascii_whitespace())
        .is_some_and(|&byte| byte == b'{')
}

pub(super) struct Parser<'a> {
    bytes: &'a [u8],
    /// The same where all of it is UTF-8, so that strings need no look of their own.
    text: Option<&'a str>,
    pub(super) at: usize,
    /// Levels of nesting that may still be opened.
    depth: usize,
    duplicates: Vec<String>,
}

const END: &str = "unexpected end of JSON input";

impl<'a> Parser<'a> {
    pub(super) fn new(bytes: &'a [u8], limits: Limits) -> Self {
        Self {
            bytes,
            text: std::str::from_utf8(bytes).ok(),
            at: 0,
            depth: limits.depth,
            duplicates: Vec::new(),
        }
    }

    fn document(&mut self) -> Result<Value, String> {
        let value = self.value()?;
        self.space();
        match self.peek() {
            None => Ok(value),
            Some(_) => Err(self.unexpected("after top-level value")),
        }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn unexpected(&self, context: &str) -> String {
        match self.peek() {
            None => END.to_owned(),
            Some(b'\'') => format!(r"invalid character '\'' {context}"),
            Some(b'"') => format!("invalid character '\"' {context}"),
            Some(byte) => format!(
                "invalid character '{}' {context}",
                char::from(byte).escape_default()
            ),
        }
    }

    pub(super) fn value(&mut self) -> Result<Value, String> {
        self.space();
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b't') => self.literal("true", Value::Bool(true)),
            Some(b'f') => self.literal("false", Value::Bool(false)),
            Some(b'n') => self.literal("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn nested(
        &mut self,
        read: impl Fn(&mut Self) -> Result<Value, String>,
    ) -> Result<Value, String> {
        self.depth = self
            .depth
            .checked_sub(1)
            .ok_or_else(|| "exceeded max depth".to_owned())?;
        self.at += 1;
        let value = read(self)?;
        self.depth += 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value, String> {
        let mut entries = Vec::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::object());
        }
        loop {
            entries.push(self.member()?);
            match self.next_after("after object key:value pair", b'}')? {
                true => break,
                false => self.space(),
            }
        }
        let duplicates = &mut self.duplicates;
        let map = Map::from_entries(entries, |key| duplicates.push(path::member(key)));
        Ok(Value::Object(map))
    }

    /// A key and the colon after it.
    pub(super) fn key(&mut self) -> Result<SmolStr, String> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("looking for beginning of object key string"));
        }
        let key = self.string()?;
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected("after object key"));
        }
        self.at += 1;
        Ok(key)
    }

    fn member(&mut self) -> Result<(SmolStr, Value), String> {
        let key = self.key()?;
        let known = self.duplicates.len();
        let value = self.value()?;
        path::prefix(&mut self.duplicates[known..], || path::member(&key));
        Ok((key, value))
    }

    fn array(&mut self) -> Result<Value, String> {
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            let known = self.duplicates.len();
            items.push(self.value()?);
            path::prefix(&mut self.duplicates[known..], || {
                path::item(items.len() - 1)
            });
            if self.next_after("after array element", b']')? {
                return Ok(Value::Array(items));
            }
        }
    }

    /// Passes a comma (false) or the end of the container (true).
    pub(super) fn next_after(&mut self, context: &str, end: u8) -> Result<bool, String> {
        self.space();
        match self.peek() {
            Some(b',') => self.at += 1,
            Some(byte) if byte == end => {
                self.at += 1;
                return Ok(true);
            }
            _ => return Err(self.unexpected(context)),
        }
        Ok(false)
    }

    fn literal(&mut self, word: &str, value: Value) -> Result<Value, String> {
        for (offset, wanted) in word.bytes().enumerate() {
            if self.peek() != Some(wanted) {
                debug_assert!(offset > 0, "the first letter chose the word");
                let wanted = char::from(wanted);
                return Err(self.unexpected(&format!("in literal {word} (expecting '{wanted}')")));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ if self.digits() == 0 => return Err(self.unexpected("in numeric literal")),
            _ => {}
        }
        let whole = !self.fraction()?;
        let text = std::str::from_utf8(&self.bytes[start..self.at]).expect("digits are ASCII");
        if whole && let Ok(number) = text.parse() {
            return Ok(Value::Int(number));
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Float(number)),
            _ => Err(format!(
                "json: cannot unmarshal number {text} into Go value of type float64"
            )),
        }
    }

    /// Passes `.5` and `e+9`; tells whether either was there.
    fn fraction(&mut self) -> Result<bool, String> {
        let start = self.at;
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.unexpected("after decimal point in numeric literal"));
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return Err(self.unexpected("in exponent of numeric literal"));
            }
        }
        Ok(self.at > start)
    }

    fn string(&mut self) -> Result<SmolStr, String> {
        self.at += 1;
        let start = self.at;
        self.at += plain_run(&self.bytes[start..]);
        match self.peek() {
            Some(b'"') => {}
            Some(b'\\') => return self.escaped(start),
            _ => return Err(self.unexpected("in string literal")),
        }
        let raw = start..self.at;
        self.at += 1;
        if let Some(text) = self.text {
            return Ok(intern(&text[raw]));
        }
        let raw = &self.bytes[raw];
        Ok(match std::str::from_utf8(raw) {
            Ok(text) => intern(text),
            Err(_) => SmolStr::new(String::from_utf8_lossy(raw)),
        })
    }

    /// The slow path of a string that has escapes; `start` is its first byte.
    fn escaped(&mut self, start: usize) -> Result<SmolStr, String> {
        let mut text = self.bytes[start..self.at].to_vec();
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    self.at += 1;
                    let letter = self.escape()?;
                    text.extend(letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(0..=0x1f) | None => return Err(self.unexpected("in string literal")),
                Some(byte) => {
                    text.push(byte);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        Ok(intern(&String::from_utf8_lossy(&text)))
    }

    fn escape(&mut self) -> Result<char, String> {
        let letter = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        Ok(letter)
    }

    /// `XXXX`, or two of them where the first is half of a surrogate pair.
    fn unicode(&mut self) -> Result<char, String> {
        let first = self.hex()?;
        if (0xd800..0xdc00).contains(&first) && self.bytes[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Result<u32, String> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self
                .peek()
                .and_then(|byte| char::from(byte).to_digit(16))
                .ok_or_else(|| self.unexpected("in \\u hexadecimal character escape"))?;
            code = code << 4 | digit;
            self.at += 1;
        }
        Ok(code)
    }
}

/// How many bytes are looked at in one step.
const STEP: usize = 8;

/// How many bytes a string goes on before its end, an escape or something forbidden.
fn plain_run(bytes: &[u8]) -> usize {
    let (steps, rest) = bytes.as_chunks::<STEP>();
    for (number, chunk) in steps.iter().enumerate() {
        let ends = ends(u64::from_le_bytes(*chunk));
        if ends != 0 {
            return number * STEP + ends.trailing_zeros() as usize / 8;
        }
    }
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    bytes.len() - rest.len() + rest.iter().position(ends).unwrap_or(rest.len())
}

/// Marks, in its high bit, the first of eight bytes that ends a plain run, the lowest first;
/// what is marked above the first may be wrong.
fn ends(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = zeros(word ^ (ONES * u64::from(b'"')));
    let backslash = zeros(word ^ (ONES * u64::from(b'\\')));
    (control | quote | backslash) & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    fn read(text: &str) -> Result<Decoded, Status> {
        decode_json(text.as_bytes(), Limits::default())
    }

    #[test]
    fn reads_values() {
        for (text, wanted) in [
            (" null ", Value::Null),
            ("-0", Value::Int(0)),
            ("9223372036854775807", Value::Int(i64::MAX)),
            (
                "9223372036854775808",
                Value::Float(9_223_372_036_854_775_808.0),
            ),
            ("1.0", Value::Float(1.0)),
            ("1e3", Value::Float(1000.0)),
            (
                r#""a\n\u00e9\ud83d\ude00\ud800x""#,
                json!("a\né😀\u{fffd}x"),
            ),
            (
                r#"{"b":[1,{}],"a":{"c":[]}}"#,
                json!({"a": {"c": []}, "b": [1, {}]}),
            ),
        ] {
            assert_eq!(read(text).unwrap().value, wanted, "{text}");
        }
        let broken = decode_json(b"\"a\xffb\"", Limits::default()).unwrap();
        assert_eq!(broken.value.str(), "a\u{fffd}b");
    }

    #[test]
    fn a_plain_run_ends_where_it_should() {
        for end in 0..=255u8 {
            for before in 0..20 {
                let mut bytes = "xé€\u{7f}ÿ".repeat(5).into_bytes();
                bytes[before] = end;
                let stops = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
                let wanted = bytes.iter().position(stops).unwrap_or(bytes.len());
                assert_eq!(plain_run(&bytes), wanted, "{end} at {before}");
            }
        }
    }

    #[test]
    fn reports_duplicates_by_path() {
        let text = r#"{"spec":{"a":1,"a":2,"l":[{"x":1},{"n":0,"n":1}]},"kind":"a","kind":"b"}"#;
        let decoded = read(text).unwrap();
        let complaints = decoded.complaints();
        assert_eq!(complaints[0], "duplicate field \"spec.l[1].n\"");
        assert!(complaints[1].ends_with("\"spec.a\"") && complaints[2].ends_with("\"kind\""));
        assert_eq!(decoded.value.at(&["spec", "a"]), &Value::Int(2));
    }

    #[test]
    fn errors_read_as_in_go() {
        for (text, wanted) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            (
                "{a",
                "invalid character 'a' looking for beginning of object key string",
            ),
            (
                r#"{"a":1,}"#,
                "invalid character '}' looking for beginning of object key string",
            ),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (
                r#"{"a":1 "b"}"#,
                "invalid character '\"' after object key:value pair",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            (
                "nul!",
                "invalid character '!' in literal null (expecting 'l')",
            ),
            ("1 2", "invalid character '2' after top-level value"),
            ("01", "invalid character '1' after top-level value"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("\"\n\"", r"invalid character '\n' in string literal"),
            (r#""\q""#, "invalid character 'q' in string escape code"),
            (
                r#""\u00g0""#,
                r"invalid character 'g' in \u hexadecimal character escape",
            ),
            (
                "1.x",
                "invalid character 'x' after decimal point in numeric literal",
            ),
        ] {
            assert_eq!(read(text).unwrap_err().message(), wanted, "{text}");
        }
        let deep = "[".repeat(Limits::default().depth + 1);
        assert_eq!(read(&deep).unwrap_err().message(), "exceeded max depth");
    }
}
