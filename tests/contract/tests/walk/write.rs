//! Writes: managers, generations, the four patches, apply, and dry runs of each.

use crate::{
    compare::{Outcome, ensure, equal},
    walk::{JSON, Step, Walk, good, note, told, version},
};
use serde_json::{Value, json};

/// The steps of this file.
pub const STEPS: &[Step] = &[
    ("managers", managers),
    ("generation", generation),
    ("update", update),
    ("update.stale", update_stale),
    ("patch.json", patch_json),
    ("patch.strategic", patch_strategic),
    ("apply.twice", apply_twice),
    ("apply.create", apply_create),
    ("dry.create", dry_create),
    ("dry.update", dry_update),
    ("dry.patch", dry_patch),
    ("dry.apply", dry_apply),
];

const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// Kinds whose `metadata.generation` counts.
const COUNTED: &[&str] = &[
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "mutatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "validatingwebhookconfigurations",
    "daemonsets",
    "deployments",
    "replicasets",
    "statefulsets",
    "cronjobs",
    "jobs",
    "pods",
    "podtemplates",
    "replicationcontrollers",
    "endpointslices",
    "flowschemas",
    "prioritylevelconfigurations",
    "ingresses",
    "ingressclasses",
    "networkpolicies",
    "poddisruptionbudgets",
    "deviceclasses",
    "resourceslices",
    "priorityclasses",
    "customresourcedefinitions",
    "csidrivers",
];

/// The entry of a manager.
fn entry<'a>(object: &'a Value, manager: &str, operation: &str) -> Option<&'a Value> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    entries
        .iter()
        .find(|one| one["manager"] == manager && one["operation"] == operation)
}

fn managers(walk: &mut Walk<'_>) -> Outcome {
    // Of a request for a certificate nothing belongs to who made it.
    if walk.resource.plural == "certificatesigningrequests" {
        return Ok(());
    }
    let path = walk.path(0);
    let before = walk.get(&path)?;
    let one = entry(&before, "walk-one", "Update").ok_or("the creating manager has no entry")?;
    let head = [&one["apiVersion"], &one["fieldsType"]];
    ensure(
        head == [&json!(walk.resource.group_version), &json!("FieldsV1")],
        || format!("{head:?}"),
    )?;
    ensure(
        one["time"].is_string() && one["fieldsV1"].is_object(),
        || one.to_string(),
    )?;
    let after = walk.merge(&path, "fieldManager=walk-two", &note("walk/two", "x"))?;
    let two = entry(&after, "walk-two", "Update").ok_or("the second manager has no entry")?;
    let wanted = json!({"f:metadata": {"f:annotations": {"f:walk/two": {}}}});
    let mut found = two["fieldsV1"].clone();
    found["f:metadata"]["f:annotations"]
        .as_object_mut()
        .map(|own| own.remove("."));
    equal(&wanted, &found)?;
    let kept = entry(&after, "walk-one", "Update").ok_or("the first manager lost its entry")?;
    equal(&one["fieldsV1"], &kept["fieldsV1"])
}

fn generation(walk: &mut Walk<'_>) -> Outcome {
    let Some(change) = walk.sample.change.clone() else {
        return Ok(());
    };
    let path = walk.path(0);
    let before = walk.get(&path)?["metadata"]["generation"].clone();
    let noted =
        walk.merge(&path, "", &note("walk/generation", "x"))?["metadata"]["generation"].clone();
    let after = walk.merge(&path, "", &change)?["metadata"]["generation"].clone();
    if !COUNTED.contains(&walk.resource.plural.as_str()) {
        return ensure(after.is_null(), || format!("counts: {after}"));
    }
    // A driver's changes count and not its making; a class starts at one and stays there.
    let plural = walk.resource.plural.as_str();
    let counts = !matches!(plural, "priorityclasses");
    let more = i64::from(counts)
        * i64::from(change.get("metadata").is_none() || change.get("spec").is_some());
    let from = before.as_i64().or((plural == "csidrivers").then_some(0));
    let wanted = from.map(|number| number + more);
    let said = || format!("{before}, {noted} after an annotation, {after} after a change");
    // Annotations of a deployment count, for they go down to what it makes.
    let also = i64::from(plural == "deployments");
    let wanted = wanted.map(|number| number + also);
    let kept = before.as_i64().map(|number| number + also) == noted.as_i64();
    ensure(kept && wanted.is_some() && after.as_i64() == wanted, said)
}

fn update(walk: &mut Walk<'_>) -> Outcome {
    walk.settled(|walk| {
        let path = walk.path(0);
        let mut object = walk.get(&path)?;
        let before = version(&object);
        object["metadata"]["annotations"]["walk/update"] = json!("x");
        let done = good(walk.send(
            "PUT",
            &format!("{path}?fieldManager=walk-one"),
            JSON,
            &object,
        ))?;
        walk.remember(&done);
        ensure(version(&done) != before, || "no new resourceVersion".into())?;
        ensure(
            done["metadata"]["annotations"]["walk/update"] == "x",
            || "not written".into(),
        )
    })
}

fn update_stale(walk: &mut Walk<'_>) -> Outcome {
    let path = walk.path(0);
    let mut object = walk.get(&path)?;
    object["metadata"]["resourceVersion"] = json!("1");
    object["metadata"]["annotations"]["walk/stale"] = json!("x");
    let answer = walk.send("PUT", &path, JSON, &object);
    let wanted = "the object has been modified; please apply your changes to the latest version and try again";
    crate::walk::refused(&answer, 409, wanted)
}

fn patch_json(walk: &mut Walk<'_>) -> Outcome {
    let patch = json!([
        {"op": "test", "path": "/metadata/name", "value": walk.name(0)},
        {"op": "add", "path": "/metadata/annotations/walk~1json", "value": "x"},
    ]);
    let form = "application/json-patch+json";
    let done = good(walk.send("PATCH", &walk.path(0), form, &patch))?;
    walk.remember(&done);
    ensure(done["metadata"]["annotations"]["walk/json"] == "x", || {
        "not written".into()
    })?;
    let wrong = json!([{"op": "test", "path": "/metadata/name", "value": "other"}]);
    let answer = walk.send("PATCH", &walk.path(0), form, &wrong);
    crate::walk::refused(&answer, 422, "")
}

fn patch_strategic(walk: &mut Walk<'_>) -> Outcome {
    let done = good(walk.send(
        "PATCH",
        &walk.path(0),
        STRATEGIC,
        &note("walk/strategic", "x"),
    ))?;
    walk.remember(&done);
    ensure(
        done["metadata"]["annotations"]["walk/strategic"] == "x",
        || "not written".into(),
    )
}

fn apply_twice(walk: &mut Walk<'_>) -> Outcome {
    let mut object = walk.object(0);
    object["metadata"]["labels"]["walk/applied"] = json!("yes");
    // A deployed template's labels stay in step with its selector; all else is as it was made.
    object.as_object_mut().expect("an object").remove("status");
    let path = format!("{}?fieldManager=walk-applier&force=true", walk.path(0));
    let first = good(walk.send("PATCH", &path, APPLY, &object))?;
    walk.remember(&first);
    let own = entry(&first, "walk-applier", "Apply").ok_or("the applier has no entry")?;
    ensure(
        own["apiVersion"] == walk.resource.group_version.as_str(),
        || own.to_string(),
    )?;
    walk.settled(|walk| {
        let before = walk.get(&walk.path(0))?;
        let second = good(walk.send("PATCH", &path, APPLY, &object))?;
        equal(&before, &second)
    })
}

fn apply_create(walk: &mut Walk<'_>) -> Outcome {
    let path = format!(
        "{}?fieldManager=walk-applier&fieldValidation=Strict",
        walk.path(3)
    );
    let answer = walk.call(
        "PATCH",
        &path,
        &[("Content-Type", APPLY)],
        walk.yaml(3).as_bytes(),
    );
    ensure(answer.code == 201, || told(&answer))
}

fn dry_create(walk: &mut Walk<'_>) -> Outcome {
    let path = format!("{}?dryRun=All", walk.base());
    let answer = walk.send("POST", &path, JSON, &walk.object(4));
    ensure(answer.code == 201, || told(&answer))?;
    let there = walk.call("GET", &walk.path(4), &[], b"");
    ensure(there.code == 404, || "it was stored".into())
}

/// Runs a write dry and looks whether it left anything.
fn dry(
    walk: &mut Walk<'_>,
    write: impl Fn(&mut Walk<'_>, &Value) -> contract_tests::Answer,
) -> Outcome {
    walk.settled(|walk| {
        let before = walk.get(&walk.path(0))?;
        let done = good(write(walk, &before))?;
        ensure(done["metadata"]["annotations"]["walk/dry"] == "x", || {
            "not shown".into()
        })?;
        let after = walk.get(&walk.path(0))?;
        ensure(
            after["metadata"]["annotations"]["walk/dry"].is_null(),
            || "it was stored".into(),
        )?;
        ensure(version(&before) == version(&after), || {
            "a new resourceVersion".into()
        })
    })
}

fn dry_update(walk: &mut Walk<'_>) -> Outcome {
    dry(walk, |walk, before| {
        let mut object = before.clone();
        object["metadata"]["annotations"]["walk/dry"] = json!("x");
        walk.send(
            "PUT",
            &format!("{}?dryRun=All", walk.path(0)),
            JSON,
            &object,
        )
    })
}

fn dry_patch(walk: &mut Walk<'_>) -> Outcome {
    dry(walk, |walk, _| {
        let path = format!("{}?dryRun=All", walk.path(0));
        walk.send(
            "PATCH",
            &path,
            "application/merge-patch+json",
            &note("walk/dry", "x"),
        )
    })
}

fn dry_apply(walk: &mut Walk<'_>) -> Outcome {
    dry(walk, |walk, before| {
        let mut object = note("walk/dry", "x");
        object["apiVersion"] = before["apiVersion"].clone();
        object["kind"] = before["kind"].clone();
        let path = format!("{}?dryRun=All&fieldManager=walk-dry", walk.path(0));
        walk.send("PATCH", &path, APPLY, &object)
    })
}
