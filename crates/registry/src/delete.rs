//! DELETE: preconditions, grace, finalizers and what becomes of dependents.
//!
//! Upstream counterpart: `registry/generic/registry/store.go` (`Delete`, `BeforeDelete`).

use crate::{Answer, Body, Context, DeleteOptions, Door, Operation, Options, Reply, decode};
use kinds::Propagation;
use machinery::{Object, Status, Value, flat, format_time, json};
use std::{sync::Arc, time::Duration};
use store::{Expected, Key, Write};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// What deleting an object comes to.
enum Outcome {
    /// It is removed now.
    Remove,
    /// It stays, marked, until grace and finalizers are over.
    Mark(Value),
    /// It is marked already and nothing changes.
    Nothing,
}

/// Whether admission sees a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reviewed {
    Yes,
    /// It is part of an action that admission saw.
    No,
}

/// How a deletion ended.
enum Ended {
    Removed,
    Pending(Arc<Object>),
}

impl Door {
    pub(crate) async fn delete(&self, context: Context<'_>) -> Result<Reply, Status> {
        self.delete_with(context, Reviewed::Yes).await
    }

    /// As [`Door::delete`], where the deletion may be part of an action that was reviewed itself.
    pub(crate) async fn delete_with(
        &self,
        mut context: Context<'_>,
        reviewed: Reviewed,
    ) -> Result<Reply, Status> {
        let options = delete_options(&context)?;
        warn_of_propagation(&mut context, &options);
        let key = Key::new(&context.call.namespace, &context.call.name);
        let deleted = self
            .delete_one(&mut context, &key, &options, reviewed)
            .await;
        let (object, ended) = deleted.map_err(|status| status.warned(&mut context.warnings))?;
        let kind = context.kind.clone();
        Ok(match ended {
            Ended::Pending(pending) => {
                let shown = self.to_requested(&pending, &kind).await?;
                context.reply(Answer::Object(kind, shown))
            }
            // Kinds that upstream returns whole when removed are those with a deletion of their own.
            Ended::Removed if kind.strategy.shows_deleted => {
                let shown = self.to_requested(&object, &kind).await?;
                context.reply(Answer::Object(kind, shown))
            }
            Ended::Removed => {
                let status = success(&context, &object);
                context.reply(Answer::Value(status))
            }
        })
    }

    pub(crate) async fn delete_collection(
        &self,
        mut context: Context<'_>,
    ) -> Result<Reply, Status> {
        let options = delete_options(&context)?;
        warn_of_propagation(&mut context, &options);
        crate::read::check_field_selector(&context)?;
        let snapshot = self.snapshot();
        let filter = crate::read::Filter::new(&context);
        let kind = context.kind.clone();
        let doomed = self.chosen(&filter, &snapshot, &kind).await?;
        for object in &doomed {
            let key = Key::new(object.namespace(), object.name());
            let deleted = self.delete_one(&mut context, &key, &options, Reviewed::Yes);
            match deleted.await {
                Err(status) if !status.is_not_found() => return Err(status),
                _ => {}
            }
        }
        let items = self.all_to_requested(doomed, &kind).await?;
        let list = crate::List {
            kind,
            items,
            revision: snapshot.revision,
            next: String::new(),
            remaining: None,
        };
        Ok(context.reply(Answer::List(list)))
    }

    async fn delete_one(
        &self,
        context: &mut Context<'_>,
        key: &Key,
        options: &DeleteOptions,
        reviewed: Reviewed,
    ) -> Result<(Arc<Object>, Ended), Status> {
        loop {
            let missing = || Status::not_found(&context.call.resource.group_resource(), &key.name);
            let stored = self
                .inner()
                .store
                .head(&context.kind.storage, key)
                .ok_or_else(missing)?;
            check_preconditions(context, &stored, options)?;
            if reviewed == Reviewed::Yes {
                self.review_deletion(context, &stored, options).await?;
            }
            let (write, marked) = match plan(context, &stored, options) {
                Outcome::Nothing => return Ok((stored.clone(), Ended::Pending(stored))),
                Outcome::Remove => (Write::Delete, None),
                Outcome::Mark(value) => (Write::Put(flat::encode(&value)), Some(value)),
            };
            if context.call.options.dry_run {
                let ended = marked.map_or(Ended::Removed, |value| {
                    Ended::Pending(Arc::new(Object::new(&value, stored.revision())))
                });
                return Ok((stored, ended));
            }
            let expected = Expected::Revision(stored.revision());
            let committed = self.commit(context, key.clone(), expected, write).await?;
            match committed {
                Some(object) => return Ok((stored, Ended::Pending(object))),
                None if marked.is_none() && context.revision > 0 => {
                    return Ok((stored, Ended::Removed));
                }
                None => {}
            }
        }
    }

    async fn review_deletion(
        &self,
        context: &mut Context<'_>,
        stored: &Arc<Object>,
        options: &DeleteOptions,
    ) -> Result<(), Status> {
        let live = self.to_requested(stored, &context.kind).await?;
        let options = Options {
            delete: options.clone(),
            ..context.call.options.clone()
        };
        let mut review = self.review_of(context, Operation::Delete, Value::Null, Some(&live));
        review.name = stored.name().into();
        review.options = &options;
        self.mutate(&mut review).await?;
        self.admit(&mut review).await?;
        let warnings = std::mem::take(&mut review.warnings);
        context.warnings.extend(warnings);
        Ok(())
    }
}

/// Tells who did not say what happens to dependents what will.
fn warn_of_propagation(context: &mut Context<'_>, options: &DeleteOptions) {
    let text = context.kind.strategy.unsaid_propagation;
    if options.propagation.is_none() && !text.is_empty() {
        context.warnings.push(text.to_owned());
    }
}

/// `DeleteOptions` of the caller, overridden by those of the body.
fn delete_options(context: &Context<'_>) -> Result<DeleteOptions, Status> {
    let mut options = context.call.options.delete.clone();
    let Body::Object { value, .. } = &context.body else {
        return Ok(options);
    };
    decode::check_options(value)?;
    check_unions(value)?;
    check_dry_run(value)?;
    if let Some(seconds) = value["gracePeriodSeconds"].as_i64() {
        options.grace_seconds = Some(seconds);
    }
    if let Some(policy) = value["propagationPolicy"].as_str() {
        options.propagation = Some(propagation(policy)?);
    } else if let Some(orphan) = value["orphanDependents"].as_bool() {
        options.propagation = Some(if orphan {
            Propagation::Orphan
        } else {
            Propagation::Background
        });
    }
    let preconditions = &value["preconditions"];
    if let Some(uid) = preconditions["uid"].as_str() {
        options.uid = Some(uid.into());
    }
    if let Some(version) = preconditions["resourceVersion"].as_str() {
        options.revision = Some(version.into());
    }
    Ok(options)
}

fn check_unions(value: &Value) -> Result<(), Status> {
    let policy = value["propagationPolicy"].as_str();
    let (Some(policy), Some(_)) = (policy, value["orphanDependents"].as_bool()) else {
        return Ok(());
    };
    let why = "orphanDependents and deletionPropagation cannot be both set";
    let error = machinery::FieldError::invalid("propagationPolicy", policy, why);
    Err(refused_options(error))
}

fn refused_options(error: machinery::FieldError) -> Status {
    Status::invalid("meta.k8s.io", "DeleteOptions", "", &[error])
}

fn check_dry_run(value: &Value) -> Result<(), Status> {
    let stages = &value["dryRun"];
    if stages.items().iter().all(|stage| stage.str() == "All") {
        return Ok(());
    }
    let error = machinery::FieldError::not_supported("dryRun", stages, &["All"]);
    Err(refused_options(error))
}

/// A propagation policy by name.
pub(crate) fn propagation(policy: &str) -> Result<Propagation, Status> {
    match policy {
        "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        "Orphan" => Ok(Propagation::Orphan),
        _ => {
            let error = machinery::FieldError::not_supported(
                "propagationPolicy",
                policy,
                &["Foreground", "Background", "Orphan", "nil"],
            );
            Err(refused_options(error))
        }
    }
}

fn check_preconditions(
    context: &Context<'_>,
    stored: &Object,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let gvk = &context.kind.gvk;
    let refuse = |what: &str, wanted: &str, found: &str| {
        let how = match what {
            "UID" => "deleted and then recreated",
            _ => "modified",
        };
        let why = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might have been {how}"
        );
        let kind = machinery::GroupResource::new(&gvk.group, &gvk.kind);
        Status::conflict(&kind, stored.name(), &why)
    };
    if let Some(uid) = options.uid.as_ref().filter(|uid| *uid != stored.uid()) {
        return Err(refuse("UID", uid, stored.uid()));
    }
    let found = machinery::format_smolstr!("{}", stored.revision());
    match &options.revision {
        Some(revision) if *revision != found => Err(refuse("ResourceVersion", revision, &found)),
        _ => Ok(()),
    }
}

/// Decides between removing now and marking for later.
fn plan(context: &Context<'_>, stored: &Object, options: &DeleteOptions) -> Outcome {
    let mut value = stored.root().to_value();
    let held = (context.kind.strategy.prepare_delete)(&mut value);
    let finalizers = finalizers(context, &value, options);
    let grace = grace(context, stored, options);
    let was = stored.metadata().get("deletionGracePeriodSeconds").as_i64();
    if finalizers.is_empty() && grace == 0 && !held {
        return Outcome::Remove;
    }
    let shortens = was.is_none_or(|was| grace < was);
    let same_finalizers = stored
        .finalizers()
        .eq(finalizers.iter().map(String::as_str));
    if stored.is_deleting() && !shortens && same_finalizers {
        return Outcome::Nothing;
    }
    let metadata = value.metadata_mut();
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers", finalizers);
    }
    if shortens {
        let due = context.now + Duration::from_secs(grace.unsigned_abs());
        metadata.insert("deletionTimestamp", format_time(due.0));
        metadata.insert("deletionGracePeriodSeconds", grace);
    }
    if !stored.is_deleting() && context.kind.strategy.generation != kinds::Generation::None {
        metadata.insert("generation", stored.generation() + 1);
    }
    Outcome::Mark(value)
}

fn grace(context: &Context<'_>, stored: &Object, options: &DeleteOptions) -> i64 {
    let Some(default) = (context.kind.strategy.default_deletion_grace)(&stored.root().to_value())
    else {
        return 0;
    };
    let asked = match options.grace_seconds.unwrap_or(default) {
        // As upstream: what makes no sense becomes the shortest grace there is.
        ..0 => 1,
        seconds => seconds,
    };
    match stored.metadata().get("deletionGracePeriodSeconds").as_i64() {
        Some(running) => asked.min(running),
        None => asked,
    }
}

/// The object's finalizers with those that the propagation policy adds or takes away.
fn finalizers(context: &Context<'_>, object: &Value, options: &DeleteOptions) -> Vec<String> {
    let there = object.at(&["metadata", "finalizers"]).items();
    let mut finalizers: Vec<String> = there.iter().map(|one| one.str().to_owned()).collect();
    let default = context.kind.strategy.default_propagation;
    let policy = match options.propagation {
        Some(policy) => policy,
        // An object already marked for orphaning or foreground deletion keeps its mark.
        None if finalizers
            .iter()
            .any(|one| one == ORPHAN || one == FOREGROUND) =>
        {
            return finalizers;
        }
        None => default,
    };
    finalizers.retain(|one| one != ORPHAN && one != FOREGROUND);
    match policy {
        Propagation::Orphan => finalizers.push(ORPHAN.into()),
        Propagation::Foreground => finalizers.push(FOREGROUND.into()),
        Propagation::Background => {}
    }
    finalizers
}

fn success(context: &Context<'_>, object: &Object) -> Value {
    let resource = &context.call.resource;
    let mut details =
        json!({"name": object.name(), "kind": &resource.resource, "uid": object.uid()});
    if !resource.group.is_empty() {
        details["group"] = (&resource.group).into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
