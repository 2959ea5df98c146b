//! Values while an expression runs.
//! One file: every operation matches over the same variants.
//!
//! Upstream counterpart: cel-go's `common/types`.

use crate::{Type, data::Data, library::Opaque, time::Timestamp};
use base64::{Engine, engine::general_purpose::STANDARD};
use machinery::{Map as JsonMap, SmolStr, Value};
use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

/// Why an evaluation has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvalError {
    /// The call cost more than one evaluation may.
    Cost,
    /// Less is left of the budget than the evaluation cost.
    Budget,
    /// What went wrong, in upstream's words.
    Message(Box<str>),
}

impl EvalError {
    /// An error with a text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self::Message(text.into())
    }

    pub(crate) fn no_overload(function: &str) -> Self {
        Self::new(if function.is_empty() {
            "no such overload".to_owned()
        } else {
            format!("no such overload: {function}")
        })
    }
}

impl std::fmt::Display for EvalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cost => f.write_str("operation cancelled: actual cost limit exceeded"),
            Self::Budget => f.write_str("validation failed due to running out of cost budget"),
            Self::Message(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for EvalError {}

/// What evaluating yields.
pub type Outcome<'a> = Result<Val<'a>, EvalError>;

/// A value. Data is borrowed from where it is and looked at when asked for.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Arc<[u8]>),
    Timestamp(Timestamp),
    /// Nanoseconds.
    Duration(i64),
    List(List<'a>),
    Map(Map<'a>),
    Optional(Option<Arc<Val<'a>>>),
    Type(Type),
    Opaque(Opaque<'a>),
    /// A variable whose evaluation failed: the error is raised by whoever reads it.
    Failed(Arc<EvalError>),
}

/// A string, borrowed or shared.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    /// Part of the data.
    Borrowed(&'a str),
    /// A constant or a result.
    Shared(SmolStr),
}

impl std::ops::Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

/// A list.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// A list in the data.
    Data(Data<'a>),
    /// A list that was made.
    Made(Arc<Vec<Val<'a>>>),
}

/// A map or an object.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// A map or object in the data.
    Data(Data<'a>),
    /// A map that was made.
    Made(Arc<MadeMap<'a>>),
    /// A message that was made.
    Message(Arc<Message<'a>>),
    /// The object whose fields are the [`Fields`] of the bindings.
    Lazy,
}

/// Works out fields when they are asked for, such as the variables of a policy.
pub trait Fields<'a>: Send + Sync {
    /// The value of a field; `None` if there is no such field.
    fn field(&self, name: &str) -> Option<Outcome<'a>>;
}

/// A map that was made: entries in order, found by key.
#[derive(Clone, Debug, Default)]
pub struct MadeMap<'a> {
    entries: Vec<(Val<'a>, Val<'a>)>,
    places: BTreeMap<Key, usize>,
}

/// A made object: its type's name and the fields that are set.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// Type name.
    pub name: SmolStr,
    /// Fields that are set.
    pub fields: Vec<(SmolStr, Val<'a>)>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Bool(bool),
    Number(i128),
    Text(SmolStr),
}

impl Key {
    fn of(val: &Val) -> Option<Self> {
        match val {
            Val::Bool(flag) => Some(Self::Bool(*flag)),
            Val::Int(number) => Some(Self::Number((*number).into())),
            Val::Uint(number) => Some(Self::Number((*number).into())),
            Val::Double(number) if number.fract() == 0.0 && number.abs() < 1e30 => {
                Some(Self::Number(*number as i128))
            }
            Val::String(text) => Some(Self::Text(SmolStr::new(&**text))),
            _ => None,
        }
    }
}

impl<'a> MadeMap<'a> {
    /// The entry of `key`.
    pub fn get(&self, key: &Val) -> Option<&Val<'a>> {
        let place = *self.places.get(&Key::of(key)?)?;
        self.entries.get(place).map(|(_, value)| value)
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// If the key is there already, or cannot be a key.
    pub fn insert(&mut self, key: Val<'a>, value: Val<'a>) -> Result<(), EvalError> {
        let Some(place) = Key::of(&key) else {
            return Err(EvalError::new("unsupported key type"));
        };
        if self.places.contains_key(&place) {
            let shown = crate::library::show(&key);
            return Err(EvalError::new(format!(
                "insert failed: key {shown} already exists"
            )));
        }
        self.places.insert(place, self.entries.len());
        self.entries.push((key, value));
        Ok(())
    }

    /// Entries in order.
    pub fn entries(&self) -> &[(Val<'a>, Val<'a>)] {
        &self.entries
    }
}

impl<'a> List<'a> {
    /// How many items.
    pub fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Made(items) => items.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item at a position.
    pub fn get(&self, at: usize) -> Option<Outcome<'a>> {
        match self {
            Self::Data(data) => data.item(at),
            Self::Made(items) => items.get(at).cloned().map(Ok),
        }
    }

    /// All items.
    pub fn items(&self) -> Box<dyn Iterator<Item = Outcome<'a>> + 'a> {
        match self {
            Self::Data(data) => data.items(),
            Self::Made(items) => {
                let items = Arc::clone(items);
                Box::new((0..items.len()).map(move |at| Ok(items[at].clone())))
            }
        }
    }

    /// All items, or the first error.
    ///
    /// # Errors
    /// An item that is not what its type says.
    pub fn to_vec(&self) -> Result<Vec<Val<'a>>, EvalError> {
        match self {
            Self::Data(_) => self.items().collect(),
            Self::Made(items) => Ok(items.to_vec()),
        }
    }
}

impl<'a> Map<'a> {
    /// How many entries.
    pub fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Made(map) => map.entries.len(),
            Self::Message(message) => message.fields.len(),
            // Nothing counts the fields of what is only selected from.
            Self::Lazy => 0,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key.
    pub fn get(&self, key: &Val<'a>) -> Option<Outcome<'a>> {
        match (self, key) {
            (Self::Made(map), _) => map.get(key).cloned().map(Ok),
            (_, Val::String(name)) => self.field(name),
            _ => None,
        }
    }

    /// The member called `name`.
    pub fn field(&self, name: &str) -> Option<Outcome<'a>> {
        match self {
            Self::Data(data) => data.field(name),
            Self::Made(map) => map.get(&Val::String(Text::Borrowed(name))).cloned().map(Ok),
            Self::Message(message) => message
                .fields
                .iter()
                .find(|(field, _)| field == name)
                .map(|(_, value)| value.clone().ready()),
            // Who evaluates asks the bindings.
            Self::Lazy => None,
        }
    }

    /// All entries.
    pub fn entries(&self) -> Box<dyn Iterator<Item = (Val<'a>, Outcome<'a>)> + 'a> {
        match self {
            Self::Data(data) => data.entries(),
            Self::Made(map) => {
                let map = Arc::clone(map);
                Box::new((0..map.entries.len()).map(move |at| {
                    let (key, value) = map.entries[at].clone();
                    (key, Ok(value))
                }))
            }
            Self::Message(message) => {
                let message = Arc::clone(message);
                Box::new((0..message.fields.len()).map(move |at| {
                    let (name, value) = message.fields[at].clone();
                    (Val::text(name), value.ready())
                }))
            }
            Self::Lazy => Box::new(std::iter::empty()),
        }
    }
}

impl<'a> Val<'a> {
    /// A string that is not part of the data.
    pub fn text(text: impl Into<SmolStr>) -> Self {
        Self::String(Text::Shared(text.into()))
    }

    /// A list.
    pub fn list(items: Vec<Val<'a>>) -> Self {
        Self::List(List::Made(Arc::new(items)))
    }

    /// A present optional.
    pub fn some(value: Val<'a>) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// An object with fields by name, such as the variables of a policy. Fields may be
    /// [`Val::Failed`].
    pub fn object(name: impl Into<SmolStr>, fields: Vec<(SmolStr, Val<'a>)>) -> Self {
        Self::Map(Map::Message(Arc::new(Message {
            name: name.into(),
            fields,
        })))
    }

    /// The value, or the error it stands for.
    ///
    /// # Errors
    /// If it is [`Val::Failed`].
    pub fn ready(self) -> Outcome<'a> {
        match self {
            Self::Failed(error) => Err((*error).clone()),
            other => Ok(other),
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The flag, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// Type at run time.
    pub fn type_of(&self) -> Type {
        match self {
            Self::Null | Self::Failed(_) => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::Timestamp(_) => Type::Timestamp,
            Self::Duration(_) => Type::Duration,
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Type(_) => Type::Type(None),
            Self::Opaque(opaque) => Type::Opaque(opaque.type_name()),
        }
    }

    /// Size for costs: characters, bytes, items, entries; one for everything else.
    pub fn size(&self) -> u64 {
        let size = match self {
            Self::String(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.len(),
            Self::Map(map) => map.len(),
            Self::Optional(Some(value)) => return value.size(),
            Self::Opaque(opaque) => return opaque.size(),
            _ => 1,
        };
        size as u64
    }

    /// `==`, which never fails: values of different types differ.
    pub fn equals(&self, other: &Val<'_>) -> bool {
        match (self, other) {
            (Val::Null, Val::Null) => true,
            (Val::Bool(a), Val::Bool(b)) => a == b,
            (Val::String(a), Val::String(b)) => **a == **b,
            (Val::Bytes(a), Val::Bytes(b)) => a == b,
            (Val::Timestamp(a), Val::Timestamp(b)) => a == b,
            (Val::Duration(a), Val::Duration(b)) => a == b,
            (Val::List(a), Val::List(b)) => lists_equal(a, b),
            (Val::Map(a), Val::Map(b)) => maps_equal(a, b),
            (Val::Optional(None), Val::Optional(None)) => true,
            (Val::Optional(Some(a)), Val::Optional(Some(b))) => a.equals(b),
            (Val::Type(a), Val::Type(b)) => a.name() == b.name(),
            (Val::Opaque(a), Val::Opaque(b)) => a == b,
            _ => self.number_order(other) == Some(Ordering::Equal),
        }
    }

    /// Order of two numbers of any types.
    pub fn number_order(&self, other: &Val<'_>) -> Option<Ordering> {
        match (self, other) {
            (Val::Double(a), Val::Double(b)) => a.partial_cmp(b),
            (Val::Double(a), _) => float_order(*a, other.whole()?),
            (_, Val::Double(b)) => float_order(*b, self.whole()?).map(Ordering::reverse),
            _ => Some(self.whole()?.cmp(&other.whole()?)),
        }
    }

    fn whole(&self) -> Option<i128> {
        match self {
            Val::Int(number) => Some((*number).into()),
            Val::Uint(number) => Some((*number).into()),
            _ => None,
        }
    }

    /// Order of two values of a type that has one.
    pub fn order(&self, other: &Val<'_>) -> Option<Ordering> {
        match (self, other) {
            (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
            (Val::String(a), Val::String(b)) => Some((**a).cmp(&**b)),
            (Val::Bytes(a), Val::Bytes(b)) => Some(a.cmp(b)),
            (Val::Timestamp(a), Val::Timestamp(b)) => Some(a.cmp(b)),
            (Val::Duration(a), Val::Duration(b)) => Some(a.cmp(b)),
            _ => self.number_order(other),
        }
    }

    /// Whether it is the zero value of its type.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(flag) => !flag,
            Val::Int(number) | Self::Duration(number) => *number == 0,
            Val::Uint(number) => *number == 0,
            Self::Double(number) => *number == 0.0,
            Self::String(text) => text.is_empty(),
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::List(list) => list.is_empty(),
            Self::Map(map) => map.is_empty(),
            Self::Optional(value) => value.as_ref().is_none_or(|value| value.is_zero()),
            _ => false,
        }
    }

    /// The value as JSON.
    ///
    /// # Errors
    /// If it holds what JSON cannot.
    pub fn to_value(&self) -> Result<Value, EvalError> {
        let value = match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(*flag),
            Val::Int(number) => Value::Int(*number),
            Val::Uint(number) => {
                i64::try_from(*number).map_or(Value::Float(*number as f64), Value::Int)
            }
            Self::Double(number) => Value::Float(*number),
            Self::String(text) => Value::String(SmolStr::new(&**text)),
            Self::Bytes(bytes) => Value::String(STANDARD.encode(bytes).into()),
            Self::Timestamp(time) => Value::String(time.to_string().into()),
            Self::Duration(nanos) => Value::String(crate::time::show_duration(*nanos).into()),
            Self::List(List::Data(data)) | Self::Map(Map::Data(data)) => data.to_value(),
            Self::List(list) => Value::Array(
                list.items()
                    .map(|item| item?.to_value())
                    .collect::<Result<_, _>>()?,
            ),
            Self::Map(map) => {
                let mut object = JsonMap::new();
                for (key, value) in map.entries() {
                    object.insert(crate::library::show(&key), value?.to_value()?);
                }
                Value::Object(object)
            }
            Self::Optional(Some(value)) => value.to_value()?,
            Self::Optional(None) => Value::Null,
            Self::Opaque(opaque) => Value::String(opaque.to_string().into()),
            Self::Failed(error) => return Err((**error).clone()),
            Self::Type(_) => return Err(EvalError::new("a type has no JSON form")),
        };
        Ok(value)
    }
}

fn float_order(float: f64, whole: i128) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    // Comparing as whole numbers is exact; the fraction decides a tie.
    if float.abs() > 1e30 {
        return float.partial_cmp(&0.0);
    }
    let floor = float.floor();
    Some((floor as i128).cmp(&whole).then(if float > floor {
        Ordering::Greater
    } else {
        Ordering::Equal
    }))
}

fn lists_equal(a: &List, b: &List) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if let Some(keyed) = crate::data::equal_by_kind(a, b) {
        return keyed;
    }
    a.items()
        .zip(b.items())
        .all(|pair| matches!(pair, (Ok(a), Ok(b)) if a.equals(&b)))
}

fn maps_equal(a: &Map, b: &Map) -> bool {
    a.len() == b.len()
        && a.entries().all(|(key, value)| {
            let other = match &key {
                Val::String(name) => b.field(name),
                _ => match b {
                    Map::Made(map) => map.get(&key).cloned().map(Ok),
                    _ => None,
                },
            };
            matches!((value, other), (Ok(a), Some(Ok(b))) if a.equals(&b))
        })
}
