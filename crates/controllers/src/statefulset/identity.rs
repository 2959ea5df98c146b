//! Names, labels and claims of a StatefulSet's pods.
//!
//! Upstream counterpart: `stateful_set_utils.go`.

use crate::{history::HASH_LABEL, pods};
use machinery::{Object, Ref, Value, json};

/// A pod's number, if its name is one of the set's.
pub fn ordinal(set: &Object, pod: &Object) -> Option<i64> {
    let digits = pod.name().strip_prefix(set.name())?.strip_prefix('-')?;
    let number: i64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// The pod of a number.
pub fn pod_for(set: &Object, template: Ref<'_>, ordinal: i64, revision: &str) -> Value {
    let name = format!("{}-{ordinal}", set.name());
    let mut pod = pods::from_template(set, template);
    pod.metadata_mut().insert("name", name.as_str());
    let labels = pod.object_at(&["metadata", "labels"]);
    labels.insert("statefulset.kubernetes.io/pod-name", name.as_str());
    labels.insert("apps.kubernetes.io/pod-index", ordinal.to_string());
    labels.insert(HASH_LABEL, revision);
    pod.set_at(&["spec", "hostname"], name.as_str());
    pod.set_at(&["spec", "subdomain"], set.at("spec.serviceName").str());
    let templates: Vec<&str> = set
        .at("spec.volumeClaimTemplates")
        .items()
        .map(|one| one.at("metadata.name").str())
        .collect();
    if templates.is_empty() {
        return pod;
    }
    let mut volumes: Vec<Value> = templates
        .iter()
        .map(|volume| {
            let claim = format!("{volume}-{name}");
            json!({"name": *volume, "persistentVolumeClaim": {"claimName": claim, "readOnly": false}})
        })
        .collect();
    let others = pod["spec"]["volumes"].items().iter();
    volumes.extend(
        others
            .filter(|one| !templates.contains(&one["name"].str()))
            .cloned(),
    );
    pod.set_at(&["spec", "volumes"], volumes);
    pod
}

/// The claims of a number's pod; `owned` ones go with the set.
pub fn claims(set: &Object, ordinal: i64, owned: bool) -> Vec<Value> {
    set.at("spec.volumeClaimTemplates")
        .items()
        .map(|template| {
            let mut claim = template.to_value();
            claim["apiVersion"] = "v1".into();
            claim["kind"] = "PersistentVolumeClaim".into();
            claim.make_object().remove("status");
            let name = format!("{}-{}-{ordinal}", claim.name(), set.name());
            claim.metadata_mut().remove("creationTimestamp");
            claim.metadata_mut().insert("name", name);
            claim.metadata_mut().insert("namespace", set.namespace());
            let labels = claim.object_at(&["metadata", "labels"]);
            for (key, value) in set.at("spec.selector.matchLabels").entries() {
                labels.insert(key, value.str());
            }
            if owned {
                claim
                    .metadata_mut()
                    .insert("ownerReferences", vec![owner(set)]);
            }
            claim
        })
        .collect()
}

fn owner(set: &Object) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": set.name(), "uid": set.uid()})
}

/// A kept claim's owners: the set if it goes with it, and no pod.
pub fn claim_owners(set: &Object, claim: &Object, owned: bool) -> Vec<Value> {
    let mut owners: Vec<Value> = claim
        .owner_references()
        .filter(|one| one.uid() != set.uid() && one.kind() != "Pod")
        .map(|one| one.0.to_value())
        .collect();
    if owned {
        owners.push(owner(set));
    }
    owners
}
