//! Kinds that are questions: access reviews and token reviews are answered, never stored.
//!
//! Upstream counterpart: `pkg/registry/{authorization,authentication}`.

use crate::{Answer, Context, Door, Reply};
use auth::{Attributes, Rule, User};
use machinery::{FieldError, FieldSelector, Ref, SmolStr, Status, Value, flat, json};

/// Group of the access reviews.
const GROUP: &str = "authorization.k8s.io";

impl Door {
    /// Answers a virtual kind.
    pub(crate) async fn review(
        &self,
        mut context: Context<'_>,
        mut value: Value,
    ) -> Result<Reply, Status> {
        let kind = context.kind.gvk.kind.clone();
        value["apiVersion"] = context.kind.api_version().into();
        value["kind"] = (&kind).into();
        // A binding is admitted where it is carried out, on the pod.
        if kind != "Binding" {
            value = self.admit_posted(&mut context, value).await?;
        }
        let user = context.call.user.clone();
        let status = match kind.as_str() {
            "SelfSubjectAccessReview" => {
                check_access(&kind, &value, "")?;
                self.access(&user, &value["spec"])
            }
            "SubjectAccessReview" | "LocalSubjectAccessReview" => {
                check_access(&kind, &value, &context.call.namespace)?;
                let bytes = flat::encode(&value["spec"]);
                self.access(&User::of_review(Ref::new(&bytes)), &value["spec"])
            }
            "SelfSubjectRulesReview" => {
                self.rules(&user, value.at(&["spec", "namespace"]).str())?
            }
            "SelfSubjectReview" => json!({"userInfo": user.to_value()}),
            "TokenReview" => self.token_review(&value["spec"])?,
            "Binding" => {
                let name = value.name().to_owned();
                let mut call = context.call.clone();
                call.resource.resource = "pods".into();
                call.name = name.as_str().into();
                call.subresource = "binding".into();
                call.body = crate::Body::object(value);
                return Box::pin(self.call(call)).await;
            }
            _ => {
                return Err(Status::method_not_supported(
                    &context.call.resource.group_resource(),
                    "create",
                ));
            }
        };
        value["status"] = status;
        context.created = true;
        Ok(context.reply(Answer::Value(value)))
    }

    fn access(&self, user: &User, spec: &Value) -> Value {
        let verdict = self.decide(user, &asked(spec));
        let mut status = json!({"allowed": verdict.allowed});
        if !verdict.reason.is_empty() {
            status["reason"] = verdict.reason.into();
        }
        status
    }

    fn rules(&self, user: &User, namespace: &str) -> Result<Value, Status> {
        if namespace.is_empty() {
            return Err(Status::bad_request("no namespace on request"));
        }
        let rules = self.rbac().rules_for(user, namespace);
        let list = |texts: &[SmolStr]| Value::from(texts.to_vec());
        let resource = |rule: &Rule| {
            let mut shown = json!({"verbs": list(&rule.verbs), "apiGroups": list(&rule.groups), "resources": list(&rule.resources)});
            if !rule.names.is_empty() {
                shown["resourceNames"] = list(&rule.names);
            }
            shown
        };
        let path =
            |rule: &Rule| json!({"verbs": list(&rule.verbs), "nonResourceURLs": list(&rule.urls)});
        let mut status = json!({
            "incomplete": false,
            "resourceRules": rules.iter().filter(|rule| !rule.resources.is_empty()).map(resource).collect::<Vec<_>>(),
            "nonResourceRules": rules.iter().filter(|rule| !rule.urls.is_empty()).map(path).collect::<Vec<_>>(),
        });
        if user.as_node().is_some() {
            // What a node may do follows from its pods and is no list of rules.
            status["incomplete"] = true.into();
            status["evaluationError"] =
                "node authorizer does not support user rule resolution".into();
        }
        Ok(status)
    }

    fn token_review(&self, spec: &Value) -> Result<Value, Status> {
        let token = spec["token"].str();
        if token.is_empty() {
            let why = "token is required for TokenReview in authentication";
            return Err(Status::bad_request(why));
        }
        let mut wanted: Vec<String> = spec["audiences"]
            .items()
            .iter()
            .map(|one| one.str().to_owned())
            .collect();
        if wanted.is_empty() {
            wanted.push(self.tokens().issuer().to_owned());
        }
        Ok(match self.authenticate_for(token, &wanted) {
            Ok(found) => {
                json!({"authenticated": true, "user": found.user.to_value(), "audiences": found.audiences})
            }
            Err(why) => json!({"user": {}, "error": format!("[invalid bearer token, {why}]")}),
        })
    }
}

/// What an access review asks.
fn asked(spec: &Value) -> Attributes {
    let text = |value: &Value, key: &str| value[key].str().into();
    if let Some(path) = spec
        .get("nonResourceAttributes")
        .filter(|path| !path.is_null())
    {
        return Attributes {
            verb: text(path, "verb"),
            path: text(path, "path"),
            ..Attributes::default()
        };
    }
    let asked = &spec["resourceAttributes"];
    Attributes {
        verb: text(asked, "verb"),
        group: text(asked, "group"),
        version: text(asked, "version"),
        resource: text(asked, "resource"),
        subresource: text(asked, "subresource"),
        namespace: text(asked, "namespace"),
        name: text(asked, "name"),
        path: SmolStr::default(),
        fields: equalities(&asked["fieldSelector"]),
    }
}

/// The fields that a selector of a review requires to equal one value. What cannot be parsed
/// narrows nothing down, as upstream has it.
fn equalities(selector: &Value) -> Vec<(SmolStr, SmolStr)> {
    let raw = FieldSelector::parse(selector["rawSelector"].str()).unwrap_or_default();
    let raw = raw.terms.into_iter().filter(|term| term.equal);
    let listed = selector["requirements"].items().iter().filter_map(|one| {
        let [value] = one["values"].items() else {
            return None;
        };
        (one["operator"].str() == "In").then(|| (one["key"].str().into(), value.str().into()))
    });
    raw.map(|term| (term.field, term.value))
        .chain(listed)
        .collect()
}

fn check_access(kind: &str, value: &Value, namespace: &str) -> Result<(), Status> {
    let spec = &value["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    // As upstream prints it: by the names that its type has inside.
    let shown = json!({"Path": path["path"].str(), "Verb": path["verb"].str()});
    let mut errors = Vec::new();
    let mut invalid = |field: &str, value: &Value, why: &str| {
        errors.push(FieldError::invalid(field, value, why));
    };
    if !resource.is_null() && !path.is_null() {
        let why = "cannot be specified in combination with resourceAttributes";
        invalid("spec.nonResourceAttributes", &shown, why);
    }
    if resource.is_null() && path.is_null() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        invalid("spec.resourceAttributes", resource, why);
    }
    let own = kind.starts_with("Self");
    if !own && spec["user"].str().is_empty() && spec["groups"].items().is_empty() {
        let why = "at least one of user or group must be specified";
        invalid("spec.user", &"".into(), why);
    }
    if kind.starts_with("Local") && !path.is_null() {
        let why = "disallowed on this kind of request";
        invalid("spec.nonResourceAttributes", &shown, why);
    }
    let place = &resource["namespace"];
    if kind.starts_with("Local") && !resource.is_null() && place.str() != namespace {
        let why = "must match metadata.namespace";
        invalid(
            "spec.resourceAttributes.namespace",
            &place.str().into(),
            why,
        );
    }
    check_selector(&mut errors, "fieldSelector", &resource["fieldSelector"]);
    check_selector(&mut errors, "labelSelector", &resource["labelSelector"]);
    if !errors.is_empty() {
        // Upstream leaves the kind out.
        return Err(Status::invalid(GROUP, "", "", &errors));
    }
    Ok(())
}

fn check_selector(errors: &mut Vec<FieldError>, name: &str, selector: &Value) {
    if selector.is_null() {
        return;
    }
    let path = format!("spec.resourceAttributes.{name}");
    let (raw, listed) = (&selector["rawSelector"], selector["requirements"].items());
    if !raw.str().is_empty() && !listed.is_empty() {
        let why = "may not specified at the same time as requirements";
        errors.push(FieldError::invalid(format!("{path}.rawSelector"), raw, why));
    }
    if raw.str().is_empty() && listed.is_empty() {
        let why = format!("when {name} is specified, requirements or rawSelector is required");
        errors.push(FieldError::required(format!("{path}.requirements"), why));
    }
    for (at, one) in listed.iter().enumerate() {
        let path = format!("{path}.requirements[{at}]");
        let none = one["values"].items().is_empty();
        if one["key"].str().is_empty() {
            errors.push(FieldError::required(
                format!("{path}.key"),
                "must be specified",
            ));
        }
        match one["operator"].str() {
            "In" | "NotIn" if none => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(format!("{path}.values"), why));
            }
            "Exists" | "DoesNotExist" if !none => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(format!("{path}.values"), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(FieldError::invalid(
                format!("{path}.operator"),
                other,
                "not a valid selector operator",
            )),
        }
    }
}
