//! What the server says it serves, held against what upstream serves.
//!
//! `discovery.tsv` is upstream's list. Upstream counterpart: `test/e2e/apimachinery/discovery.go`.

use crate::Failure;
use contract_tests::Api;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A resource as discovery describes it.
pub struct Resource {
    /// `apps/v1`.
    pub group_version: String,
    /// `apps`, empty for core.
    pub group: String,
    /// Plural name.
    pub plural: String,
    /// Kind.
    pub kind: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs.
    pub verbs: BTreeSet<String>,
    /// Verbs of each subresource.
    pub subresources: BTreeMap<String, BTreeSet<String>>,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group_version, self.plural)
    }
}

fn words(list: &Value) -> Vec<&str> {
    let mut words: Vec<_> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    words.sort_unstable();
    words
}

/// A row as the file writes it, without its group and version.
fn row(one: &Value) -> String {
    let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let own = match (text("group"), text("version")) {
        (_, version) if version.is_empty() => String::new(),
        (group, version) if group.is_empty() => version,
        (group, version) => format!("{group}/{version}"),
    };
    [
        text("name"),
        text("singularName"),
        one["namespaced"].to_string(),
        text("kind"),
        own,
        words(&one["verbs"]).join(","),
        words(&one["shortNames"]).join(","),
        words(&one["categories"]).join(","),
        text("storageVersionHash"),
    ]
    .join("\t")
}

fn served(api: &Api) -> Vec<(String, Vec<Value>)> {
    let mut versions = vec![("v1".to_owned(), "/api/v1".to_owned())];
    let groups = api.get("/apis").ok();
    for group in groups["groups"].as_array().into_iter().flatten() {
        for version in group["versions"].as_array().into_iter().flatten() {
            let name = version["groupVersion"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let path = format!("/apis/{name}");
            versions.push((name, path));
        }
    }
    let list = |path: &str| {
        api.get(path).ok()["resources"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    versions
        .into_iter()
        .map(|(name, path)| (name, list(&path)))
        .collect()
}

/// What the server serves, and where it differs from upstream.
pub fn compare(api: &Api) -> (Vec<Resource>, Vec<Failure>) {
    let mut wanted: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for line in include_str!("discovery.tsv").lines().skip(1) {
        let (version, row) = line.split_once('\t').expect("rows have columns");
        let name = row.split('\t').next().unwrap_or_default();
        wanted.insert((version, name), row);
    }
    let (mut resources, mut failures) = (Vec::new(), Vec::new());
    let all = served(api);
    for (version, list) in &all {
        for one in list {
            let name = one["name"].as_str().unwrap_or_default();
            let (found, at) = (row(one), format!("{version}/{name}"));
            match wanted.remove(&(version.as_str(), name)) {
                None => failures.push((
                    at,
                    "discovery".into(),
                    "upstream serves no such thing".into(),
                )),
                Some(row) if row.trim_end() != found.trim_end() => {
                    failures.push((
                        at,
                        "discovery".into(),
                        format!("{found:?}, upstream {row:?}"),
                    ));
                }
                Some(_) => {}
            }
        }
        resources.extend(of_version(version, list));
    }
    // Upstream serves what may still change only where it is asked to.
    let settled = |version: &str| !version.contains("alpha") && !version.contains("beta");
    for ((version, name), _) in wanted.into_iter().filter(|(key, _)| settled(key.0)) {
        failures.push((
            format!("{version}/{name}"),
            "discovery".into(),
            "is missing".into(),
        ));
    }
    (resources, failures)
}

fn of_version(version: &str, list: &[Value]) -> Vec<Resource> {
    let verbs = |one: &Value| {
        words(&one["verbs"])
            .into_iter()
            .map(str::to_owned)
            .collect()
    };
    let mut found: Vec<Resource> = Vec::new();
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    for one in list {
        let name = text(one, "name");
        if name.contains('/') {
            continue;
        }
        let below = format!("{name}/");
        let subresources = list.iter().filter_map(|one| {
            let sub = one["name"].as_str()?.strip_prefix(&below)?;
            Some((sub.to_owned(), verbs(one)))
        });
        found.push(Resource {
            group_version: version.to_owned(),
            group: version
                .split_once('/')
                .map_or("", |(group, _)| group)
                .to_owned(),
            kind: text(one, "kind"),
            namespaced: one["namespaced"] == true,
            verbs: verbs(one),
            subresources: subresources.collect(),
            plural: name,
        });
    }
    found
}
