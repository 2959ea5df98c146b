//! Flow schemas and priority levels: who may ask how much at once.
//!
//! Upstream counterpart: `pkg/apis/flowcontrol/validation`.

use crate::{
    Part, Strategy,
    check::{Errors, Place, at, syntax},
    print::{NONE, age, name, number, text},
};
use machinery::{FieldError, Object, Value, dns1123_label, dns1123_subdomain};

pub(crate) const PARTS: &[Part] = &[
    Part {
        strategy: Strategy {
            validate: flow_schema,
            prepare_status_update: crate::kind::keep_metadata,
            ..Strategy::MANAGED
        },
        heads: &[
            "Name",
            "PriorityLevel",
            "MatchingPrecedence",
            "DistinguisherMethod",
            "Age",
            "MissingPL",
        ],
        row: Some(schema_row),
        ..Part::plain(crate::FLOW_SCHEMAS)
    },
    Part {
        strategy: Strategy {
            validate: level,
            prepare_status_update: crate::kind::keep_metadata,
            ..Strategy::MANAGED
        },
        heads: &[
            "Name",
            "Type",
            "NominalConcurrencyShares",
            "Queues",
            "HandSize",
            "QueueLengthLimit",
            "Age",
        ],
        row: Some(level_row),
        ..Part::plain(crate::PRIORITY_LEVEL_CONFIGURATIONS)
    },
];

fn schema_row(o: &Object, now: u64) -> Vec<Value> {
    let dangling = o
        .at("status.conditions")
        .items()
        .find(|one| one.get("type").str() == "Dangling");
    vec![
        name(o),
        o.at("spec.priorityLevelConfiguration.name").str().into(),
        number(o, "spec.matchingPrecedence"),
        text(o, "spec.distinguisherMethod.type"),
        age(o, now),
        dangling.map_or("?", |one| one.get("status").str()).into(),
    ]
}

fn level_row(o: &Object, now: u64) -> Vec<Value> {
    let queuing = o.at("spec.limited.limitResponse.queuing");
    let shown = |found: machinery::Ref<'_>| match found.as_i64() {
        Some(number) => Value::from(number),
        None => NONE.into(),
    };
    vec![
        name(o),
        o.at("spec.type").str().into(),
        shown(o.at("spec.limited.nominalConcurrencyShares")),
        shown(queuing.get("queues")),
        shown(queuing.get("handSize")),
        shown(queuing.get("queueLengthLimit")),
        age(o, now),
    ]
}

/// The rank that only the schema `exempt` has, and the last there is.
const EXEMPT_PRECEDENCE: i64 = 1;
const PRECEDENCE_MAX: i64 = 10_000;
/// Queues that a level may have.
const QUEUES_MAX: i64 = 10_000_000;
/// Bits of the hash that deals hands of queues.
const HASH_BITS: f64 = 60.0;

const VERBS: [&str; 10] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
    "*",
];

fn flow_schema(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    let (rank, field) = (
        spec["matchingPrecedence"].as_i64().unwrap_or(0),
        "spec.matchingPrecedence",
    );
    if rank <= 0 {
        errors.push(FieldError::invalid(field, rank, "must be a positive value"));
    }
    if rank > PRECEDENCE_MAX {
        let why = format!("must not be greater than {PRECEDENCE_MAX}");
        errors.push(FieldError::invalid(field, rank, why));
    }
    if rank == EXEMPT_PRECEDENCE && o.name() != "exempt" {
        let why = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.push(FieldError::invalid(field, rank, why));
    }
    let method = &spec["distinguisherMethod"];
    let methods = ["ByNamespace", "ByUser"];
    if !method.is_null() && !methods.contains(&method["type"].str()) {
        let field = "spec.distinguisherMethod.type";
        errors.push(FieldError::not_supported(field, method, &methods));
    }
    let (level, field) = (
        spec.at(&["priorityLevelConfiguration", "name"]).str(),
        "spec.priorityLevelConfiguration.name",
    );
    if level.is_empty() {
        errors.push(FieldError::required(
            field,
            "must reference a priority level",
        ));
    } else {
        syntax(&mut errors, at!("{field}"), level, dns1123_subdomain);
    }
    for (at, rule) in spec["rules"].items().iter().enumerate() {
        policy_rule(&mut errors, at!("spec.rules[{at}]"), rule);
    }
    errors
}

fn policy_rule(errors: &mut Errors, path: Place<'_>, rule: &Value) {
    let subjects = rule["subjects"].items();
    if subjects.is_empty() {
        let why = "subjects must contain at least one value";
        errors.push(FieldError::required(at!("{path}.subjects"), why));
    }
    for (at, one) in subjects.iter().enumerate() {
        subject(errors, at!("{path}.subjects[{at}]"), one);
    }
    let (resources, paths) = (
        rule["resourceRules"].items(),
        rule["nonResourceRules"].items(),
    );
    if resources.is_empty() && paths.is_empty() {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(path, why));
    }
    for (at, one) in resources.iter().enumerate() {
        resource_rule(errors, at!("{path}.resourceRules[{at}]"), one);
    }
    for (at, one) in paths.iter().enumerate() {
        path_rule(errors, at!("{path}.nonResourceRules[{at}]"), one);
    }
}

fn subject(errors: &mut Errors, path: Place<'_>, one: &Value) {
    const KINDS: [(&str, &str); 3] = [
        ("Group", "group"),
        ("ServiceAccount", "serviceAccount"),
        ("User", "user"),
    ];
    let kind = one["kind"].str();
    let Some((_, own)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        let known = KINDS.map(|(name, _)| name);
        return errors.push(FieldError::not_supported(at!("{path}.kind"), kind, &known));
    };
    let (body, field) = (&one[*own], at!("{path}.{own}"));
    if body.is_null() {
        let why = format!("{own} is required when subject kind is '{kind}'");
        errors.push(FieldError::required(field, why));
    } else if kind == "ServiceAccount" {
        account(errors, field, body);
    } else if body["name"].str().is_empty() {
        errors.push(FieldError::required(at!("{field}.name"), ""));
    }
    for (name, other) in KINDS.iter().filter(|(name, _)| *name != kind) {
        if !one[*other].is_null() {
            let why = format!("{other} is forbidden when subject kind is not '{name}'");
            errors.push(FieldError::forbidden(at!("{path}.{other}"), why));
        }
    }
}

fn account(errors: &mut Errors, path: Place<'_>, account: &Value) {
    let (name, namespace) = (account["name"].str(), account["namespace"].str());
    if name.is_empty() {
        errors.push(FieldError::required(at!("{path}.name"), ""));
    } else if name != "*" {
        syntax(errors, at!("{path}.name"), name, dns1123_subdomain);
    }
    let field = at!("{path}.namespace");
    if namespace.is_empty() {
        let why = "must specify namespace for service account";
        errors.push(FieldError::required(field, why));
    } else {
        syntax(errors, field, namespace, dns1123_label);
    }
}

/// A list that holds something, and `*` only alone.
fn listed(errors: &mut Errors, path: Place<'_>, list: &Value, [missing, other]: [&str; 2]) -> bool {
    let items = list.items();
    let all = items.iter().any(|one| one.str() == "*");
    if items.is_empty() {
        errors.push(FieldError::required(path, missing));
    } else if all && items.len() > 1 {
        let why = format!("if '*' is present, must not specify other {other}");
        errors.push(FieldError::invalid(path, list, why));
    }
    !all && !items.is_empty()
}

fn verbs(errors: &mut Errors, path: Place<'_>, rule: &Value) {
    let (list, path) = (&rule["verbs"], at!("{path}.verbs"));
    let words = ["verbs must contain at least one value", "verbs"];
    if listed(errors, path, list, words) {
        let unknown = |one: &Value| !VERBS.contains(&one.str());
        if list.items().iter().any(unknown) {
            let mut known = VERBS;
            known.sort_unstable();
            errors.push(FieldError::not_supported(path, list, &known[1..]));
        }
    }
}

fn resource_rule(errors: &mut Errors, path: Place<'_>, rule: &Value) {
    verbs(errors, path, rule);
    let words = [
        "resource rules must supply at least one api group",
        "api groups",
    ];
    listed(errors, at!("{path}.apiGroups"), &rule["apiGroups"], words);
    let words = [
        "resource rules must supply at least one resource",
        "resources",
    ];
    listed(errors, at!("{path}.resources"), &rule["resources"], words);
    let (namespaces, path) = (&rule["namespaces"], at!("{path}.namespaces"));
    if namespaces.items().is_empty() && rule["clusterScope"].as_bool() == Some(true) {
        return;
    }
    let missing = "resource rules that are not cluster scoped must supply at least one namespace";
    if listed(errors, path, namespaces, [missing, "namespaces"]) {
        for (at, one) in namespaces.items().iter().enumerate() {
            let complaints = dns1123_label(one.str()).into_iter();
            errors.extend(complaints.map(|why| {
                let why =
                    format!("each member of this list must be '*' or a DNS-1123 label; {why}");
                FieldError::invalid(at!("{path}[{at}]"), one, why)
            }));
        }
    }
}

fn path_rule(errors: &mut Errors, path: Place<'_>, rule: &Value) {
    verbs(errors, path, rule);
    let (urls, path) = (&rule["nonResourceURLs"], at!("{path}.nonResourceURLs"));
    let words = [
        "nonResourceURLs must contain at least one value",
        "non-resource URLs",
    ];
    if listed(errors, path, urls, words) {
        for (at, one) in urls.items().iter().enumerate() {
            let text = one.str();
            let stars = text.matches('*').count();
            let why = match () {
                () if text.is_empty() => "must not be empty",
                () if text == "/" => continue,
                () if !text.starts_with('/') => "must start with slash",
                () if text.contains(' ') => "must not contain white-space",
                () if text.contains("//") => "must not contain double slash",
                () if stars > 1 || stars == 1 && !text.ends_with("/*") => {
                    "wildcard can only do suffix matching"
                }
                () => continue,
            };
            errors.push(FieldError::invalid(at!("{path}[{at}]"), text, why));
        }
    }
}

fn level(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    let kind = spec["type"].str();
    if (o.name() == "exempt") != (kind == "Exempt") {
        let why = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(FieldError::invalid("spec.type", kind, why));
    }
    if o.name() == "exempt" && (kind != "Exempt" || !spec["limited"].is_null()) {
        let why = "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value";
        errors.push(FieldError::invalid("spec", spec, why));
    }
    match kind {
        "Exempt" => {
            if !spec["limited"].is_null() {
                let why = "must be nil if the type is not Limited";
                errors.push(FieldError::forbidden("spec.limited", why));
            }
            shares(&mut errors, at!("spec.exempt"), &spec["exempt"]);
        }
        "Limited" => {
            if !spec["exempt"].is_null() {
                let why = "must be nil if the type is Limited";
                errors.push(FieldError::forbidden("spec.exempt", why));
            }
            if spec["limited"].is_null() {
                let why = "must not be empty when type is Limited";
                errors.push(FieldError::required("spec.limited", why));
            } else {
                limited(&mut errors, &spec["limited"]);
            }
        }
        other => {
            let known = &["Exempt", "Limited"];
            errors.push(FieldError::not_supported("spec.type", other, known));
        }
    }
    errors
}

fn shares(errors: &mut Errors, path: Place<'_>, config: &Value) {
    let number = |field: &str| config[field].as_i64();
    if let Some(shares) = number("nominalConcurrencyShares").filter(|shares| *shares < 0) {
        let field = at!("{path}.nominalConcurrencyShares");
        errors.push(FieldError::invalid(
            field,
            shares,
            "must be a non-negative integer",
        ));
    }
    if let Some(percent) = number("lendablePercent").filter(|one| !(0..=100).contains(one)) {
        let field = at!("{path}.lendablePercent");
        let why = "must be between 0 and 100, inclusive";
        errors.push(FieldError::invalid(field, percent, why));
    }
}

fn limited(errors: &mut Errors, config: &Value) {
    shares(errors, at!("spec.limited"), config);
    let percent = config["borrowingLimitPercent"].as_i64();
    if let Some(percent) = percent.filter(|percent| *percent < 0) {
        let field = "spec.limited.borrowingLimitPercent";
        let why = "if specified, must be a non-negative integer";
        errors.push(FieldError::invalid(field, percent, why));
    }
    let (response, path) = (&config["limitResponse"], "spec.limited.limitResponse");
    let queuing = &response["queuing"];
    match response["type"].str() {
        "Reject" if queuing.is_null() => {}
        "Reject" => {
            let why = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(FieldError::forbidden(at!("{path}.queuing"), why));
        }
        "Queue" if queuing.is_null() => {
            let why = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(FieldError::required(at!("{path}.queuing"), why));
        }
        "Queue" => queues(errors, at!("{path}.queuing"), queuing),
        other => {
            let field = at!("{path}.type");
            errors.push(FieldError::not_supported(
                field,
                other,
                &["Queue", "Reject"],
            ));
        }
    }
}

fn queues(errors: &mut Errors, path: Place<'_>, queuing: &Value) {
    let number = |field: &str| queuing[field].as_i64().unwrap_or(0);
    let (queues, hand, length) = (
        number("queues"),
        number("handSize"),
        number("queueLengthLimit"),
    );
    let mut wrong = |field: &str, value: i64, why: &str| {
        errors.push(FieldError::invalid(at!("{path}.{field}"), value, why));
    };
    if length <= 0 {
        wrong("queueLengthLimit", length, "must be positive");
    }
    if queues <= 0 {
        wrong("queues", queues, "must be positive");
    } else if queues > QUEUES_MAX {
        wrong(
            "queues",
            queues,
            &format!("must not be greater than {QUEUES_MAX}"),
        );
    }
    if hand <= 0 {
        wrong("handSize", hand, "must be positive");
    } else if hand > queues {
        wrong(
            "handSize",
            hand,
            &format!("should not be greater than queues ({queues})"),
        );
    } else {
        let bits: f64 = (0..hand)
            .map(|taken| ((queues - taken) as f64).log2())
            .sum();
        if bits.ceil() > HASH_BITS {
            let why = format!(
                "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
            );
            wrong("handSize", hand, &why);
        }
    }
}
