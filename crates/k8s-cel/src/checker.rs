//! Which type every node has, and which function every call means.
//! One file: the checker is one recursion over one set of substitutions.
//!
//! Upstream counterpart: cel-go's `checker`.

use crate::{
    DeclShape, Environment, Type,
    library::{FUNCTIONS, Overload, type_named},
    syntax::{self, CompileError, Expr, Fold, Kind, Literal},
};
use machinery::SmolStr;
use std::collections::BTreeMap;

/// What a name or call refers to.
#[derive(Clone, Debug)]
pub enum Reference {
    /// A variable of the environment.
    Variable(SmolStr),
    /// A variable of a comprehension.
    Local(SmolStr),
    /// A type.
    Type(Type),
    /// Functions that the call may mean, one unless types are only known later.
    Functions(Vec<&'static Overload>),
}

/// A tree whose types are known.
#[derive(Debug)]
pub struct Checked {
    /// The tree; calls of qualified functions carry the full name and no receiver.
    pub expr: Expr,
    /// Type of each node.
    pub types: Vec<Type>,
    /// Reference of each node that has one.
    pub references: Vec<Option<Reference>>,
}

/// Checks a tree of `count` nodes.
///
/// # Errors
/// Everything wrong with it, in source order.
pub fn check(
    environment: &Environment,
    source: &str,
    mut expr: Expr,
    count: usize,
) -> Result<Checked, Vec<CompileError>> {
    let mut checker = Checker {
        environment,
        source,
        types: vec![Type::Error; count],
        references: vec![None; count],
        known: BTreeMap::new(),
        next_var: 0,
        scopes: Vec::new(),
        folds: 0,
        errors: Vec::new(),
    };
    checker.expr(&mut expr);
    let mut errors = checker.errors;
    if !errors.is_empty() {
        errors.sort_by_key(|(at, _)| *at);
        return Err(errors.into_iter().map(|(_, error)| error).collect());
    }
    let known = checker.known;
    let types = checker.types;
    Ok(Checked {
        expr,
        types: types
            .iter()
            .map(|ty| substitute(&known, ty, true))
            .collect(),
        references: checker.references,
    })
}

/// Comprehensions nested deeper than this are refused: the work of finding their types doubles
/// with each.
const MAX_FOLDS: usize = 12;

type Substitutions = BTreeMap<SmolStr, Type>;

struct Checker<'e> {
    environment: &'e Environment,
    source: &'e str,
    types: Vec<Type>,
    references: Vec<Option<Reference>>,
    known: Substitutions,
    next_var: usize,
    scopes: Vec<(SmolStr, Type)>,
    /// How many comprehensions are open.
    folds: usize,
    errors: Vec<(usize, CompileError)>,
}

impl Checker<'_> {
    fn error(&mut self, at: usize, message: String) {
        let error = CompileError::new(self.source, at, message);
        self.errors.push((at, error));
    }

    fn undeclared(&mut self, at: usize, name: &str) -> Type {
        self.error(
            at,
            format!("undeclared reference to '{name}' (in container '')"),
        );
        Type::Error
    }

    fn mismatch(&mut self, at: usize, expected: &Type, found: &Type) {
        self.error(
            at,
            format!("expected type '{expected}' but found '{found}'"),
        );
    }

    fn new_var(&mut self) -> Type {
        self.next_var += 1;
        Type::Param(format!("_var{}", self.next_var - 1).into())
    }

    fn refer(&mut self, expr: &Expr, reference: Reference) {
        self.references[expr.id] = Some(reference);
    }

    fn expr(&mut self, expr: &mut Expr) -> Type {
        let (id, at) = (expr.id, expr.at);
        // The name of a type or a variable may have dots.
        if matches!(&expr.kind, Kind::Select { test: false, .. })
            && let Some(name) = syntax::qualified(expr)
        {
            if let Some(ty) = type_named(&name) {
                expr.kind = Kind::Ident(ty.name().into());
            } else if self.environment.variable(&name).is_some() {
                expr.kind = Kind::Ident(name.into());
            }
        }
        let ty = match &mut expr.kind {
            Kind::Literal(literal) => type_of(literal),
            Kind::Ident(name) => {
                let name = name.clone();
                self.ident(expr, &name)
            }
            Kind::Select {
                operand,
                field,
                test,
            } => {
                let (field, test) = (field.clone(), *test);
                let found = self.select(at, operand, &field, false);
                if test { Type::Bool } else { found }
            }
            Kind::Call { .. } => self.call(expr),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { .. } => self.message(expr),
            Kind::Fold(fold) => self.fold(fold),
        };
        self.types[id] = ty.clone();
        ty
    }

    fn ident(&mut self, expr: &Expr, name: &SmolStr) -> Type {
        let local = self.scopes.iter().rev().find(|(known, _)| known == name);
        if let Some((_, ty)) = local {
            let ty = ty.clone();
            self.refer(expr, Reference::Local(name.clone()));
            return ty;
        }
        if let Some(ty) = self.environment.variable(name) {
            let ty = ty.clone();
            self.refer(expr, Reference::Variable(name.clone()));
            return ty;
        }
        if let Some(ty) = type_named(name) {
            self.refer(expr, Reference::Type(ty.clone()));
            return Type::Type(Some(ty.into()));
        }
        self.undeclared(expr.at, name)
    }

    fn select(&mut self, at: usize, operand: &mut Expr, field: &str, optional: bool) -> Type {
        let operand = self.expr(operand);
        let operand = substitute(&self.known, &operand, false);
        let (target, inside) = match &operand {
            Type::Optional(value) => ((**value).clone(), true),
            _ => (operand, false),
        };
        let found = match &target {
            Type::Map(entry) => entry.1.clone(),
            Type::Object(_) => self.field_type(at, &target, field),
            Type::Param(_) => {
                self.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            other if other.is_dyn() => Type::Dyn,
            Type::Opaque(_) => {
                self.error(at, format!("undefined field '{field}'"));
                Type::Error
            }
            other => {
                self.error(
                    at,
                    format!("type '{other}' does not support field selection"),
                );
                Type::Dyn
            }
        };
        if inside || optional {
            Type::optional(found)
        } else {
            found
        }
    }

    fn field_type(&mut self, at: usize, of: &Type, field: &str) -> Type {
        if let Type::Object(decl) = of {
            if matches!(decl.shape, DeclShape::Any) {
                return Type::Dyn;
            }
            if let Some(found) = decl.field(field) {
                return found.ty.clone();
            }
        }
        self.error(at, format!("undefined field '{field}'"));
        Type::Error
    }

    fn call(&mut self, expr: &mut Expr) -> Type {
        let Kind::Call {
            function,
            target,
            args,
        } = &mut expr.kind
        else {
            return Type::Error;
        };
        if function == "_?._" {
            return self.optional_select(expr);
        }
        for arg in args.iter_mut() {
            self.expr(arg);
        }
        if let Some(receiver) = target {
            let full = syntax::qualified(receiver)
                .map(|prefix| SmolStr::from(format!("{prefix}.{function}")))
                .filter(|full| self.functions(full).is_some());
            if let Some(full) = full {
                *function = full;
                *target = None;
            } else {
                self.expr(receiver);
            }
        }
        let Kind::Call {
            function, target, ..
        } = &expr.kind
        else {
            return Type::Error;
        };
        let (name, member) = (function.clone(), target.is_some());
        match self.functions(&name) {
            Some(overloads) => self.resolve(expr, &name, overloads, member),
            None => self.undeclared(expr.at, &name),
        }
    }

    fn functions(&self, name: &str) -> Option<&'static [Overload]> {
        let known = FUNCTIONS.get(name)?;
        self.environment.allows(name).then_some(&known[..])
    }

    fn optional_select(&mut self, expr: &mut Expr) -> Type {
        let at = expr.at;
        let Kind::Call { args, .. } = &mut expr.kind else {
            return Type::Error;
        };
        let field = match args.get(1).map(|field| &field.kind) {
            Some(Kind::Literal(Literal::String(field))) => field.clone(),
            _ => return Type::Error,
        };
        self.types[args[1].id] = Type::String;
        self.select(at, &mut args[0], &field, true)
    }

    fn resolve(
        &mut self,
        expr: &Expr,
        name: &str,
        overloads: &'static [Overload],
        member: bool,
    ) -> Type {
        let Kind::Call { target, args, .. } = &expr.kind else {
            return Type::Error;
        };
        let arguments: Vec<&Expr> = target.iter().map(|target| &**target).chain(args).collect();
        let given: Vec<Type> = arguments
            .iter()
            .map(|arg| self.types[arg.id].clone())
            .collect();
        if name == "_&&_" || name == "_||_" {
            return self.logic(expr, &arguments, &given, overloads);
        }
        let mut result: Option<Type> = None;
        let mut matching = Vec::new();
        for overload in overloads
            .iter()
            .filter(|overload| overload.member == member)
        {
            let mut fresh = Substitutions::new();
            for generic in &overload.generics {
                let var = self.new_var();
                fresh.insert(generic.clone(), var);
            }
            let params: Vec<Type> = overload
                .params
                .iter()
                .map(|param| substitute(&fresh, param, false))
                .collect();
            if !self.all_assignable(&given, &params) {
                continue;
            }
            matching.push(overload);
            let found = substitute(
                &self.known,
                &substitute(&fresh, &overload.result, false),
                false,
            );
            result = Some(match result {
                Some(earlier) if earlier.is_dyn() || earlier == found => earlier,
                Some(_) => Type::Dyn,
                None => found,
            });
        }
        let Some(result) = result else {
            self.no_overload(expr.at, name, &given, member);
            return Type::Error;
        };
        self.refer(expr, Reference::Functions(matching));
        result
    }

    fn logic(
        &mut self,
        expr: &Expr,
        arguments: &[&Expr],
        given: &[Type],
        overloads: &'static [Overload],
    ) -> Type {
        let mut fine = true;
        for (arg, ty) in std::iter::zip(arguments, given) {
            if !self.assignable(ty, &Type::Bool) {
                let shown = substitute(&self.known, ty, false);
                self.mismatch(arg.at, &Type::Bool, &shown);
                fine = false;
            }
        }
        self.refer(expr, Reference::Functions(overloads.iter().collect()));
        if fine { Type::Bool } else { Type::Error }
    }

    fn no_overload(&mut self, at: usize, name: &str, given: &[Type], member: bool) {
        let shown: Vec<String> = given
            .iter()
            .map(|ty| substitute(&self.known, ty, true).to_string())
            .collect();
        let signature = if member {
            format!("{}.({})", shown[0], shown[1..].join(", "))
        } else {
            format!("({})", shown.join(", "))
        };
        let why = format!("found no matching overload for '{name}' applied to '{signature}'");
        self.error(at, why);
    }

    fn list(&mut self, items: &mut [(Expr, bool)]) -> Type {
        let mut joined = None;
        for (item, optional) in items {
            let ty = self.expr(item);
            let ty = self.unwrapped(item, ty, *optional);
            joined = Some(self.join(joined, ty));
        }
        let joined = joined.unwrap_or_else(|| self.new_var());
        Type::list(joined)
    }

    fn unwrapped(&mut self, item: &Expr, ty: Type, optional: bool) -> Type {
        match &ty {
            Type::Optional(value) if optional => (**value).clone(),
            _ if optional && !ty.is_dyn() => {
                let wanted = Type::optional(ty.clone());
                self.mismatch(item.at, &wanted, &ty);
                ty
            }
            _ => ty,
        }
    }

    /// The type of items of several types; literals that mix them are refused afterwards.
    fn join(&mut self, previous: Option<Type>, current: Type) -> Type {
        let Some(previous) = previous else {
            return current;
        };
        if self.assignable(&previous, &current) {
            return most_general(previous, current);
        }
        Type::Dyn
    }

    fn map(&mut self, entries: &mut [(Expr, Expr, bool)]) -> Type {
        let (mut keys, mut values) = (None, None);
        for (key, value, optional) in entries {
            let ty = self.expr(key);
            keys = Some(self.join(keys, ty));
            let ty = self.expr(value);
            let ty = self.unwrapped(value, ty, *optional);
            values = Some(self.join(values, ty));
        }
        let keys = keys.unwrap_or_else(|| self.new_var());
        let values = values.unwrap_or_else(|| self.new_var());
        Type::map(keys, values)
    }

    fn message(&mut self, expr: &mut Expr) -> Type {
        let at = expr.at;
        let Kind::Struct { name, fields } = &mut expr.kind else {
            return Type::Error;
        };
        let Some(ty) = self.environment.message(name) else {
            let name = name.clone();
            return self.undeclared(at, &name);
        };
        for field in fields {
            let found = self.expr(&mut field.value);
            let found = self.unwrapped(&field.value, found, field.optional);
            let wanted = self.field_type(field.at, &ty, &field.name);
            if !self.assignable(&wanted, &found) {
                let why = format!(
                    "expected type of field '{}' is '{wanted}' but provided type is '{found}'",
                    field.name
                );
                self.error(field.at, why);
            }
        }
        ty
    }

    fn fold(&mut self, fold: &mut Fold) -> Type {
        if self.folds >= MAX_FOLDS {
            let why = "comprehension exceeds nesting limit".to_owned();
            self.error(fold.range.at, why);
            return Type::Error;
        }
        self.folds += 1;
        let ty = self.open_fold(fold);
        self.folds -= 1;
        ty
    }

    fn open_fold(&mut self, fold: &mut Fold) -> Type {
        let range = self.expr(&mut fold.range);
        let init = self.expr(&mut fold.init);
        let range = substitute(&self.known, &range, false);
        let (first, second) = match &range {
            Type::List(item) if fold.var2.is_some() => (Type::Int, (**item).clone()),
            Type::List(item) => ((**item).clone(), Type::Dyn),
            Type::Map(entry) => (entry.0.clone(), entry.1.clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let why = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.error(fold.range.at, why);
                (Type::Error, Type::Error)
            }
        };
        let depth = self.scopes.len();
        self.scopes.push((fold.accu.clone(), init.clone()));
        self.scopes.push((fold.var.clone(), first));
        if let Some(var2) = &fold.var2 {
            self.scopes.push((var2.clone(), second));
        }
        self.must_be(&mut fold.condition, &Type::Bool);
        self.must_be(&mut fold.step, &init);
        self.scopes.truncate(depth + 1);
        let result = self.expr(&mut fold.result);
        self.scopes.truncate(depth);
        substitute(&self.known, &result, false)
    }

    fn must_be(&mut self, expr: &mut Expr, wanted: &Type) {
        let found = self.expr(expr);
        if !self.assignable(wanted, &found) {
            let (wanted, found) = (
                substitute(&self.known, wanted, false),
                substitute(&self.known, &found, false),
            );
            self.mismatch(expr.at, &wanted, &found);
        }
    }

    fn assignable(&mut self, a: &Type, b: &Type) -> bool {
        let mut known = self.known.clone();
        let fits = assignable(&mut known, a, b);
        if fits {
            self.known = known;
        }
        fits
    }

    fn all_assignable(&mut self, given: &[Type], params: &[Type]) -> bool {
        let mut known = self.known.clone();
        let fits = given.len() == params.len()
            && std::iter::zip(given, params).all(|(a, b)| assignable(&mut known, a, b));
        if fits {
            self.known = known;
        }
        fits
    }
}

fn type_of(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// The type with what was found out about its parameters.
fn substitute(known: &Substitutions, ty: &Type, free_is_dyn: bool) -> Type {
    let again = |ty: &Type| substitute(known, ty, free_is_dyn);
    match ty {
        Type::Param(name) => match known.get(name) {
            Some(found) => again(found),
            None if free_is_dyn => Type::Dyn,
            None => ty.clone(),
        },
        Type::List(item) => Type::list(again(item)),
        Type::Map(entry) => Type::map(again(&entry.0), again(&entry.1)),
        Type::Optional(value) => Type::optional(again(value)),
        Type::Type(Some(of)) => Type::Type(Some(again(of).into())),
        other => other.clone(),
    }
}

fn assignable(known: &mut Substitutions, a: &Type, b: &Type) -> bool {
    if let Type::Param(name) = b {
        let (valid, bound) = bind(known, a, name, b);
        if valid || bound {
            return valid;
        }
    }
    if let Type::Param(name) = a {
        return bind(known, b, name, a).0;
    }
    if a.is_dyn() || b.is_dyn() {
        return true;
    }
    match (a, b) {
        (Type::Null, Type::Null) => true,
        (Type::Null, other) | (other, Type::Null) => nullable(other),
        (Type::Type(_), Type::Type(_)) => true,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => {
            assignable(known, a, b)
        }
        (Type::Map(a), Type::Map(b)) => {
            assignable(known, &a.0, &b.0) && assignable(known, &a.1, &b.1)
        }
        _ => a == b,
    }
}

fn nullable(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Opaque(_) | Type::Object(_) | Type::Optional(_) | Type::Duration | Type::Timestamp
    )
}

/// Whether `ty` fits parameter `name`, and whether that was bound before.
fn bind(known: &mut Substitutions, ty: &Type, name: &SmolStr, param: &Type) -> (bool, bool) {
    if ty == param {
        return (true, true);
    }
    if let Some(bound) = known.get(name).cloned() {
        if *ty == bound {
            return (true, true);
        }
        if !assignable(known, ty, &bound) {
            return (false, true);
        }
        let general = most_general(ty.clone(), bound);
        if !refers(known, param, &general) {
            known.insert(name.clone(), general);
        }
        return (true, true);
    }
    if refers(known, param, ty) {
        return (false, false);
    }
    known.insert(name.clone(), ty.clone());
    (true, false)
}

/// Whether `param` occurs within `ty`.
fn refers(known: &Substitutions, param: &Type, ty: &Type) -> bool {
    if param == ty {
        return true;
    }
    match ty {
        Type::Param(name) => known
            .get(name)
            .is_some_and(|bound| refers(known, param, bound)),
        other => other
            .params()
            .into_iter()
            .any(|inner| refers(known, param, inner)),
    }
}

fn most_general(a: Type, b: Type) -> Type {
    if at_least_as_general(&a, &b) { a } else { b }
}

fn at_least_as_general(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Dyn | Type::Error | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Error | Type::Param(_)) => false,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => {
            at_least_as_general(a, b)
        }
        (Type::Map(a), Type::Map(b)) => {
            at_least_as_general(&a.0, &b.0) && at_least_as_general(&a.1, &b.1)
        }
        (Type::Type(_), Type::Type(_)) => true,
        _ => a == b,
    }
}
