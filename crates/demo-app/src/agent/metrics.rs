//! What Prometheus is told.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Upper bounds of the latency histogram, in seconds.
const BOUNDS: [f64; 8] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Counters of the agent.
#[derive(Default)]
pub struct Metrics {
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    requests: BTreeMap<u16, u64>,
    buckets: [u64; BOUNDS.len()],
    seconds: f64,
    tokens: u64,
    redis_failures: u64,
}

impl Metrics {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request for work.
    pub fn request(&self, status: u16, took: Duration) {
        let mut counts = self.lock();
        *counts.requests.entry(status).or_default() += 1;
        let seconds = took.as_secs_f64();
        counts.seconds += seconds;
        for (bucket, bound) in counts.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
    }

    /// Counts tokens spent.
    pub fn tokens(&self, count: u64) {
        self.lock().tokens += count;
    }

    /// Counts a step with Redis that failed.
    pub fn redis_failure(&self) {
        self.lock().redis_failures += 1;
    }

    /// The text of an exposition.
    pub fn text(&self, redis_up: bool, open: bool) -> String {
        let counts = self.lock();
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, lines: &str| {
            // Writing to a string cannot fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}");
        };
        let requests = counts
            .requests
            .iter()
            .map(|(code, count)| format!("agent_requests_total{{code=\"{code}\"}} {count}\n"));
        family(
            "agent_requests_total",
            "counter",
            "Requests for work.",
            &requests.collect::<String>(),
        );
        family(
            "agent_request_duration_seconds",
            "histogram",
            "Time of requests for work.",
            &histogram(&counts),
        );
        for (name, kind, help, value) in [
            (
                "agent_tokens_total",
                "counter",
                "Tokens spent.",
                counts.tokens,
            ),
            (
                "agent_redis_failures_total",
                "counter",
                "Failed steps with Redis.",
                counts.redis_failures,
            ),
            (
                "agent_redis_up",
                "gauge",
                "Whether Redis answers.",
                u64::from(redis_up),
            ),
            (
                "agent_circuit_open",
                "gauge",
                "Whether the circuit breaker is open.",
                u64::from(open),
            ),
        ] {
            family(name, kind, help, &format!("{name} {value}\n"));
        }
        text
    }
}

fn histogram(counts: &Counts) -> String {
    let name = "agent_request_duration_seconds";
    let total: u64 = counts.requests.values().sum();
    let buckets = BOUNDS
        .iter()
        .zip(counts.buckets)
        .map(|(bound, count)| format!("{name}_bucket{{le=\"{bound}\"}} {count}\n"));
    let text: String = buckets.collect();
    format!(
        "{text}{name}_bucket{{le=\"+Inf\"}} {total}\n{name}_sum {}\n{name}_count {total}\n",
        counts.seconds
    )
}
