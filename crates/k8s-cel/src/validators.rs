//! What is asked of a checked tree besides types: constants that cannot be read, names it uses.
//!
//! Upstream counterpart: cel-go's `cel/validator.go`.

use crate::{
    Type,
    checker::Checked,
    syntax::{CompileError, Expr, Kind, Literal},
    time::{Timestamp, parse_duration},
};
use machinery::SmolStr;

/// Errors of constants that their function cannot read.
pub fn literals(source: &str, checked: &Checked) -> Vec<CompileError> {
    let mut errors = Vec::new();
    walk(&checked.expr, &mut |expr| {
        let Kind::Call { function, args, .. } = &expr.kind else {
            return;
        };
        let Some(Expr {
            at,
            kind: Kind::Literal(Literal::String(text)),
            ..
        }) = args.last()
        else {
            return;
        };
        let bad = match (function.as_str(), args.len()) {
            ("duration", 1) => parse_duration(text).is_none(),
            ("timestamp", 1) => Timestamp::parse(text).is_none(),
            ("matches", _) => schema::compile_pattern(text).is_err(),
            _ => false,
        };
        if bad {
            let why = format!("invalid {function} argument");
            errors.push(CompileError::new(source, *at, why));
        }
    });
    mixed(source, checked, &checked.expr, false, &mut errors);
    errors
}

/// Literals of lists and maps hold values of one type, but for the arguments of `format`.
fn mixed(
    source: &str,
    checked: &Checked,
    expr: &Expr,
    exempt: bool,
    errors: &mut Vec<CompileError>,
) {
    let mut compare = |parts: Vec<(&Expr, bool)>| {
        let mut first: Option<Type> = None;
        for (part, optional) in parts {
            let mut found = checked.types[part.id].clone();
            if optional && let Type::Optional(value) = &found {
                found = (**value).clone();
            }
            match &first {
                Some(wanted) if *wanted != found => {
                    let why = format!("expected type '{wanted}' but found '{found}'");
                    errors.push(CompileError::new(source, part.at, why));
                    break;
                }
                Some(_) => {}
                None => first = Some(found),
            }
        }
    };
    match &expr.kind {
        Kind::List(items) if !exempt => {
            compare(
                items
                    .iter()
                    .map(|(item, optional)| (item, *optional))
                    .collect(),
            );
        }
        Kind::Map(entries) if !exempt => {
            compare(entries.iter().map(|(key, ..)| (key, false)).collect());
            compare(
                entries
                    .iter()
                    .map(|(_, value, optional)| (value, *optional))
                    .collect(),
            );
        }
        _ => {}
    }
    let formats = matches!(&expr.kind, Kind::Call { function, .. } if function == "format");
    for child in children(expr) {
        mixed(source, checked, child, exempt || formats, errors);
    }
}

/// Adds the names selected from `variable`.
pub fn members(expr: &Expr, variable: &str, found: &mut Vec<SmolStr>) {
    walk(expr, &mut |expr| {
        let (operand, name) = match &expr.kind {
            Kind::Select { operand, field, .. } => (&**operand, field.clone()),
            Kind::Call { function, args, .. } if args.len() == 2 => match &args[1].kind {
                Kind::Literal(Literal::String(name))
                    if ["_[_]", "_[?_]", "_?._"].contains(&function.as_str()) =>
                {
                    (&args[0], name.clone())
                }
                _ => return,
            },
            _ => return,
        };
        let from = matches!(&operand.kind, Kind::Ident(known) if known == variable);
        if from && !found.contains(&name) {
            found.push(name);
        }
    });
}

fn walk(expr: &Expr, each: &mut dyn FnMut(&Expr)) {
    each(expr);
    for child in children(expr) {
        walk(child, each);
    }
}

fn children(expr: &Expr) -> Vec<&Expr> {
    let mut parts = Vec::new();
    expr.kind.each_part(&mut |part| parts.push(part));
    parts
}
