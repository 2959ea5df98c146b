//! The authorization step: RBAC compiled from the current roles and bindings.

use crate::{Call, Door};
use auth::{Attributes, MASTERS, Rbac, RbacSource, User};
use machinery::{SmolStr, Status};
use std::sync::Arc;
use store::{Snapshot, Table};

/// Resources RBAC is made of, in the order of [`RbacSource`].
const SOURCES: [&str; 4] = [
    "clusterroles.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
];

/// The compiled roles, and the tables they were compiled from.
#[derive(Default)]
pub(crate) struct RbacCache {
    tables: [Option<Table>; 4],
    compiled: Arc<Rbac>,
}

impl RbacCache {
    fn refresh(&mut self, snapshot: &Snapshot) -> Arc<Rbac> {
        let tables = SOURCES.map(|resource| snapshot.tables.get(resource));
        let same = |(known, now): (&Option<Table>, &Option<&Table>)| match (known, now) {
            (Some(known), Some(now)) => known.ptr_eq(now),
            (known, now) => known.is_none() && now.is_none(),
        };
        if !self.tables.iter().zip(&tables).all(same) {
            let [cluster_roles, roles, cluster_role_bindings, role_bindings] =
                tables.map(|table| table.into_iter().flat_map(Table::values).collect());
            self.compiled = Arc::new(Rbac::compile(&RbacSource {
                cluster_roles,
                roles,
                cluster_role_bindings,
                role_bindings,
            }));
            self.tables = tables.map(|table| table.cloned());
        }
        self.compiled.clone()
    }
}

impl Door {
    /// The current roles, compiled.
    pub fn rbac(&self) -> Arc<Rbac> {
        let mut cache = self
            .inner()
            .rbac
            .lock()
            .expect("compiling roles does not panic");
        cache.refresh(&self.snapshot())
    }

    /// Whether `user` may do what is asked.
    pub fn allows(&self, user: &User, asked: &Attributes) -> bool {
        user.in_group(MASTERS) || self.rbac().allows(user, asked)
    }

    /// Refuses a call its user may not make.
    pub(crate) fn authorize(&self, call: &Call) -> Result<(), Status> {
        if call.user.in_group(MASTERS) {
            return Ok(());
        }
        self.require(&call.user, &attributes(call, call.verb.name()))
    }

    /// Refuses a PUT or an apply that would create, unless its user may create.
    pub(crate) fn authorize_creation(&self, call: &Call) -> Result<(), Status> {
        self.require(&call.user, &attributes(call, "create"))
    }

    /// Refuses with the standard sentence unless allowed.
    pub fn require(&self, user: &User, asked: &Attributes) -> Result<(), Status> {
        if self.allows(user, asked) {
            return Ok(());
        }
        let resource = machinery::GroupResource {
            group: asked.group.clone(),
            resource: asked.resource.clone(),
        };
        Err(Status::forbidden(
            &resource,
            &asked.name,
            &asked.refusal(user),
        ))
    }
}

/// What a call asks, in the authorizer's terms.
fn attributes(call: &Call, verb: &str) -> Attributes {
    Attributes {
        verb: verb.into(),
        group: call.resource.group.clone(),
        version: call.resource.version.clone(),
        resource: call.resource.resource.clone(),
        subresource: call.subresource.clone(),
        namespace: if call.resource.resource == "namespaces" && call.namespace.is_empty() {
            call.name.clone()
        } else {
            call.namespace.clone()
        },
        name: call.name.clone(),
        path: SmolStr::default(),
    }
}
