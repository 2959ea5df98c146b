//! `cargo xtask tidy`: the walls of the house, checked by machine.
//!
//! Reads sources and manifests, writes only the golden file, and only when told to. Upstream
//! counterpart: `hack/verify-*.sh`.

mod edges;
mod files;
mod functions;
mod ledger;
mod lexer;
mod walls;

use std::{fs, io, path::Path};

/// The golden file of edges between crates.
const GOLDEN: &str = "crates/xtask/edges.txt";

/// What one run found.
pub struct Report {
    /// Broken rules, each `path:line: what to do`.
    pub errors: Vec<String>,
    /// Things to look at that break nothing.
    pub warnings: Vec<String>,
    /// One line of numbers.
    pub summary: String,
}

/// Checks the workspace at `root`; `bless` rewrites the golden file first.
pub fn run(root: &Path, bless: bool) -> io::Result<Report> {
    let crates = files::crates(root)?;
    let mut report = Report {
        errors: Vec::new(),
        warnings: Vec::new(),
        summary: String::new(),
    };
    check_edges(root, &crates, bless, &mut report)?;
    ledger::check(root, &mut report);
    let sources = fs::read_to_string(root.join("crates/kinds/src/discovery.txt"))?;
    let kinds = walls::catalogue(&sources);
    let mut lengths = Vec::new();
    for one in &crates {
        check_manifest(one, &mut report);
        for file in files::sources(root, one)? {
            lengths.extend(file.check(&kinds, &mut report));
        }
    }
    let (count, median) = (lengths.len(), functions::median(lengths));
    report.summary = format!(
        "{} crates, {count} functions, median length {median}",
        crates.len()
    );
    Ok(report)
}

fn check_edges(
    root: &Path,
    crates: &[files::Crate],
    bless: bool,
    report: &mut Report,
) -> io::Result<()> {
    let names: Vec<_> = crates.iter().map(|one| one.name.clone()).collect();
    let all: Vec<_> = crates
        .iter()
        .flat_map(|one| edges::edges_of(&one.manifest, &names))
        .collect();
    report
        .errors
        .extend(all.iter().filter_map(edges::forbidden));
    let now = edges::golden(&all);
    if bless {
        fs::write(root.join(GOLDEN), &now)?;
    }
    let then = fs::read_to_string(root.join(GOLDEN)).unwrap_or_default();
    for line in edges::difference(&then, &now) {
        let says = "an edge between crates changed; if meant, run cargo xtask tidy --bless";
        report.errors.push(format!("{GOLDEN}: {line}: {says}"));
    }
    Ok(())
}

fn check_manifest(one: &files::Crate, report: &mut Report) {
    if edges::ring(&one.name).is_none() {
        report
            .errors
            .push(format!("{}: has no ring; add it to RINGS", one.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crooked_house_is_reported() {
        let root = std::env::temp_dir().join(format!("xtask-tidy-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(GOLDEN, "");
        write("crates/kinds/src/discovery.txt", "pods Pod N\n");
        write("crates/kinds/Cargo.toml", "name = \"kinds\"\n");
        write(
            "crates/store/Cargo.toml",
            "name = \"store\"\n[dependencies]\nkubelet.workspace = true\n",
        );
        write("crates/kubelet/Cargo.toml", "name = \"kubelet\"\n");
        write(
            "crates/store/src/lib.rs",
            "use std::fs;\nfn a() { unsafe { b(\"pods\") } }\n",
        );
        let report = run(&root, true).unwrap();
        fs::remove_dir_all(&root).unwrap();
        let all = report.errors.join("\n");
        let wanted = [
            "ring 2 must not",
            "std::fs",
            "unsafe",
            "pods: the core",
            "must open with",
        ];
        for want in wanted {
            assert!(all.contains(want), "{want}: {all}");
        }
    }
}
