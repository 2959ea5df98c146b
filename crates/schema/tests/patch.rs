//! Patches as tables: document, patch, result.

use machinery::Value;
use schema::{builtin_type, json_patch, merge_patch, strategic_merge_patch};

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect(text)
}

#[test]
fn json_patches() {
    let cases = [
        (
            r#"{"a":1}"#,
            r#"[{"op":"add","path":"/b","value":[1]},{"op":"add","path":"/b/-","value":2},{"op":"add","path":"/b/0","value":0}]"#,
            r#"{"a":1,"b":[0,1,2]}"#,
        ),
        (
            r#"{"a":{"x/y":1,"m~n":2}}"#,
            r#"[{"op":"remove","path":"/a/x~1y"},{"op":"replace","path":"/a/m~0n","value":3}]"#,
            r#"{"a":{"m~n":3}}"#,
        ),
        (
            r#"{"a":{"b":1}}"#,
            r#"[{"op":"move","from":"/a/b","path":"/c"},{"op":"copy","from":"/c","path":"/d"}]"#,
            r#"{"a":{},"c":1,"d":1}"#,
        ),
        (
            r#"{"a":1}"#,
            r#"[{"op":"test","path":"/a","value":1.0},{"op":"test","path":"/z","value":null}]"#,
            r#"{"a":1}"#,
        ),
        (
            r#"{"a":[1,2,3]}"#,
            r#"[{"op":"remove","path":"/a/-1"}]"#,
            r#"{"a":[1,2]}"#,
        ),
        (
            r#"{"a":{}}"#,
            r#"[{"op":"replace","path":"/a/b","value":1},{"op":"copy","from":"/a/z","path":"/c"}]"#,
            r#"{"a":{"b":1},"c":null}"#,
        ),
        (r#"{"a":1}"#, "null", r#"{"a":1}"#),
    ];
    for (document, patch, wanted) in cases {
        assert_eq!(
            json_patch(&json(document), &json(patch)).as_ref(),
            Ok(&json(wanted)),
            "{patch}"
        );
    }
    for (patch, code) in [
        (r#"{"op":"add"}"#, 400),
        (r#"[{"op":"remove","path":"/x"}]"#, 422),
        (r#"[{"op":"replace","path":"/x/y","value":1}]"#, 422),
        (r#"[{"op":"add","path":"/x/y","value":1}]"#, 422),
        (r#"[{"op":"test","path":"/a","value":2}]"#, 422),
        (r#"[{"op":"jump","path":"/a"}]"#, 422),
    ] {
        assert_eq!(
            json_patch(&json(r#"{"a":1}"#), &json(patch))
                .unwrap_err()
                .code(),
            code,
            "{patch}"
        );
    }
    let many = Value::Array(vec![json(r#"{"op":"test","path":"/z"}"#); 10_001]);
    assert_eq!(json_patch(&json("{}"), &many).unwrap_err().code(), 413);
}

#[test]
fn merge_patches() {
    let cases = [
        (
            r#"{"a":{"b":1,"c":2}}"#,
            r#"{"a":{"b":null,"d":{"e":null,"f":1}},"g":[1]}"#,
            r#"{"a":{"c":2,"d":{"f":1}},"g":[1]}"#,
        ),
        (r#"{"a":[1]}"#, r#"{"a":{"b":1}}"#, r#"{"a":{"b":1}}"#),
    ];
    for (document, patch, wanted) in cases {
        assert_eq!(
            merge_patch(json(document), &json(patch)).as_ref(),
            Ok(&json(wanted)),
            "{patch}"
        );
    }
}

#[test]
fn strategic_patches() {
    let cases = [
        (
            "core.v1.PodSpec",
            "merges list items by key",
            r#"{"containers":[{"name":"a","image":"1"},{"name":"b","image":"1"}]}"#,
            r#"{"containers":[{"name":"b","image":"2"},{"name":"c","image":"3"}]}"#,
            r#"{"containers":[{"name":"a","image":"1"},{"name":"b","image":"2"},{"name":"c","image":"3"}]}"#,
        ),
        (
            "core.v1.PodSpec",
            "a new item comes ahead of items not named",
            r#"{"containers":[{"name":"a"}]}"#,
            r#"{"containers":[{"name":"b"}]}"#,
            r#"{"containers":[{"name":"b"},{"name":"a"}]}"#,
        ),
        (
            "core.v1.PodSpec",
            "$patch delete in a list",
            r#"{"containers":[{"name":"a"},{"name":"b"}]}"#,
            r#"{"containers":[{"$patch":"delete","name":"a"}]}"#,
            r#"{"containers":[{"name":"b"}]}"#,
        ),
        (
            "core.v1.PodSpec",
            "$patch replace in a list",
            r#"{"containers":[{"name":"a"},{"name":"b"}]}"#,
            r#"{"containers":[{"name":"c"},{"$patch":"replace"}]}"#,
            r#"{"containers":[{"name":"c"}]}"#,
        ),
        (
            "core.v1.PodSpec",
            "$patch replace in a map",
            r#"{"securityContext":{"runAsUser":1,"fsGroup":2}}"#,
            r#"{"securityContext":{"$patch":"replace","fsGroup":3}}"#,
            r#"{"securityContext":{"fsGroup":3}}"#,
        ),
        (
            "core.v1.PodSpec",
            "$patch delete in a map",
            r#"{"securityContext":{"runAsUser":1}}"#,
            r#"{"securityContext":{"$patch":"delete"}}"#,
            r#"{"securityContext":{}}"#,
        ),
        (
            "core.v1.PodSpec",
            "nulls remove, also in new maps",
            r#"{"nodeSelector":{"a":"b"},"hostname":"x"}"#,
            r#"{"hostname":null,"nodeSelector":{"a":null,"c":"d"},"affinity":{"nodeAffinity":null}}"#,
            r#"{"nodeSelector":{"c":"d"},"affinity":{}}"#,
        ),
        (
            "core.v1.PodSpec",
            "retainKeys clears the other volume sources",
            r#"{"volumes":[{"name":"v","emptyDir":{}},{"name":"w","emptyDir":{}}]}"#,
            r#"{"volumes":[{"$retainKeys":["name","hostPath"],"name":"v","hostPath":{"path":"/x"}}]}"#,
            r#"{"volumes":[{"name":"v","hostPath":{"path":"/x"}},{"name":"w","emptyDir":{}}]}"#,
        ),
        (
            "core.v1.PodSpec",
            "$setElementOrder orders and keeps server-only items in place",
            r#"{"containers":[{"name":"a"},{"name":"x"},{"name":"b"}]}"#,
            r#"{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}],"containers":[{"name":"b","image":"i"}]}"#,
            r#"{"containers":[{"name":"x"},{"name":"b","image":"i"},{"name":"a"}]}"#,
        ),
        (
            "core.v1.PodSpec",
            "lists without a strategy are replaced",
            r#"{"tolerations":[{"key":"a"}]}"#,
            r#"{"tolerations":[{"key":"b"}]}"#,
            r#"{"tolerations":[{"key":"b"}]}"#,
        ),
        (
            "core.v1.ServiceSpec",
            "service ports merge by port",
            r#"{"ports":[{"port":80,"targetPort":1}]}"#,
            r#"{"ports":[{"port":80,"targetPort":2},{"port":81}]}"#,
            r#"{"ports":[{"port":80,"targetPort":2},{"port":81}]}"#,
        ),
        (
            "core.v1.Pod",
            "scalars merge as a set",
            r#"{"metadata":{"finalizers":["a","b"]}}"#,
            r#"{"metadata":{"finalizers":["b","c"]}}"#,
            r#"{"metadata":{"finalizers":["a","b","c"]}}"#,
        ),
        (
            "core.v1.Pod",
            "$deleteFromPrimitiveList",
            r#"{"metadata":{"finalizers":["a","b"]}}"#,
            r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"],"$setElementOrder/finalizers":["b"]}}"#,
            r#"{"metadata":{"finalizers":["b"]}}"#,
        ),
        (
            "apps.v1.DeploymentSpec",
            "retainKeys on a map",
            r#"{"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1}}}"#,
            r#"{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}"#,
            r#"{"strategy":{"type":"Recreate"}}"#,
        ),
        (
            "apps.v1.DeploymentSpec",
            "deep: env in a container",
            r#"{"template":{"spec":{"containers":[{"name":"a","env":[{"name":"X","value":"1"}]}]}}}"#,
            r#"{"template":{"spec":{"containers":[{"name":"a","env":[{"name":"Y","value":"2"},{"name":"X","$patch":"delete"}]}]}}}"#,
            r#"{"template":{"spec":{"containers":[{"name":"a","env":[{"name":"Y","value":"2"}]}]}}}"#,
        ),
        (
            "core.v1.PodStatus",
            "conditions merge by type",
            r#"{"conditions":[{"type":"Ready","status":"True"}]}"#,
            r#"{"conditions":[{"type":"Ready","status":"False"}]}"#,
            r#"{"conditions":[{"type":"Ready","status":"False"}]}"#,
        ),
    ];
    for (name, what, document, patch, wanted) in cases {
        let of = builtin_type(&format!("io.k8s.api.{name}")).expect(name);
        let found = strategic_merge_patch(&json(document), &json(patch), &of);
        assert_eq!(found.as_ref(), Ok(&json(wanted)), "{what}");
    }
}

#[test]
fn malformed_strategic_patches_are_refused() {
    let of = builtin_type("io.k8s.api.core.v1.PodSpec").unwrap();
    for (patch, why) in [
        (
            r#"{"containers":[{"image":"x"}]}"#,
            "does not contain declared merge key: name",
        ),
        (
            r#"{"securityContext":{"$patch":"jump"}}"#,
            "unknown patch type found: jump",
        ),
        (
            r#"{"securityContext":{"$retainKeys":["fsGroup"],"runAsUser":1}}"#,
            "retainKeys",
        ),
        (
            r#"{"$setElementOrder/containers":[{"name":"a"}],"containers":[{"name":"b"}]}"#,
            "$setElementOrder",
        ),
        ("[]", "invalid JSON document"),
    ] {
        let status = strategic_merge_patch(&json("{}"), &json(patch), &of).unwrap_err();
        assert!(
            status.code() == 400 && status.message().contains(why),
            "{patch}: {status}"
        );
    }
}
