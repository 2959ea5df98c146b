//! Objects as a transcript shows them: without what chance or the clock decides.

use machinery::{Object, Value};
use registry::Snapshot;
use std::sync::Arc;

/// Columns that time or chance fill.
const HIDDEN: [&str; 10] = [
    "Age",
    "IP",
    "Nominated Node",
    "Readiness Gates",
    "Cluster-IP",
    "Last Schedule",
    "Duration",
    "Selector",
    "Endpoints",
    "Node",
];
/// Characters of a generated suffix.
const SUFFIX: usize = 5;

/// The name, generated parts replaced by `*`; a template's hash is such a part.
pub fn name(object: &Object) -> String {
    let meta = object.metadata();
    let base = meta.get("generateName").str();
    let mut name = match base {
        "" => object.name().to_owned(),
        base if object.name().len() == base.len() + SUFFIX => format!("{base}*"),
        _ => object.name().to_owned(),
    };
    if let Some(hash) = object.label("pod-template-hash") {
        name = name.replace(hash, "*");
    }
    name.replace("*-*", "*")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "<none>".into(),
        Value::String(text) => text.to_string(),
        other => String::from_utf8_lossy(&codec::encode_json_value(other)).into_owned(),
    }
}

/// A table as kubectl prints it in wide form, hidden columns left out, rows sorted.
pub fn table(kind: &registry::List, now: u64) -> String {
    let columns = &kind.kind.columns;
    let shown: Vec<usize> = (0..columns.definitions.len())
        .filter(|at| !HIDDEN.contains(&columns.definitions[*at].name.as_str()))
        .collect();
    let row = |object: &Arc<Object>| {
        let mut cells = columns.row(object, now);
        cells[0] = name(object).into();
        shown
            .iter()
            .map(|at| cells.get(*at).map_or(String::new(), cell))
            .collect()
    };
    let mut rows: Vec<Vec<String>> = kind.items.iter().map(row).collect();
    rows.sort();
    if rows.is_empty() {
        return "none\n".into();
    }
    let heads = shown
        .iter()
        .map(|at| columns.definitions[*at].name.to_uppercase());
    rows.insert(0, heads.collect());
    aligned(&rows)
}

fn aligned(rows: &[Vec<String>]) -> String {
    let width = |at: usize| rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let text: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", text.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// How many objects of each resource a namespace holds.
pub fn contents(snapshot: &Snapshot, namespace: &str) -> String {
    let mut text = String::new();
    for (resource, table) in &snapshot.tables {
        let count = table
            .iter()
            .filter(|(key, _)| key.namespace == namespace)
            .count();
        if count > 0 && resource != "events" {
            text.push_str(&format!("{resource}: {count}\n"));
        }
    }
    if text.is_empty() {
        "nothing\n".into()
    } else {
        text
    }
}

/// How many endpoints of a Service are ready, and how many are not.
pub fn endpoints(snapshot: &Snapshot, namespace: &str, service: &str) -> String {
    let slices = snapshot.list("endpointslices.discovery.k8s.io", Some(namespace));
    let own = slices.filter(|slice| slice.label("kubernetes.io/service-name") == Some(service));
    let all: Vec<bool> = own
        .flat_map(|slice| slice.at("endpoints").items())
        .map(|one| one.at("conditions.ready").is_true())
        .collect();
    let ready = all.iter().filter(|ready| **ready).count();
    format!("{ready} ready, {} not\n", all.len() - ready)
}

/// How many pods stand on a node.
pub fn on_node(snapshot: &Snapshot, node: &str) -> String {
    let pods = snapshot.list("pods", None);
    let there = pods.filter(|pod| pod.at("spec.nodeName").str() == node);
    format!("{} pods\n", there.count())
}
