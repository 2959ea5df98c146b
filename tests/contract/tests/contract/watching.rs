//! Watches: complete, ordered, and honest about what they cannot give.

use crate::{map, name, place, version};
use e2e_tests::Cluster;
use serde_json::{Value, json};
use std::thread;

pub fn watch_list_ends_with_a_bookmark(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "watch-list");
    for object in ["a", "b", "c"] {
        api.create(&path, &map(object, &json!({}))).ok();
    }
    let query =
        "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut watch = api.watch(&format!("{path}?{query}"));
    let bookmark = |event: &Value| event["type"] == "BOOKMARK";
    let events = watch.until(bookmark);
    let (last, initial) = events.split_last().unwrap();
    assert_eq!(
        last["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    assert!(initial.iter().all(|event| event["type"] == "ADDED"));
    let names: Vec<_> = initial
        .iter()
        .map(|event| name(&event["object"]))
        .filter(|name| name.len() == 1)
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    // What follows continues from the bookmark.
    let made = api.create(&path, &map("d", &json!({}))).ok();
    let event = watch.next().unwrap();
    assert_eq!(
        (event["type"].as_str(), version(&event["object"])),
        (Some("ADDED"), version(&made))
    );
    let asked = format!("{path}?watch=1&sendInitialEvents=true");
    api.get(&asked).refused(422, "Invalid");
}

pub fn a_selector_turns_changes_into_arrivals(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "watch-selector");
    let list = api.get(&path).ok();
    let mut watch = api.watch(&format!(
        "{path}?watch=1&labelSelector=on&resourceVersion={}",
        version(&list)
    ));
    api.create(&path, &map("a", &json!({}))).ok();
    let object = format!("{path}/a");
    api.merge(&object, &json!({"metadata": {"labels": {"on": "1"}}}))
        .ok();
    api.merge(&object, &json!({"data": {"x": "y"}})).ok();
    api.merge(&object, &json!({"metadata": {"labels": {"on": null}}}))
        .ok();
    let kinds: Vec<_> = (0..3)
        .map(|_| watch.next().unwrap()["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["ADDED", "MODIFIED", "DELETED"]);
}

pub fn every_watcher_sees_one_order(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "watch-order");
    let from = version(&api.get(&path).ok());
    let watchers: Vec<_> = (0..8)
        .map(|_| {
            let (api, path, from) = (api.clone(), path.clone(), from.clone());
            thread::spawn(move || {
                let mut watch = api.watch(&format!("{path}?watch=1&resourceVersion={from}"));
                let events = watch.until(|event| name(&event["object"]) == "the-end");
                events
                    .iter()
                    .map(|event| version(&event["object"]))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (api, path) = (api.clone(), path.clone());
            thread::spawn(move || {
                (0..20).for_each(|number| {
                    api.create(&path, &map(&format!("{writer}-{number}"), &json!({})))
                        .ok();
                });
            })
        })
        .collect();
    writers
        .into_iter()
        .for_each(|writer| writer.join().unwrap());
    api.create(&path, &map("the-end", &json!({}))).ok();
    let seen: Vec<_> = watchers
        .into_iter()
        .map(|watcher| watcher.join().unwrap())
        .collect();
    assert!(seen[0].len() > 80, "{}", seen[0].len());
    assert!(
        seen.iter().all(|one| *one == seen[0]),
        "watchers disagree about the order"
    );
}

pub fn versions_out_of_reach_are_refused(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "watch-versions");
    let status = api
        .get(&format!(
            "{path}?resourceVersion=999999999&timeoutSeconds=1"
        ))
        .json();
    assert_eq!(status["code"], 504, "{status}");
    api.get(&format!("{path}?watch=1&resourceVersion=abc"))
        .refused(400, "BadRequest");
    let empty: Vec<_> = api
        .watch(&format!(
            "{path}?watch=1&timeoutSeconds=1&resourceVersion={}",
            version(&api.get(&path).ok())
        ))
        .collect();
    // A watch without changes ends by its own time, without an error event.
    assert!(
        empty.iter().all(|event| event["type"] != "ERROR"),
        "{empty:?}"
    );
}
