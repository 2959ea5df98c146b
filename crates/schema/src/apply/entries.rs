//! The entries of `metadata.managedFields`, as they are written.
//!
//! A write touches one or two of them and few of their fields: the others are neither read nor
//! copied. Upstream counterpart: `apimachinery/pkg/util/managedfields/internal`.

use super::{fieldset::FieldSet, managed::Manager, versions::Changes};
use machinery::{Map, SmolStr, Value};

/// Most entries of updates kept apart; older ones fold into one.
const MAX_UPDATERS: usize = 10;
/// Manager of the folded entries.
const ANCIENT: &str = "ancient-changes";

/// What managers are told apart by. Appliers are the same across API versions.
#[derive(Clone, Copy, PartialEq)]
struct Identity<'a> {
    manager: &'a str,
    subresource: &'a str,
    operation: &'a str,
    updates_version: Option<&'a str>,
}

impl<'a> Identity<'a> {
    fn of(entry: &'a Value) -> Self {
        Self {
            manager: entry["manager"].str(),
            subresource: entry["subresource"].str(),
            operation: entry["operation"].str(),
            updates_version: (!applies(entry)).then(|| entry["apiVersion"].str()),
        }
    }

    fn by(by: &Manager<'a>, applies: bool) -> Self {
        Self {
            manager: by.manager(),
            subresource: by.subresource,
            operation: operation(applies),
            updates_version: (!applies).then_some(by.api_version),
        }
    }
}

fn operation(applies: bool) -> &'static str {
    if applies { "Apply" } else { "Update" }
}

pub(super) fn applies(entry: &Value) -> bool {
    entry["operation"].str() == "Apply"
}

/// Whether the entry is that of `by`, applying or updating.
pub(super) fn is_by(entry: &Value, by: &Manager, applies: bool) -> bool {
    Identity::of(entry) == Identity::by(by, applies)
}

/// A new entry.
pub(super) fn entry(by: &Manager, applies: bool, fields: &FieldSet) -> Value {
    let text = |key, text: &str| (SmolStr::new_static(key), Value::from(text));
    let mut entry = Vec::with_capacity(7);
    entry.extend([
        text("apiVersion", by.api_version),
        text("fieldsType", "FieldsV1"),
        (SmolStr::new_static("fieldsV1"), fields.to_value()),
        text("manager", by.manager()),
        text("operation", operation(applies)),
    ]);
    let optional = [("subresource", by.subresource), ("time", by.now)];
    let there = optional.into_iter().filter(|(_, text)| !text.is_empty());
    entry.extend(there.map(|(key, value)| text(key, value)));
    Value::Object(Map::from_sorted(entry))
}

/// The fields of an entry, read.
pub(super) fn fields(entry: &Value) -> FieldSet {
    FieldSet::parse(&entry["fieldsV1"])
}

pub(super) fn managed_of(object: &Value) -> &Value {
    object.at(&["metadata", "managedFields"])
}

/// Writes entries in their order, without those of no field.
pub(super) fn write(object: &mut Value, mut entries: Vec<Value>) {
    sort(&mut entries);
    if managed_of(object).items() == entries {
        return;
    }
    if entries.is_empty() {
        object.remove_at(&["metadata", "managedFields"]);
    } else {
        object.set_at(&["metadata", "managedFields"], entries);
    }
}

fn sort(entries: &mut [Value]) {
    const KEYS: [&str; 5] = ["operation", "time", "manager", "apiVersion", "subresource"];
    let order = |entry: &Value, other: &Value| {
        let theirs = KEYS.iter().map(|key| other[*key].str());
        KEYS.iter().map(|key| entry[*key].str()).cmp(theirs)
    };
    entries.sort_by(order);
}

/// Whether a server wrote this.
fn is_entry(value: &Value) -> bool {
    matches!(value["operation"].str(), "Apply" | "Update")
        && value["fieldsType"].str() == "FieldsV1"
}

/// Entries that a client sent, as a server writes them: equal managers' fields come together.
fn gathered(given: &[Value]) -> Vec<Value> {
    let mut entries: Vec<Value> = Vec::new();
    for entry in given.iter().filter(|value| is_entry(value)) {
        let identity = Identity::of(entry);
        match entries.iter_mut().find(|one| Identity::of(one) == identity) {
            Some(known) => {
                add(known, &fields(entry));
                known["time"] = entry["time"].clone();
            }
            None => {
                let mut entry = entry.clone();
                entry["fieldsV1"] = fields(&entry).to_value();
                entries.push(entry);
            }
        }
    }
    entries.retain(|entry| {
        !entry["fieldsV1"]
            .as_object()
            .is_none_or(|map| map.is_empty())
    });
    entries
}

/// The entries an update starts from: the request's own if it brings any, else the live ones.
/// A single empty entry resets them. Subresources cannot set them.
pub(super) fn base(live: Option<&Value>, new: &Value, by: &Manager) -> Vec<Value> {
    let of_live = live.map_or(&Value::Null, managed_of);
    let given = managed_of(new);
    if !by.subresource.is_empty() || given == of_live {
        return of_live.items().to_vec();
    }
    let nothing = |entry: &Value| entry.entries().all(|(_, value)| value.is_null());
    match given.items() {
        [only] if nothing(only) => Vec::new(),
        items if items.iter().any(is_entry) => gathered(items),
        _ => of_live.items().to_vec(),
    }
}

fn add(entry: &mut Value, more: &FieldSet) {
    if more.is_within(&entry["fieldsV1"]) {
        return;
    }
    let mut all = fields(entry);
    all.union(more);
    entry["fieldsV1"] = all.to_value();
}

/// Takes what changed or went from all managers. What changed stays with `author`, to whom it
/// will be given. Who wrote in a version that is gone holds nothing.
pub(super) fn release(entries: &mut Vec<Value>, changes: &Changes, author: Option<&Manager>) {
    let nothing = FieldSet::default();
    entries.retain_mut(|entry| {
        let Some(found) = changes.to(entry) else {
            return !changes.outlived(entry);
        };
        let changed = match author.is_some_and(|author| is_by(entry, author, false)) {
            true => &nothing,
            false => &found.changed,
        };
        let written = &entry["fieldsV1"];
        if !changed.meets(written) && !found.removed.meets(written) {
            return true;
        }
        let mut left = fields(entry);
        left.subtract(changed);
        left.subtract(&found.removed);
        entry["fieldsV1"] = left.to_value();
        !left.is_empty()
    });
}

/// Gives `changed` to `by` as an updater, whose time it renews.
pub(super) fn claim(entries: &mut Vec<Value>, changed: &FieldSet, by: &Manager) {
    if changed.is_empty() {
        return;
    }
    match entries.iter_mut().find(|one| is_by(one, by, false)) {
        Some(own) => {
            add(own, changed);
            own["time"] = by.now.into();
        }
        None => entries.push(entry(by, false, changed)),
    }
}

/// Folds the oldest updates of a version into one entry until few enough are left.
pub(super) fn cap_updaters(entries: &mut Vec<Value>) {
    let updaters = entries.iter().filter(|entry| !applies(entry)).count();
    let mut surplus = updaters.saturating_sub(MAX_UPDATERS);
    if surplus == 0 {
        return;
    }
    sort(entries);
    let mut at = 0;
    while surplus > 0 && at < entries.len() {
        let candidate = &entries[at];
        let foldable = |entry: &Value| {
            !applies(entry) && entry["apiVersion"].str() == candidate["apiVersion"].str()
        };
        let is_ancient = |entry: &Value| entry["manager"].str() == ANCIENT;
        if applies(candidate) || is_ancient(candidate) {
            at += 1;
            continue;
        }
        let bucket = entries
            .iter()
            .position(|entry| foldable(entry) && is_ancient(entry));
        let Some(into) = bucket.or_else(|| (0..at).find(|earlier| foldable(&entries[*earlier])))
        else {
            at += 1;
            continue;
        };
        let folded = entries.remove(at);
        let into = if into > at { into - 1 } else { into };
        fold(&mut entries[into], &folded);
        surplus -= 1;
    }
}

fn fold(into: &mut Value, folded: &Value) {
    add(into, &fields(folded));
    into["manager"] = ANCIENT.into();
    into.make_object().remove("subresource");
    if into["time"].str() < folded["time"].str() {
        into["time"] = folded["time"].clone();
    }
}
