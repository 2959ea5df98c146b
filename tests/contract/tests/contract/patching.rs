//! Patches: merged where the object is, never lost, and silent when they change nothing.

use crate::{map, place, version};
use e2e_tests::Cluster;
use serde_json::{Value, json};
use std::thread;

/// Patches in flight together, and in all.
const THREADS: usize = 20;
const PATCHES: usize = 400;

pub fn concurrent_merge_patches_all_succeed(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "patch-storm");
    api.create(&path, &map("one", &json!({}))).ok();
    let object = format!("{path}/one");
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (api, object) = (api.clone(), object.clone());
            thread::spawn(move || {
                for number in 0..PATCHES / THREADS {
                    api.merge(
                        &object,
                        &json!({"data": {format!("{thread}-{number}"): "x"}}),
                    )
                    .ok();
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let stored = api.get(&object).ok();
    assert_eq!(stored["data"].as_object().unwrap().len(), PATCHES);
}

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "X", "value": "1"}]}]},
            },
        },
    })
}

pub fn status_and_labels_do_not_overwrite(cluster: &mut Cluster) {
    let (api, _) = place(cluster, "status-and-labels");
    let path = "/apis/batch/v1/namespaces/status-and-labels/cronjobs";
    let template = json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    let spec = json!({"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": template});
    let body = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "x"}, "spec": spec});
    api.create(path, &body).ok();
    let object = format!("{path}/x");
    let status = {
        let (api, object) = (api.clone(), object.clone());
        thread::spawn(move || {
            for second in 0..50 {
                let time = format!("2026-01-01T00:00:{second:02}Z");
                api.merge(
                    &format!("{object}/status"),
                    &json!({"status": {"lastScheduleTime": time}, "spec": {"suspend": false}}),
                )
                .ok();
            }
        })
    };
    for number in 0..50 {
        let patch = json!({"metadata": {"labels": {"n": number.to_string()}}, "status": {"lastScheduleTime": null}});
        api.merge(&object, &patch).ok();
    }
    status.join().unwrap();
    let stored = api.get(&object).ok();
    assert_eq!(stored["metadata"]["labels"]["n"], "49");
    assert_eq!(stored["status"]["lastScheduleTime"], "2026-01-01T00:00:49Z");
    assert_eq!(
        stored["spec"]["suspend"], true,
        "status may not change the spec"
    );
}

pub fn patches_that_change_nothing_write_nothing(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "no-op");
    let made = api.create(&path, &map("one", &json!({"a": "b"}))).ok();
    let object = format!("{path}/one");
    let same = api
        .merge(&object, &json!({"data": {"a": "b", "absent": null}}))
        .ok();
    assert_eq!(version(&same), version(&made));
    let put = api.update(&object, &made).ok();
    assert_eq!(version(&put), version(&made));
    let apply = map("one", &json!({"c": "d"}));
    let first = api.apply(&object, "someone", &apply).ok();
    let second = api.apply(&object, "someone", &apply).ok();
    assert_eq!(
        version(&first),
        version(&second),
        "an apply of the same writes nothing"
    );
    assert_eq!(
        first["metadata"]["managedFields"],
        second["metadata"]["managedFields"]
    );
}

pub fn strategic_patches_merge_by_key(cluster: &mut Cluster) {
    let (api, _) = place(cluster, "strategic");
    let path = "/apis/apps/v1/namespaces/strategic/deployments";
    api.create(path, &deployment("d")).ok();
    let container = json!({"name": "c", "env": [{"name": "Y", "value": "2"}]});
    let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    let object = format!("{path}/d");
    let stored = api
        .json(
            "PATCH",
            &object,
            "application/strategic-merge-patch+json",
            &patch,
        )
        .ok();
    let container = &stored["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "i");
    assert_eq!(container["env"].as_array().unwrap().len(), 2);
    let gone = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "env": [{"name": "X", "$patch": "delete"}]}]}}}});
    let stored = api
        .json(
            "PATCH",
            &object,
            "application/strategic-merge-patch+json",
            &gone,
        )
        .ok();
    assert_eq!(
        stored["spec"]["template"]["spec"]["containers"][0]["env"],
        json!([{"name": "Y", "value": "2"}])
    );
    let test = json!([{"op": "test", "path": "/spec/replicas", "value": 7}]);
    api.json("PATCH", &object, "application/json-patch+json", &test)
        .refused(422, "Invalid");
    let refused = api.json("PATCH", &object, "application/unheard-of", &json!({}));
    assert_eq!(refused.code, 415);
}

pub fn concurrent_updates_lose_nothing(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "counter");
    api.create(&path, &map("count", &json!({"n": "0"}))).ok();
    let object = format!("{path}/count");
    let add = |api: &contract_tests::Api| loop {
        let mut read = api.get(&object).ok();
        let next: u32 = read["data"]["n"].as_str().unwrap().parse::<u32>().unwrap() + 1;
        read["data"]["n"] = next.to_string().into();
        let answer = api.update(&object, &read);
        if answer.code == 200 {
            return;
        }
        answer.refused(409, "Conflict");
    };
    thread::scope(|scope| {
        (0..8).for_each(|_| {
            scope.spawn(|| (0..10).for_each(|_| add(&api)));
        });
    });
    assert_eq!(api.get(&object).ok()["data"]["n"], "80");
}
