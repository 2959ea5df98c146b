//! What the cluster's keys can do, as controllers are given it.
//!
//! Whoever holds the keys implements it; controllers decide what is signed. Must not know how a
//! certificate or a token is written. Upstream counterpart: `pkg/controller/certificates/authority`
//! and `serviceaccount.TokenGenerator`, as seams.

use env::Time;
use machinery::{Object, Value};
use std::sync::{Arc, RwLock};

/// PEM text of the authorities that clients check the server with; empty publishes none.
///
/// It changes while controllers run. Who changes it then writes it into
/// `kube-system/extension-apiserver-authentication`, which wakes those that show it.
#[derive(Clone, Debug, Default)]
pub struct RootBundle(Arc<RwLock<Arc<str>>>);

impl RootBundle {
    /// A bundle that begins with this text.
    pub fn new(text: &str) -> Self {
        Self(Arc::new(RwLock::new(text.into())))
    }

    /// The text, now.
    pub fn get(&self) -> Arc<str> {
        self.0.read().expect("no holder panics").clone()
    }

    /// From now on, this text.
    pub fn set(&self, text: &str) {
        *self.0.write().expect("no holder panics") = text.into();
    }
}

/// What a certificate request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Common name of the subject.
    pub common_name: String,
    /// Its organizations.
    pub organizations: Vec<String>,
    /// DNS names among the alternative names.
    pub dns_names: usize,
    /// Mail addresses among them.
    pub mails: usize,
    /// IP addresses among them.
    pub addresses: usize,
    /// URIs among them.
    pub uris: usize,
}

/// The cluster's keys, and who may have them used.
pub trait Trust: Send + Sync {
    /// What a `spec.request` asks for; the error is a sentence.
    fn read(&self, request: &str) -> Result<Asked, String>;

    /// Issues what the spec of a request asks for, as `status.certificate` carries it.
    fn issue(&self, spec: &Value, now: Time) -> Result<String, String>;

    /// When the certificate of a `status.certificate` ends; nothing if it cannot be read.
    fn end(&self, certificate: &str) -> Option<Time>;

    /// Whether the user in the spec of a request may `create` this subresource of requests.
    fn may_create(&self, spec: &Value, subresource: &str) -> bool;

    /// The token of a service account that lives in a secret, as text.
    fn token(&self, account: &Object, secret: &Object) -> String;
}
