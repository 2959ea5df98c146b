//! Running a plan over values, counting what it costs.
//! One file: each step is a few lines over the same frame.
//!
//! Upstream counterpart: cel-go's `interpreter`.

use crate::{
    Bindings, EvalError, List, MadeMap, Map, Outcome, Val,
    library::wrong,
    plan::{Call, FoldStep, Key, Path, Root, Selection, Step},
};
use machinery::SmolStr;
use std::sync::Arc;

const LIST_COST: u64 = 10;
const MAP_COST: u64 = 30;
const MESSAGE_COST: u64 = 40;

/// One evaluation.
pub struct Frame<'a, 'b> {
    bindings: &'b Bindings<'a>,
    locals: Vec<Val<'a>>,
    /// What it has cost.
    pub cost: u64,
    limit: u64,
    presence_costs: bool,
}

impl Frame<'static, '_> {
    /// The value of a step that refers to nothing.
    ///
    /// # Errors
    /// Whatever goes wrong.
    pub fn constant(step: &Step) -> Outcome<'static> {
        let bindings = Bindings::new();
        Frame::new(&bindings, u64::MAX, false).step(step)
    }
}

impl<'a, 'b> Frame<'a, 'b> {
    /// A frame that stops beyond `limit`.
    pub fn new(bindings: &'b Bindings<'a>, limit: u64, presence_costs: bool) -> Self {
        Self {
            bindings,
            locals: Vec::new(),
            cost: 0,
            limit,
            presence_costs,
        }
    }

    fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit {
            return Err(EvalError::Cost);
        }
        Ok(())
    }

    /// The value of a step.
    ///
    /// # Errors
    /// Whatever goes wrong, and the cost limit.
    pub fn step(&mut self, step: &Step) -> Outcome<'a> {
        match step {
            Step::Const(value) => Ok(value.clone()),
            Step::Path(path) => self.path(path),
            Step::Has(path) => self.has(path),
            Step::Logic(all, terms) => self.logic(*all, terms),
            Step::If(parts) => self.condition(parts),
            Step::Call(call) => self.call(call),
            Step::InConstants(pair) => {
                let value = self.step(&pair.0)?;
                Ok(Val::Bool(pair.1.iter().any(|known| known.equals(&value))))
            }
            Step::NotFalse(inner) => self.not_false(inner),
            Step::Or(pair, plain) => self.or(pair, *plain),
            Step::List(items) => self.list(items),
            Step::Map(entries) => self.map(entries),
            Step::Message(name, fields) => self.message(name, fields),
            Step::Fold(fold) => self.fold(fold),
            Step::Extend(slot, items) => self.extend(*slot, items),
            Step::Insert(slot, entry) => self.insert(*slot, entry),
        }
    }

    fn root(&mut self, root: &Root) -> Outcome<'a> {
        match root {
            Root::Variable(name) => match self.bindings.get(name) {
                Some(value) => value.clone().ready(),
                None => Err(EvalError::new(format!("no such attribute(s): {name}"))),
            },
            Root::Local(slot) => self.locals[*slot].clone().ready(),
            Root::Result(step) | Root::Condition(step) => self.step(step),
        }
    }

    fn path(&mut self, path: &Path) -> Outcome<'a> {
        let found = match self.root(&path.root) {
            Ok(value) => self.select(value, &path.selections),
            Err(error) => Err(error),
        };
        if !matches!(path.root, Root::Condition(_)) && found != FAILED_BY_COST {
            self.charge(1)?;
        }
        found
    }

    fn select(&mut self, mut value: Val<'a>, selections: &[Selection]) -> Outcome<'a> {
        let mut optional = false;
        for selection in selections {
            if let Val::Optional(inner) = value {
                let Some(inner) = inner else {
                    return Ok(Val::Optional(None));
                };
                value = (*inner).clone();
                optional = true;
            }
            optional |= selection.optional;
            let found = self.selected(&value, &selection.key);
            value = match found {
                Ok(Some(found)) => {
                    self.charge(1)?;
                    found
                }
                Ok(None) if optional => return Ok(Val::Optional(None)),
                Ok(None) => {
                    self.charge(1)?;
                    return Err(absent(&value, &selection.key, self));
                }
                Err(error) => {
                    self.charge(1)?;
                    return Err(error);
                }
            };
        }
        Ok(if optional { Val::some(value) } else { value })
    }

    /// What is at `key`; computed keys cost what computing them does.
    fn selected(&mut self, value: &Val<'a>, key: &Key) -> Result<Option<Val<'a>>, EvalError> {
        match key {
            Key::Field(name) => match value {
                Val::Map(Map::Lazy) => self.bindings.lazy(name).transpose(),
                Val::Map(map) => map.field(name).transpose(),
                _ => Err(EvalError::new(format!("no such key: {name}"))),
            },
            Key::Const(key) => at(value, key),
            Key::Computed(step, is_path) => {
                let key = self.step(step)?;
                // The root of a path used as a key is not counted beside the selection.
                self.cost -= u64::from(*is_path && self.cost > 0);
                at(value, &key)
            }
        }
    }

    fn has(&mut self, path: &Path) -> Outcome<'a> {
        let (last, before) = path
            .selections
            .split_last()
            .expect("a presence test selects something");
        let root = self.root(&path.root)?;
        let value = self.select(root, before)?;
        let value = match value {
            Val::Optional(None) => return Ok(Val::Bool(false)),
            Val::Optional(Some(inner)) => (*inner).clone(),
            other => other,
        };
        self.charge(1 + u64::from(self.presence_costs))?;
        let Key::Field(name) = &last.key else {
            return Err(wrong());
        };
        match value {
            Val::Map(Map::Lazy) => Ok(Val::Bool(self.bindings.lazy(name).is_some())),
            Val::Map(map) => Ok(Val::Bool(map.field(name).is_some())),
            _ => Err(EvalError::no_overload("")),
        }
    }

    fn logic(&mut self, all: bool, terms: &[Step]) -> Outcome<'a> {
        let mut failed = None;
        for term in terms {
            match self.step(term) {
                Ok(Val::Bool(flag)) if flag != all => return Ok(Val::Bool(flag)),
                Ok(Val::Bool(_)) => {}
                Ok(_) => {
                    failed.get_or_insert_with(|| EvalError::no_overload(""));
                }
                Err(EvalError::Cost) => return Err(EvalError::Cost),
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(Val::Bool(all)), Err)
    }

    fn condition(&mut self, parts: &[Step; 3]) -> Outcome<'a> {
        let branch = match self.step(&parts[0])? {
            Val::Bool(true) => &parts[1],
            Val::Bool(false) => &parts[2],
            _ => return Err(EvalError::no_overload("")),
        };
        let found = self.step(branch);
        // The root of a path that is a branch is not counted.
        if let Step::Path(path) = branch
            && !matches!(path.root, Root::Condition(_))
            && found != FAILED_BY_COST
        {
            self.cost = self.cost.saturating_sub(1);
        }
        found
    }

    fn not_false(&mut self, inner: &Step) -> Outcome<'a> {
        let found = self.step(inner);
        if found == FAILED_BY_COST {
            return found;
        }
        self.charge(1)?;
        Ok(Val::Bool(!matches!(found, Ok(Val::Bool(false)))))
    }

    fn or(&mut self, pair: &(Step, Step), plain: bool) -> Outcome<'a> {
        match self.step(&pair.0)? {
            Val::Optional(Some(value)) if plain => Ok((*value).clone()),
            Val::Optional(Some(value)) => Ok(Val::Optional(Some(value))),
            Val::Optional(None) => self.step(&pair.1),
            _ => Err(EvalError::no_overload("")),
        }
    }

    fn call(&mut self, call: &Call) -> Outcome<'a> {
        match &call.args[..] {
            [] => self.finish(call, &[]),
            [only] => {
                let only = self.arg(only)?;
                self.finish(call, &[only])
            }
            [first, second] => {
                let first = self.arg(first)?;
                let second = self.arg(second)?;
                self.finish(call, &[first, second])
            }
            args => {
                let mut values = Vec::with_capacity(args.len());
                for arg in args {
                    values.push(self.arg(arg)?);
                }
                self.finish(call, &values)
            }
        }
    }

    /// An argument. One that failed still lets the others be looked at, as their cost counts.
    fn arg(&mut self, step: &Step) -> Outcome<'a> {
        match self.step(step) {
            Err(EvalError::Cost) => Err(EvalError::Cost),
            Err(error) => Ok(Val::Failed(Arc::new(error))),
            Ok(value) => Ok(value),
        }
    }

    fn finish(&mut self, call: &Call, args: &[Val<'a>]) -> Outcome<'a> {
        let failed = args.iter().find_map(|arg| match arg {
            Val::Failed(error) => Some((**error).clone()),
            _ => None,
        });
        // Costs that follow from the arguments are charged before the work is done.
        let before = call.cost.before(args);
        if let Some(cost) = before {
            self.charge(cost)?;
        }
        let found = match failed {
            Some(error) => Err(error),
            None => run(call, args),
        };
        if before.is_none() {
            self.charge(call.cost.after(&found))?;
        }
        found
    }

    fn list(&mut self, items: &[(Step, bool)]) -> Outcome<'a> {
        let mut values = Vec::with_capacity(items.len());
        for (item, optional) in items {
            match self.step(item)? {
                Val::Optional(value) if *optional => {
                    values.extend(value.map(|value| (*value).clone()));
                }
                value => values.push(value),
            }
        }
        self.charge(LIST_COST)?;
        Ok(Val::list(values))
    }

    fn map(&mut self, entries: &[(Step, Step, bool)]) -> Outcome<'a> {
        let mut map = MadeMap::default();
        for (key, value, optional) in entries {
            let key = self.step(key)?;
            let value = match self.step(value)? {
                Val::Optional(value) if *optional => {
                    let Some(value) = value else { continue };
                    (*value).clone()
                }
                value => value,
            };
            map.insert(key, value)?;
        }
        self.charge(MAP_COST)?;
        Ok(Val::Map(Map::Made(Arc::new(map))))
    }

    fn message(&mut self, name: &SmolStr, fields: &[(SmolStr, Step, bool)]) -> Outcome<'a> {
        let mut values = Vec::with_capacity(fields.len());
        for (field, value, optional) in fields {
            match self.step(value)? {
                Val::Optional(value) if *optional => {
                    values.extend(value.map(|value| (field.clone(), (*value).clone())));
                }
                value => values.push((field.clone(), value)),
            }
        }
        self.charge(MESSAGE_COST)?;
        Ok(Val::object(name.clone(), values))
    }

    fn fold(&mut self, fold: &FoldStep) -> Outcome<'a> {
        let range = self.step(&fold.range)?;
        let init = match self.step(&fold.init) {
            Err(EvalError::Cost) => return Err(EvalError::Cost),
            Err(error) => Val::Failed(Arc::new(error)),
            Ok(value) => value,
        };
        let depth = self.locals.len();
        self.locals.push(init);
        self.locals.push(Val::Null);
        self.locals.push(Val::Null);
        let walked = self.walk(fold, &range, depth);
        let result = match walked {
            Ok(()) => self.step(&fold.result),
            Err(error) => Err(error),
        };
        self.locals.truncate(depth);
        result
    }

    fn walk(&mut self, fold: &FoldStep, range: &Val<'a>, slot: usize) -> Result<(), EvalError> {
        match range {
            Val::List(list) => {
                for (at, item) in list.items().enumerate() {
                    let item = failed(item);
                    let (first, second) = if fold.two {
                        (Val::Int(at as i64), item)
                    } else {
                        (item, Val::Null)
                    };
                    if !self.turn(fold, slot, first, second)? {
                        break;
                    }
                }
            }
            Val::Map(map) => {
                for (key, value) in map.entries() {
                    if !self.turn(fold, slot, key, failed(value))? {
                        break;
                    }
                }
            }
            _ => {
                return Err(EvalError::no_overload(
                    "iterating over a value that is no list or map",
                ));
            }
        }
        Ok(())
    }

    fn turn(
        &mut self,
        fold: &FoldStep,
        slot: usize,
        first: Val<'a>,
        second: Val<'a>,
    ) -> Result<bool, EvalError> {
        self.locals[slot + 1] = first;
        self.locals[slot + 2] = second;
        let go_on = self.step(&fold.condition)?;
        if !matches!(go_on, Val::Bool(true)) {
            return Ok(false);
        }
        self.locals[slot] = match self.step(&fold.step) {
            Err(EvalError::Cost) => return Err(EvalError::Cost),
            next => failed(next),
        };
        Ok(true)
    }

    fn extend(&mut self, slot: usize, items: &Step) -> Outcome<'a> {
        let items = self.step(items);
        if items == FAILED_BY_COST {
            return items;
        }
        // One for the accumulator's name and one for the addition.
        self.charge(2)?;
        let accumulator = std::mem::replace(&mut self.locals[slot], Val::Null);
        let Val::List(List::Made(mut list)) = accumulator else {
            return accumulator.ready().and_then(|_| Err(wrong()));
        };
        let Val::List(more) = items? else {
            return Err(wrong());
        };
        Arc::make_mut(&mut list).extend(more.to_vec()?);
        Ok(Val::List(List::Made(list)))
    }

    fn insert(&mut self, slot: usize, entry: &[Step]) -> Outcome<'a> {
        let mut values = Vec::with_capacity(entry.len());
        for step in entry {
            values.push(self.arg(step)?);
        }
        self.charge(2)?;
        let accumulator = std::mem::replace(&mut self.locals[slot], Val::Null);
        let Val::Map(Map::Made(mut map)) = accumulator else {
            return accumulator.ready().and_then(|_| Err(wrong()));
        };
        let target = Arc::make_mut(&mut map);
        let mut values = values.into_iter().map(Val::ready);
        match (values.next(), values.next()) {
            (Some(key), Some(value)) => target.insert(key?, value?)?,
            (Some(more), None) => {
                let Val::Map(more) = more? else {
                    return Err(wrong());
                };
                for (key, value) in more.entries() {
                    target.insert(key, value?)?;
                }
            }
            _ => return Err(wrong()),
        }
        Ok(Val::Map(Map::Made(map)))
    }
}

const FAILED_BY_COST: Outcome<'static> = Err(EvalError::Cost);

fn failed(found: Outcome<'_>) -> Val<'_> {
    found.unwrap_or_else(|error| Val::Failed(Arc::new(error)))
}

impl PartialEq for Val<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other)
    }
}

fn at<'a>(value: &Val<'a>, key: &Val) -> Result<Option<Val<'a>>, EvalError> {
    match (value, key) {
        (Val::List(list), _) => {
            let place = match key {
                Val::Int(place) => usize::try_from(*place).ok(),
                Val::Uint(place) => usize::try_from(*place).ok(),
                Val::Double(place) if place.fract() == 0.0 && *place >= 0.0 => {
                    Some(*place as usize)
                }
                _ => return Err(EvalError::new("unsupported index type in list")),
            };
            place.and_then(|place| list.get(place)).transpose()
        }
        (Val::Map(map), Val::String(name)) => map.field(name).transpose(),
        (Val::Map(Map::Made(map)), _) => Ok(map.get(key).cloned()),
        (Val::Map(_), _) => Ok(None),
        _ => Err(EvalError::no_overload("")),
    }
}

fn absent<'a>(value: &Val<'a>, key: &Key, frame: &mut Frame<'a, '_>) -> EvalError {
    let shown = match key {
        Key::Field(name) => name.to_string(),
        Key::Const(key) => crate::library::show(key),
        Key::Computed(step, _) => {
            // Told for the error only: costs nothing more.
            let cost = frame.cost;
            let shown = frame
                .step(step)
                .map_or_else(|_| String::new(), |key| crate::library::show(&key));
            frame.cost = cost;
            shown
        }
    };
    EvalError::new(if matches!(value, Val::List(_)) {
        format!("index out of bounds: {shown}")
    } else {
        format!("no such key: {shown}")
    })
}

fn run<'a>(call: &Call, args: &[Val<'a>]) -> Outcome<'a> {
    let overload = if call.dynamic {
        call.overloads
            .iter()
            .find(|overload| overload.takes(call.member, args))
    } else {
        call.overloads.first()
    };
    match overload {
        Some(overload) => (overload.run)(args),
        None => Err(EvalError::no_overload(&call.name)),
    }
}
