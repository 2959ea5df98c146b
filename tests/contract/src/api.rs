//! The API of one cluster: its address, its certificate authority, the caller's credentials.
//!
//! Reads them from a kubeconfig by way of kubectl, so that the merge is tested too. Upstream
//! counterpart: `client-go/tools/clientcmd`.

use crate::{
    Session, Watch,
    http::{self, Answer, Opened, Request, Wire},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use e2e_tests::Cluster;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use std::{io, sync::Arc, time::Duration};

/// How long a silent connection is borne.
const SILENCE: Duration = Duration::from_secs(60);

/// A client of one cluster; cheap to share among threads.
#[derive(Clone)]
pub struct Api {
    address: String,
    tls: Arc<ClientConfig>,
    token: Option<String>,
}

fn decoded(value: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(value.as_str()?).ok()
}

fn tls(cluster: &Value, user: &Value) -> ClientConfig {
    let authority = decoded(&cluster["certificate-authority-data"])
        .expect("the kubeconfig carries its authority");
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&authority).expect("PEM"))
        .expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("TLS versions").with_root_certificates(roots);
    let (certificate, key) = (
        decoded(&user["client-certificate-data"]),
        decoded(&user["client-key-data"]),
    );
    let Some((certificate, key)) = certificate.zip(key) else {
        return builder.with_no_client_auth();
    };
    let chain = CertificateDer::pem_slice_iter(&certificate)
        .map(|one| one.expect("PEM"))
        .collect();
    let key = PrivateKeyDer::from_pem_slice(&key).expect("a key in PEM");
    builder
        .with_client_auth_cert(chain, key)
        .expect("a usable certificate")
}

impl Api {
    /// The API as the cluster's kubeconfig describes it.
    pub fn of(cluster: &Cluster) -> Self {
        let text = cluster.k("config view --raw --minify -o json").ok();
        Self::configured(&text)
    }

    /// The API as a kubeconfig describes it that has one cluster and one user and is written as
    /// JSON.
    pub fn configured(text: &str) -> Self {
        let config: Value = serde_json::from_str(text).expect("a kubeconfig in JSON");
        let (place, user) = (
            &config["clusters"][0]["cluster"],
            &config["users"][0]["user"],
        );
        let server = place["server"].as_str().expect("a server");
        let address = server
            .strip_prefix("https://")
            .expect("an https address")
            .trim_end_matches('/');
        let token = user["token"].as_str().map(str::to_owned);
        Self {
            address: address.to_owned(),
            tls: Arc::new(tls(place, user)),
            token,
        }
    }

    /// A connection that is kept for many requests.
    pub fn keep(&self) -> io::Result<crate::Connection> {
        crate::Connection::open(&self.address, &self.tls)
    }

    /// The same API without any credentials.
    pub fn anonymous(cluster: &Cluster) -> Self {
        let text = cluster.k("config view --raw --minify -o json").ok();
        let config: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
        let known = Self::of(cluster);
        Self {
            tls: Arc::new(tls(&config["clusters"][0]["cluster"], &Value::Null)),
            token: None,
            ..known
        }
    }

    fn wire(&self) -> io::Result<Box<dyn Wire>> {
        let socket = http::connect(&self.address)?;
        socket.set_read_timeout(Some(SILENCE))?;
        let host = self
            .address
            .rsplit_once(':')
            .map_or(self.address.as_str(), |(host, _)| host);
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(self.tls.clone(), name).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(session, socket)))
    }

    /// Sends one request, on the wire given or on a new one that ends with it.
    pub(crate) fn send(
        &self,
        wire: Option<Box<dyn Wire>>,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Opened> {
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let mut all = headers.to_vec();
        all.extend(bearer.as_deref().map(|value| ("Authorization", value)));
        let request = Request {
            method,
            path,
            host: &self.address,
            headers: &all,
            body,
            keep: wire.is_some(),
        };
        let wire = wire.map_or_else(|| self.wire(), Ok)?;
        http::send(wire, &request)
    }

    /// A connection that is kept for many requests, with whole answers.
    pub fn session(&self) -> io::Result<Session> {
        Ok(Session::new(self.clone(), self.wire()?))
    }

    fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Opened> {
        self.send(None, (method, path), headers, body)
    }

    /// Sends a request with headers of its own and takes the whole answer.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let opened = self.open(method, path, headers, body);
        let whole = opened.and_then(Opened::whole);
        let (answer, _) = whole.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        answer
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], b"")
    }

    /// POST of JSON.
    #[track_caller]
    pub fn create(&self, path: &str, body: &Value) -> Answer {
        self.json("POST", path, "application/json", body)
    }

    /// PUT of JSON.
    #[track_caller]
    pub fn update(&self, path: &str, body: &Value) -> Answer {
        self.json("PUT", path, "application/json", body)
    }

    /// DELETE.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], b"")
    }

    /// A JSON merge patch.
    #[track_caller]
    pub fn merge(&self, path: &str, body: &Value) -> Answer {
        self.json("PATCH", path, "application/merge-patch+json", body)
    }

    /// Server-side apply by a manager.
    #[track_caller]
    pub fn apply(&self, path: &str, manager: &str, body: &Value) -> Answer {
        let path = format!("{path}?fieldManager={manager}");
        self.json("PATCH", &path, "application/apply-patch+yaml", body)
    }

    /// A body of JSON under any content type.
    #[track_caller]
    pub fn json(&self, method: &str, path: &str, form: &str, body: &Value) -> Answer {
        self.call(
            method,
            path,
            &[("Content-Type", form)],
            body.to_string().as_bytes(),
        )
    }

    /// Opens a watch; panics when refused.
    #[track_caller]
    pub fn watch(&self, path: &str) -> Watch {
        let opened = self
            .open("GET", path, &[], b"")
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(opened.code, 200, "{path}");
        Watch::new(opened.body)
    }
}
