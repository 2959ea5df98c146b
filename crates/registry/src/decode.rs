//! The decoding step: a body becomes an object of the kind, or a refusal that says why.

use crate::{Complaints, Context, FieldValidation, Verb};
use kinds::Kind;
use machinery::{GroupVersion, Status, Value};

/// The type of what a deletion is to do.
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
/// The scheme that upstream looks kinds up in, as its messages name it.
const SCHEME: &str = "pkg/api/legacyscheme/scheme.go:30";

/// Checks `apiVersion`, `kind`, names and scope of a body against the request's path.
pub(crate) fn check_addressing(context: &Context<'_>, value: &mut Value) -> Result<(), Status> {
    let kind = &context.kind;
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
    check_metadata(kind, value)?;
    check_scope(context, value)
}

/// Metadata is looked into before the whole is decoded, so that its own type is checked first.
fn check_metadata(kind: &Kind, value: &Value) -> Result<(), Status> {
    let found = &value["metadata"];
    if found.is_null() || found.as_object().is_some() {
        return Ok(());
    }
    let (kind, version) = (&kind.gvk.kind, &kind.gvk.version);
    let why = format!(
        "json: cannot unmarshal {} into Go struct field {kind}.metadata of type v1.ObjectMeta",
        found.type_name()
    );
    Err(schema::decode_error(kind, version, &why))
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

/// Checks that the options of a deletion are such, if they say what they are.
pub(crate) fn check_options(value: &Value) -> Result<(), Status> {
    const OPTIONS: &str = "DeleteOptions";
    let found = value["kind"].str();
    if found.is_empty() || found == OPTIONS {
        let schema = schema::builtin();
        let of = schema.named(DELETE_OPTIONS).map(|id| schema::TypeRef {
            schema: schema.clone(),
            id,
        });
        let fits = of.map_or(Ok(()), |of| schema::check_types(value, &of));
        return fits.map_err(Status::bad_request);
    }
    let api_version = value["apiVersion"].str();
    let gv = GroupVersion::parse(api_version);
    let meta = format!("io.k8s.apimachinery.pkg.apis.meta.{}.{found}", gv.version);
    let name = type_name(&gv.group, &gv.version, found);
    let known = [meta, name]
        .iter()
        .any(|name| schema::builtin().named(name).is_some());
    let why = match known {
        true => format!(
            "converting ({}.{found}) to (v1.{OPTIONS}): unknown conversion",
            gv.version
        ),
        false => unregistered(api_version, found),
    };
    Err(Status::bad_request(why))
}

fn unregistered(api_version: &str, found: &str) -> String {
    format!("no kind {found:?} is registered for version {api_version:?} in scheme {SCHEME:?}")
}

/// Why an object of another type is not one of this built-in kind: nobody knows its type, or
/// it is another.
fn foreign_type(kind: &Kind, api_version: &str, found: &str) -> String {
    let gv = GroupVersion::parse(api_version);
    let name = type_name(&gv.group, &gv.version, found);
    if schema::builtin().named(&name).is_none() {
        return unregistered(api_version, found);
    }
    format!(
        "converting ({}.{found}) to ({}.{}): unknown conversion",
        gv.version,
        package(&kind.gvk.group),
        kind.gvk.kind
    )
}

/// The Go package of a group.
fn package(group: &str) -> &str {
    match group.split('.').next() {
        None | Some("") => "core",
        Some(first) => first,
    }
}

/// The name of a built-in kind's type in OpenAPI.
pub(crate) fn type_name(group: &str, version: &str, kind: &str) -> String {
    format!("io.k8s.api.{}.{version}.{kind}", package(group))
}

fn check_scope(context: &Context<'_>, value: &mut Value) -> Result<(), Status> {
    let (call, kind) = (context.call, &context.kind);
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
    } else if !namespace.is_empty() {
        value.metadata_mut().remove("namespace");
    }
    if !call.name.is_empty() {
        let name = value.name();
        if name.is_empty() && names_itself(context) {
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

/// Whether the body must name its object: what is applied is named by the path.
fn names_itself(context: &Context<'_>) -> bool {
    matches!(context.call.verb, Verb::Update | Verb::Patch) && !context.applies
}

/// Checks types, deals with unknown and repeated fields (`complaints` says which), brings
/// values to canonical form and fills in defaults.
pub(crate) fn conform(
    context: &mut Context<'_>,
    value: &mut Value,
    complaints: &Complaints,
) -> Result<(), Status> {
    let kind = context.kind.clone();
    try_conform(context, value, complaints)
        .map_err(|why| schema::decode_error(&kind.gvk.kind, &kind.gvk.version, &why))
}

/// As [`conform`]; the error is the sentence about the value alone.
pub(crate) fn try_conform(
    context: &mut Context<'_>,
    value: &mut Value,
    complaints: &Complaints,
) -> Result<(), String> {
    let kind = context.kind.clone();
    let mut unknown = schema::decode(value, &kind.type_ref)?;
    add_overwritten(&mut unknown, complaints, &kind.type_ref);
    report_unknown(context, complaints, &unknown)?;
    kind.apply_defaults(value);
    Ok(())
}

/// As [`conform`], for the body of a subresource that has a kind of its own.
pub(crate) fn conform_part(
    context: &mut Context<'_>,
    value: &mut Value,
    complaints: &Complaints,
) -> Result<(), Status> {
    let Some(part) = context.kind.subresource(&context.call.subresource) else {
        return Ok(());
    };
    let gvk = part.gvk.clone();
    try_conform_part(context, value, complaints)
        .map_err(|why| schema::decode_error(&gvk.kind, &gvk.version, &why))
}

/// As [`conform_part`]; the error is the sentence about the value alone.
pub(crate) fn try_conform_part(
    context: &mut Context<'_>,
    value: &mut Value,
    complaints: &Complaints,
) -> Result<(), String> {
    let part = context.kind.subresource(&context.call.subresource);
    let known = part.and_then(|part| {
        let schema = schema::builtin();
        let name = type_name(&part.gvk.group, &part.gvk.version, &part.gvk.kind);
        let id = schema.named(&name)?;
        Some(schema::TypeRef {
            schema: schema.clone(),
            id,
        })
    });
    let Some(known) = known else {
        return Ok(());
    };
    let mut unknown = schema::decode(value, &known)?;
    add_overwritten(&mut unknown, complaints, &known);
    let complaints = Sayings {
        apart: false,
        complaints,
        unknown: &unknown,
    };
    report(context, complaints)
}

/// Fields that are unknown where a later one took the place of what they are in.
fn add_overwritten(unknown: &mut Vec<String>, complaints: &Complaints, of: &schema::TypeRef) {
    let custom = matches!(&of.node().shape, schema::Shape::Struct(known) if known.custom);
    if custom {
        return;
    }
    if let Some((_, mut said)) = complaints.overlaid() {
        *unknown = schema::prune(&mut said, of);
    }
}

/// Unknown and repeated fields: dropped silently, warned about, or refused all at once.
pub(crate) fn report_unknown(
    context: &mut Context<'_>,
    complaints: &Complaints,
    unknown: &[String],
) -> Result<(), String> {
    let apart = context.kind.custom;
    let sayings = Sayings {
        apart,
        complaints,
        unknown,
    };
    report(context, sayings)
}

/// What there is to say about the fields of a body.
struct Sayings<'a> {
    /// Objects of custom kinds are read before their type is looked at, so that what is said
    /// about repeated fields comes first.
    apart: bool,
    complaints: &'a Complaints,
    unknown: &'a [String],
}

fn report(context: &mut Context<'_>, sayings: Sayings<'_>) -> Result<(), String> {
    let validation = context.call.options.field_validation;
    let nothing = sayings.complaints.repeated.is_empty() && sayings.unknown.is_empty();
    if validation == FieldValidation::Ignore || nothing {
        return Ok(());
    }
    let (repeated, unknown) = ordered(sayings);
    if validation == FieldValidation::Warn {
        context.warnings.extend(repeated.into_iter().chain(unknown));
        return Ok(());
    }
    let texts: Vec<_> = together(&repeated).into_iter().chain(unknown).collect();
    Err(format!("strict decoding error: {}", texts.join(", ")))
}

/// Complaints in the order of the text, those that come later apart.
fn ordered(sayings: Sayings<'_>) -> (Vec<String>, Vec<String>) {
    let Sayings {
        apart,
        complaints,
        unknown,
    } = sayings;
    match &complaints.text {
        Some(text) if !apart => (text.complaints(unknown), Vec::new()),
        Some(text) => (text.complaints(&[]), schema::strict_messages(unknown)),
        None => (
            complaints.repeated.clone(),
            schema::strict_messages(unknown),
        ),
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
