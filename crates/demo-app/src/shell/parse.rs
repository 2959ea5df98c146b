//! From tokens to a tree.

use super::lex::{Part, Token, Word, tokens};
use std::fmt;

/// Deepest nesting of compound commands, so that a script cannot exhaust the stack.
const MAX_DEPTH: usize = 64;

/// Why a script cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// It ends too early: more lines may complete it.
    Unfinished,
    /// A token at a place where it cannot be.
    Unexpected(String),
    /// Something real shells know and this one does not.
    Unsupported(&'static str),
}

impl fmt::Display for Problem {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfinished => write!(to, "syntax error: unexpected end of file"),
            Self::Unexpected(token) => write!(to, "syntax error: unexpected \"{token}\""),
            Self::Unsupported(what) => {
                write!(to, "\"{what}\" is not supported by this small shell")
            }
        }
    }
}

/// A redirection: descriptor, operator, and where to.
pub type Redirect = (u8, &'static str, Word);

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub enum Node {
    /// Assignments, words and redirections.
    Simple(Vec<(String, Word)>, Vec<Word>, Vec<Redirect>),
    /// One after the other.
    List(Vec<Node>),
    /// Output into input.
    Pipeline(Vec<Node>),
    /// The second if the first succeeds.
    And(Box<Node>, Box<Node>),
    /// The second if the first fails.
    Or(Box<Node>, Box<Node>),
    /// Success for failure.
    Not(Box<Node>),
    /// Not waited for.
    Background(Box<Node>),
    /// Condition, body, else.
    If(Box<Node>, Box<Node>, Option<Box<Node>>),
    /// The condition's wanted outcome, condition, body.
    While(bool, Box<Node>, Box<Node>),
    /// Variable, words, body.
    For(String, Vec<Word>, Box<Node>),
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    depth: usize,
}

type Parsed = Result<Node, Problem>;

/// Reads a script.
pub fn parse(script: &str) -> Parsed {
    let tokens = tokens(script)?.into_iter().peekable();
    let mut parser = Parser { tokens, depth: 0 };
    let node = parser.list(&[])?;
    match parser.tokens.next() {
        None => Ok(node),
        Some(token) => Err(Problem::Unexpected(shown(&token))),
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Operator(text) | Token::Redirect(_, text) => (*text).to_owned(),
        Token::Word(word) => keyword(word).unwrap_or("word").to_owned(),
    }
}

/// The text of a word that may be a keyword: unquoted and in one piece.
fn keyword(word: &Word) -> Option<&str> {
    match word.as_slice() {
        [Part::Text(text, false)] => Some(text),
        _ => None,
    }
}

impl Parser {
    fn eat(&mut self, operator: &str) -> bool {
        self.tokens
            .next_if(|token| matches!(token, Token::Operator(found) if *found == operator))
            .is_some()
    }

    fn next_keyword(&mut self) -> Option<&str> {
        match self.tokens.peek()? {
            Token::Word(word) => keyword(word),
            _ => None,
        }
    }

    fn expect(&mut self, wanted: &str) -> Result<(), Problem> {
        if self.next_keyword() == Some(wanted) {
            self.tokens.next();
            return Ok(());
        }
        Err(self.tokens.peek().map_or(Problem::Unfinished, |token| {
            Problem::Unexpected(shown(token))
        }))
    }

    /// Commands up to the end or one of the keywords.
    fn list(&mut self, ends: &[&str]) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Problem::Unsupported("nesting this deep"));
        }
        let mut nodes = Vec::new();
        loop {
            while self.eat(";") {}
            let ended = self.next_keyword().is_some_and(|word| ends.contains(&word));
            if ended || self.tokens.peek().is_none() {
                break;
            }
            let node = self.and_or()?;
            if self.eat("&") {
                nodes.push(Node::Background(Box::new(node)));
                continue;
            }
            nodes.push(node);
            if !self.eat(";") {
                break;
            }
        }
        self.depth -= 1;
        Ok(Node::List(nodes))
    }

    fn and_or(&mut self) -> Parsed {
        let mut left = self.pipeline()?;
        loop {
            let join = if self.eat("&&") {
                Node::And
            } else if self.eat("||") {
                Node::Or
            } else {
                return Ok(left);
            };
            while self.eat(";") {}
            left = join(Box::new(left), Box::new(self.pipeline()?));
        }
    }

    fn pipeline(&mut self) -> Parsed {
        if self.next_keyword() == Some("!") {
            self.tokens.next();
            return Ok(Node::Not(Box::new(self.pipeline()?)));
        }
        let mut stages = vec![self.command()?];
        while self.eat("|") {
            stages.push(self.command()?);
        }
        Ok(if stages.len() == 1 {
            stages.remove(0)
        } else {
            Node::Pipeline(stages)
        })
    }

    fn command(&mut self) -> Parsed {
        let word = self.next_keyword().unwrap_or_default().to_owned();
        match word.as_str() {
            "if" => {
                self.tokens.next();
                self.condition()
            }
            "while" | "until" => {
                self.tokens.next();
                let condition = self.list(&["do"])?;
                Ok(Node::While(
                    word == "while",
                    Box::new(condition),
                    Box::new(self.body()?),
                ))
            }
            "for" => {
                self.tokens.next();
                self.for_loop()
            }
            "case" => Err(Problem::Unsupported("case")),
            "function" => Err(Problem::Unsupported("function")),
            "then" | "else" | "elif" | "fi" | "do" | "done" => Err(Problem::Unexpected(word)),
            "{" => {
                self.tokens.next();
                let group = self.list(&["}"])?;
                self.expect("}")?;
                Ok(group)
            }
            _ => self.simple(),
        }
    }

    fn body(&mut self) -> Parsed {
        self.expect("do")?;
        let body = self.list(&["done"])?;
        self.expect("done")?;
        Ok(body)
    }

    /// What follows `if` or `elif`, the `fi` included.
    fn condition(&mut self) -> Parsed {
        let condition = self.list(&["then"])?;
        self.expect("then")?;
        let body = self.list(&["elif", "else", "fi"])?;
        let other = match self.next_keyword() {
            Some("elif") => {
                self.tokens.next();
                Some(Box::new(self.condition()?))
            }
            Some("else") => {
                self.tokens.next();
                let other = self.list(&["fi"])?;
                self.expect("fi")?;
                Some(Box::new(other))
            }
            _ => {
                self.expect("fi")?;
                None
            }
        };
        Ok(Node::If(Box::new(condition), Box::new(body), other))
    }

    fn for_loop(&mut self) -> Parsed {
        let variable = self.next_keyword().ok_or(Problem::Unfinished)?.to_owned();
        self.tokens.next();
        self.expect("in")?;
        let mut words = Vec::new();
        while let Some(Token::Word(word)) =
            self.tokens.next_if(|token| matches!(token, Token::Word(_)))
        {
            words.push(word);
        }
        while self.eat(";") {}
        Ok(Node::For(variable, words, Box::new(self.body()?)))
    }

    fn simple(&mut self) -> Parsed {
        let (mut assignments, mut words, mut redirects) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(token) = self
            .tokens
            .next_if(|token| !matches!(token, Token::Operator(_)))
        {
            match token {
                Token::Word(word) => match assignment(&word).filter(|_| words.is_empty()) {
                    Some(found) => assignments.push(found),
                    None => words.push(word),
                },
                Token::Redirect(from, operator) => match self.tokens.next() {
                    Some(Token::Word(target)) => redirects.push((from, operator, target)),
                    Some(token) => return Err(Problem::Unexpected(shown(&token))),
                    None => return Err(Problem::Unfinished),
                },
                Token::Operator(operator) => return Err(Problem::Unexpected(operator.to_owned())),
            }
        }
        if assignments.is_empty() && words.is_empty() && redirects.is_empty() {
            return Err(match self.tokens.peek() {
                None => Problem::Unfinished,
                Some(Token::Operator("(")) => Problem::Unsupported("("),
                Some(token) => Problem::Unexpected(shown(token)),
            });
        }
        Ok(Node::Simple(assignments, words, redirects))
    }
}

/// Takes `NAME=value` apart.
fn assignment(word: &Word) -> Option<(String, Word)> {
    let Some(Part::Text(text, false)) = word.first() else {
        return None;
    };
    let (name, value) = text.split_once('=')?;
    let named = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .chars()
            .all(|next| next.is_ascii_alphanumeric() || next == '_');
    let first = std::iter::once(Part::Text(value.to_owned(), false));
    named.then(|| {
        (
            name.to_owned(),
            first.chain(word[1..].iter().cloned()).collect(),
        )
    })
}
