//! Words of an expression.
//!
//! Upstream counterpart: `CEL.g4`'s lexer rules.

use super::{CompileError, Literal, literal};
use machinery::SmolStr;

/// A word and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub at: usize,
    pub end: usize,
    pub word: Word,
}

/// A word.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    Ident(SmolStr),
    Literal(Literal),
    /// A whole number without sign, kept as text so that the least of all can be negated.
    Int(SmolStr),
    Punct(&'static str),
    End,
}

/// Longest first.
const PUNCTUATION: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", "(", ")",
    "[", "]", "{", "}", ".", ",", "=",
];

/// All words of `source`, ended by [`Word::End`].
pub fn lex(source: &str) -> Result<Vec<Token>, CompileError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at = skip(source, at);
        let (word, end) = if at == source.len() {
            (Word::End, at)
        } else {
            word(source, at)?
        };
        let last = word == Word::End;
        tokens.push(Token { at, end, word });
        if last {
            return Ok(tokens);
        }
        at = end;
    }
}

/// Past white space and comments.
fn skip(source: &str, mut at: usize) -> usize {
    loop {
        let rest = &source[at..];
        let blank = rest.len()
            - rest
                .trim_start_matches([' ', '\t', '\r', '\n', '\u{c}'])
                .len();
        at += blank;
        if !source[at..].starts_with("//") {
            return at;
        }
        at += source[at..].find('\n').unwrap_or(source.len() - at);
    }
}

fn word(source: &str, at: usize) -> Result<(Word, usize), CompileError> {
    let rest = &source[at..];
    if let Some((found, length)) =
        literal::quoted(rest).map_err(|why| CompileError::new(source, at, why))?
    {
        return Ok((Word::Literal(found), at + length));
    }
    let first = rest.chars().next().unwrap_or(' ');
    let second_is_digit = rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    if first.is_ascii_digit() || (first == '.' && second_is_digit) {
        let (word, length) =
            literal::number(rest).map_err(|why| CompileError::new(source, at, why))?;
        return Ok((word, at + length));
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = rest
            .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .unwrap_or(rest.len());
        return Ok((identifier(&rest[..length]), at + length));
    }
    let punct = PUNCTUATION.iter().find(|punct| rest.starts_with(**punct));
    punct.map_or_else(
        || {
            let why = format!("Syntax error: token recognition error at: '{first}'");
            Err(CompileError::new(source, at, why))
        },
        |punct| Ok((Word::Punct(punct), at + punct.len())),
    )
}

fn identifier(name: &str) -> Word {
    match name {
        "true" => Word::Literal(Literal::Bool(true)),
        "false" => Word::Literal(Literal::Bool(false)),
        "null" => Word::Literal(Literal::Null),
        "in" => Word::Punct("in"),
        other => Word::Ident(other.into()),
    }
}
