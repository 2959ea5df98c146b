//! Validation of what containers and pods ask for and may use.
//!
//! Upstream counterpart: `validateResourceRequirements`, `validatePodResources`.

use super::spec::Pod;
use crate::check::{Errors, Place, at, quantity, syntax, text_of};
use machinery::{FieldError, Quantity, SmolStr, Value, dns1123_label, qualified_name};
use std::collections::BTreeSet;

/// Checks a name of a resource at a path.
type Names = fn(&mut Errors, Place<'_>, &str);

/// Resources of a container.
pub(super) fn of_container(errors: &mut Errors, path: Place<'_>, resources: &Value, pod: &Pod<'_>) {
    requirements(errors, path, resources, container_name);
    claims(errors, at!("{path}.claims"), resources, pod);
}

/// Resources of a pod as a whole, and that its containers fit into them.
pub(super) fn of_pod(errors: &mut Errors, path: Place<'_>, pod: &Pod<'_>) {
    let (whole, path) = (&pod.spec["resources"], at!("{path}.resources"));
    if whole.is_null() {
        return;
    }
    requirements(errors, path, whole, pod_name);
    for (name, request) in whole["requests"].entries() {
        let asked = pod.spec["containers"].items().iter();
        let asked = asked.map(|one| amount(one.at(&["resources", "requests", name])));
        let sum = asked.fold(Quantity::default(), |sum, one| sum + one);
        if sum > amount(request) {
            let why =
                format!("must be greater than or equal to aggregate container requests of {sum}");
            let field = at!("{path}.requests[{name}]");
            errors.push(FieldError::invalid(field, text_of(request), why));
        }
    }
    for (name, limit) in whole["limits"].entries() {
        for (at, one) in pod.spec["containers"].items().iter().enumerate() {
            let own = one.at(&["resources", "limits", name]);
            if amount(own) > amount(limit) {
                let field = at!("{path}.containers[{at}][{name}].limits");
                let why = format!(
                    "must be less than or equal to pod limits of {}",
                    text_of(limit)
                );
                errors.push(FieldError::invalid(field, text_of(own), why));
            }
        }
    }
}

fn amount(value: &Value) -> Quantity {
    text_of(value).parse().unwrap_or_default()
}

/// Names and amounts of a container's resource list.
pub(crate) fn resource_list(errors: &mut Errors, path: Place<'_>, list: &Value) {
    for (name, amount) in list.entries() {
        let field = at!("{path}[{name}]");
        container_name(errors, field, name);
        value(errors, field, name, amount);
    }
}

/// `cpu` and its like, or a name with a domain.
pub(crate) fn resource_name(errors: &mut Errors, path: Place<'_>, name: &str) -> bool {
    let before = errors.len();
    syntax(errors, path, name, qualified_name);
    if errors.len() == before && !name.contains('/') && !is_standard(name) {
        let why = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(path, name, why));
    }
    errors.len() == before
}

fn is_standard(name: &str) -> bool {
    is_countable(name) || is_quota(name) || name.starts_with("hugepages-")
}

/// Resources that containers and pods use.
fn is_countable(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage")
}

/// Resources that only quotas and claims speak of.
pub(crate) fn is_quota(name: &str) -> bool {
    let limited = name
        .strip_prefix("requests.")
        .or_else(|| name.strip_prefix("limits."));
    matches!(
        name,
        "storage"
            | "pods"
            | "resourcequotas"
            | "services"
            | "services.nodeports"
            | "services.loadbalancers"
            | "replicationcontrollers"
            | "secrets"
            | "configmaps"
            | "persistentvolumeclaims"
    ) || limited.is_some_and(|name| is_countable(name) || name == "storage")
        || name.starts_with("requests.hugepages-")
}

fn container_name(errors: &mut Errors, path: Place<'_>, name: &str) {
    resource_name(errors, path, name);
    if !name.contains('/') {
        if !is_countable(name) && !name.starts_with("hugepages-") {
            let why = "must be a standard resource for containers";
            errors.push(FieldError::invalid(path, name, why));
        }
    } else if !is_native(name) && !is_extended(name) {
        let why = "doesn't follow extended resource name standard";
        errors.push(FieldError::invalid(path, name, why));
    }
}

fn pod_name(errors: &mut Errors, path: Place<'_>, name: &str) {
    if resource_name(errors, path, name)
        && !matches!(name, "cpu" | "memory")
        && !name.starts_with("hugepages-")
    {
        errors.push(FieldError::not_supported(
            path,
            name,
            &["cpu", "hugepages-", "memory"],
        ));
    }
}

fn is_native(name: &str) -> bool {
    name.split_once('/')
        .is_none_or(|(domain, _)| domain == "kubernetes.io" || domain.ends_with(".kubernetes.io"))
}

/// Whole things with a name of their own: `example.com/gpu`.
fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether less may be asked for than is allowed.
fn can_overcommit(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

/// The amount of a resource: not negative, and whole where parts make no sense.
pub(crate) fn value(errors: &mut Errors, path: Place<'_>, name: &str, value: &Value) {
    let Some(amount) = quantity(errors, path, value) else {
        return;
    };
    let whole = is_quota_object(name) || is_extended(name) || name.starts_with("count/");
    if whole && amount.milli() % 1_000 != 0 {
        let why = "must be an integer";
        errors.push(FieldError::invalid(path, text_of(value), why));
    }
}

fn is_quota_object(name: &str) -> bool {
    is_quota(name) && !name.contains('.') && name != "storage" || name.starts_with("services.")
}

fn requirements(errors: &mut Errors, path: Place<'_>, resources: &Value, names: Names) {
    let (limits, requests) = (&resources["limits"], &resources["requests"]);
    let mut huge = false;
    for (name, limit) in limits.entries() {
        let field = at!("{path}.limits[{name}]");
        names(errors, field, name);
        value(errors, field, name, limit);
        huge |= huge_pages(errors, field, name, limit);
    }
    for (name, request) in requests.entries() {
        let field = at!("{path}.requests[{name}]");
        names(errors, field, name);
        value(errors, field, name, request);
        within(errors, path, (name, request), limits);
        huge |= huge_pages(errors, field, name, request);
    }
    let counted = |list: &Value| !list["cpu"].is_null() || !list["memory"].is_null();
    if huge && !counted(limits) && !counted(requests) {
        errors.push(FieldError::forbidden(
            path,
            "HugePages require cpu or memory",
        ));
    }
}

fn within(
    errors: &mut Errors,
    path: Place<'_>,
    (name, request): (&SmolStr, &Value),
    limits: &Value,
) {
    let limit = &limits[name.as_str()];
    let (asked, field) = (amount(request), at!("{path}.requests"));
    if limit.is_null() {
        if !can_overcommit(name) {
            let why = "Limit must be set for non overcommitable resources";
            errors.push(FieldError::required(at!("{path}.limits"), why));
        }
        return;
    }
    let most = amount(limit);
    let word = match () {
        () if asked != most && !can_overcommit(name) => "equal to",
        () if asked > most => "less than or equal to",
        () => return,
    };
    let why = format!("must be {word} {name} limit of {}", text_of(limit));
    errors.push(FieldError::invalid(field, text_of(request), why));
}

/// Whether it is about huge pages; these come whole.
fn huge_pages(errors: &mut Errors, path: Place<'_>, name: &str, value: &Value) -> bool {
    let Some(size) = name.strip_prefix("hugepages-") else {
        return false;
    };
    let size = size.parse::<Quantity>().map_or(0, Quantity::units);
    if size <= 0 || amount(value).units() % size != 0 {
        let why = format!(
            "{} is not positive integer multiple of {name}",
            text_of(value)
        );
        errors.push(FieldError::invalid(path, text_of(value), why));
    }
    true
}

fn claims(errors: &mut Errors, path: Place<'_>, resources: &Value, pod: &Pod<'_>) {
    let mut seen = BTreeSet::new();
    for (at, claim) in resources["claims"].items().iter().enumerate() {
        let path = at!("{path}[{at}]");
        let (name, request) = (claim["name"].str(), claim["request"].str());
        if name.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        if !request.is_empty() {
            syntax(errors, at!("{path}.request"), request, dns1123_label);
        }
        let whole = request.is_empty() && seen.iter().any(|(known, _)| *known == name);
        if seen.contains(&(name, "")) || whole || !seen.insert((name, request)) {
            errors.push(FieldError::duplicate(path, name));
        }
        if !pod.claims.contains(name) {
            let mut error = FieldError::not_found(path, name);
            let known: Vec<_> = pod.claims.iter().copied().collect();
            error.detail = match known.is_empty() {
                true => "must be one of the names in pod.spec.resourceClaims which is empty".into(),
                false => format!(
                    "must be one of the names in pod.spec.resourceClaims: {}",
                    known.join(", ")
                ),
            };
            errors.push(error);
        }
    }
}
