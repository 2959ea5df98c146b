//! Round trips: an object made in one encoding is the same in all, and writing back what was
//! read changes nothing.

use crate::{
    compare::{Outcome, ensure, equal, kept},
    sample,
    walk::{JSON, PROTOBUF, Step, Walk, YAML, good, told, version},
};
use kinds::Catalogue;
use serde_json::Value;

/// The steps of this file.
pub const STEPS: &[Step] = &[
    ("create", create),
    ("create.kept", create_kept),
    ("create.again", create_again),
    ("get.encodings", encodings),
    ("create.yaml", create_yaml),
    ("create.protobuf", create_protobuf),
    ("put.unchanged", |walk| unchanged(walk, JSON)),
    ("put.unchanged.yaml", |walk| unchanged(walk, YAML)),
    ("put.unchanged.protobuf", |walk| unchanged(walk, PROTOBUF)),
];

fn kind(walk: &Walk<'_>) -> std::sync::Arc<kinds::Kind> {
    let resource = walk.resource;
    let version = resource
        .group_version
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let catalogue = Catalogue::builtin();
    let found = catalogue.resource(&resource.group, version, &resource.plural);
    std::sync::Arc::clone(found.expect("the catalogue is what is walked"))
}

fn to_protobuf(walk: &Walk<'_>, object: &Value) -> Vec<u8> {
    let text = object.to_string();
    let tree = codec::decode_json(text.as_bytes(), codec::Limits::default());
    let kind = kind(walk);
    codec::encode_protobuf(&tree.expect("JSON").value, &kind.gvk, &kind.type_ref)
}

fn from_protobuf(walk: &Walk<'_>, bytes: &[u8]) -> Result<Value, String> {
    let of = kind(walk).type_ref.clone();
    let decoded = codec::decode_protobuf(bytes, &|_| Some(of.clone()));
    let decoded = decoded.map_err(|why| why.to_string())?;
    let mut tree = serde_json::to_value(decoded).map_err(|why| why.to_string())?;
    let claims = tree.pointer_mut("/spec/volumeClaimTemplates");
    for claim in claims.and_then(Value::as_array_mut).into_iter().flatten() {
        // Protobuf says no kind within a kind; defaults put it back.
        claim["apiVersion"] = "v1".into();
        claim["kind"] = "PersistentVolumeClaim".into();
    }
    Ok(tree)
}

fn create(walk: &mut Walk<'_>) -> Outcome {
    let list = walk.get(&format!("{}?limit=1", walk.base()))?;
    let from = version(&list);
    let only = format!(
        "fieldSelector=metadata.name%3D{}&resourceVersion={from}",
        walk.name(0)
    );
    walk.watch = Some(walk.watch(&only));
    let path = format!(
        "{}?fieldManager=walk-one&fieldValidation=Strict",
        walk.base()
    );
    let answer = walk.send("POST", &path, JSON, &walk.object(0));
    ensure(answer.code == 201, || told(&answer))?;
    walk.remember(&answer.json());
    Ok(())
}

fn create_kept(walk: &mut Walk<'_>) -> Outcome {
    let mut said = walk.object(0);
    // What is seen is not for a creation to say, but of nodes and volumes.
    said.as_object_mut().expect("an object").remove("status");
    let made = walk.get(&walk.path(0))?;
    kept(&said, &made)?;
    let metadata = &made["metadata"];
    let filled = ["uid", "creationTimestamp", "resourceVersion"];
    let missing = filled
        .iter()
        .find(|field| metadata[**field].as_str().is_none_or(str::is_empty));
    ensure(missing.is_none(), || format!("no metadata.{missing:?}"))
}

fn create_again(walk: &mut Walk<'_>) -> Outcome {
    let answer = walk.send("POST", &walk.base(), JSON, &walk.object(0));
    let resource = walk.resource;
    let dotted = match resource.group.as_str() {
        "" => resource.plural.clone(),
        group => format!("{}.{group}", resource.plural),
    };
    let wanted = format!("{dotted} \"{}\" already exists", walk.name(0));
    crate::walk::refused(&answer, 409, &wanted)
}

fn encodings(walk: &mut Walk<'_>) -> Outcome {
    walk.settled(|walk| {
        let path = walk.path(0);
        let json = walk.get(&path)?;
        let yaml = walk.get_as(&path, YAML)?;
        ensure(yaml.header("content-type") == Some(YAML), || {
            "no YAML".into()
        })?;
        equal(&json, &sample::tree(&yaml.body)?).map_err(|why| format!("YAML: {why}"))?;
        let protobuf = walk.get_as(&path, PROTOBUF)?;
        ensure(protobuf.header("content-type") == Some(PROTOBUF), || {
            "no protobuf".into()
        })?;
        let decoded = from_protobuf(walk, &protobuf.body)?;
        equal(&json, &decoded).map_err(|why| format!("protobuf: {why}"))?;
        let again = from_protobuf(walk, &to_protobuf(walk, &json))?;
        equal(&json, &again).map_err(|why| format!("protobuf and back: {why}"))
    })
}

/// An object without what makes it this one.
fn bare(walk: &Walk<'_>, which: usize, mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut();
    let metadata = metadata.expect("objects have metadata");
    let uid = metadata["uid"].as_str().unwrap_or_default().to_owned();
    for field in [
        "managedFields",
        "resourceVersion",
        "creationTimestamp",
        "uid",
    ] {
        metadata.remove(field);
    }
    object.as_object_mut().expect("an object").remove("status");
    for field in ["clusterIP", "clusterIPs", "healthCheckNodePort"] {
        object["spec"]
            .as_object_mut()
            .map(|spec| spec.remove(field));
    }
    let mut text = object.to_string();
    text = text.replace(&walk.word(which), "NAME").replace(&uid, "UID");
    text = text.replace(&walk.name(which), "NAME");
    let number = (10 + which).to_string();
    for (before, after) in [
        ("walk", "s"),
        ("walk", "\""),
        ("Walk", "L"),
        ("Walk", "\""),
        ("w", "\""),
        ("198.18.", "."),
    ] {
        text = text.replace(
            &format!("{before}{number}{after}"),
            &format!("{before}NUMBER{after}"),
        );
    }
    serde_json::from_str(&text).expect("still JSON")
}

/// An object made another way is the one made as JSON, but for its name.
fn same_as_json(walk: &mut Walk<'_>, which: usize, answer: contract_tests::Answer) -> Outcome {
    ensure(answer.code == 201, || told(&answer))?;
    let first = walk.get(&walk.path(0))?;
    let other = walk.get(&walk.path(which))?;
    equal(&bare(walk, 0, first), &bare(walk, which, other))
}

fn create_yaml(walk: &mut Walk<'_>) -> Outcome {
    let path = format!(
        "{}?fieldManager=walk-one&fieldValidation=Strict",
        walk.base()
    );
    let answer = walk.call(
        "POST",
        &path,
        &[("Content-Type", YAML)],
        walk.yaml(1).as_bytes(),
    );
    walk.settled(|walk| same_as_json(walk, 1, answer.clone()))
}

fn create_protobuf(walk: &mut Walk<'_>) -> Outcome {
    let path = format!("{}?fieldManager=walk-one", walk.base());
    let body = to_protobuf(walk, &walk.object(2));
    let answer = walk.call(
        "POST",
        &path,
        &[("Content-Type", PROTOBUF), ("Accept", JSON)],
        &body,
    );
    walk.settled(|walk| same_as_json(walk, 2, answer.clone()))
}

/// Writing back what was read writes nothing.
fn unchanged(walk: &mut Walk<'_>, form: &str) -> Outcome {
    if !walk.can("update") {
        return Ok(());
    }
    walk.settled(|walk| {
        let path = walk.path(0);
        let read = walk.get_as(&path, form)?;
        let before = match form {
            PROTOBUF => from_protobuf(walk, &read.body)?,
            _ => sample::tree(&read.body)?,
        };
        let place = format!("{path}?fieldManager=walk-one");
        let after = walk.call(
            "PUT",
            &place,
            &[("Content-Type", form), ("Accept", JSON)],
            &read.body,
        );
        let after = good(after)?;
        equal(&before, &after)
    })
}
