//! Watches: one change to a thousand readers, and what idle ones hold.

use crate::{
    loads::{CONFIG_MAPS, config_map},
    report::Report,
    subject::{JSON, Subject, call},
};
use contract_tests::Watch;
use std::{thread, time::Duration};

/// Readers of one resource.
const READERS: usize = 1_000;
/// Changes they are told of.
const CHANGES: usize = 100;
/// Objects under idle watches, and how many of those.
const OBJECTS: usize = 10_000;
const IDLE: usize = 50;
/// Memory settles for so long.
const SETTLE: Duration = Duration::from_secs(3);
const WRITERS: usize = 8;

/// Both.
pub fn measure(report: &Report) {
    fan_out(report);
    idle(report);
}

fn fan_out(report: &Report) {
    let subject = Subject::start();
    let map = format!("{CONFIG_MAPS}/m0");
    call(
        &mut subject.wire(),
        "POST",
        CONFIG_MAPS,
        JSON,
        &config_map(0),
    );
    let version = subject.api.get(&map).ok()["metadata"]["resourceVersion"].clone();
    let version = version.as_str().unwrap_or_default().to_owned();
    let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion={version}");
    let before = subject.memory_mib();
    let watches: Vec<Watch> = (0..READERS).map(|_| subject.api.watch(&path)).collect();
    thread::sleep(SETTLE);
    let held = (subject.memory_mib() - before) * 1024.0 / READERS as f64;
    report.plain("memory of one of 1,000 watches", held, "KiB");
    let cost = subject.cost(|| {
        let readers: Vec<_> = watches
            .into_iter()
            .map(|watch| thread::spawn(move || read(watch)))
            .collect();
        let mut wire = subject.wire();
        for at in 0..CHANGES {
            let body = format!(r#"{{"data":{{"n":"{at}"}}}}"#);
            call(
                &mut wire,
                "PATCH",
                &map,
                "application/merge-patch+json",
                &body,
            );
        }
        for reader in readers {
            reader.join().expect("every reader sees every change");
        }
    });
    let events = (READERS * CHANGES) as f64;
    report.most(
        "one event to one of 1,000 watches: CPU",
        5.0,
        cost.cpu * 1e3 / events,
        "us",
    );
    report.plain("100 changes seen by 1,000 watches: time", cost.wall, "ms");
}

fn read(mut watch: Watch) {
    let seen = watch.by_ref().take(CHANGES).count();
    assert_eq!(seen, CHANGES);
}

fn idle(report: &Report) {
    let subject = Subject::start();
    subject.shared(WRITERS, OBJECTS, |wire, at| {
        call(wire, "POST", CONFIG_MAPS, JSON, &config_map(at));
    });
    thread::sleep(SETTLE);
    let before = subject.memory_mib();
    report.most("resident with 10,000 objects", 100.0, before, "MiB");
    let path = format!(
        "{CONFIG_MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut watches = Vec::new();
    for _ in 0..IDLE {
        let mut watch = subject.api.watch(&path);
        let seen = watch.until(|event| event["type"] == "BOOKMARK");
        // The bookmark at the end, and what a controller puts into every namespace.
        assert!(seen.len() > OBJECTS);
        watches.push(watch);
    }
    thread::sleep(SETTLE);
    let grown = subject.memory_mib() - before;
    report.most("50 idle watches on 10,000 objects", 2.0, grown, "MiB more");
}
