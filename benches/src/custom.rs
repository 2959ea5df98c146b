//! A hundred and fifty custom resource definitions at once, one of them huge.

use crate::{
    loads::definition,
    report::Report,
    subject::{JSON, Subject, call},
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// Definitions.
const COUNT: usize = 150;
/// Bytes of a usual schema, and of the largest that clients are known to install.
const USUAL: usize = 24 << 10;
const HUGE: usize = 660 << 10;
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// Between two looks, and how long to look.
const POLL: Duration = Duration::from_millis(50);
const GIVE_UP: Duration = Duration::from_secs(120);

/// Time until all are served, and what they hold.
pub fn measure(report: &Report) {
    let subject = Subject::start();
    let before = subject.memory_mib();
    let cost = subject.cost(|| {
        let mut wire = subject.wire();
        for at in 0..COUNT {
            let size = if at == 0 { HUGE } else { USUAL };
            call(&mut wire, "POST", DEFINITIONS, JSON, &definition(at, size));
        }
        let since = Instant::now();
        while served(&subject) < COUNT {
            assert!(
                since.elapsed() < GIVE_UP,
                "only {} are served",
                served(&subject)
            );
            thread::sleep(POLL);
        }
    });
    report.plain("150 CRDs until all are served: time", cost.wall / 1e3, "s");
    report.plain("150 CRDs until all are served: CPU", cost.cpu / 1e3, "s");
    let (last, things) = (COUNT - 1, "things");
    let path = format!("/apis/bench.example.com/v1/namespaces/bench/{things}{last}");
    let thing = format!(
        r#"{{"apiVersion":"bench.example.com/v1","kind":"Thing{last}","metadata":{{"name":"a"}},"spec":{{"section1":{{"name":"x"}}}}}}"#
    );
    call(&mut subject.wire(), "POST", &path, JSON, &thing);
    report.plain(
        "150 CRDs: memory",
        subject.memory_mib() - before,
        "MiB more",
    );
    let openapi = subject.cost(|| {
        call(&mut subject.wire(), "GET", "/openapi/v2", JSON, "");
    });
    report.plain("150 CRDs: OpenAPI v2 made anew: CPU", openapi.cpu, "ms");
}

fn served(subject: &Subject) -> usize {
    let list = subject.api.get("/apis/bench.example.com/v1");
    let names = list.json();
    names["resources"].as_array().map_or(0, |resources| {
        resources
            .iter()
            .filter(|one| !one["name"].as_str().unwrap_or("/").contains('/'))
            .count()
    })
}
