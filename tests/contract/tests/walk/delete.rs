//! Deletion: dry, held by finalizers, of collections; and what the watch saw of it all.

use crate::{
    compare::{Outcome, ensure},
    walk::{JSON, Step, Walk, good, told, version},
};
use serde_json::{Value, json};

/// The steps of this file.
pub const STEPS: &[Step] = &[
    ("dry.delete", dry_delete),
    ("dry.deletecollection", dry_delete_collection),
    ("delete.precondition", delete_precondition),
    ("delete.held", delete_held),
    ("watch", watched),
    ("delete.others", delete_others),
    ("deletecollection", delete_collection),
];

/// Kinds whose deletion answers with the object even when it is gone at once.
const SHOWN: &[&str] = &[
    "namespaces",
    "persistentvolumes",
    "persistentvolumeclaims",
    "pods",
    "podtemplates",
    "resourcequotas",
    "services",
    "serviceaccounts",
    "deviceclasses",
    "resourceclaims",
    "resourceclaimtemplates",
    "resourceslices",
    "csidrivers",
    "csinodes",
    "storageclasses",
    "volumeattachments",
    "volumeattributesclasses",
];

fn dry_delete(walk: &mut Walk<'_>) -> Outcome {
    let path = format!("{}?dryRun=All", walk.path(0));
    good(walk.call("DELETE", &path, &[], b""))?;
    let after = walk.get(&walk.path(0))?;
    ensure(after["metadata"]["deletionTimestamp"].is_null(), || {
        "it was marked".into()
    })
}

fn dry_delete_collection(walk: &mut Walk<'_>) -> Outcome {
    if !walk.can("deletecollection") {
        return Ok(());
    }
    let path = format!("{}?dryRun=All&labelSelector=walk%2Fapplied", walk.base());
    good(walk.call("DELETE", &path, &[], b""))?;
    let after = walk.get(&walk.path(0))?;
    ensure(after["metadata"]["deletionTimestamp"].is_null(), || {
        "it was marked".into()
    })
}

fn delete_precondition(walk: &mut Walk<'_>) -> Outcome {
    let options =
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "other"}});
    let answer = walk.send("DELETE", &walk.path(0), JSON, &options);
    let why = "the UID in the precondition (other) does not match the UID in record (";
    // Upstream's definitions are looked at further down.
    crate::walk::refused(&answer, 409, why).or_else(|_| {
        crate::walk::refused(&answer, 409, "UID in precondition: other, UID in object")
    })
}

/// An object with a finalizer is marked, kept, and gone when nothing holds it.
fn delete_held(walk: &mut Walk<'_>) -> Outcome {
    let path = walk.path(0);
    walk.merge(
        &path,
        "",
        &json!({"metadata": {"finalizers": ["example.com/walk"]}}),
    )?;
    let marked = good(walk.call("DELETE", &path, &[], b""))?;
    let mark = &marked["metadata"]["deletionTimestamp"];
    ensure(
        mark.is_string() && marked["kind"] == walk.resource.kind.as_str(),
        || format!("{} marked {mark}", marked["kind"]),
    )?;
    let kept = walk.get(&path)?;
    ensure(kept["metadata"]["deletionTimestamp"] == *mark, || {
        "another mark".into()
    })?;
    let added = json!({"metadata": {"finalizers": ["example.com/walk", "example.com/more"]}});
    let answer = walk.send("PATCH", &path, "application/merge-patch+json", &added);
    crate::walk::refused(
        &answer,
        422,
        "no new finalizers can be added if the object is being deleted",
    )?;
    let freed = walk.send(
        "PATCH",
        &path,
        "application/merge-patch+json",
        &json!({"metadata": {"finalizers": null}}),
    );
    ensure(freed.code == 200, || told(&freed))?;
    walk.settled(|walk| {
        let answer = walk.call("GET", &path, &[], b"");
        let held = answer.json()["metadata"]["finalizers"].clone();
        // Namespaces, claims and volumes are held by more.
        ensure(
            answer.code == 404 || held.is_array() || walk.resource.plural == "namespaces",
            || told(&answer),
        )
    })
}

/// The watch from before the object was has seen each of its writes in order, up to its end.
fn watched(walk: &mut Walk<'_>) -> Outcome {
    let path = walk.path(0);
    for _ in 0..50 {
        if walk.call("GET", &path, &[], b"").code == 404 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    ensure(walk.call("GET", &path, &[], b"").code == 404, || {
        "still there".into()
    })?;
    let watch = walk.watch.as_mut().ok_or("no watch")?;
    let events = watch.until(|event| event["type"] == "DELETED");
    let seen: Vec<(&str, String)> = events
        .iter()
        .map(|event| {
            (
                event["type"].as_str().unwrap_or_default(),
                version(&event["object"]),
            )
        })
        .collect();
    ensure(seen.first().is_some_and(|first| first.0 == "ADDED"), || {
        format!("{seen:?}")
    })?;
    let between = seen[1..seen.len() - 1]
        .iter()
        .all(|one| one.0 == "MODIFIED");
    ensure(between, || format!("{seen:?}"))?;
    let numbers: Vec<u64> = seen.iter().filter_map(|one| one.1.parse().ok()).collect();
    ensure(numbers.windows(2).all(|two| two[0] < two[1]), || {
        format!("out of order: {seen:?}")
    })?;
    let mut written = walk.versions.iter();
    let missing = written.find(|version| seen.iter().all(|one| one.1 != **version));
    ensure(missing.is_none(), || {
        format!("the write {missing:?} was not seen: {seen:?}")
    })
}

fn answer_of_deletion(walk: &Walk<'_>, said: &Value) -> Outcome {
    let kind = said["kind"].as_str().unwrap_or_default();
    let shown = SHOWN.contains(&walk.resource.plural.as_str());
    let wanted = if shown {
        walk.resource.kind.as_str()
    } else {
        "Status"
    };
    // What is held on by a finalizer is shown too.
    let held = said["metadata"]["deletionTimestamp"].is_string();
    ensure(kind == wanted || held, || {
        format!("answered with {kind}, upstream {wanted}")
    })?;
    if kind == "Status" {
        let details = &said["details"];
        let named = details["kind"] == walk.resource.plural.as_str() && details["uid"].is_string();
        ensure(said["status"] == "Success" && named, || said.to_string())?;
    }
    Ok(())
}

fn delete_others(walk: &mut Walk<'_>) -> Outcome {
    let said = good(walk.call("DELETE", &walk.path(1), &[], b""))?;
    answer_of_deletion(walk, &said)
}

fn delete_collection(walk: &mut Walk<'_>) -> Outcome {
    if !walk.can("deletecollection") {
        for which in [2, 3] {
            good(walk.call("DELETE", &walk.path(which), &[], b""))?;
        }
        return Ok(());
    }
    let word = walk.word(0);
    for which in [2, 3] {
        let label = json!({"metadata": {"labels": {"walk/collected": word}}});
        walk.merge(&walk.path(which), "", &label)?;
    }
    let path = format!("{}?labelSelector=walk%2Fcollected%3D{word}", walk.base());
    let said = good(walk.call("DELETE", &path, &[], b""))?;
    let kind = format!("{}List", walk.resource.kind);
    ensure(said["kind"] == kind.as_str(), || {
        format!("answered with {}", said["kind"])
    })?;
    walk.settled(|walk| {
        let left = walk.get(&path)?;
        let left: Vec<_> = left["items"].as_array().into_iter().flatten().collect();
        let going = left
            .iter()
            .all(|one| one["metadata"]["deletionTimestamp"].is_string());
        ensure(going, || format!("{} are left", left.len()))
    })
}
