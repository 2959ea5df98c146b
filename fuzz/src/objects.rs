//! What is done to objects with input that has been read: patches, applies, schemas.
//!
//! Inputs are JSON arrays of what the function takes.

use crate::Target;
use machinery::Value;
use schema::{Manager, TypeRef};

/// The items of a JSON array, if that is what the bytes are.
fn with_items<const N: usize>(bytes: &[u8], check: impl FnOnce([Value; N])) {
    let Ok(decoded) = codec::decode_json(bytes, codec::Limits::default()) else {
        return;
    };
    if let Value::Array(items) = decoded.value
        && let Ok(items) = <[Value; N]>::try_from(items)
    {
        check(items);
    }
}

fn pod() -> TypeRef {
    schema::builtin_type("io.k8s.api.core.v1.Pod").expect("a built-in type")
}

/// RFC 6902 patches.
pub const JSON_PATCH: Target = Target {
    name: "json-patch",
    run: |bytes| {
        with_items(bytes, |[object, patch]| {
            let _refused_or_not = schema::json_patch(&object, &patch);
        });
    },
    seeds: &[
        br#"[{"a":{"b":[1,2]},"c/d":1},[{"op":"add","path":"/a/b/-","value":3},{"op":"test","path":"/c~1d","value":1},{"op":"move","from":"/a/b/0","path":"/e"},{"op":"copy","from":"/a","path":"/a/f"},{"op":"remove","path":"/e"},{"op":"replace","path":"","value":{}}]]"#,
    ],
};

/// RFC 7386 patches.
pub const MERGE_PATCH: Target = Target {
    name: "merge-patch",
    run: |bytes| {
        with_items(bytes, |[object, patch]| {
            let Ok(merged) = schema::merge_patch(&object, &patch) else {
                return;
            };
            let again = schema::merge_patch(&merged, &patch);
            assert_eq!(again.as_ref(), Ok(&merged), "a merge patch is idempotent");
        });
    },
    seeds: &[br#"[{"a":{"b":1,"c":[1]},"d":null},{"a":{"b":null,"e":{"f":null,"g":2}},"d":[{}]}]"#],
};

/// Strategic merge patches of a pod.
pub const STRATEGIC_PATCH: Target = Target {
    name: "strategic-patch",
    run: |bytes| {
        with_items(bytes, |[object, patch]| {
            let _refused_or_not = schema::strategic_merge_patch(&object, &patch, &pod());
        });
    },
    seeds: &[
        br#"[{"spec":{"containers":[{"name":"a","image":"x","ports":[{"containerPort":80}],"env":[{"name":"E","value":"1"}]}],"tolerations":[{"key":"k"}]}},{"spec":{"containers":[{"name":"a","image":"y","env":[{"name":"E","$patch":"delete"}]},{"name":"b"}],"$setElementOrder/containers":[{"name":"b"},{"name":"a"}],"tolerations":null,"$retainKeys":["containers"]}}]"#,
        br#"[{"metadata":{"finalizers":["a","b"]}},{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"],"finalizers":["c"]}}]"#,
    ],
};

/// Server-side apply of a pod: two configurations by one manager, one after the other.
pub const APPLY: Target = Target {
    name: "apply",
    run: |bytes| {
        with_items(bytes, |[first, second]| {
            let Some(live) = applied(None, &first) else {
                return;
            };
            let Some(next) = applied(Some(&live), &second) else {
                return;
            };
            let again = applied(Some(&next), &second).expect("what was taken is taken again");
            assert_eq!(again, next, "an apply is idempotent");
        });
    },
    seeds: &[
        br#"[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"1","y":"2"}},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80,"protocol":"TCP"}]}]}},{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"2"},"finalizers":["f/g"]},"spec":{"containers":[{"name":"d","image":"i","args":["1"]}]}}]"#,
    ],
};

/// Applies as the door does: pruned and typed first. `None`: refused.
fn applied(live: Option<&Value>, config: &Value) -> Option<Value> {
    let of = pod();
    let mut config = config.clone();
    schema::prune(&mut config, &of);
    schema::check_types(&config, &of).ok()?;
    let by = Manager {
        name: "m",
        api_version: "v1",
        subresource: "",
        now: "2026-01-01T00:00:00Z",
        reset: None,
        versions: schema::Versions::ONE,
    };
    schema::apply(live, &config, &of, &by, false).ok()
}

/// A custom kind's schema and an object of it.
pub const CUSTOM_SCHEMA: Target = Target {
    name: "custom-schema",
    run: |bytes| {
        with_items(bytes, |[schema_of, mut object]| {
            let Ok(of) = schema::compile_crd_schema(&schema_of, "spec") else {
                return;
            };
            if schema::decode(&mut object, &of).is_err() {
                return;
            }
            schema::apply_defaults(&mut object, &of);
            let defaulted = object.clone();
            schema::apply_defaults(&mut object, &of);
            assert_eq!(object, defaulted, "defaulting is idempotent");
            schema::validate(&object, &of);
        });
    },
    seeds: &[
        br#"[{"type":"object","properties":{"spec":{"type":"object","required":["n"],"properties":{"n":{"type":"integer","minimum":1,"default":3},"s":{"type":"string","pattern":"^a+$","enum":["a","aa"]},"p":{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}]},"l":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","required":["k"],"properties":{"k":{"type":"string","default":"z"},"v":{"type":"number","nullable":true}}}},"m":{"type":"object","additionalProperties":{"type":"string","maxLength":3}},"r":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}}},{"spec":{"n":1,"s":"aa","p":"50%","l":[{"k":"1"},{"v":null}],"m":{"a":"b"},"r":{"any":[1]},"u":1}}]"#,
    ],
};
