//! Estimates from the sizes in a schema, equal to the figures that Kubernetes publishes in its
//! tests: without limits, and with a limit on everything that can have one.

use k8s_cel::{Decl, Environment, join};
use machinery::Value;

fn array(items: &str) -> String {
    format!(r#"{{"type":"array","maxItems":LIMIT,"items":{items}}}"#)
}

fn map(values: &str) -> String {
    format!(r#"{{"type":"object","maxProperties":LIMIT,"additionalProperties":{values}}}"#)
}

const OBJECT: &str = r#"{"type":"object","required":["required"],"properties":{"required":{"type":"string"},"optional":{"type":"string"}}}"#;
const NUMBER: &str = r#"{"type":"number"}"#;
const TEXT: &str = r#"{"type":"string"}"#;
const BOOL: &str = r#"{"type":"boolean"}"#;
const LIMITED: &str = r#"{"type":"string","maxLength":LIMIT}"#;
const BYTES: &str = r#"{"type":"string","format":"byte","maxLength":LIMIT}"#;
const DURATION: &str = r#"{"type":"string","format":"duration"}"#;
const DATE: &str = r#"{"type":"string","format":"date"}"#;
const TIME: &str = r#"{"type":"string","format":"date-time"}"#;
const INT_OR_STRING: &str = r#"{"x-kubernetes-int-or-string":true}"#;
const ENUM: &str = r#"{"type":"string","maxLength":LIMIT,"enum":["A","B","C","LongValue"]}"#;

/// Schema, rule, estimate without limits (none where it is only too much), limit, estimate then.
type Row = (String, &'static str, Option<u64>, u64, u64);

fn table() -> Vec<Row> {
    let every = "self.all(x, true)";
    let mut rows: Vec<Row> = Vec::new();
    for (items, calculated, limit, set) in [
        (NUMBER, 4_718_591, 10, 32),
        (TEXT, 3_145_727, 20, 62),
        (BOOL, 1_887_437, 5, 17),
        (
            r#"{"type":"array","items":{"type":"number"}}"#,
            3_145_727,
            100,
            302,
        ),
        (OBJECT, 555_128, 50, 152),
        (DURATION, 2_359_295, 5, 17),
        (DATE, 725_936, 15, 47),
        (TIME, 428_963, 25, 77),
        (INT_OR_STRING, 4_718_591, 10, 32),
    ] {
        rows.push((array(items), every, Some(calculated), limit, set));
    }
    for (values, calculated, limit, set) in [
        (NUMBER, 1_348_169, 10, 32),
        (TEXT, 1_179_647, 3, 11),
        (BOOL, 943_718, 100, 302),
        (OBJECT, 428_963, 20, 62),
        (DURATION, 1_048_577, 5, 17),
        (DATE, 524_288, 10, 32),
        (TIME, 349_526, 25, 77),
        (INT_OR_STRING, 1_348_169, 15, 47),
    ] {
        rows.push((map(values), every, Some(calculated), limit, set));
    }
    for (rule, calculated, limit, set) in [
        ("self.contains('test')", 314_574, 10, 5),
        ("self.startsWith('test')", 2, 15, 2),
        ("self.endsWith('test')", 2, 30, 2),
        ("size(self + 'hello') > size('hello')", 314_578, 4, 7),
        ("self.matches('x')", 314_574, 50, 22),
        ("''.matches('(((((((((())))))))))[0-9]')", 7, 10, 7),
        ("self.matches('')", 1, 100, 1),
        ("self == 'x'", 2, 0, 1),
        ("self.find('[0-9]+') == ''", 629_147, 10, 11),
    ] {
        rows.push((LIMITED.to_owned(), rule, Some(calculated), limit, set));
    }
    for (schema, rule, calculated, limit, set) in [
        (array(NUMBER), "self[1] == 0.0", Some(2), 5000, 2),
        (array(TEXT), "self[1] == self[1]", Some(314_577), 8, 314_577),
        (
            array(NUMBER),
            "self.all(x, self.all(y, true))",
            None,
            10,
            352,
        ),
        (
            array(NUMBER),
            "self.all(x, self.all(y, self.all(z, true)))",
            None,
            10,
            3552,
        ),
        (
            map(LIMITED),
            "self.all(x, x.contains(self[x]))",
            Some(2_752_507),
            10,
            72,
        ),
        (map(NUMBER), "self['x'] == 0.0", Some(2), 0, 2),
        (BYTES.to_owned(), "self == b'x'", Some(2), 0, 1),
        (
            array(NUMBER),
            "self.all(x, x == 0.0)",
            Some(6_291_454),
            6_291_456,
            25_165_826,
        ),
        (
            array(&map(OBJECT)),
            "self.all(x, x['y'].required == 'z')",
            Some(7_340_027),
            10,
            72,
        ),
        (array(INT_OR_STRING), "self[0] == 5", Some(3), 10, 3),
        (array(BOOL), "self[0] == false", Some(2), 25, 2),
        (array(OBJECT), "self[0] == null", Some(2), 422, 2),
        (array(&array(NUMBER)), "self[0][0] == -1.0", Some(3), 51, 3),
        (
            array(&map(NUMBER)),
            "self.all(x, x.y == 25.2)",
            Some(6_291_452),
            12,
            74,
        ),
        (array(&map(NUMBER)), "self[0].x > 2.0", Some(4), 3000, 4),
        (array(DURATION), "self[0].getHours() == 2", Some(4), 525, 4),
        (array(DATE), "self[2].getDayOfMonth() == 13", Some(4), 42, 4),
        (array(TIME), "self[2].getMinutes() == 45", Some(4), 99, 4),
        (
            map(r#"{"type":"integer"}"#),
            "oldSelf.size() == self.size()",
            Some(5),
            10,
            5,
        ),
        (map(TIME), "self['a'] == self['b']", Some(8), 7, 8),
        (map(DURATION), "self['c'] == self['d']", Some(8), 42, 8),
        (ENUM.to_owned(), "self.contains('A')", Some(2), 1000, 401),
    ] {
        rows.push((schema, rule, calculated, limit, set));
    }
    rows
}

fn estimate(schema: &str, rule: &str) -> u64 {
    let text = format!(r#"{{"type":"object","properties":{{"spec":{schema}}}}}"#);
    let written: Value = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"));
    let of = schema::compile_crd_schema(&written, "schema").expect("a structural schema");
    let root = Decl::of(&of, "self", true).expect("a type");
    let decl = &root.field("spec").expect("a field").decl;
    let program = Environment::base()
        .with_variable("self", decl.ty())
        .with_variable("oldSelf", decl.ty())
        .compile(rule)
        .unwrap_or_else(|errors| panic!("{}", join(&errors)));
    program.static_cost(&**decl).max
}

fn without_limits(schema: &str) -> String {
    ["maxItems", "maxProperties", "maxLength"]
        .iter()
        .fold(schema.to_owned(), |schema, key| {
            schema
                .replace(&format!("\"{key}\":LIMIT,"), "")
                .replace(&format!(",\"{key}\":LIMIT"), "")
        })
}

#[test]
fn estimates_are_upstreams() {
    let mut wrong = Vec::new();
    for (schema, rule, calculated, limit, set) in table() {
        let found = estimate(&without_limits(&schema), rule);
        if calculated.map_or(found < k8s_cel::rules::EXPRESSION_LIMIT, |wanted| {
            found != wanted
        }) {
            wrong.push(format!("{rule} {schema}: {found}, wanted {calculated:?}"));
        }
        let found = estimate(&schema.replace("LIMIT", &limit.to_string()), rule);
        if found != set {
            wrong.push(format!("{rule} {schema} at {limit}: {found}, wanted {set}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
