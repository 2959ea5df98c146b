//! From words as written to words as given to a program.

use super::{
    arith,
    lex::{Part, Word},
    run::Shell,
};
use std::process::{Command, Stdio};

type Expanded<T> = Result<T, String>;

/// Expands words; unquoted values split at blanks.
pub fn words(shell: &Shell, words: &[Word]) -> Expanded<Vec<String>> {
    let mut found = Vec::new();
    for word in words {
        fields(shell, word, &mut found)?;
    }
    Ok(found)
}

/// Expands a word that stays one word: a value assigned, a file's name.
pub fn one(shell: &Shell, word: &Word) -> Expanded<String> {
    word.iter().map(|part| value(shell, part)).collect()
}

fn fields(shell: &Shell, word: &Word, found: &mut Vec<String>) -> Expanded<()> {
    let mut current: Option<String> = None;
    for part in word {
        if let Part::Variable(name, true) = part
            && name == "@"
        {
            found.extend(shell.positional.iter().skip(1).cloned());
            continue;
        }
        let text = value(shell, part)?;
        let splits = matches!(part, Part::Variable(_, false) | Part::Command(_, false));
        if !splits {
            current.get_or_insert_default().push_str(&text);
            continue;
        }
        let mut pieces = text.split_whitespace();
        if let Some(piece) = pieces.next() {
            current.get_or_insert_default().push_str(piece);
        }
        for piece in pieces {
            found.extend(current.replace(piece.to_owned()));
        }
    }
    found.extend(current);
    Ok(())
}

fn value(shell: &Shell, part: &Part) -> Expanded<String> {
    match part {
        Part::Text(text, _) => Ok(text.clone()),
        Part::Variable(inner, _) => variable(shell, inner),
        Part::Arithmetic(text) => arith::value(shell, text).map(|value| value.to_string()),
        Part::Command(script, _) => output(shell, script),
    }
}

/// `NAME`, `#NAME`, `NAME:-default`, `NAME:+other` and `NAME:?complaint`.
fn variable(shell: &Shell, inner: &str) -> Expanded<String> {
    if let Some(name) = inner.strip_prefix('#').filter(|name| !name.is_empty()) {
        return Ok(shell
            .variable(name)
            .unwrap_or_default()
            .chars()
            .count()
            .to_string());
    }
    let end = inner
        .find([':', '-', '+', '?', '='])
        .filter(|end| *end > 0)
        .unwrap_or(inner.len());
    let (name, rest) = inner.split_at(end);
    let (strict, rest) = rest
        .strip_prefix(':')
        .map_or((false, rest), |rest| (true, rest));
    let set = shell
        .variable(name)
        .filter(|value| !strict || !value.is_empty());
    match (rest.split_at_checked(1), set) {
        (None, set) => Ok(set.unwrap_or_default()),
        (Some(("-" | "?", _)), Some(value)) => Ok(value),
        (Some(("-", default)), None) => Ok(default.to_owned()),
        (Some(("+", other)), Some(_)) => Ok(other.to_owned()),
        (Some(("+", _)), None) => Ok(String::new()),
        (Some(("?", complaint)), None) => Err(format!("{name}: {complaint}")),
        _ => Err(format!("${{{inner}}}: bad substitution")),
    }
}

/// What a script prints, without the new lines at its end.
fn output(shell: &Shell, script: &str) -> Expanded<String> {
    let mut command: Command = shell.program("sh");
    command
        .args(["-c", script])
        .stderr(Stdio::inherit())
        .stdin(Stdio::inherit());
    let output = command
        .output()
        .map_err(|error| format!("$({script}): {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.trim_end_matches('\n').to_owned())
}
