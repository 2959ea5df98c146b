//! Autoscalers, disruption budgets and priorities.
//!
//! Upstream counterparts: `pkg/apis/{autoscaling,policy,scheduling}/validation`.

use crate::{
    Part, Strategy,
    check::{self, Errors, Place, at, count_or_percent, label_selector},
    convert,
    print::{age, name, number, scalar},
};
use machinery::{FieldError, Object, Ref, Value, path_segment};

pub(crate) const PARTS: &[Part] = &[
    Part {
        strategy: Strategy {
            has_status: true,
            validate: autoscaler,
            is_checked: true,
            ..Strategy::PLAIN
        },
        heads: &[
            "Name",
            "Reference",
            "Targets",
            "MinPods",
            "MaxPods",
            "Replicas",
            "Age",
        ],
        row: Some(autoscaler_row),
        convert: Some(convert::autoscaler),
        ..Part::plain(crate::HORIZONTAL_POD_AUTOSCALERS)
    },
    Part {
        strategy: Strategy {
            validate: budget,
            name_check: path_segment,
            allow_unconditional_update: false,
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
            generation: crate::Generation::One,
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
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    let least = spec["minReplicas"].as_i64().unwrap_or(1);
    let most = spec["maxReplicas"].as_i64().unwrap_or(0);
    let metrics = spec["metrics"].items();
    if least < 1 {
        let why = "must be greater than or equal to 1";
        errors.push(FieldError::invalid("spec.minReplicas", least, why));
    }
    if most < 1 {
        let why = "must be set and greater than 0";
        errors.push(FieldError::required("spec.maxReplicas", why));
    }
    if most < least {
        let why = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid("spec.maxReplicas", most, why));
    }
    scaled(&mut errors, &spec["scaleTargetRef"]);
    let outside = |one: &Value| matches!(one["type"].str(), "Object" | "External");
    if least == 0 && !metrics.iter().any(outside) {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden("spec.metrics", why));
    }
    // Of old there was one metric, without a place of its own.
    let target = spec["targetCPUUtilizationPercentage"].as_i64();
    if let Some(target) = target.filter(|target| *target < 1) {
        let field = "spec.metrics[0].resource.target.averageUtilization";
        errors.push(FieldError::invalid(field, target, "must be greater than 0"));
    }
    for (at, one) in metrics.iter().enumerate() {
        metric(&mut errors, at!("spec.metrics[{at}]"), one);
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = spec.at(&["behavior", direction]);
        if !rules.is_null() {
            behavior(&mut errors, at!("spec.behavior.{direction}"), rules);
        }
    }
    errors
}

/// What is scaled: of the core group there is only one such kind.
fn scaled(errors: &mut Errors, target: &Value) {
    let path = at!("spec.scaleTargetRef");
    for field in ["kind", "name"] {
        let place = at!("{path}.{field}");
        check::named(errors, place, target[field].str(), path_segment);
    }
    let version = target["apiVersion"].str();
    let why = match version.matches('/').count() {
        0 if target["kind"].str() != "ReplicationController" => {
            "apiVersion must specify API group".to_owned()
        }
        0 | 1 => return,
        _ => format!("unexpected GroupVersion string: {version}"),
    };
    let field = at!("{path}.apiVersion");
    errors.push(FieldError::invalid(field, version, why));
}

/// Types of metrics and where each says what it is, in the order upstream looks at them.
const METRICS: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

fn metric(errors: &mut Errors, path: Place<'_>, metric: &Value) {
    let kind = metric["type"].str();
    let given = || {
        METRICS
            .iter()
            .filter(|(_, field)| !metric[*field].is_null())
    };
    if let Some((_, field)) = given().next() {
        source(errors, at!("{path}.{field}"), field, &metric[*field]);
    }
    let own = METRICS.iter().find(|(name, _)| *name == kind);
    match own {
        Some((_, field)) if metric[*field].is_null() => {
            let why = "must populate information for the given metric source";
            errors.push(FieldError::required(at!("{path}.{field}"), why));
        }
        Some(_) => {}
        None => {
            let mut known = METRICS.map(|(name, _)| name);
            known.sort_unstable();
            // Upstream says it twice.
            for _ in 0..2 {
                let field = at!("{path}.type");
                errors.push(FieldError::not_supported(field, kind, &known));
            }
        }
    }
    if given().count() > 1 {
        for (_, field) in given().filter(|(name, _)| *name != kind) {
            let why = "must populate the given metric source only";
            errors.push(FieldError::forbidden(at!("{path}.{field}"), why));
        }
    }
}

fn source(errors: &mut Errors, path: Place<'_>, field: &str, source: &Value) {
    let target = &source["target"];
    let given = |name: &str| !target[name].is_null();
    let (raw, whole, share) = (
        given("averageValue"),
        given("value"),
        given("averageUtilization"),
    );
    match field {
        "resource" | "containerResource" => {
            if source["name"].str().is_empty() {
                let why = "must specify a resource name";
                errors.push(FieldError::required(at!("{path}.name"), why));
            }
            if field == "containerResource" && source["container"].str().is_empty() {
                let why = "must specify a container";
                errors.push(FieldError::required(at!("{path}.container"), why));
            }
        }
        _ => identifier(errors, at!("{path}.metric"), &source["metric"]),
    }
    if field == "object" {
        let path = at!("{path}.describedObject");
        for key in ["kind", "name"] {
            let place = at!("{path}.{key}");
            check::named(
                errors,
                place,
                source["describedObject"][key].str(),
                path_segment,
            );
        }
    }
    amounts(errors, at!("{path}.target"), target);
    let (missing, why) = match field {
        "object" => (
            !whole && !raw,
            "must set either a target value or averageValue",
        ),
        "external" => (
            !whole && !raw,
            "must set either a target value for metric or a per-pod target",
        ),
        "pods" => (!raw, "must specify a positive target averageValue"),
        _ => (
            !share && !raw,
            "must set either a target raw value or a target utilization",
        ),
    };
    let resource = matches!(field, "resource" | "containerResource");
    if missing {
        let name = if resource {
            "averageUtilization"
        } else {
            "averageValue"
        };
        errors.push(FieldError::required(at!("{path}.target.{name}"), why));
    }
    if resource && share && raw {
        let why = "may not set both a target raw value and a target utilization";
        errors.push(FieldError::forbidden(
            at!("{path}.target.averageValue"),
            why,
        ));
    }
    if field == "external" && whole && raw {
        let why = "may not set both a target value for metric and a per-pod target";
        errors.push(FieldError::forbidden(at!("{path}.target.value"), why));
    }
}

fn identifier(errors: &mut Errors, path: Place<'_>, metric: &Value) {
    let (name, field) = (metric["name"].str(), at!("{path}.name"));
    if name.is_empty() {
        errors.push(FieldError::required(field, "must specify a metric name"));
    } else {
        check::syntax(errors, field, name, path_segment);
    }
}

fn amounts(errors: &mut Errors, path: Place<'_>, target: &Value) {
    let kind = target["type"].str();
    if kind.is_empty() {
        let why = "must specify a metric target type";
        errors.push(FieldError::required(at!("{path}.type"), why));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let why = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(at!("{path}.type"), kind, why));
    }
    for field in ["value", "averageValue"] {
        let text = check::text_of(&target[field]);
        let amount = text.parse::<machinery::Quantity>();
        if amount.is_ok_and(|amount| amount.is_zero() || amount.is_negative()) {
            let field = at!("{path}.{field}");
            errors.push(FieldError::invalid(field, text, "must be positive"));
        }
    }
    if let Some(share) = target["averageUtilization"]
        .as_i64()
        .filter(|share| *share < 1)
    {
        let field = at!("{path}.averageUtilization");
        errors.push(FieldError::invalid(field, share, "must be greater than 0"));
    }
}

/// An hour to look back, half an hour for one policy, in seconds.
const WINDOW_MAX: i64 = 3_600;
const PERIOD_MAX: i64 = 1_800;

fn behavior(errors: &mut Errors, path: Place<'_>, rules: &Value) {
    let window = rules["stabilizationWindowSeconds"].as_i64().unwrap_or(0);
    let place = at!("{path}.stabilizationWindowSeconds");
    ranged(errors, place, window, (0, WINDOW_MAX));
    let known = ["Disabled", "Max", "Min"];
    let (choice, field) = (&rules["selectPolicy"], at!("{path}.selectPolicy"));
    check::one_of_if_set(errors, field, choice, &known);
    let policies = rules["policies"].items();
    if policies.is_empty() {
        let why = "must specify at least one Policy";
        errors.push(FieldError::required(at!("{path}.policies"), why));
    }
    for (at, policy) in policies.iter().enumerate() {
        let path = at!("{path}.policies[{at}]");
        let kinds = ["Percent", "Pods"];
        let kind = policy["type"].str();
        if !kinds.contains(&kind) {
            errors.push(FieldError::not_supported(at!("{path}.type"), kind, &kinds));
        }
        let number = |field: &str| policy[field].as_i64().unwrap_or(0);
        ranged(errors, at!("{path}.value"), number("value"), (1, i64::MAX));
        let period = at!("{path}.periodSeconds");
        ranged(errors, period, number("periodSeconds"), (1, PERIOD_MAX));
    }
    if !rules["tolerance"].is_null() {
        check::quantity(errors, at!("{path}.tolerance"), &rules["tolerance"]);
    }
}

fn ranged(errors: &mut Errors, path: Place<'_>, number: i64, (low, high): (i64, i64)) {
    let why = match number {
        _ if number < low && low == 0 => "must be greater than or equal to zero".to_owned(),
        _ if number < low => "must be greater than zero".to_owned(),
        _ if number > high => format!("must be less than or equal to {high}"),
        _ => return,
    };
    errors.push(FieldError::invalid(path, number, why));
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
        count_or_percent(&mut errors, at!("spec.{field}"), &spec[field]);
    }
    label_selector(&mut errors, at!("spec.selector"), &spec["selector"]);
    let policies = &["AlwaysAllow", "IfHealthyBudget"];
    check::one_of_if_set(
        &mut errors,
        at!("spec.unhealthyPodEvictionPolicy"),
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
    let reserved = match o.name() {
        "system-node-critical" => Some(2_000_001_000_i64),
        "system-cluster-critical" => Some(2_000_000_000_i64),
        _ => None,
    };
    let wrong = match reserved {
        _ if !system => None,
        None => Some(format!("{} is not a known system priority class", o.name())),
        Some(known) if known == value => None,
        Some(known) => Some(format!(
            "value of {} PriorityClass must be {known}",
            o.name()
        )),
    };
    if let Some(why) = wrong {
        let why = format!(
            "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
        );
        errors.push(FieldError::forbidden("metadata.name", why));
    }
    if !system && value > PRIORITY_MAX {
        let why = format!("maximum allowed value of a user defined priority is {PRIORITY_MAX}");
        errors.push(FieldError::forbidden("value", why));
    }
    check::one_of_if_set(
        &mut errors,
        at!("preemptionPolicy"),
        &o["preemptionPolicy"],
        &["PreemptLowerPriority", "Never"],
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
        at!("preemptionPolicy"),
        &new["preemptionPolicy"],
        &old["preemptionPolicy"],
    );
    errors
}
