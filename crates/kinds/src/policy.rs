//! Autoscalers, disruption budgets and priorities.
//!
//! Upstream counterparts: `pkg/apis/{autoscaling,policy,scheduling}/validation`.

use crate::{
    Part, Strategy,
    check::{self, Errors, count_or_percent, label_selector, one_of},
    convert,
    print::{age, name, number, scalar},
};
use machinery::{FieldError, Object, Ref, Value, path_segment};

pub(crate) const PARTS: &[Part] = &[
    Part {
        strategy: Strategy {
            has_status: true,
            validate: autoscaler,
            ..Strategy::PLAIN
        },
        heads: &[
            "Name",
            "Reference",
            "Targets",
            "MinPods",
            "MaxPods:integer",
            "Replicas:integer",
            "Age",
        ],
        row: Some(autoscaler_row),
        convert: Some(convert::autoscaler),
        ..Part::plain(crate::HORIZONTAL_POD_AUTOSCALERS)
    },
    Part {
        strategy: Strategy {
            validate: budget,
            ..Strategy::MANAGED
        },
        heads: &[
            "Name",
            "Min Available",
            "Max Unavailable",
            "Allowed Disruptions:integer",
            "Age",
        ],
        row: Some(|o, now| {
            let or_na = |path: &str| match scalar(o.at(path)) {
                text if text.is_empty() => Value::from("N/A"),
                text => text.into(),
            };
            let allowed = number(o, "status.disruptionsAllowed");
            vec![
                name(o),
                or_na("spec.minAvailable"),
                or_na("spec.maxUnavailable"),
                allowed,
                age(o, now),
            ]
        }),
        ..Part::plain(crate::POD_DISRUPTION_BUDGETS)
    },
    Part {
        strategy: Strategy {
            has_generation: true,
            validate: priority,
            validate_update: priority_update,
            ..Strategy::PLAIN
        },
        heads: &[
            "Name",
            "Value:integer",
            "Global-Default:boolean",
            "Age",
            "PreemptionPolicy",
        ],
        row: Some(|o, now| {
            let default = o.at("globalDefault").is_true();
            vec![
                name(o),
                number(o, "value"),
                default.into(),
                age(o, now),
                o.at("preemptionPolicy").str().into(),
            ]
        }),
        ..Part::plain(crate::PRIORITY_CLASSES)
    },
];

fn autoscaler(o: &Value) -> Errors {
    let mut errors = Errors::new();
    let spec = &o["spec"];
    let least = spec["minReplicas"].as_i64().unwrap_or(1);
    let most = spec["maxReplicas"].as_i64().unwrap_or(0);
    if least < 1 {
        let why = "must be greater than or equal to 1";
        errors.push(FieldError::invalid("spec.minReplicas", least, why));
    }
    if most < 1 {
        errors.push(FieldError::invalid(
            "spec.maxReplicas",
            most,
            "must be greater than 0",
        ));
    }
    if most < least {
        let why = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid("spec.maxReplicas", most, why));
    }
    check::named(
        &mut errors,
        "spec.scaleTargetRef.kind",
        spec.at(&["scaleTargetRef", "kind"]).str(),
        path_segment,
    );
    check::named(
        &mut errors,
        "spec.scaleTargetRef.name",
        spec.at(&["scaleTargetRef", "name"]).str(),
        path_segment,
    );
    for (at, metric) in spec["metrics"].items().iter().enumerate() {
        let path = format!("spec.metrics[{at}]");
        let kinds = &[
            "ContainerResource",
            "External",
            "Object",
            "Pods",
            "Resource",
        ];
        one_of(&mut errors, &format!("{path}.type"), &metric["type"], kinds);
        let field = match metric["type"].str() {
            "ContainerResource" => "containerResource",
            "External" => "external",
            "Object" => "object",
            "Pods" => "pods",
            "Resource" => "resource",
            _ => continue,
        };
        if metric[field].is_null() {
            let why = "must populate information for the given metric source";
            errors.push(FieldError::required(format!("{path}.{field}"), why));
        } else if check::is_empty(&metric[field]["target"]) {
            let why = "must specify either a target raw value or a target utilization";
            errors.push(FieldError::required(format!("{path}.{field}.target"), why));
        }
    }
    errors
}

fn autoscaler_row(o: &Object, now: u64) -> Vec<Value> {
    let target = o.at("spec.scaleTargetRef");
    let reference = format!("{}/{}", target.get("kind").str(), target.get("name").str());
    let least = o
        .at("spec.minReplicas")
        .as_i64()
        .map_or("<unset>".into(), |least| least.to_string());
    let current: Vec<_> = o.at("status.currentMetrics").items().collect();
    let metrics = o.at("spec.metrics").items().enumerate();
    let texts: Vec<_> = metrics
        .map(|(at, metric)| metric_text(metric, current.get(at).copied()))
        .collect();
    let shown = match texts.len() {
        0 => crate::print::NONE.to_owned(),
        1 | 2 => texts.join(", "),
        more => format!("{} + {} more...", texts[..2].join(", "), more - 2),
    };
    vec![
        name(o),
        reference.into(),
        shown.into(),
        least.into(),
        number(o, "spec.maxReplicas"),
        number(o, "status.currentReplicas"),
        age(o, now),
    ]
}

fn metric_text(metric: Ref<'_>, seen: Option<Ref<'_>>) -> String {
    let field = match metric.get("type").str() {
        "Resource" => "resource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".into(),
    };
    let target = metric.get(field).get("target");
    let current = seen.unwrap_or_default().get(field).get("current");
    let label = match field {
        "resource" => format!("{}: ", metric.at("resource.name").str()),
        _ => String::new(),
    };
    let known = |text: String| {
        if text.is_empty() {
            "<unknown>".to_owned()
        } else {
            text
        }
    };
    if let Some(wanted) = target.get("averageUtilization").as_i64() {
        let found = current
            .get("averageUtilization")
            .as_i64()
            .map(|found| format!("{found}%"));
        return format!("{label}{}/{wanted}%", known(found.unwrap_or_default()));
    }
    let (key, suffix) = match target.get("averageValue").is_null() {
        true => ("value", ""),
        false if matches!(field, "object" | "external") => ("averageValue", " (avg)"),
        false => ("averageValue", ""),
    };
    format!(
        "{label}{}/{}{suffix}",
        known(scalar(current.get(key))),
        scalar(target.get(key))
    )
}

fn budget(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        let why = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid("spec", spec, why));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        count_or_percent(&mut errors, &format!("spec.{field}"), &spec[field]);
    }
    label_selector(&mut errors, "spec.selector", &spec["selector"]);
    let policies = &["AlwaysAllow", "IfHealthyBudget"];
    check::one_of_if_set(
        &mut errors,
        "spec.unhealthyPodEvictionPolicy",
        &spec["unhealthyPodEvictionPolicy"],
        policies,
    );
    errors
}

/// The highest priority that is not the system's.
const PRIORITY_MAX: i64 = 1_000_000_000;

fn priority(o: &Value) -> Errors {
    let mut errors = Errors::new();
    let (value, system) = (
        o["value"].as_i64().unwrap_or(0),
        o.name().starts_with("system-"),
    );
    if system && !matches!(o.name(), "system-node-critical" | "system-cluster-critical") {
        let why = "priority class names with 'system-' prefix are reserved for system use only";
        errors.push(FieldError::forbidden("metadata.name", why));
    }
    if !system && value > PRIORITY_MAX {
        let why = format!("maximum allowed value of a user defined priority is {PRIORITY_MAX}");
        errors.push(FieldError::forbidden("value", why));
    }
    check::one_of_if_set(
        &mut errors,
        "preemptionPolicy",
        &o["preemptionPolicy"],
        &["Never", "PreemptLowerPriority"],
    );
    errors
}

fn priority_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    if new["value"].as_i64().unwrap_or(0) != old["value"].as_i64().unwrap_or(0) {
        errors.push(FieldError::forbidden(
            "value",
            "may not be changed in an update.",
        ));
    }
    check::immutable(
        &mut errors,
        "preemptionPolicy",
        &new["preemptionPolicy"],
        &old["preemptionPolicy"],
    );
    errors
}
