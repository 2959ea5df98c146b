//! What monitoring relies on: the server's counters under upstream's names, for those who may
//! read them.

use crate::{map, place};
use contract_tests::Api;
use e2e_tests::Cluster;
use serde_json::json;
use std::time::Duration;

/// How long a controller may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The value of a series, zero where it is not there.
fn value(text: &str, series: &str) -> f64 {
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
        .unwrap_or(0.0)
}

fn read(api: &Api) -> String {
    let answer = api.get("/metrics");
    assert_eq!(answer.code, 200);
    let form = answer.header("content-type").unwrap_or_default();
    assert!(form.starts_with("text/plain; version=0.0.4"), "{form}");
    String::from_utf8(answer.body).expect("metrics are text")
}

fn labels(scope: &str, verb: &str) -> String {
    format!(
        r#"component="apiserver",group="",resource="configmaps",scope="{scope}",subresource="",verb="{verb}",version="v1""#
    )
}

/// Requests, durations, sizes, open watches, their events and what is stored.
pub fn requests_are_counted(cluster: &mut Cluster) {
    let (api, maps) = place(cluster, "metrics-count");
    let before = read(&api);
    for name in ["a", "b"] {
        api.create(&maps, &map(name, &json!({"k": "v"}))).ok();
    }
    let list = api.get(&maps).ok();
    let from = list["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version");
    let mut watch = api.watch(&format!("{maps}?watch=1&resourceVersion={from}"));
    api.merge(&format!("{maps}/a"), &json!({"data": {"k": "w"}}))
        .ok();
    watch.next().expect("an event");
    api.get(&format!("{maps}/none")).refused(404, "NotFound");
    let after = read(&api);
    let grown = |series: &str| value(&after, series) - value(&before, series);
    let total = |code: u16, labels: &str| {
        grown(&format!(
            r#"apiserver_request_total{{code="{code}",dry_run="",{labels}}}"#
        ))
    };
    assert_eq!(total(201, &labels("resource", "POST")), 2.0, "{after}");
    assert!(total(200, &labels("namespace", "LIST")) >= 1.0);
    assert_eq!(total(200, &labels("resource", "PATCH")), 1.0);
    assert_eq!(total(404, &labels("resource", "GET")), 1.0);
    let posts = labels("resource", "POST");
    let timed =
        format!(r#"apiserver_request_duration_seconds_bucket{{dry_run="",{posts},le="+Inf"}}"#);
    assert_eq!(grown(&timed), 2.0);
    let own = format!(r#"apiserver_request_sli_duration_seconds_bucket{{{posts},le="60"}}"#);
    assert_eq!(grown(&own), 2.0);
    for (step, least) in [("admit", 3.0), ("validate", 3.0)] {
        let name = "apiserver_admission_step_admission_duration_seconds_count";
        let [create, update] = ["CREATE", "UPDATE"].map(|operation| {
            grown(&format!(
                r#"{name}{{operation="{operation}",rejected="false",type="{step}"}}"#
            ))
        });
        assert!(create >= least - 1.0 && update >= 1.0, "{step}");
    }
    let plugin = |name: &str, step: &str, more: &str| {
        grown(&format!(
            r#"apiserver_admission_controller_admission_duration_seconds_{more}{{name="{name}",operation="CREATE",rejected="false",type="{step}"}}"#
        ))
    };
    for (name, step) in [
        ("ServiceAccount", "admit"),
        ("NodeRestriction", "admit"),
        ("MutatingAdmissionWebhook", "admit"),
        ("ResourceQuota", "validate"),
        ("ValidatingAdmissionPolicy", "validate"),
    ] {
        assert!(plugin(name, step, "count") >= 2.0, "{name}");
    }
    assert_eq!(plugin("ServiceAccount", "admit", "sum"), 0.0, "no pods");
    assert!(plugin("NodeRestriction", "admit", "sum") > 0.0);
    assert_eq!(plugin("ServiceAllocator", "admit", "count"), 0.0);
    let lists = labels("namespace", "LIST");
    assert!(grown(&format!("apiserver_response_sizes_count{{{lists}}}")) >= 1.0);
    let open = format!(
        "apiserver_longrunning_requests{{{}}}",
        labels("namespace", "WATCH")
    );
    assert!(value(&after, &open) >= 1.0);
    let events = r#"apiserver_watch_events_total{group="",resource="configmaps",version="v1"}"#;
    assert!(grown(events) >= 1.0);
    let stored = r#"apiserver_resource_objects{group="",resource="configmaps"}"#;
    assert!(value(&after, stored) >= 2.0);
    for known in [
        r#"apiserver_current_inflight_requests{request_kind="mutating"}"#,
        r#"apiserver_storage_objects{resource="configmaps"}"#,
        r#"workqueue_depth{name="deployment"}"#,
        r#"workqueue_unfinished_work_seconds{name="job"}"#,
        "# TYPE workqueue_queue_duration_seconds histogram",
        "kubernetes_build_info{",
        "process_cpu_seconds_total ",
        "# TYPE apiserver_request_duration_seconds histogram",
        "# HELP apiserver_request_total ",
    ] {
        assert!(after.contains(known), "{known}");
    }
    let series: Vec<_> = after
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let mut names: Vec<_> = series
        .iter()
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    assert!(
        names.windows(2).all(|pair| pair[0] != pair[1]),
        "each series stands once"
    );
}

/// A queue's keys are counted as they come, wait and are worked on; waiting starts with the server.
pub fn queues_are_counted(cluster: &mut Cluster) {
    let (api, _) = place(cluster, "metrics-queues");
    let accounts = "/api/v1/namespaces/metrics-queues/serviceaccounts";
    cluster.until("an account", PATIENCE, |_| {
        api.get(&format!("{accounts}/default")).code == 200
    });
    let text = read(&api);
    let of = |name: &str, more: &str| {
        let series = format!(r#"workqueue_{name}{{name="serviceaccount"{more}}}"#);
        value(&text, &series)
    };
    let adds = of("adds_total", "");
    assert!(adds >= 2.0, "{text}");
    for name in ["queue_duration_seconds", "work_duration_seconds"] {
        let count = of(&format!("{name}_count"), "");
        assert!(count >= 1.0 && count <= adds, "{name}: {count} of {adds}");
        let quick = of(&format!("{name}_bucket"), r#",le="10""#);
        assert_eq!(quick, count, "{name}: seconds since the server's start");
        assert!(of(&format!("{name}_sum"), "") < 10.0 * count);
    }
}

/// A large list is compressed for those who ask, and reads the same.
pub fn long_lists_are_compressed(cluster: &mut Cluster) {
    let (api, maps) = place(cluster, "metrics-gzip");
    for number in 0..4 {
        let text = format!("{number} and so on; ").repeat(4_000);
        api.create(&maps, &map(&format!("m{number}"), &json!({"t": text})))
            .ok();
    }
    let plain = api.get(&maps);
    assert_eq!(plain.header("content-encoding"), None);
    // The namespace's own map with the CA may be there already.
    let listed = plain.json();
    let names = listed["items"].as_array().into_iter().flatten();
    let names = names.filter_map(|one| one["metadata"]["name"].as_str());
    assert_eq!(names.filter(|name| name.starts_with('m')).count(), 4);
    let zipped = api.call("GET", &maps, &[("Accept-Encoding", "gzip")], b"");
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    assert_eq!(zipped.header("vary"), Some("Accept-Encoding"));
    assert!(zipped.body.starts_with(&[0x1f, 0x8b]), "a gzip stream");
    assert!(zipped.body.len() * 5 < plain.body.len());
}

/// Counters are for those whose roles let them read the path.
pub fn monitoring_may_read(cluster: &mut Cluster) {
    Api::anonymous(cluster)
        .get("/metrics")
        .refused(403, "Forbidden");
    let api = Api::of(cluster);
    let stranger = [("Impersonate-User", "somebody")];
    api.call("GET", "/metrics", &stranger, b"")
        .refused(403, "Forbidden");
    let monitor = [
        ("Impersonate-User", "somebody"),
        ("Impersonate-Group", "system:monitoring"),
    ];
    assert_eq!(api.call("GET", "/metrics", &monitor, b"").code, 200);
}

/// `/statusz` and `/flagz` are text for people, and documents for who names one in full.
pub fn pages_for_people(cluster: &mut Cluster) {
    let api = Api::of(cluster);
    let monitor = |path: &str, accept: &str| {
        let headers = [
            ("Impersonate-User", "somebody"),
            ("Impersonate-Group", "system:monitoring"),
            ("Accept", accept),
        ];
        api.call("GET", path, &headers, b"")
    };
    for (path, kind, line) in [
        ("/statusz", "Statusz", "Paths: /flagz /healthz /livez"),
        ("/flagz", "Flagz", "simulated true"),
    ] {
        let anonymous = Api::anonymous(cluster);
        anonymous.get(path).refused(403, "Forbidden");
        let page = monitor(path, "text/html, */*;q=0.1");
        assert_eq!(
            page.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        let text = String::from_utf8(page.body).expect("text");
        assert!(
            text.starts_with(&format!("\napiserver {}\nWarning: ", &path[1..])),
            "{text}"
        );
        assert!(text.lines().any(|one| one.starts_with(line)), "{text}");
        monitor(path, "application/json").refused(406, "NotAcceptable");
        let named = format!("application/json;g=config.k8s.io;v=v1beta1;as={kind}");
        let page = monitor(path, &named);
        assert_eq!(page.header("content-type"), Some(&named[..]));
        let document = page.json();
        assert_eq!(document["apiVersion"], "config.k8s.io/v1beta1");
        assert_eq!(document["metadata"]["name"], "apiserver");
        let old = monitor(path, &named.replace("v1beta1", "v1alpha1"));
        assert!(
            old.header("warning")
                .is_some_and(|text| text.contains("deprecated"))
        );
        assert_eq!(api.get(&format!("{path}/")).code, 404);
    }
}
