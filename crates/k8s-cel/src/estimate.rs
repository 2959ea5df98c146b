//! What an expression costs at least and at most, before there is data.
//! One file: the estimate is one recursion, and reads beside upstream's.
//!
//! Upstream counterpart: cel-go's `checker/cost.go` and the estimates of
//! `k8s.io/apiserver/pkg/cel/library/cost.go`.

use crate::{
    Decl, Type,
    checker::{Checked, Reference},
    cost::{AUTHORIZATION, CallCost, MADE, PER_CHARACTER, PER_PATTERN_CHARACTER},
    library::MAX_NAME_REGEX,
    syntax::{ACCUMULATOR, Expr, Fold, Kind, Literal},
};
use machinery::SmolStr;
use std::collections::BTreeMap;

/// A range, of sizes or costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

const UNKNOWN: Estimate = Estimate {
    min: 0,
    max: u64::MAX,
};
/// The neutral element of [`Estimate::union`].
const NOTHING: Estimate = Estimate {
    min: u64::MAX,
    max: 0,
};

fn scale(size: u64, factor: f64) -> u64 {
    // Casting saturates, which is what upstream does by hand.
    (size as f64 * factor).ceil() as u64
}

impl Estimate {
    /// Exactly so much.
    pub const fn fixed(cost: u64) -> Self {
        Self {
            min: cost,
            max: cost,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            min: self.min.saturating_add(other.min),
            max: self.max.saturating_add(other.max),
        }
    }

    fn times(self, other: Self) -> Self {
        Self {
            min: self.min.saturating_mul(other.min),
            max: self.max.saturating_mul(other.max),
        }
    }

    fn scaled(self, factor: f64) -> Self {
        Self {
            min: scale(self.min, factor),
            max: scale(self.max, factor),
        }
    }

    fn union(self, other: Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

/// How large values may be, by where they are.
pub trait Sizes {
    /// Size of the value at a path: a variable, then fields, `@items`, `@keys` and `@values`.
    fn size(&self, path: &[SmolStr]) -> Option<Estimate>;
}

/// Nothing is known.
#[derive(Clone, Copy, Debug)]
pub struct UnknownSizes;

impl Sizes for UnknownSizes {
    fn size(&self, _path: &[SmolStr]) -> Option<Estimate> {
        None
    }
}

impl Sizes for Decl {
    /// All variables are of this type, as `self` and `oldSelf` are.
    fn size(&self, path: &[SmolStr]) -> Option<Estimate> {
        let found = self.at(path.get(1..)?)?;
        Some(Estimate {
            min: 0,
            max: found.max_elements,
        })
    }
}

/// What evaluating a tree costs.
pub fn estimate(checked: &Checked, sizes: &dyn Sizes, presence_costs: bool) -> Estimate {
    let count = checked.types.len();
    let mut coster = Coster {
        checked,
        sizes,
        presence: Estimate::fixed(presence_costs.into()),
        paths: vec![Vec::new(); count],
        computed: vec![None; count],
        entries: vec![None; count],
        locals: BTreeMap::new(),
    };
    // The published figures for presence tests are with no cost in either mode.
    coster.presence = Estimate::fixed(0);
    coster.cost(&checked.expr)
}

/// Sizes of keys and values (or indices and items) of a container.
#[derive(Clone, Copy)]
struct Entries {
    list: bool,
    key: Estimate,
    value: Estimate,
}

#[derive(Clone)]
struct Local {
    path: Vec<SmolStr>,
    size: Option<Estimate>,
    entries: Option<Entries>,
}

struct Coster<'c> {
    checked: &'c Checked,
    sizes: &'c dyn Sizes,
    presence: Estimate,
    paths: Vec<Vec<SmolStr>>,
    computed: Vec<Option<Estimate>>,
    entries: Vec<Option<Entries>>,
    locals: BTreeMap<SmolStr, Vec<Local>>,
}

impl Coster<'_> {
    fn ty(&self, expr: &Expr) -> &Type {
        &self.checked.types[expr.id]
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.get(name)?.last()
    }

    fn path(&self, expr: &Expr) -> Vec<SmolStr> {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths[expr.id].clone()
    }

    fn cost(&mut self, expr: &Expr) -> Estimate {
        match &expr.kind {
            Kind::Literal(_) => Estimate::default(),
            Kind::Ident(name) => {
                let path = self
                    .local(name)
                    .map_or_else(|| vec![name.clone()], |local| local.path.clone());
                self.paths[expr.id] = path;
                Estimate::fixed(1)
            }
            Kind::Select {
                operand,
                field,
                test,
            } => self.select(expr, operand, field, *test),
            Kind::Call { .. } => self.call(expr),
            Kind::List(items) => self.list(expr, items),
            Kind::Map(entries) => self.map(expr, entries),
            Kind::Struct { fields, .. } => fields.iter().fold(Estimate::fixed(40), |sum, field| {
                sum.plus(self.cost(&field.value))
            }),
            Kind::Fold(fold) if is_bind(fold) => self.bind(expr, fold),
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &SmolStr, test: bool) -> Estimate {
        let inner = self.cost(operand);
        if test {
            return inner.plus(self.presence);
        }
        let mut path = self.path(operand);
        path.push(field.clone());
        self.paths[expr.id] = path;
        match self.ty(operand) {
            Type::Map(_) | Type::Object(_) | Type::Param(_) => inner.plus(Estimate::fixed(1)),
            _ => inner,
        }
    }

    fn list(&mut self, expr: &Expr, items: &[(Expr, bool)]) -> Estimate {
        let mut sum = Estimate::fixed(10);
        let mut size = NOTHING;
        if items.is_empty() {
            size.min = 0;
        }
        for (item, _) in items {
            sum = sum.plus(self.cost(item));
            size = size.union(self.size_or_unknown(item));
        }
        self.entries[expr.id] = Some(Entries {
            list: true,
            key: Estimate::fixed(1),
            value: size,
        });
        sum
    }

    fn map(&mut self, expr: &Expr, entries: &[(Expr, Expr, bool)]) -> Estimate {
        let mut sum = Estimate::fixed(30);
        let (mut keys, mut values) = (NOTHING, NOTHING);
        if entries.is_empty() {
            (keys.min, values.min) = (0, 0);
        }
        for (key, value, _) in entries {
            sum = sum.plus(self.cost(key)).plus(self.cost(value));
            keys = keys.union(self.size_or_unknown(key));
            values = values.union(self.size_or_unknown(value));
        }
        self.entries[expr.id] = Some(Entries {
            list: false,
            key: keys,
            value: values,
        });
        sum
    }

    fn bind(&mut self, expr: &Expr, fold: &Fold) -> Estimate {
        let before = self.cost(&fold.range).plus(self.cost(&fold.init));
        let local = self.as_local(&fold.init);
        self.push(&fold.accu, local);
        let sum = before.plus(self.cost(&fold.result));
        self.pop(&fold.accu);
        self.copy(expr, &fold.result);
        sum
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) -> Estimate {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        let local = self.as_local(&fold.init);
        self.push(&fold.accu, local);
        let (key, value) = self.iterated(&fold.range);
        let single = if self.walks_list(&fold.range) {
            value.clone()
        } else {
            key.clone()
        };
        match &fold.var2 {
            Some(var2) => {
                self.push(&fold.var, key);
                self.push(var2, value);
            }
            None => self.push(&fold.var, single),
        }
        let turn = self.cost(&fold.step);
        let turn = self.cost(&fold.condition).plus(turn);
        self.pop(&fold.var);
        if let Some(var2) = &fold.var2 {
            self.pop(var2);
        }
        sum = sum.plus(self.cost(&fold.result));
        self.pop(&fold.accu);
        let count = self.size_or_unknown(&fold.range);
        match &fold.init.kind {
            Kind::Literal(_) => self.computed[expr.id] = self.size(&fold.init),
            Kind::List(_) | Kind::Map(_) => {
                self.computed[expr.id] = Some(count);
                if let Some(entries) = self.entry_sizes(&fold.step) {
                    self.entries[expr.id] = Some(entries);
                }
            }
            _ => {}
        }
        sum.plus(count.times(turn))
    }

    fn walks_list(&self, range: &Expr) -> bool {
        self.entry_sizes(range).map_or_else(
            || matches!(self.ty(range), Type::List(_)),
            |known| known.list,
        )
    }

    /// What is known of keys (or indices) and of values (or items) walked over.
    fn iterated(&self, range: &Expr) -> (Local, Local) {
        let sizes = self.entry_sizes(range);
        let (keys, values) = if self.walks_list(range) {
            ("@indices", "@items")
        } else {
            ("@keys", "@values")
        };
        let local = |step: &str, size: Option<Estimate>| {
            let mut path = self.path(range);
            path.push(step.into());
            Local {
                path,
                size,
                entries: None,
            }
        };
        (
            local(keys, sizes.map(|sizes| sizes.key)),
            local(values, sizes.map(|sizes| sizes.value)),
        )
    }

    fn as_local(&mut self, expr: &Expr) -> Local {
        Local {
            path: self.path(expr),
            size: self.size(expr),
            entries: self.entry_sizes(expr),
        }
    }

    fn push(&mut self, name: &SmolStr, local: Local) {
        self.locals.entry(name.clone()).or_default().push(local);
    }

    fn pop(&mut self, name: &SmolStr) {
        if let Some(stack) = self.locals.get_mut(name) {
            stack.pop();
        }
    }

    fn copy(&mut self, to: &Expr, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.computed[to.id] = Some(size);
        }
        if let Some(entries) = self.entry_sizes(from) {
            self.entries[to.id] = Some(entries);
        }
    }

    fn size(&mut self, expr: &Expr) -> Option<Estimate> {
        if let Some(known) = self.computed[expr.id] {
            return Some(known);
        }
        if let Some(size) = own_size(expr) {
            return Some(Estimate::fixed(size));
        }
        if let Some(size) = self.size_at(&self.path(expr)) {
            self.computed[expr.id] = Some(size);
            return Some(size);
        }
        if self.ty(expr).is_scalar() {
            return Some(Estimate::fixed(1));
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    fn size_at(&self, path: &[SmolStr]) -> Option<Estimate> {
        let first = path.first()?;
        if first == ACCUMULATOR {
            return None;
        }
        self.sizes.size(path)
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Estimate {
        self.size(expr).unwrap_or(UNKNOWN)
    }

    fn entry_sizes(&self, expr: &Expr) -> Option<Entries> {
        if let Some(known) = self.entries[expr.id] {
            return Some(known);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.entries),
            _ => None,
        }
    }

    fn call(&mut self, expr: &Expr) -> Estimate {
        let Kind::Call {
            function,
            target,
            args,
        } = &expr.kind
        else {
            return Estimate::default();
        };
        if function == "dyn" && args.len() == 1 {
            let cost = Estimate::fixed(1).plus(self.cost(&args[0]));
            self.copy(expr, &args[0]);
            return cost;
        }
        let costs: Vec<Estimate> = args.iter().map(|arg| self.cost(arg)).collect();
        let ids: Vec<&str> = match &self.checked.references[expr.id] {
            Some(Reference::Functions(overloads)) => {
                overloads.iter().map(|overload| overload.id).collect()
            }
            _ if function == "_?._" => vec!["select_optional_field"],
            _ => return Estimate::default(),
        };
        let mut sum = Estimate::default();
        if let Some(target) = target {
            sum = sum.plus(self.cost(target));
        }
        let mut cost = NOTHING;
        let mut size: Option<Estimate> = None;
        for id in ids {
            let call = CallOf {
                expr,
                function,
                id,
                target: target.as_deref(),
                args,
                costs: &costs,
            };
            let (found, result) = self.overload(&call);
            cost = cost.union(found);
            if let Some(result) = result {
                size = Some(size.map_or(result, |size| size.union(result)));
            }
            size = self.indexed(&call, size);
            if size.is_none() {
                size = self.size(expr);
            }
        }
        if size.is_some() {
            self.computed[expr.id] = size;
        }
        sum.plus(cost)
    }

    /// Indexing leads to items and values.
    fn indexed(&mut self, call: &CallOf, size: Option<Estimate>) -> Option<Estimate> {
        let step = match call.id {
            "index_list" => "@items",
            "index_map" => "@values",
            _ => return size,
        };
        let mut path = self.path(&call.args[0]);
        path.push(step.into());
        self.paths[call.expr.id] = path;
        self.entry_sizes(&call.args[0]).map(|sizes| sizes.value)
    }

    fn overload(&mut self, call: &CallOf) -> (Estimate, Option<Estimate>) {
        let all = call
            .costs
            .iter()
            .fold(Estimate::default(), |sum, cost| sum.plus(*cost));
        if let Some((cost, size)) = self.kubernetes(call) {
            return (cost.plus(all), size);
        }
        let args = call.args;
        match call.id {
            "logical_and" | "logical_or" => {
                let max = call.costs[0].plus(call.costs[1]).max;
                let min = call.costs[0].min;
                (Estimate { min, max }, None)
            }
            "conditional" => self.conditional(call),
            "add_string" | "add_bytes" | "add_list" => {
                let (cost, size) = self.addition(call);
                (cost.plus(all), Some(size))
            }
            "string_to_bytes" => {
                let size = self.size_or_unknown(&args[0]);
                let result = Estimate {
                    min: size.min,
                    max: size.max.wrapping_mul(4),
                };
                (size.scaled(PER_CHARACTER).plus(all), Some(result))
            }
            "strings_quote" => {
                let size = self.size_or_unknown(&args[0]);
                let result = Estimate {
                    min: size.min.wrapping_add(2),
                    max: size.max.wrapping_mul(2).wrapping_add(2),
                };
                (size.scaled(PER_CHARACTER).plus(all), Some(result))
            }
            "bytes_to_string" => {
                let size = self.size_or_unknown(&args[0]);
                let result = Estimate {
                    min: size.min / 4,
                    max: size.max,
                };
                (size.scaled(PER_CHARACTER).plus(all), Some(result))
            }
            _ => match self.extension(call) {
                Some((cost, size)) => (cost.plus(all), size),
                None => (self.plain(call).plus(all), None),
            },
        }
    }

    /// Functions over whole lists, which mostly make a new one.
    fn extension(&mut self, call: &CallOf) -> Option<(Estimate, Option<Estimate>)> {
        let first = call.target.or(call.args.first())?;
        let number = |at: usize, otherwise: u64| match call.args.get(at).map(|arg| &arg.kind) {
            Some(Kind::Literal(Literal::Int(number))) => u64::try_from(*number).unwrap_or(0),
            _ => otherwise,
        };
        let made = |factor: f64, size: Estimate| {
            let cost = size.scaled(factor).plus(Estimate::fixed(MADE));
            Some((cost, Some(size)))
        };
        match CallCost::of("", call.id) {
            CallCost::Sets(times) => {
                let both = self
                    .size_or_unknown(&call.args[0])
                    .times(self.size_or_unknown(&call.args[1]));
                let cost = both.scaled(times.into()).plus(Estimate::fixed(1));
                Some((cost, None))
            }
            CallCost::Flatten => {
                let depth = if call.args.is_empty() {
                    1
                } else {
                    number(0, u64::MAX)
                };
                made(depth as f64, self.size_or_unknown(first))
            }
            CallCost::Compared(at) => {
                let keys = if at == 0 { first } else { &call.args[0] };
                let text =
                    call.id.starts_with("list_string_") || call.id.starts_with("list_bytes_");
                let size = self.size_or_unknown(keys);
                made(
                    if text { 2.0 + PER_CHARACTER } else { 2.0 },
                    size.times(size),
                )
            }
            CallCost::Made if call.id == "list_slice" => {
                let most = self.size_or_unknown(first).max;
                let count = number(1, most).wrapping_sub(number(0, 0));
                made(1.0, Estimate::fixed(count))
            }
            CallCost::Made if call.id == "lists_range" => {
                made(1.0, Estimate::fixed(number(0, u64::MAX)))
            }
            CallCost::Made => made(1.0, self.size_or_unknown(first)),
            _ => None,
        }
    }

    /// Calls whose result has no size of its own.
    fn plain(&mut self, call: &CallOf) -> Estimate {
        let args = call.args;
        let subject = call.target.unwrap_or(args.first().unwrap_or(call.expr));
        match CallCost::of("", call.id) {
            CallCost::Items => self.size_or_unknown(&args[1]),
            CallCost::Shorter => self.comparison(args),
            _ if call.id == "equals" => self.comparison(args),
            CallCost::Pattern => self.pattern(subject, &args[0]),
            CallCost::Within => {
                let text = self.size_or_unknown(subject).scaled(PER_CHARACTER);
                text.times(self.size_or_unknown(&args[0]).scaled(PER_CHARACTER))
            }
            // What is read is the argument for these two, and the receiver for the format.
            CallCost::Read(_) if call.id == "string_format" => {
                self.size_or_unknown(subject).scaled(PER_CHARACTER)
            }
            CallCost::Read(_) => self.size_or_unknown(&args[0]).scaled(PER_CHARACTER),
            _ => Estimate::fixed(1),
        }
    }

    fn comparison(&mut self, args: &[Expr]) -> Estimate {
        let (a, b) = (
            self.size_or_unknown(&args[0]),
            self.size_or_unknown(&args[1]),
        );
        let max = a.max.min(b.max);
        let min = u64::from(max > 0);
        Estimate { min, max }.scaled(PER_CHARACTER)
    }

    fn pattern(&mut self, text: &Expr, pattern: &Expr) -> Estimate {
        let text = self
            .size_or_unknown(text)
            .plus(Estimate::fixed(1))
            .scaled(PER_CHARACTER);
        text.times(self.size_or_unknown(pattern).scaled(PER_PATTERN_CHARACTER))
    }

    fn conditional(&mut self, call: &CallOf) -> (Estimate, Option<Estimate>) {
        let (args, costs) = (call.args, call.costs);
        let size = self
            .size_or_unknown(&args[1])
            .union(self.size_or_unknown(&args[2]));
        let sizes = (self.entry_sizes(&args[1]), self.entry_sizes(&args[2]));
        if let (Some(a), Some(b)) = sizes {
            self.entries[call.expr.id] = Some(joined(a, b));
        }
        let cost = costs[0].plus(costs[1].union(costs[2]));
        (cost, Some(size))
    }

    fn addition(&mut self, call: &CallOf) -> (Estimate, Estimate) {
        let args = call.args;
        let size = self
            .size_or_unknown(&args[0])
            .plus(self.size_or_unknown(&args[1]));
        let sizes = (self.entry_sizes(&args[0]), self.entry_sizes(&args[1]));
        if let (Some(a), Some(b)) = sizes {
            self.entries[call.expr.id] = Some(joined(a, b));
        }
        let cost = if call.id == "add_list" {
            Estimate::fixed(1)
        } else {
            size.scaled(PER_CHARACTER)
        };
        (cost, size)
    }

    /// Kubernetes' own rules, by the function's name.
    fn kubernetes(&mut self, call: &CallOf) -> Option<(Estimate, Option<Estimate>)> {
        let rule = CallCost::of_function(call.function, call.id);
        let first = call.args.first();
        let cost = match (rule, call.function) {
            (_, "replace") => return Some(self.replace(call)),
            (_, "split") => return Some(self.split(call)),
            (_, "join") => return Some(self.join(call)),
            (Some(CallCost::Fixed(_)), _) => Estimate::fixed(AUTHORIZATION),
            (Some(CallCost::Selector), _) => self.selector(first?),
            (Some(CallCost::Traverse), _) => self.traverse(call.target?),
            (Some(CallCost::Read(1)), "lowerAscii" | "upperAscii" | "substring" | "trim") => {
                let size = self.size_or_unknown(call.target?);
                return Some((size.scaled(PER_CHARACTER), Some(size)));
            }
            (Some(CallCost::Read(1)), "url" | "jsonpatch.escapeKey") => {
                let size = self.size_or_unknown(first?);
                return Some((size.scaled(PER_CHARACTER), Some(size)));
            }
            (Some(CallCost::Read(times)), _) => self
                .size_or_unknown(first?)
                .scaled(f64::from(times) * PER_CHARACTER),
            (Some(CallCost::Pattern), _) => {
                let target = call.target?;
                let size = self.size_or_unknown(target);
                let result = Estimate {
                    min: 0,
                    max: size.max,
                };
                return Some((self.pattern(target, first?), Some(result)));
            }
            (Some(CallCost::ContainsIp(text)), _) => self.contains(first?, text),
            (Some(CallCost::ContainsCidr(text)), _) => self
                .contains(first?, text)
                .plus(ADDRESS.scaled(PER_CHARACTER))
                .plus(Estimate::fixed(1)),
            (Some(CallCost::Format), _) => self
                .size_or_unknown(first?)
                .scaled(PER_CHARACTER)
                .scaled(MAX_NAME_REGEX as f64 * PER_PATTERN_CHARACTER),
            (Some(CallCost::Equals), _) => self.equal_opaque(call.args)?,
            _ => return None,
        };
        Some((cost, None))
    }

    fn equal_opaque(&mut self, args: &[Expr]) -> Option<Estimate> {
        let Type::Opaque(name) = *self.ty(&args[0]) else {
            return None;
        };
        if self.ty(&args[1]) != &Type::Opaque(name) {
            return None;
        }
        Some(match name {
            "kubernetes.NamedFormat" => Estimate { min: 1, max: 64 }.scaled(PER_CHARACTER),
            "kubernetes.URL" => {
                let max = self.size(&args[1]).map_or(1, |size| size.max);
                Estimate { min: 1, max }.scaled(PER_CHARACTER)
            }
            _ => Estimate::fixed(1),
        })
    }

    fn selector(&mut self, text: &Expr) -> Estimate {
        let length = self.size_or_unknown(text);
        Estimate::fixed(10)
            .plus(length.scaled(PER_CHARACTER))
            .plus(length.scaled(0.5).scaled(50.0))
    }

    fn contains(&mut self, other: &Expr, text: bool) -> Estimate {
        let cost = ADDRESS.plus(ADDRESS).scaled(PER_CHARACTER);
        if text {
            cost.plus(self.size_or_unknown(other).scaled(PER_CHARACTER))
        } else {
            cost
        }
    }

    /// Size of the items of a list; nothing for what is no list.
    fn item_size(&self, list: &Expr) -> Option<Estimate> {
        let Type::List(_) = self.ty(list) else {
            return None;
        };
        let mut path = self.path(list);
        if path.is_empty() {
            return Some(UNKNOWN);
        }
        path.push("@items".into());
        Some(self.size_at(&path).unwrap_or(UNKNOWN))
    }

    fn traverse(&mut self, target: &Expr) -> Estimate {
        let size = self.size_or_unknown(target);
        let Some(item) = self.item_size(target) else {
            return size.scaled(PER_CHARACTER);
        };
        let mut each = Estimate::fixed(1);
        if let Type::List(of) = self.ty(target)
            && matches!(**of, Type::String | Type::Bytes)
        {
            each = each.plus(item.scaled(PER_CHARACTER));
        }
        size.times(each)
    }

    fn replace(&mut self, call: &CallOf) -> (Estimate, Option<Estimate>) {
        let text = call
            .target
            .map_or(UNKNOWN, |text| self.size_or_unknown(text));
        let from = self.size_or_unknown(&call.args[0]);
        let to = self.size_or_unknown(&call.args[1]);
        let (mut count, mut kept) = (Estimate::default(), Estimate::default());
        if from.min == 0 {
            count.max = text.max.saturating_add(1);
            kept.max = text.max;
        } else if to.max <= from.min {
            kept.max = text.max;
        } else {
            count.max = (text.max as f64 / from.min as f64).ceil() as u64;
        }
        if from.max == 0 {
            count.min = text.min.saturating_add(1);
            kept.min = text.min;
        } else if from.max <= to.min {
            kept.min = text.min;
        } else {
            count.min = (text.min as f64 / from.max as f64).ceil() as u64;
        }
        let size = count.times(to).plus(kept);
        (text.scaled(2.0 * PER_CHARACTER), Some(size))
    }

    fn split(&mut self, call: &CallOf) -> (Estimate, Option<Estimate>) {
        let text = call
            .target
            .map_or(UNKNOWN, |text| self.size_or_unknown(text));
        let mut max = text.max;
        if let Some(Kind::Literal(Literal::Int(most))) = call.args.get(1).map(|arg| &arg.kind) {
            max = *most as u64;
        }
        let size = Estimate { min: 0, max };
        (text.scaled(2.0 * PER_CHARACTER), Some(size))
    }

    fn join(&mut self, call: &CallOf) -> (Estimate, Option<Estimate>) {
        let Some(list) = call.target else {
            return (Estimate::fixed(1), None);
        };
        let count = self.size_or_unknown(list);
        let mut size = self
            .item_size(list)
            .map_or(Estimate::default(), |item| count.times(item));
        if let Some(between) = call.args.first() {
            let gaps = Estimate {
                min: count.min.saturating_sub(1),
                max: count.max.saturating_sub(1),
            };
            size = size.plus(self.size_or_unknown(between).times(gaps));
        }
        (size.scaled(PER_CHARACTER), Some(size))
    }
}

/// Bytes of an address.
const ADDRESS: Estimate = Estimate { min: 4, max: 16 };

struct CallOf<'e> {
    expr: &'e Expr,
    function: &'e str,
    id: &'e str,
    target: Option<&'e Expr>,
    args: &'e [Expr],
    costs: &'e [Estimate],
}

fn joined(a: Entries, b: Entries) -> Entries {
    Entries {
        list: a.list,
        key: a.key.union(b.key),
        value: a.value.union(b.value),
    }
}

fn is_bind(fold: &Fold) -> bool {
    fold.accu != ACCUMULATOR
        && matches!(&fold.range.kind, Kind::List(items) if items.is_empty())
        && matches!(fold.condition.kind, Kind::Literal(Literal::Bool(false)))
}

fn own_size(expr: &Expr) -> Option<u64> {
    Some(match &expr.kind {
        Kind::Literal(Literal::String(text)) => text.chars().count() as u64,
        Kind::Literal(Literal::Bytes(bytes)) => bytes.len() as u64,
        Kind::Literal(_) => 1,
        Kind::List(items) => items.len() as u64,
        Kind::Map(entries) => entries.len() as u64,
        _ => return None,
    })
}
