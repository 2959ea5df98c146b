//! Refusals: strangers, unknown and repeated fields, wrong options.

use crate::{
    compare::{Outcome, ensure},
    walk::{JSON, Step, Walk, YAML, refused, told},
};
use serde_json::{Value, json};

/// The steps of this file.
pub const STEPS: &[Step] = &[
    ("forbidden", forbidden),
    ("forbidden.subresources", forbidden_below),
    ("strict.root", |walk| strict(walk, &["walkUnknown"])),
    ("strict.metadata", |walk| {
        strict(walk, &["metadata", "walkUnknown"])
    }),
    ("strict.spec", strict_spec),
    ("strict.update", strict_update),
    ("strict.patch", strict_patch),
    ("strict.duplicate", strict_duplicate),
    ("strict.duplicate.yaml", strict_duplicate_yaml),
    ("warn", warn),
    ("wrong.kind", wrong_kind),
    ("wrong.version", wrong_version),
    ("wrong.name", wrong_name),
    ("unnamed", unnamed),
    ("unselectable", unselectable),
    ("not.found", not_found),
];

/// Method, verb, and whether it is of one object.
const REQUESTS: [(&str, &str, bool); 8] = [
    ("GET", "get", true),
    ("GET", "list", false),
    ("GET", "watch", false),
    ("POST", "create", false),
    ("PUT", "update", true),
    ("PATCH", "patch", true),
    ("DELETE", "delete", true),
    ("DELETE", "deletecollection", false),
];

fn stranger(
    walk: &mut Walk<'_>,
    method: &str,
    path: &str,
    form: &str,
    body: &Value,
) -> contract_tests::Answer {
    let headers = [("Impersonate-User", "walker"), ("Content-Type", form)];
    walk.call(method, path, &headers, body.to_string().as_bytes())
}

fn sentence(walk: &Walk<'_>, verb: &str, below: &str, named: bool) -> String {
    let (resource, name) = (walk.resource, walk.name(0));
    let mut dotted = resource.plural.clone();
    if !resource.group.is_empty() {
        dotted += &format!(".{}", resource.group);
    }
    let what = if named {
        format!("{dotted} {name:?}")
    } else {
        dotted
    };
    let place = match (resource.namespaced, resource.plural.as_str()) {
        (true, _) => format!("in the namespace {:?}", walk.namespace()),
        (false, "namespaces") if named => format!("in the namespace {name:?}"),
        _ => "at the cluster scope".to_owned(),
    };
    format!(
        "{what} is forbidden: User \"walker\" cannot {verb} resource \"{}{below}\" in API group {:?} {place}",
        resource.plural, resource.group
    )
}

fn forbidden(walk: &mut Walk<'_>) -> Outcome {
    let object = walk.object(0);
    for (method, verb, named) in REQUESTS {
        if !walk.can(verb) {
            continue;
        }
        let mut path = if named { walk.path(0) } else { walk.base() };
        if verb == "watch" {
            path += "?watch=true&timeoutSeconds=1";
        }
        let form = if verb == "patch" {
            "application/merge-patch+json"
        } else {
            JSON
        };
        let body = if matches!(method, "GET" | "DELETE") {
            Value::Null
        } else {
            object.clone()
        };
        let answer = stranger(walk, method, &path, form, &body);
        let wanted = sentence(walk, verb, "", named);
        refused(&answer, 403, &wanted).map_err(|why| format!("{verb}: {why}"))?;
    }
    Ok(())
}

fn forbidden_below(walk: &mut Walk<'_>) -> Outcome {
    for (name, verbs) in &walk.resource.subresources {
        // What is proxied answers for itself.
        for (method, verb, _) in REQUESTS.iter().filter(|(_, verb, _)| verbs.contains(*verb)) {
            let path = format!("{}/{name}", walk.path(0));
            let form = if *verb == "patch" {
                "application/merge-patch+json"
            } else {
                JSON
            };
            let answer = stranger(walk, method, &path, form, &json!({}));
            let wanted = sentence(walk, verb, &format!("/{name}"), true);
            refused(&answer, 403, &wanted).map_err(|why| format!("{verb} {name}: {why}"))?;
        }
    }
    Ok(())
}

/// An object with an unknown field at a path.
fn unknown(walk: &Walk<'_>, path: &[&str]) -> Value {
    let mut object = walk.object(5);
    let place = path.iter().fold(&mut object, |at, field| &mut at[*field]);
    *place = json!({"a": 1});
    object
}

fn strict(walk: &mut Walk<'_>, path: &[&str]) -> Outcome {
    let object = unknown(walk, path);
    let place = format!("{}?fieldValidation=Strict&dryRun=All", walk.base());
    let answer = walk.send("POST", &place, JSON, &object);
    let wanted = format!(
        "strict decoding error: unknown field \"{}\"",
        path.join(".")
    );
    refused(&answer, 400, &wanted)
}

fn strict_spec(walk: &mut Walk<'_>) -> Outcome {
    match walk.object(0)["spec"].is_object() {
        true => strict(walk, &["spec", "walkUnknown"]),
        false => Ok(()),
    }
}

fn strict_update(walk: &mut Walk<'_>) -> Outcome {
    let mut object = walk.get(&walk.path(0))?;
    object["walkUnknown"] = json!(1);
    let place = format!("{}?fieldValidation=Strict&dryRun=All", walk.path(0));
    let answer = walk.send("PUT", &place, JSON, &object);
    refused(
        &answer,
        400,
        "strict decoding error: unknown field \"walkUnknown\"",
    )
}

fn strict_patch(walk: &mut Walk<'_>) -> Outcome {
    let place = format!("{}?fieldValidation=Strict&dryRun=All", walk.path(0));
    let patch = json!({"walkUnknown": 1});
    for form in [
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    ] {
        let answer = walk.send("PATCH", &place, form, &patch);
        refused(&answer, 422, "unknown field \"walkUnknown\"")
            .map_err(|why| format!("{form}: {why}"))?;
    }
    let mut object = walk.object(0);
    object["walkUnknown"] = json!(1);
    let place = format!("{place}&fieldManager=walk&force=true");
    let answer = walk.send("PATCH", &place, "application/apply-patch+yaml", &object);
    refused(&answer, 500, "walkUnknown")
        .or_else(|_| refused(&answer, 422, "walkUnknown"))
        .or_else(|_| refused(&answer, 400, "walkUnknown"))
}

fn strict_duplicate(walk: &mut Walk<'_>) -> Outcome {
    let text = walk.object(5).to_string();
    let text = text.replacen("\"metadata\":{", "\"metadata\":{\"name\":\"x\",", 1);
    let place = format!("{}?fieldValidation=Strict&dryRun=All", walk.base());
    let answer = walk.call("POST", &place, &[("Content-Type", JSON)], text.as_bytes());
    refused(
        &answer,
        400,
        "strict decoding error: duplicate field \"metadata.name\"",
    )
}

fn strict_duplicate_yaml(walk: &mut Walk<'_>) -> Outcome {
    let text = format!(
        "{}\nkind: {}\n",
        walk.yaml(5).trim_end(),
        walk.resource.kind
    );
    let place = format!("{}?fieldValidation=Strict&dryRun=All", walk.base());
    let answer = walk.call("POST", &place, &[("Content-Type", YAML)], text.as_bytes());
    refused(&answer, 400, "key \"kind\" already set in map")
}

fn warn(walk: &mut Walk<'_>) -> Outcome {
    let object = unknown(walk, &["walkUnknown"]);
    for (query, warns) in [
        ("&fieldValidation=Warn", true),
        ("", true),
        ("&fieldValidation=Ignore", false),
    ] {
        let place = format!("{}?dryRun=All{query}", walk.base());
        let answer = walk.send("POST", &place, JSON, &object);
        ensure(answer.code == 201, || told(&answer))?;
        let wanted = "299 - \"unknown field \\\"walkUnknown\\\"\"";
        let found = answer
            .headers
            .iter()
            .any(|(name, value)| name == "warning" && value.contains(wanted));
        ensure(found == warns, || {
            format!("{query:?}: {:?}", answer.header("warning"))
        })?;
    }
    Ok(())
}

fn wrong_kind(walk: &mut Walk<'_>) -> Outcome {
    let mut object = walk.object(5);
    object["kind"] = json!("Walk");
    let answer = walk.send("POST", &walk.base(), JSON, &object);
    refused(&answer, 400, "")
}

fn wrong_version(walk: &mut Walk<'_>) -> Outcome {
    let mut object = walk.object(5);
    object["apiVersion"] = json!("walk.example.com/v1");
    let answer = walk.send("POST", &walk.base(), JSON, &object);
    let kind = &walk.resource.kind;
    let wanted = format!("no kind {kind:?} is registered for version \"walk.example.com/v1\"");
    refused(&answer, 400, &wanted)
}

fn wrong_name(walk: &mut Walk<'_>) -> Outcome {
    let mut object = walk.get(&walk.path(0))?;
    object["metadata"]["name"] = json!("other");
    let answer = walk.send("PUT", &walk.path(0), JSON, &object);
    refused(&answer, 400, "the name of the object (other")
}

fn unnamed(walk: &mut Walk<'_>) -> Outcome {
    let mut object = walk.object(5);
    object["metadata"]
        .as_object_mut()
        .expect("metadata")
        .remove("name");
    let answer = walk.send("POST", &walk.base(), JSON, &object);
    match walk.resource.plural.as_str() {
        // Upstream gives an address before it looks, and a limit a name of its own.
        "services" | "limitranges" => return Ok(()),
        _ => {}
    }
    let why = "metadata.name: Required value: name or generateName is required";
    refused(&answer, 422, why)?;
    if walk.resource.group == "events.k8s.io" {
        // It is stored as core's.
        return Ok(());
    }
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let head = format!("{}.{}", walk.resource.kind, walk.resource.group);
    let head = head.trim_end_matches('.');
    ensure(
        text.contains(&format!("{head} \\\"\\\" is invalid")),
        || told(&answer),
    )
}

fn unselectable(walk: &mut Walk<'_>) -> Outcome {
    let path = format!("{}?fieldSelector=walk%3Dx", walk.base());
    let answer = walk.call("GET", &path, &[], b"");
    refused(&answer, 400, "field label not supported")
        .or_else(|_| refused(&answer, 400, "field label \"walk\" not supported"))
        .or_else(|_| refused(&answer, 400, "\"walk\" is not a known field selector"))
}

fn not_found(walk: &mut Walk<'_>) -> Outcome {
    let mut dotted = walk.resource.plural.clone();
    if !walk.resource.group.is_empty() {
        dotted += &format!(".{}", walk.resource.group);
    }
    let name = walk.name(5);
    let answer = walk.call("GET", &walk.path(5), &[], b"");
    refused(&answer, 404, &format!("{dotted} {name:?} not found"))?;
    let details = answer.json()["details"].clone();
    let mut wanted = json!({"name": name, "kind": walk.resource.plural});
    if !walk.resource.group.is_empty() {
        wanted["group"] = json!(walk.resource.group);
    }
    crate::compare::equal(&wanted, &details)
}
