//! A node's way through the door.

use crate::pods::PodRouter;
use auth::User;
use driver::{Actor, Recorder};
use env::BoxFuture;
use futures::FutureExt;
use kubelet::{ApiClient, PodWatch};
use machinery::{Object, Status, Value};
use reconcile::{Action, Target};
use registry::{Answer, Door, Key, Verb};
use std::sync::Arc;

/// The door as one kubelet sees it.
pub(crate) struct NodeClient {
    door: Door,
    user: Arc<User>,
    actor: Actor,
    pods: Arc<PodRouter>,
}

impl NodeClient {
    /// A client that acts as `system:node:<node>`.
    pub fn new(door: &Door, node: &str, pods: &Arc<PodRouter>, recorder: &Arc<Recorder>) -> Self {
        let user = Arc::new(User::node(node));
        let actor = Actor::new(door, user.clone(), "kubelet", recorder);
        Self {
            door: door.clone(),
            user,
            actor,
            pods: pods.clone(),
        }
    }

    fn check(&self, verb: Verb, resource: &str, namespace: &str, name: &str) -> Result<(), Status> {
        self.check_selected(verb, resource, (namespace, name), Vec::new())
    }

    /// Refuses what the node's user may not read; `fields` is what a selector requires.
    fn check_selected(
        &self,
        verb: Verb,
        resource: &str,
        (namespace, name): (&str, &str),
        fields: Vec<(machinery::SmolStr, machinery::SmolStr)>,
    ) -> Result<(), Status> {
        let call = self
            .door
            .component_call(&self.user, verb, resource, namespace, name)?;
        let asked = auth::Attributes {
            fields,
            verb: verb.name().into(),
            group: call.resource.group,
            version: call.resource.version,
            resource: call.resource.resource,
            namespace: namespace.into(),
            name: name.into(),
            ..auth::Attributes::default()
        };
        self.door.require(&self.user, &asked)
    }
}

impl ApiClient for NodeClient {
    fn get<'a>(
        &'a self,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Arc<Object>, Status>> {
        async move {
            self.check(Verb::Get, resource, namespace, name)?;
            let found = self
                .door
                .snapshot()
                .get(resource, &Key::new(namespace, name))
                .cloned();
            let plural = resource
                .split_once('.')
                .map_or((resource, ""), |(plural, group)| (plural, group));
            found.ok_or_else(|| {
                Status::not_found(&machinery::GroupResource::new(plural.1, plural.0), name)
            })
        }
        .boxed()
    }

    fn list<'a>(
        &'a self,
        resource: &'a str,
        namespace: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Arc<Object>>, Status>> {
        async move {
            self.check(Verb::List, resource, namespace, "")?;
            let namespace = (!namespace.is_empty()).then_some(namespace);
            Ok(self
                .door
                .snapshot()
                .list(resource, namespace)
                .cloned()
                .collect())
        }
        .boxed()
    }

    fn watch_pods<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<Arc<dyn PodWatch>, Status>> {
        async move {
            let own = vec![("spec.nodeName".into(), node.into())];
            self.check_selected(Verb::Watch, kinds::PODS, ("", ""), own)?;
            Ok(self.pods.watch(node))
        }
        .boxed()
    }

    fn replace<'a>(
        &'a self,
        resource: &'a str,
        object: Value,
    ) -> BoxFuture<'a, Result<Arc<Object>, Status>> {
        async move {
            let target = Target::new(resource, object.namespace(), object.name());
            let update = Action::Update {
                target,
                subresource: "",
                object,
            };
            match self.actor.perform(update).await?.map(|reply| reply.answer) {
                Some(Answer::Object(_, object)) => Ok(object),
                _ => Err(Status::internal(
                    "an update was not answered with an object",
                )),
            }
        }
        .boxed()
    }

    fn perform(&self, action: Action) -> BoxFuture<'_, Result<Value, Status>> {
        async move {
            Ok(
                match self.actor.perform(action).await?.map(|reply| reply.answer) {
                    Some(Answer::Value(value)) => value,
                    _ => Value::Null,
                },
            )
        }
        .boxed()
    }
}
