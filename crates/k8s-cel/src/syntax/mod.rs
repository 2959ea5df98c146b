//! From text to tree: what an expression says, before anyone asks what it means.
//!
//! Knows no types and no functions but the macros that rewrite the tree. Upstream counterpart:
//! cel-go's `parser` and `common/ast`.

mod lexer;
mod literal;
mod macros;
mod parser;

use machinery::SmolStr;

pub use parser::{parse, qualified};

/// A node of the tree.
#[derive(Clone, Debug)]
pub struct Expr {
    /// Number of the node: what types and references are kept under.
    pub id: usize,
    /// Byte offset into the source, for errors.
    pub at: usize,
    /// Length of the longest way down from here.
    pub depth: usize,
    /// What it is.
    pub kind: Kind,
}

impl Expr {
    /// A node, deeper by one than the deepest of its parts.
    fn new(id: usize, at: usize, kind: Kind) -> Self {
        let mut deepest = 0;
        kind.each_part(&mut |part| deepest = deepest.max(part.depth));
        Self {
            id,
            at,
            depth: deepest + 1,
            kind,
        }
    }
}

impl Kind {
    /// Calls `each` with every part.
    pub fn each_part<'e>(&'e self, each: &mut dyn FnMut(&'e Expr)) {
        match self {
            Self::Literal(_) | Self::Ident(_) => {}
            Self::Select { operand, .. } => each(operand),
            Self::Call { target, args, .. } => {
                target.iter().for_each(|target| each(target));
                args.iter().for_each(each);
            }
            Self::List(items) => items.iter().for_each(|(item, _)| each(item)),
            Self::Map(entries) => entries.iter().for_each(|(key, value, _)| {
                each(key);
                each(value);
            }),
            Self::Struct { fields, .. } => fields.iter().for_each(|field| each(&field.value)),
            Self::Fold(fold) => {
                for part in [
                    &fold.range,
                    &fold.init,
                    &fold.condition,
                    &fold.step,
                    &fold.result,
                ] {
                    each(part);
                }
            }
        }
    }
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A constant.
    Literal(Literal),
    /// A name.
    Ident(SmolStr),
    /// `operand.field`, or `has(operand.field)`.
    Select {
        /// The object.
        operand: Box<Expr>,
        /// The member.
        field: SmolStr,
        /// Whether only presence is asked for.
        test: bool,
    },
    /// `target.function(args)` or `function(args)`; operators too, as `_+_`.
    Call {
        /// Name.
        function: SmolStr,
        /// Receiver.
        target: Option<Box<Expr>>,
        /// Arguments.
        args: Vec<Expr>,
    },
    /// `[a, ?b]`; the flag marks optional items.
    List(Vec<(Expr, bool)>),
    /// `{k: v, ?k: v}`; the flag marks optional entries.
    Map(Vec<(Expr, Expr, bool)>),
    /// `Name{field: value}`.
    Struct {
        /// Type name.
        name: SmolStr,
        /// Fields.
        fields: Vec<FieldInit>,
    },
    /// What a macro over a list or map became.
    Fold(Box<Fold>),
}

/// A field of a constructed message.
#[derive(Clone, Debug)]
pub struct FieldInit {
    /// Byte offset of its name.
    pub at: usize,
    /// Its name.
    pub name: SmolStr,
    /// Its value.
    pub value: Expr,
    /// Whether it is only set where the value is there.
    pub optional: bool,
}

/// A comprehension.
#[derive(Clone, Debug)]
pub struct Fold {
    /// What is walked over.
    pub range: Expr,
    /// Name of the item, or of the key if there are two names.
    pub var: SmolStr,
    /// Name of the value.
    pub var2: Option<SmolStr>,
    /// Name of the accumulator.
    pub accu: SmolStr,
    /// Its first value.
    pub init: Expr,
    /// Whether to go on.
    pub condition: Expr,
    /// Its next value.
    pub step: Expr,
    /// What comes out.
    pub result: Expr,
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(SmolStr),
    Bytes(Vec<u8>),
}

/// Name of the accumulator of macros, which no expression can spell.
pub const ACCUMULATOR: &str = "@result";

/// One thing wrong with an expression.
#[derive(Clone, Debug, PartialEq)]
pub struct CompileError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 0.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// The line of source with a mark below the place.
    snippet: String,
}

/// Snippets longer than this are left out of error texts, as upstream does.
const MAX_SNIPPET: usize = 16384;

impl CompileError {
    /// An error at a byte offset of `source`.
    pub fn new(source: &str, at: usize, message: impl Into<String>) -> Self {
        let before = &source[..floor(source, at)];
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let text = source[start..].lines().next().unwrap_or_default();
        let column = before[start..].chars().count();
        Self {
            line: before.matches('\n').count() + 1,
            column,
            message: message.into(),
            snippet: snippet(text, column),
        }
    }
}

fn floor(source: &str, at: usize) -> usize {
    (0..=at.min(source.len()))
        .rev()
        .find(|place| source.is_char_boundary(*place))
        .unwrap_or(0)
}

fn snippet(text: &str, column: usize) -> String {
    if text.len() > MAX_SNIPPET {
        return String::new();
    }
    let mut shown = format!("\n | {}\n | ", text.replace('\t', " "));
    let mut letters = text.chars();
    for letter in letters.by_ref().take(column) {
        shown.push(if letter.is_ascii() { '.' } else { '\u{ff0e}' });
    }
    let wide = letters.next().is_some_and(|letter| !letter.is_ascii());
    shown.push(if wide { '\u{ff3e}' } else { '^' });
    shown
}

impl std::fmt::Display for CompileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (line, column) = (self.line, self.column + 1);
        write!(
            f,
            "ERROR: <input>:{line}:{column}: {}{}",
            self.message, self.snippet
        )
    }
}

impl std::error::Error for CompileError {}

/// All errors as one text, one after the other.
pub fn join(errors: &[CompileError]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("\n")
}
