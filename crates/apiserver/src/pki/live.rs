//! TLS whose certificate and trust may be replaced while it serves.
//!
//! A client's certificate is taken without judging it: whether it is trusted and holds is
//! authentication's question, answered with 401 instead of a broken handshake. Upstream
//! counterpart: `k8s.io/apiserver/pkg/server/dynamiccertificates`.

use super::{Credential, PkiError, error};
use env::Time;
use std::{
    sync::{Arc, RwLock},
    time::Duration,
};
use tokio_rustls::rustls::{
    self, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{
        ClientHello, ResolvesServerCert, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};

/// What the server shows and whom it trusts, now.
#[derive(Debug)]
struct State {
    server: Arc<CertifiedKey>,
    clients: Arc<dyn ClientCertVerifier>,
}

/// A server's side of TLS. Cheap to share.
#[derive(Debug)]
pub struct LiveTls {
    provider: Arc<CryptoProvider>,
    state: RwLock<State>,
}

impl LiveTls {
    /// Serves with `server` and believes certificates of the authorities in `trust`.
    pub fn new(trust: &str, server: &Credential) -> Result<Arc<Self>, PkiError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(Arc::new(Self {
            state: RwLock::new(state(&provider, trust, server)?),
            provider,
        }))
    }

    /// From the next connection on, serves with these.
    pub fn replace(&self, trust: &str, server: &Credential) -> Result<(), PkiError> {
        let new = state(&self.provider, trust, server)?;
        *self.state.write().expect("no holder panics") = new;
        Ok(())
    }

    /// What a listener needs: HTTP/2 and HTTP/1.1, client certificates welcome but not required.
    pub fn config(self: &Arc<Self>) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(self.provider.clone());
        let mut config = builder
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_client_cert_verifier(Arc::new(AnyClient(self.clone())))
            .with_cert_resolver(Arc::new(Shown(self.clone())));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// Whether a client's chain leads to a trusted authority and holds at a time.
    pub fn verify(&self, chain: &[CertificateDer<'_>], now: Time) -> Result<(), String> {
        let (first, rest) = chain.split_first().ok_or("no certificate")?;
        let clients = self.state.read().expect("no holder panics").clients.clone();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.unix_seconds()));
        let verified = clients.verify_client_cert(first, rest, now);
        verified.map(drop).map_err(|why| why.to_string())
    }
}

fn state(
    provider: &Arc<CryptoProvider>,
    trust: &str,
    server: &Credential,
) -> Result<State, PkiError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trust.as_bytes()) {
        roots.add(certificate.map_err(error)?).map_err(error)?;
    }
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(server.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(error)?;
    let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes()).map_err(error)?;
    let server = CertifiedKey::from_der(chain, key, provider).map_err(error)?;
    Ok(State {
        server: Arc::new(server),
        clients: clients.map_err(error)?,
    })
}

#[derive(Debug)]
struct Shown(Arc<LiveTls>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(
            self.0
                .state
                .read()
                .expect("no holder panics")
                .server
                .clone(),
        )
    }
}

/// Lets any certificate pass whose key the client proves to have.
#[derive(Debug)]
struct AnyClient(Arc<LiveTls>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0
            .provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
