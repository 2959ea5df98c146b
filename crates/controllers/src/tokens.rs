//! Fills the secrets that hold a token of their service account, and removes them with it.
//!
//! Decides; the key is [`Trust`]'s. Upstream counterpart:
//! `pkg/controller/serviceaccount/tokens_controller.go`.

use crate::{
    RootBundle, Trust,
    common::{delete, target},
    names::{CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS},
    serviceaccount::tells_of_roots,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use env::Time;
use machinery::{Object, Value};
use reconcile::{Action, Change, Controller, Plan, Target, View, Watch};
use std::sync::Arc;

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// Keeps the tokens in secrets.
pub struct Tokens {
    /// Signs.
    pub trust: Arc<dyn Trust>,
    /// Whom clients believe.
    pub root_ca: RootBundle,
}

impl Controller for Tokens {
    fn name(&self) -> &'static str {
        "tokens-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![
            Watch {
                resource: SECRETS,
                wakes: wake_token,
            },
            Watch {
                resource: SERVICE_ACCOUNTS,
                wakes: wake_tokens_of_account,
            },
            Watch {
                resource: CONFIG_MAPS,
                wakes: wake_all_tokens,
            },
        ]
    }

    fn reconcile(&self, view: &View, key: &Target, _: Time) -> Plan {
        let mut plan = Plan::nothing();
        match view.get(SECRETS, &key.namespace, &key.name) {
            None => forget(view, key, &mut plan),
            Some(secret) if is_token(secret) && !secret.is_deleting() => {
                match account_of(view, secret) {
                    None => plan.push(delete(SECRETS, secret)),
                    Some(account) => plan.actions.extend(self.fill(account, secret)),
                }
            }
            Some(_) => {}
        }
        plan
    }
}

impl Tokens {
    /// The secret with all it should hold, unless it does.
    fn fill(&self, account: &Object, secret: &Object) -> Option<Action> {
        let held = secret.at("data");
        let lacks = |key: &str| held.get(key).str().is_empty();
        let bundle = STANDARD.encode(&*self.root_ca.get());
        let lacks_bundle = !bundle.is_empty() && held.get("ca.crt").str() != bundle;
        if !lacks_bundle && !lacks("namespace") && !lacks("token") {
            return None;
        }
        let mut object = secret.to_value();
        let mut set = |key: &str, text: String| object.set_at(&["data", key], text);
        if lacks_bundle {
            set("ca.crt", bundle);
        }
        if lacks("namespace") {
            set("namespace", STANDARD.encode(secret.namespace()));
        }
        if lacks("token") {
            set("token", STANDARD.encode(self.trust.token(account, secret)));
        }
        for (key, text) in [(ACCOUNT_NAME, account.name()), (ACCOUNT_UID, account.uid())] {
            object.set_at(&["metadata", "annotations", key], text);
        }
        Some(Action::Update {
            target: target(SECRETS, secret),
            subresource: "",
            object,
        })
    }
}

fn is_token(secret: &Object) -> bool {
    secret.at("type").str() == TYPE
}

/// The service account a token is for, if it is still the same one.
fn account_of<'a>(view: &'a View, secret: &Object) -> Option<&'a Arc<Object>> {
    let name = secret.annotation(ACCOUNT_NAME).unwrap_or_default();
    let uid = secret.annotation(ACCOUNT_UID).unwrap_or_default();
    view.get(SERVICE_ACCOUNTS, secret.namespace(), name)
        .filter(|account| uid.is_empty() || uid == account.uid())
}

/// Takes a token that is gone out of the list of whoever it was for.
fn forget(view: &View, key: &Target, plan: &mut Plan) {
    for account in view.list(SERVICE_ACCOUNTS, Some(&key.namespace)) {
        let listed = account.at("secrets");
        if !listed.items().any(|one| one.get("name").str() == key.name) {
            continue;
        }
        let left = listed.items().map(|one| one.to_value());
        let left: Vec<Value> = left.filter(|one| one["name"].str() != key.name).collect();
        let mut object = account.to_value();
        object["secrets"] = left.into();
        plan.push(Action::Update {
            target: target(SERVICE_ACCOUNTS, account),
            subresource: "",
            object,
        });
    }
}

fn wake_token(_: &View, change: &Change, wake: &mut Vec<Target>) {
    let token = |object: &Option<Arc<Object>>| object.as_ref().is_some_and(|one| is_token(one));
    if token(&change.new) || token(&change.old) {
        wake.push(Target::new(
            SECRETS,
            &change.key.namespace,
            &change.key.name,
        ));
    }
}

fn wake_tokens_of_account(view: &View, change: &Change, wake: &mut Vec<Target>) {
    // A token depends on the account's name and UID only.
    let uid = |object: &Option<Arc<Object>>| object.as_ref().map(|one| one.uid().to_owned());
    if uid(&change.old) == uid(&change.new) {
        return;
    }
    let name = Some(change.key.name.as_str());
    let tokens = view
        .list(SECRETS, Some(&change.key.namespace))
        .filter(|secret| is_token(secret) && secret.annotation(ACCOUNT_NAME) == name);
    wake.extend(tokens.map(|secret| target(SECRETS, secret)));
}

fn wake_all_tokens(view: &View, change: &Change, wake: &mut Vec<Target>) {
    if tells_of_roots(change) {
        let tokens = view.list(SECRETS, None).filter(|secret| is_token(secret));
        wake.extend(tokens.map(|secret| target(SECRETS, secret)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Asked;
    use machinery::json;

    struct Key;
    impl Trust for Key {
        fn read(&self, _: &str) -> Result<Asked, String> {
            unreachable!("tokens need no certificates")
        }
        fn issue(&self, _: &Value, _: Time) -> Result<String, String> {
            unreachable!("tokens need no certificates")
        }
        fn end(&self, _: &str) -> Option<Time> {
            unreachable!("tokens need no certificates")
        }
        fn may_create(&self, _: &Value, _: &str) -> bool {
            unreachable!("tokens need no permission")
        }
        fn token(&self, account: &Object, secret: &Object) -> String {
            format!("{}.{}", account.uid(), secret.name())
        }
    }

    fn account(uid: &str, secrets: Value) -> (&'static str, Value) {
        let object =
            json!({"metadata": {"name": "a", "namespace": "n", "uid": uid}, "secrets": secrets});
        (SERVICE_ACCOUNTS, object)
    }

    fn secret(uid: &str, data: Value) -> (&'static str, Value) {
        let object = json!({"type": TYPE, "data": data, "metadata": {"name": "t", "namespace": "n", "uid": "s",
            "annotations": {(ACCOUNT_NAME): "a", (ACCOUNT_UID): uid}}});
        (SECRETS, object)
    }

    fn plan(objects: impl IntoIterator<Item = (&'static str, Value)>) -> Vec<Action> {
        let tokens = Tokens {
            trust: Arc::new(Key),
            root_ca: RootBundle::new("CA"),
        };
        let view = View::of(objects, &[]);
        let key = Target::new(SECRETS, "n", "t");
        tokens.reconcile(&view, &key, Time(0)).actions
    }

    #[test]
    fn a_token_is_made_once_and_names_its_account() {
        let made = plan([account("u", json!([])), secret("", json!({}))]);
        let [Action::Update { object, .. }] = made.as_slice() else {
            panic!("{made:?}");
        };
        let decoded = STANDARD.decode(object["data"]["token"].str()).unwrap();
        assert_eq!(decoded, b"u.t");
        assert_eq!(object["data"]["namespace"].str(), STANDARD.encode("n"));
        let annotations = &object["metadata"]["annotations"];
        assert_eq!(annotations[ACCOUNT_UID].str(), "u");
        let mut stored = object.clone();
        stored.metadata_mut().remove("resourceVersion");
        let again = plan([account("u", json!([])), (SECRETS, stored)]);
        assert_eq!(again, []);
    }

    #[test]
    fn a_token_goes_with_its_account_and_out_of_its_list() {
        for objects in [
            vec![secret("u", json!({}))],
            vec![account("v", json!([])), secret("u", json!({}))],
        ] {
            assert!(matches!(plan(objects).as_slice(), [Action::Delete { .. }]));
        }
        let listed = json!([{"name": "t"}, {"name": "other"}]);
        let left = plan([account("u", listed)]);
        let [Action::Update { object, .. }] = left.as_slice() else {
            panic!("{left:?}");
        };
        assert_eq!(object["secrets"], json!([{"name": "other"}]));
    }
}
