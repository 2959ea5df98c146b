//! Actions the API defines on objects: bind a pod, evict it.
//!
//! Upstream counterpart: `pkg/registry/core/{pod,serviceaccount}/storage`.

use crate::{Answer, Body, Call, Context, Door, Live, Reply, Verb, decode, delete::Reviewed};
use machinery::{GroupResource, LabelSelector, Object, Reason, Status, Value, format_time, json};
use store::Key;

impl Door {
    pub(crate) async fn action(&self, mut context: Context<'_>) -> Result<Reply, Status> {
        let (mut value, duplicates) = context.take_object()?;
        decode::conform_part(&mut context, &mut value, &duplicates)?;
        complete(&context, &mut value);
        let value = self.admit_posted(&mut context, value).await?;
        match context.call.subresource.as_str() {
            "binding" => self.bind(context, value).await,
            "eviction" => self.evict(context, value).await,
            "token" => self.token(context, value).await,
            _ => Err(Status::no_such_path()),
        }
    }

    /// Assigns a pod to a node.
    pub(crate) async fn bind(
        &self,
        mut context: Context<'_>,
        binding: Value,
    ) -> Result<Reply, Status> {
        let node = binding.at(&["target", "name"]).str();
        if node.is_empty() {
            let error = machinery::FieldError::required("target.name", "");
            return Err(Status::invalid("", "Binding", &context.call.name, &[error]));
        }
        let now = format_time(context.now.0);
        self.rewrite(&mut context, |context, live| {
            let live = live.ok_or_else(|| context.missing())?;
            check_bindable(context, live, &binding, node)?;
            let mut value = live.shown();
            value.set_at(&["spec", "nodeName"], node);
            for field in ["annotations", "labels"] {
                for (key, text) in binding.at(&["metadata", field]).entries() {
                    value.set_at(&["metadata", field, key], text);
                }
            }
            set_condition(&mut value, json!({"type": "PodScheduled"}), &now);
            Ok(value)
        })
        .await?;
        context.created = true;
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(context.reply(Answer::Value(status)))
    }

    async fn evict(&self, mut context: Context<'_>, eviction: Value) -> Result<Reply, Status> {
        let named = eviction.name();
        if !named.is_empty() && named != context.call.name {
            return Err(Status::bad_request(
                "name in URL does not match name in Eviction object",
            ));
        }
        let key = Key::new(&context.call.namespace, &context.call.name);
        let pod = self
            .inner()
            .store
            .head(&context.kind.storage, &key)
            .ok_or_else(|| context.missing())?;
        let running = matches!(pod.at("status.phase").str(), "" | "Pending" | "Running");
        if running && !pod.is_deleting() && !pod.at("spec.nodeName").is_null() {
            self.spend_disruption(&context, &pod).await?;
        }
        let mut options = match eviction.get("deleteOptions") {
            Some(options) => options.clone(),
            None => Value::object(),
        };
        self.mark_disrupted(&mut context, &mut options).await?;
        let mut call = Call::new(
            context.call.user.clone(),
            Verb::Delete,
            context.call.resource.clone(),
            &key.namespace,
            &key.name,
        );
        call.options.dry_run = context.call.options.dry_run;
        let body = Body::object(options);
        let inner = Context::new(&call, body, context.kind.clone(), context.now);
        let reply = Box::pin(self.delete_with(inner, Reviewed::No)).await?;
        context.revision = reply.revision;
        context.created = true;
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(context.reply(Answer::Value(status)))
    }

    /// Says on the pod why it goes. A `resourceVersion` that the deletion is to find becomes the
    /// one this leaves.
    async fn mark_disrupted(
        &self,
        context: &mut Context<'_>,
        options: &mut Value,
    ) -> Result<(), Status> {
        if context.call.options.dry_run {
            return Ok(());
        }
        let now = format_time(context.now.0);
        let condition = json!({
            "type": "DisruptionTarget",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        });
        let wanted = options.at(&["preconditions"]).clone();
        let marked = self
            .rewrite(context, |context, live| {
                let live = live.ok_or_else(|| context.missing())?;
                let mut value = live.shown();
                for field in ["uid", "resourceVersion"] {
                    let text = wanted[field].str();
                    if !text.is_empty() {
                        value.set_at(&["metadata", field], text);
                    }
                }
                set_condition(&mut value, condition.clone(), &now);
                Ok(value)
            })
            .await?;
        if !wanted["resourceVersion"].str().is_empty() {
            let revision = marked.revision().to_string();
            options.set_at(&["preconditions", "resourceVersion"], revision);
        }
        Ok(())
    }

    /// Takes one allowed disruption from the budget that covers the pod, or refuses.
    async fn spend_disruption(&self, context: &Context<'_>, pod: &Object) -> Result<(), Status> {
        const BUDGETS: &str = "poddisruptionbudgets.policy";
        let snapshot = self.snapshot();
        let covering: Vec<_> = snapshot
            .list(BUDGETS, Some(pod.namespace()))
            .filter(|budget| {
                LabelSelector::from_ref(budget.at("spec.selector")).matches_object(pod)
            })
            .collect();
        let budget = match covering.as_slice() {
            [] => return Ok(()),
            [budget] => *budget,
            _ => {
                return Err(Status::internal(
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                ));
            }
        };
        if pod.at("status.phase").str() == "Pending" {
            return Ok(());
        }
        let call = self
            .component_call(
                &context.call.user,
                Verb::Update,
                BUDGETS,
                pod.namespace(),
                budget.name(),
            )?
            .on("status");
        let catalogue = self.catalogue();
        let kind = catalogue.by_storage(BUDGETS).cloned();
        let kind = kind.ok_or_else(Status::no_such_path)?;
        let mut inner = Context::new(&call, Body::None, kind, context.now);
        let now = format_time(context.now.0);
        let dry_run = context.call.options.dry_run;
        let spend = |_: &mut Context<'_>, live: Option<&Live>| {
            let live = live.ok_or_else(|| {
                Status::not_found(
                    &GroupResource::new("policy", "poddisruptionbudgets"),
                    budget.name(),
                )
            })?;
            let allowed = live.at("status.disruptionsAllowed").i64();
            if allowed <= 0 {
                return Err(over_budget(live));
            }
            let mut value = live.shown();
            if !dry_run {
                value.set_at(&["status", "disruptionsAllowed"], allowed - 1);
                value.set_at(&["status", "disruptedPods", pod.name()], now.as_str());
            }
            Ok(value)
        };
        self.rewrite(&mut inner, spend).await.map(drop)
    }
}

/// Fills in what the path says already: type, name and namespace of the body.
fn complete(context: &Context<'_>, value: &mut Value) {
    let subresource = context.kind.subresource(&context.call.subresource);
    let gvk = subresource.map_or(&context.kind.gvk, |one| &one.gvk);
    for (field, text) in [
        ("apiVersion", gvk.group_version().api_version()),
        ("kind", gvk.kind.clone()),
    ] {
        if value[field].is_null() {
            value[field] = text.into();
        }
    }
    let metadata = value.metadata_mut();
    for (field, text) in [
        ("name", &context.call.name),
        ("namespace", &context.call.namespace),
    ] {
        if metadata
            .get(field)
            .is_none_or(|known| known.str().is_empty())
        {
            metadata.insert(field, text);
        }
    }
}

fn check_bindable(
    context: &Context<'_>,
    live: &Object,
    binding: &Value,
    node: &str,
) -> Result<(), Status> {
    let refuse = |why: String| {
        Err(Status::conflict(
            &GroupResource::new("", "pods/binding"),
            live.name(),
            &why,
        ))
    };
    let uid = binding.at(&["metadata", "uid"]).str();
    if !uid.is_empty() && uid != live.uid() {
        return refuse(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            live.uid()
        ));
    }
    if live.is_deleting() {
        return refuse(format!(
            "pod {} is being deleted, cannot be assigned to a host",
            live.name()
        ));
    }
    let assigned = live.at("spec.nodeName").str();
    if !assigned.is_empty() {
        return refuse(format!(
            "pod {} is already assigned to node {assigned:?}",
            live.name()
        ));
    }
    if live.at("spec.schedulingGates").items().next().is_some() {
        return refuse(format!(
            "pod {} has non-empty .spec.schedulingGates",
            live.name()
        ));
    }
    debug_assert!(!node.is_empty() && !context.call.name.is_empty());
    Ok(())
}

/// Sets a pod's condition (its type, and what else it says) to true, since `now` unless it was
/// before.
fn set_condition(value: &mut Value, mut condition: Value, now: &str) {
    let mut conditions = value.at(&["status", "conditions"]).items().to_vec();
    let known = conditions
        .iter()
        .position(|one| one["type"] == condition["type"]);
    let since = known
        .map(|at| &conditions[at])
        .filter(|one| one["status"].str() == "True")
        .map_or(now, |one| one["lastTransitionTime"].str());
    condition["lastTransitionTime"] = since.into();
    condition["lastProbeTime"] = Value::Null;
    condition["status"] = "True".into();
    match known {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    value.set_at(&["status", "conditions"], conditions);
}

/// The refusal that `kubectl drain` waits on.
fn over_budget(budget: &Object) -> Status {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let healthy = budget.at("status.currentHealthy").i64();
    let needed = budget.at("status.desiredHealthy").i64();
    let why = format!(
        "The disruption budget {} needs {needed} healthy pods and has {healthy} currently",
        budget.name()
    );
    Status::new(Reason::TooManyRequests, message).cause("DisruptionBudget", why, "")
}
