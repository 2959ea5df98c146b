//! Validation of what storage drivers bring with them: classes, drivers, attachments, capacity.
//!
//! Upstream counterpart: `pkg/apis/storage/validation`.

use crate::{
    check::{self, Errors, Place, at, immutable, is_empty, one_of, one_of_if_set, syntax},
    pod::driver_name,
};
use machinery::{FieldError, Value, dns1123_subdomain, qualified_name};
use std::collections::BTreeSet;

/// Seconds a token for a driver must last at least, and at most.
const TOKEN_SECONDS: (i64, i64) = (600, 1 << 32);
/// Bytes of a driver's name for a node.
const NODE_ID_MAX: usize = 192;
/// Seconds between two looks at what a node can hold.
const UPDATE_PERIOD_MIN: i64 = 10;

/// A provisioner's or driver's name: qualified, in any case.
fn provisioner(errors: &mut Errors, path: Place<'_>, text: &str) {
    match text {
        "" => errors.push(FieldError::required(path, "")),
        _ => syntax(errors, path, &text.to_ascii_lowercase(), qualified_name),
    }
}

fn parameters(errors: &mut Errors, o: &Value) {
    if o["parameters"].get("").is_some() {
        let why = "field can not be empty.";
        errors.push(FieldError::invalid("parameters", "", why));
    }
}

pub(crate) fn class(o: &Value) -> Errors {
    let mut errors = Errors::new();
    provisioner(&mut errors, at!("provisioner"), o["provisioner"].str());
    parameters(&mut errors, o);
    let policies = &["Delete", "Retain"];
    one_of_if_set(
        &mut errors,
        at!("reclaimPolicy"),
        &o["reclaimPolicy"],
        policies,
    );
    let (field, modes) = ("volumeBindingMode", &["Immediate", "WaitForFirstConsumer"]);
    one_of(&mut errors, at!("{field}"), &o[field], modes);
    for (at, term) in o["allowedTopologies"].items().iter().enumerate() {
        let path = at!("allowedTopologies[{at}].matchLabelExpressions");
        topology(&mut errors, path, term["matchLabelExpressions"].items());
    }
    errors
}

fn topology(errors: &mut Errors, path: Place<'_>, requirements: &[Value]) {
    let mut keys = BTreeSet::new();
    for (at, one) in requirements.iter().enumerate() {
        let (path, key, values) = (
            format!("{path}[{at}]"),
            one["key"].str(),
            one["values"].items(),
        );
        if values.is_empty() {
            errors.push(FieldError::required(at!("{path}.values"), ""));
        }
        let texts = values.iter().map(Value::str);
        check::unique(errors, texts, |at| format!("{path}.values[{at}]"));
        syntax(errors, at!("{path}.key"), key, check::label_key);
        if !keys.insert(key) {
            errors.push(FieldError::duplicate(at!("{path}.key"), key));
        }
    }
}

pub(crate) fn attributes_class(o: &Value) -> Errors {
    let mut errors = Errors::new();
    provisioner(&mut errors, at!("driverName"), o["driverName"].str());
    if is_empty(&o["parameters"]) {
        let why = "must contain at least one key/value pair";
        errors.push(FieldError::required("parameters", why));
    }
    parameters(&mut errors, o);
    errors
}

pub(crate) fn attachment(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    driver_name(&mut errors, at!("spec.attacher"), spec["attacher"].str());
    let source = &spec["source"];
    let volume = &source["persistentVolumeName"];
    if source["inlineVolumeSpec"].is_null() == volume.is_null() {
        let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
        errors.push(FieldError::required("spec.source", why));
    } else if let Some(name) = volume.as_str() {
        let field = "spec.source.persistentVolumeName";
        syntax(&mut errors, at!("{field}"), name, dns1123_subdomain);
    }
    let node = spec["nodeName"].str();
    syntax(&mut errors, at!("spec.nodeName"), node, dns1123_subdomain);
    errors
}

pub(crate) fn attachment_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    immutable(&mut errors, at!("spec"), &new["spec"], &old["spec"]);
    errors
}

pub(crate) fn driver(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    if o.name().len() > 63 {
        errors.push(FieldError::too_long("metadata.name", 63));
    }
    let (field, policies) = (
        "spec.fsGroupPolicy",
        &["File", "None", "ReadWriteOnceWithFSType"],
    );
    one_of_if_set(
        &mut errors,
        at!("{field}"),
        &spec["fsGroupPolicy"],
        policies,
    );
    token_requests(&mut errors, spec["tokenRequests"].items());
    for mode in spec["volumeLifecycleModes"].items() {
        let (field, known) = ("spec.volumeLifecycleModes", &["Persistent", "Ephemeral"]);
        one_of_if_set(&mut errors, at!("{field}"), mode, known);
    }
    let field = "nodeAllocatableUpdatePeriodSeconds";
    if let Some(seconds) = spec[field].as_i64().filter(|one| *one < UPDATE_PERIOD_MIN) {
        let why = format!("must be greater than or equal to {UPDATE_PERIOD_MIN} seconds");
        errors.push(FieldError::invalid(at!("spec.{field}"), seconds, why));
    }
    errors
}

fn token_requests(errors: &mut Errors, requests: &[Value]) {
    let mut audiences = BTreeSet::new();
    for (at, request) in requests.iter().enumerate() {
        let path = at!("spec.tokenRequests[{at}]");
        let audience = request["audience"].str();
        if !audiences.insert(audience) {
            errors.push(FieldError::duplicate(at!("{path}.audience"), audience));
            continue;
        }
        let why = match request["expirationSeconds"].as_i64() {
            Some(seconds) if seconds < TOKEN_SECONDS.0 => {
                "may not specify a duration less than 10 minutes"
            }
            Some(seconds) if seconds > TOKEN_SECONDS.1 => {
                "may not specify a duration larger than 2^32 seconds"
            }
            _ => continue,
        };
        let field = at!("{path}.expirationSeconds");
        errors.push(FieldError::invalid(
            field,
            &request["expirationSeconds"],
            why,
        ));
    }
}

pub(crate) fn driver_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    for (path, field) in [
        // Upstream names it so.
        ("spec.attachedRequired", "attachRequired"),
        ("spec.volumeLifecycleModes", "volumeLifecycleModes"),
    ] {
        let (new, old) = (&new["spec"][field], &old["spec"][field]);
        if new != old {
            errors.push(FieldError::invalid(path, new, check::IMMUTABLE));
        }
    }
    errors
}

pub(crate) fn node(o: &Value) -> Errors {
    let (mut errors, mut names) = (Errors::new(), BTreeSet::new());
    for (at, driver) in o.at(&["spec", "drivers"]).items().iter().enumerate() {
        let (path, name) = (at!("spec.drivers[{at}]"), driver["name"].str());
        driver_name(&mut errors, at!("{path}.name"), name);
        if !name.is_empty() && !names.insert(name) {
            errors.push(FieldError::duplicate(at!("{path}.name"), name));
        }
        let (id, field) = (driver["nodeID"].str(), at!("{path}.nodeID"));
        match id.len() {
            0 => errors.push(FieldError::required(field, "")),
            1..=NODE_ID_MAX => {}
            _ => {
                let why = format!("must be {NODE_ID_MAX} characters or less");
                errors.push(FieldError::invalid(field, id, why));
            }
        }
        let count = driver.at(&["allocatable", "count"]);
        check::not_negative(&mut errors, at!("{path}.allocatable.count"), count);
        topology_keys(&mut errors, path, driver["topologyKeys"].items());
    }
    errors
}

fn topology_keys(errors: &mut Errors, path: Place<'_>, keys: &[Value]) {
    for key in keys.iter().map(Value::str) {
        if key.is_empty() {
            errors.push(FieldError::required(path, ""));
        }
        syntax(errors, path, key, qualified_name);
    }
    check::unique(errors, keys.iter().map(Value::str), |_| path.to_string());
}

/// A driver that is there stays as it is until it goes.
pub(crate) fn node_update(new: &Value, old: &Value) -> Errors {
    let drivers = |object: &Value| object.at(&["spec", "drivers"]).items().to_vec();
    let (new, old) = (drivers(new), drivers(old));
    let changed = new.iter().filter(|driver| {
        let same = |one: &&Value| one["name"] == driver["name"];
        old.iter()
            .find(same)
            .is_some_and(|before| before != *driver)
    });
    changed
        .map(|driver| FieldError::invalid("spec.drivers", driver, check::IMMUTABLE))
        .collect()
}

pub(crate) fn capacity(o: &Value) -> Errors {
    let mut errors = Errors::new();
    check::label_selector(&mut errors, at!("nodeTopology"), &o["nodeTopology"]);
    let class = o["storageClassName"].str();
    syntax(
        &mut errors,
        at!("storageClassName"),
        class,
        dns1123_subdomain,
    );
    if !o["capacity"].is_null() {
        check::quantity(&mut errors, at!("capacity"), &o["capacity"]);
    }
    errors
}

pub(crate) fn capacity_update(new: &Value, old: &Value) -> Errors {
    let fields = ["nodeTopology", "storageClassName"].into_iter();
    fields
        .filter(|field| new[*field] != old[*field])
        .map(|field| FieldError::invalid(field, &new[field], check::IMMUTABLE))
        .collect()
}
