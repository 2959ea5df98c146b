//! Expressions: what compiles has a type and a price, and evaluates within its budget.

use crate::Target;
use k8s_cel::{Bindings, Budget, Decl, Environment, EvalError, Type, UnknownSizes, Val};
use machinery::{Value, json};
use std::sync::LazyLock;

/// CEL.
pub const CEL: Target = Target {
    name: "cel",
    run: cel,
    seeds: &[
        b"self.spec.replicas > 1 && has(self.spec.names) && self.spec.names.all(n, n.startsWith('a'))",
        b"self.spec.names.map(n, n + 'x').join(',').matches('^[a-z,]*$') ? 'y' : string(size(self))",
        b"duration('1h30m') < duration('2h') || quantity('1Gi').isGreaterThan(quantity('1M'))",
        b"self.?metadata.?labels['a'].orValue('b') == \"\\u00e9\" && ip('::1').family() == 6",
        b"[1, 2u, 3.5, null, {'a': [true]}].filter(x, type(x) == int).exists(i, v, v > i)",
    ],
};

static ENVIRONMENT: LazyLock<Environment> =
    LazyLock::new(|| Environment::base().with_variable("self", Type::Dyn));

static OBJECT: LazyLock<Value> = LazyLock::new(
    || json!({"metadata": {"name": "a", "labels": {"a": "b"}}, "spec": {"replicas": 3_i64, "names": ["a", "bc"]}}),
);

fn cel(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(program) = ENVIRONMENT.compile(text) else {
        return;
    };
    let estimate = program.static_cost(&UnknownSizes);
    assert!(estimate.min <= estimate.max, "{text}");
    let decl = Decl::any();
    let Ok(object) = Val::tree(&OBJECT, decl) else {
        return;
    };
    let mut budget = Budget::default();
    let before = budget.left;
    match program.evaluate(&Bindings::new().with("self", object), &mut budget) {
        Err(EvalError::Budget) => {}
        _ => assert!(budget.left <= before, "{text}"),
    }
}
