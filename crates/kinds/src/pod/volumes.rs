//! Validation of a pod's volumes. Upstream counterpart: `ValidateVolumes`.

use super::{
    env,
    mounts::{descending, file_path, mode, no_backsteps},
    spec::Pod,
};
use crate::check::{Errors, Place, at, is_empty, present, syntax, text_of};
use machinery::{FieldError, Quantity, Value, dns1123_label, dns1123_subdomain};
use std::collections::{BTreeMap, BTreeSet};

/// Sources in the order upstream looks at them.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// Fields of a pod that a file can show.
const SHOWN: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

/// Ten minutes: tokens that live shorter are refused.
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// Checks volumes and returns those with nothing wrong by name.
pub(super) fn validate<'a>(
    errors: &mut Errors,
    path: Place<'_>,
    pod: &Pod<'a>,
) -> BTreeMap<&'a str, &'a Value> {
    let mut good = BTreeMap::new();
    let volumes = pod.spec["volumes"].items();
    for (at, volume) in volumes.iter().enumerate() {
        let (path, before) = (at!("{path}[{at}]"), errors.len());
        // Templates may leave it to whoever fills them in.
        if !pod.is_template && !volume["image"].is_null() {
            let field = at!("{path}.image.reference");
            present(errors, field, volume.at(&["image", "reference"]));
        }
        sources(errors, path, volume);
        let (name, field) = (volume["name"].str(), at!("{path}.name"));
        crate::check::named(errors, field, name, dns1123_label);
        if good.contains_key(name) {
            errors.push(FieldError::duplicate(field, name));
        }
        if errors.len() == before {
            good.insert(name, volume);
        }
        own_claim(errors, path, volume, pod);
    }
    good
}

/// A claim made for this pod alone is not named by another of its volumes.
fn own_claim(errors: &mut Errors, path: Place<'_>, volume: &Value, pod: &Pod<'_>) {
    let claim = volume.at(&["persistentVolumeClaim", "claimName"]).str();
    let Some(name) = claim
        .strip_prefix(pod.name)
        .and_then(|rest| rest.strip_prefix('-'))
    else {
        return;
    };
    let volumes = pod.spec["volumes"].items().iter();
    let mut made = volumes.filter(|one| !one["ephemeral"].is_null());
    if !pod.name.is_empty() && made.any(|one| one["name"].str() == name) {
        let field = at!("{path}.persistentVolumeClaim.claimName");
        let why = "must not reference a PVC that gets created for an ephemeral volume";
        errors.push(FieldError::invalid(field, claim, why));
    }
}

fn sources(errors: &mut Errors, path: Place<'_>, volume: &Value) {
    let given = SOURCES.iter().filter(|kind| !volume[**kind].is_null());
    let mut count = 0;
    for kind in given {
        let source = &volume[*kind];
        count += 1;
        if count > 1 {
            let why = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(at!("{path}.{kind}"), why));
        } else {
            one(errors, at!("{path}.{}", shown(kind)), kind, source);
        }
    }
    if count == 0 {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
}

/// The name upstream gives a source in its paths.
fn shown(kind: &str) -> &str {
    match kind {
        "gcePersistentDisk" => "persistentDisk",
        _ => kind,
    }
}

fn one(errors: &mut Errors, path: Place<'_>, kind: &str, source: &Value) {
    match kind {
        "emptyDir" => {
            let size = text_of(&source["sizeLimit"]).parse::<Quantity>();
            if size.is_ok_and(Quantity::is_negative) {
                let why = "SizeLimit field must be a valid resource quantity";
                errors.push(FieldError::forbidden(at!("{path}.sizeLimit"), why));
            }
        }
        "secret" => {
            present(errors, at!("{path}.secretName"), &source["secretName"]);
            files(errors, path, source);
        }
        "configMap" => {
            present(errors, at!("{path}.name"), &source["name"]);
            files(errors, path, source);
        }
        "csi" => csi(errors, path, source),
        "projected" => projected(errors, path, source),
        "downwardAPI" => downward(errors, path, source),
        "image" => image(errors, path, source),
        "ephemeral" => ephemeral(errors, path, &source["volumeClaimTemplate"]),
        _ => plain(errors, path, kind, source),
    }
}

/// Fields that a source cannot do without.
const NEEDED: &[(&str, &[&str])] = &[
    ("gitRepo", &["repository"]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("hostPath", &["path"]),
    ("nfs", &["server", "path"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("glusterfs", &["endpoints", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("rbd", &["monitors", "image"]),
    ("cinder", &["volumeID"]),
    ("cephfs", &["monitors"]),
    ("quobyte", &["registry", "volume"]),
    ("flexVolume", &["driver"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("local", &["path"]),
];

/// A source that pods and persistent volumes have in common.
pub(crate) fn plain(errors: &mut Errors, path: Place<'_>, kind: &str, source: &Value) {
    let needed = NEEDED.iter().find(|(name, _)| *name == kind);
    for field in needed.into_iter().flat_map(|(_, fields)| fields.iter()) {
        if is_empty(&source[*field]) {
            errors.push(FieldError::required(at!("{path}.{field}"), ""));
        }
    }
    let text = |field: &str| source[field].str();
    match kind {
        "hostPath" => {
            let field = at!("{path}.path");
            if !text("path").is_empty() {
                no_backsteps(errors, field, text("path"));
                host_path_type(errors, at!("{path}.type"), text("type"));
            }
        }
        "nfs" if !text("path").starts_with('/') => {
            let (field, why) = (at!("{path}.path"), "must be an absolute path");
            errors.push(FieldError::invalid(field, text("path"), why));
        }
        "gitRepo" => descending(errors, at!("{path}.directory"), text("directory")),
        "gcePersistentDisk" | "awsElasticBlockStore" => {
            let number = source["partition"].as_i64().unwrap_or(0);
            if !(0..=255).contains(&number) {
                let field = at!("{path}.partition");
                let why = "must be between 1 and 255, inclusive";
                errors.push(FieldError::invalid(field, number, why));
            }
        }
        "iscsi" => iscsi(errors, path, source),
        "fc" => {
            let names = ["targetWWNs", "wwids"].map(|field| source[field].items().is_empty());
            if names[0] == names[1] {
                let why = "must specify either targetWWNs or wwids, but not both";
                errors.push(FieldError::required(at!("{path}.targetWWNs"), why));
            }
        }
        _ => {}
    }
}

fn host_path_type(errors: &mut Errors, path: Place<'_>, kind: &str) {
    const TYPES: [&str; 8] = [
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    if !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(path, kind, &TYPES));
    }
}

fn iscsi(errors: &mut Errors, path: Place<'_>, source: &Value) {
    let (name, field) = (source["iqn"].str(), at!("{path}.iqn"));
    let known = ["iqn", "eui", "naa"];
    if !name.is_empty() && !known.iter().any(|prefix| name.starts_with(prefix)) {
        let why = "must be valid format starting with iqn, eui, or naa";
        errors.push(FieldError::invalid(field, name, why));
    }
    let unit = source["lun"].as_i64().unwrap_or(0);
    if !(0..=255).contains(&unit) {
        let why = "must be between 0 and 255, inclusive";
        errors.push(FieldError::invalid(at!("{path}.lun"), unit, why));
    }
}

fn csi(errors: &mut Errors, path: Place<'_>, source: &Value) {
    driver_name(errors, at!("{path}.driver"), source["driver"].str());
    let secret = &source["nodePublishSecretRef"];
    if !secret.is_null() {
        match secret["name"].str() {
            "" => {
                let field = at!("{path}.nodePublishSecretRef.name");
                errors.push(FieldError::required(field, ""));
            }
            name => syntax(errors, at!("{path}.name"), name, dns1123_subdomain),
        }
    }
}

/// The name of a CSI driver.
pub(crate) fn driver_name(errors: &mut Errors, path: Place<'_>, name: &str) {
    const LENGTH_MAX: usize = 63;
    if name.is_empty() {
        return errors.push(FieldError::required(path, ""));
    }
    if name.len() > LENGTH_MAX {
        errors.push(FieldError::too_long(path, LENGTH_MAX));
    }
    let complaints = dns1123_subdomain(&name.to_ascii_lowercase()).into_iter();
    errors.extend(complaints.map(|why| FieldError::invalid(path, name, why)));
}

fn image(errors: &mut Errors, path: Place<'_>, source: &Value) {
    let policy = at!("{path}.pullPolicy");
    let known = &["Always", "IfNotPresent", "Never"];
    crate::check::one_of(errors, policy, &source["pullPolicy"], known);
}

fn ephemeral(errors: &mut Errors, path: Place<'_>, template: &Value) {
    let path = at!("{path}.volumeClaimTemplate");
    if template.is_null() {
        return errors.push(FieldError::required(path, ""));
    }
    let metadata = &template["metadata"];
    let own = metadata.entries().filter(|(key, value)| {
        !matches!(key.as_str(), "labels" | "annotations") && !is_empty(value)
    });
    for (field, _) in own {
        let field = at!("{path}.metadata.{field}");
        errors.push(FieldError::forbidden(field, "cannot be set"));
    }
    crate::volume::claim_spec(errors, at!("{path}.spec"), &template["spec"]);
}

fn files(errors: &mut Errors, path: Place<'_>, source: &Value) {
    mode(errors, at!("{path}.defaultMode"), &source["defaultMode"]);
    for (at, item) in source["items"].items().iter().enumerate() {
        key_to_path(errors, at!("{path}.items[{at}]"), item);
    }
}

fn key_to_path(errors: &mut Errors, path: Place<'_>, item: &Value) {
    present(errors, at!("{path}.key"), &item["key"]);
    present(errors, at!("{path}.path"), &item["path"]);
    file_path(errors, at!("{path}.path"), item["path"].str());
    mode(errors, at!("{path}.mode"), &item["mode"]);
}

fn projected(errors: &mut Errors, path: Place<'_>, source: &Value) {
    mode(errors, at!("{path}.defaultMode"), &source["defaultMode"]);
    let mut taken = BTreeSet::new();
    for (at, one) in source["sources"].items().iter().enumerate() {
        let place = at!("{path}.sources[{at}]");
        for kind in ["secret", "configMap"] {
            projected_keys(
                errors,
                (path, at!("{place}.{kind}")),
                &one[kind],
                &mut taken,
            );
        }
        projected_fields(errors, (path, place), &one["downwardAPI"], &mut taken);
        token(errors, (path, place), &one["serviceAccountToken"]);
        if one.entries().filter(|(_, value)| !value.is_null()).count() > 1 {
            let why = "may not specify more than 1 volume type per source";
            errors.push(FieldError::forbidden(place, why));
        }
    }
}

const CONFLICT: &str = "conflicting duplicate paths";

fn projected_keys<'a>(
    errors: &mut Errors,
    (volume, path): (Place<'_>, Place<'_>),
    source: &'a Value,
    taken: &mut BTreeSet<&'a str>,
) {
    if source.is_null() {
        return;
    }
    present(errors, at!("{path}.name"), &source["name"]);
    for (at, item) in source["items"].items().iter().enumerate() {
        key_to_path(errors, at!("{path}.items[{at}]"), item);
        let target = item["path"].str();
        if !target.is_empty() && !taken.insert(target) {
            errors.push(FieldError::invalid(volume, source["name"].str(), CONFLICT));
        }
    }
}

fn projected_fields<'a>(
    errors: &mut Errors,
    (volume, place): (Place<'_>, Place<'_>),
    source: &'a Value,
    taken: &mut BTreeSet<&'a str>,
) {
    let path = at!("{place}.downwardAPI");
    for item in source["items"].items() {
        field_file(errors, path, item);
        let target = item["path"].str();
        if !target.is_empty() && !taken.insert(target) {
            errors.push(FieldError::invalid(volume, target, CONFLICT));
        }
    }
}

fn token(errors: &mut Errors, (volume, place): (Place<'_>, Place<'_>), source: &Value) {
    if source.is_null() {
        return;
    }
    let seconds = source["expirationSeconds"]
        .as_i64()
        .unwrap_or(TOKEN_SECONDS_MIN);
    let why = match seconds {
        ..TOKEN_SECONDS_MIN => "may not specify a duration less than 10 minutes",
        TOKEN_SECONDS_MAX.. if seconds > TOKEN_SECONDS_MAX => {
            "may not specify a duration larger than 2^32 seconds"
        }
        _ => "",
    };
    if !why.is_empty() {
        let field = at!("{place}.serviceAccountToken.expirationSeconds");
        errors.push(FieldError::invalid(field, seconds, why));
    }
    // Upstream speaks of the volume's path here, not of the source's.
    let (target, field) = (source["path"].str(), at!("{volume}.path"));
    if target.is_empty() {
        errors.push(FieldError::required(field, ""));
    } else {
        file_path(errors, field, target);
    }
}

fn downward(errors: &mut Errors, path: Place<'_>, source: &Value) {
    mode(errors, at!("{path}.defaultMode"), &source["defaultMode"]);
    for item in source["items"].items() {
        field_file(errors, path, item);
    }
}

/// A file that shows a field; upstream names no item in its paths.
fn field_file(errors: &mut Errors, path: Place<'_>, item: &Value) {
    present(errors, at!("{path}.path"), &item["path"]);
    file_path(errors, at!("{path}.path"), item["path"].str());
    let (field, resource) = (&item["fieldRef"], &item["resourceFieldRef"]);
    if !field.is_null() {
        env::field(errors, at!("{path}.fieldRef"), field, &SHOWN);
        if !resource.is_null() {
            let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(FieldError::invalid(path, "resource", why));
        }
    } else if !resource.is_null() {
        env::resource(errors, at!("{path}.resourceFieldRef"), resource, true);
    } else {
        let why = "one of fieldRef and resourceFieldRef is required";
        errors.push(FieldError::required(path, why));
    }
    mode(errors, at!("{path}.mode"), &item["mode"]);
}
