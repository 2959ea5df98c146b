//! Carries out a tree: built-in commands in the shell itself, all others as processes.

use super::{
    expand,
    parse::{Node, Redirect},
    streams::Streams,
    test,
};
use crate::{
    APPLETS, NOT_FOUND,
    errors::{at, plain},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{self, Child, Command, ExitStatus},
};

/// Path of last resort, the image's.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// What a shell adds to a signal's number in an exit code.
const SIGNAL_BASE: i32 = 128;
const SIGINT: i32 = 2;
const CANNOT_EXECUTE: i32 = 126;

/// How a command ended.
enum Flow {
    /// With the status kept in the shell.
    On,
    /// The shell is to end.
    Exit,
    /// Leave this many loops.
    Break(usize),
    /// Go to the next round of a loop.
    Continue,
}

/// A shell.
pub struct Shell {
    variables: BTreeMap<String, String>,
    exported: BTreeSet<String>,
    children: Vec<Child>,
    /// `$0`, `$1` and so on.
    pub positional: Vec<String>,
    /// `$?`.
    pub status: i32,
    /// `set -e`.
    pub stop_on_failure: bool,
    guarded: usize,
}

impl Shell {
    /// A shell with the environment's variables.
    pub fn new() -> Self {
        let variables: BTreeMap<String, String> = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let exported = variables.keys().cloned().collect();
        Self {
            variables,
            exported,
            children: Vec::new(),
            positional: vec!["sh".to_owned()],
            status: 0,
            stop_on_failure: false,
            guarded: 0,
        }
    }

    /// A variable's or special parameter's value.
    pub fn variable(&self, name: &str) -> Option<String> {
        match name {
            "?" => Some(self.status.to_string()),
            "$" => Some(process::id().to_string()),
            "!" => self.children.last().map(|child| child.id().to_string()),
            "#" => Some(self.positional.len().saturating_sub(1).to_string()),
            "@" | "*" => Some(self.positional.get(1..).unwrap_or_default().join(" ")),
            name => match name.parse::<usize>() {
                Ok(place) => self.positional.get(place).cloned(),
                Err(_) => self.variables.get(name).cloned(),
            },
        }
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// A program ready to be started: of this name in the path, else the applet of this binary.
    pub fn program(&self, name: &str) -> Command {
        let mut command = match (self.find(name), APPLETS.contains(&name)) {
            (None, true) => {
                let mut command = Command::new("/proc/self/exe");
                command.arg0(name);
                command
            }
            (found, _) => Command::new(found.as_deref().map_or(OsStr::new(name), Path::as_os_str)),
        };
        let exported = self
            .variables
            .iter()
            .filter(|(name, _)| self.exported.contains(*name));
        command.env_clear().envs(exported);
        command
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return Some(name.into());
        }
        let path = self
            .variables
            .get("PATH")
            .map_or(DEFAULT_PATH, String::as_str);
        path.split(':')
            .map(|directory| Path::new(directory).join(name))
            .find(|file| file.is_file())
    }

    /// Runs a whole script; returns its exit code.
    pub fn run_to_end(&mut self, node: &Node) -> io::Result<i32> {
        self.run(node)?;
        Ok(self.status)
    }

    /// Runs a line of a conversation; returns a code if the shell is to end.
    pub fn run_line(&mut self, node: &Node) -> io::Result<Option<i32>> {
        Ok(match self.run(node)? {
            Flow::Exit => Some(self.status),
            _ => None,
        })
    }

    fn run(&mut self, node: &Node) -> io::Result<Flow> {
        match node {
            Node::Simple(assignments, words, redirects) => {
                self.simple(assignments, words, redirects)
            }
            Node::List(nodes) => self.list(nodes),
            Node::And(first, second) => self.joined(first, second, true),
            Node::Or(first, second) => self.joined(first, second, false),
            Node::Not(inner) => {
                let flow = self.condition(inner)?;
                self.status = i32::from(self.status == 0);
                Ok(flow)
            }
            Node::If(condition, body, other) => self.branch(condition, body, other.as_deref()),
            Node::While(wanted, condition, body) => self.repeat(*wanted, condition, body),
            Node::For(name, words, body) => self.each(name, words, body),
            Node::Pipeline(stages) => self.pipeline(stages),
            Node::Background(inner) => self.background(inner),
        }
    }

    fn list(&mut self, nodes: &[Node]) -> io::Result<Flow> {
        for node in nodes {
            let flow = self.run(node)?;
            if !matches!(flow, Flow::On) {
                return Ok(flow);
            }
            let fatal = !matches!(node, Node::And(..) | Node::Or(..) | Node::Not(_));
            if self.stop_on_failure && self.guarded == 0 && fatal && self.status != 0 {
                return Ok(Flow::Exit);
            }
        }
        Ok(Flow::On)
    }

    /// Runs what may fail without ending a shell under `set -e`.
    fn condition(&mut self, node: &Node) -> io::Result<Flow> {
        self.guarded += 1;
        let flow = self.run(node);
        self.guarded -= 1;
        flow
    }

    fn joined(&mut self, first: &Node, second: &Node, on_success: bool) -> io::Result<Flow> {
        let flow = self.condition(first)?;
        if !matches!(flow, Flow::On) || (self.status == 0) != on_success {
            return Ok(flow);
        }
        self.run(second)
    }

    fn branch(&mut self, condition: &Node, body: &Node, other: Option<&Node>) -> io::Result<Flow> {
        let flow = self.condition(condition)?;
        if !matches!(flow, Flow::On) {
            return Ok(flow);
        }
        let taken = self.status == 0;
        self.status = 0;
        match (taken, other) {
            (true, _) => self.run(body),
            (false, Some(other)) => self.run(other),
            (false, None) => Ok(Flow::On),
        }
    }

    fn repeat(&mut self, wanted: bool, condition: &Node, body: &Node) -> io::Result<Flow> {
        let mut last = 0;
        loop {
            let flow = self.condition(condition)?;
            if !matches!(flow, Flow::On) {
                return Ok(flow);
            }
            if (self.status == 0) != wanted {
                self.status = last;
                return Ok(Flow::On);
            }
            if let Some(flow) = leaves(self.run(body)?) {
                return Ok(flow);
            }
            // A foreground program ended by Ctrl-C ends the loop around it.
            if self.status == SIGNAL_BASE + SIGINT {
                return Ok(Flow::On);
            }
            last = self.status;
        }
    }

    fn each(&mut self, name: &str, words: &[super::lex::Word], body: &Node) -> io::Result<Flow> {
        let words = match expand::words(self, words) {
            Ok(words) => words,
            Err(problem) => return Ok(self.complain(&problem)),
        };
        for word in words {
            self.set(name, &word);
            if let Some(flow) = leaves(self.run(body)?) {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn complain(&mut self, problem: &str) -> Flow {
        eprintln!("sh: {problem}");
        self.status = super::SYNTAX_ERROR;
        Flow::Exit
    }

    fn simple(
        &mut self,
        assignments: &[(String, super::lex::Word)],
        words: &[super::lex::Word],
        redirects: &[Redirect],
    ) -> io::Result<Flow> {
        let expanded = self.expanded(assignments, words);
        let (assigned, words) = match expanded {
            Ok(expanded) => expanded,
            Err(problem) => return Ok(self.complain(&problem)),
        };
        let streams = match self.redirected(Streams::default(), redirects) {
            Ok(streams) => streams,
            Err(error) => {
                eprintln!("sh: {}", plain(&error));
                self.status = 1;
                return Ok(Flow::On);
            }
        };
        if words.is_empty() {
            self.status = 0;
            assigned
                .iter()
                .for_each(|(name, value)| self.set(name, value));
            return Ok(Flow::On);
        }
        if let Some(flow) = self.builtin(&words, &streams)? {
            return Ok(flow);
        }
        self.status = match self.start(&assigned, &words, streams) {
            Ok(mut child) => code(child.wait()?),
            Err(code) => code,
        };
        Ok(Flow::On)
    }

    #[expect(clippy::type_complexity, reason = "names with values, and words")]
    fn expanded(
        &self,
        assignments: &[(String, super::lex::Word)],
        words: &[super::lex::Word],
    ) -> Result<(Vec<(String, String)>, Vec<String>), String> {
        let assigned = assignments
            .iter()
            .map(|(name, word)| Ok((name.clone(), expand::one(self, word)?)));
        Ok((
            assigned.collect::<Result<_, String>>()?,
            expand::words(self, words)?,
        ))
    }

    /// Redirections are made in their order, over the streams a pipe has set.
    fn redirected(&self, mut streams: Streams, redirects: &[Redirect]) -> io::Result<Streams> {
        for (from, operator, word) in redirects {
            let target = expand::one(self, word).map_err(io::Error::other)?;
            let file = match *operator {
                "<" => File::open(&target).map_err(at(&target))?,
                ">>" => OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(&target)
                    .map_err(at(&target))?,
                ">&" => streams.copy(&target)?,
                _ => File::create(&target).map_err(at(&target))?,
            };
            streams.0[usize::from(*from)] = Some(file);
        }
        Ok(streams)
    }

    fn start(
        &self,
        assigned: &[(String, String)],
        words: &[String],
        streams: Streams,
    ) -> Result<Child, i32> {
        let mut command = self.program(&words[0]);
        command.args(&words[1..]).envs(assigned.iter().cloned());
        let errors = streams.copy("2");
        streams.give(&mut command);
        command.spawn().map_err(|error| {
            let (code, text) = not_started(&words[0], &error);
            // Without a place for complaints the code has to do.
            let _ = errors.and_then(|mut errors| writeln!(errors, "sh: {text}"));
            code
        })
    }

    /// Runs a command of the shell itself; nothing if it is none.
    fn builtin(&mut self, words: &[String], streams: &Streams) -> io::Result<Option<Flow>> {
        let first = words.get(1).map(String::as_str);
        let number = || first.and_then(|word| word.parse::<i32>().ok());
        self.status = match words[0].as_str() {
            ":" | "true" => 0,
            "false" => 1,
            "exit" => {
                self.status = number().unwrap_or(self.status);
                return Ok(Some(Flow::Exit));
            }
            "break" => {
                return Ok(Some(Flow::Break(
                    number()
                        .and_then(|count| usize::try_from(count).ok())
                        .unwrap_or(1),
                )));
            }
            "continue" => return Ok(Some(Flow::Continue)),
            "echo" => streams.print(&crate::applets::text::echoed(&words[1..])),
            "test" | "[" => self.tested(words),
            "cd" => self.change_directory(first),
            "export" => self.export(&words[1..]),
            "unset" => {
                words[1..]
                    .iter()
                    .for_each(|name| drop(self.variables.remove(name)));
                0
            }
            "set" => self.options(&words[1..]),
            "shift" => {
                let count = self.positional.len().saturating_sub(1).min(1);
                self.positional.drain(1..=count);
                0
            }
            "wait" => self.wait()?,
            "exec" => return self.replace(&words[1..], streams).map(Some),
            "read" | "eval" | "trap" | "source" | "." => {
                eprintln!("sh: {}: not supported by this small shell", words[0]);
                NOT_FOUND
            }
            _ => return Ok(None),
        };
        Ok(Some(Flow::On))
    }

    fn tested(&self, words: &[String]) -> i32 {
        let applet = if words[0] == "[" {
            test::bracket_applet
        } else {
            test::test_applet
        };
        applet(&words[1..]).unwrap_or_else(|error| {
            eprintln!("sh: {}: {error}", words[0]);
            super::SYNTAX_ERROR
        })
    }

    fn change_directory(&mut self, to: Option<&str>) -> i32 {
        let home = self.variables.get("HOME").cloned();
        let to = to
            .map(str::to_owned)
            .or(home)
            .unwrap_or_else(|| "/".to_owned());
        match env::set_current_dir(&to) {
            Ok(()) => {
                let now = env::current_dir().unwrap_or_default();
                self.set("PWD", &now.to_string_lossy());
                0
            }
            Err(error) => {
                eprintln!("sh: cd: {to}: {}", plain(&error));
                1
            }
        }
    }

    fn export(&mut self, words: &[String]) -> i32 {
        for word in words {
            let (name, value) = word
                .split_once('=')
                .map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
            if let Some(value) = value {
                self.set(name, value);
            }
            self.exported.insert(name.to_owned());
        }
        0
    }

    fn options(&mut self, words: &[String]) -> i32 {
        for word in words {
            match word.as_str() {
                "-e" | "-eu" | "-ue" => self.stop_on_failure = true,
                "+e" => self.stop_on_failure = false,
                "-u" | "+u" | "-x" | "+x" | "-o" | "pipefail" => {}
                other => {
                    eprintln!("sh: set: {other}: not supported by this small shell");
                    return super::SYNTAX_ERROR;
                }
            }
        }
        0
    }

    fn wait(&mut self) -> io::Result<i32> {
        for mut child in std::mem::take(&mut self.children) {
            child.wait()?;
        }
        Ok(0)
    }

    fn replace(&mut self, words: &[String], streams: &Streams) -> io::Result<Flow> {
        let Some(name) = words.first() else {
            return Ok(Flow::On);
        };
        let mut command = self.program(name);
        command.args(&words[1..]);
        Streams(
            streams
                .0
                .each_ref()
                .map(|file| file.as_ref().and_then(|file| file.try_clone().ok())),
        )
        .give(&mut command);
        // Comes back only when it fails.
        let error = command.exec();
        let (code, text) = not_started(name, &error);
        eprintln!("sh: {text}");
        self.status = code;
        Ok(Flow::Exit)
    }

    fn pipeline(&mut self, stages: &[Node]) -> io::Result<Flow> {
        let mut children = Vec::new();
        let mut input: Option<File> = None;
        for (index, stage) in stages.iter().enumerate() {
            let Node::Simple(assignments, words, redirects) = stage else {
                return Ok(
                    self.complain("only simple commands can stand in a pipe of this small shell")
                );
            };
            let (assigned, words) = match self.expanded(assignments, words) {
                Ok(expanded) if !expanded.1.is_empty() => expanded,
                Ok(_) => return Ok(self.complain("a pipe needs commands")),
                Err(problem) => return Ok(self.complain(&problem)),
            };
            let mut streams = Streams([input.take(), None, None]);
            if index + 1 < stages.len() {
                let (reader, writer) = io::pipe()?;
                input = Some(File::from(OwnedFd::from(reader)));
                streams.0[1] = Some(File::from(OwnedFd::from(writer)));
            }
            let streams = self.redirected(streams, redirects)?;
            children.push(self.start(&assigned, &words, streams));
        }
        for child in children {
            self.status = match child {
                Ok(mut child) => code(child.wait()?),
                Err(code) => code,
            };
        }
        Ok(Flow::On)
    }

    fn background(&mut self, node: &Node) -> io::Result<Flow> {
        let Node::Simple(assignments, words, redirects) = node else {
            return Ok(
                self.complain("only simple commands can run in the background of this small shell")
            );
        };
        let (assigned, words) = match self.expanded(assignments, words) {
            Ok(expanded) => expanded,
            Err(problem) => return Ok(self.complain(&problem)),
        };
        let mut streams = self.redirected(Streams::default(), redirects)?;
        if streams.0[0].is_none() {
            streams.0[0] = Some(File::open("/dev/null")?);
        }
        self.status = 0;
        match self.start(&assigned, &words, streams) {
            Ok(child) => self.children.push(child),
            Err(code) => self.status = code,
        }
        Ok(Flow::On)
    }
}

/// What a loop passes on after one round of its body; nothing to go on.
fn leaves(flow: Flow) -> Option<Flow> {
    match flow {
        Flow::Break(1) => Some(Flow::On),
        Flow::Break(count) => Some(Flow::Break(count.saturating_sub(1))),
        Flow::Exit => Some(Flow::Exit),
        Flow::On | Flow::Continue => None,
    }
}

/// Exit code and complaint for a program that could not be started.
fn not_started(name: &str, error: &io::Error) -> (i32, String) {
    if error.kind() == io::ErrorKind::NotFound && fs::metadata(name).is_err() {
        return (NOT_FOUND, format!("{name}: not found"));
    }
    (CANNOT_EXECUTE, format!("{name}: {}", plain(error)))
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .or(status.signal().map(|signal| SIGNAL_BASE + signal))
        .unwrap_or(1)
}
