//! Kinds that are questions: access reviews and token reviews are answered, never stored.
//!
//! Upstream counterpart: `pkg/registry/{authorization,authentication}`.

use crate::{Answer, Context, Door, Reply};
use auth::{Attributes, Rule, User};
use machinery::{Ref, Status, Value, flat, json};
use store::Key;

impl Door {
    /// Answers a virtual kind.
    pub(crate) async fn review(
        &self,
        mut context: Context<'_>,
        mut value: Value,
    ) -> Result<Reply, Status> {
        let kind = context.kind.gvk.kind.clone();
        value["apiVersion"] = context.kind.api_version().into();
        value["kind"] = (&kind).into();
        let user = context.call.user.clone();
        let status = match kind.as_str() {
            "SelfSubjectAccessReview" => self.access(&user, &value["spec"]),
            "SubjectAccessReview" | "LocalSubjectAccessReview" => {
                let bytes = flat::encode(&value["spec"]);
                self.access(&User::of_review(Ref::new(&bytes)), &value["spec"])
            }
            "SelfSubjectRulesReview" => self.rules(&user, value.at(&["spec", "namespace"]).str()),
            "SelfSubjectReview" => json!({"userInfo": user.to_value()}),
            "TokenReview" => self.token_review(value.at(&["spec", "token"]).str()),
            "Binding" => {
                let name = value.name().to_owned();
                let mut call = context.call.clone();
                call.resource.resource = "pods".into();
                call.name = name.as_str().into();
                call.subresource = "binding".into();
                call.body = crate::Body::object(value);
                return Box::pin(self.call(call)).await;
            }
            _ => {
                return Err(Status::method_not_supported(
                    &context.call.resource.group_resource(),
                    "create",
                ));
            }
        };
        value["status"] = status;
        value
            .metadata_mut()
            .insert("creationTimestamp", Value::Null);
        context.created = true;
        Ok(context.reply(Answer::Value(value)))
    }

    fn access(&self, user: &User, spec: &Value) -> Value {
        let text = |value: &Value, key: &str| value[key].str().into();
        let asked = match spec.get("nonResourceAttributes") {
            Some(path) => Attributes {
                verb: text(path, "verb"),
                path: text(path, "path"),
                ..Attributes::default()
            },
            None => {
                let asked = &spec["resourceAttributes"];
                Attributes {
                    verb: text(asked, "verb"),
                    group: text(asked, "group"),
                    version: text(asked, "version"),
                    resource: text(asked, "resource"),
                    subresource: text(asked, "subresource"),
                    namespace: text(asked, "namespace"),
                    name: text(asked, "name"),
                    path: Default::default(),
                }
            }
        };
        json!({"allowed": self.allows(user, &asked)})
    }

    fn rules(&self, user: &User, namespace: &str) -> Value {
        let rules = self.rbac().rules_for(user, namespace);
        let list = |texts: &[machinery::SmolStr]| Value::from(texts.to_vec());
        let resource = |rule: &Rule| {
            let mut shown = json!({"verbs": list(&rule.verbs), "apiGroups": list(&rule.groups), "resources": list(&rule.resources)});
            if !rule.names.is_empty() {
                shown["resourceNames"] = list(&rule.names);
            }
            shown
        };
        let path =
            |rule: &Rule| json!({"verbs": list(&rule.verbs), "nonResourceURLs": list(&rule.urls)});
        json!({
            "incomplete": false,
            "resourceRules": rules.iter().filter(|rule| !rule.resources.is_empty()).map(resource).collect::<Vec<_>>(),
            "nonResourceRules": rules.iter().filter(|rule| !rule.urls.is_empty()).map(path).collect::<Vec<_>>(),
        })
    }

    fn token_review(&self, token: &str) -> Value {
        match self.authenticate_token(token) {
            Ok(user) => {
                json!({"authenticated": true, "user": user.to_value(), "audiences": [self.tokens().issuer()]})
            }
            Err(why) => json!({"user": {}, "error": why}),
        }
    }

    /// The user behind a service-account token: signature, time, and everything it is bound to
    /// still exists.
    pub fn authenticate_token(&self, token: &str) -> Result<User, String> {
        let claims = self.tokens().verify(token, self.now())?;
        if !claims
            .audiences
            .iter()
            .any(|audience| audience == self.tokens().issuer())
        {
            return Err("token is not meant for this API server".into());
        }
        let snapshot = self.snapshot();
        let account = snapshot.get(
            "serviceaccounts",
            &Key::new(&claims.namespace, &claims.name),
        );
        if account.is_none_or(|account| account.uid() != claims.uid || account.is_deleting()) {
            return Err("service account token has been invalidated".into());
        }
        let bound = &claims.bound;
        let place = match bound.kind.as_str() {
            "Pod" => Some(("pods", claims.namespace.as_str())),
            "Secret" => Some(("secrets", claims.namespace.as_str())),
            "Node" => Some(("nodes", "")),
            _ => None,
        };
        let gone = place.is_some_and(|(resource, namespace)| {
            let object = snapshot.get(resource, &Key::new(namespace, &bound.name));
            object.is_none_or(|object| object.uid() != bound.uid)
        });
        if gone {
            return Err("service account token has been invalidated".into());
        }
        let mut user = User::service_account(&claims.namespace, &claims.name, &claims.uid);
        user.extra.insert(
            "authentication.kubernetes.io/credential-id".into(),
            vec![format!("JTI={}", claims.id)],
        );
        if bound.kind == "Pod" {
            user.extra.insert(
                "authentication.kubernetes.io/pod-name".into(),
                vec![bound.name.clone()],
            );
            user.extra.insert(
                "authentication.kubernetes.io/pod-uid".into(),
                vec![bound.uid.clone()],
            );
        }
        Ok(user)
    }
}
