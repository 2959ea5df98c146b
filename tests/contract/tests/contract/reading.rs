//! Lists: one snapshot each, and a version from which a watch continues.

use crate::{map, name, place, version};
use e2e_tests::Cluster;
use serde_json::json;
use std::{collections::BTreeMap, thread};

/// Objects each writer makes; every one is changed and every other deleted.
const EACH: usize = 40;
const WRITERS: usize = 4;

pub fn a_list_and_its_watch_miss_nothing(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "list-and-watch");
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (api, path) = (api.clone(), path.clone());
            thread::spawn(move || {
                for number in 0..EACH {
                    let object = format!("{writer}-{number}");
                    api.create(&path, &map(&object, &json!({}))).ok();
                    api.merge(&format!("{path}/{object}"), &json!({"data": {"a": "b"}}))
                        .ok();
                    if number % 2 == 0 {
                        api.delete(&format!("{path}/{object}")).ok();
                    }
                }
            })
        })
        .collect();
    // Taken while they write: what the list has not, the watch must bring, once.
    let list = api.get(&path).ok();
    let mut state: BTreeMap<String, u64> = BTreeMap::new();
    for item in list["items"].as_array().unwrap() {
        state.insert(name(item).to_owned(), version(item).parse().unwrap());
    }
    let mut watch = api.watch(&format!(
        "{path}?watch=1&resourceVersion={}",
        version(&list)
    ));
    writers
        .into_iter()
        .for_each(|writer| writer.join().unwrap());
    api.create(&path, &map("the-end", &json!({}))).ok();
    let mut newest: u64 = version(&list).parse().unwrap();
    for event in watch.until(|event| name(&event["object"]) == "the-end") {
        let (kind, object) = (event["type"].as_str().unwrap(), &event["object"]);
        let now: u64 = version(object).parse().unwrap();
        assert!(
            now > newest,
            "{now} after {newest}: repeated or out of order"
        );
        newest = now;
        let known = state.contains_key(name(object));
        assert_eq!(known, kind != "ADDED", "{kind} of {}", name(object));
        if kind == "DELETED" {
            state.remove(name(object));
        } else {
            state.insert(name(object).to_owned(), now);
        }
    }
    let after = api.get(&path).ok();
    let items = after["items"].as_array().unwrap().iter();
    let want: BTreeMap<_, u64> = items
        .map(|item| (name(item).to_owned(), version(item).parse().unwrap()))
        .collect();
    assert_eq!(state, want);
    assert_eq!(
        want.keys()
            .filter(|key| key.contains('-') && !key.contains('e'))
            .count(),
        WRITERS * EACH / 2
    );
}

pub fn pages_come_from_one_snapshot(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "pages");
    (0..10).for_each(|number| {
        api.create(&path, &map(&format!("page-{number}"), &json!({})))
            .ok();
    });
    let first = api.get(&format!("{path}?limit=4&labelSelector=")).ok();
    assert_eq!(first["items"].as_array().unwrap().len(), 4);
    // kube-root-ca.crt may be there too; it sorts before the pages.
    api.delete(&format!("{path}/page-9")).ok();
    api.create(&path, &map("page-91", &json!({}))).ok();
    let mut names: Vec<_> = first["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| name(item).to_owned())
        .collect();
    let mut page = first.clone();
    while let Some(token) = page["metadata"]["continue"]
        .as_str()
        .filter(|token| !token.is_empty())
    {
        page = api.get(&format!("{path}?limit=4&continue={token}")).ok();
        assert_eq!(
            version(&page),
            version(&first),
            "a page of another snapshot"
        );
        names.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| name(item).to_owned()),
        );
    }
    let pages: Vec<_> = names
        .iter()
        .filter(|name| name.starts_with("page-"))
        .collect();
    let want: Vec<_> = (0..10).map(|number| format!("page-{number}")).collect();
    assert_eq!(pages, want.iter().collect::<Vec<_>>());
    api.get(&format!("{path}?limit=4&continue=nonsense"))
        .refused(400, "BadRequest");
}

pub fn selectors_choose(cluster: &mut Cluster) {
    let (api, path) = place(cluster, "selectors");
    for (object, tier) in [("a", "front"), ("b", "back"), ("c", "front")] {
        let mut body = map(object, &json!({}));
        body["metadata"]["labels"] = json!({"tier": tier});
        api.create(&path, &body).ok();
    }
    let chosen = |query: &str| -> Vec<String> {
        let list = api.get(&format!("{path}?{query}")).ok();
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| name(item).to_owned())
            .collect()
    };
    assert_eq!(chosen("labelSelector=tier%3Dfront"), ["a", "c"]);
    assert_eq!(chosen("labelSelector=tier%20in%20(back)"), ["b"]);
    assert_eq!(chosen("labelSelector=tier,tier!%3Dfront"), ["b"]);
    assert_eq!(chosen("fieldSelector=metadata.name%3Dc"), ["c"]);
    api.get(&format!("{path}?labelSelector=%3D%3D"))
        .refused(400, "BadRequest");
    api.get(&format!("{path}?fieldSelector=data.x%3D1"))
        .refused(400, "BadRequest");
}
