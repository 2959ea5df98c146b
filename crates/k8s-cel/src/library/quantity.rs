//! Resource quantities.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/cel/library/quantity.go`.

use super::{Opaque, Row, int, text, wrong};
use crate::{EvalError, Val};
use machinery::Quantity;

pub(crate) const TABLE: &[Row] = &[
    (
        "quantity",
        "string_to_quantity",
        "(string) -> Quantity",
        |args| parse(text(&args[0])?).map(made),
    ),
    (
        "isQuantity",
        "is_quantity_string",
        "(string) -> bool",
        |args| Ok(Val::Bool(parse(text(&args[0])?).is_ok())),
    ),
    ("sign", "quantity_sign", "Quantity.() -> int", |args| {
        let quantity = quantity(&args[0])?;
        Ok(Val::Int(if quantity.is_zero() {
            0
        } else if quantity.is_negative() {
            -1
        } else {
            1
        }))
    }),
    (
        "isGreaterThan",
        "quantity_is_greater_than",
        "Quantity.(Quantity) -> bool",
        |args| Ok(Val::Bool(quantity(&args[0])? > quantity(&args[1])?)),
    ),
    (
        "isLessThan",
        "quantity_is_less_than",
        "Quantity.(Quantity) -> bool",
        |args| Ok(Val::Bool(quantity(&args[0])? < quantity(&args[1])?)),
    ),
    (
        "compareTo",
        "quantity_compare_to",
        "Quantity.(Quantity) -> int",
        |args| {
            let order = quantity(&args[0])?.cmp(&quantity(&args[1])?);
            Ok(Val::Int(order as i64))
        },
    ),
    (
        "asApproximateFloat",
        "quantity_get_float",
        "Quantity.() -> double",
        |args| Ok(Val::Double(quantity(&args[0])?.as_f64())),
    ),
    (
        "asInteger",
        "quantity_get_int",
        "Quantity.() -> int",
        |args| {
            whole(quantity(&args[0])?)
                .map(Val::Int)
                .ok_or_else(|| EvalError::new("cannot convert value to integer"))
        },
    ),
    (
        "isInteger",
        "quantity_is_integer",
        "Quantity.() -> bool",
        |args| Ok(Val::Bool(whole(quantity(&args[0])?).is_some())),
    ),
    (
        "add",
        "quantity_add",
        "Quantity.(Quantity) -> Quantity",
        |args| Ok(made(quantity(&args[0])? + quantity(&args[1])?)),
    ),
    (
        "add",
        "quantity_add_int",
        "Quantity.(int) -> Quantity",
        |args| Ok(made(quantity(&args[0])? + of_int(int(&args[1])?)?)),
    ),
    (
        "sub",
        "quantity_sub",
        "Quantity.(Quantity) -> Quantity",
        |args| Ok(made(quantity(&args[0])? - quantity(&args[1])?)),
    ),
    (
        "sub",
        "quantity_sub_int",
        "Quantity.(int) -> Quantity",
        |args| Ok(made(quantity(&args[0])? - of_int(int(&args[1])?)?)),
    ),
];

fn parse(text: &str) -> Result<Quantity, EvalError> {
    text.parse().map_err(|why| EvalError::new(format!("{why}")))
}

fn of_int(number: i64) -> Result<Quantity, EvalError> {
    parse(&number.to_string())
}

/// The whole number it is, if it is one.
fn whole(quantity: Quantity) -> Option<i64> {
    let units = quantity.units();
    (of_int(units).ok()? == quantity).then_some(units)
}

fn quantity(val: &Val) -> Result<Quantity, EvalError> {
    match val {
        Val::Opaque(Opaque::Quantity(quantity)) => Ok(*quantity),
        _ => Err(wrong()),
    }
}

fn made<'a>(quantity: Quantity) -> Val<'a> {
    Val::Opaque(Opaque::Quantity(quantity))
}
