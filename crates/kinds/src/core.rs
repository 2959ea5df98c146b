//! Core kinds other than pods, services and volumes: configuration, namespaces, nodes, accounts,
//! events, quotas.
//!
//! Upstream counterparts: `pkg/apis/core/validation`, `pkg/registry/core/*`, `printers`.

use crate::{
    Part, Strategy,
    check::{self, Errors, Place, at, config_key, is_empty, one_of, present, syntax, text_of},
    convert,
    print::{age, created, name, or_none, scalar, text},
};
use machinery::{FieldError, Object, Quantity, Value, dns1123_label, qualified_name};

/// Bytes that a config map or secret may hold.
const DATA_MAX: usize = 1024 * 1024;

pub(crate) const PARTS: &[Part] = &[
    Part {
        strategy: Strategy {
            validate: config_map,
            validate_update: data_update,
            ..Strategy::PLAIN
        },
        heads: &["Name", "Data", "Age"],
        row: Some(|o, now| vec![name(o), data_count(o).into(), age(o, now)]),
        ..Part::plain(crate::CONFIG_MAPS)
    },
    Part {
        strategy: Strategy {
            prepare_create: merge_string_data,
            prepare_update: |new, _| merge_string_data(new),
            validate: secret,
            validate_update: secret_update,
            ..Strategy::PLAIN
        },
        heads: &["Name", "Type", "Data", "Age"],
        row: Some(|o, now| vec![name(o), text(o, "type"), data_count(o).into(), age(o, now)]),
        selectable: &["type"],
        ..Part::plain(crate::SECRETS)
    },
    Part {
        strategy: Strategy {
            shows_deleted: true,
            name_check: dns1123_label,
            has_status: true,
            validate: namespace,
            prepare_create: |o| {
                o["status"] = machinery::json!({"phase": "Active"});
                let finalizers = o
                    .object_at(&["spec"])
                    .entry_or("finalizers", || Value::Array(Vec::new()));
                let held = finalizers
                    .items()
                    .iter()
                    .any(|one| one.str() == "kubernetes");
                if let (false, Some(list)) = (held, finalizers.as_array_mut()) {
                    list.push("kubernetes".into());
                }
            },
            prepare_update: |new, old| {
                let held = old.at(&["spec", "finalizers"]).clone();
                new.set_at(&["spec", "finalizers"], held);
            },
            prepare_delete: |o| {
                o.set_at(&["status", "phase"], "Terminating");
                !o.at(&["spec", "finalizers"]).items().is_empty()
            },
            ..Strategy::PLAIN
        },
        heads: &["Name", "Status", "Age"],
        row: Some(|o, now| vec![name(o), o.at("status.phase").str().into(), age(o, now)]),
        selectable: &["status.phase"],
        ..Part::plain(crate::NAMESPACES)
    },
    Part {
        // Kubelets register with their status, so creation keeps it.
        strategy: Strategy {
            prepare_update: |new, old| crate::keep(new, old, "status"),
            prepare_status_update: |_, _| (),
            validate: node,
            is_checked: true,
            validate_update: node_update,
            ..Strategy::PLAIN
        },
        heads: &[
            "Name",
            "Status",
            "Roles",
            "Age",
            "Version",
            "+Internal-IP",
            "+External-IP",
            "+OS-Image",
            "+Kernel-Version",
            "+Container-Runtime",
        ],
        row: Some(node_row),
        selectable: &["spec.unschedulable"],
        ..Part::plain(crate::NODES)
    },
    Part {
        strategy: Strategy {
            shows_deleted: true,
            ..Strategy::PLAIN
        },
        heads: &["Name", "Age"],
        row: Some(|o, now| vec![name(o), age(o, now)]),
        ..Part::plain(crate::SERVICE_ACCOUNTS)
    },
    Part {
        strategy: Strategy {
            allow_create_on_update: true,
            name_check: |_| Vec::new(),
            validate: event,
            validate_update: event_update,
            is_checked: true,
            ..Strategy::PLAIN
        },
        heads: &[
            "Last Seen",
            "Type",
            "Reason",
            "Object",
            "+Subobject",
            "+Source",
            "Message",
            "+First Seen",
            "+Count",
            "+Name",
        ],
        row: Some(event_row),
        selectable: &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        convert: Some(convert::event),
        ..Part::plain(crate::EVENTS)
    },
    Part {
        strategy: Strategy {
            shows_deleted: true,
            has_status: true,
            validate: |o| {
                let mut errors = Errors::new();
                for (resource, amount) in o.at(&["spec", "hard"]).entries() {
                    let path = at!("spec.hard[{resource}]");
                    quota_name(&mut errors, path, resource);
                    crate::pod::resource_value(&mut errors, path, resource, amount);
                }
                scopes(&mut errors, &o["spec"]);
                errors
            },
            validate_update: |new, old| {
                let mut errors = Errors::new();
                check::immutable(
                    &mut errors,
                    at!("spec.scopes"),
                    new.at(&["spec", "scopes"]),
                    old.at(&["spec", "scopes"]),
                );
                errors
            },
            ..Strategy::PLAIN
        },
        heads: &["Name", "Request", "Limit", "Age"],
        row: Some(quota_row),
        ..Part::plain(crate::RESOURCE_QUOTAS)
    },
    Part {
        strategy: Strategy {
            prepare_create: |range| {
                // What nobody named is named like itself.
                if range.name().is_empty() {
                    let uid = range.at(&["metadata", "uid"]).clone();
                    range.metadata_mut().insert("name", uid);
                }
            },
            validate: limit_range,
            ..Strategy::PLAIN
        },
        heads: &["Name", "Created At:date"],
        row: Some(|o, _| vec![name(o), created(o)]),
        ..Part::plain(crate::LIMIT_RANGES)
    },
];

fn data_count(o: &Object) -> i64 {
    (o.at("data").entries().count() + o.at("binaryData").entries().count()) as i64
}

fn keys(errors: &mut Errors, o: &Value, field: &str) -> usize {
    let mut size = 0;
    for (key, value) in o[field].entries() {
        syntax(errors, at!("{field}[{key}]"), key, config_key);
        let length = value.str().len();
        // Base64 text stands for three quarters of its length.
        size += if matches!(o["kind"].str(), "Secret") || field == "binaryData" {
            length / 4 * 3
        } else {
            length
        };
    }
    size
}

fn config_map(o: &Value) -> Errors {
    let mut errors = Errors::new();
    let size = keys(&mut errors, o, "data") + keys(&mut errors, o, "binaryData");
    for (key, _) in o["binaryData"].entries() {
        if o["data"].get(key).is_some() {
            let why = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid(at!("data[{key}]"), key, why));
        }
    }
    if size > DATA_MAX {
        errors.push(FieldError::too_long("", DATA_MAX));
    }
    errors
}

fn data_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    if old["immutable"].as_bool() != Some(true) {
        return errors;
    }
    const WHY: &str = "field is immutable when `immutable` is set";
    if new["immutable"].as_bool() != Some(true) {
        errors.push(FieldError::forbidden("immutable", WHY));
    }
    for field in ["data", "binaryData"] {
        if new[field] != old[field] && !(is_empty(&new[field]) && is_empty(&old[field])) {
            errors.push(FieldError::forbidden(field, WHY));
        }
    }
    errors
}

/// What clients write as plain text is kept as base64 like the rest.
pub(crate) fn merge_string_data(secret: &mut Value) {
    let Some(Value::Object(plain)) = secret.make_object().remove("stringData") else {
        return;
    };
    if plain.is_empty() {
        return;
    }
    let data = secret.object_at(&["data"]);
    for (key, value) in plain {
        data.insert(key, base64(value.str().as_bytes()));
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let all = chunk.iter().enumerate().fold(0u32, |sum, (at, byte)| {
            sum | u32::from(*byte) << (16 - 8 * at)
        });
        for at in 0..4 {
            let digit = DIGITS[(all >> (18 - 6 * at) & 63) as usize];
            text.push(if at > chunk.len() {
                '='
            } else {
                char::from(digit)
            });
        }
    }
    text
}

fn secret(o: &Value) -> Errors {
    let mut errors = Errors::new();
    if keys(&mut errors, o, "data") > DATA_MAX {
        errors.push(FieldError::too_long("data", DATA_MAX));
    }
    let wanted: &[&str] = match o["type"].str() {
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    if o["type"].str() == "kubernetes.io/basic-auth" {
        let fields = ["username", "password"];
        if fields.iter().all(|field| o["data"].get(field).is_none()) {
            let missing = fields.map(|field| FieldError::required(at!("data[{field}]"), ""));
            errors.extend(missing);
        }
    }
    docker_config(&mut errors, o);
    for key in wanted {
        if o["data"].get(key).is_none() {
            errors.push(FieldError::required(at!("data[{key}]"), ""));
        }
    }
    let account = o
        .at(&["metadata", "annotations"])
        .get("kubernetes.io/service-account.name");
    if o["type"].str() == "kubernetes.io/service-account-token" && account.is_none_or(is_empty) {
        let field = "metadata.annotations[kubernetes.io/service-account.name]";
        errors.push(FieldError::required(field, ""));
    }
    errors
}

/// The bytes that base64 stands for; what is none of its digits is left out.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u8> = text.bytes().filter_map(digit).collect();
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3);
    for chunk in digits.chunks(4) {
        let all = chunk.iter().enumerate().fold(0u32, |sum, (at, digit)| {
            sum | u32::from(*digit) << (18 - 6 * at)
        });
        let count = chunk.len().saturating_sub(1);
        bytes.extend(all.to_be_bytes()[1..].iter().take(count));
    }
    bytes
}

/// Credentials for registries must at least be JSON. What is wrong shows no secret.
fn docker_config(errors: &mut Errors, o: &Value) {
    let key = match o["type"].str() {
        "kubernetes.io/dockerconfigjson" => ".dockerconfigjson",
        "kubernetes.io/dockercfg" => ".dockercfg",
        _ => return,
    };
    let Some(bytes) = o["data"].get(key).map(|text| decoded(text.str())) else {
        return;
    };
    let Err(why) = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&bytes)
    else {
        return;
    };
    let text = match bytes.first() {
        None => "unexpected end of JSON input".to_owned(),
        Some(first) if why.column() <= 1 => {
            let shown = char::from(*first);
            let shown = match shown {
                '\0'..='\x1f' => format!("\\x{:02x}", u32::from(shown)),
                _ => shown.to_string(),
            };
            format!("invalid character '{shown}' looking for beginning of value")
        }
        Some(_) => why.to_string(),
    };
    let hidden = "<secret contents redacted>";
    errors.push(FieldError::invalid(at!("data[{key}]"), hidden, text));
}

fn secret_update(new: &Value, old: &Value) -> Errors {
    let mut errors = data_update(new, old);
    check::immutable(&mut errors, at!("type"), &new["type"], &old["type"]);
    errors
}

fn node(o: &Value) -> Errors {
    let mut errors = Errors::new();
    let mut seen = std::collections::BTreeSet::new();
    for (at, taint) in o.at(&["spec", "taints"]).items().iter().enumerate() {
        // Upstream's path, though taints are not there.
        let path = at!("metadata.taints[{at}]");
        let (key, value) = (taint["key"].str(), taint["value"].str());
        syntax(&mut errors, at!("{path}.key"), key, qualified_name);
        let place = at!("{path}.value");
        syntax(&mut errors, place, value, machinery::label_value);
        let effects = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
        one_of(&mut errors, at!("{path}.effect"), &taint["effect"], effects);
        if !seen.insert((key, taint["effect"].str())) {
            let mut error = FieldError::duplicate(path, taint);
            error.detail = "taints must be unique by key and effect pair".into();
            errors.push(crate::internal::shown_as(error, "core.v1.Taint"));
        }
    }
    for field in ["capacity", "allocatable"] {
        for (resource, amount) in o.at(&["status", field]).entries() {
            let path = at!("status.{field}.{resource}");
            crate::pod::resource_value(&mut errors, path, resource, amount);
        }
    }
    let (one, all) = (o.at(&["spec", "podCIDR"]), o.at(&["spec", "podCIDRs"]));
    if all.items().is_empty() && !one.str().is_empty() {
        check::block(&mut errors, at!("spec.podCIDRs[0]"), one.str());
    }
    node_blocks(&mut errors, all);
    errors
}

fn node_blocks(errors: &mut Errors, blocks: &Value) {
    const PATH: &str = "spec.podCIDRs";
    for (at, block) in blocks.items().iter().enumerate() {
        check::block(errors, at!("{PATH}[{at}]"), block.str());
    }
    let sixes = blocks
        .items()
        .iter()
        .filter(|one| one.str().contains(':'))
        .count();
    if sixes > 1 || blocks.items().len() - sixes > 1 {
        let why = "may specify no more than one CIDR for each IP family";
        errors.push(FieldError::invalid(PATH, blocks, why));
    }
}

fn node_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let (new, old) = (&new["spec"], &old["spec"]);
    if !is_empty(&old["podCIDR"]) && new["podCIDR"] != old["podCIDR"] {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(FieldError::forbidden("spec.podCIDRs", why));
    }
    if !is_empty(&old["providerID"]) && new["providerID"] != old["providerID"] {
        let why = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden("spec.providerID", why));
    }
    if !is_empty(&new["externalID"]) && new["externalID"] != old["externalID"] {
        errors.push(FieldError::forbidden(
            "spec.externalID",
            "may not be updated",
        ));
    }
    errors
}

fn namespace(o: &Value) -> Errors {
    let mut errors = Errors::new();
    for finalizer in o.at(&["spec", "finalizers"]).items().iter().map(Value::str) {
        syntax(
            &mut errors,
            at!("spec.finalizers"),
            finalizer,
            qualified_name,
        );
        if !crate::meta::is_owned(finalizer) {
            let why = crate::meta::UNOWNED;
            errors.push(FieldError::invalid("spec.finalizers", finalizer, why));
        }
    }
    errors
}

fn node_row(o: &Object, now: u64) -> Vec<Value> {
    let address = |kind: &str| {
        let found = o
            .at("status.addresses")
            .items()
            .find(|one| one.get("type").str() == kind);
        or_none(found.map_or("", |one| one.get("address").str()))
    };
    let unknown = |path: &str| -> Value {
        let found = o.at("status.nodeInfo").get(path).str();
        if found.is_empty() {
            "<unknown>".into()
        } else {
            found.into()
        }
    };
    vec![
        name(o),
        node_status(o).into(),
        node_roles(o),
        age(o, now),
        o.at("status.nodeInfo.kubeletVersion").str().into(),
        address("InternalIP"),
        address("ExternalIP"),
        unknown("osImage"),
        unknown("kernelVersion"),
        unknown("containerRuntimeVersion"),
    ]
}

fn node_status(o: &Object) -> String {
    let ready = o
        .at("status.conditions")
        .items()
        .find(|one| one.get("type").str() == "Ready");
    let mut status = match ready.map(|one| one.get("status").str()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if o.at("spec.unschedulable").is_true() {
        status += ",SchedulingDisabled";
    }
    status
}

fn node_roles(o: &Object) -> Value {
    let mut roles: Vec<_> = o
        .labels()
        .filter_map(
            |(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
                Some(role) if !role.is_empty() => Some(role),
                _ if key == "kubernetes.io/role" && !value.is_empty() => Some(value),
                _ => None,
            },
        )
        .collect();
    roles.sort_unstable();
    roles.dedup();
    or_none(roles.join(","))
}

/// Longest texts of an event's parts, bytes.
const EVENT_LIMITS: [(&str, usize); 4] = [
    ("reportingInstance", 128),
    ("action", 128),
    ("reason", 128),
    ("message", 1024),
];

/// Both versions are stored as one kind, and named in the words of core.
fn event(o: &Value) -> Errors {
    let (mut errors, is_core) = (Errors::new(), o["apiVersion"].str() == "v1");
    let field = if is_core {
        "involvedObject"
    } else {
        "regarding"
    };
    let (namespace, involved) = (o.namespace(), o.at(&[field, "namespace"]).str());
    let timed = !is_empty(&o["eventTime"]);
    // Events of cluster-scoped objects are kept in the default namespace.
    let fits = match (involved.is_empty(), timed) {
        (true, true) => matches!(namespace, "default" | "kube-system"),
        (true, false) => namespace == "default",
        (false, true) => true,
        (false, false) => involved == namespace,
    };
    if !fits {
        let why = "does not match event.namespace";
        let field = "involvedObject.namespace";
        errors.push(FieldError::invalid(field, involved, why));
    }
    if timed {
        timed_event(&mut errors, o, is_core);
    }
    if !is_core {
        new_event(&mut errors, o);
    }
    errors
}

fn timed_event(errors: &mut Errors, o: &Value, is_core: bool) {
    let reporter = match is_core {
        true => "reportingComponent",
        false => "reportingController",
    };
    present(errors, at!("{reporter}"), &o[reporter]);
    syntax(errors, at!("{reporter}"), o[reporter].str(), qualified_name);
    for field in ["reportingInstance", "action", "reason"] {
        present(errors, at!("{field}"), &o[field]);
    }
    for (field, limit) in EVENT_LIMITS {
        let own = if field == "message" && !is_core {
            "note"
        } else {
            field
        };
        if o[own].str().len() > limit {
            let why = format!("can have at most {limit} characters");
            errors.push(FieldError::invalid(field, "", why));
        }
    }
}

/// What holds for events written as `events.k8s.io/v1`.
fn new_event(errors: &mut Errors, o: &Value) {
    let series = &o["series"];
    if !series.is_null() {
        if series["count"].as_i64().unwrap_or(0) < 2 {
            errors.push(FieldError::invalid(
                "series.count",
                "",
                "should be at least 2",
            ));
        }
        present(
            errors,
            at!("series.lastObservedTime"),
            &series["lastObservedTime"],
        );
    }
    present(errors, at!("eventTime"), &o["eventTime"]);
    let kind = o["type"].str();
    if !matches!(kind, "Normal" | "Warning") {
        let why = format!("has invalid value: {kind}");
        errors.push(FieldError::invalid("type", "", why));
    }
    let old = [
        ("firstTimestamp", "deprecatedFirstTimestamp"),
        ("lastTimestamp", "deprecatedLastTimestamp"),
        ("count", "deprecatedCount"),
        ("source", "deprecatedSource"),
    ];
    for (shown, field) in old {
        let empty = is_empty(&o[field]) || o[field].as_i64() == Some(0);
        if !empty {
            errors.push(FieldError::invalid(shown, "", "needs to be unset"));
        }
    }
}

/// An event of the new group is said once; only its series goes on.
fn event_update(new: &Value, old: &Value) -> Errors {
    const FROZEN: [(&str, &str); 13] = [
        ("involvedObject", "regarding"),
        ("reason", "reason"),
        ("message", "note"),
        ("source", "deprecatedSource"),
        ("firstTimestamp", "deprecatedFirstTimestamp"),
        ("lastTimestamp", "deprecatedLastTimestamp"),
        ("count", "deprecatedCount"),
        ("reason", "reason"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ];
    let mut errors = Errors::new();
    if new["apiVersion"].str() == "v1" {
        return errors;
    }
    for (shown, field) in FROZEN {
        check::immutable(&mut errors, at!("{shown}"), &new[field], &old[field]);
    }
    errors
}

/// Rows are made of events in either API: what is named differently there is looked for too.
fn event_row(o: &Object, now: u64) -> Vec<Value> {
    let either = |one: &str, other: &str| match o.at(one) {
        found if found.is_null() || found.as_str() == Some("") => o.at(other),
        found => found,
    };
    let time = |one: &str, other: &str| either(one, other).as_str().filter(|text| !text.is_empty());
    let first =
        time("firstTimestamp", "deprecatedFirstTimestamp").or(time("eventTime", "eventTime"));
    let last = time("series.lastObservedTime", "series.lastObservedTime")
        .or(time("lastTimestamp", "deprecatedLastTimestamp"))
        .or(first);
    let shown = |at: Option<&str>| Value::from(crate::age(at.unwrap_or_default(), now));
    let count = either("series.count", "count").as_i64();
    let count = count
        .or(o.at("deprecatedCount").as_i64())
        .unwrap_or(1)
        .max(1);
    let about = either("involvedObject", "regarding");
    let object = format!(
        "{}/{}",
        about.get("kind").str().to_ascii_lowercase(),
        about.get("name").str()
    );
    let component = either("source.component", "deprecatedSource.component").str();
    let source = match component {
        "" => either("reportingComponent", "reportingController").str(),
        component => component,
    };
    let host = match either("source.host", "deprecatedSource.host").str() {
        "" => o.at("reportingInstance").str(),
        host => host,
    };
    let source = match host {
        "" => source.to_owned(),
        host => format!("{source}, {host}"),
    };
    vec![
        shown(last),
        o.at("type").str().into(),
        o.at("reason").str().into(),
        object.into(),
        about.get("fieldPath").str().into(),
        source.into(),
        either("message", "note").str().trim().into(),
        shown(first),
        count.into(),
        name(o),
    ]
}

fn quota_row(o: &Object, now: u64) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (resource, hard) in o.at("status.hard").entries() {
        let used = o.at("status.used").get(resource);
        let list = if resource.contains("limits") {
            &mut limits
        } else {
            &mut requests
        };
        list.push(format!("{resource}: {}/{}", scalar(used), scalar(hard)));
    }
    vec![
        name(o),
        requests.join(", ").into(),
        limits.join(", ").into(),
        age(o, now),
    ]
}

fn quota_name(errors: &mut Errors, path: Place<'_>, name: &str) {
    crate::pod::resource_name(errors, path, name);
    let counted = matches!(name, "cpu" | "memory" | "ephemeral-storage");
    if !name.contains('/') && !counted && !crate::pod::is_quota(name) {
        let why = "must be a standard resource for quota";
        errors.push(FieldError::invalid(path, name, why));
    }
}

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

/// Whether a scope can hold a resource: classless pods have no amounts to count.
fn scope_fits(scope: &str, resource: &str) -> bool {
    let amount = matches!(resource, "cpu" | "memory" | "ephemeral-storage")
        || ["requests.", "limits."].iter().any(|prefix| {
            let rest = resource.strip_prefix(prefix);
            rest.is_some_and(|rest| matches!(rest, "cpu" | "memory" | "ephemeral-storage"))
        });
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => {
            matches!(resource, "persistentvolumeclaims" | "requests.storage")
        }
        _ => resource == "pods" || amount,
    }
}

fn scopes(errors: &mut Errors, spec: &Value) {
    const PATH: &str = "spec.scopes";
    let (list, mut seen) = (&spec["scopes"], std::collections::BTreeSet::new());
    for scope in list.items().iter().map(Value::str) {
        if !SCOPES.contains(&scope) {
            errors.push(FieldError::invalid(PATH, list, "unsupported scope"));
        }
        for (name, _) in spec["hard"].entries() {
            if SCOPES.contains(&scope) && is_standard(name) && !scope_fits(scope, name) {
                let why = "unsupported scope applied to resource";
                errors.push(FieldError::invalid(PATH, list, why));
            }
        }
        seen.insert(scope);
    }
    for pair in [
        ["BestEffort", "NotBestEffort"],
        ["Terminating", "NotTerminating"],
    ] {
        if pair.iter().all(|scope| seen.contains(scope)) {
            errors.push(FieldError::invalid(PATH, list, "conflicting scopes"));
        }
    }
    for term in spec.at(&["scopeSelector", "matchExpressions"]).items() {
        scope_term(errors, spec, term);
    }
}

/// Resources that scopes speak of.
fn is_standard(name: &str) -> bool {
    const PLAIN: [&str; 13] = [
        "configmaps",
        "cpu",
        "ephemeral-storage",
        "memory",
        "persistentvolumeclaims",
        "pods",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "services",
        "services.loadbalancers",
        "services.nodeports",
        "requests.storage",
    ];
    let amount = ["requests.", "limits."].iter().any(|prefix| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|rest| matches!(rest, "cpu" | "memory" | "ephemeral-storage"))
    });
    amount || PLAIN.contains(&name)
}

fn scope_term(errors: &mut Errors, spec: &Value, term: &Value) {
    const PATH: &str = "spec.scopeSelector.matchExpressions";
    let (scope, operator) = (term["scopeName"].str(), term["operator"].str());
    let (values, all) = (&term["values"], &spec["scopeSelector"]);
    if !SCOPES.contains(&scope) {
        let field = at!("{PATH}.scopeName");
        errors.push(FieldError::invalid(field, scope, "unsupported scope"));
    } else if spec["hard"]
        .entries()
        .any(|(name, _)| is_standard(name) && !scope_fits(scope, name))
    {
        errors.push(FieldError::invalid(
            PATH,
            all,
            "unsupported scope applied to resource",
        ));
    }
    let plain =
        !matches!(scope, "PriorityClass" | "VolumeAttributesClass") && SCOPES.contains(&scope);
    if plain && operator != "Exists" {
        let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
        errors.push(FieldError::invalid(at!("{PATH}.operator"), operator, why));
    }
    match operator {
        "In" | "NotIn" if values.items().is_empty() => {
            let why =
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.push(FieldError::required(at!("{PATH}.values"), why));
        }
        "Exists" | "DoesNotExist" if !values.items().is_empty() => {
            let why =
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errors.push(FieldError::invalid(at!("{PATH}.values"), values, why));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => {
            let why = "not a valid selector operator";
            errors.push(FieldError::invalid(at!("{PATH}.operator"), other, why));
        }
    }
}

fn limit_range(o: &Value) -> Errors {
    let mut errors = Errors::new();
    let items = o.at(&["spec", "limits"]).items();
    for (at, item) in items.iter().enumerate() {
        let path = at!("spec.limits[{at}]");
        let (kind, before) = (item["type"].str(), errors.len());
        let place = at!("{path}.type");
        syntax(&mut errors, place, kind, qualified_name);
        let standard = matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim");
        if errors.len() == before && !kind.contains('/') && !standard {
            let why = "must be a standard limit type or fully qualified";
            errors.push(FieldError::invalid(place, kind, why));
        }
        limits(&mut errors, path, item);
    }
    check::unique(
        &mut errors,
        items.iter().map(|item| item["type"].str()),
        |at| format!("spec.limits[{at}].type"),
    );
    errors
}

const LIMITS: [&str; 5] = [
    "max",
    "min",
    "default",
    "defaultRequest",
    "maxLimitRequestRatio",
];

fn limits(errors: &mut Errors, path: Place<'_>, item: &Value) {
    let (kind, mut names) = (item["type"].str(), std::collections::BTreeSet::new());
    for field in LIMITS {
        let own = matches!(field, "default" | "defaultRequest");
        if own && kind == "Pod" && !is_empty(&item[field]) {
            let why = "may not be specified when `type` is 'Pod'";
            errors.push(FieldError::forbidden(at!("{path}.{field}"), why));
        }
        for (name, _) in item[field].entries() {
            limited_name(errors, at!("{path}.{field}[{name}]"), name, kind);
            names.insert(name.as_str());
        }
    }
    let storage = |field: &str| item[field].get("storage").is_some();
    if kind == "PersistentVolumeClaim" && !storage("min") && !storage("max") {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(at!("{path}.limits"), why));
    }
    for name in names {
        one_limit(errors, path, item, name);
    }
}

fn limited_name(errors: &mut Errors, path: Place<'_>, name: &str, kind: &str) {
    crate::pod::resource_name(errors, path, name);
    let counted = matches!(name, "cpu" | "memory" | "ephemeral-storage");
    if matches!(kind, "Pod" | "Container")
        && !name.contains('/')
        && !counted
        && !name.starts_with("hugepages-")
    {
        let why = "must be a standard resource for containers";
        errors.push(FieldError::invalid(path, name, why));
    }
}

fn one_limit(errors: &mut Errors, path: Place<'_>, item: &Value, name: &str) {
    let amount = |field: &str| text_of(&item[field][name]).parse::<Quantity>().ok();
    let [max, min, default, request, ratio] = LIMITS.map(amount);
    let words = [
        ("min", "min", min, max, "max"),
        ("defaultRequest", "default request", request, max, "max"),
        (
            "defaultRequest",
            "default request",
            request,
            default,
            "default limit",
        ),
        ("default", "default", default, max, "max"),
    ];
    let mut wrong = |field: &str, value: Quantity, why: String| {
        let field = at!("{path}.{field}[{name}]");
        errors.push(FieldError::invalid(field, value.to_string(), why));
    };
    for (field, shown) in [
        ("defaultRequest", "default request"),
        ("default", "default"),
    ] {
        if let Some((least, value)) = min
            .zip(amount(field))
            .filter(|(least, value)| least > value)
        {
            wrong(
                field,
                value,
                format!("min value {least} is greater than {shown} value {value}"),
            );
        }
    }
    for (field, shown, low, high, other) in words {
        if let Some((low, high)) = low.zip(high).filter(|(low, high)| low > high) {
            // Upstream shows the limit here and not the value.
            let value = if field == "default" { high } else { low };
            wrong(
                field,
                value,
                format!("{shown} value {low} is greater than {other} value {high}"),
            );
        }
    }
    let Some(ratio) = ratio else {
        return;
    };
    if ratio.milli() < 1_000 {
        wrong(
            "maxLimitRequestRatio",
            ratio,
            format!("ratio {ratio} is less than 1"),
        );
    }
    if let Some((least, most)) = min.zip(max).filter(|(least, _)| !least.is_zero()) {
        let widest = most.as_f64() / least.as_f64();
        if ratio.as_f64() > widest {
            let why = format!("ratio {ratio} is greater than max/min = {widest:.6}");
            wrong("maxLimitRequestRatio", ratio, why);
        }
    }
}
