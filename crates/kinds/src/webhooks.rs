//! What may be wrong with a webhook: of an admission configuration, or one that converts.
//!
//! Upstream counterparts: `pkg/apis/admissionregistration/validation`,
//! `k8s.io/apiserver/pkg/util/webhook` (`validation.go`).

use crate::{
    Expressions, Powers,
    check::{self, Errors, Place, at, one_of, one_of_if_set},
};
use k8s_cel::Type;
use machinery::{FieldError, Value, dns1035_label, dns1123_subdomain};
use std::collections::BTreeSet;

/// Versions of `AdmissionReview` that are spoken.
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
/// Seconds a webhook may be given at most.
const TIMEOUT_SECONDS_MAX: i64 = 30;
/// Conditions of one webhook at most.
const CONDITIONS_MAX: usize = 64;
/// What a URL should look like, said with every complaint about one.
const FORM: &str = "; desired format: https://host[/path]";

/// Checks a `MutatingWebhookConfiguration` or `ValidatingWebhookConfiguration`.
pub(crate) fn validate(configuration: &Value) -> Errors {
    let mut errors = Errors::new();
    let hooks = configuration["webhooks"].items();
    for (at, hook) in hooks.iter().enumerate() {
        validate_hook(&mut errors, at!("webhooks[{at}]"), hook);
    }
    let named = hooks.iter().map(|hook| hook["name"].str());
    let mut seen = BTreeSet::new();
    for (at, name) in named.enumerate().filter(|(_, name)| !name.is_empty()) {
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(at!("webhooks[{at}].name"), name));
        }
    }
    errors
}

fn validate_hook(errors: &mut Errors, path: Place<'_>, hook: &Value) {
    qualified(errors, at!("{path}.name"), hook["name"].str());
    for (at, rule) in hook["rules"].items().iter().enumerate() {
        validate_rule(errors, at!("{path}.rules[{at}]"), rule);
    }
    let policies: [(&str, &[&str]); 3] = [
        ("failurePolicy", &["Fail", "Ignore"]),
        ("matchPolicy", &["Equivalent", "Exact"]),
        ("reinvocationPolicy", &["IfNeeded", "Never"]),
    ];
    for (field, allowed) in policies {
        one_of_if_set(errors, at!("{path}.{field}"), &hook[field], allowed);
    }
    side_effects(errors, at!("{path}.sideEffects"), &hook["sideEffects"]);
    let seconds = hook["timeoutSeconds"].as_i64();
    if let Some(seconds) = seconds.filter(|number| !(1..=TIMEOUT_SECONDS_MAX).contains(number)) {
        let why = "the timeout value must be between 1 and 30 seconds";
        let field = at!("{path}.timeoutSeconds");
        errors.push(FieldError::invalid(field, seconds, why));
    }
    for field in ["namespaceSelector", "objectSelector"] {
        if !hook[field].is_null() {
            check::label_selector(errors, at!("{path}.{field}"), &hook[field]);
        }
    }
    client(errors, at!("{path}.clientConfig"), &hook["clientConfig"]);
    conditions(
        errors,
        at!("{path}.matchConditions"),
        &hook["matchConditions"],
        &Expressions::new(false),
    );
    let versions = at!("{path}.admissionReviewVersions");
    review_versions(errors, versions, &hook["admissionReviewVersions"]);
}

fn qualified(errors: &mut Errors, path: Place<'_>, name: &str) {
    if name.is_empty() {
        return errors.push(FieldError::required(path, ""));
    }
    let wrong = dns1123_subdomain(name);
    if !wrong.is_empty() {
        errors.push(FieldError::invalid(path, name, wrong.join(",")));
    } else if name.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        errors.push(FieldError::invalid(path, name, why));
    }
}

fn side_effects(errors: &mut Errors, path: Place<'_>, value: &Value) {
    let allowed = ["None", "NoneOnDryRun"];
    if value.is_null() {
        let why = "must specify one of None, NoneOnDryRun";
        errors.push(FieldError::required(path, why));
    } else {
        one_of(errors, path, value, &allowed);
    }
}

/// Checks an entry of `rules`.
pub(crate) fn validate_rule(errors: &mut Errors, path: Place<'_>, rule: &Value) {
    let operations = &rule["operations"];
    alone(
        errors,
        at!("{path}.operations"),
        operations,
        "other operations",
    );
    for (at, operation) in operations.items().iter().enumerate() {
        let field = at!("{path}.operations[{at}]");
        one_of(errors, field, operation, &OPERATIONS);
    }
    alone(
        errors,
        at!("{path}.apiGroups"),
        &rule["apiGroups"],
        "other API groups",
    );
    let versions = &rule["apiVersions"];
    alone(
        errors,
        at!("{path}.apiVersions"),
        versions,
        "other API versions",
    );
    for (at, _) in empty(versions) {
        errors.push(FieldError::required(at!("{path}.apiVersions[{at}]"), ""));
    }
    resources(errors, at!("{path}.resources"), &rule["resources"]);
    one_of_if_set(
        errors,
        at!("{path}.scope"),
        &rule["scope"],
        &["*", "Cluster", "Namespaced"],
    );
}

fn empty(list: &Value) -> impl Iterator<Item = (usize, &Value)> {
    let items = list.items().iter().enumerate();
    items.filter(|(_, one)| one.str().is_empty())
}

/// A list must have something in it, and `*` nothing beside it.
fn alone(errors: &mut Errors, path: Place<'_>, list: &Value, others: &str) {
    let items = list.items();
    if items.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    if items.len() > 1 && items.iter().any(|one| one.str() == "*") {
        let why = format!("if '*' is present, must not specify {others}");
        errors.push(FieldError::invalid(path, list, why));
    }
}

/// Lists of `pods`, `pods/status`, `pods/*`, `*/status`, `*` and `*/*` must not say things twice.
fn resources(errors: &mut Errors, path: Place<'_>, list: &Value) {
    let items = list.items();
    if items.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    let (mut all_of, mut everywhere) = (BTreeSet::new(), BTreeSet::new());
    let mut plain = false;
    for (at, one) in items.iter().map(Value::str).enumerate() {
        let field = at!("{path}[{at}]");
        if one.is_empty() {
            errors.push(FieldError::required(field, ""));
            continue;
        }
        let Some((resource, sub)) = one.split_once('/') else {
            plain = one != "*";
            continue;
        };
        for (covered, by) in [
            (all_of.contains(resource), format!("{resource}/*")),
            (everywhere.contains(sub), format!("*/{sub}")),
        ] {
            if covered {
                let why = format!("if '{by}' is present, must not specify {one}");
                errors.push(FieldError::invalid(field, one, why));
            }
        }
        if sub == "*" {
            all_of.insert(resource);
        }
        if resource == "*" {
            everywhere.insert(sub);
        }
    }
    let has = |wanted: &str| items.iter().any(|one| one.str() == wanted);
    if items.len() > 1 && has("*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        errors.push(FieldError::invalid(path, list, why));
    }
    if has("*") && plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.push(FieldError::invalid(path, list, why));
    }
}

/// Checks `matchConditions`.
pub(crate) fn conditions(
    errors: &mut Errors,
    path: Place<'_>,
    list: &Value,
    expressions: &Expressions,
) {
    let items = list.items();
    if items.len() > CONDITIONS_MAX {
        errors.push(FieldError::too_many(path, items.len(), CONDITIONS_MAX));
    }
    let mut seen = BTreeSet::new();
    for (at, one) in items.iter().enumerate() {
        let (name, expression) = (one["name"].str(), one["expression"].str());
        if expression.trim().is_empty() {
            errors.push(FieldError::required(at!("{path}[{at}].expression"), ""));
        } else if let Err(why) = expressions.compile(expression.trim(), &[Type::Bool], Powers::Ask)
        {
            let field = at!("{path}[{at}].expression");
            errors.push(FieldError::invalid(field, expression.trim(), why));
        }
        let field = at!("{path}[{at}].name");
        check::named(errors, field, name, machinery::qualified_name);
        if !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(field, name));
        }
    }
}

/// Versions of reviews: at least one, none twice, one of them spoken here.
pub(crate) fn review_versions(errors: &mut Errors, path: Place<'_>, list: &Value) {
    let spoken = REVIEW_VERSIONS.join(", ");
    if list.items().is_empty() {
        return errors.push(FieldError::required(
            path,
            format!("must specify one of {spoken}"),
        ));
    }
    let mut seen = BTreeSet::new();
    for (at, version) in list.items().iter().map(Value::str).enumerate() {
        let field = at!("{path}[{at}]");
        if !seen.insert(version) {
            errors.push(FieldError::invalid(field, version, "duplicate version"));
            continue;
        }
        check::syntax(errors, field, version, dns1035_label);
    }
    if !REVIEW_VERSIONS.iter().any(|version| seen.contains(version)) {
        let why = format!("must include at least one of {spoken}");
        errors.push(FieldError::invalid(path, list, why));
    }
}

/// Checks a `clientConfig`.
pub(crate) fn client(errors: &mut Errors, path: Place<'_>, config: &Value) {
    let (address, service) = (&config["url"], &config["service"]);
    if address.is_null() == service.is_null() {
        let why = "exactly one of url or service is required";
        errors.push(FieldError::required(path, why));
    } else if service.is_null() {
        url(errors, at!("{path}.url"), address.str());
    } else {
        service_reference(errors, at!("{path}.service"), service);
    }
}

fn url(errors: &mut Errors, path: Place<'_>, url: &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", ""));
    let mut bad = |value: &str, why: &str| {
        errors.push(FieldError::invalid(path, value, why));
    };
    if scheme != "https" {
        bad(
            scheme,
            &format!("'https' is the only allowed URL scheme{FORM}"),
        );
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        bad(host, &format!("host must be specified{FORM}"));
    }
    for (part, what) in [
        (user, "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ] {
        if !part.is_empty() {
            bad(part, what);
        }
    }
}

fn service_reference(errors: &mut Errors, path: Place<'_>, service: &Value) {
    for field in ["name", "namespace"] {
        check::present(errors, at!("{path}.{field}"), &service[field]);
    }
    let port = service["port"].as_i64().unwrap_or(443);
    if !(1..=65535).contains(&port) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.push(FieldError::invalid(at!("{path}.port"), port, why));
    }
    service_path(errors, at!("{path}.path"), service["path"].str());
}

fn service_path(errors: &mut Errors, field: Place<'_>, path: &str) {
    if path.is_empty() || path == "/" {
        return;
    }
    if !path.starts_with('/') {
        errors.push(FieldError::invalid(field, path, "must start with a '/'"));
    }
    let steps = path.get(1..).unwrap_or_default();
    let steps = steps.strip_suffix('/').unwrap_or(steps);
    for (at, step) in steps.split('/').enumerate() {
        if step.is_empty() {
            let why = format!("segment[{at}] may not be empty");
            errors.push(FieldError::invalid(field, path, why));
            continue;
        }
        for why in dns1123_subdomain(step) {
            errors.push(FieldError::invalid(
                field,
                path,
                format!("segment[{at}]: {why}"),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    fn hook(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
        let mut hook = json!({
            "name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://h/p"}, "rules": [rule],
        });
        change(&mut hook);
        let errors = validate(&json!({"webhooks": [hook]}));
        errors
            .iter()
            .map(|error| format!("{}: {}", error.field, error.detail))
            .collect()
    }

    #[test]
    fn sound_webhooks_pass() {
        assert_eq!(hook(|_| ()), [""; 0]);
        let service =
            json!({"service": {"name": "s", "namespace": "n", "path": "/a/b/", "port": 8443}});
        assert_eq!(hook(|h| h["clientConfig"] = service), [""; 0]);
        let resources = json!(["pods", "pods/*", "deployments/scale"]);
        assert_eq!(
            hook(
                |h| h["rules"] = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources, "scope": "Namespaced"}])
            ),
            [""; 0]
        );
    }

    #[test]
    fn what_is_wrong_is_said_where_it_is() {
        let rule = |field: &'static str, value: Value| {
            move |h: &mut Value| h["rules"].as_array_mut().unwrap()[0][field] = value
        };
        let set = |field: &'static str, value: Value| move |h: &mut Value| h[field] = value;
        for (found, wanted) in [
            (
                hook(set("name", "a.b".into())),
                "webhooks[0].name: should be a domain with at least three segments separated by dots",
            ),
            (
                hook(set("sideEffects", Value::Null)),
                "webhooks[0].sideEffects: must specify one of None, NoneOnDryRun",
            ),
            (
                hook(set("timeoutSeconds", 31.into())),
                "webhooks[0].timeoutSeconds: the timeout value must be between 1 and 30 seconds",
            ),
            (
                hook(set("admissionReviewVersions", json!(["v9"]))),
                "webhooks[0].admissionReviewVersions: must include at least one of v1, v1beta1",
            ),
            (
                hook(set("clientConfig", json!({}))),
                "webhooks[0].clientConfig: exactly one of url or service is required",
            ),
            (
                hook(set("clientConfig", json!({"url": "https://h/p?x=y"}))),
                "webhooks[0].clientConfig.url: query parameters are not permitted in the URL",
            ),
            (
                hook(set("clientConfig", json!({"url": "http://h"}))),
                "webhooks[0].clientConfig.url: 'https' is the only allowed URL scheme; desired format: https://host[/path]",
            ),
            (
                hook(set(
                    "clientConfig",
                    json!({"service": {"name": "s", "namespace": "n", "path": "xy"}}),
                )),
                "webhooks[0].clientConfig.service.path: must start with a '/'",
            ),
            (
                hook(set(
                    "clientConfig",
                    json!({"service": {"name": "s", "namespace": "n", "port": 0}}),
                )),
                "webhooks[0].clientConfig.service.port: port is not valid: must be between 1 and 65535, inclusive",
            ),
            (
                hook(rule("operations", json!(["*", "CREATE"]))),
                "webhooks[0].rules[0].operations: if '*' is present, must not specify other operations",
            ),
            (hook(rule("resources", json!(["pods", "*"]))), "none"),
            (
                hook(rule("resources", json!(["*", "pods"]))),
                "webhooks[0].rules[0].resources: if '*' is present, must not specify other resources without subresources",
            ),
            (
                hook(rule("resources", json!(["pods/*", "pods/status"]))),
                "webhooks[0].rules[0].resources[1]: if 'pods/*' is present, must not specify pods/status",
            ),
            (
                hook(rule("resources", json!(["*/*", "pods"]))),
                "webhooks[0].rules[0].resources: if '*/*' is present, must not specify other resources",
            ),
            (
                hook(rule("apiVersions", json!([""]))),
                "webhooks[0].rules[0].apiVersions[0]: ",
            ),
        ] {
            match wanted {
                // Upstream looks at the last plain entry only.
                "none" => assert_eq!(found, [""; 0]),
                wanted => assert_eq!(found, [wanted]),
            }
        }
    }
}
