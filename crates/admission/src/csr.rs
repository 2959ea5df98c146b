//! Who a certificate request is for.
//!
//! Reads the subject and counts the alternative names; what is signed is the signer's business. Upstream
//! counterpart: `pkg/apis/certificates/helpers.go`.

use base64::{Engine, engine::general_purpose::STANDARD};
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    pem::Pem,
    prelude::FromDer,
};

/// The subject of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Common name.
    pub common_name: String,
    /// Organizations.
    pub organizations: Vec<String>,
    /// Alternative names by kind.
    pub alternatives: Alternatives,
}

/// How many alternative names of each kind a request asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Alternatives {
    /// DNS names.
    pub dns_names: usize,
    /// Mail addresses.
    pub mails: usize,
    /// IP addresses.
    pub addresses: usize,
    /// URIs.
    pub uris: usize,
}

/// Reads the subject of a PEM request in base64, as `spec.request` carries it.
pub fn subject(request: &str) -> Result<Subject, String> {
    let wrong_type = || "PEM block type must be CERTIFICATE REQUEST".to_owned();
    let text = STANDARD.decode(request).map_err(|_| wrong_type())?;
    let pem = Pem::iter_from_buffer(&text)
        .next()
        .and_then(Result::ok)
        .filter(|pem| pem.label == "CERTIFICATE REQUEST")
        .ok_or_else(wrong_type)?;
    let parsed = X509CertificationRequest::from_der(&pem.contents);
    let (_, request) = parsed.map_err(|why| why.to_string())?;
    let name = &request.certification_request_info.subject;
    let texts = |parts: Vec<&x509_parser::x509::AttributeTypeAndValue<'_>>| -> Vec<String> {
        let read = parts.into_iter().filter_map(|part| part.as_str().ok());
        read.map(str::to_owned).collect()
    };
    Ok(Subject {
        common_name: texts(name.iter_common_name().collect())
            .pop()
            .unwrap_or_default(),
        organizations: texts(name.iter_organization().collect()),
        alternatives: alternatives(&request),
    })
}

fn alternatives(request: &X509CertificationRequest<'_>) -> Alternatives {
    let mut found = Alternatives::default();
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else {
            continue;
        };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(_) => found.dns_names += 1,
                GeneralName::RFC822Name(_) => found.mails += 1,
                GeneralName::IPAddress(_) => found.addresses += 1,
                GeneralName::URI(_) => found.uris += 1,
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_name_their_subject() {
        let request = include_str!("../tests/node.csr");
        let read = subject(&STANDARD.encode(request)).unwrap();
        assert_eq!(read.common_name, "system:node:one");
        assert_eq!(read.organizations, ["system:nodes"]);
        for bad in [
            "",
            "!",
            "bm8=",
            &STANDARD.encode(request.replace(" REQUEST", "")),
        ] {
            assert_eq!(
                subject(bad).unwrap_err(),
                "PEM block type must be CERTIFICATE REQUEST"
            );
        }
    }
}
