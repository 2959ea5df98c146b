//! `CertificateApproval` and `CertificateSigning`: who approves or signs a certificate request
//! needs the right to do so for its signer. `CertificateSubjectRestriction`: what nobody may ask for.
//!
//! Upstream counterpart: `plugin/pkg/admission/certificates`.

use crate::{
    common::{forbid, is},
    csr,
};
use auth::{Attributes, MASTERS};
use kinds::CERTIFICATE_SIGNING_REQUESTS;
use machinery::{Status, format_smolstr};
use registry::{Admission, Operation, Review};

/// One of the two plug-ins.
pub struct Certificates {
    name: &'static str,
    subresource: &'static str,
    verb: &'static str,
}

impl Certificates {
    /// `CertificateApproval`.
    pub const APPROVAL: Certificates = Certificates {
        name: "CertificateApproval",
        subresource: "approval",
        verb: "approve",
    };
    /// `CertificateSigning`.
    pub const SIGNING: Certificates = Certificates {
        name: "CertificateSigning",
        subresource: "status",
        verb: "sign",
    };

    /// Whether the write is one that needs the right.
    fn concerns(&self, review: &Review<'_>) -> bool {
        let here = review.kind.storage == CERTIFICATE_SIGNING_REQUESTS
            && review.operation == Operation::Update
            && review.subresource == self.subresource;
        let before = review
            .old
            .map(|old| old.at("status.certificate").to_value())
            .unwrap_or_default();
        here && (self.subresource != "status" || before != review.object["status"]["certificate"])
    }
}

impl Admission for Certificates {
    fn name(&self) -> &'static str {
        self.name
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !self.concerns(review) {
            return Ok(());
        }
        let signer = review.old.map_or("", |old| old.at("spec.signerName").str());
        if may(review, self.verb, signer) {
            return Ok(());
        }
        Err(forbid(
            review,
            &format!(
                "user not permitted to {} requests with signerName \"{signer}\"",
                self.verb
            ),
        ))
    }
}

/// Notes who asks for a certificate, and refuses the one group that no certificate of a client may have.
pub struct CertificateSubjectRestriction;

/// Signs what the API server accepts as a client's certificate.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

impl Admission for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !is(review, CERTIFICATE_SIGNING_REQUESTS, Operation::Create) {
            return Ok(());
        }
        let who = review.user.to_value();
        let spec = review.object.object_at(&["spec"]);
        for field in ["username", "uid", "groups", "extra"] {
            spec.remove(field);
            if let Some(value) = who.get(field) {
                spec.insert(field, value.clone());
            }
        }
        Ok(())
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let spec = &review.object["spec"];
        let concerned = is(review, CERTIFICATE_SIGNING_REQUESTS, Operation::Create)
            && spec["signerName"].str() == CLIENT_SIGNER;
        if !concerned {
            return Ok(());
        }
        let subject = csr::subject(spec["request"].str())
            .map_err(|why| forbid(review, &format!("unable to parse CSR: {why}")))?;
        if subject.organizations.iter().any(|group| group == MASTERS) {
            let why = format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed");
            return Err(forbid(review, &why));
        }
        Ok(())
    }
}

/// The right on the signer itself, or on all of its domain.
fn may(review: &Review<'_>, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    [signer.into(), format_smolstr!("{domain}/*")]
        .into_iter()
        .any(|name| {
            let asked = Attributes {
                verb: verb.into(),
                group: "certificates.k8s.io".into(),
                version: "*".into(),
                resource: "signers".into(),
                name,
                ..Attributes::default()
            };
            review.door.allows(review.user, &asked)
        })
}
