//! `fieldPath` of a rule: where its errors are reported.

use schema::{Shape, TypeRef};

/// The path as errors show it, if it leads to a field of the schema.
///
/// # Errors
/// Why it does not.
pub fn normalize(path: &str, of: &TypeRef) -> Result<String, String> {
    let mut shown = String::new();
    let mut at = of.clone();
    let mut rest = path;
    if rest.is_empty() {
        return Err("does not refer to a valid field".into());
    }
    while !rest.is_empty() {
        let (name, after) = segment(rest)?;
        rest = after;
        let (next, named) = match &at.node().shape {
            Shape::Struct(known) => {
                let field = known.field(&name);
                (field.map(|field| field.node), true)
            }
            Shape::Map { value, .. } => (Some(*value), false),
            _ => (None, true),
        };
        let next = next.ok_or("does not refer to a valid field")?;
        at = at.to(next);
        if !named {
            shown += &format!("[{name}]");
        } else if shown.is_empty() {
            shown = name;
        } else {
            shown += &format!(".{name}");
        }
    }
    Ok(shown)
}

/// The first name of a path, and the rest.
fn segment(path: &str) -> Result<(String, &str), String> {
    if let Some(rest) = path.strip_prefix('.') {
        let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
        if end == 0 {
            return Err("unexpected end of JSON path".into());
        }
        return Ok((rest[..end].to_owned(), &rest[end..]));
    }
    let Some(rest) = path.strip_prefix('[') else {
        let shown = path.split(['.', '[', ']']).next().unwrap_or(path);
        return Err(format!("expected [ or . but got: {shown}"));
    };
    let inner = rest
        .strip_prefix('\'')
        .ok_or_else(|| format!("expected single quoted string but got {rest}"))?;
    let mut name = String::new();
    let mut letters = inner.chars();
    loop {
        match letters.next() {
            None => return Err("unexpected end of JSON path".into()),
            Some('\'') => break,
            Some('\\') => name.push(unescape(letters.next())?),
            Some(letter) => name.push(letter),
        }
    }
    let after = letters
        .as_str()
        .strip_prefix(']')
        .ok_or_else(|| format!("expected ] but got {}", letters.as_str()))?;
    Ok((name, after))
}

fn unescape(letter: Option<char>) -> Result<char, String> {
    Ok(match letter {
        Some('a') => '\u{7}',
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('v') => '\u{b}',
        Some(same @ ('\'' | '\\')) => same,
        other => {
            let shown = other.map(String::from).unwrap_or_default();
            return Err(format!(
                "invalid string literal: invalid escape char \\{shown}"
            ));
        }
    })
}
