//! `metadata.managedFields`: tracking updates and carrying out applies.
//!
//! Upstream counterpart: `apimachinery/pkg/util/managedfields` and `structured-merge-diff/merge`.

use super::{
    compare::{Difference, field_set},
    entries::{
        applies, base, cap_updaters, claim, entry, fields, is_by, managed_of, release, write,
    },
    fieldset::FieldSet,
    last_applied,
    merge::{merge, prune},
    versions::{Changes, Versions},
};
use crate::{At, TypeRef, canonicalize, normalize};
use machinery::{Reason, Status, Value};
use std::{borrow::Cow, sync::OnceLock};

/// Manager of what was there before tracking began.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Who writes, through what, and when.
#[derive(Clone, Copy, Debug)]
pub struct Manager<'a> {
    /// `fieldManager`, or what stands for it. Empty counts as `unknown`.
    pub name: &'a str,
    /// API version of the request.
    pub api_version: &'a str,
    /// Subresource of the request, empty for the object itself.
    pub subresource: &'a str,
    /// Time of the request, RFC 3339 in seconds.
    pub now: &'a str,
    /// Fields this way in does not set (`status` for the object itself), if any.
    pub reset: Option<&'a FieldSet>,
    /// What others make of the object, who wrote in other versions.
    pub versions: Versions<'a>,
}

impl<'a> Manager<'a> {
    /// As entries name it.
    pub(super) fn manager(&self) -> &'a str {
        if self.name.is_empty() {
            "unknown"
        } else {
            self.name
        }
    }
}

/// Fields the server owns; nobody manages them.
fn strip(fields: &mut FieldSet) {
    static SERVERS: OnceLock<FieldSet> = OnceLock::new();
    let servers = SERVERS.get_or_init(|| {
        let mut set = FieldSet::of_fields(&["apiVersion", "kind"]);
        for name in [
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        ] {
            set.union(&FieldSet::of_fields(&[&format!("metadata.{name}")]));
        }
        set
    });
    fields.subtract_trees(servers);
    static METADATA: OnceLock<FieldSet> = OnceLock::new();
    fields.subtract(METADATA.get_or_init(|| FieldSet::of_fields(&["metadata"])));
}

/// What an object without any content looks like; for built-in types with all that prints anyway.
fn blank(of: &TypeRef) -> Value {
    let mut value = Value::object();
    normalize(&mut value, of);
    value
}

fn or_blank<'a>(live: Option<&'a Value>, of: &TypeRef) -> Cow<'a, Value> {
    live.map_or_else(|| Cow::Owned(blank(of)), Cow::Borrowed)
}

pub(super) fn difference(old: &Value, new: &Value, of: &TypeRef) -> Difference {
    let mut found = Difference::between(old, new, of);
    found.each(strip);
    found
}

/// Records in `new.metadata.managedFields` what a create (`live` is `None`) or an update
/// changed, and for whom. `new` is the object as it will be stored.
pub fn update_managed(live: Option<&Value>, new: &mut Value, of: &TypeRef, by: &Manager) {
    let mut entries = base(live, new, by);
    // Tracking begins with a create or an apply.
    if live.is_none() || !entries.is_empty() {
        let live = &*or_blank(live, of);
        let mut found = difference(live, new, of);
        if let Some(reset) = by.reset {
            found.each(|fields| fields.subtract_trees(reset));
        }
        let changes = Changes::new(found, by, &entries, [live, new]);
        release(&mut entries, &changes, Some(by));
        claim(&mut entries, &changes.own().changed, by);
        cap_updaters(&mut entries);
    }
    write(new, entries);
}

/// Server-side apply: sets what `config` says on top of `live` (`None` creates), takes away what
/// this manager applied before and nobody holds now, and records ownership in
/// `metadata.managedFields` of the result. A result equal to `live` means nothing changed.
///
/// # Errors
/// 409 with one cause a field where another manager holds a field with another value, unless
/// `force`; 400 if the configuration carries `metadata.managedFields`.
pub fn apply(
    live: Option<&Value>,
    config: &Value,
    of: &TypeRef,
    by: &Manager,
    force: bool,
) -> Result<Value, Status> {
    if !managed_of(config).items().is_empty() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let mut config = config.clone();
    canonicalize(&mut config, of);
    let live = &*or_blank(live, of);
    let mut own = field_set(&config, of);
    if let Some(reset) = by.reset {
        own.subtract_trees(reset);
    }
    let mut others = tracked(live, of, by);
    let last = others.iter().position(|entry| is_by(entry, by, true));
    let last = last.map(|at| others.remove(at));
    let mut merged = merge(live, &config, Some(At::new(of))).unwrap_or_else(|| live.clone());
    if let Some(last) = &last {
        abandon(&mut merged, of, last, &others, &own);
    }
    // Not before: the name it says keeps `metadata` from going with what else was said there.
    strip(&mut own);
    let found = difference(live, &merged, of);
    let changes = Changes::new(found, by, &others, [live, &merged]);
    if !force {
        check_conflicts(live, &changes, of, by, &others)?;
    }
    release(&mut others, &changes, None);
    let mut entry = entry(by, true, &own);
    if let Some(last) = last
        && changes.own().is_empty()
        && last["fieldsV1"] == entry["fieldsV1"]
        && last["apiVersion"] == entry["apiVersion"]
    {
        entry = last;
    }
    if !own.is_empty() {
        others.push(entry);
    }
    write(&mut merged, others);
    if by.name == last_applied::KUBECTL {
        last_applied::refresh(&mut merged, &config);
    }
    Ok(merged)
}

/// Entries of the live object. Where tracking never began, all that is there has one owner.
fn tracked(live: &Value, of: &TypeRef, by: &Manager) -> Vec<Value> {
    let entries = managed_of(live).items();
    let stored = !live.at(&["metadata", "creationTimestamp"]).is_null()
        || !live.at(&["metadata", "uid"]).is_null();
    if !entries.is_empty() || !stored {
        return entries.to_vec();
    }
    let first = Manager {
        name: BEFORE_FIRST_APPLY,
        subresource: "",
        ..*by
    };
    let all = difference(&blank(of), live, of).changed;
    vec![entry(&first, false, &all)]
}

/// Takes from `merged` what `last` said, `own` does not say any more and none of `others` holds.
fn abandon(merged: &mut Value, of: &TypeRef, last: &Value, others: &[Value], own: &FieldSet) {
    let last = fields(last);
    if last.is_subset(own) {
        return;
    }
    let others: Vec<_> = others.iter().map(fields).collect();
    let owners: Vec<_> = others.iter().chain([own]).collect();
    prune(merged, Some(At::new(of)), &last, &owners);
}

/// Refuses changes of what others hold.
fn check_conflicts(
    live: &Value,
    changes: &Changes,
    of: &TypeRef,
    by: &Manager,
    others: &[Value],
) -> Result<(), Status> {
    let settled = (by.name == last_applied::KUBECTL).then(|| last_applied::still_applied(live, of));
    let contested = |entry: &Value| {
        let found = changes.to(entry)?;
        if !found.changed.meets(&entry["fieldsV1"]) {
            return None;
        }
        let mut contested = fields(entry).intersection(&found.changed);
        if let Some(settled) = &settled {
            contested.subtract(settled);
        }
        (!contested.is_empty()).then(|| (show(entry), contested.paths()))
    };
    let conflicts: Vec<_> = others.iter().filter_map(contested).collect();
    if conflicts.is_empty() {
        return Ok(());
    }
    Err(conflict(conflicts))
}

/// A manager as conflicts name it.
fn show(entry: &Value) -> String {
    let mut text = format!("{:?}", entry["manager"].str());
    let subresource = entry["subresource"].str();
    if !subresource.is_empty() {
        text += &format!(" with subresource {subresource:?}");
    }
    if !applies(entry) {
        text += &format!(" using {}", entry["apiVersion"].str());
    }
    text
}

/// The 409 of an apply without force.
fn conflict(mut shown: Vec<(String, Vec<String>)>) -> Status {
    shown.sort();
    let count: usize = shown.iter().map(|(_, paths)| paths.len()).sum();
    let message = match shown.as_slice() {
        [(manager, paths)] if count == 1 => {
            format!(
                "Apply failed with 1 conflict: conflict with {manager}: {}",
                paths[0]
            )
        }
        many => {
            let lines: Vec<_> = many
                .iter()
                .map(|(manager, paths)| {
                    format!("conflicts with {manager}:\n- {}", paths.join("\n- "))
                })
                .collect();
            format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
        }
    };
    let mut status = Status::new(Reason::Conflict, message);
    for (manager, paths) in shown {
        for path in paths {
            status = status.cause(
                "FieldManagerConflict",
                format!("conflict with {manager}"),
                path,
            );
        }
    }
    status
}
