//! `cargo xtask`: the project's own commands. `tidy` checks the walls, `check` runs everything,
//! `tools` fetches the clients that the end-to-end tests drive.
//!
//! Must not know what the platform does; it sees files, manifests and exit codes. Upstream
//! counterpart: `hack/` and the `Makefile`.

mod check;
mod tidy;
mod tools;

use std::{path::PathBuf, process::ExitCode, time::Instant};

const USAGE: &str = "usage: cargo xtask tidy [--bless] | check [--fast] | tools";

fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("the crate lies in crates/xtask")
        .to_owned()
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = args.iter().map(String::as_str).collect();
    let good = match words.as_slice() {
        ["tidy"] => run_tidy(false),
        ["tidy", "--bless"] => run_tidy(true),
        ["check"] => check::run(&root(), false),
        ["check", "--fast"] => check::run(&root(), true),
        ["tools"] => run_tools(),
        _ => {
            eprintln!("{USAGE}");
            false
        }
    };
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run_tidy(bless: bool) -> bool {
    let start = Instant::now();
    let report = match tidy::run(&root(), bless) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("tidy: cannot read the workspace: {error}");
            return false;
        }
    };
    report
        .warnings
        .iter()
        .for_each(|line| println!("look: {line}"));
    report
        .errors
        .iter()
        .for_each(|line| println!("error: {line}"));
    let (errors, took) = (report.errors.len(), start.elapsed().as_secs_f64());
    println!("tidy: {}, {errors} errors, {took:.2} s", report.summary);
    errors == 0
}

fn run_tools() -> bool {
    match tools::install(&root()) {
        Ok(folder) => println!("kubectl and helm are in {}", folder.display()),
        Err(error) => {
            eprintln!("tools: {error}");
            return false;
        }
    }
    true
}
