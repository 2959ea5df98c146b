//! Holds refusals against those of upstream, object by object and word by word.
//!
//! The tables in `refusals/` were recorded from upstream's server: an object, then every cause it
//! gave. A line that starts with `~` is a cause that is not given here, one with `+` a cause that
//! is only given here; the list of both may only shrink.

use kinds::{Catalogue, Kind};
use machinery::{GroupVersionKind, Value};
use std::{collections::BTreeMap, fmt::Write, sync::Arc};

/// What one entry of a table says.
#[derive(Default)]
struct Entry {
    line: usize,
    stored: Option<Value>,
    object: Value,
    wanted: Vec<String>,
    missing: Vec<String>,
    own: Vec<String>,
}

fn parse(text: &str) -> Vec<Entry> {
    let (mut entries, mut stored) = (Vec::<Entry>::new(), None);
    let tree = |json: &str| serde_json::from_str::<Value>(json).expect("tables hold JSON");
    for (line, text) in text.lines().enumerate() {
        let entry = |stored, json| Entry {
            line: line + 1,
            stored,
            object: tree(json),
            ..Entry::default()
        };
        if let Some(json) = text.strip_prefix("create ") {
            entries.push(entry(None, json));
        } else if let Some(json) = text.strip_prefix("stored ") {
            stored = Some(tree(json));
        } else if let Some(json) = text.strip_prefix("update ") {
            entries.push(entry(stored.clone(), json));
        } else if let Some(last) = entries.last_mut() {
            let cause = text.trim_start();
            match cause.split_at(2) {
                ("~ ", cause) => last.missing.push(essence(cause)),
                ("+ ", cause) => last.own.push(essence(cause)),
                _ => last.wanted.push(essence(cause)),
            }
        }
    }
    entries
}

/// A cause on one line of a table. Where in a spec a difference begins is left out: admission has
/// added to what was recorded.
fn essence(cause: &str) -> String {
    let line = cause.replace('\n', "\\n");
    let mut parts = line.split("@@");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (at, part) in parts.enumerate() {
        text += "@@";
        text += if at % 2 == 0 { "" } else { part };
    }
    text
}

fn kind_of(object: &Value) -> Arc<Kind> {
    let api_version = object["apiVersion"].str();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let gvk = GroupVersionKind::new(group, version, object["kind"].str());
    let found = Catalogue::builtin().kind(&gvk).cloned();
    found.unwrap_or_else(|| panic!("no kind {gvk}"))
}

fn decoded(mut object: Value, kind: &Kind) -> Value {
    schema::decode(&mut object, &kind.type_ref).expect("types fit");
    if kind.namespaced {
        object.metadata_mut().insert("namespace", "elsewhere");
    }
    object
}

fn created(object: Value, kind: &Kind) -> Value {
    let mut object = decoded(object, kind);
    object.metadata_mut().insert("uid", "uid");
    kind.apply_defaults(&mut object);
    kind.prepare_create(&mut object);
    object
}

/// Sets what an update says: members of `metadata` and, deeply, of `spec`; all else whole.
fn merge(object: &mut Value, update: &Value, depth: usize) {
    for (key, value) in update.entries() {
        let deep = depth > 0 || matches!(key.as_str(), "metadata" | "spec");
        let both = value.as_object().is_some() && object[key.as_str()].as_object().is_some();
        match value {
            Value::Null => drop(object.make_object().remove(key)),
            _ if deep && both => merge(&mut object[key.as_str()], value, depth + 1),
            _ => object[key.as_str()] = value.clone(),
        }
    }
}

fn refusals(entry: &Entry) -> Vec<String> {
    let errors = match &entry.stored {
        None => {
            let kind = kind_of(&entry.object);
            kind.validate(&created(entry.object.clone(), &kind))
        }
        Some(stored) => {
            let kind = kind_of(stored);
            let old = created(stored.clone(), &kind);
            let mut new = old.clone();
            merge(&mut new, &entry.object, 0);
            let mut new = decoded(new, &kind);
            kind.apply_defaults(&mut new);
            kind.prepare_update(&mut new, &old);
            kind.validate_update(&new, &old)
        }
    };
    errors
        .iter()
        .map(|error| essence(&error.to_string()))
        .collect()
}

/// What is more in one list than in the other.
fn more<'a>(left: &'a [String], right: &[String]) -> Vec<&'a String> {
    let mut counts = BTreeMap::<&String, usize>::new();
    for one in right {
        *counts.entry(one).or_default() += 1;
    }
    let keep = |one: &&String| match counts.get_mut(*one) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    left.iter().filter(keep).collect()
}

fn hold(name: &str, table: &str) {
    let mut report = String::new();
    for entry in parse(table) {
        let given = refusals(&entry);
        for cause in more(&entry.wanted, &given) {
            writeln!(report, "{name}:{} lacks  {cause}", entry.line).expect("a string grows");
        }
        let given = more(&given, &entry.wanted);
        let given: Vec<String> = given.into_iter().cloned().collect();
        for cause in more(&entry.own, &given) {
            writeln!(report, "{name}:{} lost its own {cause}", entry.line).expect("a string grows");
        }
        for cause in more(&given, &entry.own) {
            let word = match entry.missing.contains(cause) {
                true => "gives, so its ~ must go,",
                false => "adds  ",
            };
            writeln!(report, "{name}:{} {word} {cause}", entry.line).expect("a string grows");
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn pods() {
    hold("pods", include_str!("refusals/pods.txt"));
}

#[test]
fn core() {
    hold("core", include_str!("refusals/core.txt"));
}

#[test]
fn workloads() {
    hold("workloads", include_str!("refusals/workloads.txt"));
}

#[test]
fn others() {
    hold("others", include_str!("refusals/others.txt"));
}
