//! The forms an object takes on the wire: tables, metadata, YAML, protobuf, documents.

use crate::{map, place};
use e2e_tests::Cluster;
use serde_json::json;

pub fn tables_and_metadata(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "forms-table");
    api.create(&path, &map("one", &json!({"a": "b"}))).ok();
    let accept = [("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let table = api.call("GET", &format!("{path}/one"), &accept, b"").ok();
    assert_eq!(
        (&table["kind"], &table["rows"][0]["cells"][0]),
        (&"Table".into(), &"one".into())
    );
    let columns: Vec<_> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].clone())
        .collect();
    assert_eq!(columns, ["Name", "Data", "Age"]);
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let accept = [(
        "Accept",
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    )];
    let metadata = api.call("GET", &format!("{path}/one"), &accept, b"").ok();
    assert_eq!(
        (&metadata["kind"], &metadata["data"]),
        (&"PartialObjectMetadata".into(), &json!(null))
    );
    let nothing = api.call("GET", &path, &[("Accept", "image/png")], b"");
    assert_eq!(nothing.code, 406);
}

/// Protobuf of a ConfigMap with a name and one entry, in the API's envelope, written by hand so
/// that it does not depend on the encoder under test.
fn protobuf(name: &str) -> Vec<u8> {
    let field = |tag: u8, bytes: &[u8]| {
        [&[tag << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    };
    let metadata = field(1, &field(1, name.as_bytes()));
    let entry = [field(1, b"a"), field(2, b"b")].concat();
    let raw = [metadata, field(2, &entry)].concat();
    let kind = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
    [b"k8s\0".to_vec(), field(1, &kind), field(2, &raw)].concat()
}

pub fn yaml_and_protobuf(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "forms-bodies");
    let yaml = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-yaml}\ndata: {a: 'yes'}\n";
    let made = api
        .call("POST", &path, &[("Content-Type", "application/yaml")], yaml)
        .ok();
    assert_eq!(made["data"]["a"], "yes");
    let form = "application/vnd.kubernetes.protobuf";
    let made = api
        .call(
            "POST",
            &path,
            &[("Content-Type", form)],
            &protobuf("from-protobuf"),
        )
        .ok();
    assert_eq!(made["data"], json!({"a": "b"}));
    let back = api.call(
        "GET",
        &format!("{path}/from-protobuf"),
        &[("Accept", form)],
        b"",
    );
    assert_eq!(
        (back.header("content-type"), &back.body[..4]),
        (Some(form), b"k8s\0".as_slice())
    );
    let holds = |bytes: &[u8]| back.body.windows(bytes.len()).any(|window| window == bytes);
    assert!(holds(b"from-protobuf") && holds(b"\x0a\x01a\x12\x01b"));
    let shown = api.call(
        "GET",
        &format!("{path}/from-yaml"),
        &[("Accept", "application/yaml")],
        b"",
    );
    assert!(
        String::from_utf8(shown.body)
            .unwrap()
            .contains("name: from-yaml")
    );
}

pub fn malformed_bodies(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "forms-broken");
    let post = |form: &str, body: &[u8]| api.call("POST", &path, &[("Content-Type", form)], body);
    post("application/json", b"{").refused(400, "BadRequest");
    post("application/json", b"").refused(400, "BadRequest");
    // The kind of an object that names none is the one its address asks for.
    post("application/json", b"{}").refused(422, "Invalid");
    post("application/json", &[b'['; 20_000]).refused(400, "BadRequest");
    post("application/yaml", b"a: [").refused(400, "BadRequest");
    let whole = protobuf("broken");
    for length in [0, 3, 4, 10, whole.len() - 1] {
        post("application/vnd.kubernetes.protobuf", &whole[..length]).refused(400, "BadRequest");
    }
    assert_eq!(post("image/png", b"x").code, 415);
    let large = map("large", &json!({"a": "x".repeat(1_100_000)}));
    api.create(&path, &large).refused(422, "Invalid");
    let huge = vec![b' '; 4 << 20];
    assert_eq!(post("application/json", &huge).code, 413);
    assert_eq!(api.get(&format!("{path}/broken")).code, 404);
}

pub fn documents(cluster: &mut Cluster) {
    let (api, _) = place(cluster, "forms-documents");
    assert_eq!(api.get("/version").ok()["minor"], "36");
    let core = api.get("/api/v1").ok();
    let pods = core["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "pods")
        .unwrap();
    assert_eq!(
        (&pods["kind"], &pods["shortNames"], &pods["namespaced"]),
        (&"Pod".into(), &json!(["po"]), &true.into())
    );
    let groups = api.get("/apis").ok();
    assert!(
        groups["groups"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["name"] == "apps")
    );
    let accept = [(
        "Accept",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    )];
    assert_eq!(
        api.call("GET", "/apis", &accept, b"").ok()["kind"],
        "APIGroupDiscoveryList"
    );
    let v3 = api.get("/openapi/v3").ok();
    let places = v3["paths"].as_object().unwrap();
    for known in ["version", "api", "apis", "apis/apps", "apis/apps/v1"] {
        assert!(places.contains_key(known), "{known}");
    }
    for (path, place) in places {
        let document = api.get(place["serverRelativeURL"].as_str().unwrap()).ok();
        assert_eq!(document["openapi"], "3.0.0", "{path}");
        assert!(!document["paths"].as_object().unwrap().is_empty(), "{path}");
    }
    api.get("/openapi/v3/apis/none").refused(404, "NotFound");
    let place = &v3["paths"]["apis/apps/v1"]["serverRelativeURL"];
    let document = api.get(place.as_str().unwrap()).ok();
    assert!(document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"].is_object());
    assert_eq!(api.get("/openapi/v2").ok()["swagger"], "2.0");
    for probe in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(api.get(probe).body, b"ok", "{probe}");
    }
}
