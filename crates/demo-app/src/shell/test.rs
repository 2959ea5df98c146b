//! `test` and `[`.

use crate::errors::usage;
use std::{fs, io, os::unix::fs::PermissionsExt};

/// The program `[`.
///
/// # Errors
/// Without its closing bracket.
pub fn bracket_applet(args: &[String]) -> io::Result<i32> {
    match args.split_last() {
        Some((last, rest)) if last == "]" => test_applet(rest),
        _ => Err(usage("missing ]")),
    }
}

/// The program `test`.
///
/// # Errors
/// For an expression it does not know.
pub fn test_applet(args: &[String]) -> io::Result<i32> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    Ok(i32::from(!any(&words)?))
}

fn any(words: &[&str]) -> io::Result<bool> {
    let mut alternatives = words.split(|word| *word == "-o");
    alternatives.try_fold(false, |found, words| Ok(found | all(words)?))
}

fn all(words: &[&str]) -> io::Result<bool> {
    let mut parts = words.split(|word| *word == "-a");
    parts.try_fold(true, |holds, words| Ok(holds & holds_one(words)?))
}

fn holds_one(words: &[&str]) -> io::Result<bool> {
    match words {
        [] => Ok(false),
        [word] => Ok(!word.is_empty()),
        ["!", rest @ ..] => Ok(!holds_one(rest)?),
        [flag, word] => unary(flag, word),
        [left, operator, right] => binary(left, operator, right),
        _ => Err(usage("too many arguments")),
    }
}

fn unary(flag: &str, word: &str) -> io::Result<bool> {
    let file = || fs::metadata(word);
    Ok(match flag {
        "-n" => !word.is_empty(),
        "-z" => word.is_empty(),
        "-e" => file().is_ok(),
        "-f" => file().is_ok_and(|file| file.is_file()),
        "-d" => file().is_ok_and(|file| file.is_dir()),
        "-s" => file().is_ok_and(|file| file.len() > 0),
        "-x" => file().is_ok_and(|file| file.permissions().mode() & 0o111 != 0),
        "-r" => fs::File::open(word).is_ok() || fs::read_dir(word).is_ok(),
        "-L" | "-h" => fs::symlink_metadata(word).is_ok_and(|file| file.is_symlink()),
        other => return Err(usage(format!("{other}: unknown operator"))),
    })
}

fn binary(left: &str, operator: &str, right: &str) -> io::Result<bool> {
    match operator {
        "=" | "==" => return Ok(left == right),
        "!=" => return Ok(left != right),
        _ => {}
    }
    let number = |text: &str| {
        text.trim()
            .parse::<i64>()
            .map_err(|_| usage(format!("{text}: not a number")))
    };
    let order = number(left)?.cmp(&number(right)?);
    Ok(match operator {
        "-eq" => order.is_eq(),
        "-ne" => order.is_ne(),
        "-lt" => order.is_lt(),
        "-le" => order.is_le(),
        "-gt" => order.is_gt(),
        "-ge" => order.is_ge(),
        other => return Err(usage(format!("{other}: unknown operator"))),
    })
}
