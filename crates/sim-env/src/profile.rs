//! How simulated containers behave: a table from image or container name to a life story.
//!
//! Plain values. Knows nothing of pods. Upstream counterpart: KWOK's `Stage` objects.

use std::time::Duration;

/// A duration drawn anew each time, between two bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Shortest.
    pub from: Duration,
    /// Longest.
    pub to: Duration,
}

impl Span {
    /// Between `from` and `to` milliseconds.
    pub const fn millis(from: u64, to: u64) -> Self {
        Self {
            from: Duration::from_millis(from),
            to: Duration::from_millis(to),
        }
    }

    /// The duration that a random number picks.
    pub fn pick(self, random: u64) -> Duration {
        let width = self.to.saturating_sub(self.from).as_micros() as u64;
        self.from + Duration::from_micros(random % (width + 1))
    }
}

/// An end that comes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Time after the start.
    pub after: Span,
    /// Exit code.
    pub code: i32,
    /// Killed for its memory: code 137 and reason `OOMKilled`, whatever `code` says.
    pub oom: bool,
}

/// The answer to a command run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecAnswer {
    /// The command line starts with this, words joined by spaces.
    pub command: String,
    /// Standard output.
    pub stdout: String,
    /// Exit code.
    pub code: i32,
}

/// How a container behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Time a pull takes; `None` if every node has the image.
    pub pull: Option<Span>,
    /// The registry does not have the image.
    pub missing: bool,
    /// Time from the order to start until the process runs.
    pub start: Span,
    /// Probes succeed this long after the start.
    pub ready_after: Span,
    /// Probes fail again this long after the start.
    pub fails_after: Option<Span>,
    /// It ends by itself.
    pub exit: Option<Exit>,
    /// Time from the stop signal to the end; `None` ignores the signal until it is killed.
    pub stop: Option<Span>,
    /// Exit code after the stop signal.
    pub stop_code: i32,
    /// CPU use in thousandths of a CPU.
    pub cpu_milli: u64,
    /// Working set in bytes.
    pub memory: u64,
    /// Ports it listens on; none means every port that is asked for.
    pub ports: Vec<u16>,
    /// Lines it writes after the start.
    pub log: Vec<String>,
    /// Answers to commands; others succeed without output.
    pub exec: Vec<ExecAnswer>,
}

impl Default for Profile {
    /// A small server that starts in about a second and obeys its stop signal.
    fn default() -> Self {
        Self {
            pull: None,
            missing: false,
            start: Span::millis(300, 900),
            ready_after: Span::millis(500, 1_500),
            fails_after: None,
            exit: None,
            stop: Some(Span::millis(100, 500)),
            stop_code: 0,
            cpu_milli: 50,
            memory: 64 << 20,
            ports: Vec::new(),
            log: Vec::new(),
            exec: Vec::new(),
        }
    }
}

/// Which containers a profile is for. Empty patterns match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Image reference; `*` stands for any text.
    pub image: String,
    /// Container name; `*` stands for any text.
    pub name: String,
    /// `namespace/name` of the pod; `*` stands for any text.
    pub pod: String,
    /// Their behaviour.
    pub profile: Profile,
}

/// All rules; the first that matches holds, else the default profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profiles {
    /// The rules in order.
    pub rules: Vec<Rule>,
}

impl Profiles {
    /// The behaviour of a container.
    pub fn of(&self, image: &str, name: &str, pod: &str) -> Profile {
        let fits = |pattern: &str, text: &str| pattern.is_empty() || glob(pattern, text);
        let rule = self.rules.iter().find(|rule| {
            fits(&rule.image, image) && fits(&rule.name, name) && fits(&rule.pod, pod)
        });
        rule.map(|rule| rule.profile.clone()).unwrap_or_default()
    }

    /// The behaviour that concerns an image before any container is made of it.
    pub fn of_image(&self, image: &str) -> Profile {
        let rules = self.rules.iter().filter(|rule| !rule.image.is_empty());
        let rule = rules.clone().find(|rule| glob(&rule.image, image));
        rule.map(|rule| rule.profile.clone()).unwrap_or_default()
    }
}

/// Whether `text` is `pattern`, whose stars stand for any text.
pub fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(tail) = text.strip_prefix(head) else {
        return false;
    };
    (0..=tail.len())
        .filter(|at| tail.is_char_boundary(*at))
        .any(|at| glob(rest, &tail[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, wanted) in [
            ("redis", "redis", true),
            ("redis", "redis:7", false),
            ("redis*", "redis:7", true),
            ("*redis*", "docker.io/library/redis:7", true),
            ("*/agent:v*", "registry/agent:v2", true),
            ("*/agent:v*", "registry/agent", false),
            ("", "", true),
        ] {
            assert_eq!(glob(pattern, text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_rule_holds() {
        let rule = |image: &str, name: &str, memory| Rule {
            image: image.into(),
            name: name.into(),
            pod: String::new(),
            profile: Profile {
                memory,
                ..Profile::default()
            },
        };
        let profiles = Profiles {
            rules: vec![rule("a", "", 1), rule("", "side", 2), rule("a*", "", 3)],
        };
        for (image, name, memory) in [("a", "side", 1), ("b", "side", 2), ("ab", "main", 3)] {
            assert_eq!(profiles.of(image, name, "n/p").memory, memory);
        }
        assert_eq!(profiles.of("c", "c", "n/p"), Profile::default());
        assert_eq!(profiles.of_image("ab").memory, 3);
    }
}
