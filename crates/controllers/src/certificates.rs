//! Certificate requests: those of nodes are approved, approved ones are signed, old ones go.
//!
//! Decides; the keys are [`Trust`]'s. Upstream counterpart:
//! `pkg/controller/certificates/{approver,signer,cleaner}`, `pkg/apis/certificates/helpers.go`.

use crate::{
    Asked, Trust,
    common::{condition, created, delete, target, text, time, write_status},
    names::CERTIFICATE_REQUESTS,
};
use env::Time;
use machinery::{Object, Ref, Value, json};
use reconcile::{Action, Controller, Plan, Target, View, Watch, itself};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

const HOUR: Duration = Duration::from_secs(3600);
/// Requests that came to an end are kept this long afterwards.
const DONE_KEPT: Duration = HOUR;
/// Requests nobody finished are kept this long.
const PENDING_KEPT: Duration = Duration::from_secs(24 * HOUR.as_secs());

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const LEGACY: &str = "kubernetes.io/legacy-unknown";

const NODES_GROUP: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

/// Who may have a node's request approved: by which right, and what the approval says.
const APPROVALS: [(&str, &str); 2] = [
    (
        "selfnodeclient",
        "Auto approving self kubelet client certificate after SubjectAccessReview.",
    ),
    (
        "nodeclient",
        "Auto approving kubelet client certificate after SubjectAccessReview.",
    ),
];

fn watches() -> Vec<Watch> {
    vec![Watch {
        resource: CERTIFICATE_REQUESTS,
        wakes: itself,
    }]
}

fn request<'a>(view: &'a View, key: &Target) -> Option<&'a Arc<Object>> {
    view.get(CERTIFICATE_REQUESTS, "", &key.name)
}

fn has(request: &Object, kind: &str) -> bool {
    !condition(request, kind).is_null()
}

fn is_issued(request: &Object) -> bool {
    !request.at("status.certificate").str().is_empty()
}

/// The status with one more condition that is true.
fn with_condition(
    request: &Object,
    (kind, reason, message): (&str, &str, &str),
    now: Time,
) -> Value {
    let mut status = request.at("status").to_value();
    crate::common::conditions_mut(&mut status).push(json!({
        "type": kind, "status": "True", "reason": reason, "message": message,
        "lastUpdateTime": text(now), "lastTransitionTime": text(now),
    }));
    status
}

/// Approves the client certificates of nodes.
pub struct Approver {
    /// Reads requests, and knows who may ask.
    pub trust: Arc<dyn Trust>,
}

impl Controller for Approver {
    fn name(&self) -> &'static str {
        "csrapproving"
    }

    fn watches(&self) -> Vec<Watch> {
        watches()
    }

    fn reconcile(&self, view: &View, key: &Target, now: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(request) = request(view, key) else {
            return plan;
        };
        if is_issued(request) || has(request, "Approved") || has(request, "Denied") {
            return plan;
        }
        let spec = request.at("spec").to_value();
        // What cannot be read is nobody's to approve without a look.
        let Ok(asked) = self.trust.read(spec["request"].str()) else {
            return plan;
        };
        let of_node = spec["signerName"].str() == KUBELET_CLIENT
            && check_kubelet_client(&asked, &usages(&spec)).is_ok();
        if !of_node {
            return plan;
        }
        let own = spec["username"].str() == asked.common_name;
        let tried = APPROVALS.iter().skip(usize::from(!own));
        let mut tried_in_vain = Vec::new();
        for (subresource, message) in tried {
            if self.trust.may_create(&spec, subresource) {
                let approved = ("Approved", "AutoApproved", *message);
                let mut object = request.to_value();
                object["status"] = with_condition(request, approved, now);
                plan.push(Action::Update {
                    target: target(CERTIFICATE_REQUESTS, request),
                    subresource: "approval",
                    object,
                });
                return plan;
            }
            tried_in_vain.push(*subresource);
        }
        // The right may be granted later; the request itself does not change by that.
        plan.failed = Some(format!(
            "recognized csr {:?} as [{}] but subject access review was not approved",
            request.name(),
            tried_in_vain.join(" ")
        ));
        plan
    }
}

/// Signs what was approved for the signers of Kubernetes itself.
pub struct Signer {
    /// Signs.
    pub trust: Arc<dyn Trust>,
}

impl Controller for Signer {
    fn name(&self) -> &'static str {
        "csrsigning"
    }

    fn watches(&self) -> Vec<Watch> {
        watches()
    }

    fn reconcile(&self, view: &View, key: &Target, now: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(request) = request(view, key) else {
            return plan;
        };
        let wanted = has(request, "Approved") && !has(request, "Denied");
        let failed = condition(request, "Failed").get("status").str() == "True";
        if !wanted || failed || is_issued(request) {
            return plan;
        }
        let spec = request.at("spec").to_value();
        let signer = spec["signerName"].str();
        if ![CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY].contains(&signer) {
            return plan;
        }
        let asked = match self.trust.read(spec["request"].str()) {
            Ok(asked) => asked,
            Err(why) => {
                plan.failed = Some(format!("unable to parse csr {:?}: {why}", request.name()));
                return plan;
            }
        };
        let status = match check(signer, &asked, &usages(&spec)) {
            Err(why) => with_condition(request, ("Failed", "SignerValidationFailure", &why), now),
            Ok(()) => match self.trust.issue(&spec, now) {
                Ok(certificate) => {
                    let mut status = request.at("status").to_value();
                    status["certificate"] = certificate.into();
                    status
                }
                Err(why) => {
                    plan.failed = Some(format!("error auto signing csr: {why}"));
                    return plan;
                }
            },
        };
        plan.actions
            .extend(write_status(CERTIFICATE_REQUESTS, request, status));
        plan
    }
}

type Usages = BTreeSet<String>;

fn usages(spec: &Value) -> Usages {
    let all = spec["usages"].items().iter();
    all.map(|one| one.str().to_owned()).collect()
}

/// Whether a signer of Kubernetes signs such a request.
fn check(signer: &str, asked: &Asked, usages: &Usages) -> Result<(), String> {
    match signer {
        CLIENT => check_client(usages),
        KUBELET_CLIENT => check_kubelet_client(asked, usages),
        KUBELET_SERVING => check_kubelet_serving(asked, usages),
        _ => Ok(()),
    }
}

fn check_client(usages: &Usages) -> Result<(), String> {
    const ALLOWED: [&str; 3] = ["digital signature", "key encipherment", "client auth"];
    let strange = usages.iter().find(|one| !ALLOWED.contains(&one.as_str()));
    if let Some(usage) = strange {
        return Err(format!("invalid usage for client certificate: {usage}"));
    }
    match usages.contains("client auth") {
        true => Ok(()),
        false => Err("missing required usage for client certificate: client auth".into()),
    }
}

/// Refuses with the first sentence whose condition holds.
fn first(rules: &[(bool, &str)]) -> Result<(), String> {
    match rules.iter().find(|(broken, _)| *broken) {
        Some((_, why)) => Err((*why).into()),
        None => Ok(()),
    }
}

fn check_kubelet_client(asked: &Asked, usages: &Usages) -> Result<(), String> {
    first(&[
        not_of_nodes(asked),
        (asked.dns_names > 0, "DNS subjectAltNames are not allowed"),
        (asked.mails > 0, "Email subjectAltNames are not allowed"),
        (asked.addresses > 0, "IP subjectAltNames are not allowed"),
        (asked.uris > 0, "URI subjectAltNames are not allowed"),
        not_a_node(asked),
    ])?;
    check_usages(usages, "client auth")
}

fn check_kubelet_serving(asked: &Asked, usages: &Usages) -> Result<(), String> {
    let named = asked.dns_names + asked.addresses > 0;
    first(&[
        not_of_nodes(asked),
        (!named, "DNS or IP subjectAltName is required"),
        (asked.mails > 0, "Email subjectAltNames are not allowed"),
        (asked.uris > 0, "URI subjectAltNames are not allowed"),
    ])?;
    check_usages(usages, "server auth")?;
    first(&[not_a_node(asked)])
}

fn not_of_nodes(asked: &Asked) -> (bool, &'static str) {
    let broken = asked.organizations != [NODES_GROUP];
    (broken, "subject organization is not system:nodes")
}

fn not_a_node(asked: &Asked) -> (bool, &'static str) {
    let broken = !asked.common_name.starts_with(NODE_PREFIX);
    (
        broken,
        "subject common name does not begin with system:node:",
    )
}

/// Exactly this purpose; `key encipherment` is for RSA keys only and may be left out.
fn check_usages(usages: &Usages, purpose: &str) -> Result<(), String> {
    let mut wanted = vec!["digital signature", "key encipherment", purpose];
    wanted.sort_unstable();
    let given: Vec<&str> = usages.iter().map(String::as_str).collect();
    let shorter: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|one| *one != "key encipherment")
        .collect();
    match given == wanted || given == shorter {
        true => Ok(()),
        false => Err(format!("usages did not match [{}]", wanted.join(" "))),
    }
}

/// Removes requests that are done with.
pub struct Cleaner {
    /// Reads certificates.
    pub trust: Arc<dyn Trust>,
}

impl Controller for Cleaner {
    fn name(&self) -> &'static str {
        "csrcleaner"
    }

    fn watches(&self) -> Vec<Watch> {
        watches()
    }

    fn reconcile(&self, view: &View, key: &Target, now: Time) -> Plan {
        let mut plan = Plan::nothing();
        let Some(request) = request(view, key) else {
            return plan;
        };
        let certificate = request.at("status.certificate").str();
        let expired = match has(request, "Approved") {
            true => self.trust.end(certificate),
            false => None,
        };
        let Some(due) = deadlines(request).chain(expired).min() else {
            return plan;
        };
        if due < now {
            plan.push(delete(CERTIFICATE_REQUESTS, request));
        } else {
            plan.look_again(due + Duration::from_secs(1));
        }
        plan
    }
}

/// When a request is too old for what became of it.
fn deadlines(request: &Object) -> impl Iterator<Item = Time> {
    let issued = is_issued(request);
    let conditions = request.at("status.conditions");
    let forgotten = conditions
        .items()
        .next()
        .is_none()
        .then(|| created(request) + PENDING_KEPT);
    let deadline = move |one: Ref<'_>| {
        let kept = match one.get("type").str() {
            "Approved" if !issued => PENDING_KEPT,
            "Approved" | "Denied" | "Failed" => DONE_KEPT,
            _ => return None,
        };
        Some(time(one.get("lastUpdateTime"))? + kept)
    };
    conditions.items().filter_map(deadline).chain(forgotten)
}

#[cfg(test)]
mod tests;
