//! `NodeRestriction`: a node's agent writes about its own node and its own pods only.
//!
//! The node authorizer decides what it may touch at all; this plug-in sees the content. Upstream
//! counterpart: `plugin/pkg/admission/noderestriction`.

use crate::{common::forbid, csr};
use auth::Attributes;
use kinds::{CERTIFICATE_SIGNING_REQUESTS, LEASES, NODES, PODS, SERVICE_ACCOUNTS};
use machinery::{Object, Status, Value};
use registry::{Admission, Handles, Key, Operation, Review};
use std::{collections::BTreeSet, sync::Arc};

const CLAIMS: &str = "persistentvolumeclaims";
const CSI_NODES: &str = "csinodes.storage.k8s.io";
const SLICES: &str = "resourceslices.resource.k8s.io";
const LEASE_NAMESPACE: &str = "kube-node-lease";
const MIRROR: &str = "kubernetes.io/config.mirror";
const RESTRICTED_LABELS: &str = "node-restriction.kubernetes.io";
/// Signers of nodes' certificates.
const NODE_SIGNERS: [&str; 2] = [
    "kubernetes.io/kubelet-serving",
    "kubernetes.io/kube-apiserver-client-kubelet",
];
/// Labels of Kubernetes' own domains that an agent may set.
const OWN_LABELS: [&str; 12] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];
/// Domains whose labels an agent may all set.
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// The plug-in.
pub struct NodeRestriction;

impl Admission for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self) -> Handles {
        Handles::NOTHING.admits(&[Operation::Create, Operation::Update, Operation::Delete])
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let Some(node) = review.user.as_node() else {
            return Ok(());
        };
        if node.is_empty() {
            let why = format!("could not determine node from user {:?}", review.user.name);
            return Err(forbid(review, &why));
        }
        let guard = Guard { review, node };
        guard.check()
    }
}

struct Guard<'a, 'r> {
    review: &'a Review<'r>,
    node: &'a str,
}

type Outcome = Result<(), Status>;

impl Guard<'_, '_> {
    fn check(&self) -> Outcome {
        match (self.review.kind.storage.as_str(), self.review.subresource) {
            (PODS, "") => self.pod(),
            (PODS, "status") => self.pod_status(),
            (PODS, "eviction") => self.eviction(),
            (PODS, other) => self.refuse(&format!(
                "unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"
            )),
            (NODES, _) => self.own_node(),
            (CLAIMS, "status") => self.claim_status(),
            (CLAIMS, _) => self.refuse("may only update PVC status"),
            (SERVICE_ACCOUNTS, "token") => self.token(),
            (LEASES, _) => self.lease(),
            (CSI_NODES, _) => self
                .named_alike("can only access CSINode with the same name as the requesting node"),
            (SLICES, "") => self.slice(),
            (CERTIFICATE_SIGNING_REQUESTS, "") => self.certificate(),
            _ => Ok(()),
        }
    }

    fn refuse(&self, why: &str) -> Outcome {
        Err(forbid(self.review, why))
    }

    fn require(&self, holds: bool, why: &str) -> Outcome {
        if holds { Ok(()) } else { self.refuse(why) }
    }

    fn is(&self, operation: Operation) -> bool {
        self.review.operation == operation
    }

    fn unexpected(&self) -> Outcome {
        self.refuse(&format!(
            "unexpected operation {:?}",
            self.review.operation.name()
        ))
    }

    fn old(&self) -> Value {
        self.review
            .old
            .map(|old| old.to_value())
            .unwrap_or_default()
    }

    fn find(&self, resource: &str, namespace: &str, name: &str) -> Result<Arc<Object>, Status> {
        let found = self
            .review
            .door
            .snapshot()
            .get(resource, &Key::new(namespace, name))
            .cloned();
        found.ok_or_else(|| Status::not_found(&machinery::GroupResource::new("", resource), name))
    }

    fn pod(&self) -> Outcome {
        let node = self.node;
        match self.review.operation {
            Operation::Create => self.mirror(),
            Operation::Delete => self.require(
                self.runs_here(self.review.old),
                &format!("node {node:?} can only delete pods with spec.nodeName set to itself"),
            ),
            other => self.refuse(&format!(
                "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
                other.name()
            )),
        }
    }

    fn runs_here(&self, pod: Option<&Arc<Object>>) -> bool {
        pod.is_some_and(|pod| pod.at("spec.nodeName").str() == self.node)
    }

    fn mirror(&self) -> Outcome {
        let (node, pod) = (self.node, &self.review.object);
        let annotations = pod.at(&["metadata", "annotations"]);
        self.require(
            annotations.get(MIRROR).is_some(),
            &format!(
                "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
            ),
        )?;
        self.require(
            pod["spec"]["nodeName"].str() == node,
            &format!("node {node:?} can only create pods with spec.nodeName set to itself"),
        )?;
        let [owner] = pod.at(&["metadata", "ownerReferences"]).items() else {
            let several = pod.at(&["metadata", "ownerReferences"]).items().len() > 1;
            let what = if several {
                "a single owner"
            } else {
                "an owner"
            };
            return self.refuse(&format!(
                "node {node:?} can only create pods with {what} reference set to itself"
            ));
        };
        let own = owner["apiVersion"].str() == "v1"
            && owner["kind"].str() == "Node"
            && owner["name"].str() == node;
        self.require(
            own,
            &format!("node {node:?} can only create pods with an owner reference set to itself"),
        )?;
        self.require(
            owner["controller"].as_bool() == Some(true),
            &format!(
                "node {node:?} can only create pods with a controller owner reference set to itself"
            ),
        )?;
        self.require(
            owner["blockOwnerDeletion"].as_bool() != Some(true),
            &format!("node {node:?} must not set blockOwnerDeletion on an owner reference"),
        )?;
        let (uid, live) = (owner["uid"].str(), self.find(NODES, "", node)?);
        self.require(
            uid == live.uid(),
            &format!(
                "node {node} UID mismatch: expected {uid} got {}",
                live.uid()
            ),
        )?;
        match api_reference(&pod["spec"]) {
            Some(what) => self.refuse(&format!(
                "node {node:?} can not create pods that reference {what}"
            )),
            None => Ok(()),
        }
    }

    fn pod_status(&self) -> Outcome {
        if !self.is(Operation::Update) {
            return self.unexpected();
        }
        let (node, new, old) = (self.node, &self.review.object, self.old());
        self.require(
            self.runs_here(self.review.old),
            &format!(
                "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
            ),
        )?;
        let same = |path: &[&str]| new.at(path) == old.at(path);
        self.require(
            same(&["metadata", "labels"]),
            &format!("node {node:?} cannot update labels through pod status"),
        )?;
        self.require(
            same(&["status", "resourceClaimStatuses"]),
            &format!("node {node:?} cannot update resource claim statues"),
        )?;
        self.require(
            same(&["status", "extendedResourceClaimStatus"]),
            &format!("node {node:?} cannot update extended resource claim status"),
        )
    }

    fn eviction(&self) -> Outcome {
        if !self.is(Operation::Create) {
            return self.unexpected();
        }
        let pod = self.find(PODS, self.review.namespace, &self.review.name)?;
        self.require(
            self.runs_here(Some(&pod)),
            &format!(
                "node {} can only evict pods with spec.nodeName set to itself",
                self.node
            ),
        )
    }

    fn own_node(&self) -> Outcome {
        let (node, new) = (self.node, &self.review.object);
        let named = match self.review.name.as_str() {
            "" => new.name(),
            name => name,
        };
        self.require(
            named == node,
            &format!("node {node:?} is not allowed to modify node {named:?}"),
        )?;
        match self.review.operation {
            Operation::Create => {
                let forbidden = forbidden_labels(new, &Value::Null);
                let why = format!(
                    "node {node:?} is not allowed to set the following labels: {}",
                    forbidden.join(", ")
                );
                self.require(forbidden.is_empty(), &why)
            }
            Operation::Update => self.own_node_update(new, &self.old()),
            _ => Ok(()),
        }
    }

    fn own_node_update(&self, new: &Value, old: &Value) -> Outcome {
        let node = self.node;
        let same = |path: &[&str]| {
            let (new, old) = (new.at(path), old.at(path));
            new == old || new.items().is_empty() && old.items().is_empty()
        };
        self.require(
            same(&["spec", "taints"]),
            &format!("node {node:?} is not allowed to modify taints"),
        )?;
        self.require(
            same(&["metadata", "ownerReferences"]),
            &format!("node {node:?} is not allowed to modify ownerReferences"),
        )?;
        let forbidden = forbidden_labels(new, old);
        let why = format!("is not allowed to modify labels: {}", forbidden.join(", "));
        self.require(forbidden.is_empty(), &why)
    }

    fn claim_status(&self) -> Outcome {
        if !self.is(Operation::Update) {
            return self.unexpected();
        }
        let rest = |claim: &Value| {
            let mut claim = claim.clone();
            for field in ["resourceVersion", "managedFields"] {
                claim.metadata_mut().remove(field);
            }
            for field in [
                "capacity",
                "conditions",
                "allocatedResources",
                "allocatedResourceStatuses",
            ] {
                claim.object_at(&["status"]).remove(field);
            }
            claim
        };
        self.require(
            rest(&self.review.object) == rest(&self.old()),
            &format!(
                "node {:?} is not allowed to update fields other than status.quantity and status.conditions",
                self.node
            ),
        )
    }

    fn token(&self) -> Outcome {
        let reference = &self.review.object["spec"]["boundObjectRef"];
        let name = reference["name"].str();
        let pod_named = reference["apiVersion"].str() == "v1"
            && reference["kind"].str() == "Pod"
            && !name.is_empty();
        self.require(pod_named, "node requested token not bound to a pod")?;
        let uid = reference["uid"].str();
        self.require(
            !uid.is_empty(),
            "node requested token with a pod binding without a uid",
        )?;
        let pod = self.find(PODS, self.review.namespace, name)?;
        self.require(
            pod.uid() == uid,
            &format!("the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"),
        )?;
        self.require(
            self.runs_here(Some(&pod)),
            "node requested token bound to a pod scheduled on a different node",
        )?;
        self.audience(&pod)
    }

    /// The audience is one that the pod's volumes name, or one the node has a right to.
    fn audience(&self, pod: &Object) -> Outcome {
        let audiences = self.review.object["spec"]["audiences"].items();
        self.require(
            audiences.len() <= 1,
            "node may only request 0 or 1 audiences",
        )?;
        let audience = audiences.first().map_or("", Value::str);
        let mut volumes = pod.at("spec.volumes").items();
        let by_volume = volumes.any(|volume| {
            let mut sources = volume.get("projected").get("sources").items();
            sources.any(|source| {
                let token = source.get("serviceAccountToken");
                !token.is_null() && token.get("audience").str() == audience
            }) || self.driver_asks(volume.get("csi").get("driver").str(), audience)
        });
        let user = self.review.user;
        let asked = Attributes {
            verb: "request-serviceaccounts-token-audience".into(),
            version: "v1".into(),
            resource: audience.into(),
            namespace: self.review.namespace.into(),
            name: self.review.name.clone(),
            ..Attributes::default()
        };
        self.require(
            by_volume || self.review.door.allows(user, &asked),
            &format!("audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience", user.name),
        )
    }

    fn driver_asks(&self, driver: &str, audience: &str) -> bool {
        let driver = self.find("csidrivers.storage.k8s.io", "", driver);
        driver.is_ok_and(|driver| {
            let mut requests = driver.at("spec.tokenRequests").items();
            requests.any(|request| request.get("audience").str() == audience)
        })
    }

    fn lease(&self) -> Outcome {
        self.require(
            self.review.namespace == LEASE_NAMESPACE,
            &format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"),
        )?;
        self.named_alike("can only access node lease with the same name as the requesting node")
    }

    fn named_alike(&self, why: &str) -> Outcome {
        let name = match self.is(Operation::Create) {
            true => self.review.object.name(),
            false => self.review.name.as_str(),
        };
        self.require(name == self.node, why)
    }

    fn slice(&self) -> Outcome {
        let verb = match self.review.operation {
            Operation::Create => "create",
            Operation::Delete => "delete",
            _ => return Ok(()),
        };
        let place = match self.is(Operation::Create) {
            true => self.review.object["spec"]["nodeName"].str().to_owned(),
            false => self.old()["spec"]["nodeName"].str().to_owned(),
        };
        self.require(
            place == self.node,
            &format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"),
        )
    }

    fn certificate(&self) -> Outcome {
        let spec = &self.review.object["spec"];
        if !self.is(Operation::Create) || !NODE_SIGNERS.contains(&spec["signerName"].str()) {
            return Ok(());
        }
        let wanted = format!("system:node:{}", self.node);
        match csr::subject(spec["request"].str()) {
            Err(why) => self.refuse(&format!("unable to parse csr: {why}")),
            Ok(subject) => self.require(
                subject.common_name == wanted,
                &format!("can only create a node CSR with CN={wanted}"),
            ),
        }
    }
}

/// Labels that differ and that an agent may not change, in order.
fn forbidden_labels(new: &Value, old: &Value) -> Vec<String> {
    let labels = |object: &Value| object.at(&["metadata", "labels"]).clone();
    let (new, old) = (labels(new), labels(old));
    let keys: BTreeSet<&str> = new
        .entries()
        .chain(old.entries())
        .map(|(key, _)| key.as_str())
        .collect();
    keys.into_iter()
        .filter(|key| new.get(key) != old.get(key) && is_forbidden(key))
        .map(str::to_owned)
        .collect()
}

fn is_forbidden(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |outer: &str| {
        domain == outer
            || domain
                .strip_suffix(outer)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    let own = OWN_LABELS.contains(&label) || OWN_DOMAINS.iter().any(|own| within(own));
    within(RESTRICTED_LABELS) || (within("kubernetes.io") || within("k8s.io")) && !own
}

/// What a pod's spec refers to in the API, if anything.
fn api_reference(spec: &Value) -> Option<&'static str> {
    let any = |list: &str, test: fn(&Value) -> bool| spec[list].items().iter().any(test);
    let environment = |test: fn(&Value) -> bool| {
        ["initContainers", "containers", "ephemeralContainers"]
            .iter()
            .any(|list| any(list, test))
    };
    if !spec["serviceAccountName"].str().is_empty() {
        Some("serviceaccounts")
    } else if any("imagePullSecrets", |_| true) || environment(|one| reads(one, "secret")) {
        Some("secrets")
    } else if environment(|one| reads(one, "configMap")) {
        Some("configmaps")
    } else if any("resourceClaims", |_| true) {
        Some("resourceclaims")
    } else if any("volumes", is_from_api) {
        Some("volumes that read from the API")
    } else {
        None
    }
}

/// Whether a container's environment reads from a kind of object (`secret`, `configMap`).
fn reads(container: &Value, kind: &str) -> bool {
    let (one, all) = (format!("{kind}KeyRef"), format!("{kind}Ref"));
    let mut single = container["env"].items().iter();
    let mut whole = container["envFrom"].items().iter();
    single.any(|env| !env["valueFrom"][one.as_str()].is_null())
        || whole.any(|source| !source[all.as_str()].is_null())
}

fn is_from_api(volume: &Value) -> bool {
    const LOCAL: [&str; 5] = ["name", "hostPath", "emptyDir", "downwardAPI", "image"];
    volume
        .entries()
        .any(|(source, _)| !LOCAL.contains(&source.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn labels_of_kubernetes_are_mostly_not_the_agents() {
        for (label, forbidden) in [
            ("team", false),
            ("example.com/team", false),
            ("kubernetes.io/hostname", false),
            ("node.kubernetes.io/anything", false),
            ("a.kubelet.kubernetes.io/b", false),
            ("eks.amazonaws.com/nodegroup", false),
            ("kubernetes.io/other", true),
            ("node-role.kubernetes.io/control-plane", true),
            ("a.k8s.io/b", true),
            ("node-restriction.kubernetes.io/tier", true),
            ("a.node-restriction.kubernetes.io/tier", true),
        ] {
            assert_eq!(is_forbidden(label), forbidden, "{label}");
        }
        let node = |labels: Value| json!({"metadata": {"labels": labels}});
        let (old, new) = (
            node(json!({"k8s.io/a": "1", "k8s.io/b": "1", "x": "1"})),
            node(json!({"k8s.io/a": "2", "k8s.io/b": "1"})),
        );
        assert_eq!(forbidden_labels(&new, &old), ["k8s.io/a"]);
    }

    #[test]
    fn mirrors_refer_to_nothing() {
        for (spec, wanted) in [
            (json!({"volumes": [{"name": "a", "emptyDir": {}}]}), None),
            (json!({"serviceAccountName": "a"}), Some("serviceaccounts")),
            (
                json!({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s"}}}]}]}),
                Some("secrets"),
            ),
            (
                json!({"initContainers": [{"envFrom": [{"configMapRef": {"name": "s"}}]}]}),
                Some("configmaps"),
            ),
            (
                json!({"volumes": [{"name": "a", "persistentVolumeClaim": {}}]}),
                Some("volumes that read from the API"),
            ),
        ] {
            assert_eq!(api_reference(&spec), wanted, "{spec:?}");
        }
    }
}
