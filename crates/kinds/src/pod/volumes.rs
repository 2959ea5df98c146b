//! Validation of a pod's volumes. Upstream counterpart: `ValidateVolumes`.

use super::containers::relative;
use crate::check::{Errors, config_key, named, one_of_if_set, present, quantity};
use machinery::{FieldError, Value, dns1123_label};
use std::collections::BTreeSet;

/// Checks volumes and returns their names.
pub(super) fn validate<'a>(errors: &mut Errors, path: &str, spec: &'a Value) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (at, volume) in spec["volumes"].items().iter().enumerate() {
        let path = format!("{path}[{at}]");
        let name = volume["name"].str();
        named(errors, &format!("{path}.name"), name, dns1123_label);
        if !name.is_empty() && !names.insert(name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        sources(errors, &path, volume);
    }
    names
}

fn sources(errors: &mut Errors, path: &str, volume: &Value) {
    let given = volume
        .entries()
        .filter(|(key, value)| *key != "name" && !value.is_null());
    let mut count = 0;
    for (kind, source) in given {
        let path = format!("{path}.{kind}");
        count += 1;
        if count > 1 {
            errors.push(FieldError::forbidden(
                path,
                "may not specify more than 1 volume type",
            ));
        } else {
            one(errors, &path, kind, source);
        }
    }
    if count == 0 {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
}

fn one(errors: &mut Errors, path: &str, kind: &str, source: &Value) {
    match kind {
        "emptyDir" if !source["sizeLimit"].is_null() => {
            quantity(errors, &format!("{path}.sizeLimit"), &source["sizeLimit"]);
        }
        "hostPath" => host_path(errors, path, source),
        "secret" => {
            present(errors, &format!("{path}.secretName"), &source["secretName"]);
            files(errors, path, source);
        }
        "configMap" => {
            present(errors, &format!("{path}.name"), &source["name"]);
            files(errors, path, source);
        }
        "persistentVolumeClaim" => {
            present(errors, &format!("{path}.claimName"), &source["claimName"]);
        }
        "nfs" => {
            present(errors, &format!("{path}.server"), &source["server"]);
            present(errors, &format!("{path}.path"), &source["path"]);
        }
        "csi" => present(errors, &format!("{path}.driver"), &source["driver"]),
        "projected" => projected(errors, path, source),
        "downwardAPI" => downward(errors, path, source),
        "image" => present(errors, &format!("{path}.reference"), &source["reference"]),
        "ephemeral" if source["volumeClaimTemplate"].is_null() => {
            errors.push(FieldError::required(
                format!("{path}.volumeClaimTemplate"),
                "",
            ));
        }
        _ => {}
    }
}

fn host_path(errors: &mut Errors, path: &str, source: &Value) {
    const TYPES: [&str; 7] = [
        "DirectoryOrCreate",
        "Directory",
        "FileOrCreate",
        "File",
        "Socket",
        "CharDevice",
        "BlockDevice",
    ];
    let target = source["path"].str();
    present(errors, &format!("{path}.path"), &source["path"]);
    if target.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(
            format!("{path}.path"),
            target,
            "must not contain '..'",
        ));
    }
    one_of_if_set(errors, &format!("{path}.type"), &source["type"], &TYPES);
}

fn mode(errors: &mut Errors, path: &str, value: &Value) {
    if let Some(mode) = value.as_i64()
        && !(0..=0o777).contains(&mode)
    {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(path, mode, why));
    }
}

fn files(errors: &mut Errors, path: &str, source: &Value) {
    mode(
        errors,
        &format!("{path}.defaultMode"),
        &source["defaultMode"],
    );
    for (at, item) in source["items"].items().iter().enumerate() {
        let path = format!("{path}.items[{at}]");
        named(
            errors,
            &format!("{path}.key"),
            item["key"].str(),
            config_key,
        );
        present(errors, &format!("{path}.path"), &item["path"]);
        relative(errors, &format!("{path}.path"), item["path"].str());
        mode(errors, &format!("{path}.mode"), &item["mode"]);
    }
}

fn projected(errors: &mut Errors, path: &str, source: &Value) {
    mode(
        errors,
        &format!("{path}.defaultMode"),
        &source["defaultMode"],
    );
    for (at, one) in source["sources"].items().iter().enumerate() {
        let path = format!("{path}.sources[{at}]");
        for kind in ["secret", "configMap"] {
            if !one[kind].is_null() {
                present(errors, &format!("{path}.{kind}.name"), &one[kind]["name"]);
                files(errors, &format!("{path}.{kind}"), &one[kind]);
            }
        }
        let token = &one["serviceAccountToken"];
        if !token.is_null() {
            token_projection(errors, &format!("{path}.serviceAccountToken"), token);
        }
        downward(errors, &format!("{path}.downwardAPI"), &one["downwardAPI"]);
    }
}

/// Ten minutes: tokens that live shorter are refused.
const TOKEN_SECONDS_MIN: i64 = 600;

fn token_projection(errors: &mut Errors, path: &str, token: &Value) {
    if token["expirationSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds < TOKEN_SECONDS_MIN)
    {
        let field = format!("{path}.expirationSeconds");
        let why = "may not specify a duration less than 10 minutes";
        errors.push(FieldError::invalid(field, &token["expirationSeconds"], why));
    }
    present(errors, &format!("{path}.path"), &token["path"]);
}

fn downward(errors: &mut Errors, path: &str, source: &Value) {
    for (at, item) in source["items"].items().iter().enumerate() {
        let path = format!("{path}.items[{at}]");
        present(errors, &format!("{path}.path"), &item["path"]);
        relative(errors, &format!("{path}.path"), item["path"].str());
        mode(errors, &format!("{path}.mode"), &item["mode"]);
        if item["fieldRef"].is_null() && item["resourceFieldRef"].is_null() {
            let why = "one of fieldRef and resourceFieldRef is required";
            errors.push(FieldError::required(path, why));
        }
    }
}
