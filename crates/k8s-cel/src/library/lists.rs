//! Lists and sets.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/cel/library/lists.go`, cel-go's `ext/lists.go`
//! (version 3) and `ext/sets.go`.

use super::{Row, arithmetic, int, list, standard::holds};
use crate::{EvalError, List, Outcome, Type, Val};
use std::cmp::Ordering;

pub(crate) const TABLE: &[Row] = &[
    (
        "isSorted",
        "list_int_is_sorted_bool",
        "list<int>.() -> bool",
        is_sorted,
    ),
    (
        "isSorted",
        "list_uint_is_sorted_bool",
        "list<uint>.() -> bool",
        is_sorted,
    ),
    (
        "isSorted",
        "list_double_is_sorted_bool",
        "list<double>.() -> bool",
        is_sorted,
    ),
    (
        "isSorted",
        "list_bool_is_sorted_bool",
        "list<bool>.() -> bool",
        is_sorted,
    ),
    (
        "isSorted",
        "list_duration_is_sorted_bool",
        "list<duration>.() -> bool",
        is_sorted,
    ),
    (
        "isSorted",
        "list_timestamp_is_sorted_bool",
        "list<timestamp>.() -> bool",
        is_sorted,
    ),
    (
        "isSorted",
        "list_string_is_sorted_bool",
        "list<string>.() -> bool",
        is_sorted,
    ),
    (
        "isSorted",
        "list_bytes_is_sorted_bool",
        "list<bytes>.() -> bool",
        is_sorted,
    ),
    ("sum", "list_int_sum_int", "list<int>.() -> int", sum),
    ("sum", "list_uint_sum_uint", "list<uint>.() -> uint", sum),
    (
        "sum",
        "list_double_sum_double",
        "list<double>.() -> double",
        sum,
    ),
    (
        "sum",
        "list_duration_sum_duration",
        "list<duration>.() -> duration",
        sum,
    ),
    ("max", "list_int_max_int", "list<int>.() -> int", largest),
    (
        "max",
        "list_uint_max_uint",
        "list<uint>.() -> uint",
        largest,
    ),
    (
        "max",
        "list_double_max_double",
        "list<double>.() -> double",
        largest,
    ),
    (
        "max",
        "list_bool_max_bool",
        "list<bool>.() -> bool",
        largest,
    ),
    (
        "max",
        "list_duration_max_duration",
        "list<duration>.() -> duration",
        largest,
    ),
    (
        "max",
        "list_timestamp_max_timestamp",
        "list<timestamp>.() -> timestamp",
        largest,
    ),
    (
        "max",
        "list_string_max_string",
        "list<string>.() -> string",
        largest,
    ),
    (
        "max",
        "list_bytes_max_bytes",
        "list<bytes>.() -> bytes",
        largest,
    ),
    ("min", "list_int_min_int", "list<int>.() -> int", smallest),
    (
        "min",
        "list_uint_min_uint",
        "list<uint>.() -> uint",
        smallest,
    ),
    (
        "min",
        "list_double_min_double",
        "list<double>.() -> double",
        smallest,
    ),
    (
        "min",
        "list_bool_min_bool",
        "list<bool>.() -> bool",
        smallest,
    ),
    (
        "min",
        "list_duration_min_duration",
        "list<duration>.() -> duration",
        smallest,
    ),
    (
        "min",
        "list_timestamp_min_timestamp",
        "list<timestamp>.() -> timestamp",
        smallest,
    ),
    (
        "min",
        "list_string_min_string",
        "list<string>.() -> string",
        smallest,
    ),
    (
        "min",
        "list_bytes_min_bytes",
        "list<bytes>.() -> bytes",
        smallest,
    ),
    ("sort", "list_int_sort", "list<int>.() -> list<int>", sort),
    (
        "sort",
        "list_uint_sort",
        "list<uint>.() -> list<uint>",
        sort,
    ),
    (
        "sort",
        "list_double_sort",
        "list<double>.() -> list<double>",
        sort,
    ),
    (
        "sort",
        "list_bool_sort",
        "list<bool>.() -> list<bool>",
        sort,
    ),
    (
        "sort",
        "list_google.protobuf.Duration_sort",
        "list<duration>.() -> list<duration>",
        sort,
    ),
    (
        "sort",
        "list_google.protobuf.Timestamp_sort",
        "list<timestamp>.() -> list<timestamp>",
        sort,
    ),
    (
        "sort",
        "list_string_sort",
        "list<string>.() -> list<string>",
        sort,
    ),
    (
        "sort",
        "list_bytes_sort",
        "list<bytes>.() -> list<bytes>",
        sort,
    ),
    (
        "@sortByAssociatedKeys",
        "list_int_sortByAssociatedKeys",
        "list<T>.(list<int>) -> list<T>",
        sort_by,
    ),
    (
        "@sortByAssociatedKeys",
        "list_uint_sortByAssociatedKeys",
        "list<T>.(list<uint>) -> list<T>",
        sort_by,
    ),
    (
        "@sortByAssociatedKeys",
        "list_double_sortByAssociatedKeys",
        "list<T>.(list<double>) -> list<T>",
        sort_by,
    ),
    (
        "@sortByAssociatedKeys",
        "list_bool_sortByAssociatedKeys",
        "list<T>.(list<bool>) -> list<T>",
        sort_by,
    ),
    (
        "@sortByAssociatedKeys",
        "list_google.protobuf.Duration_sortByAssociatedKeys",
        "list<T>.(list<duration>) -> list<T>",
        sort_by,
    ),
    (
        "@sortByAssociatedKeys",
        "list_google.protobuf.Timestamp_sortByAssociatedKeys",
        "list<T>.(list<timestamp>) -> list<T>",
        sort_by,
    ),
    (
        "@sortByAssociatedKeys",
        "list_string_sortByAssociatedKeys",
        "list<T>.(list<string>) -> list<T>",
        sort_by,
    ),
    (
        "@sortByAssociatedKeys",
        "list_bytes_sortByAssociatedKeys",
        "list<T>.(list<bytes>) -> list<T>",
        sort_by,
    ),
    (
        "indexOf",
        "list_a_index_of_int",
        "list<A>.(A) -> int",
        |args| index(args, |items| items.position(|found| found)),
    ),
    (
        "lastIndexOf",
        "list_a_last_index_of_int",
        "list<A>.(A) -> int",
        |args| index(args, |items| items.rposition(|found| found)),
    ),
    (
        "slice",
        "list_slice",
        "list<T>.(int, int) -> list<T>",
        slice,
    ),
    (
        "flatten",
        "list_flatten",
        "list<list<T>>.() -> list<T>",
        flatten,
    ),
    (
        "flatten",
        "list_flatten_int",
        "list<dyn>.(int) -> list<dyn>",
        flatten,
    ),
    ("lists.range", "lists_range", "(int) -> list<int>", range),
    ("reverse", "list_reverse", "list<T>.() -> list<T>", |args| {
        let mut items = list(&args[0])?.to_vec()?;
        items.reverse();
        Ok(Val::list(items))
    }),
    (
        "distinct",
        "list_distinct",
        "list<T>.() -> list<T>",
        distinct,
    ),
    (
        "sets.contains",
        "list_sets_contains_list",
        "(list<T>, list<T>) -> bool",
        |args| Ok(Val::Bool(contains(list(&args[0])?, list(&args[1])?)?)),
    ),
    (
        "sets.equivalent",
        "list_sets_equivalent_list",
        "(list<T>, list<T>) -> bool",
        |args| {
            let (a, b) = (list(&args[0])?, list(&args[1])?);
            Ok(Val::Bool(contains(a, b)? && contains(b, a)?))
        },
    ),
    (
        "sets.intersects",
        "list_sets_intersects_list",
        "(list<T>, list<T>) -> bool",
        |args| {
            let (a, b) = (list(&args[0])?.to_vec()?, list(&args[1])?);
            Ok(Val::Bool(a.iter().any(|item| holds(b, item))))
        },
    ),
];

/// Longest list that `lists.range` makes: beyond what an evaluation may cost.
const MAX_RANGE: i64 = crate::CALL_LIMIT as i64 + 1;

fn order(a: &Val, b: &Val) -> Result<Ordering, EvalError> {
    a.order(b).ok_or_else(|| EvalError::no_overload(""))
}

fn is_sorted<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let items = list(&args[0])?.to_vec()?;
    for pair in items.windows(2) {
        if order(&pair[0], &pair[1])?.is_gt() {
            return Ok(Val::Bool(false));
        }
    }
    Ok(Val::Bool(true))
}

/// The sum of a list; zero of the type of its items, which an empty one does not tell.
fn sum<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let mut items = list(&args[0])?.items();
    let Some(first) = items.next() else {
        return Ok(Val::Int(0));
    };
    let mut total = first?;
    for item in items {
        total = arithmetic::add(&[total, item?])?;
    }
    Ok(total)
}

fn extreme<'a>(args: &[Val<'a>], name: &str, wanted: Ordering) -> Outcome<'a> {
    let mut best: Option<Val> = None;
    for item in list(&args[0])?.items() {
        let item = item?;
        best = match best {
            Some(best) if order(&item, &best)? != wanted => Some(best),
            _ => Some(item),
        };
    }
    best.ok_or_else(|| EvalError::new(format!("{name} called on empty list")))
}

fn largest<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    extreme(args, "max", Ordering::Greater)
}

fn smallest<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    extreme(args, "min", Ordering::Less)
}

fn index<'a>(
    args: &[Val<'a>],
    find: fn(&mut std::vec::IntoIter<bool>) -> Option<usize>,
) -> Outcome<'a> {
    let items = list(&args[0])?.to_vec()?;
    let same: Vec<bool> = items.iter().map(|item| item.equals(&args[1])).collect();
    let found = find(&mut same.into_iter());
    Ok(Val::Int(found.map_or(-1, |at| at as i64)))
}

fn slice<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let (items, start, end) = (list(&args[0])?.to_vec()?, int(&args[1])?, int(&args[2])?);
    let why = if start < 0 || end < 0 {
        "negative indexes not supported".to_owned()
    } else if start > end {
        "start index must be less than or equal to end index".to_owned()
    } else if end > items.len() as i64 {
        format!("list is length {}", items.len())
    } else {
        return Ok(Val::list(items[start as usize..end as usize].to_vec()));
    };
    Err(EvalError::new(format!(
        "cannot slice({start}, {end}), {why}"
    )))
}

fn flatten<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let depth = args.get(1).map(int).transpose()?.unwrap_or(1);
    if depth < 0 {
        return Err(EvalError::new("level must be non-negative"));
    }
    let mut flat = Vec::new();
    flatten_into(list(&args[0])?, depth, &mut flat)?;
    Ok(Val::list(flat))
}

fn flatten_into<'a>(list: &List<'a>, depth: i64, out: &mut Vec<Val<'a>>) -> Result<(), EvalError> {
    for item in list.items() {
        match item? {
            Val::List(inner) if depth > 0 => flatten_into(&inner, depth - 1, out)?,
            other => out.push(other),
        }
    }
    Ok(())
}

fn range<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let count = int(&args[0])?;
    if count > MAX_RANGE {
        return Err(EvalError::Cost);
    }
    Ok(Val::list((0..count).map(Val::Int).collect()))
}

fn distinct<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    let mut seen: Vec<Val> = Vec::new();
    for item in list(&args[0])?.items() {
        let item = item?;
        if !seen.iter().any(|known| known.equals(&item)) {
            seen.push(item);
        }
    }
    Ok(Val::list(seen))
}

fn contains(list: &List, part: &List) -> Result<bool, EvalError> {
    let part = part.to_vec()?;
    Ok(part.iter().all(|item| holds(list, item)))
}

fn sort<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    sorted(list(&args[0])?, list(&args[0])?)
}

fn sort_by<'a>(args: &[Val<'a>]) -> Outcome<'a> {
    sorted(list(&args[0])?, list(&args[1])?)
}

fn sorted<'a>(items: &List<'a>, keys: &List<'a>) -> Outcome<'a> {
    let (items, keys) = (items.to_vec()?, keys.to_vec()?);
    if items.len() != keys.len() {
        let why = format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            items.len(),
            keys.len()
        );
        return Err(EvalError::new(why));
    }
    let types: Vec<Type> = keys.iter().map(Val::type_of).collect();
    if types.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(EvalError::new("list elements must have the same type"));
    }
    let mut places: Vec<usize> = (0..items.len()).collect();
    places.sort_by(|a, b| keys[*a].order(&keys[*b]).unwrap_or(Ordering::Equal));
    Ok(Val::list(
        places.into_iter().map(|at| items[at].clone()).collect(),
    ))
}
