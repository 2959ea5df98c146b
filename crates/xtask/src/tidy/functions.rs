//! Measures functions: how long, how deep, how many parameters; and cuts test code out.
//!
//! Works on tokens alone, so it must stay right on code that does not compile yet.
//! Upstream counterpart: `golangci-lint`'s `funlen`, `nestif`, `revive`.

use super::lexer::{Kind, Token};

/// One function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function<'a> {
    /// Its name.
    pub name: &'a str,
    /// The line of its `fn`.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub length: usize,
    /// Control blocks inside each other at the deepest place.
    pub nesting: usize,
    /// Parameters, `self` included.
    pub parameters: usize,
}

/// The index just past the bracket that closes the one at `open`.
fn past_group(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token.kind != Kind::Punct {
            continue;
        }
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// The index just past the item that starts at `start`: its block, or its semicolon.
fn past_item(tokens: &[Token], start: usize) -> usize {
    let mut at = start;
    while let Some(token) = tokens.get(at) {
        match token {
            t if t.is("{") => return past_group(tokens, at),
            t if t.is("(") || t.is("[") => at = past_group(tokens, at),
            t if t.is(";") => return at + 1,
            _ => at += 1,
        }
    }
    tokens.len()
}

fn is_test_attribute(tokens: &[Token]) -> bool {
    let spelled = |words: &[&str]| {
        tokens.len() >= words.len() && tokens.iter().zip(words).all(|(t, w)| t.is(w))
    };
    spelled(&["#", "[", "cfg", "(", "test", ")", "]"]) || spelled(&["#", "[", "test", "]"])
}

/// The tokens of shipped code: no comments, no item under `#[cfg(test)]` or `#[test]`.
pub fn shipped<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let code: Vec<_> = tokens
        .iter()
        .copied()
        .filter(|t| t.kind != Kind::Comment)
        .collect();
    let mut kept = Vec::with_capacity(code.len());
    let mut at = 0;
    while at < code.len() {
        if is_test_attribute(&code[at..]) {
            at = past_item(&code, past_group(&code, at + 1));
        } else {
            kept.push(code[at]);
            at += 1;
        }
    }
    kept
}

/// The names of modules declared as `#[cfg(test)] mod name;`: their files are test code too.
pub fn test_modules<'a>(tokens: &[Token<'a>]) -> Vec<&'a str> {
    let code: Vec<_> = tokens
        .iter()
        .copied()
        .filter(|t| t.kind != Kind::Comment)
        .collect();
    (0..code.len())
        .filter(|&at| is_test_attribute(&code[at..]))
        .filter_map(|at| {
            let item = &code[past_group(&code, at + 1)..];
            let declared = item.first()?.is("mod") && item.get(2)?.is(";");
            declared.then(|| item[1].text)
        })
        .collect()
}

/// Measures every function with a body in `tokens`, which must hold no comments.
pub fn measure<'a>(tokens: &[Token<'a>]) -> Vec<Function<'a>> {
    (0..tokens.len())
        .filter_map(|at| function_at(tokens, at))
        .collect()
}

fn function_at<'a>(tokens: &[Token<'a>], at: usize) -> Option<Function<'a>> {
    let name = tokens.get(at + 1)?;
    // `fn(` is a type, not a function.
    if !tokens[at].is("fn") || name.kind != Kind::Ident {
        return None;
    }
    let parameters = parameter_list(tokens, at + 2)?;
    let after = past_group(tokens, parameters);
    let body = (after..tokens.len()).find(|&i| tokens[i].is("{") || tokens[i].is(";"))?;
    if tokens[body].is(";") {
        return None;
    }
    let end = past_group(tokens, body);
    Some(Function {
        name: name.text,
        line: tokens[at].line,
        length: tokens[end - 1].line - tokens[at].line + 1,
        nesting: nesting(&tokens[body + 1..end - 1]),
        parameters: count_parameters(&tokens[parameters + 1..after - 1]),
    })
}

/// Where the parenthesis of the parameters opens: past the generics, where bounds like
/// `Fn(u8) -> u8` hold parentheses of their own.
fn parameter_list(tokens: &[Token], start: usize) -> Option<usize> {
    let mut depth = 0usize;
    for at in start..tokens.len() {
        let token = &tokens[at];
        let arrow = at > 0 && tokens[at - 1].is("-");
        match token {
            t if t.is("<") => depth += 1,
            t if t.is(">") && !arrow => depth = depth.saturating_sub(1),
            t if t.is("(") && depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

fn count_parameters(tokens: &[Token]) -> usize {
    let (mut depth, mut commas) = (0i32, 0);
    for (at, token) in tokens.iter().enumerate() {
        let arrow = at > 0 && tokens[at - 1].is("-");
        match token.text {
            _ if token.kind != Kind::Punct => {}
            "(" | "[" | "{" | "<" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            ">" if !arrow => depth -= 1,
            // A trailing comma separates nothing.
            "," if depth == 0 && at + 1 < tokens.len() => commas += 1,
            _ => {}
        }
    }
    if tokens.is_empty() { 0 } else { commas + 1 }
}

/// How many control blocks (`if`, `else`, `match`, `for`, `while`, `loop`, closures with a block) stand inside
/// each other. `else if` is one level, a match arm belongs to its match.
fn nesting(tokens: &[Token]) -> usize {
    let mut open: Vec<bool> = Vec::new();
    let (mut pending, mut deepest) = (false, 0);
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "if" | "else" | "match" | "for" | "while" | "loop" if token.kind == Kind::Ident => {
                pending = true;
            }
            ";" if token.kind == Kind::Punct => pending = false,
            "{" if token.kind == Kind::Punct => {
                let closure = at > 0 && tokens[at - 1].is("|");
                open.push(pending || closure);
                pending = false;
                deepest = deepest.max(open.iter().filter(|control| **control).count());
            }
            "}" if token.kind == Kind::Punct => {
                // Unbalanced braces are the compiler's to report.
                let _ = open.pop();
                pending = false;
            }
            _ => {}
        }
    }
    deepest
}

/// The middle value of the functions' lengths, 0 of none.
pub fn median(mut lengths: Vec<usize>) -> usize {
    lengths.sort_unstable();
    lengths.get(lengths.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::lexer::lex;
    use super::*;

    fn only(source: &str) -> (usize, usize, usize) {
        let tokens = shipped(&lex(source));
        let found = measure(&tokens);
        assert_eq!(found.len(), 1, "{source}: {found:?}");
        (found[0].length, found[0].nesting, found[0].parameters)
    }

    #[test]
    fn measures() {
        let cases = [
            ("fn a() {}", (1, 0, 0)),
            ("fn a(&self, b: (u8, u8), c: Map<u8, u8>,) {\n}", (2, 0, 3)),
            ("fn a<F: Fn(u8, u8) -> u8>(f: F) {}", (1, 0, 1)),
            ("fn a(f: impl Fn(u8) -> Vec<u8>, b: u8) {}", (1, 0, 2)),
            (
                "fn a() { if x { y } else if z { for q in w { } } }",
                (1, 2, 0),
            ),
            ("fn a() { match x { A { b } => { if c {} } } }", (1, 2, 0)),
            ("fn a() { let b = S { c: T { d } }; }", (1, 0, 0)),
            ("fn a() { x.map(|y| { if y {} }) }", (1, 2, 0)),
            ("fn a() { let Some(x) = y else { return }; }", (1, 1, 0)),
            ("fn a(); fn b(c: fn(u8)) {}", (1, 0, 1)),
        ];
        for (source, want) in cases {
            assert_eq!(only(source), want, "{source}");
        }
    }

    #[test]
    fn leaves_tests_out() {
        let source =
            "fn a() {} #[cfg(test)] mod t { fn b() {} } #[test] fn c() { } // fn d() {}\nfn e() {}";
        let tokens = shipped(&lex(source));
        let names: Vec<_> = measure(&tokens).iter().map(|f| f.name).collect();
        assert_eq!(names, ["a", "e"]);
    }

    #[test]
    fn finds_test_modules() {
        assert_eq!(
            test_modules(&lex("#[cfg(test)]\nmod x;\nmod y; #[cfg(test)] mod z {}")),
            ["x"]
        );
    }

    #[test]
    fn takes_the_middle() {
        assert_eq!(
            [median(vec![]), median(vec![3]), median(vec![9, 1, 5])],
            [0, 3, 5]
        );
    }
}
