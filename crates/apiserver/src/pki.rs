//! The cluster's certificates: a CA of its own, the server's certificate, client certificates.
//!
//! Files are the caller's; this makes and reads PEM. Upstream counterpart: `kubeadm`'s certs phase.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use std::{net::IpAddr, sync::Arc};
use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

/// Certificates begin to hold on this date, so that clocks that are a little off do no harm.
const FIRST_YEAR: i32 = 2024;
/// And end on this one; rotation comes with a later change.
const LAST_YEAR: i32 = 2036;

/// A certificate and its key as PEM text.
#[derive(Clone, Debug)]
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

fn params(common_name: &str, organizations: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    for organization in organizations {
        params
            .distinguished_name
            .push(DnType::OrganizationName, *organization);
    }
    params.not_before = date_time_ymd(FIRST_YEAR, 1, 1);
    params.not_after = date_time_ymd(LAST_YEAR, 1, 1);
    params
}

/// A new certificate authority.
pub fn new_authority(common_name: &str) -> Result<Credential, PkiError> {
    let mut params = params(common_name, &[]);
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

/// A server certificate for names and addresses.
pub fn new_server(
    authority: &Credential,
    names: &[&str],
    addresses: &[IpAddr],
) -> Result<Credential, PkiError> {
    let mut params = params("kube-apiserver", &[]);
    for name in names {
        params
            .subject_alt_names
            .push(SanType::DnsName((*name).try_into().map_err(error)?));
    }
    params
        .subject_alt_names
        .extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    sign(authority, params)
}

/// A client certificate that names a user and groups.
pub fn new_client(
    authority: &Credential,
    user: &str,
    groups: &[&str],
) -> Result<Credential, PkiError> {
    let mut params = params(user, groups);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    sign(authority, params)
}

fn sign(authority: &Credential, mut params: CertificateParams) -> Result<Credential, PkiError> {
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.use_authority_key_identifier_extension = true;
    let authority_key = KeyPair::from_pem(&authority.key).map_err(error)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, authority_key).map_err(error)?;
    let key = KeyPair::generate().map_err(error)?;
    let certificate = params.signed_by(&key, &issuer).map_err(error)?;
    Ok(Credential {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// The TLS side of the server: HTTP/2 and HTTP/1.1, client certificates welcome but not required.
pub fn server_config(authority: &str, server: &Credential) -> Result<Arc<ServerConfig>, PkiError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate.map_err(error)?).map_err(error)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(error)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(server.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(error)?;
    let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes()).map_err(error)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(error)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(error)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
