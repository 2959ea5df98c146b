//! Field ownership: who set what, for server-side apply.
//!
//! The algorithm is `schema`'s; this says who the manager is. Upstream counterpart:
//! `apimachinery/pkg/util/managedfields`.

use crate::{Complaints, Context, Live, decode};
use kinds::Kind;
use machinery::{GroupVersion, Object, Ref, Status, Value, format_time};
use schema::{FieldSet, Manager, Version, Versions};
use std::sync::LazyLock;

/// Fields that the main way in to a kind with a status does not set, those its status does not,
/// and both, for the main way in to a kind whose spec nobody owns.
static RESET: LazyLock<[FieldSet; 3]> = LazyLock::new(|| {
    let fields: [&[&str]; 3] = [&["status"], &["spec"], &["spec", "status"]];
    fields.map(FieldSet::of_fields)
});

/// Runs `use_manager` with the manager of this call.
fn as_manager<T>(context: &Context<'_>, use_manager: impl FnOnce(&Manager<'_>) -> T) -> T {
    let subresource = context.call.subresource.as_str();
    let strategy = &context.kind.strategy;
    let reset = match subresource {
        "status" => Some(&RESET[1]),
        "" if strategy.unowned_spec => Some(&RESET[2]),
        _ if strategy.unowned_spec => Some(&RESET[1]),
        "" if strategy.has_status => Some(&RESET[0]),
        _ => None,
    };
    let api_version = context.kind.api_version();
    let versions = |other: &str| version(&context.kind, other);
    use_manager(&Manager {
        name: &context.call.options.field_manager,
        api_version: &api_version,
        subresource,
        now: &format_time(context.now.0),
        reset,
        versions: Versions(&versions),
    })
}

/// What another version makes of objects of the kind.
fn version(kind: &Kind, other: &str) -> Version {
    if kind.conversion_webhook.is_some() {
        return Version::Unknown;
    }
    if kind.custom {
        return Version::Alike;
    }
    let gv = GroupVersion::parse(other);
    let name = decode::type_name(&gv.group, &gv.version, &kind.gvk.kind);
    match (schema::builtin_type(&name), kind.convert) {
        (None, _) => Version::Gone,
        (Some(_), None) => Version::Alike,
        (Some(of), Some(convert)) => Version::Elsewhere(of, convert),
    }
}

/// Records the fields of a new object as its creator's; an apply has done so already.
pub(crate) fn track_create(context: &Context<'_>, new: &mut Value) {
    if !context.applies {
        as_manager(context, |by| {
            schema::update_managed(None, new, &context.kind.type_ref, by)
        });
    }
}

/// Records what an update changed as its author's; an apply has done so already.
pub(crate) fn track_update(context: &Context<'_>, old: &Value, new: &mut Value) {
    if !context.applies {
        as_manager(context, |by| {
            schema::update_managed(Some(old), new, &context.kind.type_ref, by)
        });
    }
}

/// Whether the bytes of an object differ from the stored one in nothing but the times of its
/// field managers: such a write would write nothing anybody asked for.
pub(crate) fn only_times_differ(bytes: &[u8], stored: &Object) -> bool {
    // Times are of one length, so that most writes are told apart without looking inside.
    bytes.len() == stored.bytes().len()
        && same_but(
            Ref::new(bytes),
            stored.root(),
            &["metadata", "managedFields"],
        )
}

/// Whether two objects are the same but for the times of the entries at `path`.
fn same_but(one: Ref<'_>, other: Ref<'_>, path: &[&str]) -> bool {
    let Some((part, rest)) = path.split_first() else {
        return same_entries(one, other);
    };
    same_members(one, other, part) && same_but(one.get(part), other.get(part), rest)
}

fn same_entries(one: Ref<'_>, other: Ref<'_>) -> bool {
    let same = |(one, other)| same_members(one, other, "time");
    one.items().count() == other.items().count() && one.items().zip(other.items()).all(same)
}

/// Whether two objects have the same members; that called `except` may differ.
fn same_members(one: Ref<'_>, other: Ref<'_>, except: &str) -> bool {
    let theirs = other.entries();
    let same = |((key, one), (other_key, other)): ((&str, Ref<'_>), (&str, Ref<'_>))| {
        key == other_key && (key == except || one == other)
    };
    one.entries().count() == other.entries().count() && one.entries().zip(theirs).all(same)
}

/// The object that an applied configuration makes of the live one.
pub(crate) fn apply(
    context: &mut Context<'_>,
    live: Option<&Live>,
    mut config: Value,
) -> Result<Value, Status> {
    decode::check_addressing(context, &mut config)?;
    let force = context.call.options.force;
    let type_ref = context.kind.type_ref.clone();
    let mut made = as_manager(context, |by| {
        schema::apply(live.map(|live| &live.tree), &config, &type_ref, by, force)
    })?;
    if !live.is_some_and(|live| changes_nothing(context, &made, &live.tree)) {
        decode::conform(context, &mut made, &Complaints::default())?;
    }
    Ok(made)
}

/// Whether an applied configuration asks for nothing that a custom object has not already in a
/// version it is not stored in. Such an object lacks that version's defaults, and goes on to.
fn changes_nothing(context: &Context<'_>, made: &Value, live: &Value) -> bool {
    let kind = &context.kind;
    kind.custom && kind.api_version() != kind.storage_version && {
        let mut made = made.clone();
        made["metadata"]["managedFields"] = live["metadata"]["managedFields"].clone();
        made == *live
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::{flat, json};

    #[test]
    fn times_of_managers_alone_are_told_from_changes() {
        let object = |value: &str, time: &str| {
            json!({"kind": "Lease", "metadata": {"name": "a", "managedFields": [{"manager": "m", "time": time}]},
                "spec": {"holder": value}})
        };
        let stored = Object::new(&object("me", "2026-01-01T00:00:00Z"), 1);
        for (value, time, alike) in [
            ("me", "2026-01-01T00:00:00Z", true),
            ("me", "2026-01-01T00:00:10Z", true),
            ("he", "2026-01-01T00:00:10Z", false),
            ("he", "2026-01-01T00:00:00Z", false),
            ("other", "2026-01-01T00:00:00Z", false),
        ] {
            let bytes = flat::encode(&object(value, time));
            assert_eq!(only_times_differ(&bytes, &stored), alike, "{value} {time}");
        }
    }
}
