//! The cluster's keys, as controllers use them.
//!
//! Must not know how certificates are written: that is the world's. Upstream counterpart:
//! `cmd/kube-controller-manager/app/certificates.go`.

use auth::{Attributes, Bound, TokenKey, TokenRequest, User};
use base64::{Engine, engine::general_purpose::STANDARD};
use controllers::{Asked, RootBundle, Trust};
use env::Time;
use kinds::CONFIG_MAPS;
use machinery::{Object, Status, Value, json};
use registry::{Door, PatchKind, Verb};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Signs certificates for the cluster's authority: an effect of the world, whose keys are real or not.
pub trait CertificateSigner: Send + Sync {
    /// Issues what a PEM request asks for as PEM, for the uses named as in `spec.usages` and for
    /// `seconds` or the authority's own limit, whichever is less. The error is a sentence.
    fn sign(
        &self,
        request: &str,
        usages: &[String],
        seconds: Option<u64>,
        now: Time,
    ) -> Result<String, String>;

    /// When a PEM certificate ends; nothing if it cannot be read.
    fn end(&self, certificate: &str) -> Option<Time>;
}

/// Who says whom the server believes.
const COMPONENT: &str = "system:apiserver";
const MANAGER: &str = "kube-apiserver";
const SYSTEM: &str = "kube-system";
const ROOTS_MAP: &str = "extension-apiserver-authentication";

/// Whom clients and server believe, as all parts of the platform know it. Cheap to share.
#[derive(Clone)]
pub struct Roots {
    pub(crate) door: Door,
    pub(crate) bundle: RootBundle,
}

impl Roots {
    /// From now on these authorities (PEM): all that says so to clients follows.
    pub async fn believe(&self, roots: &str) -> Result<(), Status> {
        self.bundle.set(roots);
        publish(&self.door, roots).await
    }
}

/// Says whom the server believes where extensions and controllers look.
async fn publish(door: &Door, roots: &str) -> Result<(), Status> {
    let user = Arc::new(User::component(COMPONENT));
    let body = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": ROOTS_MAP, "namespace": SYSTEM},
        "data": {"client-ca-file": roots},
    });
    let call = door.component_call(&user, Verb::Patch, CONFIG_MAPS, SYSTEM, ROOTS_MAP)?;
    let mut call = call.with_patch(PatchKind::Merge, body.clone());
    call.options.field_manager = MANAGER.into();
    match door.call(call).await {
        Err(status) if status.is_not_found() => {}
        done => return done.map(drop),
    }
    let call = door.component_call(&user, Verb::Create, CONFIG_MAPS, SYSTEM, "")?;
    let mut call = call.with_object(body);
    call.options.field_manager = MANAGER.into();
    door.call(call).await.map(drop)
}

/// All keys together.
pub(crate) struct Keys {
    pub signer: Arc<dyn CertificateSigner>,
    pub tokens: Arc<TokenKey>,
    pub door: Door,
}

fn text(encoded: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
}

fn words(list: &Value) -> Vec<String> {
    let all = list.items().iter();
    all.map(|one| one.str().to_owned()).collect()
}

/// Who asked, as the server noted it in the request.
fn asker(spec: &Value) -> User {
    let extra = spec["extra"].entries();
    let extra: BTreeMap<String, Vec<String>> = extra
        .map(|(key, values)| (key.to_string(), words(values)))
        .collect();
    User {
        name: spec["username"].str().into(),
        uid: spec["uid"].str().into(),
        groups: words(&spec["groups"]),
        extra,
    }
}

impl Trust for Keys {
    fn read(&self, request: &str) -> Result<Asked, String> {
        let found = admission::csr::subject(request)?;
        Ok(Asked {
            common_name: found.common_name,
            organizations: found.organizations,
            dns_names: found.alternatives.dns_names,
            mails: found.alternatives.mails,
            addresses: found.alternatives.addresses,
            uris: found.alternatives.uris,
        })
    }

    fn issue(&self, spec: &Value, now: Time) -> Result<String, String> {
        let request = text(spec["request"].str()).ok_or("the request is no text")?;
        let seconds = spec["expirationSeconds"].as_i64();
        let seconds = seconds.map(|seconds| seconds.max(0).unsigned_abs());
        let usages = words(&spec["usages"]);
        let signed = self.signer.sign(&request, &usages, seconds, now)?;
        Ok(STANDARD.encode(signed))
    }

    fn end(&self, certificate: &str) -> Option<Time> {
        self.signer.end(&text(certificate)?)
    }

    fn may_create(&self, spec: &Value, subresource: &str) -> bool {
        let asked = Attributes {
            verb: "create".into(),
            group: "certificates.k8s.io".into(),
            version: "*".into(),
            resource: "certificatesigningrequests".into(),
            subresource: subresource.into(),
            ..Attributes::default()
        };
        self.door.allows(&asker(spec), &asked)
    }

    fn token(&self, account: &Object, secret: &Object) -> String {
        let bound = Bound {
            kind: "Secret".into(),
            name: secret.name().into(),
            uid: secret.uid().into(),
        };
        self.tokens.sign_for_secret(&TokenRequest {
            namespace: account.namespace(),
            name: account.name(),
            uid: account.uid(),
            bound: &bound,
            node: None,
            warn_after: None,
            audiences: &[],
            // Such tokens hold as long as their secret.
            lifetime: Duration::MAX,
        })
    }
}
