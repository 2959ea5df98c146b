//! Runs a program with input and a deadline and keeps all it said.
//!
//! Knows nothing of clusters. Upstream counterpart: `test/e2e/framework/kubectl`.

use std::{
    io::{self, Read, Write},
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(10);

/// What a program said and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its words as they were typed.
    pub line: String,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// Its exit code; none when it was killed.
    pub code: Option<i32>,
}

impl Output {
    /// Standard output of a success; panics with everything otherwise.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(
            self.code,
            Some(0),
            "{}\n{}{}",
            self.line,
            self.stdout,
            self.stderr
        );
        self.stdout
    }

    /// Both streams of a failure; panics when it succeeded or was killed.
    #[track_caller]
    pub fn refused(self) -> String {
        let failed = self.code.is_some_and(|code| code != 0);
        assert!(
            failed,
            "should fail: {}\n{}{}",
            self.line, self.stdout, self.stderr
        );
        self.stdout + &self.stderr
    }
}

fn drain(stream: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What came before an error is still worth showing.
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Runs a command to its end, or kills it at the deadline.
pub fn run(command: &mut Command, input: &str, deadline: Duration) -> io::Result<Output> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input closes it; that is its right.
        let _ = stdin.write_all(input.as_bytes());
    }
    let code = wait(&mut child, deadline)?;
    let said = |stream: JoinHandle<String>| stream.join().unwrap_or_default();
    Ok(Output {
        line,
        stdout: said(stdout),
        stderr: said(stderr),
        code,
    })
}

fn wait(child: &mut Child, deadline: Duration) -> io::Result<Option<i32>> {
    let start = Instant::now();
    while start.elapsed() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        thread::sleep(POLL);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Output {
        let mut command = Command::new("sh");
        run(command.args(["-c", script]), "in\n", Duration::from_secs(1)).unwrap()
    }

    #[test]
    fn keeps_what_was_said() {
        let said = shell("cat; echo out; echo err >&2; exit 3");
        assert_eq!(
            (said.stdout.as_str(), said.stderr.as_str(), said.code),
            ("in\nout\n", "err\n", Some(3))
        );
    }

    #[test]
    fn ends_at_the_deadline() {
        assert_eq!(shell("exec sleep 20").code, None);
    }
}
