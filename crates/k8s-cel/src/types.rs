//! Types as the checker knows them.
//!
//! Knows neither values nor functions. Upstream counterpart: cel-go's `common/types/types.go`
//! and `checker/format.go`.

use crate::Decl;
use machinery::SmolStr;
use std::{fmt, sync::Arc};

/// A type.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Type {
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    Dyn,
    /// What an expression with an error has: fits everything, so that one error is told once.
    Error,
    List(Arc<Type>),
    Map(Arc<(Type, Type)>),
    /// The type of a type.
    Type(Option<Arc<Type>>),
    Optional(Arc<Type>),
    /// A type with functions only, by its name (`kubernetes.Quantity`).
    Opaque(&'static str),
    /// A type to be found out.
    Param(SmolStr),
    /// An object with declared fields.
    Object(Arc<Decl>),
}

impl Type {
    /// `list(item)`.
    pub fn list(item: Type) -> Self {
        Self::List(Arc::new(item))
    }

    /// `map(key, value)`.
    pub fn map(key: Type, value: Type) -> Self {
        Self::Map(Arc::new((key, value)))
    }

    /// `optional_type(value)`.
    pub fn optional(value: Type) -> Self {
        Self::Optional(Arc::new(value))
    }

    /// Whether nothing is known at checking time.
    pub fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// Types that this one is made of.
    pub fn params(&self) -> Vec<&Type> {
        match self {
            Self::List(item) | Self::Optional(item) => vec![&**item],
            Self::Map(entry) => vec![&entry.0, &entry.1],
            Self::Type(Some(of)) => vec![&**of],
            _ => Vec::new(),
        }
    }

    /// Values that have a size of one by type.
    pub fn is_scalar(&self) -> bool {
        match self {
            Self::Bool
            | Self::Int
            | Self::Uint
            | Self::Double
            | Self::Timestamp
            | Self::Duration => true,
            Self::Optional(value) => value.is_scalar(),
            _ => false,
        }
    }

    /// Name without parameters.
    pub fn name(&self) -> &str {
        match self {
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::Duration => "google.protobuf.Duration",
            Self::Dyn => "dyn",
            Self::Error => "!error!",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Type(_) => "type",
            Self::Optional(_) => "optional_type",
            Self::Opaque(name) => name,
            Self::Param(name) => name,
            Self::Object(decl) => &decl.name,
        }
    }
}

impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) | (Self::Optional(a), Self::Optional(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => Arc::ptr_eq(a, b) || a.name == b.name,
            (Self::Param(a), Self::Param(b)) => a == b,
            _ => {
                std::mem::discriminant(self) == std::mem::discriminant(other)
                    && self.name() == other.name()
            }
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Null => "null",
            Self::Timestamp => "timestamp",
            Self::Duration => "duration",
            other => other.name(),
        };
        f.write_str(name)?;
        let params = self.params();
        if params.is_empty() {
            return Ok(());
        }
        let shown: Vec<String> = params.iter().map(ToString::to_string).collect();
        write!(f, "({})", shown.join(", "))
    }
}
