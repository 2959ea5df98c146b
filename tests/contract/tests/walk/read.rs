//! Reads: lists, selectors, tables, metadata alone, in every form.

use crate::{
    compare::{Outcome, ensure, equal},
    walk::{PROTOBUF, Step, Walk, YAML, version},
};
use serde_json::Value;

/// The steps of this file.
pub const STEPS: &[Step] = &[
    ("list", list),
    ("list.selected", list_selected),
    ("list.yaml", list_yaml),
    ("list.protobuf", list_protobuf),
    ("table.columns", table_columns),
    ("table.list", table_list),
    ("metadata.get", metadata_get),
    ("metadata.list", metadata_list),
    ("metadata.watch", metadata_watch),
    ("table.watch", table_watch),
];

const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(&[], Vec::as_slice)
}

fn list(walk: &mut Walk<'_>) -> Outcome {
    walk.settled(|walk| {
        let list = walk.get(&walk.base())?;
        let head = [&list["kind"], &list["apiVersion"]];
        let kind = format!("{}List", walk.resource.kind);
        ensure(head == [&kind, &walk.resource.group_version], || {
            format!("{head:?}")
        })?;
        ensure(!version(&list).is_empty(), || "no resourceVersion".into())?;
        let name = walk.name(0);
        let found = items(&list)
            .iter()
            .find(|one| one["metadata"]["name"] == name);
        let found = found.ok_or("the object is not in it")?;
        ensure(found["kind"].is_null(), || {
            "its items say their kind".into()
        })?;
        let mut whole = found.clone();
        let one = walk.get(&walk.path(0))?;
        whole["kind"] = one["kind"].clone();
        whole["apiVersion"] = one["apiVersion"].clone();
        equal(&one, &whole)
    })
}

fn selected(walk: &Walk<'_>) -> String {
    format!(
        "{}?fieldSelector=metadata.name%3D{}&labelSelector=walk%2Fapplied",
        walk.base(),
        walk.name(0)
    )
}

fn list_selected(walk: &mut Walk<'_>) -> Outcome {
    let list = walk.get(&selected(walk))?;
    ensure(items(&list).len() == 1, || {
        format!("{} items", items(&list).len())
    })?;
    let none = walk.get(&format!(
        "{}&labelSelector=walk%2Fapplied%3Dno",
        walk.base() + "?limit=5"
    ))?;
    ensure(items(&none).is_empty(), || {
        "a selector that fits none finds some".into()
    })
}

fn list_yaml(walk: &mut Walk<'_>) -> Outcome {
    walk.settled(|walk| {
        let json = walk.get(&selected(walk))?;
        let yaml = walk.get_as(&selected(walk), YAML)?;
        let yaml = crate::sample::tree(&yaml.body)?;
        equal(&json["items"], &yaml["items"])
    })
}

fn list_protobuf(walk: &mut Walk<'_>) -> Outcome {
    let answer = walk.get_as(&selected(walk), PROTOBUF)?;
    ensure(answer.header("content-type") == Some(PROTOBUF), || {
        "no protobuf".into()
    })?;
    let name = walk.name(0);
    let holds = answer
        .body
        .windows(name.len())
        .any(|window| window == name.as_bytes());
    ensure(answer.body.starts_with(b"k8s\0") && holds, || {
        "the object is not in it".into()
    })
}

/// Columns as the file writes them.
fn columns(table: &Value) -> String {
    let all = table["columnDefinitions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let one = |column: &Value| {
        let wide = if column["priority"] == 1 { "+" } else { "" };
        let kind = match column["type"].as_str().unwrap_or_default() {
            "string" => String::new(),
            kind => format!(":{kind}"),
        };
        format!(
            "{wide}{}{kind}",
            column["name"].as_str().unwrap_or_default()
        )
    };
    all.iter().map(one).collect::<Vec<_>>().join(" | ")
}

fn rows_fit(table: &Value) -> Outcome {
    let count = table["columnDefinitions"].as_array().map_or(0, Vec::len);
    let rows = table["rows"].as_array().cloned().unwrap_or_default();
    ensure(!rows.is_empty(), || "no rows".into())?;
    for row in &rows {
        let cells = row["cells"].as_array().map_or(0, Vec::len);
        ensure(cells == count, || {
            format!("{cells} cells under {count} columns")
        })?;
        ensure(row["object"]["kind"] == "PartialObjectMetadata", || {
            row["object"].to_string()
        })?;
    }
    Ok(())
}

fn table_columns(walk: &mut Walk<'_>) -> Outcome {
    let answer = walk.get_as(&walk.path(0), TABLE)?;
    let table = answer.json();
    rows_fit(&table)?;
    let head = format!("{}/{} = ", walk.resource.group, walk.resource.kind);
    let lines = include_str!("columns.txt").lines();
    let wanted = lines.filter_map(|line| line.strip_prefix(&head)).next();
    let (found, wanted) = (columns(&table), wanted.unwrap_or("Name | Age"));
    ensure(found == wanted, || format!("{found}; upstream {wanted}"))
}

fn table_list(walk: &mut Walk<'_>) -> Outcome {
    let path = format!("{}&includeObject=Metadata", selected(walk));
    let table = walk.get_as(&path, TABLE)?.json();
    ensure(
        table["kind"] == "Table" && !version(&table).is_empty(),
        || table["metadata"].to_string(),
    )?;
    rows_fit(&table)
}

fn metadata_get(walk: &mut Walk<'_>) -> Outcome {
    walk.settled(|walk| {
        let found = walk.get_as(&walk.path(0), METADATA)?.json();
        let whole = walk.get(&walk.path(0))?;
        ensure(
            found["kind"] == "PartialObjectMetadata" && found["apiVersion"] == "meta.k8s.io/v1",
            || found["kind"].to_string(),
        )?;
        ensure(found.as_object().is_some_and(|map| map.len() == 3), || {
            "more than metadata".into()
        })?;
        equal(&whole["metadata"], &found["metadata"])
    })
}

fn metadata_list(walk: &mut Walk<'_>) -> Outcome {
    let found = walk.get_as(&selected(walk), METADATA_LIST)?.json();
    ensure(found["kind"] == "PartialObjectMetadataList", || {
        found["kind"].to_string()
    })?;
    ensure(items(&found).len() == 1, || {
        format!("{} items", items(&found).len())
    })?;
    let one = &items(&found)[0];
    let only = one.as_object().is_some_and(|map| {
        map.keys()
            .all(|key| ["kind", "apiVersion", "metadata"].contains(&key.as_str()))
    });
    ensure(only, || one.to_string())
}

/// The first event of a watch in some form, as text.
fn first_event(walk: &mut Walk<'_>, form: &str) -> Result<Value, String> {
    let path = format!(
        "{}&watch=true&timeoutSeconds=1&resourceVersion=0",
        selected(walk)
    );
    let answer = walk.get_as(&path, form)?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let line = text.lines().next().ok_or("no event")?;
    serde_json::from_str(line).map_err(|why| format!("{why}: {line}"))
}

fn metadata_watch(walk: &mut Walk<'_>) -> Outcome {
    let event = first_event(walk, METADATA)?;
    ensure(event["object"]["kind"] == "PartialObjectMetadata", || {
        event["object"]["kind"].to_string()
    })
}

fn table_watch(walk: &mut Walk<'_>) -> Outcome {
    let event = first_event(walk, TABLE)?;
    ensure(event["object"]["kind"] == "Table", || {
        event["object"]["kind"].to_string()
    })?;
    rows_fit(&event["object"])
}
