//! Tokens of service accounts: made on request, and believed as long as what they name is there.
//!
//! Signatures are `auth`'s. Upstream counterpart: `pkg/registry/core/serviceaccount/storage/token.go`
//! and `pkg/serviceaccount`.

use crate::{Answer, Context, Door, PatchKind, Reply, Verb};
use auth::{Bound, Claims, LEEWAY, NODE_NAME_EXTRA, TokenRequest, User};
use base64::{Engine, engine::general_purpose::STANDARD};
use env::Time;
use machinery::{FieldError, GroupResource, Object, Status, Value, format_time, json, parse_time};
use std::{sync::Arc, time::Duration};
use store::{Key, Snapshot};

/// Shortest lifetime of a requested token.
const SECONDS_MIN: i64 = 600;
/// Longest lifetime of a requested token.
const SECONDS_MAX: i64 = 1 << 32;
/// Lifetime where the request names none.
const SECONDS: i64 = 3600;
/// What the admission plug-in's own volumes ask for. Such tokens live longer than they say, for
/// programs that read their token only once.
const SECONDS_OF_VOLUMES: i64 = 3607;
/// How long those live.
const EXTENDED: Duration = Duration::from_secs(365 * 24 * 3600);

const ACCOUNTS: &str = "serviceaccounts";
const SECRETS: &str = "secrets";
/// Label of a secret with a token: the day of its last use.
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// Label of a secret whose token holds no more.
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
const INVALIDATED: &str = "service account token has been invalidated";

/// Who a token proves its bearer to be, and for whom it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// The user.
    pub user: User,
    /// Audiences of both the token and the question.
    pub audiences: Vec<String>,
}

impl Door {
    /// Makes a token for a service account.
    pub(crate) async fn token(
        &self,
        mut context: Context<'_>,
        mut request: Value,
    ) -> Result<Reply, Status> {
        let key = Key::new(&context.call.namespace, &context.call.name);
        check_addressing(&key, &request)?;
        let snapshot = self.snapshot();
        let account = snapshot
            .get(&context.kind.storage, &key)
            .ok_or_else(|| context.missing())?;
        check_uid(account, &request)?;
        let seconds = lifetime(&request["spec"])?;
        let (bound, node) = bound_object(&snapshot, account, &request["spec"]["boundObjectRef"])?;
        let mut audiences: Vec<String> = request["spec"]["audiences"]
            .items()
            .iter()
            .map(|one| one.str().to_owned())
            .collect();
        if audiences.is_empty() {
            audiences.push(self.tokens().issuer().to_owned());
        }
        let told = Duration::from_secs(seconds.unsigned_abs());
        let extended = bound.kind == "Pod"
            && seconds == SECONDS_OF_VOLUMES
            && audiences.iter().all(|one| one == self.tokens().issuer());
        let signed = self.tokens().sign(
            &TokenRequest {
                namespace: &key.namespace,
                name: &key.name,
                uid: account.uid(),
                bound: &bound,
                node: node.as_ref(),
                warn_after: extended.then_some(told),
                audiences: &audiences,
                lifetime: if extended { EXTENDED } else { told },
            },
            &self.world().uuid(),
            context.now,
        );
        request["spec"]["audiences"] = audiences.into();
        request["spec"]["expirationSeconds"] = seconds.into();
        request["status"] =
            json!({"token": signed, "expirationTimestamp": format_time((context.now + told).0)});
        let metadata = request.metadata_mut();
        metadata.insert("name", &key.name);
        metadata.insert("namespace", &key.namespace);
        metadata.insert("uid", account.uid());
        metadata.insert("creationTimestamp", format_time(context.now.0));
        context.created = true;
        Ok(context.reply(Answer::Value(request)))
    }

    /// The user behind a service-account token that is meant for the API server.
    pub fn authenticate_token(&self, token: &str) -> Result<User, String> {
        let own = [self.tokens().issuer().to_owned()];
        self.authenticate_for(token, &own).map(|found| found.user)
    }

    /// The user behind a service-account token meant for one of `wanted`: signature, time, and
    /// everything it is bound to still exists.
    pub fn authenticate_for(
        &self,
        token: &str,
        wanted: &[String],
    ) -> Result<Authenticated, String> {
        let claims = self.tokens().verify(token, self.now())?;
        let own = || vec![self.tokens().issuer().to_owned()];
        let mut audiences = claims.audiences.clone().unwrap_or_else(own);
        let meant = audiences.clone();
        audiences.retain(|audience| wanted.contains(audience));
        if audiences.is_empty() {
            return Err(format!(
                "token audiences {meant:?} is invalid for the target audiences {wanted:?}"
            ));
        }
        let deadline = self.now() - LEEWAY;
        let check = Check {
            snapshot: self.snapshot(),
            deadline,
        };
        check.all(&claims, token)?;
        if claims.audiences.is_none() {
            self.note_use(&claims, &check.snapshot);
        }
        Ok(Authenticated {
            user: user_of(&claims),
            audiences,
        })
    }
}

impl Door {
    /// Notes in the secret of a token on which day it was used last.
    fn note_use(&self, claims: &Claims, snapshot: &Snapshot) {
        let key = Key::new(&claims.namespace, &claims.bound.name);
        let today = format_time(self.now().0);
        let today = today.split('T').next().unwrap_or_default();
        let known = snapshot.get(SECRETS, &key);
        if known.is_none_or(|secret| secret.label(LAST_USED) == Some(today)) {
            return;
        }
        let user = Arc::new(User::component("system:apiserver"));
        let call = self.component_call(&user, Verb::Patch, SECRETS, &key.namespace, &key.name);
        let Ok(call) = call else { return };
        let patch = json!({"metadata": {"labels": {(LAST_USED): today}}});
        let call = call.with_patch(PatchKind::Merge, patch);
        let door = self.clone();
        self.world().spawn("note-token-use", async move {
            // The next use notes it as well.
            let _ = door.call(call).await;
        });
    }
}

/// Looks whether what a token names is there.
struct Check {
    snapshot: Snapshot,
    /// What was deleted before this is gone.
    deadline: Time,
}

impl Check {
    fn all(&self, claims: &Claims, token: &str) -> Result<(), String> {
        let bound = &claims.bound;
        let namespace = claims.namespace.as_str();
        self.present(ACCOUNTS, namespace, &claims.name, &claims.uid)?;
        let object = match bound.kind.as_str() {
            "Pod" => self.present("pods", namespace, &bound.name, &bound.uid)?,
            "Node" => self.present("nodes", "", &bound.name, &bound.uid)?,
            "Secret" => self.present(SECRETS, namespace, &bound.name, &bound.uid)?,
            _ => return Ok(()),
        };
        if claims.audiences.is_none() && !object.label(INVALID_SINCE).unwrap_or_default().is_empty()
        {
            return Err(marked_invalid(claims));
        }
        // The tokens in secrets hold as long as they are there.
        let held =
            claims.audiences.is_some() || STANDARD.encode(token) == object.at("data.token").str();
        held.then_some(()).ok_or_else(|| INVALIDATED.to_owned())
    }

    fn present(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<&Arc<Object>, String> {
        let found = self.snapshot.get(resource, &Key::new(namespace, name));
        let same = found.filter(|object| uid.is_empty() || object.uid() == uid);
        let deleted = |object: &Object| parse_time(object.at("metadata.deletionTimestamp").str());
        same.filter(|object| deleted(object).is_none_or(|at| Time(at) >= self.deadline))
            .ok_or_else(|| INVALIDATED.to_owned())
    }
}

fn marked_invalid(claims: &Claims) -> String {
    let (namespace, secret, name) = (&claims.namespace, &claims.bound.name, &claims.name);
    format!(
        "the token in secret {namespace}/{secret} for service account {namespace}/{name} has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
    )
}

fn user_of(claims: &Claims) -> User {
    let mut user = User::service_account(&claims.namespace, &claims.name, &claims.uid);
    let mut tell = |key: &str, value: &str| {
        if !value.is_empty() {
            user.extra.insert(key.into(), vec![value.to_owned()]);
        }
    };
    if !claims.id.is_empty() {
        let id = format!("JTI={}", claims.id);
        tell("authentication.kubernetes.io/credential-id", &id);
    }
    if claims.bound.kind == "Pod" {
        tell("authentication.kubernetes.io/pod-name", &claims.bound.name);
        tell("authentication.kubernetes.io/pod-uid", &claims.bound.uid);
    }
    if let Some(node) = &claims.node {
        tell(NODE_NAME_EXTRA, &node.name);
        tell("authentication.kubernetes.io/node-uid", &node.uid);
    }
    user
}

fn invalid(error: FieldError, name: &str) -> Status {
    Status::invalid("authentication.k8s.io", "TokenRequest", name, &[error])
}

fn check_addressing(key: &Key, request: &Value) -> Result<(), Status> {
    for (field, own, what) in [
        ("name", &key.name, "name"),
        ("namespace", &key.namespace, "namespace"),
    ] {
        let given = request["metadata"][field].str();
        if !given.is_empty() && given != own {
            let why = format!("must match the service account {what} if specified");
            let error = FieldError::invalid(format!("metadata.{field}"), given, why);
            return Err(invalid(error, &key.name));
        }
    }
    Ok(())
}

fn check_uid(account: &Object, request: &Value) -> Result<(), Status> {
    let given = request["metadata"]["uid"].str();
    if given.is_empty() || given == account.uid() {
        return Ok(());
    }
    let why = format!(
        "the UID in the token request ({given}) does not match the UID of the service account ({})",
        account.uid()
    );
    let resource = GroupResource::new("authentication.k8s.io", "TokenRequest");
    Err(Status::conflict(&resource, account.name(), &why))
}

fn lifetime(spec: &Value) -> Result<i64, Status> {
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or(SECONDS);
    let detail = if seconds < SECONDS_MIN {
        "may not specify a duration less than 10 minutes"
    } else if seconds > SECONDS_MAX {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(seconds);
    };
    let error = FieldError::invalid("spec.expirationSeconds", seconds, detail);
    Err(invalid(error, ""))
}

/// The object a token is to be bound to, and the node of the pod that it is.
fn bound_object(
    snapshot: &Snapshot,
    account: &Object,
    reference: &Value,
) -> Result<(Bound, Option<Bound>), Status> {
    if reference.is_null() {
        return Ok((Bound::default(), None));
    }
    let (version, kind) = (reference["apiVersion"].str(), reference["kind"].str());
    let (resource, namespace) = match kind {
        "Pod" => ("pods", account.namespace()),
        "Secret" => ("secrets", account.namespace()),
        "Node" => ("nodes", ""),
        _ => ("", ""),
    };
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    if resource.is_empty() || !group.is_empty() {
        let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
        return Err(Status::bad_request(why));
    }
    let name = reference["name"].str();
    let found = snapshot.get(resource, &Key::new(namespace, name));
    let object = found.ok_or_else(|| Status::not_found(&GroupResource::new("", resource), name))?;
    if kind == "Pod" && object.at("spec.serviceAccountName").str() != account.name() {
        let why = format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            account.name()
        );
        return Err(Status::bad_request(why));
    }
    let uid = reference["uid"].str();
    if !uid.is_empty() && uid != object.uid() {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict(&GroupResource::new("", kind), name, &why));
    }
    let bound = |kind: &str, name: &str, uid: &str| Bound {
        kind: kind.into(),
        name: name.into(),
        uid: uid.into(),
    };
    let place = object.at("spec.nodeName").str();
    let node = (kind == "Pod" && !place.is_empty()).then(|| {
        let found = snapshot.get("nodes", &Key::new("", place));
        bound("Node", place, found.map_or("", |node| node.uid()))
    });
    Ok((bound(kind, name, object.uid()), node))
}
