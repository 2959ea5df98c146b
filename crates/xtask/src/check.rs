//! `cargo xtask check`: every test of the project in one command, with a table of what it took.
//!
//! Runs cargo and reads its words; knows the names of the steps and nothing of what they test.
//! Upstream counterpart: `make verify test test-integration`.

use crate::{tidy, tools};
use std::{
    io::{self, BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

/// What one step came to.
struct Outcome {
    name: &'static str,
    good: bool,
    tests: Tests,
    seconds: f64,
}

/// Tests counted out of cargo's own words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tests {
    passed: usize,
    failed: usize,
}

/// A step that is a cargo command; a step of a package that does not exist yet is left out.
struct Step {
    name: &'static str,
    package: Option<&'static str>,
    words: &'static [&'static str],
}

/// Packages whose tests are steps of their own.
const SPECIAL: &[&str] = &["behaviour-tests", "contract-tests", "e2e-tests"];

const BEFORE: &[Step] = &[
    Step {
        name: "format",
        package: None,
        words: &["fmt", "--all", "--check"],
    },
    Step {
        name: "clippy",
        package: None,
        words: &[
            "clippy",
            "-q",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    },
];

/// Steps after the unit tests. The ones that start a cluster run one at a time: each expects
/// the machine for itself.
const AFTER: &[Step] = &[
    Step {
        name: "behaviour",
        package: Some("behaviour-tests"),
        words: &["test", "-p", "behaviour-tests", "--no-fail-fast"],
    },
    Step {
        name: "swarm",
        package: Some("rehearse"),
        words: &["test", "-p", "rehearse", "--", "--ignored", "swarm"],
    },
    Step {
        name: "binary",
        package: Some("xebec"),
        words: &["build", "-p", "xebec"],
    },
    Step {
        name: "contract",
        package: Some("contract-tests"),
        words: &["test", "-p", "contract-tests", "--no-fail-fast"],
    },
    Step {
        name: "e2e",
        package: Some("e2e-tests"),
        words: &[
            "test",
            "-p",
            "e2e-tests",
            "--no-fail-fast",
            "--",
            "--test-threads=1",
        ],
    },
];

/// Runs everything; `fast` leaves the end-to-end tests out. True when nothing failed.
pub fn run(root: &Path, fast: bool) -> bool {
    let mut done = Vec::new();
    let mut finish = |outcome: Outcome| {
        let word = if outcome.good { "ok" } else { "FAILED" };
        println!("== {}: {word} ({:.1} s)\n", outcome.name, outcome.seconds);
        done.push(outcome);
    };
    BEFORE.iter().for_each(|step| finish(cargo(root, step)));
    finish(timed("tidy", || (check_tidy(root), Tests::default())));
    finish(unit(root));
    let with_clients = AFTER
        .iter()
        .any(|step| !skipped(root, step, fast) && needs_clients(step));
    if with_clients {
        finish(timed("tools", || (install(root), Tests::default())));
    }
    AFTER
        .iter()
        .filter(|step| !skipped(root, step, fast))
        .for_each(|step| finish(cargo(root, step)));
    print_table(&done)
}

fn needs_clients(step: &Step) -> bool {
    matches!(step.name, "contract" | "e2e")
}

fn skipped(root: &Path, step: &Step, fast: bool) -> bool {
    let missing = step.package.is_some_and(|name| !exists(root, name));
    missing || (fast && step.name == "e2e")
}

/// True when the workspace has a package of this name; tests lie in folders of their short names.
fn exists(root: &Path, package: &str) -> bool {
    let folder = match package.strip_suffix("-tests") {
        Some(short) => root.join("tests").join(short),
        None => root.join("crates").join(package),
    };
    folder.join("Cargo.toml").exists()
}

fn check_tidy(root: &Path) -> bool {
    match tidy::run(root, false) {
        Ok(report) => {
            report
                .errors
                .iter()
                .for_each(|line| println!("error: {line}"));
            println!("tidy: {}", report.summary);
            report.errors.is_empty()
        }
        Err(error) => {
            println!("tidy: cannot read the workspace: {error}");
            false
        }
    }
}

fn install(root: &Path) -> bool {
    tools::install(root)
        .inspect_err(|error| println!("tools: {error}"))
        .is_ok()
}

/// Unit tests of all crates but the special ones. Plain cargo: some tests bring a harness of
/// their own (they must start as one thread), which other runners cannot list.
fn unit(root: &Path) -> Outcome {
    let mut words = vec!["test", "--workspace", "--no-fail-fast"];
    for name in SPECIAL.iter().filter(|name| exists(root, name)) {
        words.extend(["--exclude", name]);
    }
    timed("unit", || run_cargo(root, &words))
}

fn cargo_program() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

fn cargo(root: &Path, step: &Step) -> Outcome {
    timed(step.name, || run_cargo(root, step.words))
}

fn timed(name: &'static str, work: impl FnOnce() -> (bool, Tests)) -> Outcome {
    println!("== {name}");
    let start = Instant::now();
    let (good, tests) = work();
    Outcome {
        name,
        good,
        tests,
        seconds: start.elapsed().as_secs_f64(),
    }
}

/// Runs cargo with both of its streams shown as they come, and counts the tests they speak of.
fn run_cargo(root: &Path, words: &[&str]) -> (bool, Tests) {
    show_cargo(root, words).unwrap_or_else(|error| {
        println!("cannot run cargo: {error}");
        (false, Tests::default())
    })
}

fn show_cargo(root: &Path, words: &[&str]) -> io::Result<(bool, Tests)> {
    // One pipe for both streams keeps their order.
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(cargo_program());
    command.args(words).current_dir(root).stdin(Stdio::null());
    command.env("CARGO_TERM_COLOR", "never");
    let mut child = command.stdout(writer.try_clone()?).stderr(writer).spawn()?;
    // The command holds the writing ends; the reader sees no end while it lives.
    drop(command);
    let mut tests = Tests::default();
    for line in BufReader::new(reader).lines() {
        let line = line?;
        let here = count(&line).unwrap_or_default();
        tests = Tests {
            passed: tests.passed + here.passed,
            failed: tests.failed + here.failed,
        };
        println!("{line}");
    }
    Ok((child.wait()?.success(), tests))
}

/// Tests in a closing line of cargo's harness (`test result: ok. 3 passed; 0 failed; ...`).
fn count(line: &str) -> Option<Tests> {
    let line = line.trim();
    let rest = line
        .strip_prefix("test result: ")
        .or_else(|| line.strip_prefix("Summary"))?;
    let number = |word: &str| -> usize {
        let before = rest
            .split(word)
            .next()
            .filter(|before| before.len() < rest.len());
        before
            .and_then(|text| text.split_whitespace().last()?.parse().ok())
            .unwrap_or(0)
    };
    Some(Tests {
        passed: number(" passed"),
        failed: number(" failed"),
    })
}

fn print_table(done: &[Outcome]) -> bool {
    println!(
        "{:<10} {:>8} {:>7} {:>7}  result",
        "step", "seconds", "passed", "failed"
    );
    for one in done {
        let word = if one.good { "ok" } else { "FAILED" };
        let (passed, failed) = (one.tests.passed, one.tests.failed);
        println!(
            "{:<10} {:>8.1} {passed:>7} {failed:>7}  {word}",
            one.name, one.seconds
        );
    }
    let seconds: f64 = done.iter().map(|one| one.seconds).sum();
    // A step without tests (format, clippy, tidy, a build) counts as one.
    let passed: usize = done.iter().map(passed).sum();
    let failed: usize = done.iter().map(failed).sum();
    println!("\n{passed} passed, {failed} failed in {seconds:.0} s");
    failed == 0
}

fn passed(one: &Outcome) -> usize {
    let countless = one.tests == Tests::default();
    if countless {
        usize::from(one.good)
    } else {
        one.tests.passed
    }
}

fn failed(one: &Outcome) -> usize {
    if one.good { 0 } else { one.tests.failed.max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_tests() {
        let cases = [
            (
                "test result: ok. 3 passed; 0 failed; 1 ignored",
                Some((3, 0)),
            ),
            (
                "test result: FAILED. 3 passed; 2 failed; 0 ignored",
                Some((3, 2)),
            ),
            ("test a::b ... ok", None),
        ];
        for (line, want) in cases {
            let want = want.map(|(passed, failed)| Tests { passed, failed });
            assert_eq!(count(line), want, "{line}");
        }
    }

    #[test]
    fn a_failed_step_fails_the_run() {
        let one = |good, passed, failed| Outcome {
            name: "x",
            good,
            tests: Tests { passed, failed },
            seconds: 0.0,
        };
        assert!(print_table(&[one(true, 3, 0), one(true, 0, 0)]));
        assert!(!print_table(&[one(true, 3, 0), one(false, 0, 0)]));
        assert!(!print_table(&[one(false, 3, 1)]));
    }
}
