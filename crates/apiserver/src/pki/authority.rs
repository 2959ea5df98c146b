//! Who signs, who signed before, and how one takes over while everybody goes on believing.
//!
//! A successor signs from the day it is made. Its key is also vouched for by its predecessor, in
//! a certificate that the server shows beside its own: whoever knows only the predecessor follows
//! that. What the predecessor signed is believed until it ends. So nobody needs to be told by a
//! day, and no leaf outlives who vouches for it. Files and clocks are the caller's. Upstream
//! counterpart: the procedure of "Manual Rotation of CA Certificates", without the hands.

use super::{AUTHORITY_LIFE, Credential, PkiError, Validity, error, issue};
use env::Time;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use x509_parser::pem::Pem;

/// The authority that signs, and what is left of those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Signs.
    pub signing: Credential,
    /// Certificates of those that signed before and have not ended, as PEM.
    pub before: String,
    /// The signing key, vouched for by those before, as PEM.
    pub cross: String,
}

impl Authority {
    /// The first one of a cluster.
    pub fn first(common_name: &str, now: Time) -> Result<Self, PkiError> {
        Ok(Self {
            signing: new_authority(common_name, now)?,
            before: String::new(),
            cross: String::new(),
        })
    }

    /// Certificates of all that are believed, as PEM.
    pub fn trust(&self) -> String {
        [&self.signing.certificate[..], &self.before].concat()
    }

    /// What a server shows: its certificate, and what leads from there to those before.
    pub fn shown(&self, leaf: &Credential) -> Credential {
        Credential {
            certificate: [&leaf.certificate[..], &self.cross].concat(),
            key: leaf.key.clone(),
        }
    }

    /// What it becomes by this time: succeeded near its end, without those that have ended;
    /// nothing if it stays as it is. Successors are called after `common_name`.
    pub fn advanced(&self, common_name: &str, now: Time) -> Result<Option<Self>, PkiError> {
        let mut next = self.clone();
        if Validity::of(&self.signing.certificate)?.authority_is_due(now) {
            next = self.succeeded(common_name, now)?;
        }
        next.before = still_holding(&next.before, now);
        next.cross = still_holding(&next.cross, now);
        Ok((next != *self).then_some(next))
    }

    fn succeeded(&self, common_name: &str, now: Time) -> Result<Self, PkiError> {
        // Names tell the two apart where a client looks for an issuer by name.
        let name = format!("{common_name}@{}", now.unix_seconds());
        let signing = new_authority(&name, now)?;
        let cross = issue::vouch(&self.signing, &signing.certificate)?;
        Ok(Self {
            before: self.trust(),
            cross: cross + &self.cross,
            signing,
        })
    }
}

/// The certificates of a PEM text that have not ended.
fn still_holding(text: &str, now: Time) -> String {
    let blocks = Pem::iter_from_buffer(text.as_bytes()).filter_map(Result::ok);
    let holding = blocks.filter(|block| {
        Validity::of_der(&block.contents).is_ok_and(|holds| now.unix_seconds() <= holds.to)
    });
    holding
        .map(|block| issue::armoured(&block.contents))
        .collect()
}

/// A new certificate authority.
pub fn new_authority(common_name: &str, now: Time) -> Result<Credential, PkiError> {
    let validity = Validity::starting(now, AUTHORITY_LIFE);
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = issue::moment(validity.from)?;
    params.not_after = issue::moment(validity.to)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let key = KeyPair::generate().map_err(error)?;
    let certificate = params.self_signed(&key).map_err(error)?;
    Ok(Credential {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}
