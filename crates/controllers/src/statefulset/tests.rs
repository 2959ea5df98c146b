//! Ordered start, rollout and storage of a StatefulSet.

use super::*;
use crate::names::CONTROLLER_REVISIONS;
use reconcile::Action;

fn set(replicas: i64, image: &str, policy: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "n", "uid": "s", "generation": 1},
        "spec": {"replicas": replicas, "serviceName": "db", "podManagementPolicy": policy, "selector": {"matchLabels": {"app": "db"}}, "updateStrategy": {"type": "RollingUpdate"},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]}})
}

fn run(world: &[(&'static str, Value)]) -> Vec<Action> {
    let view = View::of(world.to_vec(), &claim_indexes());
    let key = Target::new(STATEFUL_SETS, "n", "db");
    StatefulSet
        .reconcile(&view, &key, Time::from_unix_seconds(1_800_000_000))
        .actions
}

/// Carries a plan out the way the door would: new objects get UIDs, pods run and are ready.
fn apply(world: &mut Vec<(&'static str, Value)>, actions: Vec<Action>) {
    for action in actions {
        match action {
            Action::Create {
                target, mut object, ..
            } => {
                let resource = [PODS, PVCS, CONTROLLER_REVISIONS]
                    .into_iter()
                    .find(|known| target.resource == *known)
                    .unwrap();
                let uid = format!("{resource}-{}", object.name());
                object.metadata_mut().insert("uid", uid);
                if resource == PODS {
                    object["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
                }
                world.push((resource, object));
            }
            Action::Update { mut object, .. } => {
                object.metadata_mut().remove("resourceVersion");
                world[0].1 = object;
            }
            Action::Delete { target, .. } => {
                world.retain(|(r, o)| *r != target.resource || o.name() != target.name);
            }
            _ => {}
        }
    }
}

fn pods_of(actions: &[Action]) -> Vec<String> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Create { target, object, .. } if target.resource == PODS => {
                Some(format!("+{}", object.name()))
            }
            Action::Delete { target, .. } if target.resource == PODS => {
                Some(format!("-{}", target.name))
            }
            _ => None,
        })
        .collect()
}

fn settle(world: &mut Vec<(&'static str, Value)>) -> Vec<String> {
    let mut steps = Vec::new();
    for _ in 0..30 {
        let actions = run(world);
        steps.extend(pods_of(&actions));
        if actions.is_empty() {
            return steps;
        }
        apply(world, actions);
    }
    panic!("does not settle: {steps:?}");
}

#[test]
fn pods_start_one_by_one_and_roll_from_the_last() {
    let mut world = vec![(STATEFUL_SETS, set(2, "one", "OrderedReady"))];
    assert_eq!(settle(&mut world), ["+db-0", "+db-1"]);
    let claims = world.iter().filter(|(resource, _)| *resource == PVCS);
    let names: Vec<_> = claims.map(|(_, claim)| claim.name()).collect();
    assert_eq!(names, ["data-db-0", "data-db-1"]);
    let new = set(2, "two", "OrderedReady");
    world[0].1["spec"] = new["spec"].clone();
    assert_eq!(settle(&mut world), ["-db-1", "+db-1", "-db-0", "+db-0"]);
    let status = &world[0].1["status"];
    assert_eq!(status["currentRevision"], status["updateRevision"]);
    assert_eq!(status["updatedReplicas"].as_i64(), Some(2));
    let images: Vec<_> = world
        .iter()
        .filter(|(resource, _)| *resource == PODS)
        .map(|(_, pod)| pod["spec"]["containers"][0]["image"].str())
        .collect();
    assert_eq!(images, ["two", "two"]);
    world[0].1.set_at(&["spec", "replicas"], 0);
    assert_eq!(settle(&mut world), ["-db-1", "-db-0"]);
}

#[test]
fn a_partition_keeps_the_lower_numbers() {
    let mut world = vec![(STATEFUL_SETS, set(3, "one", "Parallel"))];
    assert_eq!(settle(&mut world), ["+db-0", "+db-1", "+db-2"]);
    let new = set(3, "two", "Parallel");
    world[0].1["spec"] = new["spec"].clone();
    world[0]
        .1
        .set_at(&["spec", "updateStrategy", "rollingUpdate", "partition"], 2);
    assert_eq!(settle(&mut world), ["-db-2", "+db-2"]);
    world.retain(|(_, object)| object.name() != "db-0");
    settle(&mut world);
    let again = world
        .iter()
        .find(|(_, object)| object.name() == "db-0")
        .unwrap();
    assert_eq!(again.1["spec"]["containers"][0]["image"].str(), "one");
}

#[test]
fn scaling_down_halts_at_an_unhealthy_pod() {
    let mut world = vec![(STATEFUL_SETS, set(3, "a", "OrderedReady"))];
    settle(&mut world);
    world[0].1.set_at(&["spec", "replicas"], 0);
    let break_pods = |world: &mut Vec<(&'static str, Value)>, names: &[&str]| {
        for (_, pod) in world
            .iter_mut()
            .filter(|(_, one)| names.contains(&one.name()))
        {
            pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
        }
    };
    let mut all_sick = world.clone();
    break_pods(&mut all_sick, &["db-0", "db-1", "db-2"]);
    assert_eq!(
        pods_of(&run(&all_sick)),
        [""; 0],
        "the first to be sick is not the last"
    );
    break_pods(&mut world, &["db-2"]);
    assert_eq!(pods_of(&run(&world)), ["-db-2"], "it is the only sick one");
}
