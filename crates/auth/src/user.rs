//! The identity behind a request.

use machinery::{Ref, Value, json};
use std::collections::BTreeMap;

/// Group of everyone who proved an identity.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Group of everyone who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Group that may do everything, whatever the roles say.
pub const MASTERS: &str = "system:masters";

/// An authenticated (or anonymous) user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// Unique id, may be empty.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Further attributes.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user with a name and groups, `system:authenticated` added.
    pub fn new(name: &str, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        groups.push(AUTHENTICATED.into());
        Self {
            name: name.into(),
            groups,
            ..Self::default()
        }
    }

    /// `system:anonymous`.
    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".into(),
            groups: vec![UNAUTHENTICATED.into()],
            ..Self::default()
        }
    }

    /// A part of the platform itself, trusted with everything.
    pub fn component(name: &str) -> Self {
        Self::new(name, &[MASTERS])
    }

    /// A service account's user.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let mut user = Self::new(
            &format!("system:serviceaccount:{namespace}:{name}"),
            &[
                "system:serviceaccounts",
                &format!("system:serviceaccounts:{namespace}"),
            ],
        );
        user.uid = uid.into();
        user
    }

    /// Whether the user is in a group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// As `userInfo` of reviews and admission.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"username": &self.name});
        if !self.uid.is_empty() {
            value["uid"] = (&self.uid).into();
        }
        if !self.groups.is_empty() {
            value["groups"] = self.groups.clone().into();
        }
        if !self.extra.is_empty() {
            let extra = self
                .extra
                .iter()
                .map(|(key, values)| (key.as_str(), values.clone()));
            value["extra"] = Value::Object(extra.collect());
        }
        value
    }

    /// From `spec` of an access review, which names `user`, `groups`, `extra`, `uid`.
    pub fn of_review(spec: Ref<'_>) -> Self {
        let texts = |list: Ref<'_>| list.items().map(|item| item.str().to_owned()).collect();
        Self {
            name: spec.get("user").str().into(),
            uid: spec.get("uid").str().into(),
            groups: texts(spec.get("groups")),
            extra: spec
                .get("extra")
                .entries()
                .map(|(key, list)| (key.to_owned(), texts(list)))
                .collect(),
        }
    }
}
