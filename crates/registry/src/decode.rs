//! The decoding step: a body becomes an object of the kind, or a refusal that says why.

use crate::{Call, Context, FieldValidation};
use kinds::Kind;
use machinery::{Status, Value};

/// Checks `apiVersion`, `kind`, names and scope of a body against the request's path.
pub(crate) fn check_addressing(call: &Call, kind: &Kind, value: &mut Value) -> Result<(), Status> {
    if !matches!(value, Value::Object(_)) {
        return Err(Status::bad_request(
            "the object provided is unrecognized (must be of type object)",
        ));
    }
    let wanted = kind.api_version();
    if value["apiVersion"].is_null() && value["kind"].is_null() {
        value["apiVersion"] = (&wanted).into();
        value["kind"] = (&kind.gvk.kind).into();
    }
    let (api_version, found) = (value["apiVersion"].str(), value["kind"].str());
    if api_version != wanted {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
        )));
    }
    if found != kind.gvk.kind {
        return Err(Status::bad_request(format!(
            "{found} in version \"{}\" cannot be handled as a {}: converting (unstructured).{found} to (unstructured).{}: unknown conversion",
            kind.gvk.version, kind.gvk.kind, kind.gvk.kind
        )));
    }
    check_scope(call, kind, value)
}

fn check_scope(call: &Call, kind: &Kind, value: &mut Value) -> Result<(), Status> {
    let namespace = value.namespace();
    if kind.namespaced {
        if call.namespace.is_empty() {
            return Err(Status::bad_request(
                "an empty namespace may not be set during creation",
            ));
        }
        if !namespace.is_empty() && namespace != call.namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        value.metadata_mut().insert("namespace", &call.namespace);
    }
    if !call.name.is_empty() {
        let name = value.name();
        if name.is_empty() {
            value.metadata_mut().insert("name", &call.name);
        } else if name != call.name {
            return Err(Status::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                call.name
            )));
        }
    }
    Ok(())
}

/// Checks types, deals with unknown and duplicate fields, brings values to canonical form and
/// fills in defaults.
pub(crate) fn conform(
    context: &mut Context<'_>,
    value: &mut Value,
    duplicates: &[String],
) -> Result<(), Status> {
    let kind = context.kind.clone();
    let unknown = schema::decode(value, &kind.type_ref)
        .map_err(|why| schema::decode_error(&kind.gvk.kind, &kind.gvk.version, &why))?;
    report_unknown(context, duplicates, &unknown)?;
    kind.apply_defaults(value);
    Ok(())
}

/// Unknown and duplicate fields: dropped silently, warned about, or refused all at once.
pub(crate) fn report_unknown(
    context: &mut Context<'_>,
    duplicates: &[String],
    unknown: &[String],
) -> Result<(), Status> {
    let texts = duplicates
        .iter()
        .map(|path| format!("duplicate field {path:?}"))
        .chain(unknown.iter().map(|path| format!("unknown field {path:?}")));
    match context.call.options.field_validation {
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            context.warnings.extend(texts);
            Ok(())
        }
        FieldValidation::Strict => {
            let texts: Vec<_> = texts.collect();
            if texts.is_empty() {
                return Ok(());
            }
            let kind = &context.kind.gvk;
            Err(Status::bad_request(format!(
                "{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
                kind.kind,
                kind.version,
                kind.kind,
                texts.join(", ")
            )))
        }
    }
}
