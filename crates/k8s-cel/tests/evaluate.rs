//! Expressions and what they yield, refuse and report.

use k8s_cel::{Bindings, Budget, Decl, DeclShape, Environment, Type, Val, join};
use machinery::Value;
use std::sync::Arc;

fn run(source: &str) -> Result<String, String> {
    let program = Environment::base()
        .compile(source)
        .map_err(|errors| join(&errors))?;
    let found = program
        .evaluate(&Bindings::new(), &mut Budget::default())
        .map_err(|why| format!("error: {why}"))?;
    Ok(match &found {
        Val::Optional(_) | Val::Type(_) => format!("{found:?}"),
        _ => serde_json::to_string(&found.to_value().map_err(|why| why.to_string())?)
            .expect("JSON prints"),
    })
}

#[test]
fn expressions_are_true() {
    let list = include_str!("true.txt");
    let mut wrong = Vec::new();
    for line in list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let found = run(line);
        if found.as_deref() != Ok("true") {
            wrong.push(format!("{line}\n  {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_fails_says_why() {
    for (source, wanted) in [
        ("1 / 0", "error: division by zero"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("[1][3]", "error: index out of bounds: 3"),
        ("{'a': 1}['b']", "error: no such key: b"),
        ("{'a': 1}.b", "error: no such key: b"),
        ("dyn('a') + 1", "error: no such overload: _+_"),
        (
            "optional.none().value()",
            "error: optional.none() dereference",
        ),
        ("'abc'.charAt(9)", "error: index out of range: 9"),
    ] {
        assert_eq!(run(source), Err(wanted.to_owned()), "{source}");
    }
}

#[test]
fn what_does_not_compile_says_where() {
    for (source, wanted) in [
        (
            "1 + 'a'",
            "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | 1 + 'a'\n | ..^",
        ),
        (
            "nosuch",
            "ERROR: <input>:1:1: undeclared reference to 'nosuch' (in container '')\n | nosuch\n | ^",
        ),
        (
            "fake(1)",
            "ERROR: <input>:1:5: undeclared reference to 'fake' (in container '')\n | fake(1)\n | ....^",
        ),
        (
            "'a'.size(1)",
            "ERROR: <input>:1:9: found no matching overload for 'size' applied to 'string.(int)'\n | 'a'.size(1)\n | ........^",
        ),
        (
            "[1, 'a']",
            "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^",
        ),
        (
            "duration('x') == duration('1s')",
            "ERROR: <input>:1:10: invalid duration argument\n | duration('x') == duration('1s')\n | .........^",
        ),
        (
            "1 && true",
            "ERROR: <input>:1:1: expected type 'bool' but found 'int'\n | 1 && true\n | ^",
        ),
        (
            "1.all(x, true)",
            "ERROR: <input>:1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n | 1.all(x, true)\n | ^",
        ),
    ] {
        assert_eq!(run(source), Err(wanted.to_owned()), "{source}");
    }
}

#[test]
fn declared_objects_are_checked_and_read() {
    let text = || Decl::simple(DeclShape::String);
    let decl = Decl::object(
        "Thing",
        vec![
            ("name", text()),
            ("count", Decl::simple(DeclShape::Int)),
            ("ratio", Decl::simple(DeclShape::Double)),
            ("namespace", text()),
            ("at", Decl::simple(DeclShape::Timestamp)),
            ("labels", Decl::map(text())),
            ("items", Decl::list(text())),
            ("any", Arc::clone(Decl::any())),
        ],
    );
    let environment = Environment::base().with_variable("self", decl.ty());
    let value: Value = serde_json::from_str(
        r#"{"name":"a","count":3,"ratio":2,"namespace":"ns","at":"2024-05-06T07:08:09Z",
            "labels":{"a/b":"c"},"items":["x","y"],"any":{"deep":[1,"two"]}}"#,
    )
    .expect("JSON");
    let bytes = machinery::flat::encode(&value);
    for source in [
        "self.name == 'a' && self.count + 1 == 4 && self.ratio > 1.5",
        "self.__namespace__ == 'ns' && self.at.getHours() == 7",
        "self.labels['a/b'] == 'c' && 'a/b' in self.labels && self.labels.all(k, k == 'a/b')",
        "self.items.exists(i, i == 'y') && self.items[1] == 'y' && self.items == ['x', 'y']",
        "self.any.deep[1] == 'two' && self.any.deep[0] == 1 && has(self.any.deep)",
        "has(self.name) && !has(self.any.none) && self.any.?none.orValue(5) == 5",
    ] {
        let program = environment.compile(source).expect(source);
        assert_eq!(program.output_type(), &Type::Bool);
        for bound in [
            Val::tree(&value, &decl),
            Val::flat(machinery::flat::Ref::new(&bytes), &decl),
        ] {
            let bindings = Bindings::new().with("self", bound.expect("viewed"));
            let found = program.evaluate(&bindings, &mut Budget::default());
            assert_eq!(found, Ok(Val::Bool(true)), "{source}");
        }
    }
    let errors = environment
        .compile("self.nosuch == 1")
        .expect_err("refused");
    assert_eq!(
        join(&errors),
        "ERROR: <input>:1:5: undefined field 'nosuch'\n | self.nosuch == 1\n | ....^"
    );
}

#[test]
fn no_expression_runs_out_of_stack() {
    let nested = |open: &str, close: &str, count: usize| {
        format!("{}1{}", open.repeat(count), close.repeat(count))
    };
    for (source, fine) in [
        (nested("(", ")", 90), true),
        (nested("(", ")", 5000), false),
        (nested("[", "]", 90), true),
        (nested("dyn(", ")", 5000), false),
        (nested("[1].map(x, ", ")", 8), true),
        (nested("[1].map(x, ", ")", 60), false),
        (format!("1{}", " + 1".repeat(300)), true),
        (format!("1{}", " + 1".repeat(20_000)), false),
        (format!("{{}}{}", ".a".repeat(20_000)), false),
        (format!("{}1", "-".repeat(20_000)), true),
        (format!("{}true", "!".repeat(20_001)), true),
        (format!("true{}", " && true".repeat(10_000)), true),
        (format!("{}true", "true ? true : ".repeat(5000)), false),
        ("'".repeat(50_000), false),
        ("x".repeat(100_001), false),
    ] {
        let shown: String = source.chars().take(30).collect();
        let found = Environment::base()
            .compile(&source)
            .map_err(|errors| join(&errors));
        assert_eq!(found.is_ok(), fine, "{shown}: {:?}", found.err());
        if let Ok(program) = Environment::base().compile(&source) {
            assert!(
                program
                    .evaluate(&Bindings::new(), &mut Budget::default())
                    .is_ok()
            );
        }
    }
}

#[test]
fn no_text_makes_the_parser_stop_short() {
    let words = [
        "a",
        "1",
        "'x'",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ".",
        "?",
        ":",
        ",",
        "+",
        "-",
        "!",
        "&&",
        "||",
        "==",
        "in",
        "has",
        "all",
        "x",
        "\"",
        "\\",
        "\u{1f600}",
        " ",
        "\n",
        "//",
        "0x",
        "b'",
        "1e",
    ];
    let mut seed = 1u64;
    for _ in 0..20_000 {
        let mut source = String::new();
        for _ in 0..(seed % 12) {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            source.push_str(words[(seed >> 33) as usize % words.len()]);
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed ^= seed >> 29;
        if let Err(errors) = Environment::base().compile(&source) {
            assert!(!join(&errors).is_empty(), "{source}");
        }
    }
}

#[test]
fn mutations_are_made_of_messages() {
    let environment = Environment::base().with_mutation();
    for (source, wanted) in [
        (
            "Object{spec: Object.spec{replicas: 3, ?none: optional.none()}}",
            r#"{"spec":{"replicas":3}}"#,
        ),
        (
            "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b~'), value: {'x': [1, 2]}}]",
            r#"[{"op":"add","path":"/metadata/labels/a~1b~0","value":{"x":[1,2]}}]"#,
        ),
    ] {
        let program = environment.compile(source).expect(source);
        let found = program
            .evaluate(&Bindings::new(), &mut Budget::default())
            .expect(source);
        let value = found.to_value().expect("JSON");
        assert_eq!(serde_json::to_string(&value).expect("JSON prints"), wanted);
    }
    let errors = environment
        .compile("JSONPatch{nosuch: 1}")
        .expect_err("refused");
    assert!(join(&errors).contains("undefined field 'nosuch'"));
    assert!(Environment::base().compile("JSONPatch{op: 'a'}").is_err());
}

#[test]
fn built_in_types_are_known() {
    let id = schema::builtin()
        .named("io.k8s.api.apps.v1.Deployment")
        .expect("a built-in type");
    let of = schema::TypeRef {
        schema: Arc::clone(schema::builtin()),
        id,
    };
    let decl = Decl::of(&of, "Deployment", true).expect("a type");
    let environment = Environment::base().with_variable("object", decl.ty());
    for (source, fine) in [
        ("object.spec.replicas > 1", true),
        ("object.spec.replicas > 'a'", false),
        (
            "object.spec.template.spec.containers.all(c, c.image.startsWith('a') && has(c.resources))",
            true,
        ),
        (
            "object.metadata.labels['a'] == 'b' && object.metadata.namespace == object.metadata.__namespace__",
            true,
        ),
        ("object.spec.nosuch == 1", false),
        ("object.spec.strategy.rollingUpdate.maxSurge == '25%'", true),
        ("object.metadata.creationTimestamp.getHours() > 1", true),
    ] {
        let found = environment.compile(source).map_err(|errors| join(&errors));
        assert_eq!(found.is_ok(), fine, "{source}: {:?}", found.err());
    }
}

#[test]
fn the_budget_stops_what_goes_on() {
    let wide: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let list = format!("[{}]", wide.join(","));
    let source =
        format!("{list}.all(a, {list}.all(b, {list}.all(c, {list}.all(d, a + b + c + d >= 0))))");
    let program = Environment::base().compile(&source).expect("compiles");
    let mut budget = Budget::default();
    let found = program.evaluate(&Bindings::new(), &mut budget);
    assert_eq!(found, Err(k8s_cel::EvalError::Cost));
    assert_eq!(
        k8s_cel::EvalError::Cost.to_string(),
        "operation cancelled: actual cost limit exceeded"
    );
    assert!(budget.spent > budget.per_call);
}
