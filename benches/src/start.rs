//! The binary's size, its start and its memory at rest.

use crate::{report::Report, subject::Subject};
use std::{fs, thread, time::Duration};

/// After this long at rest memory is looked at.
const REST: Duration = Duration::from_secs(5);

/// Size, start, memory.
pub fn measure(report: &Report) {
    let size = fs::metadata(e2e_tests::binary())
        .expect("the binary is built")
        .len();
    report.most("binary", 40.0, size as f64 / 1e6, "MB");
    let mut subject = Subject::start();
    report.most(
        "API ready, very first start",
        50.0,
        api_ready_ms(&subject),
        "ms",
    );
    thread::sleep(REST);
    report.most("resident at rest", 100.0, subject.memory_mib(), "MiB");
    let idle = subject.cost(|| thread::sleep(REST));
    report.plain("CPU at rest", idle.cpu / REST.as_secs_f64(), "ms/s");
    subject.restart();
    report.most(
        "API ready, started again",
        50.0,
        api_ready_ms(&subject),
        "ms",
    );
}

/// What the server itself said last about its start: `API in 47 ms, nodes in ...`.
pub fn api_ready_ms(subject: &Subject) -> f64 {
    let said = subject.cluster.server_output();
    let text = said.rsplit("API in ").next().unwrap_or_default();
    let number = text.split(' ').next().unwrap_or_default();
    number.parse::<f64>().unwrap_or(f64::NAN)
}
