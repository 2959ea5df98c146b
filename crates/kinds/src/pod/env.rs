//! Validation of a container's environment, and of references to fields that volumes use too.
//!
//! Upstream counterpart: `ValidateEnv`, `ValidateEnvFrom`, `validateObjectFieldSelector`.

use crate::check::{Errors, Place, at, config_key, named, syntax, text_of};
use machinery::{FieldError, Quantity, Value, dns1123_label, dns1123_subdomain, qualified_name};

/// Fields of a pod that a variable can show.
const SHOWN: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields of a pod that have a name in the downward API at all.
const KNOWN: [&str; 14] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const DIVISORS: [&str; 13] = [
    "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
];

const SOURCES: [&str; 5] = [
    "fieldRef",
    "resourceFieldRef",
    "configMapKeyRef",
    "secretKeyRef",
    "fileKeyRef",
];

/// Checks `env` and `envFrom`.
pub(super) fn validate(errors: &mut Errors, path: Place<'_>, container: &Value) {
    for (at, variable) in container["env"].items().iter().enumerate() {
        let path = at!("{path}.env[{at}]");
        let name = variable["name"].str();
        named(errors, at!("{path}.name"), name, variable_name);
        let source = &variable["valueFrom"];
        if !source.is_null() {
            let has_value = !variable["value"].str().is_empty();
            value_source(errors, at!("{path}.valueFrom"), source, has_value);
        }
    }
    let list = at!("{path}.envFrom");
    for (at, source) in container["envFrom"].items().iter().enumerate() {
        from(errors, list, at, source);
    }
}

fn from(errors: &mut Errors, list: Place<'_>, at: usize, source: &Value) {
    let path = at!("{list}[{at}]");
    let prefix = source["prefix"].str();
    if !prefix.is_empty() {
        syntax(errors, at!("{path}.prefix"), prefix, variable_name);
    }
    let mut given = 0;
    for key in ["configMapRef", "secretRef"] {
        if !source[key].is_null() {
            given += 1;
            let name = source[key]["name"].str();
            named(errors, at!("{path}.{key}.name"), name, dns1123_subdomain);
        }
    }
    match given {
        0 => {
            let why = "must specify one of: `configMapRef` or `secretRef`";
            errors.push(FieldError::invalid(list, "", why));
        }
        1 => {}
        _ => {
            let why = "may not have more than one field specified at a time";
            errors.push(FieldError::invalid(list, "", why));
        }
    }
}

fn variable_name(name: &str) -> Vec<String> {
    let printable = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    if name.bytes().all(printable) {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".into()]
}

fn value_source(errors: &mut Errors, path: Place<'_>, source: &Value, has_value: bool) {
    let given = SOURCES.iter().filter(|key| !source[**key].is_null());
    let count = given.count();
    let present = |key: &str| !source[key].is_null();
    if present("fieldRef") {
        let path = at!("{path}.fieldRef");
        field(errors, path, &source["fieldRef"], &SHOWN);
    }
    if present("resourceFieldRef") {
        let path = at!("{path}.resourceFieldRef");
        resource(errors, path, &source["resourceFieldRef"], false);
    }
    for key in ["configMapKeyRef", "secretKeyRef"] {
        if present(key) {
            key_reference(errors, at!("{path}.{key}"), &source[key]);
        }
    }
    if present("fileKeyRef") {
        file(errors, at!("{path}.fileKeyRef"), &source["fileKeyRef"]);
    }
    let why = match () {
        () if count == 0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        () if has_value => "may not be specified when `value` is not empty",
        () if count > 1 => "may not have more than one field specified at a time",
        () => return,
    };
    errors.push(FieldError::invalid(path, "", why));
}

fn key_reference(errors: &mut Errors, path: Place<'_>, reference: &Value) {
    let (name, key) = (reference["name"].str(), reference["key"].str());
    syntax(errors, at!("{path}.name"), name, dns1123_subdomain);
    named(errors, at!("{path}.key"), key, config_key);
}

fn file(errors: &mut Errors, path: Place<'_>, reference: &Value) {
    let text = |field: &str| reference[field].str();
    named(errors, at!("{path}.key"), text("key"), variable_name);
    let volume = at!("{path}.volumeName");
    named(errors, volume, text("volumeName"), dns1123_label);
    let place = at!("{path}.path");
    match text("path") {
        "" => errors.push(FieldError::required(place, "")),
        file => super::mounts::no_backsteps(errors, place, file),
    }
}

/// A reference to one of a pod's fields; `allowed` are those that can be shown here.
pub(super) fn field(errors: &mut Errors, path: Place<'_>, reference: &Value, allowed: &[&str]) {
    let place = at!("{path}.fieldPath");
    let (version, field) = (reference["apiVersion"].str(), reference["fieldPath"].str());
    let converting = |why: String| format!("error converting fieldPath: {why}");
    if version.is_empty() {
        return errors.push(FieldError::required(at!("{path}.apiVersion"), ""));
    }
    if field.is_empty() {
        return errors.push(FieldError::required(place, ""));
    }
    if version != "v1" {
        let why = converting(format!("unsupported pod version: {version}"));
        return errors.push(FieldError::invalid(place, field, why));
    }
    if let Some((map, key)) = subscript(field) {
        return match map {
            "metadata.annotations" => syntax_of_key(errors, path, &key.to_ascii_lowercase()),
            "metadata.labels" => syntax_of_key(errors, path, key),
            _ => {
                let why = converting(format!("field label does not support subscript: {field}"));
                errors.push(FieldError::invalid(place, field, why));
            }
        };
    }
    if !KNOWN.contains(&field) {
        let why = converting(format!("field label not supported: {field}"));
        errors.push(FieldError::invalid(place, field, why));
    } else if !allowed.contains(&field) {
        errors.push(FieldError::not_supported(place, field, allowed));
    }
}

fn syntax_of_key(errors: &mut Errors, path: Place<'_>, key: &str) {
    syntax(errors, path, key, qualified_name);
}

/// `map['key']` in its parts.
fn subscript(field: &str) -> Option<(&str, &str)> {
    field.strip_suffix("']")?.split_once("['")
}

/// A reference to a resource of a container; in a volume it must name the container.
pub(super) fn resource(errors: &mut Errors, path: Place<'_>, reference: &Value, in_volume: bool) {
    let (name, place) = (reference["resource"].str(), at!("{path}.resource"));
    let huge = ["limits.hugepages-", "requests.hugepages-"];
    let is_huge = huge.iter().any(|prefix| name.starts_with(prefix));
    if in_volume && reference["containerName"].str().is_empty() {
        errors.push(FieldError::required(at!("{path}.containerName"), ""));
    } else if name.is_empty() {
        errors.push(FieldError::required(place, ""));
    } else if !RESOURCES.contains(&name) && !is_huge {
        errors.push(FieldError::not_supported(place, name, &RESOURCES));
    }
    let text = text_of(&reference["divisor"]);
    let zero = text.parse::<Quantity>().is_ok_and(Quantity::is_zero);
    if text.is_empty() || zero {
        return;
    }
    let (what, good) = match name.split_once('.').map_or("", |(_, resource)| resource) {
        "cpu" => ("cpu", matches!(text.as_str(), "1m" | "1")),
        "memory" => ("memory", DIVISORS.contains(&text.as_str())),
        "ephemeral-storage" => ("local ephemeral storage", DIVISORS.contains(&text.as_str())),
        _ if is_huge => ("hugepages", DIVISORS.contains(&text.as_str())),
        _ => return,
    };
    if !good {
        let values = match what {
            "cpu" => "1m and 1".to_owned(),
            _ => DIVISORS.join(", "),
        };
        let why = format!("only divisor's values {values} are supported with the {what} resource");
        errors.push(FieldError::invalid(at!("{path}.divisor"), name, why));
    }
}
