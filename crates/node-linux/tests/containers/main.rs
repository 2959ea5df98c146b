//! Runs real containers through the runtime's public door. Needs root; skips itself without.
//!
//! The test program is also the supervisor and, being linked statically, the only program of the
//! image the containers run from.

mod applets;
mod archives;
mod cases;
mod house;
mod resize;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Instant,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("node-supervisor") => {
            ExitCode::from(node_linux::supervisor_main(&arguments[2..]) as u8)
        }
        Some("applet") => applets::run(&arguments[2..]),
        _ => run_cases(arguments.get(1)),
    }
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}

fn run_cases(filter: Option<&String>) -> ExitCode {
    if !is_root() {
        println!("skipped: containers can only be run by root");
        return ExitCode::SUCCESS;
    }
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter.as_str()));
    let mut failed = Vec::new();
    for (name, case) in cases::ALL.iter().filter(|(name, _)| wanted(name)) {
        let start = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(case)).is_ok();
        let result = if passed { "ok" } else { "FAILED" };
        println!("test {name} ... {result} ({:?})", start.elapsed());
        if !passed {
            failed.push(*name);
        }
    }
    house::tidy_up();
    println!("failed: {failed:?}");
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
