//! Service-account tokens: ES256 JSON Web Tokens with upstream's claims.
//!
//! Signatures are deterministic (RFC 6979), so a simulated run repeats them.
//! Upstream counterpart: `pkg/serviceaccount/{jwt,claims}.go`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use env::{Entropy, Time};
use machinery::{Value, json};
use p256::{
    ecdsa::{
        Signature, SigningKey, VerifyingKey,
        signature::{Signer, Verifier},
    },
    pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding},
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Mutex, time::Duration};

/// Tokens are accepted this long before they begin and after they end, for clocks that differ.
pub const LEEWAY: Duration = Duration::from_secs(60);
/// Who issues the tokens that live in secrets.
const SECRET_ISSUER: &str = "kubernetes/serviceaccount";
/// What the claims of such tokens begin with.
const SECRET_CLAIM: &str = "kubernetes.io/serviceaccount/";

/// Tokens whose signature is remembered: more than a middling cluster has programs.
const REMEMBERED: usize = 2_000;

/// Signs and checks service-account tokens of one cluster.
pub struct TokenKey {
    key: SigningKey,
    id: String,
    issuer: String,
    /// Tokens found to be signed by this key, by their hash: looking at a signature costs more
    /// than most requests. When they hold is asked each time.
    signed: Mutex<BTreeMap<[u8; 32], Signed>>,
}

/// What a token says that bears this key's signature.
#[derive(Clone)]
struct Signed {
    claims: Claims,
    /// When it begins and ends to hold; a token in a secret says neither.
    from: Option<Time>,
    to: Option<Time>,
}

impl Signed {
    fn at(self, now: Time) -> Result<Claims, String> {
        if self.to.is_some_and(|end| end + LEEWAY <= now) {
            return Err("service account token has expired".into());
        }
        if self.from.is_some_and(|start| start > now + LEEWAY) {
            return Err("service account token is not valid yet".into());
        }
        Ok(self.claims)
    }
}

/// What a token is bound to besides its service account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// `Pod`, `Secret` or `Node`; empty for none.
    pub kind: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

/// The content of a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Namespace of the service account.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Bound object.
    pub bound: Bound,
    /// The node of the pod it is bound to.
    pub node: Option<Bound>,
    /// Audiences; nothing for a token that lives in a secret and is meant for the API server.
    pub audiences: Option<Vec<String>>,
    /// Token id; empty for a token that lives in a secret.
    pub id: String,
}

/// A token to be made.
pub struct TokenRequest<'a> {
    /// Namespace of the service account.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// Bound object.
    pub bound: &'a Bound,
    /// The node of the pod it is bound to.
    pub node: Option<&'a Bound>,
    /// After this time the holder should have asked for a new one.
    pub warn_after: Option<Duration>,
    /// Audiences; the issuer's own if empty.
    pub audiences: &'a [String],
    /// Validity.
    pub lifetime: Duration,
}

impl TokenKey {
    /// A new key from randomness.
    pub fn generate(entropy: &dyn Entropy, issuer: &str) -> Self {
        loop {
            let mut seed = [0u8; 32];
            for chunk in seed.chunks_exact_mut(8) {
                chunk.copy_from_slice(&entropy.next_u64().to_le_bytes());
            }
            // Zero and values beyond the curve's order are no keys; the next draw will be one.
            if let Ok(key) = SigningKey::from_slice(&seed) {
                return Self::new(key, issuer);
            }
        }
    }

    /// A key from its PKCS#8 PEM text.
    pub fn from_pem(pem: &str, issuer: &str) -> Result<Self, String> {
        let key =
            SigningKey::from_pkcs8_pem(pem).map_err(|why| format!("service-account key: {why}"))?;
        Ok(Self::new(key, issuer))
    }

    fn new(key: SigningKey, issuer: &str) -> Self {
        let point = key.verifying_key().to_encoded_point(true);
        let id = URL_SAFE_NO_PAD.encode(&point.as_bytes()[1..17]);
        Self {
            key,
            id,
            issuer: issuer.into(),
            signed: Mutex::default(),
        }
    }

    /// The key as PKCS#8 PEM text.
    pub fn to_pem(&self) -> String {
        self.key
            .to_pkcs8_pem(LineEnding::LF)
            .expect("a valid key encodes")
            .to_string()
    }

    /// The issuer and default audience.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public key set (`/openid/v1/jwks`).
    pub fn jwks(&self) -> Value {
        let point = self.key.verifying_key().to_encoded_point(false);
        let part = |bytes: Option<&p256::FieldBytes>| {
            URL_SAFE_NO_PAD.encode(bytes.expect("not the identity"))
        };
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": &self.id,
            "x": part(point.x()), "y": part(point.y()),
        }]})
    }

    /// Makes a token; `id` is its `jti`.
    pub fn sign(&self, request: &TokenRequest<'_>, id: &str, now: Time) -> String {
        let audiences = if request.audiences.is_empty() {
            vec![self.issuer.clone()]
        } else {
            request.audiences.to_vec()
        };
        let mut kubernetes = json!({
            "namespace": request.namespace,
            "serviceaccount": {"name": request.name, "uid": request.uid},
        });
        let seconds = |time: Time| time.unix_seconds() as i64;
        let bound = [Some(request.bound), request.node].into_iter().flatten();
        for object in bound.filter(|object| !object.kind.is_empty()) {
            let key = object.kind.to_lowercase();
            kubernetes[key.as_str()] = json!({"name": &object.name, "uid": &object.uid});
        }
        if let Some(after) = request.warn_after {
            kubernetes["warnafter"] = seconds(now + after).into();
        }
        let claims = json!({
            "aud": audiences, "exp": seconds(now + request.lifetime), "iat": seconds(now), "nbf": seconds(now),
            "iss": &self.issuer, "jti": id, "kubernetes.io": kubernetes,
            "sub": format!("system:serviceaccount:{}:{}", request.namespace, request.name),
        });
        self.seal(&claims)
    }

    /// Makes the token that lives in a secret of its service account and holds as long as both.
    pub fn sign_for_secret(&self, request: &TokenRequest<'_>) -> String {
        let claim = |name: &str| format!("{SECRET_CLAIM}{name}");
        self.seal(&json!({
            "iss": SECRET_ISSUER,
            "sub": format!("system:serviceaccount:{}:{}", request.namespace, request.name),
            (claim("namespace")): request.namespace,
            (claim("secret.name")): &request.bound.name,
            (claim("service-account.name")): request.name,
            (claim("service-account.uid")): request.uid,
        }))
    }

    fn seal(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "kid": &self.id});
        let part = |value: &Value| {
            URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).expect("a tree serializes"))
        };
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature: Signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    /// The claims of a token signed by this key and valid now; the error says what is wrong.
    /// Whether the named objects still exist is the caller's to check.
    pub fn verify(&self, token: &str, now: Time) -> Result<Claims, String> {
        const SOUND: &str = "nothing panics while tokens are remembered";
        let hash: [u8; 32] = Sha256::digest(token).into();
        let known = self.signed.lock().expect(SOUND).get(&hash).cloned();
        if let Some(known) = known {
            return known.at(now);
        }
        let read = self.read(token)?;
        let claims = read.clone().at(now)?;
        let mut signed = self.signed.lock().expect(SOUND);
        if signed.len() >= REMEMBERED {
            signed.retain(|_, known| known.clone().at(now).is_ok());
        }
        // Hashes have no order that means anything, so this drops just any.
        while signed.len() >= REMEMBERED {
            signed.pop_first();
        }
        signed.insert(hash, read);
        Ok(claims)
    }

    /// What a token says, if it is signed by this key.
    fn read(&self, token: &str) -> Result<Signed, String> {
        let (signed, signature) = token.rsplit_once('.').ok_or("not a JWT")?;
        let (_, payload) = signed.split_once('.').ok_or("not a JWT")?;
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| "bad base64");
        let signature = Signature::from_slice(&bytes(signature)?).map_err(|_| "bad signature")?;
        let key: &VerifyingKey = self.key.verifying_key();
        key.verify(signed.as_bytes(), &signature)
            .map_err(|_| "signature does not match")?;
        let claims: Value =
            serde_json::from_slice(&bytes(payload)?).map_err(|_| "claims are no JSON")?;
        self.understand(&claims)
    }

    fn understand(&self, claims: &Value) -> Result<Signed, String> {
        if claims["iss"].str() == SECRET_ISSUER {
            return Ok(Signed {
                claims: of_secret(claims),
                from: None,
                to: None,
            });
        }
        if claims["iss"].str() != self.issuer {
            return Err("issued by someone else".into());
        }
        let time = |key: &str| {
            claims[key]
                .as_i64()
                .map(|s| Time::from_unix_seconds(s.max(0) as u64))
        };
        let to = Some(time("exp").ok_or("no expiry")?);
        let own = &claims["kubernetes.io"];
        let reference = |kind: &str| {
            let found = own.get(&kind.to_lowercase())?;
            Some(Bound {
                kind: kind.into(),
                name: found["name"].str().into(),
                uid: found["uid"].str().into(),
            })
        };
        let bound = ["Pod", "Secret", "Node"].into_iter().find_map(reference);
        let bound = bound.unwrap_or_default();
        let audiences = claims["aud"].items().iter().map(|one| one.str().to_owned());
        let said = Claims {
            namespace: own["namespace"].str().into(),
            name: own["serviceaccount"]["name"].str().into(),
            uid: own["serviceaccount"]["uid"].str().into(),
            node: reference("Node").filter(|_| bound.kind != "Secret"),
            bound,
            audiences: Some(audiences.collect()),
            id: claims["jti"].str().into(),
        };
        Ok(Signed {
            claims: said,
            from: time("nbf"),
            to,
        })
    }
}

/// The claims of a token that lives in a secret; they hold as long as the secret does.
fn of_secret(claims: &Value) -> Claims {
    let claim = |name: &str| {
        claims[format!("{SECRET_CLAIM}{name}").as_str()]
            .str()
            .to_owned()
    };
    Claims {
        namespace: claim("namespace"),
        name: claim("service-account.name"),
        uid: claim("service-account.uid"),
        bound: Bound {
            kind: "Secret".into(),
            name: claim("secret.name"),
            uid: String::new(),
        },
        node: None,
        audiences: None,
        id: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counter(std::sync::atomic::AtomicU64);
    impl Entropy for Counter {
        fn next_u64(&self) -> u64 {
            self.0
                .fetch_add(0x9e37_79b9_7f4a_7c15, std::sync::atomic::Ordering::Relaxed)
        }
    }

    #[test]
    fn tokens_hold_until_they_expire_or_are_touched() {
        let key = TokenKey::generate(&Counter(7.into()), "https://issuer");
        let now = Time::from_unix_seconds(1_000_000);
        let bound = Bound {
            kind: "Pod".into(),
            name: "p".into(),
            uid: "u2".into(),
        };
        let request = TokenRequest {
            namespace: "n",
            name: "default",
            uid: "u1",
            bound: &bound,
            node: None,
            warn_after: None,
            audiences: &[],
            lifetime: Duration::from_secs(600),
        };
        let token = key.sign(&request, "id", now);
        assert_eq!(token, key.sign(&request, "id", now), "signatures repeat");
        let claims = key.verify(&token, now).unwrap();
        assert_eq!(
            (claims.name.as_str(), claims.uid.as_str(), claims.bound),
            ("default", "u1", bound.clone())
        );
        assert_eq!(claims.audiences, Some(vec!["https://issuer".to_owned()]));
        let end = now + Duration::from_secs(600);
        assert!(key.verify(&token, end).is_ok(), "clocks may differ");
        assert!(key.verify(&token, end + LEEWAY).is_err());
        let lasting = key
            .verify(&key.sign_for_secret(&request), end + LEEWAY)
            .unwrap();
        assert_eq!(
            (
                lasting.uid.as_str(),
                lasting.bound.name.as_str(),
                lasting.audiences
            ),
            ("u1", "p", None)
        );
        let other = TokenKey::from_pem(&key.to_pem(), "https://issuer").unwrap();
        assert!(other.verify(&token, now).is_ok());
        let mut bent = token.clone();
        bent.insert(token.find('.').unwrap() + 3, 'A');
        assert!(key.verify(&bent, now).is_err());
        assert!(key.verify("", now).is_err());
    }

    #[test]
    fn remembers_signatures_and_not_too_many() {
        let key = TokenKey::generate(&Counter(7.into()), "https://issuer");
        let now = Time::from_unix_seconds(1_000_000);
        let token = |at: usize, lifetime: Duration| {
            let request = TokenRequest {
                namespace: "n",
                name: "default",
                uid: "u1",
                bound: &Bound::default(),
                node: None,
                warn_after: None,
                audiences: &[],
                lifetime,
            };
            key.sign(&request, &at.to_string(), now)
        };
        let kept = || key.signed.lock().unwrap().len();
        let (short, long) = (Duration::from_secs(600), Duration::from_secs(6_000));
        let first = token(0, short);
        for _ in 0..3 {
            assert_eq!(key.verify(&first, now).unwrap().id, "0");
            assert_eq!(kept(), 1);
        }
        // Filled up without signing so many.
        let known = key.signed.lock().unwrap().values().next().unwrap().clone();
        for at in 0..REMEMBERED as u64 - 1 {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&at.to_le_bytes());
            key.signed.lock().unwrap().insert(hash, known.clone());
        }
        assert_eq!(kept(), REMEMBERED);
        assert!(key.verify(&token(1, long), now).is_ok());
        assert_eq!(kept(), REMEMBERED);
        // What has ended goes first.
        let later = now + short + LEEWAY;
        assert!(key.verify(&first, later).is_err());
        assert!(key.verify(&token(2, long), later).is_ok());
        assert!(kept() <= 2, "{}", kept());
    }
}
