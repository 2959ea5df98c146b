//! The three encodings of bodies.

use crate::Target;
use codec::Limits;
use kinds::Catalogue;
use machinery::GroupVersionKind;
use std::sync::LazyLock;

/// JSON bodies.
pub const JSON: Target = Target {
    name: "json",
    run: json,
    seeds: &[
        br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"y\u00e9\n"}},"spec":{"n":-1.5e3,"l":[1,2,[true,null,{}]]}}"#,
        br#"[{"a":1,"a":2}]"#,
        b"\"\\ud83d\\ude00\"",
    ],
};

fn json(bytes: &[u8]) {
    let ours = codec::decode_json(bytes, Limits::default());
    let theirs = serde_json::from_slice::<serde_json::Value>(bytes);
    let Ok(decoded) = ours else {
        // What a well-tried reader takes is taken; numbers and nesting beyond the limits are not.
        if let Ok(value) = theirs {
            let refused = ours.map(|_| ()).expect_err("seen above");
            assert!(is_beyond_limits(&value, bytes), "{refused}: {value}");
        }
        return;
    };
    let printed = codec::encode_json_value(&decoded.value);
    let again = codec::decode_json(&printed, Limits::default()).expect("what is printed is read");
    // A whole number written as a fraction reads back as an integer, so compare what is printed.
    assert_eq!(codec::encode_json_value(&again.value), printed);
    assert!(again.complaints().is_empty(), "printing repeats no field");
}

/// Whether our limits explain a refusal: numbers that neither 64 bits hold nor a float, depth.
fn is_beyond_limits(value: &serde_json::Value, bytes: &[u8]) -> bool {
    let deep = bytes
        .iter()
        .filter(|byte| matches!(byte, b'[' | b'{'))
        .count()
        > machinery::flat::MAX_DEPTH;
    deep || has_wide_number(value)
}

fn has_wide_number(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Number(number) => !number.is_i64(),
        serde_json::Value::Array(items) => items.iter().any(has_wide_number),
        serde_json::Value::Object(entries) => entries.values().any(has_wide_number),
        _ => false,
    }
}

/// YAML bodies.
pub const YAML: Target = Target {
    name: "yaml",
    run: yaml,
    seeds: &[
        b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: |\n    two\n    lines\n  y: 'q'\n",
        b"a: &x [1, 2.5, yes, ~, \"s\"]\nb: *x\nc: {d: e}\n",
        b"- !!str 1\n- 0x1f\n- =\n- 2001-01-01\n",
    ],
};

fn yaml(bytes: &[u8]) {
    let Ok(decoded) = codec::decode_yaml(bytes, Limits::default()) else {
        return;
    };
    let printed = codec::encode_yaml(&decoded.value);
    let again = codec::decode_yaml(printed.as_bytes(), Limits::default());
    let again = again.unwrap_or_else(|why| panic!("what is printed is read: {why}\n{printed}"));
    assert_eq!(codec::encode_yaml(&again.value), printed);
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::builtin);

/// Protobuf bodies, of every built-in kind.
pub const PROTOBUF: Target = Target {
    name: "protobuf",
    run: protobuf,
    seeds: &[
        b"k8s\x00\n\x09\n\x02v1\x12\x03Pod\x12\x1a\n\x0b\n\x01a\x12\x00\x1a\x02ns\"\x00\x12\x0b\x12\x09\n\x01c\x12\x04demo",
        b"k8s\x00\n\x0f\n\x02v1\x12\x09ConfigMap\x12\x0f\n\x05\n\x01a\x12\x00\x12\x06\n\x01k\x12\x01v",
        b"k8s\x00\n\x11\n\x07apps/v1\x12\x06Nothing\x12\x00",
    ],
};

fn protobuf(bytes: &[u8]) {
    let resolve = |gvk: &GroupVersionKind| CATALOGUE.kind(gvk).map(|kind| kind.type_ref.clone());
    let Ok(value) = codec::decode_protobuf(bytes, &resolve) else {
        return;
    };
    let gvk = value.gvk();
    let Some(of) = resolve(&gvk) else { return };
    let printed = codec::encode_protobuf(&value, &gvk, &of);
    let again = codec::decode_protobuf(&printed, &resolve).expect("what is printed is read");
    assert_eq!(again, value);
}
