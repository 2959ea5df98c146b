//! Certificates under a clock that is given.

use super::*;
use rcgen::{CertificateParams, DnType};
use std::sync::Arc;
use tokio_rustls::rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

fn after(start: Time, days: u32) -> Time {
    start + DAY * days
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|one| one.expect("PEM"))
        .collect()
}

fn born() -> Time {
    Time::from_unix_seconds(1_900_000_000)
}

#[test]
fn certificates_hold_for_their_time() {
    let authority = new_authority("kubernetes", born()).unwrap();
    let client = new_client(&authority, "ann", &["dev", "ops"], born()).unwrap();
    let server = new_server(&authority, &["localhost"], &[[127, 0, 0, 1].into()], born()).unwrap();
    let held = Validity::of(&client.certificate).unwrap();
    assert_eq!(held.from, born().unix_seconds() - BACKDATE.as_secs());
    assert_eq!(held.to, born().unix_seconds() + LEAF_LIFE.as_secs());
    for (days, due) in [(0, false), (200, false), (300, true), (400, true)] {
        assert_eq!(held.leaf_is_due(after(born(), days)), due, "{days}");
    }
    let own = Validity::of(&authority.certificate).unwrap();
    for (days, due) in [(0, false), (2900, false), (3000, true)] {
        assert_eq!(own.authority_is_due(after(born(), days)), due, "{days}");
    }
    let tls = LiveTls::new(&authority.certificate, &server).unwrap();
    let presented = chain(&client.certificate);
    assert!(tls.verify(&presented, after(born(), 364)).is_ok());
    assert!(
        tls.verify(&presented, after(born(), 366)).is_err(),
        "expired"
    );
    assert!(
        tls.verify(&chain(&server.certificate), born()).is_err(),
        "no client's"
    );
    let late = new_client(&authority, "ann", &[], after(born(), 3500)).unwrap();
    assert_eq!(Validity::of(&late.certificate).unwrap().to, own.to);
}

#[test]
fn trust_may_be_replaced() {
    let (old, new) = (
        new_authority("kubernetes", born()).unwrap(),
        new_authority("kubernetes", born()).unwrap(),
    );
    let server = |authority| new_server(authority, &["localhost"], &[], born()).unwrap();
    let ann = |authority| new_client(authority, "ann", &[], born()).unwrap();
    let tls = LiveTls::new(&old.certificate, &server(&old)).unwrap();
    let (by_old, by_new) = (chain(&ann(&old).certificate), chain(&ann(&new).certificate));
    assert!(tls.verify(&by_new, born()).is_err());
    let both = format!("{}{}", new.certificate, old.certificate);
    tls.replace(&both, &server(&new)).unwrap();
    assert!(tls.verify(&by_new, born()).is_ok() && tls.verify(&by_old, born()).is_ok());
}

#[test]
fn requests_are_signed_as_asked() {
    let authority = new_authority("kubernetes", born()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut asked = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    asked.distinguished_name.push(DnType::CommonName, "ann");
    asked
        .distinguished_name
        .push(DnType::OrganizationName, "dev");
    let request = asked.serialize_request(&key).unwrap().pem().unwrap();
    let usages = ["client auth".to_owned(), "digital signature".to_owned()];
    let made = sign_request(&authority, &request, &usages, Some(3600), born()).unwrap();
    let held = Validity::of(&made).unwrap();
    assert_eq!(held.to, born().unix_seconds() + 3600);
    let server = new_server(&authority, &["localhost"], &[], born()).unwrap();
    let tls = LiveTls::new(&authority.certificate, &server).unwrap();
    assert!(tls.verify(&chain(&made), born()).is_ok());
    let user = crate::identity::of_certificate(&chain(&made)[0]).unwrap();
    assert_eq!((user.name.as_str(), &user.groups[0][..]), ("ann", "dev"));
    let several = new_client(&authority, "ann", &["dev", "ops"], born()).unwrap();
    let user = crate::identity::of_certificate(&chain(&several.certificate)[0]).unwrap();
    assert_eq!(user.groups, ["dev", "ops", "system:authenticated"]);
    assert!(sign_request(&authority, "", &usages, None, born()).is_err());
    let odd = ["flying".to_owned()];
    assert!(sign_request(&authority, &request, &odd, None, born()).is_err());
}

/// Whether a client that knows these authorities believes what a server shows.
fn believes(trust: &str, shown: &Credential, now: Time) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for root in chain(trust) {
        roots.add(root).unwrap();
    }
    let provider = Arc::new(ring::default_provider());
    let client = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let chain = chain(&shown.certificate);
    let (name, now) = (
        ServerName::try_from("localhost").unwrap(),
        UnixTime::since_unix_epoch(Duration::from_secs(now.unix_seconds())),
    );
    let client = client.build().unwrap();
    let verified = client.verify_server_cert(&chain[0], &chain[1..], &name, &[], now);
    verified.map(drop).map_err(|why| why.to_string())
}

/// What somebody took home one day: whom to believe, and who they are.
struct Taken {
    day: u32,
    trust: String,
    client: Credential,
}

#[test]
fn an_authority_is_succeeded_and_nobody_notices() {
    let mut authority = Authority::first("kubernetes", born()).unwrap();
    let mut signers = vec![authority.signing.clone()];
    let mut taken: Vec<Taken> = Vec::new();
    for day in (0..9000).step_by(60) {
        let now = after(born(), day);
        if let Some(next) = authority.advanced("kubernetes", now).unwrap() {
            authority = next;
        }
        if signers.last() != Some(&authority.signing) {
            signers.push(authority.signing.clone());
        }
        let server = new_server(&authority.signing, &["localhost"], &[], now).unwrap();
        let shown = authority.shown(&server);
        let tls = LiveTls::new(&authority.trust(), &shown).unwrap();
        taken.push(Taken {
            day,
            trust: authority.trust(),
            client: new_client(&authority.signing, "ann", &[], now).unwrap(),
        });
        taken.retain(|one| day - one.day < 365);
        for one in &taken {
            assert_eq!(
                believes(&one.trust, &shown, now),
                Ok(()),
                "{day} {}",
                one.day
            );
            let client = tls.verify(&chain(&one.client.certificate), now);
            assert_eq!(client, Ok(()), "{day} {}", one.day);
        }
    }
    assert_eq!(signers.len(), 4, "one every eight years");
    let crowd = chain(&authority.trust()).len() + chain(&authority.cross).len();
    assert!(crowd <= 3, "what has ended is forgotten");
    let stranger = new_authority("kubernetes", born()).unwrap();
    let now = after(born(), 2950);
    let server = new_server(&signers[1], &["localhost"], &[], now).unwrap();
    assert!(believes(&stranger.certificate, &server, now).is_err());
    assert!(
        believes(&signers[0].certificate, &server, now).is_err(),
        "without what leads there"
    );
}
