//! Persistent volumes, claims, storage classes and attachments.
//!
//! Upstream counterparts: `ValidatePersistentVolume*`, `pkg/apis/storage/validation`.

use crate::{
    Part, Strategy,
    check::{self, Errors, Place, at, immutable, is_empty, one_of_if_set, syntax},
    pod::{driver_name, no_backsteps, node_term, volume_source},
    print::{age, joined, name, scalar, text},
    storage,
};
use machinery::{FieldError, Object, Quantity, Ref, Value, dns1123_label, dns1123_subdomain};

const MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];

pub(crate) const PARTS: &[Part] = &[
    Part {
        strategy: Strategy {
            shows_deleted: true,
            validate: storage::attributes_class,
            is_checked: true,
            validate_update: |new, old| {
                let fields = ["driverName", "parameters"].into_iter();
                let changed = fields.filter(|field| new[*field] != old[*field]);
                let refuse = |field| {
                    let why = format!("updates to {field} are forbidden.");
                    FieldError::forbidden(field, why)
                };
                changed.map(refuse).collect()
            },
            ..Strategy::PLAIN
        },
        heads: &["Name", "DriverName", "Age"],
        row: Some(|o, now| vec![name(o), text(o, "driverName"), age(o, now)]),
        ..Part::plain(crate::VOLUME_ATTRIBUTES_CLASSES)
    },
    Part {
        strategy: Strategy {
            has_status: true,
            prepare_create: |o| o["status"] = machinery::json!({"phase": "Pending"}),
            since: &[[&["status", "phase"], &["status", "lastPhaseTransitionTime"]]],
            validate: volume,
            validate_update: volume_update,
            shows_deleted: true,
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
            prepare_create: |o| {
                o["status"] = machinery::json!({"phase": "Pending"});
                agree_on_source(&mut o["spec"]);
            },
            validate: claim,
            validate_update: claim_update,
            shows_deleted: true,
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
            shows_deleted: true,
            validate: storage::class,
            is_checked: true,
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
            shows_deleted: true,
            has_status: true,
            validate: storage::attachment,
            is_checked: true,
            validate_update: storage::attachment_update,
            allow_unconditional_update: false,
            prepare_status_update: crate::kind::keep_metadata,
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
            shows_deleted: true,
            generation: crate::Generation::Changes,
            validate: storage::driver,
            validate_update: storage::driver_update,
            allow_unconditional_update: false,
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
        strategy: Strategy {
            shows_deleted: true,
            validate: storage::node,
            is_checked: true,
            validate_update: storage::node_update,
            allow_unconditional_update: false,
            ..Strategy::PLAIN
        },
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
    Part {
        strategy: Strategy {
            validate: storage::capacity,
            is_checked: true,
            validate_update: storage::capacity_update,
            allow_unconditional_update: false,
            ..Strategy::PLAIN
        },
        ..Part::plain(crate::CSI_STORAGE_CAPACITIES)
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

fn access_modes(errors: &mut Errors, path: Place<'_>, spec: &Value, why: &str) {
    let (modes, path) = (spec["accessModes"].items(), at!("{path}.accessModes"));
    if modes.is_empty() {
        errors.push(FieldError::required(path, why));
    }
    for mode in modes {
        if !MODES.contains(&mode.str()) {
            errors.push(FieldError::not_supported(path, mode, &MODES));
        }
    }
    let known = || modes.iter().filter(|mode| MODES.contains(&mode.str()));
    let alone = |mode: &&Value| mode.str() == "ReadWriteOncePod";
    if known().any(|mode| alone(&mode)) && known().any(|mode| !alone(&mode)) {
        let why = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden(path, why));
    }
}

fn volume_mode(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    let (mode, known) = (&spec["volumeMode"], ["Block", "Filesystem"]);
    if !mode.is_null() && !known.contains(&mode.str()) {
        let field = at!("{path}.volumeMode");
        errors.push(FieldError::not_supported(field, mode, &known));
    }
}

/// Members of a volume's specification that are not where it is kept.
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

fn volume(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    access_modes(&mut errors, at!("spec"), spec, "");
    capacity(&mut errors, &spec["capacity"]);
    let policies = &["Delete", "Recycle", "Retain"];
    one_of_if_set(
        &mut errors,
        at!("spec.persistentVolumeReclaimPolicy"),
        &spec["persistentVolumeReclaimPolicy"],
        policies,
    );
    node_affinity(&mut errors, spec);
    sources(&mut errors, spec);
    if spec.at(&["hostPath", "path"]).str() == "/"
        && spec["persistentVolumeReclaimPolicy"].str() == "Recycle"
    {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        let field = "spec.persistentVolumeReclaimPolicy";
        errors.push(FieldError::forbidden(field, why));
    }
    class_name(
        &mut errors,
        at!("spec.storageClassName"),
        &spec["storageClassName"],
    );
    volume_mode(&mut errors, at!("spec"), spec);
    let (class, field) = (
        &spec["volumeAttributesClassName"],
        "spec.volumeAttributesClassName",
    );
    if class.as_str() == Some("") {
        errors.push(FieldError::required(field, "an empty string is disallowed"));
    }
    class_name(&mut errors, at!("{field}"), class);
    if !class.is_null() && spec["csi"].is_null() {
        let why = "has to be specified when using volumeAttributesClassName";
        errors.push(FieldError::required("spec.csi", why));
    }
    errors
}

fn class_name(errors: &mut Errors, path: Place<'_>, name: &Value) {
    if !name.str().is_empty() {
        syntax(errors, path, name.str(), dns1123_subdomain);
    }
}

/// A volume has storage and nothing else, and some of it.
fn capacity(errors: &mut Errors, capacity: &Value) {
    const PATH: &str = "spec.capacity";
    if capacity.entries().next().is_none() {
        errors.push(FieldError::required(PATH, ""));
    }
    if capacity["storage"].is_null() || capacity.entries().count() > 1 {
        errors.push(FieldError::not_supported(PATH, capacity, &["storage"]));
    }
    for (name, value) in capacity.entries() {
        let field = at!("{PATH}[{name}]");
        let Ok(amount) = check::text_of(value).parse::<Quantity>() else {
            continue;
        };
        if amount.is_negative() {
            let why = "must be a valid resource quantity";
            errors.push(FieldError::invalid(field, amount.units(), why));
        }
        if amount.is_negative() || amount.is_zero() {
            let text = check::text_of(value);
            errors.push(FieldError::invalid(
                field,
                text,
                "must be greater than zero",
            ));
        }
    }
}

fn node_affinity(errors: &mut Errors, spec: &Value) {
    const PATH: &str = "spec.nodeAffinity.required";
    let affinity = &spec["nodeAffinity"];
    if affinity.is_null() {
        return;
    }
    let required = &affinity["required"];
    if required.is_null() {
        let why = "must specify required node constraints";
        return errors.push(FieldError::required(PATH, why));
    }
    let terms = required["nodeSelectorTerms"].items();
    if terms.is_empty() {
        let why = "must have at least one node selector term";
        errors.push(FieldError::required(at!("{PATH}.nodeSelectorTerms"), why));
    }
    for (at, term) in terms.iter().enumerate() {
        node_term(errors, at!("{PATH}.nodeSelectorTerms[{at}]"), term);
    }
}

fn sources(errors: &mut Errors, spec: &Value) {
    let given = spec
        .entries()
        .filter(|(key, value)| !NOT_SOURCES.contains(&key.as_str()) && !value.is_null());
    let mut count = 0;
    for (kind, source) in given {
        let path = at!("spec.{kind}");
        count += 1;
        match kind.as_str() {
            _ if count > 1 => {
                let why = "may not specify more than 1 volume type";
                errors.push(FieldError::forbidden(path, why));
            }
            "csi" => csi(errors, path, source),
            "local" => local(errors, path, source, spec),
            _ => volume_source(errors, path, kind, source),
        }
    }
    if count == 0 {
        errors.push(FieldError::required("spec", "must specify a volume type"));
    }
}

fn csi(errors: &mut Errors, path: Place<'_>, source: &Value) {
    const SECRETS: [&str; 4] = [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ];
    driver_name(errors, at!("{path}.driver"), source["driver"].str());
    check::present(errors, at!("{path}.volumeHandle"), &source["volumeHandle"]);
    for secret in SECRETS.iter().filter(|secret| !source[**secret].is_null()) {
        let (reference, path) = (&source[*secret], at!("{path}.{secret}"));
        let (name, namespace) = (reference["name"].str(), reference["namespace"].str());
        check::named(errors, at!("{path}.name"), name, dns1123_subdomain);
        check::named(errors, at!("{path}.namespace"), namespace, dns1123_label);
    }
}

fn local(errors: &mut Errors, path: Place<'_>, source: &Value, spec: &Value) {
    let place = at!("{path}.path");
    if source["path"].str().is_empty() {
        errors.push(FieldError::required(place, ""));
    } else {
        no_backsteps(errors, place, source["path"].str());
    }
    if spec["nodeAffinity"].is_null() {
        let why = "Local volume requires node affinity";
        errors.push(FieldError::required("spec.nodeAffinity", why));
    }
}

fn volume_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let (new, old) = (&new["spec"], &old["spec"]);
    let source = |spec: &Value| {
        let mut source = spec.clone();
        let map = source.make_object();
        map.retain(|key, value| !NOT_SOURCES.contains(&key) && !value.is_null());
        source
    };
    let (mut kept, before) = (source(new), source(old));
    if before.at(&["csi", "controllerExpandSecretRef"]).is_null() {
        kept.remove_at(&["csi", "controllerExpandSecretRef"]);
    }
    if kept != before {
        let text = crate::diff::unified(
            &before,
            &kept,
            "core.v1.PersistentVolumeSpec",
            Some("source"),
        );
        let why = format!("spec.persistentvolumesource is immutable after creation\n{text}");
        errors.push(FieldError::forbidden("spec.persistentvolumesource", why));
    }
    let mode = |spec: &'_ Value| spec["volumeMode"].clone();
    immutable(&mut errors, at!("volumeMode"), &mode(new), &mode(old));
    if !old["nodeAffinity"].is_null() && new["nodeAffinity"] != old["nodeAffinity"] {
        let why = "field is immutable, except for updating from beta label to GA";
        errors.push(FieldError::invalid(
            "nodeAffinity",
            &new["nodeAffinity"],
            why,
        ));
    }
    errors
}

fn claim(o: &Value) -> Errors {
    let mut errors = Errors::new();
    claim_spec(&mut errors, at!("spec"), &o["spec"]);
    errors
}

/// What a claim wants, also one made for a single pod or a replica.
pub(crate) fn claim_spec(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    let why = "at least 1 access mode is required";
    check::label_selector(errors, at!("{path}.selector"), &spec["selector"]);
    access_modes(errors, path, spec, why);
    let field = at!("{path}.resources[storage]");
    match spec.at(&["resources", "requests", "storage"]) {
        Value::Null => errors.push(FieldError::required(field, "")),
        amount => {
            let parsed = check::text_of(amount).parse::<Quantity>();
            if parsed.is_ok_and(|amount| amount.is_zero() || amount.is_negative()) {
                let why = "must be greater than zero";
                errors.push(FieldError::invalid(field, check::text_of(amount), why));
            }
        }
    }
    class_name(
        errors,
        at!("{path}.storageClassName"),
        &spec["storageClassName"],
    );
    volume_mode(errors, path, spec);
    data_source(errors, path, spec);
    let class = at!("{path}.volumeAttributesClassName");
    class_name(errors, class, &spec["volumeAttributesClassName"]);
}

/// The older of two fields for one thing takes claims and snapshots alone, and what else is said
/// there is dropped, as ever. Then each says what the other does, unless that is elsewhere.
fn agree_on_source(spec: &mut Value) {
    let (old, new) = (spec["dataSource"].clone(), spec["dataSourceRef"].clone());
    let known = [
        ("", "PersistentVolumeClaim"),
        ("snapshot.storage.k8s.io", "VolumeSnapshot"),
    ];
    let said = (old["apiGroup"].str(), old["kind"].str());
    match (old.is_null(), new.is_null()) {
        (false, true) if known.contains(&said) => spec["dataSourceRef"] = old,
        (false, true) => drop(spec.remove_at(&["dataSource"])),
        (true, false) if new["namespace"].str().is_empty() => {
            let mut source = new;
            source.make_object().remove("namespace");
            spec["dataSource"] = source;
        }
        _ => {}
    }
}

fn data_source(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    for list in ["dataSource", "dataSourceRef"] {
        let (source, path) = (&spec[list], at!("{path}.{list}"));
        if source.is_null() {
            continue;
        }
        check::present(errors, at!("{path}.name"), &source["name"]);
        check::present(errors, at!("{path}.kind"), &source["kind"]);
        let (group, kind) = (source["apiGroup"].str(), source["kind"].str());
        if group.is_empty() && !matches!(kind, "" | "PersistentVolumeClaim") {
            let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.push(FieldError::invalid(path, kind, why));
        }
        if !group.is_empty() {
            syntax(errors, at!("{path}.apiGroup"), group, dns1123_subdomain);
        }
    }
    let (source, reference) = (&spec["dataSource"], &spec["dataSourceRef"]);
    if source.is_null() || reference.is_null() {
        return;
    }
    let why = if !reference["namespace"].str().is_empty() {
        "may not be specified when dataSourceRef.namespace is specified"
    } else if ["apiGroup", "kind", "name"]
        .iter()
        .any(|key| source[*key] != reference[*key])
    {
        "must match dataSourceRef"
    } else {
        return;
    };
    let mut error = FieldError::invalid(path, Value::object(), why);
    error.shown = Some("{}".into());
    errors.push(error);
}

const CLAIM_FROZEN: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

fn claim_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let bound = old.at(&["status", "phase"]).str() == "Bound";
    let (mut before, after) = (old["spec"].clone(), &new["spec"]);
    // What may change is as it will be.
    let mut let_go = |path: &[&str]| match after.at(path) {
        Value::Null => drop(before.remove_at(path)),
        value => before.set_at(path, value.clone()),
    };
    let_go(&["volumeAttributesClassName"]);
    if bound {
        let_go(&["resources", "requests"]);
    }
    for field in ["volumeName", "storageClassName"] {
        if is_empty(old.at(&["spec", field])) {
            let_go(&[field]);
        }
    }
    if before != *after {
        let text = crate::diff::unified(&before, after, "core.v1.PersistentVolumeClaimSpec", None);
        errors.push(FieldError::forbidden(
            "spec",
            format!("{CLAIM_FROZEN}\n{text}"),
        ));
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
        && wanted <= held.unwrap_or_default()
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
    for field in [
        "parameters",
        "provisioner",
        "reclaimPolicy",
        "volumeBindingMode",
    ] {
        immutable(&mut errors, at!("{field}"), &new[field], &old[field]);
    }
    errors
}
