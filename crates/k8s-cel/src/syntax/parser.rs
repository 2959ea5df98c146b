//! The grammar: precedence climbing over the words.
//!
//! Upstream counterpart: `CEL.g4` and cel-go's `parser/parser.go`.

use super::{
    CompileError, Expr, FieldInit, Kind, Literal,
    lexer::{Token, Word, lex},
    literal::parse_whole,
    macros,
};
use machinery::SmolStr;

/// Nesting deeper than this is refused (upstream allows 250), so that threads with small stacks
/// can parse.
const MAX_DEPTH: usize = 100;
/// Longest way down a tree, so that no walk over it runs out of stack.
const MAX_TREE: usize = 320;
/// Longest accepted source, in characters (upstream's parser limit).
const MAX_SOURCE: usize = 100_000;

/// What may begin an operand, as upstream's generated parser words it.
const OPERANDS: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "null",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Logical operators, the weakest first: token and function.
const LOGICAL: &[(&str, &str)] = &[("||", "_||_"), ("&&", "_&&_")];

/// Binary operators: token, function, binding strength.
const BINARY: &[(&str, &str, u8)] = &[
    ("==", "_==_", 3),
    ("!=", "_!=_", 3),
    ("<", "_<_", 3),
    ("<=", "_<=_", 3),
    (">", "_>_", 3),
    (">=", "_>=_", 3),
    ("in", "@in", 3),
    ("+", "_+_", 4),
    ("-", "_-_", 4),
    ("*", "_*_", 5),
    ("/", "_/_", 5),
    ("%", "_%_", 5),
];

/// The tree of `source` and how many nodes were numbered.
///
/// # Errors
/// Everything wrong with it.
pub fn parse(source: &str) -> Result<(Expr, usize), Vec<CompileError>> {
    if source.chars().count() > MAX_SOURCE {
        let why = format!(
            "expression code point size exceeds limit: size: {}, limit {MAX_SOURCE}",
            source.chars().count()
        );
        return Err(vec![CompileError::new(source, 0, why)]);
    }
    let tokens = lex(source).map_err(|error| vec![error])?;
    let mut parser = Parser {
        source,
        tokens,
        next: 0,
        ids: 0,
        depth: 0,
        errors: Vec::new(),
    };
    let tree = parser.whole();
    match tree {
        Ok(tree) if parser.errors.is_empty() => Ok((tree, parser.ids)),
        Ok(_) => Err(parser.errors),
        Err(error) => {
            parser.errors.push(error);
            Err(parser.errors)
        }
    }
}

/// Parser state.
pub struct Parser<'s> {
    source: &'s str,
    tokens: Vec<Token>,
    next: usize,
    ids: usize,
    depth: usize,
    errors: Vec<CompileError>,
}

type Parsed = Result<Expr, CompileError>;

impl Parser<'_> {
    /// A numbered node.
    pub fn expr(&mut self, at: usize, kind: Kind) -> Expr {
        self.ids += 1;
        Expr::new(self.ids - 1, at, kind)
    }

    /// A call without receiver.
    pub fn call(&mut self, at: usize, function: &str, args: Vec<Expr>) -> Expr {
        let kind = Kind::Call {
            function: function.into(),
            target: None,
            args,
        };
        self.expr(at, kind)
    }

    /// Remembers an error that does not stop parsing.
    pub fn report(&mut self, at: usize, message: &str) {
        self.errors
            .push(CompileError::new(self.source, at, message));
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.next]
    }

    fn is(&self, punct: &str) -> bool {
        matches!(self.peek().word, Word::Punct(found) if found == punct)
    }

    fn advance(&mut self) -> Token {
        let token = self.tokens[self.next].clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn accept(&mut self, punct: &str) -> Option<usize> {
        self.is(punct).then(|| self.advance().at)
    }

    fn expect(&mut self, punct: &str) -> Result<usize, CompileError> {
        match self.accept(punct) {
            Some(at) => Ok(at),
            None => Err(self.mismatch(&format!("'{punct}'"))),
        }
    }

    fn mismatch(&self, expecting: &str) -> CompileError {
        let token = self.peek();
        let shown = match &token.word {
            Word::End => "<EOF>",
            _ => &self.source[token.at..token.end],
        };
        let why = format!("Syntax error: mismatched input '{shown}' expecting {expecting}");
        CompileError::new(self.source, token.at, why)
    }

    fn whole(&mut self) -> Parsed {
        let tree = self.ternary()?;
        if self.peek().word == Word::End {
            Ok(tree)
        } else {
            Err(self.mismatch("<EOF>"))
        }
    }

    fn ternary(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let why = format!("expression recursion limit exceeded: {MAX_DEPTH}");
            return Err(CompileError::new(self.source, self.peek().at, why));
        }
        let condition = self.logical(0)?;
        let tree = if let Some(at) = self.accept("?") {
            let then = self.logical(0)?;
            self.expect(":")?;
            let otherwise = self.ternary()?;
            self.call(at, "_?_:_", vec![condition, then, otherwise])
        } else {
            condition
        };
        self.depth -= 1;
        Ok(tree)
    }

    /// Chains of one logical operator become balanced trees, as they may be long.
    fn logical(&mut self, level: usize) -> Parsed {
        let Some((punct, function)) = LOGICAL.get(level) else {
            return self.binary(0);
        };
        let mut terms = vec![self.logical(level + 1)?];
        let mut places = Vec::new();
        while let Some(at) = self.accept(punct) {
            places.push(at);
            terms.push(self.logical(level + 1)?);
        }
        Ok(self.balanced(function, terms, &places))
    }

    fn balanced(&mut self, function: &str, mut terms: Vec<Expr>, places: &[usize]) -> Expr {
        let half = terms.len() / 2;
        if half == 0 {
            return terms.remove(0);
        }
        let right = terms.split_off(half);
        let left = self.balanced(function, terms, &places[..half - 1]);
        let right = self.balanced(function, right, &places[half..]);
        self.call(places[half - 1], function, vec![left, right])
    }

    fn not_too_deep(&self, tree: &Expr) -> Result<(), CompileError> {
        if tree.depth <= MAX_TREE {
            return Ok(());
        }
        let why = format!("expression recursion limit exceeded: {MAX_TREE}");
        Err(CompileError::new(self.source, tree.at, why))
    }

    fn binary(&mut self, strength: u8) -> Parsed {
        let mut left = self.unary()?;
        loop {
            self.not_too_deep(&left)?;
            let found = match &self.peek().word {
                Word::Punct(punct) => BINARY.iter().find(|(token, ..)| token == punct),
                _ => None,
            };
            let Some((_, function, binding)) = found.filter(|row| row.2 >= strength) else {
                return Ok(left);
            };
            let at = self.advance().at;
            let right = self.binary(binding + 1)?;
            left = self.call(at, function, vec![left, right]);
        }
    }

    fn unary(&mut self) -> Parsed {
        for (punct, function) in [("!", "!_"), ("-", "-_")] {
            let mut count = 0;
            let mut first = 0;
            while self.is(punct) {
                if punct == "-" && count % 2 == 0 && self.next_is_number() {
                    break;
                }
                let at = self.advance().at;
                first = if count == 0 { at } else { first };
                count += 1;
            }
            if count > 0 {
                let operand = if punct == "-" && count % 2 == 0 {
                    self.unary()?
                } else {
                    self.member()?
                };
                return Ok(if count % 2 == 1 {
                    self.call(first, function, vec![operand])
                } else {
                    operand
                });
            }
        }
        self.member()
    }

    /// Whether the minus that comes next is the sign of a number.
    fn next_is_number(&self) -> bool {
        let word = self.tokens.get(self.next + 1).map(|token| &token.word);
        matches!(word, Some(Word::Int(_) | Word::Literal(Literal::Double(_))))
    }

    fn member(&mut self) -> Parsed {
        let mut tree = self.primary()?;
        loop {
            self.not_too_deep(&tree)?;
            if let Some(at) = self.accept(".") {
                tree = self.after_dot(tree, at)?;
            } else if let Some(at) = self.accept("[") {
                let function = if self.accept("?").is_some() {
                    "_[?_]"
                } else {
                    "_[_]"
                };
                let index = self.ternary()?;
                self.expect("]")?;
                tree = self.call(at, function, vec![tree, index]);
            } else if self.is("{") && qualified(&tree).is_some() {
                tree = self.message(&tree)?;
            } else {
                return Ok(tree);
            }
        }
    }

    fn after_dot(&mut self, operand: Expr, at: usize) -> Parsed {
        let optional = self.accept("?").is_some();
        let (field, field_at) = self.name()?;
        if optional {
            let field = self.expr(field_at, Kind::Literal(Literal::String(field)));
            return Ok(self.call(at, "_?._", vec![operand, field]));
        }
        if let Some(open) = self.accept("(") {
            let args = self.arguments(")")?;
            return macros::expand(self, open, Some(operand), field, args);
        }
        let kind = Kind::Select {
            operand: Box::new(operand),
            field,
            test: false,
        };
        Ok(self.expr(at, kind))
    }

    fn name(&mut self) -> Result<(SmolStr, usize), CompileError> {
        let token = self.peek().clone();
        match token.word {
            Word::Ident(name) => {
                self.advance();
                Ok((name, token.at))
            }
            Word::Punct("in") | Word::Literal(Literal::Bool(_) | Literal::Null) => {
                Err(self.mismatch("IDENTIFIER"))
            }
            _ if token.word == Word::End => Err(CompileError::new(
                self.source,
                token.at,
                "Syntax error: no viable alternative at input '.'",
            )),
            _ => Err(self.mismatch("IDENTIFIER")),
        }
    }

    fn arguments(&mut self, close: &str) -> Result<Vec<Expr>, CompileError> {
        let mut args = Vec::new();
        while self.accept(close).is_none() {
            args.push(self.ternary()?);
            if self.accept(",").is_none() {
                self.expect(close)?;
                break;
            }
        }
        Ok(args)
    }

    fn primary(&mut self) -> Parsed {
        let token = self.peek().clone();
        match token.word {
            Word::Literal(literal) => {
                self.advance();
                Ok(self.expr(token.at, Kind::Literal(literal)))
            }
            Word::Int(text) => {
                self.advance();
                self.int(token.at, &text, false)
            }
            Word::Ident(name) => {
                self.advance();
                self.ident(token.at, name)
            }
            Word::Punct(punct) => self.bracketed(token.at, punct),
            Word::End => Err(self.mismatch(OPERANDS)),
        }
    }

    fn int(&mut self, at: usize, text: &str, negative: bool) -> Parsed {
        let number = parse_whole(text).map(|number| if negative { -number } else { number });
        match number.and_then(|number| i64::try_from(number).ok()) {
            Some(number) => Ok(self.expr(at, Kind::Literal(Literal::Int(number)))),
            None => Err(CompileError::new(self.source, at, "invalid int literal")),
        }
    }

    fn ident(&mut self, at: usize, name: SmolStr) -> Parsed {
        if RESERVED.contains(&name.as_str()) {
            let why = format!("reserved identifier: {name}");
            return Err(CompileError::new(self.source, at, why));
        }
        if let Some(open) = self.accept("(") {
            let args = self.arguments(")")?;
            return macros::expand(self, open, None, name, args);
        }
        Ok(self.expr(at, Kind::Ident(name)))
    }

    fn bracketed(&mut self, at: usize, punct: &str) -> Parsed {
        match punct {
            "(" => {
                self.advance();
                let tree = self.ternary()?;
                self.expect(")")?;
                Ok(tree)
            }
            "[" => self.list(),
            "{" => self.map(),
            "." => {
                self.advance();
                let (name, at) = self.name()?;
                self.ident(at, name)
            }
            "-" => {
                self.advance();
                let token = self.advance();
                match token.word {
                    Word::Int(text) => self.int(at, &text, true),
                    Word::Literal(Literal::Double(number)) => {
                        Ok(self.expr(at, Kind::Literal(Literal::Double(-number))))
                    }
                    _ => Err(CompileError::new(self.source, at, "invalid number")),
                }
            }
            _ => {
                let mut error = self.mismatch(OPERANDS);
                if punct == ")" || punct == "]" || punct == "}" {
                    error.message = error.message.replace("mismatched", "extraneous");
                }
                Err(error)
            }
        }
    }

    fn list(&mut self) -> Parsed {
        let at = self.expect("[")?;
        let mut items = Vec::new();
        while self.accept("]").is_none() {
            let optional = self.accept("?").is_some();
            items.push((self.ternary()?, optional));
            if self.accept(",").is_none() {
                self.expect("]")?;
                break;
            }
        }
        Ok(self.expr(at, Kind::List(items)))
    }

    fn map(&mut self) -> Parsed {
        let at = self.expect("{")?;
        let mut entries = Vec::new();
        while self.accept("}").is_none() {
            let optional = self.accept("?").is_some();
            let key = self.ternary()?;
            self.expect(":")?;
            entries.push((key, self.ternary()?, optional));
            if self.accept(",").is_none() {
                self.expect("}")?;
                break;
            }
        }
        Ok(self.expr(at, Kind::Map(entries)))
    }

    fn message(&mut self, name: &Expr) -> Parsed {
        let name = qualified(name).unwrap_or_default();
        let at = self.expect("{")?;
        let mut fields = Vec::new();
        while self.accept("}").is_none() {
            let optional = self.accept("?").is_some();
            let (field, _) = self.name()?;
            let at = self.expect(":")?;
            fields.push(FieldInit {
                at,
                name: field,
                value: self.ternary()?,
                optional,
            });
            if self.accept(",").is_none() {
                self.expect("}")?;
                break;
            }
        }
        let name = name.into();
        Ok(self.expr(at, Kind::Struct { name, fields }))
    }
}

/// `a.b.c` as one name.
pub fn qualified(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Ident(name) => Some(name.to_string()),
        Kind::Select {
            operand,
            field,
            test: false,
        } => Some(format!("{}.{field}", qualified(operand)?)),
        _ => None,
    }
}
