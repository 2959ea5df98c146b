//! Custom types: schemas compiled or refused, values defaulted, pruned, validated and merged.

use machinery::Value;
use schema::{
    Manager, TypeRef, apply, apply_defaults, compile_crd_schema, decode, prune, validate,
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

#[test]
fn schemas_that_are_not_structural_are_refused() {
    let cases = [
        (
            r#"{"properties":{}}"#,
            "s.type: Required value: must not be empty at the root",
        ),
        (
            r#"{"type":"array","items":{"type":"string"}}"#,
            r#"s.type: Invalid value: "array": must be object at the root"#,
        ),
        (
            r#"{"type":"object","properties":{"a":{}}}"#,
            "s.properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            r#"{"type":"object","properties":{"a":{"type":"array","items":{}}}}"#,
            "s.properties[a].items.type: Required value: must not be empty for specified array items",
        ),
        (
            r#"{"type":"object","properties":{"a":{"type":"array"}}}"#,
            "s.properties[a].items: Required value: must be specified",
        ),
        (
            r#"{"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"string"}},"additionalProperties":{"type":"string"}}}}"#,
            "s.properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            r#"{"type":"object","properties":{"a":{"type":"strange"}}}"#,
            r#"s.properties[a].type: Unsupported value: "strange": supported values: "array", "boolean", "integer", "number", "object", "string""#,
        ),
        (
            r#"{"type":"object","properties":{"a":{"type":"array","items":{"type":"object"},"x-kubernetes-list-type":"map"}}}"#,
            "s.properties[a].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
        (
            r#"{"type":"object","properties":{"a":{"type":"integer","default":"x"}}}"#,
            r#"s.properties[a].default: Invalid value: "x": s.properties[a].default in body must be of type integer: "string""#,
        ),
    ];
    for (schema, wanted) in cases {
        let errors = compile_crd_schema(&json(schema), "s").expect_err(schema);
        assert_eq!(errors[0].to_string(), wanted, "{schema}");
    }
    let bad = r#"{"type":"object","properties":{"a":{"type":"string","pattern":"("}}}"#;
    let errors = compile_crd_schema(&json(bad), "s").expect_err(bad);
    assert!(errors[0].to_string().starts_with(
        "s.properties[a].pattern: Invalid value: \"(\": must be a valid regular expression"
    ));
}

#[test]
fn values_are_checked_with_upstreams_messages() {
    let cases = [
        (r#"{}"#, vec!["spec.size: Required value"]),
        (
            r#"{"size":"3"}"#,
            vec![
                r#"spec.size: Invalid value: "3": spec.size in body must be of type integer: "string""#,
            ],
        ),
        (
            r#"{"size":0}"#,
            vec![
                "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
            ],
        ),
        (
            r#"{"size":11}"#,
            vec![
                "spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10",
            ],
        ),
        (
            r#"{"size":1,"name":"b"}"#,
            vec![r#"spec.name: Invalid value: "b": spec.name in body should match '^a+$'"#],
        ),
        (
            r#"{"size":1,"name":"aaaaaa"}"#,
            vec!["spec.name: Too long: may not be more than 5 bytes"],
        ),
        (
            r#"{"size":1,"mode":"Half"}"#,
            vec![r#"spec.mode: Unsupported value: "Half": supported values: "On", "Off""#],
        ),
        (
            r#"{"size":1,"ratio":0}"#,
            vec!["spec.ratio: Invalid value: 0: spec.ratio in body should be greater than 0"],
        ),
        (
            r#"{"size":1,"when":"now"}"#,
            vec![
                r#"spec.when: Invalid value: "now": spec.when in body must be of type date-time: "now""#,
            ],
        ),
        (
            r#"{"size":1,"port":true}"#,
            vec![
                r#"spec.port: Invalid value: true: spec.port in body must be of type integer,string: "boolean""#,
            ],
        ),
        (
            r#"{"size":1,"port":"http","any":[1,{"x":null}],"free":{"n":1,"m":{}}}"#,
            vec![],
        ),
        (
            r#"{"size":1,"tags":["a","b","a"]}"#,
            vec![r#"spec.tags[2]: Duplicate value: "a""#],
        ),
        (
            r#"{"size":1,"tags":["a","b","c","d"]}"#,
            vec!["spec.tags: Too many: 4: must have at most 3 items"],
        ),
        (
            r#"{"size":1,"rules":[{"host":"h"},{"host":"h","proto":"tcp"}]}"#,
            vec![r#"spec.rules[1]: Duplicate value: {"host":"h","proto":"tcp"}"#],
        ),
        (r#"{"size":1,"rules":[{"host":"h","weight":null}]}"#, vec![]),
        (
            r#"{"size":1,"limits":{"cpu":{"max":"1"}}}"#,
            vec![
                r#"spec.limits.cpu.max: Invalid value: "1": spec.limits.cpu.max in body must be of type integer: "string""#,
            ],
        ),
        (
            r#"{"size":1,"either":{"a":"1","b":"2"}}"#,
            vec![
                r#"<nil>: Invalid value: "": "spec.either" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
            ],
        ),
        (
            r#"{"size":1,"either":{}}"#,
            vec![
                r#"<nil>: Invalid value: "": "spec.either" must validate one and only one schema (oneOf). Found none valid"#,
                "spec.either.a: Required value",
            ],
        ),
        (
            r#"{"size":1,"barred":"x"}"#,
            vec![r#"<nil>: Invalid value: "": "spec.barred" must not validate the schema (not)"#],
        ),
        (
            r#"{"size":1,"template":{"kind":"Pod"}}"#,
            vec!["spec.template.apiVersion: Required value: must not be empty"],
        ),
    ];
    let of = widget();
    for (text, wanted) in cases {
        let found: Vec<_> = validate(&spec(text), &of)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, wanted, "{text}");
    }
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
    assert_eq!(
        prune(&mut value, &widget()),
        ["spec.template.metadata.z", "spec.x"]
    );
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
