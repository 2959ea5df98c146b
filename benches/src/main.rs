//! What the server costs: CPU, time and memory of what clients do, beside targets and etcd.
//!
//! Runs the binary beside it (`cargo run --release -p benches` after `cargo build --release -p
//! xebec`, or `$XEBEC_BIN`) with simulated containers, on loopback, each section on a cluster of
//! its own, and prints one Markdown table. Words choose sections: `benches list watch`. CPU is the
//! server process's own, user and system, from `/proc`. Absolute numbers are the machine's:
//! compare rows of one run. Container start beside crun: `cargo run --release -p node-linux
//! --example start_latency`; scheduling: `cargo run --release -p scheduler --example throughput`.

mod custom;
mod etcd;
mod large;
mod loads;
mod reads;
mod report;
mod start;
mod subject;
mod watches;
mod writes;

use report::Report;
use std::process::ExitCode;

/// A section's word and what it measures.
type Section = (&'static str, fn(&Report));

const SECTIONS: [Section; 10] = [
    ("start", start::measure),
    ("create", writes::creates),
    ("namespace", writes::namespace),
    ("etcd", etcd::measure),
    ("apply", writes::applies),
    ("get", reads::gets),
    ("list", reads::lists),
    ("watch", watches::measure),
    ("crds", custom::measure),
    ("large", large::measure),
];

fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let known = |word: &&String| SECTIONS.iter().any(|(name, _)| name == word);
    if let Some(word) = asked.iter().find(|word| !known(word)) {
        let names = SECTIONS.map(|(name, _)| name).join(", ");
        eprintln!("no section {word:?}: there are {names}");
        return ExitCode::FAILURE;
    }
    let report = Report::open();
    for (name, measure) in SECTIONS {
        if asked.is_empty() || asked.iter().any(|word| word == name) {
            measure(&report);
        }
    }
    ExitCode::SUCCESS
}
