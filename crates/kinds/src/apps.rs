//! Workloads that keep pods running: Deployment, ReplicaSet, StatefulSet, DaemonSet,
//! ReplicationController, ControllerRevision.
//!
//! Upstream counterparts: `pkg/apis/apps/validation`, `pkg/registry/apps/*`, `printers`.

use crate::{
    Part, Strategy,
    check::{
        self, Errors, Place, at, count_or_percent, immutable, label_selector, none_negative, one_of,
    },
    pod,
    print::{age, containers, labels, name, number, or_none, selector},
};
use machinery::{FieldError, LabelSelector, Object, Value, flat, format_smolstr};

pub(crate) const PARTS: &[Part] = &[
    Part {
        strategy: Strategy {
            warnings: crate::warnings::template,
            validate: deployment,
            generation: crate::Generation::DesiredAndAnnotations,
            is_checked: true,
            validate_update: selector_is_fixed,
            prepare_status_update: |new, old| crate::kind::keep_in_metadata(new, old, &["labels"]),
            ..Strategy::MANAGED
        },
        heads: &[
            "Name",
            "Ready",
            "Up-to-date",
            "Available",
            "Age",
            "+Containers",
            "+Images",
            "+Selector",
        ],
        row: Some(|o, now| {
            let [names, images] = containers(o.at("spec.template.spec"));
            let (updated, available) = (
                number(o, "status.updatedReplicas"),
                number(o, "status.availableReplicas"),
            );
            vec![
                name(o),
                ready(o),
                updated,
                available,
                age(o, now),
                names,
                images,
                selector(o.at("spec.selector")),
            ]
        }),
        ..Part::plain(crate::DEPLOYMENTS)
    },
    Part {
        strategy: Strategy {
            warnings: crate::warnings::template,
            validate: replica_set,
            is_checked: true,
            validate_update: selector_is_fixed,
            ..Strategy::MANAGED
        },
        heads: REPLICA_HEADS,
        row: Some(|o, now| replicas_row(o, now, selector(o.at("spec.selector")))),
        selectable: &["status.replicas"],
        ..Part::plain(crate::REPLICA_SETS)
    },
    Part {
        strategy: Strategy {
            warnings: crate::warnings::template,
            validate: |o| {
                let mut errors = Errors::new();
                none_negative(
                    &mut errors,
                    at!("spec"),
                    &o["spec"],
                    &["replicas", "minReadySeconds"],
                );
                plain_selector(&mut errors, o);
                match o.at(&["spec", "template"]) {
                    Value::Null => errors.push(FieldError::required("spec.template", "")),
                    _ => pod_template(&mut errors, &o["spec"], "ReplicationController"),
                }
                errors
            },
            default_propagation: crate::Propagation::Orphan,
            ..Strategy::MANAGED
        },
        heads: REPLICA_HEADS,
        row: Some(|o, now| replicas_row(o, now, labels(o.at("spec.selector")))),
        selectable: &["status.replicas"],
        ..Part::plain(crate::REPLICATION_CONTROLLERS)
    },
    Part {
        strategy: Strategy {
            name_check: machinery::dns1123_label,
            warnings: crate::warnings::template,
            validate: stateful_set,
            is_checked: true,
            validate_update: stateful_set_update,
            ..Strategy::MANAGED
        },
        heads: &["Name", "Ready", "Age", "+Containers", "+Images"],
        row: Some(|o, now| {
            let [names, images] = containers(o.at("spec.template.spec"));
            vec![name(o), ready(o), age(o, now), names, images]
        }),
        ..Part::plain(crate::STATEFUL_SETS)
    },
    Part {
        strategy: Strategy {
            warnings: crate::warnings::template,
            prepare_create: |o| o.set_at(&TEMPLATE_GENERATION, "1"),
            prepare_update: count_templates,
            validate: daemon_set,
            is_checked: true,
            validate_update: selector_is_fixed,
            ..Strategy::MANAGED
        },
        heads: &[
            "Name",
            "Desired:integer",
            "Current:integer",
            "Ready:integer",
            "Up-to-date:integer",
            "Available:integer",
            "Node Selector",
            "Age",
            "+Containers",
            "+Images",
            "+Selector",
        ],
        row: Some(|o, now| {
            let [names, images] = containers(o.at("spec.template.spec"));
            vec![
                name(o),
                number(o, "status.desiredNumberScheduled"),
                number(o, "status.currentNumberScheduled"),
                number(o, "status.numberReady"),
                number(o, "status.updatedNumberScheduled"),
                number(o, "status.numberAvailable"),
                labels(o.at("spec.template.spec.nodeSelector")),
                age(o, now),
                names,
                images,
                selector(o.at("spec.selector")),
            ]
        }),
        ..Part::plain(crate::DAEMON_SETS)
    },
    Part {
        strategy: Strategy {
            validate: |o| {
                let mut errors = Errors::new();
                if o["data"].is_null() {
                    errors.push(FieldError::required("data", "data is mandatory"));
                } else if o["data"].as_object().is_none() {
                    let why = "data must be a valid JSON object";
                    errors.push(FieldError::required("data", why));
                }
                check::not_negative(&mut errors, at!("revision"), &o["revision"]);
                errors
            },
            validate_update: |new, old| {
                let mut errors = Errors::new();
                immutable(&mut errors, at!("data"), &new["data"], &old["data"]);
                errors
            },
            ..Strategy::PLAIN
        },
        heads: &["Name", "Controller", "Revision", "Age"],
        row: Some(|o, now| {
            let owner = o.controller().map(|owner| {
                let group = owner
                    .api_version()
                    .split_once('/')
                    .map_or("", |(group, _)| group);
                let dot = if group.is_empty() { "" } else { "." };
                format!(
                    "{}{dot}{group}/{}",
                    owner.kind().to_ascii_lowercase(),
                    owner.name()
                )
            });
            let revision = number(o, "revision");
            vec![
                name(o),
                or_none(owner.unwrap_or_default()),
                revision,
                age(o, now),
            ]
        }),
        ..Part::plain(crate::CONTROLLER_REVISIONS)
    },
    Part {
        strategy: Strategy {
            warnings: crate::warnings::template,
            shows_deleted: true,
            validate: |o| {
                let mut errors = Errors::new();
                pod::template(&mut errors, at!("template"), &o["template"]);
                errors
            },
            generation: crate::Generation::Desired,
            ..Strategy::PLAIN
        },
        heads: &["Name", "Containers", "Images", "Pod Labels"],
        row: Some(|o, _| {
            let [names, images] = containers(o.at("template.spec"));
            vec![
                name(o),
                names,
                images,
                labels(o.at("template.metadata.labels")),
            ]
        }),
        ..Part::plain(crate::POD_TEMPLATES)
    },
];

const REPLICA_HEADS: &[&str] = &[
    "Name",
    "Desired:integer",
    "Current:integer",
    "Ready:integer",
    "Age",
    "+Containers",
    "+Images",
    "+Selector",
];

/// Where a daemon set counts the templates it has had, for clients older than revisions.
const TEMPLATE_GENERATION: [&str; 3] = [
    "metadata",
    "annotations",
    "deprecated.daemonset.template.generation",
];

/// The count goes on from what is stored, whatever the client says of it.
fn count_templates(new: &mut Value, old: &Value) {
    let count: i64 = old.at(&TEMPLATE_GENERATION).str().parse().unwrap_or(0);
    let template = ["spec", "template"];
    let changed = new.at(&template) != old.at(&template);
    new.set_at(
        &TEMPLATE_GENERATION,
        (count + i64::from(changed)).to_string(),
    );
}

fn ready(object: &Object) -> Value {
    let (ready, wanted) = (
        object.at("status.readyReplicas"),
        object.at("spec.replicas"),
    );
    format_smolstr!("{}/{}", ready.i64(), wanted.i64()).into()
}

fn replicas_row(o: &Object, now: u64, selector: Value) -> Vec<Value> {
    let [names, images] = containers(o.at("spec.template.spec"));
    vec![
        name(o),
        number(o, "spec.replicas"),
        number(o, "status.replicas"),
        number(o, "status.readyReplicas"),
        age(o, now),
        names,
        images,
        selector,
    ]
}

fn selector_is_fixed(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    immutable(
        &mut errors,
        at!("spec.selector"),
        &new["spec"]["selector"],
        &old["spec"]["selector"],
    );
    errors
}

/// The selector, and that it finds the template's labels.
fn selects_template(errors: &mut Errors, spec: &Value, kind: &str) {
    let (chosen, labels) = (
        &spec["selector"],
        spec.at(&["template", "metadata", "labels"]),
    );
    let before = errors.len();
    let empty = ["matchLabels", "matchExpressions"]
        .iter()
        .all(|part| check::is_empty(&chosen[*part]));
    if chosen.is_null() {
        // Of a DaemonSet's, only that it finds nothing is told.
        if kind != "daemonset" {
            errors.push(FieldError::required("spec.selector", ""));
        }
    } else {
        label_selector(errors, at!("spec.selector"), chosen);
        if empty {
            let why = format!("empty selector is invalid for {kind}");
            errors.push(FieldError::invalid("spec.selector", chosen, why));
        }
    }
    if errors.len() > before && !chosen.is_null() && !empty {
        let why = "invalid label selector";
        return errors.push(FieldError::invalid("spec.selector", chosen, why));
    }
    let bytes = flat::encode(chosen);
    let selector = LabelSelector::from_ref(machinery::Ref::new(&bytes));
    // No selector finds nothing, an empty one everything.
    let found = selector.matches(|key| labels.get(key).and_then(Value::as_str));
    if chosen.is_null() || !empty && !found {
        let why = "`selector` does not match template `labels`";
        let field = "spec.template.metadata.labels";
        errors.push(FieldError::invalid(field, labels, why));
    }
}

fn plain_selector(errors: &mut Errors, o: &Value) {
    let chosen = o.at(&["spec", "selector"]);
    if check::is_empty(chosen) {
        errors.push(FieldError::required("spec.selector", ""));
        return;
    }
    let labels = o.at(&["spec", "template", "metadata", "labels"]);
    if chosen
        .entries()
        .any(|(key, value)| labels.get(key) != Some(value))
    {
        let why = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(
            "spec.template.metadata.labels",
            labels,
            why,
        ));
    }
}

/// A template whose pods are replaced: they always restart and never end by themselves.
fn pod_template(errors: &mut Errors, spec: &Value, kind: &str) {
    pod::template(errors, at!("spec.template"), &spec["template"]);
    let policy = spec.at(&["template", "spec", "restartPolicy"]);
    check::one_of_if_set(
        errors,
        at!("spec.template.spec.restartPolicy"),
        policy,
        &["Always"],
    );
    let deadline = spec.at(&["template", "spec", "activeDeadlineSeconds"]);
    if !deadline.is_null() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        let field = "spec.template.spec.activeDeadlineSeconds";
        errors.push(FieldError::forbidden(field, why));
    }
}

fn deployment(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    none_negative(&mut errors, at!("spec"), spec, &["replicas"]);
    selects_template(&mut errors, spec, "deployment");
    pod_template(&mut errors, spec, "ReplicaSet");
    let strategy = &spec["strategy"];
    match strategy["type"].str() {
        "Recreate" if !strategy["rollingUpdate"].is_null() => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(FieldError::forbidden("spec.strategy.rollingUpdate", why));
        }
        "Recreate" => {}
        "RollingUpdate" => {
            rolling(
                &mut errors,
                at!("spec.strategy.rollingUpdate"),
                &strategy["rollingUpdate"],
            );
        }
        _ => {
            let known = &["Recreate", "RollingUpdate"];
            errors.push(FieldError::not_supported("spec.strategy", strategy, known));
        }
    }
    none_negative(
        &mut errors,
        at!("spec"),
        spec,
        &["minReadySeconds", "revisionHistoryLimit"],
    );
    if let Some(deadline) = spec["progressDeadlineSeconds"].as_i64() {
        check::not_negative(
            &mut errors,
            at!("spec.progressDeadlineSeconds"),
            &spec["progressDeadlineSeconds"],
        );
        if deadline <= spec["minReadySeconds"].as_i64().unwrap_or(0) {
            let why = "must be greater than minReadySeconds";
            errors.push(FieldError::invalid(
                "spec.progressDeadlineSeconds",
                deadline,
                why,
            ));
        }
    }
    errors
}

fn rolling(errors: &mut Errors, path: Place<'_>, rolling: &Value) {
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    count_or_percent(errors, at!("{path}.maxUnavailable"), unavailable);
    if surge.as_str().is_some_and(|text| !text.ends_with('%')) {
        count_or_percent(errors, at!("{path}.maxSurge"), surge);
    } else {
        check::not_negative(errors, at!("{path}.maxSurge"), surge);
    }
    let zero = |value: &Value| value.as_i64() == Some(0) || matches!(value.str(), "0%" | "0");
    if zero(unavailable) && zero(surge) {
        let why = "may not be 0 when `maxSurge` is 0";
        errors.push(FieldError::invalid(
            at!("{path}.maxUnavailable"),
            unavailable,
            why,
        ));
    }
}

fn replica_set(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    none_negative(
        &mut errors,
        at!("spec"),
        spec,
        &["replicas", "minReadySeconds"],
    );
    selects_template(&mut errors, spec, "deployment");
    pod_template(&mut errors, spec, "ReplicaSet");
    errors
}

fn stateful_set(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    let (policy, strategy) = (spec["podManagementPolicy"].str(), &spec["updateStrategy"]);
    if !matches!(policy, "OrderedReady" | "Parallel") {
        let why = "must be 'OrderedReady' or 'Parallel'";
        errors.push(FieldError::invalid("spec.podManagementPolicy", policy, why));
    }
    match strategy["type"].str() {
        "RollingUpdate" => {}
        "OnDelete" if strategy["rollingUpdate"].is_null() => {}
        "OnDelete" => {
            let (field, shown) = (
                "spec.updateStrategy.rollingUpdate",
                &strategy["rollingUpdate"],
            );
            let why = "only allowed for updateStrategy 'RollingUpdate'";
            errors.push(FieldError::invalid(field, shown, why));
        }
        _ => {
            let why = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(FieldError::invalid("spec.updateStrategy", strategy, why));
        }
    }
    claims_and_service(&mut errors, spec);
    check::not_negative(
        &mut errors,
        at!("spec.updateStrategy.rollingUpdate.partition"),
        &strategy["rollingUpdate"]["partition"],
    );
    let retention = &spec["persistentVolumeClaimRetentionPolicy"];
    for field in ["whenDeleted", "whenScaled"] {
        let path = at!("spec.persistentVolumeClaimRetentionPolicy.{field}");
        one_of(&mut errors, path, &retention[field], &["Retain", "Delete"]);
    }
    none_negative(
        &mut errors,
        at!("spec"),
        spec,
        &["replicas", "minReadySeconds"],
    );
    check::not_negative(
        &mut errors,
        at!("spec.ordinals.start"),
        &spec["ordinals"]["start"],
    );
    selects_template(&mut errors, spec, "statefulset");
    // Claims of the set become volumes of its pods, so mounts may name them.
    let mut whole = spec.clone();
    let claims = spec["volumeClaimTemplates"].items().iter();
    let volumes: Vec<Value> = claims
        .map(|claim| machinery::json!({"name": claim.name(), "emptyDir": {}}))
        .collect();
    let known = whole["template"]["spec"]["volumes"].items().to_vec();
    let names: Vec<_> = volumes
        .iter()
        .map(|volume| volume["name"].clone())
        .collect();
    let kept = known
        .into_iter()
        .filter(|volume| !names.contains(&volume["name"]));
    whole["template"]["spec"]["volumes"] = Value::Array(kept.chain(volumes.clone()).collect());
    pod_template(&mut errors, &whole, "StatefulSet");
    errors
}

/// The claims made for each replica, and the service that names them.
fn claims_and_service(errors: &mut Errors, spec: &Value) {
    let service = spec["serviceName"].str();
    if !service.is_empty() {
        check::syntax(
            errors,
            at!("spec.serviceName"),
            service,
            machinery::dns1123_label,
        );
    }
    for (at, claim) in spec["volumeClaimTemplates"].items().iter().enumerate() {
        let path = at!("spec.volumeClaimTemplates[{at}].spec");
        crate::volume::claim_spec(errors, path, &claim["spec"]);
    }
}

const STATEFUL_FROZEN: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

fn stateful_set_update(new: &Value, old: &Value) -> Errors {
    let frozen = |o: &Value| {
        let mut spec = o["spec"].clone();
        for field in [
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ] {
            spec.make_object().remove(field);
        }
        spec
    };
    if frozen(new) == frozen(old) {
        return Errors::new();
    }
    vec![FieldError::forbidden("spec", STATEFUL_FROZEN)]
}

fn daemon_set(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    selects_template(&mut errors, spec, "daemonset");
    pod_template(&mut errors, spec, "DaemonSet");
    none_negative(
        &mut errors,
        at!("spec"),
        spec,
        &["minReadySeconds", "revisionHistoryLimit"],
    );
    let strategy = &spec["updateStrategy"];
    match strategy["type"].str() {
        "OnDelete" => {}
        "RollingUpdate" => daemon_rolling(&mut errors, &strategy["rollingUpdate"]),
        _ => {
            let known = &["RollingUpdate", "OnDelete"];
            errors.push(FieldError::not_supported(
                "spec.updateStrategy",
                strategy,
                known,
            ));
        }
    }
    errors
}

fn daemon_rolling(errors: &mut Errors, update: &Value) {
    const PATH: &str = "spec.updateStrategy.rollingUpdate";
    let zero = |value: &Value| value.as_i64() == Some(0) || matches!(value.str(), "0%" | "0");
    let (unavailable, surge) = (&update["maxUnavailable"], &update["maxSurge"]);
    count_or_percent(errors, at!("{PATH}.maxUnavailable"), unavailable);
    count_or_percent(errors, at!("{PATH}.maxSurge"), surge);
    if !zero(unavailable) && !zero(surge) && !surge.is_null() {
        let why = "may not be set when maxUnavailable is non-zero";
        errors.push(FieldError::invalid(at!("{PATH}.maxSurge"), surge, why));
    }
    if zero(unavailable) && zero(surge) {
        let why = "cannot be 0 when maxSurge is 0";
        errors.push(FieldError::required(at!("{PATH}.maxUnavailable"), why));
    }
}
