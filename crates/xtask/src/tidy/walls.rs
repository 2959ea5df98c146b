//! What a source file may not say, by the ring of its crate: effects below ring 4, `unsafe`
//! outside two crates, a kind's name in the core.
//!
//! Sees tokens, so a comment may mention anything; a macro that builds a forbidden name would
//! escape, and clippy's bans catch that one. Upstream counterpart: `forbidigo`, `depguard`.

use super::lexer::{Kind, Token};

/// Crates that may hold `unsafe`: those that speak to the kernel.
pub const MAY_BE_UNSAFE: &[&str] = &["node-linux", "real-env"];

/// Crates that carry every kind and therefore spell none.
pub const CORE: &[&str] = &["store", "reconcile", "driver", "codec", "apiserver"];

/// Paths below `std` that are effects on the world.
const BANNED_STD: &[(&str, &str)] = &[
    ("thread", "std::thread: tasks come in through env::Tasks"),
    ("fs", "std::fs: files come in through env::Disk"),
    ("env", "std::env: configuration comes in as a value"),
    ("process", "std::process: a process is an effect of ring 4"),
];

/// Names that are effects wherever they are written.
const BANNED_NAMES: &[(&str, &str)] = &[
    ("tokio", "tokio: tasks and time come in through env"),
    ("TcpStream", "sockets belong to ring 4"),
    ("TcpListener", "sockets belong to ring 4"),
    ("UdpSocket", "sockets belong to ring 4"),
    ("UnixStream", "sockets belong to ring 4"),
    (
        "HashMap",
        "HashMap: its order changes from run to run; use BTreeMap",
    ),
    (
        "HashSet",
        "HashSet: its order changes from run to run; use BTreeSet",
    ),
    (
        "RandomState",
        "RandomState: randomness comes in through env::Entropy",
    ),
    (
        "getrandom",
        "getrandom: randomness comes in through env::Entropy",
    ),
    (
        "thread_rng",
        "rand: randomness comes in through env::Entropy",
    ),
];

/// Clocks that may be named as types but not read.
const CLOCKS: &[&str] = &["Instant", "SystemTime"];

/// A kind's name the core may spell, and why.
const SPELLED_IN_CORE: &[(&str, &str, &str)] = &[
    (
        "driver",
        "Event",
        "the driver records events for every brain",
    ),
    (
        "driver",
        "events",
        "the driver records events for every brain",
    ),
    ("codec", "Event", "a watch event, not the kind"),
    ("reconcile", "Event", "what a plan says to the recorder"),
    ("store", "Event", "a change of the log"),
    ("codec", "Node", "a node of a document"),
    ("store", "Lease", "a time to live, not the kind"),
    ("apiserver", "Node", "the resolver of a pod's node"),
    (
        "apiserver",
        "Role",
        "which side of a connection a stream is",
    ),
    (
        "apiserver",
        "namespaces",
        "a scope in every path, not the kind",
    ),
    (
        "apiserver",
        "Job",
        "one exec or attach in flight, not the kind",
    ),
    // The API itself defines streams and proxies for these and no others.
    ("apiserver", "Pod", "whom a stream leads to"),
    ("apiserver", "pods", "whom a proxy leads to"),
    ("apiserver", "nodes", "whom a proxy leads to"),
    ("apiserver", "endpoints", "whom a proxy leads to"),
];

/// One broken rule at a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// The line, from one.
    pub line: usize,
    /// What is wrong and what to do instead.
    pub says: String,
}

fn path_at(tokens: &[Token], at: usize, words: &[&str]) -> bool {
    let mut spelled = words.iter().flat_map(|word| [":", ":", *word]).skip(2);
    let mut found = tokens[at..].iter();
    spelled.all(|word| found.next().is_some_and(|token| token.is(word)))
}

/// The first names of `std::{a, b::{c}}` when it starts at `at`, with their lines.
fn std_group<'a>(tokens: &[Token<'a>], at: usize) -> Vec<Token<'a>> {
    let mut names = Vec::new();
    if !path_at(tokens, at, &["std", "{"]) {
        return names;
    }
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(at + 3) {
        match token {
            t if t.is("{") => depth += 1,
            t if t.is("}") => depth -= 1,
            t if depth == 1 && t.kind == Kind::Ident && !tokens[index - 1].is(":") => {
                names.push(*t)
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// Effects named in the shipped code of rings 0 to 3.
pub fn effects(tokens: &[Token]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if token.kind != Kind::Ident {
            continue;
        }
        // A field or method of that name is not the thing itself.
        let member = at > 0 && tokens[at - 1].is(".");
        let named = BANNED_NAMES
            .iter()
            .find(|(name, _)| !member && token.text == *name);
        let in_std = BANNED_STD
            .iter()
            .find(|(name, _)| path_at(tokens, at, &["std", name]));
        for (_, why) in named.into_iter().chain(in_std) {
            found.push(Finding {
                line: token.line,
                says: (*why).to_owned(),
            });
        }
        if CLOCKS.contains(&token.text) && path_at(tokens, at, &[token.text, "now"]) {
            let says = format!("{}::now: time comes in through env::Clock", token.text);
            found.push(Finding {
                line: token.line,
                says,
            });
        }
        for name in std_group(tokens, at) {
            let banned = BANNED_STD.iter().find(|(word, _)| name.text == *word);
            found.extend(banned.map(|(_, why)| Finding {
                line: name.line,
                says: (*why).to_owned(),
            }));
        }
    }
    found
}

/// Every `unsafe` in shipped code.
pub fn unsafe_code(tokens: &[Token]) -> Vec<Finding> {
    let says = format!(
        "unsafe: only {} may speak to the kernel",
        MAY_BE_UNSAFE.join(" and ")
    );
    tokens
        .iter()
        .filter(|token| token.is("unsafe"))
        .map(|token| Finding {
            line: token.line,
            says: says.clone(),
        })
        .collect()
}

/// Kinds' names in shipped code of a core crate. Identifiers count when they are the kind's own
/// name, strings when they are its name or its resource.
pub fn kinds_spelled(of: &str, tokens: &[Token], kinds: &[(String, String)]) -> Vec<Finding> {
    let is_kind = |token: &Token| match token.kind {
        Kind::Ident => kinds.iter().any(|(kind, _)| kind == token.text),
        Kind::Text => kinds
            .iter()
            .any(|(kind, plural)| kind == token.text || plural == token.text),
        _ => false,
    };
    let excused = |token: &Token| {
        SPELLED_IN_CORE
            .iter()
            .any(|(name, word, _)| *name == of && *word == token.text)
    };
    let says = |word: &str| format!("{word}: the core cannot spell a kind; make it data in kinds");
    tokens
        .iter()
        .filter(|token| is_kind(token) && !excused(token))
        .map(|token| Finding {
            line: token.line,
            says: says(token.text),
        })
        .collect()
}

/// Kind and resource names out of the catalogue's table.
pub fn catalogue(table: &str) -> Vec<(String, String)> {
    let row = |line: &str| -> Option<(String, String)> {
        let mut words = line.split_whitespace();
        let (plural, kind) = (words.next()?, words.next()?);
        let plain = !plural.starts_with(['[', '/', '#']) && kind.starts_with(char::is_uppercase);
        plain.then(|| (kind.to_owned(), plural.to_owned()))
    };
    table.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{functions::shipped, lexer::lex};
    use super::*;

    fn lines(found: &[Finding]) -> Vec<usize> {
        found.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn finds_effects() {
        let cases: &[(&str, usize)] = &[
            ("use tokio::time;", 1),
            ("use std::fs;", 1),
            ("use std::{collections::BTreeMap, fs::File};", 1),
            ("use std::{net::IpAddr, sync::{Arc, Mutex}};", 0),
            ("use std::collections::{HashMap, BTreeMap};", 1),
            ("let a = Instant::now();", 1),
            ("fn f(a: Instant) {}", 0),
            ("// tokio\nlet a = \"tokio std::fs\";", 0),
            ("#[cfg(test)] mod tests { use std::fs; }", 0),
            ("use std::net::TcpStream;", 1),
            ("std::env::var(\"A\")", 1),
            ("use env::Clock; spec.env", 0),
            ("std::process::exit(1)", 1),
        ];
        for (source, want) in cases {
            assert_eq!(effects(&shipped(&lex(source))).len(), *want, "{source}");
        }
    }

    #[test]
    fn finds_unsafe() {
        let found = unsafe_code(&shipped(&lex("// unsafe\nfn a() {\n unsafe { b() } }")));
        assert_eq!(lines(&found), [3]);
    }

    #[test]
    fn finds_kinds_in_the_core() {
        let kinds =
            catalogue("[v1] x\npods Pod N\n/status Pod N\nevents Event N\n# services Service\n");
        assert_eq!(kinds.len(), 2);
        let source =
            "let a = \"pods\";\nlet b = Pod;\n// Pod\nlet c = \"pods are many\";\nlet d = Event;";
        let found = |of| lines(&kinds_spelled(of, &shipped(&lex(source)), &kinds));
        assert_eq!(found("codec"), [1, 2]);
        assert_eq!(found("apiserver"), [5]);
    }
}
