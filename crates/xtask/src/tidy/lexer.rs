//! A small Rust lexer: enough to tell code from comments and strings, and where each token stands.
//!
//! Must not know any rule. It never fails: text that is not Rust gives odd tokens, and the
//! compiler says the rest. Upstream counterpart: `rustc_lexer`.

/// What a token is, as far as the rules care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An identifier or keyword.
    Ident,
    /// A string literal of any form; the text is what stands between the quotes.
    Text,
    /// A character literal, number or lifetime.
    Other,
    /// One character of punctuation.
    Punct,
    /// A comment with its slashes.
    Comment,
}

/// One token and the line it starts on, counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: &'a str,
    /// Its line.
    pub line: usize,
}

impl Token<'_> {
    /// True for the identifier or punctuation `text`; a string never matches.
    pub fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Ident | Kind::Punct) && self.text == text
    }
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
}

/// Splits a source text into tokens; white space is dropped, comments are kept.
pub fn lex(source: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer {
        source,
        at: 0,
        line: 1,
    };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next_token() {
        tokens.push(token);
    }
    tokens
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn next_token(&mut self) -> Option<Token<'a>> {
        self.skip_space();
        let first = self.rest().chars().next()?;
        let (kind, length, inner) = self.measure(first);
        let (start, line) = (self.at, self.line);
        self.advance(length);
        let whole = &self.source[start..start + length];
        let text = inner.map_or(whole, |(from, to)| &whole[from..to]);
        Some(Token { kind, text, line })
    }

    fn skip_space(&mut self) {
        let trimmed = self.rest().trim_start();
        let length = self.rest().len() - trimmed.len();
        self.advance(length);
    }

    fn advance(&mut self, length: usize) {
        self.line += self.rest()[..length].matches('\n').count();
        self.at += length;
    }

    /// The kind and length of the token here, and for a string the part between its quotes.
    fn measure(&self, first: char) -> (Kind, usize, Option<(usize, usize)>) {
        let rest = self.rest();
        if rest.starts_with("//") {
            return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()), None);
        }
        if rest.starts_with("/*") {
            return (Kind::Comment, block_comment(rest), None);
        }
        if let Some((length, inner)) = string(rest) {
            return (Kind::Text, length, Some(inner));
        }
        if first == '\'' {
            return (Kind::Other, quote(rest), None);
        }
        let word = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        match first {
            c if c.is_ascii_digit() => (Kind::Other, word, None),
            c if is_word(c) => (Kind::Ident, word, None),
            c => (Kind::Punct, c.len_utf8(), None),
        }
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest[at..].chars().next().map_or(0, char::len_utf8);
        }
        if depth == 0 || at >= rest.len() {
            return at;
        }
    }
}

/// Length of a string literal and the range between its quotes, if one starts here.
fn string(rest: &str) -> Option<(usize, (usize, usize))> {
    let after_letters = rest.trim_start_matches(['b', 'c']);
    let letters = rest.len() - after_letters.len();
    if letters > 1 {
        return None;
    }
    if let Some(raw) = after_letters.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let body = raw[hashes..].strip_prefix('"')?;
        let close = format!("\"{}", "#".repeat(hashes));
        let length = body.find(&close).unwrap_or(body.len());
        let start = letters + 1 + hashes + 1;
        let end = (start + length + close.len()).min(rest.len());
        return Some((end, (start, start + length)));
    }
    let body = after_letters.strip_prefix('"')?;
    let mut escaped = false;
    let length = body
        .find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })
        .unwrap_or(body.len());
    let start = letters + 1;
    Some((
        (start + length + 1).min(rest.len()),
        (start, start + length),
    ))
}

/// Length of a character literal or a lifetime.
fn quote(rest: &str) -> usize {
    let body = &rest[1..];
    if body.starts_with('\\') {
        // The escaped character itself may be a quote.
        return body[2..].find('\'').map_or(rest.len(), |end| end + 4);
    }
    let mut chars = body.chars();
    let first = chars.next().map_or(0, char::len_utf8);
    if chars.next() == Some('\'') {
        return first + 2;
    }
    1 + body.find(|c| !is_word(c)).unwrap_or(body.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_code_from_text() {
        let cases: &[(&str, &[(Kind, &str)])] = &[
            (
                "a // b\nc",
                &[
                    (Kind::Ident, "a"),
                    (Kind::Comment, "// b"),
                    (Kind::Ident, "c"),
                ],
            ),
            (
                "/* x /* y */ z */q",
                &[(Kind::Comment, "/* x /* y */ z */"), (Kind::Ident, "q")],
            ),
            (
                r#""a\"b" c"#,
                &[(Kind::Text, r#"a\"b"#), (Kind::Ident, "c")],
            ),
            (
                r##"r#"a"b"#d"##,
                &[(Kind::Text, r#"a"b"#), (Kind::Ident, "d")],
            ),
            (r#"b"x" br"y""#, &[(Kind::Text, "x"), (Kind::Text, "y")]),
            (
                r"'\'' 'a' 'life",
                &[
                    (Kind::Other, r"'\''"),
                    (Kind::Other, "'a'"),
                    (Kind::Other, "'life"),
                ],
            ),
            (
                "1_000u32.x",
                &[
                    (Kind::Other, "1_000u32"),
                    (Kind::Punct, "."),
                    (Kind::Ident, "x"),
                ],
            ),
            ("break b", &[(Kind::Ident, "break"), (Kind::Ident, "b")]),
        ];
        for (source, want) in cases {
            let got: Vec<_> = lex(source).iter().map(|t| (t.kind, t.text)).collect();
            assert_eq!(&got, want, "{source}");
        }
    }

    #[test]
    fn counts_lines_through_strings() {
        let lines: Vec<_> = lex("\"a\nb\"\nc").iter().map(|t| t.line).collect();
        assert_eq!(lines, [1, 3]);
    }
}
