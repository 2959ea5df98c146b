//! Decoding, defaults and visiting, as tables over the built-in types.

use machinery::Value;
use schema::{apply_defaults, builtin_type, check_types, decode, for_each_of_type, unknown_fields};

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect(text)
}

fn api(name: &str) -> schema::TypeRef {
    builtin_type(&format!("io.k8s.api.{name}")).expect(name)
}

#[test]
fn unknown_fields_are_named_with_their_paths() {
    let value = json(
        r#"{"spec":{"foo":1,"template":{"spec":{"containers":[{"name":"a"},{"name":"b","imag":"x"}]}}},"x":{}}"#,
    );
    let messages = unknown_fields(&value, &api("apps.v1.Deployment"));
    assert_eq!(
        messages,
        [
            r#"unknown field "spec.foo""#,
            r#"unknown field "spec.template.spec.containers[1].imag""#,
            r#"unknown field "x""#
        ]
    );
}

#[test]
fn wrong_types_read_as_upstreams() {
    let cases = [
        (
            "apps.v1.Deployment",
            r#"{"spec":{"replicas":"3"}}"#,
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "apps.v1.Deployment",
            r#"{"spec":{"replicas":1.5}}"#,
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "core.v1.Pod",
            r#"{"spec":{"containers":{}}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            "core.v1.Pod",
            r#"{"spec":{"containers":[{"name":"x","stdin":"y"}]}}"#,
            "json: cannot unmarshal string into Go struct field Container.spec.containers.stdin of type bool",
        ),
        (
            "core.v1.Pod",
            r#"{"metadata":{"labels":{"a":1}}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            "core.v1.Pod",
            r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"x"}}}]}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "core.v1.Secret",
            r#"{"data":{"a":"YQ="}}"#,
            "illegal base64 data at input byte 2",
        ),
        (
            "core.v1.Pod",
            r#"{"spec":3}"#,
            "json: cannot unmarshal number into Go struct field Pod.spec of type v1.PodSpec",
        ),
    ];
    for (name, text, wanted) in cases {
        assert_eq!(
            check_types(&json(text), &api(name)),
            Err(wanted.to_owned()),
            "{text}"
        );
    }
}

#[test]
fn values_take_the_form_of_a_round_trip() {
    let cases = [
        // Nulls and zero values behind omitempty go; zero values behind pointers stay.
        (
            "apps.v1.DeploymentSpec",
            r#"{"replicas":0,"paused":false,"minReadySeconds":0,"progressDeadlineSeconds":null,
             "selector":{},"template":{"metadata":{"creationTimestamp":null,"labels":{}},"spec":{"containers":[]}}}"#,
            r#"{"replicas":0,"selector":{},"strategy":{},"template":{"metadata":{},"spec":{"containers":null}}}"#,
        ),
        (
            "core.v1.ResourceRequirements",
            r#"{"limits":{"cpu":0.5,"memory":"1024Mi"},"requests":{"cpu":1,"memory":"1e3"}}"#,
            r#"{"limits":{"cpu":"500m","memory":"1Gi"},"requests":{"cpu":"1","memory":"1e3"}}"#,
        ),
        (
            "core.v1.ResourceFieldSelector",
            r#"{"resource":"limits.cpu"}"#,
            r#"{"divisor":"0","resource":"limits.cpu"}"#,
        ),
        (
            "core.v1.PodCondition",
            r#"{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T01:00:00+01:00"}"#,
            r#"{"lastProbeTime":null,"lastTransitionTime":"2026-01-01T00:00:00Z","status":"True","type":"Ready"}"#,
        ),
        (
            "core.v1.Container",
            r#"{"image":"i","env":[null]}"#,
            r#"{"env":[{"name":""}],"image":"i","name":"","resources":{}}"#,
        ),
        (
            "core.v1.ServicePort",
            r#"{"port":80}"#,
            r#"{"port":80,"targetPort":0}"#,
        ),
        // Storing keeps no lists without members.
        (
            "rbac.v1.Role",
            r#"{"rules":[]}"#,
            r#"{"metadata":{},"rules":null}"#,
        ),
        (
            "rbac.v1.RoleBinding",
            r#"{"subjects":[],"roleRef":{}}"#,
            r#"{"metadata":{},"roleRef":{"apiGroup":"","kind":"","name":""}}"#,
        ),
        (
            "core.v1.ConfigMap",
            r#"{"data":{"a":null},"binaryData":{}}"#,
            r#"{"data":{"a":""},"metadata":{}}"#,
        ),
    ];
    for (name, text, wanted) in cases {
        let mut value = json(text);
        decode(&mut value, &api(name)).expect(text);
        assert_eq!(value, json(wanted), "{name} {text}");
    }
}

#[test]
fn schemas_in_unions_are_read_without_a_word_about_unknown_fields() {
    let name = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceValidation";
    let of = builtin_type(name).expect(name);
    let nested = "json: cannot unmarshal string into Go struct field JSONSchemaProps.openAPIV3Schema.items.minimum of type float64";
    for (given, wanted) in [
        (
            r#"{"items":{"type":"a","x":1,"title":null}}"#,
            Ok((r#"{"items":{"type":"a"}}"#, 0)),
        ),
        (r#"{"items":[{"x":1}],"y":1}"#, Ok((r#"{"items":[{}]}"#, 1))),
        (
            r#"{"additionalProperties":{"properties":{"a":{"x":1}}}}"#,
            Ok((r#"{"additionalProperties":{"properties":{"a":{}}}}"#, 0)),
        ),
        (
            r#"{"additionalProperties":true,"default":{"x":null}}"#,
            Ok((r#"{"additionalProperties":true,"default":{"x":null}}"#, 0)),
        ),
        (r#"{"items":{"minimum":"x"}}"#, Err(nested)),
        (
            r#"{"additionalProperties":"x"}"#,
            Err("boolean or JSON schema expected"),
        ),
    ] {
        let mut value = Value::object();
        value["openAPIV3Schema"] = json(given);
        let found = decode(&mut value, &of).map(|unknown| unknown.len());
        match wanted {
            Ok((text, unknown)) => {
                assert_eq!(value["openAPIV3Schema"], json(text), "{given}");
                assert_eq!(found, Ok(unknown), "{given}");
            }
            Err(why) => assert_eq!(found, Err(why.to_owned()), "{given}"),
        }
    }
}

#[test]
fn stated_defaults_are_filled_in() {
    let mut pod = json(
        r#"{"spec":{"containers":[{"ports":[{"containerPort":1},{"containerPort":2,"protocol":"UDP"}]}]}}"#,
    );
    apply_defaults(&mut pod, &api("core.v1.Pod"));
    let ports = &pod["spec"]["containers"][0]["ports"];
    assert_eq!(
        (ports[0]["protocol"].str(), ports[1]["protocol"].str()),
        ("TCP", "UDP")
    );
    let mut set = json(r#"{"spec":{}}"#);
    apply_defaults(&mut set, &api("core.v1.ReplicationController"));
    assert_eq!(set, json(r#"{"spec":{"replicas":1}}"#));
}

#[test]
fn a_visitor_finds_embedded_types() {
    let mut value = json(
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"a"}],"initContainers":[{"name":"b"}]}}}}"#,
    );
    let mut seen = Vec::new();
    for_each_of_type(
        &mut value,
        &api("apps.v1.Deployment"),
        "io.k8s.api.core.v1.Container",
        |map| {
            seen.push(map.get("name").unwrap().str().to_owned());
            map.insert("image", "set");
        },
    );
    assert_eq!(seen, ["a", "b"]);
    assert_eq!(
        value.at(&["spec", "template", "spec"])["containers"][0]["image"].str(),
        "set"
    );
}
