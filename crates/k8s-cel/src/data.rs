//! Data seen through a declared type: trees and flat bytes, wrapped only where looked at.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/cel/common/valuesunstructured.go`.

use crate::{
    Decl, DeclShape, EvalError, List, Map, Outcome, Text, Val,
    time::{self, Timestamp},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use machinery::{
    Value,
    flat::{Ref, Shape},
};
use schema::ListKind;
use std::collections::BTreeMap;

/// Where data is.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// In a tree.
    Tree(&'a Value),
    /// In flat bytes.
    Flat(Ref<'a>),
}

impl<'a> Source<'a> {
    fn shape(self) -> Shape<'a> {
        match self {
            Self::Flat(of) => of.shape(),
            Self::Tree(value) => match value {
                Value::Null => Shape::Null,
                Value::Bool(flag) => Shape::Bool(*flag),
                Value::Int(number) => Shape::Int(*number),
                Value::Float(number) => Shape::Float(*number),
                Value::String(text) => Shape::String(text),
                Value::Array(_) => Shape::Array,
                Value::Object(_) => Shape::Object,
            },
        }
    }

    fn get(self, name: &str) -> Option<Self> {
        match self {
            Self::Tree(value) => value.get(name).map(Self::Tree),
            Self::Flat(of) => {
                let found = of.get(name);
                (found.shape() != Shape::Missing).then_some(Self::Flat(found))
            }
        }
    }

    fn item(self, at: usize) -> Option<Self> {
        match self {
            Self::Tree(value) => value.items().get(at).map(Self::Tree),
            Self::Flat(of) => of.items().nth(at).map(Self::Flat),
        }
    }

    fn items(self) -> Box<dyn Iterator<Item = Self> + 'a> {
        match self {
            Self::Tree(value) => Box::new(value.items().iter().map(Self::Tree)),
            Self::Flat(of) => Box::new(of.items().map(Self::Flat)),
        }
    }

    fn entries(self) -> Box<dyn Iterator<Item = (&'a str, Self)> + 'a> {
        match self {
            Self::Tree(value) => Box::new(
                value
                    .entries()
                    .map(|(key, value)| (key.as_str(), Self::Tree(value))),
            ),
            Self::Flat(of) => Box::new(of.entries().map(|(key, of)| (key, Self::Flat(of)))),
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Tree(Value::Array(items)) => items.len(),
            Self::Tree(Value::Object(map)) => map.len(),
            Self::Tree(_) => 0,
            Self::Flat(of) if of.shape() == Shape::Array => of.items().count(),
            Self::Flat(of) => of.entries().count(),
        }
    }
}

/// Data and what it is declared to be.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    source: Source<'a>,
    decl: &'a Decl,
}

impl<'a> Val<'a> {
    /// A tree seen as what it is declared to be.
    ///
    /// # Errors
    /// If it is not what its type says.
    pub fn tree(value: &'a Value, decl: &'a Decl) -> Outcome<'a> {
        view(Source::Tree(value), decl)
    }

    /// Flat bytes seen as what they are declared to be.
    ///
    /// # Errors
    /// If they are not what their type says.
    pub fn flat(of: Ref<'a>, decl: &'a Decl) -> Outcome<'a> {
        view(Source::Flat(of), decl)
    }
}

fn view<'a>(source: Source<'a>, decl: &'a Decl) -> Outcome<'a> {
    let data = Data { source, decl };
    let found = source.shape();
    Ok(match (&decl.shape, found) {
        (_, Shape::Null) if decl.nullable => Val::Null,
        (_, Shape::Null) => {
            let why = "invalid data, got null for schema with nullable=false";
            return Err(EvalError::new(why));
        }
        (DeclShape::Any | DeclShape::Bool, Shape::Bool(flag)) => Val::Bool(flag),
        (DeclShape::Any | DeclShape::Int, Shape::Int(number)) => Val::Int(number),
        (DeclShape::Double, Shape::Int(number)) => Val::Double(number as f64),
        (DeclShape::Int, Shape::Float(number)) if number.fract() == 0.0 => Val::Int(number as i64),
        (DeclShape::Any | DeclShape::Double, Shape::Float(number)) => Val::Double(number),
        (DeclShape::Any | DeclShape::String, Shape::String(text)) => {
            Val::String(Text::Borrowed(text))
        }
        (DeclShape::Any | DeclShape::List(..), Shape::Array) => Val::List(List::Data(data)),
        (DeclShape::Any | DeclShape::Map(_) | DeclShape::Object(_), Shape::Object) => {
            Val::Map(Map::Data(data))
        }
        (shape, Shape::String(text)) => return formatted(shape, text),
        (shape, _) => return Err(unexpected(shape)),
    })
}

fn formatted<'a>(shape: &DeclShape, text: &str) -> Outcome<'a> {
    match shape {
        DeclShape::Bytes => STANDARD
            .decode(text)
            .map(|bytes| Val::Bytes(bytes.into()))
            .map_err(|_| EvalError::new(format!("Invalid byte formatted string {text}"))),
        DeclShape::Duration => time::parse_duration(text)
            .map(Val::Duration)
            .ok_or_else(|| EvalError::new(format!("Invalid duration {text}"))),
        DeclShape::Timestamp => Timestamp::parse_loosely(text)
            .map(Val::Timestamp)
            .ok_or_else(|| EvalError::new(format!("Invalid date-time formatted string {text}"))),
        other => Err(unexpected(other)),
    }
}

fn unexpected(shape: &DeclShape) -> EvalError {
    let wanted = match shape {
        DeclShape::Map(_) | DeclShape::Object(_) => {
            "a map for the provided schema with type=object"
        }
        DeclShape::List(..) => "an array for the provided schema with type=array",
        DeclShape::Double => "double",
        DeclShape::Int => "int",
        DeclShape::Bool => "bool",
        _ => "string",
    };
    EvalError::new(format!("invalid data, expected {wanted}"))
}

impl<'a> Data<'a> {
    pub(crate) fn len(&self) -> usize {
        self.source.len()
    }

    fn item_decl(&self) -> &'a Decl {
        match &self.decl.shape {
            DeclShape::List(item, _) => item,
            _ => Decl::any(),
        }
    }

    pub(crate) fn item(&self, at: usize) -> Option<Outcome<'a>> {
        Some(view(self.source.item(at)?, self.item_decl()))
    }

    pub(crate) fn items(&self) -> Box<dyn Iterator<Item = Outcome<'a>> + 'a> {
        let decl = self.item_decl();
        Box::new(self.source.items().map(move |item| view(item, decl)))
    }

    pub(crate) fn field(&self, name: &str) -> Option<Outcome<'a>> {
        match &self.decl.shape {
            DeclShape::Object(_) => {
                let field = self.decl.field(name)?;
                let found = self.source.get(&field.json)?;
                // Null is as good as absent where fields are declared.
                (found.shape() != Shape::Null).then(|| view(found, &field.decl))
            }
            DeclShape::Map(value) => Some(view(self.source.get(name)?, value)),
            _ => Some(view(self.source.get(name)?, Decl::any())),
        }
    }

    pub(crate) fn entries(&self) -> Box<dyn Iterator<Item = (Val<'a>, Outcome<'a>)> + 'a> {
        let decl = self.decl;
        Box::new(self.source.entries().filter_map(move |(key, value)| {
            let (name, decl) = match &decl.shape {
                DeclShape::Object(fields) => {
                    let field = fields.iter().find(|field| field.json == key)?;
                    (field.name.as_str(), &*field.decl)
                }
                DeclShape::Map(decl) => (key, &**decl),
                _ => (key, &**Decl::any()),
            };
            Some((Val::String(Text::Borrowed(name)), view(value, decl)))
        }))
    }

    pub(crate) fn to_value(self) -> Value {
        match self.source {
            Source::Tree(value) => value.clone(),
            Source::Flat(of) => of.to_value(),
        }
    }

    fn kind(&self) -> Option<&'a ListKind> {
        match &self.decl.shape {
            DeclShape::List(_, kind) if *kind != ListKind::Atomic => Some(kind),
            _ => None,
        }
    }
}

/// What tells items of a keyed list apart, as text.
fn identity(item: &Val, kind: &ListKind) -> String {
    let ListKind::Map(keys) = kind else {
        return format!("{:?}", item.to_value());
    };
    let Val::Map(map) = item else {
        return String::new();
    };
    let mut text = String::new();
    for key in keys {
        let name = crate::escape(key).unwrap_or_default();
        let value = map.field(&name).and_then(Result::ok);
        text += &format!("{:?}\u{0}", value.map(|value| value.to_value()));
    }
    text
}

/// What tells an item of a keyed list apart, as text.
pub(crate) fn key_of(item: &Value, kind: &ListKind) -> String {
    let ListKind::Map(keys) = kind else {
        return String::new();
    };
    keys.iter()
        .map(|key| format!("{:?}\u{0}", item[key.as_str()]))
        .collect()
}

/// Equality of lists that are sets or keyed; `None` for plain ones.
pub(crate) fn equal_by_kind(a: &List, b: &List) -> Option<bool> {
    let List::Data(data) = a else {
        let List::Data(data) = b else { return None };
        data.kind()?;
        return equal_by_kind(b, a);
    };
    let kind = data.kind()?;
    let theirs: BTreeMap<String, Val> = b
        .items()
        .filter_map(Result::ok)
        .map(|item| (identity(&item, kind), item))
        .collect();
    Some(a.items().all(|item| {
        item.is_ok_and(|item| {
            theirs
                .get(&identity(&item, kind))
                .is_some_and(|other| item.equals(other))
        })
    }))
}

/// `a + b`, where what `a` is declared to be decides what that means.
pub(crate) fn concatenate<'a>(a: &List<'a>, b: &List<'a>) -> Result<Vec<Val<'a>>, EvalError> {
    let mut items = a.to_vec()?;
    let kind = match a {
        List::Data(data) => data.kind(),
        List::Made(_) => None,
    };
    let Some(kind) = kind else {
        items.extend(b.to_vec()?);
        return Ok(items);
    };
    let mut places: BTreeMap<String, usize> = items
        .iter()
        .enumerate()
        .map(|(at, item)| (identity(item, kind), at))
        .collect();
    for item in b.items() {
        let item = item?;
        match places.get(&identity(&item, kind)) {
            Some(at) => items[*at] = item,
            None => {
                places.insert(identity(&item, kind), items.len());
                items.push(item);
            }
        }
    }
    Ok(items)
}
