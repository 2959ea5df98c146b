//! `meta.k8s.io/v1 Table` answers, and objects reduced to their metadata.
//!
//! Cells come from the caller; this knows only the frame. Upstream counterpart:
//! `apiserver/pkg/registry/rest/table.go`, `apimachinery/pkg/api/meta/table`.

use crate::json::{ListHead, write_metadata, write_object, write_string, write_value};
use machinery::{Object, SmolStr, Value, json};

/// Heading of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableColumn {
    /// Heading.
    pub name: SmolStr,
    /// OpenAPI type of the cells.
    pub kind: SmolStr,
    /// OpenAPI format; `name` marks the column that holds the name.
    pub format: SmolStr,
    /// Sentence.
    pub description: SmolStr,
    /// 0 is always shown, 1 in wide output.
    pub priority: i32,
}

/// How much of each object a row carries (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// `PartialObjectMetadata`.
    #[default]
    Metadata,
    /// The object.
    Object,
}

impl IncludeObject {
    /// Reads the query parameter; `None` for a value that does not exist.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

const API_VERSION: &str = "meta.k8s.io/v1";

/// Opens a table: everything up to the first row. `columns` are left out of all but the first
/// event of a watch by passing none. Rows follow, separated by commas, then [`close_table`].
pub fn open_table(out: &mut Vec<u8>, head: &ListHead<'_>, columns: Option<&[TableColumn]>) {
    let mut metadata = json!({"resourceVersion": head.revision.to_string()});
    if !head.continue_token.is_empty() {
        metadata["continue"] = head.continue_token.into();
    }
    if let Some(left) = head.remaining {
        metadata["remainingItemCount"] = left.into();
    }
    out.extend(br#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":"#);
    write_value(out, &metadata);
    out.extend(br#","columnDefinitions":"#);
    let columns: Vec<Value> = columns.unwrap_or_default().iter().map(column).collect();
    write_value(out, &Value::Array(columns));
    out.extend(br#","rows":["#);
}

fn column(column: &TableColumn) -> Value {
    json!({
        "name": &column.name, "type": &column.kind, "format": &column.format,
        "description": &column.description, "priority": column.priority,
    })
}

/// Appends a row: the cells and as much of the object as asked for; `gv_kind` are its
/// `apiVersion` and `kind` where they differ from the stored ones.
pub fn write_row(
    out: &mut Vec<u8>,
    cells: &[Value],
    object: &Object,
    include: IncludeObject,
    gv_kind: Option<(&str, &str)>,
) {
    out.extend(br#"{"cells":["#);
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_value(out, cell);
    }
    out.extend(br#"],"object":"#);
    match include {
        IncludeObject::None => out.extend(b"null"),
        IncludeObject::Metadata => write_partial_metadata(out, object),
        IncludeObject::Object => {
            write_object(out, object, gv_kind);
        }
    }
    out.push(b'}');
}

/// Closes what [`open_table`] opened.
pub fn close_table(out: &mut Vec<u8>) {
    out.extend(b"]}\n");
}

/// Appends an object as `PartialObjectMetadata`.
pub fn write_partial_metadata(out: &mut Vec<u8>, object: &Object) {
    out.extend(br#"{"kind":"PartialObjectMetadata","apiVersion":"#);
    write_string(out, API_VERSION);
    out.extend(br#","metadata":"#);
    write_metadata(out, object.metadata(), object.revision());
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, decode_json};

    #[test]
    fn a_table_reads_back() {
        let object = Object::new(
            &json!({"apiVersion": "v1", "kind": "Box", "metadata": {"name": "a"}, "x": 1}),
            5,
        );
        let columns = [TableColumn {
            name: "Name".into(),
            kind: "string".into(),
            format: "name".into(),
            ..TableColumn::default()
        }];
        let head = ListHead {
            revision: 9,
            continue_token: "c",
            remaining: Some(1),
            ..ListHead::default()
        };
        let mut out = Vec::new();
        open_table(&mut out, &head, Some(&columns));
        for (at, include) in [
            IncludeObject::None,
            IncludeObject::Metadata,
            IncludeObject::Object,
        ]
        .into_iter()
        .enumerate()
        {
            if at > 0 {
                out.push(b',');
            }
            write_row(
                &mut out,
                &[json!("a"), json!(1)],
                &object,
                include,
                Some(("v2", "Box")),
            );
        }
        close_table(&mut out);
        let table = decode_json(&out, Limits::default()).unwrap().value;
        assert_eq!(
            table["metadata"],
            json!({"resourceVersion": "9", "continue": "c", "remainingItemCount": 1})
        );
        assert_eq!(table["columnDefinitions"][0]["format"].str(), "name");
        assert_eq!(table["rows"][0], json!({"cells": ["a", 1], "object": null}));
        assert_eq!(
            table["rows"][1]["object"],
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a", "resourceVersion": "5"}})
        );
        assert_eq!(table["rows"][2]["object"]["apiVersion"].str(), "v2");
        assert_eq!(IncludeObject::parse("Whole"), None);
    }
}
