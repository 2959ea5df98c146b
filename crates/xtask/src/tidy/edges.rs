//! The edges between the workspace's crates: read from the manifests, held against the rings and a golden file.
//!
//! Knows the table of rings and nothing of what is inside a crate. Upstream counterpart:
//! `import-restrictions.yaml`.

use std::collections::BTreeMap;

/// Every crate and its ring. A crate depends on its own ring and those below, never above.
pub const RINGS: &[(&str, u8)] = &[
    ("machinery", 0),
    ("schema", 0),
    ("codec", 0),
    ("kinds", 0),
    ("k8s-cel", 0),
    ("env", 1),
    ("store", 2),
    ("registry", 2),
    ("admission", 2),
    ("auth", 2),
    ("reconcile", 2),
    ("driver", 2),
    ("controllers", 3),
    ("scheduler", 3),
    ("kubelet", 3),
    ("kube-proxy", 3),
    ("apiserver", 4),
    ("dns", 4),
    ("node-linux", 4),
    ("real-env", 4),
    ("sim-env", 4),
    ("demo-app", 4),
    ("platform", 5),
    ("rehearse", 5),
    ("xebec", 5),
    ("xtask", 5),
    ("behaviour-tests", 5),
    ("contract-tests", 5),
    ("e2e-tests", 5),
];

/// Crates that decide: they read a view and return a plan, and know neither the door, nor the
/// store, nor each other.
const BRAINS: &[&str] = &["controllers", "scheduler", "kubelet", "kube-proxy"];

/// What a brain may use of the workspace.
const BRAIN_MAY_USE: &[&str] = &["machinery", "schema", "kinds", "env", "reconcile"];

/// Who may use the store: the door, the views built on its snapshots, and the house that opens it.
const STORE_USERS: &[&str] = &["registry", "reconcile", "platform", "rehearse", "xebec"];

/// The lowest ring that is free of the brains' and the core's bans.
pub const FIRST_FREE_RING: u8 = 4;

/// The ring of a crate.
pub fn ring(name: &str) -> Option<u8> {
    RINGS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, ring)| *ring)
}

/// One dependency of a crate on another of the workspace; ordered as the golden file prints it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The crate that depends.
    pub from: String,
    /// The crate it depends on.
    pub to: String,
    /// True when only its tests do.
    pub tests_only: bool,
}

impl Edge {
    fn line(&self) -> String {
        let note = if self.tests_only { " (tests)" } else { "" };
        format!("{} -> {}{note}", self.from, self.to)
    }
}

/// The package name a manifest gives.
pub fn package_name(manifest: &str) -> Option<&str> {
    let line = manifest.lines().find(|line| key(line) == Some("name"))?;
    line.split('"').nth(1)
}

/// The key of a `key = value` line, without what follows a dot.
fn key(line: &str) -> Option<&str> {
    let (left, _) = line.split_once('=')?;
    let name = left.trim().split('.').next()?;
    let plain = !name.is_empty() && !name.starts_with('#');
    plain.then(|| name.trim_matches('"'))
}

/// The dependency table a section header opens: `Some((tests only, named crate))`.
fn dependency_section(header: &str) -> Option<(bool, Option<&str>)> {
    let inner = header.strip_prefix('[')?.strip_suffix(']')?;
    let kinds = [
        ("dev-dependencies", true),
        ("build-dependencies", false),
        ("dependencies", false),
    ];
    for (word, tests_only) in kinds {
        if inner == word || inner.ends_with(&format!(".{word}")) {
            return Some((tests_only, None));
        }
        if let Some(name) = inner.strip_prefix(&format!("{word}.")) {
            return Some((tests_only, Some(name)));
        }
    }
    None
}

/// The edges of one manifest to crates of the workspace.
pub fn edges_of(manifest: &str, members: &[String]) -> Vec<Edge> {
    let Some(from) = package_name(manifest) else {
        return Vec::new();
    };
    let mut found = BTreeMap::new();
    let mut note = |to: &str, tests_only: bool| {
        if members.iter().any(|member| member == to) {
            let both = found.entry(to.to_owned()).or_insert(tests_only);
            *both = *both && tests_only;
        }
    };
    let mut section = None;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = dependency_section(line);
            if let Some((tests_only, Some(name))) = section {
                note(name, tests_only);
            }
        } else if let (Some((tests_only, None)), Some(to)) = (section, key(line)) {
            note(to, tests_only);
        }
    }
    let edge = |(to, tests_only)| Edge {
        from: from.to_owned(),
        to,
        tests_only,
    };
    found.into_iter().map(edge).collect()
}

/// What is wrong with an edge, if anything. Tests may look anywhere.
pub fn forbidden(edge: &Edge) -> Option<String> {
    let (Some(from), Some(to)) = (ring(&edge.from), ring(&edge.to)) else {
        return Some(format!(
            "{}: a crate has no ring; add it to RINGS",
            edge.line()
        ));
    };
    if edge.tests_only {
        return None;
    }
    let says = |why: &str| Some(format!("{}: {why}", edge.line()));
    if to > from {
        return says(&format!("ring {from} must not use ring {to}"));
    }
    if edge.to == "store" && !STORE_USERS.contains(&edge.from.as_str()) {
        return says("only the door and its views use the store");
    }
    let brain = BRAINS.contains(&edge.from.as_str());
    if brain && !BRAIN_MAY_USE.contains(&edge.to.as_str()) {
        return says(
            "a brain reads a view and returns a plan; it knows neither door nor other brains",
        );
    }
    None
}

/// The golden file's text.
pub fn golden(edges: &[Edge]) -> String {
    let mut sorted: Vec<_> = edges.to_vec();
    sorted.sort();
    sorted.iter().map(|edge| edge.line() + "\n").collect()
}

/// The lines by which two golden texts differ, each with `+` or `-`.
pub fn difference(old: &str, new: &str) -> Vec<String> {
    let missing = |from: &str, other: &str, sign: &str| -> Vec<String> {
        from.lines()
            .filter(|line| !other.lines().any(|known| known == *line))
            .map(|line| format!("{sign} {line}"))
            .collect()
    };
    [missing(old, new, "-"), missing(new, old, "+")].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str, tests_only: bool) -> Edge {
        Edge {
            from: from.into(),
            to: to.into(),
            tests_only,
        }
    }

    #[test]
    fn reads_manifests() {
        let manifest = "[package]\nname = \"registry\"\nedition.workspace = true\n[dependencies]\n\
            store = { workspace = true }\nenv.workspace = true\nserde = \"1\"\n# auth = 1\n\
            [dependencies.kinds]\nworkspace = true\n[dev-dependencies]\nstore.workspace = true\nsim-env = 1\n\
            [target.'cfg(any())'.dependencies]\nschema = 1\n[features]\nauth = []\n";
        let members = ["store", "env", "kinds", "sim-env", "schema", "auth"].map(String::from);
        let got: Vec<_> = edges_of(manifest, &members)
            .iter()
            .map(Edge::line)
            .collect();
        let want = ["env", "kinds", "schema", "sim-env (tests)", "store"]
            .map(|to| format!("registry -> {to}"));
        assert_eq!(got, want);
    }

    #[test]
    fn forbids() {
        let cases = [
            (edge("registry", "store", false), true),
            (edge("store", "registry", false), true),
            (edge("machinery", "env", false), false),
            (edge("machinery", "sim-env", true), true),
            (edge("apiserver", "store", false), false),
            (edge("kubelet", "registry", false), false),
            (edge("kubelet", "scheduler", false), false),
            (edge("kubelet", "reconcile", false), true),
            (edge("registry", "unheard-of", false), false),
        ];
        for (edge, allowed) in cases {
            assert_eq!(forbidden(&edge).is_none(), allowed, "{}", edge.line());
        }
    }

    #[test]
    fn shows_what_changed() {
        assert_eq!(difference("a\nb\n", "b\nc\n"), ["- a", "+ c"]);
    }
}
