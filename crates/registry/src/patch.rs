//! PATCH: four languages, one read-modify-write.

use crate::{Answer, Body, Complaints, Context, Door, Live, PatchKind, Reply, decode, managed};
use machinery::{FieldError, GroupVersion, GroupVersionKind, Reason, SmolStr, Status, Value};

impl Door {
    pub(crate) async fn patch(&self, mut context: Context<'_>) -> Result<Reply, Status> {
        let patch = Patch::take(&mut context)?;
        if context.applies {
            if context.call.options.field_manager.is_empty() {
                return Err(options(FieldError::required(
                    "fieldManager",
                    "is required for apply patch",
                )));
            }
            check_applied(&context, &patch.value)?;
        } else if context.call.options.force {
            return Err(options(FieldError::forbidden(
                "force",
                "may not be specified for non-apply patch",
            )));
        }
        let rewritten = self
            .rewrite(&mut context, |context, live| patch.apply(context, live))
            .await;
        let object = rewritten.map_err(|status| status.warned(&mut context.warnings))?;
        let kind = context.kind.clone();
        Ok(context.reply(Answer::Object(kind, object)))
    }
}

/// A patch that was sent.
pub(crate) struct Patch {
    kind: PatchKind,
    value: Value,
    /// Complaints about its repeated fields.
    duplicates: Complaints,
}

impl Patch {
    /// The patch of a call.
    pub fn take(context: &mut Context<'_>) -> Result<Self, Status> {
        match std::mem::take(&mut context.body) {
            Body::Patch {
                kind,
                value,
                duplicates,
            } => Ok(Self {
                kind,
                value,
                duplicates,
            }),
            _ => Err(Status::bad_request("a patch is required")),
        }
    }

    /// The object it makes of the live one, decoded and defaulted.
    pub fn apply(&self, context: &mut Context<'_>, live: Option<&Live>) -> Result<Value, Status> {
        if self.kind == PatchKind::Apply {
            return self.apply_configuration(context, live);
        }
        let live = live.ok_or_else(|| context.missing())?;
        let mut value = self.made_of(context, live.shown())?;
        if self.kind == PatchKind::Strategic {
            // Upstream patches a struct here, whose type is no field of it.
            value["apiVersion"] = context.kind.api_version().into();
            value["kind"] = (&context.kind.gvk.kind).into();
        }
        decode::check_type(&context.kind, &mut value).map_err(|why| self.refused(&value, &why))?;
        decode::check_addressing(context, &mut value)?;
        let reported = context.warnings.len();
        let before = value.clone();
        decode::try_conform(context, &mut value, &self.duplicates)
            .map_err(|why| self.refused(&before, &why))?;
        forget_repeated(&mut context.warnings, reported);
        Ok(value)
    }

    fn made_of(&self, context: &Context<'_>, current: Value) -> Result<Value, Status> {
        match self.kind {
            PatchKind::Json => schema::json_patch(&current, &self.value).map_err(bare),
            PatchKind::Merge => schema::merge_patch(current, &self.value),
            PatchKind::Strategic if context.kind.custom => Err(Status::new(
                Reason::UnsupportedMediaType,
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            )),
            PatchKind::Strategic => {
                schema::strategic_merge_patch(&current, &self.value, &context.kind.type_ref)
            }
            PatchKind::Apply => unreachable!("a configuration is applied elsewhere"),
        }
    }

    fn apply_configuration(
        &self,
        context: &mut Context<'_>,
        live: Option<&Live>,
    ) -> Result<Value, Status> {
        let mut config = self.value.clone();
        let unknown = schema::prune(&mut config, &context.kind.type_ref);
        check_declared(context, &self.value, &unknown)?;
        decode::report_unknown(context, &self.duplicates, &[])
            .map_err(|why| Status::bad_request(format!("error decoding YAML: {why}")))?;
        managed::apply(context, live, config)
    }

    /// The refusal of what it makes of an object.
    fn refused(&self, made: &Value, why: &str) -> Status {
        let shown = match self.kind {
            PatchKind::Strategic => go_text(&self.value),
            _ => serde_json::to_string(made).unwrap_or_default(),
        };
        refused(&shown, why)
    }
}

/// A retry after a race must not warn twice: of what was said after the first `reported`,
/// repetitions go.
pub(crate) fn forget_repeated(warnings: &mut Vec<String>, reported: usize) {
    let mut seen = std::collections::BTreeSet::new();
    let mut at = 0;
    warnings.retain(|text| {
        at += 1;
        seen.insert(text.clone()) || at <= reported
    });
}

fn options(error: FieldError) -> Status {
    Status::invalid("meta.k8s.io", "PatchOptions", "", &[error])
}

/// What a patch makes of an object is no object of its kind.
pub(crate) fn refused(shown: &str, why: &str) -> Status {
    Status::invalid("", "", "", &[FieldError::invalid("patch", shown, why)])
}

/// A JSON patch that does not apply, told as upstream tells it: without saying why.
pub(crate) fn bare(status: Status) -> Status {
    match status.code() {
        422 => Status::new(Reason::Invalid, status.message()),
        _ => status,
    }
}

/// A tree as Go prints it, which is how upstream shows strategic patches.
fn go_text(value: &Value) -> String {
    let list = |words: Vec<String>| words.join(" ");
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.to_string(),
        Value::Array(items) => format!("[{}]", list(items.iter().map(go_text).collect())),
        Value::Object(map) => {
            let member = |(key, value): (&SmolStr, &Value)| format!("{key}:{}", go_text(value));
            format!("map[{}]", list(map.iter().map(member).collect()))
        }
        scalar => serde_json::to_string(scalar).unwrap_or_default(),
    }
}

/// Fields of an applied configuration must be known, or nobody could own them.
fn check_declared(context: &Context<'_>, config: &Value, unknown: &[String]) -> Result<(), Status> {
    let says = |path: &String| format!(".{path}: field not declared in schema");
    let texts: Vec<_> = unknown.iter().map(says).collect();
    let why = match texts.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    let (namespace, name) = (config.namespace(), config.name());
    let GroupVersionKind {
        group,
        version,
        kind,
    } = &context.kind.gvk;
    let message = format!(
        "failed to create typed patch object ({namespace}/{name}; {group}/{version}, Kind={kind}): {why}"
    );
    Err(Status::foreign(500, "", message, Value::Null))
}

/// An applied configuration names the object of the path and no managed fields.
fn check_applied(context: &Context<'_>, value: &Value) -> Result<(), Status> {
    if !value.at(&["metadata", "managedFields"]).items().is_empty() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let mut checked = value.clone();
    let gv = GroupVersion::parse(checked["apiVersion"].str());
    let found = checked["kind"].str();
    if gv != context.kind.gvk.group_version() || found != context.kind.gvk.kind {
        return Err(Status::bad_request(format!(
            "invalid object type: {}/{}, Kind={found}",
            gv.group, gv.version
        )));
    }
    decode::check_addressing(context, &mut checked)
}
