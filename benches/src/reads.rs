//! Gets and lists of pods.

use crate::{
    loads::{PODS, pod},
    report::Report,
    subject::{JSON, Subject, call},
};

/// Pods listed.
const COUNT: usize = 5_000;
/// Gets.
const GETS: usize = 5_000;
/// Lists in a row; the first is cold.
const LISTS: usize = 20;
/// Clients that fill the cluster.
const WRITERS: usize = 8;

/// A cluster with pods `p0` to `p{count - 1}`.
pub fn filled(count: usize) -> Subject {
    let subject = Subject::start();
    subject.shared(WRITERS, count, |wire, at| {
        call(wire, "POST", PODS, JSON, &pod(at));
    });
    subject
}

/// One object by name.
pub fn gets(report: &Report) {
    let subject = filled(100);
    let cost = subject.each(GETS, |wire, at| {
        call(wire, "GET", &format!("{PODS}/p{}", at % 100), JSON, "");
    });
    report.most("get a pod: CPU", 0.03, cost.cpu, "ms");
    report.plain("get a pod, one client: time", cost.wall, "ms");
}

/// All of 5,000.
pub fn lists(report: &Report) {
    let subject = filled(COUNT);
    let mut size = 0;
    let cold = subject.each(1, |wire, _| size = call(wire, "GET", PODS, JSON, ""));
    report.plain("list 5,000 pods: size", size as f64 / 1e6, "MB");
    report.plain("list 5,000 pods, cold: CPU", cold.cpu, "ms");
    let warm = subject.each(LISTS, |wire, _| {
        call(wire, "GET", PODS, JSON, "");
    });
    report.most("list 5,000 pods: CPU", 10.0, warm.cpu, "ms");
    report.plain("list 5,000 pods: time", warm.wall, "ms");
    report.plain(
        "resident with 5,000 pods, listed",
        subject.memory_mib(),
        "MiB",
    );
}
