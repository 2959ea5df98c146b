//! PATCH: four languages, one read-modify-write.

use crate::{Answer, Body, Context, Door, PatchKind, Reply, decode, managed};
use machinery::{Object, Status, Value};
use std::sync::Arc;

impl Door {
    pub(crate) async fn patch(&self, mut context: Context<'_>) -> Result<Reply, Status> {
        let Body::Patch {
            kind,
            value,
            duplicates,
        } = &context.call.body
        else {
            return Err(Status::bad_request("a patch is required"));
        };
        if *kind == PatchKind::Apply {
            if context.call.options.field_manager.is_empty() {
                return Err(Status::bad_request(
                    "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
                ));
            }
            check_applied(&context, value)?;
        } else if context.call.options.force {
            return Err(Status::bad_request(
                "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
            ));
        }
        decode::report_unknown(&mut context, duplicates, &[])?;
        let object = self
            .rewrite(&mut context, |context, live| {
                patched(context, live, *kind, value)
            })
            .await?;
        let kind = context.kind.clone();
        Ok(context.reply(Answer::Object(kind, object)))
    }
}

/// The object that a patch makes of the live one, decoded and defaulted.
pub(crate) fn patched(
    context: &mut Context<'_>,
    live: Option<&Arc<Object>>,
    kind: PatchKind,
    patch: &Value,
) -> Result<Value, Status> {
    if kind == PatchKind::Apply {
        let mut config = patch.clone();
        let unknown = schema::prune(&mut config, &context.kind.type_ref);
        decode::report_unknown(context, &[], &unknown)?;
        return managed::apply(context, live, config);
    }
    let live = live.ok_or_else(|| context.missing())?;
    let current = live.to_value();
    let type_ref = &context.kind.type_ref;
    let mut value = match kind {
        PatchKind::Json => schema::json_patch(&current, patch)?,
        PatchKind::Merge => schema::merge_patch(current, patch)?,
        PatchKind::Strategic if context.kind.custom => {
            return Err(Status::new(
                machinery::Reason::UnsupportedMediaType,
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            ));
        }
        PatchKind::Strategic => schema::strategic_merge_patch(&current, patch, type_ref)?,
        PatchKind::Apply => unreachable!("handled above"),
    };
    decode::check_addressing(context.call, &context.kind.clone(), &mut value)?;
    let reported = context.warnings.len();
    decode::conform(context, &mut value, &[])?;
    // A retry after a race must not warn twice.
    let mut seen = std::collections::BTreeSet::new();
    let mut at = 0;
    context.warnings.retain(|text| {
        at += 1;
        seen.insert(text.clone()) || at <= reported
    });
    Ok(value)
}

/// An applied configuration names the object of the path and no managed fields.
fn check_applied(context: &Context<'_>, value: &Value) -> Result<(), Status> {
    if !value.at(&["metadata", "managedFields"]).items().is_empty() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let mut checked = value.clone();
    if checked["apiVersion"].is_null() || checked["kind"].is_null() {
        return Err(Status::bad_request("invalid object type: /, Kind="));
    }
    decode::check_addressing(context.call, &context.kind, &mut checked)
}
