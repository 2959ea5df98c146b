//! Validation of what a container mounts, as files and as devices.
//!
//! Upstream counterpart: `ValidateVolumeMounts`, `ValidateVolumeDevices`.

use super::spec::Pod;
use crate::check::{Errors, Place, at, is_empty};
use machinery::{FieldError, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Checks `volumeMounts` and `volumeDevices`.
pub(super) fn validate(errors: &mut Errors, path: Place<'_>, container: &Value, pod: &Pod<'_>) {
    let (mounts, devices) = (
        container["volumeMounts"].items(),
        container["volumeDevices"].items(),
    );
    let by_name = |list: &'_ [Value], field: &str| -> BTreeMap<String, String> {
        let pair = |one: &Value| (one["name"].str().to_owned(), one[field].str().to_owned());
        list.iter().map(pair).collect()
    };
    let (mounted, attached) = (by_name(mounts, "mountPath"), by_name(devices, "devicePath"));
    let list = at!("{path}.volumeMounts");
    let mut seen = BTreeSet::new();
    for (at, mount) in mounts.iter().enumerate() {
        let path = at!("{list}[{at}]");
        let target = mount["mountPath"].str();
        place(errors, path, mount, pod);
        if !seen.insert(target) {
            let field = at!("{path}.mountPath");
            errors.push(FieldError::invalid(field, target, "must be unique"));
        }
        apart(
            errors,
            path,
            (mount, "mountPath"),
            ("volumeDevices", &attached),
        );
        details(errors, list, path, (mount, container));
    }
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (at, device) in devices.iter().enumerate() {
        let path = at!("{path}.volumeDevices[{at}]");
        if device["name"].str().is_empty() {
            errors.push(FieldError::required(at!("{path}.name"), ""));
        }
        if !names.insert(device["name"].str()) {
            let field = at!("{path}.name");
            errors.push(FieldError::invalid(
                field,
                &device["name"],
                "must be unique",
            ));
        }
        device_source(errors, path, device, pod);
        device_path(errors, path, device["devicePath"].str(), &mut paths);
        apart(
            errors,
            path,
            (device, "devicePath"),
            ("volumeMounts", &mounted),
        );
    }
}

fn place(errors: &mut Errors, path: Place<'_>, mount: &Value, pod: &Pod<'_>) {
    let name = mount["name"].str();
    if name.is_empty() {
        errors.push(FieldError::required(at!("{path}.name"), ""));
    }
    if !pod.volumes.contains_key(name) {
        errors.push(FieldError::not_found(at!("{path}.name"), name));
    }
    if mount["mountPath"].str().is_empty() {
        errors.push(FieldError::required(at!("{path}.mountPath"), ""));
    }
}

/// A volume or path used as files is not used as a device, and the other way round.
fn apart(
    errors: &mut Errors,
    path: Place<'_>,
    (one, field): (&Value, &str),
    (list, others): (&str, &BTreeMap<String, String>),
) {
    let (name, target) = (one["name"].str(), one[field].str());
    if others.contains_key(name) {
        let why = format!("must not already exist in {list}");
        errors.push(FieldError::invalid(at!("{path}.name"), name, why));
    }
    if others.values().any(|other| other == target) {
        let why = format!("must not already exist as a path in {list}");
        errors.push(FieldError::invalid(at!("{path}.{field}"), target, why));
    }
}

/// What is said of parts of a mount is said of the list upstream, not of the mount.
fn details(
    errors: &mut Errors,
    list: Place<'_>,
    path: Place<'_>,
    (mount, container): (&Value, &Value),
) {
    let (sub, expression) = (mount["subPath"].str(), mount["subPathExpr"].str());
    descending(errors, at!("{list}.subPath"), sub);
    if !expression.is_empty() {
        if !sub.is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            let field = at!("{path}.subPathExpr");
            errors.push(FieldError::invalid(field, expression, why));
        }
        descending(errors, at!("{list}.subPathExpr"), expression);
    }
    let (propagation, field) = (&mount["mountPropagation"], at!("{list}.mountPropagation"));
    let known = ["Bidirectional", "HostToContainer", "None"];
    if !propagation.is_null() && !known.contains(&propagation.str()) {
        errors.push(FieldError::not_supported(field, propagation, &known));
    }
    let privileged = container.at(&["securityContext", "privileged"]).as_bool();
    if propagation.str() == "Bidirectional" && privileged != Some(true) {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(field, why));
    }
    recursive(errors, at!("{list}.recursiveReadOnly"), mount);
}

fn recursive(errors: &mut Errors, path: Place<'_>, mount: &Value) {
    let known = ["Disabled", "Enabled", "IfPossible"];
    match mount["recursiveReadOnly"].as_str() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if mount["readOnly"].as_bool() != Some(true) {
                let why = "may only be specified when readOnly is true";
                errors.push(FieldError::forbidden(path, why));
            }
            if !matches!(mount["mountPropagation"].str(), "" | "None") {
                let why = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(path, why));
            }
        }
        Some(other) => errors.push(FieldError::not_supported(path, other, &known)),
    }
}

fn device_source(errors: &mut Errors, path: Place<'_>, device: &Value, pod: &Pod<'_>) {
    let (name, field) = (device["name"].str(), at!("{path}.name"));
    match pod.volumes.get(name) {
        None => errors.push(FieldError::not_found(field, name)),
        Some(volume) => {
            let claimed = ["persistentVolumeClaim", "ephemeral"];
            if claimed.iter().all(|source| volume[*source].is_null()) {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(FieldError::invalid(field, name, why));
            }
        }
    }
}

fn device_path<'a>(
    errors: &mut Errors,
    path: Place<'_>,
    target: &'a str,
    seen: &mut BTreeSet<&'a str>,
) {
    let field = at!("{path}.devicePath");
    if target.is_empty() {
        errors.push(FieldError::required(field, ""));
    }
    if seen.contains(target) {
        errors.push(FieldError::invalid(field, target, "must be unique"));
    }
    if target.split('/').any(|part| part == "..") {
        let why = "can not contain backsteps ('..')";
        errors.push(FieldError::invalid(field, target, why));
    } else {
        seen.insert(target);
    }
}

/// A path with no `..` in it.
pub(crate) fn no_backsteps(errors: &mut Errors, path: Place<'_>, text: &str) {
    if text.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, text, "must not contain '..'"));
    }
}

/// A path that must not leave where it starts.
pub(crate) fn descending(errors: &mut Errors, path: Place<'_>, text: &str) {
    if text.starts_with('/') {
        errors.push(FieldError::invalid(path, text, "must be a relative path"));
    }
    no_backsteps(errors, path, text);
}

/// As [`descending`]; names that start with `..` are the kubelet's own.
pub(super) fn file_path(errors: &mut Errors, path: Place<'_>, text: &str) {
    descending(errors, path, text);
    if text.starts_with("..") && text != ".." && !text.starts_with("../") {
        errors.push(FieldError::invalid(path, text, "must not start with '..'"));
    }
}

/// Mode bits of a file.
pub(super) fn mode(errors: &mut Errors, path: Place<'_>, value: &Value) {
    if is_empty(value) {
        return;
    }
    if let Some(mode) = value.as_i64().filter(|mode| !(0..=0o777).contains(mode)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(path, mode, why));
    }
}
