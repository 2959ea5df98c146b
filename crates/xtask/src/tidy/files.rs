//! The workspace's crates and source files, and the rules of one file: how it opens, how long it
//! and its functions are, and the walls of its crate.
//!
//! Knows paths and rules, not how a run is reported. Upstream counterpart: `golangci.yaml`.

use super::{Report, edges, functions, lexer, walls};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Lines of a file above which it should be looked at.
const FILE_SOFT: usize = 500;
/// Lines of a file above which it needs a reason in its opening comment (`Long because`).
const FILE_HARD: usize = 1000;
/// Lines of a function above which it needs a `// long:` reason.
const FUNCTION_HARD: usize = 70;
/// Control blocks inside each other.
const NESTING_HARD: usize = 5;
/// Parameters, `self` not counted as one.
const PARAMETERS_HARD: usize = 6;

/// A member of the workspace.
pub struct Crate {
    /// Its package name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// The text of its `Cargo.toml`.
    pub manifest: String,
}

/// A source file and where it stands.
pub struct Source {
    /// The crate it belongs to.
    of: String,
    /// Its path below the root, for messages.
    path: String,
    /// Its text.
    text: String,
    /// True for code that never ships: integration tests, benches, test modules, build scripts.
    test: bool,
}

/// The members below `crates/` and `tests/`, by name.
pub fn crates(root: &Path) -> io::Result<Vec<Crate>> {
    let mut found = Vec::new();
    for group in ["crates", "tests"] {
        let Ok(entries) = fs::read_dir(root.join(group)) else {
            continue;
        };
        for entry in entries {
            let folder = entry?.path();
            let Ok(manifest) = fs::read_to_string(folder.join("Cargo.toml")) else {
                continue;
            };
            let name = edges::package_name(&manifest)
                .unwrap_or_default()
                .to_owned();
            found.push(Crate {
                name,
                folder,
                manifest,
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Every Rust file of a crate.
pub fn sources(root: &Path, one: &Crate) -> io::Result<Vec<Source>> {
    let mut paths = Vec::new();
    collect(&one.folder, &mut paths)?;
    paths.sort();
    let mut found = Vec::new();
    let mut test_paths = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path)?;
        let shipped =
            path.starts_with(one.folder.join("src")) && one.folder.starts_with(root.join("crates"));
        test_paths.extend(test_files(&path, &text));
        let shown = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        found.push((
            path,
            Source {
                of: one.name.clone(),
                path: shown,
                text,
                test: !shipped,
            },
        ));
    }
    let mark = |(path, mut source): (PathBuf, Source)| {
        source.test |= test_paths
            .iter()
            .any(|test| path.starts_with(test) || path == test.with_extension("rs"));
        source
    };
    Ok(found.into_iter().map(mark).collect())
}

/// Where the test modules that a file declares live, without `.rs`.
fn test_files(path: &Path, text: &str) -> Vec<PathBuf> {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let folder = path.parent().unwrap_or(path);
    let own = matches!(stem, "lib" | "main" | "mod");
    let base = if own {
        folder.to_owned()
    } else {
        folder.join(stem)
    };
    functions::test_modules(&lexer::lex(text))
        .iter()
        .map(|name| base.join(name))
        .collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
    Ok(())
}

impl Source {
    /// Applies every rule of a file; gives the lengths of its functions.
    pub fn check(&self, kinds: &[(String, String)], report: &mut Report) -> Vec<usize> {
        self.check_opening(report);
        if self.test {
            return Vec::new();
        }
        let tokens = functions::shipped(&lexer::lex(&self.text));
        self.check_walls(&tokens, kinds, report);
        let measured = functions::measure(&tokens);
        measured
            .iter()
            .for_each(|function| self.check_function(function, report));
        measured.iter().map(|function| function.length).collect()
    }

    fn check_opening(&self, report: &mut Report) {
        let lines = self.text.lines().count();
        if !self.text.starts_with("//!") {
            report.errors.push(format!(
                "{}:1: must open with `//!`: what it is, what it must not know",
                self.path
            ));
        }
        let reason = self.text.lines().take_while(|line| line.starts_with("//!"));
        let excused = reason.into_iter().any(|line| line.contains("Long because"));
        if lines > FILE_HARD && !excused {
            report.errors.push(format!(
                "{}:1: {lines} lines, at most {FILE_HARD} without a reason",
                self.path
            ));
        } else if lines > FILE_SOFT {
            report.warnings.push(format!(
                "{}:1: {lines} lines; files aim at 100 to 300",
                self.path
            ));
        }
    }

    fn check_walls(
        &self,
        tokens: &[lexer::Token],
        kinds: &[(String, String)],
        report: &mut Report,
    ) {
        let name = self.of.as_str();
        let mut found = Vec::new();
        if edges::ring(name).is_some_and(|ring| ring < edges::FIRST_FREE_RING) {
            found.extend(walls::effects(tokens));
        }
        if !walls::MAY_BE_UNSAFE.contains(&name) {
            found.extend(walls::unsafe_code(tokens));
        }
        if walls::CORE.contains(&name) {
            found.extend(walls::kinds_spelled(name, tokens, kinds));
        }
        let line =
            |finding: walls::Finding| format!("{}:{}: {}", self.path, finding.line, finding.says);
        report.errors.extend(found.into_iter().map(line));
    }

    fn check_function(&self, function: &functions::Function, report: &mut Report) {
        let limits = [
            ("lines", function.length, FUNCTION_HARD, "// long:"),
            (
                "levels of nesting",
                function.nesting,
                NESTING_HARD,
                "// deep:",
            ),
            (
                "parameters",
                function.parameters,
                PARAMETERS_HARD,
                "// wide:",
            ),
        ];
        for (what, is, limit, reason) in limits {
            if is > limit && !self.excused(function.line, reason) {
                let (path, line, name) = (&self.path, function.line, function.name);
                let says = format!(
                    "fn {name}: {is} {what}, at most {limit} without a `{reason}` comment above it"
                );
                report.errors.push(format!("{path}:{line}: {says}"));
            }
        }
    }

    /// Looks for a written reason among the comments and attributes right above a function.
    fn excused(&self, line: usize, reason: &str) -> bool {
        let before: Vec<_> = self.text.lines().take(line - 1).collect();
        let above = before.iter().rev().map(|line| line.trim());
        above
            .take_while(|line| line.starts_with("//") || line.starts_with("#["))
            .any(|line| line.starts_with(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let source = Source {
            of: "kinds".into(),
            path: "a.rs".into(),
            text: text.into(),
            test: false,
        };
        let mut report = Report {
            errors: vec![],
            warnings: vec![],
            summary: String::new(),
        };
        source.check(&[], &mut report);
        report.errors
    }

    #[test]
    fn limits_hold_without_a_reason_only() {
        let long = format!("fn a() {{\n{}}}\n", "b();\n".repeat(FUNCTION_HARD));
        let deep = format!("fn a() {{ {} {} }}", "if b {".repeat(6), "}".repeat(6));
        let wide = "fn a(b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) {}".to_owned();
        for (body, reason) in [
            (long, "// long: x"),
            (deep, "// deep: x"),
            (wide, "// wide: x"),
        ] {
            assert_eq!(errors(&format!("//! x\n{body}")).len(), 1, "{body}");
            assert_eq!(
                errors(&format!("//! x\n{reason}\n#[inline]\n{body}")).len(),
                0,
                "{body}"
            );
        }
    }

    #[test]
    fn a_file_opens_with_its_purpose() {
        assert_eq!(errors("fn a() {}").len(), 1);
        assert_eq!(
            errors(&format!("//! x\n{}", "//\n".repeat(FILE_HARD))).len(),
            1
        );
        assert_eq!(
            errors(&format!(
                "//! Long because x.\n{}",
                "//\n".repeat(FILE_HARD)
            ))
            .len(),
            0
        );
    }

    #[test]
    fn knows_where_test_modules_live() {
        let text = "#[cfg(test)]\nmod b;";
        assert_eq!(test_files(Path::new("x/lib.rs"), text), [Path::new("x/b")]);
        assert_eq!(test_files(Path::new("x/a.rs"), text), [Path::new("x/a/b")]);
    }
}
