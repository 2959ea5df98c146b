//! From text to tokens.

use super::parse::Problem;

/// A piece of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it is; whether it was quoted.
    Text(String, bool),
    /// `$NAME` or `${…}` without its braces; whether in quotes.
    Variable(String, bool),
    /// `$(…)`; whether in quotes.
    Command(String, bool),
    /// `$((…))`.
    Arithmetic(String),
}

/// A word: its parts one after the other.
pub type Word = Vec<Part>;

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A word.
    Word(Word),
    /// `;`, `&&`, `||`, `|`, `&`, `!`-less operators, `(`, `)`, or a new line as `;`.
    Operator(&'static str),
    /// A redirection of a descriptor (0, 1 or 2): `<`, `>`, `>>` or `>&`.
    Redirect(u8, &'static str),
}

const OPERATORS: [&str; 8] = ["&&", "||", ";", "|", "&", "(", ")", "\n"];
const REDIRECTS: [&str; 4] = [">>", ">&", ">", "<"];

struct Lexer<'a> {
    rest: &'a str,
    tokens: Vec<Token>,
}

/// Cuts a script into tokens.
pub fn tokens(script: &str) -> Result<Vec<Token>, Problem> {
    // A backslash at a line's end joins it to the next.
    let script = script.replace("\\\n", "");
    let mut lexer = Lexer {
        rest: &script,
        tokens: Vec::new(),
    };
    while lexer.step()? {}
    Ok(lexer.tokens)
}

impl Lexer<'_> {
    fn eat(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn step(&mut self) -> Result<bool, Problem> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r']);
        if self.rest.starts_with('#') {
            self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]);
        }
        if self.rest.is_empty() {
            return Ok(false);
        }
        if self.rest.starts_with("<<") {
            return Err(Problem::Unsupported("<<"));
        }
        if let Some(redirect) = self.redirect() {
            self.tokens.push(redirect);
            return Ok(true);
        }
        if let Some(operator) = OPERATORS.into_iter().find(|operator| self.eat(operator)) {
            let operator = if operator == "\n" { ";" } else { operator };
            self.tokens.push(Token::Operator(operator));
            return Ok(true);
        }
        let word = self.word()?;
        self.tokens.push(Token::Word(word));
        Ok(true)
    }

    fn redirect(&mut self) -> Option<Token> {
        let digit = self
            .rest
            .bytes()
            .next()
            .filter(|byte| (b'0'..=b'2').contains(byte));
        let after = if digit.is_some() {
            &self.rest[1..]
        } else {
            self.rest
        };
        let operator = REDIRECTS
            .into_iter()
            .find(|operator| after.starts_with(operator))?;
        self.rest = &after[operator.len()..];
        let default = u8::from(operator != "<");
        Some(Token::Redirect(
            digit.map_or(default, |digit| digit - b'0'),
            operator,
        ))
    }

    fn word(&mut self) -> Result<Word, Problem> {
        let mut word = Word::new();
        while let Some(next) = self.rest.chars().next() {
            match next {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                '\'' => {
                    self.next();
                    let end = self.rest.find('\'').ok_or(Problem::Unfinished)?;
                    word.push(Part::Text(self.rest[..end].to_owned(), true));
                    self.rest = &self.rest[end + 1..];
                }
                '"' => {
                    self.next();
                    self.quoted(&mut word)?;
                }
                '$' => {
                    self.next();
                    word.push(self.dollar(false)?);
                }
                '`' => return Err(Problem::Unsupported("`")),
                '\\' => {
                    self.next();
                    let literal = self.next().ok_or(Problem::Unfinished)?;
                    word.push(Part::Text(literal.into(), true));
                }
                other => {
                    self.next();
                    add(&mut word, other, false);
                }
            }
        }
        Ok(word)
    }

    fn quoted(&mut self, word: &mut Word) -> Result<(), Problem> {
        // An empty pair of quotes is a word too.
        word.push(Part::Text(String::new(), true));
        loop {
            match self.next().ok_or(Problem::Unfinished)? {
                '"' => return Ok(()),
                '$' => word.push(self.dollar(true)?),
                '\\' => match self.next().ok_or(Problem::Unfinished)? {
                    escaped @ ('"' | '\\' | '$' | '`') => add(word, escaped, true),
                    other => {
                        add(word, '\\', true);
                        add(word, other, true);
                    }
                },
                other => add(word, other, true),
            }
        }
    }

    /// What follows a dollar sign.
    fn dollar(&mut self, quoted: bool) -> Result<Part, Problem> {
        if self.eat("((") {
            let inner = self.until_closed(2)?;
            return Ok(Part::Arithmetic(inner));
        }
        if self.eat("(") {
            return Ok(Part::Command(self.until_closed(1)?, quoted));
        }
        if self.eat("{") {
            let end = self.rest.find('}').ok_or(Problem::Unfinished)?;
            let inner = self.rest[..end].to_owned();
            self.rest = &self.rest[end + 1..];
            return Ok(Part::Variable(inner, quoted));
        }
        let special = self.rest.starts_with(['?', '$', '#', '@', '*', '!'])
            || self.rest.starts_with(|c: char| c.is_ascii_digit());
        let named = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(self.rest.len());
        let size = if special { 1 } else { named };
        let (name, rest) = self.rest.split_at(size);
        let part = match name {
            "" => Part::Text("$".to_owned(), quoted),
            name => Part::Variable(name.to_owned(), quoted),
        };
        self.rest = rest;
        Ok(part)
    }

    /// Text up to the closing parentheses that end what `depth` ones opened.
    fn until_closed(&mut self, depth: usize) -> Result<String, Problem> {
        let (mut open, mut quote, mut inner) = (depth, None, String::new());
        loop {
            let next = self.next().ok_or(Problem::Unfinished)?;
            match (quote, next) {
                (Some(end), next) if next == end => quote = None,
                (None, '\'' | '"') => quote = Some(next),
                (None, '(') => open += 1,
                (None, ')') => open -= 1,
                _ => {}
            }
            if open == 0 {
                inner.truncate(inner.len() - (depth - 1));
                return Ok(inner);
            }
            inner.push(next);
        }
    }
}

fn add(word: &mut Word, next: char, quoted: bool) {
    match word.last_mut() {
        Some(Part::Text(text, same)) if *same == quoted => text.push(next),
        _ => word.push(Part::Text(next.into(), quoted)),
    }
}
