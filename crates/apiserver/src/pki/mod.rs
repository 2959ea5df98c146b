//! The cluster's certificates: an authority of its own, and what it issues for how long.
//!
//! Files and clocks are the caller's; this makes and reads PEM. Upstream counterpart: `kubeadm`'s
//! certs phase and `pkg/controller/certificates/signer`.

mod authority;
mod issue;
mod live;

pub use authority::{Authority, new_authority};
pub use issue::sign_request;
pub use live::LiveTls;

use env::Time;
use issue::{Leaf, Use};
use rcgen::KeyPair;
use std::{net::IpAddr, time::Duration};
use x509_parser::prelude::{FromDer, X509Certificate};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long an authority holds.
pub const AUTHORITY_LIFE: Duration = Duration::from_secs(3650 * DAY.as_secs());
/// How long what it issues holds, at most.
pub const LEAF_LIFE: Duration = Duration::from_secs(365 * DAY.as_secs());
/// Certificates begin to hold this long before they are made, for clocks that differ.
const BACKDATE: Duration = Duration::from_secs(300);
/// A leaf is renewed when less than this part of its life is left (as kubelets do).
const LEAF_PART_LEFT: u64 = 5;
/// An authority is renewed while it can still issue whole leaves.
const AUTHORITY_LEFT: Duration = Duration::from_secs(2 * LEAF_LIFE.as_secs());

/// A certificate and its key as PEM text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Certificate.
    pub certificate: String,
    /// Private key.
    pub key: String,
}

/// Why certificates could not be made or read.
#[derive(Debug)]
pub struct PkiError(String);

impl std::fmt::Display for PkiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "certificates: {}", self.0)
    }
}
impl std::error::Error for PkiError {}

fn error(why: impl std::fmt::Display) -> PkiError {
    PkiError(why.to_string())
}

/// When a certificate holds, in seconds of Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From.
    pub from: u64,
    /// To.
    pub to: u64,
}

impl Validity {
    fn starting(now: Time, life: Duration) -> Self {
        let now = now.unix_seconds();
        Self {
            from: now.saturating_sub(BACKDATE.as_secs()),
            to: now + life.as_secs(),
        }
    }

    /// When the first certificate of a PEM text holds.
    pub fn of(pem: &str) -> Result<Self, PkiError> {
        let (_, found) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(error)?;
        Self::of_der(&found.contents)
    }

    /// When a certificate holds.
    pub fn of_der(der: &[u8]) -> Result<Self, PkiError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(error)?;
        let validity = certificate.validity();
        let seconds = |time: x509_parser::time::ASN1Time| time.timestamp().max(0).unsigned_abs();
        Ok(Self {
            from: seconds(validity.not_before),
            to: seconds(validity.not_after),
        })
    }

    /// Whether it is time for a leaf's successor: near its end, or not begun by this clock.
    pub fn leaf_is_due(self, now: Time) -> bool {
        let now = now.unix_seconds();
        now < self.from || self.to.saturating_sub(now) < (self.to - self.from) / LEAF_PART_LEFT
    }

    /// The same for an authority.
    pub fn authority_is_due(self, now: Time) -> bool {
        let now = now.unix_seconds();
        now < self.from || self.to.saturating_sub(now) < AUTHORITY_LEFT.as_secs()
    }
}

/// Whether a certificate was signed by an authority's key.
pub fn is_issued_by(certificate: &str, authority: &str) -> bool {
    let read = |pem: &str| {
        let parsed = x509_parser::pem::parse_x509_pem(pem.as_bytes());
        parsed.ok().map(|(_, found)| found)
    };
    let (Some(leaf), Some(issuer)) = (read(certificate), read(authority)) else {
        return false;
    };
    let (Ok((_, leaf)), Ok((_, issuer))) = (
        X509Certificate::from_der(&leaf.contents),
        X509Certificate::from_der(&issuer.contents),
    ) else {
        return false;
    };
    leaf.verify_signature(Some(issuer.public_key())).is_ok()
}

/// A server certificate for names and addresses.
pub fn new_server(
    authority: &Credential,
    names: &[&str],
    addresses: &[IpAddr],
    now: Time,
) -> Result<Credential, PkiError> {
    let leaf = Leaf {
        common_name: "kube-apiserver",
        organizations: &[],
        names,
        addresses,
        usages: &[Use::DigitalSignature, Use::KeyEncipherment, Use::ServerAuth],
    };
    issue_new(authority, &leaf, now)
}

/// A client certificate that names a user and groups.
pub fn new_client(
    authority: &Credential,
    user: &str,
    groups: &[&str],
    now: Time,
) -> Result<Credential, PkiError> {
    let leaf = Leaf {
        common_name: user,
        organizations: groups,
        names: &[],
        addresses: &[],
        usages: &[Use::DigitalSignature, Use::KeyEncipherment, Use::ClientAuth],
    };
    issue_new(authority, &leaf, now)
}

fn issue_new(authority: &Credential, leaf: &Leaf<'_>, now: Time) -> Result<Credential, PkiError> {
    let key = KeyPair::generate().map_err(error)?;
    Ok(Credential {
        certificate: issue::issue(authority, leaf, &key, Validity::starting(now, LEAF_LIFE))?,
        key: key.serialize_pem(),
    })
}

#[cfg(test)]
mod tests;
