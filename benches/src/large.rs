//! A hundred thousand pods: lists that are larger than any cache, memory, restart.

use crate::{
    loads::PODS,
    reads,
    report::Report,
    start,
    subject::{JSON, call},
};

/// Pods.
const COUNT: usize = 100_000;
/// Items of a page, as client-go's reflector asks.
const PAGE: usize = 500;
/// Lists of all.
const LISTS: usize = 3;
/// First pages: enough of them for a clock that counts in hundredths of a second.
const PAGES: usize = 100;

/// Lists, pages, memory, restart.
pub fn measure(report: &Report) {
    let mut subject = reads::filled(COUNT);
    let empty = subject.memory_mib();
    report.plain("resident with 100,000 pods", empty, "MiB");
    let list = subject.each(LISTS, |wire, _| {
        call(wire, "GET", PODS, JSON, "");
    });
    report.most("list 100,000 pods: CPU", 200.0, list.cpu, "ms");
    let grown = subject.memory_mib() - empty;
    report.plain("list 100,000 pods: memory", grown, "MiB more");
    let page = subject.each(PAGES, |wire, _| {
        call(wire, "GET", &format!("{PODS}?limit={PAGE}"), JSON, "");
    });
    report.most("first page of 500: CPU", 1.0, page.cpu, "ms");
    subject.restart();
    report.most(
        "API ready with 100,000 pods",
        1_000.0,
        start::api_ready_ms(&subject),
        "ms",
    );
}
