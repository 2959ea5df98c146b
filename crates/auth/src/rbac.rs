//! Role-based access control: compiled once from roles and bindings, asked on every request.
//!
//! Upstream counterpart: `plugin/pkg/auth/authorizer/rbac` and `pkg/apis/rbac/v1/evaluation_helpers.go`.

use crate::{MASTERS, User};
use machinery::{Object, Ref, SmolStr};
use std::{collections::BTreeMap, sync::Arc};

/// What is asked to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `get`, `list`, ..., lower case.
    pub verb: SmolStr,
    /// API group.
    pub group: SmolStr,
    /// API version (not decided on).
    pub version: SmolStr,
    /// Plural resource name; empty for a non-resource path.
    pub resource: SmolStr,
    /// Subresource, may be empty.
    pub subresource: SmolStr,
    /// Namespace, empty for cluster scope or all namespaces.
    pub namespace: SmolStr,
    /// Object name, may be empty.
    pub name: SmolStr,
    /// Path of a non-resource request.
    pub path: SmolStr,
}

impl Attributes {
    /// The refusal's sentence, as upstream words it.
    pub fn refusal(&self, user: &User) -> String {
        let who = &user.name;
        if self.resource.is_empty() {
            return format!("User \"{who}\" cannot {} path \"{}\"", self.verb, self.path);
        }
        let resource = if self.subresource.is_empty() {
            self.resource.to_string()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        };
        let scope = if self.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{}\"", self.namespace)
        };
        format!(
            "User \"{who}\" cannot {} resource \"{resource}\" in API group \"{}\" {scope}",
            self.verb, self.group
        )
    }
}

/// One `PolicyRule`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// `verbs`.
    pub verbs: Vec<SmolStr>,
    /// `apiGroups`.
    pub groups: Vec<SmolStr>,
    /// `resources`, `*`, `*/sub`, `res/sub`.
    pub resources: Vec<SmolStr>,
    /// `resourceNames`; empty means all.
    pub names: Vec<SmolStr>,
    /// `nonResourceURLs`, `*` at the end is a prefix.
    pub urls: Vec<SmolStr>,
}

impl Rule {
    /// From a `PolicyRule` object.
    pub fn from_ref(rule: Ref<'_>) -> Self {
        let texts = |key: &str| {
            rule.get(key)
                .items()
                .map(|item| item.str().into())
                .collect()
        };
        Self {
            verbs: texts("verbs"),
            groups: texts("apiGroups"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            urls: texts("nonResourceURLs"),
        }
    }

    /// Whether the rule allows the request.
    pub fn allows(&self, asked: &Attributes) -> bool {
        let any =
            |list: &[SmolStr], wanted: &str| list.iter().any(|one| one == "*" || one == wanted);
        if !any(&self.verbs, &asked.verb) {
            return false;
        }
        if asked.resource.is_empty() {
            return self.urls.iter().any(|url| url_matches(url, &asked.path));
        }
        any(&self.groups, &asked.group)
            && self
                .resources
                .iter()
                .any(|one| resource_matches(one, asked))
            && (self.names.is_empty() || self.names.contains(&asked.name))
    }
}

fn url_matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

fn resource_matches(pattern: &str, asked: &Attributes) -> bool {
    if pattern == "*" {
        return true;
    }
    match pattern.split_once('/') {
        Some(("*", sub)) => !sub.is_empty() && sub == asked.subresource,
        Some((resource, sub)) => resource == asked.resource && sub == asked.subresource,
        None => pattern == asked.resource && asked.subresource.is_empty(),
    }
}

type Rules = Arc<[Rule]>;

/// Roles by subject: what every binding grants to whom and where.
#[derive(Default)]
pub struct Rbac {
    /// Subject key (`u:name`, `g:name`) to (namespace or empty for everywhere, rules).
    grants: BTreeMap<String, Vec<(SmolStr, Rules)>>,
}

/// The objects RBAC is compiled from.
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
        for binding in source
            .cluster_role_bindings
            .iter()
            .chain(&source.role_bindings)
        {
            let reference = binding.at("roleRef");
            let namespace = if reference.get("kind").str() == "Role" {
                binding.namespace()
            } else {
                ""
            };
            if let Some(rules) = roles.get(&(namespace, reference.get("name").str())) {
                rbac.grant(binding, rules);
            }
        }
        rbac
    }

    fn grant(&mut self, binding: &Object, rules: &Rules) {
        for subject in binding.at("subjects").items() {
            let name = subject.get("name").str();
            let key = match subject.get("kind").str() {
                "User" => format!("u:{name}"),
                "Group" => format!("g:{name}"),
                "ServiceAccount" => {
                    let own = subject
                        .get("namespace")
                        .as_str()
                        .unwrap_or(binding.namespace());
                    format!("u:system:serviceaccount:{own}:{name}")
                }
                _ => continue,
            };
            self.grants
                .entry(key)
                .or_default()
                .push((binding.namespace().into(), rules.clone()));
        }
    }

    /// Whether the user may do what is asked.
    pub fn allows(&self, user: &User, asked: &Attributes) -> bool {
        user.in_group(MASTERS) || self.any_rule(user, &asked.namespace, |rule| rule.allows(asked))
    }

    /// Rules that hold for the user in a namespace (and cluster-wide ones).
    pub fn rules_for(&self, user: &User, namespace: &str) -> Vec<Rule> {
        let mut found = Vec::new();
        self.any_rule(user, namespace, |rule| {
            found.push(rule.clone());
            false
        });
        if user.in_group(MASTERS) {
            let all = || vec![SmolStr::new("*")];
            found.push(Rule {
                verbs: all(),
                groups: all(),
                resources: all(),
                ..Rule::default()
            });
            found.push(Rule {
                verbs: all(),
                urls: all(),
                ..Rule::default()
            });
        }
        found
    }

    fn any_rule(&self, user: &User, namespace: &str, mut test: impl FnMut(&Rule) -> bool) -> bool {
        let own = std::iter::once(format!("u:{}", user.name));
        let groups = user.groups.iter().map(|group| format!("g:{group}"));
        own.chain(groups)
            .filter_map(|subject| self.grants.get(&subject))
            .flatten()
            .any(|(scope, rules)| {
                (scope.is_empty() || scope == namespace && !namespace.is_empty())
                    && rules.iter().any(&mut test)
            })
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
        let here = object(
            json!({"metadata": {"name": "y", "namespace": "n"}, "roleRef": {"kind": "Role", "name": "all"},
            "subjects": [{"kind": "ServiceAccount", "name": "bot", "namespace": "m"}, {"kind": "Group", "name": "ops"}]}),
        );
        let rbac = Rbac::compile(&RbacSource {
            cluster_roles: vec![&cluster_role],
            roles: vec![&role],
            cluster_role_bindings: vec![&everywhere],
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
