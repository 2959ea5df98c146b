//! Who may do what: nodes, grants, impersonation, tokens, reviews. Each with upstream's words.

use crate::place;
use base64::{Engine, engine::general_purpose::STANDARD};
use contract_tests::{Answer, Api};
use e2e_tests::Cluster;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long a controller may take.
const PATIENCE: Duration = Duration::from_secs(20);

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A request as somebody else.
fn as_user(api: &Api, who: (&str, &[&str]), method: &str, path: &str, body: &Value) -> Answer {
    let mut headers = vec![
        ("Content-Type", "application/json"),
        ("Impersonate-User", who.0),
    ];
    headers.extend(who.1.iter().map(|group| ("Impersonate-Group", *group)));
    let bytes = match body {
        Value::Null => Vec::new(),
        body => body.to_string().into_bytes(),
    };
    api.call(method, path, &headers, &bytes)
}

#[track_caller]
fn says(status: &Value, words: &str) {
    let message = status["message"].as_str().unwrap_or_default();
    assert!(message.contains(words), "{words:?} is not in {message:?}");
}

pub fn nodes_see_their_own(cluster: &mut Cluster) {
    let (api, _) = place(cluster, "own");
    let nodes = api.get("/api/v1/nodes").ok();
    let name = nodes["items"][0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let user = format!("system:node:{name}");
    let node = (user.as_str(), &["system:nodes"][..]);
    let get = |path: &str| as_user(&api, node, "GET", path, &Value::Null);
    get(&format!("/api/v1/nodes/{name}")).ok();
    says(
        &get("/api/v1/nodes").refused(403, "Forbidden"),
        &format!("node '{name}' cannot read all nodes, only its own Node object"),
    );
    get(&format!("/api/v1/pods?fieldSelector=spec.nodeName={name}")).ok();
    says(
        &get("/api/v1/pods").refused(403, "Forbidden"),
        "can only list/watch pods with spec.nodeName field selector",
    );
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    api.create("/api/v1/namespaces/own/secrets", &secret).ok();
    says(
        &get("/api/v1/namespaces/own/secrets/s").refused(403, "Forbidden"),
        &format!("no relationship found between node '{name}' and this object"),
    );
    let label = json!({"metadata": {"labels": {"node-restriction.kubernetes.io/a": "b"}}});
    let headers = [
        ("Content-Type", "application/merge-patch+json"),
        ("Impersonate-User", user.as_str()),
        ("Impersonate-Group", "system:nodes"),
    ];
    let path = format!("/api/v1/nodes/{name}");
    let patched = api.call("PATCH", &path, &headers, label.to_string().as_bytes());
    says(
        &patched.refused(403, "Forbidden"),
        "is not allowed to modify labels: node-restriction.kubernetes.io/a",
    );
}

pub fn nobody_grants_more_than_they_hold(cluster: &mut Cluster) {
    let (api, _) = place(cluster, "grants");
    let role = |name: &str, verbs: Value| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]})
    };
    let bind = |name: &str, kind: &str, role: &str, user: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}]})
    };
    let roles = format!("{ROLES}/namespaces/grants/roles");
    let bindings = format!("{ROLES}/namespaces/grants/rolebindings");
    let mut writer = role("writer", json!(["get"]));
    writer["rules"]
        .as_array_mut()
        .unwrap()
        .push(json!({"apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["roles", "rolebindings"], "verbs": ["create"]}));
    api.create(&roles, &writer).ok();
    api.create(&bindings, &bind("writer", "Role", "writer", "ann"))
        .ok();
    let ann = ("ann", &[][..]);
    as_user(&api, ann, "POST", &roles, &role("less", json!(["get"]))).ok();
    let more = as_user(
        &api,
        ann,
        "POST",
        &roles,
        &role("more", json!(["get", "delete"])),
    );
    says(
        &more.refused(403, "Forbidden"),
        "user \"ann\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}",
    );
    let admin = bind("b", "ClusterRole", "cluster-admin", "ann");
    let bound = as_user(&api, ann, "POST", &bindings, &admin);
    says(
        &bound.refused(403, "Forbidden"),
        "is attempting to grant RBAC permissions",
    );
    as_user(
        &api,
        ann,
        "POST",
        &bindings,
        &bind("c", "Role", "less", "bob"),
    )
    .ok();
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "bob", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "grants"}}});
    let told = api
        .create(
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            &review,
        )
        .ok();
    assert_eq!(told["status"]["allowed"], true);
    assert_eq!(
        told["status"]["reason"],
        "RBAC: allowed by RoleBinding \"c/grants\" of Role \"less\" to User \"bob\""
    );
}

pub fn impersonation_needs_each_part(cluster: &mut Cluster) {
    let api = Api::of(cluster);
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let headers = [
        ("Content-Type", "application/json"),
        ("Impersonate-User", "ann"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "dev"),
        ("Impersonate-Extra-acme.com%2Fscope", "view"),
    ];
    let bytes = body.to_string().into_bytes();
    let made = api.call("POST", path, &headers, &bytes).ok();
    assert_eq!(
        made["status"]["userInfo"],
        json!({"username": "ann", "uid": "7", "groups": ["dev", "system:authenticated"], "extra": {"acme.com/scope": ["view"]}})
    );
    let alone = api.call("POST", path, &headers[2..3], &bytes);
    says(
        &alone.refused(400, "BadRequest"),
        "without impersonating a user name",
    );
}

pub fn tokens_hold_as_long_as_their_pod(cluster: &mut Cluster) {
    let (api, _) = place(cluster, "tokens");
    let pods = "/api/v1/namespaces/tokens/pods";
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "xebec/demo"}], "terminationGracePeriodSeconds": 0, "nodeName": "nowhere"}});
    api.create(
        "/api/v1/namespaces/tokens/serviceaccounts",
        &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}),
    );
    let pod = api.create(pods, &pod).ok();
    let request = |audience: Value| {
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600, "audiences": audience,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]}}})
    };
    let path = "/api/v1/namespaces/tokens/serviceaccounts/default/token";
    let made = api.create(path, &request(json!([]))).ok();
    let token = made["status"]["token"].as_str().unwrap().to_owned();
    let review = |token: &str, audiences: Value| {
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": audiences}});
        api.create("/apis/authentication.k8s.io/v1/tokenreviews", &body)
            .ok()["status"]
            .clone()
    };
    let known = review(&token, json!([]));
    assert_eq!(
        known["user"]["username"],
        "system:serviceaccount:tokens:default"
    );
    assert_eq!(
        known["user"]["extra"]["authentication.kubernetes.io/pod-name"],
        json!(["p"])
    );
    assert!(review(&token, json!(["vault"]))["authenticated"].is_null());
    let other = api.create(path, &request(json!(["vault"]))).ok();
    let other = other["status"]["token"].as_str().unwrap().to_owned();
    assert_eq!(
        review(&other, json!(["vault", "x"]))["audiences"],
        json!(["vault"])
    );
    api.delete(&format!("{pods}/p?gracePeriodSeconds=0")).ok();
    says(
        &json!({"message": review(&token, json!([]))["error"]}),
        "has been invalidated",
    );
}

/// The caller's own API with another identity.
fn by_certificate(cluster: &Cluster, certificate: &str, key: &str) -> Api {
    let text = cluster.k("config view --raw --minify -o json").ok();
    let mut config: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
    config["users"][0]["user"] =
        json!({"client-certificate-data": certificate, "client-key-data": STANDARD.encode(key)});
    Api::configured(&config.to_string())
}

/// The spec of a request for a certificate is said once and belongs to nobody.
pub fn requests_for_certificates_stay(cluster: &mut Cluster) {
    let api = Api::of(cluster);
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let (request, _) = asked("ann", "dev");
    let body = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": "stays", "labels": {"a": "b"}},
        "spec": {"request": request, "signerName": "example.com/none", "usages": ["client auth"]}});
    let mut object = api
        .create(&format!("{path}?fieldManager=first"), &body)
        .ok();
    let owned = |object: &Value, at: usize| {
        let entry = &object["metadata"]["managedFields"][at];
        let fields = entry["fieldsV1"].as_object().expect("fields");
        let fields: Vec<_> = fields.keys().cloned().collect();
        (entry["manager"].as_str().unwrap().to_owned(), fields)
    };
    let says = |name: &str, fields: &[&str]| {
        (
            name.to_owned(),
            fields.iter().map(|field| (*field).to_owned()).collect(),
        )
    };
    assert_eq!(owned(&object, 0), says("first", &["f:metadata"]));
    object["spec"]["usages"] = json!(["server auth"]);
    object["metadata"]["labels"]["c"] = "d".into();
    let put = |place: &str, object: &Value| {
        let bytes = object.to_string().into_bytes();
        let headers = [("Content-Type", "application/json")];
        api.call("PUT", &format!("{path}/stays{place}"), &headers, &bytes)
            .ok()
    };
    let mut object = put("?fieldManager=second", &object);
    assert_eq!(object["spec"]["usages"], json!(["client auth"]));
    assert_eq!(owned(&object, 1), says("second", &["f:metadata"]));
    object["status"] =
        json!({"conditions": [{"type": "Approved", "status": "True", "reason": "r"}]});
    object["spec"]["usages"] = json!(["server auth"]);
    let object = put("/approval?fieldManager=third", &object);
    assert_eq!(object["spec"]["usages"], json!(["client auth"]));
    assert_eq!(owned(&object, 2), says("third", &["f:status"]));
    api.delete(&format!("{path}/stays")).ok();
}

fn eventually(what: &str, mut found: impl FnMut() -> Option<Value>) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < end, "waited for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A request as `spec.request` carries it, and its key.
fn asked(common_name: &str, organization: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut asked = CertificateParams::default();
    let subject = &mut asked.distinguished_name;
    subject.push(DnType::OrganizationName, organization);
    subject.push(DnType::CommonName, common_name);
    let request = asked.serialize_request(&key).unwrap().pem().unwrap();
    (STANDARD.encode(request), key.serialize_pem())
}

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

fn certificate_request(name: &str, signer: &str, request: &str, usages: &[&str]) -> Value {
    json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
        "spec": {"request": request, "signerName": signer, "usages": usages, "expirationSeconds": 3600}})
}

pub fn approved_certificates_are_believed(cluster: &mut Cluster) {
    let api = Api::of(cluster);
    let (request, key) = asked("ann", "dev");
    let signer = "kubernetes.io/kube-apiserver-client";
    let made = certificate_request("ann", signer, &request, &["client auth"]);
    api.create(REQUESTS, &made).ok();
    cluster.k("certificate approve ann").ok();
    let path = format!("{REQUESTS}/ann");
    let certificate = eventually("a certificate", || {
        let status = api.get(&path).ok()["status"].clone();
        status["certificate"].is_string().then_some(status)
    });
    let approved = &certificate["conditions"][0];
    assert!(approved["lastTransitionTime"].is_string(), "{approved}");
    let ann = by_certificate(cluster, certificate["certificate"].as_str().unwrap(), &key);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let whoami = ann.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review);
    let user = whoami.ok()["status"]["userInfo"].clone();
    assert_eq!(user["username"], "ann");
    assert_eq!(user["groups"], json!(["dev", "system:authenticated"]));
}

pub fn signers_refuse_what_is_not_theirs(cluster: &mut Cluster) {
    let api = Api::of(cluster);
    let (request, _) = asked("bob", "dev");
    let signer = "kubernetes.io/kube-apiserver-client-kubelet";
    let made = certificate_request("bob", signer, &request, &["client auth"]);
    api.create(REQUESTS, &made).ok();
    cluster.k("certificate approve bob").ok();
    let failed = eventually("a failure", || {
        let conditions = api.get(&format!("{REQUESTS}/bob")).ok()["status"]["conditions"].clone();
        conditions[1].is_object().then(|| conditions[1].clone())
    });
    assert_eq!(failed["type"], "Failed");
    assert_eq!(failed["reason"], "SignerValidationFailure");
    says(&failed, "subject organization is not system:nodes");
}

pub fn secrets_hold_tokens_of_accounts(cluster: &mut Cluster) {
    let (api, _) = place(cluster, "kept");
    let accounts = "/api/v1/namespaces/kept/serviceaccounts";
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}});
    api.create(accounts, &account).ok();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "bot-token", "annotations": {"kubernetes.io/service-account.name": "bot"}}});
    api.create("/api/v1/namespaces/kept/secrets", &secret).ok();
    let path = "/api/v1/namespaces/kept/secrets/bot-token";
    let token = eventually("a token", || {
        let data = api.get(path).ok()["data"].clone();
        data["token"].is_string().then(|| data["token"].clone())
    });
    let token = STANDARD.decode(token.as_str().unwrap()).unwrap();
    let bearer = format!("Bearer {}", String::from_utf8(token).unwrap());
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let nobody = Api::anonymous(cluster);
    let whoami = || {
        nobody.call(
            "POST",
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            &[
                ("Authorization", &bearer),
                ("Content-Type", "application/json"),
            ],
            body.to_string().as_bytes(),
        )
    };
    let user = whoami().ok()["status"]["userInfo"].clone();
    assert_eq!(user["username"], "system:serviceaccount:kept:bot");
    eventually("the day of the last use", || {
        let labels = api.get(path).ok()["metadata"]["labels"].clone();
        let day = labels["kubernetes.io/legacy-token-last-used"].clone();
        day.is_string().then_some(day)
    });
    api.delete(&format!("{accounts}/bot")).ok();
    whoami().refused(401, "Unauthorized");
    eventually("the secret's end", || {
        (api.get(path).code == 404).then_some(json!(1))
    });
}
