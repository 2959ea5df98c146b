//! Macros: calls that are rewritten into comprehensions before types are asked for.
//!
//! Upstream counterpart: cel-go's `parser/macro.go`, `ext/comprehensions.go` and the macros of
//! its optional types.

use super::{ACCUMULATOR, CompileError, Expr, Fold, Kind, Literal, parser::Parser};
use machinery::SmolStr;

type Parsed = Result<Expr, CompileError>;

/// A call, or what the macro of that name makes of it.
pub fn expand(
    parser: &mut Parser,
    at: usize,
    target: Option<Expr>,
    function: SmolStr,
    args: Vec<Expr>,
) -> Parsed {
    let known = match (target.is_some(), function.as_str(), args.len()) {
        (false, "has", 1) => true,
        (true, "all" | "exists" | "map" | "filter" | "exists_one" | "existsOne", 2 | 3) => {
            function != "filter" || args.len() == 2
        }
        (true, "transformList" | "transformMap" | "transformMapEntry", 3 | 4) => true,
        (true, "optMap" | "optFlatMap" | "sortBy", 2) => true,
        _ => false,
    };
    let mut make = Maker { parser, at };
    match target {
        None if known => Ok(make.has(args)),
        Some(target) if known && function.starts_with("opt") => {
            Ok(make.optional(target, &function, args))
        }
        Some(target) if known && function == "sortBy" => Ok(make.sort_by(target, args)),
        Some(target) if known => Ok(make.comprehension(target, &function, args)),
        target => {
            let kind = Kind::Call {
                function,
                target: target.map(Box::new),
                args,
            };
            Ok(make.parser.expr(at, kind))
        }
    }
}

struct Maker<'p, 's> {
    parser: &'p mut Parser<'s>,
    at: usize,
}

/// What a comprehension is made of, in short.
struct Parts {
    init: Expr,
    condition: Expr,
    step: Expr,
    result: Expr,
}

impl Maker<'_, '_> {
    fn expr(&mut self, kind: Kind) -> Expr {
        self.parser.expr(self.at, kind)
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.parser.call(self.at, function, args)
    }

    fn method(&mut self, target: Expr, function: &str) -> Expr {
        self.expr(Kind::Call {
            function: function.into(),
            target: Some(Box::new(target)),
            args: Vec::new(),
        })
    }

    fn bool(&mut self, flag: bool) -> Expr {
        self.expr(Kind::Literal(Literal::Bool(flag)))
    }

    fn int(&mut self, number: i64) -> Expr {
        self.expr(Kind::Literal(Literal::Int(number)))
    }

    fn accu(&mut self) -> Expr {
        self.expr(Kind::Ident(ACCUMULATOR.into()))
    }

    fn null(&mut self, at: usize, why: &str) -> Expr {
        self.parser.report(at, why);
        self.expr(Kind::Literal(Literal::Null))
    }

    fn has(&mut self, mut args: Vec<Expr>) -> Expr {
        let arg = args.remove(0);
        let at = arg.at;
        match arg.kind {
            Kind::Select { operand, field, .. } => self.expr(Kind::Select {
                operand,
                field,
                test: true,
            }),
            _ => self.null(at, "invalid argument to has() macro"),
        }
    }

    fn comprehension(&mut self, range: Expr, function: &str, mut args: Vec<Expr>) -> Expr {
        let two = match function {
            "map" => false,
            name if name.starts_with("transform") => true,
            _ => args.len() == 3,
        };
        let names = args.drain(..if two { 2 } else { 1 }).collect::<Vec<_>>();
        let mut vars = Vec::new();
        for name in &names {
            match &name.kind {
                Kind::Ident(ident) if ident != ACCUMULATOR => vars.push(ident.clone()),
                _ => {
                    let why = if two || function == "map" || function == "filter" {
                        "argument is not an identifier"
                    } else {
                        "argument must be a simple name"
                    };
                    return self.null(name.at, why);
                }
            }
        }
        if two && vars[0] == vars[1] {
            let why = format!("duplicate variable name: {}", vars[1]);
            return self.null(names[1].at, &why);
        }
        let parts = self.parts(function, &vars, args);
        let mut vars = vars.into_iter();
        self.expr(Kind::Fold(Box::new(Fold {
            range,
            var: vars.next().unwrap_or_default(),
            var2: vars.next(),
            accu: ACCUMULATOR.into(),
            init: parts.init,
            condition: parts.condition,
            step: parts.step,
            result: parts.result,
        })))
    }

    fn parts(&mut self, function: &str, vars: &[SmolStr], mut args: Vec<Expr>) -> Parts {
        let last = args.pop().expect("the count of arguments was checked");
        match function {
            "all" => self.quantifier(true, last),
            "exists" => self.quantifier(false, last),
            "exists_one" | "existsOne" => self.exactly_one(last),
            "filter" => {
                let item = self.expr(Kind::Ident(vars[0].clone()));
                self.collect(Some(last), item)
            }
            "map" | "transformList" => self.collect(args.pop(), last),
            "transformMap" => {
                let key = self.expr(Kind::Ident(vars[0].clone()));
                self.insert(args.pop(), vec![key, last])
            }
            _ => self.insert(args.pop(), vec![last]),
        }
    }

    fn quantifier(&mut self, all: bool, predicate: Expr) -> Parts {
        let init = self.bool(all);
        let mut so_far = self.accu();
        if !all {
            so_far = self.call("!_", vec![so_far]);
        }
        let condition = self.call("@not_strictly_false", vec![so_far]);
        let accu = self.accu();
        let step = self.call(if all { "_&&_" } else { "_||_" }, vec![accu, predicate]);
        Parts {
            init,
            condition,
            step,
            result: self.accu(),
        }
    }

    fn exactly_one(&mut self, predicate: Expr) -> Parts {
        let (init, condition) = (self.int(0), self.bool(true));
        let (accu, one) = (self.accu(), self.int(1));
        let more = self.call("_+_", vec![accu, one]);
        let same = self.accu();
        let step = self.call("_?_:_", vec![predicate, more, same]);
        let (accu, one) = (self.accu(), self.int(1));
        Parts {
            init,
            condition,
            step,
            result: self.call("_==_", vec![accu, one]),
        }
    }

    fn collect(&mut self, filter: Option<Expr>, item: Expr) -> Parts {
        let (init, condition) = (self.expr(Kind::List(Vec::new())), self.bool(true));
        let accu = self.accu();
        let item = self.expr(Kind::List(vec![(item, false)]));
        let step = self.call("_+_", vec![accu, item]);
        Parts {
            init,
            condition,
            step: self.filtered(filter, step),
            result: self.accu(),
        }
    }

    fn insert(&mut self, filter: Option<Expr>, entry: Vec<Expr>) -> Parts {
        let (init, condition) = (self.expr(Kind::Map(Vec::new())), self.bool(true));
        let mut args = vec![self.accu()];
        args.extend(entry);
        let step = self.call("cel.@mapInsert", args);
        Parts {
            init,
            condition,
            step: self.filtered(filter, step),
            result: self.accu(),
        }
    }

    fn filtered(&mut self, filter: Option<Expr>, step: Expr) -> Expr {
        match filter {
            Some(filter) => {
                let same = self.accu();
                self.call("_?_:_", vec![filter, step, same])
            }
            None => step,
        }
    }

    fn optional(&mut self, target: Expr, function: &str, mut args: Vec<Expr>) -> Expr {
        let body = args.pop().expect("the count of arguments was checked");
        let name = args.pop().expect("the count of arguments was checked");
        let Kind::Ident(var) = name.kind else {
            return self.null(
                name.at,
                &format!("{function}() variable name must be a simple identifier"),
            );
        };
        let again = self.renumbered(&target);
        let has = self.method(target, "hasValue");
        let value = self.method(again, "value");
        let range = self.expr(Kind::List(Vec::new()));
        let (condition, step) = (self.bool(false), self.expr(Kind::Ident(var.clone())));
        let bound = self.expr(Kind::Fold(Box::new(Fold {
            range,
            var: "#unused".into(),
            var2: None,
            accu: var,
            init: value,
            condition,
            step,
            result: body,
        })));
        let then = if function == "optMap" {
            self.call("optional.of", vec![bound])
        } else {
            bound
        };
        let none = self.call("optional.none", Vec::new());
        self.call("_?_:_", vec![has, then, none])
    }

    /// The list, sorted by what each item maps to.
    fn sort_by(&mut self, target: Expr, args: Vec<Expr>) -> Expr {
        let input = || Kind::Ident("@__sortBy_input__".into());
        let source = self.expr(input());
        let keys = self.comprehension(source, "map", args);
        let list = self.expr(input());
        let call = self.expr(Kind::Call {
            function: "@sortByAssociatedKeys".into(),
            target: Some(Box::new(list)),
            args: vec![keys],
        });
        let range = self.expr(Kind::List(Vec::new()));
        let condition = self.bool(false);
        let step = self.expr(input());
        self.expr(Kind::Fold(Box::new(Fold {
            range,
            var: "#unused".into(),
            var2: None,
            accu: "@__sortBy_input__".into(),
            init: target,
            condition,
            step,
            result: call,
        })))
    }

    /// A copy with numbers of its own.
    fn renumbered(&mut self, expr: &Expr) -> Expr {
        let mut copy = expr.clone();
        self.renumber(&mut copy);
        copy
    }

    fn renumber(&mut self, expr: &mut Expr) {
        expr.id = self.parser.expr(expr.at, Kind::Literal(Literal::Null)).id;
        match &mut expr.kind {
            Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { operand, .. } => self.renumber(operand),
            Kind::Call { target, args, .. } => {
                target.iter_mut().for_each(|target| self.renumber(target));
                args.iter_mut().for_each(|arg| self.renumber(arg));
            }
            Kind::List(items) => items.iter_mut().for_each(|(item, _)| self.renumber(item)),
            Kind::Map(entries) => entries.iter_mut().for_each(|(key, value, _)| {
                self.renumber(key);
                self.renumber(value);
            }),
            Kind::Struct { fields, .. } => fields
                .iter_mut()
                .for_each(|field| self.renumber(&mut field.value)),
            Kind::Fold(fold) => {
                for part in [
                    &mut fold.range,
                    &mut fold.init,
                    &mut fold.condition,
                    &mut fold.step,
                    &mut fold.result,
                ] {
                    self.renumber(part);
                }
            }
        }
    }
}
