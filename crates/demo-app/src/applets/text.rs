//! Commands on text.

use super::flags;
use crate::errors::{at, usage};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    thread,
    time::Duration,
};

/// How often `tail -f` looks for more.
const FOLLOW_STEP: Duration = Duration::from_millis(200);

fn open(name: &str) -> io::Result<Box<dyn Read>> {
    match name {
        "-" => Ok(Box::new(io::stdin())),
        name => Ok(Box::new(File::open(name).map_err(at(name))?)),
    }
}

/// The files named, or standard input.
fn inputs(names: &[String]) -> Vec<&str> {
    match names {
        [] => vec!["-"],
        names => names.iter().map(String::as_str).collect(),
    }
}

pub fn cat(args: &[String]) -> io::Result<i32> {
    let (_, names) = flags(args, "u")?;
    for name in inputs(names) {
        io::copy(&mut open(name)?, &mut io::stdout()).map_err(at(name))?;
    }
    Ok(0)
}

/// What `echo` prints.
pub fn echoed(args: &[String]) -> String {
    let (mut line_end, mut escapes, mut words) = ("\n", false, args);
    while let [first, rest @ ..] = words {
        match first.as_str() {
            "-n" => line_end = "",
            "-e" => escapes = true,
            "-ne" | "-en" => (line_end, escapes) = ("", true),
            _ => break,
        }
        words = rest;
    }
    let text = words.join(" ");
    format!("{}{line_end}", if escapes { unescape(&text) } else { text })
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        if next != '\\' {
            plain.push(next);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some('t') => plain.push('\t'),
            Some('r') => plain.push('\r'),
            Some('\\') | None => plain.push('\\'),
            Some(other) => plain.extend(['\\', other]),
        }
    }
    plain
}

pub fn echo(args: &[String]) -> io::Result<i32> {
    io::stdout().write_all(echoed(args).as_bytes())?;
    Ok(0)
}

/// `printf` with `%s`, `%d` and `%%`.
pub fn printf(args: &[String]) -> io::Result<i32> {
    let (format, values) = args.split_first().ok_or_else(|| usage("missing format"))?;
    let format = unescape(format);
    let mut values = values.iter();
    loop {
        let before = values.len();
        io::stdout().write_all(filled(&format, &mut values).as_bytes())?;
        // The format is used again while it takes values and some are left.
        if values.len() == 0 || values.len() == before {
            return Ok(0);
        }
    }
}

fn filled<'a>(format: &str, values: &mut impl Iterator<Item = &'a String>) -> String {
    let mut text = String::new();
    let mut chars = format.chars();
    while let Some(next) = chars.next() {
        match (next, (next == '%').then(|| chars.next()).flatten()) {
            ('%', Some('s')) => text.push_str(values.next().map_or("", String::as_str)),
            ('%', Some('d')) => text.push_str(values.next().map_or("0", String::as_str)),
            ('%', Some('%') | None) => text.push('%'),
            ('%', Some(other)) => text.extend(['%', other]),
            (other, _) => text.push(other),
        }
    }
    text
}

/// The count of `-n N`, `-nN` or `-N`, and the remaining arguments.
fn count(args: &[String]) -> io::Result<(String, &[String])> {
    match args {
        [flag, value, rest @ ..] if flag == "-n" || flag == "-c" => Ok((value.clone(), rest)),
        [flag, rest @ ..] if flag.starts_with('-') && flag.len() > 1 => {
            Ok((flag.trim_start_matches(['-', 'n', 'c']).to_owned(), rest))
        }
        rest => Ok(("10".to_owned(), rest)),
    }
}

fn number(text: &str) -> io::Result<usize> {
    text.parse()
        .map_err(|_| usage(format!("invalid number '{text}'")))
}

pub fn head(args: &[String]) -> io::Result<i32> {
    let bytes = args.first().is_some_and(|flag| flag.starts_with("-c"));
    let (amount, names) = count(args)?;
    let amount = number(&amount)?;
    for name in inputs(names) {
        let mut reader = BufReader::new(open(name)?);
        if bytes {
            io::copy(&mut reader.take(amount as u64), &mut io::stdout())?;
            continue;
        }
        let mut line = Vec::new();
        for _ in 0..amount {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            io::stdout().write_all(&line)?;
        }
    }
    Ok(0)
}

/// The last lines; with `-n +N` or `-c +N` all from the Nth line or byte on; `-f` keeps looking.
pub fn tail(args: &[String]) -> io::Result<i32> {
    let follow = args
        .first()
        .is_some_and(|flag| flag == "-f" || flag == "-F");
    let args = if follow { &args[1..] } else { args };
    let bytes = args.first().is_some_and(|flag| flag.starts_with("-c"));
    let (amount, names) = count(args)?;
    let from_start = amount.starts_with('+');
    let amount = number(amount.trim_start_matches('+'))?;
    let name = inputs(names)[0];
    let mut file = open(name)?;
    let mut all = Vec::new();
    file.read_to_end(&mut all)?;
    io::stdout().write_all(ending(&all, amount, from_start, bytes))?;
    if !follow {
        return Ok(0);
    }
    loop {
        io::copy(&mut file, &mut io::stdout())?;
        io::stdout().flush()?;
        thread::sleep(FOLLOW_STEP);
    }
}

fn ending(all: &[u8], amount: usize, from_start: bool, bytes: bool) -> &[u8] {
    let units: Vec<&[u8]> = if bytes {
        all.chunks(1).collect()
    } else {
        all.split_inclusive(|byte| *byte == b'\n').collect()
    };
    let skipped = if from_start {
        amount.saturating_sub(1)
    } else {
        units.len().saturating_sub(amount)
    };
    let start: usize = units.iter().take(skipped).map(|unit| unit.len()).sum();
    &all[start..]
}

pub fn wc(args: &[String]) -> io::Result<i32> {
    let (flags, names) = flags(args, "lwc")?;
    for name in inputs(names) {
        let mut all = Vec::new();
        open(name)?.read_to_end(&mut all).map_err(at(name))?;
        let text = String::from_utf8_lossy(&all);
        let counts = [
            ('l', all.iter().filter(|byte| **byte == b'\n').count()),
            ('w', text.split_whitespace().count()),
            ('c', all.len()),
        ];
        let wanted = counts
            .iter()
            .filter(|(letter, _)| flags.is_empty() || flags.contains(*letter));
        let mut fields: Vec<String> = wanted.map(|(_, count)| count.to_string()).collect();
        fields.extend((name != "-").then(|| name.to_owned()));
        writeln!(io::stdout(), "{}", fields.join(" "))?;
    }
    Ok(0)
}

/// `grep` for a fixed text, `^` and `$` at its ends honoured.
pub fn grep(args: &[String]) -> io::Result<i32> {
    let (flags, rest) = flags(args, "qvicFE")?;
    let (pattern, names) = rest.split_first().ok_or_else(|| usage("missing pattern"))?;
    if pattern.contains(['*', '[', '(', '|']) && !flags.contains('F') {
        return Err(usage(
            "this small grep knows fixed texts, ^ and $ only (-F takes the text as it is)",
        ));
    }
    let fold = |text: &str| {
        if flags.contains('i') {
            text.to_lowercase()
        } else {
            text.to_owned()
        }
    };
    let (pattern, mut found) = (fold(pattern), 0_u64);
    for name in inputs(names) {
        for line in BufReader::new(open(name)?).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            if matches(&fold(&line), &pattern, flags.contains('F')) == flags.contains('v') {
                continue;
            }
            found += 1;
            if !flags.contains('q') && !flags.contains('c') {
                writeln!(io::stdout(), "{line}")?;
            }
        }
    }
    if flags.contains('c') {
        writeln!(io::stdout(), "{found}")?;
    }
    Ok(i32::from(found == 0))
}

fn matches(line: &str, pattern: &str, fixed: bool) -> bool {
    if fixed {
        return line.contains(pattern);
    }
    let start = pattern.strip_prefix('^');
    let body = start.unwrap_or(pattern);
    let end = body.strip_suffix('$');
    let body = end.unwrap_or(body);
    match (start, end) {
        (Some(_), Some(_)) => line == body,
        (Some(_), None) => line.starts_with(body),
        (None, Some(_)) => line.ends_with(body),
        (None, None) => line.contains(body),
    }
}

pub fn seq(args: &[String]) -> io::Result<i32> {
    let (first, last) = match args {
        [last] => (1, number(last)?),
        [first, last] => (number(first)?, number(last)?),
        _ => return Err(usage("usage: seq [FIRST] LAST")),
    };
    (first..=last).try_for_each(|value| writeln!(io::stdout(), "{value}"))?;
    Ok(0)
}

pub fn tee(args: &[String]) -> io::Result<i32> {
    let (flags, names) = flags(args, "a")?;
    let mut options = File::options();
    options
        .write(true)
        .create(true)
        .append(flags.contains('a'))
        .truncate(!flags.contains('a'));
    let mut files = names
        .iter()
        .map(|name| options.open(name).map_err(at(name)))
        .collect::<io::Result<Vec<_>>>()?;
    let mut chunk = [0; 8192];
    loop {
        let size = io::stdin().read(&mut chunk)?;
        if size == 0 {
            return Ok(0);
        }
        io::stdout().write_all(&chunk[..size])?;
        files
            .iter_mut()
            .try_for_each(|file| file.write_all(&chunk[..size]))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(Into::into).collect()
    }

    #[test]
    fn texts() {
        for (args, expected) in [
            ("a b", "a b\n"),
            ("-n a", "a"),
            ("-e a\\nb\\\\", "a\nb\\\n"),
            ("a -n", "a -n\n"),
        ] {
            assert_eq!(echoed(&words(args)), expected, "{args}");
        }
        for (amount, start, bytes, expected) in [
            (1, false, false, "c"),
            (2, true, false, "b\nc"),
            (2, false, true, "\nc"),
            (9, false, false, "a\nb\nc"),
        ] {
            assert_eq!(
                ending(b"a\nb\nc", amount, start, bytes),
                expected.as_bytes()
            );
        }
        assert_eq!(filled("%s=%d%%|", &mut words("a 1").iter()), "a=1%|");
        for (line, pattern, expected) in [
            ("PONG", "PONG", true),
            ("xPONG", "^PONG", false),
            ("PONG", "^PONG$", true),
            ("a.b", "b$", true),
        ] {
            assert_eq!(matches(line, pattern, false), expected, "{line} {pattern}");
        }
    }
}
