//! Core kinds other than pods, services and volumes: configuration, namespaces, nodes, accounts,
//! events, quotas.
//!
//! Upstream counterparts: `pkg/apis/core/validation`, `pkg/registry/core/*`, `printers`.

use crate::{
    Part, Strategy,
    check::{self, Errors, config_key, is_empty, one_of, present, quantity, syntax, text_of},
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
            name_check: dns1123_label,
            has_status: true,
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
        heads: &["Name", "Secrets", "Age"],
        row: Some(|o, now| vec![name(o), o.at("secrets").items().count().into(), age(o, now)]),
        ..Part::plain(crate::SERVICE_ACCOUNTS)
    },
    Part {
        strategy: Strategy {
            allow_create_on_update: true,
            name_check: |_| Vec::new(),
            validate: event,
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
            "+Count:integer",
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
            has_status: true,
            validate: |o| {
                let mut errors = Errors::new();
                for (resource, amount) in o.at(&["spec", "hard"]).entries() {
                    let path = format!("spec.hard[{resource}]");
                    syntax(&mut errors, &path, resource, qualified_name);
                    quantity(&mut errors, &path, amount);
                }
                errors
            },
            validate_update: |new, old| {
                let mut errors = Errors::new();
                check::immutable(
                    &mut errors,
                    "spec.scopes",
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
        syntax(errors, &format!("{field}[{key}]"), key, config_key);
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
            let why = format!("duplicate of key present in data: {key}");
            errors.push(FieldError::invalid(format!("binaryData[{key}]"), key, why));
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
fn merge_string_data(secret: &mut Value) {
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
    for key in wanted {
        if o["data"].get(key).is_none() {
            errors.push(FieldError::required(format!("data[{key}]"), ""));
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

fn secret_update(new: &Value, old: &Value) -> Errors {
    let mut errors = data_update(new, old);
    check::immutable(&mut errors, "type", &new["type"], &old["type"]);
    errors
}

fn node(o: &Value) -> Errors {
    let mut errors = Errors::new();
    let mut seen = std::collections::BTreeSet::new();
    for (at, taint) in o.at(&["spec", "taints"]).items().iter().enumerate() {
        let path = format!("spec.taints[{at}]");
        syntax(
            &mut errors,
            &format!("{path}.key"),
            taint["key"].str(),
            qualified_name,
        );
        syntax(
            &mut errors,
            &format!("{path}.value"),
            taint["value"].str(),
            machinery::label_value,
        );
        let effects = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
        one_of(
            &mut errors,
            &format!("{path}.effect"),
            &taint["effect"],
            effects,
        );
        if !seen.insert((taint["key"].str(), taint["effect"].str())) {
            let mut error = FieldError::duplicate(path, taint);
            error.detail = "taints must be unique by key and effect pair".into();
            errors.push(error);
        }
    }
    for field in ["capacity", "allocatable"] {
        for (resource, amount) in o.at(&["status", field]).entries() {
            quantity(&mut errors, &format!("status.{field}[{resource}]"), amount);
        }
    }
    errors
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

fn event(o: &Value) -> Errors {
    let mut errors = Errors::new();
    // Both versions are stored as one kind; only the name of the field differs.
    let field = if o["apiVersion"].str() == "v1" {
        "involvedObject"
    } else {
        "regarding"
    };
    let (namespace, involved) = (o.namespace(), o.at(&[field, "namespace"]).str());
    // Events of cluster-scoped objects are kept in the default namespace.
    let fits = if involved.is_empty() {
        matches!(namespace, "default" | "kube-system")
    } else {
        involved == namespace
    };
    if !fits {
        let why = "does not match event.namespace";
        errors.push(FieldError::invalid(
            format!("{field}.namespace"),
            involved,
            why,
        ));
    }
    errors
}

fn event_row(o: &Object, now: u64) -> Vec<Value> {
    let time = |path: &str| o.at(path).as_str().filter(|text| !text.is_empty());
    let first = time("firstTimestamp").or(time("eventTime"));
    let last = time("series.lastObservedTime")
        .or(time("lastTimestamp"))
        .or(first);
    let shown = |at: Option<&str>| Value::from(crate::age(at.unwrap_or_default(), now));
    let count = o
        .at("series.count")
        .as_i64()
        .or(o.at("count").as_i64())
        .unwrap_or(1)
        .max(1);
    let object = format!(
        "{}/{}",
        o.at("involvedObject.kind").str().to_ascii_lowercase(),
        o.at("involvedObject.name").str()
    );
    let source = [
        o.at("source.component").str(),
        o.at("reportingComponent").str(),
    ];
    let source = if source[0].is_empty() {
        source[1]
    } else {
        source[0]
    };
    let host = o.at("source.host").str();
    let source = if host.is_empty() {
        source.to_owned()
    } else {
        format!("{source}, {host}")
    };
    vec![
        shown(last),
        o.at("type").str().into(),
        o.at("reason").str().into(),
        object.into(),
        o.at("involvedObject.fieldPath").str().into(),
        source.into(),
        o.at("message").str().trim().into(),
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

fn limit_range(o: &Value) -> Errors {
    let mut errors = Errors::new();
    let items = o.at(&["spec", "limits"]).items();
    for (at, item) in items.iter().enumerate() {
        let path = format!("spec.limits[{at}]");
        present(&mut errors, &format!("{path}.type"), &item["type"]);
        for field in ["min", "max", "default", "defaultRequest"] {
            for (resource, amount) in item[field].entries() {
                quantity(&mut errors, &format!("{path}.{field}[{resource}]"), amount);
            }
        }
        for (low, high) in [
            ("min", "max"),
            ("min", "default"),
            ("min", "defaultRequest"),
            ("defaultRequest", "default"),
            ("default", "max"),
        ] {
            ordered(&mut errors, &path, item, (low, high));
        }
    }
    check::unique(
        &mut errors,
        items.iter().map(|item| item["type"].str()),
        |at| format!("spec.limits[{at}].type"),
    );
    errors
}

fn ordered(errors: &mut Errors, path: &str, item: &Value, (low, high): (&str, &str)) {
    let amount = |field: &str, name: &str| text_of(&item[field][name]).parse::<Quantity>().ok();
    for (name, _) in item[low].entries() {
        if let (Some(least), Some(most)) = (amount(low, name), amount(high, name))
            && least > most
        {
            let why = format!("{low} value {least} is greater than {high} value {most}");
            errors.push(FieldError::invalid(
                format!("{path}.{low}[{name}]"),
                least.to_string(),
                why,
            ));
        }
    }
}
