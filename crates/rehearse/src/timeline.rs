//! What happened when: reads the log as it grows, hashes every change, notes what a person
//! would tell of it.
//!
//! Knows a handful of kinds, for their words only. Upstream counterpart: `kubectl get events -w`.

use env::Time;
use machinery::{Object, Ref};
use registry::Change;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// One line of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Virtual time since the beginning.
    pub at: Duration,
    /// What it is about: `pod agents/redis-0`, `node node-2`, `step`.
    pub subject: String,
    /// What happened.
    pub text: String,
}

/// Everything recorded of a rehearsal.
pub(crate) struct Timeline {
    start: Time,
    hash: Sha256,
    changes: u64,
    entries: Vec<Entry>,
}

impl Timeline {
    pub fn new(start: Time) -> Self {
        Self {
            start,
            hash: Sha256::new(),
            changes: 0,
            entries: Vec::new(),
        }
    }

    /// Takes in a change that became visible at `now`.
    pub fn take_in(&mut self, now: Time, change: &Change) {
        self.changes += 1;
        let bytes = change.new.as_ref().map(|object| object.bytes());
        let parts: [&[u8]; 5] = [
            change.resource.as_bytes(),
            change.key.namespace.as_bytes(),
            change.key.name.as_bytes(),
            &[u8::from(bytes.is_some())],
            bytes.unwrap_or_default(),
        ];
        for part in parts {
            self.hash.update((part.len() as u64).to_le_bytes());
            self.hash.update(part);
        }
        self.hash.update(change.revision.to_le_bytes());
        self.hash.update(now.0.to_le_bytes());
        let place = match change.key.namespace.as_str() {
            "" => change.key.name.to_string(),
            namespace => format!("{namespace}/{}", change.key.name),
        };
        let (word, texts) = describe(change);
        for text in texts {
            self.note(now, format!("{word} {place}"), text);
        }
    }

    /// Adds a line.
    pub fn note(&mut self, now: Time, subject: String, text: String) {
        let at = now.since(self.start);
        self.entries.push(Entry { at, subject, text });
    }

    pub fn start(&self) -> Time {
        self.start
    }

    /// Number of changes, SHA-256 over all of them, the lines.
    pub fn result(&self) -> (u64, String, Vec<Entry>) {
        let digest = self.hash.clone().finalize();
        let hash = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        (self.changes, hash, self.entries.clone())
    }
}

/// What a change means in words.
fn describe(change: &Change) -> (&'static str, Vec<String>) {
    let (old, new) = (change.old.as_deref(), change.new.as_deref());
    match change.resource.as_str() {
        "nodes" => ("node", about_node(old, new)),
        "pods" => ("pod", about_pod(old, new)),
        "deployments.apps" => ("deployment", about_replicas(old, new)),
        "statefulsets.apps" => ("statefulset", about_replicas(old, new)),
        "jobs.batch" => ("job", about_job(old, new)),
        "persistentvolumeclaims" => ("claim", about_phase(old, new)),
        "namespaces" => ("namespace", about_existence(old, new)),
        "services" => ("service", about_existence(old, new)),
        _ => ("", Vec::new()),
    }
}

/// The condition of a type.
pub(crate) fn condition<'a>(object: &'a Object, kind: &str) -> Option<Ref<'a>> {
    let conditions = object.at("status.conditions");
    conditions.items().find(|one| one.get("type").str() == kind)
}

/// Status of the condition of a type, empty if absent.
pub(crate) fn status_of<'a>(object: &'a Object, kind: &str) -> &'a str {
    condition(object, kind).map_or("", |one| one.get("status").str())
}

fn about_existence(old: Option<&Object>, new: Option<&Object>) -> Vec<String> {
    let deleting = |object: Option<&Object>| object.is_some_and(Object::is_deleting);
    match (old, new) {
        (None, Some(_)) => vec!["created".into()],
        (Some(_), None) => vec!["gone".into()],
        _ if deleting(new) && !deleting(old) => vec!["being deleted".into()],
        _ => Vec::new(),
    }
}

fn about_node(old: Option<&Object>, new: Option<&Object>) -> Vec<String> {
    let Some(new) = new else {
        return vec!["gone".into()];
    };
    let mut texts = Vec::new();
    if old.is_none() {
        texts.push("registered".into());
    }
    let before = old.map_or("", |old| status_of(old, "Ready"));
    match status_of(new, "Ready") {
        now if now == before => {}
        "True" => texts.push("Ready".into()),
        "Unknown" => texts.push("unreachable: its agent stopped posting status".into()),
        now => texts.push(format!("not Ready ({now})")),
    }
    let taints = |object: Option<&Object>| -> Vec<String> {
        let taints = object
            .map(|object| object.at("spec.taints").items())
            .into_iter()
            .flatten();
        let name =
            |taint: Ref<'_>| format!("{}:{}", taint.get("key").str(), taint.get("effect").str());
        taints.map(name).collect()
    };
    let (before, after) = (taints(old), taints(Some(new)));
    let added = after.iter().filter(|taint| !before.contains(taint));
    texts.extend(added.map(|taint| format!("tainted {taint}")));
    let lifted = before.iter().filter(|taint| !after.contains(taint));
    texts.extend(lifted.map(|taint| format!("taint {taint} lifted")));
    texts
}

fn restarts(pod: &Object) -> i64 {
    let statuses = pod.at("status.containerStatuses");
    statuses
        .items()
        .map(|one| one.get("restartCount").i64())
        .sum()
}

/// Why containers wait, those that merely start left out.
fn trouble(pod: &Object) -> Vec<String> {
    let statuses = pod.at("status.containerStatuses");
    let reasons = statuses
        .items()
        .map(|one| one.at("state.waiting.reason").str().to_owned());
    let usual = ["", "ContainerCreating", "PodInitializing"];
    reasons
        .filter(|reason| !usual.contains(&reason.as_str()))
        .collect()
}

fn about_pod(old: Option<&Object>, new: Option<&Object>) -> Vec<String> {
    let Some(new) = new else {
        return vec!["gone".into()];
    };
    let mut texts = Vec::new();
    if old.is_none() {
        texts.push("created".into());
    }
    let text = |object: Option<&Object>, path: &str| {
        object
            .map(|object| object.at(path).str().to_owned())
            .unwrap_or_default()
    };
    let node = text(Some(new), "spec.nodeName");
    if node != text(old, "spec.nodeName") {
        texts.push(format!("scheduled to {node}"));
    }
    if new.is_deleting() && !old.is_some_and(Object::is_deleting) {
        let why = condition(new, "DisruptionTarget").map_or("", |one| one.get("reason").str());
        texts.push(match why {
            "" => "being deleted".into(),
            "DeletionByTaintManager" => format!("evicted from {node} by the taint manager"),
            why => format!("being deleted ({why})"),
        });
    }
    let phase = text(Some(new), "status.phase");
    if phase != text(old, "status.phase") && phase != "Pending" {
        texts.push(match phase.as_str() {
            "Running" => "started".into(),
            other => other.to_lowercase(),
        });
    }
    about_containers(old, new, &mut texts);
    texts
}

fn about_containers(old: Option<&Object>, new: &Object, texts: &mut Vec<String>) {
    let count = restarts(new);
    if count > old.map_or(0, restarts) {
        texts.push(format!("container restarted ({count} so far)"));
    }
    let before = old.map(trouble).unwrap_or_default();
    texts.extend(
        trouble(new)
            .into_iter()
            .filter(|reason| !before.contains(reason)),
    );
    let was = old.is_some_and(|old| status_of(old, "Ready") == "True");
    match (was, status_of(new, "Ready") == "True") {
        (false, true) => texts.push("Ready".into()),
        (true, false) => texts.push("no longer Ready".into()),
        _ => {}
    }
}

fn about_replicas(old: Option<&Object>, new: Option<&Object>) -> Vec<String> {
    let mut texts = about_existence(old, new);
    let ready = |object: Option<&Object>| {
        let object = object?;
        Some((
            object.at("status.readyReplicas").i64(),
            object.at("spec.replicas").i64(),
        ))
    };
    if let Some((have, want)) = ready(new).filter(|now| Some(*now) != ready(old)) {
        texts.push(format!("{have} of {want} replicas Ready"));
    }
    texts
}

fn about_job(old: Option<&Object>, new: Option<&Object>) -> Vec<String> {
    let mut texts = about_existence(old, new);
    for (kind, text) in [("Complete", "complete"), ("Failed", "failed")] {
        let holds = |object: Option<&Object>| {
            object.is_some_and(|object| status_of(object, kind) == "True")
        };
        if holds(new) && !holds(old) {
            texts.push(text.into());
        }
    }
    texts
}

fn about_phase(old: Option<&Object>, new: Option<&Object>) -> Vec<String> {
    let mut texts = about_existence(old, new);
    let phase = |object: Option<&Object>| {
        object
            .map(|object| object.at("status.phase").str().to_owned())
            .unwrap_or_default()
    };
    let now = phase(new);
    if now != phase(old) && now != "Pending" && !now.is_empty() {
        texts.push(now);
    }
    texts
}
