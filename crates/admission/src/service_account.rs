//! `ServiceAccount`: every pod runs as an account that exists, and finds its token mounted.
//!
//! Upstream counterpart: `plugin/pkg/admission/serviceaccount`.

use crate::common::{annotation, forbid, is, list_at};
use kinds::{PODS, SERVICE_ACCOUNTS};
use machinery::{Object, SmolStr, Status, Value, json};
use registry::{Admission, Handles, Key, Operation, Review};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Upstream's odd number: an hour and seven seconds, recognisable as the server's own request.
const TOKEN_SECONDS: i64 = 3607;
const SUFFIX_LENGTH: usize = 5;
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The plug-in.
pub struct ServiceAccount;

impl Admission for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self) -> Handles {
        Handles::NOTHING
            .admits(&[Operation::Create, Operation::Update])
            .validates(&[Operation::Create, Operation::Update])
            .of(&[PODS])
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !is(review, PODS, Operation::Create) || !annotation(&review.object, MIRROR).is_empty() {
            return Ok(());
        }
        let name = name_account(&mut review.object);
        let state = review.door.snapshot();
        let Some(account) = state.get(SERVICE_ACCOUNTS, &Key::new(review.namespace, &name)) else {
            let why = format!(
                "error looking up service account {}/{name}: serviceaccount \"{name}\" not found",
                review.namespace
            );
            return Err(forbid(review, &why));
        };
        add_pull_secrets(&mut review.object, account);
        if automounts(&review.object, account) {
            let suffix = review.door.world().name_suffix(SUFFIX_LENGTH);
            mount_token(&mut review.object, &format!("{VOLUME_PREFIX}{suffix}"));
        }
        Ok(())
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let mirror =
            is(review, PODS, Operation::Create) && !annotation(&review.object, MIRROR).is_empty();
        if mirror && !review.object["spec"]["serviceAccountName"].str().is_empty() {
            return Err(forbid(
                review,
                "a mirror pod may not reference service accounts",
            ));
        }
        Ok(())
    }
}

/// Fills in the account's name, in both fields that carry it, and returns it.
fn name_account(pod: &mut Value) -> String {
    let spec = pod.object_at(&["spec"]);
    let given = ["serviceAccountName", "serviceAccount"]
        .iter()
        .find_map(|field| spec.get(field)?.as_str().filter(|name| !name.is_empty()));
    let name = given.unwrap_or("default").to_owned();
    spec.insert("serviceAccountName", &name);
    spec.insert("serviceAccount", &name);
    name
}

fn add_pull_secrets(pod: &mut Value, account: &Object) {
    let secrets = account.root().get("imagePullSecrets");
    if pod["spec"]["imagePullSecrets"].items().is_empty() && !secrets.is_null() {
        pod.set_at(&["spec", "imagePullSecrets"], secrets.to_value());
    }
}

fn automounts(pod: &Value, account: &Object) -> bool {
    let own = pod["spec"]["automountServiceAccountToken"].as_bool();
    own.or(account.at("automountServiceAccountToken").as_bool())
        .unwrap_or(true)
}

/// Adds the token's volume and mounts it in every container that has nothing at its path.
fn mount_token(pod: &mut Value, volume: &str) {
    let existing = pod["spec"]["volumes"]
        .items()
        .iter()
        .find(|one| one["name"].str().starts_with(VOLUME_PREFIX));
    let name = existing.map_or(volume, |one| one["name"].str()).to_owned();
    let missing = existing.is_none();
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        let containers = pod.at_mut(&["spec", list]).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            mounted |= mount(container, &name);
        }
    }
    if mounted && missing {
        list_at(pod, &["spec", "volumes"]).push(token_volume(&name));
    }
}

fn mount(container: &mut Value, volume: &str) -> bool {
    let mounts = list_at(container, &["volumeMounts"]);
    let wanted = !mounts
        .iter()
        .any(|one| one["mountPath"].str() == MOUNT_PATH);
    if wanted {
        mounts.push(
            json!({"name": volume, "readOnly": true, "mountPath": SmolStr::new_static(MOUNT_PATH)}),
        );
    }
    wanted
}

fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}
            ]
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_container_without_one_gets_a_mount() {
        let mut pod = json!({"spec": {
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]}]
        }});
        mount_token(&mut pod, "kube-api-access-abcde");
        let spec = &pod["spec"];
        assert_eq!(spec["volumes"][0]["name"].str(), "kube-api-access-abcde");
        assert_eq!(
            spec["initContainers"][0]["volumeMounts"][0]["mountPath"].str(),
            MOUNT_PATH
        );
        assert_eq!(
            spec["containers"][0]["volumeMounts"][0]["readOnly"].as_bool(),
            Some(true)
        );
        assert_eq!(spec["containers"][1]["volumeMounts"].items().len(), 1);
        let mut covered = json!({"spec": {"containers": [{"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]}]}});
        mount_token(&mut covered, "kube-api-access-abcde");
        assert!(covered["spec"]["volumes"].is_null());
    }

    #[test]
    fn accounts_have_names() {
        for (spec, wanted) in [
            (json!({}), "default"),
            (json!({"serviceAccountName": "a"}), "a"),
            (json!({"serviceAccount": "b"}), "b"),
            (
                json!({"serviceAccountName": "", "serviceAccount": ""}),
                "default",
            ),
        ] {
            let mut pod = json!({"spec": spec});
            assert_eq!(name_account(&mut pod), wanted);
            assert_eq!(pod["spec"]["serviceAccountName"].str(), wanted);
        }
    }

    #[test]
    fn the_pod_decides_before_the_account() {
        for (pod, account, wanted) in [
            (json!({}), json!({}), true),
            (
                json!({}),
                json!({"automountServiceAccountToken": false}),
                false,
            ),
            (
                json!({"spec": {"automountServiceAccountToken": true}}),
                json!({"automountServiceAccountToken": false}),
                true,
            ),
            (
                json!({"spec": {"automountServiceAccountToken": false}}),
                json!({}),
                false,
            ),
        ] {
            assert_eq!(automounts(&pod, &Object::new(&account, 1)), wanted);
        }
    }
}
