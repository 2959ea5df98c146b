//! Subresources: what is seen apart from what is wanted, and scales.

use crate::{
    compare::{Outcome, ensure, equal, kept},
    walk::{JSON, Step, Walk, good},
};
use serde_json::{Value, json};

/// The steps of this file.
pub const STEPS: &[Step] = &[
    ("status.get", status_get),
    ("status.apart", status_apart),
    ("status.patch", status_patch),
    ("status.update", status_update),
    ("status.apply", status_apply),
    ("scale", scale),
    ("scale.patch", scale_patch),
    ("finalize", finalize),
];

fn has(walk: &Walk<'_>, name: &str, verb: &str) -> bool {
    walk.resource
        .subresources
        .get(name)
        .is_some_and(|verbs| verbs.contains(verb))
}

fn status_get(walk: &mut Walk<'_>) -> Outcome {
    if !has(walk, "status", "get") {
        return Ok(());
    }
    walk.settled(|walk| {
        let whole = walk.get(&walk.path(0))?;
        let same = walk.get(&format!("{}/status", walk.path(0)))?;
        equal(&whole, &same)
    })
}

/// What is seen cannot be written beside what is wanted.
fn status_apart(walk: &mut Walk<'_>) -> Outcome {
    let Some(status) = walk
        .sample
        .status
        .clone()
        .filter(|_| has(walk, "status", "patch"))
    else {
        return Ok(());
    };
    if walk.resource.plural == "nodes" {
        return Ok(());
    }
    walk.settled(|walk| {
        let before = walk.get(&walk.path(0))?;
        let after = walk.merge(&walk.path(0), "", &json!({"status": status}))?;
        equal(&before["status"], &after["status"])
    })
}

/// Through `status` only that changes, and labels and annotations come along.
fn status_patch(walk: &mut Walk<'_>) -> Outcome {
    let Some(status) = walk
        .sample
        .status
        .clone()
        .filter(|_| has(walk, "status", "patch"))
    else {
        return Ok(());
    };
    let path = format!("{}/status", walk.path(0));
    let mut patch = walk.sample.change.clone().unwrap_or(json!({}));
    let object = walk.object(0);
    // Fields that are wanted go back to what they were made as.
    if let Some(spec) = object.get("spec").filter(|_| patch.get("spec").is_some()) {
        patch["spec"] = spec.clone();
    }
    patch["status"] = status.clone();
    patch["metadata"] = json!({"annotations": {"walk/status": "x"}});
    let before = walk.get(&walk.path(0))?;
    let after = walk.merge(&path, "fieldManager=walk-status", &patch)?;
    kept(&status, &after["status"])?;
    equal(&before["spec"], &after["spec"])?;
    let entries = after["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let own = entries.iter().find(|one| one["manager"] == "walk-status");
    ensure(
        own.is_some_and(|own| own["subresource"] == "status"),
        || "no manager of status".into(),
    )
}

fn status_update(walk: &mut Walk<'_>) -> Outcome {
    if !has(walk, "status", "update") {
        return Ok(());
    }
    let path = format!("{}/status", walk.path(0));
    walk.settled(|walk| {
        let before = walk.get(&walk.path(0))?;
        let after = good(walk.send(
            "PUT",
            &format!("{path}?fieldManager=walk-status"),
            JSON,
            &before,
        ))?;
        equal(&before, &after)
    })
}

fn status_apply(walk: &mut Walk<'_>) -> Outcome {
    let Some(status) = walk
        .sample
        .status
        .clone()
        .filter(|_| has(walk, "status", "patch"))
    else {
        return Ok(());
    };
    let object = walk.object(0);
    let body = json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": {"name": walk.name(0)}, "status": status});
    let path = format!(
        "{}/status?fieldManager=walk-status-applier&force=true",
        walk.path(0)
    );
    let after = good(walk.send("PATCH", &path, "application/apply-patch+yaml", &body))?;
    walk.remember(&after);
    kept(&status, &after["status"])
}

/// Kinds of which one object is scaled: the fourth, which nothing else looks at.
const SCALED: usize = 3;

fn scaled(walk: &mut Walk<'_>) -> Result<Value, String> {
    let object = walk.get(&walk.path(SCALED))?;
    Ok(object["spec"]["replicas"].clone())
}

fn scale(walk: &mut Walk<'_>) -> Outcome {
    if !has(walk, "scale", "update") {
        return Ok(());
    }
    walk.settled(|walk| {
        let path = format!("{}/scale", walk.path(SCALED));
        let mut scale = walk.get(&path)?;
        let head = [&scale["kind"], &scale["apiVersion"]];
        ensure(head == ["Scale", "autoscaling/v1"], || format!("{head:?}"))?;
        ensure(scale["status"]["selector"].is_string(), || {
            scale["status"].to_string()
        })?;
        scale["spec"]["replicas"] = json!(1);
        let after = good(walk.send("PUT", &path, JSON, &scale))?;
        ensure(after["spec"]["replicas"] == 1, || after["spec"].to_string())?;
        let found = scaled(walk)?;
        ensure(found == 1, || format!("{found} replicas"))
    })
}

fn scale_patch(walk: &mut Walk<'_>) -> Outcome {
    if !has(walk, "scale", "patch") {
        return Ok(());
    }
    let path = format!("{}/scale", walk.path(SCALED));
    let patch = json!({"spec": {"replicas": 0}});
    good(walk.send("PATCH", &path, "application/merge-patch+json", &patch))?;
    let found = scaled(walk)?;
    ensure(found == 0, || format!("{found} replicas"))?;
    let wrong = json!({"spec": {"replicas": -1}});
    let answer = walk.send("PATCH", &path, "application/merge-patch+json", &wrong);
    crate::walk::refused(&answer, 422, "must be greater than or equal to 0")
}

fn finalize(walk: &mut Walk<'_>) -> Outcome {
    if !has(walk, "finalize", "update") {
        return Ok(());
    }
    let mut object = walk.get(&walk.path(SCALED))?;
    object["spec"]["finalizers"] = json!(["kubernetes", "example.com/walk"]);
    let path = format!("{}/finalize", walk.path(SCALED));
    let after = good(walk.send("PUT", &path, JSON, &object))?;
    equal(&object["spec"], &after["spec"])?;
    let mut bare = after.clone();
    bare["spec"]["finalizers"] = json!(["kubernetes"]);
    good(walk.send("PUT", &path, JSON, &bare)).map(drop)
}
