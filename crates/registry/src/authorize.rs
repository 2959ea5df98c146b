//! The authorization step: the node authorizer, then RBAC, on the current state.
//!
//! What is compiled from the state is kept until the state differs. Upstream counterpart:
//! `k8s.io/apiserver/pkg/{authorization/union,endpoints/filters/authorization.go}`.

use crate::{Call, Door};
use auth::{Attributes, MASTERS, NodeView, Rbac, RbacSource, User, Verdict, decide_node};
use machinery::{Object, SmolStr, Status};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use store::{Change, Key, Snapshot, Subscription, Table};

/// Resources RBAC is made of, in the order of [`RbacSource`].
const SOURCES: [&str; 4] = [
    "clusterroles.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
];
const PODS: &str = "pods";

/// What authorization keeps between requests.
#[derive(Default)]
pub(crate) struct RbacCache {
    /// The tables the roles were compiled from.
    tables: [Option<Table>; 4],
    compiled: Arc<Rbac>,
    pods: NodePods,
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

/// The pods of each node, kept by reading the log when asked.
#[derive(Default)]
struct NodePods {
    log: Option<Subscription>,
    by_node: BTreeMap<SmolStr, BTreeSet<Key>>,
}

impl NodePods {
    /// The keys of a node's pods now.
    fn on(&mut self, node: &str, door: &Door) -> Vec<Key> {
        if !self.catch_up() {
            self.start_over(door);
        }
        let keys = self.by_node.get(node).into_iter().flatten();
        keys.cloned().collect()
    }

    /// Takes in what is new; whether the log still had it.
    fn catch_up(&mut self) -> bool {
        loop {
            match self.log.as_mut().map(Subscription::try_next) {
                Some(Ok(changes)) if changes.is_empty() => return true,
                Some(Ok(changes)) => changes.iter().for_each(|change| self.take_in(change)),
                Some(Err(_)) | None => return false,
            }
        }
    }

    fn start_over(&mut self, door: &Door) {
        let snapshot = door.snapshot();
        self.by_node.clear();
        for pod in snapshot.list(PODS, None) {
            let key = Key::new(pod.namespace(), pod.name());
            self.add(node_of(pod), &key);
        }
        self.log = door.subscribe_to(PODS, snapshot.revision).ok();
    }

    fn take_in(&mut self, change: &Change) {
        let place = |pod: &Option<Arc<Object>>| pod.as_ref().map(|pod| node_of(pod));
        let (old, new) = (place(&change.old), place(&change.new));
        if old == new {
            return;
        }
        if let Some(old) = old
            && let Some(keys) = self.by_node.get_mut(&old)
        {
            keys.remove(&change.key);
            if keys.is_empty() {
                self.by_node.remove(&old);
            }
        }
        if let Some(new) = new {
            self.add(new, &change.key);
        }
    }

    fn add(&mut self, node: SmolStr, key: &Key) {
        if !node.is_empty() {
            self.by_node.entry(node).or_default().insert(key.clone());
        }
    }
}

fn node_of(pod: &Object) -> SmolStr {
    pod.at("spec.nodeName").str().into()
}

/// The cluster as the node authorizer sees it.
struct View<'a> {
    door: &'a Door,
    snapshot: Snapshot,
}

impl NodeView for View<'_> {
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.snapshot
            .get(resource, &Key::new(namespace, name))
            .cloned()
    }

    fn pods_on(&self, node: &str) -> Vec<Arc<Object>> {
        let keys = self.door.with_cache(|cache| cache.pods.on(node, self.door));
        let pods = keys.iter().filter_map(|key| self.snapshot.get(PODS, key));
        pods.cloned().collect()
    }
}

impl Door {
    fn with_cache<T>(&self, use_it: impl FnOnce(&mut RbacCache) -> T) -> T {
        let mut cache = self
            .inner()
            .rbac
            .lock()
            .expect("compiling roles does not panic");
        use_it(&mut cache)
    }

    /// The current roles, compiled.
    pub fn rbac(&self) -> Arc<Rbac> {
        let snapshot = self.snapshot();
        self.with_cache(|cache| cache.refresh(&snapshot))
    }

    /// Whether `user` may do what is asked.
    pub fn allows(&self, user: &User, asked: &Attributes) -> bool {
        user.in_group(MASTERS)
            || self.as_node(user, asked).is_some_and(|own| own.allowed)
            || self.rbac().allows(user, asked)
    }

    /// The same with the reason, as reviews and refusals tell it.
    pub fn decide(&self, user: &User, asked: &Attributes) -> Verdict {
        let own = match self.as_node(user, asked) {
            Some(own) if own.allowed && !user.in_group(MASTERS) => return own,
            other => other.unwrap_or_else(|| Verdict {
                allowed: false,
                reason: String::new(),
            }),
        };
        let mut verdict = self.rbac().decide(user, asked);
        if !verdict.allowed {
            let reasons = [own.reason, verdict.reason];
            let told: Vec<&str> = reasons.iter().map(String::as_str).collect();
            let told: Vec<&str> = told.into_iter().filter(|text| !text.is_empty()).collect();
            verdict.reason = told.join("\n");
        }
        verdict
    }

    fn as_node(&self, user: &User, asked: &Attributes) -> Option<Verdict> {
        let node = user.as_node()?;
        let view = View {
            door: self,
            snapshot: self.snapshot(),
        };
        Some(decide_node(&view, node, asked))
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
        let reason = self.decide(user, asked).reason;
        let mut why = asked.refusal(user);
        if !reason.is_empty() {
            why = format!("{why}: {reason}");
        }
        Err(Status::forbidden(&resource, &asked.name, &why))
    }
}

/// What a call asks, in the authorizer's terms.
fn attributes(call: &Call, verb: &str) -> Attributes {
    let equals = |field: &&str| {
        let value = call.options.fields.required(field)?;
        Some(((*field).into(), value.into()))
    };
    let named = call.options.fields.required("metadata.name");
    let collection = matches!(verb, "list" | "watch" | "deletecollection");
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
        // A collection cut down to one name is asked for as that one, so that a right to it is enough.
        name: match named {
            Some(name) if collection && call.name.is_empty() => name.into(),
            _ => call.name.clone(),
        },
        path: SmolStr::default(),
        fields: ["spec.nodeName", "metadata.name"]
            .iter()
            .filter_map(equals)
            .collect(),
    }
}
