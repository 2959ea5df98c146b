//! Role-based access control: compiled once from roles and bindings, asked on every request.
//!
//! Knows no store. Upstream counterpart: `plugin/pkg/auth/authorizer/rbac` and
//! `pkg/registry/rbac/validation`.

use crate::{Attributes, MASTERS, Rule, User};
use machinery::{Object, Ref, SmolStr};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

type Rules = Arc<[Rule]>;

/// What one binding grants to one subject.
struct Grant {
    /// Position of the binding among all, cluster-wide ones first.
    binding: usize,
    /// Position among all subjects of all bindings.
    order: usize,
    /// Namespace, empty for everywhere.
    scope: SmolStr,
    /// The role's rules, or the sentence that says that it does not exist.
    rules: Result<Rules, Arc<str>>,
    /// `ClusterRoleBinding "b" of ClusterRole "r" to User "u"`.
    source: Arc<str>,
}

/// Roles by subject: what every binding grants to whom and where.
#[derive(Default)]
pub struct Rbac {
    /// Subject key (`u:name`, `g:name`) to its grants.
    grants: BTreeMap<String, Vec<Grant>>,
}

/// The objects RBAC is compiled from, each list in the order of names.
pub struct RbacSource<'a> {
    /// ClusterRoles.
    pub cluster_roles: Vec<&'a Arc<Object>>,
    /// Roles.
    pub roles: Vec<&'a Arc<Object>>,
    /// ClusterRoleBindings.
    pub cluster_role_bindings: Vec<&'a Arc<Object>>,
    /// RoleBindings.
    pub role_bindings: Vec<&'a Arc<Object>>,
}

/// What an authorizer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the request is allowed.
    pub allowed: bool,
    /// Why (not); may be empty.
    pub reason: String,
}

impl Rbac {
    /// Compiles roles and bindings; bindings to roles that do not exist grant nothing.
    pub fn compile(source: &RbacSource<'_>) -> Self {
        let rules = |object: &&Arc<Object>| -> Rules {
            object.at("rules").items().map(Rule::from_ref).collect()
        };
        let roles: BTreeMap<(&str, &str), Rules> = source
            .cluster_roles
            .iter()
            .chain(&source.roles)
            .map(|role| ((role.namespace(), role.name()), rules(role)))
            .collect();
        let mut rbac = Self::default();
        let mut order = 0;
        let bindings = source
            .cluster_role_bindings
            .iter()
            .chain(&source.role_bindings);
        for (at, binding) in bindings.enumerate() {
            let reference = binding.at("roleRef");
            let (kind, name) = (reference.get("kind").str(), reference.get("name").str());
            let namespace = if kind == "Role" {
                binding.namespace()
            } else {
                ""
            };
            let rules = roles.get(&(namespace, name)).cloned().ok_or_else(|| {
                let singular = kind.to_lowercase();
                format!("{singular}.rbac.authorization.k8s.io {name:?} not found").into()
            });
            for subject in binding.at("subjects").items() {
                rbac.grant(binding, subject, (at, order), &rules);
                order += 1;
            }
        }
        rbac
    }

    fn grant(
        &mut self,
        binding: &Object,
        subject: Ref<'_>,
        (at, order): (usize, usize),
        rules: &Result<Rules, Arc<str>>,
    ) {
        let (kind, name) = (subject.get("kind").str(), subject.get("name").str());
        let own = subject.get("namespace").as_str();
        let own = own
            .filter(|own| !own.is_empty())
            .unwrap_or(binding.namespace());
        let (key, shown) = match kind {
            "User" => (format!("u:{name}"), name.to_owned()),
            "Group" => (format!("g:{name}"), name.to_owned()),
            "ServiceAccount" if !own.is_empty() => (
                format!("u:system:serviceaccount:{own}:{name}"),
                format!("{name}/{own}"),
            ),
            _ => return,
        };
        let (binding_kind, binding_name) = match binding.namespace() {
            "" => ("ClusterRoleBinding", binding.name().to_owned()),
            namespace => ("RoleBinding", format!("{}/{namespace}", binding.name())),
        };
        let role = binding.at("roleRef");
        let source = format!(
            "{binding_kind} {binding_name:?} of {} {:?} to {kind} {shown:?}",
            role.get("kind").str(),
            role.get("name").str()
        );
        self.grants.entry(key).or_default().push(Grant {
            binding: at,
            order,
            scope: binding.namespace().into(),
            rules: rules.clone(),
            source: source.into(),
        });
    }

    /// Whether the user may do what is asked.
    pub fn allows(&self, user: &User, asked: &Attributes) -> bool {
        user.in_group(MASTERS)
            || self
                .grants_of(user, &asked.namespace)
                .any(|grant| grant.allows(asked))
    }

    /// The same with the reason: the binding that allows it, or the roles that do not exist.
    pub fn decide(&self, user: &User, asked: &Attributes) -> Verdict {
        if user.in_group(MASTERS) {
            return Verdict {
                allowed: true,
                reason: String::new(),
            };
        }
        let allowing = self
            .grants_of(user, &asked.namespace)
            .filter(|grant| grant.allows(asked));
        if let Some(first) = allowing.min_by_key(|grant| grant.order) {
            return Verdict {
                allowed: true,
                reason: format!("RBAC: allowed by {}", first.source),
            };
        }
        let mut missing: Vec<&Grant> = self
            .grants_of(user, &asked.namespace)
            .filter(|grant| grant.rules.is_err())
            .collect();
        missing.sort_by_key(|grant| grant.order);
        let mut texts: Vec<&str> = Vec::new();
        for text in missing
            .iter()
            .filter_map(|grant| grant.rules.as_ref().err())
        {
            if !texts.contains(&text.as_ref()) {
                texts.push(text);
            }
        }
        let reason = match texts.as_slice() {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            many => format!("RBAC: [{}]", many.join(", ")),
        };
        Verdict {
            allowed: false,
            reason,
        }
    }

    /// Rules that hold for the user in a namespace (and cluster-wide ones), in the bindings' order.
    pub fn rules_for(&self, user: &User, namespace: &str) -> Vec<Rule> {
        let mut grants: Vec<&Grant> = self.grants_of(user, namespace).collect();
        grants.sort_by_key(|grant| grant.order);
        let mut seen = BTreeSet::new();
        grants.retain(|grant| seen.insert(grant.binding));
        let rules = grants
            .into_iter()
            .filter_map(|grant| grant.rules.as_ref().ok());
        rules.flat_map(|rules| rules.iter().cloned()).collect()
    }

    fn grants_of<'a>(
        &'a self,
        user: &'a User,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Grant> {
        let own = std::iter::once(format!("u:{}", user.name));
        let groups = user.groups.iter().map(|group| format!("g:{group}"));
        own.chain(groups)
            .filter_map(|subject| self.grants.get(&subject))
            .flatten()
            .filter(move |grant| {
                grant.scope.is_empty() || grant.scope == namespace && !namespace.is_empty()
            })
    }
}

impl Grant {
    fn allows(&self, asked: &Attributes) -> bool {
        self.rules
            .as_ref()
            .is_ok_and(|rules| rules.iter().any(|rule| rule.allows(asked)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    fn object(value: machinery::Value) -> Arc<Object> {
        Arc::new(Object::new(&value, 1))
    }

    fn asked(verb: &str, resource: &str, namespace: &str, name: &str) -> Attributes {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes {
            verb: verb.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn roles_grant_where_they_are_bound() {
        let cluster_role = object(json!({"metadata": {"name": "reader"}, "rules": [
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "pods/log"], "resourceNames": ["a"]},
            {"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]}]}));
        let role = object(
            json!({"metadata": {"name": "all", "namespace": "n"}, "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]}),
        );
        let everywhere = object(
            json!({"metadata": {"name": "x"}, "roleRef": {"kind": "ClusterRole", "name": "reader"}, "subjects": [{"kind": "User", "name": "ann"}]}),
        );
        let dangling = object(
            json!({"metadata": {"name": "w"}, "roleRef": {"kind": "ClusterRole", "name": "gone"}, "subjects": [{"kind": "User", "name": "eve"}]}),
        );
        let here = object(
            json!({"metadata": {"name": "y", "namespace": "n"}, "roleRef": {"kind": "Role", "name": "all"},
            "subjects": [{"kind": "ServiceAccount", "name": "bot", "namespace": "m"}, {"kind": "Group", "name": "ops"}]}),
        );
        let rbac = Rbac::compile(&RbacSource {
            cluster_roles: vec![&cluster_role],
            roles: vec![&role],
            cluster_role_bindings: vec![&dangling, &everywhere],
            role_bindings: vec![&here],
        });
        let ann = User::new("ann", &[]);
        let bot = User::service_account("m", "bot", "");
        let ops = User::new("olaf", &["ops"]);
        for (user, attributes, wanted) in [
            (&ann, asked("get", "pods", "n", "a"), true),
            (&ann, asked("get", "pods", "", "a"), true),
            (&ann, asked("get", "pods/log", "z", "a"), true),
            (&ann, asked("get", "pods/exec", "z", "a"), false),
            (&ann, asked("get", "pods", "n", "b"), false),
            (&ann, asked("list", "pods", "n", "a"), false),
            (&bot, asked("delete", "secrets", "n", "s"), true),
            (&bot, asked("delete", "secrets", "m", "s"), false),
            (&bot, asked("delete", "secrets", "", "s"), false),
            (&ops, asked("create", "pods/exec", "n", ""), true),
            (
                &User::component("me"),
                asked("create", "nodes", "", ""),
                true,
            ),
        ] {
            assert_eq!(
                rbac.allows(user, &attributes),
                wanted,
                "{} {attributes:?}",
                user.name
            );
        }
        let decided = |user: &User, attributes: &Attributes| rbac.decide(user, attributes).reason;
        for (user, attributes, reason) in [
            (
                &ann,
                asked("get", "pods", "n", "a"),
                r#"RBAC: allowed by ClusterRoleBinding "x" of ClusterRole "reader" to User "ann""#,
            ),
            (
                &bot,
                asked("get", "pods", "n", "a"),
                r#"RBAC: allowed by RoleBinding "y/n" of Role "all" to ServiceAccount "bot/m""#,
            ),
            (
                &ops,
                asked("get", "pods", "n", "a"),
                r#"RBAC: allowed by RoleBinding "y/n" of Role "all" to Group "ops""#,
            ),
            (&ann, asked("delete", "pods", "n", "a"), ""),
            (
                &User::new("eve", &[]),
                asked("get", "pods", "n", "a"),
                r#"RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#,
            ),
        ] {
            assert_eq!(decided(user, &attributes), reason);
        }
        let path = Attributes {
            verb: "get".into(),
            path: "/healthz/ping".into(),
            ..Attributes::default()
        };
        assert!(rbac.allows(&ann, &path) && !rbac.allows(&ops, &path));
        assert_eq!(
            asked("list", "pods", "n", "").refusal(&ann),
            "User \"ann\" cannot list resource \"pods\" in API group \"\" in the namespace \"n\""
        );
    }
}
