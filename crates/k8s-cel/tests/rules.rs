//! Rules of custom resources: what is refused at creation of a definition, and what of objects.

use k8s_cel::rules::{Rules, check};
use machinery::Value;
use schema::{TypeRef, compile_crd_schema};

const PATH: &str = "spec.versions[0].schema.openAPIV3Schema";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

fn schema(spec: &str) -> TypeRef {
    let text = format!(r#"{{"type":"object","properties":{{"spec":{spec}}}}}"#);
    compile_crd_schema(&json(&text), PATH).expect("a structural schema")
}

fn errors(of: &TypeRef) -> Vec<String> {
    check(of, PATH).iter().map(ToString::to_string).collect()
}

fn validate(of: &TypeRef, new: &str, old: Option<&str>) -> (Vec<String>, usize) {
    let rules = Rules::compile(of).expect("there are rules");
    let whole = |spec: &str| json(&format!(r#"{{"kind":"K","spec":{spec}}}"#));
    let old = old.map(whole);
    let found = rules.validate(&whole(new), old.as_ref());
    let texts = found.errors.iter().map(ToString::to_string).collect();
    (texts, found.warnings.len())
}

const SIZES: &str = r#"{"type":"object","properties":{"min":{"type":"integer"},"max":{"type":"integer"},
    "name":{"type":"string","maxLength":10}},
    "x-kubernetes-validations":[{"rule":"self.min <= self.max","message":"min above max"},
    {"rule":"!has(self.name) || self.name != 'bad'","fieldPath":".name","reason":"FieldValueForbidden",
     "messageExpression":"'name is ' + self.name"},
    {"rule":"self.max == oldSelf.max"}]}"#;

#[test]
fn objects_are_held_against_rules() {
    let of = schema(SIZES);
    assert_eq!(errors(&of), Vec::<String>::new());
    for (new, old, wanted) in [
        (r#"{"min":1,"max":2}"#, None, vec![]),
        (
            r#"{"min":3,"max":2}"#,
            None,
            vec!["spec: Invalid value: min above max"],
        ),
        (
            r#"{"min":1,"max":2,"name":"bad"}"#,
            None,
            vec!["spec.name: Forbidden: name is bad"],
        ),
        (
            r#"{"min":1,"max":2}"#,
            Some(r#"{"min":1,"max":3}"#),
            vec!["spec: Invalid value: failed rule: self.max == oldSelf.max"],
        ),
        (
            r#"{"max":2}"#,
            None,
            vec![
                r#"spec: Invalid value: "object": no such key: min evaluating rule: min above max"#,
            ],
        ),
    ] {
        assert_eq!(validate(&of, new, old).0, wanted, "{new}");
    }
}

#[test]
fn what_was_wrong_before_only_warns() {
    let of = schema(SIZES);
    let bad = r#"{"min":3,"max":2}"#;
    assert_eq!(validate(&of, bad, Some(bad)), (vec![], 1));
    let (errors, warnings) = validate(&of, r#"{"min":4,"max":2}"#, Some(bad));
    assert_eq!((errors.len(), warnings), (1, 0));
}

#[test]
fn keyed_items_find_their_old_selves() {
    let of = schema(
        r#"{"type":"object","properties":{"ports":{"type":"array","maxItems":5,"x-kubernetes-list-type":"map",
        "x-kubernetes-list-map-keys":["name"],"items":{"type":"object","required":["name"],
        "properties":{"name":{"type":"string","maxLength":5},"port":{"type":"integer"}},
        "x-kubernetes-validations":[{"rule":"self.port == oldSelf.port","message":"port is immutable"}]}},
        "labels":{"type":"object","maxProperties":3,"additionalProperties":{"type":"string","maxLength":9,
        "x-kubernetes-validations":[{"rule":"self != 'x'"}]}}}}"#,
    );
    assert_eq!(errors(&of), Vec::<String>::new());
    let old = r#"{"ports":[{"name":"a","port":1},{"name":"b","port":2}]}"#;
    let (found, _) = validate(
        &of,
        r#"{"ports":[{"name":"b","port":3},{"name":"c","port":9},{"name":"a","port":1}],"labels":{"k/l":"x"}}"#,
        Some(old),
    );
    assert_eq!(
        found,
        [
            r#"spec.labels[k/l]: Invalid value: "x": failed rule: self != 'x'"#,
            "spec.ports[0]: Invalid value: port is immutable",
        ]
    );
}

#[test]
fn optional_old_selves_are_there_at_creation() {
    let of = schema(
        r#"{"type":"object","properties":{"a":{"type":"integer","x-kubernetes-validations":[
        {"rule":"!oldSelf.hasValue() || self > oldSelf.value()","optionalOldSelf":true}]}}}"#,
    );
    assert_eq!(errors(&of), Vec::<String>::new());
    assert_eq!(validate(&of, r#"{"a":1}"#, None).0.len(), 0);
    assert_eq!(validate(&of, r#"{"a":1}"#, Some(r#"{"a":2}"#)).0.len(), 1);
}

#[test]
fn bad_rules_are_refused() {
    let rule = |rule: &str| {
        format!(
            r#"{{"type":"object","properties":{{"a":{{"type":"integer"}},"list":{{"type":"array","items":{{"type":"string"}}}}}},
            "x-kubernetes-validations":[{rule}]}}"#
        )
    };
    let place = format!("{PATH}.properties[spec].x-kubernetes-validations[0]");
    for (written, wanted) in [
        (r#"{"rule":"self.b == 1"}"#, "undefined field 'b'"),
        (
            r#"{"rule":"self.a"}"#,
            "cel expression must evaluate to a bool",
        ),
        (r#"{"rule":" "}"#, "Required value: rule is not specified"),
        (
            r#"{"rule":"self.a == 1","message":" "}"#,
            "must be non-empty if specified",
        ),
        (
            r#"{"rule":"self.a ==\n 1"}"#,
            "message must be specified if rule contains line breaks",
        ),
        (
            r#"{"rule":"true","messageExpression":"1"}"#,
            "messageExpression must evaluate to a string",
        ),
        (
            r#"{"rule":"true","fieldPath":".nosuch"}"#,
            "must be a valid path",
        ),
        (
            r#"{"rule":"true","reason":"No"}"#,
            "Unsupported value: \"No\"",
        ),
        (
            r#"{"rule":"true","optionalOldSelf":true}"#,
            "may not be set if oldSelf is not used in rule",
        ),
        (
            r#"{"rule":"self.list.all(x, self.list.all(y, x == y))"}"#,
            "estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)",
        ),
    ] {
        let text = format!(
            r#"{{"type":"object","properties":{{"spec":{}}}}}"#,
            rule(written)
        );
        // How rules are written is partly checked where schemas are compiled.
        let found = match compile_crd_schema(&json(&text), PATH) {
            Ok(of) => errors(&of),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        };
        assert!(
            found
                .first()
                .is_some_and(|error| error.starts_with(&place) && error.contains(wanted)),
            "{written}: {found:?}"
        );
    }
}

#[test]
fn old_selves_need_items_that_can_be_found_again() {
    let of = schema(
        r#"{"type":"object","properties":{"list":{"type":"array","maxItems":2,"items":{"type":"string","maxLength":3,
        "x-kubernetes-validations":[{"rule":"self == oldSelf"}]}}}}"#,
    );
    let list = format!("{PATH}.properties[spec].properties[list]");
    assert_eq!(
        errors(&of),
        [format!(
            "{list}.items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within {list}"
        )]
    );
}
