//! One unit of work, carried out through the door as its brain's own user.

use crate::events::Recorder;
use auth::User;
use machinery::{Status, Value};
use reconcile::{Action, Preconditions, Propagation, Target};
use registry::{Body, Call, Door, PatchKind, Reply, Verb};
use std::sync::Arc;

/// Someone who acts through the door: a brain, a node.
#[derive(Clone)]
pub struct Actor {
    door: Door,
    user: Arc<User>,
    name: &'static str,
    recorder: Arc<Recorder>,
}

/// Who owns the fields that an actor sets: the program it is part of upstream. Tools pass over
/// what `kube-controller-manager` owns.
fn manager(name: &str) -> &str {
    match name {
        "kube-scheduler" | "kubelet" | "directory-provisioner" => name,
        "clusterrole-aggregation-controller" => name,
        "customresourcedefinition-controller" => "kube-apiserver",
        "flow-schema-controller" => "api-priority-and-fairness-config-consumer-v1",
        _ => "kube-controller-manager",
    }
}

impl Actor {
    /// An actor with its identity; `name` is the source of its events.
    pub fn new(door: &Door, user: Arc<User>, name: &'static str, recorder: &Arc<Recorder>) -> Self {
        Self {
            door: door.clone(),
            user,
            name,
            recorder: recorder.clone(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Carries out actions in order until one fails; the revision of the last write made, or
    /// the action that failed and why.
    pub async fn carry_out(&self, actions: Vec<Action>) -> Result<u64, Box<(Action, Status)>> {
        let mut revision = 0;
        for action in actions {
            match self.perform(action.clone()).await {
                Ok(reply) => revision = revision.max(reply.map_or(0, |reply| reply.revision)),
                Err(status) => return Err(Box::new((action, status))),
            }
        }
        Ok(revision)
    }

    /// Carries out all actions whatever becomes of each.
    pub async fn try_each(&self, actions: Vec<Action>) {
        for action in actions {
            // Reports are a courtesy; the failure they are about is handled elsewhere.
            let _ = self.perform(action).await;
        }
    }

    fn call(&self, verb: Verb, target: &Target) -> Result<Call, Status> {
        let mut call = self.door.component_call(
            &self.user,
            verb,
            &target.resource,
            &target.namespace,
            &target.name,
        )?;
        call.options.field_manager = manager(self.name).into();
        call.options.field_validation = registry::FieldValidation::Ignore;
        Ok(call)
    }

    /// Carries out one action; `None` where nothing needed doing or nothing is answered.
    pub async fn perform(&self, action: Action) -> Result<Option<Reply>, Status> {
        match action {
            Action::Create {
                target,
                subresource,
                object,
                existing_is_fine,
            } => {
                let call = self
                    .call(Verb::Create, &target)?
                    .on(subresource)
                    .with_object(object);
                match self.door.call(call).await {
                    Err(status) if existing_is_fine && status.is_already_exists() => Ok(None),
                    outcome => outcome.map(Some),
                }
            }
            Action::Update {
                target,
                subresource,
                object,
            } => {
                let call = self
                    .call(Verb::Update, &target)?
                    .on(subresource)
                    .with_object(object);
                self.door.call(call).await.map(Some)
            }
            Action::Patch {
                target,
                subresource,
                patch,
                when,
            } => {
                let call = self.call(Verb::Patch, &target)?.on(subresource);
                let call = call.with_patch(PatchKind::Merge, conditional(patch, &when));
                self.door.call(call).await.map(Some)
            }
            Action::Delete {
                target,
                when,
                grace_seconds,
                propagation,
            } => self.delete(&target, when, grace_seconds, propagation).await,
            Action::Event(event) => {
                self.recorder
                    .record(&self.door, &self.user, self.name, event)
                    .await;
                Ok(None)
            }
        }
    }

    async fn delete(
        &self,
        target: &Target,
        when: Preconditions,
        grace_seconds: Option<i64>,
        propagation: Propagation,
    ) -> Result<Option<Reply>, Status> {
        let mut call = self.call(Verb::Delete, target)?;
        call.body = Body::None;
        let options = &mut call.options.delete;
        options.grace_seconds = grace_seconds;
        options.uid = when.uid;
        options.revision = when.revision.map(|it| machinery::format_smolstr!("{it}"));
        options.propagation = match propagation {
            Propagation::Default => None,
            Propagation::Background => Some(registry::Propagation::Background),
            Propagation::Foreground => Some(registry::Propagation::Foreground),
            Propagation::Orphan => Some(registry::Propagation::Orphan),
        };
        match self.door.call(call).await {
            Err(status) if status.is_not_found() => Ok(None),
            outcome => outcome.map(Some),
        }
    }
}

/// The patch with its preconditions in `metadata`.
fn conditional(mut patch: Value, when: &Preconditions) -> Value {
    if let Some(uid) = &when.uid {
        patch.set_at(&["metadata", "uid"], uid);
    }
    if let Some(revision) = when.revision {
        patch.set_at(&["metadata", "resourceVersion"], revision.to_string());
    }
    patch
}
