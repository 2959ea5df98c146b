//! ControllerRevisions: the templates a StatefulSet or DaemonSet has had.
//!
//! Upstream counterpart: `pkg/controller/history`.

use crate::{
    common::{create, delete, patch},
    hash,
    names::CONTROLLER_REVISIONS,
    ownership::{Claimed, claim, owner_reference, selector},
};
use machinery::{Object, Value, json};
use reconcile::{Plan, View};
use std::sync::Arc;

/// Label with a revision's hash.
pub const HASH_LABEL: &str = "controller-revision-hash";
/// Revisions kept when `revisionHistoryLimit` is absent.
const LIMIT: i64 = 10;

/// The revisions of an owner, with the present template's among them.
pub struct History<'a> {
    /// Known revisions, oldest first.
    pub known: Vec<&'a Arc<Object>>,
    /// Name of the present template's revision.
    pub name: String,
    /// Its hash.
    pub hash: String,
}

fn data(owner: &Object) -> Value {
    let mut template = owner.at("spec.template").to_value();
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

/// The revisions of `owner`; the plan makes the present one if missing and moves it to the end.
pub fn history<'a>(view: &'a View, owner: &Object, plan: &mut Plan) -> History<'a> {
    let what = Claimed(CONTROLLER_REVISIONS, "ControllerRevision");
    let mut known = claim(view, what, owner, &selector(owner), plan);
    known.sort_by_key(|one| (one.at("revision").i64(), one.name().to_owned()));
    let data = data(owner);
    let last = known.last().map_or(0, |one| one.at("revision").i64());
    if let Some(same) = known
        .iter()
        .rev()
        .find(|one| one.at("data").to_value() == data)
    {
        if same.at("revision").i64() != last && !owner.is_deleting() {
            plan.push(patch(
                CONTROLLER_REVISIONS,
                same,
                json!({"revision": last + 1}),
            ));
        }
        let hash = same.label(HASH_LABEL).unwrap_or_default().to_owned();
        let name = same.name().to_owned();
        return History { known, name, hash };
    }
    let hash = free_hash(view, owner, &data);
    let name = format!("{}-{hash}", owner.name());
    if !owner.is_deleting() {
        let mut labels = owner.at("spec.template.metadata.labels").to_value();
        labels[HASH_LABEL] = hash.as_str().into();
        let revision = json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision",
            "metadata": {
                "name": &name, "namespace": owner.namespace(), "labels": labels,
                "ownerReferences": [owner_reference(owner)],
            },
            "data": data, "revision": last + 1,
        });
        plan.push(create(CONTROLLER_REVISIONS, revision, false));
    }
    History { known, name, hash }
}

/// The data's hash, salted until its name is free.
fn free_hash(view: &View, owner: &Object, data: &Value) -> String {
    let mut salt = None;
    loop {
        let hash = hash::of_tree(data, salt);
        let name = format!("{}-{hash}", owner.name());
        let taken = view.get(CONTROLLER_REVISIONS, owner.namespace(), &name);
        if taken.is_none() {
            return hash;
        }
        salt = Some(salt.unwrap_or(0) + 1);
    }
}

/// Deletes the oldest revisions beyond the limit that `live` does not name.
pub fn trim(owner: &Object, history: &History<'_>, live: &[&str], plan: &mut Plan) {
    let limit = owner
        .at("spec.revisionHistoryLimit")
        .as_i64()
        .unwrap_or(LIMIT);
    let is_dead = |one: &&&Arc<Object>| {
        let hash = one.label(HASH_LABEL).unwrap_or_default();
        one.name() != history.name && !live.contains(&one.name()) && !live.contains(&hash)
    };
    let dead: Vec<_> = history.known.iter().filter(is_dead).collect();
    let excess = (dead.len() as i64 - limit).max(0) as usize;
    for one in dead.into_iter().take(excess) {
        plan.push(delete(CONTROLLER_REVISIONS, one));
    }
}
