//! `/metrics`: what the server counts of itself, under upstream's names, in Prometheus' text form.
//!
//! A request touches counters of one series; the table of series is only read, once a series
//! is known. Sees requests and answers, decides nothing. Upstream counterpart:
//! `endpoints/metrics/metrics.go`.

use kinds::Kind;
use registry::{Histogram, Verb, Waited};
use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

/// Upper bounds of request durations, milliseconds (upstream's).
const DURATIONS: [u64; 23] = [
    5, 25, 50, 100, 200, 400, 600, 800, 1_000, 1_250, 1_500, 2_000, 3_000, 4_000, 5_000, 6_000,
    8_000, 10_000, 15_000, 20_000, 30_000, 45_000, 60_000,
];
/// Upper bounds of request durations without webhooks, milliseconds (upstream's).
const OWN_DURATIONS: [u64; 21] = [
    50, 100, 200, 400, 600, 800, 1_000, 1_250, 1_500, 2_000, 3_000, 4_000, 5_000, 6_000, 8_000,
    10_000, 15_000, 20_000, 30_000, 45_000, 60_000,
];
/// Upper bounds of response sizes, bytes (upstream's).
const SIZES: [u64; 7] = [
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];
/// Upper bounds of watch events, bytes (upstream's).
const EVENT_SIZES: [u64; 8] = [1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 65_536, 131_072];
/// Codes that are counted one by one; others count as the last.
const CODES: [u16; 22] = [
    200, 201, 202, 101, 204, 301, 304, 400, 401, 403, 404, 405, 406, 409, 410, 413, 415, 422, 429,
    503, 504, 500,
];
/// User names told apart (upstream's); then mail addresses, then all others.
const USERS: [&str; 7] = [
    "admin",
    "client",
    "kube_proxy",
    "kubelet",
    "system:serviceaccount:kube-system:default",
    "email_id",
    "other",
];

/// Appends the series `name{labels}` of a histogram; bounds and sum are divided by these to be shown.
pub(crate) fn show_histogram<const N: usize>(
    of: &Histogram<N>,
    out: &mut String,
    name: &str,
    labels: &str,
    (bound, sum): (f64, f64),
) {
    for (limit, total) in of.totals() {
        let limit = limit as f64 / bound;
        line(
            out,
            format_args!("{name}_bucket{{{labels},le=\"{limit}\"}} {total}"),
        );
    }
    show_end(of, out, name, labels, sum);
}

/// What stands behind the buckets of a histogram.
pub(crate) fn show_end<const N: usize>(
    of: &Histogram<N>,
    out: &mut String,
    name: &str,
    labels: &str,
    unit: f64,
) {
    let total = of.count();
    line(
        out,
        format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {total}"),
    );
    let sum = of.sum() as f64 / unit;
    line(out, format_args!("{name}_sum{{{labels}}} {sum}"));
    line(out, format_args!("{name}_count{{{labels}}} {total}"));
}

/// What tells one series of requests from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    group: machinery::SmolStr,
    version: machinery::SmolStr,
    resource: machinery::SmolStr,
    subresource: machinery::SmolStr,
    verb: &'static str,
    scope: &'static str,
    dry_run: bool,
}

impl Labels {
    /// Without `code` and `dry_run`, which not every metric has.
    fn text(&self) -> String {
        let Self {
            group,
            version,
            resource,
            subresource,
            verb,
            scope,
            ..
        } = self;
        // Endpoints beside the API carry no component, as upstream.
        let component = if resource.is_empty() { "" } else { "apiserver" };
        format!(
            "component=\"{component}\",group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",subresource=\"{subresource}\",verb=\"{verb}\",version=\"{version}\""
        )
    }

    fn dry_run(&self) -> &'static str {
        if self.dry_run { "All" } else { "" }
    }
}

/// Counters of one series of requests.
struct Series {
    codes: [AtomicU64; CODES.len()],
    durations: Histogram<{ DURATIONS.len() }>,
    /// Without the time that webhooks took.
    own: Histogram<{ OWN_DURATIONS.len() }>,
    sizes: Histogram<{ SIZES.len() }>,
    running: AtomicI64,
}

impl Series {
    fn new() -> Self {
        Self {
            codes: [const { AtomicU64::new(0) }; CODES.len()],
            durations: Histogram::new(&DURATIONS),
            own: Histogram::new(&OWN_DURATIONS),
            sizes: Histogram::new(&SIZES),
            running: AtomicI64::new(0),
        }
    }
}

/// Counters of the watches on one resource.
pub struct WatchSeries {
    sizes: Histogram<{ EVENT_SIZES.len() }>,
}

impl WatchSeries {
    /// Counts an event of so many bytes.
    pub fn event(&self, bytes: usize) {
        self.sizes.add(bytes as u64, bytes as u64);
    }
}

type Table<K, S> = RwLock<BTreeMap<K, Arc<S>>>;

/// All counters of one server.
pub struct Metrics {
    requests: Table<Labels, Series>,
    watches: Table<[machinery::SmolStr; 3], WatchSeries>,
    users: [AtomicU64; USERS.len()],
    inflight: [AtomicI64; 2],
    handshake_errors: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: RwLock::default(),
            watches: RwLock::default(),
            users: [const { AtomicU64::new(0) }; USERS.len()],
            inflight: [const { AtomicI64::new(0) }; 2],
            handshake_errors: AtomicU64::new(0),
        }
    }
}

/// The series of `key`, made if it is new. Nothing under these locks panics half way.
fn series<K: Ord, S>(table: &Table<K, S>, key: K, make: impl FnOnce() -> S) -> Arc<S> {
    let known = table.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known.get(&key) {
        return found.clone();
    }
    drop(known);
    let mut known = table.write().unwrap_or_else(PoisonError::into_inner);
    known.entry(key).or_insert_with(|| Arc::new(make())).clone()
}

/// A request's addressing, for its labels.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// What is asked of.
    pub kind: &'a Kind,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Namespace, or empty.
    pub namespace: &'a str,
    /// Name, or empty.
    pub name: &'a str,
    /// The verb.
    pub verb: Verb,
    /// Whether a patch is an apply.
    pub applies: bool,
    /// Whether nothing is to be stored.
    pub dry_run: bool,
}

impl Asked<'_> {
    fn labels(&self) -> Labels {
        let scope = match (self.name, self.namespace) {
            ("", "") if self.verb != Verb::Create => "cluster",
            ("", _) if self.verb != Verb::Create => "namespace",
            _ => "resource",
        };
        Labels {
            group: self.kind.gvk.group.clone(),
            version: self.kind.gvk.version.clone(),
            resource: self.kind.plural.clone(),
            subresource: self.subresource.into(),
            verb: verb(self.verb, self.applies),
            scope,
            dry_run: self.dry_run,
        }
    }
}

fn verb(verb: Verb, applies: bool) -> &'static str {
    match verb {
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create => "POST",
        Verb::Update => "PUT",
        Verb::Patch if applies => "APPLY",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
        Verb::Connect => "CONNECT",
    }
}

/// A request being served; counted when it is over, also when its client went away.
pub struct Served {
    metrics: Arc<Metrics>,
    series: Arc<Series>,
    since: Instant,
    /// Index among the requests in flight; `None` for one that runs long.
    inflight: Option<usize>,
    sized: bool,
    waited: Waited,
    code: u16,
    bytes: u64,
}

impl Served {
    /// Time that is not the server's own, as the request's steps tell it.
    pub fn waiting(&self) -> Waited {
        self.waited.clone()
    }

    /// The answer's code.
    pub fn answered(&mut self, code: u16) {
        self.code = code;
    }

    /// Bytes of the body sent.
    pub fn sent(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let known = CODES.iter().position(|code| *code == self.code);
        self.series.codes[known.unwrap_or(CODES.len() - 1)].fetch_add(1, Relaxed);
        let took = self.since.elapsed().as_micros() as u64;
        self.series.durations.add(took.div_ceil(1_000), took);
        let own = took.saturating_sub(self.waited.micros());
        self.series.own.add(own.div_ceil(1_000), own);
        if self.sized {
            self.series.sizes.add(self.bytes, self.bytes);
        }
        match self.inflight {
            Some(kind) => self.metrics.inflight[kind].fetch_sub(1, Relaxed),
            None => self.series.running.fetch_sub(1, Relaxed),
        };
    }
}

impl Metrics {
    /// A request begins.
    pub fn begin(self: &Arc<Self>, asked: &Asked<'_>) -> Served {
        let long = matches!(asked.verb, Verb::Watch | Verb::Connect);
        let sized = matches!(asked.verb, Verb::Get | Verb::List);
        let mutating = !sized;
        let inflight = (!long).then_some(usize::from(mutating));
        let mut served = self.start(asked.labels(), inflight, sized);
        if mutating && asked.verb != Verb::Watch {
            served.waited = Waited::kept();
        }
        served
    }

    /// A request to an endpoint beside the API begins.
    pub fn begin_endpoint(self: &Arc<Self>, path: &str) -> Served {
        let labels = Labels {
            group: Default::default(),
            version: Default::default(),
            resource: Default::default(),
            subresource: path.into(),
            verb: "GET",
            scope: "",
            dry_run: false,
        };
        self.start(labels, Some(0), true)
    }

    fn start(self: &Arc<Self>, labels: Labels, inflight: Option<usize>, sized: bool) -> Served {
        let series = series(&self.requests, labels, Series::new);
        match inflight {
            Some(kind) => self.inflight[kind].fetch_add(1, Relaxed),
            None => series.running.fetch_add(1, Relaxed),
        };
        Served {
            metrics: self.clone(),
            series,
            since: Instant::now(),
            inflight,
            sized,
            waited: Waited::default(),
            // What a client that goes away before its answer counts as: upstream's choice, too.
            code: 504,
            bytes: 0,
        }
    }

    /// The counters of watches on a kind.
    pub fn watch(&self, kind: &Kind) -> Arc<WatchSeries> {
        let key = [
            kind.gvk.group.clone(),
            kind.gvk.version.clone(),
            kind.plural.clone(),
        ];
        series(&self.watches, key, || WatchSeries {
            sizes: Histogram::new(&EVENT_SIZES),
        })
    }

    /// Counts a request of an authenticated user.
    pub fn user(&self, name: &str) {
        let known = USERS[..5].iter().position(|user| *user == name);
        let at = known.unwrap_or(if name.contains('@') { 5 } else { 6 });
        self.users[at].fetch_add(1, Relaxed);
    }

    /// Counts a connection that never came to be.
    pub fn handshake_failed(&self) {
        self.handshake_errors.fetch_add(1, Relaxed);
    }

    /// The text form; `objects` counts what is stored by resource (`deployments.apps`).
    pub fn text(&self, revision: u64, objects: &[(String, usize)]) -> String {
        let mut out = String::with_capacity(64 * 1024);
        self.show_requests(&mut out);
        self.show_watches(&mut out);
        self.show_gauges(&mut out);
        show_objects(&mut out, objects);
        show_process(&mut out);
        head(
            &mut out,
            "kubernetes_build_info",
            "gauge",
            "The version that is served; always 1.",
        );
        let version = crate::health::VERSION;
        line(
            &mut out,
            format_args!(
                "kubernetes_build_info{{git_version=\"{version}+xebec\",major=\"1\",minor=\"36\"}} 1"
            ),
        );
        head(
            &mut out,
            "xebec_store_revision",
            "gauge",
            "Revision of the last published write.",
        );
        line(&mut out, format_args!("xebec_store_revision {revision}"));
        out
    }

    fn show_requests(&self, out: &mut String) {
        let known = self.requests.read().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<_> = known
            .iter()
            .map(|(labels, series)| (labels, labels.text(), series))
            .collect();
        let name = "apiserver_request_total";
        head(
            out,
            name,
            "counter",
            "Requests by verb, dry run, group, version, resource, scope, component and code of the answer.",
        );
        for (labels, text, series) in &all {
            let dry = labels.dry_run();
            for (code, count) in CODES.iter().zip(&series.codes) {
                let count = count.load(Relaxed);
                if count > 0 {
                    line(
                        out,
                        format_args!("{name}{{code=\"{code}\",dry_run=\"{dry}\",{text}}} {count}"),
                    );
                }
            }
        }
        let name = "apiserver_request_duration_seconds";
        head(
            out,
            name,
            "histogram",
            "Seconds from a request to the end of its answer.",
        );
        for (labels, text, series) in &all {
            if series.durations.count() > 0 {
                let text = format!("dry_run=\"{}\",{text}", labels.dry_run());
                show_histogram(&series.durations, out, name, &text, (1e3, 1e6));
            }
        }
        show_own(out, &all);
        let name = "apiserver_response_sizes";
        head(out, name, "histogram", "Bytes of the answers to reads.");
        for (_, text, series) in &all {
            if series.sizes.count() > 0 {
                show_histogram(&series.sizes, out, name, text, (1.0, 1.0));
            }
        }
        let name = "apiserver_longrunning_requests";
        head(out, name, "gauge", "Watches and streams that are open.");
        for (labels, text, series) in &all {
            if matches!(labels.verb, "WATCH" | "CONNECT") {
                line(
                    out,
                    format_args!("{name}{{{text}}} {}", series.running.load(Relaxed)),
                );
            }
        }
    }

    fn show_watches(&self, out: &mut String) {
        let known = self.watches.read().unwrap_or_else(PoisonError::into_inner);
        let text = |[group, version, resource]: &[machinery::SmolStr; 3]| {
            format!("group=\"{group}\",resource=\"{resource}\",version=\"{version}\"")
        };
        let name = "apiserver_watch_events_total";
        head(out, name, "counter", "Events sent to watches.");
        for (key, series) in known.iter() {
            line(
                out,
                format_args!("{name}{{{}}} {}", text(key), series.sizes.count()),
            );
        }
        let name = "apiserver_watch_events_sizes";
        head(
            out,
            name,
            "histogram",
            "Bytes of the events sent to watches.",
        );
        for (key, series) in known.iter() {
            show_histogram(&series.sizes, out, name, &text(key), (1.0, 1.0));
        }
    }

    fn show_gauges(&self, out: &mut String) {
        let name = "apiserver_current_inflight_requests";
        head(
            out,
            name,
            "gauge",
            "Requests being served, those that run long aside.",
        );
        for (kind, count) in ["readOnly", "mutating"].iter().zip(&self.inflight) {
            line(
                out,
                format_args!("{name}{{request_kind=\"{kind}\"}} {}", count.load(Relaxed)),
            );
        }
        let name = "authenticated_user_requests";
        head(
            out,
            name,
            "counter",
            "Requests of authenticated users by user name.",
        );
        for (user, count) in USERS.iter().zip(&self.users) {
            let count = count.load(Relaxed);
            if count > 0 {
                line(out, format_args!("{name}{{username=\"{user}\"}} {count}"));
            }
        }
        let name = "apiserver_tls_handshake_errors_total";
        head(
            out,
            name,
            "counter",
            "Connections that failed before their first request.",
        );
        line(
            out,
            format_args!("{name} {}", self.handshake_errors.load(Relaxed)),
        );
    }
}

/// A series of requests with its labels as text.
type Shown<'a> = (&'a Labels, String, &'a Arc<Series>);

/// Durations without the time that webhooks took.
fn show_own(out: &mut String, all: &[Shown<'_>]) {
    let name = "apiserver_request_sli_duration_seconds";
    head(
        out,
        name,
        "histogram",
        "Seconds from a request to the end of its answer, without those that webhooks took.",
    );
    // Dry runs are told apart elsewhere only.
    let mut own = BTreeMap::new();
    for (_, text, series) in all.iter().filter(|(.., series)| series.own.count() > 0) {
        let sum = own.entry(text.as_str());
        let sum = sum.or_insert_with(|| Histogram::new(&OWN_DURATIONS));
        sum.absorb(&series.own);
    }
    for (text, own) in &own {
        show_histogram(own, out, name, text, (1e3, 1e6));
    }
}

fn show_objects(out: &mut String, objects: &[(String, usize)]) {
    let name = "apiserver_resource_objects";
    head(out, name, "gauge", "Objects stored, by group and resource.");
    for (storage, count) in objects {
        let (resource, group) = storage.split_once('.').unwrap_or((storage, ""));
        line(
            out,
            format_args!("{name}{{group=\"{group}\",resource=\"{resource}\"}} {count}"),
        );
    }
    let name = "apiserver_storage_objects";
    head(out, name, "gauge", "Objects stored, by resource.");
    for (storage, count) in objects {
        line(
            out,
            format_args!("{name}{{resource=\"{storage}\"}} {count}"),
        );
    }
}

/// The process by its own account; a number that cannot be read is left out.
fn show_process(out: &mut String) {
    let read =
        |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let stat = read("stat");
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    let field = |at: usize| fields.get(at).copied();
    let boot = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot
        .lines()
        .find_map(|line| line.strip_prefix("btime ")?.parse::<f64>().ok());
    let limits = read("limits");
    let files_max = limits.lines().find_map(|line| {
        line.strip_prefix("Max open files")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    let files = std::fs::read_dir("/proc/self/fd")
        .ok()
        .map(|files| files.count() as f64);
    let shown = [
        (
            "process_cpu_seconds_total",
            "counter",
            "CPU time, user and system, seconds.",
            field(11)
                .zip(field(12))
                .map(|(user, system)| (user + system) / TICKS),
        ),
        (
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory.",
            field(21).map(|pages| pages * PAGE),
        ),
        (
            "process_virtual_memory_bytes",
            "gauge",
            "Virtual memory.",
            field(20),
        ),
        ("process_open_fds", "gauge", "Open file descriptors.", files),
        (
            "process_max_fds",
            "gauge",
            "Most file descriptors that may be open.",
            files_max,
        ),
        (
            "process_start_time_seconds",
            "gauge",
            "Start of the process, seconds since 1970.",
            boot.zip(field(19))
                .map(|(boot, ticks)| boot + ticks / TICKS),
        ),
    ];
    for (name, kind, help, value) in shown {
        if let Some(value) = value {
            head(out, name, kind, help);
            line(out, format_args!("{name} {value}"));
        }
    }
}

/// Linux shows times to programs in hundredths of a second.
const TICKS: f64 = 100.0;
/// Bytes of a page on the architectures this runs on.
const PAGE: f64 = 4096.0;

pub(crate) fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    line(out, format_args!("# HELP {name} {help}"));
    line(out, format_args!("# TYPE {name} {kind}"));
}

pub(crate) fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A String takes any text.
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_it_is_told() {
        let metrics = Arc::new(Metrics::default());
        let catalogue = kinds::Catalogue::builtin();
        let kind = catalogue.resource("apps", "v1", "deployments").unwrap();
        let mut asked = Asked {
            kind,
            subresource: "",
            namespace: "n",
            name: "",
            verb: Verb::List,
            applies: false,
            dry_run: false,
        };
        let mut list = metrics.begin(&asked);
        assert!(
            metrics
                .text(1, &[])
                .contains("request_kind=\"readOnly\"} 1\n")
        );
        list.answered(200);
        list.sent(2_500);
        drop(list);
        asked = Asked {
            name: "d",
            verb: Verb::Patch,
            applies: true,
            dry_run: true,
            ..asked
        };
        metrics.begin(&asked).answered(409);
        let watch = metrics.begin(&Asked {
            verb: Verb::Watch,
            name: "",
            ..asked
        });
        metrics.watch(kind).event(3_000);
        metrics.user("somebody@example.com");
        metrics.user("kubelet");
        let text = metrics.text(7, &[("deployments.apps".into(), 3), ("pods".into(), 2)]);
        let labels = |scope: &str, verb: &str| {
            format!(
                "component=\"apiserver\",group=\"apps\",resource=\"deployments\",scope=\"{scope}\",subresource=\"\",verb=\"{verb}\",version=\"v1\""
            )
        };
        for wanted in [
            format!("apiserver_request_total{{code=\"200\",dry_run=\"\",{}}} 1\n", labels("namespace", "LIST")),
            format!("apiserver_request_total{{code=\"409\",dry_run=\"All\",{}}} 1\n", labels("resource", "APPLY")),
            format!("apiserver_request_duration_seconds_bucket{{dry_run=\"\",{},le=\"60\"}} 1\n", labels("namespace", "LIST")),
            format!("apiserver_response_sizes_bucket{{{},le=\"1000\"}} 0\n", labels("namespace", "LIST")),
            format!("apiserver_response_sizes_bucket{{{},le=\"10000\"}} 1\n", labels("namespace", "LIST")),
            format!("apiserver_response_sizes_sum{{{}}} 2500\n", labels("namespace", "LIST")),
            format!("apiserver_longrunning_requests{{{}}} 1\n", labels("namespace", "WATCH")),
            "apiserver_watch_events_total{group=\"apps\",resource=\"deployments\",version=\"v1\"} 1\n".into(),
            "apiserver_watch_events_sizes_bucket{group=\"apps\",resource=\"deployments\",version=\"v1\",le=\"4096\"} 1\n".into(),
            "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 0\n".into(),
            "authenticated_user_requests{username=\"email_id\"} 1\n".into(),
            "apiserver_resource_objects{group=\"apps\",resource=\"deployments\"} 3\n".into(),
            "apiserver_storage_objects{resource=\"pods\"} 2\n".into(),
            "xebec_store_revision 7\n".into(),
            "process_open_fds ".into(),
        ] {
            assert!(text.contains(&wanted), "{wanted} in\n{text}");
        }
        drop(watch);
        assert!(metrics.text(7, &[]).contains(&format!(
            "apiserver_longrunning_requests{{{}}} 0\n",
            labels("namespace", "WATCH")
        )));
    }
}
