//! Runs cases one after the other on one cluster and speaks the words of cargo's own harness.
//!
//! Knows nothing of what a case does. Upstream counterpart: Ginkgo's ordered containers.

use crate::Cluster;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Instant,
};

/// A name and what it does to the cluster.
pub type Case = (&'static str, fn(&mut Cluster));

/// Runs the cases whose names contain one of the command line's words (all without words), on
/// one cluster, in order.
pub fn run_cases(cases: &[Case], start: impl FnOnce() -> Cluster) -> ExitCode {
    let words: Vec<_> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let asked = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let chosen: Vec<_> = cases.iter().filter(|(name, _)| asked(name)).collect();
    if std::env::args().any(|word| word == "--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", chosen.len());
    let begin = Instant::now();
    let started = catch_unwind(AssertUnwindSafe(start)).ok();
    let failed = match started {
        Some(mut cluster) => run_all(&chosen, &mut cluster),
        None => chosen.len(),
    };
    let word = if failed == 0 { "ok" } else { "FAILED" };
    let (passed, out) = (chosen.len() - failed, cases.len() - chosen.len());
    let took = begin.elapsed().as_secs_f64();
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {out} filtered out; finished in {took:.2}s\n"
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What the cluster looks like after a case failed in it.
fn show_state(cluster: &Cluster) {
    for words in [
        "get deploy,sts,rs,pods -A -o wide",
        "get events -A --sort-by=.lastTimestamp",
    ] {
        let said = cluster.k(&format!("{words} --request-timeout=10s"));
        println!("  $ kubectl {words}\n{}{}", said.stdout, said.stderr);
    }
}

fn run_all(chosen: &[&Case], cluster: &mut Cluster) -> usize {
    println!(
        "on a fresh cluster, {} containers",
        if cluster.simulated() {
            "simulated"
        } else {
            "real"
        }
    );
    let mut failed = 0;
    for (name, case) in chosen {
        let begin = Instant::now();
        let good = catch_unwind(AssertUnwindSafe(|| case(cluster))).is_ok();
        failed += usize::from(!good);
        if !good {
            show_state(cluster);
        }
        let word = if good { "ok" } else { "FAILED" };
        println!(
            "test {name} ... {word} ({:.1} s)",
            begin.elapsed().as_secs_f64()
        );
    }
    if failed > 0 {
        let said = cluster.server_output();
        let from = said.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
        println!("the server's last words:\n{}", &said[from..]);
    }
    failed
}
