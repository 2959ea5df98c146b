//! A tiny shell: words and quotes, variables, `$(…)`, `$((…))`, `&&` `||` `;` `|` `&`, redirections,
//! `if`, `while`, `until`, `for`, and a prompt. No functions, no globbing, no job control.

mod arith;
mod expand;
mod lex;
mod parse;
mod run;
mod streams;
mod test;

pub use test::{bracket_applet, test_applet};

use run::Shell;
use std::{
    fs::File,
    io::{self, IsTerminal, Read, Write},
    os::fd::AsFd,
};

/// Exit code of a shell that could not read its script.
const SYNTAX_ERROR: i32 = 2;

/// Splits a line into words at blanks, quotes honoured and nothing expanded; nothing if a quote
/// does not end.
#[must_use]
pub fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    loop {
        while chars.next_if(|next| next.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Some(words);
        }
        let mut word = String::new();
        while let Some(next) = chars.next_if(|next| !next.is_whitespace()) {
            match next {
                '\'' | '"' => loop {
                    match chars.next()? {
                        end if end == next => break,
                        '\\' if next == '"' => word.push(chars.next()?),
                        other => word.push(other),
                    }
                },
                '\\' => word.push(chars.next()?),
                other => word.push(other),
            }
        }
        words.push(word);
    }
}

/// The program `sh`: `-c SCRIPT`, a file, or standard input.
///
/// # Errors
/// When the script cannot be read or the output not be written.
pub fn applet(args: &[String]) -> io::Result<i32> {
    let mut shell = Shell::new();
    let mut at = 0;
    while let Some(flag) = args
        .get(at)
        .filter(|word| word.starts_with('-') && word.len() > 1)
    {
        at += 1;
        shell.stop_on_failure |= flag.contains('e');
        if flag.contains('c') {
            let script = args
                .get(at)
                .ok_or_else(|| crate::errors::usage("-c needs a script"))?;
            shell.positional = args[at + 1..].to_vec();
            return script_code(&mut shell, script);
        }
    }
    if let Some(path) = args.get(at) {
        let script = std::fs::read_to_string(path).map_err(crate::errors::at(path))?;
        shell.positional = args[at..].to_vec();
        return script_code(&mut shell, &script);
    }
    from_input(&mut shell)
}

fn script_code(shell: &mut Shell, script: &str) -> io::Result<i32> {
    match parse::parse(script) {
        Ok(node) => shell.run_to_end(&node),
        Err(problem) => {
            eprintln!("sh: {problem}");
            Ok(SYNTAX_ERROR)
        }
    }
}

/// Reads one line byte by byte: what follows belongs to the programs the line starts.
fn input_line(input: &mut File) -> io::Result<Option<String>> {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    loop {
        if input.read(&mut byte)? == 0 {
            return Ok((!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned()));
        }
        bytes.push(byte[0]);
        if byte[0] == b'\n' {
            return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
}

fn prompt(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn from_input(shell: &mut Shell) -> io::Result<i32> {
    let people = io::stdin().is_terminal();
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    if people {
        // Ctrl-C ends what runs in the foreground, not the shell.
        signal_hook::flag::register(signal_hook::consts::SIGINT, std::sync::Arc::default())?;
    }
    let mut script = String::new();
    loop {
        if people {
            prompt(if script.is_empty() { "$ " } else { "> " })?;
        }
        match input_line(&mut input) {
            Ok(Some(line)) => script += &line,
            Ok(None) if script.is_empty() => return Ok(shell.status),
            Ok(None) => return script_code(shell, &script),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                script.clear();
                prompt("\n")?;
                continue;
            }
            Err(error) => return Err(error),
        }
        match parse::parse(&script) {
            Ok(node) => {
                if let Some(code) = shell.run_line(&node)? {
                    return Ok(code);
                }
            }
            Err(parse::Problem::Unfinished) => continue,
            Err(problem) => {
                eprintln!("sh: {problem}");
                shell.status = SYNTAX_ERROR;
            }
        }
        script.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn splits() {
        let cases: [(&str, Option<&[&str]>); 5] = [
            (
                "  a  'b c' \"d\\\"e\" f\\ g ",
                Some(&["a", "b c", "d\"e", "f g"]),
            ),
            ("x''y", Some(&["xy"])),
            ("\"\"", Some(&[""])),
            ("", Some(&[])),
            ("'open", None),
        ];
        for (line, expected) in cases {
            let expected =
                expected.map(|words| words.iter().map(|word| (*word).to_owned()).collect());
            assert_eq!(split(line), expected, "{line}");
        }
    }
}
