//! A Deployment, step by step.

use super::*;
use crate::ownership::claim_indexes;
use machinery::json;

fn deployment(image: &str, replicas: i64, extra: Value) -> Value {
    let mut value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "n", "uid": "d", "generation": 1},
        "spec": {"replicas": replicas, "progressDeadlineSeconds": 600, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}}});
    for (key, field) in extra.entries() {
        value.set_at(&["spec", key.as_str()], field.clone());
    }
    value
}

/// A set of the rollout: image, wanted, available, revision, and the size its marks tell.
fn set(image: &str, wanted: i64, available: i64, revision: i64, marks: (i64, i64)) -> Value {
    let labels = json!({"app": "web", "pod-template-hash": image});
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": format!("web-{image}"), "namespace": "n", "uid": image, "generation": 1,
            "labels": &labels, "creationTimestamp": format!("2026-01-0{revision}T00:00:00Z"),
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true}],
            "annotations": {"deployment.kubernetes.io/revision": revision.to_string(), "deployment.kubernetes.io/desired-replicas": marks.0.to_string(), "deployment.kubernetes.io/max-replicas": marks.1.to_string()}},
        "spec": {"replicas": wanted, "selector": {"matchLabels": &labels}, "template": {"metadata": {"labels": &labels}, "spec": {"containers": [{"name": "c", "image": image}]}}},
        "status": {"replicas": wanted, "readyReplicas": available, "availableReplicas": available, "observedGeneration": 1}})
}

fn run(objects: Vec<(&'static str, Value)>) -> Vec<Action> {
    let view = View::of(objects, &claim_indexes());
    let now = Time::from_unix_seconds(1_780_000_000);
    let key = Target::new(DEPLOYMENTS, "n", "web");
    Deployment.reconcile(&view, &key, now).actions
}

fn sizes(actions: &[Action]) -> Vec<(String, i64)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Patch { target, patch, .. } if target.resource == REPLICA_SETS => Some((
                target.name.to_string(),
                patch.at(&["spec", "replicas"]).as_i64()?,
            )),
            _ => None,
        })
        .collect()
}

#[test]
fn the_first_set_is_made_whole_with_revision_one() {
    let actions = run(vec![(DEPLOYMENTS, deployment("a", 3, json!({})))]);
    let Action::Create { object, .. } = &actions[0] else {
        panic!("{actions:?}")
    };
    assert_eq!(object.at(&["spec", "replicas"]).as_i64(), Some(3));
    assert_eq!(object.at(&["metadata", "annotations", REVISION]).str(), "1");
    let hash = object
        .at(&["metadata", "labels", "pod-template-hash"])
        .str();
    assert_eq!(object.name(), format!("web-{hash}"));
    assert_eq!(
        object
            .at(&[
                "metadata",
                "annotations",
                "deployment.kubernetes.io/max-replicas"
            ])
            .str(),
        "4"
    );
}

#[test]
fn rolling_surges_first_and_then_takes_the_old_down() {
    // 4 wanted: at most 5, at least 3.
    let deployment = deployment("b", 4, json!({}));
    let created = run(vec![
        (DEPLOYMENTS, deployment.clone()),
        (REPLICA_SETS, set("a", 4, 4, 1, (4, 5))),
    ]);
    let Action::Create { object, .. } = &created[0] else {
        panic!("{created:?}")
    };
    assert_eq!(object.at(&["spec", "replicas"]).as_i64(), Some(1));
    let shrunk = run(vec![
        (DEPLOYMENTS, deployment.clone()),
        (REPLICA_SETS, set("a", 4, 4, 1, (4, 5))),
        (REPLICA_SETS, set("b", 1, 0, 2, (4, 5))),
    ]);
    assert_eq!(sizes(&shrunk), [("web-a".to_owned(), 3)]);
    let grown = run(vec![
        (DEPLOYMENTS, deployment),
        (REPLICA_SETS, set("a", 3, 3, 1, (4, 5))),
        (REPLICA_SETS, set("b", 1, 1, 2, (4, 5))),
    ]);
    assert_eq!(sizes(&grown), [("web-b".to_owned(), 2)]);
}

#[test]
fn going_back_takes_the_next_revision() {
    let actions = run(vec![
        (DEPLOYMENTS, deployment("a", 1, json!({}))),
        (REPLICA_SETS, set("a", 0, 0, 1, (1, 2))),
        (REPLICA_SETS, set("b", 1, 1, 2, (1, 2))),
    ]);
    let Action::Patch { patch, .. } = &actions[0] else {
        panic!("{actions:?}")
    };
    let annotations = patch.at(&["metadata", "annotations"]);
    assert_eq!(annotations[REVISION].str(), "3");
    assert_eq!(
        annotations["deployment.kubernetes.io/revision-history"].str(),
        "1"
    );
}

#[test]
fn scaling_amid_a_rollout_is_proportional() {
    let actions = run(vec![
        (
            DEPLOYMENTS,
            deployment(
                "b",
                20,
                json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 2}}}),
            ),
        ),
        (REPLICA_SETS, set("a", 6, 6, 1, (10, 10))),
        (REPLICA_SETS, set("b", 4, 2, 2, (10, 10))),
    ]);
    assert_eq!(
        sizes(&actions),
        [("web-a".to_owned(), 12), ("web-b".to_owned(), 8)]
    );
}

#[test]
fn recreate_waits_for_the_old_to_be_gone() {
    let recreate = deployment("b", 2, json!({"strategy": {"type": "Recreate"}}));
    let down = run(vec![
        (DEPLOYMENTS, recreate.clone()),
        (REPLICA_SETS, set("a", 2, 2, 1, (2, 2))),
    ]);
    assert_eq!(sizes(&down), [("web-a".to_owned(), 0)]);
    let up = run(vec![
        (DEPLOYMENTS, recreate),
        (REPLICA_SETS, set("a", 0, 0, 1, (2, 2))),
    ]);
    assert!(
        matches!(&up[0], Action::Create { object, .. } if object.at(&["spec", "replicas"]).as_i64() == Some(2))
    );
}

#[test]
fn completion_is_told_and_then_left_alone() {
    let mut done = deployment("a", 2, json!({}));
    done.set_at(&["metadata", "annotations", REVISION], "1");
    let world = |deployment: &Value| {
        vec![
            (DEPLOYMENTS, deployment.clone()),
            (REPLICA_SETS, set("a", 2, 2, 1, (2, 3))),
        ]
    };
    let actions = run(world(&done));
    let Action::Update { object, .. } = &actions[0] else {
        panic!("{actions:?}")
    };
    let conditions = &object["status"]["conditions"];
    assert_eq!(
        progress::find(&object["status"], "Progressing")["reason"].str(),
        "NewReplicaSetAvailable",
        "{conditions:?}"
    );
    assert_eq!(
        progress::find(&object["status"], "Available")["reason"].str(),
        "MinimumReplicasAvailable"
    );
    done["status"] = object["status"].clone();
    assert!(run(world(&done)).is_empty());
}
