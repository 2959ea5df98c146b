//! Actions the API defines on objects: bind a pod, evict it, make a token.
//!
//! Upstream counterpart: `pkg/registry/core/{pod,serviceaccount}/storage`.

use crate::{Answer, Body, Call, Context, Door, Reply, Verb};
use auth::{Bound, TokenRequest};
use machinery::{GroupResource, LabelSelector, Object, Reason, Status, Value, format_time, json};
use std::{sync::Arc, time::Duration};
use store::Key;

/// Shortest lifetime of a requested token.
const TOKEN_SECONDS_MIN: i64 = 600;
/// Longest lifetime of a requested token.
const TOKEN_SECONDS_MAX: i64 = 1 << 32;
/// Lifetime where the request names none.
const TOKEN_SECONDS: i64 = 3600;

impl Door {
    pub(crate) async fn action(&self, context: Context<'_>) -> Result<Reply, Status> {
        let Body::Object { value, .. } = context.call.body.clone() else {
            return Err(Status::bad_request("a body with an object is required"));
        };
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
            let mut value = live.to_value();
            value.set_at(&["spec", "nodeName"], node);
            for field in ["annotations", "labels"] {
                for (key, text) in binding.at(&["metadata", field]).entries() {
                    value.set_at(&["metadata", field, key], text);
                }
            }
            set_scheduled(&mut value, &now);
            Ok(value)
        })
        .await?;
        context.created = true;
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(context.reply(Answer::Value(status)))
    }

    async fn evict(&self, mut context: Context<'_>, eviction: Value) -> Result<Reply, Status> {
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
        let mut call = Call::new(
            context.call.user.clone(),
            Verb::Delete,
            context.call.resource.clone(),
            &key.namespace,
            &key.name,
        );
        call.options.dry_run = context.call.options.dry_run;
        call.body = Body::object(match eviction.get("deleteOptions") {
            Some(options) => options.clone(),
            None => Value::object(),
        });
        let inner = Context {
            call: &call,
            kind: context.kind.clone(),
            now: context.now,
            warnings: Vec::new(),
            revision: 0,
            created: false,
        };
        let reply = Box::pin(self.delete(inner)).await?;
        context.revision = reply.revision;
        context.created = true;
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(context.reply(Answer::Value(status)))
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
        let mut inner = Context {
            kind: self
                .catalogue()
                .by_storage(BUDGETS)
                .cloned()
                .ok_or_else(Status::no_such_path)?,
            call: &call,
            now: context.now,
            warnings: Vec::new(),
            revision: 0,
            created: false,
        };
        let now = format_time(context.now.0);
        let dry_run = context.call.options.dry_run;
        let spend = |_: &mut Context<'_>, live: Option<&Arc<Object>>| {
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
            let mut value = live.to_value();
            if !dry_run {
                value.set_at(&["status", "disruptionsAllowed"], allowed - 1);
                value.set_at(&["status", "disruptedPods", pod.name()], now.as_str());
            }
            Ok(value)
        };
        self.rewrite(&mut inner, spend).await.map(drop)
    }

    /// Makes a token for a service account.
    async fn token(&self, mut context: Context<'_>, mut request: Value) -> Result<Reply, Status> {
        let key = Key::new(&context.call.namespace, &context.call.name);
        let snapshot = self.snapshot();
        let account = snapshot
            .get(&context.kind.storage, &key)
            .ok_or_else(|| context.missing())?;
        let spec = &request["spec"];
        let seconds = spec["expirationSeconds"].as_i64().unwrap_or(TOKEN_SECONDS);
        if !(TOKEN_SECONDS_MIN..=TOKEN_SECONDS_MAX).contains(&seconds) {
            let detail = if seconds < TOKEN_SECONDS_MIN {
                "may not specify a duration less than 10 minutes"
            } else {
                "may not specify a duration larger than 2^32 seconds"
            };
            let error = machinery::FieldError::invalid("spec.expirationSeconds", seconds, detail);
            return Err(Status::invalid(
                "authentication.k8s.io",
                "TokenRequest",
                "",
                &[error],
            ));
        }
        let bound = self.bound_object(&key.namespace, &spec["boundObjectRef"])?;
        let audiences: Vec<String> = spec["audiences"]
            .items()
            .iter()
            .map(|one| one.str().to_owned())
            .collect();
        let lifetime = Duration::from_secs(seconds.unsigned_abs());
        let signed = self.tokens().sign(
            &TokenRequest {
                namespace: &key.namespace,
                name: &key.name,
                uid: account.uid(),
                bound: &bound,
                audiences: &audiences,
                lifetime,
            },
            &self.world().uuid(),
            context.now,
        );
        if audiences.is_empty() {
            request["spec"]["audiences"] = vec![self.tokens().issuer()].into();
        }
        request["spec"]["expirationSeconds"] = seconds.into();
        request["status"] = json!({"token": signed, "expirationTimestamp": format_time((context.now + lifetime).0)});
        request["metadata"] = json!({"name": &context.call.name, "namespace": &context.call.namespace, "creationTimestamp": format_time(context.now.0)});
        context.created = true;
        Ok(context.reply(Answer::Value(request)))
    }

    fn bound_object(&self, namespace: &str, reference: &Value) -> Result<Bound, Status> {
        let kind = reference["kind"].str();
        let (resource, own) = match kind {
            "" => return Ok(Bound::default()),
            "Pod" => ("pods", namespace),
            "Secret" => ("secrets", namespace),
            "Node" => ("nodes", ""),
            _ => return Err(Status::bad_request(format!("cannot bind token for {kind}"))),
        };
        let name = reference["name"].str();
        let missing = || Status::not_found(&GroupResource::new("", resource), name);
        let object = self
            .snapshot()
            .get(resource, &Key::new(own, name))
            .cloned()
            .ok_or_else(missing)?;
        let uid = reference["uid"].str();
        if !uid.is_empty() && uid != object.uid() {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            return Err(Status::conflict(
                &GroupResource::new("", resource),
                name,
                &why,
            ));
        }
        Ok(Bound {
            kind: kind.into(),
            name: name.into(),
            uid: object.uid().into(),
        })
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

fn set_scheduled(value: &mut Value, now: &str) {
    let mut conditions = value.at(&["status", "conditions"]).items().to_vec();
    conditions.retain(|condition| condition["type"].str() != "PodScheduled");
    conditions.push(json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now}));
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
