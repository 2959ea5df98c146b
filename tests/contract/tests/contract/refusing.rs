//! Refusals: the right code, reason and field, and nothing written.

use crate::{
    custom::{DEFINITIONS, await_served},
    map, place, version,
};
use contract_tests::Api;
use e2e_tests::Cluster;
use serde_json::json;

pub fn unknown_and_repeated_fields(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "strict");
    let mut unknown = map("one", &json!({}));
    unknown["datum"] = json!({});
    let strict = format!("{path}?fieldValidation=Strict");
    let status = api.create(&strict, &unknown).refused(400, "BadRequest");
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("unknown field \"datum\""),
        "{status}"
    );
    let twice = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"one"},"data":{"a":"1","a":"2"}}"#;
    let form = [("Content-Type", "application/json")];
    let status = api
        .call("POST", &strict, &form, twice)
        .refused(400, "BadRequest");
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("duplicate field"),
        "{status}"
    );
    let lost = br#"{"metadata":{"name":"one","x":1},"metadata":{"name":"one","y":2},"apiVersion":"v1","kind":"ConfigMap","data":{"a":"1"},"data":{"b":"2"}}"#;
    let refused = api.call("POST", &strict, &form, lost);
    assert_eq!(
        refused.refused(400, "BadRequest")["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: \
         unknown field \"metadata.x\", duplicate field \"metadata\", unknown field \"metadata.y\", duplicate field \"data\""
    );
    let dry = format!("{path}?dryRun=All");
    let both = api.call("POST", &dry, &form, lost).ok();
    assert_eq!(both["data"], json!({"a": "1", "b": "2"}));
    let warned = api.create(&format!("{path}?fieldValidation=Warn"), &unknown);
    let warning = warned.header("warning").unwrap_or_default().to_owned();
    assert!(warning.contains("unknown field"), "{warning}");
    assert!(warned.ok()["datum"].is_null(), "what is unknown is dropped");
    let ignored = map("two", &json!({}));
    let answer = api.create(&format!("{path}?fieldValidation=Ignore"), &ignored);
    assert_eq!(answer.header("warning"), None);
    api.create(
        &format!("{path}?fieldValidation=Maybe"),
        &map("three", &json!({})),
    )
    .refused(422, "Invalid");
}

pub fn options_of_deletions(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "deletions");
    let one = format!("{path}/one");
    let make = || api.create(&path, &map("one", &json!({})));
    make().ok();
    let with = |query: &str| api.delete(&format!("{one}?{query}"));
    for (query, code, reason) in [
        ("dryRun=Some", 422, "Invalid"),
        ("propagationPolicy=X", 422, "Invalid"),
        (
            "orphanDependents=true&propagationPolicy=Orphan",
            422,
            "Invalid",
        ),
        ("gracePeriodSeconds=x", 400, "BadRequest"),
        ("resourceVersion=x", 409, "Conflict"),
        ("uid=x", 409, "Conflict"),
    ] {
        with(query).refused(code, reason);
    }
    with("dryRun=All").ok();
    api.get(&one).ok();
    // A body tells everything; what the query says beside it is not even looked at.
    let beside = |path: &str, query: &str| {
        let path = format!("{path}?{query}");
        api.json("DELETE", &path, "application/json", &json!({}))
    };
    for query in ["dryRun=All", "dryRun=Some&gracePeriodSeconds=x&uid=y"] {
        beside(&one, query).ok();
        api.get(&one).refused(404, "NotFound");
        make().ok();
    }
    beside(&path, "dryRun=All").ok();
    api.get(&one).refused(404, "NotFound");
}

pub fn missing_things(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "missing");
    let absent = format!("{path}/absent");
    api.update(&absent, &map("absent", &json!({})))
        .refused(404, "NotFound");
    api.merge(&absent, &json!({})).refused(404, "NotFound");
    api.delete(&absent).refused(404, "NotFound");
    let status = api.get(&absent).refused(404, "NotFound");
    assert_eq!(status["message"], "configmaps \"absent\" not found");
    assert_eq!(
        status["details"],
        json!({"name": "absent", "kind": "configmaps"})
    );
    let nowhere = "/api/v1/namespaces/nowhere/configmaps";
    api.create(nowhere, &map("a", &json!({})))
        .refused(404, "NotFound");
    api.apply(&format!("{nowhere}/a"), "m", &map("a", &json!({})))
        .refused(404, "NotFound");
    assert_eq!(api.get(nowhere).ok()["items"], json!([]));
    assert_eq!(api.get("/apis/no.such.group/v1/things").code, 404);
    let refused = api.call("DELETE", "/api/v1/nodes/absent/status", &[], b"");
    assert_eq!(refused.code, 405);
}

pub fn a_terminating_namespace(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "ending");
    let mut held = map("held", &json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    api.create(&path, &held).ok();
    let gone = api.delete("/api/v1/namespaces/ending").ok();
    assert_eq!(gone["status"]["phase"], "Terminating");
    let status = api
        .create(&path, &map("late", &json!({})))
        .refused(403, "Forbidden");
    assert_eq!(
        status["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    api.merge(
        &format!("{path}/held"),
        &json!({"metadata": {"finalizers": null}}),
    )
    .ok();
    cluster.until(
        "the namespace is gone",
        std::time::Duration::from_secs(30),
        |_| api.get("/api/v1/namespaces/ending").code == 404,
    );
}

pub fn names(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "names");
    for bad in ["Upper", "under_score", "-dash", "dot.", &"x".repeat(254)] {
        let status = api
            .create(&path, &map(bad, &json!({})))
            .refused(422, "Invalid");
        assert_eq!(
            status["details"]["causes"][0]["field"], "metadata.name",
            "{status}"
        );
    }
    let mut unnamed = map("", &json!({}));
    api.create(&path, &unnamed).refused(422, "Invalid");
    unnamed["metadata"] = json!({"generateName": "made-"});
    let made = api.create(&path, &unnamed).ok();
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("made-") && name.len() == 10, "{name}");
    let mut elsewhere = map("a", &json!({}));
    elsewhere["metadata"]["namespace"] = json!("default");
    api.create(&path, &elsewhere).refused(400, "BadRequest");
    let mut other = api.create(&path, &map("b", &json!({}))).ok();
    other["metadata"]["name"] = json!("c");
    api.update(&format!("{path}/b"), &other)
        .refused(400, "BadRequest");
    let mut labelled = map("d", &json!({}));
    labelled["metadata"]["labels"] = json!({"a b": "c"});
    api.create(&path, &labelled).refused(422, "Invalid");
    api.create(&path, &map("e", &json!({"a/b": "c"})))
        .refused(422, "Invalid");
}

pub fn stale_writes_and_preconditions(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "stale");
    let made = api.create(&path, &map("one", &json!({}))).ok();
    let object = format!("{path}/one");
    let changed = api.merge(&object, &json!({"data": {"a": "b"}})).ok();
    api.update(&object, &made).refused(409, "Conflict");
    let stale = json!({"metadata": {"resourceVersion": version(&made)}, "data": {"c": "d"}});
    api.merge(&object, &stale).refused(409, "Conflict");
    let options = |preconditions| json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions});
    for wrong in [
        json!({"uid": "other"}),
        json!({"resourceVersion": version(&made)}),
    ] {
        api.json("DELETE", &object, "application/json", &options(wrong))
            .refused(409, "Conflict");
    }
    let right = json!({"uid": changed["metadata"]["uid"], "resourceVersion": version(&changed)});
    api.json("DELETE", &object, "application/json", &options(right))
        .ok();
    api.create(&path, &map("two", &json!({}))).ok();
    api.create(&path, &map("two", &json!({})))
        .refused(409, "AlreadyExists");
    let dry = api.create(&format!("{path}?dryRun=All"), &map("dry", &json!({})));
    assert_eq!(dry.code, 201);
    api.get(&format!("{path}/dry")).refused(404, "NotFound");
}

pub fn strangers(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "strangers");
    let stranger = Api::anonymous(cluster);
    stranger.get(&path).refused(403, "Forbidden");
    assert_eq!(stranger.get("/livez").code, 200);
    let forged = [("Authorization", "Bearer a.b.c")];
    stranger
        .call("GET", &path, &forged, b"")
        .refused(401, "Unauthorized");
    let nobody = [("Impersonate-User", "nobody")];
    let status = api
        .call("GET", &path, &nobody, b"")
        .refused(403, "Forbidden");
    let want = "configmaps is forbidden: User \"nobody\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"strangers\"";
    assert_eq!(status["message"], want);
}

/// The right to patch is not the right to create: an apply that would create takes both.
pub fn apply_takes_the_right_to_create(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "appliers");
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/appliers";
    let role = json!({"metadata": {"name": "patcher"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"]}]});
    api.create(&format!("{rbac}/roles"), &role).ok();
    let binding = json!({"metadata": {"name": "patcher"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "patcher"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}]});
    api.create(&format!("{rbac}/rolebindings"), &binding).ok();
    let body = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"one"}}"#;
    let headers = [
        ("Impersonate-User", "ann"),
        ("Content-Type", "application/apply-patch+yaml"),
    ];
    let one = format!("{path}/one?fieldManager=ann");
    api.call("PATCH", &one, &headers, body)
        .refused(403, "Forbidden");
    api.create(&path, &json!({"metadata": {"name": "one"}}))
        .ok();
    api.call("PATCH", &one, &headers, body).ok();
}

/// What paths that lead nowhere answer: recorded from kube-apiserver 1.36. `-` is its page.
const NOWHERE: [(&str, &str, u16, &str); 16] = [
    ("GET", "/apis/nope.example.com/v1/things", 404, "-"),
    (
        "POST",
        "/apis/nope.example.com/v1/namespaces/default/things",
        404,
        "-",
    ),
    (
        "GET",
        "/apis/lost.example.com/v2/namespaces/default/gizmos",
        404,
        "-",
    ),
    (
        "GET",
        "/apis/lost.example.com/v1/namespaces/default/gadgets",
        404,
        "-",
    ),
    (
        "GET",
        "/apis/lost.example.com/v1/namespaces/default/gizmos/a/scale",
        404,
        "gizmos.lost.example.com \"a\" not found",
    ),
    (
        "PUT",
        "/apis/lost.example.com/v1/namespaces/default/gizmos/a/status",
        404,
        "gizmos.lost.example.com \"a\" not found",
    ),
    (
        "PUT",
        "/apis/lost.example.com/v1/namespaces/default/gizmos",
        400,
        "name must be provided",
    ),
    ("POST", "/apis/lost.example.com/v1/gizmos", 404, "-"),
    ("DELETE", "/apis/lost.example.com/v1/gizmos", 404, "-"),
    ("GET", "/apis/lost.example.com/v9", 404, "-"),
    (
        "GET",
        "/apis/apps/v1/things",
        404,
        "the server could not find the requested resource",
    ),
    (
        "GET",
        "/apis/apps/v9/namespaces/default/deployments",
        404,
        "the server could not find the requested resource",
    ),
    (
        "GET",
        "/api/v2/pods",
        404,
        "the server could not find the requested resource",
    ),
    (
        "GET",
        "/apis/apps/v1/namespaces/default/deployments/a/wrong",
        404,
        "the server could not find the requested resource",
    ),
    (
        "GET",
        "/apis/apps/v1/namespaces/default/deployments/a/status/more",
        404,
        "the server could not find the requested resource",
    ),
    (
        "PATCH",
        "/api/v1/namespaces/default/pods",
        405,
        "the server does not allow this method on the requested resource",
    ),
];

pub fn paths_that_lead_nowhere(cluster: &mut Cluster) {
    let api = Api::of(cluster);
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let version =
        |name, served| json!({"name": name, "served": served, "storage": served, "schema": schema});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gizmos.lost.example.com"},
        "spec": {"group": "lost.example.com", "scope": "Namespaced", "versions": [version("v1", true), version("v2", false)],
            "names": {"plural": "gizmos", "singular": "gizmo", "kind": "Gizmo"}}});
    api.create(DEFINITIONS, &definition).ok();
    await_served(&api, "/apis/lost.example.com/v1/gizmos");
    for (method, path, code, message) in NOWHERE {
        let answer = api.call(method, path, &[], b"");
        let said = match message {
            "-" => String::from_utf8_lossy(&answer.body).trim_end().to_owned(),
            _ => answer.json()["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        };
        let wanted = if message == "-" {
            "404 page not found"
        } else {
            message
        };
        assert_eq!(
            (answer.code, said.as_str()),
            (code, wanted),
            "{method} {path}"
        );
    }
    // Who may not ask is not told whether there is such a thing.
    let stranger = [("Impersonate-User", "stranger")];
    for path in [
        "/apis/nope.example.com/v1/things",
        "/apis/lost.example.com/v2/things",
        "/apis/apps/v1/things",
        "/api/v1/things",
    ] {
        let status = api
            .call("GET", path, &stranger, b"")
            .refused(403, "Forbidden");
        let message = status["message"].as_str().unwrap_or_default();
        assert!(
            message.contains("User \"stranger\" cannot list resource \"things\""),
            "{path}: {message}"
        );
    }
    api.delete(&format!("{DEFINITIONS}/gizmos.lost.example.com"))
        .ok();
}
