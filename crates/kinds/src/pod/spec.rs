//! Validation of a pod's specification as a whole. Upstream counterpart: `ValidatePodSpec`.

use super::{containers, resources, scheduling, security, volumes};
use crate::check::{Errors, Place, at, ip, labels, one_of, syntax};
use machinery::{FieldError, Value, dns1123_label, dns1123_subdomain};
use std::collections::{BTreeMap, BTreeSet};

/// Name servers, search domains and their characters: limits of the resolver.
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARACTERS_MAX: usize = 2048;
/// Longest name a host can have, bytes.
const HOST_NAME_MAX: usize = 64;

/// A check of a text's syntax.
type Syntax = fn(&str) -> Vec<String>;

/// A pod's specification and what its parts look up in it.
pub(super) struct Pod<'a> {
    pub spec: &'a Value,
    /// The pod's name; empty in templates.
    pub name: &'a str,
    /// Whether it is a template's.
    pub is_template: bool,
    /// Volumes with nothing wrong, by name.
    pub volumes: BTreeMap<&'a str, &'a Value>,
    /// Names of claims for devices.
    pub claims: BTreeSet<&'a str>,
}

impl<'a> Pod<'a> {
    fn new(spec: &'a Value, name: Option<&'a str>) -> Self {
        let claims = spec["resourceClaims"].items().iter();
        let claims = claims.map(|claim| claim["name"].str());
        Self {
            spec,
            name: name.unwrap_or_default(),
            is_template: name.is_none(),
            volumes: BTreeMap::new(),
            claims: claims.filter(|name| !name.is_empty()).collect(),
        }
    }
}

/// Checks a pod template: labels, annotations and specification.
pub(crate) fn template(errors: &mut Errors, path: Place<'_>, template: &Value) {
    let metadata = &template["metadata"];
    labels(errors, at!("{path}.labels"), &metadata["labels"]);
    let place = at!("{path}.annotations");
    crate::meta::annotations(errors, place, &metadata["annotations"]);
    let spec = &template["spec"];
    validate(errors, at!("{path}.spec"), Pod::new(spec, None));
    if !spec["ephemeralContainers"].items().is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        let field = at!("{path}.spec.ephemeralContainers");
        errors.push(FieldError::forbidden(field, why));
    }
}

/// Checks a pod.
pub(super) fn pod(errors: &mut Errors, pod: &Value) {
    let spec = &pod["spec"];
    let name = pod.at(&["metadata", "name"]).str();
    validate(errors, at!("spec"), Pod::new(spec, Some(name)));
}

fn validate(errors: &mut Errors, path: Place<'_>, mut pod: Pod<'_>) {
    let spec = pod.spec;
    pod.volumes = volumes::validate(errors, at!("{path}.volumes"), &pod);
    resource_claims(errors, at!("{path}.resourceClaims"), spec);
    containers::validate(errors, path, &pod);
    resources::of_pod(errors, path, &pod);
    containers::host_network(errors, path, &pod);
    policies(errors, path, spec);
    security::of_pod(errors, path, spec);
    scheduling::validate(errors, path, spec);
    dns(errors, at!("{path}.dnsConfig"), spec);
    gates(errors, path, spec);
    host_users(errors, path, spec);
    host_name(errors, path, spec);
    names(errors, path, spec);
    durations(errors, path, spec);
    aliases(errors, at!("{path}.hostAliases"), spec);
    overhead(errors, at!("{path}.overhead"), spec);
    security::system(errors, path, spec);
}

fn policies(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    one_of(
        errors,
        at!("{path}.restartPolicy"),
        &spec["restartPolicy"],
        &["Always", "OnFailure", "Never"],
    );
    one_of(
        errors,
        at!("{path}.dnsPolicy"),
        &spec["dnsPolicy"],
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    let preemption = &spec["preemptionPolicy"];
    if !preemption.is_null() {
        one_of(
            errors,
            at!("{path}.preemptionPolicy"),
            preemption,
            &["PreemptLowerPriority", "Never"],
        );
    }
}

fn resource_claims(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    let mut seen = BTreeSet::new();
    for (at, claim) in spec["resourceClaims"].items().iter().enumerate() {
        let path = at!("{path}[{at}]");
        let (name, field) = (claim["name"].str(), at!("{path}.name"));
        match () {
            () if name.is_empty() => errors.push(FieldError::required(field, "")),
            () if !seen.insert(name) => errors.push(FieldError::duplicate(field, name)),
            () => syntax(errors, field, name, dns1123_label),
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        let given = sources.iter().filter(|source| !claim[**source].is_null());
        let why = match given.count() {
            0 => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            1 => "",
            _ => {
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            }
        };
        if !why.is_empty() {
            errors.push(FieldError::invalid(path, claim, why));
        }
        for source in sources {
            if let Some(name) = claim[source].as_str() {
                syntax(errors, at!("{path}.{source}"), name, dns1123_subdomain);
            }
        }
    }
}

fn names(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    let optional: [(&str, Syntax); 6] = [
        ("serviceAccountName", dns1123_subdomain),
        ("nodeName", dns1123_subdomain),
        ("hostname", dns1123_label),
        ("subdomain", dns1123_label),
        ("priorityClassName", dns1123_subdomain),
        ("runtimeClassName", dns1123_subdomain),
    ];
    for (field, check) in optional {
        let given = field == "runtimeClassName" && !spec[field].is_null();
        if given || !spec[field].str().is_empty() {
            syntax(errors, at!("{path}.{field}"), spec[field].str(), check);
        }
    }
}

fn gates(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    for (at, gate) in spec["readinessGates"].items().iter().enumerate() {
        let path = at!("{path}.readinessGates[{at}].conditionType");
        let name = gate["conditionType"].str();
        syntax(errors, path, name, machinery::qualified_name);
    }
    let mut seen = BTreeSet::new();
    for (at, gate) in spec["schedulingGates"].items().iter().enumerate() {
        let (path, name) = (at!("{path}.schedulingGates[{at}]"), gate["name"].str());
        syntax(errors, path, name, machinery::qualified_name);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(path, name));
        }
    }
}

/// Users of a pod's own make no sense where it shares the host's processes or network.
fn host_users(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    if spec["hostUsers"].as_bool() != Some(false) {
        return;
    }
    const WHY: &str = "when `hostUsers` is false";
    let shared = [
        ("hostNetwork", "hostNetwork"),
        ("hostPID", "HostPID"),
        ("hostIPC", "HostIPC"),
    ];
    for (field, shown) in shared {
        if spec[field].as_bool() == Some(true) {
            errors.push(FieldError::forbidden(at!("{path}.{shown}"), WHY));
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (at, one) in spec[list].items().iter().enumerate() {
            if !one["volumeDevices"].items().is_empty() {
                let field = at!("{path}.{list}[{at}].volumeDevices");
                errors.push(FieldError::forbidden(field, WHY));
            }
        }
    }
}

fn host_name(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    let Some(name) = spec["hostnameOverride"].as_str() else {
        return;
    };
    let path = at!("{path}.hostnameOverride");
    for field in ["setHostnameAsFQDN", "hostNetwork"] {
        if spec[field].as_bool() == Some(true) {
            let why = format!("may not be specified when {field} is true");
            errors.push(FieldError::forbidden(path, why));
        }
    }
    if name.len() > HOST_NAME_MAX {
        errors.push(FieldError::too_long(path, HOST_NAME_MAX));
    }
    syntax(errors, path, name, dns1123_subdomain);
}

fn durations(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    let limit = i64::from(i32::MAX);
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64()
        && !(1..=limit).contains(&seconds)
    {
        let why = format!("must be between 1 and {limit}, inclusive");
        let field = at!("{path}.activeDeadlineSeconds");
        errors.push(FieldError::invalid(field, seconds, why));
    }
}

fn aliases(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    for (at, alias) in spec["hostAliases"].items().iter().enumerate() {
        let path = at!("{path}[{at}]");
        ip(errors, at!("{path}.ip"), alias["ip"].str());
        for (at, name) in alias["hostnames"].items().iter().enumerate() {
            let field = at!("{path}.hostnames[{at}]");
            syntax(errors, field, name.str(), dns1123_subdomain);
        }
    }
}

fn overhead(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    resources::resource_list(errors, path, &spec["overhead"]);
}

fn dns(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    let config = &spec["dnsConfig"];
    let servers = config["nameservers"].items();
    if spec["dnsPolicy"].str() == "None" {
        if config.is_null() {
            let why = "must provide `dnsConfig` when `dnsPolicy` is None";
            return errors.push(FieldError::required(path, why));
        }
        if servers.is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return errors.push(FieldError::required(at!("{path}.nameservers"), why));
        }
    }
    if servers.len() > NAMESERVERS_MAX {
        let why = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        let field = at!("{path}.nameservers");
        errors.push(FieldError::invalid(field, &config["nameservers"], why));
    }
    for (at, server) in servers.iter().enumerate() {
        ip(errors, at!("{path}.nameservers[{at}]"), server.str());
    }
    searches(errors, at!("{path}.searches"), &config["searches"]);
    for (at, option) in config["options"].items().iter().enumerate() {
        if option["name"].str().is_empty() {
            let field = at!("{path}.options[{at}]");
            errors.push(FieldError::required(field, "must not be empty"));
        }
    }
}

fn searches(errors: &mut Errors, path: Place<'_>, list: &Value) {
    let searches = list.items();
    if searches.len() > SEARCHES_MAX {
        let why = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.push(FieldError::invalid(path, list, why));
    }
    let characters: usize = searches.iter().map(|one| one.str().len() + 1).sum();
    if characters > SEARCH_CHARACTERS_MAX + 1 {
        let why = format!(
            "must not have more than {SEARCH_CHARACTERS_MAX} characters (including spaces) in the search list"
        );
        errors.push(FieldError::invalid(path, list, why));
    }
    for (at, search) in searches.iter().enumerate() {
        let text = search.str();
        if text != "." {
            let text = text.strip_suffix('.').unwrap_or(text);
            syntax(errors, at!("{path}[{at}]"), text, crate::check::underscored);
        }
    }
}
