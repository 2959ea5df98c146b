//! Subresources that do something: binding, eviction, tokens, approval, debugging, resizing.
//!
//! Each is tried dry first, which must change nothing. Rights are `refuse.rs`'s.

use crate::{
    compare::{Outcome, ensure, equal, kept},
    walk::{JSON, Step, Walk, good, refused},
};
use serde_json::{Value, json};

/// The steps of this file.
pub const STEPS: &[Step] = &[
    ("binding", binding),
    ("eviction", eviction),
    ("ephemeralcontainers", ephemeral_containers),
    ("resize", resize),
    ("token", token),
    ("approval", approval),
];

const STRATEGIC: &str = "application/strategic-merge-patch+json";
/// A node that is not there: nothing happens to pods on it while they are looked at.
const NODE: &str = "walk-nowhere";

fn offers(walk: &Walk<'_>, name: &str, verb: &str) -> bool {
    let verbs = walk.resource.subresources.get(name);
    verbs.is_some_and(|verbs| verbs.contains(verb))
}

/// A pod that nobody schedules, for one step; its path.
fn pod(walk: &mut Walk<'_>, name: &str) -> Result<String, String> {
    let container =
        json!({"name": "main", "image": "i", "resources": {"requests": {"cpu": "10m"}}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"schedulerName": "nobody", "terminationGracePeriodSeconds": 0, "containers": [container]}});
    let base = walk.base();
    good(walk.send("POST", &base, JSON, &pod))?;
    Ok(format!("{base}/{name}"))
}

fn remove(walk: &mut Walk<'_>, path: &str) -> Outcome {
    good(walk.call("DELETE", &format!("{path}?gracePeriodSeconds=0"), &[], b"")).map(drop)
}

fn binding(walk: &mut Walk<'_>) -> Outcome {
    if !offers(walk, "binding", "create") {
        return Ok(());
    }
    let path = pod(walk, "walk-binding")?;
    let bind = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "walk-binding"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}});
    good(walk.send("POST", &format!("{path}/binding?dryRun=All"), JSON, &bind))?;
    let dry = walk.get(&path)?;
    ensure(dry["spec"]["nodeName"].is_null(), || {
        "a dry run binds".into()
    })?;
    let answer = walk.send("POST", &format!("{path}/binding"), JSON, &bind);
    ensure(answer.code == 201, || crate::walk::told(&answer))?;
    equal(&json!("Success"), &answer.json()["status"])?;
    let bound = walk.get(&path)?;
    equal(&json!(NODE), &bound["spec"]["nodeName"])?;
    kept(
        &json!([{"type": "PodScheduled", "status": "True"}]),
        &bound["status"]["conditions"],
    )?;
    let again = walk.send("POST", &format!("{path}/binding"), JSON, &bind);
    refused(&again, 409, "is already assigned to node")?;
    remove(walk, &path)
}

fn eviction(walk: &mut Walk<'_>) -> Outcome {
    if !offers(walk, "eviction", "create") {
        return Ok(());
    }
    let path = pod(walk, "walk-eviction")?;
    let evict = |name: &str| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let place = format!("{path}/eviction");
    let own = evict("walk-eviction");
    good(walk.send("POST", &format!("{place}?dryRun=All"), JSON, &own))?;
    let dry = walk.get(&path)?;
    ensure(dry["metadata"]["deletionTimestamp"].is_null(), || {
        "a dry run evicts".into()
    })?;
    let wrong = walk.send("POST", &place, JSON, &evict("other"));
    refused(
        &wrong,
        400,
        "name in URL does not match name in Eviction object",
    )?;
    let answer = walk.send("POST", &place, JSON, &own);
    ensure(answer.code == 201, || crate::walk::told(&answer))?;
    let gone = walk.call("GET", &path, &[], b"");
    refused(&gone, 404, "not found")
}

/// Patches a pod through a subresource, dry and then for good; the pod afterwards.
fn patched(walk: &mut Walk<'_>, path: &str, below: &str, patch: &Value) -> Result<Value, String> {
    let before = walk.get(path)?;
    let place = format!("{path}/{below}");
    equal(&before, &walk.get(&place)?)?;
    good(walk.send("PATCH", &format!("{place}?dryRun=All"), STRATEGIC, patch))?;
    equal(&before, &walk.get(path)?)?;
    good(walk.send("PATCH", &place, STRATEGIC, patch))?;
    walk.get(path)
}

fn ephemeral_containers(walk: &mut Walk<'_>) -> Outcome {
    if !offers(walk, "ephemeralcontainers", "patch") {
        return Ok(());
    }
    let path = pod(walk, "walk-debug")?;
    let debug =
        |image: &str| json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": image}]}});
    let after = patched(walk, &path, "ephemeralcontainers", &debug("busybox"))?;
    kept(&debug("busybox")["spec"], &after["spec"])?;
    let place = format!("{path}/ephemeralcontainers");
    let changed = walk.send("PATCH", &place, STRATEGIC, &debug("other"));
    refused(&changed, 422, "may not be changed")?;
    remove(walk, &path)
}

fn resize(walk: &mut Walk<'_>) -> Outcome {
    if !offers(walk, "resize", "patch") {
        return Ok(());
    }
    let path = pod(walk, "walk-resize")?;
    let requests = json!({"resources": {"requests": {"cpu": "20m"}}});
    let patch =
        json!({"spec": {"containers": [{"name": "main", "resources": requests["resources"]}]}});
    let direct = walk.send("PATCH", &path, STRATEGIC, &patch);
    refused(&direct, 422, "pod updates may not change fields other than")?;
    let after = patched(walk, &path, "resize", &patch)?;
    kept(&requests, &after["spec"]["containers"][0])?;
    ensure(after["metadata"]["generation"] == 2, || {
        format!("generation {}", after["metadata"]["generation"])
    })?;
    remove(walk, &path)
}

fn token(walk: &mut Walk<'_>) -> Outcome {
    if !offers(walk, "token", "create") {
        return Ok(());
    }
    let path = format!("{}/token", walk.path(0));
    let request = |seconds: i64| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["walk"], "expirationSeconds": seconds}});
    let answer = walk.send("POST", &path, JSON, &request(600));
    ensure(answer.code == 201, || crate::walk::told(&answer))?;
    let token = answer.json();
    kept(&request(600), &token)?;
    let words = token["status"]["token"].as_str().unwrap_or_default();
    ensure(words.split('.').count() == 3, || "no token".into())?;
    ensure(token["status"]["expirationTimestamp"].is_string(), || {
        token["status"].to_string()
    })?;
    let short = walk.send("POST", &path, JSON, &request(5));
    refused(
        &short,
        422,
        "may not specify a duration less than 10 minutes",
    )
}

/// The fourth is approved, which nothing else looks at.
fn approval(walk: &mut Walk<'_>) -> Outcome {
    if !offers(walk, "approval", "update") {
        return Ok(());
    }
    let path = walk.path(3);
    let place = format!("{path}/approval");
    walk.settled(|walk| {
        let before = walk.get(&path)?;
        equal(&before, &walk.get(&place)?)?;
        let mut approved = before.clone();
        let condition =
            json!({"type": "Approved", "status": "True", "reason": "Walk", "message": "m"});
        approved["status"]["conditions"] = json!([condition]);
        good(walk.send("PUT", &format!("{place}?dryRun=All"), JSON, &approved))?;
        equal(&before["status"], &walk.get(&path)?["status"])?;
        approved["spec"]["expirationSeconds"] = json!(7200);
        good(walk.send("PUT", &place, JSON, &approved))?;
        let after = walk.get(&path)?;
        equal(&before["spec"], &after["spec"])?;
        kept(&json!([condition]), &after["status"]["conditions"])
    })?;
    let mut denied = walk.get(&path)?;
    denied["status"]["conditions"] = json!([{"type": "Denied", "status": "True"}]);
    let answer = walk.send("PUT", &place, JSON, &denied);
    refused(&answer, 422, "may not remove a condition of type")
}
