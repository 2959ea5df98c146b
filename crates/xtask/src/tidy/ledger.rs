//! The ledger of the upstream conformance suite: well-formed, complete, and only ever better.
//!
//! Knows lines and counts, not what a test does or how one is run. Upstream counterpart:
//! `test/conformance/testdata/conformance.yaml`.

use super::Report;
use std::{fs, path::Path, process::Command};

/// The ledger, from the root.
const LEDGER: &str = "tests/conformance/ledger.tsv";
/// How many tests Kubernetes 1.36 marks `[Conformance]`.
const TESTS: usize = 446;
/// FNV-1a of their names, sorted, each with a line end: no name is lost, added or mistyped.
const NAMES: u64 = 0x24d4_2bfb_4682_aa5d;
/// How a state may begin, `pass` apart: the test needs something, or a part is missing or wrong.
const REASONS: [&str; 3] = ["needs: ", "not built: ", "fails: "];
/// A reason is a phrase, not an essay (characters).
const REASON_LIMIT: usize = 120;
/// How many of the ledger's earlier versions are looked at.
const VERSIONS: &str = "2";

/// Adds what is wrong with the ledger to `report`.
pub fn check(root: &Path, report: &mut Report) {
    // A missing ledger reads as an empty one, which is far from complete.
    let text = fs::read_to_string(root.join(LEDGER)).unwrap_or_default();
    let mut wrong = faults(&text);
    let (count, names) = digest(&text);
    if (count, names) != (TESTS, NAMES) {
        wrong.push(format!(
            "holds {count} tests with digest {names:#018x}, not the suite's {TESTS}"
        ));
    }
    let before = earlier(root);
    wrong.extend(before.iter().filter_map(|then| grown(then, &text)));
    report
        .errors
        .extend(wrong.into_iter().map(|says| format!("{LEDGER}: {says}")));
}

/// The lines of tests: name and state.
fn rows(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once('\t').unwrap_or((line, "")))
}

/// The number of tests that do not pass, as the first line says it.
fn open(text: &str) -> Option<usize> {
    text.lines().next()?.strip_prefix("# open: ")?.parse().ok()
}

fn faults(text: &str) -> Vec<String> {
    let mut wrong: Vec<_> = rows(text)
        .filter(|(_, state)| !fits(state))
        .map(|(name, state)| {
            format!("{name}: {state:?} is neither pass nor one of {REASONS:?} and a phrase")
        })
        .collect();
    let names: Vec<_> = rows(text).map(|(name, _)| name).collect();
    if !names.is_sorted_by(|a, b| a < b) {
        wrong.push("names must be sorted and stand once".to_owned());
    }
    let counted = rows(text).filter(|(_, state)| *state != "pass").count();
    if open(text) != Some(counted) {
        wrong.push(format!("the first line must be `# open: {counted}`"));
    }
    wrong
}

fn fits(state: &str) -> bool {
    let phrase = REASONS.iter().find_map(|start| state.strip_prefix(start));
    state == "pass" || phrase.is_some_and(|says| !says.is_empty() && says.len() <= REASON_LIMIT)
}

fn digest(text: &str) -> (usize, u64) {
    let mut names: Vec<_> = rows(text).map(|(name, _)| name).collect();
    names.sort_unstable();
    let bytes = names.iter().flat_map(|name| name.bytes().chain([b'\n']));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (names.len(), hash)
}

/// Says so where more tests are open now than `then`.
fn grown(then: &str, now: &str) -> Option<String> {
    let (then, now) = (open(then)?, open(now)?);
    (now > then).then(|| format!("{now} tests are open where {then} were; it may only shrink"))
}

/// The ledger as the last commits that touched it left it; nothing where there is no history.
fn earlier(root: &Path) -> Vec<String> {
    let git = |args: &[&str]| {
        let out = Command::new("git").args(args).current_dir(root).output();
        let text = out.ok().filter(|out| out.status.success())?.stdout;
        String::from_utf8(text).ok()
    };
    let commits = git(&["log", "-n", VERSIONS, "--format=%H", "--", LEDGER]).unwrap_or_default();
    let one = |commit: &str| git(&["show", &format!("{commit}:{LEDGER}")]);
    commits.lines().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_read_strictly() {
        let good = "# open: 2\na\tpass\nb\tneeds: images\nc\tfails: no such column\n";
        assert_eq!(faults(good), Vec::<String>::new());
        let table = [
            ("# open: 0\na\tpassed\n", "neither pass"),
            ("# open: 1\na\tfails: \n", "neither pass"),
            ("# open: 1\na\n", "neither pass"),
            ("# open: 0\nb\tpass\na\tpass\n", "sorted"),
            ("# open: 0\na\tpass\na\tpass\n", "once"),
            ("# open: 0\na\tneeds: images\n", "`# open: 1`"),
            ("a\tpass\n", "`# open: 0`"),
        ];
        for (text, says) in table {
            assert!(faults(text).join("\n").contains(says), "{text:?}: {says}");
        }
    }

    #[test]
    fn names_are_counted_and_told_apart() {
        let one = digest("# open: 0\na\tpass\nb\tpass\n");
        assert_eq!(one, digest("# open: 1\nb\tneeds: images\na\tpass\n"));
        assert_ne!(one, digest("# open: 0\na\tpass\nc\tpass\n"));
        assert_eq!(one.0, 2);
    }

    #[test]
    fn it_only_shrinks() {
        let (few, many) = ("# open: 1\n", "# open: 2\n");
        assert!(grown(few, many).unwrap().contains("may only shrink"));
        assert_eq!(grown(many, few), None);
        assert_eq!(grown(few, few), None);
    }
}
