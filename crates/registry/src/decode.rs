//! The decoding step: a body becomes an object of the kind, or a refusal that says why.

use crate::{Call, Context, FieldValidation, Verb};
use kinds::Kind;
use machinery::{GroupVersion, Status, Value};

/// The scheme that upstream looks kinds up in, as its messages name it.
const SCHEME: &str = "pkg/api/legacyscheme/scheme.go:30";

/// Checks `apiVersion`, `kind`, names and scope of a body against the request's path.
pub(crate) fn check_addressing(call: &Call, kind: &Kind, value: &mut Value) -> Result<(), Status> {
    if !matches!(value, Value::Object(_)) {
        return Err(Status::bad_request(
            "the object provided is unrecognized (must be of type object)",
        ));
    }
    if let Err(why) = check_type(kind, value) {
        if kind.custom && value["apiVersion"].str() != kind.api_version() {
            return Err(Status::bad_request(why));
        }
        let (version, found) = (value["apiVersion"].str(), value["kind"].str());
        let version = GroupVersion::parse(version).version;
        return Err(Status::bad_request(format!(
            "{found} in version {version:?} cannot be handled as a {}: {why}",
            kind.gvk.kind
        )));
    }
    check_scope(call, kind, value)
}

/// Checks `apiVersion` and `kind`. What is missing is taken from the path; custom objects say
/// both or neither.
pub(crate) fn check_type(kind: &Kind, value: &mut Value) -> Result<(), String> {
    let wanted = kind.api_version();
    let missing = (value["apiVersion"].is_null(), value["kind"].is_null());
    if missing == (true, true) || !kind.custom {
        for (field, own) in [("apiVersion", wanted.as_str()), ("kind", &kind.gvk.kind)] {
            if value[field].str().is_empty() {
                value[field] = own.into();
            }
        }
    }
    let (api_version, found) = (value["apiVersion"].str(), value["kind"].str());
    if api_version == wanted && found == kind.gvk.kind {
        return Ok(());
    }
    if !kind.custom {
        return Err(foreign_type(kind, api_version, found));
    }
    if api_version != wanted {
        return Err(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
        ));
    }
    Err(format!(
        "converting (unstructured).{found} to (unstructured).{}: unknown conversion",
        kind.gvk.kind
    ))
}

/// Why an object of another type is not one of this built-in kind: nobody knows its type, or
/// it is another.
fn foreign_type(kind: &Kind, api_version: &str, found: &str) -> String {
    let package = |group: &str| match group.split('.').next() {
        None | Some("") => "core".to_owned(),
        Some(first) => first.to_owned(),
    };
    let gv = GroupVersion::parse(api_version);
    let name = format!("io.k8s.api.{}.{}.{found}", package(&gv.group), gv.version);
    if schema::builtin().named(&name).is_none() {
        return format!(
            "no kind {found:?} is registered for version {api_version:?} in scheme {SCHEME:?}"
        );
    }
    format!(
        "converting ({}.{found}) to ({}.{}): unknown conversion",
        gv.version,
        package(&kind.gvk.group),
        kind.gvk.kind
    )
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
        if name.is_empty() && call.verb == Verb::Update {
            return Err(Status::bad_request(format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                call.name
            )));
        }
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

/// Checks types, deals with unknown and repeated fields (`complaints` says which), brings
/// values to canonical form and fills in defaults.
pub(crate) fn conform(
    context: &mut Context<'_>,
    value: &mut Value,
    complaints: &[String],
) -> Result<(), Status> {
    let kind = context.kind.clone();
    try_conform(context, value, complaints)
        .map_err(|why| schema::decode_error(&kind.gvk.kind, &kind.gvk.version, &why))
}

/// As [`conform`]; the error is the sentence about the value alone.
pub(crate) fn try_conform(
    context: &mut Context<'_>,
    value: &mut Value,
    complaints: &[String],
) -> Result<(), String> {
    let kind = context.kind.clone();
    let unknown = schema::decode(value, &kind.type_ref)?;
    report_unknown(context, complaints, &unknown)?;
    kind.apply_defaults(value);
    Ok(())
}

/// Unknown and repeated fields: dropped silently, warned about, or refused all at once.
pub(crate) fn report_unknown(
    context: &mut Context<'_>,
    complaints: &[String],
    unknown: &[String],
) -> Result<(), String> {
    let unknown = unknown.iter().map(|path| format!("unknown field {path:?}"));
    match context.call.options.field_validation {
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            context.warnings.extend_from_slice(complaints);
            context.warnings.extend(unknown);
            Ok(())
        }
        FieldValidation::Strict => {
            let texts: Vec<_> = together(complaints).into_iter().chain(unknown).collect();
            if texts.is_empty() {
                return Ok(());
            }
            Err(format!("strict decoding error: {}", texts.join(", ")))
        }
    }
}

/// Complaints as one error says them: those about lines of YAML are one.
fn together(complaints: &[String]) -> Vec<String> {
    match complaints.first() {
        Some(first) if first.starts_with("line ") => {
            vec![format!(
                "yaml: unmarshal errors:\n  {}",
                complaints.join("\n  ")
            )]
        }
        _ => complaints.to_vec(),
    }
}
