//! Persistent volumes, claims, storage classes and attachments.
//!
//! Upstream counterparts: `ValidatePersistentVolume*`, `pkg/apis/storage/validation`.

use crate::{
    Part, Strategy,
    check::{
        self, Errors, IMMUTABLE, immutable, is_empty, one_of, one_of_if_set, quantity, syntax,
    },
    pod::node_term,
    print::{age, joined, name, scalar, text},
};
use machinery::{FieldError, Object, Quantity, Ref, Value, dns1123_subdomain};

const MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];

pub(crate) const PARTS: &[Part] = &[
    Part {
        strategy: Strategy {
            has_status: true,
            prepare_create: |o| o["status"] = machinery::json!({"phase": "Pending"}),
            validate: volume,
            validate_update: |new, old| {
                let mut errors = Errors::new();
                let (new, old) = (&new["spec"], &old["spec"]);
                immutable(
                    &mut errors,
                    "spec.volumeMode",
                    &new["volumeMode"],
                    &old["volumeMode"],
                );
                for source in ["csi", "hostPath", "local", "nfs"] {
                    if new[source] != old[source] {
                        let why = "spec.persistentvolumesource is immutable after creation";
                        errors.push(FieldError::forbidden("spec.persistentvolumesource", why));
                    }
                }
                errors
            },
            ..Strategy::PLAIN
        },
        heads: &[
            "Name",
            "Capacity",
            "Access Modes",
            "Reclaim Policy",
            "Status",
            "Claim",
            "StorageClass",
            "VolumeAttributesClass",
            "Reason",
            "Age",
            "+VolumeMode",
        ],
        row: Some(volume_row),
        ..Part::plain(crate::PERSISTENT_VOLUMES)
    },
    Part {
        strategy: Strategy {
            has_status: true,
            prepare_create: |o| o["status"] = machinery::json!({"phase": "Pending"}),
            validate: claim,
            validate_update: claim_update,
            ..Strategy::PLAIN
        },
        heads: &[
            "Name",
            "Status",
            "Volume",
            "Capacity",
            "Access Modes",
            "StorageClass",
            "VolumeAttributesClass",
            "Age",
            "+VolumeMode",
        ],
        row: Some(claim_row),
        ..Part::plain(crate::PERSISTENT_VOLUME_CLAIMS)
    },
    Part {
        strategy: Strategy {
            validate: |o| {
                let mut errors = Errors::new();
                check::present(&mut errors, "provisioner", &o["provisioner"]);
                one_of_if_set(
                    &mut errors,
                    "reclaimPolicy",
                    &o["reclaimPolicy"],
                    &["Delete", "Retain"],
                );
                let modes = &["Immediate", "WaitForFirstConsumer"];
                one_of(
                    &mut errors,
                    "volumeBindingMode",
                    &o["volumeBindingMode"],
                    modes,
                );
                errors
            },
            validate_update: class_update,
            ..Strategy::PLAIN
        },
        heads: &[
            "Name",
            "Provisioner",
            "ReclaimPolicy",
            "VolumeBindingMode",
            "AllowVolumeExpansion",
            "Age",
        ],
        row: Some(class_row),
        ..Part::plain(crate::STORAGE_CLASSES)
    },
    Part {
        strategy: Strategy {
            has_status: true,
            ..Strategy::PLAIN
        },
        heads: &["Name", "Attacher", "PV", "Node", "Attached:boolean", "Age"],
        row: Some(|o, now| {
            vec![
                name(o),
                o.at("spec.attacher").str().into(),
                o.at("spec.source.persistentVolumeName").str().into(),
                o.at("spec.nodeName").str().into(),
                o.at("status.attached").is_true().into(),
                age(o, now),
            ]
        }),
        ..Part::plain(crate::VOLUME_ATTACHMENTS)
    },
    Part {
        strategy: Strategy {
            has_generation: true,
            ..Strategy::PLAIN
        },
        heads: &[
            "Name",
            "AttachRequired:boolean",
            "PodInfoOnMount:boolean",
            "StorageCapacity:boolean",
            "TokenRequests",
            "RequiresRepublish:boolean",
            "Modes",
            "Age",
        ],
        row: Some(|o, now| {
            let flag = |path: &str| Value::from(o.at(path).is_true());
            let audiences = joined(
                o.at("spec.tokenRequests")
                    .items()
                    .map(|one| one.get("audience").str()),
            );
            let audiences = if audiences.is_empty() {
                "<unset>".into()
            } else {
                audiences
            };
            vec![
                name(o),
                flag("spec.attachRequired"),
                flag("spec.podInfoOnMount"),
                flag("spec.storageCapacity"),
                audiences.into(),
                flag("spec.requiresRepublish"),
                joined(
                    o.at("spec.volumeLifecycleModes")
                        .items()
                        .map(|one| one.str()),
                )
                .into(),
                age(o, now),
            ]
        }),
        ..Part::plain(crate::CSI_DRIVERS)
    },
    Part {
        heads: &["Name", "Drivers:integer", "Age"],
        row: Some(|o, now| {
            vec![
                name(o),
                o.at("spec.drivers").items().count().into(),
                age(o, now),
            ]
        }),
        ..Part::plain(crate::CSI_NODES)
    },
];

/// `RWO,ROX`, in upstream's order.
fn modes(list: Ref<'_>) -> String {
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let present = |mode: &str| list.items().any(|one| one.str() == mode);
    joined(
        short
            .into_iter()
            .filter(|(mode, _)| present(mode))
            .map(|(_, short)| short),
    )
}

fn volume_row(o: &Object, now: u64) -> Vec<Value> {
    let claim = o.at("spec.claimRef");
    let claim = if claim.is_null() {
        String::new()
    } else {
        format!(
            "{}/{}",
            claim.get("namespace").str(),
            claim.get("name").str()
        )
    };
    let phase = if o.is_deleting() {
        "Terminating"
    } else {
        o.at("status.phase").str()
    };
    vec![
        name(o),
        scalar(o.at("spec.capacity.storage")).into(),
        modes(o.at("spec.accessModes")).into(),
        o.at("spec.persistentVolumeReclaimPolicy").str().into(),
        phase.into(),
        claim.into(),
        o.at("spec.storageClassName").str().into(),
        unset(o, "spec.volumeAttributesClassName"),
        o.at("status.reason").str().into(),
        age(o, now),
        unset(o, "spec.volumeMode"),
    ]
}

fn claim_row(o: &Object, now: u64) -> Vec<Value> {
    let phase = if o.is_deleting() {
        "Terminating"
    } else {
        o.at("status.phase").str()
    };
    let bound = !o.at("spec.volumeName").str().is_empty();
    let shown = |text: String| Value::from(if bound { text } else { String::new() });
    vec![
        name(o),
        phase.into(),
        o.at("spec.volumeName").str().into(),
        shown(scalar(o.at("status.capacity.storage"))),
        shown(modes(o.at("status.accessModes"))),
        o.at("spec.storageClassName").str().into(),
        unset(o, "spec.volumeAttributesClassName"),
        age(o, now),
        unset(o, "spec.volumeMode"),
    ]
}

fn unset(o: &Object, path: &str) -> Value {
    let found = o.at(path).str();
    if found.is_empty() {
        "<unset>".into()
    } else {
        found.into()
    }
}

fn class_row(o: &Object, now: u64) -> Vec<Value> {
    let default = o.annotation("storageclass.kubernetes.io/is-default-class") == Some("true");
    let shown = if default {
        format!("{} (default)", o.name())
    } else {
        o.name().to_owned()
    };
    vec![
        shown.into(),
        text(o, "provisioner"),
        text(o, "reclaimPolicy"),
        text(o, "volumeBindingMode"),
        o.at("allowVolumeExpansion").is_true().into(),
        age(o, now),
    ]
}

fn access_modes(errors: &mut Errors, spec: &Value) {
    let modes = spec["accessModes"].items();
    if modes.is_empty() {
        errors.push(FieldError::required(
            "spec.accessModes",
            "at least 1 access mode is required",
        ));
    }
    for mode in modes {
        one_of(errors, "spec.accessModes", mode, &MODES);
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode.str() == "ReadWriteOncePod") {
        let why = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden("spec.accessModes", why));
    }
}

fn volume(o: &Value) -> Errors {
    const NOT_SOURCES: [&str; 9] = [
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    ];
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    access_modes(&mut errors, spec);
    match spec.at(&["capacity", "storage"]) {
        Value::Null => errors.push(FieldError::required("spec.capacity", "")),
        amount => {
            quantity(&mut errors, "spec.capacity[storage]", amount);
        }
    }
    let sources = spec
        .entries()
        .filter(|(key, value)| !NOT_SOURCES.contains(&key.as_str()) && !value.is_null());
    match sources.count() {
        0 => errors.push(FieldError::required("spec", "must specify a volume type")),
        1 => {}
        _ => errors.push(FieldError::forbidden(
            "spec",
            "may not specify more than 1 volume type",
        )),
    }
    let policies = &["Delete", "Recycle", "Retain"];
    one_of_if_set(
        &mut errors,
        "spec.persistentVolumeReclaimPolicy",
        &spec["persistentVolumeReclaimPolicy"],
        policies,
    );
    one_of_if_set(
        &mut errors,
        "spec.volumeMode",
        &spec["volumeMode"],
        &["Block", "Filesystem"],
    );
    let affinity = spec.at(&["nodeAffinity", "required", "nodeSelectorTerms"]);
    for (at, term) in affinity.items().iter().enumerate() {
        node_term(
            &mut errors,
            &format!("spec.nodeAffinity.required.nodeSelectorTerms[{at}]"),
            term,
        );
    }
    if !spec["local"].is_null() && affinity.items().is_empty() {
        errors.push(FieldError::required(
            "spec.nodeAffinity",
            "Local volume requires node affinity",
        ));
    }
    errors
}

fn claim(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    access_modes(&mut errors, spec);
    match spec.at(&["resources", "requests", "storage"]) {
        Value::Null => errors.push(FieldError::required("spec.resources[storage]", "")),
        amount => {
            let path = "spec.resources[storage]";
            let parsed = quantity(&mut errors, path, amount);
            if parsed.is_some_and(Quantity::is_zero) {
                errors.push(FieldError::invalid(
                    path,
                    amount,
                    "must be greater than zero",
                ));
            }
        }
    }
    if !is_empty(&spec["storageClassName"]) {
        syntax(
            &mut errors,
            "spec.storageClassName",
            spec["storageClassName"].str(),
            dns1123_subdomain,
        );
    }
    check::label_selector(&mut errors, "spec.selector", &spec["selector"]);
    one_of_if_set(
        &mut errors,
        "spec.volumeMode",
        &spec["volumeMode"],
        &["Block", "Filesystem"],
    );
    errors
}

const CLAIM_FROZEN: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

fn claim_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let bound = old.at(&["status", "phase"]).str() == "Bound";
    let frozen = |claim: &Value| {
        let mut spec = claim["spec"].clone();
        spec.make_object().remove("volumeAttributesClassName");
        if bound {
            spec.remove_at(&["resources", "requests"]);
        }
        if is_empty(old.at(&["spec", "volumeName"])) {
            spec.make_object().remove("volumeName");
        }
        if is_empty(old.at(&["spec", "storageClassName"])) {
            spec.make_object().remove("storageClassName");
        }
        spec
    };
    if frozen(new) != frozen(old) {
        errors.push(FieldError::forbidden("spec", CLAIM_FROZEN));
    }
    let amount = |claim: &Value| {
        check::text_of(claim.at(&["spec", "resources", "requests", "storage"]))
            .parse::<Quantity>()
            .ok()
    };
    let held = check::text_of(old.at(&["status", "capacity", "storage"]))
        .parse::<Quantity>()
        .ok();
    if let (Some(wanted), Some(before)) = (amount(new), amount(old))
        && wanted < before
        && held.is_none_or(|held| wanted <= held)
    {
        let why = "field can not be less than status.capacity";
        errors.push(FieldError::forbidden(
            "spec.resources.requests.storage",
            why,
        ));
    }
    errors
}

fn class_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    for (field, why) in [
        ("parameters", "updates to parameters are forbidden."),
        ("provisioner", "updates to provisioner are forbidden."),
        ("reclaimPolicy", "updates to reclaimPolicy are forbidden."),
    ] {
        if new[field] != old[field] {
            errors.push(FieldError::forbidden(field, why));
        }
    }
    if new["volumeBindingMode"] != old["volumeBindingMode"] {
        errors.push(FieldError::invalid(
            "volumeBindingMode",
            &new["volumeBindingMode"],
            IMMUTABLE,
        ));
    }
    errors
}
