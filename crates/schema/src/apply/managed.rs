//! `metadata.managedFields`: tracking updates and carrying out applies.
//!
//! Upstream counterpart: `apimachinery/pkg/util/managedfields` and `structured-merge-diff/merge`.

use super::{
    compare::{Difference, field_set},
    fieldset::FieldSet,
    last_applied,
    merge::{merge, prune},
};
use crate::{At, TypeRef, canonicalize, normalize};
use machinery::{Reason, SmolStr, Status, Value, json};
use std::sync::OnceLock;

/// Most entries of updates kept apart; older ones fold into one.
const MAX_UPDATERS: usize = 10;
/// Manager of the folded entries.
const ANCIENT: &str = "ancient-changes";
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
}

/// One entry, with its fields read.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    manager: SmolStr,
    applies: bool,
    api_version: SmolStr,
    subresource: SmolStr,
    time: SmolStr,
    fields: FieldSet,
}

impl Entry {
    fn new(by: &Manager, applies: bool) -> Self {
        Entry {
            manager: if by.name.is_empty() {
                "unknown"
            } else {
                by.name
            }
            .into(),
            applies,
            api_version: by.api_version.into(),
            subresource: by.subresource.into(),
            time: by.now.into(),
            fields: FieldSet::default(),
        }
    }

    /// `None` for what no server wrote.
    fn parse(value: &Value) -> Option<Self> {
        let text = |key: &str| SmolStr::from(value[key].str());
        is_entry(value).then(|| Entry {
            manager: text("manager"),
            applies: value["operation"].str() == "Apply",
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields: FieldSet::parse(&value["fieldsV1"]),
        })
    }

    fn to_value(&self) -> Value {
        let mut value = json!({
            "manager": &self.manager, "operation": self.operation(), "apiVersion": &self.api_version,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.to_value(),
        });
        for (key, text) in [("time", &self.time), ("subresource", &self.subresource)] {
            if !text.is_empty() {
                value[key] = text.into();
            }
        }
        value
    }

    fn operation(&self) -> &'static str {
        if self.applies { "Apply" } else { "Update" }
    }

    /// Whether both belong to the same manager. Appliers are the same across API versions.
    fn same_manager(&self, other: &Entry) -> bool {
        self.manager == other.manager
            && self.applies == other.applies
            && self.subresource == other.subresource
            && (self.applies || self.api_version == other.api_version)
    }

    /// As conflicts name it.
    fn show(&self) -> String {
        let mut text = format!("{:?}", self.manager.as_str());
        if !self.subresource.is_empty() {
            text += &format!(" with subresource {:?}", self.subresource.as_str());
        }
        if !self.applies {
            text += &format!(" using {}", self.api_version);
        }
        text
    }

    fn order(&self) -> [SmolStr; 5] {
        [
            SmolStr::new_static(self.operation()),
            self.time.clone(),
            self.manager.clone(),
            self.api_version.clone(),
            self.subresource.clone(),
        ]
    }
}

/// Whether a server wrote this.
fn is_entry(value: &Value) -> bool {
    matches!(value["operation"].str(), "Apply" | "Update")
        && value["fieldsType"].str() == "FieldsV1"
}

/// [`Entry::order`] of a written entry.
fn order_of(entry: &Value) -> [SmolStr; 5] {
    ["operation", "time", "manager", "apiVersion", "subresource"]
        .map(|key| SmolStr::new(entry[key].str()))
}

fn managed_of(object: &Value) -> &Value {
    object.at(&["metadata", "managedFields"])
}

/// Reads all entries; equal managers' fields come together.
fn parse_all(value: &Value) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for entry in value.items().iter().filter_map(Entry::parse) {
        put(&mut entries, entry);
    }
    entries
}

/// Adds the fields of `entry` to its manager's, taking its time.
fn put(entries: &mut Vec<Entry>, entry: Entry) {
    match entries.iter_mut().find(|other| other.same_manager(&entry)) {
        Some(known) => {
            known.fields.union(&entry.fields);
            known.time = entry.time;
        }
        None => entries.push(entry),
    }
}

fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    entries.sort_by_cached_key(Entry::order);
    set_raw(
        object,
        Value::Array(entries.iter().map(Entry::to_value).collect()),
    );
}

fn set_raw(object: &mut Value, entries: Value) {
    if entries.items().is_empty() {
        object.remove_at(&["metadata", "managedFields"]);
    } else {
        object.set_at(&["metadata", "managedFields"], entries);
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

fn difference(old: &Value, new: &Value, of: &TypeRef) -> Difference {
    let mut found = Difference::between(old, new, of);
    strip(&mut found.changed);
    strip(&mut found.removed);
    found
}

/// The entries an update starts from: the request's own if it brings any, else the live ones.
/// A single empty entry resets them. Subresources cannot set them.
fn base(live: Option<&Value>, new: &Value, by: &Manager) -> Value {
    let of_live = || live.map(managed_of).cloned().unwrap_or_default();
    let given = managed_of(new);
    if !by.subresource.is_empty() {
        return of_live();
    }
    let nothing = |entry: &Value| entry.entries().all(|(_, value)| value.is_null());
    match given.items() {
        [only] if nothing(only) => Value::Null,
        items if items.iter().any(is_entry) => given.clone(),
        _ => of_live(),
    }
}

/// Records in `new.metadata.managedFields` what a create (`live` is `None`) or an update
/// changed, and for whom. `new` is the object as it will be stored.
pub fn update_managed(live: Option<&Value>, new: &mut Value, of: &TypeRef, by: &Manager) {
    let start = base(live, new, by);
    if live.is_some() && start.items().is_empty() {
        // Tracking begins with a create or an apply.
        set_raw(new, Value::Null);
        return;
    }
    let mut found = match live {
        Some(live) => difference(live, new, of),
        None => difference(&blank(of), new, of),
    };
    if let Some(reset) = by.reset {
        found.changed.subtract_trees(reset);
        found.removed.subtract_trees(reset);
    }
    if found.changed.is_empty() && found.removed.is_empty() {
        set_raw(new, start);
        return;
    }
    if live.is_some_and(|live| start == *managed_of(live))
        && let Some(entries) = renewed(&start, &found, by)
    {
        set_raw(new, entries);
        return;
    }
    let mut entries = parse_all(&start);
    release(&mut entries, &found, by.api_version);
    if !found.changed.is_empty() {
        put(
            &mut entries,
            Entry {
                fields: found.changed,
                ..Entry::new(by, false)
            },
        );
    }
    entries.retain(|entry| !entry.fields.is_empty());
    cap_updaters(&mut entries);
    write(new, entries);
}

/// The entries after an update of nothing but what its manager alone holds already: all that
/// changes is the time. `None` for any other update.
fn renewed(entries: &Value, found: &Difference, by: &Manager) -> Option<Value> {
    let own = Entry::new(by, false);
    let is_own = |entry: &Value| {
        entry["operation"].str() == own.operation()
            && entry["manager"].str() == own.manager
            && entry["apiVersion"].str() == own.api_version
            && entry["subresource"].str() == own.subresource
    };
    let of_others = |entry: &&Value| !is_own(entry) && entry["apiVersion"].str() == by.api_version;
    let mut owns = entries.items().iter().filter(|entry| is_own(entry));
    let (mine, more) = (owns.next()?, owns.next());
    let contested = entries
        .items()
        .iter()
        .filter(of_others)
        .any(|entry| found.changed.meets(&entry["fieldsV1"]));
    if more.is_some()
        || contested
        || !found.removed.is_empty()
        || !found.changed.is_within(&mine["fieldsV1"])
    {
        return None;
    }
    let mut entries = entries.clone();
    let items = entries.as_array_mut()?;
    let mine = items.iter_mut().find(|entry| is_own(entry))?;
    mine["time"] = by.now.into();
    items.sort_by_cached_key(order_of);
    Some(entries)
}

/// Takes what changed or went from all managers that use the same API version.
fn release(entries: &mut [Entry], found: &Difference, api_version: &str) {
    for entry in entries
        .iter_mut()
        .filter(|entry| entry.api_version == api_version)
    {
        entry.fields.subtract(&found.changed);
        entry.fields.subtract(&found.removed);
    }
}

/// Folds the oldest updates of a version into one entry until few enough are left.
fn cap_updaters(entries: &mut Vec<Entry>) {
    let updaters = entries.iter().filter(|entry| !entry.applies).count();
    let mut surplus = updaters.saturating_sub(MAX_UPDATERS);
    entries.sort_by_cached_key(Entry::order);
    let mut at = 0;
    while surplus > 0 && at < entries.len() {
        let candidate = &entries[at];
        let foldable = |entry: &Entry| !entry.applies && entry.api_version == candidate.api_version;
        if candidate.applies || candidate.manager == ANCIENT {
            at += 1;
            continue;
        }
        let bucket = entries
            .iter()
            .position(|entry| foldable(entry) && entry.manager == ANCIENT);
        let Some(into) = bucket.or_else(|| (0..at).find(|earlier| foldable(&entries[*earlier])))
        else {
            at += 1;
            continue;
        };
        let folded = entries.remove(at);
        let into = if into > at { into - 1 } else { into };
        entries[into].fields.union(&folded.fields);
        entries[into].manager = ANCIENT.into();
        entries[into].subresource = SmolStr::default();
        entries[into].time = entries[into].time.clone().max(folded.time);
        surplus -= 1;
    }
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
    let blank_live;
    let live = match live {
        Some(live) => live,
        None => {
            blank_live = blank(of);
            &blank_live
        }
    };
    let before = tracked(live, of, by);
    let mut own = Entry::new(by, true);
    own.fields = field_set(&config, of);
    if let Some(reset) = by.reset {
        own.fields.subtract_trees(reset);
    }
    let merged = merged(live, &config, of, &before, &own);
    // Not before: the name it says keeps `metadata` from going with what else was said there.
    strip(&mut own.fields);
    let work = Apply { before, own, force };
    let mut merged = finish(live, merged, of, work)?;
    if by.name == last_applied::KUBECTL {
        last_applied::refresh(&mut merged, &config);
    }
    Ok(merged)
}

/// Entries of the live object. Where tracking never began, all that is there has one owner.
fn tracked(live: &Value, of: &TypeRef, by: &Manager) -> Vec<Entry> {
    let entries = parse_all(managed_of(live));
    let stored = !live.at(&["metadata", "creationTimestamp"]).is_null()
        || !live.at(&["metadata", "uid"]).is_null();
    if !entries.is_empty() || !stored {
        return entries;
    }
    let mut first = Entry::new(
        &Manager {
            name: BEFORE_FIRST_APPLY,
            subresource: "",
            ..*by
        },
        false,
    );
    first.fields = difference(&blank(of), live, of).changed;
    vec![first]
}

/// The configuration on top of the live object, without what is no longer applied.
fn merged(live: &Value, config: &Value, of: &TypeRef, before: &[Entry], own: &Entry) -> Value {
    let mut value = live.clone();
    merge(&mut value, config, Some(At::new(of)));
    if let Some(last) = before.iter().find(|entry| entry.same_manager(own)) {
        let others = before.iter().filter(|entry| !entry.same_manager(own));
        let owners: Vec<_> = others
            .map(|entry| &entry.fields)
            .chain([&own.fields])
            .collect();
        prune(&mut value, Some(At::new(of)), &last.fields, &owners);
    }
    value
}

struct Apply {
    before: Vec<Entry>,
    own: Entry,
    force: bool,
}

fn finish(live: &Value, mut merged: Value, of: &TypeRef, apply: Apply) -> Result<Value, Status> {
    let Apply {
        before,
        mut own,
        force,
    } = apply;
    let found = difference(live, &merged, of);
    let (last, mut entries): (Vec<_>, Vec<_>) = before
        .into_iter()
        .partition(|entry| entry.same_manager(&own));
    let mut contested = found.changed.clone();
    if own.manager == last_applied::KUBECTL && !force {
        contested.subtract(&last_applied::still_applied(live, of));
    }
    let conflicts: Vec<_> = entries
        .iter()
        .filter(|entry| entry.api_version == own.api_version)
        .map(|entry| (entry, entry.fields.intersection(&contested)))
        .filter(|(_, fields)| !fields.is_empty())
        .collect();
    if !force && !conflicts.is_empty() {
        return Err(conflict(&conflicts));
    }
    release(&mut entries, &found, &own.api_version);
    let unchanged = found.changed.is_empty() && found.removed.is_empty();
    if let Some(last) = last.first()
        && unchanged
        && last.fields == own.fields
        && last.api_version == own.api_version
    {
        own.time = last.time.clone();
    }
    entries.push(own);
    write(&mut merged, entries);
    Ok(merged)
}

/// The 409 of an apply without force.
fn conflict(conflicts: &[(&Entry, FieldSet)]) -> Status {
    let mut shown: Vec<(String, Vec<String>)> = conflicts
        .iter()
        .map(|(entry, fields)| (entry.show(), fields.paths()))
        .collect();
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
