//! What calls cost when they run, by function and overload.
//!
//! Upstream counterpart: cel-go's `interpreter/runtimecost.go` and
//! `k8s.io/apiserver/pkg/cel/library/cost.go`.

use crate::{List, Outcome, Val, library::Opaque};

/// Cost of reading a character.
pub const PER_CHARACTER: f64 = 0.1;
/// Cost of a character of a regular expression.
pub const PER_PATTERN_CHARACTER: f64 = 0.25;
/// Cost of asking the authorizer.
pub const AUTHORIZATION: u64 = 350_000;

/// How the cost of a call is worked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallCost {
    /// A fixed cost.
    Fixed(u64),
    /// Reading the first argument so many times.
    Read(u32),
    /// Reading the result twice.
    ReadResult,
    /// The items of the second argument.
    Items,
    /// Reading the shorter of two.
    Shorter,
    /// `==`: as [`CallCost::Shorter`], but one for Kubernetes' own types.
    Equals,
    /// Reading both.
    Both,
    /// A pattern over a text.
    Pattern,
    /// A text within a text.
    Within,
    /// All there is within the first argument.
    Traverse,
    /// Parsing a selector.
    Selector,
    /// An address within a network; the flag says whether it is given as text.
    ContainsIp(bool),
    /// A network within a network; the flag says whether it is given as text.
    ContainsCidr(bool),
    /// Validating a named format.
    Format,
    /// Making a list.
    Made,
    /// Making a list of nested ones.
    Flatten,
    /// Comparing each item of that argument with each.
    Compared(usize),
    /// Looking for each item of one in the other, so many times.
    Sets(u32),
}

impl CallCost {
    /// The rule for a function; `overload` is empty where several are possible.
    pub fn of(function: &str, overload: &str) -> Self {
        Self::of_function(function, overload).unwrap_or_else(|| Self::of_overload(overload))
    }

    /// Kubernetes' rules go by the name of the function.
    pub fn of_function(function: &str, overload: &str) -> Option<Self> {
        Some(match function {
            "check" => Self::Fixed(AUTHORIZATION),
            "fieldSelector" | "labelSelector" => Self::Selector,
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => Self::Traverse,
            "url"
            | "lowerAscii"
            | "upperAscii"
            | "substring"
            | "trim"
            | "jsonpatch.escapeKey"
            | "cidr"
            | "isIP"
            | "isCIDR"
            | "quantity"
            | "isQuantity"
            | "semver"
            | "isSemver" => Self::Read(1),
            "replace" | "split" | "ip.isCanonical" => Self::Read(2),
            "join" => Self::ReadResult,
            "find" | "findAll" => Self::Pattern,
            "ip" if overload != "cidr_ip" => Self::Read(1),
            "containsIP" => Self::ContainsIp(overload == "cidr_contains_ip_string"),
            "containsCIDR" => Self::ContainsCidr(overload == "cidr_contains_cidr_string"),
            "validate" => Self::Format,
            "_==_" => Self::Equals,
            _ => return None,
        })
    }

    fn of_overload(overload: &str) -> Self {
        match overload {
            "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string"
            | "strings_quote" | "string_format" => Self::Read(1),
            "in_list" => Self::Items,
            "less_string"
            | "greater_string"
            | "less_equals_string"
            | "greater_equals_string"
            | "less_bytes"
            | "greater_bytes"
            | "less_equals_bytes"
            | "greater_equals_bytes"
            | "not_equals" => Self::Shorter,
            "add_string" | "add_bytes" => Self::Both,
            "matches_string" => Self::Pattern,
            "contains_string" => Self::Within,
            other => Self::of_extension(other).unwrap_or(Self::Fixed(1)),
        }
    }

    fn of_extension(overload: &str) -> Option<Self> {
        Some(match overload {
            "list_slice" | "lists_range" | "list_reverse" => Self::Made,
            "list_flatten" | "list_flatten_int" => Self::Flatten,
            "list_distinct" => Self::Compared(0),
            "list_sets_contains_list" | "list_sets_intersects_list" => Self::Sets(1),
            "list_sets_equivalent_list" => Self::Sets(2),
            sort if sort.ends_with("_sort") => Self::Compared(0),
            sort if sort.ends_with("_sortByAssociatedKeys") => Self::Compared(1),
            _ => return None,
        })
    }

    /// What the call costs, if its arguments tell.
    pub fn before(self, args: &[Val]) -> Option<u64> {
        let size = |at: usize| args.get(at).map_or(1, Val::size);
        Some(match self {
            Self::Fixed(cost) => cost,
            Self::Read(times) => per(size(0), f64::from(times) * PER_CHARACTER),
            Self::ReadResult | Self::Made => return None,
            Self::Flatten => {
                let depth = match args.get(1) {
                    Some(Val::Int(depth)) => *depth as f64,
                    _ => 1.0,
                };
                (size(0) as f64 * depth) as u64 + MADE
            }
            Self::Compared(at) => compared(&args[at]),
            Self::Sets(times) => 1 + size(0) * size(1) * u64::from(times),
            Self::Items => size(1),
            Self::Equals if own_type(args.first()) => 1,
            Self::Shorter | Self::Equals => per(size(0).min(size(1)), PER_CHARACTER),
            Self::Both => per(size(0) + size(1), PER_CHARACTER),
            Self::Pattern => pattern(size(0), size(1)),
            Self::Within => per(size(0), PER_CHARACTER) * per(size(1), PER_CHARACTER),
            Self::Traverse => args.first().map_or(0, traverse),
            Self::Selector => selector(size(1)),
            Self::ContainsIp(text) => {
                per(2 * size(0), PER_CHARACTER) + u64::from(text) * per(size(1), PER_CHARACTER)
            }
            Self::ContainsCidr(text) => {
                per(2 * size(0), PER_CHARACTER)
                    + per(size(0), PER_CHARACTER)
                    + 1
                    + u64::from(text) * per(size(1), PER_CHARACTER)
            }
            Self::Format => match args.first() {
                Some(Val::Opaque(Opaque::Format(format))) => pattern(size(1), format.pattern_size),
                _ => 1,
            },
        })
    }

    /// What the call costs, if only its result tells.
    pub fn after(self, found: &Outcome) -> u64 {
        if self == Self::Made {
            return found.as_ref().map_or(1, Val::size) + MADE;
        }
        per(found.as_ref().map_or(1, Val::size), 2.0 * PER_CHARACTER)
    }
}

/// Calling a function and making a list.
pub const MADE: u64 = 11;

fn compared(val: &Val) -> u64 {
    let Val::List(list) = val else {
        return MADE;
    };
    let texts = matches!(list.get(0), Some(Ok(Val::String(_) | Val::Bytes(_))));
    let factor = if texts { 2.0 + PER_CHARACTER } else { 2.0 };
    let size = list.len() as u64;
    (size.saturating_mul(size) as f64 * factor) as u64 + MADE
}

fn own_type(val: Option<&Val>) -> bool {
    matches!(val, Some(Val::Opaque(_)))
}

/// A size times a factor, rounded up.
fn per(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

fn pattern(text: u64, pattern: u64) -> u64 {
    per(text + 1, PER_CHARACTER) * per(pattern, PER_PATTERN_CHARACTER)
}

fn selector(length: u64) -> u64 {
    let requirements = per(length, 0.5);
    10 + per(length, PER_CHARACTER) + requirements * 50
}

fn traverse(val: &Val) -> u64 {
    match val {
        Val::String(text) => (text.len() as f64 * PER_CHARACTER) as u64,
        Val::Bytes(bytes) => (bytes.len() as f64 * PER_CHARACTER) as u64,
        Val::List(list) => items(list),
        Val::Map(map) => map
            .entries()
            .map(|(key, value)| traverse(&key) + value.as_ref().map_or(1, traverse))
            .sum(),
        _ => 1,
    }
}

fn items(list: &List) -> u64 {
    list.items()
        .map(|item| item.as_ref().map_or(1, traverse))
        .sum()
}
