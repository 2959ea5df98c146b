//! Validation of certificate signing requests.
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
