//! Subresources: views of an object that read, replace or patch one part of it.
//!
//! Upstream counterpart: the `StatusREST`, `ScaleREST` and sibling storages.

use crate::{
    Answer, Body, Context, Door, Live, Put, Reply, Verb, decode,
    patch::{Patch, bare, forget_repeated, refused},
};
use kinds::{ScalePaths, SubKind};
use machinery::{FieldError, LabelSelector, Object, Ref, Status, Value, json};

/// What becomes of the part that a subresource shows.
enum Change {
    Put(Put),
    Patch(Patch),
}

impl Door {
    pub(crate) async fn subresource(&self, context: Context<'_>) -> Result<Reply, Status> {
        let found = context
            .kind
            .subresource(&context.call.subresource)
            .ok_or_else(Status::no_such_path)?;
        let name = context.call.resource.group_resource();
        match (found.kind.clone(), context.call.verb) {
            (SubKind::Scale(paths), verb) => self.scale(context, &paths, verb).await,
            (SubKind::Status | SubKind::Part, Verb::Get) => self.get(context).await,
            (SubKind::Status | SubKind::Part, Verb::Update | Verb::Patch) => {
                self.rewrite_part(context).await
            }
            (SubKind::Create, Verb::Create) => self.action(context).await,
            (_, verb) => Err(Status::method_not_supported(&name, verb.name())),
        }
    }

    async fn rewrite_part(&self, mut context: Context<'_>) -> Result<Reply, Status> {
        let mut change = match context.call.verb {
            Verb::Patch => Change::Patch(Patch::take(&mut context)?),
            _ => {
                let (mut value, duplicates) = context.take_object()?;
                decode::check_addressing(&context, &mut value)?;
                decode::conform(&mut context, &mut value, &duplicates)?;
                Change::Put(Put::new(value))
            }
        };
        let object = self
            .rewrite(&mut context, |context, live| {
                let live = live.ok_or_else(|| context.missing())?;
                let new = match &mut change {
                    Change::Put(put) => put.again(context)?,
                    Change::Patch(patch) => patch.apply(context, Some(live))?,
                };
                Ok(take_part(context, live, new))
            })
            .await?;
        let kind = context.kind.clone();
        Ok(context.reply(Answer::Object(kind, object)))
    }

    async fn scale(
        &self,
        mut context: Context<'_>,
        paths: &ScalePaths,
        verb: Verb,
    ) -> Result<Reply, Status> {
        let group = context
            .kind
            .subresource("scale")
            .expect("this is the scale subresource")
            .gvk
            .clone();
        let body = std::mem::take(&mut context.body);
        let object = match verb {
            Verb::Get => {
                let reply = self.get(context).await?;
                let object = reply.object().expect("get answers an object").clone();
                let scale = scale_of(&object, paths, &group.group_version().api_version());
                return Ok(Reply {
                    answer: Answer::Value(scale),
                    ..reply
                });
            }
            Verb::Update | Verb::Patch => {
                self.rewrite(&mut context, |context, live| {
                    let live = live.ok_or_else(|| context.missing())?;
                    rescaled(context, live, paths, &body)
                })
                .await?
            }
            _ => {
                return Err(Status::method_not_supported(
                    &context.call.resource.group_resource(),
                    verb.name(),
                ));
            }
        };
        let scale = scale_of(&object, paths, &group.group_version().api_version());
        Ok(context.reply(Answer::Value(scale)))
    }
}

/// The live object with the part that the subresource owns taken from `new`.
fn take_part(context: &Context<'_>, live: &Live, mut new: Value) -> Value {
    let part = context.call.subresource.as_str();
    if part != "status" {
        let uid = new.at(&["metadata", "uid"]).clone();
        context.kind.prepare_part_update(part, &mut new, &live.tree);
        if !uid.is_null() {
            new.set_at(&["metadata", "uid"], uid);
        }
    }
    new
}

fn split(path: &str) -> Vec<&str> {
    path.trim_start_matches('.').split('.').collect()
}

/// The `Scale` of an object.
fn scale_of(object: &Object, paths: &ScalePaths, api_version: &str) -> Value {
    let path = |path: &str| object.at(path.trim_start_matches('.'));
    let selector = if paths.selector.is_empty() {
        Ref::MISSING
    } else {
        path(&paths.selector)
    };
    let mut metadata = json!({
        "name": object.name(), "uid": object.uid(), "resourceVersion": object.revision().to_string(),
        "creationTimestamp": object.at("metadata.creationTimestamp").str(),
    });
    if !object.namespace().is_empty() {
        metadata["namespace"] = object.namespace().into();
    }
    let mut scale = json!({
        "kind": "Scale", "apiVersion": api_version, "metadata": metadata,
        "spec": {}, "status": {"replicas": path(&paths.status).i64()},
    });
    if let Some(replicas) = path(&paths.spec).as_i64().filter(|count| *count != 0) {
        scale["spec"]["replicas"] = replicas.into();
    }
    let text = match selector.as_str() {
        Some(text) => text.to_owned(),
        None if selector.is_null() => String::new(),
        None if selector.get("matchLabels").is_null()
            && selector.get("matchExpressions").is_null() =>
        {
            LabelSelector::from_map(selector).to_string()
        }
        None => LabelSelector::from_ref(selector).to_string(),
    };
    if !text.is_empty() {
        scale["status"]["selector"] = text.into();
    }
    scale
}

/// The `Scale` that a body asks for where there is `current`.
fn wanted_scale(context: &mut Context<'_>, current: &Value, body: &Body) -> Result<Value, Status> {
    let (patched, duplicates) = match body {
        Body::Object { value, duplicates } => {
            let mut wanted = value.clone();
            decode::conform_part(context, &mut wanted, duplicates)?;
            return Ok(wanted);
        }
        Body::Patch {
            kind,
            value,
            duplicates,
        } => {
            let patched = match kind {
                crate::PatchKind::Json => schema::json_patch(current, value).map_err(bare)?,
                _ => schema::merge_patch(current, value)?,
            };
            (patched, duplicates)
        }
        Body::None => return Err(Status::bad_request("a body with a Scale is required")),
    };
    let mut wanted = patched;
    let shown = serde_json::to_string(&wanted).unwrap_or_default();
    let reported = context.warnings.len();
    decode::try_conform_part(context, &mut wanted, duplicates)
        .map_err(|why| refused(&shown, &why))?;
    forget_repeated(&mut context.warnings, reported);
    Ok(wanted)
}

/// The object with the replicas that a submitted or patched `Scale` asks for.
fn rescaled(
    context: &mut Context<'_>,
    live: &Live,
    paths: &ScalePaths,
    body: &Body,
) -> Result<Value, Status> {
    let gvk = context
        .kind
        .subresource("scale")
        .expect("this is the scale subresource")
        .gvk
        .clone();
    let current = scale_of(live, paths, &gvk.group_version().api_version());
    let wanted = wanted_scale(context, &current, body)?;
    let replicas = wanted.at(&["spec", "replicas"]).as_i64().unwrap_or(0);
    if replicas < 0 {
        let error = FieldError::invalid(
            "spec.replicas",
            replicas,
            "must be greater than or equal to 0",
        );
        return Err(Status::invalid(&gvk.group, "Scale", live.name(), &[error]));
    }
    let mut value = live.tree.clone();
    value.set_at(&split(&paths.spec), replicas);
    let version = wanted.at(&["metadata", "resourceVersion"]);
    if matches!(body, Body::Object { .. }) && !version.str().is_empty() {
        value.metadata_mut().insert("resourceVersion", version);
    }
    Ok(value)
}
