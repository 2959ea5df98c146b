//! Field ownership: who set what, for server-side apply.
//!
//! The algorithm is `schema`'s; this says who the manager is. Upstream counterpart:
//! `apimachinery/pkg/util/managedfields`.

use crate::{Body, Context, PatchKind, decode};
use machinery::{Object, Status, Value, format_time};
use schema::{FieldSet, Manager};
use std::sync::Arc;

/// Whether the call applies: then ownership was recorded by [`apply`] already.
pub(crate) fn applies(context: &Context<'_>) -> bool {
    matches!(
        context.call.body,
        Body::Patch {
            kind: PatchKind::Apply,
            ..
        }
    )
}

/// Runs `use_manager` with the manager of this call.
fn as_manager<T>(context: &Context<'_>, use_manager: impl FnOnce(&Manager<'_>) -> T) -> T {
    let subresource = context.call.subresource.as_str();
    let reset = match subresource {
        "status" => Some(FieldSet::of_fields(&["spec"])),
        "" if context.kind.strategy.has_status => Some(FieldSet::of_fields(&["status"])),
        _ => None,
    };
    let api_version = context.kind.api_version();
    use_manager(&Manager {
        name: &context.call.options.field_manager,
        api_version: &api_version,
        subresource,
        now: &format_time(context.now.0),
        reset: reset.as_ref(),
    })
}

/// Records the fields of a new object as its creator's.
pub(crate) fn track_create(context: &Context<'_>, new: &mut Value) {
    if !applies(context) {
        as_manager(context, |by| {
            schema::update_managed(None, new, &context.kind.type_ref, by)
        });
    }
}

/// Records what an update changed as its author's.
pub(crate) fn track_update(context: &Context<'_>, old: &Value, new: &mut Value) {
    if !applies(context) {
        as_manager(context, |by| {
            schema::update_managed(Some(old), new, &context.kind.type_ref, by)
        });
    }
}

/// Whether an object, encoded as `bytes`, differs from the stored one in nothing but the times
/// of its field managers: such a write would write nothing anybody asked for.
pub(crate) fn only_times_differ(new: &Value, bytes: &[u8], stored: &Object) -> bool {
    // Times are of one length, so that most writes are told apart without looking inside.
    if bytes.len() != stored.bytes().len() {
        return false;
    }
    let (mut new, mut old) = (new.clone(), stored.to_value());
    for object in [&mut new, &mut old] {
        let managed = object.at_mut(&["metadata", "managedFields"]);
        for entry in managed.and_then(Value::as_array_mut).into_iter().flatten() {
            entry["time"] = Value::Null;
        }
    }
    new == old
}

/// The object that an applied configuration makes of the live one.
pub(crate) fn apply(
    context: &mut Context<'_>,
    live: Option<&Arc<Object>>,
    mut config: Value,
) -> Result<Value, Status> {
    decode::check_addressing(context.call, &context.kind, &mut config)?;
    let live = live.map(|live| live.to_value());
    let force = context.call.options.force;
    let type_ref = context.kind.type_ref.clone();
    let mut made = as_manager(context, |by| {
        schema::apply(live.as_ref(), &config, &type_ref, by, force)
    })?;
    decode::conform(context, &mut made, &[])?;
    Ok(made)
}
