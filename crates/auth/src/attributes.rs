//! What a request asks, in the authorizer's terms, and the sentence of its refusal.
//!
//! Knows neither roles nor users' rights. Upstream counterpart: `k8s.io/apiserver/pkg/authorization/authorizer`
//! and `endpoints/handlers/responsewriters/errors.go`.

use crate::User;
use machinery::SmolStr;

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
    /// Fields a selector requires to equal a value.
    pub fields: Vec<(SmolStr, SmolStr)>,
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
