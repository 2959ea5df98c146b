//! Validation of security contexts, of pods and of containers, on Linux and Windows.
//!
//! Upstream counterpart: `ValidateSecurityContext`, `validatePodSpecSecurityContext`,
//! `validateWindows`.

use super::{mounts::descending, spec::Pod};
use crate::check::{Errors, Place, at, one_of_if_set, syntax};
use machinery::{FieldError, Value, dns1123_subdomain};
use std::collections::BTreeSet;

const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
/// Longest path of a profile on a node, bytes.
const PROFILE_MAX: usize = 4095;
/// Longest name of a kernel parameter, bytes.
const SYSCTL_MAX: usize = 253;

/// Checks a container's security context.
pub(super) fn of_container(errors: &mut Errors, path: Place<'_>, context: &Value, pod: &Pod<'_>) {
    if context.is_null() {
        return;
    }
    for field in ["runAsUser", "runAsGroup"] {
        user_id(errors, at!("{path}.{field}"), &context[field]);
    }
    let (mount, field) = (context["procMount"].str(), at!("{path}.procMount"));
    one_of_if_set(
        errors,
        field,
        &context["procMount"],
        &["Default", "Unmasked"],
    );
    if mount == "Unmasked" && pod.spec["hostUsers"].as_bool() != Some(false) {
        let why = "`hostUsers` must be false to use `Unmasked`";
        errors.push(FieldError::invalid(field, mount, why));
    }
    seccomp(
        errors,
        at!("{path}.seccompProfile"),
        &context["seccompProfile"],
    );
    escalation(errors, path, context);
    windows_options(errors, path, context);
    app_armor(
        errors,
        at!("{path}.appArmorProfile"),
        &context["appArmorProfile"],
    );
}

fn escalation(errors: &mut Errors, path: Place<'_>, context: &Value) {
    if context["allowPrivilegeEscalation"].as_bool() != Some(false) {
        return;
    }
    if context["privileged"].as_bool() == Some(true) {
        let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(FieldError::invalid(path, context, why));
    }
    let added = context.at(&["capabilities", "add"]).items();
    for _ in added.iter().filter(|one| one.str() == "CAP_SYS_ADMIN") {
        let why =
            "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.push(FieldError::invalid(path, context, why));
    }
}

fn windows_options(errors: &mut Errors, path: Place<'_>, context: &Value) {
    let (options, path) = (&context["windowsOptions"], at!("{path}.windowsOptions"));
    if let Some(name) = options["gmsaCredentialSpecName"].as_str() {
        let field = at!("{path}.gmsaCredentialSpecName");
        syntax(errors, field, name, dns1123_subdomain);
    }
    if options["gmsaCredentialSpec"].as_str() == Some("") {
        let field = at!("{path}.gmsaCredentialSpec");
        let why = "gmsaCredentialSpec cannot be an empty string";
        errors.push(FieldError::invalid(field, "", why));
    }
    let Some(name) = options["runAsUserName"].as_str() else {
        return;
    };
    let why = match name.split('\\').collect::<Vec<_>>()[..] {
        _ if name.is_empty() => "runAsUserName cannot be an empty string",
        _ if name.chars().any(char::is_control) => {
            "runAsUserName cannot contain control characters"
        }
        [_, _, _, ..] => "runAsUserName cannot contain more than one backslash",
        [.., ""] => "runAsUserName's User cannot be empty",
        [.., user] if user.chars().all(|c| matches!(c, '.' | ' ')) => {
            "runAsUserName's User cannot contain only periods or spaces"
        }
        [.., user] if user.contains(|c| "\"/\\:;|=,+*?<>@[]".contains(c)) => {
            "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"
        }
        _ => return,
    };
    errors.push(FieldError::invalid(at!("{path}.runAsUserName"), name, why));
}

/// A seccomp profile.
fn seccomp(errors: &mut Errors, path: Place<'_>, profile: &Value) {
    if profile.is_null() {
        return;
    }
    let (kind, local) = (profile["type"].str(), &profile["localhostProfile"]);
    let field = at!("{path}.localhostProfile");
    if !PROFILES.contains(&kind) {
        let field = at!("{path}.type");
        errors.push(FieldError::not_supported(field, kind, &PROFILES));
    }
    match (kind == "Localhost", local.is_null()) {
        (true, true) => {
            let why = "must be set when seccomp type is Localhost";
            errors.push(FieldError::required(field, why));
        }
        (true, false) => descending(errors, field, local.str()),
        (false, false) => {
            let why = "can only be set when seccomp type is Localhost";
            errors.push(FieldError::invalid(field, profile, why));
        }
        (false, true) => {}
    }
}

/// An AppArmor profile.
fn app_armor(errors: &mut Errors, path: Place<'_>, profile: &Value) {
    if profile.is_null() {
        return;
    }
    let (local, field) = (&profile["localhostProfile"], at!("{path}.localhostProfile"));
    match profile["type"].str() {
        "Localhost" => {
            let text = local.str();
            if !local.is_null() && text.trim() != text {
                let why = "must not be padded with whitespace";
                errors.push(FieldError::invalid(field, text, why));
            } else if text.is_empty() {
                let why = "must be set when AppArmor type is Localhost";
                errors.push(FieldError::required(field, why));
            }
            if text.len() > PROFILE_MAX {
                errors.push(FieldError::too_long(field, PROFILE_MAX));
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if !local.is_null() {
                let why = "can only be set when AppArmor type is Localhost";
                errors.push(FieldError::invalid(field, local, why));
            }
        }
        "" => {
            let why = "type is required when appArmorProfile is set";
            errors.push(FieldError::required(at!("{path}.type"), why));
        }
        other => {
            let field = at!("{path}.type");
            errors.push(FieldError::not_supported(field, other, &PROFILES));
        }
    }
}

/// Checks a pod's security context.
pub(super) fn of_pod(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    let (context, path) = (&spec["securityContext"], at!("{path}.securityContext"));
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        user_id(errors, at!("{path}.{field}"), &context[field]);
    }
    for (at, group) in context["supplementalGroups"].items().iter().enumerate() {
        user_id(errors, at!("{path}.supplementalGroups[{at}]"), group);
    }
    let flag = |field: &str| spec[field].as_bool() == Some(true);
    if flag("shareProcessNamespace") && flag("hostPID") {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        let field = at!("{path}.shareProcessNamespace");
        errors.push(FieldError::invalid(field, true, why));
    }
    sysctls(errors, at!("{path}.sysctls"), spec);
    let policies: [(&str, &[&str]); 3] = [
        ("fsGroupChangePolicy", &["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", &["Merge", "Strict"]),
        ("seLinuxChangePolicy", &["Recursive"]),
    ];
    for (field, known) in policies {
        let value = &context[field];
        if !value.is_null() && !known.contains(&value.str()) {
            let field = at!("{path}.{field}");
            errors.push(FieldError::not_supported(field, value, known));
        }
    }
    seccomp(
        errors,
        at!("{path}.seccompProfile"),
        &context["seccompProfile"],
    );
    windows_options(errors, path, context);
    app_armor(
        errors,
        at!("{path}.appArmorProfile"),
        &context["appArmorProfile"],
    );
}

fn sysctls(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    let mut seen = BTreeSet::new();
    let sysctls = spec.at(&["securityContext", "sysctls"]).items();
    for (at, sysctl) in sysctls.iter().enumerate() {
        let (name, field) = (sysctl["name"].str(), at!("{path}[{at}].name"));
        if name.is_empty() {
            errors.push(FieldError::required(field, ""));
        } else if !is_sysctl(name) {
            let why = format!(
                "must have at most {SYSCTL_MAX} characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            errors.push(FieldError::invalid(field, name, why));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(field, name));
        }
        let shared = match () {
            () if name.starts_with("kernel.shm") || name.starts_with("kernel.msg") => "hostIPC",
            () if name == "kernel.sem" || name.starts_with("fs.mqueue.") => "hostIPC",
            () if name.starts_with("net.") => "hostNetwork",
            () => continue,
        };
        if spec[shared].as_bool() == Some(true) {
            let why = format!("may not be specified when '{shared}' is true");
            errors.push(FieldError::invalid(field, name, why));
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let good = |part: &str| {
        let ends = part.bytes().next().zip(part.bytes().last());
        ends.is_some_and(|(first, last)| inner(first) && inner(last))
            && part
                .bytes()
                .all(|byte| inner(byte) || matches!(byte, b'-' | b'_'))
    };
    name.len() <= SYSCTL_MAX && name.split(['.', '/']).all(good)
}

/// A user or group number.
fn user_id(errors: &mut Errors, path: Place<'_>, value: &Value) {
    let limit = i64::from(i32::MAX);
    if let Some(id) = value.as_i64().filter(|id| !(0..=limit).contains(id)) {
        let why = format!("must be between 0 and {limit}, inclusive");
        errors.push(FieldError::invalid(path, id, why));
    }
}

/// What a system has no notion of must not be set for it.
pub(super) fn system(errors: &mut Errors, path: Place<'_>, spec: &Value) {
    const WINDOWS: &str = "cannot be set for a windows pod";
    let name = spec.at(&["os", "name"]).str();
    let mut forbid = |field: String, why: &str| errors.push(FieldError::forbidden(field, why));
    match name {
        _ if spec["os"].is_null() => return,
        "" => return errors.push(FieldError::required(at!("{path}.os.name"), "")),
        "linux" | "windows" => {}
        _ => {
            let (field, known) = (at!("{path}.os"), &["linux", "windows"]);
            return errors.push(FieldError::not_supported(field, name, known));
        }
    }
    for (context, at) in contexts(spec, path) {
        if name == "linux" {
            if !context["windowsOptions"].is_null() {
                let why = "windows options cannot be set for a linux pod";
                forbid(format!("{at}.windowsOptions"), why);
            }
            continue;
        }
        let of_pod = at == format!("{path}.securityContext");
        let fields: &[&str] = if of_pod {
            &POD_ON_LINUX
        } else {
            &CONTAINER_ON_LINUX
        };
        for field in fields.iter().filter(|field| !context[**field].is_null()) {
            forbid(format!("{at}.{field}"), WINDOWS);
        }
    }
    if name == "windows" {
        for field in ["hostUsers", "shareProcessNamespace"] {
            if !spec[field].is_null() {
                forbid(format!("{path}.{field}"), WINDOWS);
            }
        }
        for field in ["hostPID", "hostIPC"] {
            if spec[field].as_bool() == Some(true) {
                forbid(format!("{path}.{field}"), WINDOWS);
            }
        }
    }
}

const POD_ON_LINUX: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
];

const CONTAINER_ON_LINUX: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// All security contexts of a pod with their places, the pod's own first.
fn contexts<'a>(spec: &'a Value, path: Place<'_>) -> Vec<(&'a Value, String)> {
    let mut all = vec![(&spec["securityContext"], format!("{path}.securityContext"))];
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (at, container) in spec[list].items().iter().enumerate() {
            let place = format!("{path}.{list}[{at}].securityContext");
            all.push((&container["securityContext"], place));
        }
    }
    all
}
