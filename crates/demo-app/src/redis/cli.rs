//! The program `redis-cli`.

use super::{PORT, client::Client, resp::Reply};
use crate::errors::{plain, usage};
use std::{
    env,
    io::{self, BufRead, IsTerminal, Write},
    time::Duration,
};

const TIMEOUT: Duration = Duration::from_secs(10);

struct Options {
    host: String,
    port: u16,
    password: Option<String>,
    raw: bool,
}

fn parse(args: &[String]) -> io::Result<(Options, &[String])> {
    let mut options = Options {
        host: "127.0.0.1".to_owned(),
        port: PORT,
        password: env::var("REDISCLI_AUTH").ok(),
        raw: !io::stdout().is_terminal(),
    };
    let mut at = 0;
    while let Some(flag) = args.get(at).filter(|word| word.starts_with('-')) {
        let value = args.get(at + 1).cloned();
        let needed = || {
            value
                .clone()
                .ok_or_else(|| usage(format!("{flag} needs a value")))
        };
        at += 2;
        match flag.as_str() {
            "-h" => options.host = needed()?,
            "-p" => options.port = needed()?.parse().map_err(|_| usage("bad port"))?,
            "-a" | "--pass" => options.password = Some(needed()?),
            "-n" if needed()? == "0" => {}
            "-n" => return Err(usage("this stand-in has only database 0")),
            "--raw" | "--no-raw" | "--no-auth-warning" => {
                at -= 1;
                options.raw = if flag == "--no-auth-warning" {
                    options.raw
                } else {
                    flag == "--raw"
                };
            }
            other => {
                return Err(usage(format!(
                    "Unrecognized option or bad number of args for: '{other}'"
                )));
            }
        }
    }
    Ok((options, &args[at..]))
}

/// The program `redis-cli`: one command from its arguments, or one a line from standard input.
///
/// # Errors
/// For wrong arguments and closed outputs. A server out of reach gives exit code 1.
pub fn run(args: &[String]) -> io::Result<i32> {
    let (options, words) = parse(args)?;
    let mut client = match connect(&options) {
        Ok(client) => client,
        Err(error) => {
            let (host, port) = (&options.host, options.port);
            eprintln!(
                "Could not connect to Redis at {host}:{port}: {}",
                plain(&error)
            );
            return Ok(1);
        }
    };
    if words.is_empty() {
        return from_input(&options, &mut client);
    }
    say(&options, &mut client, words)
}

/// A refused password is said and the conversation goes on without it, as the original does.
fn connect(options: &Options) -> io::Result<Client> {
    match Client::connect(
        &options.host,
        options.port,
        options.password.as_deref(),
        TIMEOUT,
    ) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            eprintln!("AUTH failed: {error}");
            Client::connect(&options.host, options.port, None, TIMEOUT)
        }
        other => other,
    }
}

fn from_input(options: &Options, client: &mut Client) -> io::Result<i32> {
    let prompt = io::stdin().is_terminal();
    let mut code = 0;
    loop {
        if prompt {
            print!("{}:{}> ", options.host, options.port);
            io::stdout().flush()?;
        }
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line)? == 0 {
            return Ok(code);
        }
        match crate::shell::split(line.trim()) {
            None => println!("Invalid argument(s)"),
            Some(words) if words.is_empty() => {}
            Some(words) if matches!(words[0].as_str(), "exit" | "quit") => return Ok(code),
            Some(words) => code = say(options, client, &words)?,
        }
    }
}

fn say(options: &Options, client: &mut Client, words: &[String]) -> io::Result<i32> {
    let shutdown = words[0].eq_ignore_ascii_case("shutdown");
    let bytes: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let reply = match client.call(&bytes) {
        // A server that ends says no farewell.
        Err(error) if shutdown && error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
        Err(error) => {
            eprintln!("Error: {}", plain(&error));
            return Ok(1);
        }
        Ok(reply) => reply,
    };
    let mut text = if options.raw {
        raw(&reply)
    } else {
        pretty(&reply, 0).into_bytes()
    };
    text.push(b'\n');
    io::stdout().write_all(&text)?;
    Ok(0)
}

fn raw(reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Simple(text) | Reply::Error(text) => text.clone().into_bytes(),
        Reply::Int(number) => number.to_string().into_bytes(),
        Reply::Bulk(bytes) => bytes.clone(),
        Reply::Nil => Vec::new(),
        Reply::Array(items) => items.iter().map(raw).collect::<Vec<_>>().join(&b'\n'),
    }
}

fn pretty(reply: &Reply, indent: usize) -> String {
    match reply {
        Reply::Simple(text) => text.clone(),
        Reply::Error(text) => format!("(error) {text}"),
        Reply::Int(number) => format!("(integer) {number}"),
        Reply::Bulk(bytes) => format!(
            "\"{}\"",
            bytes.escape_ascii().to_string().replace("\\'", "'")
        ),
        Reply::Nil => "(nil)".to_owned(),
        Reply::Array(items) if items.is_empty() => "(empty array)".to_owned(),
        Reply::Array(items) => {
            let width = items.len().to_string().len();
            let lines = items.iter().enumerate().map(|(index, item)| {
                let margin = if index == 0 { 0 } else { indent };
                format!(
                    "{:margin$}{:>width$}) {}",
                    "",
                    index + 1,
                    pretty(item, indent + width + 2)
                )
            });
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_for_programs_and_for_people() {
        let nested = Reply::Array(vec![
            Reply::bulk("0"),
            Reply::Array(vec![Reply::bulk("a"), Reply::Int(2)]),
        ]);
        let cases = [
            (Reply::Simple("PONG".into()), "PONG", "PONG"),
            (Reply::Int(1), "1", "(integer) 1"),
            (
                Reply::bulk("it's \"x\"\n"),
                "it's \"x\"\n",
                r#""it's \"x\"\n""#,
            ),
            (Reply::Nil, "", "(nil)"),
            (
                Reply::Error("NOAUTH x".into()),
                "NOAUTH x",
                "(error) NOAUTH x",
            ),
            (
                nested,
                "0\na\n2",
                "1) \"0\"\n2) 1) \"a\"\n   2) (integer) 2",
            ),
        ];
        for (reply, plain, shown) in cases {
            assert_eq!(String::from_utf8(raw(&reply)).unwrap(), plain);
            assert_eq!(pretty(&reply, 0), shown);
        }
    }
}
