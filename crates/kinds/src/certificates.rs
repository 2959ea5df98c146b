//! Validation of certificate signing requests, of what signers and approvers write into them.
//!
//! What the request says inside is its signer's to judge. Upstream counterpart:
//! `pkg/apis/certificates/validation`.

use crate::check::{Errors, Place, at, present};
use base64::{Engine, prelude::BASE64_STANDARD};
use machinery::{FieldError, Value, dns1035_label, dns1123_label, dns1123_subdomain};

/// What a certificate may be for.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// Seconds a certificate must last at least.
const EXPIRATION_MIN: i64 = 600;
/// A signer of times before signers had names.
const LEGACY: &str = "kubernetes.io/legacy-unknown";

pub(crate) fn validate(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    if !is_request(spec["request"].str()) {
        let why = "PEM block type must be CERTIFICATE REQUEST";
        errors.push(FieldError::invalid("spec.request", &spec["request"], why));
    }
    usages(&mut errors, spec["usages"].items());
    let (signer, field) = (spec["signerName"].str(), "spec.signerName");
    match signer {
        "" => present(&mut errors, at!("{field}"), &spec["signerName"]),
        LEGACY => {
            let why = "the legacy signerName is not allowed via this API version";
            errors.push(FieldError::invalid(field, signer, why));
        }
        _ => signer_name(&mut errors, at!("{field}"), signer),
    }
    let (field, seconds) = ("spec.expirationSeconds", &spec["expirationSeconds"]);
    if seconds.as_i64().is_some_and(|one| one < EXPIRATION_MIN) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid(field, seconds, why));
    }
    errors
}

/// Whether the first PEM block of the decoded text is a request.
fn is_request(encoded: &str) -> bool {
    let Ok(bytes) = BASE64_STANDARD.decode(encoded) else {
        return false;
    };
    let text = String::from_utf8_lossy(&bytes);
    let Some((_, rest)) = text.split_once("-----BEGIN ") else {
        return false;
    };
    let body = rest.strip_prefix("CERTIFICATE REQUEST-----");
    body.is_some_and(|body| body.contains("-----END CERTIFICATE REQUEST-----"))
}

fn usages(errors: &mut Errors, usages: &[Value]) {
    if usages.is_empty() {
        errors.push(FieldError::required("spec.usages", ""));
    }
    for (at, usage) in usages.iter().enumerate() {
        let field = at!("spec.usages[{at}]");
        if !USAGES.contains(&usage.str()) {
            errors.push(FieldError::not_supported(field, usage.str(), &USAGES));
        } else if usages[..at].contains(usage) {
            errors.push(FieldError::duplicate(field, usage));
        }
    }
}

/// `domain/path`, both in lowercase labels.
fn signer_name(errors: &mut Errors, field: Place<'_>, signer: &str) {
    let parts: Vec<&str> = signer.split('/').collect();
    let [domain, path] = parts[..] else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.push(FieldError::invalid(field, signer, why));
    };
    let mut look = |whole: &str, check: fn(&str) -> Vec<String>| {
        for label in whole.split('.') {
            let complaints = check(label).into_iter();
            errors.extend(complaints.map(|why| {
                FieldError::invalid(field, whole, format!("validating label {label:?}: {why}"))
            }));
        }
    };
    look(domain, dns1123_label);
    look(path, dns1123_subdomain);
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(field, domain, why));
    }
}

/// Conditions that approvers write, and nobody else.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
/// Conditions that stay and are never false.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];

/// The conditions of that type.
fn of_type<'a>(request: &'a Value, kind: &str) -> Vec<&'a Value> {
    let conditions = request.at(&["status", "conditions"]).items();
    let chosen = conditions.iter().filter(|one| one["type"].str() == kind);
    chosen.collect()
}

/// Keeps decisions as they were made, where there are as many as before.
pub(crate) fn keep_decisions(new: &mut Value, old: &Value) {
    for kind in DECISIONS {
        let made = of_type(old, kind);
        if made.len() != of_type(new, kind).len() {
            continue;
        }
        let conditions = new["status"]["conditions"].as_array_mut();
        let shown = conditions.into_iter().flatten();
        let same = shown.filter(|one| one["type"].str() == kind);
        same.zip(made).for_each(|(one, made)| *one = made.clone());
    }
}

/// What is wrong with what a signer writes: its certificate and conditions, no decision.
pub(crate) fn validate_status(new: &Value, old: &Value) -> Errors {
    let mut errors = conditions(new, old);
    for kind in DECISIONS {
        if of_type(new, kind).len() > of_type(old, kind).len() {
            let why = format!("updates may not add a condition of type {kind:?}");
            errors.push(FieldError::forbidden("status.conditions", why));
        }
    }
    let (given, known) = (&new["status"]["certificate"], &old["status"]["certificate"]);
    if given == known {
        return errors;
    }
    let field = "status.certificate";
    let was_sound = certificate_error(known.str()).is_none();
    if let Some(why) = certificate_error(given.str()).filter(|_| was_sound) {
        errors.push(FieldError::invalid(field, "<certificate data>", why));
    }
    if !known.str().is_empty() {
        let why = "updates may not modify existing certificate content";
        errors.push(FieldError::forbidden(field, why));
    }
    errors
}

/// What is wrong with what an approver writes.
pub(crate) fn validate_approval(new: &Value, old: &Value) -> Errors {
    conditions(new, old)
}

/// What is wrong with the conditions, unless the stored ones had the same fault.
fn conditions(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let list = |request: &'_ Value| request.at(&["status", "conditions"]).items().to_vec();
    let (given, known) = (list(new), list(old));
    let unnamed = |one: &Value| one["type"].str().is_empty();
    let repeated = |list: &[Value], at: usize| {
        list[..at]
            .iter()
            .any(|one| one["type"].str() == list[at]["type"].str())
    };
    let may_repeat = (0..known.len()).any(|at| repeated(&known, at));
    for (at, one) in given.iter().enumerate() {
        let path = at!("status.conditions[{at}]");
        if !known.iter().any(unnamed) {
            present(&mut errors, at!("{path}.type"), &one["type"]);
        }
        let allowed: &[&str] = match FINAL.contains(&one["type"].str()) {
            true => &["True"],
            false => &["False", "True", "Unknown"],
        };
        crate::check::one_of(&mut errors, at!("{path}.status"), &one["status"], allowed);
        if !may_repeat && repeated(&given, at) {
            errors.push(FieldError::duplicate(at!("{path}.type"), &one["type"]));
        }
    }
    exclusive(&mut errors, new, old);
    for kind in FINAL {
        if of_type(new, kind).len() < of_type(old, kind).len() {
            let why = format!("updates may not remove a condition of type {kind:?}");
            errors.push(FieldError::forbidden("status.conditions", why));
        }
    }
    errors
}

/// A request is approved or denied, not both.
fn exclusive(errors: &mut Errors, new: &Value, old: &Value) {
    let both = |request: &Value| {
        DECISIONS
            .iter()
            .all(|kind| !of_type(request, kind).is_empty())
    };
    if !both(new) || both(old) {
        return;
    }
    let conditions = new.at(&["status", "conditions"]).items().iter();
    let mut decisions = conditions.filter(|one| DECISIONS.contains(&one["type"].str()));
    if let Some(last) = decisions.next_back() {
        let why = "Approved and Denied conditions are mutually exclusive";
        errors.push(FieldError::invalid("status.conditions", &last["type"], why));
    }
}

/// Why the text, which is encoded PEM, holds no certificates; nothing for an empty one. What a
/// certificate says inside is its reader's to judge.
fn certificate_error(encoded: &str) -> Option<String> {
    if encoded.is_empty() {
        return None;
    }
    let bytes = BASE64_STANDARD.decode(encoded).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut blocks = text.split("-----BEGIN ").skip(1).peekable();
    if blocks.peek().is_none() {
        return Some("must contain at least one CERTIFICATE PEM block".into());
    }
    blocks.find_map(block_error)
}

/// Why what follows `-----BEGIN ` is no certificate's block.
fn block_error(block: &str) -> Option<String> {
    let (label, rest) = block.split_once("-----").unwrap_or((block, ""));
    if label != "CERTIFICATE" {
        return Some(format!(
            "only CERTIFICATE PEM blocks are allowed, found {label:?}"
        ));
    }
    let body = rest.split("-----END CERTIFICATE-----").next().unwrap_or("");
    if body.contains(':') {
        return Some("no PEM block headers are permitted".into());
    }
    let joined: String = body.split_whitespace().collect();
    let whole = rest.contains("-----END CERTIFICATE-----");
    let decoded = BASE64_STANDARD.decode(joined).ok();
    let sound = whole && decoded.is_some_and(|der| !der.is_empty());
    (!sound).then(|| "must contain at least one CERTIFICATE PEM block".into())
}

/// What an aggregated API's registration must say.
pub(crate) fn api_service(o: &Value) -> Errors {
    let (mut errors, spec) = (Errors::new(), &o["spec"]);
    let wanted = format!("{}.{}", spec["version"].str(), spec["group"].str());
    if o.name() != wanted {
        let why = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.push(FieldError::invalid("metadata.name", o.name(), why));
    }
    let version = spec["version"].str();
    crate::check::syntax(&mut errors, at!("spec.version"), version, dns1035_label);
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1_000)] {
        let number = spec[field].as_i64().unwrap_or(0);
        if !(1..=most).contains(&number) {
            let why = format!("must be positive and less than {most}");
            errors.push(FieldError::invalid(at!("spec.{field}"), number, why));
        }
    }
    backing(&mut errors, spec);
    errors
}

/// The service behind it and how its certificate is checked.
fn backing(errors: &mut Errors, spec: &Value) {
    let (service, bundle) = (&spec["service"], spec["caBundle"].str());
    let insecure = spec["insecureSkipTLSVerify"].as_bool() == Some(true);
    if service.is_null() {
        if !bundle.is_empty() {
            let bytes = BASE64_STANDARD
                .decode(bundle)
                .map_or(0, |bytes| bytes.len());
            let why = "local APIServices may not have a caBundle";
            errors.push(FieldError::invalid(
                "spec.caBundle",
                format!("{bytes} bytes"),
                why,
            ));
        }
        if insecure {
            let why = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(FieldError::invalid("spec.insecureSkipTLSVerify", true, why));
        }
        return;
    }
    present(errors, at!("spec.service.namespace"), &service["namespace"]);
    present(errors, at!("spec.service.name"), &service["name"]);
    let mut port = Errors::new();
    if let Some(number) = service["port"].as_i64() {
        crate::check::port(&mut port, at!("spec.service.port"), number);
    }
    errors.extend(port.into_iter().map(|mut error| {
        error.detail = format!("port is not valid: {}", error.detail);
        error
    }));
    if insecure && !bundle.is_empty() {
        let why = "may not be true if caBundle is present";
        errors.push(FieldError::invalid("spec.insecureSkipTLSVerify", true, why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    fn request(conditions: &[(&str, &str)], certificate: &str) -> Value {
        let condition = |(kind, status): &(&str, &str)| json!({"type": *kind, "status": *status});
        let conditions: Vec<Value> = conditions.iter().map(condition).collect();
        let certificate = BASE64_STANDARD.encode(certificate);
        json!({"status": {"conditions": conditions, "certificate": certificate}})
    }

    fn texts(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    const SOUND: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    const APPROVED: (&str, &str) = ("Approved", "True");

    #[test]
    fn signers_write_certificates_and_decide_nothing() {
        let pending = request(&[], "");
        assert_eq!(
            texts(&validate_status(&request(&[], SOUND), &pending)),
            [""; 0]
        );
        let added = validate_status(&request(&[APPROVED], SOUND), &pending);
        assert_eq!(
            texts(&added),
            ["status.conditions: Forbidden: updates may not add a condition of type \"Approved\""]
        );
        let again = validate_status(&request(&[], &SOUND.repeat(2)), &request(&[], SOUND));
        assert_eq!(
            texts(&again),
            ["status.certificate: Forbidden: updates may not modify existing certificate content"]
        );
        let broken = [
            ("none", "must contain at least one CERTIFICATE PEM block"),
            (
                "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
                "only CERTIFICATE PEM blocks are allowed, found \"PRIVATE KEY\"",
            ),
            (
                "-----BEGIN CERTIFICATE-----\na: b\n\nMAA=\n-----END CERTIFICATE-----\n",
                "no PEM block headers are permitted",
            ),
        ];
        for (certificate, why) in broken {
            let errors = validate_status(&request(&[], certificate), &pending);
            let wanted =
                format!("status.certificate: Invalid value: \"<certificate data>\": {why}");
            assert_eq!(texts(&errors), [wanted]);
        }
    }

    #[test]
    fn decisions_stay_as_they_were_made() {
        let made = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "message": "m"}]}});
        let mut new = request(&[("Ready", "True"), ("Approved", "False")], SOUND);
        keep_decisions(&mut new, &made);
        assert_eq!(
            new["status"]["conditions"][1],
            made["status"]["conditions"][0]
        );
        let gone = validate_approval(&request(&[], ""), &made);
        assert_eq!(
            texts(&gone),
            [
                "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""
            ]
        );
    }

    #[test]
    fn approvers_write_one_decision() {
        let pending = request(&[], "");
        assert!(validate_approval(&request(&[APPROVED], ""), &pending).is_empty());
        let both = request(
            &[APPROVED, ("Denied", "False"), ("", "True"), ("", "Maybe")],
            "",
        );
        assert_eq!(
            texts(&validate_approval(&both, &pending)),
            [
                "status.conditions[1].status: Unsupported value: \"False\": supported values: \"True\"",
                "status.conditions[2].type: Required value",
                "status.conditions[3].type: Required value",
                "status.conditions[3].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\"",
                "status.conditions[3].type: Duplicate value: \"\"",
                "status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
            ]
        );
    }
}
