//! Rehearsals are held, repeat to the byte, and refuse bad scenarios in words.

use rehearse::{Error, Options, Report, run, scenario::Scenario};
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
    // Which node it is follows from the seed and from how much chance is drawn before.
    let lost = counts
        .keys()
        .find_map(|line| line.strip_suffix(" lost its power"))
        .unwrap_or_else(|| panic!("no node is lost in\n{shown}"));
    for line in [
        "unreachable: its agent stopped posting status",
        "tainted node.kubernetes.io/unreachable:NoExecute",
        &format!("evicted from {lost} by the taint manager"),
        &format!("{lost} powered on"),
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

const GOOD: &str = "apiVersion: rehearse.xebec.io/v1alpha1
kind: Rehearsal
metadata: {name: x}
spec:
  duration: 1m
  cluster: {nodes: [{name: a}]}
  steps: [{at: 1s, killNode: {name: a}}]
  expect: [{name: e, within: 0s..9s, node: a}]
";

/// The error that a changed scenario is refused with; its name keeps the files apart.
fn refusal(name: &str, text: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("{name}.yaml"));
    std::fs::write(&file, text).unwrap();
    match Scenario::load(&file) {
        Ok(_) => "accepted".into(),
        Err(Error::File { why, .. }) => why,
        Err(other) => other.to_string(),
    }
}

#[test]
fn scenarios_are_read_strictly() {
    assert_eq!(refusal("good", GOOD), "accepted");
    for (name, from, to, wanted) in [
        (
            "kind",
            "kind: Rehearsal",
            "kind: Rehersal",
            "expected apiVersion rehearse.xebec.io/v1alpha1 and kind Rehearsal",
        ),
        (
            "field",
            "duration: 1m",
            "durration: 1m",
            "unknown field `durration`",
        ),
        (
            "missing",
            "  duration: 1m\n",
            "",
            "missing field `duration`",
        ),
        (
            "time",
            "duration: 1m",
            "duration: 1 minute",
            "spec.duration: \"1 minute\" is not a duration",
        ),
        (
            "window",
            "0s..9s",
            "9s..0s",
            "is not a duration such as 2s or a range",
        ),
        (
            "late",
            "0s..9s",
            "0s..2m",
            "spec.expect[0]: its span goes on after the end",
        ),
        (
            "subject",
            "node: a}",
            "pods: a}",
            "\"a\" is not namespace/name",
        ),
        (
            "unfit",
            "node: a}",
            "node: a, ready: 3}",
            "spec.expect[0]: ready cannot be said of this subject",
        ),
        (
            "two",
            "node: a}",
            "node: a, claim: n/c}",
            "exactly one of deployment",
        ),
        ("said", "node: a}", "nod: a}", "unknown field `nod`"),
        (
            "deed",
            "killNode: {name: a}",
            "killNodes: {name: a}",
            "unknown field `killNodes`",
        ),
        (
            "none",
            ", killNode: {name: a}",
            "",
            "spec.steps[0]: exactly one deed is needed",
        ),
        ("yaml", "spec:", "spec: [", "yaml"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{name} changes nothing");
        let why = refusal(name, &text);
        assert!(why.contains(wanted), "{name}: {why}");
    }
}

#[test]
fn an_unkept_expectation_fails_the_report() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("unkept.yaml");
    let text = GOOD.replace("node: a}", "node: a, taint: {key: none}}");
    std::fs::write(&file, text).unwrap();
    let report = run(&file, Options::default()).unwrap();
    assert!(!report.passed());
    assert_eq!(
        report.outcomes[0].text,
        "not by 00:09.000: it has no taint none"
    );
    assert!(report.to_json().contains("\"passed\":false"));
}

#[test]
fn the_documented_scenario_is_one() {
    let page = include_str!("../../../docs/rehearsals.md");
    let text = page
        .split("```")
        .nth(1)
        .unwrap()
        .strip_prefix("yaml\n")
        .unwrap();
    assert_eq!(refusal("documented", text), "accepted");
}
