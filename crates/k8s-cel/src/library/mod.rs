//! Functions: what they are called, which types they take, and what they do.
//!
//! One table per library, each row a name, an id, a signature and a function. What calls cost is
//! in [`crate::cost`], by the same ids. Upstream counterpart: cel-go's `common/stdlib` and `ext`,
//! `k8s.io/apiserver/pkg/cel/library`.

mod arithmetic;
mod authz;
mod convert;
mod format;
mod lists;
mod net;
mod opaque;
mod optional;
mod printf;
mod quantity;
mod semver;
mod standard;
mod strings;
mod times;
mod url;

use crate::{EvalError, List, Map, Outcome, Type, Val};
use machinery::SmolStr;
use std::{collections::BTreeMap, sync::LazyLock};

pub use authz::{AuthorizationCheck, Authorizer, Verdict};
pub(crate) use convert::show_double;
pub(crate) use format::MAX_NAME_REGEX;
pub use format::NamedFormat;
pub use net::Cidr;
pub use opaque::Opaque;
pub use printf::show;
pub use semver::Semver;
pub use url::Url;

/// What a function does with arguments of its types.
pub type Function = for<'a> fn(&[Val<'a>]) -> Outcome<'a>;

/// A row of a library's table: name, overload id, signature, function.
pub(crate) type Row = (&'static str, &'static str, &'static str, Function);

/// A function for certain argument types.
#[derive(Debug)]
pub struct Overload {
    /// Upstream's id.
    pub id: &'static str,
    /// Whether the first parameter is a receiver.
    pub member: bool,
    /// Types of parameters, the receiver first.
    pub params: Vec<Type>,
    /// Type of the result.
    pub result: Type,
    /// Type parameters.
    pub generics: Vec<SmolStr>,
    /// What it does.
    pub run: Function,
}

impl Overload {
    /// Whether values have the types of the parameters.
    pub fn takes(&self, member: bool, args: &[Val]) -> bool {
        self.member == member
            && self.params.len() == args.len()
            && std::iter::zip(&self.params, args).all(|(param, arg)| fits(param, arg))
    }
}

fn fits(param: &Type, arg: &Val) -> bool {
    match (param, arg) {
        (Type::Dyn | Type::Param(_), _)
        | (Type::Null, Val::Null)
        | (Type::Bool, Val::Bool(_))
        | (Type::Int, Val::Int(_))
        | (Type::Uint, Val::Uint(_))
        | (Type::Double, Val::Double(_))
        | (Type::String, Val::String(_))
        | (Type::Bytes, Val::Bytes(_))
        | (Type::Timestamp, Val::Timestamp(_))
        | (Type::Duration, Val::Duration(_))
        | (Type::Map(_), Val::Map(_))
        | (Type::Type(_), Val::Type(_))
        | (Type::Optional(_), Val::Optional(_)) => true,
        (Type::List(item), Val::List(list)) => {
            matches!(**item, Type::Dyn | Type::Param(_))
                || list
                    .get(0)
                    .is_none_or(|first| first.is_ok_and(|first| fits(item, &first)))
        }
        (Type::Opaque(name), Val::Opaque(opaque)) => *name == opaque.type_name(),
        _ => false,
    }
}

/// All functions by name.
pub static FUNCTIONS: LazyLock<BTreeMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let tables = [
        standard::TABLE,
        arithmetic::TABLE,
        convert::TABLE,
        times::TABLE,
        optional::TABLE,
        strings::TABLE,
        lists::TABLE,
        url::TABLE,
        quantity::TABLE,
        net::TABLE,
        format::TABLE,
        semver::TABLE,
        authz::TABLE,
    ];
    let mut functions: BTreeMap<&str, Vec<Overload>> = BTreeMap::new();
    for (name, id, signature, run) in tables.into_iter().flatten() {
        let overload = overload(id, signature, *run);
        functions.entry(name).or_default().push(overload);
    }
    functions
});

fn overload(id: &'static str, signature: &str, run: Function) -> Overload {
    let (front, result) = signature
        .split_once(" -> ")
        .expect("a signature has a result");
    let (receiver, rest) = front.split_once('(').expect("a signature has parameters");
    let mut generics = Vec::new();
    let mut params = Vec::new();
    let receiver = receiver.trim_end_matches('.');
    let member = !receiver.is_empty();
    if member {
        params.push(named(receiver, &mut generics));
    }
    let inner = rest.trim_end_matches(')');
    params.extend(
        split(inner)
            .into_iter()
            .map(|name| named(name, &mut generics)),
    );
    Overload {
        id,
        member,
        params,
        result: named(result, &mut generics),
        generics,
        run,
    }
}

/// Parts between commas that are not within angle brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        parts.push(text[start..].trim());
    }
    parts
}

fn named(text: &str, generics: &mut Vec<SmolStr>) -> Type {
    let text = text.trim();
    if let Some((outer, inner)) = text.split_once('<') {
        let inner = inner.strip_suffix('>').expect("brackets match");
        let mut params: Vec<Type> = split(inner)
            .into_iter()
            .map(|name| named(name, generics))
            .collect();
        let first = params.remove(0);
        return match outer {
            "list" => Type::list(first),
            "map" => Type::map(first, params.remove(0)),
            "optional" => Type::optional(first),
            _ => Type::Type(Some(first.into())),
        };
    }
    match text {
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "dyn" => Type::Dyn,
        _ if text.len() == 1 => {
            if !generics.iter().any(|known| known == text) {
                generics.push(text.into());
            }
            Type::Param(text.into())
        }
        other => Type::Opaque(opaque::full_name(other)),
    }
}

/// Name of the type an identifier names (`int`, `kubernetes.Quantity`).
pub fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "null_type" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        "dyn" => Type::Dyn,
        "type" => Type::Type(None),
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "optional_type" => Type::optional(Type::Dyn),
        other => Type::Opaque(opaque::known(other)?),
    })
}

/// Reading arguments whose types were checked.
pub(crate) fn wrong() -> EvalError {
    EvalError::no_overload("")
}

pub(crate) fn text<'v>(val: &'v Val) -> Result<&'v str, EvalError> {
    val.as_str().ok_or_else(wrong)
}

pub(crate) fn int(val: &Val) -> Result<i64, EvalError> {
    match val {
        Val::Int(number) => Ok(*number),
        _ => Err(wrong()),
    }
}

pub(crate) fn list<'v, 'a>(val: &'v Val<'a>) -> Result<&'v List<'a>, EvalError> {
    match val {
        Val::List(list) => Ok(list),
        _ => Err(wrong()),
    }
}

pub(crate) fn map<'v, 'a>(val: &'v Val<'a>) -> Result<&'v Map<'a>, EvalError> {
    match val {
        Val::Map(map) => Ok(map),
        _ => Err(wrong()),
    }
}
