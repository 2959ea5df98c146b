//! Every script plays as written. `BLESS=1` writes the transcripts anew, to be read before
//! they are kept.

use std::{env, fs, path::Path};

#[test]
fn scripts_play_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let mut failed = Vec::new();
    for file in files {
        let script = fs::read_to_string(&file).unwrap();
        let transcript = behaviour_tests::play(&script);
        if transcript == script {
            continue;
        }
        if env::var_os("BLESS").is_some() {
            fs::write(&file, &transcript).unwrap();
        }
        failed.push(format!(
            "{}:\n{}",
            file.display(),
            difference(&script, &transcript)
        ));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// The first line that differs, with those before it.
fn difference(wanted: &str, found: &str) -> String {
    let same = wanted
        .lines()
        .zip(found.lines())
        .take_while(|(a, b)| a == b)
        .count();
    let from = same.saturating_sub(3);
    let part = |text: &str, sign: &str| -> String {
        let lines = text.lines().skip(from).take(12);
        lines.map(|line| format!("{sign} {line}\n")).collect()
    };
    format!("{}---\n{}", part(wanted, "-"), part(found, "+"))
}
