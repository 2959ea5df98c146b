//! Rehearsals are held, repeat to the byte, and refuse bad scenarios in words.

use rehearse::{Options, Report, run};
use std::path::{Path, PathBuf};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn held(seed: Option<u64>) -> Report {
    run(&data("node-loss.yaml"), Options { seed }).unwrap()
}

fn text(report: &Report) -> String {
    let mut out = Vec::new();
    report.print(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_node_is_lost_and_comes_back() {
    let report = held(None);
    let shown = text(&report);
    println!("{shown}");
    assert!(report.passed(), "{shown}");
    let counts = report.counts();
    for line in [
        "node-1 lost its power",
        "unreachable: its agent stopped posting status",
        "tainted node.kubernetes.io/unreachable:NoExecute",
        "evicted from node-1 by the taint manager",
        "node-1 powered on",
    ] {
        assert!(counts.contains_key(line), "{line} is missing in\n{shown}");
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    let (first, second, third) = (held(None), held(None), held(Some(8)));
    assert_eq!(first, second);
    assert_eq!(first.to_json(), second.to_json());
    assert_ne!(first.hash, third.hash);
}
