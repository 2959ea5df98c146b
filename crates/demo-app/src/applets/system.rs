//! Commands about the machine, the process and the clock.

use super::flags;
use crate::{
    errors::{at, usage},
    signals, time,
};
use rustix::process::{Pid, Signal, getegid, geteuid, getgroups, kill_process};
use std::{
    env as environment, fs,
    io::{self, Write},
    os::unix::process::CommandExt,
    process::Command,
    sync::mpsc,
    time::Duration,
};

/// Exit code of a process ended by SIGTERM.
const TERMINATED: i32 = 143;

pub fn succeeds(_: &[String]) -> io::Result<i32> {
    Ok(0)
}

pub fn fails(_: &[String]) -> io::Result<i32> {
    Ok(1)
}

fn span(text: &str) -> io::Result<Duration> {
    let (digits, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(digits) => (digits, text.as_bytes()[text.len() - 1]),
        None => (text, b's'),
    };
    let scale = match unit {
        b'm' => 60.0,
        b'h' => 3_600.0,
        b'd' => 86_400.0,
        _ => 1.0,
    };
    let seconds = digits
        .parse::<f64>()
        .ok()
        .and_then(|count| Duration::try_from_secs_f64(count * scale).ok());
    seconds.ok_or_else(|| usage(format!("invalid time interval '{text}'")))
}

/// `sleep`; as process 1 of a container it, unlike most, ends on SIGTERM.
pub fn sleep(args: &[String]) -> io::Result<i32> {
    let total = match args {
        [word] if word == "infinity" => Duration::from_secs(u64::from(u32::MAX)),
        [] => return Err(usage("missing operand")),
        args => args
            .iter()
            .map(|word| span(word))
            .sum::<io::Result<Duration>>()?,
    };
    let (send, stopped) = mpsc::channel::<()>();
    signals::on_stop(move || drop(send))?;
    Ok(match stopped.recv_timeout(total) {
        Err(mpsc::RecvTimeoutError::Timeout) => 0,
        _ => TERMINATED,
    })
}

fn user_name(id: u32) -> Option<String> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines
        .find(|fields| fields.get(2) == Some(&id.to_string().as_str()))
        .map(|fields| fields[0].to_owned())
}

pub fn whoami(_: &[String]) -> io::Result<i32> {
    let id = geteuid().as_raw();
    writeln!(
        io::stdout(),
        "{}",
        user_name(id).unwrap_or_else(|| id.to_string())
    )?;
    Ok(0)
}

pub fn id(args: &[String]) -> io::Result<i32> {
    let (flags, _) = flags(args, "ugn")?;
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    if flags.contains('u') && flags.contains('n') {
        return whoami(&[]);
    }
    let text = match flags.as_str() {
        "u" => user.to_string(),
        "g" => group.to_string(),
        _ => {
            let name = user_name(user)
                .map(|name| format!("({name})"))
                .unwrap_or_default();
            let groups = getgroups()?
                .iter()
                .map(|group| group.as_raw().to_string())
                .collect::<Vec<_>>();
            let more = if groups.is_empty() {
                String::new()
            } else {
                format!(" groups={}", groups.join(","))
            };
            format!("uid={user}{name} gid={group}{more}")
        }
    };
    writeln!(io::stdout(), "{text}")?;
    Ok(0)
}

pub fn hostname(args: &[String]) -> io::Result<i32> {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let text = match args.first().map(String::as_str) {
        Some("-i") => crate::resolve::lookup(&name)?
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" "),
        _ => name,
    };
    writeln!(io::stdout(), "{text}")?;
    Ok(0)
}

pub fn uname(args: &[String]) -> io::Result<i32> {
    let (flags, _) = flags(args, "asnrm")?;
    let system = rustix::system::uname();
    let all = [
        ('s', system.sysname()),
        ('n', system.nodename()),
        ('r', system.release()),
        ('m', system.machine()),
    ];
    let wanted = if flags.is_empty() { "s" } else { &flags };
    let fields = all
        .iter()
        .filter(|(letter, _)| wanted.contains('a') || wanted.contains(*letter));
    let fields: Vec<_> = fields.map(|(_, field)| field.to_string_lossy()).collect();
    writeln!(io::stdout(), "{}", fields.join(" "))?;
    Ok(0)
}

pub fn date(args: &[String]) -> io::Result<i32> {
    let words: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .filter(|word| *word != "-u")
        .collect();
    let pattern = match words.as_slice() {
        [] => "%a %b %e %T %Z %Y",
        [pattern] if pattern.starts_with('+') => &pattern[1..],
        _ => return Err(usage("usage: date [-u] [+FORMAT]")),
    };
    writeln!(io::stdout(), "{}", time::format(time::now(), pattern))?;
    Ok(0)
}

/// Prints the environment, or runs a program with more of it.
pub fn env(args: &[String]) -> io::Result<i32> {
    let split = args
        .iter()
        .position(|word| !word.contains('='))
        .unwrap_or(args.len());
    let (pairs, words) = args.split_at(split);
    let pairs = pairs.iter().filter_map(|pair| pair.split_once('='));
    if let Some((program, words)) = words.split_first() {
        // Comes back only when it fails.
        let error = Command::new(program).args(words).envs(pairs).exec();
        return Err(at(program)(error));
    }
    let own = environment::vars_os().map(|(name, value)| {
        (
            name.to_string_lossy().into_owned(),
            value.to_string_lossy().into_owned(),
        )
    });
    let all = own.chain(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for (name, value) in all {
        writeln!(io::stdout(), "{name}={value}")?;
    }
    Ok(0)
}

pub fn printenv(args: &[String]) -> io::Result<i32> {
    let Some(name) = args.first() else {
        return env(&[]);
    };
    match environment::var(name) {
        Ok(value) => writeln!(io::stdout(), "{value}").map(|()| 0),
        Err(_) => Ok(1),
    }
}

fn signal(text: &str) -> io::Result<Signal> {
    Ok(
        match text.trim_start_matches('-').trim_start_matches("SIG") {
            "9" | "KILL" => Signal::KILL,
            "15" | "TERM" => Signal::TERM,
            "2" | "INT" => Signal::INT,
            "1" | "HUP" => Signal::HUP,
            "10" | "USR1" => Signal::USR1,
            "12" | "USR2" => Signal::USR2,
            other => return Err(usage(format!("bad signal '{other}'"))),
        },
    )
}

pub fn kill(args: &[String]) -> io::Result<i32> {
    let (signal, numbers) = match args {
        [flag, rest @ ..] if flag.starts_with('-') => (signal(flag)?, rest),
        rest => (Signal::TERM, rest),
    };
    for text in numbers {
        let number = text
            .parse::<i32>()
            .ok()
            .filter(|number| *number > 0)
            .and_then(Pid::from_raw);
        let pid = number.ok_or_else(|| usage(format!("bad process id '{text}'")))?;
        kill_process(pid, signal).map_err(|error| at(text)(error.into()))?;
    }
    Ok(0)
}

pub fn ps(_: &[String]) -> io::Result<i32> {
    let mut numbers: Vec<u32> = fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    writeln!(io::stdout(), "{:>5} COMMAND", "PID")?;
    for number in numbers {
        // A process may end while it is looked at.
        let Ok(line) = fs::read(format!("/proc/{number}/cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let name = || {
            fs::read_to_string(format!("/proc/{number}/comm"))
                .map(|name| format!("[{}]", name.trim()))
        };
        let line = if line.trim().is_empty() {
            name().unwrap_or_default()
        } else {
            line
        };
        writeln!(io::stdout(), "{number:>5} {}", line.trim())?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (text, millis) in [
            ("1", Some(1000)),
            ("0.5", Some(500)),
            ("2m", Some(120_000)),
            ("x", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(span(text).ok(), millis.map(Duration::from_millis), "{text}");
        }
    }
}
