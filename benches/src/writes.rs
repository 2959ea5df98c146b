//! Durable writes: creates by one and by many clients, applies that change and that do not.

use crate::{
    loads::{PODS, deployment, pod},
    report::Report,
    subject::{JSON, Subject, call},
};
use std::{thread, time::Duration};

/// Pods created by each number of clients.
const CREATES: usize = 3_000;
/// Numbers of clients.
const CLIENTS: [usize; 3] = [1, 16, 64];
/// Pods of a namespace that goes.
const CROWD: usize = 1_000;
/// Applies.
const APPLIES: usize = 2_000;
const APPLY: &str = "application/apply-patch+yaml";

/// Pods created and acknowledged after a sync of the disk.
pub fn creates(report: &Report) {
    let subject = Subject::start();
    for (round, clients) in CLIENTS.into_iter().enumerate() {
        let cost = subject.shared(clients, CREATES, |wire, at| {
            call(wire, "POST", PODS, JSON, &pod(round * CREATES + at));
        });
        let what = format!("create a pod, {clients} client(s): CPU");
        report.most(&what, 0.10, cost.cpu, "ms");
        let what = format!("create a pod, {clients} client(s): rate");
        report.plain(&what, 1e3 / cost.wall, "/s");
    }
}

/// A namespace goes with all its pods.
pub fn namespace(report: &Report) {
    let subject = Subject::start();
    subject.each(CROWD, |wire, at| {
        call(wire, "POST", PODS, JSON, &pod(at));
    });
    let path = "/api/v1/namespaces/bench";
    let cost = subject.cost(|| {
        call(&mut subject.wire(), "DELETE", path, JSON, "");
        while subject.api.get(path).code != 404 {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let what = "a namespace of 1,000 pods is gone: time";
    report.most(what, 2_000.0, cost.wall, "ms");
    report.plain("a namespace of 1,000 pods is gone: CPU", cost.cpu, "ms");
}

/// Server-side applies of one object.
pub fn applies(report: &Report) {
    let subject = Subject::start();
    let path = "/apis/apps/v1/namespaces/bench/deployments/d?fieldManager=bench&force=true";
    let changed = subject.each(APPLIES, |wire, at| {
        call(wire, "PATCH", path, APPLY, &deployment(at));
    });
    report.most("apply, changed: CPU", 0.15, changed.cpu, "ms");
    let last = deployment(APPLIES - 1);
    let same = subject.each(APPLIES, |wire, _| {
        call(wire, "PATCH", path, APPLY, &last);
    });
    report.most("apply, unchanged: CPU", 0.15, same.cpu, "ms");
}
