//! Columns of a kind's table: definitions and how a row is made.
//!
//! Upstream counterparts: `pkg/printers/tablegenerator.go`, apiextensions' `tableconvertor`.

use crate::path::Path;
use machinery::{Object, SmolStr, Value, human_duration, parse_time};

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading as upstream spells it (`Nominated Node`).
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

/// Makes the cells of a row; `now` in microseconds since 1970.
pub type Row = fn(&Object, u64) -> Vec<Value>;

/// How the cells are made.
#[derive(Clone, Debug)]
pub enum Cells {
    /// By a function, from the object in its storage version.
    Row(Row),
    /// Name, then JSON paths, from the object in the version asked for.
    Paths(Vec<Path>),
}

/// The table of a kind.
#[derive(Clone, Debug)]
pub struct Columns {
    /// Definitions, in order.
    pub definitions: Vec<Column>,
    /// How the cells are made.
    pub cells: Cells,
}

impl Columns {
    /// From `Name:type` heads; a leading `+` marks a column of wide output. The column
    /// `Name` gets the format `name`.
    pub fn of(heads: &[&str], row: Row) -> Self {
        let definitions = heads.iter().map(|head| {
            let (priority, head) = head.strip_prefix('+').map_or((0, *head), |rest| (1, rest));
            let (name, kind) = head.split_once(':').unwrap_or((head, "string"));
            Column {
                name: name.into(),
                kind: kind.into(),
                format: if name == "Name" {
                    "name".into()
                } else {
                    SmolStr::default()
                },
                description: SmolStr::default(),
                priority,
            }
        });
        Self {
            definitions: definitions.collect(),
            cells: Cells::Row(row),
        }
    }

    /// Name and creation time: what kinds without a printer show.
    pub fn plain() -> Self {
        Self::of(&["Name", "Created At:date"], |object, _| {
            vec![
                object.name().into(),
                object.at("metadata.creationTimestamp").str().into(),
            ]
        })
    }

    /// The cells of one object; `now` in microseconds since 1970.
    pub fn row(&self, object: &Object, now: u64) -> Vec<Value> {
        match &self.cells {
            Cells::Row(row) => row(object, now),
            Cells::Paths(paths) => {
                let cell =
                    |(column, path): (&Column, &Path)| custom_cell(column, path, object, now);
                let name = Value::from(object.name());
                std::iter::once(name)
                    .chain(self.definitions[1..].iter().zip(paths).map(cell))
                    .collect()
            }
        }
    }
}

/// A custom column's cell: null where the path leads nowhere or to another type.
fn custom_cell(column: &Column, path: &Path, object: &Object, now: u64) -> Value {
    let found = path.find(object.root());
    let Some(first) = found.first() else {
        return Value::Null;
    };
    match column.kind.as_str() {
        "integer" => first.as_i64().map_or(Value::Null, Value::Int),
        "number" => first.to_value().as_f64().map_or(Value::Null, Value::Float),
        "boolean" => first.as_bool().into(),
        "date" => age_cell(first.str(), now),
        _ => {
            let texts: Vec<_> = found.iter().map(|item| path.show(*item)).collect();
            texts.join(" ").into()
        }
    }
}

/// Time since `timestamp` as a cell.
pub fn age_cell(timestamp: &str, now: u64) -> Value {
    Value::from(age(timestamp, now))
}

/// Time since `timestamp` as people read it; `<unknown>` if there is none.
pub fn age(timestamp: &str, now: u64) -> String {
    match parse_time(timestamp) {
        Some(then) => human_duration(now as i64 - then as i64),
        None => "<unknown>".into(),
    }
}
