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
use machinery::{FieldError, Status, Value, format_smolstr, format_time};
use registry::{Admission, Handles, Operation, Review};

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

    /// Whether the write is one through its subresource.
    fn is_here(&self, review: &Review<'_>) -> bool {
        review.kind.storage == CERTIFICATE_SIGNING_REQUESTS
            && review.operation == Operation::Update
            && review.subresource == self.subresource
    }

    /// Whether the write is one that needs the right.
    fn concerns(&self, review: &Review<'_>) -> bool {
        let here = self.is_here(review);
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

    fn handles(&self) -> Handles {
        Handles::NOTHING
            .admits(&[Operation::Update])
            .validates(&[Operation::Update])
            .of(&[CERTIFICATE_SIGNING_REQUESTS])
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if self.is_here(review) {
            let old = review.old.map(|old| old.at("status.conditions").to_value());
            let now = format_time(review.door.now().0);
            date_conditions(&mut review.object, &old.unwrap_or_default(), &now);
        }
        Ok(())
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

/// Dates the conditions that come without: when they were written, and since when they are so.
fn date_conditions(request: &mut Value, old: &Value, now: &str) {
    let conditions = request.object_at(&["status"]).get_mut("conditions");
    for one in conditions
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let same = |known: &&Value| {
            ["type", "status"]
                .iter()
                .all(|key| known[*key] == one[*key])
        };
        let before = old.items().iter().find(same);
        let since = before.map_or("", |known| known["lastTransitionTime"].str());
        let since = if since.is_empty() { now } else { since }.to_owned();
        for (field, time) in [("lastUpdateTime", now), ("lastTransitionTime", &since)] {
            if one[field].str().is_empty() {
                one[field] = time.into();
            }
        }
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

    fn handles(&self) -> Handles {
        Handles::NOTHING
            .admits(&[Operation::Create])
            .validates(&[Operation::Create])
            .of(&[CERTIFICATE_SIGNING_REQUESTS])
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
        if !is(review, CERTIFICATE_SIGNING_REQUESTS, Operation::Create) {
            return Ok(());
        }
        let spec = &review.object["spec"];
        let request = spec["request"].str();
        let subject = csr::subject(request).map_err(|why| {
            let error = FieldError::invalid("spec.request", request, why);
            let gvk = &review.kind.gvk;
            Status::invalid(&gvk.group, &gvk.kind, review.object.name(), &[error])
        })?;
        let concerned = spec["signerName"].str() == CLIENT_SIGNER;
        if concerned && subject.organizations.iter().any(|group| group == MASTERS) {
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
