//! A checked tree made ready to run: names became places, calls functions, constants values.
//!
//! Upstream counterpart: cel-go's `interpreter/planner.go` and `decorators.go`.

use crate::{
    EvalError, MadeMap, Map, Type, Val,
    checker::{Checked, Reference},
    cost::CallCost,
    eval::Frame,
    library::Overload,
    syntax::{Expr, Fold, Kind, Literal},
};
use machinery::SmolStr;
use std::sync::Arc;

/// One step of a program.
#[derive(Debug)]
pub enum Step {
    /// A value known beforehand; free.
    Const(Val<'static>),
    /// A name and what is selected from it.
    Path(Box<Path>),
    /// Whether the last selection of a path leads to something.
    Has(Box<Path>),
    /// `&&` of all, or `||` of all.
    Logic(bool, Vec<Step>),
    /// `a ? b : c`.
    If(Box<[Step; 3]>),
    /// A function.
    Call(Box<Call>),
    /// `x in [constants]`; free.
    InConstants(Box<(Step, Vec<Val<'static>>)>),
    /// `@not_strictly_false`.
    NotFalse(Box<Step>),
    /// `or` (false) and `orValue` (true) of optionals; free.
    Or(Box<(Step, Step)>, bool),
    /// A list; the flag marks optional items.
    List(Vec<(Step, bool)>),
    /// A map; the flag marks optional entries.
    Map(Vec<(Step, Step, bool)>),
    /// A message.
    Message(SmolStr, Vec<(SmolStr, Step, bool)>),
    /// A comprehension.
    Fold(Box<FoldStep>),
    /// `accumulator + [..]`, in place.
    Extend(usize, Box<Step>),
    /// An entry added to the map that the accumulator holds, in place.
    Insert(usize, Vec<Step>),
}

/// Where a path starts.
#[derive(Debug)]
pub enum Root {
    /// A variable of the environment.
    Variable(SmolStr),
    /// A variable of a comprehension.
    Local(usize),
    /// A result.
    Result(Step),
    /// A condition, whose selections cost and which itself does not.
    Condition(Step),
}

/// A root and what is selected from it.
#[derive(Debug)]
pub struct Path {
    /// Where it starts.
    pub root: Root,
    /// What is selected, one after the other.
    pub selections: Vec<Selection>,
}

/// A member or an item.
#[derive(Debug)]
pub struct Selection {
    /// Which.
    pub key: Key,
    /// Whether absence is fine.
    pub optional: bool,
}

/// Which member or item.
#[derive(Debug)]
pub enum Key {
    /// The field of that name.
    Field(SmolStr),
    /// The item of a constant key.
    Const(Val<'static>),
    /// The item of a computed key; the flag says whether the step is a path, whose root is the
    /// selection.
    Computed(Step, bool),
}

/// A call.
#[derive(Debug)]
pub struct Call {
    /// Name, for errors.
    pub name: SmolStr,
    /// Whether the first argument is a receiver.
    pub member: bool,
    /// What it may mean.
    pub overloads: Vec<&'static Overload>,
    /// Whether types of arguments must be looked at when it runs.
    pub dynamic: bool,
    /// Arguments.
    pub args: Vec<Step>,
    /// What it costs.
    pub cost: CallCost,
}

/// A comprehension.
#[derive(Debug)]
pub struct FoldStep {
    /// What is walked over.
    pub range: Step,
    /// Whether there are two variables.
    pub two: bool,
    /// First value of the accumulator.
    pub init: Step,
    /// Whether to go on.
    pub condition: Step,
    /// Next value.
    pub step: Step,
    /// What comes out.
    pub result: Step,
}

/// Makes a checked tree ready. With `optimize`, constants are worked out now and cost nothing.
///
/// # Errors
/// A constant conversion that fails.
pub fn plan(checked: &Checked, optimize: bool) -> Result<Step, EvalError> {
    let mut planner = Planner {
        checked,
        optimize,
        locals: Vec::new(),
    };
    planner.step(&checked.expr)
}

struct Planner<'c> {
    checked: &'c Checked,
    optimize: bool,
    locals: Vec<SmolStr>,
}

type Planned = Result<Step, EvalError>;

/// Conversions that are worked out beforehand where their argument is constant.
const CONVERSIONS: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "int",
    "string",
    "timestamp",
    "type",
    "uint",
];

impl Planner<'_> {
    fn step(&mut self, expr: &Expr) -> Planned {
        Ok(match &expr.kind {
            Kind::Literal(literal) => Step::Const(value(literal)),
            Kind::Ident(name) => self.ident(expr, name),
            Kind::Select {
                operand,
                field,
                test,
            } => {
                let mut path = self.path(operand)?;
                path.selections.push(Selection {
                    key: Key::Field(field.clone()),
                    optional: false,
                });
                if *test {
                    Step::Has(Box::new(path))
                } else {
                    Step::Path(Box::new(path))
                }
            }
            Kind::Call { .. } => self.call(expr)?,
            Kind::List(items) => self.list(items)?,
            Kind::Map(entries) => self.map(entries)?,
            Kind::Struct { name, fields } => {
                let mut planned = Vec::new();
                for field in fields {
                    let step = self.step(&field.value)?;
                    planned.push((field.name.clone(), step, field.optional));
                }
                Step::Message(name.clone(), planned)
            }
            Kind::Fold(fold) => self.fold(fold)?,
        })
    }

    fn ident(&mut self, expr: &Expr, name: &SmolStr) -> Step {
        let root = match &self.checked.references[expr.id] {
            Some(Reference::Type(ty)) => return Step::Const(Val::Type(ty.clone())),
            Some(Reference::Local(_)) => Root::Local(
                self.locals
                    .iter()
                    .rposition(|known| known == name)
                    .expect("the checker found the local"),
            ),
            _ => Root::Variable(name.clone()),
        };
        Step::Path(Box::new(Path {
            root,
            selections: Vec::new(),
        }))
    }

    /// What selections are added to.
    fn path(&mut self, operand: &Expr) -> Result<Path, EvalError> {
        Ok(match self.step(operand)? {
            Step::Path(path) => *path,
            Step::If(parts) => Path {
                root: Root::Condition(Step::If(parts)),
                selections: Vec::new(),
            },
            other => Path {
                root: Root::Result(other),
                selections: Vec::new(),
            },
        })
    }

    fn call(&mut self, expr: &Expr) -> Planned {
        let Kind::Call {
            function,
            target,
            args,
        } = &expr.kind
        else {
            return Err(EvalError::no_overload(""));
        };
        match function.as_str() {
            "_&&_" | "_||_" => {
                let mut terms = Vec::new();
                self.terms(expr, function, &mut terms)?;
                return Ok(Step::Logic(function == "_&&_", terms));
            }
            "_?_:_" => {
                let parts = [
                    self.step(&args[0])?,
                    self.step(&args[1])?,
                    self.step(&args[2])?,
                ];
                return Ok(Step::If(Box::new(parts)));
            }
            "_[_]" | "_[?_]" | "_?._" => return self.index(function, &args[0], &args[1]),
            "@not_strictly_false" => return Ok(Step::NotFalse(Box::new(self.step(&args[0])?))),
            "or" | "orValue" => {
                if let Some(target) = target {
                    let pair = (self.step(target)?, self.step(&args[0])?);
                    return Ok(Step::Or(Box::new(pair), function == "orValue"));
                }
            }
            _ => {}
        }
        let mut steps = Vec::new();
        for arg in target.iter().map(|target| &**target).chain(args) {
            steps.push(self.step(arg)?);
        }
        self.function(expr, function, target.is_some(), steps)
    }

    fn terms(&mut self, expr: &Expr, name: &str, out: &mut Vec<Step>) -> Result<(), EvalError> {
        match &expr.kind {
            Kind::Call { function, args, .. } if function == name => {
                args.iter().try_for_each(|arg| self.terms(arg, name, out))
            }
            _ => {
                out.push(self.step(expr)?);
                Ok(())
            }
        }
    }

    fn index(&mut self, function: &str, operand: &Expr, key: &Expr) -> Planned {
        let mut path = self.path(operand)?;
        let key = match self.step(key)? {
            Step::Const(Val::String(name)) if function == "_?._" => {
                Key::Field(SmolStr::new(&*name))
            }
            Step::Const(value) => Key::Const(value),
            step => {
                let is_path = matches!(step, Step::Path(_));
                Key::Computed(step, is_path)
            }
        };
        path.selections.push(Selection {
            key,
            optional: function != "_[_]",
        });
        Ok(Step::Path(Box::new(path)))
    }

    fn function(&mut self, expr: &Expr, name: &SmolStr, member: bool, args: Vec<Step>) -> Planned {
        let overloads = match &self.checked.references[expr.id] {
            Some(Reference::Functions(overloads)) => overloads.clone(),
            _ => Vec::new(),
        };
        if let Some(step) = self.in_place(expr, name, &overloads) {
            return step;
        }
        let is_in = overloads.first().is_some_and(|first| first.id == "in_list");
        let mut args = args;
        if self.optimize && is_in {
            match in_constants(args)? {
                Ok(step) => return Ok(step),
                Err(same) => args = same,
            }
        }
        let dynamic = overloads.len() != 1 || self.has_dynamic(expr);
        let id = if overloads.len() == 1 {
            overloads[0].id
        } else {
            ""
        };
        let constant = self.optimize
            && CONVERSIONS.contains(&name.as_str())
            && matches!(&args[..], [Step::Const(_)]);
        let step = Step::Call(Box::new(Call {
            name: name.clone(),
            member,
            cost: CallCost::of(name, id),
            overloads,
            dynamic,
            args,
        }));
        if constant {
            return Frame::constant(&step).map(Step::Const);
        }
        Ok(step)
    }

    /// Whether the type of an argument is only known when it runs.
    fn has_dynamic(&self, expr: &Expr) -> bool {
        let Kind::Call { target, args, .. } = &expr.kind else {
            return true;
        };
        let unknown = |arg: &Expr| {
            let ty = &self.checked.types[arg.id];
            ty.is_dyn() || matches!(ty, Type::Null) || ty.params().iter().any(|ty| ty.is_dyn())
        };
        target
            .iter()
            .map(|target| &**target)
            .chain(args)
            .any(unknown)
    }

    /// Steps of comprehensions that add to the accumulator do so in place.
    fn in_place(
        &mut self,
        expr: &Expr,
        name: &str,
        overloads: &[&'static Overload],
    ) -> Option<Planned> {
        let Kind::Call { args, .. } = &expr.kind else {
            return None;
        };
        let Kind::Ident(first) = &args.first()?.kind else {
            return None;
        };
        if first != crate::syntax::ACCUMULATOR {
            return None;
        }
        let slot = self.locals.iter().rposition(|known| known == first)?;
        if name == "_+_" && overloads.first()?.id == "add_list" {
            return Some(
                self.step(&args[1])
                    .map(|item| Step::Extend(slot, item.into())),
            );
        }
        if name != "cel.@mapInsert" {
            return None;
        }
        let rest: Result<Vec<Step>, EvalError> =
            args[1..].iter().map(|arg| self.step(arg)).collect();
        Some(rest.map(|rest| Step::Insert(slot, rest)))
    }

    fn list(&mut self, items: &[(Expr, bool)]) -> Planned {
        let mut steps = Vec::new();
        for (item, optional) in items {
            steps.push((self.step(item)?, *optional));
        }
        if !self.optimize {
            return Ok(Step::List(steps));
        }
        let constants: Option<Vec<Val<'static>>> = steps
            .iter()
            .map(|step| match step {
                (Step::Const(value), false) => Some(value.clone()),
                _ => None,
            })
            .collect();
        Ok(constants.map_or(Step::List(steps), |constants| {
            Step::Const(Val::list(constants))
        }))
    }

    fn map(&mut self, entries: &[(Expr, Expr, bool)]) -> Planned {
        let mut steps = Vec::new();
        for (key, value, optional) in entries {
            steps.push((self.step(key)?, self.step(value)?, *optional));
        }
        let mut map = MadeMap::default();
        for step in &steps {
            match step {
                (Step::Const(key), Step::Const(value), false) if self.optimize => {
                    if map.insert(key.clone(), value.clone()).is_err() {
                        return Ok(Step::Map(steps));
                    }
                }
                _ => return Ok(Step::Map(steps)),
            }
        }
        if !self.optimize {
            return Ok(Step::Map(steps));
        }
        Ok(Step::Const(Val::Map(Map::Made(Arc::new(map)))))
    }

    fn fold(&mut self, fold: &Fold) -> Planned {
        let range = self.step(&fold.range)?;
        let init = self.step(&fold.init)?;
        let depth = self.locals.len();
        self.locals.push(fold.accu.clone());
        self.locals.push(fold.var.clone());
        self.locals
            .push(fold.var2.clone().unwrap_or_else(|| "#none".into()));
        let condition = self.step(&fold.condition)?;
        let step = self.step(&fold.step)?;
        let result = self.step(&fold.result)?;
        self.locals.truncate(depth);
        Ok(Step::Fold(Box::new(FoldStep {
            range,
            two: fold.var2.is_some(),
            init,
            condition,
            step,
            result,
        })))
    }
}

/// Membership in a list of simple constants; anything else is given back.
fn in_constants(mut args: Vec<Step>) -> Result<Result<Step, Vec<Step>>, EvalError> {
    let Some(Step::Const(Val::List(list))) = args.get(1) else {
        return Ok(Err(args));
    };
    let constants = list.to_vec()?;
    let simple = |val: &Val| {
        matches!(
            val,
            Val::Bool(_) | Val::Int(_) | Val::Uint(_) | Val::Double(_) | Val::String(_) | Val::Null
        )
    };
    if constants.is_empty() {
        return Ok(Ok(Step::Const(Val::Bool(false))));
    }
    if !constants.iter().all(simple) {
        return Ok(Err(args));
    }
    let pair = (args.remove(0), constants);
    Ok(Ok(Step::InConstants(Box::new(pair))))
}

fn value(literal: &Literal) -> Val<'static> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(flag) => Val::Bool(*flag),
        Literal::Int(number) => Val::Int(*number),
        Literal::Uint(number) => Val::Uint(*number),
        Literal::Double(number) => Val::Double(*number),
        Literal::String(text) => Val::text(text.clone()),
        Literal::Bytes(bytes) => Val::Bytes(bytes[..].into()),
    }
}
