//! Protobuf against bytes written out by hand from the published tag numbers, and there and back.

use codec::{
    Limits, ListHead, decode_json, decode_protobuf, encode_list_protobuf, encode_object_protobuf,
    encode_protobuf, watch_frame_protobuf,
};
use machinery::{GroupVersionKind, Object, Value, json};
use schema::{TypeRef, builtin_type};

fn resolve(gvk: &GroupVersionKind) -> Option<TypeRef> {
    let package = match gvk.group.as_str() {
        "" => "io.k8s.api.core.v1",
        "apps" => "io.k8s.api.apps.v1",
        "batch" => "io.k8s.api.batch.v1",
        "networking.k8s.io" => "io.k8s.api.networking.v1",
        "policy" => "io.k8s.api.policy.v1",
        "authorization.k8s.io" => "io.k8s.api.authorization.v1",
        "apiextensions.k8s.io" => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
        _ => return None,
    };
    builtin_type(&format!("{package}.{}", gvk.kind))
}

fn encode(value: &Value) -> Vec<u8> {
    let gvk = Object::new(value, 1).gvk();
    encode_protobuf(value, &gvk, &resolve(&gvk).unwrap())
}

/// A length-delimited field.
fn block(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2, u8::try_from(content.len()).unwrap()];
    out.extend(content);
    out
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [block(1, api_version.as_bytes()), block(2, kind.as_bytes())].concat();
    [
        b"k8s\0".to_vec(),
        block(1, &meta),
        block(2, raw),
        block(3, b""),
        block(4, b""),
    ]
    .concat()
}

#[test]
fn a_service_is_these_bytes() {
    // ServiceSpec: 1 ports (1 name, 2 protocol, 3 port, 4 targetPort), 2 selector.
    let port = [
        block(1, b"web"),
        vec![3 << 3, 80],
        block(4, &[8, 1, 16, 0, 26, 1, b'h']),
    ]
    .concat();
    let spec = [
        block(1, &port),
        block(2, &[block(1, b"app"), block(2, b"x")].concat()),
    ]
    .concat();
    let raw = [block(1, &block(1, b"s")), block(2, &spec)].concat();
    let bytes = envelope("v1", "Service", &raw);
    let tree = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"ports": [{"name": "web", "port": 80, "targetPort": "h"}], "selector": {"app": "x"}},
    });
    assert_eq!(encode(&tree), bytes);
    assert_eq!(decode_protobuf(&bytes, &resolve).unwrap(), tree);
}

#[test]
fn go_zero_values_disappear_as_they_do_in_go() {
    // What Go sends for a Namespace: every plain field, empty ones too; creationTimestamp an empty message.
    let metadata = [
        block(1, b"n"),
        block(2, b""),
        block(3, b""),
        block(4, b""),
        block(5, b""),
        block(6, b""),
        vec![7 << 3, 0],
        block(8, b""),
    ]
    .concat();
    let raw = [block(1, &metadata), block(2, b""), block(3, &block(1, b""))].concat();
    let value = decode_protobuf(&envelope("v1", "Namespace", &raw), &resolve).unwrap();
    assert_eq!(
        value,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}, "spec": {}, "status": {}})
    );
}

#[test]
fn all_forms_come_back() {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "p", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"a": "b", "c": ""}, "generation": 3,
            "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "o", "uid": "u", "controller": false}],
            "managedFields": [{"manager": "m", "operation": "Apply", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": {
            "containers": [{
                "name": "c", "image": "i", "args": ["", "x"],
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "100m", "memory": "1Gi"}},
                "livenessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 5},
                "securityContext": {"runAsUser": 0, "privileged": false},
            }],
            "volumes": [
                {"name": "h", "hostPath": {"path": "/x", "type": ""}},
                {"name": "e", "emptyDir": {}},
                {"name": "j", "projected": {"sources": [{"secret": {"name": "s"}}], "defaultMode": 420}},
            ],
            "terminationGracePeriodSeconds": 0, "tolerations": [{"tolerationSeconds": -1, "operator": "Exists"}],
        },
        "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]},
    });
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "data": {"k": "AAH/"}, "immutable": false});
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"extra": {"a": ["b", "c"]}, "user": "u"}, "status": {"allowed": true}});
    let revision = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "data": {"spec": {"x": [1, 2.5, null]}}, "revision": 4});
    let custom = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": {"versions": [{
        "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
            "type": "object", "required": ["spec"], "$ref": "#/x", "x-kubernetes-preserve-unknown-fields": true,
            "x-kubernetes-list-map-keys": ["a"],
            "properties": {
                "spec": {"type": "array", "items": {"type": "string"}, "default": {"a": [1]}, "maximum": 1.5},
                "map": {"additionalProperties": {"type": "integer"}}, "free": {"additionalProperties": true},
                "shut": {"additionalProperties": false}, "pair": {"items": [{"type": "string"}, {"type": "null"}]},
            },
            "dependencies": {"a": ["b"], "c": {"type": "object"}},
        }},
    }], "group": "", "names": {"kind": "", "plural": ""}, "scope": ""}});
    for tree in [pod, secret, review, revision, custom] {
        let bytes = encode(&tree);
        assert_eq!(decode_protobuf(&bytes, &resolve).unwrap(), tree);
    }
}

#[test]
fn lists_and_watch_frames_hold_whole_objects() {
    let gvk = GroupVersionKind::new("", "v1", "ConfigMap");
    let kind = resolve(&gvk).unwrap();
    let tree = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "uid": "u"}, "data": {"k": "v"}});
    let object = Object::new(&tree, 12);
    let single = encode_object_protobuf(&object, &gvk, &kind);
    assert_eq!(
        decode_protobuf(&single, &resolve).unwrap(),
        object.to_value()
    );
    let head = ListHead {
        api_version: "v1",
        kind: "ConfigMapList",
        revision: 13,
        continue_token: "t",
        remaining: Some(1),
        custom: false,
    };
    let list = encode_list_protobuf(&head, &kind, [&object, &object].into_iter());
    let list = decode_protobuf(&list, &resolve).unwrap();
    assert_eq!(list["items"].items().len(), 2);
    assert_eq!(list["items"][1]["metadata"]["resourceVersion"].str(), "12");
    assert_eq!(
        list["metadata"],
        json!({"resourceVersion": "13", "continue": "t", "remainingItemCount": 1})
    );
    let frame = watch_frame_protobuf("ADDED", &single);
    assert_eq!(
        u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize,
        frame.len() - 4
    );
    assert_eq!(&frame[4..11], b"\x0a\x05ADDED");
    assert!(frame.ends_with(&single));
}

#[test]
fn nonsense_is_refused() {
    let good = encode(
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n"}}),
    );
    for end in 0..good.len() {
        // Cut anywhere: an error or a smaller object, never a panic.
        let _ = decode_protobuf(&good[..end], &resolve);
    }
    for bad in [
        &b""[..],
        b"{}",
        b"k8s\0\xff",
        b"k8s\0\x0a\x7f",
        &envelope("v1", "Nothing", b""),
        &envelope("v1", "Pod", b"\x0a\xff"),
    ] {
        assert!(decode_protobuf(bad, &resolve).is_err(), "{bad:?}");
    }
}

/// Bodies that kubectl sends on `create`, each beside what it prints with `--dry-run=client`.
#[test]
fn bodies_of_kubectl_are_what_it_prints() {
    let mut seen = 0;
    for line in include_str!("data/kubectl.txt").lines() {
        let (hex, text) = line.split_once(' ').unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let body: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let mut wanted = decode_json(text.as_bytes(), Limits::default())
            .unwrap()
            .value;
        drop_nulls(&mut wanted);
        let found = decode_protobuf(&body, &resolve).unwrap();
        assert_eq!(found, wanted);
        assert_eq!(decode_protobuf(&encode(&found), &resolve).unwrap(), found);
        seen += 1;
    }
    assert!(seen >= 11, "{seen}");
}

/// Zero times are null in that kubectl's JSON, absent in newer ones' and here.
fn drop_nulls(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, value| !value.is_null());
        map.iter_mut().for_each(|(_, value)| drop_nulls(value));
    }
    value
        .as_array_mut()
        .into_iter()
        .flatten()
        .for_each(drop_nulls);
}
