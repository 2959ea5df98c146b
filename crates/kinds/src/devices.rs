//! Devices that pods claim: classes, claims, their templates, and what nodes offer.
//!
//! Upstream counterpart: `pkg/apis/resource/validation`.

use crate::{
    Part, Strategy,
    check::{self, Errors, Place, at, immutable, named, syntax},
    pod::driver_name,
    print::{age, joined, name},
};
use machinery::{FieldError, Object, Value, dns1123_label, dns1123_subdomain};
use std::collections::BTreeSet;

/// Expressions that bind names are taken as they are: here nothing compiles them.
const BINDING: &str = "cel.bind(";
/// Bytes of an expression that chooses devices.
const SELECTOR_MAX: usize = 10 * 1024;

pub(crate) const PARTS: &[Part] = &[
    Part {
        strategy: Strategy {
            has_status: true,
            shows_deleted: true,
            validate: |o| claim_of(o, &["spec"], at!("spec")),
            validate_update: |new, old| frozen(new, old),
            prepare_status_update: crate::kind::keep_metadata,
            ..Strategy::PLAIN
        },
        heads: &["Name", "State", "Age"],
        row: Some(|o, now| vec![name(o), state(o).into(), age(o, now)]),
        ..Part::plain(crate::RESOURCE_CLAIMS)
    },
    Part {
        strategy: Strategy {
            shows_deleted: true,
            validate: |o| claim_of(o, &["spec", "spec"], at!("spec.spec")),
            validate_update: |new, old| frozen(new, old),
            ..Strategy::PLAIN
        },
        heads: &["Name", "Age"],
        row: Some(|o, now| vec![name(o), age(o, now)]),
        ..Part::plain(crate::RESOURCE_CLAIM_TEMPLATES)
    },
    Part {
        strategy: Strategy {
            generation: crate::Generation::Desired,
            shows_deleted: true,
            validate: slice,
            validate_update: slice_update,
            ..Strategy::PLAIN
        },
        heads: &["Name", "Node", "Driver", "Pool", "Age"],
        row: Some(|o, now| {
            let shown = |path: &str| Value::from(o.at(path).str());
            let (node, driver, pool) = ("spec.nodeName", "spec.driver", "spec.pool.name");
            vec![
                name(o),
                shown(node),
                shown(driver),
                shown(pool),
                age(o, now),
            ]
        }),
        selectable: &["spec.nodeName", "spec.driver"],
        ..Part::plain(crate::RESOURCE_SLICES)
    },
    Part {
        strategy: Strategy {
            generation: crate::Generation::Desired,
            shows_deleted: true,
            validate: class,
            ..Strategy::PLAIN
        },
        heads: &["Name", "Age"],
        row: Some(|o, now| vec![name(o), age(o, now)]),
        ..Part::plain(crate::DEVICE_CLASSES)
    },
];

fn state(o: &Object) -> String {
    let status = o.at("status");
    let allocated = !status.get("allocation").is_null();
    let reserved = allocated && status.get("reservedFor").items().next().is_some();
    let states = [
        (o.is_deleting(), "deleted"),
        (!allocated && !o.is_deleting(), "pending"),
        (allocated, "allocated"),
        (reserved, "reserved"),
    ];
    joined(states.into_iter().filter(|one| one.0).map(|(_, word)| word))
}

/// What a claim wants is said once.
fn frozen(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    immutable(&mut errors, at!("spec"), &new["spec"], &old["spec"]);
    errors
}

fn claim_of(o: &Value, at: &[&str], path: Place<'_>) -> Errors {
    let (mut errors, devices) = (Errors::new(), &o.at(at)["devices"]);
    let path = at!("{path}.devices");
    let mut names = BTreeSet::new();
    for (at, request) in devices["requests"].items().iter().enumerate() {
        let path = at!("{path}.requests[{at}]");
        let name = request["name"].str();
        self::request(&mut errors, path, request, &mut names);
        if !names.insert(name.to_owned()) {
            errors.push(FieldError::duplicate(path, name));
        }
    }
    for (at, one) in devices["constraints"].items().iter().enumerate() {
        let path = at!("{path}.constraints[{at}]");
        named_requests(&mut errors, path, one, &names);
        let given = ["matchAttribute", "distinctAttribute"].map(|field| !one[field].is_null());
        if given.iter().filter(|one| **one).count() != 1 {
            let why = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
            errors.push(FieldError::required(path, why));
        }
        if let Some(name) = one["matchAttribute"].as_str()
            && !name.contains('/')
        {
            let field = at!("{path}.matchAttribute");
            let why = "a fully qualified name must be a domain and a name separated by a slash";
            errors.push(FieldError::invalid(field, name, why));
        }
    }
    for (at, one) in devices["config"].items().iter().enumerate() {
        let path = at!("{path}.config[{at}]");
        named_requests(&mut errors, path, one, &names);
        config(&mut errors, path, one);
    }
    errors
}

/// A request; names of what it offers instead are added as `request/name`.
fn request(errors: &mut Errors, path: Place<'_>, request: &Value, names: &mut BTreeSet<String>) {
    let name = request["name"].str();
    syntax(errors, at!("{path}.name"), name, dns1123_label);
    let (exactly, instead) = (&request["exactly"], request["firstAvailable"].items());
    let why = "exactly one of `exactly` or `firstAvailable` is required";
    match (exactly.is_null(), instead.is_empty()) {
        (true, true) => errors.push(FieldError::required(path, why)),
        (false, false) => {
            let why = format!("{why}, but multiple fields are set");
            return errors.push(FieldError::invalid(path, Value::Null, why));
        }
        (false, true) => wanted(errors, at!("{path}.exactly"), exactly),
        (true, false) => {}
    }
    for (at, one) in instead.iter().enumerate() {
        let path = at!("{path}.firstAvailable[{at}]");
        let own = one["name"].str();
        syntax(errors, at!("{path}.name"), own, dns1123_label);
        wanted(errors, path, one);
        if !names.insert(format!("{name}/{own}")) {
            errors.push(FieldError::duplicate(path, own));
        }
    }
}

fn wanted(errors: &mut Errors, path: Place<'_>, wanted: &Value) {
    let class = at!("{path}.deviceClassName");
    named(
        errors,
        class,
        wanted["deviceClassName"].str(),
        dns1123_subdomain,
    );
    selectors(errors, at!("{path}.selectors"), wanted);
    let (count, field) = (wanted["count"].as_i64().unwrap_or(0), at!("{path}.count"));
    match wanted["allocationMode"].str() {
        "All" if count != 0 => {
            let why = "must not be specified when allocationMode is 'All'";
            errors.push(FieldError::invalid(field, count, why));
        }
        "ExactCount" if count <= 0 => {
            errors.push(FieldError::invalid(
                field,
                count,
                "must be greater than zero",
            ));
        }
        "All" | "ExactCount" => {}
        other => {
            let field = at!("{path}.allocationMode");
            errors.push(FieldError::not_supported(
                field,
                other,
                &["All", "ExactCount"],
            ));
        }
    }
}

fn selectors(errors: &mut Errors, path: Place<'_>, holder: &Value) {
    for (at, one) in holder["selectors"].items().iter().enumerate() {
        let path = at!("{path}[{at}].cel");
        if one["cel"].is_null() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        let (source, path) = (one["cel"]["expression"].str(), at!("{path}.expression"));
        if source.len() > SELECTOR_MAX {
            errors.push(FieldError::too_long(path, SELECTOR_MAX));
        } else if !source.contains(BINDING)
            && let Err(why) = crate::expressions::device_selector(source)
        {
            errors.push(FieldError::invalid(path, source, why));
        }
    }
}

fn named_requests(errors: &mut Errors, path: Place<'_>, one: &Value, names: &BTreeSet<String>) {
    for (at, name) in one["requests"].items().iter().enumerate() {
        if !names.contains(name.str()) {
            let field = at!("{path}.requests[{at}]");
            let why = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
            errors.push(FieldError::invalid(field, name, why));
        }
    }
}

fn config(errors: &mut Errors, path: Place<'_>, config: &Value) {
    let (opaque, path) = (&config["opaque"], at!("{path}.opaque"));
    if opaque.is_null() {
        return errors.push(FieldError::required(path, ""));
    }
    driver_name(errors, at!("{path}.driver"), opaque["driver"].str());
    if opaque["parameters"].is_null() {
        errors.push(FieldError::required(at!("{path}.parameters"), ""));
    }
}

fn class(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    selectors(&mut errors, at!("spec.selectors"), spec);
    for (at, one) in spec["config"].items().iter().enumerate() {
        config(&mut errors, at!("spec.config[{at}]"), one);
    }
    if let Some(name) = spec["extendedResourceName"].as_str()
        && (!name.contains('/') || !machinery::qualified_name(name).is_empty())
    {
        let why = "must be a valid extended resource name";
        errors.push(FieldError::invalid("spec.extendedResourceName", name, why));
    }
    errors
}

fn slice(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    driver_name(&mut errors, at!("spec.driver"), spec["driver"].str());
    let pool = &spec["pool"];
    check::present(&mut errors, at!("spec.pool.name"), &pool["name"]);
    let number = |field: &str| pool[field].as_i64().unwrap_or(0);
    if number("resourceSliceCount") <= 0 {
        let (field, count) = ("spec.pool.resourceSliceCount", number("resourceSliceCount"));
        errors.push(FieldError::invalid(
            field,
            count,
            "must be greater than zero",
        ));
    }
    if number("generation") < 0 {
        let (field, why) = (
            "spec.pool.generation",
            "must be greater than or equal to zero",
        );
        errors.push(FieldError::invalid(field, number("generation"), why));
    }
    place(&mut errors, spec);
    let mut names = BTreeSet::new();
    for (at, device) in spec["devices"].items().iter().enumerate() {
        let (path, name) = (at!("spec.devices[{at}]"), device["name"].str());
        syntax(&mut errors, at!("{path}.name"), name, dns1123_label);
        attributes(&mut errors, path, device);
        if !names.insert(name) {
            errors.push(FieldError::duplicate(path, name));
        }
    }
    errors
}

fn place(errors: &mut Errors, spec: &Value) {
    let fields = [
        "nodeName",
        "nodeSelector",
        "allNodes",
        "perDeviceNodeSelection",
    ];
    let given = |field: &&str| !spec[*field].is_null() && spec[*field].as_bool() != Some(false);
    let given: Vec<_> = fields.into_iter().filter(given).collect();
    if let Some(name) = spec["nodeName"].as_str() {
        syntax(errors, at!("spec.nodeName"), name, dns1123_subdomain);
    }
    let why = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match given.len() {
        0 => errors.push(FieldError::required("spec", why)),
        1 => {}
        _ => {
            let shown = format!("{{`{}`}}", given.join("`, `"));
            let why = format!("{why}, but multiple fields are set");
            errors.push(FieldError::invalid("spec", shown, why));
        }
    }
}

fn attributes(errors: &mut Errors, path: Place<'_>, device: &Value) {
    for list in ["attributes", "capacity"] {
        for (name, value) in device[list].entries() {
            let own = name.split_once('/').map_or(name.as_str(), |(_, own)| own);
            let field = at!("{path}.{list}");
            errors.extend(identifier(own).map(|why| FieldError::invalid(field, own, why)));
            let given = ["bool", "int", "string", "version"];
            let given = given.iter().filter(|kind| !value[**kind].is_null());
            if list == "attributes" && given.count() != 1 {
                let field = at!("{field}[{name}]");
                errors.push(FieldError::invalid(
                    field,
                    "",
                    "exactly one value must be specified",
                ));
            }
        }
    }
}

/// What keeps a text from being a C identifier.
fn identifier(text: &str) -> Option<&'static str> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts = text
        .bytes()
        .next()
        .is_some_and(|byte| !byte.is_ascii_digit());
    (!starts || !text.bytes().all(good)).then_some("a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')")
}

fn slice_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let (new, old) = (&new["spec"], &old["spec"]);
    let (name, before) = (new.at(&["pool", "name"]), old.at(&["pool", "name"]));
    immutable(
        &mut errors,
        at!("spec.driver"),
        &new["driver"],
        &old["driver"],
    );
    immutable(&mut errors, at!("spec.pool.name"), name, before);
    immutable(
        &mut errors,
        at!("spec.nodeName"),
        &new["nodeName"],
        &old["nodeName"],
    );
    errors
}
