//! Part of `/metrics`: what admission, webhooks and work queues have counted, under upstream's
//! names. Only shows. Upstream counterparts: `apiserver/pkg/admission/metrics`,
//! `component-base/metrics/prometheus/workqueue`.

use crate::metrics::{head, line, show_end, show_histogram};
use env::Time;
use registry::{CallEnd, Called, Calls, Measures, QueueCounts, Step};
use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

/// Bounds of the queues' histograms as upstream prints them.
const QUEUE_LIMITS: [&str; 10] = [
    "1e-08",
    "1e-07",
    "1e-06",
    "9.999999999999999e-06",
    "9.999999999999999e-05",
    "0.001",
    "0.01",
    "0.1",
    "1",
    "10",
];
/// Microseconds of a second.
const MICROS: f64 = 1e6;
/// Nanoseconds of a second.
const NANOS: f64 = 1e9;

/// Appends all of it; `now` is what durations of work under way end at.
pub(crate) fn show(measures: &Measures, now: Time, out: &mut String) {
    show_steps(measures, out);
    show_plugins(measures, out);
    measures.calls(|calls| {
        show_calls(calls, out);
        show_open(calls, out);
    });
    show_queues(&measures.queues(), now, out);
}

fn show_steps(measures: &Measures, out: &mut String) {
    let name = "apiserver_admission_step_admission_duration_seconds";
    head(
        out,
        name,
        "histogram",
        "Seconds of a step of admission by operation, kind of step and whether it refused.",
    );
    for (operation, step, rejected, found) in measures.steps() {
        let kind = of_step(step);
        let operation = operation.name();
        let labels = format!("operation=\"{operation}\",rejected=\"{rejected}\",type=\"{kind}\"");
        show_histogram(found, out, name, &labels, (MICROS, MICROS));
    }
}

fn show_plugins(measures: &Measures, out: &mut String) {
    let name = "apiserver_admission_controller_admission_duration_seconds";
    head(
        out,
        name,
        "histogram",
        "Seconds of a plug-in of admission by its name, operation, kind of step and whether it refused.",
    );
    for (plugin, (operation, step, rejected, found)) in measures.plugins() {
        let (operation, kind) = (operation.name(), of_step(step));
        let labels = format!(
            "name=\"{plugin}\",operation=\"{operation}\",rejected=\"{rejected}\",type=\"{kind}\""
        );
        show_histogram(found, out, name, &labels, (MICROS, NANOS));
    }
}

/// A step as upstream's metrics have it.
fn of_step(step: Step) -> &'static str {
    match step {
        Step::Admit => "admit",
        Step::Validate => "validate",
    }
}

/// A webhook's kind as upstream's metrics have it.
fn kind(step: Step) -> &'static str {
    match step {
        Step::Admit => "admit",
        Step::Validate => "validating",
    }
}

/// Labels of a webhook's call, with others in their places of the alphabet.
fn labels(of: &Called, first: &str, between: &str) -> String {
    let (name, operation, kind) = (&of.name, of.operation, kind(of.step));
    format!("{first}name=\"{name}\",operation=\"{operation}\",{between}type=\"{kind}\"")
}

fn show_calls(calls: &BTreeMap<Called, Calls>, out: &mut String) {
    let name = "apiserver_admission_webhook_admission_duration_seconds";
    head(
        out,
        name,
        "histogram",
        "Seconds of the calls of a webhook by operation, kind and whether the write was refused.",
    );
    for (call, series) in calls {
        let rejected = format!("rejected=\"{}\",", call.rejected);
        let labels = labels(call, "", &rejected);
        show_histogram(&series.durations, out, name, &labels, (MICROS, MICROS));
    }
    let name = "apiserver_admission_webhook_request_total";
    head(
        out,
        name,
        "counter",
        "Calls of a webhook by operation, kind, code and whether the write was refused.",
    );
    for (call, end, count) in ends(calls) {
        let code = match end {
            CallEnd::Passed => 200,
            CallEnd::Refused(code) | CallEnd::Failed(code) => *code,
            CallEnd::Broken => 0,
        };
        let rejected = format!("rejected=\"{}\",", call.rejected);
        let labels = labels(call, &format!("code=\"{code}\","), &rejected);
        line(out, format_args!("{name}{{{labels}}} {count}"));
    }
    let name = "apiserver_admission_webhook_rejection_count";
    head(
        out,
        name,
        "counter",
        "Writes refused for a webhook by operation, kind, error and code of the refusal.",
    );
    for (call, end, count) in ends(calls).filter(|(call, ..)| call.rejected) {
        let (error, code) = match end {
            CallEnd::Failed(code) => ("calling_webhook_error", *code),
            CallEnd::Broken => ("apiserver_internal_error", 0),
            CallEnd::Refused(code) => ("no_error", *code),
            CallEnd::Passed => continue,
        };
        let first = format!("error_type=\"{error}\",");
        let labels = labels(call, &first, &format!("rejection_code=\"{code}\","));
        line(out, format_args!("{name}{{{labels}}} {count}"));
    }
}

/// Webhooks that could not be asked and were passed over for it.
fn show_open(calls: &BTreeMap<Called, Calls>, out: &mut String) {
    let name = "apiserver_admission_webhook_fail_open_count";
    head(
        out,
        name,
        "counter",
        "Calls of a webhook that failed and were passed over, by name and kind.",
    );
    let mut all: BTreeMap<(&str, Step), u64> = BTreeMap::new();
    for (call, end, count) in ends(calls) {
        if !call.rejected && matches!(end, CallEnd::Failed(_)) {
            *all.entry((call.name.as_str(), call.step)).or_default() += count;
        }
    }
    for ((webhook, step), count) in all {
        let labels = format!("name=\"{webhook}\",type=\"{}\"", kind(step));
        line(out, format_args!("{name}{{{labels}}} {count}"));
    }
}

fn ends(calls: &BTreeMap<Called, Calls>) -> impl Iterator<Item = (&Called, &CallEnd, u64)> {
    let all = calls.iter();
    all.flat_map(|(call, series)| {
        series
            .ends
            .iter()
            .map(move |(end, count)| (call, end, *count))
    })
}

/// Queues with the names that their metrics have.
type Queues = BTreeMap<&'static str, QueueCounts>;

/// A metric of one number: end of its name, form, help and the number.
type Number<'a> = (&'a str, &'a str, &'a str, &'a dyn Fn(&QueueCounts) -> f64);

fn show_queues(queues: &Queues, now: Time, out: &mut String) {
    let (all, longest) = (
        |of: &QueueCounts| of.unfinished(now).0 as f64 / MICROS,
        |of: &QueueCounts| of.unfinished(now).1 as f64 / MICROS,
    );
    let numbers: [Number<'_>; 5] = [
        ("depth", "gauge", "Keys that wait.", &|of| {
            of.depth.load(Relaxed) as f64
        }),
        ("adds_total", "counter", "Keys put in.", &|of| {
            of.adds.load(Relaxed) as f64
        }),
        (
            "retries_total",
            "counter",
            "Keys tried again after a failure.",
            &|of| of.retries.load(Relaxed) as f64,
        ),
        (
            "unfinished_work_seconds",
            "gauge",
            "Seconds of work that is not done yet.",
            &all,
        ),
        (
            "longest_running_processor_seconds",
            "gauge",
            "Seconds of the longest work that is not done yet.",
            &longest,
        ),
    ];
    for (name, form, help, number) in numbers {
        let name = format!("workqueue_{name}");
        head(out, &name, form, help);
        for (queue, counts) in queues {
            let value = number(counts);
            line(out, format_args!("{name}{{name=\"{queue}\"}} {value}"));
        }
    }
    let name = "workqueue_queue_duration_seconds";
    head(out, name, "histogram", "Seconds that a key waits.");
    for (queue, counts) in queues {
        show_queue(&counts.waits, out, name, queue);
    }
    let name = "workqueue_work_duration_seconds";
    head(out, name, "histogram", "Seconds that a key takes.");
    for (queue, counts) in queues {
        show_queue(&counts.works, out, name, queue);
    }
}

fn show_queue<const N: usize>(
    of: &registry::Histogram<N>,
    out: &mut String,
    name: &str,
    queue: &str,
) {
    let labels = format!("name=\"{queue}\"");
    for (limit, (_, total)) in QUEUE_LIMITS.iter().zip(of.totals()) {
        line(
            out,
            format_args!("{name}_bucket{{{labels},le=\"{limit}\"}} {total}"),
        );
    }
    show_end(of, out, name, &labels, NANOS);
}
