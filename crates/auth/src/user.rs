//! The identity behind a request.

use machinery::{Ref, Value, json};
use std::collections::BTreeMap;

/// Group of everyone who proved an identity.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Group of everyone who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Group that may do everything, whatever the roles say.
pub const MASTERS: &str = "system:masters";

/// Group of all nodes' agents.
pub const NODES: &str = "system:nodes";
/// Name of whoever did not prove an identity.
pub const ANONYMOUS: &str = "system:anonymous";
/// What the name of a node's agent begins with.
pub const NODE_PREFIX: &str = "system:node:";
/// What the name of a service account's user begins with.
pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// The extra attribute that names the node a token's pod runs on.
pub const NODE_NAME_EXTRA: &str = "authentication.kubernetes.io/node-name";

/// Where controllers' service accounts are.
const SYSTEM: &str = "kube-system";
/// The scheduler's name among the control plane's parts.
const SCHEDULER: &str = "kube-scheduler";

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
            name: ANONYMOUS.into(),
            groups: vec![UNAUTHENTICATED.into()],
            ..Self::default()
        }
    }

    /// The server itself while it makes a cluster's first objects, and whoever else needs no
    /// permission at all.
    pub fn component(name: &str) -> Self {
        Self::new(name, &[MASTERS])
    }

    /// A service account's user.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let mut user = Self::new(
            &format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"),
            &[
                "system:serviceaccounts",
                &format!("system:serviceaccounts:{namespace}"),
            ],
        );
        user.uid = uid.into();
        user
    }

    /// A part of the control plane, by its name: the scheduler as itself, a controller as the
    /// service account whose role upstream gives it.
    pub fn controller(name: &str) -> Self {
        match name {
            SCHEDULER => Self::new("system:kube-scheduler", &[]),
            // Upstream's node controllers share one account.
            "taint-eviction-controller" => Self::service_account(SYSTEM, "node-controller", ""),
            // So do those of certificate requests.
            "csrapproving" | "csrsigning" | "csrcleaner" => {
                Self::service_account(SYSTEM, "certificate-controller", "")
            }
            // Who makes accounts' tokens cannot have one itself.
            "tokens-controller" => Self::new("system:kube-controller-manager", &[]),
            _ => Self::service_account(SYSTEM, name, ""),
        }
    }

    /// A node's agent.
    pub fn node(name: &str) -> Self {
        Self::new(&format!("{NODE_PREFIX}{name}"), &[NODES])
    }

    /// The node behind the user: nothing if it is none, an empty name if it has none.
    pub fn as_node(&self) -> Option<&str> {
        let name = self.name.strip_prefix(NODE_PREFIX)?;
        self.in_group(NODES).then_some(name)
    }

    /// Namespace and name, if the user is a service account.
    pub fn as_service_account(&self) -> Option<(&str, &str)> {
        let (namespace, name) = self
            .name
            .strip_prefix(SERVICE_ACCOUNT_PREFIX)?
            .split_once(':')?;
        let valid = machinery::dns1123_label(namespace).is_empty()
            && machinery::dns1123_subdomain(name).is_empty();
        valid.then_some((namespace, name))
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
