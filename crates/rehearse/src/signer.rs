//! A signer without keys: its certificates say what was asked, the same in every run.
//!
//! Upstream counterpart: none.

use env::Time;
use platform::CertificateSigner;
use sha2::{Digest, Sha256};

/// How long certificates hold where less is not asked for, in seconds.
const LIFE: u64 = 365 * 24 * 3600;
const HEAD: &str = "-----BEGIN CERTIFICATE-----\nsimulated until ";
const TAIL: &str = "\n-----END CERTIFICATE-----\n";

/// Signs for rehearsals.
pub(crate) struct SimSigner;

impl CertificateSigner for SimSigner {
    fn sign(
        &self,
        request: &str,
        usages: &[String],
        seconds: Option<u64>,
        now: Time,
    ) -> Result<String, String> {
        let until = now.unix_seconds() + seconds.map_or(LIFE, |seconds| seconds.min(LIFE));
        let digest = Sha256::digest(request);
        Ok(format!(
            "{HEAD}{until} for {} of {digest:x}{TAIL}",
            usages.join(", ")
        ))
    }

    fn end(&self, certificate: &str) -> Option<Time> {
        let (until, _) = certificate.strip_prefix(HEAD)?.split_once(' ')?;
        until.parse().ok().map(Time::from_unix_seconds)
    }
}
