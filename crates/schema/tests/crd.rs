//! Custom types: schemas compiled or refused, values defaulted, pruned, validated and merged.

use machinery::{FieldError, Ref, Value, flat};
use schema::{
    Manager, TypeRef, Versions, apply, apply_defaults, compile_crd_schema, decode, has_unknown,
    prune, validate, validate_definition, validate_definition_name, validate_update,
};

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect(text)
}

const SCHEMA: &str = r#"{"type":"object","required":["spec"],"properties":{
  "spec":{"type":"object","required":["size"],"properties":{
    "size":{"type":"integer","format":"int32","minimum":1,"maximum":10,"default":3},
    "name":{"type":"string","pattern":"^a+$","maxLength":5,"minLength":1},
    "mode":{"type":"string","enum":["On","Off"]},
    "ratio":{"type":"number","exclusiveMinimum":true,"minimum":0},
    "when":{"type":"string","format":"date-time"},
    "port":{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}]},
    "free":{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"n":{"type":"integer"}}},
    "any":{"x-kubernetes-preserve-unknown-fields":true},
    "tags":{"type":"array","x-kubernetes-list-type":"set","maxItems":3,"items":{"type":"string"}},
    "rules":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["host","proto"],
      "items":{"type":"object","required":["host"],"properties":{
        "host":{"type":"string"},"proto":{"type":"string","default":"tcp"},"weight":{"type":"integer","nullable":true}}}},
    "limits":{"type":"object","additionalProperties":{"type":"object","properties":{"max":{"type":"integer","default":7}}}},
    "template":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true},
    "either":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}},
      "oneOf":[{"required":["a"]},{"required":["b"]}]},
    "barred":{"type":"string","not":{"enum":["x"]}}
  }},
  "status":{"type":"object","properties":{"phase":{"type":"string"}}}}}"#;

fn widget() -> TypeRef {
    compile_crd_schema(&json(SCHEMA), "spec.versions[0].schema.openAPIV3Schema")
        .expect("structural")
}

fn spec(text: &str) -> Value {
    json(&format!(
        r#"{{"apiVersion":"x/v1","kind":"Widget","metadata":{{"name":"w"}},"spec":{text}}}"#
    ))
}

/// Cases of a file: JSON on a line of its own, then what a 1.36 server says of it, indented.
fn cases(text: &str) -> Vec<(Value, Vec<&str>)> {
    let mut cases: Vec<(Value, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix('\t'), cases.last_mut()) {
            (Some(error), Some((_, errors))) => errors.push(error),
            _ => cases.push((json(line), Vec::new())),
        }
    }
    cases
}

/// Compares as sets: a server walks properties in no order.
fn compare(found: &[FieldError], mut wanted: Vec<&str>, case: &Value) {
    let show = |error: &FieldError| {
        let text = error.to_string();
        match text.split_once("Invalid value: [{") {
            Some((before, rest)) => {
                let after = rest.split_once("}]: ").map_or(rest, |(_, after)| after);
                format!("{before}Invalid value: [..]: {after}")
            }
            // Each engine has its own words for what is wrong with an expression.
            None => text
                .split_once("but isn't: ")
                .map_or(text.clone(), |(said, _)| format!("{said}but isn't")),
        }
    };
    let mut found: Vec<String> = found.iter().map(show).collect();
    found.sort();
    wanted.sort_unstable();
    let case = serde_json::to_string(case).expect("a tree prints");
    assert_eq!(found, wanted, "{case}");
}

#[test]
fn schemas_that_are_not_structural_are_refused() {
    for (schema, wanted) in cases(include_str!("data/crd-schemas.txt")) {
        let errors = compile_crd_schema(&schema, "s").err().unwrap_or_default();
        compare(&errors, wanted, &schema);
    }
}

#[test]
fn definitions_are_refused_with_upstreams_messages() {
    for (definition, wanted) in cases(include_str!("data/crd-definitions.txt")) {
        let mut errors = validate_definition_name(&definition);
        errors.extend(validate_definition(&definition));
        compare(&errors, wanted, &definition);
    }
}

#[test]
fn values_are_checked_with_upstreams_messages() {
    let of = widget();
    for (given, wanted) in cases(include_str!("data/crd-values.txt")) {
        let mut value = spec("{}");
        value["spec"] = given;
        prune(&mut value, &of);
        apply_defaults(&mut value, &of);
        compare(&validate(&value, &of), wanted, &value);
    }
}

#[test]
fn what_did_not_change_may_stay_wrong() {
    let of = widget();
    let old =
        spec(r#"{"size":11,"mode":"Half","tags":["a","a"],"rules":[{"host":"h","weight":"x"}]}"#);
    let same = |text: &str| {
        let errors = validate_update(&spec(text), &old, &of);
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let none: [String; 0] = [];
    assert_eq!(
        same(
            r#"{"size":11,"name":"aa","tags":["a","a"],"rules":[{"host":"i"},{"host":"h","weight":"x"}]}"#
        ),
        none
    );
    assert_eq!(
        same(r#"{"size":12,"mode":"Half"}"#),
        ["spec.size: Invalid value: 12: spec.size in body should be less than or equal to 10"]
    );
    assert_eq!(
        same(r#"{"size":1,"rules":[{"host":"i","weight":"x"}]}"#).len(),
        1
    );
}

#[test]
fn defaults_reach_items_and_map_values() {
    let mut value = spec(
        r#"{"rules":[{"host":"h","weight":null}],"limits":{"cpu":{}},"name":null,"size":null}"#,
    );
    apply_defaults(&mut value, &widget());
    let wanted = r#"{"rules":[{"host":"h","proto":"tcp","weight":null}],"limits":{"cpu":{"max":7}},"size":3}"#;
    assert_eq!(value["spec"], json(wanted));
}

#[test]
fn unknown_fields_go_unless_preserved() {
    let mut value = spec(
        r#"{"size":1,"x":1,"free":{"y":1,"n":2},"template":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","z":1},"spec":{}}}"#,
    );
    let stored = |value: &Value| flat::encode(value);
    assert!(has_unknown(Ref::new(&stored(&value)), &widget()));
    assert_eq!(
        prune(&mut value, &widget()),
        ["spec.template.metadata.z", "spec.x"]
    );
    assert!(!has_unknown(Ref::new(&stored(&value)), &widget()));
    assert_eq!(value["spec"]["free"], json(r#"{"y":1,"n":2}"#));
    // Metadata takes the form of a built-in type, the rest stays as written.
    let mut value = spec(r#"{"size":0,"name":"","tags":[]}"#);
    value.set_at(&["metadata", "labels"], json("{}"));
    decode(&mut value, &widget()).unwrap();
    assert_eq!(value, spec(r#"{"size":0,"name":"","tags":[]}"#));
}

#[test]
fn custom_objects_merge_by_their_list_types() {
    let of = widget();
    let by = |name| Manager {
        name,
        api_version: "x/v1",
        subresource: "",
        now: "2026-01-01T00:00:00Z",
        reset: None,
        versions: Versions::ONE,
    };
    let one = apply(
        None,
        &spec(r#"{"size":1,"tags":["a"],"rules":[{"host":"h"}],"free":{"m":{"p":1}}}"#),
        &of,
        &by("one"),
        false,
    )
    .unwrap();
    let two = spec(r#"{"tags":["b"],"rules":[{"host":"h","proto":"udp"}],"free":{"m":{"q":2}}}"#);
    let both = apply(Some(&one), &two, &of, &by("two"), false).unwrap();
    assert_eq!(
        both["spec"],
        json(
            r#"{"size":1,"tags":["a","b"],"rules":[{"host":"h"},{"host":"h","proto":"udp"}],"free":{"m":{"p":1,"q":2}}}"#
        )
    );
    let less = apply(Some(&both), &spec(r#"{"size":1}"#), &of, &by("one"), false).unwrap();
    assert_eq!(
        less["spec"],
        json(
            r#"{"size":1,"tags":["b"],"rules":[{"host":"h","proto":"udp"}],"free":{"m":{"q":2}}}"#
        )
    );
}
