//! Commands on the network: plain TCP, plain HTTP, names.

use crate::{
    errors::{at, plain, usage},
    http::client::{Answer, Url, send},
    resolve,
};
use std::{
    fs::{self, File},
    io::{self, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

const TIMEOUT: Duration = Duration::from_secs(10);
/// `curl`'s codes: could not resolve or connect, answer refused under `-f`.
const CANNOT_CONNECT: i32 = 7;
const TIMED_OUT: i32 = 28;
const HTTP_ERROR: i32 = 22;
const BAD_REQUEST: u16 = 400;

/// The value of an option that has one.
fn value<'a>(words: &mut impl Iterator<Item = &'a String>, flag: &str) -> io::Result<&'a String> {
    words
        .next()
        .ok_or_else(|| usage(format!("option {flag} needs a value")))
}

fn seconds(text: &str) -> io::Result<Duration> {
    let span = text
        .parse()
        .ok()
        .and_then(|count| Duration::try_from_secs_f64(count).ok());
    span.filter(|span| !span.is_zero())
        .ok_or_else(|| usage(format!("invalid time '{text}'")))
}

/// `nc [-z] [-v] [-w SECONDS] HOST PORT` or `nc -l [-p] PORT`.
pub fn nc(args: &[String]) -> io::Result<i32> {
    let (mut letters, mut timeout, mut rest) = (String::new(), TIMEOUT, Vec::new());
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.strip_prefix('-') {
            Some("w") => timeout = seconds(value(&mut words, word)?)?,
            Some(found) => letters.push_str(found),
            None => rest.push(word.as_str()),
        }
    }
    if let Some(unknown) = letters.chars().find(|letter| !"zvlpnk".contains(*letter)) {
        return Err(usage(format!("unrecognized option '-{unknown}'")));
    }
    let port = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| usage(format!("bad port '{text}'")))
    };
    match rest.as_slice() {
        [text] if letters.contains('l') => {
            let (stream, _) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port(text)?))?.accept()?;
            converse(stream)
        }
        [host, text] => dial(host, port(text)?, timeout, &letters),
        _ => Err(usage("usage: nc [-zv] [-w seconds] host port")),
    }
}

fn dial(host: &str, port: u16, timeout: Duration, letters: &str) -> io::Result<i32> {
    match resolve::connect(host, port, timeout) {
        Ok(stream) => {
            if letters.contains('v') {
                let address = stream.peer_addr()?.ip();
                eprintln!("{host} ({address}:{port}) open");
            }
            if letters.contains('z') {
                Ok(0)
            } else {
                converse(stream)
            }
        }
        Err(error) => {
            eprintln!("nc: {host} ({port}): {}", plain(&error));
            Ok(1)
        }
    }
}

fn converse(stream: TcpStream) -> io::Result<i32> {
    let mut writing = stream.try_clone()?;
    thread::spawn(move || {
        // The peer may have enough before standard input ends.
        let _ = io::copy(&mut io::stdin(), &mut writing);
        let _ = writing.shutdown(Shutdown::Write);
    });
    io::copy(&mut &stream, &mut io::stdout())?;
    Ok(0)
}

/// What `curl` was asked for.
struct Wish {
    url: Option<Url>,
    method: Option<String>,
    headers: Vec<String>,
    body: Vec<u8>,
    output: Option<String>,
    format: String,
    letters: String,
    timeout: Duration,
}

fn wish(args: &[String]) -> io::Result<Wish> {
    let mut wish = Wish {
        url: None,
        method: None,
        headers: Vec::new(),
        body: Vec::new(),
        output: None,
        format: String::new(),
        letters: String::new(),
        timeout: TIMEOUT,
    };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-X" | "--request" => wish.method = Some(value(&mut words, word)?.clone()),
            "-H" | "--header" => wish.headers.push(value(&mut words, word)?.clone()),
            "-d" | "--data" | "--data-raw" => {
                wish.body = value(&mut words, word)?.clone().into_bytes()
            }
            "-o" | "--output" => wish.output = Some(value(&mut words, word)?.clone()),
            "-w" | "--write-out" => wish.format.clone_from(value(&mut words, word)?),
            "-m" | "--max-time" | "--connect-timeout" => {
                wish.timeout = seconds(value(&mut words, word)?)?
            }
            "--silent" => wish.letters.push('s'),
            "--fail" => wish.letters.push('f'),
            "--head" => wish.letters.push('I'),
            flag if flag.starts_with("--") => {
                return Err(usage(format!("option {flag}: is unknown")));
            }
            flag if flag.starts_with('-') => wish.letters.push_str(&flag[1..]),
            url => wish.url = Some(Url::parse(url)?),
        }
    }
    match wish
        .letters
        .chars()
        .find(|letter| !"sSfiIkLv".contains(*letter))
    {
        Some(unknown) => Err(usage(format!("option -{unknown}: is unknown"))),
        None => Ok(wish),
    }
}

/// `curl` for plain HTTP.
pub fn curl(args: &[String]) -> io::Result<i32> {
    let wish = wish(args)?;
    let url = wish.url.as_ref().ok_or_else(|| usage("no URL specified"))?;
    let default = match (wish.letters.contains('I'), wish.body.is_empty()) {
        (true, _) => "HEAD",
        (_, true) => "GET",
        _ => "POST",
    };
    let method = wish.method.as_deref().unwrap_or(default);
    match send(url, method, &wish.headers, &wish.body, wish.timeout) {
        Ok(answer) => printed(&wish, &answer),
        Err(error) => {
            if !wish.letters.contains('s') || wish.letters.contains('S') {
                eprintln!(
                    "curl: ({CANNOT_CONNECT}) Failed to connect to {} port {}: {}",
                    url.host,
                    url.port,
                    plain(&error)
                );
            }
            let late = matches!(
                error.kind(),
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
            );
            Ok(if late { TIMED_OUT } else { CANNOT_CONNECT })
        }
    }
}

fn printed(wish: &Wish, answer: &Answer) -> io::Result<i32> {
    if wish.letters.contains('f') && answer.status >= BAD_REQUEST {
        eprintln!(
            "curl: ({HTTP_ERROR}) The requested URL returned error: {}",
            answer.status
        );
        return Ok(HTTP_ERROR);
    }
    let mut out: Box<dyn Write> = match &wish.output {
        Some(name) => Box::new(File::create(name).map_err(at(name))?),
        None => Box::new(io::stdout()),
    };
    if wish.letters.contains(['i', 'I']) {
        out.write_all(answer.head.as_bytes())?;
    }
    out.write_all(&answer.body)?;
    out.flush()?;
    let text = wish
        .format
        .replace("%{http_code}", &format!("{:03}", answer.status))
        .replace("\\n", "\n");
    io::stdout().write_all(text.as_bytes())?;
    Ok(0)
}

/// `wget` for plain HTTP: `-q`, `-O FILE` (`-O-` and `-qO-` print), `--spider`, `-T SECONDS`.
pub fn wget(args: &[String]) -> io::Result<i32> {
    let (mut url, mut output, mut spider, mut timeout) = (None, None, false, TIMEOUT);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-q" | "-S" => {}
            "-O" | "-qO" => output = Some(value(&mut words, word)?.clone()),
            "-O-" | "-qO-" => output = Some("-".to_owned()),
            "--spider" => spider = true,
            "-T" => timeout = seconds(value(&mut words, word)?)?,
            flag if flag.starts_with("--timeout=") => {
                timeout = seconds(&flag["--timeout=".len()..])?
            }
            flag if flag.starts_with('-') => {
                return Err(usage(format!("unrecognized option '{flag}'")));
            }
            text => url = Some(Url::parse(text)?),
        }
    }
    let url = url.ok_or_else(|| usage("missing URL"))?;
    let answer = send(&url, if spider { "HEAD" } else { "GET" }, &[], &[], timeout)?;
    if answer.status >= BAD_REQUEST {
        eprintln!(
            "wget: server returned error: {}",
            answer.head.lines().next().unwrap_or_default()
        );
        return Ok(1);
    }
    match output.as_deref() {
        _ if spider => {}
        Some("-") => io::stdout().write_all(&answer.body)?,
        Some(name) => fs::write(name, &answer.body).map_err(at(name))?,
        None => {
            let path = url.target.split('?').next().unwrap_or_default();
            let name = Path::new(path)
                .file_name()
                .map_or("index.html".into(), |name| name.to_owned());
            fs::write(&name, &answer.body).map_err(at(Path::new(&name)))?;
        }
    }
    Ok(0)
}

pub fn nslookup(args: &[String]) -> io::Result<i32> {
    let [name] = args else {
        return Err(usage("usage: nslookup NAME"));
    };
    // Absent means that there are no name servers, which the look-up itself says.
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let settings = resolve::Settings::parse(&text);
    for server in &settings.servers {
        writeln!(io::stdout(), "Server:\t\t{}", server.ip())?;
    }
    match resolve::ask(&settings, name) {
        Ok(found) => {
            found.iter().try_for_each(|address| {
                writeln!(io::stdout(), "\nName:\t{name}\nAddress: {address}")
            })?;
            Ok(0)
        }
        Err(error) => {
            writeln!(io::stdout(), "** server can't find {}", plain(&error))?;
            Ok(1)
        }
    }
}
